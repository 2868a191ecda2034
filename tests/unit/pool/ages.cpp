// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <cstddef>
#include <vector>

using namespace pool_test;

namespace {
constexpr time_point t0 = manual_clock::start;
} // namespace

TEST_CASE("a connection past its max_lifetime is replaced at checkout") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, max_lifetime{10s, 0.0}, no_idle_timeout{}, no_validation{}, counters{}, clock::manual{time}};
    CHECK(p.acquire()->id() == 1);
    time.advance(10s - 1ns);
    CHECK(p.acquire()->id() == 1);
    time.advance(1ns);
    CHECK(p.acquire()->id() == 2);
    CHECK(p.template get<counters>().closed_for(close_reason::age) == 1);
    CHECK(p.stats().validation_failed == 0);
    CHECK(s.closed() == 1);
}

TEST_CASE("a lease is never cut by age; its connection is closed when it comes back") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, max_lifetime{10s, 0.0}, counters{}, clock::manual{time}};
    auto held = p.acquire();
    time.advance(1h);
    (void)p.maintain();
    CHECK(good(held));
    CHECK(s.closed() == 0);
    held.give_back();
    CHECK(gauges_of(p) == gauges{.closing = 1});
    CHECK(p.acquire()->id() == 2); // the acquire that found nothing idle did it first
    CHECK(p.template get<counters>().closed_for(close_reason::age) == 1);
}

TEST_CASE("a connection past its max_lifetime is closed while idle, whatever min says, and then replaced") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.min_idle = 1, .min = 2, .max = 2}, max_lifetime{10s, 0.0}, counters{}, clock::manual{time}};
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2});
    time.advance(10s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2});
    CHECK(s.opened() == 4);
    CHECK(p.template get<counters>().closed_for(close_reason::age) == 2);
}

TEST_CASE("connections opened together do not end together: ends are spread over the last tenth of max_lifetime") {
    watched s{200};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 200}, max_lifetime{1000s}, no_idle_timeout{}, clock::manual{time}};
    open_idle(p, 200);
    time.advance(899s);
    (void)p.maintain();
    CHECK(gauges_of(p).idle == 200);
    std::size_t before = 200;
    for (int tenth = 0; tenth < 10; ++tenth) {
        time.advance(10s);
        (void)p.maintain();
        const std::size_t now = gauges_of(p).idle;
        CHECK(before - now < 60); // 20 on average
        if (tenth == 4) CHECK((now > 50 && now < 150));
        before = now;
    }
    time.advance(1s);
    (void)p.maintain();
    CHECK(gauges_of(p).idle == 0);
}

TEST_CASE("idle_timeout closes what nobody used, counted from the last return") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 3}, idle_timeout{10s}, no_max_lifetime{}, with_mutex{}, counters{}, clock::manual{time}};
    open_idle(p, 3);
    time.advance(6s);
    p.acquire().give_back(); // one of them is used again
    time.advance(4s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1});
    CHECK(p.acquire()->id() == 3);
    time.advance(10s - 1ns);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1});
    time.advance(1ns);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});
    CHECK(p.template get<counters>().closed_for(close_reason::idle) == 3);
}

TEST_CASE("idle_timeout spares min_idle and min") {
    watched s{10};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.min_idle = 2, .max = 5}, idle_timeout{10s}, clock::manual{time}};
    open_idle(p, 5);
    time.advance(1min);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2});
    CHECK(s.opened() == 5);

    pool q{scripted{s}, manual{}, bounded{.min = 3, .max = 5}, idle_timeout{10s}, clock::manual{time}};
    open_idle(q, 5);
    auto held = q.acquire();
    time.advance(1min);
    (void)q.maintain();
    CHECK(gauges_of(q) == gauges{.idle = 2, .used = 1});
    held.give_back();
    time.advance(1min);
    (void)q.maintain();
    CHECK(gauges_of(q) == gauges{.idle = 3});
    CHECK(s.opened() == 10);
}

TEST_CASE("an idle connection is not closed for idleness at checkout") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, idle_timeout{10s}, clock::manual{time}};
    open_idle(p, 1);
    time.advance(1min);
    CHECK(p.acquire()->id() == 1);
}

TEST_CASE("a connection is closed after max_uses leases") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, max_uses{3}, counters{}};
    std::vector<std::size_t> ids;
    for (int i = 0; i < 7; ++i) ids.push_back(p.acquire()->id());
    CHECK(ids == std::vector<std::size_t>{1, 1, 1, 2, 2, 2, 3});
    CHECK(p.template get<counters>().closed_for(close_reason::uses) == 2);
    CHECK(p.stats().leases == 7);
}

TEST_CASE("no_age_limit leaves connections alone for ever") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, no_age_limit{}, no_validation{}, clock::manual{time}};
    open_idle(p, 1);
    time.advance(std::chrono::years{100});
    (void)p.maintain();
    CHECK(p.acquire()->id() == 1);
}

TEST_CASE("maintain() says when it is next due") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, max_lifetime{10s, 0.0}, idle_timeout{4s}, leak_threshold{7s}, clock::manual{time}};
    CHECK(p.maintain() == t0 + 4s); // nothing is there; what comes now can be due in idle_timeout at the soonest
    auto held = p.acquire();
    CHECK(p.maintain() == t0 + 4s);
    time.advance(1s);
    held.give_back();
    CHECK(p.maintain() == t0 + 5s); // its idleness ends first
    time.advance(2s);
    CHECK(p.maintain() == t0 + 5s);
    held = p.acquire();
    time.advance(4s);
    held.give_back(); // at 7 s: of age at 10 s, which is before its idleness ends
    CHECK(p.maintain() == t0 + 10s);
    time.advance(3s);
    CHECK(p.maintain() == t0 + 14s);
    CHECK(gauges_of(p) == gauges{});
    held = p.acquire(); // at 10 s: a suspected leak at 17 s
    time.advance(5s);
    CHECK(p.maintain() == t0 + 17s);
    time.advance(2s);
    CHECK(p.maintain() == t0 + 21s);
}

TEST_CASE("maintain() of a pool with nothing to come is due in half a minute") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, no_age_limit{}, clock::manual{time}};
    CHECK(p.maintain() == t0 + 30s);
    time.set(time_point::max() - 1s);
    CHECK(p.maintain() == time_point::max());
}

TEST_CASE("the background thread retires what is too old or idle for too long by itself") {
    watched s{4};
    SECTION("too old") {
        pool p{scripted{s}, bounded{.max = 4}, max_lifetime{30ms}, no_idle_timeout{}, counters{}, clock::steady{}};
        open_idle(p, 2);
        REQUIRE(becomes(p, {}));
        CHECK(p.template get<counters>().closed_for(close_reason::age) == p.stats().closed);
    }
    SECTION("idle for too long") {
        pool p{scripted{s}, bounded{.max = 4}, idle_timeout{30ms}, counters{}, clock::steady{}};
        open_idle(p, 2);
        REQUIRE(becomes(p, {}));
        CHECK(p.template get<counters>().closed_for(close_reason::idle) == p.stats().closed);
    }
}
