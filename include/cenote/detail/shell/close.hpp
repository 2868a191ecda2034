// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/shell/doubt.hpp>
#include <cenote/detail/shell/events.hpp>

#include <chrono>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

/// How connections end.
namespace cenote::detail::shell {

/// After a permit was given up: the last one out frees the core; if somebody waits to dial, housekeeping is told. `keeper` was
/// held before the permit was given up, because the core may be gone by now.
template <class Core>
void after_retire(Core* c, retired r, auto&& keeper) noexcept {
    if (r == retired::last) {
        if constexpr (!Core::cfg::embedded) delete c;
    } else if (r == retired::wanted) {
        if constexpr (Core::cfg::threads) keeper->poke();
        else (void)keeper;
    }
}

template <class Core>
[[nodiscard]] session_state state_of(Core& c, typename Core::connection_type& conn) noexcept {
    if constexpr (can_tell_state<typename Core::driver_type>) return c.driver().state(conn);
    else return session_state::idle;
}

/// From now on nobody cuts what is in this slot.
template <class Core>
void drop_token([[maybe_unused]] Core& c, [[maybe_unused]] typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::keeps_tokens) {
        const std::scoped_lock lock{c.token_mutex()};
        s.forks.token_goes();
        s.token.reset();
    }
}

/// What cuts the connection in a slot, for one caller only; empty if there is none or somebody has it already.
template <class Core>
[[nodiscard]] auto take_token(Core& c, typename Core::slot_type& s) noexcept {
    decltype(s.token) token;
    const std::scoped_lock lock{c.token_mutex()};
    s.forks.token_goes();
    token.swap(s.token);
    return token;
}

/// Closes the connection; the slot keeps its permit.
template <class Core>
void end_connection(Core& c, typename Core::slot_type& s, close_reason why) noexcept {
    run_on_close(c, s.conn, why);
    drop_token(c, s);
    s.forks.closing();
    c.driver().close(s.conn);
    s.vacate();
    tell_closed(c, {why});
}

/// Closes a slot that counts as leaving, here and now. The core may be gone afterwards.
template <class Core>
void close_in_place(Core& c, typename Core::slot_type& s, close_reason why) noexcept {
    auto keeper = c.hold_keeper();
    end_connection(c, s, why);
    after_retire(&c, c.retire(s), keeper);
}

/// Whether the server says anything before `until`. Of a connection that its driver has given up nobody can tell.
template <class Core>
[[nodiscard]] bool answers_within([[maybe_unused]] Core& c, [[maybe_unused]] typename Core::connection_type& conn, deadline until) noexcept {
    for (; !until.expired(); std::this_thread::sleep_for(std::chrono::microseconds{200})) {
        if constexpr (can_peek<typename Core::driver_type>) {
            if (state_of(c, conn) != session_state::unknown && c.driver().peek(conn) != liveness::quiet) return true;
        }
    }
    return false;
}

/// Cancels what a connection that will be closed is still doing: the server would go on with it, and count the session. A server that has
/// not begun the statement yet ignores that, and begins it afterwards: so again, until there is an answer, or none can be expected.
template <class Core>
void stop_statement([[maybe_unused]] Core& c, [[maybe_unused]] typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::cutting::cuts) {
        auto token = take_token(c, s);
        if (!token) return; // close() has cut it
        const deadline by = deadline::in(std::chrono::seconds{1});
        try {
            for (duration pause = std::chrono::milliseconds{2}; pause < std::chrono::milliseconds{50}; pause *= 2) {
                c.driver().cancel(*token, by);
                if (answers_within(c, s.conn, by.sooner(deadline::in(pause)))) return;
            }
        } catch (...) { // it could not be told: closing is all that is left
        }
    }
}

/// Whether a statement of its last user may still run, and there is a thread that may wait for it to be stopped. The pool's own clean-up,
/// whose answer nobody will read, is soon over.
template <class Core>
[[nodiscard]] bool still_runs([[maybe_unused]] Core& c, [[maybe_unused]] typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::cutting::cuts && Core::cfg::threads) {
        if constexpr (Core::cfg::defers_reset) {
            if (s.pending) return false;
        }
        return state_of(c, s.conn) == session_state::busy;
    } else {
        return false;
    }
}

/// As close_in_place(), but what still runs is stopped first.
template <class Core>
void stop_and_close(Core& c, typename Core::slot_type& s, close_reason why) noexcept {
    if (still_runs(c, s)) stop_statement(c, s);
    close_in_place(c, s, why);
}

/// Closes a slot that counts as leaving where nobody waits for it: on the background thread, or, under `manual`, when somebody has time.
template <class Core>
void close_later(Core& c, typename Core::slot_type& s, close_reason why) noexcept {
    if constexpr (Core::has_chores) {
        s.mark = {chore::close, why};
        auto keeper = c.hold_keeper();
        if (!keeper->post(s, [&c]() noexcept { c.call_first(); })) close_in_place(c, s, why);
    } else {
        close_in_place(c, s, why);
    }
}

/// Closes a chain of slots in place.
template <class Core>
void close_chain(Core& c, link* first, close_reason why) noexcept {
    while (first != nullptr) {
        typename Core::slot_type& s = Core::slot_of(*std::exchange(first, first->next));
        close_in_place(c, s, why);
    }
}

/// Has a chain of slots closed where nobody waits for it.
template <class Core>
void close_chain_later(Core& c, link* first, close_reason why) noexcept {
    while (first != nullptr) close_later(c, Core::slot_of(*std::exchange(first, first->next)), why);
}

/// Why a connection that the desk does not want goes.
template <class Core>
[[nodiscard]] close_reason excess_reason(Core& c) noexcept {
    return c.is_closed() ? close_reason::shutdown : close_reason::overflow;
}

/// Gives a clean connection to the desk; the core may be gone afterwards.
template <class Core>
void settle(Core& c, typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::calm) { // a calm set takes everything, also when the pool is closed
        if (s.rehomed) return close_in_place(c, s, close_reason::shutdown);
    }
    if (c.give(s, c.waiting()) == fate::excess) close_later(c, s, excess_reason(c));
}

/// Does what housekeeping has not got round to. Only while the pool is alive.
template <class Core>
bool run_chores(Core& c) noexcept {
    bool any = false;
    while (link* const l = c.keeper().next()) {
        do_chore(c, Core::slot_of(*l));
        any = true;
    }
    return any;
}

/// Re-homes the leases that are out of a calm pool, so that their returns do not make it acquirable again.
template <class Core>
void rehome(Core& c) {
    using slot_type = typename Core::slot_type;
    bool out = false;
    c.slots().each([&](slot_type& s) { out = out || (s.open && !s.rehomed); });
    if (!out) return;
    auto* const there = new typename Core::afterlife_type;
    there->owner = &c;
    c.slots().each([&](slot_type& s) {
        if (s.open && !s.rehomed) {
            s.home = there;
            s.rehomed = true;
        }
    });
}

/// Closes what has come back to the afterlife of a calm pool.
template <class Core>
void close_rehomed(Core& c) noexcept {
    if constexpr (Core::cfg::calm) {
        typename Core::afterlife_type* there = nullptr;
        c.slots().each([&](auto& s) {
            if (s.rehomed) there = static_cast<typename Core::afterlife_type*>(s.home);
        });
        if (there == nullptr) return;
        while (link* const l = there->pop_locked()) close_in_place(c, Core::slot_of(*l), close_reason::shutdown);
    }
}

/// Refuses new acquires, wakes those who wait, closes what is idle, on the background thread if there is one. May be called again.
template <class Core>
void shut(Core& c) {
    c.close();
    if constexpr (Core::cfg::threads) c.keeper().rouse(); // who waits for dials in warm_up()
    if constexpr (!Core::cfg::threads) c.keeper().stop(); // whoever gives back from now on closes
    if constexpr (Core::cfg::threads) {
        link* const idle = c.extract_all();
        for (link* l = idle; l != nullptr; l = l->next) drop_token(c, Core::slot_of(*l)); // these end by themselves
        close_chain_later(c, idle, close_reason::shutdown);
    } else {
        run_chores(c); // may leave idle what it cleaned
        close_chain(c, c.extract_all(), close_reason::shutdown);
        if constexpr (Core::cfg::calm) {
            close_rehomed(c);
            rehome(c);
        }
    }
}

/// Cuts every connection that is open: first all of them at this end, so that nobody is kept waiting by another's server, and then, once
/// `meanwhile()` has returned, at the servers, as far as there is time. How many.
template <class Core, class Meanwhile>
unsigned sever_all(Core& c, deadline by, Meanwhile&& meanwhile) noexcept {
    std::vector<decltype(Core::slot_type::token)> tokens;
    try {
        tokens.reserve(c.count().max);
    } catch (const std::bad_alloc&) { // then each in one go
    }
    unsigned n = 0;
    c.slots().each([&](typename Core::slot_type& s) {
        auto token = take_token(c, s);
        if (!token) return;
        const bool later = tokens.size() < tokens.capacity();
        c.driver().sever(*token, later ? deadline{time_point::min()} : by);
        if (later) tokens.push_back(std::move(token));
        ++n;
    });
    meanwhile();
    for (auto& token : tokens) {
        if (!by.expired()) c.driver().sever(*token, by);
    }
    return n;
}

/// Has what is idle and not to be used again closed.
template <class Core>
void close_invalid([[maybe_unused]] Core& c) noexcept {
    if constexpr (Core::cfg::heeds_doubt) {
        const auto ends = [](link& l) noexcept { return doubt_of<Core>(Core::slot_of(l)) == doubt::invalid; };
        close_chain_later(c, c.extract(ends, 0, 0), close_reason::invalidated);
        close_chain_later(c, c.extract_held(ends), close_reason::invalidated);
        c.keeper().poke();
    }
}

/// Every connection there is ends: what is idle now, what is leased as it comes back. Pools that look at
/// nothing at checkout may hand out once more what is being given back this very moment.
template <class Core>
void invalidate([[maybe_unused]] Core& c) noexcept {
    if constexpr (Core::cfg::heeds_doubt) {
        if (c.forked()) return;
        raise_all(c, doubt::invalid);
        close_invalid(c);
        c.keeper().scan_soon(); // for what was just becoming idle
    }
}

/// Closes what is idle and named by `pred`, down to `min_idle` and `min`. How many.
template <class Core, class Pred>
unsigned trim(Core& c, Pred&& pred) noexcept {
    if (c.forked()) return 0;
    link* out = c.extract([&](link& l) noexcept { return static_cast<bool>(pred(Core::slot_of(l).conn)); }, c.min_idle(), c.min());
    unsigned n = 0;
    for (const link* l = out; l != nullptr; l = l->next) ++n;
    close_chain_later(c, out, close_reason::idle);
    return n;
}

} // namespace cenote::detail::shell
