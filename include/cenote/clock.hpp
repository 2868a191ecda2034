// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/policy/family.hpp>

#include <chrono>
#include <cmath>
#include <concepts>
#include <limits>
#include <ratio>
#include <stdexcept>
#include <time.h>
#include <type_traits>

namespace cenote {

using duration = std::chrono::nanoseconds;
using time_point = std::chrono::time_point<std::chrono::steady_clock, duration>;

/// A length of time that any std::chrono duration converts to without overflow.
///
/// Units    nanoseconds; what does not fit saturates, so `std::chrono::hours::max()` means "as good as for ever".
/// Range    zero and below mean "do not wait"; a floating-point NaN throws std::invalid_argument.
class timeout {
public:
    constexpr timeout(duration d) noexcept : d_{d} {}

    template <class Rep, class Period>
    constexpr timeout(std::chrono::duration<Rep, Period> d) : d_{convert(d)} {}

    [[nodiscard]] constexpr duration length() const noexcept { return d_; }

private:
    template <class Rep, class Period>
    static constexpr duration convert(std::chrono::duration<Rep, Period> d) {
        if constexpr (std::is_floating_point_v<Rep>) {
            if (d.count() != d.count()) throw std::invalid_argument("cenote: timeout = nan: must be a number");
        }
        // Compared in long double: every integer count times every ratio fits, and 64 bits of mantissa decide the edges.
        using wide = std::chrono::duration<long double, std::nano>;
        const wide w = std::chrono::duration_cast<wide>(d);
        if (w >= wide{duration::max()}) return duration::max();
        if (w <= wide{duration::min()}) return duration::min();
        // From a double the cast would multiply in double, and round what is just below the limit up to it.
        if constexpr (std::is_floating_point_v<Rep>) return std::chrono::duration_cast<duration>(w);
        else return std::chrono::duration_cast<duration>(d);
    }

    duration d_;
};

/// The instant an operation must have ended by. One deadline covers waiting, connecting and validating; it never restarts.
///
/// Units    std::chrono::steady_clock, so a wall clock that jumps does not matter.
/// Range    `deadline::never()` waits for ever; an instant in the past means "do not wait".
class deadline {
public:
    constexpr deadline(time_point at) noexcept : at_{at} {}

    [[nodiscard]] static constexpr deadline never() noexcept { return deadline{time_point::max()}; }

    /// `now` + `t`, saturating instead of overflowing.
    [[nodiscard]] static constexpr deadline after(timeout t, time_point now) noexcept {
        const duration d = t.length();
        if (d > duration::zero() && now > time_point::max() - d) return never();
        if (d <= duration::zero()) return deadline{now};
        return deadline{now + d};
    }
    [[nodiscard]] static deadline in(timeout t) noexcept { return after(t, std::chrono::steady_clock::now()); }

    [[nodiscard]] constexpr time_point at() const noexcept { return at_; }
    [[nodiscard]] constexpr bool is_never() const noexcept { return at_ == time_point::max(); }

    /// What is left at `now`, never below zero.
    [[nodiscard]] constexpr duration remaining(time_point now) const noexcept {
        if (at_ <= now) return duration::zero();
        if (now.time_since_epoch() < duration::zero() && at_ > time_point::max() + now.time_since_epoch()) return duration::max();
        return at_ - now;
    }
    [[nodiscard]] duration remaining() const noexcept { return remaining(std::chrono::steady_clock::now()); }
    [[nodiscard]] bool expired() const noexcept { return std::chrono::steady_clock::now() >= at_; }

    [[nodiscard]] constexpr deadline sooner(deadline other) const noexcept { return at_ <= other.at_ ? *this : other; }

    constexpr auto operator<=>(const deadline&) const noexcept = default;

private:
    time_point at_;
};

/// Family `clock`: where ages and idle times are read. Waiting always uses std::chrono::steady_clock.
///
/// Shape    `time_point now() const noexcept` on the steady clock's epoch.
/// Called   at most once per acquire and once per give back, and only when a chosen policy needs a time.
template <class C>
concept age_clock = requires(const C& c) {
    { c.now() } noexcept -> std::same_as<time_point>;
};

namespace clock {

/// Reads std::chrono::steady_clock.
///
/// Cost     about 20 ns per read.
struct steady {
    using family = family::clock;
    [[nodiscard]] static time_point now() noexcept { return std::chrono::steady_clock::now(); }
};

/// Reads the kernel's tick time: behind `steady` by at most one tick (1–10 ms).
///
/// Default  yes: ages and idle times are minutes, milliseconds suffice.
/// Cost     about 3 ns per read. Where the system has no such clock it is `steady`.
struct coarse {
    using family = family::clock;
    [[nodiscard]] static time_point now() noexcept {
#ifdef CLOCK_MONOTONIC_COARSE
        timespec t;
        if (::clock_gettime(CLOCK_MONOTONIC_COARSE, &t) == 0) {
            return time_point{std::chrono::seconds{t.tv_sec} + std::chrono::nanoseconds{t.tv_nsec}};
        }
#endif
        return steady::now();
    }
};

} // namespace clock
} // namespace cenote
