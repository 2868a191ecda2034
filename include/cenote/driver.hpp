// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <concepts>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace cenote {

/// What kind of thing went wrong at the resource. Decides whether to try again, and what to throw away.
enum class error_class : unsigned char {
    other,         ///< anything without a class of its own; a retry is not expected to help
    disconnected,  ///< the session is gone
    refused,       ///< nobody listens there, or the name does not resolve
    not_ready,     ///< the server is starting up or recovering
    auth,          ///< credentials or permissions; never hammered
    server_full,   ///< the server has no session left to give
    wrong_role,    ///< a standby where a primary was wanted
    stale_plan,    ///< a prepared plan no longer fits the schema
    serialization, ///< transaction lost a race; run it again
    constraint,    ///< unique, foreign key, check, …
    timeout,       ///< a deadline passed
    cancelled,     ///< somebody asked for it to stop
};

/// The name as it appears in messages and metric labels.
[[nodiscard]] constexpr std::string_view to_string(error_class c) noexcept {
    switch (c) {
    case error_class::other: return "other";
    case error_class::disconnected: return "disconnected";
    case error_class::refused: return "refused";
    case error_class::not_ready: return "not_ready";
    case error_class::auth: return "auth";
    case error_class::server_full: return "server_full";
    case error_class::wrong_role: return "wrong_role";
    case error_class::stale_plan: return "stale_plan";
    case error_class::serialization: return "serialization";
    case error_class::constraint: return "constraint";
    case error_class::timeout: return "timeout";
    case error_class::cancelled: return "cancelled";
    }
    return "other";
}

/// What a statement met with, the same for every database: for a `switch` over `driver_error::met()`.
enum class condition : unsigned char {
    none, ///< nothing of the following
    unique_violation,
    foreign_key_violation,
    not_null_violation,
    check_violation,
    exclusion_violation,   ///< PostgreSQL only
    serialization_failure, ///< a race was lost; run the transaction again
    deadlock,              ///< … with another transaction, which went on; run it again
    lock_timeout,          ///< somebody else held a lock for too long
    statement_timeout,     ///< a deadline of the caller's or a limit of the server's passed
    cancelled,             ///< somebody asked for it to stop
    read_only,             ///< this server, or this transaction, takes no writes
    permission_denied,
    syntax_error,
    undefined_object, ///< no such table, column, function …
    duplicate_object, ///< CREATE of what is there
    data_error,       ///< a value that does not fit: out of range, too long, malformed, division by zero
    disconnected,     ///< the session is gone
};

/// The name as it appears in messages.
[[nodiscard]] constexpr std::string_view to_string(condition c) noexcept {
    switch (c) {
    case condition::none: return "none";
    case condition::unique_violation: return "unique_violation";
    case condition::foreign_key_violation: return "foreign_key_violation";
    case condition::not_null_violation: return "not_null_violation";
    case condition::check_violation: return "check_violation";
    case condition::exclusion_violation: return "exclusion_violation";
    case condition::serialization_failure: return "serialization_failure";
    case condition::deadlock: return "deadlock";
    case condition::lock_timeout: return "lock_timeout";
    case condition::statement_timeout: return "statement_timeout";
    case condition::cancelled: return "cancelled";
    case condition::read_only: return "read_only";
    case condition::permission_denied: return "permission_denied";
    case condition::syntax_error: return "syntax_error";
    case condition::undefined_object: return "undefined_object";
    case condition::duplicate_object: return "duplicate_object";
    case condition::data_error: return "data_error";
    case condition::disconnected: return "disconnected";
    }
    return "none";
}

/// Whether opening again later may succeed without anybody changing anything.
[[nodiscard]] constexpr bool is_retryable(error_class c) noexcept {
    return c == error_class::disconnected || c == error_class::refused || c == error_class::not_ready ||
           c == error_class::server_full || c == error_class::wrong_role || c == error_class::timeout;
}

/// What the shipped drivers throw; a driver of your own may throw it too, or anything else.
///
/// `what()` carries no secret: whoever throws it has scrubbed the text.
class driver_error : public std::runtime_error {
public:
    driver_error(error_class kind, const std::string& text, int native_code = 0, std::string sqlstate = {}, condition met = condition::none)
        : std::runtime_error{text}, sqlstate_{std::move(sqlstate)}, native_code_{native_code}, kind_{kind}, met_{met} {}

    [[nodiscard]] error_class kind() const noexcept { return kind_; }
    /// Finer than `kind`, where a statement failed. A session that is gone, a race that was lost and the like have both.
    [[nodiscard]] condition met() const noexcept { return met_; }
    [[nodiscard]] int native_code() const noexcept { return native_code_; }
    [[nodiscard]] const std::string& sqlstate() const noexcept { return sqlstate_; }

private:
    std::string sqlstate_;
    int native_code_;
    error_class kind_;
    condition met_;
};

/// What a look at an idle connection showed, without a round trip.
enum class liveness : unsigned char {
    quiet,      ///< nothing to see: as good as it was
    suspicious, ///< something is there to be read: ask with a ping
    dead,       ///< gone
};

/// What a connection is in the middle of, without a round trip.
enum class session_state : unsigned char {
    idle,               ///< nothing open: clean
    in_transaction,     ///< a transaction is open
    failed_transaction, ///< a transaction is open and can only be rolled back
    busy,               ///< a statement, result or copy is unfinished
    unknown,            ///< the driver cannot tell, or the connection is broken
};

/// What the other side is in a group of servers.
enum class server_role : unsigned char {
    primary, ///< takes writes
    standby, ///< refuses them: a replica, in recovery, or set to read only
    unknown, ///< the driver cannot tell
};

/// What a connection that is being opened waits for on its descriptor.
enum class readiness : unsigned char { read, write };

/// A driver: the resource a pool holds and how to open and close one.
///
/// Shape    `connection`                           a movable type; the pool stores it in place
///          `connection open(deadline)`            opens one by then, or throws
///          `void close(connection&) noexcept`     ends the session; the object is destroyed afterwards
/// Called   never under a lock. `open` and `close` may run on several threads at once, each on its own connection.
/// Errors   `open` may throw anything; the pool frees the permit and tells those who wait. See `driver_error`.
/// With     everything else is a refinement below. A driver that lacks one still works: the defaults choose what it can do, and
///          a policy that cannot do without it is refused with one sentence.
template <class D>
concept driver = std::movable<D> && requires(D& d, typename D::connection& c, deadline by) {
    requires std::movable<typename D::connection>;
    { d.open(by) } -> std::same_as<typename D::connection>;
    { d.close(c) } noexcept;
};

// Refinements. Each has the call, what it means and what the pool does without it. A member of such a name with another signature
// is refused rather than ignored.

/// `liveness peek(c) noexcept`: a look at the connection without a round trip. Without it: `pre_ping_after`, else nothing.
template <class D>
concept can_peek = driver<D> && requires(D& d, typename D::connection& c) {
    { d.peek(c) } noexcept -> std::same_as<liveness>;
};

/// `void ping(c, deadline)`: one round trip, throws when the connection is of no use or the deadline passes. Without it: `peek`, else nothing.
template <class D>
concept can_ping = driver<D> && requires(D& d, typename D::connection& c, deadline by) {
    { d.ping(c, by) } -> std::same_as<void>;
};

/// `session_state state(c) noexcept`: what is open on the session. Without it, dirt cannot be seen: the default is `no_reset`.
template <class D>
concept can_tell_state = driver<D> && requires(D& d, typename D::connection& c) {
    { d.state(c) } noexcept -> std::same_as<session_state>;
};

/// `void rollback(c, deadline)`: ends statements and transaction, keeps settings; throws when it cannot. Without it: `reset`; without either a dirty connection is closed.
template <class D>
concept can_rollback = driver<D> && requires(D& d, typename D::connection& c, deadline by) {
    { d.rollback(c, by) } -> std::same_as<void>;
};

/// `void reset(c, deadline)`: makes the session as good as new; throws when it cannot. Without it `reset_always` is refused unless deferred.
template <class D>
concept can_reset = driver<D> && requires(D& d, typename D::connection& c, deadline by) {
    { d.reset(c, by) } -> std::same_as<void>;
};

/// `bool reset_start(c) noexcept` sends the reset without waiting; `void reset_finish(c, deadline)` reads the answer and throws when
/// it is bad. False: that cannot be done without waiting, and housekeeping does it with `reset` instead; if anything was sent, the
/// connection is marked so that it fails there. Without them `deferred` is refused and `background` is the default.
template <class D>
concept can_defer_reset = driver<D> && requires(D& d, typename D::connection& c, deadline by) {
    { d.reset_start(c) } noexcept -> std::same_as<bool>;
    { d.reset_finish(c, by) } -> std::same_as<void>;
};

/// `bool rollback_start(c) noexcept` sends a rollback as `reset_start` sends a reset; `reset_finish` reads its answer. Without it
/// `deferred{reset_if_dirty}` sends the full reset.
template <class D>
concept can_defer_rollback = can_defer_reset<D> && requires(D& d, typename D::connection& c) {
    { d.rollback_start(c) } noexcept -> std::same_as<bool>;
};

/// `bool execute_start(c, sql) noexcept` sends a rollback if one is needed and this SQL; `reset_finish` reads the answers. Without it
/// `deferred{reset_with}` is refused.
template <class D>
concept can_defer_script = can_defer_reset<D> && requires(D& d, typename D::connection& c, std::string_view sql) {
    { d.execute_start(c, sql) } noexcept -> std::same_as<bool>;
};

/// `void execute(c, sql, deadline)`: runs statements whose results do not matter; throws. Without it `reset_with` is refused unless deferred.
template <class D>
concept can_execute = driver<D> && requires(D& d, typename D::connection& c, std::string_view sql, deadline by) {
    { d.execute(c, sql, by) } -> std::same_as<void>;
};

/// `auto native_handle(c)`: what the client library's own functions take. Without it a lease has no `native_handle()`.
template <class D>
concept has_native_handle = driver<D> && requires(D& d, typename D::connection& c) { d.native_handle(c); };

/// `error_class classify(const std::exception&) noexcept`. Without it a `driver_error` tells its own class and all else is `other`.
template <class D>
concept can_classify = driver<D> && requires(D& d, const std::exception& e) {
    { d.classify(e) } noexcept -> std::same_as<error_class>;
};

/// `auto dial(deadline)`: `open` in steps, so that one thread can open many at once. Throws like `open`. What it returns is movable and has
///   `int descriptor() const noexcept`       what to wait for; it may be another one after each step
///   `readiness want() const noexcept`       whether it waits to read or to write
///   `deadline until() const noexcept`       when to step even if nothing happened; never later than the deadline given
///   `bool step()`                           goes on without waiting; true: `take` may be called; throws when it failed or time is up
///   `connection take()`                     what was opened, once
/// Destroying it gives up. Without it connections are opened one after the other on each thread.
template <class D>
concept can_dial = driver<D> && requires(D& d, deadline by) {
    requires std::movable<decltype(d.dial(by))>;
    requires requires(decltype(d.dial(by))& s, const decltype(d.dial(by))& looked_at) {
        { looked_at.descriptor() } noexcept -> std::same_as<int>;
        { looked_at.want() } noexcept -> std::same_as<readiness>;
        { looked_at.until() } noexcept -> std::same_as<deadline>;
        { s.step() } -> std::same_as<bool>;
        { s.take() } -> std::same_as<typename D::connection>;
    };
};

/// `auto interrupter(c)`: a token through which another thread can interfere while the connection is in use. It owns what it needs,
/// is movable, stays valid when the connection is closed (then it does nothing, or fails), and is used by one thread at a time.
///   `void cancel(token&, deadline)`         asks the server to stop the statement that runs; throws when it could not ask
///   `void sever(token&, deadline) noexcept` ends the session: a call of its user fails soon, and the server drops it. The deadline is for
///                                           the server's part; this end is cut at once. May be called again, for the server's sake
/// Without it a connection in use can only be reported, not ended.
template <class D>
concept can_interrupt = driver<D> && requires(D& d, typename D::connection& c, deadline by) {
    requires std::movable<decltype(d.interrupter(c))>;
    requires requires(decltype(d.interrupter(c))& token) {
        { d.cancel(token, by) } -> std::same_as<void>;
        { d.sever(token, by) } noexcept -> std::same_as<void>;
    };
};

/// `void abandon(c) noexcept`: lets go of a connection in a forked child without a byte to the server, whose session stays the parent's.
/// The connection can only be moved and destroyed afterwards, or abandoned again. It may be one that another thread of the parent was using
/// at the moment of the fork: the client library's objects may be half changed and its locks held by nobody, so close its descriptor, and
/// leave its memory to the process. Without it `fork_aware` is refused, and `pool::abandon()` is not there.
template <class D>
concept can_abandon = driver<D> && requires(D& d, typename D::connection& c) {
    { d.abandon(c) } noexcept -> std::same_as<void>;
};

/// `server_role role(c, deadline)`: whether this server takes writes; throws when it cannot be asked.
template <class D>
concept can_tell_role = driver<D> && requires(D& d, typename D::connection& c, deadline by) {
    { d.role(c, by) } -> std::same_as<server_role>;
};

/// The class of an error that came out of `d`.
template <driver D>
[[nodiscard]] error_class classify(D& d, const std::exception& e) noexcept {
    if constexpr (can_classify<D>) {
        return d.classify(e);
    } else {
        if (const auto* own = dynamic_cast<const driver_error*>(&e)) return own->kind();
        return error_class::other;
    }
}

} // namespace cenote
