// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/lifecycle.hpp>

namespace cenote::detail::shell {

/// How long an acquire may take. The clock is not read before something has to wait or to be tested.
class budget {
public:
    explicit constexpr budget(timeout t) noexcept : length_{t.length()} {}
    explicit constexpr budget(deadline d) noexcept : at_{d.at()}, fixed_{true} {}
    /// Takes what is there, tests it, opens one if callers dial; waits for nobody.
    [[nodiscard]] static constexpr budget none() noexcept {
        budget b{timeout{duration::zero()}};
        b.tries_ = true;
        return b;
    }

    /// The end, for an acquire that looks at the clock for the first time now. It stays the same from then on.
    [[nodiscard]] constexpr time_point until(time_point now) noexcept {
        (void)began(now);
        return at_;
    }
    /// When the clock was looked at for the first time.
    [[nodiscard]] constexpr time_point began(time_point now) noexcept {
        if (!looked_) {
            began_ = now;
            looked_ = true;
            if (!fixed_) at_ = length_ == duration::max() ? time_point::max() : deadline::after(timeout{length_}, now).at();
        }
        return began_;
    }
    [[nodiscard]] constexpr bool tries() const noexcept { return tries_; }
    /// Whether it has no time left: no test is begun any more.
    [[nodiscard]] constexpr bool spent(time_point now) noexcept { return !tries_ && until(now) <= now; }
    /// Whether it may open a connection at `now`.
    [[nodiscard]] constexpr bool may_dial(time_point now) noexcept { return tries_ || until(now) > now; }
    /// The deadline of one open.
    [[nodiscard]] constexpr deadline dial_by(duration connect_limit, time_point now) noexcept {
        const deadline own = deadline::after(timeout{connect_limit}, now);
        return tries_ ? own : own.sooner(deadline{until(now)});
    }
    /// The deadline of one test with its own limit.
    [[nodiscard]] constexpr deadline test_by(duration limit, time_point now) noexcept {
        const duration left = tries_ ? duration::zero() : deadline{until(now)}.remaining(now);
        return deadline::after(timeout{lifecycle::validation_limit(limit, left)}, now);
    }

private:
    duration length_{};
    time_point at_{}, began_{};
    bool fixed_ = false;  // at_ is what the caller said
    bool looked_ = false; // at_ and began_ are what they will be
    bool tries_ = false;
};

} // namespace cenote::detail::shell
