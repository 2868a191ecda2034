// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Many more threads than connections: what each waiting policy gives to each of them.
#include <fault/support/figures.hpp>

#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <latch>
#include <string>
#include <thread>
#include <vector>

using namespace fault;
using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

namespace {

constexpr unsigned threads = 200, connections = 5;
constexpr auto hold = 2ms;

struct shares {
    std::vector<long> each;
    std::chrono::nanoseconds worst{}, took{};

    [[nodiscard]] long least() const { return *std::min_element(each.begin(), each.end()); }
    [[nodiscard]] long most() const { return *std::max_element(each.begin(), each.end()); }
    [[nodiscard]] long all() const {
        long sum = 0;
        for (const long n : each) sum += n;
        return sum;
    }
    [[nodiscard]] double rate() const { return static_cast<double>(all()) / std::chrono::duration<double>{took}.count(); }
    /// What the one who got least has of what everybody should have.
    [[nodiscard]] double least_share() const { return static_cast<double>(least()) * threads / static_cast<double>(all()); }
    [[nodiscard]] std::string text() const {
        std::array<char, 200> out;
        std::snprintf(out.data(), out.size(), "%ld leases, %.0f a second; per thread %ld to %ld (%.3f), the least %.0f %% of its share; worst wait %s", all(), rate(), least(), most(),
                      static_cast<double>(most()) / static_cast<double>(std::max(least(), 1L)), 100 * least_share(), fault::text(worst).c_str());
        return out.data();
    }
};

/// Threads that hold a connection for a while, again and again, for so long; who still waits then gets nothing.
template <class Waiting>
shares crowd(Waiting waiting, std::chrono::nanoseconds length) {
    cenote::pool db{cenote::null{}, cenote::bounded{.max = connections}, waiting};
    shares out;
    out.each.resize(threads);
    std::vector<std::chrono::nanoseconds> worst(threads);
    std::atomic<bool> over{false};
    std::latch start{threads + 1};
    std::vector<std::jthread> all;
    for (unsigned t = 0; t < threads; ++t) {
        all.emplace_back([&, t] {
            start.arrive_and_wait();
            while (!over) {
                const auto began = steady::now();
                const auto lease = db.acquire(60s);
                if (over) return;
                worst[t] = std::max<std::chrono::nanoseconds>(worst[t], steady::now() - began);
                std::this_thread::sleep_for(hold);
                ++out.each[t];
            }
        });
    }
    start.arrive_and_wait();
    const auto began = steady::now();
    std::this_thread::sleep_for(length);
    over = true;
    out.took = steady::now() - began;
    all.clear();
    out.worst = *std::max_element(worst.begin(), worst.end());
    return out;
}

} // namespace

// Who is not let run when it is his turn to ask misses a turn, which is the machine's doing: hence three attempts, of which one has to do.
TEST_CASE("case-D4: two hundred threads on five connections: strictly_fair gives all the same, eventually_fair leaves nobody out", "[alone]") {
    const std::chrono::milliseconds length{number_from("CENOTE_FAIRNESS_MS", 600)};
    shares strict, eventual;
    for (int attempt = 0; attempt < 3; ++attempt) {
        strict = crowd(cenote::strictly_fair{}, length);
        if (strict.most() - strict.least() <= 2) break;
    }
    for (int attempt = 0; attempt < 3; ++attempt) {
        eventual = crowd(cenote::eventually_fair{}, length);
        if (eventual.least() > 0) break;
    }
    const shares barging = crowd(cenote::barging{}, length);
    const std::string what = "200 threads on 5 connections, held 2 ms: ";
    tell("case-D4", what + "strictly_fair: " + strict.text());
    tell("case-D4", what + "eventually_fair: " + eventual.text());
    tell("case-D4", what + "barging: " + barging.text());
    CHECK(strict.least() > 0);
    CHECK(strict.most() - strict.least() <= 2);
    CHECK(eventual.least() > 0);
    CHECK(barging.all() > 0);
}
