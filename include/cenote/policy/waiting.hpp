// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>
#include <concepts>
#include <limits>

namespace cenote {

/// As many waiters as there are threads.
inline constexpr unsigned unlimited = std::numeric_limits<unsigned>::max();

/// Family `waiting`: what an acquire does when no connection is idle, and whether a returned one is handed to the oldest waiter.
///
/// Shape    `static constexpr bool waits`           false: an acquire never queues
///          `unsigned max_waiters`                  the next one gets errc::queue_full at once; 0: nobody may wait
///          `static constexpr bool reads_time`      whether hand_over needs to know how long
///          `bool hand_over(duration waited) const noexcept`   true: a returned connection goes straight to the oldest waiter, who
///                                                  has waited that long; false: it is published, and he is told to look again
/// Called   hand_over under the desk's lock, only while somebody waits.
template <class W>
concept waiting_policy = policy<W> && std::same_as<typename W::family, family::waiting> && requires(const W& w, duration d) {
    { W::waits } -> std::convertible_to<bool>;
    { W::reads_time } -> std::convertible_to<bool>;
    { w.hand_over(d) } noexcept -> std::same_as<bool>;
    { w.max_waiters } -> std::convertible_to<unsigned>;
};

/// Nobody waits: an acquire that finds nothing idle and may not open another fails at once with errc::exhausted.
///
/// Cost     nothing.
struct no_wait {
    using family = family::waiting;
    static constexpr bool waits = false;
    static constexpr bool reads_time = false;
    static constexpr unsigned max_waiters = 0;
    [[nodiscard]] static constexpr bool hand_over(duration) noexcept { return false; }
};

/// First come, first served, always: a returned connection goes to whoever has waited longest.
///
/// Cost     a thread switch per hand-over, during which the connection rests.
struct strictly_fair {
    using family = family::waiting;
    static constexpr bool waits = true;
    static constexpr bool reads_time = false;
    unsigned max_waiters = unlimited;
    [[nodiscard]] static constexpr bool hand_over(duration) noexcept { return true; }
};

/// A newcomer may overtake until the oldest waiter has waited for `after`; from then on it is first come, first served.
///
/// Default  yes, 500 µs: in the tour's second table (32 threads, 4 connections) three quarters of the throughput of `barging` with
///          a fifth of its worst wait.
/// Range    after ≥ 0; 0 is `strictly_fair`.
/// Cost     one clock read per give back while somebody waits.
struct eventually_fair {
    using family = family::waiting;
    static constexpr bool waits = true;
    static constexpr bool reads_time = true;
    duration after = std::chrono::microseconds{500};
    unsigned max_waiters = unlimited;
    [[nodiscard]] constexpr bool hand_over(duration waited) const noexcept { return waited >= after; }
    void check() const { detail::require_not_negative("eventually_fair.after", after); }
};

/// Whoever comes first when a connection is free gets it; a waiter may be overtaken without end.
///
/// Cost     nothing beyond the wake-up; the worst wait is not bounded by the queue.
struct barging {
    using family = family::waiting;
    static constexpr bool waits = true;
    static constexpr bool reads_time = false;
    unsigned max_waiters = unlimited;
    [[nodiscard]] static constexpr bool hand_over(duration) noexcept { return false; }
};

/// Family `budget`: how long `acquire()` without an argument may take, waiting, connecting and validating together.
///
/// Default  30 s.
/// Range    above zero.
struct acquire_timeout {
    using family = family::budget;
    duration after = std::chrono::seconds{30};
    [[nodiscard]] constexpr duration budget() const noexcept { return after; }
    void check() const { detail::require_positive("acquire_timeout.after", after, "no_acquire_timeout"); }
};

/// `acquire()` without an argument has no deadline.
struct no_acquire_timeout {
    using family = family::budget;
    [[nodiscard]] static constexpr duration budget() noexcept { return duration::max(); }
};

} // namespace cenote
