// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Statements with values, transactions, kept statements: what the driver for PostgreSQL does for sessions.
#include <server/support/postgres.hpp>
#include <server/support/process.hpp>

#include <cenote/pool.hpp>
#include <cenote/testing/fault_proxy.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using cenote::condition;
using cenote::deadline;
using cenote::error_class;
using cenote::postgres;
using cenote::session_state;
using cenote::statement;
using cenote::transaction_options;
using cenote::value_view;
using kind = value_view::kind;
using pg::soon;

static_assert(cenote::can_query<postgres> && cenote::can_transact<postgres> && cenote::can_forget_statements<postgres>);
static_assert(std::is_nothrow_move_constructible_v<postgres::rows> && !std::is_copy_constructible_v<postgres::rows>);

namespace {

constexpr bool streamed = true, whole = false;

/// A driver and one connection.
struct one {
    explicit one(std::size_t cache = 0, const std::string& conninfo = servers::postgres().unix_socket, cenote::duration cancel_time = 5s)
        : d{options(cache, conninfo, cancel_time)}, c{d} {}
    static postgres::options options(std::size_t cache, const std::string& conninfo, cenote::duration cancel_time) {
        auto o = pg::options(conninfo);
        o.statement_cache = cache;
        o.cancel_time = cancel_time; // machines that run tests may be busy
        return o;
    }
    postgres::rows query(std::string_view sql, std::initializer_list<value_view> v = {}, bool stream = whole, bool keep = false, deadline by = soon()) {
        return d.query(*c, {.sql = sql, .values = {v.begin(), v.size()}, .stream = stream, .keep = keep}, by);
    }
    postgres::rows kept(std::string_view sql, std::initializer_list<value_view> v = {}) { return query(sql, v, whole, true); }
    std::string text(std::string_view sql, std::initializer_list<value_view> v = {}, bool keep = false) {
        postgres::rows r = query(sql, v, whole, keep);
        REQUIRE(r.next(soon()));
        const value_view a = r.at(0);
        return a.is() == kind::integer ? std::to_string(a.integer()) : a.is_null() ? "(null)" : std::string{a.text()};
    }
    std::optional<cenote::driver_error> error(std::string_view sql, std::initializer_list<value_view> v = {}, bool stream = whole, bool keep = false) {
        return pg::error_of([&] {
            postgres::rows r = query(sql, v, stream, keep);
            while (r.next(soon())) {}
        });
    }
    session_state state() { return postgres::state(*c); }

    postgres d;
    pg::opened c;
};

std::span<const std::byte> bytes(std::string_view s) { return std::as_bytes(std::span{s.data(), s.size()}); }

std::size_t cancel_rounds() {
    const char* const n = std::getenv("CENOTE_CANCEL_ROUNDS");
    return n != nullptr ? std::stoul(n) : 150;
}

} // namespace

TEST_CASE("pg session: values of every kind come back as they were sent") {
    one o;
    const std::string nul{"a\0b\\\xff", 5};
    const std::string mega(1 << 20, 'x');
    for (const bool stream : {whole, streamed}) {
        postgres::rows r = o.query("select $1::bool, $2::int2, $3::int8, $4::float8, $5::text, $6::bytea, $7::int, $8::numeric, $9::text, $10::bytea, $11::bytea, $12::float4, 7::oid",
                                   {true, -5, std::numeric_limits<std::int64_t>::min(), 0.1, "tab\t'quote\"\\", bytes(nul), nullptr,
                                    std::numeric_limits<std::uint64_t>::max(), mega, bytes(mega), bytes(""), 0.1F},
                                   stream);
        REQUIRE(r.columns() == 13);
        CHECK(r.name(0) == "bool");
        CHECK(r.name(13).empty());
        CHECK_THROWS_AS(r.at(0), std::out_of_range);
        REQUIRE(r.next(soon()));
        CHECK((r.at(0).is() == kind::boolean && r.at(0).boolean()));
        CHECK((r.at(1).is() == kind::integer && r.at(1).integer() == -5));
        CHECK(r.at(2).integer() == std::numeric_limits<std::int64_t>::min());
        CHECK((r.at(3).is() == kind::real && r.at(3).real() == 0.1));
        CHECK((r.at(4).is() == kind::text && r.at(4).text() == "tab\t'quote\"\\"));
        CHECK((r.at(5).is() == kind::bytes && r.at(5).text() == nul));
        CHECK(r.at(6).is_null());
        CHECK((r.at(7).is() == kind::text && r.at(7).text() == "18446744073709551615")); // lossless
        CHECK(r.at(8).text() == mega);
        CHECK(r.at(9).text() == mega);
        CHECK((r.at(10).is() == kind::bytes && r.at(10).text().empty()));
        CHECK(static_cast<float>(r.at(11).real()) == 0.1F);
        CHECK(r.at(12).integer() == 7);
        CHECK_THROWS_AS(r.at(13), std::out_of_range);
        CHECK_FALSE(r.next(soon()));
        CHECK_FALSE(r.next(soon()));
        CHECK(r.affected() == 1);
        CHECK(o.state() == session_state::idle);
    }
    constexpr double inf = std::numeric_limits<double>::infinity();
    postgres::rows r = o.query("select $1::float8, $2::float8, $3::float8, $4::float8, $5::float8, $6::int",
                               {inf, -inf, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::max(), 1e0});
    REQUIRE(r.next(soon()));
    CHECK((r.at(0).real() == inf && r.at(1).real() == -inf && std::isnan(r.at(2).real())));
    CHECK((r.at(3).real() == std::numeric_limits<double>::denorm_min() && r.at(4).real() == std::numeric_limits<double>::max() && r.at(5).integer() == 1));
    o.d.execute(*o.c, "set bytea_output = escape", soon());
    postgres::rows escaped = o.query("select $1::bytea", {bytes(nul)});
    REQUIRE(escaped.next(soon()));
    CHECK(escaped.at(0).text() == nul);
}

TEST_CASE("pg session: how many rows were changed or returned, and statements without rows") {
    one o;
    CHECK(o.query("create temp table t (n int, b bytea, s text)").affected() == 0);
    CHECK(o.query("insert into t select g from generate_series(1, 10) g").affected() == 10);
    CHECK(o.query("update t set n = n + $1 where n > $2", {1, 5}).affected() == 5);
    CHECK(o.query("delete from t where n = $1", {-1}).affected() == 0);
    CHECK(o.query("select * from t where false").columns() == 3);
    CHECK(o.query("").columns() == 0);
    for (const bool stream : {whole, streamed}) {
        postgres::rows none = o.query("select n from t where false", {}, stream);
        CHECK(none.name(0) == "n");
        CHECK_FALSE(none.next(soon()));
        postgres::rows all = o.query("select n from t", {}, stream);
        CHECK(o.state() == (stream ? session_state::busy : session_state::idle));
        std::uint64_t n = 0;
        while (all.next(soon())) ++n;
        CHECK((n == 10 && all.affected() == 10 && all.columns() == 1));
        CHECK(o.query("insert into t values ($1, $2)", {1, bytes("x")}, stream).columns() == 0);
        CHECK(o.query("delete from t where b is not null", {}, stream).affected() == 1);
    }
}

TEST_CASE("pg session: what cannot be sent is refused before anything is, and too much of it is the server's to refuse") {
    one o;
    const std::string nul{"a\0b", 3};
    CHECK_THROWS_AS(o.query("select $1", {nul}), std::invalid_argument);
    CHECK_THROWS_AS(o.query(nul), std::invalid_argument);
    CHECK(pg::error_of([&] { (void)o.query("select 1", {}, whole, false, deadline::in(-1s)); })->met() == condition::statement_timeout);
    CHECK(o.state() == session_state::idle);
    std::vector<value_view> many(65535, value_view{1});
    std::string in = "select count(*) from (values (1)) v (n) where n in ($1";
    for (std::size_t i = 2; i <= many.size(); ++i) in += ",$" + std::to_string(i);
    postgres::rows r = o.d.query(*o.c, {.sql = in + ")", .values = many}, soon());
    REQUIRE(r.next(soon()));
    CHECK(r.at(0).integer() == 1);
    many.emplace_back(1);
    CHECK_THROWS_AS(o.d.query(*o.c, {.sql = in + ")", .values = many}, soon()), std::invalid_argument);
    CHECK(o.error("select 1; select 2")->met() == condition::syntax_error); // two commands
    CHECK(o.text("select 5") == "5");
}

TEST_CASE("pg session: conditions are told apart") {
    one o;
    o.d.execute(*o.c,
                "create temp table p (id int primary key);"
                "create temp table t (id int primary key, n int not null check (n > 0), p int references p, r int4range, exclude using gist (r with &&));"
                "insert into t values (1, 1, null, '[1,5)')",
                soon());
    const auto met = [&](std::string_view sql, std::initializer_list<value_view> v = {}) {
        const auto e = o.error(sql, v);
        return e ? e->met() : condition::none;
    };
    for (const bool stream : {whole, streamed}) {
        const auto e = o.error("insert into t values (1, 1)", {}, stream);
        REQUIRE(e);
        CHECK((e->met() == condition::unique_violation && e->kind() == error_class::constraint && e->sqlstate() == "23505"));
        CHECK(o.state() == session_state::idle);
    }
    CHECK(met("insert into t values (2, 1, 5)") == condition::foreign_key_violation);
    CHECK(met("insert into t values (2, null)") == condition::not_null_violation);
    CHECK(met("insert into t values (2, 0)") == condition::check_violation);
    CHECK(met("insert into t values (2, 1, null, '[2,3)')") == condition::exclusion_violation);
    CHECK(met("selec 1") == condition::syntax_error);
    CHECK(met("select * from nowhere") == condition::undefined_object);
    CHECK(met("select nothing from t") == condition::undefined_object);
    CHECK(met("select nothing()") == condition::undefined_object);
    CHECK(met("create temp table t (n int)") == condition::duplicate_object);
    CHECK(met("select 1 / $1::int", {0}) == condition::data_error);
    CHECK(met("select $1::int", {"much"}) == condition::data_error);
    CHECK(met("select pg_read_file('/etc/passwd')") == condition::permission_denied);
    CHECK(met("select * from pg_authid") == condition::permission_denied);
    CHECK(met("select 1") == condition::none);
    o.d.begin(*o.c, {.mode = transaction_options::access::read_only}, soon());
    CHECK(met("create table not_here (n int)") == condition::read_only);
    CHECK(o.state() == session_state::failed_transaction);
    o.d.rollback(*o.c, soon());
    o.d.execute(*o.c, "set statement_timeout = 20", soon());
    const auto limit = o.error("select pg_sleep(20)");
    REQUIRE(limit);
    CHECK((limit->met() == condition::statement_timeout && limit->sqlstate() == "57014"));
    o.d.execute(*o.c, "set statement_timeout = 0; set lock_timeout = 20", soon());
    pg::witness outside{servers::postgres().unix_socket};
    outside.run("select pg_advisory_lock(4711)");
    CHECK(met("select pg_advisory_lock(4711)") == condition::lock_timeout);

    auto token = o.d.interrupter(*o.c);
    std::thread other{[&] {
        if (outside.is_running(o.c.pid())) o.d.cancel(token, soon());
    }};
    const auto asked = o.error("select pg_sleep(20)");
    other.join();
    REQUIRE(asked);
    CHECK((asked->met() == condition::cancelled && asked->kind() == error_class::cancelled));
    CHECK(o.text("select 1") == "1");

    REQUIRE(pg::witness{}.terminate(o.c.pid()));
    const auto gone = o.error("select 1");
    REQUIRE(gone);
    CHECK((gone->met() == condition::disconnected && gone->kind() == error_class::disconnected));
}

TEST_CASE("pg session: serialization failures and deadlocks are told apart") {
    const std::string& admin = servers::postgres().admin; // who may set deadlock_timeout
    one a{0, admin}, b{0, admin};
    const std::string t = "t" + std::to_string(a.c.pid());
    pg::witness outside;
    outside.run("create table " + t + " (id int primary key, n int)");
    outside.run("insert into " + t + " values (1, 0), (2, 0)");
    const transaction_options serializable{.isolation = transaction_options::level::serializable};
    a.d.begin(*a.c, serializable, soon());
    b.d.begin(*b.c, serializable, soon());
    CHECK(a.text("show transaction_isolation") == "serializable");
    (void)a.query("select sum(n) from " + t);
    (void)b.query("select sum(n) from " + t);
    (void)a.query("update " + t + " set n = 1 where id = 1");
    (void)b.query("update " + t + " set n = 1 where id = 2");
    a.d.commit(*a.c, soon());
    const auto lost = pg::error_of([&] { b.d.commit(*b.c, soon()); });
    REQUIRE(lost);
    CHECK((lost->met() == condition::serialization_failure && lost->kind() == error_class::serialization));
    CHECK(b.state() == session_state::idle);

    for (one* o : {&a, &b}) {
        o->d.execute(*o->c, "set deadlock_timeout = 10", soon());
        o->d.begin(*o->c, {}, soon());
    }
    const auto touches = [&](one& o, int id) { return o.error("update " + t + " set n = n + 1 where id = $1", {id}); };
    CHECK((!touches(a, 1) && !touches(b, 2)));
    std::optional<cenote::driver_error> first, second;
    std::thread other{[&] {
        first = touches(a, 2);
        a.d.rollback(*a.c, soon());
    }};
    second = touches(b, 1);
    b.d.rollback(*b.c, soon());
    other.join();
    CHECK(first.has_value() != second.has_value());
    const auto& dead = first ? first : second;
    REQUIRE(dead);
    CHECK((dead->met() == condition::deadlock && dead->kind() == error_class::serialization));
    outside.run("drop table " + t);
}

TEST_CASE("pg session: transactions begin once, commit what they say, and never pass a rollback for a commit") {
    one o;
    using level = transaction_options::level;
    using access = transaction_options::access;
    const auto shows = [&](const transaction_options& how) {
        o.d.begin(*o.c, how, soon());
        const std::string out = o.text("select concat_ws(' ', current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_setting('transaction_deferrable'))");
        o.d.commit(*o.c, soon());
        CHECK(o.state() == session_state::idle);
        return out;
    };
    CHECK(shows({}) == "read committed off off");
    CHECK(shows({.isolation = level::repeatable_read, .mode = access::read_only}) == "repeatable read on off");
    CHECK(shows({.isolation = level::read_committed, .mode = access::read_write}) == "read committed off off");
    CHECK(shows({.isolation = level::serializable, .mode = access::read_only, .deferrable = true}) == "serializable on on");
    CHECK_THROWS_AS(o.d.begin(*o.c, {.isolation = level::serializable, .deferrable = true}, soon()), std::invalid_argument);
    CHECK_THROWS_AS(o.d.begin(*o.c, {.mode = access::read_only, .deferrable = true}, soon()), std::invalid_argument);

    CHECK(pg::error_of([&] { o.d.commit(*o.c, soon()); })->kind() == error_class::other); // none is open
    o.d.begin(*o.c, {}, soon());
    CHECK(pg::error_of([&] { o.d.begin(*o.c, {}, soon()); })->kind() == error_class::other);
    CHECK(o.state() == session_state::in_transaction);
    const auto unsent = pg::error_of([&] { o.d.commit(*o.c, deadline::in(-1s)); });
    CHECK((unsent->kind() == error_class::cancelled && o.state() == session_state::in_transaction));
    (void)o.error("selec");
    const auto refused = pg::error_of([&] { o.d.commit(*o.c, soon()); });
    REQUIRE(refused);
    CHECK((refused->kind() == error_class::other && refused->sqlstate() == "25P02"));
    CHECK(o.state() == session_state::idle);
    o.d.execute(*o.c, "create temp table p (id int primary key); create temp table t (p int references p deferrable initially deferred)", soon());
    o.d.begin(*o.c, {}, soon());
    (void)o.query("insert into t values (1)");
    CHECK(pg::error_of([&] { o.d.commit(*o.c, soon()); })->met() == condition::foreign_key_violation);
    CHECK((o.state() == session_state::idle && o.text("select count(*) from t") == "0"));
    // What goes wrong in a trigger of the commit's is known to have gone wrong, whatever it is called.
    o.d.execute(*o.c,
                "create function pg_temp.fails() returns trigger language plpgsql as $$begin raise exception using errcode = new.code, message = 'no'; end$$;"
                "create temp table f (code text);"
                "create constraint trigger fails after insert on f deferrable initially deferred for each row execute function pg_temp.fails()",
                soon());
    for (const char* code : {"08006", "55P03", "57014"}) {
        o.d.begin(*o.c, {}, soon());
        (void)o.query("insert into f values ($1)", {code});
        const auto e = pg::error_of([&] { o.d.commit(*o.c, soon()); });
        REQUIRE(e);
        CHECK((e->sqlstate() == code && e->kind() != error_class::timeout && e->kind() != error_class::disconnected));
        CHECK((o.state() == session_state::idle && o.text("select count(*) from f") == "0"));
    }
}

TEST_CASE("pg session: a deadline cancels the statement and leaves the connection usable", "[alone]") {
    for (const bool stream : {whole, streamed}) {
        for (const auto& [name, conninfo] : pg::transports()) {
            INFO(name);
            one o{0, conninfo};
            pg::witness outside;
            const auto began = std::chrono::steady_clock::now();
            const auto e = pg::error_of([&] { (void)o.query("select pg_sleep(30)", {}, stream, false, deadline::in(30ms)); });
            const auto took = std::chrono::steady_clock::now() - began;
            REQUIRE(e);
            CHECK((e->kind() == error_class::timeout && e->met() == condition::statement_timeout));
            CHECK((took >= 30ms && took < 6s));
            CHECK(o.state() == session_state::idle);
            CHECK(o.text("select 7") == "7");
            // In the middle of what streams, and of a transaction.
            o.d.begin(*o.c, {}, soon());
            postgres::rows r = o.query("select generate_series(1, 1000000000), repeat('x', 1000)", {}, streamed);
            for (int i = 0; i < 1000; ++i) REQUIRE(r.next(soon()));
            const auto late = pg::error_of([&] {
                for (const deadline by = deadline::in(20ms); r.next(by);) {}
            });
            REQUIRE(late);
            CHECK(late->kind() == error_class::timeout);
            CHECK_FALSE(r.next(soon()));
            CHECK(o.state() == session_state::failed_transaction);
            o.d.rollback(*o.c, soon());
            CHECK(o.text("select 8") == "8");
        }
    }
    SECTION("without time to cancel, or a server that answers, the connection is of no more use") {
        one no_time{0, servers::postgres().unix_socket, 0s};
        CHECK(pg::error_of([&] { (void)no_time.query("select pg_sleep(1)", {}, whole, false, deadline::in(5ms)); })->kind() == error_class::timeout);
        CHECK(no_time.state() == session_state::unknown);
        one o{0, servers::postgres().tcp, 50ms};
        process::stopped frozen{o.c.pid()};
        CHECK(pg::error_of([&] { (void)o.query("select 1", {}, whole, false, deadline::in(5ms)); })->kind() == error_class::timeout);
        CHECK(o.state() == session_state::unknown);
    }
}

TEST_CASE("pg session: a late cancel never hits the next statement", "[alone]") {
    // Deadlines that fall just where the statement ends. Every one that follows on the same connection must be left alone.
    auto now = std::make_unique<one>();
    std::size_t in_time = 0, late = 0, unknown = 0, hit = 0, wrong = 0;
    std::chrono::microseconds budget{900};
    for (std::size_t i = 0, n = cancel_rounds(); i < n; ++i) {
        one& o = *now;
        try {
            (void)o.query("select pg_sleep(0.0008)", {}, i % 2 == 0 ? whole : streamed, false, deadline::in(budget)).next(deadline::in(budget));
            ++in_time;
            budget -= std::chrono::microseconds{20}; // about half of them pass
        } catch (const cenote::driver_error& e) {
            if (e.kind() != error_class::timeout) ++wrong;
            ++late;
            budget += std::chrono::microseconds{20};
        }
        if (o.state() == session_state::busy) o.d.rollback(*o.c, soon());
        if (o.state() != session_state::idle) {
            ++unknown;
            now = std::make_unique<one>();
            continue;
        }
        for (int k = 0; k < 2; ++k) {
            const auto e = pg::error_of([&] { // long enough to be hit by what is on its way
                if (o.text("select $1::int from pg_sleep(0.0001)", {static_cast<int>(i)}) != std::to_string(i)) ++wrong;
            });
            if (e) ++hit;
        }
    }
    INFO(in_time << " in time, " << late << " late, " << unknown << " of no more use");
    CHECK(hit == 0);
    CHECK(wrong == 0);
    CHECK(late > 0);
    CHECK(in_time > 0);
}

TEST_CASE("pg session: rows that are left unread are noticed, not mixed up") {
    one o;
    {
        postgres::rows r = o.query("select generate_series(1, 10)", {}, streamed);
        REQUIRE(r.next(soon()));
        CHECK(pg::error_of([&] { (void)o.query("select 1"); })->kind() == error_class::other); // busy
        CHECK(o.state() == session_state::busy);
        o.d.rollback(*o.c, soon());
        CHECK(o.text("select 1") == "1");
        CHECK(pg::error_of([&] { (void)r.next(soon()); })->kind() == error_class::other);
        CHECK_FALSE(r.next(soon()));
    }
    CHECK(pg::error_of([&] { (void)o.query("copy (select 1) to stdout"); })->kind() == error_class::other);
    CHECK(o.state() == session_state::idle);
    CHECK(pg::error_of([&] { (void)o.query("copy pg_class from stdin", {}, streamed); }).has_value());
    CHECK(o.state() == session_state::idle);

    cenote::pool db{postgres{servers::postgres().unix_socket}, cenote::bounded{.max = 1}};
    for (const char* sql : {"select generate_series(1, 10)", "select repeat('x', 1000) from generate_series(1, 1000000)"}) {
        {
            auto lease = db.acquire(20s);
            postgres::rows r = lease.driver().query(*lease, {.sql = sql, .stream = true}, soon());
            REQUIRE(r.next(soon()));
        }
        auto next = db.acquire(20s);
        postgres::rows r = next.driver().query(*next, {.sql = "select 3"}, soon());
        REQUIRE(r.next(soon()));
        CHECK(r.at(0).integer() == 3);
    }
}

TEST_CASE("pg session: kept statements") {
    const std::string count = "select count(*)::int from pg_prepared_statements";
    SECTION("are prepared once, the one used longest ago goes, and none without the option") {
        one o{2};
        for (int i = 0; i < 3; ++i) CHECK(o.text("select $1::int", {i}, true) == std::to_string(i));
        CHECK(o.text(count) == "1");
        CHECK(o.text("select $1::int + 1", {1}, true) == "2");
        CHECK(o.text("select $1::int", {1}, true) == "1");
        CHECK(o.text("select $1::int + 2", {1}, true) == "3"); // "+ 1" goes
        CHECK(o.text("select $1::int", {1}, true) == "1");     // and is deallocated
        CHECK(o.text(count) == "2");
        CHECK(o.text("select count(*)::int from pg_prepared_statements where statement like '%+ 1'") == "0");
        one off;
        CHECK(off.text("select $1::int", {1}, true) == "1");
        CHECK(off.text(count) == "0");
    }
    SECTION("with bytes in another place are others") {
        one o{8};
        CHECK(o.text("select octet_length($1)", {"four"}, true) == "4");
        CHECK(o.text("select octet_length($1)", {bytes(std::string_view{"a\0b", 3})}, true) == "3");
        CHECK(o.text("select octet_length($1)", {nullptr}, true) == "(null)");
        CHECK(o.text(count) == "2");
    }
    SECTION("are forgotten by a reset, by DISCARD ALL, and prepared again where somebody else has dropped them") {
        one o{8};
        const auto use = [&] { return o.text("select $1::int", {5}, true) == "5"; };
        CHECK(use());
        o.d.reset(*o.c, soon());
        CHECK(use());
        o.d.execute(*o.c, "discard all", soon());
        o.d.begin(*o.c, {}, soon());
        CHECK(use()); // known, as a transaction would be lost else
        o.d.commit(*o.c, soon());
        (void)pg::run(o.c.handle(), "deallocate all"); // behind our back
        CHECK(use());
        o.d.forget_statements(*o.c);
        CHECK(use());
        CHECK(o.text(count) == "1");
        (void)pg::run(o.c.handle(), "deallocate all");
        o.d.begin(*o.c, {}, soon());
        const auto e = o.error("select $1::int", {5}, whole, true);
        REQUIRE(e);
        CHECK((e->kind() == error_class::stale_plan && e->sqlstate() == "26000"));
        CHECK(o.state() == session_state::failed_transaction);
        o.d.rollback(*o.c, soon());
        CHECK(use());
    }
    SECTION("whose plan no longer fits are prepared again on all connections, unless a transaction is lost") {
        one o{8};
        pg::opened second{o.d};
        const std::string t = "stale" + std::to_string(o.c.pid());
        o.d.execute(*o.c, "create table " + t + " (n int); insert into " + t + " values (1)", soon());
        const std::string all = "select * from " + t;
        const auto columns = [&](postgres::connection& c, bool stream) { return o.d.query(c, {.sql = all, .stream = stream, .keep = true}, soon()).columns(); };
        CHECK((columns(*o.c, whole) == 1 && columns(*second, whole) == 1));
        o.d.execute(*o.c, "alter table " + t + " add m int", soon());
        CHECK(columns(*o.c, streamed) == 2);
        o.d.rollback(*o.c, soon());
        o.d.begin(*second, {}, soon());
        CHECK(columns(*second, whole) == 2); // it has heard of it
        o.d.commit(*second, soon());
        CHECK(o.text(count) == "1");
        o.d.begin(*o.c, {}, soon());
        o.d.execute(*o.c, "alter table " + t + " add k int", soon());
        const auto e = o.error(all, {}, whole, true);
        REQUIRE(e);
        CHECK((e->kind() == error_class::stale_plan && e->sqlstate() == "0A000"));
        o.d.rollback(*o.c, soon());
        CHECK(columns(*o.c, whole) == 2);
        o.d.execute(*o.c, "drop table " + t, soon());
    }
    SECTION("that fail to be prepared leave nothing behind") {
        one o{8};
        CHECK(o.error("selec", {}, whole, true)->met() == condition::syntax_error);
        CHECK(o.error("select 1 / $1::int", {0}, whole, true)->met() == condition::data_error);
        CHECK(o.text("select 1 / $1::int", {1}, true) == "1");
        CHECK(o.text(count) == "1");
    }
}

TEST_CASE("pg session: a connection cut before, during and after a statement or commit says so") {
    const auto& s = servers::postgres();
    cenote::testing::fault_proxy net{"127.0.0.1", s.port};
    auto options = pg::options(s.tcp, {{"host", cenote::testing::fault_proxy::host}, {"port", std::to_string(net.port())}});
    options.cancel_time = 50ms;
    postgres d{options};
    pg::witness outside{s.unix_socket};
    const std::string t = "cut" + std::to_string(PQbackendPID(pg::opened{d}.handle()));
    outside.run("create table " + t + " (n int)");
    {
        pg::opened c{d}; // killed before it is sent
        pg::witness admin;
        d.begin(*c, {}, soon());
        (void)d.query(*c, {.sql = "insert into " + t + " values (1)"}, soon());
        REQUIRE(admin.terminate(c.pid()));
        const auto e = pg::error_of([&] { d.commit(*c, soon()); });
        REQUIRE(e);
        CHECK((e->kind() == error_class::disconnected && e->met() == condition::disconnected && e->sqlstate() == "57P01"));
        CHECK(postgres::state(*c) == session_state::unknown);
    }
    CHECK(outside.ask("select count(*) from " + t) == "0");
    {
        pg::opened c{d}; // killed while it runs
        pg::witness admin;
        const int pid = c.pid();
        std::thread killer{[&] {
            if (admin.is_running(pid)) admin.run("select pg_terminate_backend(" + std::to_string(pid) + ")");
        }};
        const auto e = pg::error_of([&] { (void)d.query(*c, {.sql = "select pg_sleep(30)"}, soon()); });
        killer.join();
        REQUIRE(e);
        CHECK((e->kind() == error_class::disconnected && e->sqlstate() == "57P01"));
    }
    {
        pg::opened c{d}; // the answer to a commit never comes
        d.begin(*c, {}, soon());
        (void)d.query(*c, {.sql = "insert into " + t + " values (2)"}, soon());
        net.freeze();
        const auto e = pg::error_of([&] { d.commit(*c, deadline::in(30ms)); });
        net.thaw();
        REQUIRE(e);
        CHECK((e->kind() == error_class::timeout && e->met() == condition::statement_timeout));
        CHECK(postgres::state(*c) == session_state::unknown);
    }
    std::size_t lies = 0, unknown = 0, committed = 0;
    for (std::uint64_t bytes = 0; bytes < 24; bytes += 3) { // the answer to a commit breaks off: "COMMIT" and "ready" are 11 and 6 bytes long
        for (const bool answer : {true, false}) {
            net.heal();
            pg::opened c{d};
            const std::string before = outside.ask("select count(*) from " + t);
            d.begin(*c, {}, soon());
            (void)d.query(*c, {.sql = "insert into " + t + " values (3)"}, soon());
            net.cut_after(bytes, answer ? cenote::testing::direction::to_client : cenote::testing::direction::to_server);
            const auto e = pg::error_of([&] { d.commit(*c, deadline::in(5s)); });
            c.close();
            const bool there = answer || !e ? pg::becomes([&] { return outside.ask("select count(*) from " + t) != before; })
                                            : outside.ask("select count(*) from " + t) != before;
            if (!e) ++committed;
            else if (e->kind() == error_class::disconnected || e->kind() == error_class::timeout) ++unknown;
            else ++lies;
            if (!e && !there) ++lies;
        }
    }
    CHECK(lies == 0);
    CHECK(unknown > 0);
    CHECK(committed > 0);
    net.heal();
    outside.run("drop table " + t);
}
