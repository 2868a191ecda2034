// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>
#include <cmath>

namespace cenote {

namespace kind {
struct connect_timeout {};
struct backoff {};
} // namespace kind

/// How long opening one connection may take.
///
/// Default  15 s.
/// Range    above zero.
/// With     `manual`: the caller opens, so what is left of its own budget counts too, whichever ends first.
struct connect_timeout {
    using family = family::connecting;
    using kind = kind::connect_timeout;
    duration after = std::chrono::seconds{15};
    [[nodiscard]] constexpr duration limit() const noexcept { return after; }
    void check() const { detail::require_positive("connect_timeout.after", after, "no_connect_timeout"); }
};

/// Opening has no time limit of its own.
struct no_connect_timeout {
    using family = family::connecting;
    using kind = kind::connect_timeout;
    [[nodiscard]] static constexpr duration limit() noexcept { return duration::max(); }
};

/// Pause before the background thread opens again after a failure that may pass (`is_retryable`): a random share of
/// `first`, then of `first × factor`, … up to `max`. Any success starts over.
///
/// Default  100 ms × 2 up to 30 s, full jitter.
/// Range    0 < first ≤ max; factor ≥ 1 and finite.
/// With     `manual`: refused, callers open and nobody rests. Failures that will not pass (credentials, a missing file) are not tried again for those who wait: they get the error.
/// Source   AWS architecture blog on jitter; HikariCP, psycopg_pool.
struct backoff {
    using family = family::connecting;
    using kind = kind::backoff;
    duration first = std::chrono::milliseconds{100};
    duration max = std::chrono::seconds{30};
    double factor = 2.0;

    /// The pause after `failures` in a row (at least 1), for a `fraction` drawn from [0, 1).
    [[nodiscard]] duration pause(unsigned failures, double fraction) const noexcept {
        const double top = static_cast<double>(max.count());
        double span = static_cast<double>(first.count());
        for (unsigned i = 1; i < failures && span < top && factor > 1.0; ++i) span *= factor;
        if (span > top) span = top;
        return duration{static_cast<duration::rep>(span * fraction)};
    }
    void check() const {
        detail::require_positive("backoff.first", first, "");
        if (max < first) detail::bad_value("backoff.max", max, "must be at least backoff.first, which is " + detail::to_text(first));
        if (!(factor >= 1.0) || !std::isfinite(factor)) detail::bad_value("backoff.factor", factor, "must be a finite number of at least 1");
    }
};

} // namespace cenote
