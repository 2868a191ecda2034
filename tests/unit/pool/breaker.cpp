// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace pool_test;

namespace {

/// Threads that each acquire once and keep what they get until the end.
template <class Pool>
class keepers {
public:
    keepers(Pool& p, std::size_t n, timeout t = patience) : codes_(n), leases_(n) {
        for (std::size_t i = 0; i < n; ++i) all_.emplace_back([this, &p, i, t] { leases_[i] = p.acquire(t, codes_[i]); });
    }
    void join() { all_.clear(); }
    [[nodiscard]] std::size_t failed_with(errc e) const {
        std::size_t n = 0;
        for (const auto& c : codes_) n += c == e ? 1U : 0U;
        return n;
    }
    [[nodiscard]] std::size_t served() const {
        std::size_t n = 0;
        for (const auto& l : leases_) n += l ? 1U : 0U;
        return n;
    }

private:
    std::vector<std::error_code> codes_;
    std::vector<typename Pool::lease> leases_;
    std::vector<std::jthread> all_;
};

constexpr backoff restless{.first = 1us, .max = 1us};
constexpr auto a_day = std::chrono::hours{24};

/// Acquires until the pool fails fast. False: it does not, in a very long time.
bool breaks(any_pool auto& p) {
    return eventually([&] {
        std::error_code why;
        (void)p.acquire(timeout{patience}, why);
        return why == errc::breaker_open;
    });
}

} // namespace

TEST_CASE("after so many failures in a row everybody who waits is told, and whoever comes next does not wait") {
    watched s{4};
    s.always(site::open, outcome::fail(error_class::refused, "connection refused"));
    door first;
    s.next(site::open, outcome::fail(error_class::refused, "connection refused").after(first));
    recorder sink;
    pool p{scripted{s}, bounded{.max = 4}, background_thread{.max_dials = 1}, restless, breaker{3}, sink};
    keepers many{p, 5, a_day};
    REQUIRE(eventually([&] { return p.stats().pending == 5; }));
    first.open();
    many.join();
    CHECK(many.failed_with(errc::breaker_open) == 5);
    CHECK(s.calls(site::open) == 3);

    failure why;
    CHECK_FALSE(p.acquire(timeout{a_day}, why));
    CHECK(why.code == errc::breaker_open);
    REQUIRE(why.seen);
    CHECK(why.seen->waited == 0s);
    CHECK(why.seen->last_connect_error.kind == error_class::refused);
    CHECK_THAT(why.text(), ContainsSubstring("breaker open: connecting fails again and again") && ContainsSubstring("connection refused"));
    CHECK(sink.to->count("refused: breaker open") == 6);
}

TEST_CASE("any success closes the breaker") {
    watched s{2};
    s.always(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 2}, restless};
    REQUIRE(breaks(p));
    s.clear(site::open);
    CHECK(eventually([&] { return static_cast<bool>(p.try_acquire()); })); // each tries one connection
    check_capacity(p, 2);
    s.next(site::open, outcome::fail(error_class::refused), 2);
    CHECK(p.trim() == 2);
    CHECK(good(p.acquire(timeout{patience}))); // two failures are not three
}

TEST_CASE("a breaker of one failure opens with the first") {
    watched s{1};
    s.next(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 1}, backoff{.first = 1h, .max = 1h}, breaker{1}};
    CHECK(code_of([&] { (void)p.acquire(timeout{a_day}); }) == errc::breaker_open);
    CHECK(s.calls(site::open) == 1);
}

TEST_CASE("who can hope for a connection that is out waits for it, whatever the breaker says") {
    watched s{2};
    pool p{scripted{s}, bounded{.max = 2}, restless};
    auto held = p.acquire(timeout{patience});
    s.always(site::open, outcome::fail(error_class::refused));
    keepers one{p, 1, a_day};
    REQUIRE(s.await(site::open, 10, patience));
    CHECK(p.stats().pending == 1);
    CHECK(code_of([&] { (void)p.acquire(1ms); }) == errc::acquire_timeout);
    SECTION("and gets it") {
        held.give_back();
        one.join();
        CHECK(one.served() == 1);
    }
    SECTION("and is told once it is gone") {
        held.discard();
        one.join();
        CHECK(one.failed_with(errc::breaker_open) == 1);
        CHECK(breaks(p));
    }
    s.clear(site::open);
}

TEST_CASE("what is idle is handed out, whatever the breaker says") {
    watched s{3};
    pool p{scripted{s}, bounded{.min_idle = 1, .max = 3}, restless};
    auto held = p.acquire(timeout{patience});
    REQUIRE(becomes(p, {.idle = 1, .used = 1}));
    s.always(site::open, outcome::fail(error_class::refused));
    auto other = p.acquire(timeout{patience}); // now one is wanted
    REQUIRE(s.await(site::open, 20, patience));
    held.give_back();
    CHECK(good(p.acquire(timeout{patience})));
    s.clear(site::open);
}

TEST_CASE("without a breaker, acquires wait to the end of their budget") {
    watched s{1};
    s.always(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 1}, restless, no_breaker{}};
    do {
        CHECK(code_of([&] { (void)p.acquire(5ms); }) == errc::acquire_timeout);
    } while (s.calls(site::open) < 10);
}

TEST_CASE("while the breaker is open one connection at a time is tried, and only if somebody asks") {
    watched s{20};
    s.always(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 20}, background_thread{.max_dials = 8}, restless};
    REQUIRE(breaks(p));
    REQUIRE(eventually([&] { return p.stats().opening == 0; }));
    door prober;
    s.always(site::open, outcome::ok().after(prober));
    const std::size_t before = s.calls(site::open);
    REQUIRE(eventually([&] {
        CHECK(code_of([&] { (void)p.acquire(timeout{a_day}); }) == errc::breaker_open);
        return prober.waiting() != 0;
    }));
    keepers many{p, 12, a_day};
    many.join();
    CHECK(many.failed_with(errc::breaker_open) == 12);
    CHECK(s.calls(site::open) <= before + 2); // one that had begun when the script changed, perhaps
    CHECK(prober.waiting() == 1);
    prober.open();
    REQUIRE(eventually([&] { return p.stats().opening == 0 && p.stats().idle == 1; }));
    check_capacity(p, 20);
}

TEST_CASE("after a failure dials go on one at a time, then two, then four, as they succeed") {
    watched s{16};
    door failing, one, two, four;
    s.next(site::open, outcome::fail(error_class::refused).after(failing))
        .next(site::open, outcome::ok().after(one))
        .next(site::open, outcome::ok().after(two), 2)
        .next(site::open, outcome::ok().after(four), 4);
    pool p{scripted{s}, bounded{.max = 16}, background_thread{.max_dials = 4}, restless};
    keepers first{p, 1, a_day};
    REQUIRE(failing.await(1));
    failing.open();
    REQUIRE(one.await(1));
    keepers many{p, 11, a_day};
    REQUIRE(eventually([&] { return p.stats().pending == 12; }));
    const auto stays = [&](std::size_t dials) { // time enough for one too many
        CHECK(code_of([&] { (void)p.acquire(5ms); }) == errc::acquire_timeout);
        return s.calls(site::open) == dials && p.stats().opening <= 4;
    };
    CHECK(stays(2));
    one.open();
    REQUIRE(two.await(2));
    CHECK(stays(4));
    two.open();
    REQUIRE(four.await(4));
    CHECK(stays(8)); // max_dials
    four.open();
    first.join();
    many.join();
    CHECK(first.served() + many.served() == 12);
    CHECK(s.calls(site::open) <= 1 + 12 + 3); // those who gave up had theirs begun
}

TEST_CASE("never more than max_dials are tried at once, however many wait and however often it fails") {
    for (const unsigned dials : {1U, 2U, 5U}) {
        watched s{dials}; // what is being opened counts
        s.always(site::open, outcome::fail(error_class::refused));
        pool p{scripted{s}, bounded{.max = 50}, background_thread{.max_dials = dials}, restless, no_breaker{}};
        keepers many{p, 40, 50ms};
        many.join();
        CHECK(many.failed_with(errc::acquire_timeout) == 40);
        CHECK(s.most_open() <= dials);
        s.clear(site::open);
        (void)p.close(deadline::in(patience));
    }
}

TEST_CASE("attempts: those who wait are told after so many failures in a row") {
    watched s{3};
    door third;
    s.next(site::open, outcome::fail(error_class::not_ready, "starting up")).next(site::open, outcome::fail(error_class::timeout, "late"));
    s.next(site::open, outcome::ok().after(third));
    pool p{scripted{s}, bounded{.max = 3}, background_thread{.max_dials = 1}, backoff{.first = 1us, .max = 1us, .attempts = 2}, no_breaker{}};
    failure why;
    CHECK_FALSE(p.acquire(timeout{a_day}, why));
    CHECK(why.code == errc::connect_timeout); // what the last one was
    CHECK(s.calls(site::open) == 2);
    third.open();
    CHECK(good(p.acquire(timeout{patience})));
    s.next(site::open, outcome::fail(error_class::refused));
    auto held = p.acquire(timeout{patience});
    CHECK(good(p.acquire(timeout{patience}))); // one failure since the success
}

TEST_CASE("attempts: what is out is no reason to wait on") {
    watched s{2};
    pool p{scripted{s}, bounded{.max = 2}, backoff{.first = 1us, .max = 1us, .attempts = 1}};
    auto held = p.acquire(timeout{patience});
    s.next(site::open, outcome::fail(error_class::refused));
    CHECK(code_of([&] { (void)p.acquire(timeout{a_day}); }) == errc::connect_failed);
    CHECK(s.calls(site::open) == 2);
}

TEST_CASE("min_idle and min are tried for even if nobody asks, and bring the pool back") {
    for (const bounded size : {bounded{.min_idle = 1, .max = 2}, bounded{.min = 1, .max = 2}}) {
        watched s{2};
        s.always(site::open, outcome::fail(error_class::refused));
        pool p{scripted{s}, size, restless};
        REQUIRE(s.await(site::open, 10, patience));
        CHECK(code_of([&] { (void)p.acquire(timeout{a_day}); }) == errc::breaker_open);
        s.clear(site::open);
        REQUIRE(becomes(p, {.idle = 1}));
        CHECK(good(p.acquire(timeout{patience})));
    }
}

TEST_CASE("try_acquire finds the breaker open, and asks for one more attempt") {
    watched s{1};
    s.always(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 1}, restless};
    REQUIRE(breaks(p));
    const std::size_t before = s.calls(site::open);
    CHECK(eventually([&] {
        CHECK_FALSE(p.try_acquire());
        return s.calls(site::open) > before + 3;
    }));
    s.clear(site::open);
}

TEST_CASE("where nobody waits and callers dial, a breaker spares them the attempts") {
    watched s{1};
    s.always(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 1}, no_wait{}, background_thread{}, backoff{.first = 1us, .max = 1us}};
    for (int i = 0; i < 3; ++i) CHECK(code_of([&] { (void)p.acquire(timeout{patience}); }) == errc::connect_failed);
    CHECK(code_of([&] { (void)p.acquire(timeout{patience}); }) == errc::breaker_open);
    s.clear(site::open);
    CHECK(eventually([&] {
        std::error_code why;
        return static_cast<bool>(p.acquire(timeout{patience}, why));
    }));
}

TEST_CASE("a hook that fails opens the breaker like a server that does") {
    watched s{1};
    std::atomic<bool> fails{true};
    pool p{scripted{s}, bounded{.max = 1}, restless, on_connect{[&](cenote::testing::scripted_connection&) {
        if (fails) throw driver_error{error_class::not_ready, "not set up yet"};
    }}};
    REQUIRE(breaks(p));
    fails = false;
    CHECK(eventually([&] { return static_cast<bool>(p.try_acquire()); }));
}

TEST_CASE("a closed or suspended pool says so, and not that the breaker is open") {
    watched s{1};
    s.always(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 1}, restless};
    REQUIRE(breaks(p));
    p.suspend();
    CHECK(code_of([&] { (void)p.acquire(0s); }) == errc::pool_suspended);
    p.resume();
    REQUIRE(breaks(p));
    (void)p.close(deadline::in(patience));
    CHECK(code_of([&] { (void)p.acquire(timeout{patience}); }) == errc::pool_closed);
}

TEST_CASE("a server that is away for a while and two hundred who wait: few attempts, and everybody is served in the end") {
    watched s{5};
    s.always(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 5}, background_thread{.max_dials = 2}, backoff{.first = 20ms, .max = 20ms}, no_breaker{}};
    std::vector<std::jthread> all;
    std::atomic<unsigned> served{0};
    for (int i = 0; i < 200; ++i) {
        all.emplace_back([&] {
            if (good(p.acquire(timeout{patience}))) ++served;
        });
    }
    REQUIRE(eventually([&] { return p.stats().pending == 200; }));
    REQUIRE(s.await(site::open, 4, patience));
    const std::size_t failed = s.calls(site::open);
    s.clear(site::open);
    all.clear();
    CHECK(served == 200);
    CHECK(failed < 200); // not waiters × attempts
    CHECK(s.most_open() <= 5);
}

TEST_CASE("values of breaker that make no sense are refused when the pool is made") {
    script s;
    CHECK_THROWS_AS((pool{scripted{s}, breaker{0}}), std::invalid_argument);
    CHECK_NOTHROW(pool{scripted{s}, breaker{1}});
    CHECK_NOTHROW(pool{scripted{s}, manual{}, no_breaker{}});
}
