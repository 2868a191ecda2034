// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <server/support/fake_server.hpp>
#include <server/support/postgres.hpp>
#include <server/support/punctuality.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/ioctl.h>

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using cenote::deadline;
using cenote::error_class;
using cenote::postgres;
using cenote::session_state;
using Catch::Matchers::ContainsSubstring;

namespace {

/// What users of libpq leave behind, none of it more than a few rows. The machine may be busy: drain_time is long where it must suffice.
struct leaving {
    const char* name;
    std::function<void(PGconn*)> leave;
};
const std::vector<leaving>& leavings() {
    const auto send = [](PGconn* c, const char* sql) { REQUIRE(PQsendQueryParams(c, sql, 0, nullptr, nullptr, nullptr, nullptr, 0) == 1); };
    static const std::vector<leaving> all{
        {"nothing", [](PGconn*) {}},
        {"non-blocking mode", [](PGconn* c) { PQsetnonblocking(c, 1); }},
        {"non-blocking mode and a statement", [](PGconn* c) {
             PQsetnonblocking(c, 1);
             REQUIRE(PQsendQuery(c, "select 1") == 1);
         }},
        {"non-blocking mode and a statement that is half sent", [](PGconn* c) {
             PQsetnonblocking(c, 1);
             REQUIRE(PQsendQuery(c, ("select length('" + std::string(8 << 20, 'x') + "')").c_str()) == 1);
         }},
        {"a transaction", [](PGconn* c) { (void)pg::run(c, "begin; insert into kept values (1)"); }},
        {"a failed transaction", [](PGconn* c) {
             (void)pg::run(c, "begin");
             const pg::result r{PQexec(c, "select 1/0")};
         }},
        {"unread rows", [](PGconn* c) { REQUIRE(PQsendQuery(c, "insert into kept values (0) returning x; begin; insert into kept values (1); select generate_series(1, 100)") == 1); }},
        {"an unread error", [](PGconn* c) { REQUIRE(PQsendQuery(c, "select 1/0") == 1); }},
        {"single rows, half read", [](PGconn* c) {
             REQUIRE(PQsendQuery(c, "select generate_series(1, 100)") == 1);
             REQUIRE(PQsetSingleRowMode(c) == 1);
             const pg::result first{PQgetResult(c)};
             REQUIRE(PQresultStatus(first.get()) == PGRES_SINGLE_TUPLE);
         }},
        {"a COPY to the server", [](PGconn* c) {
             (void)pg::run(c, "copy kept from stdin");
             REQUIRE(PQputCopyData(c, "1\n", 2) == 1);
         }},
        {"a COPY to the server in a transaction", [](PGconn* c) { (void)pg::run(c, "begin; copy kept from stdin"); }},
        {"a COPY from the server", [](PGconn* c) { (void)pg::run(c, "copy (select generate_series(1, 100)) to stdout"); }},
        {"a COPY from the server, half read", [](PGconn* c) {
             (void)pg::run(c, "copy (select generate_series(1, 100)) to stdout");
             char* row = nullptr;
             REQUIRE(PQgetCopyData(c, &row, 0) > 0);
             PQfreemem(row);
         }},
        {"pipeline mode", [](PGconn* c) { REQUIRE(PQenterPipelineMode(c) == 1); }},
        {"a pipeline that is not sent", [send](PGconn* c) {
             REQUIRE(PQenterPipelineMode(c) == 1);
             send(c, "insert into kept values (1)");
         }},
        {"a pipeline with unread answers", [send](PGconn* c) {
             REQUIRE(PQenterPipelineMode(c) == 1);
             send(c, "select 1");
             send(c, "select 2");
             REQUIRE(PQpipelineSync(c) == 1);
             send(c, "select 3");
         }},
        {"a pipeline that has failed", [send](PGconn* c) {
             REQUIRE(PQenterPipelineMode(c) == 1);
             send(c, "select 1/0");
             send(c, "select 2");
             REQUIRE(PQpipelineSync(c) == 1);
             const pg::result r{PQgetResult(c)};
         }},
        {"a pipeline with a transaction", [send](PGconn* c) {
             REQUIRE(PQenterPipelineMode(c) == 1);
             send(c, "begin");
             send(c, "insert into kept values (1)");
             REQUIRE(PQpipelineSync(c) == 1);
         }},
        {"a pipeline with unread answers, in non-blocking mode", [send](PGconn* c) {
             PQsetnonblocking(c, 1);
             REQUIRE(PQenterPipelineMode(c) == 1);
             send(c, "select 1");
             REQUIRE(PQpipelineSync(c) == 1);
         }},
        {"everything of an exchange but its end", [](PGconn* c) {
             REQUIRE(PQsendQuery(c, "select 1") == 1);
             const pg::result r{PQgetResult(c)};
         }},
        {"an unread notification", [](PGconn* c) { (void)pg::run(c, "listen here; notify here"); }},
        {"another notice receiver, verbosity and trace", [](PGconn* c) {
             PQsetNoticeReceiver(c, [](void*, const PGresult*) {}, nullptr);
             PQsetErrorVerbosity(c, PQERRORS_TERSE);
         }},
    };
    return all;
}

/// Cleans each kind of leaving with `clean`; the session survives, usable and idle, and nothing that was left unfinished came true.
template <class Clean>
void expect_clean(Clean clean) {
    for (const auto& [name, conninfo] : pg::transports()) {
        auto o = pg::options(conninfo);
        o.drain_time = 20s;
        o.drain_bytes = 1 << 20;
        postgres d{o};
        for (const leaving& what : leavings()) {
            INFO(name << ", " << what.name);
            pg::opened c{d};
            const int pid = c.pid();
            (void)pg::run(c.handle(), "create temporary table kept (x int)");
            what.leave(c.handle());
            const auto e = pg::error_of([&] { clean(d, *c); });
            INFO((e ? e->what() : "no error"));
            REQUIRE(!e);
            CHECK(d.state(*c) == session_state::idle);
            CHECK(PQpipelineStatus(c.handle()) == PQ_PIPELINE_OFF);
            CHECK(pg::ask(c.handle(), "select 'still here'") == "still here");
            CHECK(c.pid() == pid);
            CHECK(pg::ask(c.handle(), "select count(*) from pg_stat_activity where pid = pg_backend_pid() and xact_start <> query_start") == "0");
            const pg::result kept{PQexec(c.handle(), "select count(*) from kept where x = 1")};
            if (PQresultStatus(kept.get()) == PGRES_TUPLES_OK) CHECK(PQgetvalue(kept.get(), 0, 0) == "0"s); // a reset drops it
        }
    }
}

} // namespace

TEST_CASE("a rollback cleans up whatever users of libpq leave behind, and keeps the session") {
    expect_clean([](postgres& d, postgres::connection& c) { d.rollback(c, pg::soon()); });
}
TEST_CASE("a reset cleans up whatever users of libpq leave behind, and keeps the session") {
    expect_clean([](postgres& d, postgres::connection& c) {
        d.reset(c, pg::soon());
        CHECK(PQisnonblocking(c.handle()) == 0);
        CHECK(PQsetErrorVerbosity(c.handle(), PQERRORS_DEFAULT) == PQERRORS_DEFAULT);
    });
}
TEST_CASE("a started reset is finished, or left to a reset, whatever users of libpq leave behind") {
    expect_clean([](postgres& d, postgres::connection& c) {
        if (d.reset_start(c)) d.reset_finish(c, pg::soon());
        else d.reset(c, pg::soon());
    });
}
TEST_CASE("a started rollback is finished, or left to a rollback, whatever users of libpq leave behind") {
    expect_clean([](postgres& d, postgres::connection& c) {
        if (d.rollback_start(c)) d.reset_finish(c, pg::soon());
        else d.rollback(c, pg::soon());
    });
}

TEST_CASE("the next user of a pool finds a connection in order, whatever users of libpq leave behind") {
    const auto expect_order = [](auto... policies) {
        auto o = pg::options(servers::postgres().tcp); // with the options' own bounds: what takes longer costs the connection
        cenote::pool db{postgres{o}, cenote::bounded{.max = 1}, policies...};
        for (const leaving& what : leavings()) {
            INFO(what.name);
            {
                auto lease = db.acquire(10s);
                (void)pg::run(lease.native_handle(), "drop table if exists kept; create temporary table kept (x int)");
                what.leave(lease.native_handle());
            }
            auto lease = db.acquire(10s);
            CHECK(db.driver().state(*lease) == session_state::idle);
            CHECK(pg::ask(lease.native_handle(), "select 'in order'") == "in order");
            const pg::result kept{PQexec(lease.native_handle(), "select count(*) from kept where x = 1")};
            if (PQresultStatus(kept.get()) == PGRES_TUPLES_OK) CHECK(PQgetvalue(kept.get(), 0, 0) == "0"s);
            if (PQisnonblocking(lease.native_handle()) != 0) PQsetnonblocking(lease.native_handle(), 0);
        }
    };
    expect_order();
    expect_order(cenote::background{cenote::reset_if_dirty{}});
    expect_order(cenote::at_return{cenote::reset_if_dirty{}});
    expect_order(cenote::deferred{cenote::reset_always{}});
    expect_order(cenote::deferred{cenote::reset_with{"select 1"}});
    expect_order(cenote::manual{});
}

TEST_CASE("of a large unread result little is read, and not by who gives it back") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        cenote::pool db{postgres{conninfo}, cenote::bounded{.max = 1}};
        auto lease = db.acquire(10s);
        const int pid = PQbackendPID(lease.native_handle());
        REQUIRE(PQsendQuery(lease.native_handle(), "select repeat('x', 1000) from generate_series(1, 10000)") == 1);
        testing_support::punctuality seen;
        seen.measure(0ms, 1ms, [&](deadline) { lease.give_back(); });
        INFO(seen.text());
        CHECK(seen.late == 0);
        auto next = db.acquire(10s);
        CHECK(PQbackendPID(next.native_handle()) != pid);
        CHECK(pg::becomes([&] { return !outside.lives(pid); }));
    }
}

TEST_CASE("a small unread result is read, and its connection kept") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        auto o = pg::options(conninfo);
        o.drain_time = 20s; // only the bytes count here
        cenote::pool db{postgres{o}, cenote::bounded{.max = 1}};
        auto lease = db.acquire(10s);
        const int pid = PQbackendPID(lease.native_handle());
        REQUIRE(PQsendQuery(lease.native_handle(), "select repeat('x', 1000) from generate_series(1, 55)") == 1);
        lease.give_back();
        lease = db.acquire(10s);
        CHECK(PQbackendPID(lease.native_handle()) == pid);
        CHECK(pg::ask(lease.native_handle(), "select 1") == "1");
    }
}

TEST_CASE("a statement that goes on for longer than drain_time costs the connection, and the error says what to change") {
    postgres d{servers::postgres().tcp};
    pg::opened c{d};
    REQUIRE(PQsendQuery(c.handle(), "select pg_sleep(0.2)") == 1);
    const auto e = pg::error_of([&] { d.rollback(*c, pg::soon()); });
    REQUIRE(e);
#if !defined(LIBPQ_HAS_ASYNC_CANCEL)
    CHECK_THAT(e->what(), ContainsSubstring("options.drain_bytes and drain_time"));
#endif
    CHECK(d.state(*c) == session_state::unknown);
}

TEST_CASE("a session that its user opened anew goes on, and its notices still arrive") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        std::vector<std::string> heard;
        auto o = pg::options(conninfo);
        o.on_notice = [&](const postgres::notice& n) { heard.emplace_back(n.message); };
        postgres d{o};
        pg::opened c{d};
        auto stale = d.interrupter(*c);
        const int pid = c.pid();
        PQreset(c.handle());
        CHECK(c.pid() != pid);
        d.ping(*c, pg::soon());
        d.execute(*c, "do $$ begin raise notice 'hear me'; end $$", pg::soon());
        CHECK(heard == std::vector<std::string>{"hear me"});
        d.sever(stale, pg::soon()); // of the session that is gone
        CHECK(pg::ask(c.handle(), "select 1") == "1");
    }
}

TEST_CASE("every SQLSTATE that decides what happens next has its class") {
    const std::vector<std::pair<const char*, error_class>> table{
        {"08000", error_class::disconnected}, {"08006", error_class::disconnected}, {"08P01", error_class::disconnected},
        {"57P01", error_class::disconnected}, {"57P02", error_class::disconnected}, {"57P04", error_class::disconnected},
        {"57P05", error_class::disconnected}, {"25P03", error_class::disconnected}, {"25P04", error_class::disconnected},
        {"57P03", error_class::not_ready},    {"57014", error_class::cancelled},    {"53300", error_class::server_full},
        {"25006", error_class::wrong_role},   {"26000", error_class::stale_plan},   {"40001", error_class::serialization},
        {"40P01", error_class::serialization}, {"55P03", error_class::timeout},     {"28000", error_class::auth},
        {"28P01", error_class::auth},         {"42501", error_class::auth},         {"23505", error_class::constraint},
        {"23503", error_class::constraint},   {"23514", error_class::constraint},   {"42601", error_class::other},
        {"3D000", error_class::other},        {"53100", error_class::other},        {"25P02", error_class::other},
        {"00000", error_class::other},        {"", error_class::other},             {"57P0", error_class::other},
        {"57P010", error_class::other},       {"5", error_class::other},
    };
    for (const auto& [sqlstate, expected] : table) {
        INFO(sqlstate);
        CHECK(postgres::classify(sqlstate) == expected);
    }
    CHECK(postgres::classify(static_cast<const char*>(nullptr)) == error_class::other);
    postgres d{"host=/nonexistent"};
    CHECK(d.classify(cenote::driver_error{error_class::constraint, "x"}) == error_class::constraint);
    CHECK(d.classify(std::runtime_error{"x"}) == error_class::other);
}

TEST_CASE("statements that fail have the server's SQLSTATE, class and words, and leave the connection usable") {
    const std::vector<std::tuple<std::string, std::string, error_class>> table{
        {"select 1/0", "22012", error_class::other},
        {"this is not SQL", "42601", error_class::other},
        {"insert into u values (1), (1)", "23505", error_class::constraint},
        {"insert into u values (null)", "23502", error_class::constraint},
        {"begin; set transaction read only; create table v (x int)", "25006", error_class::wrong_role},
        {"execute nobody", "26000", error_class::stale_plan},
        {"set statement_timeout = 1; select pg_sleep(10)", "57014", error_class::cancelled},
        {"do $$ begin raise exception using errcode = '40001', message = 'try again'; end $$", "40001", error_class::serialization},
        {"select pg_read_file('/etc/passwd')", "42501", error_class::auth},
    };
    postgres d{servers::postgres().unix_socket};
    pg::opened c{d};
    for (const auto& [sql, sqlstate, kind] : table) {
        INFO(sql);
        (void)pg::run(c.handle(), "create temporary table if not exists u (x int primary key)");
        const auto e = pg::error_of([&] { d.execute(*c, sql, pg::soon()); });
        REQUIRE(e);
        CHECK(e->sqlstate() == sqlstate);
        CHECK(e->kind() == kind);
        CHECK_THAT(e->what(), ContainsSubstring("postgres: statement failed: ") && !ContainsSubstring("\n"));
        d.reset(*c, pg::soon());
        CHECK(pg::ask(c.handle(), "select 1") == "1");
    }
    // A plan that no longer fits is told from other things that are not supported.
    d.execute(*c, "create temporary table p (x int); prepare q as select * from p; execute q; alter table p add y int", pg::soon());
    const auto stale = pg::error_of([&] { d.execute(*c, "execute q", pg::soon()); });
    REQUIRE(stale);
    CHECK(stale->sqlstate() == "0A000");
    CHECK(stale->kind() == error_class::stale_plan);
    const auto unsupported = pg::error_of([&] { d.execute(*c, "create database x template y strategy z; savepoint s", pg::soon()); });
    REQUIRE(unsupported);
    CHECK(unsupported->kind() == error_class::other);
}

TEST_CASE("execute runs any number of statements, throws their rows away and ends COPYs") {
    postgres d{servers::postgres().tcp};
    pg::opened c{d};
    d.execute(*c, "", pg::soon());
    d.execute(*c, ";", pg::soon());
    d.execute(*c, "select generate_series(1, 10000); select 2; create temporary table t (x text)", pg::soon());
    d.execute(*c, "copy (select generate_series(1, 10000)) to stdout", pg::soon());
    d.execute(*c, "copy (select 1) to stdout; copy (select 2) to stdout; select 3", pg::soon());
    const auto e = pg::error_of([&] { d.execute(*c, "copy t from stdin", pg::soon()); });
    REQUIRE(e);
    CHECK_THAT(e->what(), ContainsSubstring("COPY from stdin failed"));
    CHECK(d.state(*c) == session_state::idle);
    CHECK_THROWS_AS(d.execute(*c, "select 1\0; select 2"sv, pg::soon()), std::invalid_argument);
    CHECK(d.state(*c) == session_state::idle);
    CHECK(pg::ask(c.handle(), "select 1") == "1");
}

TEST_CASE("execute binds values as they are, and gives back what the server answers") {
    using values = std::initializer_list<postgres::parameter>;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        postgres d{conninfo};
        pg::opened c{d};
        const auto run = [&](std::string_view sql, values v) { return d.execute(*c, sql, v, pg::soon()); };
        {
            const auto r = run("select $1::text, $2::text, $3::text, $1 is null", {std::nullopt, "", "'; drop table t; --"});
            REQUIRE(r.rows() == 1);
            REQUIRE(r.columns() == 4);
            CHECK_FALSE(r.at(0, 0).has_value());
            CHECK(r.at(0, 1) == "");
            CHECK(r.at(0, 2) == "'; drop table t; --");
            CHECK(r.at(0, 3) == "t");
            CHECK_THROWS_AS(r.at(1, 0), std::out_of_range);
            CHECK_THROWS_AS(r.at(0, 4), std::out_of_range);
            CHECK_THROWS_AS(r.at(std::numeric_limits<std::size_t>::max(), 0), std::out_of_range);
            CHECK_THROWS_AS(r.at(0, std::size_t{1} << 32), std::out_of_range);
            CHECK(r.native_handle() != nullptr);
        }
        {
            const auto none = run("select 1 where false", {});
            CHECK(none.rows() == 0);
            CHECK(none.columns() == 1);
            CHECK_THROWS_AS(none.at(0, 0), std::out_of_range);
            CHECK(run("create temporary table if not exists t (x text)", {}).columns() == 0);
            CHECK(run("", {}).rows() == 0);
            CHECK(run("copy (select 1) to stdout", {}).rows() == 0);
        }
        {
            const std::string large(5 << 20, 'y');
            const auto r = run("select $1::text, length($1), md5($1) = $2", {large, "x"});
            CHECK(r.at(0, 0) == large);
            CHECK(r.at(0, 1) == std::to_string(large.size()));
            const auto part = run("select $1::text", {std::string_view{large}.substr(3, 4)}); // not terminated
            CHECK(part.at(0, 0) == "yyyy");
        }
        CHECK(run("select generate_series(1, 100000)", {}).rows() == 100000);
        CHECK_THROWS_AS(run("select $1::text", {"a\0b"sv}), std::invalid_argument);
        CHECK_THROWS_AS(run("select 1\0"sv, {}), std::invalid_argument);
        CHECK(d.state(*c) == session_state::idle);
        const auto two = pg::error_of([&] { (void)run("select 1; select 2", {}); });
        REQUIRE(two);
        CHECK(two->sqlstate() == "42601");
        CHECK(pg::error_of([&] { (void)run("select $1::int", {"x"}); })->sqlstate() == "22P02");
        CHECK(pg::error_of([&] { (void)run("select $1::int, $2::int", {"1"}); })->sqlstate() == "08P01");
        CHECK(pg::ask(c.handle(), "select 1") == "1");
    }
}

TEST_CASE("65535 values can be bound, and 65536 are refused before anything is sent") {
    postgres d{servers::postgres().unix_socket};
    pg::opened c{d};
    std::string sql = "select ";
    for (int i = 1; i <= 65535; ++i) sql += (i == 1 ? "($" : i % 1000 == 1 ? ", ($" : "||$") + std::to_string(i) + (i % 1000 == 0 || i == 65535 ? ")" : "");
    std::vector<postgres::parameter> values(65535, postgres::parameter{"x"});
    const auto r = d.execute(*c, sql, std::span<const postgres::parameter>{values}, pg::soon());
    CHECK(r.columns() == 66);
    CHECK(r.at(0, 0) == std::string(1000, 'x'));
    values.emplace_back("x");
    CHECK_THROWS_AS(d.execute(*c, sql, std::span<const postgres::parameter>{values}, pg::soon()), std::invalid_argument);
    CHECK(d.state(*c) == session_state::idle);
    CHECK(pg::ask(c.handle(), "select 1") == "1");
}

TEST_CASE("a call on a connection that is in the middle of something is refused, and spoils nothing") {
    postgres d{servers::postgres().unix_socket};
    pg::opened c{d};
    REQUIRE(PQsendQuery(c.handle(), "select generate_series(1, 10)") == 1);
    const auto ping = pg::error_of([&] { d.ping(*c, pg::soon()); });
    REQUIRE(ping);
    CHECK(ping->kind() == error_class::other);
    CHECK(pg::error_of([&] { d.execute(*c, "select 1", pg::soon()); }));
    int rows = 0;
    while (const pg::result r{PQgetResult(c.handle())}) rows += PQntuples(r.get());
    CHECK(rows == 10);
    d.ping(*c, pg::soon());
    REQUIRE(PQenterPipelineMode(c.handle()) == 1);
    const auto started = std::chrono::steady_clock::now();
    CHECK(pg::error_of([&] { d.ping(*c, pg::soon()); }));
    CHECK(pg::error_of([&] { (void)d.execute(*c, "select 1", {}, pg::soon()); }));
    CHECK(std::chrono::steady_clock::now() - started < 10s);
    d.rollback(*c, pg::soon());
    CHECK(pg::ask(c.handle(), "select 1") == "1");
}

TEST_CASE("a connection that is closed answers every call with an error") {
    postgres d{servers::postgres().unix_socket};
    pg::opened c{d};
    d.close(*c);
    d.close(*c);
    CHECK(c.handle() == nullptr);
    CHECK(c->last_word().empty());
    CHECK(d.native_handle(*c) == nullptr);
    CHECK(d.peek(*c) == cenote::liveness::dead);
    CHECK(d.state(*c) == session_state::unknown);
    CHECK_FALSE(d.reset_start(*c));
    CHECK_FALSE(d.rollback_start(*c));
    CHECK_FALSE(d.execute_start(*c, "select 1"));
    const auto fails = [&](auto call) {
        const auto e = pg::error_of(call);
        REQUIRE(e);
        CHECK(e->kind() == error_class::disconnected);
        CHECK_THAT(e->what(), ContainsSubstring("the connection is closed"));
    };
    fails([&] { d.ping(*c, pg::soon()); });
    fails([&] { d.rollback(*c, pg::soon()); });
    fails([&] { d.reset(*c, pg::soon()); });
    fails([&] { d.reset_finish(*c, pg::soon()); });
    fails([&] { d.execute(*c, "select 1", pg::soon()); });
    fails([&] { (void)d.execute(*c, "select 1", {}, pg::soon()); });
    fails([&] { (void)d.role(*c, pg::soon()); });
    fails([&] { (void)d.interrupter(*c); });
    d.abandon(*c);
}
