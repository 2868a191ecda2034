// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/testing/scripted.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::deadline;
using cenote::driver_error;
using cenote::error_class;
using cenote::liveness;
using cenote::session_state;
using Catch::Matchers::ContainsSubstring;

namespace {
const deadline never = deadline::never();

/// The class of what `f` throws.
template <class F>
error_class class_of(F f) {
    try {
        f();
    } catch (const driver_error& e) {
        return e.kind();
    }
    FAIL("nothing was thrown");
    return error_class::other;
}

std::string only(const std::vector<std::string>& lines) {
    REQUIRE(lines.size() == 1);
    return lines.front();
}
} // namespace

static_assert(cenote::driver<scripted> && cenote::can_peek<scripted> && cenote::can_ping<scripted> && cenote::can_tell_state<scripted>);
static_assert(cenote::can_rollback<scripted> && cenote::can_reset<scripted> && cenote::can_defer_reset<scripted>);
static_assert(cenote::can_execute<scripted> && cenote::has_native_handle<scripted>);
static_assert(cenote::can_defer_rollback<scripted> && cenote::can_defer_script<scripted>);
static_assert(cenote::can_tell_role<scripted> && cenote::can_interrupt<scripted>);

template <refinement R>
constexpr unsigned shown = (cenote::can_peek<basic_scripted<R>> ? 1u : 0u) | (cenote::can_ping<basic_scripted<R>> ? 2u : 0u) |
                           (cenote::can_tell_state<basic_scripted<R>> ? 4u : 0u) | (cenote::can_rollback<basic_scripted<R>> ? 8u : 0u) |
                           (cenote::can_reset<basic_scripted<R>> ? 16u : 0u) | (cenote::can_defer_reset<basic_scripted<R>> ? 32u : 0u) |
                           (cenote::can_execute<basic_scripted<R>> ? 64u : 0u) | (cenote::has_native_handle<basic_scripted<R>> ? 128u : 0u) |
                           (cenote::can_defer_rollback<basic_scripted<R>> ? 256u : 0u) | (cenote::can_defer_script<basic_scripted<R>> ? 512u : 0u) |
                           (cenote::can_tell_role<basic_scripted<R>> ? 1024u : 0u) | (cenote::can_interrupt<basic_scripted<R>> ? 2048u : 0u);
static_assert(cenote::driver<basic_scripted<refinement::none>> && shown<refinement::none> == 0);
static_assert(shown<refinement::all> == 4095);
static_assert(shown<refinement::all - refinement::peek> == 4094);
static_assert(shown<refinement::ping | refinement::deferred_reset> == 34);
static_assert(shown<refinement::state> == 4 && shown<refinement::rollback> == 8 && shown<refinement::reset> == 16);
static_assert(shown<refinement::deferred_reset | refinement::deferred_rollback> == 32 + 256);
static_assert(shown<refinement::deferred_reset | refinement::deferred_execute> == 32 + 512);
static_assert(shown<refinement::all - refinement::deferred_reset> == 4095 - 32 - 256 - 512, "without it there is nothing to start");
static_assert(shown<refinement::execute> == 64 && shown<refinement::native_handle> == 128);
static_assert(shown<refinement::role> == 1024 && shown<refinement::interrupt> == 2048);

TEST_CASE("a scripted driver that nobody scripted opens, works and closes") {
    script s;
    scripted d{s};
    auto a = d.open(never);
    auto b = d.open(never);
    CHECK(a.id() == 1);
    CHECK(b.id() == 2);
    CHECK(d.native_handle(b) == 2);
    CHECK(d.peek(a) == liveness::quiet);
    CHECK(d.state(a) == session_state::idle);
    d.ping(a, never);
    d.rollback(a, never);
    d.reset(a, never);
    d.execute(a, "select 1", never);
    CHECK(s.executed() == std::vector<std::string>{"select 1"});
    a.use();
    CHECK(s.open_now() == 2);
    d.close(a);
    d.close(b);
    CHECK(s.opened() == 2);
    CHECK(s.closed() == 2);
    CHECK(s.open_now() == 0);
    CHECK(s.most_open() == 2);
    CHECK(s.calls(site::open) == 2);
    CHECK(s.calls(site::ping) == 1);
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("the script outlives its driver and its connections") {
    script s;
    {
        scripted d;
        s = d.script();
        auto c = d.open(never);
        d.close(c);
    }
    CHECK(s.opened() == 1);
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("queued outcomes come first and in order, then the standing one, then the driver's own") {
    script s;
    scripted d{s};
    s.next(site::open, outcome::fail(error_class::refused, "connection refused", 111, "08001"), 2).next(site::open, outcome::ok());
    s.always(site::open, outcome::fail(error_class::auth));
    for (int i = 0; i < 2; ++i) {
        try {
            auto c = d.open(never);
            FAIL("opened");
        } catch (const driver_error& e) {
            CHECK(e.kind() == error_class::refused);
            CHECK(e.what() == std::string{"connection refused"});
            CHECK(e.native_code() == 111);
            CHECK(e.sqlstate() == "08001");
        }
    }
    auto c = d.open(never);
    CHECK(class_of([&] { (void)d.open(never); }) == error_class::auth);
    s.clear(site::open);
    auto e = d.open(never);
    CHECK(s.opened() == 2);
    CHECK(s.calls(site::open) == 5);
    CHECK(s.open_now() == 2);
    d.close(c);
    d.close(e);
}

TEST_CASE("every site that may throw can throw a driver error, another exception, or no exception at all") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    const auto throws = [&](site where, auto f) {
        s.next(where, outcome::fail(error_class::timeout)).next(where, outcome::throw_std("odd")).next(where, outcome::throw_int(42));
        CHECK(class_of(f) == error_class::timeout);
        CHECK_THROWS_AS(f(), std::runtime_error);
        CHECK_THROWS_AS(f(), int);
    };
    throws(site::open, [&] { (void)d.open(never); });
    throws(site::ping, [&] { d.ping(c, never); });
    throws(site::rollback, [&] { d.rollback(c, never); });
    throws(site::reset, [&] { d.reset(c, never); });
    throws(site::execute, [&] { d.execute(c, "x", never); });
    throws(site::role, [&] { (void)d.role(c, never); });
    throws(site::interrupter, [&] { (void)d.interrupter(c); });
    auto token = d.interrupter(c);
    throws(site::cancel, [&] { d.cancel(token, never); });
    REQUIRE(d.reset_start(c));
    throws(site::reset_finish, [&] { d.reset_finish(c, never); });
    d.close(c);
    CHECK(s.opened() == 1);
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("an outcome that the call cannot have is refused when it is scripted") {
    script s;
    for (const site where : {site::close, site::peek, site::state, site::reset_start, site::rollback_start, site::execute_start, site::sever}) {
        CHECK_THROWS_AS(s.next(where, outcome::throw_int()), std::invalid_argument);
        CHECK_THROWS_AS(s.always(where, outcome::fail(error_class::other)), std::invalid_argument);
    }
    CHECK_THROWS_WITH(s.next(site::ping, outcome::see(liveness::dead)),
                      ContainsSubstring("script.ping = an outcome of another call: must be one that ping can have"));
    CHECK_THROWS_AS(s.next(site::peek, outcome::see(session_state::idle)), std::invalid_argument);
    CHECK_THROWS_AS(s.next(site::state, outcome::see(cenote::server_role::standby)), std::invalid_argument);
    CHECK_THROWS_AS(s.next(site::role, outcome::see(liveness::quiet)), std::invalid_argument);
    CHECK_THROWS_AS(s.next(site::reset, outcome::would_block()), std::invalid_argument);
}

TEST_CASE("answers of peek, state and the starts can be scripted") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    s.next(site::peek, outcome::see(liveness::suspicious)).next(site::state, outcome::see(session_state::unknown));
    for (const site where : {site::reset_start, site::rollback_start, site::execute_start}) s.next(where, outcome::would_block());
    CHECK(d.peek(c) == liveness::suspicious);
    CHECK(d.peek(c) == liveness::quiet);
    CHECK(d.state(c) == session_state::unknown);
    CHECK(d.state(c) == session_state::idle);
    CHECK_FALSE(d.reset_start(c));
    CHECK_FALSE(d.rollback_start(c));
    CHECK_FALSE(d.execute_start(c, "x"));
    CHECK(c.pristine());
    d.close(c);
}

TEST_CASE("a scripted server is a primary until the script says otherwise") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    s.next(site::role, outcome::see(cenote::server_role::standby)).next(site::role, outcome::see(cenote::server_role::unknown));
    CHECK(d.role(c, never) == cenote::server_role::standby);
    CHECK(d.role(c, never) == cenote::server_role::unknown);
    CHECK(d.role(c, never) == cenote::server_role::primary);
    s.lose(1);
    CHECK(class_of([&] { (void)d.role(c, never); }) == error_class::disconnected);
    CHECK(s.calls(site::role) == 4);
    d.close(c);
}

TEST_CASE("what an interrupter severs is lost, and nothing else; what it cancels is counted") {
    script s;
    scripted d{s};
    auto a = d.open(never);
    auto b = d.open(never);
    auto first = d.interrupter(a);
    auto token = std::move(first);
    CHECK(token.id() == 1);
    std::vector<std::string> seen;
    const auto note = [&](const call& k) { seen.push_back(std::string{to_string(k.where)} + " " + std::to_string(k.connection)); };
    s.on(site::interrupter, note).on(site::cancel, note).on(site::sever, note);
    d.cancel(token, never);
    a.use();
    d.sever(token, never);
    CHECK(a.lost());
    CHECK_FALSE(b.lost());
    CHECK(s.open_now() == 2);
    CHECK(s.sessions_now() == 1);
    CHECK(class_of([&] { a.use(); }) == error_class::disconnected);
    d.close(a);
    d.cancel(token, never); // there is nobody any more
    d.sever(token, never);
    b.use();
    (void)d.interrupter(b);
    CHECK(seen == std::vector<std::string>{"cancel 1", "sever 1", "cancel 1", "sever 1", "interrupter 2"});
    CHECK(s.calls(site::cancel) == 2);
    CHECK(s.calls(site::sever) == 2);
    CHECK(s.calls(site::interrupter) == 2);
    d.close(b);
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("a hook runs in the call, before its outcome, and may throw") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    std::vector<std::string> seen;
    const auto by = deadline::in(1h);
    s.on(site::execute, [&](const call& k) {
        seen.push_back(std::string{to_string(k.where)} + " " + std::to_string(k.connection) + " " + std::to_string(k.number) + " " +
                       std::string{k.sql});
        CHECK(k.by == by);
        if (k.number == 2) throw std::string{"from the hook"};
    });
    d.execute(c, "a", by);
    CHECK_THROWS_AS(d.execute(c, "b", by), std::string);
    CHECK(seen == std::vector<std::string>{"execute 1 1 a", "execute 1 2 b"});
    s.on(site::execute, nullptr);
    d.execute(c, "c", by);
    CHECK(seen.size() == 2);
    CHECK(s.executed() == std::vector<std::string>{"a", "c"});

    s.on(site::peek, [](const call&) { throw 1; });
    CHECK(d.peek(c) == liveness::quiet);
    CHECK_THAT(only(s.violations()), ContainsSubstring("peek on connection 1: the test's hook threw"));
    d.close(c);
}

TEST_CASE("a call is stuck behind a gate until the gate opens, whatever its deadline") {
    script s;
    scripted d{s};
    gate g;
    s.next(site::open, outcome::fail(error_class::refused).after(g));
    std::thread t{[&] { CHECK(class_of([&] { (void)d.open(deadline::in(0s)); }) == error_class::refused); }};
    REQUIRE(g.await(1));
    CHECK(s.open_now() == 1); // being opened counts
    g.open();
    t.join();
    CHECK(s.open_now() == 0);
    CHECK(g.waiting() == 0);
}

TEST_CASE("a gate that goes away lets everybody through") {
    script s;
    scripted d{s};
    std::thread t;
    {
        gate g;
        s.next(site::open, outcome::throw_int().after(g));
        t = std::thread{[&] { CHECK_THROWS_AS(d.open(never), int); }};
        REQUIRE(g.await(1));
    }
    t.join();
}

TEST_CASE("a gate says when nobody came") {
    gate g;
    CHECK_FALSE(g.await(1, 5ms));
    script s;
    CHECK_FALSE(s.await(site::open, 1, 5ms));
}

TEST_CASE("a delay keeps to the deadline, a call without a deadline waits it out") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    s.next(site::ping, outcome::until_deadline());
    const auto before = std::chrono::steady_clock::now();
    CHECK(class_of([&] { d.ping(c, deadline::in(20ms)); }) == error_class::timeout);
    CHECK(std::chrono::steady_clock::now() - before >= 20ms);

    s.next(site::ping, outcome::throw_int().after(5ms));
    CHECK_THROWS_AS(d.ping(c, deadline::in(10s)), int);

    s.next(site::close, outcome::ok().after(20ms));
    const auto closing = std::chrono::steady_clock::now();
    d.close(c);
    CHECK(std::chrono::steady_clock::now() - closing >= 20ms);
}

TEST_CASE("hurry ends a delay that would last for ever") {
    script s;
    scripted d{s};
    s.always(site::open, outcome::until_deadline());
    std::thread t{[&] {
        auto c = d.open(never);
        d.close(c);
    }};
    CHECK(s.await(site::open, 1));
    s.hurry();
    t.join();
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("what a lease leaves behind shows in the state, and rollback and reset take it away") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    CHECK(c.pristine());

    c.begin();
    CHECK(d.state(c) == session_state::in_transaction);
    CHECK_FALSE(c.pristine());
    c.fail_transaction();
    CHECK(d.state(c) == session_state::failed_transaction);
    c.commit();
    CHECK(c.pristine());
    c.begin();
    c.leave_busy();
    CHECK(d.state(c) == session_state::busy);
    CHECK(d.peek(c) == liveness::suspicious);
    CHECK(class_of([&] { d.ping(c, never); }) == error_class::other);
    CHECK(class_of([&] { d.execute(c, "x", never); }) == error_class::other);
    c.set("search_path");
    d.rollback(c, never);
    CHECK(d.state(c) == session_state::idle);
    CHECK(c.settings() == std::vector<std::string>{"search_path"});
    CHECK_FALSE(c.pristine());
    d.reset(c, never);
    CHECK(c.pristine());

    c.set("role");
    c.begin();
    REQUIRE(d.reset_start(c));
    CHECK(d.state(c) == session_state::busy);
    CHECK(d.peek(c) == liveness::suspicious); // the answer can be read
    d.reset_finish(c, never);
    CHECK(c.pristine());
    d.close(c);
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("what was started is what is done when it is finished") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    std::string sent;
    s.on(site::execute_start, [&](const call& k) { sent = k.sql; });
    const auto leave_all = [&] {
        c.begin();
        c.leave_busy();
        c.set("role");
    };
    leave_all();
    REQUIRE(d.rollback_start(c));
    CHECK(d.state(c) == session_state::busy);
    d.reset_finish(c, never);
    CHECK(d.state(c) == session_state::idle);
    CHECK(c.settings() == std::vector<std::string>{"role"});
    leave_all();
    REQUIRE(d.execute_start(c, "discard temp"));
    CHECK(sent == "discard temp");
    CHECK(s.executed().empty());
    d.reset_finish(c, never);
    CHECK(d.state(c) == session_state::idle);
    CHECK(c.settings().size() == 2);
    CHECK(s.executed() == std::vector<std::string>{"discard temp"});
    leave_all();
    REQUIRE(d.reset_start(c));
    d.reset_finish(c, never);
    CHECK(c.pristine());
    CHECK(s.executed().size() == 1);
    d.close(c);
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("a lost session looks like one: peek sees it, calls throw, the state notices nothing") {
    script s;
    scripted d{s};
    auto a = d.open(never);
    auto b = d.open(never);
    a.begin();
    s.lose(1);
    CHECK(a.lost());
    CHECK_FALSE(b.lost());
    CHECK(d.peek(a) == liveness::dead);
    CHECK(d.peek(b) == liveness::quiet);
    CHECK(d.state(a) == session_state::in_transaction);
    CHECK(class_of([&] { d.ping(a, never); }) == error_class::disconnected);
    CHECK(class_of([&] { d.rollback(a, never); }) == error_class::disconnected);
    CHECK(class_of([&] { d.reset(a, never); }) == error_class::disconnected);
    CHECK(class_of([&] { d.execute(a, "x", never); }) == error_class::disconnected);
    CHECK(class_of([&] { a.use(); }) == error_class::disconnected);
    CHECK(class_of([&] { a.begin(); }) == error_class::disconnected);
    CHECK(d.reset_start(a)); // the send goes nowhere, without a word
    CHECK(class_of([&] { d.reset_finish(a, never); }) == error_class::disconnected);

    s.lose_all();
    CHECK(b.lost());
    auto c = d.open(never);
    CHECK_FALSE(c.lost());
    CHECK(a.generation() == 1);
    CHECK(c.generation() == 2);
    CHECK(s.generation() == 2);
    for (auto* x : {&a, &b, &c}) d.close(*x);
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("an error of class disconnected loses the session") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    s.next(site::ping, outcome::fail(error_class::disconnected));
    CHECK(class_of([&] { d.ping(c, never); }) == error_class::disconnected);
    CHECK(d.peek(c) == liveness::dead);
    CHECK(class_of([&] { d.ping(c, never); }) == error_class::disconnected);
    d.close(c);
}

TEST_CASE("a moved connection keeps its session") {
    script s;
    scripted d{s};
    auto a = d.open(never);
    a.begin();
    auto b = std::move(a);
    CHECK(b.id() == 1);
    CHECK(d.state(b) == session_state::in_transaction);
    auto c = d.open(never);
    d.close(c);
    c = std::move(b);
    CHECK(c.id() == 1);
    c = std::move(*&c);
    CHECK(c.id() == 1);
    d.close(c);
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("the script writes down a connection used after close, closed twice, moved from, or destroyed open") {
    script s;
    scripted d{s};
    SECTION("used after close") {
        auto c = d.open(never);
        d.close(c);
        c.use();
        CHECK_THAT(only(s.violations()), ContainsSubstring("use on connection 1: it was closed before"));
    }
    SECTION("closed twice") {
        auto c = d.open(never);
        d.close(c);
        d.close(c);
        CHECK_THAT(only(s.violations_at_end()), ContainsSubstring("close on connection 1: it was closed before"));
        CHECK(s.closed() == 1);
    }
    SECTION("moved from") {
        auto c = d.open(never);
        auto e = std::move(c);
        d.close(c);
        CHECK_THAT(only(s.violations()), ContainsSubstring("close: the connection was moved from"));
        d.close(e);
        CHECK(s.violations_at_end().size() == 1);
    }
    SECTION("destroyed open") {
        { auto c = d.open(never); }
        CHECK_THAT(only(s.violations()), ContainsSubstring("destructor on connection 1: it was never closed"));
        const auto at_end = s.violations_at_end();
        REQUIRE(at_end.size() == 3);
        CHECK_THAT(at_end[1], ContainsSubstring("still open at the end: 1"));
        CHECK_THAT(at_end[2], ContainsSubstring("opened 1, but closed 0"));
    }
    SECTION("overwritten while open") {
        auto c = d.open(never);
        auto e = d.open(never);
        c = std::move(e);
        CHECK_THAT(only(s.violations()), ContainsSubstring("destructor on connection 1"));
        d.close(c);
    }
}

TEST_CASE("a detached connection is the test's own: no violation, and it no longer counts") {
    script s;
    scripted d{s};
    {
        auto c = d.open(never);
        c.mark_detached();
        c.mark_detached();
        CHECK(s.open_now() == 0);
        CHECK(s.detached() == 1);
        c.use();
    }
    CHECK(s.violations_at_end().empty());
    auto c = d.open(never);
    c.mark_detached();
    d.close(c);
    CHECK_THAT(only(s.violations()), ContainsSubstring("close on connection 2: it was detached before"));
}

TEST_CASE("the script writes down more connections than the limit, those being opened included") {
    script s;
    scripted d{s};
    s.limit(1);
    auto a = d.open(never);
    CHECK(s.violations().empty());
    s.next(site::open, outcome::throw_int());
    CHECK_THROWS_AS(d.open(never), int);
    CHECK_THAT(only(s.violations()), ContainsSubstring("open: more connections than the limit"));
    CHECK(s.most_open() == 2);
    d.close(a);
}

TEST_CASE("the script writes down what is done to a session whose clean-up is not answered yet") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    REQUIRE(d.reset_start(c));
    SECTION("ping") { d.ping(c, never); }
    SECTION("execute") { d.execute(c, "x", never); }
    SECTION("use") { c.use(); }
    SECTION("a second start") { CHECK(d.rollback_start(c)); }
    SECTION("SQL on top of it") { CHECK(d.execute_start(c, "x")); }
    CHECK_THAT(only(s.violations()), ContainsSubstring("the answer of its clean-up is still due"));
    d.close(c); // closing it is legal
    CHECK(s.violations_at_end().size() == 1);
}

TEST_CASE("a clean-up that was not started cannot finish") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    d.reset_finish(c, never);
    CHECK_THAT(only(s.violations()), ContainsSubstring("reset_finish on connection 1: nothing was started"));
    d.close(c);
}

TEST_CASE("the script writes down two threads inside one connection") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    gate g;
    s.next(site::ping, outcome::ok().after(g));
    std::thread t{[&] { d.ping(c, never); }};
    REQUIRE(g.await(1));
    c.use();
    g.open();
    t.join();
    CHECK_THAT(only(s.violations()), ContainsSubstring("use on connection 1: another thread is in a call"));
    d.close(c);
}

TEST_CASE("the script writes down one connection leased to two, and the pool's hands on a lease") {
    script s;
    scripted d{s};
    auto c = d.open(never);
    {
        const auto held = c.hold();
        c.use();
        d.execute(c, "by the holder", never);
        CHECK(s.violations().empty());
        std::thread{[&] { d.ping(c, never); }}.join();
        CHECK_THAT(only(s.violations()), ContainsSubstring("ping on connection 1: another thread holds the lease"));
        const auto again = c.hold();
        CHECK(s.violations().size() == 2);
        CHECK_THAT(s.violations().back(), ContainsSubstring("hold on connection 1: the connection is leased to two at once"));
    }
    std::thread{[&] { d.ping(c, never); }}.join();
    const auto next = c.hold();
    CHECK(s.violations().size() == 2);
    d.close(c);
}

TEST_CASE("threads that share a scripted driver and hand connections over properly leave no violation") {
    script s;
    scripted d{s};
    s.limit(4);
    s.on(site::ping, [](const call&) {});
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < 200; ++k) {
                auto c = d.open(never);
                {
                    const auto held = c.hold();
                    c.begin();
                }
                d.rollback(c, never);
                d.ping(c, never);
                d.close(c);
            }
        });
    }
    for (auto& t : threads) t.join();
    CHECK(s.opened() == 800);
    CHECK(s.calls(site::ping) == 800);
    CHECK(s.most_open() <= 4);
    CHECK(s.violations_at_end().empty());
}
