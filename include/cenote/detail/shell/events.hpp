// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/policy/hooks.hpp>
#include <cenote/policy/metrics.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

/// Telling hooks and sinks. Always outside locks.
namespace cenote::detail::shell {

/// Calls `call(sink)` for every sink that takes it. What it throws is swallowed and counted.
template <class Core, class Call>
void tell(Core& c, Call&& call) noexcept {
    [&]<class... S>(list<S...>) {
        ([&] {
            auto&& sink = c.template get<S>();
            if constexpr (std::invocable<Call&, S&>) {
                try {
                    call(sink);
                } catch (...) {
                    c.swallow();
                }
            }
        }(), ...);
    }(typename Core::cfg::sinks{});
}

template <class Core>
void tell_acquired(Core& c, const acquired_event& e) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_acquired(e); } { s.on_acquired(e); });
    tell(c, [&](auto& s) requires(requires { s.on_acquired(); }) { s.on_acquired(); });
}
template <class Core>
void tell_waited(Core& c, duration d) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_waited(d); } { s.on_waited(d); });
}
template <class Core>
void tell_refused(Core& c, const refused_event& e) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_refused(e); } { s.on_refused(e); });
}
template <class Core>
void tell_returned(Core& c, const returned_event& e) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_returned(e); } { s.on_returned(e); });
    tell(c, [&](auto& s) requires requires { s.on_returned(); } { s.on_returned(); });
}
template <class Core>
void tell_opened(Core& c, const opened_event& e) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_opened(e); } { s.on_opened(e); });
}
template <class Core>
void tell_open_failed(Core& c, const open_failed_event& e) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_open_failed(e); } { s.on_open_failed(e); });
}
template <class Core>
void tell_closed(Core& c, const closed_event& e) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_closed(e); } { s.on_closed(e); });
}
template <class Core>
void tell_detached(Core& c) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_detached(); } { s.on_detached(); });
}
template <class Core>
void tell_dirty(Core& c) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_dirty(); } { s.on_dirty(); });
}
template <class Core>
void tell_validation_failed(Core& c) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_validation_failed(); } { s.on_validation_failed(); });
}
template <class Core>
void tell_reset_failed(Core& c) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_reset_failed(); } { s.on_reset_failed(); });
}
template <class Core>
void tell_refreshed(Core& c, const refreshed_event& e) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_refreshed(e); } { s.on_refreshed(e); });
}
template <class Core>
void tell_nested(Core& c) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_nested(); } { s.on_nested(); });
}

template <template <class> class Hook, class H>
inline constexpr bool is_hook = false;
template <template <class> class Hook, class F>
inline constexpr bool is_hook<Hook, Hook<F>> = true;

template <template <class> class Hook, class L>
struct any_hook;
template <template <class> class Hook, class... H>
struct any_hook<Hook, list<H...>> { static constexpr bool value = (is_hook<Hook, H> || ...); };
/// Whether the pool has a hook of this sort.
template <template <class> class Hook, class Core>
inline constexpr bool has_hook = any_hook<Hook, typename Core::cfg::hooks>::value;

/// Calls the pool's hooks of one sort, in the order they were written in; lets through what they throw.
template <template <class> class Hook, class Core, class... A>
void run_hooks(Core& c, A&&... args) {
    [&]<class... H>(list<H...>) {
        ([&] {
            if constexpr (is_hook<Hook, H>) {
                auto&& hook = c.template get<H>();
                hook.f(args...);
            }
        }(), ...);
    }(typename Core::cfg::hooks{});
}

template <class Core>
void run_on_close(Core& c, typename Core::connection_type& conn, close_reason why) noexcept {
    [&]<class... H>(list<H...>) {
        ([&] {
            if constexpr (is_hook<on_close, H>) {
                auto&& hook = c.template get<H>();
                try {
                    if constexpr (std::invocable<decltype(hook.f)&, typename Core::connection_type&, close_reason>) hook.f(conn, why);
                    else hook.f(conn);
                } catch (...) {
                    c.swallow();
                }
            }
        }(), ...);
    }(typename Core::cfg::hooks{});
}

/// A lease was cut.
template <class Core>
void tell_severed(Core& c, const lease_info& info) noexcept {
    tell(c, [&](auto& s) requires requires { s.on_severed(info); } { s.on_severed(info); });
}

/// A lease is out too long, or one that was is back.
template <class Core>
void tell_leak(Core& c, const lease_info& info) noexcept {
    try {
        run_hooks<on_leak>(c, info);
    } catch (...) {
        c.swallow();
    }
    if (info.returned) {
        tell(c, [&](auto& s) requires requires { s.on_leak_returned(info); } { s.on_leak_returned(info); });
    } else {
        tell(c, [&](auto& s) requires requires { s.on_leak(info); } { s.on_leak(info); });
    }
}

} // namespace cenote::detail::shell
