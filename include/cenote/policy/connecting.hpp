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
struct breaker {};
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
/// Default  100 ms × 2 up to 30 s, full jitter. attempts 0: those who wait wait to the end of their budget (or until the breaker opens);
///          otherwise they get the error after so many failures in a row.
/// Range    0 < first ≤ max; factor ≥ 1 and finite.
/// With     `manual`: refused, callers open and nobody rests. Failures that will not pass (credentials, a missing file) are not tried again for those who wait: they get the error.
/// Source   AWS architecture blog on jitter; HikariCP, psycopg_pool.
struct backoff {
    using family = family::connecting;
    using kind = kind::backoff;
    duration first = std::chrono::milliseconds{100};
    duration max = std::chrono::seconds{30};
    double factor = 2.0;
    unsigned attempts = 0;

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

/// Circuit breaker: after `failures` attempts to connect have failed in a row, acquires fail at once with errc::breaker_open and the
/// reason, instead of waiting for a server that is not there. Any success closes it.
///
/// Only while nothing is out that could come back: who can hope for a connection that is leased waits for it. While it is open one
/// connection at a time is tried, at the pace of `backoff`, and only if somebody asks (or `min` or `min_idle` want one).
/// Default  yes, 3 failures. `backoff` decides how long these take: a third of a second on average.
/// Range    failures ≥ 1.
/// With     `manual`: refused, there every acquire makes its own attempt. Whatever the breaker, after a failure dials go on one at a
///          time, then two, four … as they succeed: a server that comes back is not met by `max_dials` at once.
/// Source   PgBouncer's server_login_retry, userver's recent_errors_threshold.
struct breaker {
    using family = family::connecting;
    using kind = kind::breaker;
    unsigned failures = 3;
    [[nodiscard]] constexpr unsigned limit() const noexcept { return failures; }
    void check() const {
        if (failures == 0) detail::bad_value("breaker.failures", failures, "must be at least 1; to switch it off write no_breaker");
    }
};

/// Acquires wait for a server that is not there until their budget ends.
struct no_breaker {
    using family = family::connecting;
    using kind = kind::breaker;
    [[nodiscard]] static constexpr unsigned limit() noexcept { return 0; }
};

} // namespace cenote
