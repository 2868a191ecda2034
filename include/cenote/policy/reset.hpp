// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>
#include <concepts>
#include <string>
#include <string_view>

namespace cenote {

/// What a returned connection needs before somebody else may have it.
enum class cleanup : unsigned char {
    none,     ///< nothing: it is clean
    rollback, ///< driver.rollback, or driver.reset where there is none: ends statements and transaction
    reset,    ///< driver.reset: as good as new
    script,   ///< rollback if dirty, then driver.execute of the policy's SQL
    close,    ///< throw it away
};

/// Family `reset`: what is done to a returned connection (*what*), and when (*when*).
///
/// Shape    what: `cleanup choose(session_state) const noexcept`, `static constexpr bool reads_state, resets, executes`:
///          what the driver must be able to do. When: `deferred{what}`, `background{what}`, `at_return{what}`.
/// Called   choose at give back, outside locks, noexcept.
/// Default  `deferred{reset_if_dirty{}}` where the driver can start a reset without waiting, else `background{reset_if_dirty{}}`;
///          `no_reset` for a driver that cannot tell its state. One that can tell but not clean up loses its dirty connections.
/// With     whatever the policy but `no_reset`, a transaction left open never reaches the next user and is never committed.
///          A clean-up that fails or does not end in time closes the connection.
template <class R>
concept reset_what = policy<R> && std::same_as<typename R::family, family::reset> && requires(const R& r, session_state s) {
    { r.choose(s) } noexcept -> std::same_as<cleanup>;
    { R::reads_state } -> std::convertible_to<bool>;
    { R::resets } -> std::convertible_to<bool>;
    { R::executes } -> std::convertible_to<bool>;
};

/// The next user gets the connection as the last one left it.
///
/// Cost     nothing. An open transaction, settings and locks leak.
struct no_reset {
    using family = family::reset;
    static constexpr bool reads_state = false, resets = false, executes = false;
    [[nodiscard]] static constexpr cleanup choose(session_state) noexcept { return cleanup::none; }
};

/// Rolls back a connection that comes back with a transaction or a statement open.
///
/// Cost     a look at the client's own state, no round trip, when the connection is clean.
/// With     settings, temporary tables and session locks stay: `reset_always` clears those too.
struct reset_if_dirty {
    using family = family::reset;
    static constexpr bool reads_state = true, resets = false, executes = false;
    [[nodiscard]] static constexpr cleanup choose(session_state s) noexcept {
        switch (s) {
        case session_state::idle: return cleanup::none;
        case session_state::in_transaction:
        case session_state::failed_transaction:
        case session_state::busy: return cleanup::rollback;
        case session_state::unknown: return cleanup::close;
        }
        return cleanup::close;
    }
};

/// Makes every returned session as good as new.
///
/// Cost     the driver's full reset for every lease: a round trip with most servers.
struct reset_always {
    using family = family::reset;
    static constexpr bool reads_state = true, resets = true, executes = false;
    [[nodiscard]] static constexpr cleanup choose(session_state s) noexcept {
        return s == session_state::unknown ? cleanup::close : cleanup::reset;
    }
};

/// Rolls back if need be, then runs this SQL on every returned connection.
///
/// Range    the text must not be empty.
struct reset_with {
    using family = family::reset;
    static constexpr bool reads_state = true, resets = false, executes = true;
    std::string sql;
    [[nodiscard]] static constexpr cleanup choose(session_state s) noexcept {
        return s == session_state::unknown ? cleanup::close : cleanup::script;
    }
    void check() const {
        if (sql.empty()) throw std::invalid_argument("cenote: reset_with.sql = '': must not be empty; for nothing to be done write no_reset");
    }
};

namespace detail {
/// Passes a *when* wrapper's questions on to its *what*.
template <class What>
struct reset_wrapper {
    using family = cenote::family::reset;
    using what_type = What;
    static constexpr bool reads_state = What::reads_state, resets = What::resets, executes = What::executes;
};
inline void check_what(const auto& what) {
    if constexpr (requires { what.check(); }) what.check();
}
} // namespace detail

/// The clean-up is sent at give back without waiting; its answer is read at the next checkout, where it is the test too.
///
/// Default  timeout 5 s: how long a checkout waits for the answer, at most a quarter of the acquire's budget.
/// Cost     a write per clean-up at give back; usually nothing at checkout, as the answer is there. A clean-up that cannot be sent
///          without waiting costs what it costs under `background`.
/// With     `reset_if_dirty` sends a rollback (the full reset where the driver has no rollback_start), `reset_always` the full reset,
///          `reset_with` a rollback if one is needed and its SQL (refused where the driver has no execute_start). What cannot be sent
///          without waiting (a result is unread, the buffer is full) is left to housekeeping as under `background`, with this timeout
///          and the driver's own rollback, reset and execute; where these are missing the connection is closed.
template <class What = reset_if_dirty>
struct deferred : detail::reset_wrapper<What> {
    [[no_unique_address]] What what{};
    duration timeout = std::chrono::seconds{5};

    constexpr deferred() = default;
    constexpr deferred(What w, duration t = std::chrono::seconds{5}) : what{std::move(w)}, timeout{t} {}
    void check() const {
        detail::require_positive("deferred.timeout", timeout, "no_reset");
        detail::check_what(what);
    }
};

/// Housekeeping cleans up: the background thread at once, `manual` at the next `maintain()` or when an acquire finds nothing idle.
///
/// Default  timeout 5 s per clean-up.
/// Cost     a hand-over to housekeeping per clean-up; until it is done the connection is not available and keeps its locks.
template <class What = reset_if_dirty>
struct background : detail::reset_wrapper<What> {
    [[no_unique_address]] What what{};
    duration timeout = std::chrono::seconds{5};

    constexpr background() = default;
    constexpr background(What w, duration t = std::chrono::seconds{5}) : what{std::move(w)}, timeout{t} {}
    void check() const {
        detail::require_positive("background.timeout", timeout, "no_reset");
        detail::check_what(what);
    }
};

/// Give back itself cleans up, and may therefore take up to `timeout`.
///
/// Default  timeout 1 s; when it passes the connection is closed.
/// With     the only policy that lets `~lease` wait.
template <class What = reset_if_dirty>
struct at_return : detail::reset_wrapper<What> {
    [[no_unique_address]] What what{};
    duration timeout = std::chrono::seconds{1};

    constexpr at_return() = default;
    constexpr at_return(What w, duration t = std::chrono::seconds{1}) : what{std::move(w)}, timeout{t} {}
    void check() const {
        detail::require_positive("at_return.timeout", timeout, "no_reset");
        detail::check_what(what);
    }
};

} // namespace cenote
