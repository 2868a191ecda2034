// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>

namespace cenote {

/// Family `cutting`: what is done about connections that are in use and have to end.
///
/// Leases that are still out at the deadline of close() are severed: their sessions end at the server, and whoever holds one gets an
/// error from his client library within milliseconds and gives it back. And when a connection is closed because it came back in the
/// middle of a statement, the statement is cancelled first: the server would go on with it, and count the session.
///
/// Default  yes, where the driver can do that from another thread (`interrupter`). `grace`: how long close() then waits for holders
///          that were cut, 1 s.
/// Range    grace ≥ 0.
/// Cost     a descriptor more for each connection, and some µs when it is opened; nothing per lease.
/// With     refused for a driver without `interrupter`. `manual`: no statement is cancelled, as whoever closes would have to wait for that.
struct cut_at_close {
    using family = family::cutting;
    static constexpr bool cuts = true;
    duration grace = std::chrono::seconds{1};
    void check() const { detail::require_not_negative("cut_at_close.grace", grace); }
};

/// They are left alone: close() reports who holds them, and each connection is closed when it comes back; a statement that still runs
/// is the server's affair.
struct never_cut {
    using family = family::cutting;
    static constexpr bool cuts = false;
};

} // namespace cenote
