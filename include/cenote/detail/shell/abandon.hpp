// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/driver.hpp>

/// What is left to do with connections in a forked child, where they are the parent's. Takes no lock, asks for no memory.
namespace cenote::detail::shell {

/// Lets go of what is in a slot, if it was whole at the moment of the fork and nobody in this process has done it yet. The slot stays as
/// it is: its pool's memory is never freed here.
template <class Core>
[[gnu::noinline, gnu::cold]] void abandon([[maybe_unused]] typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::fork_aware) {
        const fork_mark::content was = s.forks.take();
        if (was == fork_mark::content::nothing) return;
        Core::of(s).driver().abandon(s.conn);
        if constexpr (Core::cfg::keeps_tokens) {
            if (was == fork_mark::content::connection_and_token) s.token.reset();
        }
    }
}

/// Lets go of everything in a pool.
template <class Core>
[[gnu::cold]] void abandon_all(Core& c) noexcept {
    if constexpr (Core::cfg::fork_aware) {
        c.slots().each([](typename Core::slot_type& s) { abandon<Core>(s); });
    } else if constexpr (can_abandon<typename Core::driver_type>) {
        c.slots().each([&](typename Core::slot_type& s) { // on the word of the caller: no other thread was at work in here
            if (!s.open) return;
            c.driver().abandon(s.conn);
            if constexpr (Core::cfg::keeps_tokens) s.token.reset();
        });
    }
}

} // namespace cenote::detail::shell
