// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/facts.hpp>
#include <cenote/policy/family.hpp>
#include <cenote/stats.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>

namespace cenote {

/// Family `age`: when a connection has served long enough. A pool takes several, one per `kind`.
///
/// Shape    `bool expired(const auto& facts, time_point now) const noexcept`, or without `now` if it needs no clock
///          `static constexpr bool at_checkout, at_return, while_idle`   when it is asked
///          `static constexpr close_reason reason`
///          optional `time_point due(const auto& facts) const noexcept`  when it will expire if left alone
///          optional `static constexpr bool spares_min_idle`             true: not below `min_idle` and `min`
/// Called   outside locks at checkout and return; under the desk's lock while idle, so it must be pure and quick.
/// With     a lease in use is never cut.
template <class A>
concept age_policy = policy<A> && std::same_as<typename A::family, family::age> && requires {
    { A::at_checkout } -> std::convertible_to<bool>;
    { A::at_return } -> std::convertible_to<bool>;
    { A::while_idle } -> std::convertible_to<bool>;
    { A::reason } -> std::convertible_to<close_reason>;
};

namespace kind {
struct max_lifetime {};
struct idle_timeout {};
struct max_uses {};
struct refresh {};
} // namespace kind

/// Closes a connection once it is `after` old, give or take: each draws its own end from the last `jitter` of that time, so
/// that connections opened together do not end together.
///
/// Default  30 min, jitter 0.1: ends are spread evenly over 27 to 30 minutes.
/// Range    after > 0; 0 ≤ jitter < 1.
/// Cost     an age clock read per checkout and return.
struct max_lifetime {
    using family = family::age;
    using kind = kind::max_lifetime;
    using needs = facts<opened_at, jitter_draw>;
    static constexpr bool at_checkout = true, at_return = true, while_idle = true;
    static constexpr close_reason reason = close_reason::age;

    duration after = std::chrono::minutes{30};
    double jitter = 0.1;

    [[nodiscard]] time_point due(const auto& facts) const noexcept {
        const auto spread = static_cast<duration::rep>(static_cast<double>(after.count()) * jitter * facts.fraction());
        return deadline::after(after - duration{spread}, facts.opened).at();
    }
    [[nodiscard]] bool expired(const auto& facts, time_point now) const noexcept {
        if (jitter <= 0.5 && now - facts.opened < after / 2) return false; // as most are: spares the arithmetic
        return now >= due(facts);
    }
    void check() const {
        detail::require_positive("max_lifetime.after", after, "no_max_lifetime");
        if (!(jitter >= 0.0 && jitter < 1.0)) detail::bad_value("max_lifetime.jitter", jitter, "must be at least 0 and below 1");
    }
};

/// Connections may grow as old as they like.
struct no_max_lifetime {
    using family = family::age;
    using kind = kind::max_lifetime;
};

/// Closes a connection that nobody has used for `after`, but keeps `min_idle` idle and `min` open.
///
/// Default  10 min.
/// Range    above zero.
/// With     housekeeping does it: the background thread in time, `manual` when `maintain()` is called.
struct idle_timeout {
    using family = family::age;
    using kind = kind::idle_timeout;
    using needs = facts<last_used>;
    static constexpr bool at_checkout = false, at_return = false, while_idle = true;
    static constexpr bool spares_min_idle = true;
    static constexpr close_reason reason = close_reason::idle;

    duration after = std::chrono::minutes{10};

    [[nodiscard]] time_point due(const auto& facts) const noexcept { return deadline::after(after, facts.used).at(); }
    [[nodiscard]] bool expired(const auto& facts, time_point now) const noexcept { return now >= due(facts); }
    void check() const { detail::require_positive("idle_timeout.after", after, "no_idle_timeout"); }
};

/// Connections may stay idle as long as they like.
struct no_idle_timeout {
    using family = family::age;
    using kind = kind::idle_timeout;
};

/// Closes a connection when it comes back from its n-th lease.
///
/// Range    at least 1.
/// Cost     one increment per lease; no clock.
/// Source   asyncpg's max_queries: bounds what a session can accumulate.
struct max_uses {
    using family = family::age;
    using kind = kind::max_uses;
    using needs = facts<use_count>;
    static constexpr bool at_checkout = false, at_return = true, while_idle = false;
    static constexpr close_reason reason = close_reason::uses;

    std::uint64_t n = 10'000;

    [[nodiscard]] bool expired(const auto& facts) const noexcept { return facts.uses >= n; }
    void check() const {
        if (n == 0) detail::bad_value("max_uses.n", n, "must be at least 1");
    }
};

/// Every `period` all connections that are open then are replaced, one after the other within `over`: for what servers give to new sessions
/// only, as balancers' shares, settings and names that have moved.
///
/// Default  1 h, within 5 min.
/// Range    both above zero; over ≤ period.
/// Cost     nothing on the way of a lease but what `pool::invalidate_all` costs there.
/// With     sinks hear of each round when it has ended (`on_refreshed`). Housekeeping does it: the background thread in time, `manual` when
///          maintain() is called. What is leased ends as it comes back; what is never given back keeps its round from ending: that is
///          told with a later one.
struct refresh_every {
    using family = family::age;
    using kind = kind::refresh;
    static constexpr bool at_checkout = false, at_return = false, while_idle = false;
    static constexpr close_reason reason = close_reason::invalidated;

    duration period = std::chrono::hours{1};
    duration over = std::chrono::minutes{5};

    void check() const {
        if (period <= duration::zero()) detail::bad_value("refresh_every.period", period, "must be above zero; to switch it off leave refresh_every out");
        if (over <= duration::zero()) detail::bad_value("refresh_every.over", over, "must be above zero");
        if (over > period) detail::bad_value("refresh_every.over", over, "must be at most refresh_every.period");
    }
};

/// No age limit of any kind.
struct no_age_limit {
    using family = family::age;
    using kind = kind::all;
};

} // namespace cenote
