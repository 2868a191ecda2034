// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Many at once: those who wait for a server that is away, and connections that were opened together.
#include "unit/pool/support.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

using namespace pool_test;

TEST_CASE("case-A18: the schedule asks a server that is away for a minute about a dozen times") {
    const backoff usual;
    std::mt19937 random{18};
    std::uniform_real_distribution<double> share{0.0, 1.0};
    std::size_t all = 0, most = 0;
    constexpr std::size_t trials = 2000;
    for (std::size_t i = 0; i < trials; ++i) {
        std::size_t attempts = 0;
        for (duration t{}; t < 60s; t += usual.pause(static_cast<unsigned>(attempts), share(random))) ++attempts;
        all += attempts;
        most = std::max(most, attempts);
    }
    CHECK(all / trials <= 16); // nine until pauses are at their longest, which lasts half a minute, and three more
    CHECK(all / trials >= 8);
    CHECK(most <= 32);
}

TEST_CASE("case-A18: a server refuses for a minute, two hundred wait: one attempt at a time, no more than the schedule has, and all are told why") {
    // A thousand times as fast as it would be: the background thread rests by the system's clock.
    constexpr auto minute = 60ms;
    constexpr backoff fast{.first = 100us, .max = 30ms};
    constexpr unsigned dials = 2;
    watched s{8};
    s.always(site::open, outcome::fail(error_class::refused, "connection refused"));
    pool p{scripted{s}, bounded{.max = 8}, background_thread{.max_dials = dials}, fast, no_breaker{}};
    constexpr std::size_t waiters = 200;
    std::vector<failure> why(waiters);
    std::vector<std::jthread> all;
    const auto began = std::chrono::steady_clock::now();
    const deadline by{began + minute};
    for (auto& own : why) {
        all.emplace_back([&p, &own, by] { (void)p.acquire(by, own); });
    }
    all.clear();
    // Those that came late on a busy machine have had the pool try for them, too.
    const auto minutes = (std::chrono::steady_clock::now() - began) / minute + 1;
    const std::size_t attempts = s.calls(site::open);
    CHECK(attempts >= 1);
    CHECK(attempts <= 32 * static_cast<std::size_t>(minutes));
    CHECK(s.most_open() <= dials); // being opened, as none ever was
    std::size_t told = 0;
    for (const auto& own : why) told += own.code == errc::acquire_timeout && own.seen && own.seen->last_connect_error.text == "connection refused" ? 1U : 0U;
    CHECK(told == waiters);

    // When it is back, as many as ever are served, by as few connections.
    s.clear(site::open);
    std::atomic<std::size_t> served{0};
    for (std::size_t i = 0; i < waiters; ++i) {
        all.emplace_back([&] {
            if (good(p.acquire(timeout{patience}))) ++served;
        });
    }
    all.clear();
    CHECK(served == waiters);
    CHECK(s.most_open() <= 8);
    check_capacity(p, 8);
}

TEST_CASE("case-A19: a thousand connections opened in one second retire one by one, and each is replaced") {
    constexpr unsigned many = 1000;
    constexpr std::chrono::milliseconds life = 30min, spread = life / 10; // the last tenth
    constexpr auto window = spread / 100, look = window / 4;
    watched s{many};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.min = many, .max = many}, max_lifetime{}, no_idle_timeout{}, no_validation{}, counters{}, clock::manual{time}};
    {
        std::vector<decltype(p)::lease> all;
        for (unsigned i = 0; i < many; ++i) {
            all.push_back(p.acquire());
            time.advance(1ms);
        }
    }
    time.set(manual_clock::start + life - spread - 1s);
    std::vector<std::uint64_t> retired;
    const auto so_far = [&] { return p.template get<counters>().closed_for(close_reason::age); };
    std::uint64_t before = so_far();
    CHECK(before == 0);
    while (time.now() < manual_clock::start + life + 1s) {
        time.advance(look);
        (void)p.maintain();
        retired.push_back(so_far() - before);
        before = so_far();
        REQUIRE(p.stats().idle == many);
    }
    CHECK(before == many); // every one, and none of the new ones
    constexpr auto mean = static_cast<std::uint64_t>(many / (spread / window));
    std::uint64_t most = 0;
    for (std::size_t i = 0; i + 4 <= retired.size(); ++i) most = std::max(most, retired[i] + retired[i + 1] + retired[i + 2] + retired[i + 3]);
    INFO("at most " << most << " in a hundredth of the time in which they retire, " << mean << " in the mean");
    CHECK(most <= 3 * mean);
}
