// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>

namespace cenote {

/// Family `housekeeping`: who does the work that no caller should wait for: opening, slow closing, cleaning up, retiring idle
/// connections, looking for leaks.
///
/// A background thread of the pool's own does it, started when first needed and gone with the pool.
///
/// A caller never opens a connection: it waits for whichever comes first, one that is given back or a new one. A name server or
/// server that never answers therefore cannot hold an acquire past its deadline, and a caller that leaves kills no dial.
/// Default  yes, max_dials 2: a spike of fifty waiters opens two at a time, and stops when three come back first.
/// Range    max_dials 1 to 64; patience ≥ 0.
/// Cost     up to max_dials + 1 threads (a second one only once the first is inside a driver call); a hand-over between threads
///          (tens of µs) for each connection opened.
/// With     `~pool` has everything idle closed there and waits for that and for calls in flight up to `patience`, then leaves them to
///          end by themselves: it never hangs. Until they have, their threads and the pool's memory stay. A lease that comes back
///          after that closes its connection itself.
struct background_thread {
    using family = family::housekeeping;
    static constexpr bool threads = true;
    unsigned max_dials = 2;
    duration patience = std::chrono::milliseconds{100};
    void check() const {
        if (max_dials < 1 || max_dials > 64) detail::bad_value("background_thread.max_dials", max_dials, "must be 1 to 64");
        detail::require_not_negative("background_thread.patience", patience);
    }
};

/// No thread: callers open connections themselves, and `maintain()` does the rest.
///
/// Default  for `single_threaded`, `fixed<N>` and `profile::bare`.
/// Cost     an acquire that finds nothing idle does pending clean-up first, and what comes up while it waits; then it opens: its
///          deadline is as good as the driver's `open`, `close` and clean-up. Idle timeouts, `min` and `min_idle` happen only when `maintain()` is called.
///          After `close()`, or once the pool is gone, whoever gives a connection back closes it.
struct manual {
    using family = family::housekeeping;
    static constexpr bool threads = false;
};

} // namespace cenote
