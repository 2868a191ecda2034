// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "support.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace session_tests;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::Equals;
using cenote::condition;
using cenote::driver_error;
using cenote::errc;
using cenote::error_class;
using cenote::session_state;
using cenote::transaction_options;
using cenote::testing::outcome;
using cenote::testing::site;

static_assert(!std::is_copy_constructible_v<transaction> && std::is_nothrow_move_constructible_v<transaction> && std::is_nothrow_destructible_v<transaction>);
static_assert(!std::is_move_constructible_v<cenote::savepoint<pool::core_type>>);

namespace {

void move_ten(auto& t) {
    t.exec("update accounts set balance = balance - 10 where id = ?", 1);
    t.exec("update accounts set balance = balance + 10 where id = ?", 2);
}
driver_error race(condition c = condition::serialization_failure, error_class k = error_class::serialization) { return {k, "a race", 1, {}, c}; }

} // namespace

TEST_CASE("a transaction commits when its callback returns and rolls back when it throws") {
    bank b;
    CHECK(b.db.transaction([](transaction& t) {
        move_ten(t);
        return std::string{"done"};
    }) == "done");
    CHECK(b.balances() == "90 110");
    CHECK_THROWS_WITH(b.db.transaction([](transaction& t) {
        move_ten(t);
        throw std::runtime_error{"mine"};
    }), "mine");
    CHECK(b.balances() == "90 110");
    b.db.transaction([](transaction& t) {
        move_ten(t);
        t.rollback(); // the callback may end it itself
    });
    CHECK(b.balances() == "90 110");
    CHECK(b.at_rest());
    CHECK(b.db.stats().idle == 1);
}

TEST_CASE("a transaction as a guard wants its commit, and gives the session back") {
    bank b;
    session s{b.db.acquire()};
    {
        auto t = std::move(s).begin();
        CHECK_FALSE(s); // NOLINT: that is what is tested
        CHECK_THROWS_AS(s.exec("select 1"), std::logic_error);
        CHECK_THROWS_AS((void)std::move(s).begin(), std::logic_error); // a second one
        move_ten(t);
        CHECK(b.balances() == "100 100");
        transaction moved = std::move(t);
        CHECK_FALSE(t.is_open());
        CHECK_THROWS_AS(t.exec("select 1"), std::logic_error);
        CHECK_THROWS_AS(t.commit(), std::logic_error);
        CHECK_THROWS_AS(t.rollback(), std::logic_error);
        s = moved.commit();
        CHECK_THROWS_AS(moved.commit(), std::logic_error);
        CHECK_THROWS_AS(moved.exec("select 1"), std::logic_error);
    }
    CHECK(b.balances() == "90 110");
    {
        auto t = std::move(s).begin();
        move_ten(t);
    }
    CHECK(b.balances() == "90 110");
    CHECK(b.at_rest());

    s = session{b.db.acquire()};
    auto t = std::move(s).begin();
    move_ten(t);
    s = t.rollback();
    CHECK(s.exec("update accounts set balance = balance") == 2);
    t = std::move(s).begin();
    move_ten(t);
    t = session{b.db.acquire()}.begin(); // what was open is rolled back
    CHECK(t.commit().exec("update accounts set balance = balance") == 2);
    CHECK(b.balances() == "90 110");
}

TEST_CASE("a transaction is of the kind that was asked for") {
    bank b;
    session s{b.db.acquire()};
    auto t = std::move(s).begin({.isolation = transaction_options::level::serializable, .mode = transaction_options::access::read_only});
    CHECK(t.scalar<int>("select sum(balance) from accounts") == 200);
    try {
        t.exec("delete from accounts");
        FAIL("it was to refuse that");
    } catch (const driver_error& e) {
        CHECK(e.met() == condition::read_only);
    }
    s = t.commit();
    CHECK(s.exec("update accounts set balance = balance") == 2); // it writes again
    t = std::move(s).begin({.mode = transaction_options::access::read_only});
    s = t.rollback();
    CHECK(s.exec("update accounts set balance = balance") == 2);
    { auto left = std::move(s).begin({.mode = transaction_options::access::read_only}); }
    CHECK(b.at_rest());

    s = session{b.db.acquire()};
    CHECK_THROWS_WITH((void)std::move(s).begin({.deferrable = true}), ContainsSubstring("transaction_options.deferrable"));
    CHECK(s.exec("select 1") == 1); // it is still there
    t = std::move(s).begin({.mode = transaction_options::access::read_write});
    session other{b.db.acquire()};
    CHECK_THROWS_AS((void)std::move(other).begin({.mode = transaction_options::access::read_write}), driver_error); // the lock is taken
    CHECK(other.scalar<int>("select count(*) from accounts") == 2);
}

TEST_CASE("a read-only transaction that was ended by hand does not leave the connection read-only") {
    bank b;
    {
        session s{b.db.acquire()};
        auto t = std::move(s).begin({.mode = transaction_options::access::read_only});
        t.script("commit");
        CHECK_THROWS_AS(t.commit(), driver_error);
    }
    CHECK(b.at_rest());
    {
        session s{b.db.acquire()};
        auto lease = std::move(s.lease());
        lease.driver().begin(*lease, {.mode = transaction_options::access::read_only}, cenote::deadline::never());
        lease.driver().execute(*lease, "commit", cenote::deadline::never());
    }
    CHECK(b.at_rest());
}

TEST_CASE("savepoints nest, and each can be undone alone") {
    bank b;
    session s{b.db.acquire()};
    auto t = std::move(s).begin();
    t.exec("insert into accounts values (3, 3)");
    {
        auto outer = t.savepoint();
        outer.exec("insert into accounts values (4, 4)");
        {
            auto inner = t.savepoint();
            inner.exec("insert into accounts values (5, 5)");
            CHECK_THROWS_WITH(t.commit(), ContainsSubstring("while a savepoint is open"));
        }
        {
            auto inner = t.savepoint();
            inner.exec("insert into accounts values (6, 6)");
            inner.release();
            CHECK_FALSE(inner.is_open());
            CHECK_THROWS_AS(inner.release(), std::logic_error);
        }
        outer.release();
    }
    {
        auto gone = t.savepoint();
        gone.exec("insert into accounts values (7, 7)");
        auto inner = t.savepoint();
        transaction moved = std::move(t); // they go with it
        inner.exec("insert into accounts values (8, 8)");
        gone.rollback();
        CHECK_FALSE(inner.is_open());
        t = std::move(moved);
    }
    CHECK_THROWS_AS(t.nested([&] {
        t.exec("insert into accounts values (9, 9)");
        t.exec("insert into accounts values (1, 1)"); // is there
    }), driver_error);
    CHECK(t.nested([&] { return t.exec("insert into accounts values (10, 10)"); }) == 1);
    CHECK(t.within(1h).scalar<int>("select count(*) from accounts") == 6);
    s = t.commit();
    CHECK(b.balances() == "100 100 3 4 6 10");

    // A savepoint that its transaction has left behind does nothing.
    t = std::move(s).begin();
    std::optional<cenote::savepoint<pool::core_type>> none;
    {
        auto left = t.savepoint();
        s = t.rollback();
        CHECK_FALSE(left.is_open());
        CHECK_THROWS_AS(left.exec("select 1"), std::logic_error);
    }
    CHECK(s.exec("select 1") == 1);
}

TEST_CASE("a savepoint that cannot be undone takes the transaction with it") {
    bank b;
    session s{b.db.acquire()};
    auto t = std::move(s).begin();
    move_ten(t);
    {
        auto part = t.savepoint();
        b.wrong.next(site::execute, outcome::fail(error_class::other));
    }
    CHECK_THROWS_WITH(t.exec("select 1"), ContainsSubstring("has ended already"));
    CHECK_THROWS_WITH(t.savepoint(), ContainsSubstring("has ended already"));
    CHECK_THROWS_WITH(t.commit(), ContainsSubstring("has ended already"));
    s = t.rollback();
    CHECK(s.exec("select 1") == 1);
    CHECK(b.balances() == "100 100");
}

TEST_CASE("every failure point of a transaction: nothing is held, nothing is lost, and the outcome is told truthfully") {
    const auto gone = outcome::raise(driver_error{error_class::disconnected, "the line is cut", 0, {}, condition::disconnected});
    const auto late = outcome::fail(error_class::timeout, "too late");
    const auto other = outcome::fail(error_class::other, "refused");
    struct failing {
        site where;
        outcome what;
        const char* text; // of what is thrown
        bool unknown;     // whether nobody knows
        bool closed;      // whether the connection ends
    };
    const failing all[]{
        {site::begin, gone, "the line is cut", false, true},
        {site::begin, late, "too late", false, false},
        {site::begin, other, "refused", false, false},
        {site::query, gone, "the line is cut", false, true},
        {site::query, late, "too late", false, false},
        {site::query, outcome::ok().then_lost(), "the session is lost", false, true}, // met by the next statement
        {site::commit, gone, "the line is cut", true, true},
        {site::commit, late, "too late", true, true},
        {site::commit, other, "refused", false, false},
        {site::commit, outcome::throw_std("no memory"), "no memory", false, false}, // the transaction is still there: not committed
        {site::commit, outcome::throw_int(), "no std::exception", true, true},
    };
    for (const bool guard : {false, true}) {
        for (const failing& f : all) {
            bank b;
            INFO(to_string(f.where) << ": " << f.text << (guard ? ", as a guard" : ""));
            std::string said;
            bool unknown = false;
            b.wrong.next(f.where, f.what);
            try {
                if (guard) {
                    auto t = session{b.db.acquire()}.begin();
                    move_ten(t);
                    t.commit();
                } else {
                    // However often it may run, none of these is a reason to.
                    b.db.transaction([](transaction& t) { move_ten(t); }, {.attempts = 3, .pause = [](cenote::duration) {}});
                }
            } catch (const cenote::error& e) {
                said = e.what();
                unknown = e.code() == errc::outcome_unknown;
                CHECK_THAT(said, ContainsSubstring("it may have been committed, or rolled back: "));
            } catch (const std::exception& e) {
                said = e.what();
            }
            CHECK_THAT(said, ContainsSubstring(f.text));
            CHECK(unknown == f.unknown);
            CHECK(b.balances() == "100 100");
            CHECK(b.db.stats().used == 0);
            CHECK(b.at_rest());
            CHECK(b.wrong.counts(site::open).calls == (f.closed ? 2U : 1U));
        }
    }
}

TEST_CASE("a rollback that is not possible closes the connection") {
    bank b;
    for (const auto& what : {outcome::fail(error_class::other), outcome::fail(error_class::disconnected), outcome::throw_int()}) {
        b.wrong.next(site::rollback, what);
        const auto opened = b.wrong.counts(site::open).calls;
        {
            auto t = session{b.db.acquire()}.begin();
            move_ten(t);
        }
        CHECK(b.at_rest());
        CHECK(b.wrong.counts(site::open).calls == opened + 1);
        CHECK(b.balances() == "100 100");
    }
    b.wrong.next(site::rollback, outcome::fail(error_class::other, "will not"));
    auto t = session{b.db.acquire()}.begin();
    move_ten(t);
    CHECK_THROWS_WITH(t.rollback(), "will not");
    CHECK_FALSE(t.is_open());
    CHECK(b.at_rest());
    CHECK(b.balances() == "100 100");
}

TEST_CASE("a transaction that the database has ended lets nothing more run as if it were there") {
    bank b;
    session s{b.db.acquire()};
    auto t = std::move(s).begin();
    move_ten(t);
    // SQLite rolls back the whole transaction whose change it interrupts, and would commit what follows one by one.
    try {
        t.within(5ms).exec("insert into accounts with recursive n(i) as (select 10 union all select i + 1 from n) select i, 1 from n");
        FAIL("it was to be interrupted");
    } catch (const driver_error& e) {
        CHECK(e.met() == condition::statement_timeout);
    }
    CHECK_THROWS_WITH(t.exec("update accounts set balance = 0"), ContainsSubstring("the transaction has ended already"));
    CHECK_THROWS_WITH((void)t.savepoint(), ContainsSubstring("the transaction has ended already"));
    CHECK_THROWS_WITH(t.commit(), ContainsSubstring("the transaction has ended already"));
    CHECK(b.balances() == "100 100");
    s = t.rollback();
    CHECK(s.exec("update accounts set balance = balance") == 2);
}

TEST_CASE("a transaction that was begun or ended by a statement is noticed") {
    bank b;
    session s{b.db.acquire()};
    s.exec("begin");
    s.exec("update accounts set balance = 1");
    CHECK_THROWS_WITH((void)std::move(s).begin(), ContainsSubstring("has begun a transaction that the session does not know of"));
    s.exec("commit"); // it is as it was
    CHECK(b.balances() == "1 1");
    auto t = std::move(s).begin();
    t.exec("update accounts set balance = 2");
    t.exec("commit");
    CHECK_THROWS_WITH(t.exec("update accounts set balance = 3"), ContainsSubstring("the transaction has ended already"));
    CHECK_THROWS_WITH(t.commit(), ContainsSubstring("the transaction has ended already"));
    s = t.rollback();
    CHECK(s.exec("select 1") == 1);
    CHECK(b.balances() == "2 2");
}

TEST_CASE("a commit that meets a reader's lock has failed, and says so") {
    bank b{{.journal = cenote::sqlite::journal_mode::rollback}};
    session reader{b.db.acquire()};
    auto reading = std::move(reader).begin();
    CHECK(reading.scalar<int>("select count(*) from accounts") == 2);
    auto t = session{b.db.acquire()}.begin();
    move_ten(t);
    try {
        t.commit();
        FAIL("the reader was to be in its way");
    } catch (const driver_error& e) {
        CHECK(e.met() == condition::lock_timeout);
        CHECK(e.kind() == error_class::serialization);
    }
    CHECK_FALSE(t.is_open());
    session s = t.rollback();
    CHECK(s.scalar<int>("select balance from accounts where id = 1") == 100);
}

TEST_CASE("a transaction that lost a race runs again, as often as it may, and tells of it") {
    bank b;
    std::vector<cenote::duration> pauses;
    std::vector<std::string> told;
    const cenote::transaction_run again{.attempts = 4, .first = 100ms, .factor = 3, .max = 250ms,
        .report = [&](const cenote::attempt_event& e) {
            CHECK(b.db.stats().used == 0); // no connection is held meanwhile
            told.push_back(std::to_string(e.number) + " of " + std::to_string(e.of) + ' ' + std::string{to_string(e.kind)} + ": " + std::string{e.why});
        },
        .pause = [&](cenote::duration d) { pauses.push_back(d); }};
    int runs = 0;
    const auto transfer = [&](transaction& t) {
        move_ten(t);
        return ++runs;
    };
    b.wrong.next(site::query, outcome::raise(race())).next(site::commit, outcome::raise(race(condition::deadlock)));
    b.wrong.next(site::begin, outcome::ok()).next(site::begin, outcome::raise(race(condition::none))); // an error of that class alone
    CHECK(b.db.transaction(transfer, again) == 2);
    CHECK(b.balances() == "90 110");
    CHECK(told == std::vector<std::string>{"1 of 4 serialization: a race", "2 of 4 serialization: a race", "3 of 4 serialization: a race"});
    REQUIRE(pauses.size() == 3);
    CHECK((pauses[0] >= 0ms && pauses[0] <= 100ms && pauses[1] <= 250ms && pauses[2] <= 250ms));

    told.clear();
    b.wrong.next(site::commit, outcome::raise(race()), 4);
    CHECK_THROWS_WITH(b.db.transaction(transfer, again), "a race");
    CHECK(told.size() == 4);
    CHECK(b.balances() == "90 110");

    // By choice, or not at all.
    const auto runs_for = [&](const driver_error& e, cenote::transaction_run how) {
        runs = 0;
        how.pause = [](cenote::duration) {};
        b.wrong.next(site::commit, outcome::raise(e));
        try {
            b.db.transaction(transfer, how);
        } catch (const driver_error&) {
        }
        return runs;
    };
    CHECK(runs_for(race(), {}) == 1);
    CHECK(runs_for(race(condition::deadlock), {.attempts = 2}) == 2);
    CHECK(runs_for(race(condition::deadlock), {.attempts = 2, .after_deadlock = false}) == 1);
    CHECK(runs_for(race(condition::lock_timeout), {.attempts = 2}) == 1);
    CHECK(runs_for(race(condition::lock_timeout), {.attempts = 2, .after_lock_timeout = true}) == 2);
    CHECK(runs_for(race(condition::unique_violation, error_class::constraint), {.attempts = 2}) == 1);
    CHECK(b.at_rest());
}

TEST_CASE("a transaction for which no connection is to be had is tried again, and one that has begun is not") {
    bank b;
    std::vector<std::string> told;
    const cenote::retry again{{.attempts = 3, .report = [&](const cenote::attempt_event& e) { told.emplace_back(to_string(e.kind)); },
                               .pause = [](cenote::duration) {}}};
    {
        cenote::pool none{driver{cenote::sqlite{(b.where.path / "none" / "such.db").string()}, b.wrong}, cenote::bounded{.max = 1}, cenote::manual{}, cenote::named{"none"}};
        b.wrong.next(site::open, outcome::fail(error_class::refused), 3);
        CHECK_THROWS_AS(again.transaction(none, [](transaction&) {}), cenote::error);
        CHECK(told == std::vector<std::string>{"refused", "refused", "refused"});
    }
    int runs = 0;
    CHECK(again.transaction(b.db, [&](transaction& t) {
        move_ten(t);
        return ++runs;
    }) == 1);
    CHECK(b.balances() == "90 110");
    b.wrong.next(site::commit, outcome::fail(error_class::disconnected));
    CHECK_THROWS_AS(again.transaction(b.db, [&](transaction&) { ++runs; }, {.attempts = 2}), cenote::error); // nobody knows: not again
    CHECK(runs == 2);
}

TEST_CASE("a transaction that was rolled back, and then finds no connection for its next run, is tried again") {
    bank b{{}, 1};
    std::vector<std::string> told;
    const cenote::retry again{{.attempts = 3, .report = [&](const cenote::attempt_event& e) { told.emplace_back(to_string(e.kind)); },
                               .pause = [](cenote::duration) {}}};
    b.wrong.next(site::commit, outcome::raise(race())).next(site::open, outcome::fail(error_class::refused));
    int runs = 0;
    again.transaction(b.db, [&](transaction& t) {
        move_ten(t);
        ++runs;
    }, {.attempts = 2, .pause = [&](cenote::duration) { b.db.trim(); }}); // the server has gone away meanwhile
    CHECK(runs == 2);
    CHECK(told == std::vector<std::string>{"refused"});
    CHECK(b.balances() == "90 110");

    // What the work throws of another pool's is its own affair.
    cenote::pool other{driver{cenote::sqlite{(b.where.path / "none" / "such.db").string()}, b.wrong}, cenote::bounded{.max = 1}, cenote::manual{}, cenote::named{"other"}};
    b.wrong.next(site::open, outcome::fail(error_class::refused));
    CHECK_THROWS_AS(again.transaction(b.db, [&](transaction&) {
        ++runs;
        (void)other.acquire();
    }), cenote::error);
    CHECK(runs == 3);
    CHECK(b.at_rest());
}

TEST_CASE("how a transaction is to run is checked before it runs") {
    bank b;
    const auto run = [&](const cenote::transaction_run& how) { b.db.transaction([](transaction&) {}, how); };
    CHECK_THROWS_WITH(run({.attempts = 0}), Equals("cenote: transaction_run.attempts = 0: must be at least 1"));
    CHECK_THROWS_WITH(run({.first = -1ms}), ContainsSubstring("transaction_run.first"));
    CHECK_THROWS_WITH(run({.factor = 0.5}), ContainsSubstring("transaction_run.factor"));
    CHECK_THROWS_WITH(run({.first = 2s}), ContainsSubstring("transaction_run.max = 1s: must be at least transaction_run.first, which is 2s"));
    CHECK_THROWS_WITH(run({.statement_timeout = -1ms}), ContainsSubstring("transaction_run.statement_timeout"));
    CHECK_NOTHROW(run({.statement_timeout = 1h}));
}

TEST_CASE("transfers from several threads that read before they write keep the sum") {
    bank b{{.statement_cache = 8}, 4};
    constexpr int each = 25;
    {
        std::vector<std::jthread> threads;
        for (int n = 0; n < 4; ++n) {
            threads.emplace_back([&b, n] {
                for (int i = 0; i < each; ++i) {
                    const int from = 1 + (n + i) % 2;
                    b.db.transaction([&](transaction& t) {
                        const int has = t.scalar<int>("select balance from accounts where id = ?", from);
                        t.exec("update accounts set balance = ? where id = ?", has - 1, from);
                        t.exec("update accounts set balance = balance + 1 where id = ?", 3 - from);
                    }, {.attempts = 100'000, .first = 1us, .max = 1ms, .after_lock_timeout = true});
                }
            });
        }
    }
    CHECK(b.balances() == "100 100"); // as many went there as came back
    CHECK(b.at_rest());
}

namespace {
/// A server that may be demoted, over SQLite.
struct demoted : cenote::sqlite {
    using sqlite::sqlite;
    static cenote::server_role role(connection&, cenote::deadline) { return cenote::server_role::primary; }
    auto query(connection& c, const cenote::statement& s, cenote::deadline by) {
        if (s.sql == "write") throw driver_error{error_class::wrong_role, "cannot write here", 0, "25006", condition::read_only};
        return sqlite::query(c, s, by);
    }
};
} // namespace

TEST_CASE("a write that a demoted server refuses ends its connection, and one that a read-only transaction refuses does not") {
    folder f;
    cenote::pool db{demoted{(f.path / "roles.db").string()}, cenote::bounded{.max = 1}, cenote::manual{}, cenote::require_role{}};
    cenote::session s{db.acquire()};
    auto t = std::move(s).begin({.mode = transaction_options::access::read_only});
    CHECK_THROWS_AS(t.exec("write"), driver_error);
    CHECK(t.exec("select 1") == 1);
    s = t.commit();
    CHECK_THROWS_AS(s.exec("write"), driver_error);
    CHECK_FALSE(s);
    s = cenote::session{db.acquire()};
    t = std::move(s).begin();
    CHECK_THROWS_AS(t.exec("write"), driver_error);
    CHECK(db.stats().used == 0);
}
