// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/policy/family.hpp>

#include <string_view>

namespace cenote {

/// Family `role`: whether it matters what the server at the other end is.
///
/// Any server will do.
///
/// Default  yes. Cost: nothing.
struct any_role {
    using family = family::role;
    static constexpr bool checks = false;
};

/// Only connections to a server of this role are handed out: after a fail-over no demoted node serves a writer.
///
/// A new connection is asked first and closed if the answer is the other role (`close_reason::wrong_role`; the acquire's last
/// connect error has class `wrong_role`, which is tried again with backoff). One that is pinged is asked after its ping.
/// Default  of `role`: primary.
/// Range    primary or standby.
/// Cost     a question per connection opened and per ping: no round trip on PostgreSQL 14 or later, which tells by itself; one on MySQL.
/// With     peeks ask nothing: a server that is demoted in place, as MySQL's can be, is noticed at the next ping, or from the error of a
///          statement that says so: `lease::discard(error_class::wrong_role)`, which `pool::with` does by itself.
///          Needs a driver with `role`. A driver that answers `unknown` is believed.
/// Source   libpq's target_session_attrs, pgjdbc's targetServerType.
struct require_role {
    using family = family::role;
    static constexpr bool checks = true;
    server_role role = server_role::primary;
    [[nodiscard]] constexpr server_role wanted() const noexcept { return role; }
    void check() const {
        if (role == server_role::unknown) detail::bad_value("require_role.role", std::string_view{"unknown"}, "must be primary or standby");
    }
};

} // namespace cenote
