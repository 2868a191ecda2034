// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <chrono>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

using namespace pool_test;

namespace {

time_point now() { return std::chrono::steady_clock::now(); }

} // namespace

TEST_CASE("without validation an idle connection is handed out untested") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, no_validation{}};
    open_idle(p, 1);
    s.lose_all();
    CHECK(p.acquire()->id() == 1);
    CHECK(s.calls(site::peek) == 0);
    CHECK(s.calls(site::ping) == 0);
}

TEST_CASE("pre_ping pings at every checkout but the one that opened the connection") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping{}, counters{}};
    CHECK(p.acquire()->id() == 1);
    CHECK(s.calls(site::ping) == 0);
    for (std::size_t i = 1; i < 4; ++i) {
        CHECK(p.acquire()->id() == 1);
        CHECK(s.calls(site::ping) == i);
    }
    CHECK(p.try_acquire()->id() == 1);
    CHECK(s.calls(site::ping) == 4);
    s.lose_all();
    CHECK(p.acquire()->id() == 2);
    CHECK(s.calls(site::ping) == 5);
    CHECK(p.stats().validation_failed == 1);
    CHECK(p.template get<counters>().closed_for(close_reason::validation) == 1);
}

TEST_CASE("pre_ping_after pings only what has been idle for so long") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping_after{.idle = 500ms}, clock::manual{time}};
    open_idle(p, 1);
    time.advance(499ms);
    open_idle(p, 1);
    CHECK(s.calls(site::ping) == 0);
    time.advance(500ms);
    open_idle(p, 1);
    CHECK(s.calls(site::ping) == 1);
    open_idle(p, 1);
    CHECK(s.calls(site::ping) == 1);
    {
        auto held = p.acquire();
        time.advance(1h); // a long lease is no idleness
    }
    open_idle(p, 1);
    CHECK(s.calls(site::ping) == 1);
    pool always{scripted{s}, manual{}, bounded{.max = 1}, pre_ping_after{.idle = 0ms}, clock::manual{time}};
    s.limit(2);
    open_idle(always, 1);
    open_idle(always, 1);
    CHECK(s.calls(site::ping) == 2);
}

TEST_CASE("peek_after trusts silence, pings what has something to say, and closes the dead") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, bounded{.max = 1}, peek_after{.idle = 500ms}, no_reset{}, counters{}, clock::manual{time}};
    open_idle(p, 1);
    SECTION("used a moment ago: not even looked at") {
        time.advance(499ms);
        open_idle(p, 1);
        CHECK(s.calls(site::peek) == 0);
    }
    SECTION("quiet") {
        time.advance(500ms);
        CHECK(p.acquire()->id() == 1);
        CHECK(s.calls(site::peek) == 1);
        CHECK(s.calls(site::ping) == 0);
    }
    SECTION("suspicious, and answers") {
        time.advance(500ms);
        s.next(site::peek, outcome::see(liveness::suspicious));
        CHECK(p.acquire()->id() == 1);
        CHECK(s.calls(site::ping) == 1);
    }
    SECTION("suspicious, and does not answer") {
        time.advance(500ms);
        s.next(site::peek, outcome::see(liveness::suspicious)).next(site::ping, outcome::fail(error_class::disconnected));
        CHECK(p.acquire()->id() == 2);
        CHECK(s.calls(site::ping) == 1);
        CHECK(p.stats().validation_failed == 1);
    }
    SECTION("dead") {
        time.advance(500ms);
        s.lose_all();
        CHECK(p.acquire()->id() == 2);
        CHECK(s.calls(site::ping) == 0);
        CHECK(p.stats().validation_failed == 1);
        CHECK(p.template get<counters>().closed_for(close_reason::validation) == 1);
    }
}

TEST_CASE("a driver that cannot ping has what looks suspicious closed") {
    watched s{1};
    pool p{basic_scripted<refinement::all - refinement::ping>{s}, manual{}, bounded{.max = 1}, peek_after{.idle = 0ms}};
    open_idle(p, 1);
    CHECK(p.acquire()->id() == 1);
    s.next(site::peek, outcome::see(liveness::suspicious));
    CHECK(p.acquire()->id() == 2);
}

TEST_CASE("the default validation is the best the driver can do") {
    manual_clock time;
    watched s{3};
    pool peeks{scripted{s}, manual{}, bounded{.max = 1}, clock::manual{time}};
    pool pings{basic_scripted<refinement::all - refinement::peek>{s}, manual{}, bounded{.max = 1}, clock::manual{time}};
    pool neither{basic_scripted<refinement::none>{s}, manual{}, bounded{.max = 1}, clock::manual{time}};
    open_idle(peeks, 1);
    open_idle(pings, 1);
    open_idle(neither, 1);
    time.advance(1s);
    open_idle(neither, 1);
    CHECK(s.calls(site::peek) + s.calls(site::ping) == 0);
    open_idle(peeks, 1);
    CHECK(s.calls(site::peek) == 1);
    open_idle(pings, 1);
    CHECK(s.calls(site::ping) == 1);
}

TEST_CASE("a ping has at most its own limit, and at most a quarter of the budget") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping{.timeout = 5s}};
    duration given{};
    s.on(site::ping, [&](const testing::call& c) { given = c.by.at() - now(); });
    open_idle(p, 1);
    CHECK(p.acquire(1h));
    CHECK((given > 0s && given <= 5s));
    CHECK(p.acquire(8s));
    CHECK((given > 0s && given <= 2s));
    CHECK(p.acquire(deadline::in(4s)));
    CHECK((given > 0s && given <= 1s));
    CHECK(p.try_acquire());
    CHECK((given > 2s && given <= 5s));
    CHECK(p.acquire(deadline::never()));
    CHECK((given > 2s && given <= 5s));
}

TEST_CASE("when the budget has run out nothing is tested any more, and what was not tested stays") {
    watched s{2};
    pool p{scripted{s}, bounded{.max = 2}, pre_ping{}, counters{}};
    open_idle(p, 2);
    REQUIRE(becomes(p, {.idle = 2}));
    const auto before = s.calls(site::ping);
    s.on(site::ping, [](const testing::call&) {
        for (const auto end = now() + 20ms; now() < end;) std::this_thread::yield(); // a driver that does not keep its word
        throw 1;
    });
    failure why;
    CHECK_FALSE(p.acquire(10ms, why));
    CHECK(why.code == errc::validation_failed);
    CHECK(s.calls(site::ping) == before + 1);
    REQUIRE(becomes(p, {.idle = 1}));
    s.clear(site::ping);
    check_capacity(p, 2);
}

TEST_CASE("an acquire without time begins no test: what needs one stays idle; try_acquire has the test's own limit") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping{}};
    open_idle(p, 1);
    CHECK(code_of([&] { (void)p.acquire(0s); }) == errc::acquire_timeout);
    CHECK(code_of([&] { (void)p.acquire(deadline{now() - 1h}); }) == errc::acquire_timeout);
    CHECK(s.calls(site::ping) == 0);
    CHECK(gauges_of(p) == gauges{.idle = 1});
    CHECK(p.try_acquire()->id() == 1);
    CHECK(s.calls(site::ping) == 1);
}

TEST_CASE("a connection opened for this very acquire is not tested, whoever opened it") {
    watched s{1};
    recorder sink;
    pool p{scripted{s}, bounded{.max = 1}, pre_ping{}, sink};
    { const auto held = p.acquire(timeout{patience}); }
    CHECK(s.calls(site::ping) == 0);
    { const auto held = p.acquire(timeout{patience}); }
    CHECK(s.calls(site::ping) == 1);
}

TEST_CASE("a hung ping means dead: the next connection is tried, and the budget does not start again") {
    SECTION("under manual another one is opened") {
        watched s{1};
        pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping{}};
        open_idle(p, 1);
        time_point pinged{}, open_by{};
        s.on(site::ping, [&](const testing::call&) { pinged = now(); });
        s.on(site::open, [&](const testing::call& c) { open_by = c.by.at(); });
        s.next(site::ping, outcome::until_deadline());
        CHECK(p.acquire(400ms)->id() == 2);
        CHECK(open_by <= pinged + 400ms);
    }
    SECTION("with a background thread the next idle one is taken, then a new one") {
        watched s{3};
        pool p{scripted{s}, bounded{.max = 3}, pre_ping{.timeout = 5ms}};
        open_idle(p, 3);
        const auto before = s.calls(site::ping);
        std::vector<time_point> by;
        std::mutex m;
        s.on(site::ping, [&](const testing::call& c) {
            const std::scoped_lock lock{m};
            by.push_back(c.by.at());
        });
        s.next(site::ping, outcome::until_deadline(), 2);
        auto held = p.acquire(timeout{patience});
        CHECK(good(held));
        CHECK(s.calls(site::ping) == before + 3);
        CHECK(s.opened() == 3);
        s.clear(site::ping);
        held.give_back();
        check_capacity(p, 3);
    }
}

TEST_CASE("when all fail their test until the budget ends, the error says so") {
    watched s{2};
    pool p{scripted{s}, bounded{.max = 2}, pre_ping{}, connect_timeout{20ms}, backoff{.first = 1us, .max = 1us}};
    open_idle(p, 2);
    s.always(site::ping, outcome::fail(error_class::disconnected));
    s.always(site::open, outcome::until_deadline()); // and no other comes in time
    failure why;
    CHECK_FALSE(p.acquire(30ms, why));
    CHECK(why.code == errc::validation_failed);
    CHECK(why.code == std::errc::timed_out);
    s.clear(site::ping);
    s.clear(site::open);
    check_capacity(p, 2);
}

TEST_CASE("the time that a hung test took is part of what the error says was waited") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping{}};
    open_idle(p, 1);
    s.next(site::ping, outcome::until_deadline()); // a quarter of the budget
    s.always(site::open, outcome::until_deadline());
    failure why;
    CHECK_FALSE(p.acquire(20ms, why));
    REQUIRE(why.seen);
    CHECK(why.seen->waited >= 20ms);
}

TEST_CASE("a connection that fails its test in the background pool goes to nobody else, and its place is refilled") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, bounded{.max = 1}, clock::manual{time}};
    for (int i = 0; i < 20; ++i) {
        open_idle(p, 1);
        time.advance(1s);
        s.lose_all();
        CHECK(p.acquire(timeout{patience})->generation() == s.generation());
    }
    CHECK(s.opened() == 21);
}
