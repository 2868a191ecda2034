// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/policy/family.hpp>

/// Family `hooks`: the user's functions, called in the order they were given, inlined, outside locks, on the thread the event
/// happens on, perhaps several at once. A hook may use any public call of the pool but must not wait for its own connection.
namespace cenote {

/// `f(connection&)` after a connection was opened and before its first lease: SET …, prepare, register types.
///
/// Errors   an exception closes the connection; the acquire fails with it, or with errc::hook_failed in a noexcept form.
/// With     under `background_thread` it runs there, and those who wait get errc::connect_failed with its text.
/// With     a full reset (`reset_always`, and `deferred` where the driver cannot start a mere rollback) takes back what a hook has SET
///          on the session: such set-up belongs into the driver's own init SQL, which its reset runs again.
template <class F>
struct on_connect {
    using family = family::hooks;
    [[no_unique_address]] F f;
};

/// `f(connection&)` before each lease is handed out.
///
/// Errors   an exception gives the connection back and is rethrown to the acquirer (noexcept form: errc::hook_failed).
template <class F>
struct on_acquire {
    using family = family::hooks;
    [[no_unique_address]] F f;
};

/// `f(connection&)` when a lease ends by being given back, before any reset; not at discard() and detach().
///
/// Errors   an exception is swallowed and counted, and the connection is closed: nobody knows how it was left.
template <class F>
struct on_give_back {
    using family = family::hooks;
    [[no_unique_address]] F f;
};

/// `f(connection&)` or `f(connection&, close_reason)` just before a connection is closed.
///
/// Errors   an exception is swallowed and counted.
template <class F>
struct on_close {
    using family = family::hooks;
    [[no_unique_address]] F f;
};

/// `f(const lease_info&)` once for a lease that is out longer than the leak policy allows, and again, `returned`, when it comes back
/// (not if that is the very moment of the first).
///
/// Errors   an exception is swallowed and counted.
template <class F>
struct on_leak {
    using family = family::hooks;
    [[no_unique_address]] F f;
};

/// No hooks: displaces those of a profile.
struct no_hooks {
    using family = family::hooks;
    using kind = kind::all;
};

template <class F> on_connect(F) -> on_connect<F>;
template <class F> on_acquire(F) -> on_acquire<F>;
template <class F> on_give_back(F) -> on_give_back<F>;
template <class F> on_close(F) -> on_close<F>;
template <class F> on_leak(F) -> on_leak<F>;

} // namespace cenote
