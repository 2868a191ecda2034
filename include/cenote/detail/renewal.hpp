// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/stats.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace cenote::detail {

/// A renewal that takes its time: when which part of the connections that were open at its beginning should have gone. Times are the age
/// clock's.
///
/// Shape    `each(f)` calls `f(doubt_mark&)` for every slot
/// Locks    `mutex_` is held while they are looked at and marked, so that who begins a renewal and who carries one on do not see each
///          other's half.
template <class Sync>
class renewal {
public:
    struct report {
        pool_stats before;
        time_point began;
    };

    /// What is left of an earlier one goes with this one.
    template <class Each>
    void begin(const pool_stats& before, time_point now, duration over, Each&& each) noexcept {
        mutex_.lock();
        each([](auto& d) noexcept { d.fade(); });
        report_ = {before, now};
        over_ = over;
        of_ = fading(each);
        under_way_ = true;
        mutex_.unlock();
    }

    /// Whether one has begun of which over() has not told yet.
    [[nodiscard]] bool under_way() noexcept {
        mutex_.lock();
        const bool yes = under_way_;
        mutex_.unlock();
        return yes;
    }

    /// Calls `end(doubt_mark&)` for those that have to go now.
    template <class Each, class End>
    void step(time_point now, Each&& each, End&& end) noexcept {
        mutex_.lock();
        if (under_way_) {
            const std::uint64_t left = fading(each), may_stay = of_ - gone_by(now);
            std::uint64_t due = left > may_stay ? left - may_stay : 0;
            each([&](auto& d) noexcept {
                if (due == 0 || !d.fades()) return;
                end(d);
                --due;
            });
        }
        mutex_.unlock();
    }

    /// When to come again: the next has to go, or those that had to may be gone.
    template <class Each>
    [[nodiscard]] time_point next(time_point now, Each&& each) noexcept {
        mutex_.lock();
        time_point at = time_point::max();
        if (under_way_) {
            const std::uint64_t left = fading(each);
            at = left == 0 ? deadline::after(std::clamp(over_ / 64, shortest_look, longest_look), now).at() : turn(left);
        }
        mutex_.unlock();
        return at;
    }

    /// For one caller, once it is over: none of the old ones is left.
    template <class Each>
    [[nodiscard]] std::optional<report> over(Each&& each) noexcept {
        std::optional<report> out;
        mutex_.lock();
        if (under_way_) {
            bool any = false;
            each([&](const auto& d) noexcept { any = any || d.is_old(); });
            if (!any) {
                out = report_;
                under_way_ = false;
            }
        }
        mutex_.unlock();
        return out;
    }

    /// Whether the time has come again for who renews every so often; the first time is one period after the first question. A round that
    /// is just ending may do so first.
    [[nodiscard]] bool comes_round(time_point now, duration every) noexcept {
        mutex_.lock();
        if (!round_) round_ = now;
        const time_point due = deadline::after(every, *round_).at();
        const bool yes = now >= (under_way_ ? deadline::after(grace(every), due).at() : due);
        if (yes) round_ = now;
        mutex_.unlock();
        return yes;
    }
    [[nodiscard]] time_point next_round(time_point now, duration every) noexcept {
        mutex_.lock();
        const time_point due = deadline::after(every, round_.value_or(now)).at();
        mutex_.unlock();
        return now < due ? due : deadline::after(grace(every), due).at();
    }

private:
    static constexpr duration shortest_look = std::chrono::milliseconds{10}, longest_look = std::chrono::seconds{1};

    [[nodiscard]] static duration grace(duration every) noexcept { return std::min(every / 8, longest_look); }

    /// How many have not had their turn.
    template <class Each>
    [[nodiscard]] static std::uint64_t fading(Each&& each) noexcept {
        std::uint64_t n = 0;
        each([&](const auto& d) noexcept { n += d.fades() ? 1U : 0U; });
        return n;
    }
    /// When the next of `left`, at least one, has to go.
    [[nodiscard]] time_point turn(std::uint64_t left) const noexcept {
        if (left == 1) return deadline::after(over_, report_.began).at();
        const double part = static_cast<double>(of_ - left + 1) / static_cast<double>(of_);
        return deadline::after(duration{static_cast<duration::rep>(static_cast<double>(over_.count()) * part) + 1}, report_.began).at();
    }
    [[nodiscard]] std::uint64_t gone_by(time_point now) const noexcept {
        const duration passed = now - report_.began;
        if (passed <= duration::zero()) return 0; // whoever looks may have read the clock before it began
        if (passed >= over_) return of_;
        return std::min(of_, static_cast<std::uint64_t>(static_cast<double>(of_) * static_cast<double>(passed.count()) / static_cast<double>(over_.count())));
    }

    typename Sync::mutex mutex_;
    report report_{};
    duration over_{};
    std::uint64_t of_ = 0;
    std::optional<time_point> round_; ///< when the last one began
    bool under_way_ = false;
};

} // namespace cenote::detail
