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

/// Everything that is open now goes within `over`, one after the other.
template <class Core>
void begin_renewal(Core& c, duration over, time_point now) noexcept {
    c.renewing().begin(stats(c), now, over);
    c.slots().each([](typename Core::slot_type& s) { s.doubt.fade(); });
    c.keeper().scan_soon();
}

/// One step of what is under way; returns when the next is due.
template <class Core>
time_point renew(Core& c, time_point now) noexcept {
    using slot_type = typename Core::slot_type;
    time_point next = time_point::max();
    [&]<class... A>(list<A...>) {
        ([&] {
            if constexpr (std::is_same_v<kind_of<A>, kind::refresh>) {
                auto&& policy = c.template get<A>();
                if (c.renewing().comes_round(now, policy.period)) begin_renewal(c, policy.over, now);
                next = c.renewing().next_round();
            }
        }(), ...);
    }(typename Core::cfg::ages{});
    const auto count = [&](auto&& which) {
        std::uint64_t n = 0;
        c.slots().each([&](const slot_type& s) { n += which(s.doubt) ? 1U : 0U; });
        return n;
    };
    const auto fades = [](const auto& d) { return d.fades(); };
    if (std::uint64_t due = c.renewing().overdue(count(fades), now); due != 0) {
        c.slots().each([&](slot_type& s) {
            if (due == 0 || !s.doubt.fades()) return;
            s.doubt.raise(doubt::invalid);
            --due;
        });
        close_invalid(c);
    }
    next = std::min(next, c.renewing().next(count(fades)));
    // What was leased when its turn came goes when it comes back.
    if (const auto done = c.renewing().over(count([](const auto& d) { return d.is_old(); }))) tell_refreshed(c, {done->before, stats(c), now - done->began});
    return next;
}

} // namespace cenote::detail::shell
