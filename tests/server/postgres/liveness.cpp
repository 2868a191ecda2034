// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <server/support/fake_server.hpp>
#include <server/support/postgres.hpp>
#include <server/support/punctuality.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::error_class;
using cenote::liveness;
using cenote::postgres;
using Catch::Matchers::ContainsSubstring;

namespace {

bool is_readable(PGconn* c) {
    pollfd p{PQsocket(c), POLLIN, 0};
    return ::poll(&p, 1, 0) > 0;
}

/// Ten connections at a time, again and again: all are idle in the pool when `end` ends their sessions. Counts what the pool hands out.
struct count {
    std::size_t ended = 0;       ///< sessions
    std::size_t looked_well = 0; ///< of these, by what libpq says
    std::size_t handed_out = 0;  ///< leases afterwards
    std::size_t dead = 0;        ///< of these
};
template <class Pool, class End>
count end_idle(Pool& db, std::size_t times, End end) {
    count n;
    for (std::size_t round = 0; round < times; ++round) {
        std::set<int> before;
        std::vector<PGconn*> handles;
        {
            std::vector<typename Pool::lease> all;
            for (int i = 0; i < 10; ++i) {
                all.push_back(db.acquire(10s));
                handles.push_back(all.back().native_handle());
                before.insert(PQbackendPID(handles.back()));
            }
        }
        end(before);
        n.ended += before.size();
        for (PGconn* const c : handles) { // they idle: nobody else looks
            n.looked_well += PQstatus(c) == CONNECTION_OK && PQtransactionStatus(c) == PQTRANS_IDLE ? 1 : 0;
        }
        std::vector<typename Pool::lease> all;
        for (int i = 0; i < 10; ++i) {
            all.push_back(db.acquire(10s));
            ++n.handed_out;
            const pg::result r{PQexec(all.back().native_handle(), "select 1")};
            const bool works = PQresultStatus(r.get()) == PGRES_TUPLES_OK && !before.contains(PQbackendPID(all.back().native_handle()));
            n.dead += works ? 0 : 1;
        }
    }
    return n;
}
void expect_none_dead(std::size_t times, const count& n) {
    CHECK(n.ended == 10 * times);
    CHECK(n.looked_well == 10 * times); // libpq by itself would not have known
    CHECK(n.handed_out == 10 * times);
    CHECK(n.dead == 0);
}
const std::size_t as_often_as_asked = std::min<std::size_t>(testing_support::deadline_rounds() / 8, 10);

template <class... Policies>
void expect_terminations_to_be_noticed(std::size_t times, Policies... policies) {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        pg::witness outside;
        cenote::pool db{postgres{conninfo}, policies...};
        expect_none_dead(times, end_idle(db, times, [&](const std::set<int>& pids) {
            std::string list;
            for (const int pid : pids) list += (list.empty() ? "" : ",") + std::to_string(pid);
            outside.run("select pg_terminate_backend(pid) from pg_stat_activity where pid in (" + list + ")");
            REQUIRE(pg::becomes([&] { return outside.ask("select count(*) from pg_stat_activity where pid in (" + list + ")") == "0"; }));
        }));
    }
}

template <class... Policies>
void expect_session_timeouts_to_be_noticed(std::size_t times, Policies... policies) {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        pg::witness outside;
        const std::string session = pg::own_name();
        auto o = pg::options(conninfo, {{"application_name", session}});
        cenote::pool db{postgres{o}, policies...};
        expect_none_dead(times, end_idle(db, times, [&](const std::set<int>& pids) {
            {
                std::vector<decltype(db.acquire())> all;
                for (std::size_t i = 0; i < pids.size(); ++i) {
                    all.push_back(db.acquire(10s));
                    (void)pg::run(all.back().native_handle(), "set idle_session_timeout = 20");
                }
            }
            REQUIRE(pg::becomes([&] { return outside.sessions(session) == 0; }));
        }));
    }
}

} // namespace

TEST_CASE("a pool that peeks hands out none of a hundred connections whose sessions were terminated while idle") {
    expect_terminations_to_be_noticed(10, cenote::peek_after{0ms});
}
TEST_CASE("a pool that pings hands out none of a hundred connections whose sessions were terminated while idle") {
    expect_terminations_to_be_noticed(10, cenote::pre_ping{});
}
TEST_CASE("a pool without a thread that peeks hands out no connection whose session was terminated while idle") {
    expect_terminations_to_be_noticed(as_often_as_asked, cenote::peek_after{0ms}, cenote::manual{});
}
TEST_CASE("a pool that peeks hands out no connection that the server closed for idling") {
    expect_session_timeouts_to_be_noticed(as_often_as_asked, cenote::peek_after{0ms});
}
TEST_CASE("a pool that pings hands out no connection that the server closed for idling") {
    expect_session_timeouts_to_be_noticed(as_often_as_asked, cenote::pre_ping{});
}

TEST_CASE("a notification on an idle connection never costs the connection, and reaches its next user") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        pg::witness other{conninfo};
        const std::string channel = "c" + std::to_string(::getpid());
        cenote::pool db{postgres{conninfo}, cenote::bounded{.max = 1}, cenote::peek_after{0ms}};
        std::size_t kept = 0, heard = 0, seen = 0;
        for (int i = 0; i < 100; ++i) {
            auto lease = db.acquire(10s);
            PGconn* const c = lease.native_handle();
            const int pid = PQbackendPID(c);
            (void)pg::run(c, ("listen " + channel).c_str());
            lease.give_back();
            other.run("notify " + channel + ", 'x'");
            seen += pg::becomes([&] { return is_readable(c); }) ? 1 : 0;
            auto again = db.acquire(10s);
            kept += PQbackendPID(again.native_handle()) == pid ? 1 : 0;
            while (PGnotify* const n = PQnotifies(again.native_handle())) {
                ++heard;
                PQfreemem(n);
            }
        }
        CHECK(seen == 100);
        CHECK(kept == 100);
        CHECK(heard == 100);
    }
}

TEST_CASE("a notice on an idle connection never costs the connection") {
    std::atomic<int> given_back{0};
    fake_server talkative{[&](auto& peer) {
        if (!wire::begin(peer) || !peer.send(wire::welcome())) return;
        for (int sent = 0;;) { // after the answer to its user comes one more word, once the connection is idle again
            const std::string head = peer.receive(5);
            if (head.size() != 5 || head[0] == 'X') return;
            const std::string sql = peer.receive(static_cast<std::size_t>(static_cast<unsigned char>(head[4])) - 4);
            if (!peer.send(wire::message('I', "") + wire::ready())) return;
            if (sql.find("user") == sql.npos) continue; // the pool's ping
            while (given_back == sent) {
                if (!peer.pause(1ms)) return;
            }
            ++sent;
            if (!peer.send(wire::notice("00000", "by the way"))) return;
        }
    }};
    std::size_t heard = 0;
    auto o = pg::options(talkative.conninfo());
    o.on_notice = [&](const postgres::notice&) { ++heard; };
    cenote::pool db{postgres{o}, cenote::bounded{.max = 1}, cenote::peek_after{0ms}};
    for (int i = 0; i < 100; ++i) {
        auto lease = db.acquire(10s);
        PGconn* const c = lease.native_handle();
        (void)pg::run(c, "/* user */");
        lease.give_back();
        ++given_back;
        REQUIRE(pg::becomes([&] { return is_readable(c); }));
    }
    (void)db.acquire(10s);
    CHECK(heard >= 100);
    CHECK(talkative.accepted() == 1);
}

TEST_CASE("peek says quiet, suspicious or dead, and a ping tells a notification from an end") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        pg::witness outside;
        postgres d{conninfo};
        pg::opened c{d};
        CHECK(d.peek(*c) == liveness::quiet);
        (void)pg::run(c.handle(), "listen here");
        CHECK(d.peek(*c) == liveness::quiet);
        pg::witness{conninfo}.run("notify here");
        CHECK(pg::becomes([&] { return d.peek(*c) == liveness::suspicious; }));
        d.ping(*c, pg::soon());
        CHECK(d.peek(*c) == liveness::quiet);
        CHECK(c->last_word().empty());
        REQUIRE(outside.terminate(c.pid()));
        CHECK(pg::becomes([&] { return d.peek(*c) == liveness::dead; }));
        CHECK(PQstatus(c.handle()) == CONNECTION_OK);
        CHECK(d.state(*c) == cenote::session_state::idle);
        const auto e = pg::error_of([&] { d.ping(*c, pg::soon()); });
        REQUIRE(e);
        CHECK(e->kind() == error_class::disconnected);
        CHECK(e->sqlstate() == "57P01");
        CHECK_THAT(e->what(), ContainsSubstring("terminating connection due to administrator command"));
        CHECK(c->last_word() == "57P01");
        CHECK(d.peek(*c) == liveness::dead);
        CHECK(d.state(*c) == cenote::session_state::unknown);
        const auto again = pg::error_of([&] { d.ping(*c, pg::soon()); });
        REQUIRE(again);
        CHECK(again->sqlstate() == "57P01");
    }
}

TEST_CASE("however a session that was ended is used next, the error says why it ended") {
    const auto expect_last_word = [](const char* sqlstate, auto end, auto use) {
        for (const auto& [name, conninfo] : pg::transports()) {
            INFO(name << ", " << sqlstate);
            pg::witness outside;
            postgres d{conninfo};
            pg::opened c{d};
            end(outside, c);
            REQUIRE(pg::becomes([&] { return !outside.lives(c.pid()); }));
            const auto e = pg::error_of([&] { use(d, *c); });
            REQUIRE(e);
            CHECK(e->kind() == error_class::disconnected);
            CHECK(e->sqlstate() == sqlstate);
            CHECK(c->last_word() == sqlstate);
            CHECK(d.state(*c) == cenote::session_state::unknown);
        }
    };
    const auto terminated = [](pg::witness& outside, pg::opened& c) { (void)outside.terminate(c.pid()); };
    const auto in_transaction = [](pg::witness& outside, pg::opened& c) {
        (void)pg::run(c.handle(), "begin");
        (void)outside.terminate(c.pid());
    };
    const auto idled = [](pg::witness&, pg::opened& c) { (void)pg::run(c.handle(), "set idle_session_timeout = 1"); };
    const auto idled_in_transaction = [](pg::witness&, pg::opened& c) {
        (void)pg::run(c.handle(), "set idle_in_transaction_session_timeout = 1");
        (void)pg::run(c.handle(), "begin");
    };
    const auto ping = [](postgres& d, postgres::connection& c) { d.ping(c, pg::soon()); };
    const auto execute = [](postgres& d, postgres::connection& c) { d.execute(c, "select 1", pg::soon()); };
    const auto values = [](postgres& d, postgres::connection& c) { (void)d.execute(c, "select $1", {{"1"}}, pg::soon()); };
    const auto reset = [](postgres& d, postgres::connection& c) { d.reset(c, pg::soon()); };
    const auto rollback = [](postgres& d, postgres::connection& c) { d.rollback(c, pg::soon()); };
    const auto deferred = [](postgres& d, postgres::connection& c) {
        if (d.reset_start(c)) d.reset_finish(c, pg::soon());
        else d.reset(c, pg::soon());
    };
    expect_last_word("57P01", terminated, ping);
    expect_last_word("57P01", terminated, execute);
    expect_last_word("57P01", terminated, values);
    expect_last_word("57P01", terminated, reset);
    expect_last_word("57P01", terminated, deferred);
    expect_last_word("57P01", in_transaction, rollback);
    expect_last_word("57P01", in_transaction, reset);
    expect_last_word("57P01", in_transaction, deferred);
    expect_last_word("57P05", idled, ping);
    expect_last_word("25P03", idled_in_transaction, rollback);
}

TEST_CASE("a session that ends under a statement says why, and is disconnected whatever the server said") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        postgres d{conninfo};
        pg::opened c{d};
        const auto e = pg::error_of([&] { d.execute(*c, "select pg_terminate_backend(pg_backend_pid()), pg_sleep(10)", pg::soon()); });
        REQUIRE(e);
        CHECK(e->kind() == error_class::disconnected);
        CHECK(e->sqlstate() == "57P01");
        CHECK(c->last_word() == "57P01");
        CHECK(d.state(*c) == cenote::session_state::unknown);
    }
}
