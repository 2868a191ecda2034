// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "support.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace session_tests;
using Catch::Matchers::ContainsSubstring;
using cenote::condition;
using cenote::cursor;
using cenote::driver_error;
using cenote::error_class;
using cenote::result_error;
using cenote::testing::outcome;
using cenote::testing::site;

static_assert(cenote::can_query<cenote::sqlite> && cenote::can_transact<cenote::sqlite> && cenote::can_forget_statements<cenote::sqlite>);
static_assert(cenote::can_query<driver> && cenote::can_transact<driver> && cenote::can_forget_statements<driver>);
static_assert(!std::is_copy_constructible_v<session> && std::is_nothrow_move_constructible_v<session>);
static_assert(!std::is_move_constructible_v<cursor> && !std::is_copy_constructible_v<cursor>);

/// A document, as a JSON library would have it.
struct document {
    std::string text;
};
template <>
struct cenote::convert<document> {
    static document from(cenote::value_view v) {
        if (!v.text().starts_with('{')) throw std::invalid_argument{"this is no document"};
        return {std::string{v.text()}};
    }
    static std::string to(const document& d) { return d.text; }
};

namespace {

template <class F>
driver_error error_of(F&& f) {
    try {
        f();
    } catch (const driver_error& e) {
        return e;
    }
    return driver_error{error_class::other, "nothing was thrown"};
}

} // namespace

TEST_CASE("a session runs statements with values and gives back owned rows") {
    bank b;
    std::optional<cenote::result> kept;
    {
        cenote::session s{b.db.acquire()};
        CHECK(s.exec("insert into accounts values (?, ?)", 3, 30) == 1);
        CHECK(s.exec("insert into accounts values ($2, $1)", 40, 4) == 1);
        CHECK(s.exec("update accounts set balance = balance + 1 where id > ?", 2) == 2);
        CHECK(s.exec("update accounts set balance = 0 where id > ?", 99) == 0);
        CHECK(s.exec("create table other(x)") == 0);
        CHECK(s.exec("select * from accounts") == 4);
        kept = s.query("select balance, id from accounts where id > ?1 order by id", 2);
    }
    CHECK(b.at_rest());
    REQUIRE(kept->size() == 2);
    CHECK(kept->affected() == 2);
    CHECK(kept->name(1) == "id");
    CHECK((*kept)[1].get<int>("balance") == 41);

    CHECK(b.db.exec("delete from accounts where id = ?", 4) == 1);
    CHECK(b.db.query("select * from accounts").size() == 3);
    const auto returned = b.db.query("insert into accounts values (9, 9) returning id");
    CHECK((returned.size() == 1 && returned.affected() == 1 && returned.front().get<int>(0) == 9));
    CHECK(b.at_rest());
}

TEST_CASE("values of every kind go into SQLite and come out of it as they were") {
    bank b;
    session s{b.db.acquire()};
    const auto back = [&](const auto& v) { return s.one("select ?, typeof(?1)", v); };
    CHECK(back(std::numeric_limits<std::int64_t>::min()).get<std::int64_t>(0) == std::numeric_limits<std::int64_t>::min());
    CHECK(back(std::uint32_t{7}).get<std::uint32_t>(0) == 7);
    CHECK(back(true).get<bool>(0));
    CHECK(back(0.1).get<double>(0) == 0.1);
    CHECK(back("x").get<std::string>(1) == "text");
    CHECK(back(std::string{"a\0b", 3}).get<std::string>(0) == std::string{"a\0b", 3});
    CHECK(back(std::string_view{}).get<std::string>(1) == "text");
    CHECK(back(nullptr).is_null(0));
    CHECK(back(std::optional<int>{}).is_null(0));
    CHECK(back(std::optional<std::string>{"o"}).get<std::string>(0) == "o");
    CHECK(back(std::vector<std::byte>{std::byte{0}, std::byte{9}}).get<std::vector<std::byte>>(0).size() == 2);
    CHECK(back(std::vector<std::byte>{}).get<std::string>(1) == "blob");
    CHECK(back(document{"{1}"}).get<document>(0).text == "{1}");
    CHECK(back(std::optional<document>{}).is_null(0));
    CHECK_THROWS_WITH(back("1").get<document>(0), ContainsSubstring("column 0 \"?\": '1' cannot be read as document: this is no document"));
    CHECK(s.one("select '1', 2.5").as<std::tuple<int, double>>() == std::tuple{1, 2.5});

    const auto too_large = error_of([&] { (void)back(std::numeric_limits<std::uint64_t>::max()); });
    CHECK_THAT(too_large.what(), ContainsSubstring("value 1 is above 9223372036854775807"));
    CHECK(too_large.met() == condition::data_error);
    CHECK_THAT(error_of([&] { (void)back(std::nan("")); }).what(), ContainsSubstring("value 1 is not a number (NaN)"));
    // Never part of the text.
    CHECK(s.scalar<int>("select count(*) from accounts where id = ?", "1 or 1 = 1") == 0);
    CHECK(s.scalar<int>("select count(*) from accounts") == 2);
}

TEST_CASE("a statement whose values are not those that it asks for does not run") {
    bank b;
    session s{b.db.acquire()};
    CHECK_THAT(error_of([&] { s.exec("delete from accounts where id = ?"); }).what(), ContainsSubstring("placeholders for 1 values, and 0 were given"));
    CHECK_THAT(error_of([&] { s.exec("delete from accounts where id = $2", 1); }).what(), ContainsSubstring("placeholders for 2 values, and 1 were given"));
    CHECK_THAT(error_of([&] { s.exec("delete from accounts", 1); }).what(), ContainsSubstring("placeholders for 0 values, and 1 were given"));
    CHECK_THAT(error_of([&] { s.exec("delete from accounts where id = :id", 1); }).what(), ContainsSubstring("the placeholder :id has no number"));
    CHECK_THAT(error_of([&] { s.exec("delete from accounts; select 1"); }).what(), ContainsSubstring("more in the text than one statement"));
    CHECK_THAT(error_of([&] { s.exec("delete from accounts; nonsense"); }).what(), ContainsSubstring("more in the text than one statement"));
    CHECK_THAT(error_of([&] { s.exec(" -- nothing"); }).what(), ContainsSubstring("no statement in the text"));
    CHECK(s.exec("select 1; -- and a comment\n ; ") == 1);
    CHECK(s.scalar<int>("select count(*) from accounts") == 2);
}

TEST_CASE("one row and one value are just that") {
    bank b;
    session s{b.db.acquire()};
    const auto reason = [](auto&& f) {
        try {
            f();
        } catch (const result_error& e) {
            return static_cast<int>(e.why());
        }
        return -1;
    };
    const auto no_row = static_cast<int>(result_error::reason::no_row), several = static_cast<int>(result_error::reason::several_rows);
    CHECK(s.one("select * from accounts where id = 1").get<int>("balance") == 100);
    CHECK(reason([&] { (void)s.one("select * from accounts where id = 7"); }) == no_row);
    CHECK(reason([&] { (void)s.one("select * from accounts"); }) == several);
    CHECK(s.one_or_none("select * from accounts where id = 7") == std::nullopt);
    CHECK(s.one_or_none("select id from accounts where id = 2")->get<int>(0) == 2);
    CHECK(reason([&] { (void)s.one_or_none("select * from accounts"); }) == several);
    CHECK(s.scalar<std::string>("select 'text'") == "text");
    CHECK(reason([&] { (void)s.scalar<int>("select 1 where false"); }) == no_row);
    CHECK(reason([&] { (void)s.scalar<int>("select id from accounts"); }) == several);
    CHECK(reason([&] { (void)s.scalar<int>("select null"); }) == static_cast<int>(result_error::reason::null_value));
    CHECK(reason([&] { (void)s.scalar<int>("select 1, 2"); }) == static_cast<int>(result_error::reason::no_column));
    CHECK(s.scalar<std::optional<int>>("select null") == std::nullopt);
    CHECK(s.scalar_or_none<int>("select 1 where false") == std::nullopt);
    CHECK(s.scalar_or_none<int>("select null") == std::nullopt);
    CHECK(s.scalar_or_none<int>("select 5") == 5);
    CHECK(reason([&] { (void)s.scalar_or_none<int>("select id from accounts"); }) == several);
    CHECK(s.exec("delete from accounts where id = 2") == 1); // nothing of all that is still running
}

TEST_CASE("rows are read as they arrive, in a callback, one by one or in batches") {
    bank b;
    session s{b.db.acquire()};
    constexpr const char* sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?) select i, 'row ' || i as text from n";
    const int sum = s.process(sql, 1000, [](cursor& rows) {
        int all = 0;
        for (auto& r : rows) {
            all += r.get<int>("i");
            CHECK(r.get<std::string_view>(1).starts_with("row "));
        }
        CHECK_THROWS_AS(rows.get<int>(0), std::logic_error);
        CHECK_FALSE(rows.next());
        return all;
    });
    CHECK(sum == 500500);

    std::vector<std::size_t> sizes;
    cenote::result last;
    CHECK(s.many(400, sql, 1000, [&](cenote::result batch) {
        sizes.push_back(batch.size());
        last = std::move(batch);
    }) == 1000);
    CHECK(sizes == std::vector<std::size_t>{400, 400, 200});
    CHECK(last[199].get<std::string>("text") == "row 1000");
    CHECK(s.many(10, "select 1 where false", [&](const cenote::result&) { sizes.clear(); }) == 0);
    CHECK(sizes.size() == 3);
    CHECK_THROWS_AS(s.many(0, sql, 1, [](const cenote::result&) {}), std::invalid_argument);

    s.process(sql, 10, [](cursor& rows) {
        CHECK_THROWS_AS(rows.get<int>(0), std::logic_error); // before the first
        CHECK(rows.columns() == 2);
        CHECK(rows.next());
        CHECK(rows.many(4).front().get<int>(0) == 2);
        CHECK_THROWS_AS(rows.get<int>(0), std::logic_error); // these were copied
        CHECK(rows.many(100).size() == 5);
        CHECK(rows.many(100).empty());
    });
}

TEST_CASE("a callback that stops, or throws, leaves the session as good as before") {
    bank b;
    session s{b.db.acquire()};
    const int first = s.process("select id from accounts order by id", [&](cursor& rows) {
        rows.next();
        CHECK_THROWS_AS(s.exec("delete from accounts"), std::logic_error); // not while it reads
        CHECK_THROWS_AS((void)std::move(s).begin(), std::logic_error);
        return rows.get<int>(0);
    });
    CHECK(first == 1);
    CHECK(s.exec("update accounts set balance = balance") == 2);
    CHECK_THROWS_AS(s.process("select id from accounts", [](cursor& rows) { rows.next(), throw 42; }), int);
    CHECK_THROWS_AS(s.process("select id from accounts", [](cursor& rows) { rows.next(), (void)rows.get<int>(7); }), result_error);
    CHECK(s.exec("update accounts set balance = balance") == 2);
    // An error of the rows themselves.
    CHECK_THROWS_AS(s.process("select abs(balance - 200 + id) / (id <> 2), abs(-9223372036854775808 + (id <> 2)) from accounts order by id", [](cursor& rows) {
        while (rows.next()) {}
    }), driver_error);
    CHECK(s.exec("update accounts set balance = balance") == 2);
}

TEST_CASE("what a statement met is told in the same words for every database") {
    bank b;
    session s{b.db.acquire()};
    s.script("create table child(parent integer references accounts(id)); create table strict(x integer) strict");
    const auto met = [&](std::string_view sql) { return error_of([&] { s.exec(sql); }).met(); };
    CHECK(met("insert into accounts values (1, 1)") == condition::unique_violation);
    CHECK(met("insert into child values (99)") == condition::foreign_key_violation);
    CHECK(met("insert into accounts values (5, null)") == condition::not_null_violation);
    CHECK(met("update accounts set balance = -1") == condition::check_violation);
    CHECK(met("insert into strict values ('x')") == condition::data_error);
    CHECK(met("select abs(-9223372036854775807 - 1)") == condition::data_error);
    CHECK(met("selekt 1") == condition::syntax_error);
    CHECK(met("select (") == condition::syntax_error);
    CHECK(met("select * from nowhere") == condition::undefined_object);
    CHECK(met("select missing from accounts") == condition::undefined_object);
    CHECK(met("create table accounts(x)") == condition::duplicate_object);
    CHECK(met("pragma query_only = on") == condition::none);
    CHECK(met("delete from accounts") == condition::read_only);
    s.exec("pragma query_only = off");
    CHECK(error_of([&] { s.exec("insert into accounts values (1, 1)"); }).kind() == error_class::constraint);

    session other{b.db.acquire()};
    auto t = std::move(other).begin({.mode = cenote::transaction_options::access::read_write});
    CHECK(met("delete from accounts") == condition::lock_timeout);
}

TEST_CASE("a statement has a deadline of its own, or of the session's") {
    bank b;
    session s{b.db.acquire(), {.statement_timeout = 1ns}};
    constexpr const char* endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    const auto e = error_of([&] { s.exec(endless); });
    CHECK(e.kind() == error_class::timeout);
    CHECK(e.met() == condition::statement_timeout);
    CHECK(s.within(1h).scalar<int>("select count(*) from accounts") == 2);
    CHECK(s.until(cenote::deadline::never()).exec("update accounts set balance = balance") == 2);

    session patient{b.db.acquire()};
    CHECK(error_of([&] { patient.within(5ms).exec(endless); }).met() == condition::statement_timeout);
    // It covers all rows, not each.
    CHECK(error_of([&] {
        patient.within(5ms).process("with recursive n(i) as (select 1 union all select i + 1 from n) select i from n", [](cursor& rows) {
            while (rows.next()) {}
        });
    }).met() == condition::statement_timeout);
    CHECK(patient.exec("update accounts set balance = balance") == 2);
    s.give_back();
    CHECK_THROWS_WITH((session{b.db.acquire(0ms), {.statement_timeout = -1ms}}), ContainsSubstring("session_options.statement_timeout"));
}

TEST_CASE("a session that was moved from, or whose connection is gone, says so") {
    bank b;
    session s{b.db.acquire()};
    session other = std::move(s);
    CHECK_THROWS_AS(s.exec("select 1"), std::logic_error); // NOLINT: that is what is tested
    CHECK_THROWS_AS((void)std::move(s).begin(), std::logic_error);
    CHECK_FALSE(s);
    CHECK(other.exec("select 1") == 1);

    b.wrong.next(site::query, outcome::raise(driver_error{error_class::disconnected, "gone", 7, {}, condition::disconnected}));
    CHECK(error_of([&] { other.exec("select 1"); }).native_code() == 7);
    CHECK_FALSE(other);
    CHECK(b.db.stats().used == 0); // it went back at once, to be closed
    CHECK(error_of([&] { (void)other.query("select 1"); }).kind() == error_class::disconnected);
    CHECK(error_of([&] { (void)std::move(other).begin(); }).kind() == error_class::disconnected);

    // One whose state nobody knows is not used again, either.
    session third{b.db.acquire()};
    b.wrong.next(site::query, outcome::fail(error_class::timeout)).next(site::state, outcome::see(cenote::session_state::unknown));
    CHECK(error_of([&] { third.exec("select 1"); }).kind() == error_class::timeout);
    CHECK_FALSE(third);
    third = session{b.db.acquire()};
    CHECK(third.exec("select 1") == 1);
    third.give_back();
    CHECK_THROWS_AS(third.exec("select 1"), std::logic_error);
    CHECK(b.at_rest());
}

TEST_CASE("SQLite keeps as many statements prepared as it was told, and none otherwise") {
    const auto prepared = [](session& s) {
        int n = 0;
        for (sqlite3_stmt* q = nullptr; (q = sqlite3_next_stmt(s.lease().native_handle(), q)) != nullptr; ++n) {}
        return n;
    };
    bank none;
    {
        session s{none.db.acquire()};
        for (int i = 0; i < 3; ++i) CHECK(s.scalar<int>("select ?", i) == i);
        CHECK(prepared(s) == 0);
    }
    bank b{{.statement_cache = 2}};
    session s{b.db.acquire()};
    for (int i = 0; i < 3; ++i) CHECK(s.scalar<int>("select ?", i) == i);
    CHECK(prepared(s) == 1);
    CHECK(s.scalar<std::string>("select ? || 'x'", "a") == "ax");
    CHECK(s.scalar<int>("select ?", 5) == 5);
    CHECK(s.scalar<int>("select ? + 1", 5) == 6); // the one that was used longest ago goes
    CHECK(prepared(s) == 2);
    CHECK_THROWS_AS(s.scalar<int>("select ? + 1"), driver_error); // a value of the last time is not used again
    CHECK_THROWS_AS(s.exec("insert into accounts values (1, ?)", 1), driver_error);
    CHECK_THROWS_AS(s.exec("insert into accounts values (1, ?)", 1), driver_error);
    s.exec("alter table accounts add column extra default 'e'");
    CHECK(s.one("select * from accounts where id = 1").columns() == 3);
    s.exec("alter table accounts drop column extra");
    CHECK(s.one("select * from accounts where id = 1").columns() == 2); // prepared anew by SQLite itself
    s.process("select id from accounts", [&](cursor& rows) {
        rows.next();
        CHECK(s.lease().driver().state(*s.lease()) == cenote::session_state::busy);
    });
    CHECK(s.lease().driver().state(*s.lease()) == cenote::session_state::idle);
    s.lease().driver().forget_statements(*s.lease());
    CHECK(prepared(s) == 0);
    session unkept{b.db.acquire(), {.keep_statements = false}};
    CHECK(unkept.scalar<int>("select 1") == 1);
    CHECK(prepared(unkept) == 0);
    CHECK_THROWS_WITH((cenote::sqlite{cenote::sqlite::options{.file = "x", .statement_cache = 1001}}), ContainsSubstring("sqlite.options.statement_cache = 1001"));
}

TEST_CASE("a plan that has become stale is made anew once, outside a transaction") {
    bank b;
    session s{b.db.acquire()};
    b.wrong.next(site::query, outcome::fail(error_class::stale_plan));
    CHECK(s.scalar<int>("select 1") == 1);
    b.wrong.next(site::query, outcome::fail(error_class::stale_plan), 2);
    CHECK(error_of([&] { s.exec("select 1"); }).kind() == error_class::stale_plan);
    auto t = std::move(s).begin();
    b.wrong.next(site::query, outcome::fail(error_class::stale_plan));
    CHECK(error_of([&] { t.exec("select 1"); }).kind() == error_class::stale_plan);
    CHECK(t.exec("select 1") == 1);
}

TEST_CASE("a connection that is lost between two rows takes the rows along, and nothing that looked at them breaks") {
    bank b{{.statement_cache = 4}};
    session s{b.db.acquire()};
    // SQLite's own error of a class that ends the connection, in the middle of the rows.
    sqlite3_create_function(s.lease().native_handle(), "fails", 1, SQLITE_UTF8, nullptr,
                            [](sqlite3_context* c, int, sqlite3_value** v) {
                                if (sqlite3_value_int(v[0]) == 2) sqlite3_result_error_code(c, SQLITE_IOERR_READ);
                                else sqlite3_result_int(c, 1);
                            }, nullptr, nullptr);
    s.process("select fails(id) from accounts order by id", [&](cursor& rows) {
        CHECK(rows.next());
        CHECK_THROWS_AS(rows.next(), driver_error);
        CHECK_FALSE(rows.next());
        CHECK(rows.columns() == 0);
        CHECK_THROWS_AS(rows.get<int>(0), result_error);
        CHECK_FALSE(s);
    });
    CHECK(error_of([&] { s.exec("select 1"); }).kind() == error_class::disconnected);
    CHECK(b.at_rest());
}

TEST_CASE("rows that a rollback has ended are not run again") {
    bank b;
    session s{b.db.acquire()};
    auto& lease = s.lease();
    auto rows = lease.driver().query(*lease, {.sql = "insert into accounts values (7, 7), (8, 8) returning id"}, cenote::deadline::never());
    CHECK(rows.next(cenote::deadline::never()));
    lease.driver().rollback(*lease, cenote::deadline::never());
    CHECK(error_of([&] { rows.next(cenote::deadline::never()); }).met() == condition::cancelled);
    CHECK_FALSE(rows.next(cenote::deadline::never()));
    CHECK(b.balances() == "100 100");
}

TEST_CASE("what a session does is cancelled for as long as it has its lease, and a cancel in flight costs the connection") {
    const folder where;
    cenote::testing::faults wrong;
    cenote::pool db{driver{cenote::sqlite{(where.path / "cancel.db").string()}, wrong}, cenote::bounded{.max = 1}, cenote::counters{}};
    cenote::session s{db.acquire()};
    auto stop = s.canceller();
    CHECK(stop.cancel()); // of nothing that runs
    CHECK(s.canceller().cancel());
    SECTION("given back") { s.give_back(); }
    SECTION("gone") { const auto gone = std::move(s); }
    SECTION("replaced") {
        auto other = std::move(s);
        CHECK(stop.cancel()); // it moved with the lease
        other.give_back();
        s = cenote::session{db.acquire()};
        CHECK_FALSE(stop.cancel());
        CHECK(s.canceller().cancel());
        stop = s.canceller();
        other = std::move(s);
        CHECK(stop.cancel());
        other = cenote::session{cenote::lease<decltype(db)::core_type>{}};
    }
    SECTION("in a transaction") {
        auto t = std::move(s).begin();
        CHECK(stop.cancel());
        CHECK(t.canceller().cancel());
        t.commit();
    }
    CHECK_FALSE(stop.cancel());
    CHECK(db.stats().closed == 0);

    cenote::session other{db.acquire()};
    const auto late = other.canceller();
    wrong.next(site::cancel, outcome::fail(error_class::timeout));
    CHECK_THROWS_AS(late.cancel(), driver_error); // it may arrive yet
    other.give_back();
    CHECK(db.acquire());
    CHECK(db.stats().opened == 2);
}
