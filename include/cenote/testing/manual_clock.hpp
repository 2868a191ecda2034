// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <atomic>
#include <chrono>
#include <stdexcept>

namespace cenote::testing {

/// A clock that stands still until a test moves it. Give it to a pool with `cenote::clock::manual{the_clock}`.
///
/// Called   from any thread at any time; one relaxed atomic.
/// Range    starts at `start`, 1000 hours after the epoch: far from zero, so that "never stamped" and "just now" differ.
/// With     it moves ages and idle times only. Deadlines of waits stay on std::chrono::steady_clock.
class manual_clock {
public:
    static constexpr time_point start{std::chrono::hours{1000}};

    manual_clock() noexcept = default;
    explicit manual_clock(time_point t) noexcept : now_{t} {}

    manual_clock(const manual_clock&) = delete; // pools hold its address
    manual_clock& operator=(const manual_clock&) = delete;

    [[nodiscard]] time_point now() const noexcept { return now_.load(std::memory_order_relaxed); }

    /// Moves the clock forward and returns the new time; what does not fit stops at time_point::max().
    ///
    /// Errors   a negative length throws std::invalid_argument: steady clocks never go back. `set` does, if a test must.
    time_point advance(timeout d) {
        if (d.length() < duration::zero()) throw std::invalid_argument("cenote: manual_clock.advance = a negative length: must be zero or more");
        time_point from = now();
        time_point to;
        do {
            to = d.length() == duration::zero() ? from : deadline::after(d, from).at();
        } while (!now_.compare_exchange_weak(from, to, std::memory_order_relaxed));
        return to;
    }

    /// Sets any time, also an earlier one.
    void set(time_point t) noexcept { now_.store(t, std::memory_order_relaxed); }

private:
    std::atomic<time_point> now_{start};
};

} // namespace cenote::testing

namespace cenote::clock {

/// Reads a clock that a test moves by hand.
///
/// Shape    `clock::manual{the_clock}`; the clock must outlive the pool and every lease of it, and a temporary is refused.
/// Cost     one relaxed load per read.
struct manual {
    using family = family::clock;

    explicit manual(const testing::manual_clock& c) noexcept : source{&c} {}
    manual(const testing::manual_clock&&) = delete;

    [[nodiscard]] time_point now() const noexcept { return source->now(); }

    const testing::manual_clock* source;
};

} // namespace cenote::clock
