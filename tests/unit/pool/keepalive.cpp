// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <cstddef>
#include <optional>
#include <set>
#include <stdexcept>
#include <thread>

using namespace pool_test;

namespace {

/// Whatever is due, two at a time, until nothing is.
void maintain_all(any_pool auto& p, const script& s) {
    for (std::size_t before = s.calls(site::ping) + 1; before != s.calls(site::ping);) {
        before = s.calls(site::ping);
        (void)p.maintain();
    }
}

constexpr keepalive every_10s{.every = 10s, .jitter = 0.0};

} // namespace

TEST_CASE("an idle connection that was neither used nor tested for so long is pinged") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, every_10s, clock::manual{time}};
    open_idle(p, 1);
    const auto pings_after = [&](duration d) {
        time.advance(d);
        const std::size_t before = s.calls(site::ping);
        (void)p.maintain();
        return s.calls(site::ping) - before;
    };
    CHECK(pings_after(10s - 1ns) == 0);
    CHECK(pings_after(1ns) == 1);
    CHECK(pings_after(0s) == 0);
    CHECK(pings_after(10s - 1ns) == 0); // counted from the test
    CHECK(pings_after(1ns) == 1);
    time.advance(6s);
    p.acquire().give_back();
    CHECK(pings_after(4s) == 0); // counted from the use
    CHECK(pings_after(6s) == 1);
    auto held = p.acquire();
    CHECK(pings_after(1h) == 0); // what is out is its holder's
    CHECK(s.closed() == 0);
}

TEST_CASE("maintain says when the next test is due") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 3}, every_10s, no_idle_timeout{}, no_max_lifetime{}, clock::manual{time}};
    CHECK(p.maintain() == time.now() + 10s); // nothing idle: what becomes idle meanwhile is due then
    open_idle(p, 3);
    time.advance(4s);
    CHECK(p.maintain() == time.now() + 6s);
    time.advance(6s);
    CHECK(p.maintain() == time.now() + 10ms); // the third
    CHECK(s.calls(site::ping) == 2);
    CHECK(p.maintain() == time.now() + 10s);
    CHECK(s.calls(site::ping) == 3);
}

TEST_CASE("the background thread tests without being asked") {
    watched s{2};
    pool p{scripted{s}, bounded{.max = 2}, keepalive{.every = 1ms}, clock::steady{}};
    open_idle(p, 2);
    std::set<std::size_t> pinged;
    std::mutex m;
    s.on(site::ping, [&](const cenote::testing::call& c) {
        const std::scoped_lock lock{m};
        pinged.insert(c.connection);
    });
    CHECK(eventually([&] {
        const std::scoped_lock lock{m};
        return pinged.size() == 2 && s.calls(site::ping) > 6;
    }));
    (void)p.close();
    s.on(site::ping, nullptr);
}

TEST_CASE("a test does not count as use: idle_timeout goes on") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, every_10s, idle_timeout{25s}, counters{}, clock::manual{time}};
    open_idle(p, 1);
    for (int i = 0; i < 2; ++i) {
        time.advance(10s);
        (void)p.maintain();
    }
    CHECK(s.calls(site::ping) == 2);
    CHECK(gauges_of(p) == gauges{.idle = 1});
    CHECK(p.stats().leases == 1);
    time.advance(5s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});
    CHECK(p.template get<counters>().closed_for(close_reason::idle) == 1);
}

TEST_CASE("what fails its test is closed, whatever it throws, and the others become suspects") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, every_10s, counters{}, clock::manual{time}};
    for (const auto& fails : {outcome::fail(error_class::disconnected), outcome::fail(error_class::timeout), outcome::throw_std(), outcome::throw_int()}) {
        open_idle(p, 2);
        const auto before = p.stats().validation_failed;
        const std::size_t pings = s.calls(site::ping), ended = p.template get<counters>().closed_for(close_reason::validation);
        time.advance(10s);
        s.next(site::ping, fails);
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{.idle = 1});
        CHECK(p.stats().validation_failed == before + 1);
        CHECK(p.template get<counters>().closed_for(close_reason::validation) == ended + 1);
        CHECK(s.calls(site::ping) == pings + 2);
        (void)p.trim();
        (void)p.maintain();
    }
    auto held = hold(p, 2);
    auto out = std::move(held[1]);
    held.clear();
    time.advance(10s);
    s.next(site::ping, outcome::fail(error_class::disconnected));
    (void)p.maintain();
    out.give_back();
    const std::size_t pings = s.calls(site::ping);
    CHECK(good(p.acquire())); // used just now, but a suspect
    CHECK(s.calls(site::ping) == pings + 1);
}

TEST_CASE("a test has its own time limit") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, keepalive{.every = 10s, .timeout = 7s}, clock::manual{time}};
    open_idle(p, 1);
    time.advance(10s);
    std::optional<duration> left;
    s.on(site::ping, [&](const cenote::testing::call& c) { left = c.by.remaining(); });
    (void)p.maintain();
    REQUIRE(left);
    CHECK(*left <= 7s);
    CHECK(*left > 6s);
}

TEST_CASE("a connection that is tested is nobody else's, and is not replaced meanwhile") {
    watched s{3};
    manual_clock time;
    door testing;
    pool p{scripted{s}, bounded{.min_idle = 1, .max = 3}, every_10s, clock::manual{time}};
    REQUIRE(becomes(p, {.idle = 1}));
    const std::size_t opened = s.calls(site::open);
    time.advance(10s);
    s.next(site::ping, outcome::ok().after(testing));
    std::jthread housekeeper{[&] { (void)p.maintain(); }};
    REQUIRE(testing.await(1));
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.resetting = 1});
    CHECK(s.calls(site::open) == opened); // idle again in a moment
    SECTION("who wants one gets another") {
        CHECK_FALSE(p.try_acquire());
        CHECK(good(p.acquire(timeout{patience})));
        CHECK(gauges_of(p).resetting == 1);
        testing.open();
        housekeeper.join();
    }
    SECTION("or the same, if there is no room for another") {
        p.resize(1);
        std::size_t got = 0;
        std::jthread waiter{[&] { got = p.acquire(timeout{patience})->id(); }};
        REQUIRE(eventually([&] { return p.stats().pending == 1; }));
        testing.open();
        waiter.join();
        housekeeper.join();
        CHECK(got == 1);
        CHECK(s.calls(site::open) == opened);
    }
    s.clear(site::ping);
}

TEST_CASE("no more than two are tested at a time, however many scans there are") {
    watched s{6};
    manual_clock time;
    door testing;
    pool p{scripted{s}, bounded{.max = 6}, background_thread{.max_dials = 6}, every_10s, clock::manual{time}};
    open_idle(p, 6);
    REQUIRE(becomes(p, {.idle = 6}));
    time.advance(10s);
    s.always(site::ping, outcome::ok().after(testing));
    std::jthread housekeeper{[&] { (void)p.maintain(); }};
    REQUIRE(eventually([&] { return p.stats().resetting == 2; }));
    REQUIRE(testing.await(2));
    for (int i = 0; i < 3; ++i) (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 4, .resetting = 2});
    CHECK(s.calls(site::ping) == 2);
    CHECK(good(p.acquire(timeout{patience}))); // the others can be had
    testing.open();
    housekeeper.join();
    CHECK(eventually([&] {
        (void)p.maintain();
        return s.calls(site::ping) == 5; // one was used meanwhile
    }));
    REQUIRE(becomes(p, {.idle = 6}));
}

TEST_CASE("connections that were opened together are not tested together") {
    watched s{200};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 200}, keepalive{.every = 1000s}, no_idle_timeout{}, no_max_lifetime{}, clock::manual{time}};
    open_idle(p, 200);
    time.advance(899s);
    maintain_all(p, s);
    CHECK(s.calls(site::ping) == 0);
    std::size_t before = 0;
    for (int tenth = 0; tenth < 10; ++tenth) {
        time.advance(10s);
        maintain_all(p, s);
        CHECK(s.calls(site::ping) - before < 60); // 20 on average
        if (tenth == 4) CHECK((s.calls(site::ping) > 50 && s.calls(site::ping) < 150));
        before = s.calls(site::ping);
    }
    time.advance(1s);
    maintain_all(p, s);
    CHECK(s.calls(site::ping) == 200);
}

TEST_CASE("a clean-up whose answer is due is confirmed instead") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, every_10s, deferred<reset_if_dirty>{}, counters{}, clock::manual{time}};
    auto held = p.acquire();
    held->begin();
    held.give_back();
    time.advance(10s);
    SECTION("and good") {
        (void)p.maintain();
        CHECK(s.calls(site::reset_finish) == 1);
        CHECK(s.calls(site::ping) == 0);
        CHECK(good(p.acquire()));
        CHECK(s.calls(site::reset_finish) == 1);
        CHECK(s.opened() == 1);
        time.advance(10s);
        (void)p.maintain();
        CHECK(s.calls(site::ping) == 1);
    }
    SECTION("or bad") {
        s.next(site::reset_finish, outcome::fail(error_class::disconnected));
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{});
    }
    SECTION("or useless") {
        s.next(site::state, outcome::see(session_state::failed_transaction));
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{});
    }
    CHECK(p.stats().validation_failed == 0);
    CHECK(p.stats().reset_failed == (s.closed() == 0 ? 0U : 1U));
    CHECK(p.template get<counters>().closed_for(close_reason::reset_failed) == s.closed());
}

TEST_CASE("a suspect is tested, and then trusted; what is invalid is not even tested") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, every_10s, counters{}, clock::manual{time}};
    auto held = hold(p, 2);
    held[0].discard(error_class::disconnected);
    held.clear();
    time.advance(10s);
    (void)p.maintain();
    CHECK(s.calls(site::ping) == 1);
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::ping) == 1);

    time.advance(10s);
    s.on(site::ping, [&](const cenote::testing::call&) { p.invalidate_all(); });
    (void)p.maintain();
    CHECK(s.calls(site::ping) == 2);
    CHECK(p.template get<counters>().closed_for(close_reason::invalidated) == 1);
    CHECK(gauges_of(p) == gauges{});
}

TEST_CASE("a pool that suspends, shrinks or closes while it tests leaves no connection behind") {
    watched s{3};
    manual_clock time;
    door testing;
    s.next(site::ping, outcome::ok().after(testing));
    std::optional<pool<scripted, bounded, background_thread, keepalive, counters, clock::manual>> p;
    p.emplace(scripted{s}, bounded{.max = 2}, every_10s, counters{}, clock::manual{time});
    open_idle(*p, 1);
    time.advance(10s);
    std::jthread housekeeper;
    SECTION("suspends") {
        housekeeper = std::jthread{[&] { (void)p->maintain(); }};
        REQUIRE(testing.await(1));
        p->suspend();
        testing.open();
        REQUIRE(becomes(*p, {.idle = 1}));
        CHECK_FALSE(p->try_acquire());
        p->resume();
        CHECK(p->acquire(timeout{patience})->id() == 1);
    }
    SECTION("closes") {
        housekeeper = std::jthread{[&] { (void)p->maintain(); }};
        REQUIRE(testing.await(1));
        const close_report r = p->close(deadline::in(0s));
        CHECK_FALSE(r.drained);
        CHECK(r.cut == 0); // no lease
        CHECK(r.still_out == 1);
        testing.open();
        CHECK(p->close(deadline::in(patience)).drained);
        CHECK(s.closed() == 1);
    }
    SECTION("shrinks") {
        housekeeper = std::jthread{[&] { (void)p->maintain(); }};
        REQUIRE(testing.await(1));
        auto other = p->acquire(timeout{patience});
        p->resize(1);
        testing.open();
        REQUIRE(becomes(*p, {.used = 1}));
        CHECK(p->template get<counters>().closed_for(close_reason::overflow) == 1);
    }
    testing.open();
    if (housekeeper.joinable()) housekeeper.join();
    p.reset();
}

TEST_CASE("a pool that goes while its background thread tests leaves the test to itself") {
    watched s{1};
    door testing;
    s.always(site::ping, outcome::ok().after(testing));
    {
        pool p{scripted{s}, bounded{.max = 1}, background_thread{.patience = 0ms}, keepalive{.every = 1ms}, clock::steady{}};
        open_idle(p, 1);
        REQUIRE(testing.await(1));
    }
    CHECK(s.open_now() == 1);
    testing.open();
}

TEST_CASE("pools of every kind are tested, fixed and single-threaded ones by maintain") {
    manual_clock time;
    const auto tested = [&](script& s, auto& p) {
        open_idle(p, 2);
        time.advance(10s);
        const std::size_t before = s.calls(site::ping);
        CHECK(eventually([&] {
            (void)p.maintain();
            return s.calls(site::ping) == before + 2;
        }));
        CHECK(eventually([&] { return gauges_of(p.stats()) == gauges{.idle = 2}; }));
        s.lose_all();
        time.advance(10s);
        CHECK(eventually([&] {
            (void)p.maintain();
            return p.stats().total == 0;
        }));
        CHECK(good(p.acquire(timeout{patience})));
    };
    watched s{20};
    SECTION("bare") {
        pool p{scripted{s}, profile::bare<2>{}, every_10s, clock::manual{time}};
        tested(s, p);
    }
    SECTION("fixed") {
        pool p{scripted{s}, fixed<2>{}, every_10s, clock::manual{time}};
        tested(s, p);
    }
    SECTION("single_threaded") {
        pool p{scripted{s}, single_threaded{}, every_10s, clock::manual{time}};
        tested(s, p);
    }
    SECTION("lock_free") {
        pool p{scripted{s}, lock_free{}, every_10s, clock::manual{time}};
        tested(s, p);
    }
    SECTION("thread_affine and fixed") {
        pool p{scripted{s}, thread_affine{}, fixed<2>{}, every_10s, clock::manual{time}};
        tested(s, p);
    }
    SECTION("fifo") {
        pool p{scripted{s}, fifo{}, manual{}, every_10s, clock::manual{time}};
        tested(s, p);
    }
    SECTION("no validation at checkout") {
        pool p{scripted{s}, no_validation{}, no_reset{}, no_age_limit{}, every_10s, clock::manual{time}};
        tested(s, p);
    }
}

TEST_CASE("values of keepalive that make no sense are refused when the pool is made") {
    script s;
    CHECK_THROWS_AS((pool{scripted{s}, keepalive{.every = 0s}}), std::invalid_argument);
    CHECK_THROWS_AS((pool{scripted{s}, keepalive{.timeout = -1s}}), std::invalid_argument);
    CHECK_THROWS_AS((pool{scripted{s}, keepalive{.jitter = 1.0}}), std::invalid_argument);
}
