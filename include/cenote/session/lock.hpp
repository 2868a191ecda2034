// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/error.hpp>
#include <cenote/pool.hpp>
#include <cenote/session/detail/locker.hpp>
#include <cenote/session/held_lock.hpp>
#include <cenote/session/lock_events.hpp>
#include <cenote/session/lock_key.hpp>
#include <cenote/session/lock_options.hpp>

#include <source_location>
#include <stop_token>
#include <utility>

// Locks in the database: one of many processes does something, and when it dies another one can.
namespace cenote {

/// Takes a lock in the database: `auto only_one = cenote::lock(db, cenote::advisory_lock{"nightly report"});`. It is held until the guard
/// ends, `release()`, or its session dies, whatever comes first; when the program dies the server notices at once, when its machine
/// does after the server's own keepalives.
///
/// Who waits holds no connection: each question takes one that is free and gives it back, so that those who wait do not starve those
/// who work. A question whose answer is lost closes its connection, as that session may hold the lock; it is asked again while there is
/// time.
///
/// Errors   cenote::error with errc::lock_timeout (somebody else has it), errc::lock_failed (an error, no answer, a pooler that shares
///          sessions), errc::cancelled, or why there was no connection; std::invalid_argument for options out of their range. The twin
///          is noexcept and returns an empty guard.
/// With     a session whose earlier user left this very lock on it (with statements of his own and `reset_if_dirty`) gets it at once; the
///          release gives that back, too.
template <any_pool P, lock_key K>
[[nodiscard]] held_lock<typename P::lease, K> lock(P& db, K key, const lock_options& o = {}, typename P::stop_token stop = {},
                                                   std::source_location at = std::source_location::current()) {
    if constexpr (detail::check_lock<P, K>()) {
        detail::locker::check_options<typename P::driver_type>(o);
        failure why;
        auto out = detail::locker::take_or_tell(db, std::move(key), o, stop, why, at);
        if (!out) throw error{std::move(why)};
        return out;
    } else {
        return {};
    }
}
template <any_pool P, lock_key K>
[[nodiscard]] held_lock<typename P::lease, K> lock(P& db, K key, const lock_options& o, typename P::stop_token stop, fail_to f,
                                                   std::source_location at = std::source_location::current()) noexcept {
    if constexpr (detail::check_lock<P, K>()) {
        f.clear();
        failure why;
        auto out = detail::locker::take_or_tell(db, std::move(key), o, stop, why, at);
        if (!out) f.set(std::move(why));
        return out;
    } else {
        return {};
    }
}
template <any_pool P, lock_key K>
[[nodiscard]] held_lock<typename P::lease, K> lock(P& db, K key, const lock_options& o, fail_to f,
                                                   std::source_location at = std::source_location::current()) noexcept {
    return lock(db, std::move(key), o, typename P::stop_token{}, f, at);
}

/// Takes an advisory lock until the end of the transaction that is open on `held` (a lease, or anything with `driver()` and `*`): the
/// server gives it back at commit and rollback, and nobody can before. Works through a pooler in transaction mode, too.
///
/// Errors   as `lock`; what the driver throws comes through as it is, as from any other statement of the transaction.
/// With     of the options `wait`, `poll`, `answer` and `clock` count.
template <class Held>
void lock_in_transaction(Held& held, const advisory_lock& key, const lock_options& o = {}, const std::stop_token& stop = {}) {
    o.check();
    failure why;
    if (!detail::locker::take_in_transaction(held.driver(), *held, key, o, stop, why)) throw error{std::move(why)};
}

} // namespace cenote
