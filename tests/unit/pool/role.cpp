// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <stdexcept>
#include <vector>

using namespace pool_test;

TEST_CASE("a connection to a server of the other role is closed, and the error says what it was") {
    watched s{1};
    s.always(site::role, outcome::see(server_role::standby));
    recorder sink;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, require_role{}, sink, counters{}};
    failure why;
    CHECK_FALSE(p.acquire(timeout{patience}, why));
    CHECK(why.code == errc::connect_failed);
    REQUIRE(why.seen);
    CHECK(why.seen->last_connect_error.kind == error_class::wrong_role);
    CHECK(why.seen->last_connect_error.text == "the server is a standby, and the pool asks for a primary");
    CHECK(gauges_of(p) == gauges{});
    CHECK(ended(p, close_reason::wrong_role) == 1);
    CHECK(sink.to->take() == lines{"opened", "open failed: the server is a standby, and the pool asks for a primary", "closed: wrong_role", "waited",
                                   "refused: connect failed"});
    s.clear(site::role);
    CHECK(good(p.acquire()));
}

TEST_CASE("a pool may want a standby, and believes a driver that cannot tell") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, require_role{server_role::standby}};
    failure why;
    CHECK_FALSE(p.acquire(timeout{patience}, why));
    REQUIRE(why.seen);
    CHECK(why.seen->last_connect_error.text == "the server is a primary, and the pool asks for a standby");
    s.next(site::role, outcome::see(server_role::standby));
    CHECK(good(p.acquire()));
    CHECK(p.trim() == 1);
    (void)p.maintain();
    s.next(site::role, outcome::see(server_role::unknown));
    CHECK(good(p.acquire()));
    CHECK(s.opened() == 3);
}

TEST_CASE("the background thread tries again with backoff until the role is right") {
    watched s{2};
    s.next(site::role, outcome::see(server_role::standby), 2);
    pool p{scripted{s}, bounded{.max = 2}, backoff{.first = 1us, .max = 1us}, require_role{}, counters{}};
    CHECK(p.acquire(timeout{patience})->id() == 3);
    CHECK(ended(p, close_reason::wrong_role) == 2);
    CHECK(s.most_open() == 1); // one at a time after a failure
}

TEST_CASE("a role that cannot be asked for is a failed connect, whatever is thrown") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, require_role{}, counters{}};
    for (const auto& fails : {outcome::fail(error_class::timeout, "late"), outcome::throw_std("late"), outcome::throw_int()}) {
        s.next(site::role, fails);
        std::error_code why;
        CHECK_FALSE(p.acquire(timeout{patience}, why));
        CHECK((why == errc::connect_failed || why == errc::connect_timeout));
        CHECK(gauges_of(p) == gauges{});
    }
    CHECK(ended(p, close_reason::wrong_role) == 0);
    CHECK(ended(p, close_reason::validation) == 3);
    CHECK(good(p.acquire()));
}

TEST_CASE("the role is asked before on_connect, with what is left of the time to connect") {
    watched s{1};
    std::vector<std::string> order;
    s.on(site::role, [&](const cenote::testing::call& c) {
        order.emplace_back("role");
        CHECK(c.by.remaining() <= 5s);
    });
    pool p{scripted{s}, manual{}, bounded{.max = 1}, connect_timeout{5s}, require_role{},
           on_connect{[&](cenote::testing::scripted_connection&) { order.emplace_back("on_connect"); }}};
    (void)p.acquire();
    CHECK(order == std::vector<std::string>{"role", "on_connect"});
}

TEST_CASE("what is pinged is asked afterwards, what is peeked at is not") {
    watched s{1};
    manual_clock time;
    SECTION("pinged") {
        pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping{}, require_role{}};
        p.acquire().give_back();
        CHECK(s.calls(site::role) == 1);
        p.acquire().give_back();
        CHECK(s.calls(site::ping) == 1);
        CHECK(s.calls(site::role) == 2);
        s.next(site::ping, outcome::fail(error_class::timeout));
        p.acquire().give_back();
        CHECK(s.calls(site::role) == 3); // of the new one
        CHECK(s.opened() == 2);
    }
    SECTION("peeked at") {
        pool p{scripted{s}, manual{}, bounded{.max = 1}, peek_after{.idle = 0ms}, require_role{}};
        p.acquire().give_back();
        p.acquire().give_back();
        CHECK(s.calls(site::peek) == 1);
        CHECK(s.calls(site::role) == 1);
    }
    SECTION("a suspect, which is pinged") {
        pool p{scripted{s}, manual{}, bounded{.max = 2}, require_role{}, clock::manual{time}};
        s.limit(2);
        auto held = hold(p, 2);
        held[0].discard(error_class::disconnected);
        held.clear();
        p.acquire().give_back();
        CHECK(s.calls(site::role) == 3);
    }
    SECTION("tested by keepalive") {
        pool p{scripted{s}, manual{}, bounded{.max = 1}, keepalive{.every = 10s}, require_role{}, clock::manual{time}};
        p.acquire().give_back();
        time.advance(10s);
        (void)p.maintain();
        CHECK(s.calls(site::ping) == 1);
        CHECK(s.calls(site::role) == 2);
    }
}

TEST_CASE("one connection that shows the wrong role ends them all") {
    watched s{3};
    manual_clock time;
    const auto demoted = [&](auto& p, auto test) {
        auto held = hold(p, 3);
        auto out = std::move(held[0]);
        held.clear();
        s.next(site::role, outcome::see(server_role::standby));
        test();
        (void)p.maintain();
        CHECK(ended(p, close_reason::wrong_role) == 1);
        CHECK(ended(p, close_reason::invalidated) == 1);
        CHECK(p.stats().validation_failed == 1);
        CHECK(gauges_of(p) == gauges{.used = 1});
        out.give_back();
        (void)p.maintain();
        CHECK(ended(p, close_reason::invalidated) == 2);
    };
    SECTION("at a checkout") {
        pool p{scripted{s}, manual{}, bounded{.max = 3}, pre_ping{}, require_role{}, counters{}, clock::manual{time}};
        demoted(p, [&] { p.acquire().discard(); }); // another one, opened meanwhile
        CHECK(ended(p, close_reason::discarded) == 1);
    }
    SECTION("at a keepalive test") {
        pool p{scripted{s}, manual{}, bounded{.max = 3}, keepalive{.every = 10s, .jitter = 0.0}, require_role{}, counters{}, clock::manual{time}};
        demoted(p, [&] {
            time.advance(10s);
            (void)p.maintain();
        });
    }
}

// It answers pings, and everything else with an error, which the MySQL driver calls wrong_role.
TEST_CASE("a Galera node loses its quorum (1047): every older connection ends, new ones are tried with backoff, and all are told why") {
    const bool comes_back = GENERATE(false, true);
    const duration rest = comes_back ? duration{1us} : duration{1h};
    watched s{3};
    const auto unprepared = outcome::fail(error_class::wrong_role, "WSREP has not yet prepared node for application use", 1047, "08S01");
    pool p{scripted{s}, bounded{.max = 3}, background_thread{.max_dials = 1}, backoff{.first = rest, .max = rest}, breaker{1}, require_role{}, counters{}};
    auto held = hold(p, 3);
    auto out = std::move(held[0]);
    held.clear();
    s.always(site::execute, unprepared).always(site::role, unprepared);
    try {
        p.with(timeout{patience}, [&](auto& c) { p.driver().execute(c, "insert", deadline::in(patience)); });
        FAIL("nothing was thrown");
    } catch (const driver_error& e) {
        CHECK(e.kind() == error_class::wrong_role);
        CHECK(e.native_code() == 1047);
    }
    CHECK(eventually([&] { return ended(p, close_reason::invalidated) == 1; })); // the other one that was idle
    out.give_back();
    CHECK(eventually([&] { return ended(p, close_reason::invalidated) == 2; })); // and that, though it worked so far
    CHECK(ended(p, close_reason::wrong_role) + ended(p, close_reason::discarded) == 1);
    const auto tells_why = [](const failure& why) {
        if (!why.seen) return false;
        const connect_error& last = why.seen->last_connect_error;
        return last.kind == error_class::wrong_role && last.native_code == 1047 && last.sqlstate == "08S01" && last.text.find("WSREP") != last.text.npos;
    };
    failure why;
    for (int i = 0; i < 20; ++i) {
        CHECK_FALSE(p.acquire(timeout{patience}, why)); // at once
        CHECK(why.code == errc::breaker_open);
        CHECK(tells_why(why));
    }
    CHECK(becomes(p, {}));
    if (!comes_back) {
        CHECK(s.calls(site::open) == 4); // one attempt, and then the pause
        return;
    }
    s.clear(site::execute).clear(site::role);
    CHECK(eventually([&] { return good(p.acquire(timeout{patience}, why)); }));
    p.with(timeout{patience}, [&](auto& c) { p.driver().execute(c, "insert", deadline::in(patience)); });
    check_capacity(p, 3);
}

TEST_CASE("a pool that asks for no role never asks") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping{}, any_role{}};
    p.acquire().give_back();
    p.acquire().give_back();
    CHECK(s.calls(site::ping) == 1);
    CHECK(s.calls(site::role) == 0);
}

TEST_CASE("pools of every kind can want a role") {
    watched s{10};
    s.always(site::role, outcome::see(server_role::standby));
    const auto refuses = [](auto&& p) {
        std::error_code why;
        CHECK_FALSE(p.acquire(20ms, why));
        CHECK((why == errc::connect_failed || why == errc::acquire_timeout));
        CHECK(eventually([&] { return p.stats().total == 0; }));
    };
    refuses(pool{scripted{s}, profile::bare<1>{}, require_role{}});
    refuses(pool{scripted{s}, fixed<1>{}, require_role{}});
    refuses(pool{scripted{s}, single_threaded{}, require_role{}});
    refuses(pool{scripted{s}, lock_free{}, require_role{}, no_breaker{}});
    CHECK_THROWS_AS((pool{scripted{s}, require_role{server_role::unknown}}), std::invalid_argument);
}
