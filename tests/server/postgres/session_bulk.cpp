// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// COPY and batches of the driver for PostgreSQL.
#include <server/support/postgres.hpp>
#include <server/support/process.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using cenote::condition;
using cenote::deadline;
using cenote::error_class;
using cenote::postgres;
using cenote::session_state;
using cenote::value_view;
using mode = postgres::batch::mode;
using pg::soon;

static_assert(std::is_nothrow_move_constructible_v<postgres::copy_writer> && !std::is_copy_constructible_v<postgres::copy_writer>);
static_assert(!std::is_copy_constructible_v<postgres::copy_reader>);

namespace {

struct one {
    explicit one(const std::string& conninfo = servers::postgres().unix_socket, cenote::duration cancel_time = 5s) : d{options(conninfo, cancel_time)}, c{d} {
        d.execute(*c, "create temp table t (n int primary key, s text, b bytea, r float8, y bool)", soon());
    }
    static postgres::options options(const std::string& conninfo, cenote::duration cancel_time) {
        auto o = pg::options(conninfo);
        o.cancel_time = cancel_time;
        return o;
    }
    std::string ask(const std::string& sql) { return pg::ask(c.handle(), sql); }
    session_state state() { return postgres::state(*c); }
    /// Free, and clean.
    bool usable() { return state() == session_state::idle && ask("select 'ok'") == "ok"; }

    postgres d;
    pg::opened c;
};

std::span<const std::byte> bytes(std::string_view s) { return std::as_bytes(std::span{s.data(), s.size()}); }

} // namespace

TEST_CASE("pg bulk: what COPY takes in and gives out is what was written") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        one o{conninfo};
        const std::string nasty = "\\N \\. \t\n\r\b\f\v\\x41 'ä' \x7f", nul{"\0\xff\\\n\t", 5}, mega(std::string_view{name} == "unix socket" ? 1 << 20 : 1 << 14, 'm');
        {
            auto w = o.d.copy_in(*o.c, "copy t from stdin", soon());
            CHECK(o.state() == session_state::busy);
            CHECK(w.columns() == 5);
            w.row({1, nasty, bytes(nul), 0.1, true});
            w.row({2, nullptr, nullptr, nullptr, nullptr});
            w.row({3, "", bytes(""), -1e300, false});
            w.row({4, "\\N", bytes(mega), 5, nullptr});
            w.row({5, mega, nullptr, nullptr, nullptr});
            CHECK_THROWS_AS(w.row({6, std::string{"a\0", 2}, nullptr, nullptr, nullptr}), std::invalid_argument);
            CHECK_THROWS_AS(w.row({6}), std::invalid_argument);
            w.raw("7\tse");
            w.raw("ven\t\\\\x4142\t\\N\tt\n");
            CHECK(w.finish() == 6);
            CHECK(pg::error_of([&] { w.row({9, "", nullptr, nullptr, nullptr}); }).has_value());
            CHECK(pg::error_of([&] { (void)w.finish(); }).has_value());
        }
        CHECK(o.usable());
        auto r = o.d.query(*o.c, {.sql = "select * from t order by n"}, soon());
        REQUIRE(r.next(soon()));
        CHECK((r.at(1).text() == nasty && r.at(2).text() == nul && r.at(3).real() == 0.1 && r.at(4).boolean()));
        REQUIRE(r.next(soon()));
        CHECK((r.at(1).is_null() && r.at(2).is_null() && r.at(3).is_null() && r.at(4).is_null()));
        REQUIRE(r.next(soon()));
        CHECK((!r.at(1).is_null() && r.at(1).text().empty() && r.at(2).text().empty() && r.at(3).real() == -1e300));
        REQUIRE(r.next(soon()));
        CHECK((r.at(1).text() == "\\N" && r.at(2).text() == mega));
        REQUIRE(r.next(soon()));
        CHECK(r.at(1).text() == mega);
        REQUIRE(r.next(soon()));
        CHECK((r.at(1).text() == "seven" && r.at(2).text() == "AB"));

        auto out = o.d.copy_out(*o.c, "copy (select n, s, s is null from t order by n) to stdout", soon());
        std::vector<std::optional<std::string>> texts;
        while (out.next()) {
            const auto f = out.fields();
            REQUIRE(f.size() == 3);
            CHECK(f[1].has_value() == (f[2] == "f"));
            texts.push_back(f[1]);
        }
        CHECK(texts == std::vector<std::optional<std::string>>{nasty, std::nullopt, "", "\\N", mega, "seven"});
        CHECK(out.rows() == 6);
        CHECK_FALSE(out.next());
        CHECK(o.usable());
    }
}

TEST_CASE("pg bulk: a COPY that is not finished has not taken place, and leaves its connection usable") {
    one o;
    { auto w = o.d.copy_in(*o.c, "copy t (n) from stdin", soon()); }
    CHECK(o.usable());
    {
        auto w = o.d.copy_in(*o.c, "copy t (n) from stdin", soon());
        for (int i = 0; i < 50000; ++i) w.row({i});
        auto moved = std::move(w);
        moved.row({-1});
    }
    CHECK(o.usable());
    CHECK(o.ask("select count(*) from t") == "0");
    {
        o.d.begin(*o.c, {}, soon());
        { auto w = o.d.copy_in(*o.c, "copy t (n) from stdin", soon()); }
        CHECK(o.state() == session_state::failed_transaction);
        o.d.rollback(*o.c, soon());
    }
    {
        auto r = o.d.copy_out(*o.c, "copy (select generate_series(1, 1000000000)) to stdout", soon());
        for (int i = 0; i < 1000; ++i) REQUIRE(r.next());
        CHECK(r.data() == "1000\n");
    }
    CHECK(o.usable());
    // Others have used the connection meanwhile: it is not theirs to end.
    {
        auto w = o.d.copy_in(*o.c, "copy t (n) from stdin", soon());
        w.row({1});
        o.d.rollback(*o.c, soon());
        auto rows = o.d.query(*o.c, {.sql = "select generate_series(1, 3)", .stream = true}, soon());
        CHECK(pg::error_of([&] { (void)w.finish(); }).has_value());
        for (int i = 1; i <= 3; ++i) REQUIRE((rows.next(soon()) && rows.at(0).integer() == i));
        CHECK_FALSE(rows.next(soon()));
    }
    CHECK(o.ask("select count(*) from t") == "0");
    for (const char* sql : {"select 1", "copy t to stdout", "insert into t values (1)", "", "begin"}) {
        INFO(sql);
        CHECK_THROWS_AS(o.d.copy_in(*o.c, sql, soon()), std::invalid_argument);
        o.d.rollback(*o.c, soon());
        CHECK(o.usable());
    }
    CHECK_THROWS_AS(o.d.copy_out(*o.c, "copy t from stdin", soon()), std::invalid_argument);
    CHECK(pg::error_of([&] { (void)o.d.copy_out(*o.c, "copy nowhere to stdout", soon()); })->met() == condition::undefined_object);
    CHECK(o.usable());
}

TEST_CASE("pg bulk: what the server refuses of a COPY is told at its end, and nothing of it is there") {
    one o;
    const auto finished = [&](auto write) {
        auto w = o.d.copy_in(*o.c, "copy t (n, s) from stdin", soon());
        return pg::error_of([&] {
            write(w);
            (void)w.finish();
        });
    };
    const auto twice = finished([](auto& w) {
        w.row({1, "a"});
        w.row({1, "b"});
        for (int i = 2; i < 100000; ++i) w.row({i, "after the error"});
    });
    REQUIRE(twice);
    CHECK((twice->met() == condition::unique_violation && o.usable()));
    const auto malformed = finished([](auto& w) { w.raw("x\ty\n"); });
    REQUIRE(malformed);
    CHECK((malformed->met() == condition::data_error && o.usable()));
    CHECK(o.ask("select count(*) from t") == "0");
}

TEST_CASE("pg bulk: deadlines hold for COPY", "[alone]") {
    one o;
    o.d.execute(*o.c,
                "create temp table slow (n int); create function pg_temp.wait() returns trigger language plpgsql as"
                " $$begin perform pg_sleep(10); return new; end$$;"
                "create trigger wait before insert on slow for each row execute function pg_temp.wait()",
                soon());
    const auto late = [&](auto copy) {
        const auto began = std::chrono::steady_clock::now();
        const auto e = pg::error_of(copy);
        REQUIRE(e);
        CHECK((e->kind() == error_class::timeout && e->met() == condition::statement_timeout));
        CHECK(std::chrono::steady_clock::now() - began < 6s);
        CHECK(o.usable());
    };
    late([&] { // while it waits for the end
        auto w = o.d.copy_in(*o.c, "copy slow from stdin", deadline::in(30ms));
        w.row({1});
        (void)w.finish();
    });
    late([&] { // while the server does not read
        auto w = o.d.copy_in(*o.c, "copy slow from stdin", deadline::in(50ms));
        for (int i = 0;; ++i) w.row({i});
    });
    late([&] { // while the server reads as fast as it is written
        auto w = o.d.copy_in(*o.c, "copy t (n) from stdin", deadline::in(50ms));
        for (int i = 0;; ++i) w.row({i});
    });
    late([&] {
        auto r = o.d.copy_out(*o.c, "copy (select generate_series(1, 1000000000)) to stdout", deadline::in(30ms));
        while (r.next()) {}
    });
    late([&] {
        auto r = o.d.copy_out(*o.c, "copy (select pg_sleep(30)) to stdout", deadline::in(30ms));
        while (r.next()) {}
    });
    CHECK(o.ask("select count(*) from slow") == "0");

    one lost{servers::postgres().tcp, 50ms};
    auto w = lost.d.copy_in(*lost.c, "copy t (n) from stdin", soon());
    w.row({1});
    pg::witness outside;
    REQUIRE(outside.terminate(lost.c.pid()));
    const auto e = pg::error_of([&] { (void)w.finish(); });
    REQUIRE(e);
    CHECK((e->met() == condition::disconnected && e->sqlstate() == "57P01"));
    CHECK(lost.state() == session_state::unknown);
}

TEST_CASE("pg bulk: a batch answers each of its statements") {
    one o;
    postgres::batch b;
    CHECK(o.d.run(*o.c, b, mode::together, soon()).empty());
    const std::string mega(1 << 20, 'm'), nul{"a\0b", 3};
    for (int i = 0; i < 100; ++i) b.add("insert into t (n, s, b) values ($1, $2, $3)", {i, "text", bytes(nul)});
    b.add("select count(*), $1::text, $2::bytea from t", {mega, bytes(mega)});
    b.add("select n from t where n < 3 order by n");
    b.add("");
    CHECK(b.size() == 103);
    for (const mode how : {mode::together, mode::each}) {
        auto all = o.d.run(*o.c, b, how, soon());
        REQUIRE(all.size() == 103);
        CHECK(all[0].rows.affected() == 1);
        REQUIRE(all[100].rows.next(soon()));
        CHECK((all[100].rows.at(0).integer() == 100 && all[100].rows.at(1).text() == mega && all[100].rows.at(2).text() == mega));
        for (int i = 0; i < 3; ++i) REQUIRE((all[101].rows.next(soon()) && all[101].rows.at(0).integer() == i));
        CHECK_FALSE(all[101].rows.next(soon()));
        CHECK_FALSE(all[102].rows.next(soon()));
        CHECK(o.usable());
        o.d.execute(*o.c, "delete from t", soon());
    }
    CHECK_THROWS_AS(b.add(nul), std::invalid_argument);
    CHECK_THROWS_AS(b.add("select $1", {nul}), std::invalid_argument);
    // More than fits between the two of them, both ways.
    postgres::batch large;
    for (int i = 0; i < 16; ++i) large.add("select $1::text", {mega});
    auto all = o.d.run(*o.c, large, mode::each, soon());
    for (auto& a : all) REQUIRE((a.rows.next(soon()) && a.rows.at(0).text().size() == mega.size()));
}

TEST_CASE("pg bulk: what fails in a batch is named, and takes with it what depends on it") {
    one o;
    postgres::batch b;
    b.add("insert into t (n) values (1)").add("insert into t (n) values (2)").add("insert into t (n) values ($1)", {1}).add("insert into t (n) values (4)");
    const auto failed = [&](mode how) -> std::optional<postgres::batch_error> {
        try {
            (void)o.d.run(*o.c, b, how, soon());
        } catch (const postgres::batch_error& e) {
            return e;
        }
        return std::nullopt;
    };
    const auto e = failed(mode::together);
    REQUIRE(e);
    CHECK((e->at() == 2 && e->met() == condition::unique_violation && e->sqlstate() == "23505"));
    CHECK(std::string_view{e->what()}.find("statement 3 of 4") != std::string_view::npos);
    CHECK((o.usable() && o.ask("select count(*) from t") == "0"));
    auto each = o.d.run(*o.c, b, mode::each, soon());
    CHECK((!each[0].error && !each[1].error && each[2].error && each[2].error->met() == condition::unique_violation && !each[3].error));
    CHECK((o.usable() && o.ask("select count(*) from t") == "3"));
    // Inside a transaction there is only one to fail.
    o.d.execute(*o.c, "delete from t", soon());
    o.d.begin(*o.c, {}, soon());
    each = o.d.run(*o.c, b, mode::each, soon());
    CHECK((each[2].error && each[3].error && each[3].error->sqlstate() == "25P02"));
    CHECK(o.state() == session_state::failed_transaction);
    CHECK(pg::error_of([&] { o.d.commit(*o.c, soon()); }).has_value());
    o.d.begin(*o.c, {}, soon());
    CHECK(failed(mode::together)->at() == 2);
    CHECK(o.state() == session_state::failed_transaction);
    o.d.rollback(*o.c, soon());
    CHECK((o.usable() && o.ask("select count(*) from t") == "0"));
}

TEST_CASE("pg bulk: a batch that is late is cancelled, one that is lost says so", "[alone]") {
    one o;
    for (const mode how : {mode::together, mode::each}) {
        postgres::batch b;
        b.add("insert into t (n) values (1)").add("select pg_sleep(30)").add("insert into t (n) values (3)");
        const auto e = pg::error_of([&] { (void)o.d.run(*o.c, b, how, deadline::in(30ms)); });
        REQUIRE(e);
        CHECK((e->kind() == error_class::timeout && e->met() == condition::statement_timeout));
        CHECK(o.usable());
        CHECK(o.ask("select count(*) from t") == (how == mode::together ? "0" : "2"));
    }
    pg::witness outside;
    postgres::batch b;
    b.add("insert into t (n) values (7)").add("select pg_terminate_backend(pg_backend_pid())").add("insert into t (n) values (8)");
    const auto e = pg::error_of([&] { (void)o.d.run(*o.c, b, mode::together, soon()); });
    REQUIRE(e);
    CHECK((e->met() == condition::disconnected && e->sqlstate() == "57P01"));
    CHECK(o.state() == session_state::unknown);

    one copies;
    postgres::batch bad;
    bad.add("select 1").add("copy t to stdout");
    CHECK(pg::error_of([&] { (void)copies.d.run(*copies.c, bad, mode::together, soon()); }).has_value());
}
