// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/config.hpp>
#include <cenote/detail/core.hpp>

#include <stop_token>
#include <utility>

// What a pool is when its policies were refused: enough of everything, so that the judge's one sentence is the one error.
namespace cenote::detail {

/// Passes for whatever is asked of it.
struct anything {
    template <class T>
    operator T&() const noexcept;
};
template <class D>
struct connection_or_anything { using type = anything; };
template <class D>
    requires requires { typename D::connection; }
struct connection_or_anything<D> { using type = typename D::connection; };
template <class D, class Conn>
struct handle_or_anything { using type = anything; };
template <class D, class Conn>
    requires requires(D& d, Conn& c) { d.native_handle(c); }
struct handle_or_anything<D, Conn> { using type = decltype(std::declval<D&>().native_handle(std::declval<Conn&>())); };

/// Stands in for the core of a pool whose policies were refused, so that the one sentence is the one error.
template <class Driver>
struct refused_core {
    using connection_type = typename connection_or_anything<Driver>::type;
    using driver_type = Driver;
    using stop_token = std::stop_token;
    struct cfg {
        static constexpr bool embedded = false;
        static constexpr bool calm = false;
        static constexpr bool live = true;
        static constexpr bool fork_aware = true;
        static constexpr bool can_be_abandoned = true;
        static constexpr bool records_holder = true;
    };
    struct slot_type;
    struct settings_type {
        template <class Policy>
        Policy& get() const noexcept;
    };

    template <class Policy>
    Policy& get() const noexcept;
    settings_type settings() const;
    std::string_view name() const noexcept;
    Driver& driver() const noexcept;
};

template <bool Sound, class Driver, class... P>
struct pick_core { using type = refused_core<Driver>; };
template <class Driver, class... P>
struct pick_core<true, Driver, P...> { using type = core<Driver, typename resolve<Driver, P...>::type>; };

/// The face of a refused pool: everything can be written, nothing can be done.
template <class Core>
struct refused_lease {
    using connection_type = typename Core::connection_type;
    explicit operator bool() const noexcept;
    connection_type& operator*() const noexcept;
    connection_type* operator->() const noexcept;
    typename handle_or_anything<typename Core::driver_type, connection_type>::type native_handle() const;
    void give_back() noexcept;
    void discard() noexcept;
    void discard(error_class) noexcept;
    void abandon() noexcept;
    [[nodiscard]] bool forked() const noexcept;
    connection_type detach();
    void tag(const char*) const noexcept;
};

} // namespace cenote::detail
