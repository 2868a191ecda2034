// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>

/// What one connection tells about the others.
namespace cenote::detail::shell {

/// What is held against an open connection. Hot: one load of the slot's own line, and nothing in pools that cannot be invalidated.
template <class Core>
[[nodiscard]] doubt doubt_of([[maybe_unused]] const typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::heeds_doubt) return s.doubt.get();
    else return doubt::none;
}

/// Before a test of a connection, so that what is raised meanwhile stays.
template <class Core>
void settle_suspicion([[maybe_unused]] typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::heeds_doubt) s.doubt.settle();
}

/// Marks every connection there is, those that are just being opened included.
template <class Core>
void raise_all([[maybe_unused]] Core& c, [[maybe_unused]] doubt to) noexcept {
    if constexpr (Core::cfg::heeds_doubt) {
        c.slots().each([to](typename Core::slot_type& s) { s.doubt.raise(to); });
    }
}

/// A connection that nothing was held against turned out to be lost: each of the others is tested before its next use, then and not now.
template <class Core>
void suspect_others(Core& c) noexcept {
    if constexpr (Core::cfg::tests_suspects) raise_all(c, doubt::suspect);
}

} // namespace cenote::detail::shell
