// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>

#include <string_view>

namespace cenote {

/// A driver without a resource: nothing is opened, nothing can break. For measuring the pool instead of a server, and for tests.
///
/// Cost     none: the driver is empty, a connection is one `int`, every call is empty and never fails.
/// With     it has every refinement but `classify`, as it throws nothing, so every policy can be tried on it; the session is always
///          `idle` and always `quiet`, and a connection that was severed works on.
struct null {
    /// What is leased. `mark` belongs to whoever holds the lease; the driver neither reads nor clears it.
    struct connection {
        int mark = 0;
    };

    [[nodiscard]] static constexpr connection open(deadline) noexcept { return {}; }
    static constexpr void close(connection&) noexcept {}

    [[nodiscard]] static constexpr liveness peek(connection&) noexcept { return liveness::quiet; }
    static constexpr void ping(connection&, deadline) noexcept {}
    [[nodiscard]] static constexpr session_state state(connection&) noexcept { return session_state::idle; }
    static constexpr void rollback(connection&, deadline) noexcept {}
    static constexpr void reset(connection&, deadline) noexcept {}
    [[nodiscard]] static constexpr bool reset_start(connection&) noexcept { return true; }
    [[nodiscard]] static constexpr bool rollback_start(connection&) noexcept { return true; }
    [[nodiscard]] static constexpr bool execute_start(connection&, std::string_view) noexcept { return true; }
    static constexpr void reset_finish(connection&, deadline) noexcept {}
    static constexpr void execute(connection&, std::string_view, deadline) noexcept {}
    [[nodiscard]] static constexpr int* native_handle(connection& c) noexcept { return &c.mark; }

    /// Done with its first step, and waits for nothing.
    struct dialling {
        [[nodiscard]] static constexpr int descriptor() noexcept { return -1; }
        [[nodiscard]] static constexpr readiness want() noexcept { return readiness::read; }
        [[nodiscard]] static constexpr deadline until() noexcept { return time_point::min(); }
        [[nodiscard]] static constexpr bool step() noexcept { return true; }
        [[nodiscard]] static constexpr connection take() noexcept { return {}; }
    };
    [[nodiscard]] static constexpr dialling dial(deadline) noexcept { return {}; }

    /// Nothing runs that could be stopped, and there is no session that could be ended.
    struct token {};
    [[nodiscard]] static constexpr token interrupter(connection&) noexcept { return {}; }
    static constexpr void cancel(token&, deadline) noexcept {}
    static constexpr void sever(token&, deadline) noexcept {}

    static constexpr void abandon(connection&) noexcept {}
    [[nodiscard]] static constexpr server_role role(connection&, deadline) noexcept { return server_role::primary; }
};

} // namespace cenote
