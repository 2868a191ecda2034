// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/shell/close.hpp>
#include <cenote/detail/shell/doubt.hpp>
#include <cenote/detail/shell/events.hpp>
#include <cenote/detail/shell/inspect.hpp>

#include <algorithm>
#include <cstdint>
#include <type_traits>

/// Replacing what is open, a few at a time.
namespace cenote::detail::shell {

/// What shows a renewal every slot's mark.
template <class Core>
[[nodiscard]] auto each_mark(Core& c) noexcept {
    return [&c](auto&& f) noexcept { c.slots().each([&](typename Core::slot_type& s) { f(s.doubt); }); };
}

/// Everything that is open now goes within `over`, one after the other.
template <class Core>
void begin_renewal(Core& c, duration over, time_point now) noexcept {
    if (c.forked()) return;
    c.renewing().begin(stats(c), now, over, each_mark(c));
    c.keeper().scan_soon();
}

/// Tells of one that has ended. What was leased when its turn came has gone when it came back.
template <class Core>
void end_renewal(Core& c) noexcept {
    if (const auto done = c.renewing().over(each_mark(c))) {
        const duration took = c.age_now() - done->began; // read here: a scan may have begun before the renewal did
        tell_refreshed(c, {done->before, stats(c), std::max(took, duration::zero())});
    }
}

/// One step of what is under way; returns when the next is due.
template <class Core>
time_point renew(Core& c, time_point now) noexcept {
    c.renewing().step(now, each_mark(c), [](auto& d) noexcept { d.raise(doubt::invalid); });
    bool any = c.renewing().under_way(); // also what was becoming idle when it was marked, now or earlier
    c.each_idle([&](link& l) noexcept { any = any || doubt_of<Core>(Core::slot_of(l)) == doubt::invalid; });
    if (any) close_invalid(c);
    end_renewal(c);
    time_point next = time_point::max();
    [&]<class... A>(list<A...>) {
        ([&] {
            if constexpr (std::is_same_v<kind_of<A>, kind::refresh>) {
                auto&& policy = c.template get<A>();
                if (c.renewing().comes_round(now, policy.period)) begin_renewal(c, policy.over, now);
                next = c.renewing().next_round(now, policy.period);
            }
        }(), ...);
    }(typename Core::cfg::ages{});
    return std::min(next, c.renewing().next(now, each_mark(c)));
}

} // namespace cenote::detail::shell
