// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The driver for PostgreSQL, and whole pools over it, against servers that break off, hang, babble and lie.
#include <server/support/postgres.hpp>
#include <server/support/punctuality.hpp>

#include <cenote/pool.hpp>
#include <cenote/testing/fake_postgres.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>

using namespace std::chrono_literals;
using cenote::bounded;
using cenote::close_reason;
using cenote::counters;
using cenote::deadline;
using cenote::error_class;
using cenote::failure;
using cenote::manual;
using cenote::postgres;
using cenote::testing::ending;
using cenote::testing::fake_postgres;
using cenote::testing::pg_reply;
using cenote::testing::pg_stage;
using testing_support::deadline_rounds;
using testing_support::punctuality;

namespace {

/// What a hang is taken to be: far more than anything here may take, far less than a test may.
constexpr auto for_ever = 20s;

/// How far apart the places are where connections are cut: CENOTE_CUT_STEP, 1 for each of them, or what suits a quick run.
std::size_t cut_step() {
    const char* const text = std::getenv("CENOTE_CUT_STEP");
    return text != nullptr && *text != '\0' ? std::max<std::size_t>(std::stoul(text), 1) : 13;
}

/// Runs a statement with a deadline, as users do who do not trust their server; an error: what it says.
std::optional<cenote::driver_error> tried(postgres& d, postgres::connection& c, const std::string& sql, deadline by = deadline::in(5s)) {
    return pg::error_of([&] { (void)d.execute(c, sql, {}, by); });
}
std::string asked(postgres& d, postgres::connection& c, const std::string& sql) {
    const auto r = d.execute(c, sql, {}, deadline::in(5s));
    REQUIRE(r.rows() == 1);
    return std::string{r.at(0, 0).value_or("(null)")};
}

/// Nobody holds anything, and what was opened is idle or closed.
template <class Pool>
void expect_sound(const Pool& db) {
    const cenote::pool_stats s = db.stats();
    CHECK(s.used == 0);
    CHECK(s.pending == 0);
    CHECK(s.total == s.idle + s.used + s.opening + s.closing + s.resetting);
    CHECK(s.total <= s.max);
    CHECK(s.opened == s.closed + s.detached + s.total - s.opening);
}
/// Closes the pool, after which the server has no connection more.
template <class Pool>
void expect_clean_end(Pool& db, const fake_postgres& server) {
    CHECK(db.close(deadline::in(for_ever)).drained);
    CHECK(pg::becomes([&] { return db.stats().total == 0; }));
    CHECK(server.await_open(0));
}

/// A server that answers "select 1", and "select much" with so much that a conversation is longer than 4096 bytes.
void prepare(fake_postgres& server, const std::string& much) {
    server.answer("select 1", pg_reply::row({"1"}));
    server.answer("select much", pg_reply::row({much}));
}

} // namespace

TEST_CASE("case-A8: wherever a connection breaks off, nothing hangs, no half answer is taken for a whole one, and the pool serves again") {
    const auto how = GENERATE(ending::fin, ending::reset);
    const std::string much(1500, 'm');
    fake_postgres server;
    prepare(server, much);
    postgres d{server.conninfo()};
    std::size_t half_answers = 0, stuck = 0, lost = 0, unsound = 0, served = 0, refused = 0;
    const auto round = [&](auto& db) {
        cenote::failure why;
        auto lease = db.acquire(for_ever, why);
        if (!lease) {
            ++refused;
            return;
        }
        ++served;
        for (const char* sql : {"begin", "select much", "select much"}) {
            try {
                const auto r = d.execute(*lease, sql, {}, deadline::in(for_ever));
                if (*sql == 's' && (r.rows() != 1 || r.at(0, 0) != std::string_view{much})) ++half_answers;
            } catch (const cenote::driver_error& e) {
                if (e.kind() == error_class::timeout) ++stuck;
                break;
            }
        }
    };
    std::size_t longest = 0;
    for (std::size_t n = 0; n <= 4096 && lost == 0; n += cut_step()) { // one that is lost costs the time of a hang
        longest = n;
        server.cut_after(n, how);
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, cenote::peek_after{0ms}, counters{}};
        const auto begun = std::chrono::steady_clock::now();
        round(db);
        round(db); // what the first one left behind is cleaned up here
        server.heal();
        failure why;
        auto lease = db.acquire(for_ever, why);
        if (!lease || tried(d, *lease, "select 1")) ++lost;
        lease = {};
        if (std::chrono::steady_clock::now() - begun > for_ever) ++stuck;
        const cenote::pool_stats s = db.stats();
        if (s.used != 0 || s.total != 1 || s.idle + s.resetting != 1 || s.opened != s.closed + 1) ++unsound;
    }
    CHECK(longest >= 4096 - cut_step());
    CHECK(half_answers == 0);
    CHECK(stuck == 0);
    CHECK(lost == 0);
    CHECK(unsound == 0);
    CHECK(served > 0);
    CHECK(refused > 0);
    CHECK(server.await_open(0));
}

TEST_CASE("case-A8: wherever connections break off, several users and the background thread get on with what is left") {
    const auto how = GENERATE(ending::fin, ending::reset);
    const std::string much(1500, 'm');
    fake_postgres server;
    prepare(server, much);
    postgres d{server.conninfo()};
    std::atomic<std::size_t> half_answers{0}, lost{0}, late{0};
    cenote::pool db{postgres{server.conninfo()}, bounded{.max = 2}, cenote::peek_after{0ms}, cenote::backoff{.first = 1ms, .max = 1ms},
                    cenote::no_breaker{}, counters{}};
    for (std::size_t n = 0; n <= 4096 && lost == 0; n += cut_step()) { // one that is lost costs the time of a hang
        db.invalidate_all(); // each conversation is cut at n from its beginning
        server.cut_after(n, how);
        std::vector<std::thread> users;
        for (int t = 0; t < 3; ++t) {
            users.emplace_back([&] {
                const auto begun = std::chrono::steady_clock::now();
                failure why;
                auto lease = db.acquire(10ms, why);
                if (std::chrono::steady_clock::now() - begun > for_ever) ++late;
                if (!lease) return;
                (void)tried(d, *lease, "begin");
                try {
                    const auto r = d.execute(*lease, "select much", {}, deadline::in(for_ever));
                    if (r.rows() != 1 || r.at(0, 0) != std::string_view{much}) ++half_answers;
                } catch (const cenote::driver_error& e) {
                    if (e.kind() == error_class::timeout) ++late;
                }
            });
        }
        for (auto& u : users) u.join();
        server.heal();
        failure why;
        auto one = db.acquire(for_ever, why), two = db.acquire(for_ever, why); // both places are there
        if (!one || !two || tried(d, *one, "select 1") || tried(d, *two, "select 1")) ++lost;
    }
    CHECK(half_answers == 0);
    CHECK(lost == 0);
    CHECK(late == 0);
    CHECK(pg::becomes([&] { return db.stats().total == db.stats().idle; }));
    expect_sound(db);
    expect_clean_end(db, server);
}

namespace {

constexpr auto budget = 60ms;
constexpr auto tolerance = 20ms;

void expect_punctual(const punctuality& seen) {
    INFO(seen.text());
    CHECK(seen.rounds > 0);
    CHECK(seen.early == 0);
    CHECK(seen.late == 0);
}

/// While the server lets nobody in any more, or not in time: acquires end at their deadline, and who waits is served by returns.
template <class Pool>
void expect_served_by_returns(Pool& db, fake_postgres& server, const std::function<void()>& spoil) {
    auto held = db.acquire(for_ever);
    const int process = PQbackendPID(held.native_handle());
    spoil();
    punctuality seen;
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < std::max<std::size_t>(deadline_rounds() / 3, 1); ++i) {
        seen.measure(budget, tolerance, [&](deadline by) {
            failure why;
            wrong += !db.acquire(by, why) && why.code == std::errc::timed_out ? 0 : 1;
        });
    }
    expect_punctual(seen);
    CHECK(wrong == 0);

    std::atomic<int> got{0};
    std::vector<std::thread> waiting;
    for (int i = 0; i < 3; ++i) {
        waiting.emplace_back([&] {
            failure why;
            const auto lease = db.acquire(for_ever, why);
            if (lease && PQbackendPID(lease.native_handle()) == process) ++got;
        });
    }
    CHECK(pg::becomes([&] { return db.stats().pending == 3; }));
    CHECK(got == 0);
    held = {};
    for (auto& w : waiting) w.join();
    CHECK(got == 3);
    server.heal();
    auto one = db.acquire(for_ever), two = db.acquire(for_ever);
}

} // namespace

TEST_CASE("case-A9: when authentication hangs, deadlines are kept, and who waits is served by returns", "[alone]") {
    fake_postgres server;
    cenote::pool db{postgres{server.conninfo() + " password=pw"}, bounded{.max = 2}, cenote::connect_timeout{100ms},
                    cenote::backoff{.first = 10ms, .max = 10ms}, cenote::no_breaker{}, counters{}};
    SECTION("no answer to the login") {
        expect_served_by_returns(db, server, [&] { server.always(pg_stage::login, pg_reply::silence()); });
    }
    SECTION("not a word") {
        expect_served_by_returns(db, server, [&] { server.always(pg_stage::connect, pg_reply::silence()); });
    }
    SECTION("a password is asked for, and then nothing") {
        expect_served_by_returns(db, server, [&] {
            server.always(pg_stage::login, pg_reply::message('R', std::string{"\0\0\0\3", 4}).then(pg_reply::silence()));
        });
    }
    SECTION("let in, but never ready") {
        expect_served_by_returns(db, server, [&] { server.always(pg_stage::login, pg_reply::ok().unready()); });
    }
    expect_clean_end(db, server);
}

TEST_CASE("case-A9: when a server speaks byte by byte, deadlines are kept, who waits is served by returns, and patience is rewarded", "[alone]") {
    fake_postgres server;
    const auto slow = [&] { server.slow(1, 2ms); }; // logging in takes a second
    SECTION("the time to connect is too short") {
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 2}, cenote::connect_timeout{100ms}, cenote::backoff{.first = 10ms, .max = 10ms},
                        cenote::no_breaker{}, counters{}};
        expect_served_by_returns(db, server, slow);
        expect_clean_end(db, server);
    }
    SECTION("it is long enough") {
        server.answer("select 1", pg_reply::row({"1"}));
        postgres d{server.conninfo()};
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, counters{}};
        slow();
        failure why;
        CHECK_FALSE(db.acquire(budget, why));
        CHECK(why.code == std::errc::timed_out);
        auto lease = db.acquire(for_ever);
        CHECK(asked(d, *lease, "select 1") == "1");
        CHECK(db.stats().opened == 1); // the one that took too long for the first
    }
}

TEST_CASE("case-A9: while one caller dials a server that hangs, others are served by returns", "[alone]") {
    fake_postgres server;
    cenote::pool db{postgres{server.conninfo()}, bounded{.max = 2}, manual{}, counters{}};
    auto held = db.acquire(for_ever);
    server.always(pg_stage::login, pg_reply::silence());
    punctuality dialled;
    std::atomic<bool> timed_out{false};
    std::thread dials{[&] {
        dialled.measure(400ms, tolerance, [&](deadline by) {
            failure why;
            timed_out = !db.acquire(by, why) && why.code == std::errc::timed_out;
        });
    }};
    REQUIRE(server.await(pg_stage::login, 2));
    std::atomic<bool> served{false};
    std::thread waits{[&] {
        failure why;
        served = static_cast<bool>(db.acquire(for_ever, why));
    }};
    CHECK(pg::becomes([&] { return db.stats().pending >= 1; }));
    held = {};
    waits.join();
    CHECK(served);
    CHECK_FALSE(timed_out); // that one still dials
    dials.join();
    CHECK(timed_out);
    expect_punctual(dialled);
    expect_sound(db);
}

TEST_CASE("case-A15: a server that is starting up is asked again until it has") {
    fake_postgres server;
    server.answer("select 1", pg_reply::row({"1"}));
    postgres d{server.conninfo()};
    const auto [code, kind] = GENERATE(std::pair{"57P03", error_class::not_ready}, std::pair{"53300", error_class::server_full});
    INFO(code);
    SECTION("the driver says why") {
        server.next(pg_stage::login, pg_reply::fatal(code), 1);
        const auto e = pg::error_of([&] { pg::opened{d}; });
        REQUIRE(e);
        CHECK(e->kind() == kind);
        CHECK(e->sqlstate() == code);
        pg::opened c{d};
        CHECK(asked(d, *c, "select 1") == "1");
    }
    SECTION("an acquire outlasts it") {
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 2}, cenote::backoff{.first = 1ms, .max = 2ms}, cenote::no_breaker{}, counters{}};
        server.next(pg_stage::login, pg_reply::fatal(code), 5);
        auto lease = db.acquire(for_ever);
        CHECK(asked(d, *lease, "select 1") == "1");
        CHECK(db.stats().open_failed == 5);
        lease = {};
        expect_sound(db);
        expect_clean_end(db, server);
    }
    SECTION("so does a pool that nothing was said of") {
        cenote::pool db{postgres{server.conninfo()}};
        server.next(pg_stage::login, pg_reply::fatal(code), 2);
        auto lease = db.acquire(for_ever);
        CHECK(asked(d, *lease, "select 1") == "1");
    }
    SECTION("one whose callers dial hears of it, and recovers") {
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, counters{}};
        server.always(pg_stage::login, pg_reply::fatal(code));
        failure why;
        CHECK_FALSE(db.acquire(50ms, why));
        REQUIRE(why.seen);
        CHECK(why.seen->last_connect_error.kind == kind);
        CHECK(why.seen->last_connect_error.sqlstate == code);
        server.heal();
        auto lease = db.acquire(for_ever);
        CHECK(asked(d, *lease, "select 1") == "1");
        lease = {};
        expect_sound(db);
    }
}

namespace {

struct fault {
    const char* name;
    pg_reply reply;
};
/// What a server says instead of an answer, after which nothing it says can be trusted.
std::vector<fault> faults() {
    const pg_reply row = pg_reply::row({"value"});
    const std::string one_column = std::string{"\0\1a\0", 4} + std::string(18, '\0'), wrong_count{"\0\3\0\0\0\1x", 7};
    return {
        {"garbage", pg_reply::garbage().then(pg_reply::silence())},
        {"other garbage", pg_reply::garbage(5000, 7).then(pg_reply::silence())},
        {"another protocol", pg_reply::bytes("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").then(pg_reply::end())},
        {"a row of 2 GB", pg_reply::length_bomb()},
        {"columns of 2 GB", pg_reply::length_bomb('T')},
        {"an error of 2 GB", pg_reply::length_bomb('E')},
        {"a notice of 1 GB", pg_reply::length_bomb('N', 1U << 30)},
        {"a parameter of 2 GB", pg_reply::length_bomb('S')},
        {"a length of zero", pg_reply::length_bomb('C', 0)},
        {"a row without columns", pg_reply::message('D', std::string{"\0\1\0\0\0\1x", 7}).then(pg_reply::silence())},
        {"a row that is too long", pg_reply::message('T', one_column).then(pg_reply::message('D', wrong_count)).then(pg_reply::silence())},
        {"no ReadyForQuery", row.unready()},
        {"silence", pg_reply::silence()},
        {"silence in a row", row.stall(40)},
        {"the end", pg_reply::end()},
        {"a reset", pg_reply::end(ending::reset)},
        {"the end in a row", row.cut(40)},
        {"a reset in a row", row.cut(40, ending::reset)},
        {"termination", pg_reply::fatal("57P01")},
        {"termination by a crash", pg_reply::notice("crash", "57P02").then(pg_reply::end())},
    };
}

} // namespace

TEST_CASE("case-A17: a connection whose server babbles, breaks off or falls silent in a statement is discarded") {
    fake_postgres server;
    server.answer("select 1", pg_reply::row({"1"}));
    postgres d{server.conninfo()};
    const bool threads = GENERATE(false, true);
    const auto expect = [&](auto&& db) {
        for (const auto& [name, reply] : faults()) {
            INFO(name);
            int process = 0;
            const auto before = db.stats();
            {
                auto lease = db.acquire(for_ever);
                process = PQbackendPID(lease.native_handle());
                server.next(pg_stage::query, reply);
                const auto e = tried(d, *lease, "select 1", deadline::in(30ms));
                REQUIRE(e);
                CHECK((e->kind() == error_class::disconnected || e->kind() == error_class::timeout || e->kind() == error_class::other));
                server.clear(pg_stage::query);
            }
            auto lease = db.acquire(for_ever);
            CHECK(PQbackendPID(lease.native_handle()) != process);
            CHECK(asked(d, *lease, "select 1") == "1");
            CHECK(pg::becomes([&] { return db.stats().closed == before.closed + 1; }));
        }
        expect_sound(db);
        expect_clean_end(db, server);
    };
    if (threads) expect(cenote::pool{postgres{server.conninfo()}, bounded{.max = 1}, counters{}});
    else expect(cenote::pool{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, counters{}});
}

TEST_CASE("case-A17: a connection whose server babbles, breaks off or falls silent when it is cleaned up or tested is discarded") {
    fake_postgres server;
    server.answer("select 1", pg_reply::row({"1"}));
    postgres d{server.conninfo()};
    constexpr auto patience = 800ms, clean_up = 30ms;
    const auto conninfo = server.conninfo();
    const auto expect = [&](auto&& db, bool dirty) {
        for (const auto& [name, reply] : faults()) {
            INFO(name);
            int process = 0;
            {
                auto lease = db.acquire(for_ever);
                process = PQbackendPID(lease.native_handle());
                CHECK_FALSE(tried(d, *lease, dirty ? "begin" : "select 1"));
                server.next(pg_stage::query, reply);
            } // what is said to that is heard at the next acquire
            const auto begun = std::chrono::steady_clock::now();
            failure why;
            auto lease = db.acquire(patience, why);
            CHECK(std::chrono::steady_clock::now() - begun < for_ever);
            server.clear(pg_stage::query);
            if (!lease) lease = db.acquire(for_ever); // it was waited for until the deadline
            CHECK(PQbackendPID(lease.native_handle()) != process);
            CHECK(asked(d, *lease, "select 1") == "1");
        }
        expect_sound(db);
        expect_clean_end(db, server);
    };
    SECTION("rolled back, then") {
        expect(cenote::pool{postgres{conninfo}, bounded{.max = 1}, manual{}, cenote::deferred{cenote::reset_if_dirty{}, clean_up}, counters{}}, true);
    }
    SECTION("reset, in the background") {
        expect(cenote::pool{postgres{conninfo}, bounded{.max = 1}, cenote::background{cenote::reset_always{}, clean_up}, counters{}}, false);
    }
    SECTION("reset, then") {
        expect(cenote::pool{postgres{conninfo}, bounded{.max = 1}, cenote::deferred{cenote::reset_always{}, clean_up}, counters{}}, true);
    }
    SECTION("pinged") {
        expect(cenote::pool{postgres{conninfo}, bounded{.max = 1}, manual{}, cenote::pre_ping{}, cenote::no_reset{}, counters{}}, false);
    }
}

TEST_CASE("case-A17: whatever is in a message, the next user gets a connection that answers what is asked") {
    fake_postgres server;
    server.answer("select 1", pg_reply::row({"1"}));
    postgres d{server.conninfo()};
    cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, cenote::peek_after{0ms}, counters{}};
    const auto message = [](char kind, const std::string& body) {
        const auto n = static_cast<unsigned>(body.size() + 4);
        return kind + std::string{static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8), static_cast<char>(n)} + body;
    };
    std::mt19937 random{17};
    for (const char kind : std::string_view{"TDCENSAKZIRGHWVdcst123nvfpQX"}) {
        for (int i = 0; i < 6; ++i) {
            INFO(kind << " " << i);
            std::string body(random() % 60, '\0');
            for (char& c : body) c = static_cast<char>(i % 2 == 0 ? random() : random() % 3);
            { // what follows comes in the same piece: else it could be in time to be taken for the answer to something else
                auto lease = db.acquire(for_ever);
                const std::string all = message(kind, body) + message('C', std::string{"SELECT 0\0", 9}) + message('Z', "I");
                server.next(pg_stage::query, pg_reply::bytes(all).unready());
                (void)tried(d, *lease, "select 2", deadline::in(20ms));
            }
            server.clear(pg_stage::query);
            auto lease = db.acquire(for_ever);
            CHECK(asked(d, *lease, "select 1") == "1");
        }
    }
    expect_sound(db);
    expect_clean_end(db, server);
}

TEST_CASE("case-A17: who is let in by a server that babbles, breaks off or falls silent is told in time") {
    fake_postgres server;
    postgres d{server.conninfo()};
    cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, counters{}};
    const auto stage = GENERATE(pg_stage::connect, pg_stage::login);
    for (const auto& [name, reply] : faults()) {
        INFO(name << " at " << to_string(stage));
        server.always(stage, reply);
        failure why;
        const auto begun = std::chrono::steady_clock::now();
        CHECK_FALSE(db.acquire(100ms, why));
        CHECK(std::chrono::steady_clock::now() - begun < for_ever);
        server.heal();
        CHECK(db.acquire(for_ever));
        db.invalidate_all();
    }
    (void)db.trim();
    expect_sound(db);
}

TEST_CASE("case-A17: a server that lies about the transaction does not spoil the pool") {
    fake_postgres server;
    server.answer("select 1", pg_reply::row({"1"}));
    postgres d{server.conninfo()};
    const auto pid = [](auto& lease) { return PQbackendPID(lease.native_handle()); };
    const auto expect_replaced = [&](auto& db, auto& lease, int process) {
        lease = {};
        lease = db.acquire(for_ever);
        CHECK(pid(lease) != process);
        CHECK(asked(d, *lease, "select 1") == "1");
        lease = {};
        expect_sound(db);
    };
    SECTION("there is one, it says, and there is none: it is rolled back, and the truth comes out") {
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, counters{}};
        auto lease = db.acquire(for_ever);
        const int process = pid(lease);
        for (const char lie : {'T', 'E'}) {
            server.next(pg_stage::query, pg_reply::ok().claiming(lie));
            CHECK_FALSE(tried(d, *lease, "select 1"));
            lease = {};
            lease = db.acquire(for_ever);
            CHECK(pid(lease) == process);
            CHECK(d.state(*lease) == cenote::session_state::idle);
            CHECK(asked(d, *lease, "select 1") == "1");
        }
        CHECK(db.stats().returned_dirty == 2);
        CHECK(server.executed().back() == "select 1");
    }
    SECTION("it goes on lying when it is rolled back: discarded") {
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, counters{}};
        auto lease = db.acquire(for_ever);
        const int process = pid(lease);
        server.next(pg_stage::query, pg_reply::ok().claiming('T'), 2);
        CHECK_FALSE(tried(d, *lease, "select 1"));
        expect_replaced(db, lease, process);
    }
    SECTION("there is none, it says, and there is one: a full reset finds out, and it is discarded") {
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, cenote::deferred{cenote::reset_always{}}, counters{}};
        auto lease = db.acquire(for_ever);
        const int process = pid(lease);
        server.next(pg_stage::query, pg_reply::ok().claiming('I'));
        CHECK_FALSE(tried(d, *lease, "begin"));
        CHECK(d.state(*lease) == cenote::session_state::idle);
        expect_replaced(db, lease, process);
    }
    SECTION("it says what no server says") {
        cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, counters{}};
        auto lease = db.acquire(for_ever);
        const int process = pid(lease);
        server.next(pg_stage::query, pg_reply::ok().claiming('?'));
        (void)tried(d, *lease, "select 1");
        CHECK(d.state(*lease) == cenote::session_state::unknown);
        expect_replaced(db, lease, process);
    }
}

TEST_CASE("case-A17: what a server says to nobody is heard before the connection is used again") {
    fake_postgres server;
    server.answer("select 1", pg_reply::row({"1"}));
    postgres d{server.conninfo()};
    cenote::pool db{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, cenote::peek_after{0ms}, counters{}};
    const auto process_after = [&](const pg_reply& r) {
        int process = 0;
        {
            auto lease = db.acquire(for_ever);
            process = PQbackendPID(lease.native_handle());
            CHECK(asked(d, *lease, "select 1") == "1");
        }
        server.say(r);
        failure why;
        auto lease = db.acquire(2s, why);
        if (!lease) lease = db.acquire(for_ever);
        CHECK(asked(d, *lease, "select 1") == "1");
        return PQbackendPID(lease.native_handle()) == process;
    };
    CHECK(process_after(pg_reply::notice("nothing much")));
    CHECK(process_after(pg_reply::notification("news", "rain")));
    CHECK(process_after(pg_reply::parameter("TimeZone", "Europe/Paris")));
    CHECK_FALSE(process_after(pg_reply::fatal("57P01")));
    CHECK_FALSE(process_after(pg_reply::fatal("57P05")));
    CHECK_FALSE(process_after(pg_reply::notice("crash", "57P02").then(pg_reply::end())));
    CHECK_FALSE(process_after(pg_reply::end(ending::reset)));
    CHECK_FALSE(process_after(pg_reply::garbage(5000)));
    CHECK_FALSE(process_after(pg_reply::length_bomb()));
    expect_sound(db);
}

TEST_CASE("case-A17: an answer too many is not taken for the next command's") {
    fake_postgres server;
    server.answer("select 1", pg_reply::row({"1"}));
    postgres d{server.conninfo()};
    const auto right_after = [&](auto&& db, const std::string& left_behind) {
        {
            auto lease = db.acquire(for_ever);
            (void)d.execute(*lease, left_behind, {}, deadline::in(5s));
            server.say(pg_reply::row({"stale"}).then(pg_reply::message('Z', "I")));
            pollfd said{PQsocket(lease.native_handle()), POLLIN, 0};
            REQUIRE(::poll(&said, 1, 20'000) == 1); // it lies there when the clean-up begins
        }
        for (int i = 0; i < 2; ++i) CHECK(asked(d, *db.acquire(for_ever), "select 1") == "1");
        CHECK(db.stats().closed == 1);
    };
    const auto pool_of = [&](auto... policies) {
        return cenote::pool{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, cenote::no_validation{}, counters{}, policies...};
    };
    SECTION("deferred reset_always") { right_after(pool_of(cenote::deferred{cenote::reset_always{}}), "select 1"); }
    SECTION("deferred reset_always, transaction open") { right_after(pool_of(cenote::deferred{cenote::reset_always{}}), "begin"); }
    SECTION("deferred reset_if_dirty, transaction open") { right_after(pool_of(cenote::deferred{cenote::reset_if_dirty{}}), "begin"); }
    SECTION("reset_always at once") { right_after(pool_of(cenote::at_return{cenote::reset_always{}}), "select 1"); }
    SECTION("reset_always at once, transaction open") { right_after(pool_of(cenote::at_return{cenote::reset_always{}}), "begin"); }
    SECTION("reset_if_dirty at once, transaction open") { right_after(pool_of(cenote::at_return{cenote::reset_if_dirty{}}), "begin"); }
    SECTION("a ping") {
        right_after(cenote::pool{postgres{server.conninfo()}, bounded{.max = 1}, manual{}, cenote::pre_ping{}, cenote::no_reset{}, counters{}}, "select 1");
    }
}
