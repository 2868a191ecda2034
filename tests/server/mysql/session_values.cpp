// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Statements with values: what goes in comes out again, whole or streamed, and what fails says what it met.
#include "server/mysql/session_support.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace mysql_tests;
using namespace std::string_literals;
using Catch::Matchers::ContainsSubstring;

static_assert(cenote::can_query<mysql>);
static_assert(cenote::can_transact<mysql>);
static_assert(cenote::can_forget_statements<mysql>);

TEST_CASE("Values of every kind come back as they went in, whole and streamed, prepared once and kept, in one round trip or two") {
    const table t{"id int primary key auto_increment, i bigint, u bigint unsigned, r double, b bool, tx longtext, by_ longblob"};
    const std::string big(1 << 20, 'z'), odd = "quote ' back \\ zero \0 end \xc3\xa4"s;
    const std::vector<std::byte> raw{std::byte{0}, std::byte{255}, std::byte{'\''}};
    const std::vector<std::vector<value_view>> in{
        {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::uint64_t>::max(), 0.1, true, big, std::span{raw}},
        {std::numeric_limits<std::int64_t>::max(), 0U, -1e300, false, odd, std::as_bytes(std::span{big})},
        {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr},
        {-1, 1U, 0.0, true, "", std::span<const std::byte>{}},
    };
    for (auto o : {by_socket(), by_tls()}) {
        o.statement_cache = 2;
        opened a{std::move(o)};
        a.run("truncate " + t.name());
        std::uint64_t id = 0;
        for (const auto& row : in) {
            auto done = ask_for(a, "insert into " + t.name() + " (i, u, r, b, tx, by_) values (?, ?, ?, ?, ?, ?)", row, {.keep = true});
            CHECK(done.columns() == 0);
            CHECK(!done.next(soon()));
            CHECK(done.affected() == 1);
            CHECK(done.last_insert_id() == ++id);
        }
        for (const char* tail : {" where id > ? order by id", " where id > ? /* a comment */ order by id", " order by id"}) {
            const std::string sql = "select i, u, r, b, tx, by_ from " + t.name() + tail;
            for (const how& h : {how{}, how{.stream = true}, how{.keep = true}, how{.stream = true, .keep = true}, how{.keep = true}}) {
                INFO(tail << (h.stream ? " streamed" : "") << (h.keep ? " kept" : ""));
                std::vector<value_view> arguments;
                if (sql.find('?') != sql.npos) arguments.emplace_back(0);
                auto rows = ask_for(a, sql, arguments, h);
                REQUIRE(rows.columns() == 6);
                CHECK(rows.name(5) == "by_");
                CHECK(a.state() == (h.stream ? session_state::busy : session_state::idle));
                for (const auto& row : in) {
                    REQUIRE(rows.next(soon()));
                    for (std::size_t i = 0; i < row.size(); ++i) {
                        INFO(i);
                        CHECK(same(rows.at(i), i == 3 && !row[i].is_null() ? value_view{row[i].boolean() ? 1 : 0} : row[i]));
                    }
                }
                CHECK(!rows.next(soon()));
                CHECK(!rows.next(soon()));
                CHECK(rows.affected() == in.size());
                CHECK(a.state() == session_state::idle);
            }
        }
    }
}

TEST_CASE("Columns become what they are: numbers, bytes, or the server's own text") {
    const table t{"a tinyint unsigned, b bigint, c year, d decimal(30, 10), e date, f time(3), g datetime(6), h bit(9), i varbinary(9), j enum('x', 'y'), "
                  "k json, l float, m date"};
    opened a{by_socket()};
    a.run("set sql_mode = ''");
    a.run("insert into " + t.name() + " values (200, -5, 2024, '12345678901234567890.0123456789', '2024-02-29', '-838:59:59.25', "
                                      "'2024-02-29 12:34:56.123456', 257, x'ff00', 'y', '{\"a\": 1}', 0.5, '0000-00-00')");
    using namespace std::string_view_literals;
    const auto bytes = [](std::string_view s) { return std::as_bytes(std::span{s}); };
    const std::vector<value_view> expected{200U, -5, 2024U, "12345678901234567890.0123456789", "2024-02-29", "-838:59:59.250", "2024-02-29 12:34:56.123456",
                                           bytes("\1\1"sv), bytes("\xff\0"sv), "y", "{\"a\": 1}", 0.5, "0000-00-00"};
    for (const bool prepared : {false, true}) {
        auto rows = ask_for(a, "select * from " + t.name() + (prepared ? " where a > ?" : ""), prepared ? std::vector<value_view>{1} : std::vector<value_view>{});
        REQUIRE(rows.next(soon()));
        for (std::size_t i = 0; i < expected.size(); ++i) {
            INFO(rows.name(i));
            CHECK(same(rows.at(i), expected[i]));
        }
    }
}

TEST_CASE("Many values are bound at once, and none is ever taken for SQL") {
    opened a{by_socket()};
    std::string sql = "select ?";
    std::vector<value_view> values{0};
    for (int i = 1; i < 2000; ++i) {
        sql += ",?";
        values.emplace_back(i);
    }
    auto rows = ask_for(a, sql, values);
    REQUIRE(rows.next(soon()));
    CHECK(same(rows.at(1999), 1999));
    for (const char* evil : {"' or 1=1 -- ", "\\' or 1=1 -- ", "\"; drop table x", "\xbf\x27 or 1=1"}) {
        CHECK(first(a, "select ? = ''", {evil}).integer() == 0);
    }
    CHECK(first(a, "select '?' like ?", {"_"}).integer() == 1); // a quoted one is no placeholder
    CHECK(first(a, "select \"\\\"?\" like ?", {"__"}).integer() == 1);
    CHECK(first(a, "select 1 -- ?\n + ?", {2}).integer() == 3);
}

TEST_CASE("More or fewer values than placeholders are refused, and nothing is run") {
    const table t;
    opened a{by_socket()};
    for (const std::string sql : {" (n) values (?)", " (n) values (?) -- ?"}) {
        for (const std::vector<value_view>& values : {std::vector<value_view>{1, 2}, std::vector<value_view>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}) {
            try {
                (void)ask_for(a, "insert into " + t.name() + sql, values);
                FAIL("it was run");
            } catch (const std::invalid_argument& e) {
                CHECK_THAT(e.what(), ContainsSubstring("statement.values") && ContainsSubstring("placeholders, 1"));
            }
            CHECK(a.state() == session_state::idle);
        }
    }
    CHECK(a.ask("select count(*) from " + t.name()) == "0");
}

TEST_CASE("What a statement met is told the same way, with values and without") {
    const table t{"n int primary key, v varchar(3) not null, w int check (w > 0), p int"};
    opened root{as_root()};
    const table child{"n int, foreign key (n) references " + t.name() + " (n)"};
    opened a{by_socket()};
    a.run("insert into " + t.name() + " values (1, 'a', 1, 1)");
    a.run("insert into " + child.name() + " values (1)");
    struct row {
        std::string sql;
        condition met;
        error_class kind;
    };
    for (const auto& [sql, met, kind] : {
             row{"insert into " + t.name() + " values (1, 'a', 1, 1)", condition::unique_violation, error_class::constraint},
             row{"insert into " + child.name() + " values (7)", condition::foreign_key_violation, error_class::constraint},
             row{"delete from " + t.name(), condition::foreign_key_violation, error_class::constraint},
             row{"insert into " + t.name() + " values (2, null, 1, 1)", condition::not_null_violation, error_class::constraint},
             row{"insert into " + t.name() + " (n) values (2)", condition::not_null_violation, error_class::constraint},
             row{"insert into " + t.name() + " values (2, 'a', -1, 1)", condition::check_violation, error_class::constraint},
             row{"insert into " + t.name() + " values (2, 'long', 1, 1)", condition::data_error, error_class::other},
             row{"insert into " + t.name() + " values (99999999999, 'a', 1, 1)", condition::data_error, error_class::other},
             row{"insert into " + t.name() + " values (2, 'a', 1, 'word')", condition::data_error, error_class::other},
             row{"select nothing from " + t.name(), condition::undefined_object, error_class::other},
             row{"select * from nowhere", condition::undefined_object, error_class::other},
             row{"select nofunc(1)", condition::undefined_object, error_class::other},
             row{"selec 1", condition::syntax_error, error_class::other},
             row{"create table " + t.name() + " (n int)", condition::duplicate_object, error_class::other},
             row{"select * from mysql.user", condition::permission_denied, error_class::auth},
         }) {
        INFO(sql);
        for (const how& h : {how{}, how{.keep = true}}) {
            auto o = by_socket();
            o.statement_cache = 5;
            opened b{std::move(o)};
            const auto e = error_of([&] { (void)ask_for(b, sql, {}, h); });
            REQUIRE(e);
            CHECK(to_string(e->met()) == to_string(met));
            CHECK(to_string(e->kind()) == to_string(kind));
            CHECK(e->native_code() != 0);
            CHECK(e->sqlstate().size() == 5);
            CHECK(b.state() == session_state::idle);
            CHECK(first(b, "select ?", {5}).integer() == 5);
        }
    }
    a.driver.begin(a.c, {.mode = cenote::transaction_options::access::read_only}, soon());
    CHECK(error_of([&] { (void)ask_for(a, "insert into " + t.name() + " values (?, 'a', 1, 1)", {5}); })->met() == condition::read_only);
    a.driver.rollback(a.c, soon());
}

TEST_CASE("Of several results the first with rows is given and the rest read away") {
    auto o = by_socket();
    o.multi_statements = true;
    opened a{std::move(o)};
    a.run("create or replace procedure several(n int) begin select n; select n + 1; select n + 2; end");
    for (const bool stream : {false, true}) {
        for (int i = 0; i < 3; ++i) {
            CHECK(first(a, "call several(?)", {5}, {.stream = stream, .keep = true}).integer() == 5);
            CHECK(first(a, "select 1; select 2; do 0; select 3", {}, {.stream = stream}).integer() == 1);
            CHECK(a.state() == session_state::idle);
        }
        const auto e = error_of([&] {
            auto rows = ask_for(a, "select 1; select * from nowhere", {}, {.stream = stream});
            while (rows.next(soon())) {}
        });
        REQUIRE(e);
        CHECK(e->met() == condition::undefined_object);
        CHECK(a.state() == session_state::idle);
    }
    a.run("drop procedure several");
}

TEST_CASE("A whole result outlives its connection; a streamed one ends with what is done next") {
    opened a{by_socket()};
    std::optional<mysql::rows> kept;
    {
        opened b{by_socket()};
        kept = ask_for(b, "select ? union select 'more'", {std::string(5000, 'x')});
    }
    REQUIRE(kept->next(soon()));
    CHECK(kept->at(0).text().size() == 5000);
    for (const bool prepared : {false, true}) {
        auto rows = prepared ? ask_for(a, "select ? union select 2", {1}, {.stream = true}) : ask_for(a, "select 1 union select 2", {}, {.stream = true});
        REQUIRE(rows.next(soon()));
        CHECK_THAT(error_of([&] { (void)ask_for(a, "select 1"); })->what(), ContainsSubstring("a result is still unread"));
        CHECK(same(rows.at(0), 1));
        a.driver.rollback(a.c, soon());
        CHECK(a.state() == session_state::idle);
        CHECK_THAT(error_of([&] { (void)rows.next(soon()); })->what(), ContainsSubstring("has done something else"));
        CHECK(!rows.next(soon()));
        CHECK(first(a, "select ?", {3}).integer() == 3);
    }
}

TEST_CASE("Rows left half read are read away by a clean-up where they are few, and cost the connection where they are many") {
    for (const char* clean : {"rollback", "reset"}) {
        for (const bool prepared : {false, true}) {
            const auto leave = [&](opened& a, const std::string& sql) {
                auto rows = prepared ? ask_for(a, sql + " where ? = 1", {1}, {.stream = true}) : ask_for(a, sql, {}, {.stream = true});
                REQUIRE(rows.next(soon()));
                CHECK(a.state() == session_state::busy);
                CHECK(!a.driver.reset_start(a.c));
            };
            const auto run_clean_up = [&](opened& a) { std::string{clean} == "reset" ? a.driver.reset(a.c, soon()) : a.driver.rollback(a.c, soon()); };
            auto o = by_socket();
            o.drain_time = 5s;
            opened a{std::move(o)};
            a.run("begin");
            leave(a, "select * from (select 1 union select 2) x");
            run_clean_up(a);
            CHECK(a.state() == session_state::idle);
            CHECK(first(a, "select ?", {3}).integer() == 3);
            opened b{by_socket()};
            auto token = b.driver.interrupter(b.c);
            leave(b, "select x.* from (with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000) select repeat('x', 99) from n a, n b) x");
            CHECK(time_of([&] { CHECK_THAT(error_of([&] { run_clean_up(b); })->what(), ContainsSubstring("options.drain_")); }) < grace);
            CHECK(b.state() == session_state::unknown);
            b.driver.sever(token, soon());
        }
    }
}
