// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"
#include "unit/shell/allocations.hpp"

#include <cenote/drivers/null.hpp>

#include <catch2/catch_template_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstddef>
#include <thread>
#include <vector>

using namespace pool_test;
using alloc_test::made_here;

TEMPLATE_TEST_CASE("a fixed pool without a lock uses no heap", "", lock_free, thread_affine) {
    const std::size_t before = made_here();
    {
        pool p{null{}, TestType{}, manual{}, fixed<5>{}, no_metrics{}};
        auto a = p.acquire();
        auto b = p.acquire();
        a.give_back();
        b.give_back();
        for (int i = 0; i < 100; ++i) {
            auto l = p.acquire();
            CHECK(l);
        }
        CHECK(p.try_acquire());
    }
    CHECK(made_here() == before);
}

TEMPLATE_TEST_CASE("without a lock, a steady state of acquire and give back allocates nothing", "", lock_free, thread_affine) {
    pool p{null{}, TestType{}, bounded{.max = 3}};
    for (int round = 0; round < 2; ++round) {
        const std::size_t before = made_here();
        for (int i = 0; i < 100; ++i) {
            auto a = p.acquire();
            auto b = p.acquire();
            auto c = p.acquire();
            c.give_back();
            CHECK(p.try_acquire());
        }
        if (round == 1) CHECK(made_here() == before);
    }
}

TEMPLATE_TEST_CASE("without a lock, a pool grows to its ceiling, past one word, and shrinks again", "", lock_free, thread_affine) {
    script s;
    s.limit(150);
    {
        pool p{scripted{s}, TestType{}, manual{}, bounded{.max = 1, .ceiling = 150}};
        check_capacity(p, 1);
        for (const unsigned max : {3U, 62U, 63U, 150U, 40U, 1U, 150U}) {
            p.resize(max);
            INFO("max " << max);
            check_capacity(p, max);
            CHECK(p.stats().total <= max);
        }
        CHECK_THROWS_AS(p.resize(151), std::invalid_argument);
    }
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("under thread_affine a thread gets the connection that it had") {
    constexpr unsigned threads = 4; // a power of two, and one word for each
    script s;
    {
        pool p{scripted{s}, thread_affine{}, manual{}, bounded{.max = threads}};
        check_capacity(p, threads); // all are open
        std::barrier meet{static_cast<std::ptrdiff_t>(threads)};
        std::atomic<int> strangers{0};
        std::vector<std::size_t> own(threads);
        std::vector<std::jthread> crew;
        for (auto& mine : own) {
            crew.emplace_back([&] {
                mine = static_cast<std::size_t>(p.acquire(timeout{patience})->id());
                meet.arrive_and_wait();
                for (int i = 0; i < 1000; ++i) {
                    if (static_cast<std::size_t>(p.acquire(timeout{patience})->id()) != mine) ++strangers;
                }
            });
        }
        crew.clear();
        CHECK(strangers == 0);
        std::sort(own.begin(), own.end());
        CHECK(std::unique(own.begin(), own.end()) == own.end());
    }
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("without a lock the connection that came back last on this thread is the next") {
    script s;
    {
        pool p{scripted{s}, lock_free{}, manual{}, bounded{.max = 8}};
        auto a = p.acquire();
        const auto id = a->id();
        a.give_back();
        for (int i = 0; i < 100; ++i) CHECK(p.acquire()->id() == id);
        CHECK(s.opened() == 1);
    }
    CHECK(s.violations_at_end().empty());
}
