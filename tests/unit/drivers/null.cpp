// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/null.hpp>

#include <catch2/catch_test_macros.hpp>

#include <type_traits>

using cenote::null;

static_assert(cenote::driver<null>);
static_assert(cenote::can_peek<null> && cenote::can_ping<null> && cenote::can_tell_state<null>);
static_assert(cenote::can_rollback<null> && cenote::can_reset<null> && cenote::can_defer_reset<null>);
static_assert(cenote::can_execute<null> && cenote::has_native_handle<null>);
static_assert(std::is_empty_v<null>, "it is stored for nothing");
static_assert(sizeof(null::connection) <= sizeof(void*));
static_assert(std::is_trivially_copyable_v<null::connection>);

TEST_CASE("the null driver opens, answers every question well, and fails at nothing") {
    null d;
    const auto never = cenote::deadline::never();
    auto c = d.open(never);
    CHECK(c.mark == 0);
    CHECK(d.peek(c) == cenote::liveness::quiet);
    CHECK(d.state(c) == cenote::session_state::idle);
    d.ping(c, never);
    d.rollback(c, never);
    d.reset(c, never);
    CHECK(d.reset_start(c));
    d.reset_finish(c, never);
    d.execute(c, "anything", never);
    d.close(c);
}

TEST_CASE("the mark of a null connection belongs to the holder") {
    null d;
    auto c = d.open(cenote::deadline::never());
    *d.native_handle(c) = 7;
    d.reset(c, cenote::deadline::never());
    CHECK(c.mark == 7);
}
