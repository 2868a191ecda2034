// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What the next user of a PostgreSQL session finds: every kind of dirt under every reset policy, and transactions that must not be committed.
#include "server/purity/postgres.hpp"

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <signal.h>

using namespace purity;
using namespace purity::pg;

namespace {

constexpr found expected(const cell& c, moment m) {
    const found f = c.at(m);
#if defined(LIBPQ_HAS_ASYNC_CANCEL)
    if (f == found::cut) return found::cleared;
#else
    if (f == found::cut) return found::closed;
#endif
    return f;
}

/// Soils a session under a policy and says what the next lease finds.
void walk(const row<pg_dirt>& r, policy p, moment m, const stage& s, std::vector<std::string> init = {}) {
    const traits t = traits_of(r.kind);
    CAPTURE(r.name, to_string(p), to_string(m));
    const auto db = make_pool(driver_for(t, std::move(init)), p, m, pg_script);
    auto lease = db.acquire();
    PGconn* c = lease->handle();
    const int pid = PQbackendPID(c);
    const look clean = look_at(c, s);
    soil(c, r.kind, s);
    if (r.kind != pg_dirt::notification) { // looking would fetch it
        REQUIRE(differences(clean, look_at(c, s)) == sorted(t.shows));
    }
    lease.give_back();
    CHECK(db.stats().returned_dirty == (t.counted && p != policy::no_reset ? 1U : 0U));

    auto next = db.acquire();
    c = next->handle();
    const look seen = look_at(c, s);
    const names left = differences(clean, seen);
    CHECK(db.stats().opened == (PQbackendPID(c) == pid ? 1U : 2U));
    switch (expected(r.under(p), m)) {
    case found::cleared:
        CHECK(PQbackendPID(c) == pid);
        CHECK(left == names{});
        CHECK(value(c, "select 'usable'") == "usable");
        break;
    case found::kept:
        CHECK(PQbackendPID(c) == pid);
        CHECK(left == sorted(t.shows));
        break;
    default:
        CHECK(PQbackendPID(c) != pid);
        CHECK(left == names{});
    }
}


/// The session's process, which does nothing meanwhile.
class stopped {
public:
    explicit stopped(pid_t pid) : pid_{pid} { REQUIRE(::kill(pid, SIGSTOP) == 0); }
    stopped(const stopped&) = delete;
    stopped& operator=(const stopped&) = delete;
    ~stopped() { go_on(); }
    void go_on() const noexcept { (void)::kill(pid_, SIGCONT); }

private:
    pid_t pid_;
};

/// How a transaction is left behind with a row in it.
enum class leak { open, open_and_reading, copying, piped, piped_without_begin, nested };
constexpr leak all_leaks[] = {leak::open, leak::open_and_reading, leak::copying, leak::piped, leak::piped_without_begin, leak::nested};

void leave_open(PGconn* c, leak how, const stage& s) {
    const std::string insert = "insert into " + s.rows() + " values (1)";
    switch (how) {
    case leak::open: soil(c, pg_dirt::transaction, s); break;
    case leak::open_and_reading:
        soil(c, pg_dirt::transaction, s);
        soil(c, pg_dirt::few_rows, s);
        break;
    case leak::copying:
        soil(c, pg_dirt::transaction, s);
        soil(c, pg_dirt::copy_in, s);
        break;
    case leak::piped:
        must(PQenterPipelineMode(c) == 1, c);
        for (const char* sql : {"begin", insert.c_str()}) send_piped(c, sql);
        must(PQpipelineSync(c) == 1, c);
        send_piped(c, insert);
        break;
    case leak::piped_without_begin: soil(c, pg_dirt::pipeline_unsynced, s); break;
    case leak::nested: run(c, "begin; savepoint a; " + insert + "; savepoint b; " + insert); break;
    }
}

/// What the next user does, each of which would commit a transaction that is still open or work in one that is not his.
constexpr std::array next_users{"commit", "begin; select 1; commit", "insert into ROWS values (2); commit", "create temporary table t (n int); commit",
                                "begin; insert into ROWS values (2); commit", "vacuum"};
std::string sql_of(std::string_view user, const stage& s) {
    std::string sql{user};
    if (const auto at = sql.find("ROWS"); at != sql.npos) sql.replace(at, 4, s.rows());
    return sql;
}

/// What a look would find, in one cheap question; the random tests ask it at each acquire. Takes what it finds of locks and notifications.
std::string glance(PGconn* c) {
    std::string out;
    for (const auto& [name, is] : client_side(c)) out.append(is).append("|");
    while (PGnotify* n = PQnotifies(c)) {
        PQfreemem(n);
        out.append("notified|");
    }
    if (PQtransactionStatus(c) != PQTRANS_IDLE || PQpipelineStatus(c) != PQ_PIPELINE_OFF) return out;
    // The functions that return rows stand in the list so that the planner has nothing to do; the series keeps a row when they have none.
    static constexpr auto question =
        "select current_setting('search_path'), current_setting('TimeZone'), current_setting('statement_timeout'), "
        "current_setting('purity.custom', true), current_setting('default_transaction_isolation'), "
        "current_setting('default_transaction_read_only'), current_setting('client_encoding'), current_user, session_user, "
        "pg_advisory_unlock(pg_backend_pid()), to_regclass('pg_temp.purity_rows'), generate_series(1, 1), pg_listening_channels(), "
        "pg_prepared_statement(), pg_cursor()";
    const result r = ask(c, question);
    for (int y = 0; y < PQntuples(r.get()); ++y) {
        for (int x = 0; x < PQnfields(r.get()); ++x) out.append(PQgetvalue(r.get(), y, x)).append("|");
    }
    return out;
}

/// Leaves something behind, most often what costs little: up to three settings, and perhaps something open.
void soil_at_random(PGconn* c, const stage& s, std::mt19937& random, tally& t) {
    using enum pg_dirt;
    static constexpr std::array lasting{setting, custom_setting, role, encoding, advisory_lock, listening, notification, prepared, holdable_cursor, sequence,
                                        nonblocking, verbosity, notice_receiver};
    static constexpr std::array open{transaction, transaction, failed_transaction, few_rows, copy_in, copy_out, pipeline, pipeline_unsynced, pipeline_unread};
    const auto below = [&random](std::size_t n) { return std::uniform_int_distribution<std::size_t>{0, n - 1}(random); };
    if (below(50) == 0) soil(c, temporary_table, s); // costs the server a millisecond
    const std::size_t first = below(lasting.size());
    for (std::size_t i = 0, settings = below(4); i < settings; ++i) soil(c, lasting[(first + i * 5) % lasting.size()], s);
    if (below(2) == 0) {
        soil(c, below(500) == 0 ? many_rows : open[below(open.size())], s); // the former costs a new session
        ++t.dirty;
    } else if (below(4) == 0) {
        soil(c, characteristics, s); // nothing could be written after it
    }
}

void weather(const cenote::postgres& how, moment m, unsigned long leases) {
    const stage s{servers::postgres().unix_socket};
    run(s.observer(), "grant usage on schema " + s.schema() + " to pg_signal_backend; grant all on all tables in schema " + s.schema() +
                          " to pg_signal_backend; grant all on all sequences in schema " + s.schema() + " to pg_signal_backend");
    const auto db = make_pool(how, policy::always, m, pg_script, 4);
    const std::string clean = glance(db.acquire()->handle());
    const unsigned seed = std::random_device{}();
    CAPTURE(seed, to_string(m), clean);
    const auto began = std::chrono::steady_clock::now();
    const tally t = storm(db, leases, seed, [&](cenote::postgres::connection& c, std::mt19937& random, tally& mine) {
        std::string seen = glance(c.handle());
        soil_at_random(c.handle(), s, random, mine);
        return seen == clean ? std::string{} : seen;
    });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    if (wants_figures()) {
        std::cout << "PostgreSQL, " << (how.settings().conninfo == servers::postgres().tls ? "TLS, " : "") << to_string(m) << ": " << t.leases << " leases, " << t.dirty << " dirty, " << t.leaks << " leaks, "
                  << db.stats().opened << " sessions, " << took.count() << " s\n";
    }
    INFO(t.first);
    CHECK(t.leaks == 0);
    CHECK(t.leases == leases / 4 * 4);
    CHECK(db.stats().returned_dirty == t.dirty);
    CHECK(s.committed() == "0");
}

} // namespace

TEST_CASE("case-B7 case-B12: PostgreSQL: every kind of dirt under every reset policy leaves what the table says", "[purity]") {
    const stage s{servers::postgres().unix_socket};
    for (const auto& r : pg_table) {
        each_policy([&](policy p, moment m) { walk(r, p, m, s); });
    }
    CHECK(s.committed() == "0");
}

TEST_CASE("PostgreSQL: a full reset brings back what options.init has set, whatever was left behind", "[purity]") {
    const stage s{servers::postgres().unix_socket};
    const std::vector<std::string> init{"set search_path = pg_catalog, public", "set purity.custom = 'from init'", "prepare by_init as select 1"};
    for (const auto& r : pg_table) {
        for (const moment m : all_moments) walk(r, policy::always, m, s, init);
    }
}

TEST_CASE("PostgreSQL: with no_reset the next user commits the transaction that was left open", "[purity]") {
    const stage s{servers::postgres().unix_socket};
    const auto db = make_pool(driver_for({}), policy::no_reset, moment::deferred, pg_script);
    {
        auto lease = db.acquire();
        leave_open(lease->handle(), leak::open, s);
    }
    run(db.acquire()->handle(), "commit");
    CHECK(s.committed() == "1");
}

TEST_CASE("PostgreSQL: a transaction left open is never committed, whatever the next user does at once", "[purity]") {
    const stage s{servers::postgres().unix_socket};
    std::size_t own = 0;
    for (const leak how : all_leaks) {
        for (const char* const user : next_users) {
            each_policy([&](policy p, moment m) {
                if (p == policy::no_reset) return;
                CAPTURE(static_cast<int>(how), user, to_string(p), to_string(m));
                const auto db = make_pool(driver_for({}), p, m, pg_script);
                auto lease = db.acquire();
                leave_open(lease->handle(), how, s);
                lease.give_back();
                CHECK(db.stats().returned_dirty == 1);
                lease = db.acquire();
                run(lease->handle(), sql_of(user, s));
                if (std::string_view{user}.find("ROWS") != std::string_view::npos) ++own;
                CHECK(transaction_of(lease->handle()) == "idle");
                lease.give_back();
                CHECK(db.stats().returned_dirty == 1);
                CHECK(s.committed("n = 1") == "0");
            });
        }
    }
    CHECK(s.committed() == std::to_string(own)); // also once all pools are gone; and what the next users committed is there
}

TEST_CASE("PostgreSQL: a transaction left open is never committed when the server cleans up only after the next user has come", "[purity]") {
    const stage s{servers::postgres().unix_socket};
    std::size_t own = 0;
    for (const bool after_the_next : {false, true}) {
        each_policy([&](policy p, moment m) {
            if (p == policy::no_reset) return;
            CAPTURE(after_the_next, to_string(p), to_string(m));
            // Patient, the next user gets the session when the server has answered at last; impatient, another one.
            const auto db = make_pool(driver_for({}), p, m, pg_script, 1, after_the_next ? 20ms : patience);
            auto lease = db.acquire();
            const int pid = PQbackendPID(lease->handle());
            leave_open(lease->handle(), leak::open, s);
            stopped server{pid};
            {
                std::atomic<bool> asked = false;
                std::string said;
                std::jthread next{[&] { // at_return waits in give_back
                    asked = true;
                    try {
                        lease.give_back();
                        auto mine = db.acquire();
                        run(mine->handle(), "begin; insert into " + s.rows() + " values (2); commit");
                    } catch (const std::exception& e) {
                        said = e.what();
                    }
                }};
                if (after_the_next) {
                    next.join();
                    CHECK(db.stats().opened == 2);
                } else {
                    CHECK(eventually([&] { return asked.load(); }));
                }
                server.go_on();
                if (next.joinable()) next.join();
                CHECK(said.empty());
            }
            CHECK(s.committed("n = 2") == std::to_string(++own));
            if (after_the_next) CHECK(s.ended(pid));
            CHECK(s.committed("n = 1") == "0");
        });
    }
}

TEST_CASE("PostgreSQL: under a full reset nobody finds anything of anybody, however many there are", "[purity][alone]") {
    const unsigned long leases = leases_to_take();
    weather(driver_for({}), moment::deferred, leases);
    weather(driver_for({}), moment::background, leases / 5);
    weather(driver_for({}), moment::at_return, leases / 5);
    cenote::postgres::options encrypted = driver_for({}).settings();
    encrypted.conninfo = servers::postgres().tls;
    weather(cenote::postgres{encrypted}, moment::deferred, leases / 10);
}
