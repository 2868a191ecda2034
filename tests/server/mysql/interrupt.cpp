// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What happens to a connection from outside: another thread, another process, a server whose role changes.
#include "server/mysql/support.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

using namespace mysql_tests;
using cenote::server_role;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("A statement that runs is cancelled from another thread, and its connection stays good") {
    for (const auto& o : {by_socket(), by_tcp(), by_tls()}) {
        opened a{o};
        auto token = a.driver.interrupter(a.c);
        std::jthread canceller{[&] {
            std::this_thread::sleep_for(100ms);
            a.driver.cancel(token, soon());
        }};
        std::string slept;
        const auto took = time_of([&] {
            try {
                slept = a.ask("select sleep(20)");
            } catch (const std::runtime_error&) {
                CHECK(mysql::classify(mysql_errno(a.native())) == error_class::cancelled);
            }
        });
        CHECK((slept.empty() || slept == "1")); // cut short, which some servers do not take for an error
        CHECK(took < 5s);
        canceller.join();
        CHECK(a.state() == session_state::idle);
        a.driver.reset(a.c, soon());
        CHECK(a.ask("select 1") == "1");
    }
}

TEST_CASE("A statement of the driver's own that is cancelled in the middle of its rows leaves the connection good") {
    for (const auto& o : {by_socket(), by_tls()}) {
        opened a{o};
        for (int i = 0; i < 3; ++i) {
            auto token = a.driver.interrupter(a.c);
            std::jthread canceller{[&] {
                std::this_thread::sleep_for(50ms);
                a.driver.cancel(token, soon());
            }};
            const auto e = error_of([&] {
                a.driver.execute(a.c, "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000) select 1 from n a, n b, n c, n d", soon());
            });
            canceller.join();
            REQUIRE(e);
            CHECK(e->kind() == error_class::cancelled);
            CHECK(a.state() == session_state::idle);
            CHECK(a.ask("select 1") == "1");
        }
    }
}

TEST_CASE("A session that is severed ends for its user and on the server, and its locks go") {
    opened root{as_root()};
    table t;
    for (const auto& o : {by_socket(), by_tcp(), by_tls()}) {
        opened a{o};
        const unsigned long id = a.id();
        a.run("begin");
        a.run("insert into " + t.name() + " values (1)");
        auto token = a.driver.interrupter(a.c);
        std::jthread severer{[&] {
            std::this_thread::sleep_for(100ms);
            a.driver.sever(token, soon());
        }};
        const auto took = time_of([&] { CHECK_THROWS(a.run("select sleep(20)")); });
        severer.join();
        CHECK(took < 5s);
        CHECK(a.state() == session_state::unknown);
        CHECK(comes_true([&] { return !is_alive(root, id); }));
        root.run("set innodb_lock_wait_timeout = 5");
        root.run("delete from " + t.name()); // would wait for the lock
        a.driver.sever(token, soon());       // again: harmless
    }
}

TEST_CASE("The holder of a severed connection is free at once even if the server answers nobody", "[alone]") {
    opened a{by_tcp()};
    auto token = a.driver.interrupter(a.c);
    const frozen_server frozen;
    std::chrono::milliseconds severing{};
    std::jthread severer{[&] { severing = time_of([&] { a.driver.sever(token, deadline::in(200ms)); }); }};
    CHECK(time_of([&] { CHECK(mysql_query(a.native(), "select 1") != 0); }) < grace);
    severer.join();
    CHECK(severing < 200ms + grace);
    CHECK(time_of([&] { CHECK(error_of([&] { a.driver.cancel(token, deadline::in(50ms)); })->kind() == error_class::timeout); }) < 50ms + grace);
}

TEST_CASE("A token outlives its connection and then reaches nobody") {
    opened root{as_root()};
    std::optional<opened> a{std::in_place, by_tcp()};
    opened other{by_tcp()};
    auto driver = a->driver;
    auto token = driver.interrupter(a->c);
    const unsigned long id = a->id();
    a.reset();
    REQUIRE(comes_true([&] { return !is_alive(root, id); }));
    CHECK(error_of([&] { driver.cancel(token, soon()); })->native_code() == 1094); // unknown thread
    driver.sever(token, soon());
    CHECK(other.ask("select 1") == "1");
}

TEST_CASE("An idle connection takes no harm from a cancel") {
    opened a{by_socket()};
    auto token = a.driver.interrupter(a.c);
    for (int i = 0; i < 50; ++i) {
        a.driver.cancel(token, soon());
        CHECK(a.ask("select 1") == "1");
    }
}

TEST_CASE("A forked child lets go of a connection and the parent goes on") {
    for (const auto& o : {by_socket(), by_tcp(), by_tls()}) {
        for (const bool pending : {false, true}) {
            opened a{o};
            a.run("set @mine = 7");
            if (pending) REQUIRE(a.driver.rollback_start(a.c));
            const pid_t child = ::fork();
            if (child == 0) {
                a.driver.abandon(a.c);
                a.driver.close(a.c);
                ::_exit(a.driver.native_handle(a.c) == nullptr && a.driver.state(a.c) == session_state::unknown ? 0 : 1);
            }
            int status = -1;
            REQUIRE(::waitpid(child, &status, 0) == child);
            CHECK(status == 0);
            if (pending) a.driver.reset_finish(a.c, soon());
            CHECK(a.ask("select @mine") == "7");
            a.driver.ping(a.c, soon());
        }
    }
}

TEST_CASE("A connection opened by one thread is used and closed by another that ends") {
    mysql d{by_socket()};
    for (int i = 0; i < 20; ++i) {
        std::optional<mysql::connection> c;
        std::thread{[&] { c.emplace(d.open(soon())); }}.join();
        std::thread{[&] {
            d.ping(*c, soon());
            d.close(*c);
        }}.join();
    }
}

TEST_CASE("A server's role is what it says of itself, whatever this user may do there", "[alone]") {
    table t;
    opened root{as_root()};
    opened user{by_socket()};
    CHECK(user.driver.role(user.c, soon()) == server_role::primary);
    CHECK(root.driver.role(root.c, soon()) == server_role::primary);
    root.run("set global read_only = 1");
    const auto mine = user.driver.role(user.c, soon());
    const auto roots = root.driver.role(root.c, soon());
    const auto refused = error_of([&] { user.driver.execute(user.c, "insert into " + t.name() + " values (1)", soon()); });
    root.run("insert into " + t.name() + " values (2)");
    root.run("set global read_only = 0");
    CHECK(mine == server_role::standby);
    CHECK(roots == server_role::standby);
    REQUIRE(refused);
    CHECK(refused->kind() == error_class::wrong_role);
    CHECK(refused->native_code() == 1290);
    CHECK(user.driver.role(user.c, soon()) == server_role::primary);
    CHECK(user.state() == session_state::idle);
}
