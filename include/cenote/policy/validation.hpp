// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/facts.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>
#include <concepts>

namespace cenote {

/// How to look at an idle connection before it is handed out.
enum class probe : unsigned char { none, peek, ping };

/// Family `validation`: whether an idle connection is tested before it is handed out. One that was opened for this very acquire is not.
///
/// Shape    `probe choose(const auto& facts, time_point now) const noexcept`, or without `now` if it needs no clock
///          `duration limit() const noexcept`         the test's own deadline
///          `static constexpr bool peeks, pings`      what the driver must be able to do
/// Called   at checkout, outside locks.
/// With     a test that fails or does not end in time closes the connection; the acquire goes on with the next within its budget.
template <class V>
concept validation_policy = policy<V> && std::same_as<typename V::family, family::validation> && requires(const V& v) {
    { V::peeks } -> std::convertible_to<bool>;
    { V::pings } -> std::convertible_to<bool>;
    { v.limit() } noexcept -> std::same_as<duration>;
};

/// Trust every idle connection.
struct no_validation {
    using family = family::validation;
    static constexpr bool peeks = false, pings = false;
    [[nodiscard]] static constexpr probe choose(const auto&) noexcept { return probe::none; }
    [[nodiscard]] static constexpr duration limit() noexcept { return duration::max(); }
};

/// Ping before every checkout.
///
/// Cost     one round trip per acquire (9–40 µs on one machine, the network's delay elsewhere).
/// Units    `limit`: the ping's own deadline; never more than a quarter of what is left of the acquire's budget.
/// Range    limit > 0.
struct pre_ping {
    using family = family::validation;
    static constexpr bool peeks = false, pings = true;
    duration timeout = std::chrono::seconds{5};
    [[nodiscard]] static constexpr probe choose(const auto&) noexcept { return probe::ping; }
    [[nodiscard]] constexpr duration limit() const noexcept { return timeout; }
    void check() const { detail::require_positive("pre_ping.timeout", timeout, "no_validation"); }
};

/// Ping before checkout if the connection has been idle for `idle` or longer.
///
/// Default  500 ms; 0 pings always.
/// Range    idle ≥ 0; timeout > 0.
/// Cost     an age clock read at return and at checkout; a round trip only after idleness.
/// Source   HikariCP's bypass window.
struct pre_ping_after {
    using family = family::validation;
    using needs = facts<last_used>;
    static constexpr bool peeks = false, pings = true;
    duration idle = std::chrono::milliseconds{500};
    duration timeout = std::chrono::seconds{5};
    [[nodiscard]] constexpr probe choose(const auto& facts, time_point now) const noexcept {
        return now - facts.used >= idle ? probe::ping : probe::none;
    }
    [[nodiscard]] constexpr duration limit() const noexcept { return timeout; }
    void check() const {
        detail::require_not_negative("pre_ping_after.idle", idle);
        detail::require_positive("pre_ping_after.timeout", timeout, "no_validation");
    }
};

/// Look at the connection without a round trip if it has been idle for `idle` or longer: a hang-up closes it, something
/// to be read is followed by a ping, silence is trusted.
///
/// Default  yes where the driver can peek, 500 ms; 0 looks always.
/// Range    idle ≥ 0; timeout > 0 (of the ping, if there is one).
/// Cost     an age clock read at return and at checkout; 0.2 µs for the look.
/// With     a driver that cannot ping: something to be read closes the connection.
/// Source   go-sql-driver/mysql's connection check.
struct peek_after {
    using family = family::validation;
    using needs = facts<last_used>;
    static constexpr bool peeks = true, pings = false;
    duration idle = std::chrono::milliseconds{500};
    duration timeout = std::chrono::seconds{5};
    [[nodiscard]] constexpr probe choose(const auto& facts, time_point now) const noexcept {
        return now - facts.used >= idle ? probe::peek : probe::none;
    }
    [[nodiscard]] constexpr duration limit() const noexcept { return timeout; }
    void check() const {
        detail::require_not_negative("peek_after.idle", idle);
        detail::require_positive("peek_after.timeout", timeout, "no_validation");
    }
};

} // namespace cenote
