// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cstdint>
#include <string_view>

namespace cenote {

/// Why the pool closed a connection; `to_string` gives the metric label.
enum class close_reason : unsigned char {
    idle,         ///< nobody used it for idle_timeout
    age,          ///< older than max_lifetime
    uses,         ///< had its max_uses leases
    overflow,     ///< beyond overflow.size on return, or beyond the limit after resize()
    broken,       ///< came back broken: unknown state, or still busy and not to be cleaned up
    reset_failed, ///< could not be made clean
    validation,   ///< failed the look or the ping before a checkout
    setup_failed, ///< on_connect threw
    discarded,    ///< lease.discard()
    shutdown,     ///< the pool was closed or destroyed
    invalidated,  ///< invalidate_all(), or another connection showed the server to be of the wrong role
    wrong_role,   ///< the server was not of the role that the pool asks for
    leaked,       ///< held too long: came back late under `discard_on_return`, or was cut by `close_now` and then came back
    custom,       ///< an age policy of the user's
};
inline constexpr unsigned close_reasons = 14;

[[nodiscard]] constexpr std::string_view to_string(close_reason r) noexcept {
    switch (r) {
    case close_reason::idle: return "idle";
    case close_reason::age: return "age";
    case close_reason::uses: return "uses";
    case close_reason::overflow: return "overflow";
    case close_reason::broken: return "broken";
    case close_reason::reset_failed: return "reset_failed";
    case close_reason::validation: return "validation";
    case close_reason::setup_failed: return "setup_failed";
    case close_reason::discarded: return "discarded";
    case close_reason::shutdown: return "shutdown";
    case close_reason::invalidated: return "invalidated";
    case close_reason::wrong_role: return "wrong_role";
    case close_reason::leaked: return "leaked";
    case close_reason::custom: return "custom";
    }
    return "custom";
}

/// One look at a pool. Gauges are of one instant and always there; counters run from the pool's construction and are kept
/// only by a pool with the `counters` policy (`counted` says so, they are 0 otherwise).
///
/// Exporters walk this one list of fields: with <cenote/reflect.hpp> it is a Boost.Hana struct.
struct pool_stats {
    // gauges: idle + used + opening + closing + resetting = total <= max,
    // but after shrinking, until what is leased has come back
    std::uint64_t total = 0;
    std::uint64_t idle = 0;
    std::uint64_t used = 0;
    std::uint64_t opening = 0;
    std::uint64_t closing = 0;
    std::uint64_t resetting = 0; ///< being cleaned, or tested by keepalive
    std::uint64_t pending = 0; ///< acquires waiting now
    std::uint64_t max = 0;

    // counters
    bool counted = false;
    std::uint64_t leases = 0;       ///< acquires that succeeded
    std::uint64_t waits = 0;        ///< acquires that had to wait or open, whether or not they succeeded
    std::uint64_t wait_ns = 0;      ///< how long those took together
    std::uint64_t timeouts = 0;
    std::uint64_t queue_full = 0;
    std::uint64_t failed = 0;       ///< acquires that failed for any other reason
    std::uint64_t opened = 0;
    std::uint64_t open_failed = 0;
    std::uint64_t closed = 0;
    std::uint64_t detached = 0;
    std::uint64_t validation_failed = 0;
    std::uint64_t reset_failed = 0;
    std::uint64_t returned_dirty = 0;
    std::uint64_t leaks = 0;        ///< leases that passed the leak threshold
    std::uint64_t severed = 0;      ///< leases that `close_now` has cut
    std::uint64_t swallowed = 0;    ///< exceptions from hooks and sinks where nobody could be told
};

} // namespace cenote
