// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/stats.hpp>

#include <cstdint>
#include <optional>

namespace cenote::detail {

/// A renewal that takes its time: when which part of the connections that were open at its beginning should have gone. Times are the age
/// clock's.
template <class Sync>
class renewal {
public:
    struct report {
        pool_stats before;
        time_point began;
    };

    /// What is left of an earlier one goes with this one.
    void begin(const pool_stats& before, time_point now, duration over) noexcept {
        mutex_.lock();
        report_ = {before, now};
        over_ = over;
        of_ = 0;
        under_way_ = true;
        mutex_.unlock();
    }

    /// Of `left` old connections, how many have to go now.
    [[nodiscard]] std::uint64_t overdue(std::uint64_t left, time_point now) noexcept {
        mutex_.lock();
        std::uint64_t out = 0;
        if (under_way_) {
            if (of_ < left) of_ = left; // the first time
            const std::uint64_t may_stay = of_ - gone_by(now);
            if (left > may_stay) out = left - may_stay;
        }
        mutex_.unlock();
        return out;
    }

    /// When the next of `left` has to go.
    [[nodiscard]] time_point next(std::uint64_t left) noexcept {
        mutex_.lock();
        time_point at = time_point::max();
        if (under_way_ && left != 0) {
            const double part = static_cast<double>(of_ - left + 1) / static_cast<double>(of_);
            at = deadline::after(duration{static_cast<duration::rep>(static_cast<double>(over_.count()) * part) + 1}, report_.began).at();
        }
        mutex_.unlock();
        return at;
    }

    /// For one caller, once it is over: none of the old ones is left.
    [[nodiscard]] std::optional<report> over(std::uint64_t left) noexcept {
        std::optional<report> out;
        mutex_.lock();
        if (under_way_ && left == 0) {
            out = report_;
            under_way_ = false;
        }
        mutex_.unlock();
        return out;
    }

    /// Whether the time has come again for who renews every so often; the first time is one period after the first question.
    [[nodiscard]] bool comes_round(time_point now, duration every) noexcept {
        mutex_.lock();
        if (!round_) round_ = deadline::after(every, now).at();
        const bool yes = now >= *round_;
        if (yes) round_ = deadline::after(every, now).at();
        mutex_.unlock();
        return yes;
    }
    [[nodiscard]] time_point next_round() noexcept {
        mutex_.lock();
        const time_point at = round_.value_or(time_point::max());
        mutex_.unlock();
        return at;
    }

private:
    [[nodiscard]] std::uint64_t gone_by(time_point now) const noexcept {
        const duration passed = now - report_.began;
        if (passed >= over_) return of_;
        return static_cast<std::uint64_t>(static_cast<double>(of_) * static_cast<double>(passed.count()) / static_cast<double>(over_.count()));
    }

    typename Sync::mutex mutex_;
    report report_{};
    duration over_{};
    std::uint64_t of_ = 0;
    std::optional<time_point> round_;
    bool under_way_ = false;
};

} // namespace cenote::detail
