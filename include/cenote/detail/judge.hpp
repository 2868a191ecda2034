// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/pack.hpp>
#include <cenote/driver.hpp>
#include <cenote/policy/profile.hpp>

#include <concepts>
#include <initializer_list>
#include <string_view>
#include <type_traits>
#include <utility>

// The pack of policies is judged before it is resolved: one mistake, one sentence, and a stub pool so that nothing cascades.
namespace cenote::detail {

enum class rule {
    none,
    not_a_driver, driver_without_open, driver_without_close, not_a_policy,
    two_profiles, two_sizings, two_waitings, two_orders, two_lockings, two_housekeepings, two_budgets, two_connectings, two_ages,
    two_validations, two_roles, two_keepalives, two_resets, two_cuttings, two_leaks, two_nestings, two_metrics, two_hooks, two_clocks, two_names, two_settings, two_forkings,
    bad_profile, bad_sizing, bad_waiting, bad_locking, bad_mutex, bad_housekeeping, bad_budget, bad_connecting, bad_age, bad_validation, bad_role, bad_keepalive, bad_reset, bad_cutting,
    bad_leak, bad_nesting, bad_metrics, bad_hook, bad_clock, bad_name, bad_settings, bad_forking,
    wait_on_one_thread, thread_on_one_thread, thread_in_fixed, fork_in_fixed, no_abandon,
    bad_order, only_lifo, near_peek, near_ping, near_state, near_rollback, near_reset, near_deferred, near_start, near_execute, near_classify, near_dial,
    near_interrupter, near_abandon, near_role,
    no_peek, no_ping, no_role, keepalive_without_ping, no_interrupter, close_now_without_interrupter, close_now_on_one_thread, close_now_in_fixed, no_state, backoff_without_thread, breaker_without_thread, no_full_reset, no_execute, no_deferred, deferred_script,
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
static_assert(conflict_rule(family::forking::index) == rule::two_forkings && conflict_rule(family::settings::index) == rule::two_settings && conflict_rule(family::hooks::index) == rule::two_hooks);

template <class T>
concept gives_time = std::same_as<T, duration>;

/// Whether a policy is of a family that pools know; one of any other would be ignored.
template <class P>
inline constexpr bool of_known_family =
    contains_v<family_of<P>, list<family::profile, family::sizing, family::waiting, family::order, family::locking, family::housekeeping, family::budget,
                                  family::connecting, family::age, family::validation, family::role, family::keepalive, family::reset, family::cutting, family::leak, family::nesting, family::metrics,
                                  family::hooks, family::clock, family::name, family::settings, family::forking>>;

template <class P>
consteval bool fits_bundle() {
    if constexpr (!policy<P>) return false;
    else return of_known_family<P> && !is_profile_v<P>;
}
template <class T>
inline constexpr bool sound_bundle = false;
template <class... P>
inline constexpr bool sound_bundle<bundle<P...>> = (fits_bundle<P>() && ...);

template <class P>
consteval bool sound_profile() {
    if constexpr (!is_profile_v<P>) return true;
    else if constexpr (!requires(const P& p) { p.policies(); }) return false;
    else return sound_bundle<std::remove_cvref_t<decltype(std::declval<const P&>().policies())>>;
}

/// An age policy that only switches its kind off.
template <class P>
concept age_off = !std::same_as<kind_of<P>, P> && !requires { P::at_checkout; } && !requires { P::at_return; } && !requires { P::while_idle; } &&
                  !requires { P::reason; };

template <class P>
consteval bool fits_housekeeping() {
    if constexpr (!requires { { P::threads } -> std::convertible_to<bool>; }) return false;
    else if constexpr (P::threads) return requires(const P& p) { { p.max_dials } -> std::convertible_to<unsigned>; { p.patience } -> std::convertible_to<duration>; };
    else return true;
}

template <class P>
consteval bool fits_connecting() {
    if constexpr (std::is_same_v<kind_of<P>, kind::connect_timeout>) return requires(const P& p) { { p.limit() } noexcept -> gives_time; };
    else if constexpr (std::is_same_v<kind_of<P>, kind::backoff>) return requires(const P& p) { { p.pause(1U, 0.5) } noexcept -> gives_time; };
    else if constexpr (std::is_same_v<kind_of<P>, kind::breaker>) return requires(const P& p) { { p.limit() } noexcept -> std::same_as<unsigned>; };
    else return false;
}

template <class P>
consteval bool fits_role() {
    if constexpr (!requires { { P::checks } -> std::convertible_to<bool>; }) return false;
    else if constexpr (P::checks) return requires(const P& p) { { p.wanted() } noexcept -> std::same_as<server_role>; };
    else return true;
}

template <class P>
consteval bool fits_keepalive() {
    if constexpr (!requires { { P::tests } -> std::convertible_to<bool>; }) return false;
    else if constexpr (P::tests) return requires(const P& p) { { p.every } -> std::convertible_to<duration>; { p.limit() } noexcept -> gives_time; };
    else return true;
}

template <class P>
consteval bool fits_reset() {
    if constexpr (requires { typename P::what_type; }) return reset_what<typename P::what_type>;
    else return reset_what<P>;
}

template <class P>
consteval bool fits_cutting() {
    if constexpr (!requires { { P::cuts } -> std::convertible_to<bool>; }) return false;
    else if constexpr (P::cuts) return requires(const P& p) { { p.grace } -> std::convertible_to<duration>; };
    else return true;
}

/// Whether the leak policy ends leases from another thread.
template <class P>
consteval bool cuts_leases() {
    if constexpr (requires { { P::cuts } -> std::convertible_to<bool>; }) return P::cuts;
    else return false;
}

template <class P>
consteval bool fits_leak() {
    if constexpr (!requires { { P::records } -> std::convertible_to<bool>; }) return false;
    else if constexpr (cuts_leases<P>() && !requires(const P& p) { { p.grace } -> std::convertible_to<duration>; }) return false;
    else if constexpr (P::records) return requires(const P& p) { typename P::needs; { p.after } -> std::convertible_to<duration>; };
    else return true;
}

template <class P>
concept fits_nesting = requires {
    { P::watches } -> std::convertible_to<bool>;
    { P::refuses } -> std::convertible_to<bool>;
};

/// Whether there is anything that a sink is told.
template <class S>
concept hears = requires(S& s, const acquired_event& e) { s.on_acquired(e); } || requires(S& s) { s.on_acquired(); } ||
                requires(S& s, const returned_event& e) { s.on_returned(e); } || requires(S& s) { s.on_returned(); } ||
                requires(S& s, const refused_event& e) { s.on_refused(e); } || requires(S& s, const opened_event& e) { s.on_opened(e); } ||
                requires(S& s, const open_failed_event& e) { s.on_open_failed(e); } || requires(S& s, const closed_event& e) { s.on_closed(e); } ||
                requires(S& s, duration d) { s.on_waited(d); } || requires(S& s) { s.on_dirty(); } || requires(S& s) { s.on_detached(); } ||
                requires(S& s) { s.on_validation_failed(); } || requires(S& s) { s.on_reset_failed(); } || requires(S& s) { s.on_nested(); } || requires(S& s, const refreshed_event& e) { s.on_refreshed(e); } ||
                requires(S& s, const lease_info& i) { s.on_leak(i); } || requires(S& s, const lease_info& i) { s.on_leak_returned(i); };

template <class Conn, class H>
inline constexpr bool callable_hook = false;
template <class Conn, class F>
inline constexpr bool callable_hook<Conn, on_connect<F>> = std::invocable<F&, Conn&>;
template <class Conn, class F>
inline constexpr bool callable_hook<Conn, on_acquire<F>> = std::invocable<F&, Conn&>;
template <class Conn, class F>
inline constexpr bool callable_hook<Conn, on_give_back<F>> = std::invocable<F&, Conn&>;
template <class Conn, class F>
inline constexpr bool callable_hook<Conn, on_close<F>> = std::invocable<F&, Conn&, close_reason> || std::invocable<F&, Conn&>;
template <class Conn, class F>
inline constexpr bool callable_hook<Conn, on_leak<F>> = std::invocable<F&, const lease_info&>;

/// What is wrong with a policy, whatever the others are.
template <class D, class P>
consteval rule fault_of() {
    using F = typename P::family;
    if constexpr (std::is_same_v<F, family::sizing>) return sizing_policy<P> ? rule::none : rule::bad_sizing;
    else if constexpr (std::is_same_v<F, family::waiting>) return waiting_policy<P> ? rule::none : rule::bad_waiting;
    else if constexpr (std::is_same_v<F, family::locking>) return locking_policy<P> ? rule::none : rule::bad_locking;
    else if constexpr (std::is_same_v<F, family::housekeeping>) return fits_housekeeping<P>() ? rule::none : rule::bad_housekeeping;
    else if constexpr (std::is_same_v<F, family::budget>) return requires(const P& p) { { p.budget() } noexcept -> gives_time; } ? rule::none : rule::bad_budget;
    else if constexpr (std::is_same_v<F, family::connecting>) return fits_connecting<P>() ? rule::none : rule::bad_connecting;
    else if constexpr (std::is_same_v<F, family::age>) return age_policy<P> || age_off<P> ? rule::none : rule::bad_age;
    else if constexpr (std::is_same_v<F, family::validation>) return validation_policy<P> ? rule::none : rule::bad_validation;
    else if constexpr (std::is_same_v<F, family::role>) return fits_role<P>() ? rule::none : rule::bad_role;
    else if constexpr (std::is_same_v<F, family::keepalive>) return fits_keepalive<P>() ? rule::none : rule::bad_keepalive;
    else if constexpr (std::is_same_v<F, family::reset>) return fits_reset<P>() ? rule::none : rule::bad_reset;
    else if constexpr (std::is_same_v<F, family::cutting>) return fits_cutting<P>() ? rule::none : rule::bad_cutting;
    else if constexpr (std::is_same_v<F, family::leak>) return fits_leak<P>() ? rule::none : rule::bad_leak;
    else if constexpr (std::is_same_v<F, family::nesting>) return fits_nesting<P> ? rule::none : rule::bad_nesting;
    else if constexpr (std::is_same_v<F, family::metrics>) return switches_family_off<P> || hears<P> ? rule::none : rule::bad_metrics;
    else if constexpr (std::is_same_v<F, family::hooks>) return switches_family_off<P> || callable_hook<typename D::connection, P> ? rule::none : rule::bad_hook;
    else if constexpr (std::is_same_v<F, family::clock>) return age_clock<P> ? rule::none : rule::bad_clock;
    else if constexpr (std::is_same_v<F, family::name>) return requires(const P& p) { { p.view() } noexcept -> std::same_as<std::string_view>; } ? rule::none : rule::bad_name;
    else if constexpr (std::is_same_v<F, family::settings>) return requires { { P::live } -> std::convertible_to<bool>; } ? rule::none : rule::bad_settings;
    else if constexpr (std::is_same_v<F, family::forking>) return forking_policy<P> ? rule::none : rule::bad_forking;
    else return of_known_family<P> ? rule::none : rule::not_a_policy;
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

/// A *what* without a *when*: deferred where the driver can, else in the background.
template <class D, class What>
struct when_of { using type = What; };
template <class D, reset_what What>
    requires(!std::is_same_v<What, no_reset>)
struct when_of<D, What> {
    using type = std::conditional_t<can_defer_reset<D> && (can_defer_script<D> || !What::executes), deferred<What>, background<What>>;
};

/// A driver's member that has the name of a refinement and not its signature. (Overloads and templates are not looked into.)
template <class D>
consteval rule near_miss() {
    if constexpr (requires { &D::peek; } && !can_peek<D>) return rule::near_peek;
    else if constexpr (requires { &D::ping; } && !can_ping<D>) return rule::near_ping;
    else if constexpr (requires { &D::state; } && !can_tell_state<D>) return rule::near_state;
    else if constexpr (requires { &D::rollback; } && !can_rollback<D>) return rule::near_rollback;
    else if constexpr (requires { &D::reset; } && !can_reset<D>) return rule::near_reset;
    else if constexpr ((requires { &D::reset_start; } || requires { &D::reset_finish; }) && !can_defer_reset<D>) return rule::near_deferred;
    else if constexpr (requires { &D::rollback_start; } && !can_defer_rollback<D>) return rule::near_start;
    else if constexpr (requires { &D::execute_start; } && !can_defer_script<D>) return rule::near_start;
    else if constexpr (requires { &D::execute; } && !can_execute<D>) return rule::near_execute;
    else if constexpr (requires { &D::classify; } && !can_classify<D>) return rule::near_classify;
    else if constexpr (requires { &D::dial; } && !can_dial<D>) return rule::near_dial;
    else if constexpr ((requires { &D::interrupter; } || requires { &D::cancel; } || requires { &D::sever; }) && !can_interrupt<D>) return rule::near_interrupter;
    else if constexpr (requires { &D::abandon; } && !can_abandon<D>) return rule::near_abandon;
    else if constexpr (requires { &D::role; } && !can_tell_role<D>) return rule::near_role;
    else return rule::none;
}

template <class Locking, class Sizing>
using default_housekeeping = std::conditional_t<Locking::threads && Sizing::embedded == 0, background_thread, manual>;

template <class L>
inline constexpr bool backs_off = false;
template <class... P>
inline constexpr bool backs_off<list<P...>> = (std::is_same_v<kind_of<P>, kind::backoff> || ...);

template <class L>
inline constexpr bool breaks = false;
template <class... P>
inline constexpr bool breaks<list<P...>> = ((std::is_same_v<kind_of<P>, kind::breaker> && !std::is_same_v<P, no_breaker>) || ...);

/// Locking policies of cenote's, whose idle sets know two orders.
template <class L>
inline constexpr bool own_locking = std::is_same_v<L, single_threaded>;
template <class M>
inline constexpr bool own_locking<with_mutex<M>> = true;

/// Those whose idle sets have an order of their own.
template <class L>
inline constexpr bool nearest_first = std::is_same_v<L, lock_free> || std::is_same_v<L, thread_affine>;

/// The combination, once each policy is known to be sound by itself.
template <class D, class Chosen>
consteval rule judge_combination() {
    using sizing = first_of_family_t<family::sizing, bounded, Chosen>;
    using ordering = first_of_family_t<family::order, lifo, Chosen>;
    using locking = first_of_family_t<family::locking, default_locking<ordering>, Chosen>;
    using waiting = first_of_family_t<family::waiting, no_wait, Chosen>;
    using keeping = first_of_family_t<family::housekeeping, manual, Chosen>;
    using backed = first_of_family_t<family::housekeeping, default_housekeeping<locking, sizing>, Chosen>;
    using checking = first_of_family_t<family::validation, no_validation, Chosen>;
    using asking = first_of_family_t<family::role, any_role, Chosen>;
    using keeping_alive = first_of_family_t<family::keepalive, no_keepalive, Chosen>;
    using cutting = first_of_family_t<family::cutting, never_cut, Chosen>;
    using leaking = first_of_family_t<family::leak, no_leak_check, Chosen>;
    using cleaning = typename when_of<D, first_of_family_t<family::reset, no_reset, Chosen>>::type;
    using forking = first_of_family_t<family::forking, fork_unaware, Chosen>;
    if constexpr (!basic_lockable<typename locking::sync::mutex>) return rule::bad_mutex;
    else if constexpr (own_locking<locking> && !std::is_same_v<ordering, lifo> && !std::is_same_v<ordering, fifo>) return rule::bad_order;
    else if constexpr (nearest_first<locking> && !std::is_same_v<ordering, lifo>) return rule::only_lifo;
    else if constexpr (!locking::threads && waiting::waits) return rule::wait_on_one_thread;
    else if constexpr (!locking::threads && keeping::threads) return rule::thread_on_one_thread;
    else if constexpr (sizing::embedded != 0 && keeping::threads) return rule::thread_in_fixed;
    else if constexpr (forking::aware && sizing::embedded != 0) return rule::fork_in_fixed;
    else if constexpr (forking::aware && !can_abandon<D>) return rule::no_abandon;
    else if constexpr (!backed::threads && backs_off<Chosen>) return rule::backoff_without_thread;
    else if constexpr (!backed::threads && breaks<Chosen>) return rule::breaker_without_thread;
    else if constexpr (checking::peeks && !can_peek<D>) return rule::no_peek;
    else if constexpr (checking::pings && !can_ping<D>) return rule::no_ping;
    else if constexpr (asking::checks && !can_tell_role<D>) return rule::no_role;
    else if constexpr (keeping_alive::tests && !can_ping<D>) return rule::keepalive_without_ping;
    else if constexpr (cutting::cuts && !can_interrupt<D>) return rule::no_interrupter;
    else if constexpr (cutting::cuts && !locking::threads) return rule::no_interrupter;
    else if constexpr (cuts_leases<leaking>() && !can_interrupt<D>) return rule::close_now_without_interrupter;
    else if constexpr (cuts_leases<leaking>() && sizing::embedded != 0) return rule::close_now_in_fixed;
    else if constexpr (cuts_leases<leaking>() && !locking::threads) return rule::close_now_on_one_thread;
    else if constexpr (cleaning::reads_state && !can_tell_state<D> && !cleaning::resets) return rule::no_state;
    else if constexpr (is_deferred<cleaning> && !can_defer_reset<D>) return rule::no_deferred;
    else if constexpr (is_deferred<cleaning> && cleaning::executes && !can_defer_script<D>) return rule::deferred_script;
    else if constexpr (cleaning::resets && !can_reset<D> && !is_deferred<cleaning>) return rule::no_full_reset;
    else if constexpr (cleaning::executes && !can_execute<D> && !is_deferred<cleaning>) return rule::no_execute;
    else return rule::none;
}

template <class D, class... P>
consteval rule judge_soundness(list<P...>) { return first_of({rule::none, fault_of<D, P>()...}); }

template <class... P>
consteval int conflict_in(list<P...>) { return first_conflict<P...>(); }

template <class D, class... P>
consteval rule judge() {
    if constexpr (!requires { typename D::connection; }) return rule::not_a_driver;
    else if constexpr (!requires(D& d, deadline by) { { d.open(by) } -> std::same_as<typename D::connection>; }) return rule::driver_without_open;
    else if constexpr (!requires(D& d, typename D::connection& c) { { d.close(c) } noexcept; }) return rule::driver_without_close;
    else if constexpr (!driver<D>) return rule::not_a_driver;
    else if constexpr (near_miss<D>() != rule::none) return near_miss<D>();
    else if constexpr (!(policy<P> && ...)) return rule::not_a_policy;
    else if constexpr (!(of_known_family<P> && ...)) return rule::not_a_policy;
    else if constexpr ((0 + ... + (is_profile_v<P> ? 1 : 0)) > 1) return rule::two_profiles;
    else if constexpr (!(sound_profile<P>() && ...)) return rule::bad_profile;
    else if constexpr (conflict_in(typename without_profiles<list<P...>>::type{}) != -1) {
        return conflict_rule(conflict_in(typename without_profiles<list<P...>>::type{}));
    }
    else if constexpr (conflict_in(typename from_profile<list<P...>>::type{}) != -1) {
        return conflict_rule(conflict_in(typename from_profile<list<P...>>::type{}));
    }
    else if constexpr (judge_soundness<D>(chosen_t<P...>{}) != rule::none) return judge_soundness<D>(chosen_t<P...>{});
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
    static_assert(R != rule::two_lockings, "cenote: two locking policies in one pool; keep one of lock_free, thread_affine, with_mutex and single_threaded, see cenote/policy/locking.hpp");
    static_assert(R != rule::two_housekeepings, "cenote: two housekeeping policies in one pool; keep one of background_thread and manual, see cenote/policy/housekeeping.hpp");
    static_assert(R != rule::two_budgets, "cenote: two acquire budgets in one pool; keep one of acquire_timeout and no_acquire_timeout, see cenote/policy/waiting.hpp");
    static_assert(R != rule::two_connectings, "cenote: two connecting policies of one kind in one pool; keep one connect_timeout, one backoff and one breaker, see cenote/policy/connecting.hpp");
    static_assert(R != rule::two_ages, "cenote: two age policies of one kind in one pool, or no_age_limit beside another; keep one max_lifetime, idle_timeout, max_uses and refresh_every each, see cenote/policy/age.hpp");
    static_assert(R != rule::two_validations, "cenote: two validation policies in one pool; keep one of no_validation, pre_ping, pre_ping_after and peek_after, see cenote/policy/validation.hpp");
    static_assert(R != rule::two_roles, "cenote: two role policies in one pool; keep one of any_role and require_role, see cenote/policy/role.hpp");
    static_assert(R != rule::two_keepalives, "cenote: two keepalive policies in one pool; keep one of no_keepalive and keepalive, see cenote/policy/keepalive.hpp");
    static_assert(R != rule::two_resets, "cenote: two reset policies in one pool; keep one, wrapped in deferred, background or at_return to say when, see cenote/policy/reset.hpp");
    static_assert(R != rule::two_cuttings, "cenote: two cutting policies in one pool; keep one of cut_at_close and never_cut, see cenote/policy/cutting.hpp");
    static_assert(R != rule::two_leaks, "cenote: two leak policies in one pool; keep one of no_leak_check, leak_threshold, discard_on_return and close_now, see cenote/policy/leak.hpp");
    static_assert(R != rule::two_nestings, "cenote: two nesting policies in one pool; keep one of allow_nested, report_nested and forbid_nested, see cenote/policy/nesting.hpp");
    static_assert(R != rule::two_metrics, "cenote: the same metrics sink twice in one pool, or no_metrics beside a sink; keep one of each type, see cenote/policy/metrics.hpp");
    static_assert(R != rule::two_hooks, "cenote: the same hook twice in one pool, or no_hooks beside a hook; keep one of each type (two lambdas are two types), see cenote/policy/hooks.hpp");
    static_assert(R != rule::two_clocks, "cenote: two clocks in one pool; keep one of clock::steady, clock::coarse and clock::manual, see cenote/clock.hpp");
    static_assert(R != rule::two_names, "cenote: two names for one pool; keep one of named and unnamed, see cenote/policy/name.hpp");
    static_assert(R != rule::two_settings, "cenote: two policies about settings in one pool; keep one of fixed_settings and live_settings, see cenote/policy/settings.hpp");
    static_assert(R != rule::two_forkings, "cenote: two policies about forks in one pool; keep one of fork_unaware and fork_aware, see cenote/policy/forking.hpp");
    static_assert(R != rule::bad_profile, "cenote: the profile lacks `policies()` that returns a cenote::bundle of policies, none of them a profile; write one like profile::web, see cenote/policy/profile.hpp");
    static_assert(R != rule::bad_sizing, "cenote: the sizing policy lacks `limits bounds() const` or `static constexpr unsigned embedded`; model cenote::sizing_policy, see cenote/policy/sizing.hpp");
    static_assert(R != rule::bad_waiting, "cenote: the waiting policy lacks waits, reads_time, max_waiters or a noexcept hand_over(duration); model cenote::waiting_policy, see cenote/policy/waiting.hpp");
    static_assert(R != rule::bad_locking, "cenote: the locking policy lacks `sync`, `idle_set<Order>` or `threads`; model cenote::locking_policy, see cenote/policy/locking.hpp");
    static_assert(R != rule::bad_mutex, "cenote: with_mutex<M> needs M to have lock() and unlock(); take std::mutex or a type like it, see cenote/policy/locking.hpp");
    static_assert(R != rule::bad_housekeeping, "cenote: the housekeeping policy lacks `threads`, or has threads and lacks max_dials or patience; write background_thread or manual, see cenote/policy/housekeeping.hpp");
    static_assert(R != rule::bad_budget, "cenote: the budget policy lacks `duration budget() const noexcept`; write acquire_timeout or no_acquire_timeout, see cenote/policy/waiting.hpp");
    static_assert(R != rule::bad_connecting, "cenote: the connecting policy is of no known kind: connect_timeout with `duration limit() const noexcept`, backoff with `duration pause(unsigned, double) const noexcept`, breaker with `unsigned limit() const noexcept`, see cenote/policy/connecting.hpp");
    static_assert(R != rule::bad_age, "cenote: the age policy lacks at_checkout, at_return, while_idle or reason; model cenote::age_policy, see cenote/policy/age.hpp");
    static_assert(R != rule::bad_validation, "cenote: the validation policy lacks peeks, pings or `duration limit() const noexcept`; model cenote::validation_policy, see cenote/policy/validation.hpp");
    static_assert(R != rule::bad_role, "cenote: the role policy lacks `checks`, or checks and lacks `server_role wanted() const noexcept`; write any_role or require_role, see cenote/policy/role.hpp");
    static_assert(R != rule::bad_keepalive, "cenote: the keepalive policy lacks `tests`, or tests and lacks `every` or `duration limit() const noexcept`; write keepalive or no_keepalive, see cenote/policy/keepalive.hpp");
    static_assert(R != rule::bad_reset, "cenote: the reset policy lacks reads_state, resets or executes; model cenote::reset_what, see cenote/policy/reset.hpp");
    static_assert(R != rule::bad_cutting, "cenote: the cutting policy lacks `cuts`, or cuts and lacks `grace`; write cut_at_close or never_cut, see cenote/policy/cutting.hpp");
    static_assert(R != rule::bad_leak, "cenote: the leak policy lacks `records`, or records and lacks `after` or `needs = facts<holder>`, or cuts and lacks `grace`; write leak_threshold or no_leak_check, see cenote/policy/leak.hpp");
    static_assert(R != rule::bad_nesting, "cenote: the nesting policy lacks watches or refuses; write allow_nested, report_nested or forbid_nested, see cenote/policy/nesting.hpp");
    static_assert(R != rule::bad_metrics, "cenote: a metrics sink hears of nothing, none of its members is called as the pool calls it; check their spelling, see cenote/policy/metrics.hpp");
    static_assert(R != rule::bad_hook, "cenote: a hook is none of on_connect, on_acquire, on_give_back, on_close and on_leak, or cannot be called with what these are given; see cenote/policy/hooks.hpp");
    static_assert(R != rule::bad_name, "cenote: the name policy lacks `std::string_view view() const noexcept`; write named or unnamed, see cenote/policy/name.hpp");
    static_assert(R != rule::bad_settings, "cenote: the settings policy lacks `static constexpr bool live`; write fixed_settings or live_settings, see cenote/policy/settings.hpp");
    static_assert(R != rule::bad_forking, "cenote: the forking policy lacks `aware`, or is aware and lacks a `word` with `static const unsigned* here()`; write fork_unaware or fork_aware, see cenote/policy/forking.hpp");
    static_assert(R != rule::bad_clock, "cenote: the clock lacks `time_point now() const noexcept`; model cenote::age_clock, see cenote/clock.hpp");
    static_assert(R != rule::wait_on_one_thread, "cenote: single_threaded cannot wait, the only thread would wait for itself; write no_wait, or lock_free instead of single_threaded, see cenote/policy/locking.hpp");
    static_assert(R != rule::thread_on_one_thread, "cenote: single_threaded and background_thread contradict each other; write manual, or lock_free instead of single_threaded, see cenote/policy/housekeeping.hpp");
    static_assert(R != rule::thread_in_fixed, "cenote: fixed<N> lives inside the pool object, which a background_thread could outlive; write manual, or bounded{.max = N}, see cenote/policy/sizing.hpp");
    static_assert(R != rule::fork_in_fixed, "cenote: fork_aware leaves the memory of the parent's pool alone in a forked child, and that of fixed<N> goes with the pool object; write bounded{.max = N}, or leave the policy out, see cenote/policy/forking.hpp");
    static_assert(R != rule::no_abandon, "cenote: fork_aware needs a driver with `void abandon(connection&) noexcept`; add it, or leave the policy out and make pools after the fork only, see cenote/policy/forking.hpp");
    static_assert(R != rule::bad_order, "cenote: the idle sets of cenote hand out lifo or fifo; write one of these, or a locking policy of your own that knows the order, see cenote/policy/order.hpp");
    static_assert(R != rule::only_lifo, "cenote: lock_free and thread_affine hand out the nearest connection, which is what they have for lifo; leave the order out, or write with_mutex, see cenote/policy/locking.hpp");
    static_assert(R != rule::near_peek, "cenote: the driver has a member `peek` that is not `liveness peek(connection&) noexcept`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::near_ping, "cenote: the driver has a member `ping` that is not `void ping(connection&, deadline)`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::near_state, "cenote: the driver has a member `state` that is not `session_state state(connection&) noexcept`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::near_rollback, "cenote: the driver has a member `rollback` that is not `void rollback(connection&, deadline)`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::near_reset, "cenote: the driver has a member `reset` that is not `void reset(connection&, deadline)`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::near_deferred, "cenote: the driver has reset_start or reset_finish, but not both as `bool reset_start(connection&) noexcept` and `void reset_finish(connection&, deadline)`; complete them, see cenote/driver.hpp");
    static_assert(R != rule::near_start, "cenote: the driver has rollback_start or execute_start, but not as `bool rollback_start(connection&) noexcept` or `bool execute_start(connection&, std::string_view) noexcept` beside reset_start and reset_finish; complete them, see cenote/driver.hpp");
    static_assert(R != rule::near_execute, "cenote: the driver has a member `execute` that is not `void execute(connection&, std::string_view, deadline)`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::near_classify, "cenote: the driver has a member `classify` that is not `error_class classify(const std::exception&) noexcept`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::near_dial, "cenote: the driver has a member `dial` that is not `auto dial(deadline)` of a movable type with descriptor(), want() and until(), all const noexcept, step() and take(); complete it or give it another name, see cenote/driver.hpp");
    static_assert(R != rule::near_interrupter, "cenote: the driver has interrupter, cancel or sever, but not all three as `auto interrupter(connection&)` of a movable token, `void cancel(token&, deadline)` and `void sever(token&, deadline) noexcept`; complete them, see cenote/driver.hpp");
    static_assert(R != rule::near_abandon, "cenote: the driver has a member `abandon` that is not `void abandon(connection&) noexcept`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::near_role, "cenote: the driver has a member `role` that is not `server_role role(connection&, deadline)`; give it that signature or another name, see cenote/driver.hpp");
    static_assert(R != rule::no_peek, "cenote: peek_after needs a driver with `liveness peek(connection&) noexcept`; add it, or write pre_ping_after or no_validation, see cenote/policy/validation.hpp");
    static_assert(R != rule::no_ping, "cenote: pinging needs a driver with `void ping(connection&, deadline)`; add it, or write peek_after or no_validation, see cenote/policy/validation.hpp");
    static_assert(R != rule::no_role, "cenote: require_role needs a driver with `server_role role(connection&, deadline)`; add it, or leave the policy out, see cenote/policy/role.hpp");
    static_assert(R != rule::keepalive_without_ping, "cenote: keepalive needs a driver with `void ping(connection&, deadline)`; add it, or leave the policy out, see cenote/policy/keepalive.hpp");
    static_assert(R != rule::no_interrupter, "cenote: cut_at_close needs a driver with interrupter, cancel and sever, and a pool of several threads; complete them, or leave the policy out, see cenote/policy/cutting.hpp");
    static_assert(R != rule::close_now_without_interrupter, "cenote: close_now needs a driver with interrupter, cancel and sever, to end a session whose holder does not; complete them, or write discard_on_return, see cenote/policy/leak.hpp");
    static_assert(R != rule::close_now_on_one_thread, "cenote: close_now ends the leases of other threads, and single_threaded has none; write discard_on_return, or lock_free instead of single_threaded, see cenote/policy/leak.hpp");
    static_assert(R != rule::close_now_in_fixed, "cenote: close_now gives the place of a lost lease to another, and fixed<N> has no slot to spare; write bounded{.max = N}, or discard_on_return, see cenote/policy/leak.hpp");
    static_assert(R != rule::no_state, "cenote: this reset policy needs a driver with `session_state state(connection&) noexcept`; add it, or write reset_always or no_reset, see cenote/policy/reset.hpp");
    static_assert(R != rule::backoff_without_thread, "cenote: backoff is how the background thread rests between attempts to connect, and this pool has none; leave it out, or write background_thread, see cenote/policy/connecting.hpp");
    static_assert(R != rule::breaker_without_thread, "cenote: breaker stops acquires from waiting for the background thread's attempts to connect, and this pool has none; leave it out, or write background_thread, see cenote/policy/connecting.hpp");
    static_assert(R != rule::no_full_reset, "cenote: reset_always needs a driver with `void reset(connection&, deadline)`; add it, or write reset_if_dirty or no_reset, see cenote/policy/reset.hpp");
    static_assert(R != rule::no_execute, "cenote: reset_with needs a driver with `void execute(connection&, std::string_view, deadline)`; add it, or write another reset, see cenote/policy/reset.hpp");
    static_assert(R != rule::no_deferred, "cenote: deferred needs a driver with reset_start and reset_finish; add them, or write background or at_return, see cenote/policy/reset.hpp");
    static_assert(R != rule::deferred_script, "cenote: deferred{reset_with} needs a driver with `bool execute_start(connection&, std::string_view) noexcept`; add it, or write background or at_return around it, see cenote/policy/reset.hpp");
    static constexpr bool ok = R == rule::none;
};

} // namespace cenote::detail
