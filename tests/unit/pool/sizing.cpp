// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <atomic>
#include <concepts>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using namespace pool_test;

namespace {

struct in_background {
    static constexpr bool threads = true;
    static auto make(script s, auto... policies) { return pool{scripted{s}, policies...}; }
};
struct by_hand {
    static constexpr bool threads = false;
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, policies...}; }
};

} // namespace

TEMPLATE_TEST_CASE("there are never more connections than max, however many threads ask", "", in_background, by_hand) {
    watched s{3};
    auto p = TestType::make(s, bounded{.max = 3});
    std::atomic<unsigned> served{0}, bad{0};
    {
        std::vector<std::jthread> all;
        for (int t = 0; t < 6; ++t) {
            all.emplace_back([&] {
                for (int i = 0; i < 200; ++i) {
                    if (!good(p.acquire(timeout{patience}))) ++bad;
                    ++served;
                }
            });
        }
    }
    CHECK(bad == 0);
    CHECK(served == 1200);
    CHECK(s.most_open() <= 3);
    check_capacity(p, 3);
    CHECK(s.closed() == 0);
}

TEMPLATE_TEST_CASE("beyond size a returned connection is closed, and those within stay", "", in_background, by_hand) {
    watched s{3};
    auto p = TestType::make(s, overflow{.size = 1, .max_overflow = 2});
    for (int round = 0; round < 2; ++round) {
        auto all = hold(p, 3);
        CHECK_FALSE(p.try_acquire());
        for (auto& l : all) l.give_back();
        if (!TestType::threads) {
            CHECK(gauges_of(p) == gauges{.idle = 1, .closing = 2});
            (void)p.maintain();
        }
        CHECK(becomes(p, {.idle = 1}));
    }
    CHECK(s.closed() == 4);
    CHECK(p.stats().max == 3);
}

TEMPLATE_TEST_CASE("an overflow connection goes to somebody who waits instead of being closed", "", in_background, by_hand) {
    watched s{2};
    auto p = TestType::make(s, overflow{.size = 1, .max_overflow = 1}, strictly_fair{});
    auto all = hold(p, 2);
    std::size_t id = 0;
    std::jthread waiter{[&] { id = p.acquire(timeout{patience})->id(); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    const std::size_t given = all[1]->id();
    all[1].give_back();
    waiter.join();
    CHECK(id == given);
    CHECK(s.opened() == 2);
    (void)p.maintain();
    REQUIRE(becomes(p, {.used = 1})); // and when the waiter gave it back, it went
    CHECK(s.closed() == 1);
    all.clear();
    CHECK(gauges_of(p) == gauges{.idle = 1});
}

TEST_CASE("a pool of fixed size keeps its slots inside and opens at most so many") {
    watched s{2};
    {
        pool p{scripted{s}, fixed<2>{}};
        static_assert(!std::is_move_constructible_v<decltype(p)> && !std::is_move_assignable_v<decltype(p)>);
        static_assert(sizeof(p) > 2 * sizeof(testing::scripted_connection));
        check_capacity(p, 2);
        CHECK(s.opened() == 2);
        CHECK(gauges_of(p) == gauges{.idle = 2});
        CHECK(p.stats().max == 2);
        std::atomic<bool> fine{false};
        auto all = hold(p, 2);
        std::jthread waiter{[&] { fine = good(p.acquire(timeout{patience})); }}; // its lock and its queue are there all the same
        REQUIRE(eventually([&] { return p.stats().pending == 1; }));
        all.clear();
        waiter.join();
        CHECK(fine);
    }
    CHECK(s.opened() == 2);
    CHECK(s.closed() == 2);
}

TEST_CASE("a fixed pool can be made by a function") {
    watched s{1};
    const auto make = [&] { return pool{scripted{s}, fixed<1>{}}; };
    auto p = make();
    check_capacity(p, 1);
}

TEST_CASE("min_idle and min are kept by the background thread without anybody asking") {
    SECTION("min_idle") {
        watched s{4};
        pool p{scripted{s}, bounded{.min_idle = 2, .max = 4}};
        REQUIRE(becomes(p, {.idle = 2}));
        auto one = p.acquire();
        REQUIRE(becomes(p, {.idle = 2, .used = 1}));
        auto more = hold(p, 2);
        REQUIRE(becomes(p, {.idle = 1, .used = 3})); // as far as max allows
        for (auto& l : more) l.discard();
        REQUIRE(becomes(p, {.idle = 2, .used = 1}));
    }
    SECTION("min") {
        watched s{4};
        pool p{scripted{s}, bounded{.min = 3, .max = 4}};
        REQUIRE(becomes(p, {.idle = 3}));
        auto one = p.acquire();
        CHECK(gauges_of(p) == gauges{.idle = 2, .used = 1}); // it counts all of them, idle or not
        one.discard();
        REQUIRE(becomes(p, {.idle = 3}));
        CHECK(s.opened() == 4);
    }
    SECTION("through a time when nothing can be opened") {
        script s;
        s.next(site::open, outcome::fail(error_class::refused), 3).next(site::open, outcome::fail(error_class::auth));
        {
            pool p{scripted{s}, bounded{.min = 2, .max = 4}, backoff{.first = 1ms, .max = 1ms}};
            REQUIRE(becomes(p, {.idle = 2}));
        }
        CHECK(s.violations_at_end().empty());
    }
}

TEST_CASE("under manual, maintain() opens what min and min_idle want") {
    watched s{5};
    pool p{scripted{s}, manual{}, bounded{.min_idle = 2, .min = 3, .max = 5}};
    CHECK(gauges_of(p) == gauges{});
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 3});
    auto held = hold(p, 3);
    CHECK(gauges_of(p) == gauges{.used = 3});
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2, .used = 3});
    auto fourth = p.acquire();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1, .used = 4});
    s.always(site::open, outcome::fail(error_class::refused));
    fourth.discard();
    (void)p.maintain(); // fails, and tries again the next time
    CHECK(gauges_of(p) == gauges{.idle = 1, .used = 3});
    s.clear(site::open);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2, .used = 3});
}

TEMPLATE_TEST_CASE("growing takes effect at once, also for those who wait", "", in_background, by_hand) {
    watched s{3};
    auto p = TestType::make(s, bounded{.max = 1, .ceiling = 3});
    auto held = p.acquire(timeout{patience});
    CHECK_FALSE(p.try_acquire());
    CHECK(serves_two(p, [&] { p.resize(3); }));
    CHECK(p.stats().max == 3);
    held.give_back();
    check_capacity(p, 3);
}

TEMPLATE_TEST_CASE("shrinking closes idle connections at once, the coldest first", "", in_background, by_hand) {
    watched s{4};
    auto p = TestType::make(s, bounded{.max = 4}, with_mutex{});
    auto all = hold(p, 4);
    const std::size_t warmest = all[2]->id();
    all[0].give_back();
    all[1].give_back();
    all[3].give_back();
    all[2].give_back();
    p.resize(1);
    CHECK(becomes(p, {.idle = 1}));
    CHECK(s.closed() == 3);
    CHECK(p.acquire()->id() == warmest);
    check_capacity(p, 1);
    p.resize(4);
    check_capacity(p, 4);
}

TEMPLATE_TEST_CASE("case-D8: shrinking cuts no lease; what is too many goes as it comes back", "", in_background, by_hand) {
    watched s{3};
    auto p = TestType::make(s, bounded{.max = 3});
    auto all = hold(p, 3);
    p.resize(1);
    CHECK(p.stats().max == 1);
    CHECK(p.stats().used == 3);
    for (auto& l : all) CHECK(good(l));
    CHECK(s.closed() == 0);
    CHECK_FALSE(p.try_acquire());
    all[0].give_back();
    CHECK_FALSE(p.try_acquire());
    all[1].give_back();
    (void)p.maintain();
    REQUIRE(eventually([&] { return s.closed() == 2; }));
    CHECK_FALSE(p.try_acquire());
    all[2].give_back();
    CHECK(becomes(p, {.idle = 1}));
    CHECK(s.closed() == 2);
    check_capacity(p, 1);
}

TEMPLATE_TEST_CASE("a shrink while suspended is not forgotten when the pool resumes", "", in_background, by_hand) {
    watched s{4};
    auto p = TestType::make(s, bounded{.max = 4});
    auto all = hold(p, 4);
    p.suspend();
    all.clear();
    CHECK(gauges_of(p) == gauges{.idle = 4});
    p.resize(2);
    p.resume();
    (void)p.maintain();
    CHECK(becomes(p, {.idle = 2}));
    check_capacity(p, 2);
}

TEMPLATE_TEST_CASE("what comes back to a suspended pool beyond its size is closed", "", in_background, by_hand) {
    watched s{3};
    auto p = TestType::make(s, overflow{.size = 1, .max_overflow = 2});
    auto all = hold(p, 3);
    p.suspend();
    all.clear();
    (void)p.maintain();
    CHECK(becomes(p, {.idle = 1}));
    p.resume();
    CHECK(becomes(p, {.idle = 1}));
    check_capacity(p, 3);
}

TEST_CASE("resize keeps the size of an overflow pool and moves its maximum") {
    watched s{4};
    pool p{scripted{s}, manual{}, overflow{.size = 2, .max_overflow = 2}};
    p.resize(3);
    CHECK(p.stats().max == 3);
    check_capacity(p, 3);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2});
    p.resize(1);
    CHECK(gauges_of(p) == gauges{.idle = 1});
    p.resize(4);
    check_capacity(p, 4);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2});
    CHECK_THAT(refusal([&] { p.resize(5); }), ContainsSubstring("resize(max) = 5") && ContainsSubstring("ceiling, which is 4"));
}

TEST_CASE("resize refuses what the policy does not allow and leaves everything as it was") {
    watched s{5};
    pool p{scripted{s}, manual{}, bounded{.min_idle = 2, .min = 3, .max = 5, .ceiling = 8}};
    CHECK_THAT(refusal([&] { p.resize(0); }), ContainsSubstring("resize(max) = 0") && ContainsSubstring("1 to the ceiling, which is 8"));
    CHECK_THAT(refusal([&] { p.resize(9); }), ContainsSubstring("resize(max) = 9") && ContainsSubstring("1 to the ceiling, which is 8"));
    CHECK_THAT(refusal([&] { p.resize(2); }), ContainsSubstring("resize(max) = 2") && ContainsSubstring("at least min, which is 3"));
    CHECK_THAT(refusal([&] { p.resize(unlimited); }), ContainsSubstring("ceiling"));
    CHECK(p.stats().max == 5);
    check_capacity(p, 5);
    pool q{scripted{s}, manual{}, bounded{.min_idle = 2, .max = 5}};
    CHECK_THAT(refusal([&] { q.resize(1); }), ContainsSubstring("at least min_idle, which is 2"));
    CHECK(q.stats().max == 5);
}

TEMPLATE_TEST_CASE("case-D8: resizing while threads acquire loses no slot", "", in_background, by_hand) {
    watched s{6};
    auto p = TestType::make(s, bounded{.max = 3, .ceiling = 6});
    std::atomic<bool> stop{false};
    std::atomic<unsigned> bad{0};
    {
        std::vector<std::jthread> all;
        for (int t = 0; t < 4; ++t) {
            all.emplace_back([&] {
                while (!stop) bad += good(p.acquire(timeout{patience})) ? 0U : 1U;
            });
        }
        for (unsigned i = 0; i < 200; ++i) p.resize(1 + i % 6);
        stop = true;
    }
    CHECK(bad == 0);
    p.resize(6);
    (void)p.maintain();
    check_capacity(p, 6);
    p.resize(2);
    (void)p.maintain();
    CHECK(becomes(p, {.idle = 2}));
    check_capacity(p, 2);
}

TEMPLATE_TEST_CASE("idle connections are handed out in the order that was asked for", "", in_background, by_hand) {
    const auto second_round = [](auto& p) {
        auto all = hold(p, 3);
        std::vector<std::size_t> given, got;
        for (auto& l : all) {
            given.push_back(l->id());
            l.give_back();
        }
        for (auto& l : hold(p, 3)) {
            for (std::size_t i = 0; i < 3; ++i) {
                if (l->id() == given[i]) got.push_back(i);
            }
        }
        return got;
    };
    watched s{6};
    auto stack = TestType::make(s, bounded{.max = 3}, with_mutex{});
    CHECK(second_round(stack) == std::vector<std::size_t>{2, 1, 0});
    auto queue = TestType::make(s, bounded{.max = 3}, fifo{});
    CHECK(second_round(queue) == std::vector<std::size_t>{0, 1, 2});
}
