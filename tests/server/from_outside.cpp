// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// What other threads do to a lease. A cancel belongs to its lease: it never stops a statement of the next one (case-B13;
// CENOTE_CANCEL_ROUNDS=n: so many per server). A lease that is lost is cut.
#include "server/mysql/support.hpp"
#include "server/support/postgres.hpp"

#include <cenote/cancel.hpp>
#include <cenote/policy/leak.hpp>
#include <cenote/pool.hpp>
#include <cenote/session/session.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

using namespace std::chrono_literals;
using cenote::bounded;
using cenote::cancellable;
using cenote::close_reason;
using cenote::counters;
using cenote::deadline;

namespace {

[[nodiscard]] unsigned rounds() {
    const char* const text = std::getenv("CENOTE_CANCEL_ROUNDS");
    return text == nullptr ? 100 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}
constexpr unsigned naive_rounds = 20;
constexpr auto plenty = 20s;

/// Whether a statement that takes so long came to its end.
bool sleeps(PGconn* c, const std::string& seconds) {
    const pg::result r{PQexec(c, ("select pg_sleep(" + seconds + ")").c_str())};
    return PQresultStatus(r.get()) == PGRES_TUPLES_OK;
}
bool sleeps(MYSQL* c, const std::string& seconds) {
    try {
        return mysql_tests::ask(c, "select sleep(" + seconds + ")") == "0";
    } catch (const std::exception&) {
        return false;
    }
}

struct tally {
    unsigned sent = 0, late = 0, hit = 0, stray = 0, anew = 0;
};

/// Each lease meets a cancel at another moment of its life and ends in one of three ways; then somebody else has a connection, the same
/// one if it is whole.
template <class Pool>
[[nodiscard]] tally cancel_and_go(Pool& p, unsigned n) {
    tally t;
    for (unsigned i = 0; i < n; ++i) {
        cancellable call{p.acquire(plenty)};
        bool sent = false;
        std::jthread other{[&sent, stop = call.canceller()] {
            try {
                sent = stop.cancel(deadline::in(plenty));
            } catch (const cenote::driver_error&) { // what it means for the connection is checked by who uses the next
            }
        }};
        if (i % 2 == 0) t.hit += sleeps(call.native_handle(), i % 4 == 0 ? "0.01" : "0.0005") ? 0 : 1;
        switch (i % 3) {
        case 0: call.give_back(); break;
        case 1: call.release(deadline::in(plenty)).give_back(); break;
        default:
            other.join();
            call.give_back();
        }
        auto next = p.acquire(plenty);
        t.stray += sleeps(next.native_handle(), "0.004") ? 0 : 1;
        next.give_back();
        if (other.joinable()) other.join();
        (sent ? t.sent : t.late) += 1;
    }
    t.anew = static_cast<unsigned>(p.template get<counters>().closed_for(close_reason::discarded));
    return t;
}

/// What one does without `cancellable`.
template <class Pool>
[[nodiscard]] unsigned naive(Pool& p) {
    unsigned stray = 0;
    for (unsigned i = 0; i < naive_rounds; ++i) {
        auto lease = p.acquire(plenty);
        auto token = p.driver().interrupter(*lease);
        std::jthread other{[&] { p.driver().cancel(token, deadline::in(plenty)); }};
        lease.give_back();
        auto next = p.acquire(plenty);
        stray += sleeps(next.native_handle(), "0.05") ? 0 : 1;
        other.join();
    }
    return stray;
}

template <class Driver>
void check(const char* name, const Driver& driver) {
    cenote::pool p{driver, bounded{.max = 1}, counters{}};
    const tally t = cancel_and_go(p, rounds());
    std::printf("cancel: %s: %u leases: %u asked the server, %u came too late, %u statements of their own stopped, %u connections closed, %u stray hits\n", name,
                rounds(), t.sent, t.late, t.hit, t.anew, t.stray);
    CHECK(t.stray == 0);
    CHECK(t.sent >= rounds() / 3); // those that are waited for
    CHECK(t.hit > 0);
    CHECK(t.anew < t.sent);        // else nobody ever met a connection that a cancel had been for
    const unsigned stray = naive(p);
    std::printf("cancel: %s: without it %u of %u hit the next lease\n", name, stray, naive_rounds);
    CHECK(stray > 0); // so that a stray hit would be seen
}

/// Its own statement is stopped, by a canceller and by a stop token, and the connection is as good as before.
template <class Driver>
void stops(const Driver& driver) {
    cenote::pool p{driver, bounded{.max = 1}, counters{}};
    cancellable call{p.acquire(plenty)};
    for (const bool by_token : {false, true}) {
        std::atomic<bool> stopped{false};
        std::jthread other{[&, who = call.canceller()] {
            while (!stopped) { // again and again: a cancel that comes before the statement stops nothing
                if (by_token) {
                    std::stop_source source;
                    const cenote::cancel_on on{who, source.get_token()};
                    source.request_stop();
                } else {
                    (void)who.cancel(deadline::in(plenty));
                }
                std::this_thread::sleep_for(2ms);
            }
        }};
        CHECK_FALSE(sleeps(call.native_handle(), "60"));
        stopped = true;
        other.join();
    }
    auto lease = call.release();
    REQUIRE(lease);
    CHECK(sleeps(lease.native_handle(), "0"));
    lease.give_back();
    CHECK(p.stats().closed == 0);
}

/// What a session runs is stopped by another thread, in a transaction too, and it goes on; afterwards the canceller means nothing.
template <class Driver>
void stops_session(const Driver& driver, const std::string& sleep) {
    cenote::pool p{driver, bounded{.max = 1}, counters{}};
    cenote::session s{p.acquire(plenty)};
    const auto who = s.canceller();
    const auto is_stopped = [&](auto& on) {
        std::atomic<bool> stopped{false};
        std::jthread other{[&] {
            while (!stopped) {
                CHECK(who.cancel(deadline::in(plenty)));
                std::this_thread::sleep_for(2ms);
            }
        }};
        cenote::condition met = cenote::condition::none;
        try {
            (void)on.query(sleep);
        } catch (const cenote::driver_error& e) {
            met = e.met();
        }
        stopped = true;
        other.join();
        return met == cenote::condition::cancelled;
    };
    CHECK(is_stopped(s));
    CHECK(s.template scalar<int>("select 1") == 1);
    auto t = std::move(s).begin();
    CHECK(is_stopped(t));
    s = t.rollback();
    CHECK(s.template scalar<int>("select 1") == 1);
    s.give_back();
    CHECK_FALSE(who.cancel(deadline::in(plenty)));
    CHECK(p.stats().closed == 0);
}

std::string ask(PGconn* c, const std::string& sql) { return pg::ask(c, sql); }
std::string ask(MYSQL* c, const std::string& sql) { return mysql_tests::ask(c, sql); }

/// A lease is lost that holds a lock of the server's, in the middle of a statement or not: somebody else has a connection and the lock,
/// and its holder an error.
template <class Driver>
void cuts(const Driver& driver, const std::string& lock, const std::string& locked) {
    for (const bool busy : {true, false}) {
        cenote::pool p{driver, bounded{.max = 1}, cenote::close_now{.after = 400ms}, cenote::clock::steady{}, counters{}};
        auto lost = p.acquire(plenty);
        CHECK(ask(lost.native_handle(), lock) == locked);
        bool slept = true;
        std::jthread holder{[&] {
            if (busy) slept = sleeps(lost.native_handle(), "60");
        }};
        auto next = p.acquire(plenty); // nobody gives anything back
        bool got = false;
        for (const deadline by = deadline::in(plenty); !got && !by.expired();) {
            got = ask(next.native_handle(), lock) == locked; // as soon as the server has ended the other session
        }
        CHECK(got);
        holder.join();
        CHECK((!busy || !slept));
        CHECK_FALSE(sleeps(lost.native_handle(), "0"));
        next.give_back();
        lost.give_back();
        CHECK(p.template get<counters>().closed_for(close_reason::leaked) >= 1);
        for (const deadline by = deadline::in(plenty); p.stats().severed == 0 && !by.expired();) std::this_thread::sleep_for(1ms); // told after the permit is free
        CHECK(p.stats().severed >= 1);
        CHECK(sleeps(p.acquire(plenty).native_handle(), "0"));
    }
}

} // namespace

TEST_CASE("a lease that is lost is cut, and its session and its locks are gone, postgres") {
    cuts(cenote::postgres{servers::postgres().unix_socket}, "select pg_try_advisory_lock(4711)", "t");
}
TEST_CASE("a lease that is lost is cut, and its session and its locks are gone, mysql") {
    cuts(cenote::mysql{mysql_tests::by_socket()}, "select get_lock('cenote_lost', 0)", "1");
}
TEST_CASE("case-B13: no cancel hits the next lease, postgres", "[case-B13]") { check("postgres", cenote::postgres{servers::postgres().unix_socket}); }
TEST_CASE("case-B13: no cancel hits the next lease, mysql", "[case-B13]") { check("mysql", cenote::mysql{mysql_tests::by_socket()}); }
TEST_CASE("a lease's own statement is cancelled, postgres") { stops(cenote::postgres{servers::postgres().unix_socket}); }
TEST_CASE("a lease's own statement is cancelled, mysql") { stops(cenote::mysql{mysql_tests::by_socket()}); }
TEST_CASE("a session's own statement is cancelled, postgres") { stops_session(cenote::postgres{servers::postgres().unix_socket}, "select pg_sleep(60)"); }
TEST_CASE("a session's own statement is cancelled, mysql") { stops_session(cenote::mysql{mysql_tests::by_socket()}, "select sleep(60) from information_schema.tables"); }
