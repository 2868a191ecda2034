// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/facts.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>

namespace cenote {

/// Family `keepalive`: whether idle connections are tested now and then, so that firewalls do not forget them and dead ones are found
/// before somebody waits for them.
///
/// Idle connections are left alone.
///
/// Default  yes. Cost: nothing.
struct no_keepalive {
    using family = family::keepalive;
    static constexpr bool tests = false;
};

/// An idle connection that was neither used nor tested for `every` is pinged by housekeeping, and closed if that fails.
///
/// Meanwhile nobody else can have it; two are tested at a time. One whose clean-up is still to be confirmed has that confirmed instead.
/// Default  of `every` 2 min, `jitter` 0.1: each connection draws its own interval from the last tenth, so that tests do not come together.
/// Range    every > 0; timeout > 0; 0 ≤ jitter < 1.
/// Cost     an age clock read at return; a round trip per idle connection and interval, off every caller's path.
/// With     `manual`: when `maintain()` is called. It does not count as use: `idle_timeout` goes on. Needs a driver with `ping`.
/// Source   HikariCP's keepaliveTime.
struct keepalive {
    using family = family::keepalive;
    using needs = facts<last_used, last_tested, jitter_draw>;
    static constexpr bool tests = true;

    duration every = std::chrono::minutes{2};
    duration timeout = std::chrono::seconds{5};
    double jitter = 0.1;

    [[nodiscard]] time_point due(const auto& facts) const noexcept {
        const auto spread = static_cast<duration::rep>(static_cast<double>(every.count()) * jitter * facts.fraction());
        return deadline::after(every - duration{spread}, facts.used < facts.tested ? facts.tested : facts.used).at();
    }
    [[nodiscard]] constexpr duration limit() const noexcept { return timeout; }
    void check() const {
        detail::require_positive("keepalive.every", every, "no_keepalive");
        detail::require_positive("keepalive.timeout", timeout, "");
        if (!(jitter >= 0.0 && jitter < 1.0)) detail::bad_value("keepalive.jitter", jitter, "must be at least 0 and below 1");
    }
};

} // namespace cenote
