// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/shell/dial.hpp>
#include <cenote/error.hpp>

#include <chrono>
#include <thread>

/// Opening before anybody asks.
namespace cenote::detail::shell {

/// How many connections are open and stay.
template <class Core>
[[nodiscard]] unsigned open_now(Core& c) noexcept {
    const census now = c.count();
    return now.used - now.opening - now.leaving;
}

/// Opens one connection if `min` or `min_idle` or those who wait want one, for pools whose callers do. errc{}: opened;
/// errc::exhausted: not wanted, or no room.
template <class Core>
[[nodiscard]] errc dial_wanted(Core& c, unsigned min, unsigned min_idle, deadline by) noexcept {
    link* const l = c.demand(min, min_idle);
    if (l == nullptr) return errc::exhausted;
    typename Core::slot_type& s = Core::slot_of(*l);
    const dialled d = dial(c, s, deadline::after(c.connect_limit(), Core::sync::now()).sooner(by));
    if (!d.ok) {
        after_retire(&c, c.retire_unopened(s), c.hold_keeper());
        return d.why;
    }
    if (c.give_opened(s, c.waiting()) == fate::excess) close_in_place(c, s, excess_reason(c));
    return errc{};
}

/// Opens until there are `n`, until `by`, or until an attempt fails for good. errc{}: there are.
template <class Core>
[[nodiscard]] errc warm(Core& c, unsigned n, deadline by) noexcept {
    [[maybe_unused]] unsigned began = 0;
    if constexpr (Core::cfg::threads) began = c.keeper().dials_ended();
    for (;;) {
        if constexpr (Core::cfg::threads) {
            const unsigned seen = c.keeper().dials_ended(); // before anything that it tells of
            if (c.is_closed()) return errc::pool_closed;
            if (open_now(c) >= n) return errc{};
            if (seen != began && c.log().hopeless()) return errc::connect_failed; // what failed before this call may have been put right
            if (Core::sync::now() >= by.at()) return errc::connect_timeout;
            c.keeper().poke();
            (void)c.keeper().await_dial(seen, by.at());
        } else {
            if (c.is_closed()) return errc::pool_closed;
            if (open_now(c) >= n) return errc{};
            if (Core::sync::now() >= by.at()) return errc::connect_timeout;
            const errc why = run_chores(c) ? errc{} : dial_wanted(c, n, 0, by);
            if (why == errc::exhausted) std::this_thread::sleep_for(std::chrono::milliseconds{1}); // suspended, or others open or close
            else if (why != errc{}) return why;
        }
    }
}

} // namespace cenote::detail::shell
