// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/config.hpp>
#include <cenote/detail/pack.hpp>
#include <cenote/driver.hpp>
#include <cenote/policy/reset.hpp>
#include <cenote/policy/validation.hpp>
#include <cenote/stats.hpp>

#include <optional>

/// The pool's decisions: pure functions of (facts, now, event). No socket, no clock, no lock; the shell carries them out.
namespace cenote::detail::lifecycle {

enum class moment { checkout, give_back, idle };

template <class A>
consteval bool asked_at(moment m) {
    return m == moment::checkout ? A::at_checkout : m == moment::give_back ? A::at_return : A::while_idle;
}

template <class A>
consteval bool spares_min_idle() {
    if constexpr (requires { A::spares_min_idle; }) return A::spares_min_idle;
    else return false;
}

template <class A>
[[nodiscard]] bool expired(const A& policy, const auto& facts, [[maybe_unused]] time_point now) noexcept {
    static_assert(requires { policy.expired(facts, now); } || requires { policy.expired(facts); },
                  "cenote: an age policy lacks `bool expired(const auto& facts, time_point now) const noexcept`, with or without `now`; model cenote::age_policy, see cenote/policy/age.hpp");
    if constexpr (requires { policy.expired(facts, now); }) return policy.expired(facts, now);
    else if constexpr (requires { policy.expired(facts); }) return policy.expired(facts);
    else return false;
}

/// The first age policy of the pool that ends this connection at this moment. `Which` filters the policies (spare or not).
template <moment M, class... A>
[[nodiscard]] std::optional<close_reason> end_of_life(list<A...>, const auto& policies, const auto& facts, [[maybe_unused]] time_point now) noexcept {
    std::optional<close_reason> why;
    [[maybe_unused]] const auto ask = [&]<class P>(std::type_identity<P>) {
        if constexpr (asked_at<P>(M)) {
            if (!why && expired(policies.template get<P>(), facts, now)) why = P::reason;
        }
    };
    (ask(std::type_identity<A>{}), ...);
    return why;
}

/// As end_of_life while idle, for those policies that do or do not spare `min_idle`.
template <bool Sparing, class... A>
[[nodiscard]] std::optional<close_reason> end_of_idling(list<A...>, const auto& policies, const auto& facts, time_point now) noexcept {
    std::optional<close_reason> why;
    [[maybe_unused]] const auto ask = [&]<class P>(std::type_identity<P>) {
        if constexpr (asked_at<P>(moment::idle) && spares_min_idle<P>() == Sparing) {
            if (!why && expired(policies.template get<P>(), facts, now)) why = P::reason;
        }
    };
    (ask(std::type_identity<A>{}), ...);
    return why;
}

/// When an idle connection will next have to be looked at.
template <class... A>
[[nodiscard]] time_point next_due(list<A...>, const auto& policies, const auto& facts) noexcept {
    time_point due = time_point::max();
    [[maybe_unused]] const auto ask = [&]<class P>(std::type_identity<P>) {
        if constexpr (requires { policies.template get<P>().due(facts); }) {
            const time_point t = policies.template get<P>().due(facts);
            if (t < due) due = t;
        }
    };
    (ask(std::type_identity<A>{}), ...);
    return due;
}

/// When the pool will end an idle connection whatever `min_idle` says.
template <class... A>
[[nodiscard]] time_point end_of(list<A...>, const auto& policies, const auto& facts) noexcept {
    time_point end = time_point::max();
    [[maybe_unused]] const auto ask = [&]<class P>(std::type_identity<P>) {
        if constexpr (asked_at<P>(moment::idle) && !spares_min_idle<P>() && requires { policies.template get<P>().due(facts); }) {
            const time_point t = policies.template get<P>().due(facts);
            if (t < end) end = t;
        }
    };
    (ask(std::type_identity<A>{}), ...);
    return end;
}

/// What to look at before handing out an idle connection.
[[nodiscard]] probe test_before_use(const auto& validation, const auto& facts, [[maybe_unused]] time_point now) noexcept {
    static_assert(requires { validation.choose(facts, now); } || requires { validation.choose(facts); },
                  "cenote: the validation policy lacks `probe choose(const auto& facts, time_point now) const noexcept`, with or without `now`; model cenote::validation_policy, see cenote/policy/validation.hpp");
    if constexpr (requires { validation.choose(facts, now); }) return validation.choose(facts, now);
    else if constexpr (requires { validation.choose(facts); }) return validation.choose(facts);
    else return probe::none;
}

/// What is left of a validation's own limit: at most a quarter of the acquire's budget, so that a hung test leaves time for the
/// next connection. An acquire without a budget of its own (try_acquire) grants the whole limit.
[[nodiscard]] constexpr duration validation_limit(duration own, duration left) noexcept {
    if (left <= duration::zero()) return own;
    const duration quarter = left / 4;
    return own < quarter ? own : quarter;
}

/// Whether a returned connection counts as dirty.
[[nodiscard]] constexpr bool is_dirty(session_state s) noexcept {
    return s == session_state::in_transaction || s == session_state::failed_transaction || s == session_state::busy;
}

} // namespace cenote::detail::lifecycle
