// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/fork_mark.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/session/detail/lock_ask.hpp>
#include <cenote/session/detail/lock_failure.hpp>
#include <cenote/session/detail/lock_watch.hpp>
#include <cenote/session/lock_events.hpp>
#include <cenote/session/lock_key.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cenote {
namespace detail {
struct locker;
}

/// A lock in the database that is held, and the lease of the session that holds it. Made by `lock`.
///
/// The lock belongs to the session: it ends with it, whatever the reason, and no other session can give it back. So the guard keeps the
/// lease, releases on that very session, and lets nobody use a session again of which it cannot be sure that it holds nothing: such a
/// connection is closed. Work that must not go on without the lock is best done on the guard's own `connection()`: then losing the one
/// fails the other.
///
/// Shape    move-only. Empty (default-constructed, moved from, released, lost) it holds nothing, and using its connection is undefined.
/// Called   by one thread at a time. May outlive the pool, as its lease.
/// Errors   the destructor releases without throwing, within `options.answer`, and a second more where a statement of its holder's still
///          runs; what fails there, sinks hear.
/// Cost     a round trip to take it and one to release it: 46 µs together with PostgreSQL on the same machine, 35 µs with MariaDB, as the
///          same statements by hand; the guard itself adds 1100 instructions, an allocation and a descriptor while it is held.
/// With     in a process that was forked from its own (`fork_aware`) it is the parent's: it does not own it there, and its end asks nobody.
///          As long as it is leased, the pool tests, retires and pings nothing: `check()` now and then keeps routers from forgetting the
///          connection. The server's idle_session_timeout and wait_timeout end it as any other.
template <class Lease, lock_key Key>
class [[nodiscard]] held_lock {
public:
    using lease_type = Lease;
    using connection_type = typename Lease::connection_type;
    using driver_type = std::remove_reference_t<decltype(std::declval<const Lease&>().driver())>;

    held_lock() noexcept = default;
    held_lock(held_lock&& o) noexcept : s_{std::move(o.s_)} {}
    held_lock& operator=(held_lock&& o) noexcept {
        if (this != &o) {
            let_go();
            s_ = std::move(o.s_);
        }
        return *this;
    }
    ~held_lock() { let_go(); }

    /// Whether it was taken, and is not known to be gone: no look.
    [[nodiscard]] explicit operator bool() const noexcept { return s_ && s_->lease; }

    /// Whether it is held as far as this side can see: a session that was ended is noticed, a server that vanished is not.
    ///
    /// Cost     one poll of the socket, 0.3 µs.
    [[nodiscard]] bool owns() noexcept {
        if (!*this || s_->lease.forked()) return false;
        warn_if_overdue();
        if (s_->watch && s_->watch->fired()) return false;
        driver_type& d = s_->lease.driver();
        if constexpr (can_peek<driver_type>) {
            if (d.peek(*s_->lease) == liveness::dead) return false;
        }
        if constexpr (can_tell_state<driver_type>) {
            if (d.state(*s_->lease) == session_state::unknown) return false;
        }
        return true;
    }

    /// Asks the server whether this session holds the lock. If it does not, or nobody answers in time, the lock is lost: its connection
    /// is closed and the guard empty.
    ///
    /// Errors   errc::lock_lost, also for an empty guard. errc::lock_failed when it cannot be asked now, as a result is unread on its
    ///          connection: then nothing has changed.
    /// Cost     one round trip: 100 µs with PostgreSQL, which lists all its locks for it, 16 µs with MariaDB. In a transaction that has
    ///          failed a ping, which tells as much.
    void check() { check(s_ ? s_->answer : duration::zero()); }
    void check(timeout t) {
        failure why;
        if (!check(t, why)) throw error{std::move(why)};
    }
    bool check(timeout t, fail_to f) noexcept {
        f.clear();
        if (!*this || leave_to_parent()) {
            f.set({make_error_code(errc::lock_lost), nullptr});
            return false;
        }
        warn_if_overdue();
        bool gone = s_->watch && s_->watch->fired();
        if (gone) (void)was_cut();
        if (!gone) {
            session_state now = session_state::idle;
            if constexpr (can_tell_state<driver_type>) now = s_->lease.driver().state(*s_->lease);
            if (now == session_state::busy) {
                f.set(detail::lock_failure(errc::lock_failed, held_for(), s_->key, "its connection is in the middle of a statement"));
                return false;
            }
            gone = !is_still_held(now, deadline::in(t));
        }
        if (gone) {
            f.set(std::move(s_->why));
            s_.reset();
        }
        return !gone;
    }

    /// Gives it back, and the lease. True: it was held until now. False: there was nothing to give back, as after the first time.
    ///
    /// With     a transaction that is open on its connection is rolled back first.
    /// Errors   errc::lock_lost when the session has ended or the server says that it did not hold it; errc::lock_failed when nobody knows.
    ///          Either way the guard is empty afterwards, and its connection closed and never used again, which releases what it held.
    bool release() {
        failure why;
        const bool held = release(why);
        if (why) throw error{std::move(why)};
        return held;
    }
    bool release(fail_to f) noexcept {
        f.clear();
        if (!*this || leave_to_parent()) return false;
        const bool held = finish();
        if (!held) f.set(std::move(s_->why));
        s_.reset();
        return held;
    }

    /// How long it has been held.
    [[nodiscard]] duration held_for() const noexcept { return *this ? s_->clock->now() - s_->since : duration::zero(); }
    [[nodiscard]] const Key& key() const noexcept { return s_->key; }

    /// The session that holds the lock: what is done on it fails when the lock is gone.
    [[nodiscard]] connection_type& connection() const noexcept { return *s_->lease; }
    [[nodiscard]] connection_type& operator*() const noexcept { return *s_->lease; }
    [[nodiscard]] driver_type& driver() const noexcept { return s_->lease.driver(); }
    [[nodiscard]] auto native_handle() const
        requires has_native_handle<driver_type>
    {
        return s_->lease.native_handle();
    }

private:
    friend struct detail::locker;
    using token = typename detail::interrupter_of<driver_type>::type;

    struct state {
        Key key;
        Lease lease{};
        std::uint64_t session = 0;
        time_point since{};
        const lock_clock* clock = nullptr;
        duration answer{}, max_hold{};
        lock_sink_ref sink{};
        bool warned = false;
        failure why{};
        std::optional<token> interrupter{};
        std::unique_ptr<detail::lock_watch<driver_type>> watch{}; // ends before all that it uses
    };

    void tell(lock_change what, duration lasted) const noexcept {
        if (!s_->sink) return;
        try {
            s_->sink.on_lock({what, s_->key.type(), s_->key.text(), lasted, s_->why.code});
        } catch (...) { // no memory for its name
            s_->sink.on_lock({what, s_->key.type(), {}, lasted, s_->why.code});
        }
    }
    void warn_if_overdue() noexcept {
        if (s_->warned || s_->watch || held_for() <= s_->max_hold) return;
        s_->warned = true;
        tell(lock_change::overdue, held_for());
    }
    void let_go() noexcept {
        if (*this && !leave_to_parent()) (void)finish();
        s_.reset();
    }
    /// In a forked child the lock is the parent's, whose thread may have been in all of this: the lease ends, and nothing else is done.
    bool leave_to_parent() noexcept {
        if (!s_->lease.forked()) return false;
        s_->lease.give_back();
        if (!s_->watch) s_->interrupter.reset();
        else detail::leave_behind(std::move(s_));
        s_.reset();
        return true;
    }

    /// Closes its connection, which no error stops, and says why.
    bool lose(errc why, error_class kind, std::string_view words, bool releasing) noexcept {
        const duration lasted = held_for();
        s_->why = detail::lock_failure(why, lasted, s_->key, words);
        s_->lease.discard(kind);
        tell(lock_change::lost, lasted);
        if (releasing) tell(lock_change::close_error, lasted);
        return false;
    }
    /// Whether the watchdog has ended it; if not, it never will.
    bool was_cut() noexcept {
        if (!s_->watch || !s_->watch->stop()) return false;
        return !lose(errc::lock_lost, error_class::cancelled, "it was held for longer than max_hold, and its session was ended", false);
    }

    bool is_still_held(session_state now, deadline by) noexcept {
        error_class kind = error_class::other;
        try {
            std::string words;
            driver_type& d = s_->lease.driver();
            if (now == session_state::unknown) cut(d); // a statement that was given up may still run there
            try {
                if constexpr (can_ping<driver_type>) {
                    if (now == session_state::failed_transaction) {
                        d.ping(*s_->lease, by);
                        return true;
                    }
                }
                const auto answer = detail::ask_number(d, *s_->lease, s_->key.ask(s_->session), by);
                if (answer == 1) return true;
                words = detail::refusal(answer);
            } catch (const std::exception& e) {
                kind = classify(d, e);
                words = detail::words_of(e);
            }
            return !was_cut() && lose(errc::lock_lost, kind, words, false);
        } catch (...) { // no memory for the words, or a driver that throws something else
            return !was_cut() && lose(errc::lock_lost, kind, {}, false);
        }
    }

    /// Releases at the server and gives the lease back. False: `why` says what happened instead.
    bool finish() noexcept {
        warn_if_overdue();
        if (was_cut()) return false;
        errc why = errc::lock_lost;
        error_class kind = error_class::other;
        try {
            std::string words;
            driver_type& d = s_->lease.driver();
            try {
                const duration lasted = held_for();
                const deadline by = deadline::in(s_->answer);
                end_work(d, by);
                const auto answer = detail::ask_number(d, *s_->lease, s_->key.release(s_->session), by);
                if (answer == 1) {
                    s_->lease.give_back();
                    tell(lock_change::released, lasted);
                    return true;
                }
                words = detail::refusal(answer);
            } catch (const std::exception& e) {
                kind = classify(d, e);
                if (kind != error_class::disconnected) why = errc::lock_failed; // it may have been held to the end
                words = detail::words_of(e);
            }
            return lose(why, kind, words, true);
        } catch (...) { // no memory for the words, or a driver that throws something else
            return lose(errc::lock_failed, kind, {}, true);
        }
    }

    /// What the holder has left open must keep neither the lock nor the session alive.
    void end_work(driver_type& d, deadline by) {
        if constexpr (can_tell_state<driver_type>) {
            const session_state now = d.state(*s_->lease);
            if (now == session_state::idle) return;
            if constexpr (can_rollback<driver_type>) {
                try {
                    d.rollback(*s_->lease, by);
                    return;
                } catch (const std::exception&) {
                    cut(d);
                    throw;
                }
            }
            if (now == session_state::busy || now == session_state::unknown) cut(d);
        }
    }
    /// A server in the middle of a statement notices the closed connection at its end only, and would keep the lock until then.
    void cut(driver_type& d) noexcept {
        if constexpr (can_interrupt<driver_type>) {
            if (s_->interrupter) d.sever(*s_->interrupter, deadline::in(std::chrono::seconds{1}));
        }
    }

    std::unique_ptr<state> s_;
};

} // namespace cenote
