// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>

#include <server/support/locks.hpp>
#include <server/support/postgres.hpp>

#include <cenote/policy/validation.hpp>

using namespace std::chrono_literals;
using cenote::advisory_lock;
using cenote::errc;
using cenote::postgres;

namespace {

/// How many sessions hold an advisory lock of this name.
std::size_t holders(pg::witness& outside, const std::string& name) {
    const auto key = static_cast<std::uint64_t>(advisory_lock::hashed(name));
    return std::stoul(outside.ask("select count(*) from pg_locks where locktype = 'advisory' and granted and objsubid = 1 and classid = " +
                                  std::to_string(key >> 32) + " and objid = " + std::to_string(key & 0xffffffffU)));
}

std::string through(unsigned port) {
    const auto& s = servers::postgres();
    return "host=127.0.0.1 port=" + std::to_string(port) + " user=cenote dbname=cenote sslmode=disable password=" + s.password;
}

template <class Pool, class Key>
std::error_code try_once(Pool& db, const Key& key) {
    std::error_code why;
    (void)cenote::lock(db, key, {.wait = 0s}, why);
    return why;
}

} // namespace

TEST_CASE("advisory locks exclude each other as PostgreSQL says") {
    const std::string name = locks::own_name("exclude");
    const auto number = advisory_lock::hashed(name);
    cenote::pool db{postgres{servers::postgres().unix_socket}, cenote::bounded{.max = 4}};
    pg::witness outside{servers::postgres().unix_socket};
    {
        auto held = cenote::lock(db, advisory_lock{name});
        CHECK(holders(outside, name) == 1);
        CHECK(outside.ask("select pg_try_advisory_lock(" + std::to_string(number) + ")") == "f"); // the number that other programs use
        CHECK(try_once(db, advisory_lock{number}) == errc::lock_timeout);
        CHECK(try_once(db, advisory_lock{name}.shared()) == errc::lock_timeout);
        CHECK_FALSE(try_once(db, advisory_lock{name + "'"}));
        held.check();
        CHECK(held.release());
        CHECK(holders(outside, name) == 0);
    }
    {
        auto one = cenote::lock(db, advisory_lock{name}.shared());
        auto other = cenote::lock(db, advisory_lock{name}.shared());
        one.check();
        other.check();
        CHECK(holders(outside, name) == 2);
        CHECK(try_once(db, advisory_lock{name}) == errc::lock_timeout);
        CHECK(one.release());
        CHECK(try_once(db, advisory_lock{name}) == errc::lock_timeout);
    }
    CHECK_FALSE(try_once(db, advisory_lock{name}));
    for (const auto& [first, second] : {std::pair{::getpid(), -1}, std::pair{-::getpid(), 7}}) {
        auto held = cenote::lock(db, advisory_lock{first, second});
        held.check();
        CHECK(try_once(db, advisory_lock{first, second}) == errc::lock_timeout);
        CHECK_FALSE(try_once(db, advisory_lock{second, first}));
    }
    for (const std::int64_t odd : {std::int64_t{INT64_MIN} + ::getpid(), std::int64_t{-::getpid()}}) {
        auto held = cenote::lock(db, advisory_lock{odd});
        held.check();
    }
    {
        // What the holder locks besides on this session goes with it: the next user of the connection holds nothing.
        auto held = cenote::lock(db, advisory_lock{name});
        held.driver().execute(held.connection(), "select pg_advisory_lock(" + std::to_string(number) + "), pg_advisory_lock(1, 1000000)", pg::soon());
        CHECK(held.release());
        CHECK(outside.ask("select count(*) from pg_locks where locktype = 'advisory' and objid = 1000000 and classid = 1") == "0");
        CHECK(holders(outside, name) == 0);
    }
}

TEST_CASE("a lock until the end of the transaction") {
    const std::string name = locks::own_name("transaction");
    cenote::pool db{postgres{servers::postgres().unix_socket}, cenote::bounded{.max = 4}};
    pg::witness outside;
    auto lease = db.acquire();
    const auto code = [&](const advisory_lock& key) {
        try {
            cenote::lock_in_transaction(lease, key, {.wait = 20ms, .poll = 5ms});
        } catch (const cenote::error& e) {
            return e.code();
        }
        return std::error_code{};
    };
    CHECK(code(advisory_lock{name}) == errc::lock_failed); // none is open
    for (const char* end : {"commit", "rollback"}) {
        lease.driver().execute(*lease, "begin", pg::soon());
        CHECK_FALSE(code(advisory_lock{name}));
        CHECK(holders(outside, name) == 1);
        CHECK(try_once(db, advisory_lock{name}) == errc::lock_timeout);
        lease.driver().execute(*lease, end, pg::soon());
        CHECK(holders(outside, name) == 0);
    }
    auto held = cenote::lock(db, advisory_lock{name});
    lease.driver().execute(*lease, "begin", pg::soon());
    CHECK(code(advisory_lock{name}.shared()) == errc::lock_timeout);
}

TEST_CASE("the guard of an advisory lock knows that its session was ended") {
    const std::string name = locks::own_name("ended");
    cenote::pool db{postgres{servers::postgres().tcp}, cenote::bounded{.max = 4}};
    pg::witness outside;
    const auto take = [&] { return cenote::lock(db, advisory_lock{name}); };
    auto held = take();
    CHECK(held.owns());
    REQUIRE(outside.terminate(PQbackendPID(held.native_handle())));
    CHECK(locks::becomes([&] { return !held.owns(); }));
    auto next = take(); // at once
    cenote::failure why;
    CHECK_FALSE(held.release(why));
    CHECK(why.code == errc::lock_lost);
    CHECK(why.text().find("57P01") != std::string::npos);
    CHECK(next.owns());
    next.check();

    // A lock that somebody else has given back on its own session.
    next.driver().execute(next.connection(), "discard all", pg::soon());
    CHECK(next.owns());
    CHECK_FALSE(next.check(10s, why));
    CHECK(why.code == errc::lock_lost);

    // In a transaction that has failed it is still held, and nothing can be asked.
    next = take();
    CHECK(pg::error_of([&] { next.driver().execute(next.connection(), "begin; select 1 / 0", pg::soon()); }));
    next.check();
    CHECK(next.release());

    // A statement that still runs does not keep the lock.
    next = take();
    const int pid = PQbackendPID(next.native_handle());
    REQUIRE(PQsendQuery(next.native_handle(), "select pg_sleep(600)") == 1);
    REQUIRE(outside.is_running(pid));
    CHECK_FALSE(next.check(10s, why));
    CHECK(why.code == errc::lock_failed);
    (void)next.release(why); // with libpq 17 it is cancelled, and the session goes on; else it is ended
    CHECK(locks::becomes([&] { return holders(outside, name) == 0; }));
    CHECK(locks::becomes([&] { return outside.ask("select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active' and pid = " + std::to_string(pid)) == "0"; }));

    // Neither does one that was given up.
    next = take();
    CHECK(pg::error_of([&] { next.driver().execute(next.connection(), "select pg_sleep(601)", cenote::deadline::in(20ms)); }));
    CHECK_FALSE(next.owns());
    CHECK_FALSE(next.release(why));
    CHECK(locks::becomes([&] { return holders(outside, name) == 0; }));
}

TEST_CASE("an advisory lock that is held for too long is taken away in the middle of a statement") {
    const std::string name = locks::own_name("overdue");
    cenote::pool db{postgres{servers::postgres().tcp}, cenote::bounded{.max = 4}};
    cenote::lock_counters figures;
    auto held = cenote::lock(db, advisory_lock{name}, {.max_hold = 50ms, .on_overdue = cenote::on_overdue::close, .sink = figures});
    CHECK(pg::error_of([&] { held.driver().execute(held.connection(), "select pg_sleep(600)", pg::soon()); }));
    CHECK_FALSE(held.owns());
    auto next = cenote::lock(db, advisory_lock{name}, {.wait = 20s, .poll = 5ms});
    CHECK(next.owns());
    std::error_code why;
    CHECK_FALSE(held.release(why));
    CHECK(why == errc::lock_lost);
    CHECK(figures.count(cenote::lock_change::overdue) == 1);
}

TEST_CASE("PgBouncer in transaction mode is refused a lock, in session mode it may be trusted") {
    const std::string name = locks::own_name("pooler");
    const std::string conninfo = servers::detail::variable("CENOTE_PG_BOUNCER");
    pg::witness outside;
    cenote::failure why;
    const auto pool_of = [&](const char* database) { return cenote::pool{postgres{pg::options(conninfo, {{"dbname", database}})}, cenote::bounded{.max = 4}}; };
    {
        auto shared = pool_of("cenote_shared");
        CHECK_FALSE(cenote::lock(shared, advisory_lock{name}, {.wait = 0s}, why));
        CHECK(why.code == errc::lock_failed);
        CHECK(why.text().find("transaction mode") != std::string::npos);
        CHECK(holders(outside, name) == 0);
        auto lease = shared.acquire();
        lease.driver().execute(*lease, "begin", pg::soon());
        cenote::lock_in_transaction(lease, advisory_lock{name});
        CHECK(holders(outside, name) == 1);
        lease.driver().execute(*lease, "rollback", pg::soon());
        CHECK(holders(outside, name) == 0);

        // Who lies is found out as soon as another session answers: this one holds the first by a transaction.
        auto held = cenote::lock(shared, advisory_lock{name}, {.session_pooler = true});
        lease.driver().execute(*lease, "begin; select 1", pg::soon());
        CHECK_FALSE(held.check(10s, why));
        CHECK(why.code == errc::lock_lost);
        lease.driver().execute(*lease, "commit", pg::soon());
        outside.run("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = " +
                    std::to_string(static_cast<std::uint64_t>(advisory_lock::hashed(name)) >> 32));
    }
    auto whole = pool_of("cenote_whole");
    CHECK_FALSE(cenote::lock(whole, advisory_lock{name}, {.wait = 0s}, why));
    auto held = cenote::lock(whole, advisory_lock{name}, {.wait = 20s, .session_pooler = true});
    held.check();
    CHECK(held.owns());
    CHECK(held.release());
    CHECK(locks::becomes([&] { return holders(outside, name) == 0; }));
}

TEST_CASE("taking and releasing an advisory lock are cut at every point") {
    const std::string name = locks::own_name("cut");
    cenote::testing::fault_proxy net{"127.0.0.1", servers::postgres().port};
    pg::witness outside;
    const std::string application = pg::own_name();
    locks::cut_everywhere(net, postgres{pg::options(through(net.port()), {{"application_name", application}})}, advisory_lock{name},
                          [&] { return holders(outside, name) == 0; });
    CHECK(pg::becomes([&] { return outside.sessions(application) == 0; }));
}

TEST_CASE("never two processes hold an advisory lock, though their holders are killed") {
    const std::string name = locks::own_name("fight");
    std::optional<pg::witness> outside; // made when the processes are
    const auto& s = servers::postgres();
    const auto look = [&]() -> pg::witness& {
        if (!outside) outside.emplace();
        return *outside;
    };
    locks::fight(postgres{s.unix_socket}, advisory_lock{name}, locks::rounds(), static_cast<unsigned>(::getpid()), [&](std::uint64_t pid) { return look().lives(static_cast<int>(pid)); },
                 [&] { return holders(look(), name) == 0; });
}
