// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/os.hpp>
#include <cenote/detail/sync.hpp>
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

using namespace std::chrono_literals;
using cenote::time_point;

namespace {
namespace os = cenote::detail::os;
const auto now = [] { return std::chrono::steady_clock::now(); };

/// `with_mutex<std::mutex>` with the stand-in that has no futex.
struct portable {
    using family = cenote::family::locking;
    using sync = cenote::detail::real_sync<std::mutex, os::portable_parker>;
    static constexpr bool threads = true;
    template <class Order>
    using idle_set = cenote::detail::idle_locked<Order, sync>;
};
static_assert(cenote::locking_policy<portable>);
} // namespace

TEMPLATE_TEST_CASE("parking returns at once when the word has changed already, whatever the deadline", "", os::portable_parker, os::parker) {
    const std::atomic<std::uint32_t> word{1};
    const time_point began = now();
    TestType::park(word, 0, time_point::max());
    TestType::park(word, 2, began + 1h);
    CHECK(now() - began < 10s);
}

TEMPLATE_TEST_CASE("parking ends at its deadline, not before, and at once if that has passed", "", os::portable_parker, os::parker) {
    const std::atomic<std::uint32_t> word{0};
    const time_point began = now();
    while (now() < began + 20ms) TestType::park(word, 0, began + 20ms);
    CHECK(now() >= began + 20ms);
    CHECK(now() < began + 10s);
    TestType::park(word, 0, began);
    TestType::park(word, 0, time_point{});
    TestType::park(word, 0, time_point{-1h});
    TestType::park(word, 0, time_point::min());
    CHECK(now() < began + 10s);
}

TEMPLATE_TEST_CASE("who is parked without a deadline sleeps until woken by address", "", os::portable_parker, os::parker) {
    for (int round = 0; round < 20; ++round) {
        std::atomic<std::uint32_t> word{0};
        std::thread sleeper{[&] {
            while (word.load() == 0) TestType::park(word, 0, time_point::max());
        }};
        if (round % 2 == 0) std::this_thread::sleep_for(2ms);
        word.store(1);
        TestType::wake(&word);
        sleeper.join();
    }
    SUCCEED("nobody slept for ever");
}

TEMPLATE_TEST_CASE("waking an address where nobody sleeps, or nothing is any more, is nothing", "", os::portable_parker, os::parker) {
    TestType::wake(nullptr);
    auto word = std::make_unique<std::atomic<std::uint32_t>>(0U);
    const volatile auto address = reinterpret_cast<std::uintptr_t>(word.get()); // g++ knows that nobody should use this pointer
    word.reset();
    errno = 42;
    TestType::wake(reinterpret_cast<const void*>(address));
    CHECK(errno == 42);
}

TEST_CASE("a thread is told the processor it runs on, and there is at least one") {
    CHECK(os::processors() >= 1);
    CHECK(os::processors() == os::processors());
#if defined(__linux__)
    cpu_set_t before;
    REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
    for (unsigned i = 0; i < CPU_SETSIZE; ++i) {
        if (!CPU_ISSET(i, &before)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(i, &one);
        if (sched_setaffinity(0, sizeof one, &one) != 0) continue;
        CHECK(os::processor() == i);
    }
    REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
#endif
}

TEST_CASE("threads have numbers of their own, which they keep") {
    const unsigned mine = os::thread_number();
    std::vector<unsigned> seen(4, mine);
    std::vector<std::jthread> crew;
    std::atomic<bool> kept{true};
    for (unsigned& n : seen) {
        crew.emplace_back([&] {
            n = os::thread_number();
            if (os::thread_number() != n) kept = false;
        });
    }
    crew.clear();
    CHECK(kept);
    CHECK(os::thread_number() == mine);
    seen.push_back(mine);
    std::sort(seen.begin(), seen.end());
    CHECK(std::unique(seen.begin(), seen.end()) == seen.end());
}

TEMPLATE_TEST_CASE("a pool on the portable parker hands its one connection around", "", cenote::strictly_fair, cenote::eventually_fair, cenote::barging) {
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 1}, portable{}, TestType{}, cenote::no_acquire_timeout{}};
    static_assert(std::is_same_v<typename decltype(db)::core_type::sync, portable::sync>);
    constexpr int threads = 3, turns = 300;
    std::atomic<int> holding{0}, crowds{0};
    int total = 0; // the lease guards it
    std::vector<std::jthread> crew;
    for (int t = 0; t < threads; ++t) {
        crew.emplace_back([&] {
            for (int i = 0; i < turns; ++i) {
                const auto lease = db.acquire();
                if (holding.fetch_add(1) != 0) ++crowds;
                ++total;
                if (i % 50 == 0) std::this_thread::sleep_for(100us);
                holding.fetch_sub(1);
            }
        });
    }
    crew.clear();
    CHECK(total == threads * turns);
    CHECK(crowds == 0);
}

TEST_CASE("a wait on the portable parker times out, and is cancelled") {
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 1}, portable{}};
    const auto held = db.acquire(10s);
    std::error_code ec;
    CHECK_FALSE(db.acquire(10ms, ec));
    CHECK(ec == cenote::errc::acquire_timeout);
    std::stop_source stop;
    std::jthread canceller{[&] {
        std::this_thread::sleep_for(5ms);
        stop.request_stop();
    }};
    CHECK_FALSE(db.acquire(cenote::deadline::never(), stop.get_token(), ec));
    CHECK(ec == cenote::errc::cancelled);
}
