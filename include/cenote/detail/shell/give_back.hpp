// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/lifecycle.hpp>
#include <cenote/detail/shell/abandon.hpp>
#include <cenote/detail/shell/close.hpp>
#include <cenote/detail/shell/doubt.hpp>
#include <cenote/detail/shell/events.hpp>
#include <cenote/detail/shell/forfeit.hpp>
#include <cenote/detail/shell/inspect.hpp>
#include <cenote/detail/shell/probe.hpp>

#include <utility>

/// How leases end.
namespace cenote::detail::shell {

/// Carries out a clean-up within `by`. False: it failed, and the connection is of no more use.
template <class Core>
[[nodiscard]] bool clean(Core& c, typename Core::slot_type& s, chore what, deadline by) noexcept {
    using driver_type = typename Core::driver_type;
    const auto roll_back = [&] {
        if constexpr (can_rollback<driver_type>) c.driver().rollback(s.conn, by);
        else if constexpr (can_reset<driver_type>) c.driver().reset(s.conn, by);
    };
    try {
        switch (what) {
        case chore::rollback: roll_back(); break;
        case chore::reset:
            if constexpr (can_reset<driver_type>) c.driver().reset(s.conn, by);
            break;
        case chore::script:
            if constexpr (Core::cfg::reset::executes && can_execute<driver_type>) {
                if (state_of(c, s.conn) != session_state::idle) roll_back();
                c.driver().execute(s.conn, c.template get<typename Core::cfg::reset>().what.sql, by);
            }
            break;
        case chore::none:
        case chore::close:
        case chore::test: break;
        }
    } catch (...) {
        tell_reset_failed(c);
        return false;
    }
    if (state_of(c, s.conn) == session_state::idle) return true;
    tell_reset_failed(c);
    return false;
}

[[nodiscard]] constexpr chore chore_for(cleanup what) noexcept {
    return what == cleanup::rollback ? chore::rollback : what == cleanup::reset ? chore::reset : chore::script;
}

/// Whether the driver has what `clean` needs for this.
template <class Core>
[[nodiscard]] constexpr bool can_clean(chore what) noexcept {
    using driver_type = typename Core::driver_type;
    constexpr bool rolls_back = can_rollback<driver_type> || can_reset<driver_type>;
    if (what == chore::reset) return can_reset<driver_type>;
    return rolls_back && (what == chore::rollback || can_execute<driver_type>);
}

/// Sends a clean-up, whose answer is read at the next checkout. False: that would have to wait.
template <class Core>
[[nodiscard]] bool start_cleaning(Core& c, typename Core::slot_type& s, [[maybe_unused]] chore what) noexcept {
    using driver_type = typename Core::driver_type;
    using reset = typename Core::cfg::reset;
    if constexpr (can_defer_rollback<driver_type>) {
        if (what == chore::rollback) return c.driver().rollback_start(s.conn);
    }
    if constexpr (can_defer_script<driver_type> && reset::executes) {
        if (what == chore::script) return c.driver().execute_start(s.conn, c.template get<reset>().what.sql);
    }
    return c.driver().reset_start(s.conn);
}

/// Hands a clean-up to housekeeping. The core may be gone afterwards.
template <class Core>
void clean_later(Core& c, typename Core::slot_type& s, chore what) noexcept {
    s.mark = {what, close_reason::reset_failed};
    c.count_resetting(+1);
    auto keeper = c.hold_keeper();
    if (keeper->post(s, [&c]() noexcept { c.call_first(); })) return;
    c.count_resetting(-1);
    c.leave();
    close_in_place(c, s, close_reason::shutdown);
}

/// Tests a connection that was borrowed from the idle ones, gives it back or closes it. The core may be gone afterwards.
template <class Core>
void keep_alive(Core& c, typename Core::slot_type& s) noexcept {
    const deadline by = deadline::after(c.template get<typename Core::cfg::keepalive>().limit(), Core::sync::now());
    const doubt held = doubt_of<Core>(s);
    close_reason why = close_reason::invalidated;
    bool usable = held != doubt::invalid;
    if (usable) {
        settle_suspicion<Core>(s);
        bool answers = false; // what shows that it lives is the answer of its clean-up
        if constexpr (Core::cfg::defers_reset) answers = std::exchange(s.pending, false);
        try {
            if constexpr (Core::cfg::defers_reset) {
                if (answers) {
                    c.driver().reset_finish(s.conn, by);
                    if (state_of(c, s.conn) != session_state::idle) throw driver_error{error_class::other, "not clean after its clean-up"};
                }
            }
            if (!answers) ping(c, s.conn, by);
            if constexpr (requires { s.tested = time_point{}; }) s.tested = c.age_now();
            usable = doubt_of<Core>(s) != doubt::invalid;
        } catch (...) {
            usable = false;
            why = answers ? close_reason::reset_failed : verdict_in_flight(c);
            if (answers) tell_reset_failed(c);
            else tell_validation_failed(c);
            if (why == close_reason::wrong_role) invalidate(c);
            else if (held == doubt::none) suspect_others(c);
        }
    }
    if (!usable) c.leave_tested();
    else if (c.give_tested(s, c.waiting()) == fate::kept) return;
    close_in_place(c, s, usable ? excess_reason(c) : why);
}

/// Housekeeping's half of close_later(), clean_later() and test_later(). The core may be gone afterwards.
template <class Core>
void do_chore(Core& c, typename Core::slot_type& s) noexcept {
    if constexpr (Core::has_chores) {
        const chore_mark mark = std::exchange(s.mark, {});
        if (mark.what == chore::close) {
            stop_and_close(c, s, mark.why);
            return;
        }
        if constexpr (Core::cfg::keepalive::tests) {
            if (mark.what == chore::test) {
                keep_alive(c, s);
                return;
            }
        }
        if constexpr (Core::cfg::resets) {
            const duration limit = c.template get<typename Core::cfg::reset>().timeout;
            const bool ran = still_runs(c, s); // a clean-up that fails takes the connection's state with it
            const bool ok = clean(c, s, mark.what, deadline::after(limit, Core::sync::now()));
            c.count_resetting(-1);
            const bool usable = ok && doubt_of<Core>(s) != doubt::invalid;
            if (!usable) {
                c.leave();
                if (ran && !ok) stop_statement(c, s);
                close_in_place(c, s, ok ? close_reason::invalidated : close_reason::reset_failed);
            } else if (c.give(s, c.waiting()) == fate::excess) {
                close_in_place(c, s, excess_reason(c));
            }
        }
    }
}

/// What the reset policy wants done, done in its way. The core may be gone afterwards.
template <class Core>
void tidy(Core& c, typename Core::slot_type& s, cleanup what) noexcept {
    using reset = typename Core::cfg::reset;
    if (what == cleanup::none) {
        settle(c, s);
        return;
    }
    if (what == cleanup::close) {
        c.leave();
        close_later(c, s, close_reason::broken);
        return;
    }
    const chore job = chore_for(what);
    if constexpr (Core::cfg::defers_reset) {
        if (start_cleaning(c, s, job)) {
            s.pending = true;
            settle(c, s);
        } else if (can_clean<Core>(job)) {
            clean_later(c, s, job);
        } else {
            tell_reset_failed(c);
            c.leave();
            close_later(c, s, close_reason::reset_failed);
        }
    } else if constexpr (is_at_return<reset>) {
        c.count_resetting(+1);
        const bool ok = clean(c, s, job, deadline::after(c.template get<reset>().timeout, Core::sync::now()));
        c.count_resetting(-1);
        if (ok) {
            settle(c, s);
        } else {
            c.leave();
            close_later(c, s, close_reason::reset_failed);
        }
    } else {
        clean_later(c, s, job);
    }
}

/// A lease is over: sinks are told, facts are stamped.
template <class Core>
void note_end(Core& c, typename Core::slot_type& s, [[maybe_unused]] time_point now, [[maybe_unused]] bool dirty) noexcept {
    using cfg = typename Core::cfg;
    if constexpr (cfg::records_holder) report_return(c, s, now);
    if constexpr (cfg::times_leases) tell_returned(c, {now - s.leased, dirty});
    else if constexpr (cfg::sinks::size != 0) tell_returned(c, {duration::zero(), dirty});
    if constexpr (cfg::fact_list::size != 0) static_cast<typename cfg::facts&>(s).returned(now);
}

template <class Core>
[[nodiscard]] time_point return_time(Core& c) noexcept {
    if constexpr (Core::cfg::clock_at_return) return c.age_now();
    else return {};
}

/// The end of a lease that was cut: its holder frees the client's object. The core may be gone afterwards.
template <class Core>
void bury(Core& c, typename Core::slot_type& s) noexcept {
    note_end(c, s, return_time(c), false);
    end_connection(c, s, close_reason::leaked);
    come_back(c, s);
}

/// The whole of a give back for pools that have anything to do there. Not `Leased`: on_acquire threw, so nobody has heard of a lease.
template <class Core, bool Leased = true>
void give_back_checked(typename Core::slot_type& s) noexcept {
    using cfg = typename Core::cfg;
    Core& c = Core::of(s);
    if (!reclaim<Core>(s)) [[unlikely]] return bury(c, s);
    const time_point now = return_time(c);

    bool usable = true;
    if constexpr (Leased && has_hook<on_give_back, Core>) {
        try {
            run_hooks<on_give_back>(c, s.conn);
        } catch (...) {
            c.swallow();
            usable = false;
        }
    }
    cleanup what = cleanup::none;
    bool dirty = false;
    if constexpr (cfg::resets) {
        const session_state state = state_of(c, s.conn);
        dirty = lifecycle::is_dirty(state);
        if (state == session_state::unknown && doubt_of<Core>(s) == doubt::none) suspect_others(c); // its holder met with something
        what = c.template get<typename cfg::reset>().what.choose(state);
        if constexpr (!can_rollback<typename Core::driver_type> && !can_reset<typename Core::driver_type> && !cfg::defers_reset) {
            if (dirty) what = cleanup::close; // nobody can clean it
        }
        if (dirty) tell_dirty(c);
    }
    if constexpr (Leased) note_end(c, s, now, dirty);
    else if constexpr (cfg::fact_list::size != 0) static_cast<typename cfg::facts&>(s).returned(now);

    if (!usable) {
        c.leave();
        close_later(c, s, close_reason::broken);
        return;
    }
    if (doubt_of<Core>(s) == doubt::invalid) [[unlikely]] {
        c.leave();
        close_later(c, s, close_reason::invalidated);
        return;
    }
    if constexpr (cfg::ends_late) {
        if (too_late(c, s, now)) {
            c.leave();
            close_later(c, s, close_reason::leaked);
            return;
        }
    }
    if constexpr (cfg::age::at_return) {
        if (const auto why = lifecycle::end_of_life<lifecycle::moment::give_back>(typename cfg::ages{}, c, s, now)) {
            c.leave();
            close_later(c, s, *why);
            return;
        }
    }
    tidy(c, s, what);
}

/// Ends a lease: never throws, never allocates, waits only under `at_return`.
template <class Core>
inline void give_back(typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::fork_aware) {
        if (Core::of(s).forked()) [[unlikely]] return abandon<Core>(s);
    }
    if constexpr (Core::cfg::works_at_return) {
        give_back_checked<Core>(s);
    } else if constexpr (Core::cfg::calm) {
        (void)s.home->push(s); // a calm set takes everything
    } else {
        settle(Core::of(s), s);
    }
}

/// Ends a lease in a forked child, on the word of the caller where the pool does not notice.
template <class Core>
void abandon_by_hand(typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::fork_aware) {
        give_back<Core>(s);
    } else {
        Core::of(s).driver().abandon(s.conn);
        if constexpr (Core::cfg::keeps_tokens) s.token.reset();
    }
}

/// Ends a lease whose connection nobody may use again; what became of it may tell something of the others.
template <class Core>
void discard(typename Core::slot_type& s, error_class because = error_class::other) noexcept {
    Core& c = Core::of(s);
    if (c.forked()) return abandon<Core>(s);
    if (!reclaim<Core>(s)) [[unlikely]] return bury(c, s); // and what its holder met with says nothing of the others
    if (Core::cfg::role::checks && because == error_class::wrong_role) invalidate(c);
    else if (because == error_class::disconnected && doubt_of<Core>(s) == doubt::none) suspect_others(c);
    note_end(c, s, return_time(c), false);
    c.leave();
    if constexpr (Core::cfg::threads) close_later(c, s, close_reason::discarded);
    else close_in_place(c, s, close_reason::discarded);
}

/// Ends a lease by taking the connection away from the pool; in a forked child, what is left of it.
template <class Core>
[[nodiscard]] typename Core::connection_type detach(typename Core::slot_type& s) {
    Core& c = Core::of(s);
    if (c.forked()) {
        abandon<Core>(s);
        return std::move(s.conn);
    }
    typename Core::connection_type taken{std::move(s.conn)}; // if this throws, the lease is as it was
    s.forks.closing();
    auto keeper = c.hold_keeper();
    const bool whole = reclaim<Core>(s);
    note_end(c, s, return_time(c), false);
    drop_token(c, s); // close() leaves alone what is no longer the pool's
    s.vacate();
    tell_detached(c);
    if (!whole) come_back(c, s);
    else after_retire(&c, c.retire_detached(s), keeper);
    return taken;
}

} // namespace cenote::detail::shell
