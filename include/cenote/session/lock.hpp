// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/pool.hpp>
#include <cenote/session/detail/lock_ask.hpp>
#include <cenote/session/detail/lock_watch.hpp>
#include <cenote/session/lock_events.hpp>
#include <cenote/session/lock_key.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <source_location>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

// Locks in the database: one of many processes does something, and when it dies another one can.
namespace cenote {

/// What becomes of a lock that is held for longer than `max_hold`.
enum class on_overdue : unsigned char {
    warn, ///< its sink is told: once, when the guard is next looked at (`owns`, `check`) or let go of. `leak_threshold` in the pool tells in time
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

    /// How long the database may take for one answer, a connection included: each question has until `wait` is over, but at least that long.
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
    ///          because in transaction mode it would belong to a session that others use. True: whoever says so is right, or gets errc::lock_lost
    ///          as soon as another session answers.
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

namespace detail {

inline const lock_clock& clock_of(const lock_options& o) noexcept {
    static const union immortal { // a lock may end after main
        immortal() noexcept : clock{} {}
        ~immortal() {}
        lock_clock clock;
    } steady;
    return o.clock != nullptr ? *o.clock : steady.clock;
}

/// Never throws: without memory the code goes alone.
[[nodiscard]] inline failure lock_failure(errc why, duration lasted, const auto& key, std::string_view detail) noexcept {
    failure out{make_error_code(why), nullptr};
    try {
        auto found = std::make_shared<evidence>();
        found->waited = lasted;
        found->detail = key.text();
        if (!detail.empty()) found->detail.append(": ").append(detail);
        out.seen = std::move(found);
    } catch (...) { // out of memory
    }
    return out;
}

inline constexpr std::string_view pooler_in_between =
    "another session answers than the one that logged in, so a pooler is in between; in its transaction mode the lock would be held by a session that "
    "others use. Connect to the server itself, use lock_in_transaction, or say session_pooler = true if it pools whole sessions";

/// What a driver says: text and SQLSTATE, both scrubbed by it.
[[nodiscard]] inline std::string words_of(const std::exception& e) {
    std::string out{e.what()};
    if (const auto* own = dynamic_cast<const driver_error*>(&e); own != nullptr && !own->sqlstate().empty()) {
        out.append(" (SQLSTATE ").append(own->sqlstate()).append(")");
    }
    return out;
}

[[nodiscard]] inline std::string refusal(std::optional<std::int64_t> answer) {
    return answer == -1 ? std::string{pooler_in_between} : "the server says that the session does not hold it";
}

struct locker;

} // namespace detail

/// A lock in the database that is held, and the lease of the session that holds it. Made by `lock`.
///
/// The lock belongs to the session: it ends with it, whatever the reason, and no other session can give it back. So the guard keeps the
/// lease, releases on that very session, and lets nobody use a session again of which it cannot be sure that it holds nothing: such a
/// connection is closed. Work that must not go on without the lock is best done on the guard's own `connection()`: then losing the one
/// fails the other.
///
/// Shape    move-only. Empty (default-constructed, moved from, released, lost) it holds nothing, and using its connection is undefined.
/// Called   by one thread at a time. May outlive the pool, as its lease.
/// Errors   the destructor releases without throwing, within `options.answer`, and a second more where a statement of
///          its holder's still runs; what fails there, sinks hear.
/// Cost     a round trip to take it and one to release it: 46 µs together with PostgreSQL on the same machine, 35 µs with MariaDB, as the
///          same statements by hand; the guard itself adds 1100 instructions, an allocation and a descriptor while it is held.
/// With     as long as it is leased, the pool tests, retires and pings nothing: `check()` now and then keeps routers from forgetting the
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
        if (!*this) return false;
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
    /// Cost     one round trip: 100 µs with PostgreSQL, which lists all its locks for it, 16 µs with MariaDB. In a transaction that has failed
    ///          a ping, which tells as much.
    void check() { check(s_ ? s_->answer : duration::zero()); }
    void check(timeout t) {
        failure why;
        if (!check(t, why)) throw error{std::move(why)};
    }
    bool check(timeout t, fail_to f) noexcept {
        f.clear();
        if (!*this) {
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
        if (!*this) return false;
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
        if (*this) (void)finish();
        s_.reset();
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

namespace detail {

/// What `lock` does.
struct locker {
    template <class P, class K>
    using held = held_lock<typename P::lease, K>;

    /// Asks again and again, with whatever connection is free at that moment: who waits needs none in between.
    template <any_pool P, lock_key K>
    [[nodiscard]] static held<P, K> take(P& db, K key, const lock_options& o, const typename P::stop_token& stop, failure& why, std::source_location at) {
        using driver_type = typename P::driver_type;
        const lock_clock& clock = clock_of(o);
        const time_point began = clock.now(), end = deadline::after(o.wait, began).at();
        const auto failed = [&](errc code, std::string_view words) {
            why = lock_failure(code, clock.now() - began, key, words);
            add_pool(why, db);
        };
        held<P, K> out;
        // Made before there is anything to hold, so that no want of memory comes between.
        out.s_ = std::make_unique<typename held<P, K>::state>(typename held<P, K>::state{.key = key});
        auto& lease = out.s_->lease;
        for (;;) {
            const deadline by = deadline::in(std::max(deadline{end}.remaining(clock.now()), o.answer));
            lease = db.acquire(by, stop, why, at);
            if (!lease) return {};
            lease.tag(key.type());
            driver_type& d = lease.driver();
            std::string words; // why this time was none
            try {
                std::optional<std::uint64_t> login;
                if constexpr (can_number_sessions<driver_type>) {
                    if (!o.session_pooler) login = d.session_number(*lease);
                }
                const auto answer = ask_number(d, *lease, key.take(login), by);
                if (answer > 0) {
                    begin_to_hold(out, static_cast<std::uint64_t>(*answer), clock, o, why);
                    return out;
                }
                if (answer) lease.give_back(); // nothing was taken
                else lease.discard();
                if (!answer || *answer < 0) {
                    failed(errc::lock_failed, answer ? pooler_in_between : std::string_view{"the server answers NULL, which is its word for an error"});
                    return {};
                }
            } catch (const std::exception& e) { // it may be held now: nobody gets that session any more
                const error_class kind = classify(d, e);
                lease.discard(kind);
                words = words_of(e);
                if (kind != error_class::disconnected) {
                    failed(errc::lock_failed, words);
                    return {};
                }
            } catch (...) {
                lease.discard();
                throw;
            }
            const time_point now = clock.now();
            if (now >= end) {
                failed(words.empty() ? errc::lock_timeout : errc::lock_failed, words);
                return {};
            }
            if (!wait(clock, std::min(deadline::after(o.poll, now).at(), end), stop)) {
                failed(errc::cancelled, {});
                return {};
            }
        }
    }

    template <class D>
    static void check_options(const lock_options& o) {
        o.check();
        if constexpr (!can_interrupt<D>) {
            if (o.on_overdue == on_overdue::close) bad_value("lock_options.on_overdue", std::string_view{"close"}, "needs a driver that can interrupt");
        }
    }

    template <any_pool P, lock_key K>
    [[nodiscard]] static held<P, K> take_or_tell(P& db, K key, const lock_options& o, const typename P::stop_token& stop, failure& why,
                                                 std::source_location at) noexcept {
        const lock_clock& clock = clock_of(o);
        const time_point began = clock.now();
        held<P, K> out;
        try {
            check_options<typename P::driver_type>(o);
            out = take(db, key, o, stop, why, at);
        } catch (const std::bad_alloc&) {
            why = {make_error_code(errc::out_of_memory), nullptr};
        } catch (const std::exception& e) {
            why = lock_failure(errc::lock_failed, clock.now() - began, key, e.what());
        } catch (...) {
            why = lock_failure(errc::lock_failed, clock.now() - began, key, {});
        }
        if (o.sink) tell(o, key, why.code, clock.now() - began);
        return out;
    }

    template <class D, class K>
    static bool take_in_transaction(D& d, typename D::connection& c, const K& key, const lock_options& o, const std::stop_token& stop, failure& why) {
        const lock_clock& clock = clock_of(o);
        const time_point began = clock.now(), end = deadline::after(o.wait, began).at();
        if constexpr (can_tell_state<D>) {
            if (d.state(c) != session_state::in_transaction) {
                why = lock_failure(errc::lock_failed, {}, key, "no transaction is open on the connection");
                return false;
            }
        }
        for (;;) {
            const auto answer = ask_number(d, c, key.take_in_transaction(), deadline::in(std::max(deadline{end}.remaining(clock.now()), o.answer)));
            if (answer == 1) return true;
            const time_point now = clock.now();
            if (!answer || now >= end) {
                why = lock_failure(answer ? errc::lock_timeout : errc::lock_failed, now - began, key, {});
                return false;
            }
            if (!clock.wait(std::min(deadline::after(o.poll, now).at(), end), stop)) {
                why = lock_failure(errc::cancelled, now - began, key, {});
                return false;
            }
        }
    }

private:
    /// From now on the guard answers for it.
    template <class Held>
    static void begin_to_hold(Held& out, std::uint64_t session, const lock_clock& clock, const lock_options& o, failure& why) noexcept {
        using driver_type = typename Held::driver_type;
        auto& s = *out.s_;
        s.session = session;
        s.since = clock.now();
        s.clock = &clock;
        s.answer = o.answer;
        s.max_hold = o.max_hold;
        const bool closes = o.on_overdue == on_overdue::close && o.max_hold != duration::max();
        if constexpr (can_interrupt<driver_type>) {
            try {
                s.interrupter.emplace(s.lease.driver().interrupter(*s.lease));
                if (closes) {
                    s.watch = std::make_unique<lock_watch<driver_type>>(s.lease.driver(), *s.interrupter, deadline::after(o.max_hold, s.since).at(), o.max_hold,
                                                                        clock, o.sink, s.key.type(), s.key.text());
                }
            } catch (const std::exception& e) { // no descriptor, thread or memory
                if (closes) {
                    why = lock_failure(errc::lock_failed, {}, s.key, e.what());
                    out = Held{}; // which releases it
                    return;
                }
            }
        }
        s.sink = o.sink;
    }

    static bool wait(const lock_clock& clock, time_point until, const auto& stop) {
        if constexpr (std::is_same_v<decltype(stop), const std::stop_token&>) return clock.wait(until, stop);
        else return clock.wait(until, {});
    }
    static void add_pool(failure& why, const auto& db) noexcept {
        try {
            if (!why.seen) return;
            auto more = std::make_shared<evidence>(*why.seen);
            more->pool = db.name();
            const pool_stats now = db.stats();
            more->max = static_cast<unsigned>(now.max);
            more->used = static_cast<unsigned>(now.used);
            more->idle = static_cast<unsigned>(now.idle);
            more->opening = static_cast<unsigned>(now.opening);
            more->resetting = static_cast<unsigned>(now.resetting);
            more->closing = static_cast<unsigned>(now.closing);
            more->waiting = static_cast<unsigned>(now.pending);
            why.seen = std::move(more);
        } catch (...) { // no memory: then without
        }
    }
    static void tell(const lock_options& o, const auto& key, std::error_code why, duration waited) noexcept {
        const lock_change what = !why ? lock_change::acquired : why == errc::lock_timeout ? lock_change::timed_out : lock_change::failed;
        try {
            o.sink.on_lock({what, key.type(), key.text(), waited, why});
        } catch (...) { // no memory for its name
            o.sink.on_lock({what, key.type(), {}, waited, why});
        }
    }
};

template <class P, class K>
consteval bool check_lock() {
    using driver_type = typename P::driver_type;
    static_assert(knows_lock<driver_type, K>, "cenote: this driver's database has no such lock: advisory_lock is PostgreSQL's, named_lock is MySQL's and MariaDB's, and SQLite has neither, see cenote/session/lock_key.hpp");
    static_assert(can_query<driver_type> || can_ask<driver_type>, "cenote: lock() needs a driver that can query, or ask; see cenote/session/statement.hpp and cenote/session/detail/lock_ask.hpp");
    return knows_lock<driver_type, K> && (can_query<driver_type> || can_ask<driver_type>);
}

} // namespace detail

/// Takes a lock in the database: `auto only_one = cenote::lock(db, cenote::advisory_lock{"nightly report"});`. It is held until the guard
/// ends, `release()`, or its session dies, whatever comes first; when the program dies the server notices at once, when its machine
/// does after the server's own keepalives.
///
/// Who waits holds no connection: each question takes one that is free and gives it back, so that those who wait do not starve those
/// who work. A question whose answer is lost closes its connection, as that session may hold the lock; it is asked again while there is time.
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
