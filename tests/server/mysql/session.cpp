// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What a session is in the middle of, and what rollback and reset clear.
#include "server/mysql/support.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

using namespace mysql_tests;
using Catch::Matchers::ContainsSubstring;

namespace {

struct close_statement {
    void operator()(MYSQL_STMT* s) const noexcept { mysql_stmt_close(s); }
};
using statement = std::unique_ptr<MYSQL_STMT, close_statement>;

statement prepare(MYSQL* m, const std::string& sql) {
    statement s{mysql_stmt_init(m)};
    if (mysql_stmt_prepare(s.get(), sql.data(), static_cast<unsigned long>(sql.size())) != 0) throw std::runtime_error{mysql_stmt_error(s.get())};
    return s;
}
mysql::options with_multi() {
    auto o = by_socket();
    o.multi_statements = true;
    o.drain_time = 5s; // the machine may have much else to do
    return o;
}
const std::string endless_rows = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000) select 1 from n a, n b, n c, n d";
const std::string many_rows = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000) select a.i, repeat('x', 100) from n a, n b";

} // namespace

TEST_CASE("A killed idle session is seen dead without a round trip") {
    opened root{as_root()};
    for (const auto& o : {by_socket(), by_tcp(), by_tls()}) {
        opened a{o};
        CHECK(a.driver.peek(a.c) == liveness::quiet);
        root.run("kill " + std::to_string(a.id()));
        CHECK(comes_true([&] { return a.driver.peek(a.c) == liveness::dead; }));
        const auto e = error_of([&] { a.driver.ping(a.c, soon()); });
        REQUIRE(e);
        CHECK(e->kind() == error_class::disconnected);
        CHECK(a.state() == session_state::unknown);
        CHECK(a.driver.peek(a.c) == liveness::dead);
    }
}

TEST_CASE("A session that was killed under its user is unknown to the pool, whoever found out") {
    opened root{as_root()};
    for (const auto& o : {by_socket(), by_tls()}) {
        opened a{o};
        a.run("begin");
        root.run("kill " + std::to_string(a.id()));
        REQUIRE(comes_true([&] { return a.driver.peek(a.c) == liveness::dead; }));
        CHECK(mysql_query(a.native(), "select 1") != 0);
        CHECK(a.state() == session_state::unknown);
        CHECK(mysql::classify(mysql_errno(a.native())) == error_class::disconnected);
        CHECK(error_of([&] { a.driver.reset(a.c, soon()); })->kind() == error_class::disconnected);
        CHECK(error_of([&] { a.driver.rollback(a.c, soon()); }));
        CHECK(!a.driver.reset_start(a.c));
    }
}

TEST_CASE("Calls end at their deadline when the server is frozen", "[alone]") {
    for (const auto& o : {by_socket(), by_tcp(), by_tls()}) {
        opened pinged{o}, reset{o}, executed{o}, rolled_back{o}, asked{o}, deferred{o};
        rolled_back.run("begin");
        const frozen_server frozen;
        const auto late = [](auto f) {
            std::optional<driver_error> e;
            const auto took = time_of([&] { e = error_of([&] { f(deadline::in(50ms)); }); });
            CHECK((e && e->kind() == error_class::timeout));
            CHECK(took >= 50ms);
            CHECK(took < 50ms + grace);
        };
        late([&](deadline by) { pinged.driver.ping(pinged.c, by); });
        late([&](deadline by) { reset.driver.reset(reset.c, by); });
        late([&](deadline by) { executed.driver.execute(executed.c, "select 1", by); });
        late([&](deadline by) { rolled_back.driver.rollback(rolled_back.c, by); });
        late([&](deadline by) { (void)asked.driver.role(asked.c, by); });
        CHECK(time_of([&] { CHECK(deferred.driver.reset_start(deferred.c)); }) < grace);
        late([&](deadline by) { deferred.driver.reset_finish(deferred.c, by); });
        CHECK(pinged.state() == session_state::unknown);
        CHECK(time_of([&] {
                  for (opened* a : {&pinged, &reset, &executed, &rolled_back, &asked, &deferred}) a->driver.close(a->c);
              }) < grace);
    }
}

TEST_CASE("A statement that its deadline cuts costs the connection") {
    opened a{by_socket()};
    const auto took = time_of([&] { CHECK(error_of([&] { a.driver.execute(a.c, "select sleep(5)", deadline::in(50ms)); })->kind() == error_class::timeout); });
    CHECK(took < 50ms + grace);
    CHECK(a.state() == session_state::unknown);
    CHECK(a.driver.peek(a.c) == liveness::dead);
}

TEST_CASE("A result that never stops coming does not outlast its deadline") {
    for (const auto& o : {by_socket(), by_tls()}) {
        opened a{o};
        auto token = a.driver.interrupter(a.c);
        const auto took = time_of([&] { CHECK(error_of([&] { a.driver.execute(a.c, endless_rows, deadline::in(100ms)); })->kind() == error_class::timeout); });
        CHECK(took < 100ms + grace);
        a.driver.sever(token, soon()); // the server would go on for nobody
    }
}

TEST_CASE("Transactions show in the state, however they are begun") {
    const table t;
    opened a{by_socket()};
    for (const char* begin : {"begin", "start transaction read only", "start transaction with consistent snapshot", "xa start 'x'"}) {
        a.run(begin);
        INFO(begin);
        CHECK(a.state() == session_state::in_transaction);
        if (std::string{begin}.starts_with("xa")) {
            a.run("xa end 'x'");
            a.run("xa rollback 'x'");
        } else {
            a.driver.rollback(a.c, soon());
        }
        CHECK(a.state() == session_state::idle);
    }
    a.run("set autocommit = 0");
    CHECK(a.state() == session_state::idle);
    CHECK(a.ask("select count(*) from " + t.name()) == "0");
    CHECK(a.state() == session_state::in_transaction);
    a.driver.rollback(a.c, soon());
    CHECK(a.state() == session_state::idle);
    {
        const statement s = prepare(a.native(), "insert into " + t.name() + " values (1)");
        REQUIRE(mysql_stmt_execute(s.get()) == 0);
        CHECK(a.state() == session_state::in_transaction);
    }
    a.driver.rollback(a.c, soon());
    {
        const statement s = prepare(a.native(), "select * from " + t.name());
        REQUIRE(mysql_stmt_execute(s.get()) == 0);
        REQUIRE(mysql_stmt_store_result(s.get()) == 0);
        CHECK(a.state() == session_state::in_transaction);
    }
}

TEST_CASE("Rollback undoes and keeps settings; reset undoes as well") {
    table t;
    opened a{by_socket()};
    a.run("set @kept = 1");
    a.run("begin");
    a.run("insert into " + t.name() + " values (1)");
    a.driver.rollback(a.c, soon());
    CHECK(a.state() == session_state::idle);
    CHECK(a.ask("select @kept") == "1");
    a.run("begin"); // would commit what is open
    CHECK(t.rows() == "0");
    a.run("insert into " + t.name() + " values (1)");
    a.driver.reset(a.c, soon());
    CHECK(a.state() == session_state::idle);
    a.run("begin");
    CHECK(t.rows() == "0");
    CHECK(a.ask("select @kept") == "null");
}

TEST_CASE("A clean rollback sends nothing") {
    relay between;
    auto o = by_tcp();
    o.port = between.port();
    opened a{std::move(o)};
    const int before = between.flights();
    a.driver.rollback(a.c, soon());
    a.run("do 1"); // would show what came before it
    CHECK(between.flights() == before + 1);
}

TEST_CASE("Unread results that are small are read away") {
    const auto leave = {
        +[](MYSQL* m) { REQUIRE(mysql_query(m, "select 1 union select 2") == 0); },
        +[](MYSQL* m) { REQUIRE(mysql_query(m, "select 1; select 2; do 0; select 3") == 0); },
        +[](MYSQL* m) { run(m, "select 1; select 2; select 3"); },
        +[](MYSQL* m) { run(m, "select 1; do 0; do 1"); },
        +[](MYSQL* m) { run(m, "select 1; select * from no_such_table; select 2"); },
        +[](MYSQL* m) {
            run(m, "select 1; select 2");
            CHECK(mysql_ping(m) != 0); // this alone would unhinge the client's own reset
        },
    };
    int n = 0;
    for (const auto& how : leave) {
        for (const char* clean : {"rollback", "reset"}) {
            INFO(n << " " << clean);
            opened a{with_multi()};
            a.run("begin");
            how(a.native());
            const bool knows = a.state() == session_state::busy;
            CHECK((knows || mysql_errno(a.native()) == 2014));
            CHECK(!a.driver.reset_start(a.c));
            CHECK(!a.driver.rollback_start(a.c));
            CHECK(!a.driver.execute_start(a.c, "do 1"));
            if (knows) {
                if (std::string{clean} == "reset") a.driver.reset(a.c, soon());
                else a.driver.rollback(a.c, soon());
                CHECK(a.state() == session_state::idle);
                CHECK(a.ask("select 42") == "42");
            } else { // the client has met the results already: nobody may go on
                CHECK(error_of([&] { a.driver.reset(a.c, soon()); })->kind() == error_class::disconnected);
            }
        }
        ++n;
    }
}

TEST_CASE("Unread results that are large cost the connection, at once") {
    for (const auto& o : {with_multi(), by_tls()}) {
        opened a{o};
        auto token = a.driver.interrupter(a.c);
        REQUIRE(mysql_query(a.native(), many_rows.c_str()) == 0);
        const auto took = time_of([&] { CHECK_THAT(error_of([&] { a.driver.rollback(a.c, soon()); })->what(), ContainsSubstring("options.drain_")); });
        CHECK(took < grace);
        CHECK(a.state() == session_state::unknown);
        CHECK(time_of([&] { a.driver.close(a.c); }) < grace);
        a.driver.sever(token, soon());
    }
    auto o = by_socket();
    o.drain_bytes = 10'000'000;
    o.drain_time = 5s;
    opened patient{o};
    REQUIRE(mysql_query(patient.native(), "with recursive n (i) as (select 1 union all select i + 1 from n where i < 900) select repeat('x', 1000) from n") == 0);
    patient.driver.rollback(patient.c, soon());
    CHECK(patient.state() == session_state::idle);
}

TEST_CASE("A statement of several that takes long is not waited for") {
    auto o = by_socket();
    o.multi_statements = true;
    opened a{std::move(o)};
    a.run("select 1; select sleep(10)");
    CHECK(time_of([&] { CHECK(error_of([&] { a.driver.rollback(a.c, soon()); })); }) < grace);
    CHECK(a.state() == session_state::unknown);
}

TEST_CASE("Results that only their holder can read away cost the connection") {
    {
        opened a{by_socket()};
        REQUIRE(mysql_query(a.native(), "select 1 union select 2") == 0);
        MYSQL_RES* rows = mysql_use_result(a.native());
        (void)mysql_fetch_row(rows);
        CHECK(a.state() == session_state::busy);
        CHECK(!a.driver.reset_start(a.c));
        CHECK_THAT(error_of([&] { a.driver.reset(a.c, soon()); })->what(), ContainsSubstring("only its holder"));
        CHECK(a.state() == session_state::unknown);
        mysql_free_result(rows);
    }
    {
        opened a{by_socket()};
        const statement s = prepare(a.native(), "select 1 union select 2");
        REQUIRE(mysql_stmt_execute(s.get()) == 0);
        CHECK(a.state() == session_state::busy);
        CHECK(!a.driver.reset_start(a.c));
        CHECK(error_of([&] { a.driver.reset(a.c, soon()); }));
        CHECK(a.state() == session_state::unknown);
    }
    opened a{by_socket()}; // and read to their end they leave nothing
    REQUIRE(mysql_query(a.native(), "select 1 union select 2") == 0);
    mysql_free_result(mysql_use_result(a.native()));
    CHECK(a.state() == session_state::idle);
    a.driver.reset(a.c, soon());
    CHECK(a.ask("select 1") == "1");
}

TEST_CASE("A reset clears whatever a user can leave on a session, by every way to do it") {
    opened root{as_root()};
    const table t;
    const auto ways = {
        +[](opened& a) { a.driver.reset(a.c, soon()); },
        +[](opened& a) {
            REQUIRE(a.driver.reset_start(a.c));
            CHECK(a.state() == session_state::unknown); // not to be used in between
            a.driver.reset_finish(a.c, soon());
        },
    };
    const std::string lock = "lock" + std::to_string(::getpid());
    const auto& s = servers::mysql();
    for (const auto& o : {by_socket(), by_tls()}) {
        for (const auto& reset : ways) {
            opened a{o};
            const auto fresh = [&](const char* what) { return a.ask(std::string{"select "} + what); };
            const std::string sql_mode = fresh("@@sql_mode");
            const std::string isolation = a.ask("show variables like '%_isolation'") + a.ask("select @@session.wait_timeout");
            const std::string collation = fresh("@@collation_connection");
            const auto status = [&] { return a.native()->server_status & ~static_cast<unsigned>(SERVER_SESSION_STATE_CHANGED); };
            const auto fresh_status = status();
            for (int round = 0; round < 3; ++round) { // the first learns, the second relies on it
                a.run("set @var = 1");
                a.run("set session sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', wait_timeout = 17");
                a.run("set session transaction isolation level serializable");
                a.run("set autocommit = 0");
                a.run("create temporary table temp (n int)");
                REQUIRE(a.ask("select get_lock('" + lock + "', 5)") == "1");
                a.run("prepare p from 'select 1'");
                a.run("lock tables " + t.name() + " write");
                a.run("unlock tables");
                if (round != 1) a.run("use " + s.database + "_other");
                else REQUIRE(mysql_select_db(a.native(), (s.database + "_other").c_str()) == 0);
                if (round != 1) a.run("set names latin1");
                else REQUIRE(mysql_set_character_set(a.native(), "latin1") == 0);
                if (round == 2) a.run("lock tables " + t.name() + " write");

                reset(a);
                INFO("round " << round);
                CHECK(a.state() == session_state::idle);
                CHECK(status() == fresh_status);
                CHECK(fresh("@var") == "null");
                CHECK(fresh("@@sql_mode") == sql_mode);
                CHECK(a.ask("show variables like '%_isolation'") + a.ask("select @@session.wait_timeout") == isolation);
                CHECK(fresh("@@autocommit") == "1");
                CHECK_THROWS(a.run("select * from temp"));
                CHECK_THROWS(a.run("execute p"));
                CHECK(root.ask("select is_free_lock('" + lock + "')") == "1");
                CHECK(root.ask("select count(*) from " + t.name()) == "0"); // would wait for a lock
                CHECK(fresh("database()") == s.database);
                CHECK(fresh("concat_ws(',', @@character_set_client, @@character_set_connection, @@character_set_results)") == "utf8mb4,utf8mb4,utf8mb4");
                CHECK(fresh("@@collation_connection") == collation);
                CHECK(mysql_character_set_name(a.native()) == std::string{"utf8mb4"});
                CHECK(a.state() == session_state::idle);
            }
        }
    }
}

TEST_CASE("case-B10: What the server keeps for prepared statements is gone after a reset, and says so") {
    opened a{by_socket()};
    const statement s = prepare(a.native(), "select 1");
    a.driver.reset(a.c, soon());
    CHECK(mysql_stmt_execute(s.get()) != 0);
    CHECK((mysql_stmt_errno(s.get()) == 2013 || mysql_stmt_errno(s.get()) == 2056));
    CHECK(a.ask("select 1") == "1");
    CHECK(a.state() == session_state::idle);
}

TEST_CASE("A reset runs options.init again") {
    auto o = by_socket();
    o.init = {"set @purpose = 'test'", "set autocommit = 0"};
    opened a{std::move(o)};
    for (int i = 0; i < 3; ++i) {
        a.run("set @purpose = 'other', autocommit = 1");
        a.driver.reset(a.c, soon());
        CHECK(a.ask("select concat(@purpose, if(@@autocommit, 1, 0))") == "test0");
        CHECK(a.state() == session_state::idle);
    }
}

TEST_CASE("Without a default schema a session that selected one is not kept, and others are") {
    auto o = by_socket();
    o.database.clear();
    opened a{std::move(o)};
    for (int i = 0; i < 2; ++i) a.driver.reset(a.c, soon());
    CHECK(a.ask("select database()") == "null");
    a.run("use " + servers::mysql().database);
    CHECK_THAT(error_of([&] { a.driver.reset(a.c, soon()); })->what(), ContainsSubstring("options.database"));
}

TEST_CASE("A reset takes one round trip once the server is known, and one more for what was changed") {
    relay between;
    auto o = by_tcp();
    o.port = between.port();
    opened a{o};
    const auto flights = [&](auto f) {
        const int before = between.flights();
        f();
        return between.flights() - before;
    };
    const auto reset = [&] { a.driver.reset(a.c, soon()); };
    const auto deferred = [&] {
        REQUIRE(a.driver.reset_start(a.c));
        a.driver.reset_finish(a.c, soon());
    };
    CHECK(flights(reset) == 5);
    const int one = flights(reset);
    // libmysqlclient asks a MariaDB for a character set that this does not know, so that it may not come back by itself.
    CHECK((one == 1 || (one == 2 && !cenote::drivers::mysql_client::is_mariadb)));
    CHECK(flights(deferred) == one);
    a.run("begin");
    CHECK(flights(deferred) == one);
    a.run("use " + servers::mysql().database + "_other");
    CHECK(flights(deferred) == one + 1);
    a.run("set names latin1");
    CHECK(flights(deferred) == 2);
    CHECK(flights(deferred) == one);
    CHECK(flights([&] { a.driver.ping(a.c, soon()); }) == 1);
    CHECK(flights([&] { (void)a.driver.role(a.c, soon()); }) == 2);
    CHECK(flights([&] { (void)a.driver.peek(a.c); }) == 0);
}

TEST_CASE("A started clean-up does what it is for, and can be closed instead") {
    table t;
    opened a{by_socket()};
    const auto soil = [&] {
        a.run("set @kept = 1");
        a.run("begin");
        a.run("insert into " + t.name() + " values (1)");
    };
    soil();
    REQUIRE(a.driver.rollback_start(a.c));
    a.driver.reset_finish(a.c, soon());
    CHECK(a.ask("select @kept") == "1");
    soil();
    REQUIRE(a.driver.execute_start(a.c, "set @kept = 2"));
    a.driver.reset_finish(a.c, soon());
    CHECK(a.ask("select @kept") == "2");
    REQUIRE(a.driver.execute_start(a.c, "select 1 union select @kept := 3"));
    a.driver.reset_finish(a.c, soon());
    CHECK(a.ask("select @kept") == "3");
    CHECK(a.state() == session_state::idle);
    REQUIRE(a.driver.execute_start(a.c, "select * from no_such_table"));
    CHECK(error_of([&] { a.driver.reset_finish(a.c, soon()); })->native_code() == 1146);
    CHECK(a.state() == session_state::idle);
    CHECK(error_of([&] { a.driver.reset_finish(a.c, soon()); })->kind() == error_class::disconnected); // nothing was started
    CHECK(t.rows() == "0");

    for (const auto& o : {by_socket(), by_tls()}) {
        opened b{o};
        REQUIRE(b.driver.execute_start(b.c, "select sleep(20)"));
        CHECK(b.driver.peek(b.c) == liveness::quiet);
        CHECK(time_of([&] { b.driver.close(b.c); }) < grace);
        opened d{o};
        d.run("begin");
        d.run("insert into " + t.name() + " values (1)");
        REQUIRE(d.driver.reset_start(d.c));
        d.driver.close(d.c);
        CHECK(comes_true([&] { return t.rows() == "0"; }));
        CHECK(d.driver.native_handle(d.c) == nullptr);
    }
}

TEST_CASE("What the server says of statements arrives with number, SQLSTATE and class") {
    table t;
    opened a{by_socket()};
    a.run("insert into " + t.name() + " values (1)");
    const auto kind = [&](const std::string& sql) { return error_of([&] { a.driver.execute(a.c, sql, soon()); }); };
    const auto duplicate = kind("insert into " + t.name() + " values (1)");
    REQUIRE(duplicate);
    CHECK(duplicate->kind() == error_class::constraint);
    CHECK(duplicate->native_code() == 1062);
    CHECK(duplicate->sqlstate() == "23000");
    CHECK_THAT(duplicate->what(), ContainsSubstring("Duplicate entry"));
    CHECK(kind("set transaction read only; ") == std::nullopt);
    CHECK(kind("nonsense")->sqlstate() == "42000");
    CHECK(kind("select '" + servers::mysql().password + "' from no_such_table") != std::nullopt);
    const auto shown = kind("nonsense '" + servers::mysql().password + "'");
    CHECK_THAT(shown->what(), !ContainsSubstring(servers::mysql().password));
    CHECK(a.state() == session_state::idle);
}

TEST_CASE("Two transactions that wait for each other are a serialization failure, and one that waits too long a timeout") {
    const table t;
    opened a{by_socket()}, b{by_socket()};
    a.run("insert into " + t.name() + " values (1), (2)");
    a.run("begin");
    a.run("update " + t.name() + " set n = n + 10 where n = 1");
    b.run("set innodb_lock_wait_timeout = 1");
    CHECK(error_of([&] { b.driver.execute(b.c, "update " + t.name() + " set n = n + 20 where n = 1", soon()); })->kind() == error_class::timeout);
    b.run("begin");
    b.run("update " + t.name() + " set n = n + 20 where n = 2");
    std::optional<driver_error> other;
    std::thread waits{[&] { other = error_of([&] { a.driver.execute(a.c, "update " + t.name() + " set n = n + 10 where n = 2", soon()); }); }};
    const auto mine = error_of([&] {
        std::this_thread::sleep_for(50ms);
        b.driver.execute(b.c, "update " + t.name() + " set n = n + 20 where n = 1", soon());
    });
    waits.join();
    const auto& loser = mine ? mine : other;
    REQUIRE(loser);
    CHECK(loser->kind() == error_class::serialization);
    CHECK(loser->native_code() == 1213);
}
