// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"
#include "unit/shell/allocations.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace pool_test;
using cenote::testing::call;

namespace {
using steady = std::chrono::steady_clock;

struct in_background {
    static constexpr bool threads = true;
    static auto make(script s, auto... policies) { return pool{scripted{s}, live_settings{}, policies...}; }
};
struct by_hand {
    static constexpr bool threads = false;
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, live_settings{}, policies...}; }
};

/// The time limits that the driver's calls of one sort were given.
class limits_of_calls {
public:
    limits_of_calls(script& s, site where) {
        s.on(where, [at = by_](const call& c) { at->store(c.by.at()); });
    }
    /// Whether `f` made a call with a limit of `d` from when it was made.
    template <class F>
    [[nodiscard]] bool is(duration d, F f) {
        by_->store(time_point{});
        const time_point before = steady::now();
        f();
        const time_point after = steady::now();
        const time_point by = by_->load();
        return before + d <= by && by <= after + d;
    }

private:
    std::shared_ptr<std::atomic<time_point>> by_ = std::make_shared<std::atomic<time_point>>();
};

/// An age policy of a user's, whose values a user may change.
struct retires_even {
    using family = family::age;
    using kind = retires_even;
    static constexpr bool at_checkout = false, at_return = true, while_idle = false;
    static constexpr close_reason reason = close_reason::custom;
    using needs = facts<use_count>;

    std::string why = "a text that is too long for any small buffer of a string";
    unsigned after = 4;

    [[nodiscard]] bool expired(const auto& facts) const noexcept { return facts.uses >= after; }
    void check() const {
        if (after == 0) detail::bad_value("retires_even.after", after, "must be at least 1");
    }
};

/// A sizing policy of a user's, which leaves judging to the pool.
struct whatever {
    using family = family::sizing;
    static constexpr unsigned embedded = 0;
    limits all{.min_idle = 0, .min = 0, .keep = 2, .max = 2, .ceiling = 4};
    [[nodiscard]] limits bounds() const noexcept { return all; }
};

/// One that owns something, and one that refers to something: neither can be replaced.
struct owner {
    using family = family::age;
    using kind = owner;
    static constexpr bool at_checkout = false, at_return = true, while_idle = false;
    static constexpr close_reason reason = close_reason::custom;
    std::unique_ptr<int> n = std::make_unique<int>(1);
    [[nodiscard]] bool expired(const auto&) const noexcept { return *n == 0; }
};
struct referrer {
    using family = family::age;
    using kind = referrer;
    static constexpr bool at_checkout = false, at_return = true, while_idle = false;
    static constexpr close_reason reason = close_reason::custom;
    const bool& now;
    [[nodiscard]] bool expired(const auto&) const noexcept { return now; }
};

/// Gives others time to come between while it is copied.
struct copied_slowly {
    using family = family::age;
    using kind = copied_slowly;
    static constexpr bool at_checkout = false, at_return = true, while_idle = false;
    static constexpr close_reason reason = close_reason::custom;
    bool now = false;

    copied_slowly() = default;
    copied_slowly(const copied_slowly& other) noexcept : now{other.now} { std::this_thread::yield(); }
    copied_slowly& operator=(const copied_slowly& other) noexcept {
        std::this_thread::yield();
        now = other.now;
        return *this;
    }
    [[nodiscard]] bool expired(const auto&) const noexcept { return now; }
};

} // namespace

// ── each value ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TEMPLATE_TEST_CASE("settings() says what the pool was made with, and what reconfigure() has made of it", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, acquire_timeout{5s}, max_lifetime{1h});
    CHECK(p.settings().template get<bounded>().max == 1);
    CHECK(p.settings().template get<acquire_timeout>().after == 5s);
    CHECK(p.settings().template get<idle_timeout>().after == 10min);
    const auto& as_it_was = p.template get<acquire_timeout>();
    p.reconfigure(acquire_timeout{7s}, max_lifetime{2h, 0.5});
    CHECK(p.settings().template get<acquire_timeout>().after == 7s);
    CHECK(p.template get<acquire_timeout>().after == 7s);
    CHECK(p.settings().template get<max_lifetime>().after == 2h);
    CHECK(p.settings().template get<max_lifetime>().jitter == 0.5);
    CHECK(p.settings().template get<idle_timeout>().after == 10min);
    CHECK(as_it_was.after == 5s); // whoever was reading it may read on
    auto changed = p.settings();
    changed.template get<idle_timeout>().after = 1min;
    CHECK(p.settings().template get<idle_timeout>().after == 10min); // a copy
    p.reconfigure(changed);
    CHECK(p.settings().template get<idle_timeout>().after == 1min);
    p.reconfigure(); // nothing, which is no error
    CHECK(p.settings().template get<idle_timeout>().after == 1min);
    CHECK(p.settings().template get<acquire_timeout>().after == 7s);
    check_capacity(p, 1);
}

TEMPLATE_TEST_CASE("acquire_timeout counts from the next acquire; whoever waits keeps the deadline he came with", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, acquire_timeout{patience});
    auto held = p.acquire();
    SECTION("shorter") {
        bool got = false;
        std::jthread waiter{[&] { got = good(p.acquire()); }};
        REQUIRE(eventually([&] { return p.stats().pending == 1; }));
        p.reconfigure(acquire_timeout{1ms});
        CHECK(code_of([&] { (void)p.acquire(); }) == errc::acquire_timeout);
        std::error_code code;
        CHECK_FALSE(p.acquire(code));
        CHECK(code == errc::acquire_timeout);
        CHECK(p.stats().pending == 1);
        held.give_back();
        waiter.join();
        CHECK(got);
    }
    SECTION("longer") {
        p.reconfigure(acquire_timeout{20ms});
        std::error_code code;
        std::jthread waiter{[&] { (void)p.acquire(code); }};
        REQUIRE(eventually([&] { return p.stats().pending == 1 || code; }));
        p.reconfigure(acquire_timeout{patience});
        waiter.join();
        CHECK(code == errc::acquire_timeout);
        bool got = false;
        std::jthread patient{[&] { got = good(p.acquire()); }};
        REQUIRE(eventually([&] { return p.stats().pending == 1; }));
        held.give_back();
        patient.join();
        CHECK(got);
    }
}

TEMPLATE_TEST_CASE("max grows at once, also for those who wait, and beyond the ceiling there was", "", in_background, by_hand) {
    watched s{40};
    const auto grow = [&](auto locking) {
        auto p = TestType::make(s, bounded{.max = 1, .ceiling = 2}, locking);
        auto held = p.acquire(timeout{patience});
        CHECK(serves_two(p, [&] { p.reconfigure(bounded{.max = 3}); }));
        CHECK(p.stats().max == 3);
        held.give_back();
        check_capacity(p, 3);
        CHECK_THAT(refusal([&] { p.resize(4); }), ContainsSubstring("ceiling, which is 3"));
        p.reconfigure(bounded{.max = 3, .ceiling = 20});
        p.resize(20);
        check_capacity(p, 20);
        p.reconfigure(bounded{.max = 40});
        check_capacity(p, 40);
    };
    grow(with_mutex{});
    grow(lock_free{});
    grow(thread_affine{});
}

TEMPLATE_TEST_CASE("a ceiling for which the locking has no room is refused; a mutex has room for any", "", in_background, by_hand) {
    watched s;
    const auto try_with = [&](auto locking) {
        auto p = TestType::make(s, bounded{.max = 1}, acquire_timeout{5s}, locking); // one word: room for 62
        CHECK_THAT(refusal([&] { p.reconfigure(bounded{.max = 63}, acquire_timeout{6s}); }),
                   ContainsSubstring("ceiling = 63") && ContainsSubstring("must be at most 62") && ContainsSubstring("with_mutex"));
        CHECK_THAT(refusal([&] { p.reconfigure(bounded{.max = 2, .ceiling = 63}); }), ContainsSubstring("must be at most 62"));
        CHECK(p.settings().template get<acquire_timeout>().after == 5s);
        CHECK(p.stats().max == 1);
        check_capacity(p, 1);
        p.reconfigure(bounded{.max = 62});
        check_capacity(p, 62);
    };
    try_with(lock_free{});
    try_with(thread_affine{});
    auto p = TestType::make(s, bounded{.max = 1}, with_mutex{});
    p.reconfigure(bounded{.max = 200});
    check_capacity(p, 200);
}

TEMPLATE_TEST_CASE("max shrinks: idle ones go at once, the rest as they come back, and nothing that is leased is cut", "", in_background, by_hand) {
    watched s{4};
    auto p = TestType::make(s, bounded{.max = 4});
    auto all = hold(p, 4);
    all[0].give_back();
    p.reconfigure(bounded{.max = 2});
    CHECK(p.stats().max == 2);
    REQUIRE(eventually([&] { return s.closed() == 1; }));
    CHECK_FALSE(p.try_acquire());
    for (std::size_t i = 1; i < 4; ++i) CHECK(good(all[i]));
    all[1].give_back();
    (void)p.maintain();
    REQUIRE(eventually([&] { return s.closed() == 2; }));
    all.clear();
    (void)p.maintain();
    REQUIRE(becomes(p, {.idle = 2}));
    CHECK(s.closed() == 2);
    check_capacity(p, 2);
}

TEMPLATE_TEST_CASE("an overflow pool's size and overflow change like a bounded pool's limits", "", in_background, by_hand) {
    watched s{6};
    auto p = TestType::make(s, overflow{.size = 1, .max_overflow = 2});
    check_capacity(p, 3);
    (void)p.maintain();
    REQUIRE(becomes(p, {.idle = 1}));
    p.reconfigure(overflow{.size = 4, .max_overflow = 2});
    check_capacity(p, 6);
    (void)p.maintain();
    REQUIRE(becomes(p, {.idle = 4}));
    p.reconfigure(overflow{.size = 2, .max_overflow = 0});
    REQUIRE(becomes(p, {.idle = 2}));
    check_capacity(p, 2);
}

TEMPLATE_TEST_CASE("min_idle and min are kept as soon as they are named, whether or not anybody has asked for a connection", "", in_background, by_hand) {
    watched s{5};
    auto p = TestType::make(s, bounded{.max = 5}, no_age_limit{});
    p.reconfigure(bounded{.min_idle = 2, .max = 5});
    (void)p.maintain();
    REQUIRE(becomes(p, {.idle = 2}));
    CHECK(p.ready());
    p.reconfigure(bounded{.min = 4, .max = 5});
    if (!TestType::threads) CHECK_FALSE(p.ready());
    (void)p.maintain();
    REQUIRE(becomes(p, {.idle = 4}));
    p.reconfigure(bounded{.max = 5});
    CHECK(p.trim() == 4); // nothing is to be kept any more
    (void)p.maintain();
    REQUIRE(becomes(p, {}));
    CHECK(s.opened() == 4);
}

TEST_CASE("the threshold of eventually_fair decides from the next return on") {
    watched s{1};
    pool p{scripted{s}, live_settings{}, manual{}, with_mutex{}, bounded{.max = 1}, eventually_fair{.after = 1h}};
    // One waits, one gives back and asks again at once: whether he gets it is what the threshold decides.
    const auto overtakes = [&] {
        auto held = p.acquire(timeout{patience});
        bool fine = false;
        std::jthread waiter{[&] { fine = good(p.acquire(timeout{patience})); }};
        REQUIRE(eventually([&] { return p.stats().pending == 1; }));
        held.give_back();
        held = p.try_acquire();
        const bool first = static_cast<bool>(held);
        const bool unserved = first && p.stats().pending == 1;
        held.give_back();
        waiter.join();
        CHECK(fine);
        return unserved;
    };
    CHECK(eventually(overtakes));
    p.reconfigure(eventually_fair{.after = 0s});
    for (int i = 0; i < 20; ++i) CHECK_FALSE(overtakes());
    p.reconfigure(eventually_fair{.after = 1h});
    CHECK(eventually(overtakes));
}

TEMPLATE_TEST_CASE("max_waiters counts for the next who would wait", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, strictly_fair{});
    auto held = p.acquire(timeout{patience});
    bool fine = false;
    std::jthread waiter{[&] { fine = good(p.acquire(timeout{patience})); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    p.reconfigure(strictly_fair{.max_waiters = 1});
    std::error_code code;
    CHECK_FALSE(p.acquire(timeout{patience}, code));
    CHECK(code == errc::queue_full);
    p.reconfigure(strictly_fair{.max_waiters = 0});
    CHECK(p.stats().pending == 1); // he waits already
    held.give_back();
    waiter.join();
    CHECK(fine);
}

TEMPLATE_TEST_CASE("connect_timeout counts for the next connection", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, connect_timeout{10min}, acquire_timeout{24h});
    limits_of_calls open{s, site::open};
    CHECK(open.is(10min, [&] { p.acquire().discard(); }));
    p.reconfigure(connect_timeout{20min});
    REQUIRE(becomes(p, {}));
    CHECK(open.is(20min, [&] { p.acquire().discard(); }));
}

TEST_CASE("backoff: attempts and pauses count from the next failure") {
    script s;
    s.always(site::open, outcome::fail(error_class::refused, "nobody listens"));
    {
        pool p{scripted{s}, live_settings{}, bounded{.max = 1}, backoff{.first = 1us, .max = 1us}, no_breaker{}};
        std::error_code code;
        (void)p.acquire(20ms, code);
        CHECK(code == errc::acquire_timeout);
        p.reconfigure(backoff{.first = 1us, .max = 1us, .attempts = 1});
        (void)p.acquire(timeout{patience}, code);
        CHECK(code == errc::connect_failed);
        REQUIRE(becomes(p, {}));
        p.reconfigure(backoff{.first = 1000h, .max = 1000h, .attempts = 1});
        (void)p.acquire(timeout{patience}, code);
        CHECK(code == errc::connect_failed);
        const std::size_t before = s.calls(site::open);
        (void)p.acquire(20ms, code);
        CHECK(code == errc::acquire_timeout); // it rests
        CHECK(s.calls(site::open) == before);
        CHECK(p.settings().get<backoff>().first == 1000h);
    }
    CHECK(s.open_now() == 0);
}

TEST_CASE("the breaker opens after as many failures as it says now, and closes when it is told of more") {
    watched s{1};
    s.always(site::open, outcome::fail(error_class::refused, "nobody listens"));
    pool p{scripted{s}, live_settings{}, bounded{.max = 1}, backoff{.first = 1us, .max = 1us}, breaker{.failures = 1'000'000'000}};
    std::error_code code;
    (void)p.acquire(20ms, code);
    CHECK(code == errc::acquire_timeout);
    p.reconfigure(breaker{.failures = 1});
    REQUIRE(eventually([&] {
        (void)p.acquire(20ms, code);
        return code == errc::breaker_open;
    }));
    p.reconfigure(breaker{.failures = 1'000'000'000});
    (void)p.acquire(20ms, code);
    CHECK(code == errc::acquire_timeout);
    s.clear(site::open);
    check_capacity(p, 1);
}

TEST_CASE("max_lifetime is asked with its new value at checkout, at return and while idle; a connection keeps its random part") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, live_settings{}, manual{}, with_mutex{}, bounded{.max = 3}, max_lifetime{100s, 0.0}, no_idle_timeout{}, no_validation{}, counters{}, clock::manual{time}};
    auto all = hold(p, 3);
    auto held = std::move(all.back());
    all.clear();
    time.advance(10s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2, .used = 1});
    p.reconfigure(max_lifetime{10s, 0.0});
    auto fresh = p.acquire(); // the one on top is past its end now
    CHECK(fresh->id() == 4);
    held.give_back();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.used = 1});
    CHECK(p.get<counters>().closed_for(close_reason::age) == 3);
    fresh.give_back();
    time.advance(9s);
    p.reconfigure(max_lifetime{20s, 0.0});
    time.advance(10s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1}); // 19 s old
    time.advance(1s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});

    auto again = p.acquire();
    const double drawn = [&] { // where in the last half of its life it ends
        again.give_back();
        p.reconfigure(max_lifetime{100s, 0.5});
        duration d{};
        while (gauges_of(p).idle == 1 && d < 101s) {
            time.advance(1s);
            d += 1s;
            (void)p.maintain();
        }
        return static_cast<double>(d.count()) / 1e9;
    }();
    CHECK((drawn > 50.0 && drawn <= 100.0));
}

TEST_CASE("idle_timeout, max_uses and leak_threshold count with their new values, also for what has begun") {
    watched s{2};
    manual_clock time;
    const auto told = std::make_shared<journal>();
    pool p{scripted{s}, live_settings{}, manual{}, with_mutex{}, bounded{.max = 2}, no_max_lifetime{}, idle_timeout{100s}, max_uses{100}, leak_threshold{100s}, recorder{told},
           counters{}, clock::manual{time}};
    p.acquire().give_back();
    time.advance(10s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1});
    p.reconfigure(idle_timeout{10s});
    CHECK(p.maintain() > time.now());
    CHECK(gauges_of(p) == gauges{});
    CHECK(p.get<counters>().closed_for(close_reason::idle) == 1);

    for (int i = 0; i < 3; ++i) p.acquire().give_back();
    p.reconfigure(max_uses{4});
    p.acquire().give_back();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});
    CHECK(p.get<counters>().closed_for(close_reason::uses) == 1);

    auto held = p.acquire();
    time.advance(50s);
    (void)p.maintain();
    CHECK(told->count("leak") == 0);
    p.reconfigure(leak_threshold{50s});
    (void)p.maintain();
    CHECK(told->count("leak") == 1);
    p.reconfigure(leak_threshold{40s});
    (void)p.maintain();
    CHECK(told->count("leak") == 1); // once
}

TEST_CASE("maintain() is due by the new values") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, no_max_lifetime{}, idle_timeout{10min}, clock::manual{time}};
    p.acquire().give_back();
    CHECK(p.maintain() == time.now() + 30s);
    p.reconfigure(idle_timeout{10s});
    CHECK(p.maintain() == time.now() + 10s);
}

TEST_CASE("a background thread that sleeps by the old values comes by the new ones") {
    watched s{1};
    const auto told = std::make_shared<journal>();
    pool p{scripted{s}, live_settings{}, bounded{.max = 1}, max_lifetime{1h}, idle_timeout{1h}, leak_threshold{1h}, keepalive{.every = 1h}, refresh_every{.period = 1h, .over = 1h},
           recorder{told}, counters{}, clock::steady{}};
    SECTION("idle_timeout") {
        p.acquire().give_back();
        p.reconfigure(idle_timeout{1ms});
        REQUIRE(eventually([&] { return p.get<counters>().closed_for(close_reason::idle) == 1; }));
    }
    SECTION("max_lifetime") {
        p.acquire().give_back();
        p.reconfigure(max_lifetime{1ms});
        REQUIRE(eventually([&] { return p.get<counters>().closed_for(close_reason::age) == 1; }));
    }
    SECTION("keepalive") {
        p.acquire().give_back();
        p.reconfigure(keepalive{.every = 1ms});
        REQUIRE(s.await(site::ping, 3));
    }
    SECTION("leak_threshold") {
        auto held = p.acquire();
        p.reconfigure(leak_threshold{1ms});
        REQUIRE(eventually([&] { return told->count("leak") == 1; }));
    }
    SECTION("refresh_every") {
        p.acquire().give_back();
        p.reconfigure(refresh_every{.period = 2ms, .over = 1ms});
        REQUIRE(eventually([&] { return p.get<counters>().closed_for(close_reason::invalidated) >= 1; }));
    }
}

TEST_CASE("the period of refresh_every is counted from the last round, also when it changes") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, no_max_lifetime{}, no_idle_timeout{}, refresh_every{.period = 1000s, .over = 1s}, clock::manual{time}};
    (void)p.maintain();
    p.acquire().give_back();
    time.advance(100s);
    p.reconfigure(refresh_every{.period = 100s, .over = 2s});
    (void)p.maintain();
    time.advance(1s);
    (void)p.maintain();
    CHECK(s.closed() == 0);
    time.advance(1s);
    (void)p.maintain();
    CHECK(s.closed() == 1);
}

TEST_CASE("tests before use follow their new values") {
    watched s{3};
    manual_clock time;
    const auto looks = [&](auto& p, site where, duration idle) {
        time.advance(idle);
        const std::size_t before = s.calls(where);
        p.acquire().give_back();
        return s.calls(where) - before;
    };
    pool a{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, no_age_limit{}, peek_after{10s}, clock::manual{time}};
    a.acquire().give_back();
    CHECK(looks(a, site::peek, 5s) == 0);
    a.reconfigure(peek_after{5s});
    CHECK(looks(a, site::peek, 5s) == 1);
    a.reconfigure(peek_after{6s});
    CHECK(looks(a, site::peek, 5s) == 0);

    pool b{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, no_age_limit{}, pre_ping_after{10s, 1s}, clock::manual{time}};
    limits_of_calls ping{s, site::ping};
    b.acquire().give_back();
    CHECK(looks(b, site::ping, 5s) == 0);
    b.reconfigure(pre_ping_after{5s, 2s});
    CHECK(ping.is(2s, [&] { CHECK(looks(b, site::ping, 5s) == 1); }));

    pool c{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, pre_ping{1s}};
    c.acquire().give_back();
    CHECK(ping.is(1s, [&] { c.acquire().give_back(); }));
    c.reconfigure(pre_ping{3s});
    CHECK(ping.is(3s, [&] { c.acquire().give_back(); }));
}

TEST_CASE("keepalive tests by its new interval and limit") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, no_age_limit{}, keepalive{.every = 100s, .timeout = 1s, .jitter = 0.0}, clock::manual{time}};
    limits_of_calls ping{s, site::ping};
    p.acquire().give_back();
    time.advance(10s);
    (void)p.maintain();
    CHECK(s.calls(site::ping) == 0);
    p.reconfigure(keepalive{.every = 10s, .timeout = 2s, .jitter = 0.0});
    CHECK(ping.is(2s, [&] { (void)p.maintain(); }));
    CHECK(s.calls(site::ping) == 1);
    CHECK(p.maintain() == time.now() + 10s);
}

TEST_CASE("clean-ups have their new limits and their new SQL") {
    watched s{3};
    const auto soil = [](auto& p) {
        auto l = p.acquire();
        l->begin();
        l.give_back();
    };
    SECTION("at return") {
        pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, at_return{reset_if_dirty{}, 1s}};
        limits_of_calls rollback{s, site::rollback};
        CHECK(rollback.is(1s, [&] { soil(p); }));
        p.reconfigure(at_return{reset_if_dirty{}, 2s});
        CHECK(rollback.is(2s, [&] { soil(p); }));
    }
    SECTION("in the background") {
        pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, background{reset_if_dirty{}, 1s}};
        limits_of_calls rollback{s, site::rollback};
        soil(p);
        p.reconfigure(background{reset_if_dirty{}, 2s});
        CHECK(rollback.is(2s, [&] { (void)p.maintain(); }));
    }
    SECTION("deferred") {
        pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, deferred{reset_if_dirty{}, 1s}};
        limits_of_calls finish{s, site::reset_finish};
        soil(p);
        p.reconfigure(deferred{reset_if_dirty{}, 2s});
        CHECK(finish.is(2s, [&] { p.acquire().give_back(); }));
    }
    SECTION("SQL") {
        pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, at_return{reset_with{"one"}}};
        p.acquire().give_back();
        p.reconfigure(at_return{reset_with{"two, which is too long for any small buffer of a string"}});
        p.acquire().give_back();
        CHECK_THAT(refusal([&] { p.reconfigure(at_return{reset_with{""}}); }), ContainsSubstring("reset_with.sql = ''"));
        p.acquire().give_back();
        const std::string two = "two, which is too long for any small buffer of a string";
        CHECK(s.executed() == std::vector<std::string>{"one", two, two});
    }
}

TEMPLATE_TEST_CASE("close() gives the grace that cut_at_close has now", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, cut_at_close{0s});
    limits_of_calls sever{s, site::sever};
    auto held = p.acquire(timeout{patience});
    p.reconfigure(cut_at_close{500ms});
    CHECK(sever.is(500ms, [&] { CHECK(p.close(deadline{time_point::min()}).cut == 1); }));
    held.give_back();
    CHECK(p.close(deadline::in(patience)).drained);
}

// ── all or nothing ───────────────────────────────────────────────────────────────────────────────────────────────────────

TEMPLATE_TEST_CASE("a bad value is refused with field, value and rule, and nothing has changed", "", in_background, by_hand) {
    watched s{3};
    manual_clock time;
    auto p = TestType::make(s, bounded{.max = 3}, acquire_timeout{5s}, max_uses{7}, leak_threshold{1h}, keepalive{1h}, cut_at_close{1s}, refresh_every{}, eventually_fair{}, clock::manual{time});
    const auto refuses = [&](const std::string& says, const auto&... bad) {
        const std::string told = refusal([&] { p.reconfigure(max_uses{8}, bad...); });
        CHECK_THAT(told, ContainsSubstring("cenote: " + says));
        CHECK(p.settings().template get<max_uses>().n == 7);
        CHECK(p.settings().template get<bounded>().max == 3);
        CHECK(p.settings().template get<acquire_timeout>().after == 5s);
        CHECK(p.stats().max == 3);
    };
    refuses("acquire_timeout.after = 0s: must be above zero", acquire_timeout{0s}, bounded{.max = 2});
    refuses("bounded.max = 0: must be 1 to 1000000", bounded{.max = 0}, acquire_timeout{6s});
    refuses("bounded.min_idle = 4: must be at most bounded.max, which is 3", bounded{.min_idle = 4, .max = 3}, acquire_timeout{6s});
    refuses("bounded.min = 4: must be at most bounded.max, which is 3", bounded{.min = 4, .max = 3});
    refuses("bounded.ceiling = 4: must be at least bounded.max, which is 5", bounded{.max = 5, .ceiling = 4});
    refuses("eventually_fair.after = -1s: must not be negative", eventually_fair{.after = -1s});
    refuses("connect_timeout.after = 0s: must be above zero", connect_timeout{0s});
    refuses("max_lifetime.jitter = 1.000000: must be at least 0 and below 1", max_lifetime{1h, 1.0});
    refuses("idle_timeout.after = -1s: must be above zero", idle_timeout{-1s});
    refuses("refresh_every.over = 2s: must be at most refresh_every.period", refresh_every{.period = 1s, .over = 2s});
    refuses("peek_after.idle = -1s: must not be negative", peek_after{-1s});
    refuses("keepalive.every = 0s: must be above zero", keepalive{.every = 0s});
    refuses("deferred.timeout = 0s: must be above zero", deferred{reset_if_dirty{}, 0s});
    refuses("cut_at_close.grace = -1s: must not be negative", cut_at_close{-1s});
    refuses("leak_threshold.after = 0s: must be above zero", leak_threshold{0s});
    if constexpr (TestType::threads) {
        refuses("backoff.max = 1s: must be at least backoff.first, which is 2s", backoff{.first = 2s, .max = 1s});
        refuses("breaker.failures = 0: must be at least 1", breaker{.failures = 0});
    }
    CHECK_THAT(refusal([&] { p.reconfigure(max_uses{0}); }), ContainsSubstring("max_uses.n = 0: must be at least 1"));
    auto all_of_them = p.settings();
    all_of_them.template get<max_uses>().n = 8;
    all_of_them.template get<acquire_timeout>().after = 0s;
    CHECK_THAT(refusal([&] { p.reconfigure(all_of_them); }), ContainsSubstring("acquire_timeout.after = 0s"));
    CHECK(p.settings().template get<max_uses>().n == 7);
    check_capacity(p, 3);
}

TEMPLATE_TEST_CASE("reconfigure either happens or changes nothing, whatever allocation fails", "", in_background, by_hand) {
    const std::string sql = "a text that is too long for any small buffer of a string, and another";
    for (const bool from_then_on : {false, true}) {
        for (std::size_t n = 1;; ++n) {
            REQUIRE(n < 200);
            watched s{40};
            bool threw = false, failed = false;
            auto p = TestType::make(s, bounded{.max = 2}, acquire_timeout{5s}, retires_even{}, at_return{reset_with{"one, which is too long for any small buffer of a string"}});
            std::optional<decltype(p.settings())> before{p.settings()};
            p.acquire(timeout{patience}).give_back();
            const at_return<reset_with> script_{reset_with{sql}};
            {
                const alloc_test::fail_at guard{n, from_then_on};
                try {
                    p.reconfigure(bounded{.max = 40}, acquire_timeout{6s}, script_);
                } catch (const std::bad_alloc&) {
                    threw = true;
                }
                failed = guard.failed();
            }
            CHECK(threw == failed);
            CHECK(p.stats().max == (threw ? 2U : 40U));
            CHECK(p.settings().template get<acquire_timeout>().after == (threw ? 5s : 6s));
            CHECK(p.settings().template get<at_return<reset_with>>().what.sql == (threw ? before->template get<at_return<reset_with>>().what.sql : sql));
            CHECK(p.settings().template get<retires_even>().why == before->template get<retires_even>().why);
            check_capacity(p, threw ? 2 : 40);
            if (!failed) break;
        }
    }
}

// ── with others ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TEMPLATE_TEST_CASE("a max that resize() has set stays until other limits are named", "", in_background, by_hand) {
    watched s{8};
    auto p = TestType::make(s, bounded{.max = 4, .ceiling = 8});
    p.resize(2);
    p.reconfigure(acquire_timeout{1s});
    CHECK(p.stats().max == 2);
    p.reconfigure(bounded{.max = 4, .ceiling = 8}); // no others
    CHECK(p.stats().max == 2);
    check_capacity(p, 2);
    p.reconfigure(bounded{.min = 1, .max = 4, .ceiling = 8});
    CHECK(p.stats().max == 4);
    check_capacity(p, 4);
    p.resize(8);
    p.reconfigure(bounded{.min_idle = 3, .min = 1, .max = 4, .ceiling = 8});
    CHECK(p.stats().max == 4);
    CHECK_THAT(refusal([&] { p.resize(2); }), ContainsSubstring("at least min_idle, which is 3"));
    CHECK_THAT(refusal([&] { p.resize(9); }), ContainsSubstring("ceiling, which is 8"));
    p.resize(3);
    CHECK(p.stats().max == 3);
}

TEMPLATE_TEST_CASE("several may reconfigure at once, and nobody's change is lost", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1, .ceiling = 8}, copied_slowly{});
    std::atomic<unsigned> lost{0};
    {
        std::vector<std::jthread> all;
        all.emplace_back([&] {
            for (int i = 1; i <= 200; ++i) {
                p.reconfigure(acquire_timeout{std::chrono::hours{i}});
                if (p.settings().template get<acquire_timeout>().after != std::chrono::hours{i}) ++lost;
            }
        });
        all.emplace_back([&] {
            for (int i = 1; i <= 200; ++i) {
                p.reconfigure(idle_timeout{std::chrono::hours{i}}, max_lifetime{std::chrono::hours{i}});
                const auto now = p.settings();
                if (now.template get<idle_timeout>().after != std::chrono::hours{i} || now.template get<max_lifetime>().after != std::chrono::hours{i}) ++lost;
            }
        });
        all.emplace_back([&] {
            for (unsigned i = 1; i <= 200; ++i) {
                p.reconfigure(bounded{.max = 1, .ceiling = 1 + i % 8});
                p.resize(1);
            }
        });
    }
    CHECK(lost == 0);
    check_capacity(p, 1);
}

TEST_CASE("pools whose policies are in another order take the same settings") {
    watched s{7};
    pool a{scripted{s}, live_settings{}, manual{}, bounded{.max = 3}, acquire_timeout{5s}, max_lifetime{1h}};
    pool b{scripted{s}, max_lifetime{2h}, acquire_timeout{6s}, bounded{.max = 4}, manual{}, live_settings{}};
    static_assert(!std::is_same_v<decltype(a), decltype(b)>);
    static_assert(std::is_same_v<decltype(a.settings()), decltype(b.settings())>);
    b.reconfigure(a.settings());
    CHECK(b.stats().max == 3);
    CHECK(b.settings().get<max_lifetime>().after == 1h);
    CHECK(b.settings().get<acquire_timeout>().after == 5s);
    check_capacity(a, 3);
    check_capacity(b, 3);
}

TEST_CASE("a profile's values can be changed like any other") {
    watched s{2};
    pool p{scripted{s}, profile::web{}, live_settings{}, bounded{.max = 2}};
    auto all = p.settings();
    p.reconfigure(all);
    p.reconfigure(bounded{.max = 1}, acquire_timeout{9s});
    CHECK(p.settings().get<acquire_timeout>().after == 9s);
    check_capacity(p, 1);
}

TEST_CASE("a pool with its slots inside keeps its size; the rest can be changed") {
    watched s{4};
    manual_clock time;
    {
        pool p{scripted{s}, fixed<2>{}, live_settings{}, acquire_timeout{patience}, idle_timeout{100s}, clock::manual{time}};
        static_assert(!detail::contains_v<fixed<2>, decltype(p)::core_type::cfg::tunable>);
        check_capacity(p, 2);
        auto held = hold(p, 2);
        p.reconfigure(acquire_timeout{1ms}, idle_timeout{10s});
        CHECK(code_of([&] { (void)p.acquire(); }) == errc::acquire_timeout);
        held.clear();
        time.advance(10s);
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{});
        CHECK_THAT(refusal([&] { p.reconfigure(acquire_timeout{2ms}, idle_timeout{0s}); }), ContainsSubstring("idle_timeout.after = 0s"));
        CHECK(p.settings().get<acquire_timeout>().after == 1ms);
        CHECK(p.stats().max == 2);
    }
    pool q{scripted{s}, profile::bare<2>{}, live_settings{}, max_uses{2}};
    q.acquire().give_back();
    q.reconfigure(max_uses{1});
    q.acquire().give_back();
    (void)q.maintain();
    CHECK(s.closed() == 3);
    check_capacity(q, 2);
}

TEST_CASE("policies of users' own can be changed if they can be copied") {
    watched s{6};
    SECTION("an age policy") {
        pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, retires_even{}, counters{}};
        p.acquire().give_back();
        auto all = p.settings();
        all.get<retires_even>().after = 2;
        p.reconfigure(all);
        p.acquire().give_back();
        (void)p.maintain();
        CHECK(p.get<counters>().closed_for(close_reason::custom) == 1);
        CHECK_THAT(refusal([&] { p.reconfigure(retires_even{.after = 0}); }), ContainsSubstring("retires_even.after = 0: must be at least 1"));
        CHECK(p.settings().get<retires_even>().after == 2);
    }
    SECTION("a sizing policy, whose limits the pool judges") {
        pool p{scripted{s}, live_settings{}, manual{}, whatever{}};
        check_capacity(p, 2);
        p.reconfigure(whatever{{.min_idle = 1, .min = 1, .keep = 3, .max = 6, .ceiling = 6}});
        check_capacity(p, 6);
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{.idle = 3});
        CHECK_THAT(refusal([&] { p.reconfigure(whatever{{.keep = 7, .max = 6, .ceiling = 6}}); }), ContainsSubstring("sizing.bounds().max = 6") && ContainsSubstring("keep at most max"));
        CHECK_THAT(refusal([&] { p.reconfigure(whatever{{.keep = 6, .max = 6, .ceiling = 2}}); }), ContainsSubstring("1 <= max <= ceiling"));
        CHECK(p.stats().max == 6);
    }
    SECTION("not those that cannot") {
        const bool never = false;
        pool p{scripted{s}, live_settings{}, manual{}, bounded{.max = 1}, owner{}, referrer{never}};
        using tunable = decltype(p)::core_type::cfg::tunable;
        static_assert(!detail::contains_v<owner, tunable> && !detail::contains_v<referrer, tunable> && detail::contains_v<bounded, tunable>);
        static_assert(!detail::contains_v<scripted, tunable> && !detail::contains_v<live_settings, tunable>);
        p.reconfigure(bounded{.max = 2}); // the others can
        CHECK(*p.get<owner>().n == 1);
        check_capacity(p, 2);
    }
}

TEMPLATE_TEST_CASE("a suspended pool and a closed one can be reconfigured", "", in_background, by_hand) {
    watched s{4};
    auto p = TestType::make(s, bounded{.max = 4}, never_cut{});
    auto all = hold(p, 4);
    auto last = std::move(all.back());
    p.suspend();
    all.clear();
    p.reconfigure(bounded{.max = 2});
    p.resume();
    (void)p.maintain();
    REQUIRE(becomes(p, {.idle = 1, .used = 1}));
    (void)p.close(deadline{time_point::min()});
    p.reconfigure(bounded{.min_idle = 3, .min = 3, .max = 4}, acquire_timeout{1s});
    (void)p.maintain();
    last.give_back();
    CHECK(p.close(deadline::in(patience)).drained);
    CHECK(s.opened() == 4);
    std::error_code code;
    CHECK_FALSE(p.acquire(code));
    CHECK(code == errc::pool_closed);
}

TEMPLATE_TEST_CASE("a pool that was moved keeps its settings, and leases outlive it and them", "", in_background, by_hand) {
    watched s{2};
    auto p = TestType::make(s, bounded{.max = 1}, retires_even{});
    typename decltype(p)::lease outlives;
    {
        auto q = std::move(p);
        q.reconfigure(bounded{.max = 2}, retires_even{.why = "another text that is too long for any small buffer", .after = 9});
        outlives = q.acquire(timeout{patience});
        CHECK(q.settings().template get<retires_even>().after == 9);
        check_capacity(q, 1); // and the one that is out
    }
    CHECK(good(outlives));
}
