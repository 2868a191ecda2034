// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/null.hpp>

#include <catch2/catch_test_macros.hpp>

#include <type_traits>

using cenote::null;

static_assert(cenote::driver<null>);
static_assert(cenote::can_peek<null> && cenote::can_ping<null> && cenote::can_tell_state<null>);
static_assert(cenote::can_rollback<null> && cenote::can_reset<null> && cenote::can_defer_reset<null>);
static_assert(cenote::can_execute<null> && cenote::has_native_handle<null>);
static_assert(cenote::can_defer_rollback<null> && cenote::can_defer_script<null> && cenote::can_dial<null> && cenote::can_interrupt<null>);
static_assert(cenote::can_abandon<null> && cenote::can_tell_role<null>);
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
    CHECK(d.rollback_start(c));
    d.reset_finish(c, never);
    CHECK(d.execute_start(c, "anything"));
    d.reset_finish(c, never);
    d.execute(c, "anything", never);
    CHECK(d.role(c, never) == cenote::server_role::primary);
    auto token = d.interrupter(c);
    d.cancel(token, never);
    d.sever(token, never);
    d.ping(c, never);
    d.abandon(c);
    d.close(c);
}

TEST_CASE("the null driver dials in one step and waits for nothing") {
    auto dialling = null::dial(cenote::deadline::never());
    CHECK(dialling.descriptor() == -1);
    CHECK(dialling.want() == cenote::readiness::read);
    CHECK(dialling.until().expired());
    CHECK(dialling.step());
    CHECK(dialling.take().mark == 0);
}

TEST_CASE("the mark of a null connection belongs to the holder") {
    null d;
    auto c = d.open(cenote::deadline::never());
    *d.native_handle(c) = 7;
    d.reset(c, cenote::deadline::never());
    CHECK(c.mark == 7);
}
