// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/role.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <stdexcept>
#include <type_traits>

using Catch::Matchers::Message;
using cenote::require_role;
using cenote::server_role;

namespace {
static_assert(require_role{}.wanted() == server_role::primary, "the documented default");
static_assert(require_role{server_role::standby}.wanted() == server_role::standby);
static_assert(require_role::checks && !cenote::any_role::checks && std::is_empty_v<cenote::any_role>);
} // namespace

TEST_CASE("a pool can want primaries or standbys, and nothing else") {
    CHECK_NOTHROW(require_role{}.check());
    CHECK_NOTHROW(require_role{server_role::standby}.check());
    CHECK_THROWS_MATCHES(require_role{server_role::unknown}.check(), std::invalid_argument,
                         Message("cenote: require_role.role = unknown: must be primary or standby"));
}
