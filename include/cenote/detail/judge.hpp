// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/pack.hpp>
#include <cenote/driver.hpp>
#include <cenote/policy/profile.hpp>

#include <type_traits>

// The pack of policies is judged before it is resolved: one mistake, one sentence, and a stub pool so that nothing cascades.
namespace cenote::detail {

enum class rule {
    none,
    not_a_driver, driver_without_open, driver_without_close, not_a_policy,
    two_profiles, two_sizings, two_waitings, two_orders, two_lockings, two_housekeepings, two_budgets, two_connectings, two_ages,
    two_validations, two_resets, two_leaks, two_nestings, two_metrics, two_hooks, two_clocks, two_names,
    bad_sizing, bad_waiting, bad_age, bad_validation, bad_reset, bad_clock, bad_locking, bad_mutex,
    wait_on_one_thread, thread_on_one_thread, thread_in_fixed,
    no_peek, no_ping, no_state, no_rollback, no_full_reset, no_execute, no_deferred, deferred_script,
};

template <class L>
struct profile_policies { using type = list<>; };
template <class... P>
struct profile_policies<bundle<P...>> { using type = list<P...>; };

/// What a profile type brings along, as a list of types.
template <class Profile>
using policies_of = typename profile_policies<std::remove_cvref_t<decltype(std::declval<const Profile&>().policies())>>::type;

/// The profile's policies in a pack, or none.
template <class L>
struct from_profile;
template <class... P>
struct from_profile<list<P...>> {
    template <class Q>
    struct one { using type = list<>; };
    template <class Q>
        requires is_profile_v<Q>
    struct one<Q> { using type = policies_of<Q>; };
    using type = join_t<typename one<P>::type...>;
};

template <class L>
struct without_profiles;
template <class... P>
struct without_profiles<list<P...>> {
    using type = join_t<std::conditional_t<is_profile_v<P>, list<>, list<P>>...>;
};

/// What the user chose: named policies, then those of the profile that are not displaced.
template <class... P>
using chosen_t = join_t<typename without_profiles<list<P...>>::type,
                        undisplaced_t<typename without_profiles<list<P...>>::type, typename from_profile<list<P...>>::type>>;

template <class P, class... All>
inline constexpr int of_its_kind = (0 + ... + (displaces_v<P, All> ? 1 : 0));

/// The family index of the first two policies that exclude each other, or -1.
template <class... P>
consteval int first_conflict() {
    int found = -1;
    ((found == -1 && of_its_kind<P, P...> > 1 ? void(found = P::family::index) : void()), ...);
    return found;
}

consteval rule conflict_rule(int family_index) {
    return static_cast<rule>(static_cast<int>(rule::two_profiles) + family_index);
}
static_assert(conflict_rule(family::name::index) == rule::two_names && conflict_rule(family::hooks::index) == rule::two_hooks);

template <class P>
consteval bool fits_family() {
    using F = typename P::family;
    if constexpr (std::is_same_v<F, family::sizing>) return sizing_policy<P>;
    else if constexpr (std::is_same_v<F, family::waiting>) return waiting_policy<P>;
    else if constexpr (std::is_same_v<F, family::locking>) return locking_policy<P>;
    else if constexpr (std::is_same_v<F, family::age>) return age_policy<P> || !std::is_same_v<kind_of<P>, P>;
    else if constexpr (std::is_same_v<F, family::validation>) return validation_policy<P>;
    else if constexpr (std::is_same_v<F, family::reset>) return requires { { P::reads_state } -> std::convertible_to<bool>; };
    else if constexpr (std::is_same_v<F, family::clock>) return age_clock<P>;
    else return true;
}

template <class R>
inline constexpr bool is_deferred = false;
template <class W>
inline constexpr bool is_deferred<deferred<W>> = true;

template <class R>
inline constexpr bool is_at_return = false;
template <class W>
inline constexpr bool is_at_return<at_return<W>> = true;

consteval rule first_of(std::initializer_list<rule> found) {
    for (const rule r : found) {
        if (r != rule::none) return r;
    }
    return rule::none;
}

/// The combination, once each policy is known to be sound by itself.
template <class D, class Chosen>
consteval rule judge_combination() {
    using sizing = first_of_family_t<family::sizing, bounded, Chosen>;
    using locking = first_of_family_t<family::locking, with_mutex<>, Chosen>;
    using waiting = first_of_family_t<family::waiting, no_wait, Chosen>;
    using keeping = first_of_family_t<family::housekeeping, manual, Chosen>;
    using checking = first_of_family_t<family::validation, no_validation, Chosen>;
    using cleaning = first_of_family_t<family::reset, no_reset, Chosen>;
    if constexpr (!basic_lockable<typename locking::sync::mutex>) return rule::bad_mutex;
    else if constexpr (!locking::threads && waiting::waits) return rule::wait_on_one_thread;
    else if constexpr (!locking::threads && keeping::threads) return rule::thread_on_one_thread;
    else if constexpr (sizing::embedded != 0 && keeping::threads) return rule::thread_in_fixed;
    else if constexpr (checking::peeks && !can_peek<D>) return rule::no_peek;
    else if constexpr (checking::pings && !can_ping<D>) return rule::no_ping;
    else if constexpr (cleaning::reads_state && !can_tell_state<D> && !cleaning::resets) return rule::no_state;
    else if constexpr (is_deferred<cleaning> && !can_defer_reset<D>) return rule::no_deferred;
    else if constexpr (is_deferred<cleaning> && cleaning::executes) return rule::deferred_script;
    else if constexpr (cleaning::rolls_back && !can_rollback<D> && !can_reset<D>) return rule::no_rollback;
    else if constexpr (cleaning::resets && !can_reset<D> && !is_deferred<cleaning>) return rule::no_full_reset;
    else if constexpr (cleaning::executes && !can_execute<D>) return rule::no_execute;
    else return rule::none;
}

template <class... P>
consteval rule judge_soundness(list<P...>) {
    return first_of({(fits_family<P>() ? rule::none
                      : std::is_same_v<typename P::family, family::sizing> ? rule::bad_sizing
                      : std::is_same_v<typename P::family, family::waiting> ? rule::bad_waiting
                      : std::is_same_v<typename P::family, family::locking> ? rule::bad_locking
                      : std::is_same_v<typename P::family, family::age> ? rule::bad_age
                      : std::is_same_v<typename P::family, family::validation> ? rule::bad_validation
                      : std::is_same_v<typename P::family, family::reset> ? rule::bad_reset : rule::bad_clock)...});
}

template <class... P>
consteval int conflict_in(list<P...>) { return first_conflict<P...>(); }

template <class D, class... P>
consteval rule judge() {
    if constexpr (!requires { typename D::connection; }) return rule::not_a_driver;
    else if constexpr (!requires(D& d, deadline by) { { d.open(by) } -> std::same_as<typename D::connection>; }) return rule::driver_without_open;
    else if constexpr (!requires(D& d, typename D::connection& c) { { d.close(c) } noexcept; }) return rule::driver_without_close;
    else if constexpr (!driver<D>) return rule::not_a_driver;
    else if constexpr (!(policy<P> && ...)) return rule::not_a_policy;
    else if constexpr ((0 + ... + (is_profile_v<P> ? 1 : 0)) > 1) return rule::two_profiles;
    else if constexpr (conflict_in(typename without_profiles<list<P...>>::type{}) != -1) {
        return conflict_rule(conflict_in(typename without_profiles<list<P...>>::type{}));
    }
    else if constexpr (judge_soundness(chosen_t<P...>{}) != rule::none) return judge_soundness(chosen_t<P...>{});
    else return judge_combination<D, chosen_t<P...>>();
}

/// One false assertion per pack, and its sentence.
template <rule R>
struct verdict {
    static_assert(R != rule::not_a_driver, "cenote: the first argument of pool is not a driver; give it a movable type with a movable member type `connection`, `connection open(deadline)` and `void close(connection&) noexcept`, see cenote/driver.hpp");
    static_assert(R != rule::driver_without_open, "cenote: the driver lacks `connection open(cenote::deadline)` that returns its `connection` type; add it, see cenote/driver.hpp");
    static_assert(R != rule::driver_without_close, "cenote: the driver lacks `void close(connection&) noexcept` (noexcept is required); add it, see cenote/driver.hpp");
    static_assert(R != rule::not_a_policy, "cenote: one of the arguments after the driver is not a policy; a policy is a struct with `using family = cenote::family::…`, see cenote/policy/family.hpp");
    static_assert(R != rule::two_profiles, "cenote: two profiles in one pool; keep one and name single policies beside it, see cenote/policy/profile.hpp");
    static_assert(R != rule::two_sizings, "cenote: two sizing policies in one pool; keep one of fixed<N>, bounded and overflow, see cenote/policy/sizing.hpp");
    static_assert(R != rule::two_waitings, "cenote: two waiting policies in one pool; keep one of no_wait, strictly_fair, eventually_fair and barging, see cenote/policy/waiting.hpp");
    static_assert(R != rule::two_orders, "cenote: two order policies in one pool; keep one of lifo and fifo, see cenote/policy/order.hpp");
    static_assert(R != rule::two_lockings, "cenote: two locking policies in one pool; keep one of single_threaded and with_mutex, see cenote/policy/locking.hpp");
    static_assert(R != rule::two_housekeepings, "cenote: two housekeeping policies in one pool; keep one of background_thread and manual, see cenote/policy/housekeeping.hpp");
    static_assert(R != rule::two_budgets, "cenote: two acquire budgets in one pool; keep one of acquire_timeout and no_acquire_timeout, see cenote/policy/waiting.hpp");
    static_assert(R != rule::two_connectings, "cenote: two connecting policies of one kind in one pool; keep one connect_timeout and one backoff, see cenote/policy/connecting.hpp");
    static_assert(R != rule::two_ages, "cenote: two age policies of one kind in one pool, or no_age_limit beside another; keep one max_lifetime, idle_timeout and max_uses each, see cenote/policy/age.hpp");
    static_assert(R != rule::two_validations, "cenote: two validation policies in one pool; keep one of no_validation, pre_ping, pre_ping_after and peek_after, see cenote/policy/validation.hpp");
    static_assert(R != rule::two_resets, "cenote: two reset policies in one pool; keep one, wrapped in deferred, background or at_return to say when, see cenote/policy/reset.hpp");
    static_assert(R != rule::two_leaks, "cenote: two leak policies in one pool; keep one of no_leak_check and leak_threshold, see cenote/policy/leak.hpp");
    static_assert(R != rule::two_nestings, "cenote: two nesting policies in one pool; keep one of allow_nested, report_nested and forbid_nested, see cenote/policy/nesting.hpp");
    static_assert(R != rule::two_metrics, "cenote: the same metrics sink twice in one pool, or no_metrics beside a sink; keep one of each type, see cenote/policy/metrics.hpp");
    static_assert(R != rule::two_hooks, "cenote: the same hook twice in one pool, or no_hooks beside a hook; keep one of each type (two lambdas are two types), see cenote/policy/hooks.hpp");
    static_assert(R != rule::two_clocks, "cenote: two clocks in one pool; keep one of clock::steady, clock::coarse and clock::manual, see cenote/clock.hpp");
    static_assert(R != rule::two_names, "cenote: two names for one pool; keep one of named and unnamed, see cenote/policy/name.hpp");
    static_assert(R != rule::bad_sizing, "cenote: the sizing policy lacks `limits bounds() const` or `static constexpr unsigned embedded`; model cenote::sizing_policy, see cenote/policy/sizing.hpp");
    static_assert(R != rule::bad_waiting, "cenote: the waiting policy lacks waits, reads_time, max_waiters or a noexcept hand_over(duration); model cenote::waiting_policy, see cenote/policy/waiting.hpp");
    static_assert(R != rule::bad_locking, "cenote: the locking policy lacks `sync`, `idle_set<Order>` or `threads`; model cenote::locking_policy, see cenote/policy/locking.hpp");
    static_assert(R != rule::bad_mutex, "cenote: with_mutex<M> needs M to have lock() and unlock(); take std::mutex or a type like it, see cenote/policy/locking.hpp");
    static_assert(R != rule::bad_age, "cenote: the age policy lacks at_checkout, at_return, while_idle or reason; model cenote::age_policy, see cenote/policy/age.hpp");
    static_assert(R != rule::bad_validation, "cenote: the validation policy lacks peeks or pings; model cenote::validation_policy, see cenote/policy/validation.hpp");
    static_assert(R != rule::bad_reset, "cenote: the reset policy lacks reads_state, rolls_back, resets or executes; model cenote::reset_what, see cenote/policy/reset.hpp");
    static_assert(R != rule::bad_clock, "cenote: the clock lacks `time_point now() const noexcept`; model cenote::age_clock, see cenote/clock.hpp");
    static_assert(R != rule::wait_on_one_thread, "cenote: single_threaded cannot wait, the only thread would wait for itself; write no_wait, or with_mutex instead of single_threaded, see cenote/policy/locking.hpp");
    static_assert(R != rule::thread_on_one_thread, "cenote: single_threaded and background_thread contradict each other; write manual, or with_mutex instead of single_threaded, see cenote/policy/housekeeping.hpp");
    static_assert(R != rule::thread_in_fixed, "cenote: fixed<N> lives inside the pool object, which a background_thread could outlive; write manual, or bounded{.max = N}, see cenote/policy/sizing.hpp");
    static_assert(R != rule::no_peek, "cenote: peek_after needs a driver with `liveness peek(connection&) noexcept`; add it, or write pre_ping_after or no_validation, see cenote/policy/validation.hpp");
    static_assert(R != rule::no_ping, "cenote: pinging needs a driver with `void ping(connection&, deadline)`; add it, or write peek_after or no_validation, see cenote/policy/validation.hpp");
    static_assert(R != rule::no_state, "cenote: this reset policy needs a driver with `session_state state(connection&) noexcept`; add it, or write reset_always or no_reset, see cenote/policy/reset.hpp");
    static_assert(R != rule::no_rollback, "cenote: this reset policy needs a driver with `void rollback(connection&, deadline)` or `reset`; add one, or write no_reset, see cenote/policy/reset.hpp");
    static_assert(R != rule::no_full_reset, "cenote: reset_always needs a driver with `void reset(connection&, deadline)`; add it, or write reset_if_dirty or no_reset, see cenote/policy/reset.hpp");
    static_assert(R != rule::no_execute, "cenote: reset_with needs a driver with `void execute(connection&, std::string_view, deadline)`; add it, or write another reset, see cenote/policy/reset.hpp");
    static_assert(R != rule::no_deferred, "cenote: deferred needs a driver with reset_start and reset_finish; add them, or write background or at_return, see cenote/policy/reset.hpp");
    static_assert(R != rule::deferred_script, "cenote: deferred sends the driver's full reset and cannot run reset_with; write background or at_return around it, see cenote/policy/reset.hpp");
    static constexpr bool ok = R == rule::none;
};

} // namespace cenote::detail
