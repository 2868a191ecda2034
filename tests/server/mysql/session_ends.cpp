// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// How statements end that do not end by themselves: deadlines, kills, a lost server; what is kept, and what becomes of transactions.
#include "server/mysql/session_support.hpp"
#include "server/support/punctuality.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace mysql_tests;
using Catch::Matchers::ContainsSubstring;
using options = cenote::transaction_options;

namespace {

const std::string endless = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000) select a.i from n a, n b, n c, n d";

mysql::options keeping(mysql::options o, std::size_t n) {
    o.statement_cache = n;
    return o;
}
/// How often this session has done something.
int count_of(opened& a, const std::string& what) {
    return std::stoi(a.ask("select variable_value from information_schema.session_status where variable_name = '" + what + "'"));
}
std::size_t cancel_rounds() {
    const char* n = std::getenv("CENOTE_CANCEL_ROUNDS");
    return n != nullptr ? std::stoul(n) : 150;
}

} // namespace

TEST_CASE("A statement whose deadline passes is stopped on the server, and the connection stays of use", "[alone]") {
    opened root{as_root()};
    const table t;
    opened blocker{by_socket()};
    blocker.run("begin");
    blocker.run("insert into " + t.name() + " values (1)");
    for (const auto& o : {keeping(by_socket(), 9), keeping(by_tls(), 9)}) {
        for (const bool prepared : {false, true}) {
            opened a{o};
            a.run("set @mine = 7");
            for (const std::string& sql : {std::string{"select sleep(20)"}, "select count(*) from (" + endless + ") x", "insert into " + t.name() + " values (1)"}) {
                INFO(sql << " " << prepared);
                std::optional<driver_error> e;
                const auto took = time_of([&] {
                    e = error_of([&] { (void)ask_for(a, sql, {}, {.keep = prepared}, deadline::in(30ms)); });
                });
                REQUIRE(e);
                CHECK(e->kind() == error_class::timeout);
                CHECK(e->met() == condition::statement_timeout);
                CHECK(took >= 30ms);
                CHECK(took < 30ms + 2 * grace); // a TLS connection to stop it from is slow to make
                CHECK(a.state() == session_state::idle);
                CHECK(a.ask("select @mine") == "7");
                CHECK(comes_true([&] {
                    return root.ask("select command from information_schema.processlist where id = " + std::to_string(a.id())) == "Sleep";
                }));
            }
            for (const bool stream : {false, true}) {
                INFO("rows without end" << prepared << stream);
                const auto e = error_of([&] {
                    const deadline by = deadline::in(20ms);
                    auto rows = prepared ? ask_for(a, endless + " where a.i > ?", {0}, {.stream = stream}, by) : ask_for(a, endless, {}, {.stream = stream}, by);
                    while (rows.next(by)) {}
                });
                REQUIRE(e);
                CHECK(e->met() == condition::statement_timeout);
                CHECK(a.state() == session_state::idle);
                CHECK(first(a, "select ?", {5}).integer() == 5);
            }
            // In a transaction it is the statement that goes, not what was done before.
            a.driver.begin(a.c, {}, soon());
            (void)ask_for(a, "insert into " + t.name() + " values (?)", {2});
            CHECK(error_of([&] { (void)ask_for(a, "insert into " + t.name() + " values (?)", {1}, {}, deadline::in(20ms)); }));
            CHECK(a.state() == session_state::in_transaction);
            a.driver.commit(a.c, soon());
            CHECK(a.ask("select count(*) from " + t.name()) == "1");
            a.run("delete from " + t.name() + " where n = 2");
        }
    }
    CHECK(error_of([&] { (void)ask_for(root, "select ?", {1}, {}, deadline{cenote::time_point{}}); })->kind() == error_class::timeout);
    CHECK(root.state() == session_state::idle); // nothing was sent
}

TEST_CASE("A TLS connection that is cut in the middle of its rows harms no other one of its thread") {
    opened other{by_tls()};
    for (int i = 0; i < 8; ++i) {
        opened a{by_tls()};
        auto token = a.driver.interrupter(a.c);
        auto rows = i % 2 == 0 ? ask_for(a, endless, {}, {.stream = true}) : ask_for(a, endless + " where a.i > ?", {0}, {.stream = true});
        REQUIRE(rows.next(soon()));
        CHECK(error_of([&] { a.driver.rollback(a.c, soon()); }));
        CHECK(a.state() == session_state::unknown);
        CHECK(first(other, "select sleep(0.001)").integer() == 0);
        CHECK(first(other, "select sleep(?)", {0.001}).integer() == 0);
        a.driver.close(a.c);
        CHECK(first(other, "select sleep(0.001)").integer() == 0);
        a.driver.sever(token, soon());
    }
}

TEST_CASE("A server that answers nobody costs the connection, at the deadline and what options.cancel_time gives", "[alone]") {
    const std::string big(4 << 20, 'x'); // more than any socket takes at once
    for (auto o : {by_socket(), by_tcp(), by_tls()}) {
        o.cancel_time = 50ms;
        for (int i = 0; i < 4; ++i) {
            opened a{o};
            (void)first(a, "select ?", {1});
            const frozen_server frozen;
            const auto took = time_of([&] {
                const auto e = error_of([&] {
                    if (i == 0) (void)ask_for(a, "select 1", {}, {}, deadline::in(20ms));
                    if (i == 1) (void)ask_for(a, "select ?", {1}, {}, deadline::in(20ms));
                    if (i == 2) (void)ask_for(a, "select length(?)", {big}, {}, deadline::in(20ms));
                    if (i == 3) (void)ask_for(a, "select ? -- ?", {1}, {}, deadline::in(20ms));
                });
                CHECK((e && e->kind() == error_class::timeout));
            });
            CHECK(took >= 20ms);
            CHECK(took < 70ms + grace);
            CHECK(a.state() == session_state::unknown);
        }
    }
    opened a{by_tls()};
    CHECK(first(a, "select length(?)", {big}).integer() == 4 << 20);
}

TEST_CASE("A session killed before, during or after a statement is disconnected, and never good again") {
    opened root{as_root()}, bystander{by_tls()};
    for (const auto& o : {keeping(by_socket(), 5), keeping(by_tls(), 5)}) {
        for (const bool values : {false, true}) {
            for (const int when : {0, 1, 2}) {
                INFO(values << when);
                opened a{o};
                const std::string kill = "kill " + std::to_string(a.id());
                (void)first(a, "select ?", {1}, {.keep = true});
                std::optional<driver_error> e;
                if (when == 0) {
                    root.run(kill);
                    REQUIRE(comes_true([&] { return a.driver.peek(a.c) == liveness::dead; }));
                    e = error_of([&] { values ? (void)ask_for(a, "select ?", {1}, {.keep = true}) : (void)ask_for(a, "select 1"); });
                } else if (when == 1) {
                    std::jthread killer{[&] {
                        (void)comes_true([&] { return root.ask("select count(*) from information_schema.processlist where state = 'User sleep' and id = " +
                                                               std::to_string(a.id())) == "1"; });
                        root.run(kill);
                    }};
                    e = error_of([&] { values ? (void)ask_for(a, "select sleep(?)", {20}) : (void)ask_for(a, "select sleep(20)"); });
                } else {
                    auto rows = values ? ask_for(a, endless + " where a.i > ?", {0}, {.stream = true}) : ask_for(a, endless, {}, {.stream = true});
                    REQUIRE(rows.next(soon()));
                    root.run(kill);
                    e = error_of([&] { while (rows.next(soon())) {} });
                }
                REQUIRE(e);
                CHECK(e->kind() == error_class::disconnected);
                CHECK(e->met() == condition::disconnected);
                CHECK(a.state() == session_state::unknown);
                CHECK(error_of([&] { (void)ask_for(a, "select ?", {1}); })->kind() == error_class::disconnected);
                CHECK(error_of([&] { a.driver.reset(a.c, soon()); }));
                // Nor has its end left anything behind that another one of this thread would fail of.
                CHECK(first(bystander, "select sleep(0.001)").integer() == 0);
                CHECK(first(bystander, "select sleep(?)", {0.001}).integer() == 0);
            }
        }
    }
}

TEST_CASE("A late KILL QUERY never meets the next statement", "[alone]") {
    std::optional<opened> a{std::in_place, keeping(by_socket(), 30)};
    std::size_t in_time = 0, stopped = 0, lost = 0;
    for (std::size_t i = 0; i < cancel_rounds(); ++i) {
        const how h{.stream = i % 5 == 0, .keep = i % 2 == 0};
        const auto n = static_cast<std::int64_t>(i);
        const auto e = error_of([&] {
            // About as long as the statement takes, and what stops it its while, so that the one and the other come first in turn.
            const deadline by = deadline::in(std::chrono::microseconds{300 + (i * 37) % 700});
            const std::string nap = "sleep(0.00" + std::to_string(10 + i % 9) + ")";
            auto rows = i % 3 == 0 ? ask_for(*a, "select " + nap, {}, h, by) : ask_for(*a, "select ? + " + nap, {n}, h, by);
            while (rows.next(by)) {}
        });
        if (!e) ++in_time;
        else if (a->state() == session_state::unknown) ++lost; // the server may take seconds for a KILL
        else ++stopped;
        if (e) CHECK(e->met() == condition::statement_timeout);
        if (a->state() == session_state::unknown) {
            a.reset();
            a.emplace(keeping(by_socket(), 30));
        }
        REQUIRE(a->state() == session_state::idle);
        REQUIRE(first(*a, "select ?", {n}, h).integer() == n);
        REQUIRE(first(*a, "select 7").integer() == 7);
    }
    WARN(cancel_rounds() << " rounds: " << in_time << " in time, " << stopped << " stopped, " << lost << " lost");
}

TEST_CASE("Statements are kept up to the limit, and prepared again when they have gone") {
    const table t{"n int primary key"};
    opened a{keeping(by_socket(), 2)};
    a.run("insert into " + t.name() + " values (1)");
    const auto ask = [&](const std::string& sql) { return first(a, sql, {1}, {.keep = true}).integer(); };
    const int before = count_of(a, "Com_stmt_prepare");
    for (int i = 0; i < 5; ++i) CHECK(ask("select ?") == 1);
    CHECK(count_of(a, "Com_stmt_prepare") == before + 1);
    CHECK(ask("select 1 + ?") == 2);
    CHECK(ask("select ?") == 1);
    CHECK(ask("select 2 + ?") == 3); // the one in the middle goes
    CHECK(count_of(a, "Com_stmt_close") == 1);
    CHECK(ask("select ?") == 1);
    CHECK(count_of(a, "Com_stmt_prepare") == before + 3);

    const std::string all = "select * from " + t.name() + " where n = ?";
    CHECK(ask(all) == 1);
    a.driver.reset(a.c, soon()); // whatever ends them
    CHECK(ask(all) == 1);
    REQUIRE(mysql_reset_connection(a.native()) == 0);
    CHECK(ask(all) == 1);
    a.driver.forget_statements(a.c);
    CHECK(ask(all) == 1);
    opened{as_root()}.run("alter table " + t.name() + " add column m int");
    CHECK(ask(all) == 1);
    REQUIRE(mysql_reset_connection(a.native()) == 0);
    a.driver.begin(a.c, {}, soon());
    CHECK(ask(all) == 1); // known to be gone without asking: nothing has failed
    a.driver.rollback(a.c, soon());
    opened{as_root()}.run("drop table " + t.name());
    CHECK(error_of([&] { (void)ask(all); })->met() == condition::undefined_object);
    opened{as_root()}.run("create table " + t.name() + " (n int)");

    (void)ask_for(a, "lock tables " + t.name() + " read", {}, {.keep = true}); // cannot be prepared
    (void)ask_for(a, "unlock tables", {}, {.keep = true});

    opened off{by_socket()}; // and none without
    for (int i = 0; i < 3; ++i) (void)first(off, "select ?", {1}, {.keep = true});
    CHECK(count_of(off, "Com_stmt_prepare") == 3);
    CHECK(count_of(off, "Com_stmt_close") == 3);
}

TEST_CASE("A kept statement of an insert whose columns have changed is never run twice") {
    const table t{"n int auto_increment primary key, m int"};
    opened a{keeping(by_socket(), 2)};
    const std::string insert = "insert into " + t.name() + " (m) values (?) returning *";
    (void)first(a, insert, {1}, {.keep = true});
    opened{as_root()}.run("alter table " + t.name() + " add column o int");
    const auto e = error_of([&] { (void)first(a, insert, {1}, {.keep = true}); });
    CHECK(a.state() == session_state::idle);
    CHECK(a.ask("select count(*) from " + t.name()) == "2");
    if (e) CHECK(e->kind() == error_class::stale_plan);
    (void)first(a, insert, {1}, {.keep = true});
    CHECK(a.ask("select count(*) from " + t.name()) == "3");
}

TEST_CASE("Transactions begin as they were asked to, and their level is nobody else's", "[alone]") {
    opened root{as_root()};
    const table t;
    root.run("insert into " + t.name() + " values (0)");
    int next = 1;
    const auto of = [&](opened& a) -> std::string {
        const auto count = [&] { return a.ask("select count(*) from " + t.name()); };
        const std::string before = count();
        const auto e = error_of([&] { a.driver.execute(a.c, "delete from " + t.name() + " where false", soon()); });
        const std::string only = e && e->met() == condition::read_only ? ", read only" : "";
        if (error_of([&] { root.driver.execute(root.c, "select * from " + t.name() + " where n = 0 for update nowait", soon()); })) return "serializable" + only;
        root.run("insert into " + t.name() + " values (" + std::to_string(next++) + ")");
        return (count() == before ? "repeatable read" : "read committed") + only;
    };
    for (const bool multi : {false, true}) {
        auto o = by_socket();
        o.multi_statements = multi;
        opened a{std::move(o)};
        const auto in = [&](options with) {
            a.driver.begin(a.c, with, soon());
            CHECK(a.state() == session_state::in_transaction);
            const std::string is = of(a);
            CHECK_THAT(error_of([&] { a.driver.begin(a.c, {}, soon()); })->what(), ContainsSubstring("open already"));
            a.driver.commit(a.c, soon());
            CHECK(a.state() == session_state::idle);
            return is;
        };
        CHECK(in({}) == "repeatable read");
        CHECK(in({.isolation = options::level::serializable}) == "serializable");
        CHECK(in({.isolation = options::level::read_committed, .mode = options::access::read_only}) == "read committed, read only");
        CHECK(in({.mode = options::access::read_write}) == "repeatable read");
        CHECK_THROWS_AS(a.driver.begin(a.c, {.deferrable = true}, soon()), std::invalid_argument);

        root.run("set global read_only = 1");
        const auto e = error_of([&] { a.driver.begin(a.c, {.isolation = options::level::serializable, .mode = options::access::read_write}, soon()); });
        root.run("set global read_only = 0");
        REQUIRE(e);
        CHECK(e->met() == condition::read_only);
        CHECK(a.state() == session_state::idle);
        CHECK(in({}) == "repeatable read");
    }
}

TEST_CASE("A commit of what the server has rolled back fails, and one after another error does not") {
    const table t;
    opened root{as_root()};
    root.run("insert into " + t.name() + " values (1), (2)");
    opened a{by_socket()}, b{by_socket()};
    const auto update = [&](opened& who, int n) { (void)ask_for(who, "update " + t.name() + " set n = n + ? where n = ?", {10, n}); };
    a.driver.begin(a.c, {}, soon());
    b.driver.begin(b.c, {}, soon());
    update(a, 1);
    update(b, 2);
    std::optional<driver_error> in_a, in_b;
    std::jthread beside{[&] { in_a = error_of([&] { update(a, 2); }); }};
    in_b = error_of([&] { update(b, 1); });
    beside.join();
    REQUIRE(in_a.has_value() != in_b.has_value());
    opened& victim = in_a ? a : b;
    CHECK((in_a ? in_a : in_b)->met() == condition::deadlock);
    (void)ask_for(victim, "select ?", {1}); // who takes no notice of it
    const auto e = error_of([&] { victim.driver.commit(victim.c, soon()); });
    REQUIRE(e);
    CHECK(e->kind() == error_class::serialization);
    CHECK(victim.state() == session_state::idle);
    opened& other = in_a ? b : a;
    other.driver.commit(other.c, soon());

    a.driver.begin(a.c, {}, soon());
    (void)ask_for(a, "insert into " + t.name() + " values (?)", {100});
    CHECK(error_of([&] { (void)ask_for(a, "insert into " + t.name() + " values (?)", {100}); })->met() == condition::unique_violation);
    a.driver.commit(a.c, soon());
    CHECK(root.ask("select count(*) from " + t.name() + " where n = 100") == "1");
}

TEST_CASE("A commit whose answer does not come is lost, and says nothing of what became of it", "[alone]") {
    const table t;
    opened a{by_socket()};
    a.driver.begin(a.c, {}, soon());
    (void)ask_for(a, "insert into " + t.name() + " values (?)", {1});
    const auto unsent = error_of([&] { a.driver.commit(a.c, deadline{cenote::time_point{}}); });
    REQUIRE(unsent);
    CHECK(unsent->kind() == error_class::cancelled); // that much is known
    CHECK(a.state() == session_state::in_transaction);
    {
        const frozen_server frozen;
        CHECK(error_of([&] { a.driver.commit(a.c, deadline::in(50ms)); })->kind() == error_class::timeout);
    }
    CHECK(a.state() == session_state::unknown);
    opened b{by_socket()}, root{as_root()};
    b.driver.begin(b.c, {}, soon());
    (void)ask_for(b, "insert into " + t.name() + " values (?)", {2});
    root.run("kill " + std::to_string(b.id()));
    CHECK(error_of([&] { b.driver.commit(b.c, soon()); })->kind() == error_class::disconnected);
}

TEST_CASE("Many rows are inserted with few statements, whatever they and their columns are called") {
    const table t{"`a``b?` int, `select` varchar(200), c longblob"};
    opened a{by_socket()};
    const std::array<std::string_view, 2> names{"a`b?", "select"};
    std::vector<value_view> values;
    const std::string evil = "'); drop table x; -- ?";
    for (int i = 0; i < 40'000; ++i) values.insert(values.end(), {i, evil});
    const int before = count_of(a, "Com_stmt_execute");
    CHECK(a.driver.insert_many(a.c, t.name(), names, values, soon()) == 40'000);
    CHECK(count_of(a, "Com_stmt_execute") == before + 2);
    CHECK(a.ask("select concat(count(*), ',', sum(`a``b?`), ',', sum(`select` = '" + std::string{"\\'); drop table x; -- ?"} + "')) from " + t.name()) ==
          "40000,799980000,40000");
    CHECK(a.driver.insert_many(a.c, t.name(), names, {}, soon()) == 0);
    const std::string big(300'000, 'x');
    const std::array<std::string_view, 1> c{"c"};
    CHECK(a.driver.insert_many(a.c, t.name(), c, std::vector<value_view>(10, value_view{big}), soon()) == 10);
    CHECK(count_of(a, "Com_stmt_execute") == before + 6);
    CHECK_THROWS_AS(a.driver.insert_many(a.c, t.name(), names, std::vector<value_view>(3), soon()), std::invalid_argument);
    CHECK_THROWS_AS(a.driver.insert_many(a.c, t.name(), {}, values, soon()), std::invalid_argument);
    CHECK_THROWS_AS(a.driver.insert_many(a.c, "", names, values, soon()), std::invalid_argument);
}
