// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

// What the races have in common: the threads that run until it is over, how a pool is closed beneath them, and what must hold afterwards.
#include <cenote/pool.hpp>
#include <cenote/testing/script.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using none = std::vector<std::string>;

/// What is wrong once everything has come to rest, which a thread that was left to itself may still need a moment for.
[[nodiscard]] inline none at_rest(const cenote::testing::script& s) {
    const auto by = cenote::deadline::in(std::chrono::seconds{10});
    while (!s.violations_at_end().empty() && s.violations().empty() && !by.expired()) std::this_thread::sleep_for(std::chrono::microseconds{200});
    return s.violations_at_end();
}

/// Threads that each do one thing again and again until the crowd is gone. Declared after what they use.
class crowd {
public:
    crowd() = default;
    crowd(const crowd&) = delete;
    crowd& operator=(const crowd&) = delete;
    ~crowd() { over_ = true; }

    /// One more thread: `f(first)`, `f(first + 1)`, …
    template <class Number, class F>
    void add(Number first, F f) {
        all_.emplace_back([this, first, f] {
            for (Number i = first; !over_; ++i) f(i);
        });
    }

private:
    std::atomic<bool> over_{false};
    std::vector<std::jthread> all_; // the last: they look whether it is over
};

/// As many leases as there are slots, had from `acquire(pool, why)`; fewer if that takes half a minute.
template <class Pool, class F>
[[nodiscard]] std::vector<typename Pool::lease> hold_all(Pool& p, std::size_t slots, F acquire) {
    std::vector<typename Pool::lease> held;
    const auto by = cenote::deadline::in(std::chrono::seconds{30});
    while (held.size() < slots && !by.expired()) {
        std::error_code why;
        if (auto l = acquire(p, why)) held.push_back(std::move(l));
    }
    return held;
}

/// Closes the pool while it is used, in every second round from two threads. Leases that were had just before, and outlive it.
template <class Pool>
[[nodiscard]] std::vector<typename Pool::lease> close_amid(Pool& p, unsigned round) {
    std::vector<typename Pool::lease> outlive;
    std::error_code why;
    for (int i = 0; i < 2; ++i) {
        if (auto l = p.acquire(std::chrono::milliseconds{5}, why)) outlive.push_back(std::move(l));
    }
    const std::jthread closes{[&] { (void)p.close(cenote::deadline::in(std::chrono::seconds{0})); }};
    if (round % 2 == 0) (void)p.close(cenote::deadline::in(std::chrono::milliseconds{1}));
    return outlive;
}
