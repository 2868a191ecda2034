// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/config.hpp>
#include <cenote/detail/core.hpp>
#include <cenote/detail/escape.hpp>
#include <cenote/detail/judge.hpp>
#include <cenote/detail/refused.hpp>
#include <cenote/detail/shell/acquire.hpp>
#include <cenote/detail/shell/request.hpp>
#include <cenote/detail/shell/upkeep.hpp>
#include <cenote/detail/value_source.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/fwd.hpp>
#include <cenote/lease.hpp>
#include <cenote/policy/profile.hpp>
#include <cenote/stats.hpp>
#include <cenote/version.hpp>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <concepts>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cenote {
namespace detail {

template <class R, class Core>
inline constexpr bool refers_to_lease =
    std::is_reference_v<R> || std::is_same_v<R, typename Core::connection_type*> || std::is_same_v<R, const typename Core::connection_type*> ||
    std::is_same_v<R, lease<Core>> || names_session<R>;

template <class Core>
struct handle_type { using type = void; };
template <class Core>
    requires has_native_handle<typename Core::driver_type>
struct handle_type<Core> {
    using type = decltype(std::declval<typename Core::driver_type&>().native_handle(std::declval<typename Core::connection_type&>()));
};

template <class Core>
concept sessions_included = requires { sizeof(pool_statements<Core>); };

/// The text of a statement, and where in the program it stands.
struct sql_here {
    template <class T>
        requires std::convertible_to<const T&, std::string_view>
    sql_here(const T& sql, std::source_location where = std::source_location::current()) : text{sql}, at{where} {}
    std::string_view text;
    std::source_location at;
};

} // namespace detail

struct transaction_run;

/// What close() leaves behind.
struct close_report {
    bool drained = false;            ///< every lease came back and every connection is closed
    unsigned cut = 0;                ///< leases that were still out at the deadline and were severed
    unsigned still_out = 0;          ///< connections that are still leased, being opened or cleaned
    std::vector<lease_info> holders; ///< who holds them, oldest first; only with a leak policy
};

/// What warm_up() has come to.
struct warm_report {
    bool ready = false;  ///< as many are open as were asked for
    unsigned open = 0;   ///< how many are
    duration took{};
    failure why{};       ///< if not ready: errc::connect_timeout, connect_failed, …, with the last connect error

    [[nodiscard]] explicit operator bool() const noexcept { return ready; }
};

/// What inspect() sees.
struct inspection {
    unsigned leased = 0;             ///< how many leases are out, but for those that were cut
    std::vector<lease_info> leases;  ///< who has them, oldest first, those that were cut included; only with a leak policy
};

/// What pool::settings() returns: the values of those of its policies that reconfigure() may replace.
template <class Values>
class pool_settings {
public:
    template <class Policy>
    [[nodiscard]] Policy& get() noexcept { return values_.template get<Policy>(); }
    template <class Policy>
    [[nodiscard]] const Policy& get() const noexcept { return values_.template get<Policy>(); }

private:
    template <class D, class... P>
    friend class pool;
    explicit pool_settings(Values v) : values_{std::move(v)} {}
    Values values_;
};

/// A connection pool: a driver, and policies in any order.
///
///     cenote::pool db{cenote::sqlite{"shop.db"}, cenote::bounded{.max = 16}, cenote::max_lifetime{30min}};
///     auto lease = db.acquire(2s);
///
/// | family       | policies (default first)                                              | header                  |
/// |--------------|-----------------------------------------------------------------------|-------------------------|
/// | sizing       | `bounded{max 10}` `overflow` `fixed<N>`                               | policy/sizing.hpp       |
/// | waiting      | `eventually_fair{500us}` `strictly_fair` `barging` `no_wait`          | policy/waiting.hpp      |
/// | budget       | `acquire_timeout{30s}` `no_acquire_timeout`                           | policy/waiting.hpp      |
/// | order        | `lifo` `fifo`                                                         | policy/order.hpp        |
/// | locking      | `lock_free` `thread_affine` `with_mutex<std::mutex>` `single_threaded` | policy/locking.hpp      |
/// | housekeeping | `background_thread{max_dials 2}` `manual`                             | policy/housekeeping.hpp |
/// | connecting   | `connect_timeout{15s}`, `backoff{100ms…30s}`, `breaker{3}`; `no_…`    | policy/connecting.hpp   |
/// | age          | `max_lifetime{30min}` and `idle_timeout{10min}`; `max_uses`; `no_…`   | policy/age.hpp          |
/// | validation   | `peek_after{500ms}` `pre_ping_after` `pre_ping` `no_validation`       | policy/validation.hpp   |
/// | role         | `any_role` `require_role{primary}`                                    | policy/role.hpp         |
/// | keepalive    | `no_keepalive` `keepalive{2min}`                                      | policy/keepalive.hpp    |
/// | reset        | `deferred` / `background` `{reset_if_dirty}`; `at_return`; `no_reset` | policy/reset.hpp        |
/// | cutting      | `cut_at_close{1s}` `never_cut`                                        | policy/cutting.hpp      |
/// | leak         | `no_leak_check` `leak_threshold{300s}` `discard_on_return` `close_now` | policy/leak.hpp        |
/// | nesting      | `allow_nested` `report_nested` `forbid_nested`                        | policy/nesting.hpp      |
/// | metrics      | `no_metrics`; `counters` and any sinks                                | policy/metrics.hpp      |
/// | hooks        | none; `on_connect` `on_acquire` `on_give_back` `on_close` `on_leak`   | policy/hooks.hpp        |
/// | clock        | `clock::coarse` `clock::steady` `clock::manual`                       | clock.hpp               |
/// | name         | `unnamed` `named`                                                     | policy/name.hpp         |
/// | settings     | `fixed_settings` `live_settings`                                      | policy/settings.hpp     |
/// | forking      | `fork_unaware` `fork_aware`                                           | policy/forking.hpp      |
/// | profile      | `profile::web` `profile::worker` `profile::bare<N>`, a `bundle`       | policy/profile.hpp      |
///
/// A policy named explicitly overrides its like inside a profile. Permuted packs are distinct pool types over one core: their
/// leases are of one type. As a member: `using db_pool = cenote::pool<cenote::sqlite, cenote::bounded>;`, constructed with any
/// subset of those policies in any order, or `decltype(make_db())`; in templates `any_pool auto&`; across a .cpp boundary `pool_view`.
///
/// An 8-byte movable handle to a core on the heap; only `fixed<N>` keeps the core inside and cannot be moved. Leases may outlive
/// the pool: the last one back frees the core. A `fixed<N>` pool destroyed with leases out ends the program and says who holds them.
///
/// Thread safety: acquire…, try_acquire, with, query, exec, transaction, stats, inspect, suspicious, maintain, warm_up, ready, invalidate_all, trim, close, suspend, resume,
/// resize, settings and reconfigure may race with each other, with leases, and with themselves (`single_threaded` excepted). Construction, move and destruction may not.
/// Errors: impossible combinations of policies do not compile; impossible values throw std::invalid_argument from the constructor.
template <class Driver, class... Policies>
class pool {
    static constexpr bool sound = detail::verdict<detail::judge<Driver, Policies...>()>::ok;

public:
    using core_type = typename detail::pick_core<sound, Driver, Policies...>::type;
    using driver_type = Driver;
    using connection_type = typename core_type::connection_type;
    using lease = std::conditional_t<sound, cenote::lease<core_type>, detail::refused_lease<core_type>>;
    using session_type = session<core_type>;
    using transaction_type = cenote::transaction<core_type>; ///< what the callback of transaction() gets
    using stop_token = typename core_type::stop_token;
    using where = std::source_location;

    /// Takes the driver and any subset of `Policies...`, in any order; those left out get their defaults.
    template <class... X>
    explicit pool(Driver d, X... x)
        : core_{start(std::move(d), x...)} {
        static_assert((detail::named_in<X, Policies...> && ...),
                      "cenote: a constructor argument is not among the policies of this pool's type; add it to the type's list, or leave the list to deduction, see cenote/pool.hpp");
        static_assert(detail::all_distinct<X...>,
                      "cenote: the same policy is passed to the constructor twice; keep one, see cenote/pool.hpp");
        static_assert(!sound || (detail::has_value<Policies, X...> && ...),
                      "cenote: a policy named in the pool's type has no default value; pass one to the pool's constructor, see cenote/pool.hpp");
    }

    pool(pool&& other) noexcept
        requires(!core_type::cfg::embedded)
    = default;
    pool& operator=(pool&& other) noexcept
        requires(!core_type::cfg::embedded)
    {
        if (this != &other) {
            finish();
            core_ = std::move(other.core_);
        }
        return *this;
    }
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;
    ~pool() { finish(); }

    // ── acquiring ────────────────────────────────────────────────────────────────────────────────────────────────────
    // One budget covers waiting, opening and testing; it never restarts. Each form has a noexcept twin that takes a `fail_to`: an
    // lvalue std::error_code, or a cenote::failure for the evidence.

    /// Waits up to the pool's `acquire_timeout`.
    ///
    /// Errors   throws cenote::error; what an on_connect or on_acquire hook throws comes through as it is.
    [[nodiscard]] lease acquire(where at = where::current()) {
        if constexpr (sound) {
            return lease{detail::shell::acquire(core(), at, detail::shell::default_request{})};
        } else {
            return {};
        }
    }
    /// Waits up to `t`; zero or less: takes what is idle and needs no ping, or fails with errc::acquire_timeout.
    [[nodiscard]] lease acquire(timeout t, where at = where::current()) { return take_or_throw(detail::shell::budget{t}, nullptr, at); }
    /// Waits until `d`, or until `stop` is requested. A connection granted at that very moment is handed out.
    [[nodiscard]] lease acquire(deadline d, stop_token stop = {}, where at = where::current()) {
        return take_or_throw(detail::shell::budget{d}, &stop, at);
    }

    [[nodiscard]] lease acquire(timeout t, stop_token stop, where at = where::current()) {
        return take_or_throw(detail::shell::budget{t}, &stop, at);
    }

    [[nodiscard]] lease acquire(fail_to f, where at = where::current()) noexcept {
        if constexpr (sound) return take_or_tell(detail::shell::budget{timeout{core().budget()}}, nullptr, f, at);
        else return {};
    }
    [[nodiscard]] lease acquire(timeout t, fail_to f, where at = where::current()) noexcept {
        return take_or_tell(detail::shell::budget{t}, nullptr, f, at);
    }
    [[nodiscard]] lease acquire(timeout t, stop_token stop, fail_to f, where at = where::current()) noexcept {
        return take_or_tell(detail::shell::budget{t}, &stop, f, at);
    }
    [[nodiscard]] lease acquire(deadline d, fail_to f, where at = where::current()) noexcept {
        return take_or_tell(detail::shell::budget{d}, nullptr, f, at);
    }
    [[nodiscard]] lease acquire(deadline d, stop_token stop, fail_to f, where at = where::current()) noexcept {
        return take_or_tell(detail::shell::budget{d}, &stop, f, at);
    }

    /// Takes an idle connection if there is one, tests it as the policies say, within their limits, and waits for nobody. Empty if
    /// there is none, which is no failure: sinks are not told.
    ///
    /// With     `manual` or `no_wait`: opens one itself if there is room. `background_thread`: has one opened for later.
    [[nodiscard]] lease try_acquire(where at = where::current()) noexcept {
        if constexpr (sound) return lease{detail::shell::acquire(core(), at, detail::shell::try_request{})};
        else return {};
    }

    /// Calls `f(connection&)` with a connection that is leased for just as long, and returns what `f` returns.
    ///
    /// Errors   as acquire(), and whatever `f` throws.
    /// With     a result that refers to the lease is refused where the compiler can see it: references, the connection's own
    ///          address, its native handle, the lease.
    ///          An exception that the driver calls `disconnected`, or with `require_role` `wrong_role`, ends the connection, as
    ///          `lease::discard(error_class)`.
    template <class F>
        requires std::invocable<F&, connection_type&>
    std::invoke_result_t<F&, connection_type&> with(F&& f, where at = where::current()) {
        check_escape<F>();
        return lend(f, acquire(at));
    }
    template <class F>
        requires std::invocable<F&, connection_type&>
    std::invoke_result_t<F&, connection_type&> with(timeout t, F&& f, where at = where::current()) {
        check_escape<F>();
        return lend(f, acquire(t, at));
    }

    // ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────
    // Each acquires as acquire() does, for as long as it takes. They want <cenote/session/session.hpp>, which says more.

    /// Runs one statement with its values; how many rows were changed, or given.
    template <class... A>
    auto exec(detail::sql_here sql, const A&... values) {
        if constexpr (can_ask<A...>()) return detail::pool_statements<core_type>::exec(*this, sql, values...);
        else return detail::anything{};
    }
    /// Runs one statement with its values; all its rows, which belong to the caller.
    template <class... A>
    [[nodiscard]] auto query(detail::sql_here sql, const A&... values) {
        if constexpr (can_ask<A...>()) return detail::pool_statements<core_type>::query(*this, sql, values...);
        else return detail::anything{};
    }
    /// Calls `f(transaction&)`, commits when it returns and rolls back when it throws. Returns what `f` returns.
    ///
    /// Errors   as acquire(), begin() and commit() of a session, and whatever `f` throws; errc::outcome_unknown if nobody knows.
    /// With     `f` runs once, unless transaction_run says how often it may. It may end the transaction itself.
    template <class F, class Run = transaction_run>
    auto transaction(F&& f, where at = where::current()) {
        if constexpr (can_ask<Run>()) return transact(f, Run{}, at);
        else return detail::anything{};
    }
    template <class F, class Run = transaction_run>
    auto transaction(F&& f, const std::type_identity_t<Run>& how, where at = where::current()) {
        if constexpr (can_ask<Run>()) return transact(f, how, at);
        else return detail::anything{};
    }

    // ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Gauges, and with `counters` counts. Takes the pool's lock once, walks the idle set.
    [[nodiscard]] pool_stats stats() const noexcept {
        if constexpr (sound) return detail::shell::stats(core());
        else return {};
    }
    /// Who holds leases.
    [[nodiscard]] inspection inspect() const {
        if constexpr (sound) return {static_cast<unsigned>(stats().used), detail::shell::holders(core())};
        else return {};
    }
    /// The leases that have been out for longer than `over`, oldest first; those that were cut among them.
    ///
    /// With     a leak policy. Any threshold: it need not be the policy's.
    [[nodiscard]] std::vector<lease_info> suspicious(duration over) const
        requires(core_type::cfg::records_holder)
    {
        if constexpr (sound) return detail::shell::holders(core(), over);
        else return {};
    }
    /// One of the pool's own policies or sinks, as it is stored: `pool.get<cenote::counters>()`.
    template <class Policy>
    [[nodiscard]] decltype(auto) get() const noexcept {
        return core().template get<Policy>();
    }
    [[nodiscard]] std::string_view name() const noexcept { return core().name(); }
    [[nodiscard]] Driver& driver() const noexcept { return core().driver(); }

    // ── keeping ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// One turn of housekeeping by hand, which is all there is under `manual`: pending clean-up, idle timeouts, leak reports, and
    /// opening what `min` and `min_idle` want. Returns when it is next due by the pool's age clock.
    time_point maintain() noexcept {
        if constexpr (sound) return detail::shell::maintain(core(), core().age_now());
        else return {};
    }

    /// Sets how many connections there may be, 1 to `ceiling`. Growing takes effect at once; shrinking closes idle ones first and
    /// the rest as they come back. Nothing that is leased is cut.
    ///
    /// Errors   std::invalid_argument beyond the range or below `min` or `min_idle`; std::bad_alloc, and then nothing has changed.
    void resize(unsigned max)
        requires(!core_type::cfg::embedded)
    {
        if constexpr (sound) {
            core_type& c = core();
            if (c.forked()) return;
            {
                const std::scoped_lock one_at_a_time{c.change_mutex()}; // not while hooks run
                const limits& l = c.bounds();
                if (max < 1 || max > l.ceiling) detail::bad_value("resize(max)", max, "must be 1 to the ceiling, which is " + std::to_string(l.ceiling));
                if (max < l.min) detail::bad_value("resize(max)", max, "must be at least min, which is " + std::to_string(l.min));
                if (max < l.min_idle) detail::bad_value("resize(max)", max, "must be at least min_idle, which is " + std::to_string(l.min_idle));
                c.add_slots(max);
                c.limit(l.keep < l.max ? std::min(l.keep, max) : max, max);
            }
            detail::shell::close_chain(c, c.extract_surplus(), close_reason::overflow);
            c.keeper().poke();
        }
    }

    /// The values of the pool's policies as they are now, to be looked at or to be changed and given to reconfigure():
    /// `auto s = db.settings(); s.get<cenote::idle_timeout>().after = 5min; db.reconfigure(s);`
    using settings_type = pool_settings<typename core_type::settings_type>;
    [[nodiscard]] settings_type settings() const
        requires(core_type::cfg::live)
    {
        return settings_type{core().settings()};
    }

    /// Replaces the values of policies while the pool runs, all at once or none: `db.reconfigure(bounded{.max = 20}, acquire_timeout{5s})`.
    /// What is begun goes on as it was begun: whoever waits keeps his deadline, and nothing that is leased is cut. Limits take effect as by
    /// resize() (a max that resize() has set stays, until other limits are named); ages, timeouts and thresholds from the next time they are asked.
    ///
    /// Range    what each policy's header says; `bounded.ceiling` may rise, too: as far as one likes with `with_mutex`, with `lock_free` and
    ///          `thread_affine` as far as the words reach that were made for the first ceiling, 62 connections each.
    /// Errors   std::invalid_argument names field, value and rule; std::bad_alloc. Then nothing has changed.
    /// With     `live_settings` among the pool's policies.
    template <class... X>
    void reconfigure(const X&... changed) {
        static_assert(!sound || core_type::cfg::live,
                      "cenote: reconfigure() needs a pool whose settings can change; add live_settings to its policies, see cenote/policy/settings.hpp");
        static_assert(!sound || !core_type::cfg::live || (detail::contains_v<X, typename core_type::cfg::tunable> && ...),
                      "cenote: reconfigure() takes policies that this pool has and that hold values which may change; see cenote/policy/settings.hpp");
        static_assert(detail::all_distinct<X...>, "cenote: the same policy is passed to reconfigure() twice; keep one, see cenote/policy/settings.hpp");
        if constexpr (sound && core_type::cfg::live && (detail::contains_v<X, typename core_type::cfg::tunable> && ...)) {
            replace_settings([&](auto values) {
                ((values.template get<X>() = changed), ...);
                return values;
            });
        }
    }
    /// All of them, as settings() has given them: what others have changed since then is as it was, too.
    void reconfigure(const settings_type& next) {
        if constexpr (sound && core_type::cfg::live) replace_settings([&](const auto&) { return next.values_; });
    }

    /// Opens connections until `n` are open, `max_dials` at a time (`manual`: this thread, one after the other), and waits for that until
    /// `d`. Those that are open already count; several calls at once share the work.
    ///
    /// Default  30 s.
    /// Errors   std::invalid_argument unless 1 ≤ n ≤ max. All else is in the report: out of time, closed, or an attempt that failed for
    ///          a reason that will not pass by itself (wrong password; those that may are tried again with backoff).
    /// With     `idle_timeout` and trim() close what lies idle as always: `min_idle` keeps it.
    warm_report warm_up(unsigned n, deadline d = deadline::in(std::chrono::seconds{30})) {
        warm_report out;
        if constexpr (sound) {
            core_type& c = core();
            if (c.forked()) {
                out.why.code = errc::pool_forked;
                return out;
            }
            const auto most = c.count().max;
            if (n < 1 || n > most) detail::bad_value("warm_up(n)", n, "must be 1 to max, which is " + std::to_string(most));
            const time_point began = core_type::sync::now();
            if constexpr (core_type::cfg::threads) {
                detail::shell::start_keeper(c);
                c.begin_warming(n);
            }
            const errc why = detail::shell::warm(c, n, d);
            if constexpr (core_type::cfg::threads) c.end_warming();
            out.took = core_type::sync::now() - began;
            out.ready = why == errc{};
            out.open = detail::shell::open_now(c);
            if (!out.ready) out.why = detail::shell::explain(c, why, out.took, {});
        }
        return out;
    }

    /// Whether the pool can be expected to serve: it is open, at least `min` and `min_idle` connections are there, and the last attempt
    /// to open one, if there was any, succeeded. For readiness probes; opens nothing.
    [[nodiscard]] bool ready() const noexcept {
        if constexpr (sound) {
            core_type& c = core();
            if (c.forked() || c.is_closed() || detail::shell::open_now(c) < std::max(c.min(), c.min_idle())) return false;
            if constexpr (core_type::keeps_log) return c.log().failures() == 0;
            else return true;
        } else {
            return false;
        }
    }

    /// Every connection that is open now ends: idle ones at once, those that are out as they come back, those being opened without
    /// being used. For a change at the server that old sessions do not see: a password, a role, a fail-over.
    ///
    /// With     not there for a pool that looks at nothing when a connection comes and goes: one without validation, age limits, reset,
    ///          metrics and hooks, that would pay for it with each lease.
    void invalidate_all() noexcept
        requires(core_type::cfg::heeds_doubt)
    {
        if constexpr (sound) detail::shell::invalidate(core());
    }

    /// The same, but they go one after the other within `over`, so that neither the server nor those who wait feel it: an idle one when its
    /// turn comes, one that is leased then as it comes back. What is left of an earlier renewal goes with this one. Sinks hear of its end
    /// (`on_refreshed`).
    ///
    /// Errors   std::invalid_argument unless over > 0.
    /// With     housekeeping does it: the background thread in time, `manual` when maintain() is called.
    void invalidate_all(duration over)
        requires(core_type::cfg::heeds_doubt)
    {
        if (over <= duration::zero()) detail::bad_value("invalidate_all(over)", over, "must be above zero; for all at once leave it out");
        if constexpr (sound) detail::shell::begin_renewal(core(), over, core().age_now());
    }

    /// Closes what is idle now, but keeps `min_idle` idle and `min` open. Returns how many go.
    unsigned trim() noexcept {
        if constexpr (sound) return detail::shell::trim(core(), [](const connection_type&) noexcept { return true; });
        else return 0;
    }
    /// The same, of those that `pred(const connection&)` names.
    ///
    /// Called   under the pool's lock, for a connection more than once: it must be quick, noexcept, always say the same, and not call the pool.
    template <class Pred>
        requires std::is_nothrow_invocable_r_v<bool, Pred&, const connection_type&>
    unsigned trim(Pred pred) noexcept {
        if constexpr (sound) return detail::shell::trim(core(), pred);
        else return 0;
    }

    /// Acquires wait (`no_wait`: fail with errc::pool_suspended), returned connections are kept, until resume(). On a closed pool: nothing.
    ///
    /// With     not there for a single-threaded `fixed<N>` pool: its returns ask for nothing.
    void suspend() noexcept
        requires(!core_type::cfg::calm)
    {
        if constexpr (sound) {
            if (!core().forked()) core().suspend();
        }
    }
    /// Those who waited get theirs in their order.
    void resume() noexcept
        requires(!core_type::cfg::calm)
    {
        if constexpr (sound) {
            core_type& c = core();
            if (c.forked()) return;
            c.resume();
            detail::shell::close_chain(c, c.extract_surplus(), close_reason::overflow);
            c.keeper().poke();
        }
    }

    /// Ends the pool: refuses new acquires, wakes those who wait with errc::pool_closed, closes what is idle, waits until `d` for
    /// leases to come back, cuts those that have not (`cut_at_close`), and says who still holds. What comes back later is closed then (`profile::bare`: with the pool). May be called again, and by several threads.
    ///
    /// Default  10 s. A `single_threaded` pool cannot wait: nobody else could give anything back.
    close_report close(deadline d = deadline::in(std::chrono::seconds{10})) {
        close_report out;
        if constexpr (sound) {
            core_type& c = core();
            if (c.forked()) {
                detail::shell::abandon_all(c);
                out.drained = true;
                return out;
            }
            detail::shell::shut(c);
            if constexpr (core_type::cfg::calm || !core_type::cfg::locking::threads) out.drained = c.count().used == 0;
            else out.drained = c.drained(d.at());
            if constexpr (core_type::cfg::cutting::cuts) {
                if (!out.drained) {
                    const auto leased = static_cast<unsigned>(detail::shell::stats(c).used);
                    // What the pool itself does with a connection ends as soon as it is cut.
                    const duration most = c.template get<typename core_type::cfg::cutting>().grace;
                    const duration grace = leased != 0 ? most : std::min(most, duration{std::chrono::milliseconds{5}});
                    const time_point now = core_type::sync::now();
                    const deadline by = deadline::after(grace, now);
                    // Who notices comes back within milliseconds, and need not wait for what the servers say.
                    const deadline soon = deadline::after(std::min(grace / 2, duration{std::chrono::milliseconds{20}}), now);
                    const unsigned severed = detail::shell::sever_all(c, by, [&]() noexcept { out.drained = c.drained(soon.at()); });
                    out.cut = std::min(severed, leased);
                    if (!out.drained) out.drained = c.drained(by.at());
                }
            }
            if (!out.drained) {
                const auto left = c.count();
                out.still_out = left.used - left.leaving;
                out.holders = detail::shell::holders(c);
            }
        }
        return out;
    }

    // ── forking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether this process was forked from the one that made the pool.
    [[nodiscard]] bool forked() const noexcept
        requires(core_type::cfg::fork_aware)
    {
        if constexpr (sound) return core().forked();
        else return false;
    }

    /// In a forked child: lets go of the parent's connections. Closes their descriptors here, says nothing to the servers, frees nothing.
    /// With `fork_aware` the pool's end does that by itself, and called in another process this does nothing. Without it the caller
    /// knows that it is in a child, and that no other thread was inside the pool at the moment of the fork; the pool is then as one that was
    /// moved from, and leases that were out must end by their own abandon().
    ///
    /// With     not there for a driver without `abandon` and for `fixed<N>`.
    void abandon() noexcept
        requires(core_type::cfg::can_be_abandoned)
    {
        if constexpr (sound) {
            if (core_ == nullptr || (core_type::cfg::fork_aware && !core().forked())) return;
            detail::shell::abandon_all(core());
            if constexpr (!core_type::cfg::fork_aware) (void)core_.release();
        }
    }

private:
    template <class Connection>
    friend class pool_view;

    /// Dependent, so that a program without sessions does not ask.
    template <class...>
    static consteval bool can_ask() {
        static_assert(!sound || detail::sessions_included<core_type>,
                      "cenote: query(), exec() and transaction() of a pool are sessions' work; include cenote/session/session.hpp");
        return sound && detail::sessions_included<core_type>;
    }
    template <class F, class Run>
    auto transact(F& f, const Run& how, const where& at) {
        using result = std::invoke_result_t<F&, cenote::transaction<core_type>&>;
        static_assert(!detail::escapes<result> && !detail::refers_to_lease<result, core_type>,
                      "cenote: what the callback of transaction() returns refers to the transaction, which ends with the call; return a value instead, see cenote/session/session.hpp");
        if constexpr (!detail::escapes<result>) return detail::pool_statements<core_type>::transact(*this, f, how, at);
    }

    using storage = std::conditional_t<core_type::cfg::embedded, core_type, std::unique_ptr<core_type>>;

    template <class Change>
    void replace_settings(Change&& change) {
        core_type& c = core();
        if (c.forked()) return;
        if (c.tune(change)) detail::shell::close_chain(c, c.extract_surplus(), close_reason::overflow);
        if constexpr (core_type::cfg::threads) {
            if (c.min() != 0 || c.min_idle() != 0) detail::shell::start_keeper(c); // nobody may have asked for a connection yet
        }
        c.keeper().scan_soon();
        c.keeper().poke();
    }

    template <class... X>
    static storage start(Driver&& d, X&... x) {
        if constexpr (!sound || !(detail::named_in<X, Policies...> && ...) || !detail::all_distinct<X...> ||
                      !(detail::has_value<Policies, X...> && ...)) {
            std::terminate(); // not reached: does not compile
        } else {
            return with_profiles([&](auto&... all) -> storage {
                const detail::value_source source{all...};
                if constexpr (core_type::cfg::embedded) return core_type{std::move(d), source};
                else return std::make_unique<core_type>(std::move(d), source);
            }, x...);
        }
    }

    /// Adds the profiles of the type that were not passed by value.
    template <class F, class... X>
    static storage with_profiles(F&& f, X&... x) {
        using missing = detail::join_t<std::conditional_t<detail::is_profile_v<Policies> && !detail::contains_v<Policies, detail::list<X...>>,
                                                          detail::list<Policies>, detail::list<>>...>;
        return [&]<class... M>(detail::list<M...>) -> storage {
            std::tuple<M...> defaults;
            return std::apply([&](M&... m) -> storage { return f(x..., m...); }, defaults);
        }(missing{});
    }

    [[nodiscard]] core_type& core() const noexcept {
        if constexpr (core_type::cfg::embedded) {
            return const_cast<core_type&>(core_);
        } else {
            assert(core_ != nullptr && "cenote: use of a pool that was moved from");
            return *core_;
        }
    }
    [[nodiscard]] lease take_or_throw(detail::shell::budget b, const stop_token* stop, const where& at) {
        if constexpr (sound) return lease{detail::shell::acquire(core(), at, detail::shell::timed_request<stop_token>{b, stop})};
        else return {};
    }
    [[nodiscard]] lease take_or_tell(detail::shell::budget b, const stop_token* stop, fail_to f, const where& at) noexcept {
        f.clear();
        if constexpr (sound) return lease{detail::shell::acquire(core(), at, detail::shell::telling_request<stop_token>{{b, stop}, f})};
        else return {};
    }

    template <class F>
    std::invoke_result_t<F&, connection_type&> lend(F& f, lease held) {
        try {
            return std::invoke(f, *held);
        } catch (const std::exception& e) {
            const error_class kind = classify(driver(), e);
            if (kind == error_class::disconnected || (core_type::cfg::role::checks && kind == error_class::wrong_role)) held.discard(kind);
            throw;
        }
    }

    template <class F>
    static consteval void check_escape() {
        using result = std::invoke_result_t<F&, connection_type&>;
        static_assert(!detail::refers_to_lease<result, core_type>,
                      "cenote: what the callback of with() returns refers to the lease, which ends with the call; return a value instead, see cenote/pool.hpp");
        static_assert(std::is_void_v<result> || !std::is_same_v<result, typename detail::handle_type<core_type>::type>,
                      "cenote: the callback of with() returns the native handle of a connection that is given back with the call; return a value instead, see cenote/pool.hpp");
    }

    /// The end of a pool object. The core lives on with its leases.
    void finish() noexcept {
        if constexpr (sound) {
            if constexpr (!core_type::cfg::embedded) {
                if (core_ == nullptr) return; // moved from
            }
            core_type& c = core();
            if constexpr (!core_type::cfg::embedded) {
                if (c.forked()) {
                    detail::shell::abandon_all(c);
                    (void)core_.release(); // never freed: leases may be out, and what other threads were changing is as they left it
                    return;
                }
            }
            c.close();
            if constexpr (core_type::cfg::threads) {
                detail::shell::close_chain_later(c, c.extract_all(), close_reason::shutdown);
                c.keeper().stop();
            } else {
                c.keeper().stop();
                detail::shell::run_chores(c); // may leave idle what it cleaned
                detail::shell::close_chain(c, c.extract_all(), close_reason::shutdown);
            }
            if constexpr (core_type::cfg::embedded) {
                detail::shell::close_rehomed(c);
                if (c.count().used != 0) die_with_leases(c);
            } else {
                core_type* const own = core_.release();
                if (own->orphan()) delete own;
            }
        }
    }
    [[noreturn]] static void die_with_leases(core_type& c) noexcept {
        std::fprintf(stderr, "cenote: a fixed<N> pool was destroyed with %u leases out; it holds their slots inside\n", c.count().used);
        try {
            for (const lease_info& held : detail::shell::holders(c)) std::fprintf(stderr, "  held for %s\n", held.text().c_str());
        } catch (...) { // no memory for the names: the number has been said
        }
        std::terminate();
    }

    storage core_;
};

template <class Driver, class... Policies>
pool(Driver, Policies...) -> pool<Driver, Policies...>;

namespace detail {
template <class T>
inline constexpr bool is_pool = false;
template <class D, class... P>
inline constexpr bool is_pool<pool<D, P...>> = true;
} // namespace detail

/// Any pool of this library, for templates: `void work(cenote::any_pool auto& db)`.
template <class T>
concept any_pool = detail::is_pool<std::remove_cv_t<T>>;

} // namespace cenote
