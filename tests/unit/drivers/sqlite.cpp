// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/testing/conformance.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <thread>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::driver_error;
using cenote::error_class;
using cenote::liveness;
using cenote::session_state;
using cenote::sqlite;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

static_assert(cenote::driver<sqlite> && cenote::can_peek<sqlite> && cenote::can_ping<sqlite> && cenote::can_tell_state<sqlite>);
static_assert(cenote::can_rollback<sqlite> && cenote::can_reset<sqlite> && cenote::can_execute<sqlite>);
static_assert(cenote::can_interrupt<sqlite> && cenote::has_native_handle<sqlite> && cenote::can_classify<sqlite>);
static_assert(!cenote::can_defer_reset<sqlite>, "there is nobody to send a reset to");
static_assert(std::is_nothrow_move_constructible_v<sqlite::connection> && !std::is_copy_constructible_v<sqlite::connection>);
static_assert(std::is_same_v<decltype(std::declval<sqlite&>().native_handle(std::declval<sqlite::connection&>())), sqlite3*>);

namespace {
const deadline never = deadline::never();

/// A folder of its own for each test, gone afterwards.
struct folder {
    fs::path path;
    folder() {
        static std::atomic<int> n{0};
        path = fs::temp_directory_path() / ("cenote-sqlite-" + std::to_string(::getpid()) + "-" + std::to_string(n++));
        fs::create_directories(path);
    }
    folder(const folder&) = delete;
    ~folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    [[nodiscard]] std::string file(const std::string& name = "shop.db") const { return (path / name).string(); }
};

struct statement {
    sqlite3_stmt* s = nullptr;
    statement(sqlite3* db, const char* sql) { // also on threads, where Catch2 cannot assert
        if (sqlite3_prepare_v2(db, sql, -1, &s, nullptr) != SQLITE_OK) throw std::runtime_error{sqlite3_errmsg(db)};
    }
    statement(const statement&) = delete;
    ~statement() { sqlite3_finalize(s); }
    int step() { return sqlite3_step(s); }
};

std::string ask(sqlite3* db, const char* sql) {
    statement q{db, sql};
    if (q.step() != SQLITE_ROW) return "nothing";
    const auto* text = sqlite3_column_text(q.s, 0);
    return text ? reinterpret_cast<const char*>(text) : "null";
}
int exec(sqlite3* db, const char* sql) { return sqlite3_exec(db, sql, nullptr, nullptr, nullptr); }
constexpr const char* forever = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

template <class F>
driver_error error_of(F f) {
    try {
        f();
    } catch (const driver_error& e) {
        return e;
    }
    FAIL("nothing was thrown");
    throw std::logic_error{"unreachable"};
}

template <class F>
std::chrono::nanoseconds time_of(F f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::steady_clock::now() - start;
}

/// A driver on a new file with a table `t(a)`, and a connection.
struct shop {
    folder dir;
    sqlite driver;
    sqlite::connection c;
    explicit shop(sqlite::options o = {}) : driver{named(std::move(o), dir)}, c{driver.open(never)} {
        driver.execute(c, "create table t(a); insert into t values (1), (2), (3)", never);
    }
    ~shop() { driver.close(c); }
    static sqlite::options named(sqlite::options o, const folder& dir) {
        o.file = dir.file();
        return o;
    }
    sqlite3* db() { return driver.native_handle(c); }
};
sqlite::options with_rollback_journal() { return {.journal = sqlite::journal_mode::rollback}; }
} // namespace

// Options.

TEST_CASE("SQLite databases that no two connections share are refused by name") {
    for (const char* name : {"", ":memory:", "file:", "file::memory:", "file:?cache=shared", "file:x?mode=memory", "file:x?mode=memory&cache=private"}) {
        CAPTURE(name);
        CHECK_THROWS_AS(sqlite{name}, std::invalid_argument);
    }
    CHECK_THROWS_WITH(sqlite{":memory:"}, ContainsSubstring("cenote: sqlite.options.file = ':memory:': each connection would be a database of "
                                                            "its own; write file:NAME?mode=memory&cache=shared"));
    CHECK_NOTHROW(sqlite{"file:x?mode=memory&cache=shared"});
    CHECK_NOTHROW(sqlite{"file::memory:?cache=shared"});
    CHECK_NOTHROW(sqlite{"file:/x?vfs=memdb"});
    CHECK_NOTHROW(sqlite{"memory"});
}

TEST_CASE("SQLite options out of range are refused with field, value and rule") {
    CHECK_THROWS_WITH((sqlite{sqlite::options{.file = "x", .busy_timeout = -1ms}}),
                      "cenote: sqlite.options.busy_timeout = -1ms: must be 0 … 2147483647 ms; 0 does not wait");
    CHECK_THROWS_AS((sqlite{sqlite::options{.file = "x", .busy_timeout = cenote::duration::max()}}), std::invalid_argument);
    CHECK_NOTHROW(sqlite{sqlite::options{.file = "x", .busy_timeout = std::chrono::milliseconds{2147483647}}});
    CHECK_THROWS_WITH((sqlite{sqlite::options{.file = "x", .immutable = true}}),
                      ContainsSubstring("sqlite.options.immutable = true: must come with options.access = read_only"));
    CHECK_THROWS_WITH(sqlite{std::string("a\0b", 3)}, ContainsSubstring("must not contain zero bytes"));
}

TEST_CASE("a SQLite connection opens in the mode that the options say") {
    SECTION("the defaults") {
        shop s;
        CHECK(ask(s.db(), "pragma journal_mode") == "wal");
        CHECK(ask(s.db(), "pragma synchronous") == "1");
        CHECK(ask(s.db(), "pragma foreign_keys") == "1");
        CHECK(ask(s.db(), "pragma busy_timeout") == "5000");
        CHECK(s.driver.settings().file == s.dir.file());
    }
    SECTION("all of them") {
        shop s{{.busy_timeout = 1500us,
                .journal = sqlite::journal_mode::rollback,
                .synchronous = sqlite::sync_mode::extra,
                .foreign_keys = false,
                .init = "pragma cache_size = 77; create temp table mine(a)"}};
        CHECK(ask(s.db(), "pragma journal_mode") == "delete");
        CHECK(ask(s.db(), "pragma synchronous") == "3");
        CHECK(ask(s.db(), "pragma foreign_keys") == "0");
        CHECK(ask(s.db(), "pragma busy_timeout") == "2");
        CHECK(ask(s.db(), "pragma cache_size") == "77");
        CHECK(ask(s.db(), "select count(*) from mine") == "0");
    }
    SECTION("the file's own journal") {
        folder dir;
        sqlite plain{sqlite::options{.file = dir.file(), .journal = sqlite::journal_mode::keep}};
        auto c = plain.open(never);
        CHECK(ask(c.handle(), "pragma journal_mode") == "delete");
        CHECK(ask(c.handle(), "pragma synchronous") == "2");
        plain.close(c);
    }
}

TEST_CASE("a SQLite file that cannot have a write-ahead log is an error, unless the options accept that") {
    folder dir;
    const std::string file = "file:" + dir.file() + "?vfs=unix-dotfile"; // locks by files, so it shares no memory
    sqlite d{file};
    CHECK_THAT(error_of([&] { (void)d.open(deadline::in(5s)); }).what(),
               ContainsSubstring("the journal mode stayed 'delete'; say options.journal = keep to accept that"));
    sqlite keep{sqlite::options{.file = file, .journal = sqlite::journal_mode::keep}};
    auto c = keep.open(deadline::in(5s));
    keep.execute(c, "create table t(a)", never);
    keep.close(c);
}

// Opening.

TEST_CASE("a SQLite file in a folder that does not exist is an error with its name and the reason, and no reason to retry") {
    folder dir;
    sqlite d{dir.file("missing/shop.db")};
    const auto e = error_of([&] { (void)d.open(never); });
    CHECK_THAT(e.what(), ContainsSubstring("sqlite: cannot open " + dir.file("missing/shop.db")));
    CHECK_THAT(e.what(), ContainsSubstring("unable to open database file (No such file or directory)"));
    CHECK(e.kind() == error_class::other);
    CHECK_FALSE(cenote::is_retryable(e.kind()));
    CHECK((e.native_code() & 0xff) == SQLITE_CANTOPEN);
}

TEST_CASE("the query of a SQLite URI, where keys may stand, is in no message") {
    folder dir;
    sqlite d{"file:" + dir.file("missing/shop.db") + "?hexkey=53cr37"};
    const std::string text = error_of([&] { (void)d.open(never); }).what();
    CHECK_THAT(text, ContainsSubstring("missing/shop.db:"));
    CHECK_THAT(text, !ContainsSubstring("53cr37"));
    CHECK_THAT(text, !ContainsSubstring("hexkey"));
    try {
        sqlite bad{"file::memory:?hexkey=53cr37"};
        FAIL("accepted");
    } catch (const std::invalid_argument& e) {
        CHECK_THAT(e.what(), !ContainsSubstring("53cr37"));
    }
}

TEST_CASE("a SQLite file that must exist is not created") {
    folder dir;
    for (const auto access : {sqlite::access_mode::read_write, sqlite::access_mode::read_only}) {
        sqlite d{sqlite::options{.file = dir.file(), .access = access}};
        CHECK_THAT(error_of([&] { (void)d.open(never); }).what(), ContainsSubstring("No such file or directory"));
        CHECK_FALSE(fs::exists(dir.file()));
    }
}

TEST_CASE("a file that is no SQLite database is found when it is opened") {
    folder dir;
    std::ofstream{dir.file()} << std::string(8192, 'x');
    for (const auto journal : {sqlite::journal_mode::wal, sqlite::journal_mode::keep}) {
        sqlite d{sqlite::options{.file = dir.file(), .journal = journal}};
        const auto e = error_of([&] { (void)d.open(never); });
        CHECK(e.native_code() == SQLITE_NOTADB);
        CHECK(e.kind() == error_class::other);
    }
}

TEST_CASE("a read-only SQLite connection reads and cannot write") {
    shop s;
    sqlite d{sqlite::options{.file = s.dir.file(), .access = sqlite::access_mode::read_only}};
    auto c = d.open(never);
    CHECK(ask(c.handle(), "select sum(a) from t") == "6");
    const auto e = error_of([&] { d.execute(c, "insert into t values (4)", never); });
    CHECK((e.native_code() & 0xff) == SQLITE_READONLY);
    CHECK_FALSE(cenote::is_retryable(e.kind()));
    CHECK(d.state(c) == session_state::idle);
    d.reset(c, never);
    d.ping(c, never);
    d.close(c);
}

TEST_CASE("a read-only SQLite connection leaves the journal as it is") {
    folder dir;
    {
        sqlite d{sqlite::options{.file = dir.file(), .journal = sqlite::journal_mode::rollback}};
        auto c = d.open(never);
        d.execute(c, "create table t(a)", never);
        d.close(c);
    }
    sqlite d{sqlite::options{.file = dir.file(), .access = sqlite::access_mode::read_only}};
    auto c = d.open(never);
    CHECK(ask(c.handle(), "pragma journal_mode") == "delete");
    d.close(c);
}

TEST_CASE("an immutable SQLite file is read without a lock, whatever its name looks like") {
    for (const char* name : {"plain.db", "odd?#% name.db"}) {
        CAPTURE(name);
        folder dir;
        {
            sqlite d{sqlite::options{.file = dir.file(name), .journal = sqlite::journal_mode::rollback}};
            auto c = d.open(never);
            d.execute(c, "create table t(a); insert into t values (5)", never);
            d.close(c);
        }
        sqlite writer{sqlite::options{.file = dir.file(name), .journal = sqlite::journal_mode::keep}};
        auto w = writer.open(never);
        writer.execute(w, "begin exclusive", never);

        sqlite d{sqlite::options{.file = dir.file(name), .access = sqlite::access_mode::read_only, .immutable = true}};
        auto c = d.open(deadline::in(0s));
        CHECK(ask(c.handle(), "select a from t") == "5");
        CHECK(d.peek(c) == liveness::quiet);
        d.close(c);
        writer.close(w);
    }
    shop s{with_rollback_journal()};
    sqlite d{sqlite::options{.file = "file:" + s.dir.file() + "?cache=private#here", .access = sqlite::access_mode::read_only, .immutable = true}};
    auto c = d.open(never);
    s.driver.execute(s.c, "begin exclusive", never);
    CHECK(ask(c.handle(), "select count(*) from t") == "3");
    d.close(c);
}

TEST_CASE("a SQLite connection that was to write and cannot is an error, not a read-only connection") {
    shop s;
    sqlite d{"file:" + s.dir.file() + "?mode=ro"};
    const auto e = error_of([&] { (void)d.open(never); });
    CHECK(e.kind() == error_class::auth);
    CHECK_THAT(e.what(), ContainsSubstring("not writable; open it with options.access = read_only"));
}

TEST_CASE("running out of file descriptors is a reason to try SQLite again") {
    folder dir;
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    rlimit none = before;
    none.rlim_cur = 3;
    sqlite d{dir.file()};
    std::exception_ptr thrown;
    // UBSan looks at an object's type through a pipe, the first time: the failing path is walked once while there are descriptors,
    // and the error is looked at when there are some again.
    CHECK_THROWS_AS(sqlite{dir.file("missing/shop.db")}.open(never), driver_error);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    try {
        auto c = d.open(never);
    } catch (...) {
        thrown = std::current_exception();
    }
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    REQUIRE(thrown);
    try {
        std::rethrow_exception(thrown);
    } catch (const driver_error& e) {
        CHECK(e.kind() == error_class::server_full);
    }
}

TEST_CASE("many threads open one new SQLite file at once, and all get a write-ahead log") {
    for (int round = 0; round < 10; ++round) {
        folder dir;
        sqlite d{dir.file()};
        std::atomic<int> good{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; ++i) {
            threads.emplace_back([&] {
                auto c = d.open(deadline::in(20s));
                if (ask(c.handle(), "pragma journal_mode") == "wal") ++good;
                d.close(c);
            });
        }
        for (auto& t : threads) t.join();
        CHECK(good == 8);
    }
}

TEST_CASE("opening a SQLite file beside a writer waits for it until the deadline, not for the busy timeout") {
    shop s{with_rollback_journal()};
    s.driver.execute(s.c, "begin immediate; insert into t values (4)", never);
    sqlite d{sqlite::options{.file = s.dir.file(), .busy_timeout = 0s}}; // changing to WAL needs the file alone

    const auto took = time_of([&] {
        const auto e = error_of([&] { (void)d.open(deadline::in(60ms)); });
        CHECK(e.kind() == error_class::timeout);
        CHECK_THAT(e.what(), ContainsSubstring("deadline passed: database is locked"));
        CHECK(e.native_code() == SQLITE_BUSY);
    });
    CHECK(took >= 60ms);
    CHECK(took < 1s);

    std::thread writer{[&] {
        std::this_thread::sleep_for(50ms);
        s.driver.execute(s.c, "commit", never);
    }};
    auto c = d.open(deadline::in(10s));
    writer.join();
    CHECK(ask(c.handle(), "pragma journal_mode") == "wal");
    CHECK(ask(c.handle(), "pragma busy_timeout") == "0");
    CHECK(ask(c.handle(), "select count(*) from t") == "4");
    d.close(c);
}

TEST_CASE("SQLite is opened under a deadline in the past as long as nobody is in the way") {
    folder dir;
    sqlite d{sqlite::options{.file = dir.file(), .init = "pragma cache_size = 10; create temp table a(b); insert into a values (1)"}};
    auto c = d.open(deadline::in(0s));
    CHECK(ask(c.handle(), "pragma journal_mode") == "wal");
    CHECK(ask(c.handle(), "pragma busy_timeout") == "5000");
    d.close(c);
}

TEST_CASE("SQL that is run on open and fails, or leaves something open, fails the open") {
    folder dir;
    const auto failing = [&](const std::string& sql) {
        sqlite d{sqlite::options{.file = dir.file(), .init = sql}};
        return error_of([&] { (void)d.open(deadline::in(1s)); });
    };
    CHECK_THAT(failing("nonsense").what(), ContainsSubstring("options.init failed on " + dir.file() + ": near \"nonsense\": syntax error"));
    CHECK_THAT(failing("begin").what(), ContainsSubstring("options.init leaves a transaction"));
    CHECK_THAT(failing(std::string("select 1\0; nonsense", 18)).what(), ContainsSubstring("zero byte"));
    const auto endless = failing("with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n");
    CHECK(endless.kind() == error_class::timeout);
    CHECK_THAT(endless.what(), ContainsSubstring("deadline passed"));
}

TEST_CASE("connections to a named SQLite database in memory share it, and a reader that meets a writer loses at once") {
    sqlite d{"file:cenote-shared?mode=memory&cache=shared"};
    auto a = d.open(never);
    auto b = d.open(never);
    d.execute(a, "create table t(x); insert into t values (1)", never);
    CHECK(ask(b.handle(), "select x from t") == "1");
    CHECK(d.peek(a) == liveness::quiet);
    d.ping(a, never);
    d.reset(a, never);

    d.execute(a, "begin immediate; insert into t values (2)", never);
    const auto took = time_of([&] {
        const auto e = error_of([&] { d.execute(b, "select * from t", deadline::in(10s)); });
        CHECK(e.kind() == error_class::serialization);
        CHECK(e.native_code() == SQLITE_LOCKED_SHAREDCACHE);
    });
    CHECK(took < 2s);
    d.ping(b, never);
    d.rollback(a, never);
    CHECK(ask(b.handle(), "select count(*) from t") == "1");

    d.execute(a, "begin immediate; create table u(x)", never); // a new connection cannot even read the schema now
    CHECK(error_of([&] { (void)d.open(deadline::in(30ms)); }).kind() == error_class::timeout);
    d.close(a);
    d.close(b);
}

// Looking.

TEST_CASE("peek and ping find a SQLite file that is no longer the one that was opened") {
    for (const auto journal : {sqlite::journal_mode::wal, sqlite::journal_mode::rollback}) {
        const auto gone = [&](const char* how, auto harm) {
            CAPTURE(how, static_cast<int>(journal));
            shop s{{.journal = journal}};
            (void)exec(s.db(), "pragma wal_checkpoint(truncate)");
            CHECK(s.driver.peek(s.c) == liveness::quiet);
            s.driver.ping(s.c, never);
            harm(s);
            CHECK(s.driver.peek(s.c) == liveness::dead);
            const auto e = error_of([&] { s.driver.ping(s.c, never); });
            CHECK(e.kind() == error_class::disconnected);
            CHECK_THAT(e.what(), ContainsSubstring("deleted, moved, replaced or overwritten"));
        };
        gone("deleted", [](shop& s) { fs::remove(s.dir.file()); });
        gone("moved", [](shop& s) { fs::rename(s.dir.file(), s.dir.file("elsewhere.db")); });
        gone("its folder moved", [](shop& s) {
            fs::rename(s.dir.path, s.dir.path.string() + "-moved");
            s.dir.path += "-moved";
        });
        gone("replaced", [](shop& s) {
            sqlite other{s.dir.file("other.db")};
            auto c = other.open(never);
            other.close(c);
            fs::rename(s.dir.file("other.db"), s.dir.file());
        });
        gone("emptied", [](shop& s) { fs::resize_file(s.dir.file(), 0); });
        gone("overwritten", [](shop& s) { std::fstream{s.dir.file(), std::ios::in | std::ios::out | std::ios::binary} << std::string(4096, 'Z'); });
    }
}

TEST_CASE("a SQLite file that was empty when opened may be written to later") {
    folder dir;
    sqlite d{sqlite::options{.file = dir.file(), .journal = sqlite::journal_mode::keep}};
    auto c = d.open(never);
    REQUIRE(fs::file_size(dir.file()) == 0);
    CHECK(d.peek(c) == liveness::quiet);
    d.ping(c, never);
    d.execute(c, "create table t(a)", never);
    CHECK(d.peek(c) == liveness::quiet);
    fs::resize_file(dir.file(), 0);
    CHECK(d.peek(c) == liveness::dead);
    d.close(c);
}

TEST_CASE("vacuum, checkpoint and a change of the journal do not make a SQLite file look replaced") {
    shop s;
    sqlite::connection other = s.driver.open(never);
    s.driver.execute(s.c, "pragma wal_checkpoint(truncate); vacuum; insert into t values (9)", never);
    CHECK(s.driver.peek(other) == liveness::quiet);
    s.driver.close(other);
    s.driver.execute(s.c, "pragma journal_mode = delete; vacuum; insert into t values (10)", never);
    CHECK(s.driver.peek(s.c) == liveness::quiet);
    s.driver.ping(s.c, never);
}

TEST_CASE("pinging a SQLite database that somebody has locked neither waits nor fails") {
    shop s{with_rollback_journal()};
    auto c = s.driver.open(never);
    s.driver.execute(s.c, "begin exclusive", never);
    CHECK(time_of([&] { s.driver.ping(c, deadline::in(4s)); }) < 1s);
    CHECK(ask(c.handle(), "pragma busy_timeout") == "5000");
    s.driver.close(c);
}

TEST_CASE("pinging after somebody changed a large schema takes the time it needs, up to the deadline") {
    shop s;
    auto c = s.driver.open(never);
    std::string tables = "begin;";
    for (int i = 0; i < 1000; ++i) tables += "create table t" + std::to_string(i) + "(a, b, c);";
    s.driver.execute(s.c, tables + "commit", never);
    CHECK(error_of([&] { s.driver.ping(c, deadline::in(0s)); }).kind() == error_class::timeout);
    s.driver.ping(c, deadline::in(30s));
    s.driver.ping(c, deadline::in(0s)); // now it is known
    s.driver.close(c);
}

TEST_CASE("the state of a SQLite connection shows transactions, savepoints and everything half done") {
    shop s;
    auto& d = s.driver;
    CHECK(d.state(s.c) == session_state::idle);

    SECTION("a transaction, begun and not used yet") {
        d.execute(s.c, "begin", never);
        CHECK(d.state(s.c) == session_state::in_transaction);
    }
    SECTION("a savepoint") {
        d.execute(s.c, "savepoint x", never);
        CHECK(d.state(s.c) == session_state::in_transaction);
    }
    SECTION("a half-read SELECT, which holds a read transaction with autocommit on") {
        statement q{s.db(), "select a from t"};
        CHECK(d.state(s.c) == session_state::idle); // prepared is not running
        REQUIRE(q.step() == SQLITE_ROW);
        CHECK(sqlite3_get_autocommit(s.db()) == 1);
        CHECK(d.state(s.c) == session_state::busy);
        while (q.step() == SQLITE_ROW) {}
        CHECK(d.state(s.c) == session_state::idle); // read to its end
    }
    SECTION("a half-read SELECT that touches no table") {
        statement q{s.db(), "values (1), (2)"};
        REQUIRE(q.step() == SQLITE_ROW);
        CHECK(sqlite3_txn_state(s.db(), nullptr) == SQLITE_TXN_NONE);
        CHECK(d.state(s.c) == session_state::busy);
    }
    SECTION("one running statement among many prepared ones") {
        statement a{s.db(), "select 1"}, b{s.db(), "select a from t"}, c{s.db(), "select 3"};
        REQUIRE(b.step() == SQLITE_ROW);
        CHECK(d.state(s.c) == session_state::busy);
        sqlite3_reset(b.s);
        CHECK(d.state(s.c) == session_state::idle);
    }
    SECTION("an open blob") {
        d.execute(s.c, "create table b(x); insert into b values (zeroblob(10))", never);
        sqlite3_blob* blob = nullptr;
        REQUIRE(sqlite3_blob_open(s.db(), "main", "b", "x", 1, 1, &blob) == SQLITE_OK);
        CHECK(d.state(s.c) == session_state::busy);
        d.rollback(s.c, never);
        CHECK(d.state(s.c) == session_state::idle);
        sqlite3_blob_close(blob);
    }
    SECTION("full-text tables, which keep statements of their own, are idle when they are") {
        if (exec(s.db(), "create virtual table f using fts5(x)") == SQLITE_OK) {
            d.execute(s.c, "insert into f values ('hello world'), ('foo'); select * from f where f match 'hello'", never);
            CHECK(d.state(s.c) == session_state::idle);
        }
    }
    d.rollback(s.c, never);
    CHECK(d.state(s.c) == session_state::idle);
}

// Cleaning up.

TEST_CASE("a transaction left open on a SQLite connection is rolled back and never committed") {
    shop s;
    auto other = s.driver.open(never);
    SECTION("by rollback") {
        s.driver.execute(s.c, "begin; insert into t values (4); savepoint x; insert into t values (5)", never);
        s.driver.rollback(s.c, never);
    }
    SECTION("by rollback, beside a half-read statement") {
        s.driver.execute(s.c, "begin; insert into t values (4)", never);
        statement q{s.db(), "select a from t"};
        REQUIRE(q.step() == SQLITE_ROW);
        s.driver.rollback(s.c, deadline::in(0s));
        CHECK(s.driver.state(s.c) == session_state::idle);
        CHECK(q.step() == SQLITE_ROW); // the statement is as good as new
    }
    SECTION("by reset") {
        s.driver.execute(s.c, "begin; insert into t values (4)", never);
        s.driver.reset(s.c, never);
    }
    SECTION("by close, though a statement was not finalized") {
        auto c = s.driver.open(never);
        s.driver.execute(c, "begin; insert into t values (4)", never);
        statement q{c.handle(), "select a from t"};
        REQUIRE(q.step() == SQLITE_ROW);
        s.driver.close(c);
        s.driver.execute(other, "begin immediate", deadline::in(0s)); // and its lock is gone
        s.driver.rollback(other, never);
    }
    SECTION("by close, though an authorizer allows nothing") {
        auto c = s.driver.open(never);
        statement q{c.handle(), "insert into t values (4), (5) returning a"};
        REQUIRE(q.step() == SQLITE_ROW);
        sqlite3_set_authorizer(c.handle(), [](void*, int, const char*, const char*, const char*, const char*) { return SQLITE_DENY; }, nullptr);
        s.driver.close(c);
    }
    SECTION("by the end of a connection that nobody closed") {
        auto c = s.driver.open(never);
        s.driver.execute(c, "begin; insert into t values (4)", never);
    }
    SECTION("when it is a half-read INSERT … RETURNING") {
        statement q{s.db(), "insert into t values (4), (5) returning a"};
        REQUIRE(q.step() == SQLITE_ROW);
        CHECK(s.driver.state(s.c) == session_state::busy);
        s.driver.rollback(s.c, never);
    }
    SECTION("when a progress handler would interrupt the rollback") {
        s.driver.execute(s.c, "begin; insert into t values (4)", never);
        sqlite3_progress_handler(s.db(), 1, [](void*) { return 1; }, nullptr);
        s.driver.rollback(s.c, never);
    }
    CHECK(s.driver.state(s.c) == session_state::idle);
    CHECK(ask(s.db(), "select count(*) from t") == "3");
    CHECK(ask(other.handle(), "select count(*) from t") == "3");
    s.driver.ping(s.c, never);
    s.driver.close(other);
}

TEST_CASE("a rollback keeps what belongs to the session") {
    shop s;
    s.driver.execute(s.c, "pragma cache_size = 55; create temp table mine(a); begin; insert into mine values (1)", never);
    s.driver.rollback(s.c, never);
    CHECK(ask(s.db(), "pragma cache_size") == "55");
    CHECK(ask(s.db(), "select count(*) from mine") == "0");
}

TEST_CASE("a rollback that is refused is an error") {
    shop s;
    s.driver.execute(s.c, "begin; insert into t values (4)", never);
    sqlite3_set_authorizer(s.db(), [](void*, int, const char*, const char*, const char*, const char*) { return SQLITE_DENY; }, nullptr);
    CHECK(error_of([&] { s.driver.rollback(s.c, never); }).kind() == error_class::auth);
    CHECK(s.driver.state(s.c) == session_state::in_transaction);
    s.driver.reset(s.c, never); // which takes the authorizer away
    CHECK(ask(s.db(), "select count(*) from t") == "3");
}

TEST_CASE("a SQLite reset drops temporary objects and attached databases") {
    shop s;
    const std::string other = s.dir.file("other.db");
    s.driver.execute(s.c,
                     "create temp table q(a); create index temp.qi on q(a); create temp view v as select * from t;"
                     "create temp trigger tr after insert on main.t begin insert into q values (new.a); end;"
                     "attach '" + other + "' as \"odd \"\" name\"; attach ':memory:' as m; create table m.x(a); insert into t values (4);",
                     never);
    REQUIRE(ask(s.db(), "select count(*) from q") == "1");
    s.driver.reset(s.c, never);
    CHECK(ask(s.db(), "select count(*) from sqlite_temp_schema") == "0");
    CHECK(ask(s.db(), "select group_concat(name) from pragma_database_list where name <> 'temp'") == "main");
    s.driver.execute(s.c, "insert into t values (5)", never); // the trigger is gone
    CHECK(ask(s.db(), "select count(*) from t") == "5");
    s.driver.execute(s.c, "create temp table q(b); insert into q values (1)", never);
}

TEST_CASE("a SQLite reset brings every pragma in its list back") {
    const std::vector<std::pair<const char*, const char*>> changes{
        {"analysis_limit", "99"}, {"automatic_index", "0"}, {"cache_size", "77"}, {"cache_spill", "0"}, {"cell_size_check", "1"},
        {"checkpoint_fullfsync", "1"}, {"count_changes", "1"}, {"defer_foreign_keys", "1"}, {"empty_result_callbacks", "1"},
        {"full_column_names", "1"}, {"fullfsync", "1"}, {"ignore_check_constraints", "1"}, {"journal_mode", "memory"},
        {"journal_size_limit", "1000"}, {"locking_mode", "exclusive"}, {"max_page_count", "5000"}, {"mmap_size", "65536"},
        {"query_only", "1"}, {"read_uncommitted", "1"}, {"recursive_triggers", "1"}, {"reverse_unordered_selects", "1"},
        {"secure_delete", "0"}, {"short_column_names", "0"}, {"synchronous", "0"}, {"threads", "2"}, {"wal_autocheckpoint", "7"},
        {"temp_store", "2"}, {"busy_timeout", "11"}, {"foreign_keys", "0"}, {"trusted_schema", "0"}, {"writable_schema", "1"},
        {"legacy_alter_table", "1"}};
    for (const char* one : sqlite::pragmas) {
        CHECK(std::any_of(changes.begin(), changes.end(), [&](const auto& c) { return std::string_view{c.first} == one; }));
    }

    shop s{with_rollback_journal()};
    const auto value = [&](const char* name) { return ask(s.db(), (std::string{"pragma "} + name).c_str()); };
    std::vector<std::string> before;
    for (const auto& [name, to] : changes) before.push_back(value(name));

    SECTION("one at a time") {
        for (std::size_t i = 0; i < changes.size(); ++i) {
            const auto [name, to] = changes[i];
            CAPTURE(name);
            REQUIRE(exec(s.db(), (std::string{"pragma "} + name + " = " + to).c_str()) == SQLITE_OK);
            CHECK(value(name) != before[i]);
            s.driver.reset(s.c, never);
            CHECK(value(name) == before[i]);
        }
    }
    SECTION("all together") {
        for (const auto& [name, to] : changes) (void)exec(s.db(), (std::string{"pragma "} + name + " = " + to).c_str());
        s.driver.reset(s.c, never);
        for (std::size_t i = 0; i < changes.size(); ++i) {
            CAPTURE(changes[i].first);
            CHECK(value(changes[i].first) == before[i]);
        }
    }
    // An exclusive lock is gone, too.
    auto other = s.driver.open(deadline::in(1s));
    s.driver.execute(other, "insert into t values (7)", deadline::in(1s));
    s.driver.close(other);
}

TEST_CASE("a SQLite reset makes a WAL database WAL again, unless the journal is none of its business") {
    SECTION("it is") {
        shop s;
        s.driver.execute(s.c, "pragma journal_mode = delete", never);
        s.driver.reset(s.c, never);
        CHECK(ask(s.db(), "pragma journal_mode") == "wal");
    }
    SECTION("it is not") {
        shop s{{.journal = sqlite::journal_mode::keep}};
        s.driver.execute(s.c, "pragma journal_mode = wal", never);
        s.driver.reset(s.c, never);
        CHECK(ask(s.db(), "pragma journal_mode") == "wal");
        s.driver.execute(s.c, "pragma journal_mode = delete; pragma journal_mode = off", never);
        s.driver.reset(s.c, never);
        CHECK(ask(s.db(), "pragma journal_mode") == "delete");
    }
}

TEST_CASE("a SQLite reset that cannot restore a setting fails, so that the connection is closed") {
    shop s;
    s.driver.execute(s.c, "pragma journal_mode = delete", never);
    sqlite plain{sqlite::options{.file = s.dir.file(), .journal = sqlite::journal_mode::keep}};
    auto reader = plain.open(never);
    statement q{reader.handle(), "select a from t"};
    REQUIRE(q.step() == SQLITE_ROW); // keeps the file from going back to WAL
    const auto took = time_of([&] { CHECK(error_of([&] { s.driver.reset(s.c, deadline::in(50ms)); }).kind() == error_class::timeout); });
    CHECK(took < 2s);
    sqlite3_reset(q.s);
    plain.close(reader);
}

TEST_CASE("a SQLite reset fails when a pragma does not take its old value again") {
    shop s{{.init = "pragma max_page_count = 20"}};
    s.driver.execute(s.c, "pragma max_page_count = 1000; insert into t values (zeroblob(400000))", never);
    CHECK_THAT(error_of([&] { s.driver.reset(s.c, never); }).what(), ContainsSubstring("cannot reset " + s.dir.file() + ": pragma max_page_count stays at"));
}

TEST_CASE("a SQLite reset restores the pragma that reads as a number and is written as a word") {
    shop s{{.init = "pragma secure_delete = fast"}};
    REQUIRE(ask(s.db(), "pragma secure_delete") == "2");
    s.driver.execute(s.c, "pragma secure_delete = off", never);
    s.driver.reset(s.c, never);
    CHECK(ask(s.db(), "pragma secure_delete") == "2");
}

TEST_CASE("a SQLite reset takes away what was set through the C interface") {
    shop s;
    sqlite3* db = s.db();
    int off = -1;
    REQUIRE(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, &off) == SQLITE_OK);
    REQUIRE(off == 0);
    REQUIRE(sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, &off) == SQLITE_OK);
    const int length = sqlite3_limit(db, SQLITE_LIMIT_SQL_LENGTH, 5);
    static std::atomic<int> called;
    called = 0;
    sqlite3_update_hook(db, [](void*, int, const char*, const char*, sqlite3_int64) { ++called; }, nullptr);
    sqlite3_commit_hook(db, [](void*) { return ++called; }, nullptr);
    sqlite3_rollback_hook(db, [](void*) { ++called; }, nullptr);
    sqlite3_trace_v2(db, SQLITE_TRACE_STMT, [](unsigned, void*, void*, void*) { return ++called; }, nullptr);
    sqlite3_wal_hook(db, [](void*, sqlite3*, const char*, int) { return ++called * 0; }, nullptr);
    sqlite3_progress_handler(db, 1, [](void*) { return ++called; }, nullptr);
    sqlite3_busy_handler(db, [](void*, int) { return ++called * 0; }, nullptr);
    sqlite3_set_authorizer(db, [](void*, int, const char*, const char*, const char*, const char*) { ++called; return SQLITE_DENY; }, nullptr);

    s.driver.reset(s.c, never);
    called = 0;
    s.driver.execute(s.c, "begin; insert into t values (4); commit; begin; insert into t values (5); rollback", never);
    CHECK(called == 0);
    CHECK(sqlite3_limit(db, SQLITE_LIMIT_SQL_LENGTH, -1) == length);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, -1, &off);
    CHECK(off == 1);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, -1, &off);
    CHECK(off == 0);
    CHECK(ask(db, "pragma busy_timeout") == "5000");
    CHECK(ask(db, "pragma wal_autocheckpoint") == "1000");
    s.driver.reset(s.c, never);
    CHECK(sqlite3_last_insert_rowid(db) == 0);
}

TEST_CASE("a SQLite reset takes a WAL hook away even where checkpoints are switched off") {
    shop s{{.init = "pragma wal_autocheckpoint = 0"}};
    static std::atomic<int> called;
    called = 0;
    sqlite3_wal_hook(s.db(), [](void*, sqlite3*, const char*, int) { return ++called * 0; }, nullptr);
    s.driver.reset(s.c, never);
    s.driver.execute(s.c, "insert into t values (4)", never);
    CHECK(called == 0);
    CHECK(ask(s.db(), "pragma wal_autocheckpoint") == "0");
}

TEST_CASE("a SQLite reset lets go of an exclusive lock") {
    shop s{with_rollback_journal()};
    auto other = s.driver.open(never);
    s.driver.execute(s.c, "pragma locking_mode = exclusive; insert into t values (4)", never);
    CHECK(error_of([&] { s.driver.execute(other, "insert into t values (5)", deadline::in(0s)); }).native_code() == SQLITE_BUSY);
    s.driver.reset(s.c, never);
    s.driver.execute(other, "insert into t values (5)", deadline::in(0s));
    s.driver.close(other);
}

TEST_CASE("a SQLite reset keeps functions and prepared statements") {
    shop s;
    REQUIRE(sqlite3_create_function(s.db(), "seven", 0, SQLITE_UTF8, nullptr, [](sqlite3_context* x, int, sqlite3_value**) { sqlite3_result_int(x, 7); },
                                    nullptr, nullptr) == SQLITE_OK);
    statement q{s.db(), "select seven()"};
    s.driver.reset(s.c, never);
    REQUIRE(q.step() == SQLITE_ROW);
    CHECK(sqlite3_column_int(q.s, 0) == 7);
}

TEST_CASE("the SQL of a SQLite connection's opening runs again at each reset") {
    folder dir;
    sqlite d{sqlite::options{.file = dir.file(),
                             .init = "pragma cache_size = 66; attach '" + dir.file("side.db") + "' as side; create temp table mine as select 1 as a"}};
    auto c = d.open(never);
    d.execute(c, "pragma cache_size = 1; insert into mine values (2); create table side.s(x); detach side", never);
    d.reset(c, never);
    CHECK(ask(c.handle(), "pragma cache_size") == "66");
    CHECK(ask(c.handle(), "select count(*) from mine") == "1");
    CHECK(ask(c.handle(), "select count(*) from side.s") == "0");
    d.reset(c, never);
    d.close(c);
}

// Statements.

TEST_CASE("execute runs every statement and throws the rows away") {
    shop s;
    s.driver.execute(s.c, "", never);
    s.driver.execute(s.c, "  -- nothing\n ; ;; /* at all */", never);
    s.driver.execute(s.c, "select a from t; insert into t values (4);; -- and\ninsert into t values (5)", never);
    CHECK(ask(s.db(), "select count(*) from t") == "5");
    CHECK(s.driver.state(s.c) == session_state::idle);
    const std::string_view part = std::string_view{"insert into t values (6) and more"}.substr(0, 24);
    s.driver.execute(s.c, part, never); // need not end in a zero byte
    CHECK(ask(s.db(), "select count(*) from t") == "6");
}

TEST_CASE("a failing statement tells SQLite's reason, code and class, and the connection survives") {
    shop s;
    const auto failing = [&](std::string_view sql) { return error_of([&] { s.driver.execute(s.c, sql, never); }); };
    const auto syntax = failing("insert into t values (4); selekt 1");
    CHECK_THAT(syntax.what(), ContainsSubstring("sqlite: statement failed on " + s.dir.file() + ": near \"selekt\": syntax error"));
    CHECK(syntax.kind() == error_class::other);
    CHECK(syntax.native_code() == SQLITE_ERROR);
    CHECK(ask(s.db(), "select count(*) from t") == "4"); // what came before has run

    s.driver.execute(s.c, "create table u(a integer primary key, b references u(a))", never);
    const auto foreign = failing("insert into u values (1, 99)");
    CHECK(foreign.kind() == error_class::constraint);
    CHECK(foreign.native_code() == SQLITE_CONSTRAINT_FOREIGNKEY);
    CHECK(failing("insert into u values (1, null), (1, null)").native_code() == SQLITE_CONSTRAINT_PRIMARYKEY);
    CHECK_THAT(failing({"select 1\0; drop table t", 23}).what(), ContainsSubstring("zero byte"));
    CHECK(s.driver.state(s.c) == session_state::idle);
    s.driver.ping(s.c, never);
}

TEST_CASE("a deadline interrupts a SQLite statement, and only that one") {
    shop s;
    const char* endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    const auto took = time_of([&] {
        const auto e = error_of([&] { s.driver.execute(s.c, endless, deadline::in(50ms)); });
        CHECK(e.kind() == error_class::timeout);
        CHECK_THAT(e.what(), ContainsSubstring("deadline passed"));
    });
    CHECK(took >= 50ms);
    CHECK(took < 2s);
    CHECK(s.driver.state(s.c) == session_state::idle);
    s.driver.execute(s.c, "with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select count(*) from n", never);

    std::jthread interrupter{[&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            std::this_thread::sleep_for(5ms);
            sqlite3_interrupt(s.db());
        }
    }};
    CHECK(error_of([&] { s.driver.execute(s.c, endless, deadline::in(30s)); }).kind() == error_class::cancelled);
}

TEST_CASE("a SQLite writer waits for another for the busy timeout or until the deadline, whichever is sooner") {
    shop s{{.busy_timeout = 500ms}};
    auto other = s.driver.open(never);
    s.driver.execute(s.c, "begin immediate", never);
    const auto blocked = [&](deadline by) {
        return time_of([&] {
            const auto e = error_of([&] { s.driver.execute(other, "insert into t values (4)", by); });
            CHECK(e.kind() == error_class::timeout);
            CHECK(e.native_code() == SQLITE_BUSY);
            CHECK_THAT(e.what(), ContainsSubstring("database is locked"));
        });
    };
    const auto by_timeout = blocked(never);
    CHECK(by_timeout >= 490ms);
    CHECK(by_timeout < 5s);
    const auto by_deadline = blocked(deadline::in(20ms));
    CHECK(by_deadline >= 15ms);
    CHECK(by_deadline < 400ms);
    CHECK(blocked(deadline::in(0s)) < 400ms);
    CHECK(ask(other.handle(), "pragma busy_timeout") == "500");
    s.driver.execute(s.c, "commit", never);
    s.driver.execute(other, "insert into t values (4)", never);
    s.driver.close(other);
}

TEST_CASE("a deadline covers all statements of one call, however often they meet a lock") {
    shop s{with_rollback_journal()};
    auto other = s.driver.open(never);
    std::atomic<bool> done{false};
    std::thread writer{[&] { // holds the lock for 70 ms at a time
        while (!done) {
            s.driver.execute(s.c, "begin exclusive", never);
            std::this_thread::sleep_for(70ms);
            s.driver.execute(s.c, "commit", never);
            std::this_thread::sleep_for(10ms);
        }
    }};
    std::string many;
    for (int i = 0; i < 2000; ++i) many += "begin immediate; insert into t values (4); commit;";
    for (int i = 0; i < 3; ++i) {
        const auto took = time_of([&] {
            const auto e = error_of([&] { s.driver.execute(other, many, deadline::in(100ms)); });
            CHECK(e.kind() == error_class::timeout);
        });
        CHECK(took < 1s);
        s.driver.rollback(other, never);
    }
    done = true;
    writer.join();
    s.driver.close(other);
}

TEST_CASE("a SQLite transaction that read first and writes too late has lost a race") {
    shop s;
    auto other = s.driver.open(never);
    s.driver.execute(s.c, "begin; select * from t", never);
    s.driver.execute(other, "insert into t values (4)", never);
    const auto e = error_of([&] { s.driver.execute(s.c, "insert into t values (5)", never); });
    CHECK(e.native_code() == SQLITE_BUSY_SNAPSHOT);
    CHECK(e.kind() == error_class::serialization);
    s.driver.rollback(s.c, never);
    s.driver.close(other);
}

TEST_CASE("SQLite's result codes have the classes that decide what to do next") {
    const std::vector<std::pair<int, error_class>> table{
        {SQLITE_BUSY, error_class::timeout},
        {SQLITE_BUSY_RECOVERY, error_class::timeout},
        {SQLITE_BUSY_SNAPSHOT, error_class::serialization},
        {SQLITE_LOCKED, error_class::other},
        {SQLITE_LOCKED_SHAREDCACHE, error_class::serialization},
        {SQLITE_PROTOCOL, error_class::timeout},
        {SQLITE_IOERR, error_class::disconnected},
        {SQLITE_IOERR_READ, error_class::disconnected},
        {SQLITE_IOERR_NOMEM, error_class::other},
        {SQLITE_READONLY, error_class::other},
        {SQLITE_READONLY_DBMOVED, error_class::disconnected},
        {SQLITE_PERM, error_class::auth},
        {SQLITE_AUTH, error_class::auth},
        {SQLITE_CONSTRAINT_UNIQUE, error_class::constraint},
        {SQLITE_INTERRUPT, error_class::cancelled},
        {SQLITE_SCHEMA, error_class::stale_plan},
        {SQLITE_CANTOPEN, error_class::other},
        {SQLITE_FULL, error_class::other},
        {SQLITE_CORRUPT, error_class::other},
        {SQLITE_NOTADB, error_class::other},
        {SQLITE_NOMEM, error_class::other},
        {SQLITE_ERROR, error_class::other},
    };
    for (const auto& [code, kind] : table) {
        CAPTURE(code);
        CHECK(sqlite::classify(code) == kind);
    }
    sqlite d{"x"};
    CHECK(d.classify(driver_error{error_class::constraint, "x"}) == error_class::constraint);
    CHECK(d.classify(std::runtime_error{"x"}) == error_class::other);
}

// Connections.

TEST_CASE("a SQLite connection is moved, used from another thread, and closes itself when nobody else does") {
    shop s;
    auto a = s.driver.open(never);
    auto b = std::move(a);
    CHECK(a.handle() == nullptr);
    std::thread{[&] { s.driver.execute(b, "insert into t values (4)", never); }}.join();
    auto c = s.driver.open(never);
    c = std::move(b); // closes what c had
    c = std::move(*&c);
    CHECK(ask(c.handle(), "select count(*) from t") == "4");

    CHECK(s.driver.state(a) == session_state::unknown);
    CHECK(s.driver.peek(a) == liveness::dead);
    CHECK(error_of([&] { s.driver.ping(a, never); }).kind() == error_class::disconnected);
    CHECK(error_of([&] { s.driver.rollback(a, never); }).kind() == error_class::disconnected);
    CHECK(error_of([&] { s.driver.reset(a, never); }).kind() == error_class::disconnected);
    CHECK(error_of([&] { s.driver.execute(a, "select 1", never); }).kind() == error_class::disconnected);
    s.driver.close(a);
    s.driver.close(c);
    s.driver.close(c);
}

TEST_CASE("SQLite readers see whole transactions while one connection writes") {
    folder dir;
    sqlite d{dir.file()};
    auto writer = d.open(never);
    d.execute(writer, "create table account(id integer primary key, money int); insert into account values (1, 500), (2, 500)", never);
    std::atomic<bool> done{false};
    std::atomic<int> torn{0};
    std::atomic<int> failed{0};
    std::atomic<long> reads{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i) {
        readers.emplace_back([&] {
            auto c = d.open(never);
            do {
                statement q{c.handle(), "select sum(money) from account"};
                if (q.step() != SQLITE_ROW) ++failed;
                else if (sqlite3_column_int(q.s, 0) != 1000) ++torn;
                ++reads;
            } while (!done);
            d.close(c);
        });
    }
    for (int i = 0; i < 300; ++i) {
        d.execute(writer,
                  "begin immediate; update account set money = money - 1 where id = 1; update account set money = money + 1 where id = 2; commit",
                  never);
    }
    done = true;
    for (auto& t : readers) t.join();
    CHECK(torn == 0);
    CHECK(failed == 0);
    CHECK(reads >= 4);
    CHECK(ask(writer.handle(), "select money from account where id = 2") == "800");
    d.close(writer);
}

TEST_CASE("SQLite writers that begin with BEGIN IMMEDIATE wait for each other and lose nothing") {
    folder dir;
    sqlite d{sqlite::options{.file = dir.file(), .busy_timeout = 60s}};
    auto first = d.open(never);
    d.execute(first, "create table n(v int); insert into n values (0)", never);
    std::vector<std::thread> writers;
    std::atomic<int> failed{0};
    for (int i = 0; i < 4; ++i) {
        writers.emplace_back([&] {
            auto c = d.open(never);
            for (int k = 0; k < 25; ++k) {
                try {
                    d.execute(c, "begin immediate; update n set v = v + 1; commit", never);
                } catch (const driver_error&) {
                    ++failed;
                }
            }
            d.close(c);
        });
    }
    for (auto& t : writers) t.join();
    CHECK(failed == 0);
    CHECK(ask(first.handle(), "select v from n") == "100");
    d.close(first);
}

TEST_CASE("a connection that was cut fails whatever it is asked, and commits nothing") {
    folder dir;
    sqlite d{dir.file()};
    auto c = d.open(deadline::in(10s));
    sqlite3* const db = c.handle();
    CHECK(exec(db, "create table t(n)") == SQLITE_OK);
    auto token = d.interrupter(c);
    auto moved = std::move(c);
    std::optional<statement> prepared{std::in_place, db, "insert into t values (2)"};
    SECTION("cut twice, from another thread") {
        std::jthread{[&] {
            d.sever(token, deadline::in(10s));
            d.sever(token, deadline::in(10s));
        }}.join();
    }
    SECTION("in a transaction") {
        CHECK(exec(db, "begin; insert into t values (1)") == SQLITE_OK);
        d.sever(token, deadline::in(10s));
        CHECK(exec(db, "commit") != SQLITE_OK);
    }
    SECTION("after a reset") {
        d.reset(moved, deadline::in(10s));
        d.sever(token, deadline::in(10s));
    }
    for (const char* sql : {"select 1", "select * from t", "insert into t values (3)", "update t set n = n + 1", "begin immediate; insert into t values (4); commit"}) {
        INFO(sql);
        CHECK(exec(db, sql) != SQLITE_OK);
    }
    CHECK(prepared->step() == SQLITE_INTERRUPT);
    prepared.reset();
    CHECK(d.peek(moved) == cenote::liveness::dead);
    CHECK_THROWS_AS(d.ping(moved, deadline::in(10s)), cenote::driver_error);
    d.close(moved);
    CHECK_THROWS_AS(d.cancel(token, deadline::in(10s)), cenote::driver_error);
    d.sever(token, deadline::in(10s));
    auto other = d.open(deadline::in(10s));
    CHECK(ask(other.handle(), "select count(*) from t") == "0");
    d.close(other);
}

TEST_CASE("a statement is cancelled from another thread, and the connection goes on") {
    folder dir;
    sqlite d{dir.file()};
    auto c = d.open(deadline::in(10s));
    auto token = d.interrupter(c);
    d.cancel(token, deadline::in(10s)); // nothing runs
    CHECK(exec(c.handle(), "select 1") == SQLITE_OK);
    std::atomic<bool> over{false};
    std::jthread other{[&] {
        while (!over) d.cancel(token, deadline::in(10s));
    }};
    CHECK(exec(c.handle(), forever) == SQLITE_INTERRUPT);
    over = true;
    other.join();
    CHECK(exec(c.handle(), "select 1") == SQLITE_OK);
    d.close(c);
}

TEST_CASE("the SQLite driver passes its conformance check, on a file and in memory") {
    folder dir;
    for (const auto& name : {dir.file(), std::string{"file:cenote-conformance?mode=memory&cache=shared"}}) {
        std::vector<std::unique_ptr<statement>> forgotten; // finalized after their connections were closed
        const auto report = cenote::testing::check_driver(
            sqlite{name}, {.begin = [](sqlite::connection& c) { (void)exec(c.handle(), "begin immediate"); },
                           .leave_busy = [&](sqlite::connection& c) {
                               forgotten.push_back(std::make_unique<statement>(c.handle(), "values (1), (2)"));
                               (void)forgotten.back()->step();
                           },
                           .linger = [](sqlite::connection& c) { if (const int rc = exec(c.handle(), forever); rc != SQLITE_OK) throw std::runtime_error{sqlite3_errstr(rc)}; }});
        INFO(report);
        CHECK(report.ok());
    }
}
