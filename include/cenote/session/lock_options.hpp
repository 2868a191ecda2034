// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/session/lock_events.hpp>

#include <chrono>

namespace cenote {

/// What becomes of a lock that is held for longer than `max_hold`.
enum class on_overdue : unsigned char {
    warn, ///< its sink is told once, when the guard is next looked at (`owns`, `check`) or let go of; in time tells the pool's `leak_threshold`
    close ///< its session is ended in time, and with it the lock: `owns()` says no, and statements on its connection fail
};

/// How a lock is waited for and held.
struct lock_options {
    /// How long to wait while somebody else holds it.
    ///
    /// Default  30 s. 0 asks once.
    /// Range    not negative; else std::invalid_argument. `duration::max()` waits for ever.
    duration wait = std::chrono::seconds{30};

    /// How long to wait before asking again. Whoever asks next after a release gets it: there is no queue.
    ///
    /// Default  100 ms: a hundred waiting processes ask a thousand times a second, which a server does not notice.
    /// Range    above zero; else std::invalid_argument.
    duration poll = std::chrono::milliseconds{100};

    /// How long the database may take for one answer, a connection included: each question has until `wait` is over, but that long at least.
    /// It bounds what taking adds to `wait`, and how long a release, and so the guard's destructor, may take.
    ///
    /// Default  5 s. Range: above zero; else std::invalid_argument.
    duration answer = std::chrono::seconds{5};

    /// How long it may be held. 60 s is good advice for a lock that many want, 600 s for one that hardly anybody does; one that is held for
    /// as long as the program runs (a leader's) wants `duration::max()`.
    ///
    /// Default  300 s. Range: above zero; else std::invalid_argument.
    duration max_hold = std::chrono::seconds{300};

    /// What happens then.
    ///
    /// Default  `warn`.
    /// Cost     of `close`: a thread for as long as the lock is held, which sleeps; 25 µs to start and end it.
    /// With     `close` needs a driver that can interrupt: PostgreSQL's and MySQL's can. For others std::invalid_argument.
    cenote::on_overdue on_overdue = cenote::on_overdue::warn;

    /// Whatever stands between here and the server keeps one session for each connection (PgBouncer with pool_mode = session).
    ///
    /// Default  false: where another session answers than the one of the login, the lock is refused (errc::lock_failed) before it is taken,
    ///          because in transaction mode it would belong to a session that others use. True: whoever says so is right, or gets
    ///          errc::lock_lost as soon as another session answers.
    bool session_pooler = false;

    /// Who hears of it, as `lock_counters`. Must outlive the guard.
    lock_sink_ref sink{};
    /// For tests. Must outlive the guard.
    const lock_clock* clock = nullptr;

    void check() const {
        detail::require_not_negative("lock_options.wait", wait);
        detail::require_positive("lock_options.poll", poll, {});
        detail::require_positive("lock_options.answer", answer, {});
        detail::require_positive("lock_options.max_hold", max_hold, {});
    }
};

} // namespace cenote
