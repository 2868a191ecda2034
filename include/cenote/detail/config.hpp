// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/bag.hpp>
#include <cenote/detail/judge.hpp>
#include <cenote/detail/pack.hpp>
#include <cenote/driver.hpp>
#include <cenote/policy/profile.hpp>

#include <concepts>
#include <source_location>
#include <type_traits>

namespace cenote::detail {

// ── defaults: the table at the top of the README, in code ────────────────────────────────────────────────────────────────

template <class D>
using default_validation = std::conditional_t<can_peek<D>, peek_after, std::conditional_t<can_ping<D>, pre_ping_after, no_validation>>;

template <class D, class Locking, class Sizing>
using default_cutting = std::conditional_t<can_interrupt<D> && Locking::threads && Sizing::embedded == 0, cut_at_close, never_cut>;

template <class D>
using default_reset = std::conditional_t<can_tell_state<D>, reset_if_dirty, no_reset>;

/// Off-switches that leave nothing behind: without them, a pool that says "off" and one that says nothing are one type.
template <class P>
consteval bool inert() {
    if constexpr (std::is_same_v<family_of<P>, family::age>) return !age_policy<P>;
    else if constexpr (std::is_same_v<family_of<P>, family::metrics> || std::is_same_v<family_of<P>, family::hooks>) return switches_family_off<P>;
    else return false;
}

template <class D, class... P>
struct resolve {
    using chosen = chosen_t<P...>;
    using sizing = first_of_family_t<family::sizing, bounded, chosen>;
    using locking = first_of_family_t<family::locking, default_locking<first_of_family_t<family::order, lifo, chosen>>, chosen>;
    using waiting = first_of_family_t<family::waiting, std::conditional_t<locking::threads, eventually_fair, no_wait>, chosen>;
    using keeping = first_of_family_t<family::housekeeping, default_housekeeping<locking, sizing>, chosen>;
    using reset = typename when_of<D, first_of_family_t<family::reset, default_reset<D>, chosen>>::type;

    using defaults = join_t<list<sizing, waiting, lifo, locking, keeping, acquire_timeout, connect_timeout>,
                            std::conditional_t<keeping::threads, list<backoff, breaker>, list<>>,
                            list<max_lifetime, idle_timeout, default_validation<D>, any_role, no_keepalive, default_cutting<D, locking, sizing>, no_leak_check, allow_nested, clock::coarse, unnamed, fixed_settings, fork_unaware>>;
    /// A family that a profile switches off stays off but for what is named.
    using fallbacks = undisplaced_t<join_t<chosen, typename from_profile<list<P...>>::type>, defaults>;
    template <class Q>
    using settled = std::conditional_t<inert<Q>() || std::is_same_v<family_of<Q>, family::reset>, list<>, list<Q>>;
    template <class L>
    struct settle;
    template <class... Q>
    struct settle<list<Q...>> { using type = join_t<settled<Q>...>; };

    using type = canonical_t<join_t<typename settle<join_t<chosen, fallbacks>>::type, list<reset>>>;
};

// ── what a canonical pack means for the code ─────────────────────────────────────────────────────────────────────────────

template <class P>
struct needs_of { using type = list<>; };
template <class... F>
struct needs_of_facts;
template <class... F>
struct needs_of_facts<facts<F...>> { using type = list<F...>; };
template <class P>
    requires requires { typename P::needs; }
struct needs_of<P> : needs_of_facts<typename P::needs> {};

template <class S>
concept times_returns = requires(S& s, const returned_event& e) { s.on_returned(e); };

template <class F>
concept stamps_lease = requires(F& f, time_point t) { f.on_lease(t); };
template <class F>
concept stamps_lease_site = requires(F& f, time_point t, const std::source_location& w) { f.on_lease(t, w); };
template <class F>
concept counts_lease = requires(F& f) { f.on_lease(); };
template <class F>
concept stamps_return = requires(F& f, time_point t) { f.on_return(t); };
template <class F>
concept notes_return = requires(F& f) { f.on_return(); };
template <class F>
concept stamps_open = requires(F& f, const open_event& e) { f.on_open(e); };

/// A clean-up was sent and its answer has not been read.
struct reply_pending {
    bool pending = false;
    void on_open(const open_event&) noexcept { pending = false; }
};

/// When the dialler opened the connection, in the time of waits: whoever has waited since before then need not test it.
struct dialled_at {
    time_point dialled{};
};

template <class A, class Facts>
concept expires_by_clock = requires(const A& a, const Facts& f, time_point t) { a.expired(f, t); };
template <class V, class Facts>
concept chooses_by_clock = requires(const V& v, const Facts& f, time_point t) { v.choose(f, t); };

template <class L>
struct fact_base;
template <class... F>
struct fact_base<list<F...>> : F... {
    static constexpr bool stamps_lease_any = ((stamps_lease<F> || stamps_lease_site<F>) || ...);
    static constexpr bool stamps_return_any = (stamps_return<F> || ...);

    void open(const open_event& e) noexcept { (open_one<F>(e), ...); }
    void lease(time_point now, const std::source_location& site) noexcept { (lease_one<F>(now, site), ...); }
    void returned(time_point now) noexcept { (return_one<F>(now), ...); }

private:
    template <class G>
    void open_one([[maybe_unused]] const open_event& e) noexcept {
        if constexpr (stamps_open<G>) G::on_open(e);
    }
    template <class G>
    void lease_one([[maybe_unused]] time_point now, [[maybe_unused]] const std::source_location& site) noexcept {
        if constexpr (stamps_lease_site<G>) G::on_lease(now, site);
        else if constexpr (stamps_lease<G>) G::on_lease(now);
        else if constexpr (counts_lease<G>) G::on_lease();
    }
    template <class G>
    void return_one([[maybe_unused]] time_point now) noexcept {
        if constexpr (stamps_return<G>) G::on_return(now);
        else if constexpr (notes_return<G>) G::on_return();
    }
};

/// Whether reconfigure() may replace a policy's values, in a pool whose settings are live.
template <class P>
inline constexpr bool has_settings =
    contains_v<family_of<P>, list<family::sizing, family::waiting, family::budget, family::connecting, family::age, family::validation, family::keepalive,
                                  family::reset, family::cutting, family::leak>> &&
    !made_on_demand<P> && std::is_copy_constructible_v<P> && std::is_copy_assignable_v<P>;

template <class K, class L>
inline constexpr bool has_kind = false;
template <class K, class... P>
inline constexpr bool has_kind<K, list<P...>> = (std::is_same_v<kind_of<P>, K> || ...);

template <class Driver, class Canonical>
struct config;
template <class Driver, class... P>
struct config<Driver, list<P...>> {
    using policies = list<P...>;
    template <class F>
    using one = first_of_family_t<F, void, policies>;
    template <class F>
    using many = of_family_t<F, policies>;

    using sizing = one<family::sizing>;
    using waiting = one<family::waiting>;
    using order = one<family::order>;
    using locking = one<family::locking>;
    using keeping = one<family::housekeeping>;
    using budget = one<family::budget>;
    using validation = one<family::validation>;
    using role = one<family::role>;
    using keepalive = one<family::keepalive>;
    using reset = one<family::reset>;
    using cutting = one<family::cutting>;
    using leak = one<family::leak>;
    using nesting = one<family::nesting>;
    using clock = one<family::clock>;
    using name = one<family::name>;
    using settings = one<family::settings>;
    using forking = one<family::forking>;
    using ages = many<family::age>;
    using sinks = many<family::metrics>;
    using hooks = many<family::hooks>;
    using sync = typename locking::sync;

    template <class L>
    struct any_times_returns;
    template <class... S>
    struct any_times_returns<list<S...>> { static constexpr bool value = (times_returns<S> || ...); };

    static constexpr bool embedded = sizing::embedded != 0;
    static constexpr bool refreshes = has_kind<kind::refresh, ages>;
    static constexpr bool live = settings::live;
    static constexpr bool fork_aware = forking::aware;
    static constexpr bool can_be_abandoned = !embedded && can_abandon<Driver>;
    /// What reconfigure() may replace, and what stays.
    using tunable = join_t<std::conditional_t<live && has_settings<P>, list<P>, list<>>...>;
    using constant = join_t<std::conditional_t<live && has_settings<P>, list<>, list<P>>...>;
    static constexpr bool threads = keeping::threads;
    /// Callers open connections themselves: without a thread to do it, and where nobody may wait for one.
    static constexpr bool caller_dials = !keeping::threads || !waiting::waits;
    static constexpr bool defers_reset = is_deferred<reset>;
    static constexpr bool resets = !std::is_same_v<reset, no_reset>;
    static constexpr bool times_leases = any_times_returns<sinks>::value;
    /// Nothing but closing can concern a return: slots in the pool, one thread, nobody waits, and what is idle stays so.
    static constexpr bool calm = embedded && !locking::threads && !waiting::waits && !keepalive::tests && !refreshes &&
        requires { typename locking::template calm_idle_set<order>; };

    template <class C>
    struct pick_idle { using type = typename C::template idle_set<order>; };
    template <class C>
        requires(calm)
    struct pick_idle<C> { using type = typename C::template calm_idle_set<order>; };
    template <class C>
        requires(embedded && requires { typename C::template fixed_idle_set<order, sizing::embedded>; })
    struct pick_idle<C> { using type = typename C::template fixed_idle_set<order, sizing::embedded>; };
    using idle = typename pick_idle<locking>::type;

    /// The housekeeper ends leases that are out too long; a lease that comes back so late is not used again; acquires note their stack.
    static constexpr bool cuts_leases = detail::cuts_leases<leak>();
    static constexpr bool ends_late = [] {
        if constexpr (requires { { leak::discards } -> std::convertible_to<bool>; }) return leak::discards;
        else return false;
    }();
    /// Slots carry what another thread needs to cut their connection.
    static constexpr bool keeps_tokens = cutting::cuts || cuts_leases;
    /// A lease that was cut keeps its slot until its holder comes back, while another connection has its permit: there is room for as
    /// many of these as there are connections.
    static constexpr unsigned places(unsigned connections) noexcept { return cuts_leases ? 2 * connections : connections; }
    static constexpr bool marks_dials = threads && !caller_dials;
    using fact_list = typename unique_of<join_t<std::conditional_t<marks_dials, list<dialled_at>, list<>>, typename needs_of<P>::type..., std::conditional_t<defers_reset, list<reply_pending>, list<>>,
                                                std::conditional_t<times_leases, list<leased_at>, list<>>>>::type;
    using facts = fact_base<fact_list>;
    static constexpr bool records_holder = contains_v<holder, fact_list>;
    static constexpr bool counts_leases = contains_v<lease_count, fact_list>;
    static constexpr bool captures_stack = contains_v<call_stack, fact_list>;

    template <class L>
    struct age_traits;
    template <class... A>
    struct age_traits<list<A...>> {
        static constexpr bool at_return = (A::at_return || ...);
        static constexpr bool at_checkout = (A::at_checkout || ...);
        static constexpr bool while_idle = (A::while_idle || ...);
        static constexpr bool clock_at_return = ((A::at_return && expires_by_clock<A, facts>) || ...);
        static constexpr bool clock_at_checkout = ((A::at_checkout && expires_by_clock<A, facts>) || ...);
    };
    using age = age_traits<ages>;

    static constexpr bool clock_at_checkout = age::clock_at_checkout || chooses_by_clock<validation, facts>;
    static constexpr bool clock_at_lease = facts::stamps_lease_any;
    static constexpr bool clock_at_return = facts::stamps_return_any || age::clock_at_return || times_leases || ends_late;
    static constexpr bool tests_at_checkout = age::at_checkout || defers_reset || !std::is_same_v<validation, no_validation>;
    /// Whether what may be lost can be tested before it is used. Who trusts every idle connection trusts it then, too.
    static constexpr bool tests_suspects = !calm && (can_ping<Driver> || can_peek<Driver>) && (validation::peeks || validation::pings);
    /// Whether give back can be anything but a push.
    static constexpr bool works_at_return = age::at_return || resets || hooks::size != 0 || sinks::size != 0 || fact_list::size != 0;
    /// Whether something can be held against a connection: pools that look at nothing, ever, would pay for a look.
    static constexpr bool heeds_doubt = !calm && (works_at_return || tests_at_checkout || refreshes);
};

} // namespace cenote::detail
