// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Who waits longest gets it, as far as each waiting policy promises.
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::background_thread;
using cenote::bounded;
using cenote::manual;
using steady = std::chrono::steady_clock;

namespace {
using none = std::vector<std::string>;

double ms(std::chrono::nanoseconds d) { return std::chrono::duration<double, std::milli>(d).count(); }

template <class K, class L>
struct kept_by {
    using keeping = K;
    using locking = L;
};
template <class W, class L>
struct handed_by {
    using waiting = W;
    using locking = L;
};

struct outcome_of_crowd {
    long least = 0, most = 0, all = 0;
    std::chrono::nanoseconds worst{};
};

/// `threads` threads that each hold one of the pool's few connections for `hold`, again and again, for `length`.
template <class Pool>
outcome_of_crowd crowd(Pool& db, unsigned threads, std::chrono::microseconds hold, std::chrono::milliseconds length) {
    std::vector<long> done(threads, 0);
    std::vector<std::chrono::nanoseconds> worst(threads);
    std::atomic<unsigned> ready{0};
    std::atomic<bool> go{false}, over{false};
    std::vector<std::jthread> all;
    for (unsigned t = 0; t < threads; ++t) {
        all.emplace_back([&, t] {
            ++ready;
            while (!go.load()) std::this_thread::sleep_for(100us);
            while (!over.load(std::memory_order_relaxed)) {
                const auto began = steady::now();
                auto lease = db.acquire(60s);
                worst[t] = std::max<std::chrono::nanoseconds>(worst[t], steady::now() - began);
                std::this_thread::sleep_for(hold);
                ++done[t];
            }
        });
    }
    while (ready.load() < threads) std::this_thread::sleep_for(1ms);
    go = true;
    std::this_thread::sleep_for(length);
    over = true;
    all.clear();
    outcome_of_crowd out{.least = *std::min_element(done.begin(), done.end()), .most = *std::max_element(done.begin(), done.end()),
                         .worst = *std::max_element(worst.begin(), worst.end())};
    for (const long n : done) out.all += n;
    return out;
}

void print(const char* what, const outcome_of_crowd& o) {
    std::printf("fairness: %s: %ld leases, per thread %ld to %ld, worst wait %.1f ms\n", what, o.all, o.least, o.most, ms(o.worst));
}
} // namespace

TEMPLATE_TEST_CASE("under strictly_fair everybody gets the same", "[race][case-D4][alone]", (kept_by<background_thread, cenote::with_mutex<>>), (kept_by<manual, cenote::with_mutex<>>),
                   (kept_by<background_thread, cenote::lock_free>), (kept_by<manual, cenote::thread_affine>)) {
    script s;
    {
        cenote::pool db{scripted{s}, cenote::strictly_fair{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 5}};
        const auto got = crowd(db, 40, 2ms, 700ms);
        print("strictly_fair, 40 threads on 5 connections, 2 ms", got);
        CHECK(got.least > 0);
        CHECK(static_cast<double>(got.most) <= 1.2 * static_cast<double>(got.least));
    }
    CHECK(s.violations_at_end() == none{});
}

TEMPLATE_TEST_CASE("under strictly_fair nobody is overtaken", "[race][inv-6]", cenote::with_mutex<>, cenote::lock_free, cenote::thread_affine) {
    constexpr unsigned threads = 8;
    script s;
    {
        cenote::pool db{scripted{s}, cenote::strictly_fair{}, TestType{}, bounded{.max = 1}};
        std::vector<unsigned> served; // written by whoever holds the one connection
        for (int round = 0; round < 30; ++round) {
            served.clear();
            auto held = db.acquire(10s);
            std::vector<std::jthread> all;
            for (unsigned t = 0; t < threads; ++t) {
                all.emplace_back([&, t] {
                    auto lease = db.acquire(60s);
                    served.push_back(t);
                });
                while (db.stats().pending != t + 1) std::this_thread::yield();
            }
            held.give_back();
            (void)db.try_acquire(); // a newcomer
            all.clear();
            REQUIRE(served.size() == threads);
            CHECK(std::is_sorted(served.begin(), served.end()));
        }
    }
    CHECK(s.violations_at_end() == none{});
}

// 500 µs, then the queue: twenty threads on two connections held for half a millisecond go round in 5 ms. The bound leaves
// room for a machine that is busy with something else; without the hand-over single waits grow to the length of the test.
TEMPLATE_TEST_CASE("under eventually_fair the worst wait is bounded", "[race][inv-6][case-D4][alone]", (kept_by<background_thread, cenote::with_mutex<>>), (kept_by<manual, cenote::with_mutex<>>),
                   (kept_by<background_thread, cenote::lock_free>)) {
    script s;
    {
        cenote::pool db{scripted{s}, cenote::eventually_fair{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 2}};
        const auto got = crowd(db, 20, 500us, 700ms);
        print("eventually_fair, 20 threads on 2 connections, 0.5 ms", got);
        CHECK(got.least > 0);
        CHECK(got.worst < 500ms);
    }
    CHECK(s.violations_at_end() == none{});
}

// The hard case: those who have it spin and come back at once, while the one who waits has to be woken first.
TEMPLATE_PRODUCT_TEST_CASE("greedy threads do not starve one that waits", "[race][case-D4][alone]", handed_by,
                           ((cenote::strictly_fair, cenote::with_mutex<>), (cenote::eventually_fair, cenote::with_mutex<>), (cenote::strictly_fair, cenote::lock_free),
                            (cenote::eventually_fair, cenote::lock_free))) {
    script s;
    {
        cenote::pool db{scripted{s}, typename TestType::waiting{}, typename TestType::locking{}, bounded{.max = 1}};
        std::atomic<bool> over{false};
        std::atomic<long> greedy{0};
        std::vector<std::jthread> all;
        for (int t = 0; t < 2; ++t) {
            all.emplace_back([&] {
                while (!over.load(std::memory_order_relaxed)) {
                    auto lease = db.acquire(60s);
                    ++greedy;
                }
            });
        }
        std::chrono::nanoseconds worst{};
        const auto until = steady::now() + 500ms;
        long modest = 0;
        while (steady::now() < until) {
            const auto began = steady::now();
            {
                auto lease = db.acquire(60s);
                ++modest;
            }
            worst = std::max<std::chrono::nanoseconds>(worst, steady::now() - began);
            std::this_thread::sleep_for(200us);
        }
        over = true;
        all.clear();
        std::printf("fairness: one among two greedy ones: %ld leases beside %ld, worst wait %.2f ms\n", modest, greedy.load(), ms(worst));
        CHECK(modest > 50);
        CHECK(worst < 250ms);
    }
    CHECK(s.violations_at_end() == none{});
}

// A pool that takes back "any" connection, or wakes one for two that came back, deadlocks nowhere and passes every test of safety;
// it leaves connections idle beside those who wait, which only throughput shows.
TEMPLATE_TEST_CASE("as much is done as with a mutex when threads have to wait", "[race][alone]", cenote::lock_free, cenote::thread_affine) {
    for (const unsigned connections : {2U, 4U}) {
        script s;
        {
            cenote::pool reference{scripted{s}, cenote::with_mutex<>{}, bounded{.max = connections}};
            cenote::pool db{scripted{s}, TestType{}, bounded{.max = connections}};
            double best = 0;
            for (int attempt = 0; attempt < 5 && best < 0.9; ++attempt) { // something else may be running
                std::vector<long> theirs, own;
                for (int window = 0; window < 5; ++window) {
                    theirs.push_back(crowd(reference, 8, 100us, 80ms).all);
                    own.push_back(crowd(db, 8, 100us, 80ms).all);
                }
                std::sort(theirs.begin(), theirs.end());
                std::sort(own.begin(), own.end());
                best = std::max(best, static_cast<double>(own[2]) / static_cast<double>(theirs[2]));
                std::printf("conservation: 8 threads on %u, 0.1 ms: %ld leases in 80 ms, with a mutex %ld\n", connections, own[2], theirs[2]);
            }
            CHECK(best >= 0.9);
        }
        CHECK(s.violations_at_end() == none{});
    }
}
