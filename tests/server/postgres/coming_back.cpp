// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Pools over PostgreSQL when sessions end, passwords change, servers are of the wrong role, and pools close.
#include <server/support/postgres.hpp>

#include <cenote/pool.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using cenote::bounded;
using cenote::close_reason;
using cenote::counters;
using cenote::deadline;
using cenote::errc;
using cenote::error_class;
using cenote::failure;
using cenote::manual;
using cenote::postgres;

namespace {

/// A driver whose sessions bear a name of their own.
struct named_sessions {
    std::string name = pg::own_name();
    postgres::options to(const std::string& conninfo) const { return pg::options(conninfo, {{"application_name", name}}); }
};

template <class Pool>
std::vector<typename Pool::lease> hold(Pool& p, unsigned n) {
    std::vector<typename Pool::lease> all;
    for (unsigned i = 0; i < n; ++i) all.push_back(p.acquire(10s));
    return all;
}

} // namespace

TEST_CASE("case-A3: when all sessions are terminated, each is tested before its next use and none that is dead is handed out") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        const named_sessions own;
        cenote::pool db{postgres{own.to(conninfo)}, bounded{.max = 4}, manual{}, cenote::peek_after{0ms}, counters{}};
        hold(db, 4).clear();
        outside.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = '" + own.name + "'");
        REQUIRE(pg::becomes([&] { return outside.sessions(own.name) == 0; }));
        for (int i = 0; i < 8; ++i) {
            auto lease = db.acquire(10s);
            CHECK(pg::ask(lease.native_handle(), "select 1") == "1");
        }
        CHECK(db.stats().opened == 5); // and one was enough
    }
}

TEST_CASE("case-A2: a session that is lost in use makes suspects of the others") {
    pg::witness outside;
    const named_sessions own;
    cenote::pool db{postgres{own.to(servers::postgres().tcp)}, bounded{.max = 3}, manual{}, cenote::peek_after{1h}, counters{}};
    {
        auto held = hold(db, 3);
        outside.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = '" + own.name + "'");
        REQUIRE(pg::becomes([&] { return outside.sessions(own.name) == 0; }));
        held.pop_back(); // two become idle again, and an hour has not passed
        held.pop_back();
        CHECK_THROWS(pg::ask(held[0].native_handle(), "select 1"));
    } // the third comes back broken, and that is seen
    auto lease = db.acquire(10s);
    CHECK(pg::ask(lease.native_handle(), "select 1") == "1");
    (void)db.maintain();
    CHECK(db.get<counters>().closed_for(close_reason::broken) == 1);
}

TEST_CASE("case-A11: after a rotation new sessions use the new password, leases end as they began, and no old session is used again") {
    pg::witness outside;
    const std::string role = "r" + std::to_string(::getpid()) + "_rotated";
    outside.run("create role " + role + " login password 'before-the-change'");
    {
        cenote::credentials secret{cenote::login{.user = role, .password = "before-the-change"}};
        auto o = pg::options(servers::postgres().tcp);
        o.credentials = secret;
        cenote::pool db{postgres{o}, bounded{.max = 2}, counters{}};
        auto held = hold(db, 2);
        held.pop_back();
        CHECK(pg::ask(held[0].native_handle(), "select current_user") == role);
        outside.run("alter role " + role + " password 'after-the-change'");
        db.invalidate_all();
        failure why;
        CHECK_FALSE(db.acquire(5s, why));
        REQUIRE(why.seen);
        CHECK(why.seen->last_connect_error.kind == error_class::auth);
        CHECK_THAT(why.text(), !ContainsSubstring("before-the-change"));
        secret.set({.user = role, .password = "after-the-change"});
        CHECK(pg::ask(held[0].native_handle(), "select 1") == "1");
        held.clear();
        auto fresh = hold(db, 2);
        CHECK(pg::ask(fresh[0].native_handle(), "select current_user") == role);
        CHECK(db.get<counters>().closed_for(close_reason::invalidated) == 2);
    }
    CHECK(pg::becomes([&] { return outside.ask("select count(*) from pg_stat_activity where usename = '" + role + "'") == "0"; }));
    outside.run("drop role " + role);
}

TEST_CASE("case-A16: a server of the wrong role serves nobody") {
    const auto& s = servers::postgres();
    for (const bool threads : {false, true}) {
        failure why;
        const auto refused = [&](auto&& db) {
            CHECK_FALSE(db.acquire(400ms, why));
            REQUIRE(why.seen);
            CHECK(why.seen->last_connect_error.kind == error_class::wrong_role);
            CHECK(db.stats().total == 0);
        };
        if (threads) refused(cenote::pool{postgres{s.standby}, cenote::require_role{}, cenote::backoff{.first = 5ms, .max = 20ms}});
        else refused(cenote::pool{postgres{s.standby}, cenote::require_role{}, manual{}});
    }
    cenote::pool readers{postgres{s.standby}, cenote::require_role{cenote::server_role::standby}};
    CHECK(pg::ask(readers.acquire(10s).native_handle(), "select pg_is_in_recovery()") == "t");
    cenote::pool writers{postgres{s.tcp}, cenote::require_role{}};
    CHECK(pg::ask(writers.acquire(10s).native_handle(), "select pg_is_in_recovery()") == "f");
}

TEST_CASE("close() cuts the leases that are still out at its deadline: their holders are told, and their sessions end") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        const named_sessions own;
        cenote::pool db{postgres{own.to(conninfo)}, bounded{.max = 2}};
        std::latch begun{2};
        std::vector<std::jthread> holders;
        std::atomic<int> told{0};
        for (int i = 0; i < 2; ++i) {
            holders.emplace_back([&] {
                auto lease = db.acquire(10s);
                PQsendQuery(lease.native_handle(), "select pg_sleep(60)");
                begun.count_down();
                const pg::result r{PQgetResult(lease.native_handle())};
                if (PQresultStatus(r.get()) == PGRES_FATAL_ERROR) ++told;
            });
        }
        begun.wait();
        const auto report = db.close(deadline::in(50ms));
        CHECK(report.cut == 2);
        CHECK(report.drained);
        holders.clear();
        CHECK(told == 2);
        CHECK(pg::becomes([&] { return outside.sessions(own.name) == 0; }));
    }
}

TEST_CASE("case-B14: a connection that is discarded in the middle of a statement does not live on at the server") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        for (const bool discards : {true, false}) {
            INFO(name << (discards ? ", discarded" : ", given back"));
            const named_sessions own;
            cenote::pool db{postgres{own.to(conninfo)}, bounded{.max = 1}};
            {
                auto lease = db.acquire(10s);
                PQsendQuery(lease.native_handle(), "select pg_sleep(60)");
                REQUIRE(outside.is_running(PQbackendPID(lease.native_handle())));
                if (discards) lease.discard();
            }
            CHECK(pg::becomes([&] { return outside.ask("select count(*) from pg_stat_activity where state = 'active' and application_name = '" + own.name + "'") == "0"; }));
            CHECK(pg::ask(db.acquire(10s).native_handle(), "select 1") == "1");
        }
    }
}

TEST_CASE("keepalive finds the dead among the idle, and what it tests stays good") {
    pg::witness outside;
    const named_sessions own;
    cenote::pool db{postgres{own.to(servers::postgres().tcp)}, bounded{.max = 2}, manual{}, cenote::keepalive{.every = 1ms}, cenote::peek_after{1h}, counters{}};
    auto held = hold(db, 2);
    const int doomed = PQbackendPID(held[0].native_handle());
    held.clear();
    REQUIRE(outside.terminate(doomed));
    REQUIRE(pg::becomes([&] {
        (void)db.maintain();
        return db.stats().idle == 1 && db.stats().closed == 1;
    }));
    CHECK(db.stats().validation_failed == 1);
    CHECK(pg::ask(db.acquire(10s).native_handle(), "select 1") == "1");
}

TEST_CASE("warm_up opens as many sessions as it is asked for, and says why it cannot") {
    pg::witness outside;
    const named_sessions own;
    {
        cenote::pool db{postgres{own.to(servers::postgres().tcp)}, bounded{.max = 6}};
        const auto report = db.warm_up(5, deadline::in(20s));
        CHECK(report.ready);
        CHECK(report.open == 5);
        CHECK(outside.sessions(own.name) == 5);
        CHECK(db.ready());
    }
    auto wrong = own.to(servers::postgres().tcp);
    wrong.parameters.emplace_back("password", "no such secret");
    cenote::pool db{postgres{wrong}, bounded{.max = 6}};
    const auto report = db.warm_up(5, deadline::in(20s));
    CHECK_FALSE(report.ready);
    CHECK(report.took < 10s);
    CHECK(report.why.code == errc::connect_failed);
    CHECK_THAT(report.why.text(), ContainsSubstring("password authentication failed"));
    CHECK_FALSE(db.ready());
}
