// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/lifecycle.hpp>
#include <cenote/detail/shell/budget.hpp>
#include <cenote/detail/shell/close.hpp>
#include <cenote/detail/shell/dial.hpp>
#include <cenote/detail/shell/doubt.hpp>
#include <cenote/detail/shell/events.hpp>
#include <cenote/detail/shell/give_back.hpp>
#include <cenote/detail/shell/inspect.hpp>
#include <cenote/detail/shell/probe.hpp>

#include <array>
#include <exception>
#include <optional>
#include <source_location>
#include <thread>
#include <utility>

/// How leases begin.
namespace cenote::detail::shell {

template <class Core>
struct taken {
    typename Core::slot_type* s = nullptr;
    errc why = errc::acquire_timeout;
    duration waited{};
    std::exception_ptr from_hook{}; ///< what a hook threw, if that is why
};

enum class fitness : unsigned char {
    fit,
    unfit,    ///< has to be closed
    untested, ///< no time is left to find out
};
struct finding {
    fitness is = fitness::fit;
    close_reason why = close_reason::validation; ///< of the unfit
};

/// Whether an idle connection may be handed out. Driver calls, outside locks.
template <class Core>
[[nodiscard]] finding examine(Core& c, typename Core::slot_type& s, budget& b, [[maybe_unused]] time_point now) noexcept {
    using cfg = typename Core::cfg;
    using driver_type = typename Core::driver_type;
    if constexpr (cfg::age::at_checkout) {
        if (const auto why = lifecycle::end_of_life<lifecycle::moment::checkout>(typename cfg::ages{}, c, s, now)) return {fitness::unfit, *why};
    }
    const doubt held = doubt_of<Core>(s);
    if (held == doubt::invalid) [[unlikely]] return {fitness::unfit, close_reason::invalidated};
    const auto failed = [&](close_reason why) {
        if (why == close_reason::reset_failed) tell_reset_failed(c);
        else tell_validation_failed(c);
        if (why == close_reason::wrong_role) invalidate(c);
        else if (held == doubt::none) suspect_others(c);
        return finding{fitness::unfit, why};
    };
    if constexpr (cfg::defers_reset) {
        if (s.pending) { // the answer of the clean-up is the test
            const time_point at = Core::sync::now();
            if (b.spent(at)) return {fitness::untested};
            s.pending = false;
            if (held != doubt::none) settle_suspicion<Core>(s);
            if constexpr (can_peek<driver_type>) {
                if (c.driver().peek(s.conn) == liveness::dead) return failed(close_reason::validation);
            }
            try {
                c.driver().reset_finish(s.conn, b.test_by(c.template get<typename cfg::reset>().timeout, at));
            } catch (...) {
                return failed(close_reason::reset_failed);
            }
            if (state_of(c, s.conn) != session_state::idle) return failed(close_reason::reset_failed);
            return {};
        }
    }
    if constexpr (cfg::validation::peeks || cfg::validation::pings) {
        auto&& validation = c.template get<typename cfg::validation>();
        probe test = lifecycle::test_before_use(validation, s, now);
        if constexpr (cfg::tests_suspects) {
            if (held == doubt::suspect) [[unlikely]] test = can_ping<driver_type> ? probe::ping : probe::peek;
        }
        const auto begin = [&]() noexcept { // not before: a test for which there is no time settles nothing
            if constexpr (cfg::tests_suspects) {
                if (held == doubt::suspect) [[unlikely]] settle_suspicion<Core>(s);
            }
        };
        if constexpr (can_peek<driver_type>) {
            if (test == probe::peek) {
                begin();
                const liveness seen = c.driver().peek(s.conn);
                if (seen == liveness::quiet) return {};
                if (seen == liveness::dead || !can_ping<driver_type>) return failed(close_reason::validation);
                test = probe::ping;
            }
        }
        if constexpr (can_ping<driver_type>) {
            if (test == probe::ping) {
                const time_point at = Core::sync::now();
                if (b.spent(at)) return {fitness::untested};
                begin();
                try {
                    ping(c, s.conn, b.test_by(validation.limit(), at));
                } catch (...) {
                    return failed(verdict_in_flight(c));
                }
            }
        }
    }
    return {};
}

/// A lease begins: facts are stamped.
template <class Core>
inline void begin_lease([[maybe_unused]] Core& c, [[maybe_unused]] typename Core::slot_type& s, [[maybe_unused]] const std::source_location& where, [[maybe_unused]] time_point now) noexcept {
    if constexpr (Core::cfg::captures_stack) {
        std::array<void*, stack_depth> frames;
        static_cast<call_stack&>(s).store(frames.data(), c.template get<typename Core::cfg::leak>().capture(frames.data(), stack_depth));
    }
    if constexpr (Core::cfg::fact_list::size != 0) static_cast<typename Core::cfg::facts&>(s).lease(now, where);
}

/// The last steps of an acquire that has its connection.
template <class Core>
[[nodiscard]] inline taken<Core> hand_out(Core& c, typename Core::slot_type& s, const std::source_location& where, acquired_event e, [[maybe_unused]] time_point now) noexcept {
    using cfg = typename Core::cfg;
    begin_lease(c, s, where, now);
    if constexpr (has_hook<on_acquire, Core>) {
        try {
            run_hooks<on_acquire>(c, s.conn);
        } catch (...) {
            taken<Core> out{.why = errc::hook_failed, .waited = e.waited, .from_hook = std::current_exception()};
            tell_refused(c, {errc::hook_failed, e.waited});
            if constexpr (cfg::counts_leases) static_cast<lease_count&>(s).take_back();
            give_back_checked<Core, false>(s);
            return out;
        }
    }
    if constexpr (cfg::sinks::size != 0) tell_acquired(c, e);
    return {.s = &s};
}

/// Whether the answer of a deferred clean-up has not been read yet.
template <class Core>
[[nodiscard]] bool owes_reply([[maybe_unused]] const typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::defers_reset) return s.pending;
    else return false;
}

/// Whether this thread holds a lease of this pool. One that was cut keeps nobody waiting.
template <class Core>
[[nodiscard]] bool holds_already(Core& c) noexcept {
    const auto self = std::this_thread::get_id();
    bool found = false;
    c.slots().each([&](typename Core::slot_type& s) {
        bool holds = s.owner.load(std::memory_order_relaxed) == self;
        if constexpr (Core::cfg::cuts_leases) holds = holds && (s.word.load(std::memory_order_relaxed) & custody::state_bits) != custody::severed;
        found = found || holds;
    });
    return found;
}

/// The failure behind an acquire that got nothing; `evidence`: with its story.
template <class Core>
[[nodiscard]] failure failure_of(Core& c, const taken<Core>& got, bool evidence) noexcept {
    if (!evidence || got.why == errc::pool_forked) return {make_error_code(got.why), nullptr}; // there is nothing to be seen in there
    return explain(c, got.why, got.waited, got.from_hook ? text_of(got.from_hook) : std::string{});
}

/// An acquire got nothing. One that only tried and found nothing has not failed: nobody is told.
template <class Core>
[[nodiscard]] taken<Core> refuse(Core& c, const budget& b, errc why, duration waited, std::exception_ptr from_hook = nullptr) noexcept {
    const bool miss = b.tries() && (why == errc::acquire_timeout || why == errc::exhausted);
    if (!miss) {
        tell_waited(c, waited);
        tell_refused(c, {why, waited});
    }
    return {.why = why, .waited = waited, .from_hook = std::move(from_hook)};
}

/// Everything but taking an idle connection that needs no closing: `found` is an unfit one that has to go, or null.
template <class Core>
[[nodiscard, gnu::noinline]] taken<Core> acquire_slowly(Core& c, budget b, typename Core::stop_token stop, const std::source_location& where,
                                                        typename Core::slot_type* found, close_reason end) noexcept {
    using cfg = typename Core::cfg;
    using sync = typename Core::sync;
    const time_point began = b.began(sync::now()); // perhaps some of it was spent on `found`
    typename Core::desk_type::node n;
    n.since = began;
    n.dials = b.may_dial(began);
    if (found == nullptr && stop.stop_requested()) return refuse(c, b, errc::cancelled, duration::zero());
    const auto poke = [&c]() noexcept { c.keeper().poke(); };
    const auto work = [&]() noexcept {
        if constexpr (!cfg::threads && Core::has_chores) run_chores(c);
    };
    if constexpr (cfg::threads) {
        start_keeper(c);
        if (found == nullptr && c.fails_fast()) {
            poke();
            return refuse(c, b, errc::breaker_open, duration::zero());
        }
    }
    errc why = errc::acquire_timeout;
    bool rejected = found != nullptr;
    bool examined = rejected;
    bool fresh = false;
    for (;;) {
        if (found == nullptr) {
            work(); // perhaps that frees or cleans one
            link* const l = c.take(n, c.waiting(), b.until(began), stop, why, poke, work);
            if (l == nullptr) {
                if (rejected && why == errc::acquire_timeout) why = errc::validation_failed;
                return refuse(c, b, why, sync::now() - began);
            }
            found = &Core::slot_of(*l);
        }
        if (found->open && !std::exchange(examined, false)) {
            if constexpr (cfg::marks_dials) { // opened for this very acquire: not tested
                fresh = found->dialled >= began && !owes_reply<Core>(*found) && doubt_of<Core>(*found) == doubt::none;
                if (fresh) break;
            }
            if constexpr (!cfg::tests_at_checkout) break;
            else {
                const finding f = examine(c, *found, b, cfg::clock_at_checkout ? c.age_now() : time_point{});
                if (f.is == fitness::fit) break;
                if (f.is == fitness::untested) {
                    settle(c, *found);
                    return refuse(c, b, rejected ? errc::validation_failed : errc::acquire_timeout, sync::now() - began);
                }
                end = f.why;
                rejected = true;
            }
        }
        if constexpr (cfg::caller_dials) {
            if (found->open) {
                if (link* const next = c.try_take()) { // on with the next
                    c.leave();
                    close_in_place(c, *std::exchange(found, &Core::slot_of(*next)), end);
                    continue;
                }
                // The last one's permit is kept: this acquire has had its turn.
                end_connection(c, *found, end);
                c.redial();
            }
            const time_point now = sync::now();
            if (!b.may_dial(now)) {
                after_retire(&c, c.retire_unopened(*found), c.hold_keeper());
                return refuse(c, b, rejected ? errc::validation_failed : errc::acquire_timeout, now - began);
            }
            dialled d = dial(c, *found, b.dial_by(c.connect_limit(), now));
            if (!d.ok) {
                after_retire(&c, c.retire_unopened(*found), c.hold_keeper());
                return refuse(c, b, d.why, sync::now() - began, std::move(d.from_hook));
            }
            c.dialled();
            fresh = true;
        }
        if (fresh) break;
        // Somebody else dials: the unfit one goes, and this acquire keeps its place at the front.
        c.leave();
        close_later(c, *std::exchange(found, nullptr), end);
        n.again = true;
    }
    const duration waited = sync::now() - began;
    tell_waited(c, waited);
    return hand_out(c, *found, where, {waited, fresh}, cfg::clock_at_lease ? c.age_now() : time_point{});
}

/// What acquire() does when it is not simply a pop. Out of line, so that the hot path stays a few instructions. `begun`: the budget,
/// if some of it was spent on `found` already.
template <class Core, class Request>
[[nodiscard, gnu::noinline]] typename Core::slot_type* acquire_out_of_line(Core& c, std::source_location at, Request request, const budget* begun,
                                                                           typename Core::slot_type* found, close_reason end) {
    taken<Core> got = acquire_slowly(c, begun != nullptr ? *begun : request.allowance(c), request.stop(), at, found, end);
    if (got.s == nullptr) request.refused(c, got);
    return got.s;
}

/// The pool is another process's.
template <class Core, class Request>
[[nodiscard, gnu::noinline, gnu::cold]] typename Core::slot_type* refuse_forked(Core& c, Request request) {
    request.refused(c, taken<Core>{.why = errc::pool_forked});
    return nullptr;
}

/// Takes a connection: the hot path of the library. Null, or whatever `request.refused` throws: there is none.
///
/// Shape    request: `budget allowance(core)` and `stop_token stop()`, asked only when something has to wait or to be tested;
///          `void refused(core, const taken&)`. Passed by value: an empty one costs nothing.
template <class Core, class Request>
[[nodiscard]] inline typename Core::slot_type* acquire(Core& c, std::source_location at, Request request) {
    using cfg = typename Core::cfg;
    if constexpr (cfg::fork_aware) {
        if (c.forked()) [[unlikely]] return refuse_forked(c, request);
    }
    if constexpr (cfg::nesting::watches) {
        if (holds_already(c)) {
            tell_nested(c);
            if constexpr (cfg::nesting::refuses) {
                tell_refused(c, {errc::nested_acquire, duration::zero()}); // it neither waited nor opened
                request.refused(c, taken<Core>{.why = errc::nested_acquire});
                return nullptr;
            }
        }
    }
    link* const l = c.try_take();
    if (l == nullptr) [[unlikely]] return acquire_out_of_line(c, at, request, nullptr, nullptr, close_reason::validation);
    typename Core::slot_type& s = Core::slot_of(*l);
    time_point now{};
    if constexpr (cfg::clock_at_checkout || cfg::clock_at_lease) now = c.age_now();
    if constexpr (cfg::tests_at_checkout) {
        budget b = request.allowance(c);
        if (const finding f = examine(c, s, b, now); f.is != fitness::fit) [[unlikely]] {
            if (f.is == fitness::unfit) return acquire_out_of_line(c, at, request, &b, &s, f.why);
            settle(c, s); // it needs a test for which there is no time
            request.refused(c, refuse(c, b, errc::acquire_timeout, duration::zero()));
            return nullptr;
        }
    }
    if constexpr (has_hook<on_acquire, Core>) {
        taken<Core> got = hand_out(c, s, at, {duration::zero(), false}, now);
        if (got.s == nullptr) request.refused(c, got);
        return got.s;
    } else {
        begin_lease(c, s, at, now);
        if constexpr (cfg::sinks::size != 0) tell_acquired(c, {duration::zero(), false});
        return &s;
    }
}

} // namespace cenote::detail::shell
