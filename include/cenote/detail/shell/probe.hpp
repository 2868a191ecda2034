// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/shell/doubt.hpp>
#include <cenote/driver.hpp>

#include <string>

/// Asking connections how they are. Driver calls, outside locks.
namespace cenote::detail::shell {

/// Throws class `wrong_role` if the pool wants another sort of server.
template <class Core>
void ask_role([[maybe_unused]] Core& c, [[maybe_unused]] typename Core::connection_type& conn, [[maybe_unused]] deadline by) {
    using role = typename Core::cfg::role;
    if constexpr (role::checks) {
        const server_role is = c.driver().role(conn, by);
        const server_role wanted = c.template get<role>().wanted();
        if (is == wanted || is == server_role::unknown) return;
        const std::string standby{"the server is a standby, and the pool asks for a primary"};
        const std::string primary{"the server is a primary, and the pool asks for a standby"};
        throw driver_error{error_class::wrong_role, wanted == server_role::primary ? standby : primary};
    }
}

/// A ping, and the role with it. Throws.
template <class Core>
void ping(Core& c, typename Core::connection_type& conn, deadline by) {
    c.driver().ping(conn, by);
    ask_role(c, conn, by);
}

/// Why a connection ends whose test has thrown what is in flight.
template <class Core>
[[nodiscard]] close_reason verdict_in_flight(Core& c) noexcept {
    try {
        throw;
    } catch (const std::exception& e) {
        return classify(c.driver(), e) == error_class::wrong_role ? close_reason::wrong_role : close_reason::validation;
    } catch (...) {
        return close_reason::validation;
    }
}

} // namespace cenote::detail::shell
