// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace pool_test;
using Catch::Matchers::Message;

namespace {

constexpr backoff restless{.first = 1us, .max = 1us};

struct in_background {
    static constexpr bool threads = true;
    static auto make(script s, auto... policies) { return pool{scripted{s}, policies...}; }
    static auto make_restless(script s, auto... policies) { return pool{scripted{s}, restless, policies...}; }
};
struct by_hand {
    static constexpr bool threads = false;
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, policies...}; }
    static auto make_restless(script s, auto... policies) { return make(s, policies...); }
};

} // namespace

TEMPLATE_TEST_CASE("warm_up opens so many, and those that are open already count", "", in_background, by_hand) {
    watched s{5};
    auto p = TestType::make(s, bounded{.max = 5});
    warm_report r = p.warm_up(3);
    CHECK(r);
    CHECK(r.ready);
    CHECK(r.open == 3);
    CHECK(r.took > 0s);
    CHECK_FALSE(r.why);
    CHECK(gauges_of(p) == gauges{.idle = 3});
    auto held = p.acquire(timeout{patience});
    r = p.warm_up(2); // done before it began
    CHECK(r);
    CHECK(r.open == 3);
    CHECK(p.warm_up(5).open == 5);
    CHECK(gauges_of(p) == gauges{.idle = 4, .used = 1});
    CHECK(s.opened() == 5);
    held.give_back();
    CHECK(p.trim() == 5); // nothing keeps them
}

TEST_CASE("warm_up opens max_dials at a time, or one after the other under manual") {
    {
        watched s{8};
        door opening;
        pool p{scripted{s}, bounded{.max = 8}, background_thread{.max_dials = 3}};
        s.always(site::open, outcome::ok().after(opening));
        warm_report r;
        std::jthread warming{[&] { r = p.warm_up(8, deadline::in(patience)); }};
        REQUIRE(opening.await(3));
        CHECK(gauges_of(p) == gauges{.opening = 3});
        opening.open();
        warming.join();
        CHECK(r);
        CHECK(s.opened() == 8);
        CHECK(s.most_open() == 8);
        s.clear(site::open);
    }
    {
        watched s{4};
        pool p{scripted{s}, manual{}, bounded{.max = 4}};
        std::vector<std::uint64_t> opening;
        const auto me = std::this_thread::get_id();
        s.on(site::open, [&](const cenote::testing::call&) {
            if (std::this_thread::get_id() == me) opening.push_back(p.stats().opening);
        });
        CHECK(p.warm_up(4));
        CHECK(opening == std::vector<std::uint64_t>{1, 1, 1, 1});
    }
}

TEMPLATE_TEST_CASE("several calls at once share the work, and the greatest number counts", "", in_background, by_hand) {
    for (int round = 0; round < 20; ++round) {
        watched s{6};
        auto p = TestType::make(s, bounded{.max = 6});
        std::vector<warm_report> reports(4);
        std::vector<std::jthread> all;
        for (std::size_t i = 0; i < reports.size(); ++i) {
            all.emplace_back([&, i] { reports[i] = p.warm_up(static_cast<unsigned>(i) + 3, deadline::in(patience)); });
        }
        all.clear();
        for (std::size_t i = 0; i < reports.size(); ++i) {
            CHECK(reports[i]);
            CHECK(reports[i].open >= i + 3);
        }
        CHECK(s.opened() == 6);
        CHECK(becomes(p, {.idle = 6}));
    }
}

TEST_CASE("once warm_up has ended, nothing wants its connections any more") {
    watched s{10};
    pool p{scripted{s}, bounded{.max = 10}};
    CHECK(p.warm_up(4));
    CHECK(p.trim() == 4);
    REQUIRE(becomes(p, {}));
    (void)p.maintain();
    CHECK(good(p.acquire(timeout{patience})));
    CHECK(s.opened() == 5);
}

TEMPLATE_TEST_CASE("a number that is no number of connections is refused", "", in_background, by_hand) {
    watched s{3};
    auto p = TestType::make(s, bounded{.max = 3});
    CHECK_THROWS_MATCHES(p.warm_up(0), std::invalid_argument, Message("cenote: warm_up(n) = 0: must be 1 to max, which is 3"));
    CHECK_THROWS_MATCHES(p.warm_up(4), std::invalid_argument, Message("cenote: warm_up(n) = 4: must be 1 to max, which is 3"));
    CHECK(s.calls(site::open) == 0);
    CHECK(p.warm_up(3));
}

TEST_CASE("warm_up tries again what may pass, until it is ready or out of time") {
    watched s{2};
    pool p{scripted{s}, bounded{.max = 2}, restless};
    s.next(site::open, outcome::fail(error_class::refused), 7);
    CHECK(p.warm_up(2, deadline::in(patience)));
    CHECK(s.calls(site::open) == 9);
    CHECK(p.trim() == 2);
    REQUIRE(becomes(p, {}));

    s.always(site::open, outcome::fail(error_class::not_ready, "starting up"));
    const warm_report r = p.warm_up(1, deadline::in(30ms));
    CHECK_FALSE(r);
    CHECK(r.open == 0);
    CHECK(r.took >= 30ms);
    CHECK(r.why.code == errc::connect_timeout);
    REQUIRE(r.why.seen);
    CHECK(r.why.seen->last_connect_error.text == "starting up");
    s.clear(site::open);
}

TEMPLATE_TEST_CASE("what will not pass ends warm_up, but not the next one", "", in_background, by_hand) {
    watched s{3};
    auto p = TestType::make_restless(s, bounded{.max = 3});
    s.next(site::open, outcome::ok()).always(site::open, outcome::fail(error_class::auth, "password wrong"));
    for (int i = 0; i < 3; ++i) {
        const std::size_t before = s.calls(site::open);
        CHECK(eventually([&] { // at once but for an attempt that the call before had begun
            const warm_report r = p.warm_up(3, deadline::in(std::chrono::hours{24}));
            CHECK_FALSE(r);
            CHECK(r.open == 1);
            CHECK(r.why.code == errc::connect_failed);
            REQUIRE(r.why.seen);
            CHECK(r.why.seen->last_connect_error.kind == error_class::auth);
            return s.calls(site::open) > before;
        }));
    }
    s.clear(site::open);
    CHECK(eventually([&] { return p.warm_up(3, deadline::in(patience)).ready; }));
}

TEST_CASE("under manual the caller of warm_up opens, with what is left of its time, and gets the first failure") {
    watched s{2};
    pool p{scripted{s}, manual{}, bounded{.max = 2}, connect_timeout{5s}};
    std::vector<duration> left;
    s.on(site::open, [&](const cenote::testing::call& c) { left.push_back(c.by.remaining()); });
    CHECK(p.warm_up(1, deadline::in(1h)));
    CHECK(p.warm_up(2, deadline::in(2s)));
    REQUIRE(left.size() == 2);
    CHECK((left[0] > 2s && left[0] <= 5s));
    CHECK(left[1] <= 2s);
    CHECK(p.trim() == 2);
    (void)p.maintain();
    s.next(site::open, outcome::fail(error_class::refused));
    const warm_report r = p.warm_up(2, deadline::in(1h));
    CHECK(r.why.code == errc::connect_failed);
    CHECK(s.calls(site::open) == 3);
    CHECK(p.warm_up(1, deadline{time_point::min()}).why.code == errc::connect_timeout);
    CHECK(s.calls(site::open) == 3);
}

TEMPLATE_TEST_CASE("a hook that throws is a failure like any", "", in_background, by_hand) {
    watched s{1};
    bool fails = true;
    auto p = TestType::make_restless(s, bounded{.max = 1}, on_connect{[&](cenote::testing::scripted_connection&) {
        if (fails) throw std::runtime_error{"no schema"};
    }});
    const warm_report r = p.warm_up(1, deadline::in(patience));
    CHECK_FALSE(r);
    CHECK(r.why.code == (TestType::threads ? errc::connect_failed : errc::hook_failed));
    (void)p.close();
    fails = false;
}

TEST_CASE("what is closed under warm_up's hands is opened again; chores are done on the way") {
    watched s{2};
    pool p{scripted{s}, manual{}, bounded{.max = 2}};
    auto a = p.acquire();
    auto b = p.acquire();
    p.invalidate_all();
    a.give_back();
    CHECK(gauges_of(p) == gauges{.used = 1, .closing = 1}); // waits for somebody with time, and holds the last permit
    CHECK(p.warm_up(2, deadline::in(patience)));
    CHECK(gauges_of(p) == gauges{.idle = 1, .used = 1});
}

TEMPLATE_TEST_CASE("closing the pool ends warm_up at once", "", in_background, by_hand) {
    watched s{2};
    auto p = TestType::make(s, bounded{.max = 2});
    SECTION("before") {
        (void)p.close();
        CHECK(p.warm_up(1, deadline::never()).why.code == errc::pool_closed);
    }
    SECTION("while a dial is stuck, or under manual after it") {
        door stuck;
        s.always(site::open, outcome::ok().after(stuck));
        warm_report r;
        std::jthread warming{[&] { r = p.warm_up(2, deadline::never()); }};
        REQUIRE(stuck.await(1));
        (void)p.close(deadline::in(0s));
        if (TestType::threads) {
            warming.join(); // although no dial has ended
            CHECK(stuck.waiting() >= 1);
        }
        stuck.open();
        if (!TestType::threads) warming.join();
        CHECK_FALSE(r);
        CHECK(r.why.code == errc::pool_closed);
        s.clear(site::open);
    }
    SECTION("while it waits for a suspended pool") {
        p.suspend();
        warm_report r;
        std::jthread warming{[&] { r = p.warm_up(2, deadline::never()); }};
        (void)p.close(deadline::in(0s));
        warming.join();
        CHECK(r.why.code == errc::pool_closed);
    }
}

TEST_CASE("closing the pool ends warm_up while the background thread rests after a failure") {
    watched s{1};
    s.always(site::open, outcome::fail(error_class::refused));
    pool p{scripted{s}, bounded{.max = 1}, backoff{.first = 1h, .max = 1h}};
    warm_report r;
    std::jthread warming{[&] { r = p.warm_up(1, deadline::never()); }};
    REQUIRE(eventually([&] { return s.calls(site::open) >= 1 && p.stats().opening == 0; }));
    (void)p.close(deadline::in(0s));
    warming.join();
    CHECK(r.why.code == errc::pool_closed);
    s.clear(site::open);
}

TEMPLATE_TEST_CASE("a suspended pool is not warmed up until it is resumed", "", in_background, by_hand) {
    watched s{2};
    auto p = TestType::make(s, bounded{.max = 2});
    p.suspend();
    CHECK(p.warm_up(1, deadline::in(5ms)).why.code == errc::connect_timeout);
    CHECK(s.calls(site::open) == 0);
    warm_report r;
    std::jthread warming{[&] { r = p.warm_up(2, deadline::in(patience)); }};
    p.resume();
    warming.join();
    CHECK(r);
}

TEST_CASE("pools of every kind can be warmed up") {
    watched s{30};
    const auto warms = [](auto&& p) {
        CHECK(p.warm_up(2, deadline::in(patience)));
        CHECK(p.stats().idle == 2);
        CHECK(p.ready());
        (void)p.close(deadline::in(patience));
        CHECK_FALSE(p.ready());
    };
    warms(pool{scripted{s}, profile::bare<2>{}});
    warms(pool{scripted{s}, fixed<3>{}});
    warms(pool{scripted{s}, single_threaded{}});
    warms(pool{scripted{s}, lock_free{}});
    warms(pool{scripted{s}, thread_affine{}, fixed<2>{}});
    warms(pool{scripted{s}, no_wait{}, background_thread{}});
    warms(pool{scripted{s}, overflow{.size = 2, .max_overflow = 2}});
}

TEST_CASE("a pool is ready that is open, has its min and min_idle, and whose last attempt succeeded") {
    watched s{4};
    s.always(site::open, outcome::fail(error_class::refused));
    SECTION("nothing is asked of it") {
        pool p{scripted{s}, bounded{.max = 4}, restless};
        CHECK(p.ready());
        CHECK(s.calls(site::open) == 0); // it opens nothing
        std::error_code why;
        CHECK_FALSE(p.acquire(timeout{patience}, why));
        CHECK_FALSE(p.ready());
        s.clear(site::open);
        CHECK(eventually([&] { return static_cast<bool>(p.try_acquire()); }));
        CHECK(p.ready());
    }
    SECTION("min_idle") {
        pool p{scripted{s}, bounded{.min_idle = 2, .max = 4}, restless};
        REQUIRE(s.await(site::open, 3, patience));
        CHECK_FALSE(p.ready());
        s.clear(site::open);
        CHECK(eventually([&] { return p.ready(); }));
        CHECK(s.opened() >= 2);
        auto held = p.acquire(timeout{patience});
        CHECK(p.ready()); // one that is out is there, too
    }
    SECTION("min, by hand") {
        pool p{scripted{s}, manual{}, bounded{.min = 2, .max = 4}};
        CHECK_FALSE(p.ready());
        (void)p.maintain();
        CHECK_FALSE(p.ready());
        s.clear(site::open);
        (void)p.maintain();
        CHECK(p.ready());
        CHECK(p.trim([](const auto&) noexcept { return true; }) == 0);
        p.invalidate_all();
        CHECK_FALSE(p.ready());
    }
}
