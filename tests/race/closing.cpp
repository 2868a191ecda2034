// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The end of a pool, with everything going on.
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>

#include "crowd.hpp"
#include "variants.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <latch>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::background_thread;
using cenote::bounded;
using cenote::errc;
using cenote::manual;
using steady = std::chrono::steady_clock;

namespace {
/// A pool of this variant; its background thread hardly rests after a failure.
template <class V, class... P>
auto make(const script& s, P... policies) {
    if constexpr (std::is_same_v<typename V::keeping, background_thread>) {
        return cenote::pool{scripted{s}, typename V::waiting{}, typename V::locking{}, background_thread{}, cenote::backoff{.first = 1us, .max = 10us}, cenote::no_breaker{},
                            policies...};
    } else {
        return cenote::pool{scripted{s}, typename V::waiting{}, typename V::locking{}, typename V::keeping{}, policies...};
    }
}

std::size_t threads_now() {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{"/proc/self/task"}, std::filesystem::directory_iterator{}));
}
/// A thread that ends is still listed for a moment.
bool threads_come_to(std::size_t n) {
    const auto by = steady::now() + 10s;
    while (threads_now() > n) {
        if (steady::now() > by) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}
} // namespace

TEMPLATE_TEST_CASE("case-D6: closing in the middle of everything", "[race][inv-2][inv-8]", EVERY_VARIANT) {
    constexpr int rounds = 36;
    script s;
    s.limit(3);
    std::atomic<int> wrong{0}, served{0}, refused{0};
    for (int r = 0; r < rounds; ++r) {
        auto db = make<TestType>(s, bounded{.max = 3});
        if (r % 3 == 0) s.next(site::open, outcome::fail(cenote::error_class::refused), 2);
        std::atomic<int> returned{0};
        std::latch start{7};
        std::vector<std::jthread> threads;
        for (int t = 0; t < 5; ++t) {
            threads.emplace_back([&, t] {
                start.arrive_and_wait();
                for (int i = 0;; ++i) {
                    std::error_code why;
                    // Without an end: only closing gets them out.
                    auto lease = db.acquire(cenote::deadline::never(), {}, why);
                    if (!lease) {
                        if (why == errc::pool_closed) break;
                        if (why != errc::connect_failed) ++wrong;
                        continue;
                    }
                    ++served;
                    lease->use();
                    if ((i + t) % 3 == 0) lease->begin();
                    if ((i + t) % 7 == 0) lease.discard();
                }
                ++refused;
            });
        }
        for (int c = 0; c < 2; ++c) { // two closers
            threads.emplace_back([&, c] {
                start.arrive_and_wait();
                std::this_thread::sleep_for(std::chrono::microseconds{(r * 37 + c * 11) % 400});
                if (!db.close(cenote::deadline::in(10s)).drained) ++wrong;
                ++returned;
            });
        }
        threads.clear();
        const auto end = db.stats();
        if (end.total != 0 || end.pending != 0 || returned != 2) ++wrong;
        const auto again = db.close();
        if (!again.drained || again.still_out != 0) ++wrong;
    }
    CHECK(wrong == 0);
    CHECK(refused == rounds * 5);
    std::printf("closing: %d rounds, %d served, all refused at the end\n", rounds, served.load());
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("closing waits for leases until its deadline, and no longer", "[race]", EVERY_VARIANT) {
    script s;
    {
        cenote::pool db{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 2}, cenote::leak_threshold{1ms}};
        auto lease = db.acquire(10s);
        lease.tag("the last one");
        const auto began = steady::now();
        const auto report = db.close(cenote::deadline::in(30ms));
        CHECK(steady::now() - began >= 30ms);
        CHECK_FALSE(report.drained);
        CHECK(report.still_out == 1);
        REQUIRE(report.holders.size() == 1);
        CHECK(report.holders[0].tag == std::string{"the last one"});
        std::jthread late{[&] {
            std::this_thread::sleep_for(20ms);
            lease.give_back();
        }};
        CHECK(db.close(cenote::deadline::in(10s)).drained);
    }
    CHECK(at_rest(s) == none{});
}

TEST_CASE("case-D6: closing while connections are being opened", "[race]") {
    script s;
    {
        gate door;
        s.always(site::open, outcome::ok().after(door));
        cenote::pool db{scripted{s}, background_thread{.max_dials = 3}, bounded{.max = 4}};
        std::atomic<int> closed{0};
        std::vector<std::jthread> waiting;
        for (int t = 0; t < 4; ++t) {
            waiting.emplace_back([&] {
                std::error_code why;
                if (!db.acquire(cenote::deadline::never(), {}, why) && why == errc::pool_closed) ++closed;
            });
        }
        REQUIRE(door.await(3));
        const auto report = db.close(cenote::deadline::in(20ms));
        waiting.clear();
        CHECK(closed == 4);
        CHECK_FALSE(report.drained);
        CHECK(report.still_out == 3);
        CHECK(db.stats().opening == 3);
        door.open();
        CHECK(db.close(cenote::deadline::in(10s)).drained);
        CHECK(s.opened() == 3);
        CHECK(s.closed() == 3);
    }
    CHECK(at_rest(s) == none{});
}

TEST_CASE("case-D6: closing under callers that open connections themselves", "[race]") {
    script s;
    s.always(site::open, outcome::ok().after(2ms));
    {
        cenote::pool db{scripted{s}, manual{}, bounded{.max = 3}};
        std::atomic<int> wrong{0};
        std::vector<std::jthread> threads;
        for (int t = 0; t < 5; ++t) {
            threads.emplace_back([&] {
                for (;;) {
                    std::error_code why;
                    auto lease = db.acquire(cenote::deadline::never(), {}, why);
                    if (!lease) {
                        if (why != errc::pool_closed) ++wrong;
                        return;
                    }
                    lease.discard();
                }
            });
        }
        std::this_thread::sleep_for(15ms);
        CHECK(db.close(cenote::deadline::in(10s)).drained);
        threads.clear();
        CHECK(wrong == 0);
        CHECK(db.close(cenote::deadline::in(10s)).drained);
        CHECK(db.stats().total == 0);
    }
    CHECK(at_rest(s) == none{});
}

TEST_CASE("no thread is left behind", "[race][alone]") {
    std::thread{[] {}}.join(); // what a sanitizer starts by itself is there now
    std::this_thread::sleep_for(10ms);
    const std::size_t before = threads_now();
    for (int r = 0; r < 100; ++r) {
        script s;
        {
            cenote::pool db{scripted{s}, background_thread{.max_dials = 3}, bounded{.min_idle = static_cast<unsigned>(r % 3), .max = 4}, cenote::cut_at_close{1ms}};
            std::vector<decltype(db.acquire())> all;
            for (int i = 0; i < r % 4; ++i) all.push_back(db.acquire(10s));
            if (r % 5 == 0) (void)db.close(cenote::deadline::in(1ms));
            if (r % 7 == 0) {
                auto moved = std::move(db);
                CHECK(moved.stats().used == all.size());
            }
        }
        CHECK(at_rest(s) == none{});
    }
    CHECK(threads_come_to(before));

    script s;
    gate stuck;
    s.next(site::open, outcome::ok().after(stuck), 2);
    {
        cenote::pool db{scripted{s}, background_thread{.max_dials = 2, .patience = 1ms}, bounded{.min = 2, .max = 4}};
        REQUIRE(stuck.await(2));
    }
    CHECK(threads_now() > before); // they cannot be had back while the driver keeps them
    stuck.open();
    CHECK(threads_come_to(before));
    CHECK(at_rest(s) == none{});
}

TEST_CASE("a pool that nobody used has no thread", "[race][alone]") {
    const std::size_t before = threads_now();
    script s;
    cenote::pool db{scripted{s}};
    (void)db.stats();
    CHECK(threads_now() == before);
}
