// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/lifecycle.hpp>
#include <cenote/detail/shell/close.hpp>
#include <cenote/detail/shell/dial.hpp>
#include <cenote/detail/shell/inspect.hpp>
#include <cenote/detail/shell/renew.hpp>
#include <cenote/detail/shell/warm_up.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

/// What happens without anybody asking.
namespace cenote::detail::shell {

/// Whether there is no room for another connection, not when those that are being closed are gone either. Those that are being opened have
/// found room: they may be the successors.
template <class Core>
[[nodiscard]] bool will_be_full(Core& c) noexcept {
    const census now = c.count();
    return now.used - now.leaving - now.opening >= now.max;
}

/// Closes idle connections that have reached their end; `Sparing`: by the policies that leave `min_idle` and `min` alone. The others leave
/// them until there are new ones, unless there is no room for these, not even when those that need not stay have gone.
template <bool Sparing, class Core>
void retire_idle(Core& c, time_point now) noexcept {
    using cfg = typename Core::cfg;
    const auto ended = [&](link& l) noexcept {
        return lifecycle::end_of_idling<Sparing>(typename cfg::ages{}, c, Core::slot_of(l), now);
    };
    const auto retire = [&](unsigned min_idle, unsigned min) noexcept {
        link* out = c.extract([&](link& l) noexcept { return ended(l).has_value(); }, min_idle, min);
        while (out != nullptr) {
            typename Core::slot_type& s = Core::slot_of(*std::exchange(out, out->next));
            close_later(c, s, ended(s).value_or(close_reason::idle));
        }
    };
    retire(c.min_idle(), c.min());
    if constexpr (!Sparing) {
        if ((c.min_idle() != 0 || c.min() != 0) && will_be_full(c)) retire(0, 0);
    }
}

/// The shortest time that an age policy of the pool names.
template <class Core>
[[nodiscard]] duration shortest_age(Core& c) noexcept {
    duration out = duration::max();
    const auto look = [&](const auto& policy) {
        if constexpr (requires { { policy.after } -> std::convertible_to<duration>; }) out = std::min(out, duration{policy.after});
    };
    [&]<class... A>(list<A...>) { (look(c.template get<A>()), ...); }(typename Core::cfg::ages{});
    return out;
}

/// Tells the dialler how many idle connections will have to go within the next two seconds; returns when that will be more.
template <class Core>
time_point foresee(Core& c, time_point now) noexcept {
    unsigned going = 0;
    time_point more = time_point::max();
    if (c.min_idle() != 0 || c.min() != 0) {
        const duration ahead = std::min(duration{std::chrono::seconds{2}}, shortest_age(c) / 8);
        const time_point horizon = deadline::after(ahead, now).at();
        c.each_idle([&](link& l) noexcept {
            const time_point end = lifecycle::end_of(typename Core::cfg::ages{}, c, Core::slot_of(l));
            if (end <= horizon) ++going;
            else if (end != time_point::max()) more = std::min(more, end - ahead);
        });
    }
    c.set_going(going);
    return more;
}

/// Has idle connections tested whose time has come, two at once at most: the rest by the next scans.
template <class Core>
void test_idle(Core& c, time_point now) noexcept {
    auto&& policy = c.template get<typename Core::cfg::keepalive>();
    const auto due = [&](link& l) noexcept { return policy.due(Core::slot_of(l)) <= now; };
    while (link* const l = c.borrow(due, 2)) {
        typename Core::slot_type& s = Core::slot_of(*l);
        s.mark = {chore::test, close_reason::validation};
        auto keeper = c.hold_keeper();
        if (!keeper->post(s, [&c]() noexcept { c.call_first(); })) {
            if (c.give_tested(s, c.waiting()) == fate::excess) close_in_place(c, s, excess_reason(c));
            return;
        }
    }
}

/// How often to look even if nothing known is due: what becomes idle or leased later is not known now.
template <class Core>
[[nodiscard]] duration scan_period(Core& c) noexcept {
    duration period = std::min(duration{std::chrono::seconds{30}}, shortest_age(c));
    if constexpr (Core::cfg::leak::records) period = std::min(period, duration{c.template get<typename Core::cfg::leak>().after});
    if constexpr (Core::cfg::keepalive::tests) period = std::min(period, duration{c.template get<typename Core::cfg::keepalive>().every});
    if (c.min() != 0 || c.min_idle() != 0) period = std::min(period, duration{std::chrono::seconds{1}});
    return std::max(period, duration{std::chrono::milliseconds{10}});
}

/// Retires, reports and refills; returns when to come again, by the pool's age clock.
template <class Core>
time_point scan(Core& c, time_point now) noexcept {
    using cfg = typename Core::cfg;
    time_point next = deadline::after(scan_period(c), now).at();
    if constexpr (cfg::age::while_idle) {
        retire_idle<false>(c, now);
        retire_idle<true>(c, now);
        if constexpr (Core::replaces_early) next = std::min(next, foresee(c, now));
        c.each_idle([&](link& l) noexcept { next = std::min(next, lifecycle::next_due(typename cfg::ages{}, c, Core::slot_of(l))); });
        if (next <= now) next = deadline::after(scan_period(c), now).at(); // what is spared for min_idle stays due
    }
    if constexpr (cfg::heeds_doubt) next = std::min(next, std::max(renew(c, now), deadline::after(std::chrono::milliseconds{1}, now).at()));
    if constexpr (cfg::keepalive::tests) {
        test_idle(c, now);
        auto&& policy = c.template get<typename cfg::keepalive>();
        time_point test = time_point::max();
        c.each_idle([&](link& l) noexcept { test = std::min(test, policy.due(Core::slot_of(l))); });
        next = std::min(next, std::max(test, deadline::after(std::chrono::milliseconds{10}, now).at()));
    }
    if constexpr (cfg::leak::records) next = std::min(next, report_leaks(c, now));
    if constexpr (cfg::threads) {
        if (c.wanted(c.wanted_open(), c.wanted_idle())) c.keeper().poke();
    }
    return next;
}

/// One turn of housekeeping by hand: pending clean-up, scan, and under `manual` opening what `min` and `min_idle` want, whereupon what
/// stayed for them may go.
template <class Core>
time_point maintain(Core& c, time_point now) noexcept {
    if (c.forked()) return time_point::max();
    run_chores(c);
    time_point next = scan(c, now);
    run_chores(c); // what the scan found
    if constexpr (!Core::cfg::threads && !Core::cfg::embedded) {
        bool opened = false;
        while (c.wanted(c.wanted_open(), c.wanted_idle()) && dial_wanted(c, c.wanted_open(), c.wanted_idle(), deadline::never()) == errc{}) opened = true;
        if (opened && Core::replaces_early) {
            next = scan(c, now);
            run_chores(c);
        }
    }
    if constexpr (Core::cfg::heeds_doubt) end_renewal(c); // the last of them may have gone with the chores
    return next;
}

} // namespace cenote::detail::shell
