// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What the next user of a MySQL session finds: every kind of dirt under every reset policy, and transactions that must not be committed.
#include "server/purity/mysql.hpp"

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <iostream>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <signal.h>

using namespace purity;
using namespace purity::my;

namespace {

/// Soils a session under a policy and says what the next lease finds. `seasoned`: not at the session's first lease, as the driver
/// learns at the first reset what the server does by itself.
void walk(mysql_dirt d, found expected, policy p, moment m, const stage& s, bool seasoned, std::vector<std::string> init = {}) {
    const traits t = traits_of(d);
    statements left_open;
    const auto db = make_pool(driver(std::move(init)), p, m, mysql_script);
    if (seasoned) (void)db.acquire();
    auto lease = db.acquire();
    MYSQL* c = lease->handle();
    const unsigned long id = mysql_thread_id(c);
    const look clean = look_at(c, s);
    soil(c, d, s, left_open);
    CHECK(differences(clean, look_at(c, s)) == sorted(t.shows));
    lease.give_back();
    CHECK(db.stats().returned_dirty == (t.counted && p != policy::no_reset ? 1U : 0U));

    const auto next = db.acquire();
    c = next->handle();
    CHECK(db.stats().opened == (mysql_thread_id(c) == id ? 1U : 2U));
    CHECK((mysql_thread_id(c) == id) == (expected != found::closed));
    const names left = differences(clean, look_at(c, s));
    if (expected == found::kept) CHECK(left == sorted(t.shows));
    else CHECK(left == (expected == found::cleared && p == policy::if_dirty ? sorted(t.settings) : names{}));
    if (expected != found::kept) CHECK(value(c, "select 'usable'") == "usable");
}

/// How a transaction is left behind with a row in it.
enum class leak { open, without_autocommit, xa, few_rows, more_results, half_read, statement_rows };
constexpr leak all_leaks[] = {leak::open, leak::without_autocommit, leak::xa, leak::few_rows, leak::more_results, leak::half_read, leak::statement_rows};

void leave_open(MYSQL* m, leak how, const stage& s, statements& left) {
    using enum mysql_dirt;
    if (how == leak::without_autocommit) soil(m, implicit_transaction, s, left);
    else if (how == leak::xa) soil(m, xa_transaction, s, left);
    else soil(m, transaction, s, left);
    if (how == leak::few_rows) soil(m, few_rows, s, left);
    if (how == leak::more_results) soil(m, more_results, s, left);
    if (how == leak::half_read) soil(m, half_read, s, left);
    if (how == leak::statement_rows) soil(m, statement_rows, s, left);
}

/// What the next user does, each of which would commit a transaction that is still open.
enum class user { commits, begins, sets_autocommit, calls_autocommit, creates, locks, inserts };
constexpr user all_users[] = {user::commits, user::begins, user::sets_autocommit, user::calls_autocommit, user::creates, user::locks, user::inserts};

void behave(MYSQL* m, user who, const stage& s) {
    const std::string table = s.rows() + "_" + std::to_string(mysql_thread_id(m));
    switch (who) {
    case user::commits: run(m, "commit"); break;
    case user::begins:
        run(m, "begin");
        run(m, "commit");
        break;
    case user::sets_autocommit: run(m, "set autocommit = 1"); break;
    case user::calls_autocommit: must(mysql_autocommit(m, 1) == 0, m); break;
    case user::creates:
        run(m, "create table " + table + " (n int)");
        run(m, "drop table " + table);
        break;
    case user::locks:
        run(m, "lock tables " + s.other() + " read");
        run(m, "unlock tables");
        break;
    case user::inserts:
        run(m, "insert into " + s.rows() + " values (2)");
        run(m, "commit"); // reset_if_dirty may have kept autocommit = 0
        break;
    }
}

/// The server, which does nothing meanwhile.
class stopped {
public:
    stopped() { REQUIRE(::kill(servers::mysql().pid, SIGSTOP) == 0); }
    stopped(const stopped&) = delete;
    stopped& operator=(const stopped&) = delete;
    ~stopped() { go_on(); }
    void go_on() const noexcept { (void)::kill(servers::mysql().pid, SIGCONT); }
};

/// What a look would find, in few questions; the random tests ask them at each acquire.
std::string glance(MYSQL* m, const stage& s) {
    std::string out;
    for (const auto& [name, is] : client_side(m)) out.append(is).append("|");
    if (is_busy(m) || in_transaction(m)) return out;
    static const std::string question =
        "select @@autocommit, @@sql_mode, @@time_zone, @@character_set_client, @@character_set_connection, @@character_set_results, "
        "@@collation_connection, database(), @purity, last_insert_id(), is_used_lock(concat('purity ', connection_id())), " +
        (std::string_view{mysql_get_server_info(m)}.find("MariaDB") != std::string_view::npos ? "@@tx_isolation"s : "@@transaction_isolation"s);
    for (const std::string& answer : values(m, question)) out.append(answer).append("|");
    for (const std::string& sql : {"select 1 from " + servers::mysql().database + ".purity_temporary", "select 1 from " + s.other(),
                                   "execute purity_statement"s, "handler purity_handler read first"s}) {
        out.append(std::to_string(attempt(m, sql))).append("|");
    }
    return out;
}

/// Leaves something behind, most often what costs little: up to three settings, and perhaps something open.
void soil_at_random(MYSQL* m, const stage& s, statements& left, std::mt19937& random, tally& t) {
    using enum mysql_dirt;
    static constexpr std::array lasting{user_variable, setting, isolation, autocommit_off, user_lock, prepared, last_insert_id,
                                        used_schema, selected_schema, named_charset, client_charset};
    static constexpr std::array open{transaction, transaction, implicit_transaction, few_rows, more_results};
    static constexpr std::array costly{xa_transaction, many_rows, half_read, statement_rows, unanswered}; // most cost a new session
    const auto below = [&random](std::size_t n) { return std::uniform_int_distribution<std::size_t>{0, n - 1}(random); };
    if (below(50) == 0) soil(m, temporary_table, s, left);
    const std::size_t first = below(lasting.size());
    for (std::size_t i = 0, settings = below(4); i < settings; ++i) soil(m, lasting[(first + i * 3) % lasting.size()], s, left);
    if (below(2) == 0) {
        soil(m, below(100) == 0 ? costly[below(costly.size())] : open[below(open.size())], s, left);
    } else if (below(10) == 0) {
        soil(m, below(2) == 0 ? table_locks : handler, s, left);
    }
    if (is_busy(m) || in_transaction(m)) ++t.dirty; // with autocommit off the last two begin a transaction
}

void weather(const cenote::mysql& how, moment m, unsigned long leases) {
    const stage s;
    statements left;
    const auto db = make_pool(how, policy::always, m, mysql_script, 4);
    const std::string clean = glance(db.acquire()->handle(), s);
    const unsigned seed = std::random_device{}();
    CAPTURE(seed, to_string(m), clean);
    const auto began = std::chrono::steady_clock::now();
    const tally t = storm(db, leases, seed, [&](cenote::mysql::connection& c, std::mt19937& random, tally& mine) {
        std::string seen = glance(c.handle(), s);
        soil_at_random(c.handle(), s, left, random, mine);
        return seen == clean ? std::string{} : seen;
    });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    if (wants_figures()) {
        std::cout << "MySQL, " << (how.settings().socket.empty() ? "TLS, " : "") << to_string(m) << ": " << t.leases << " leases, " << t.dirty << " dirty, " << t.leaks << " leaks, "
                  << db.stats().opened << " sessions, " << took.count() << " s\n";
    }
    INFO(t.first);
    CHECK(t.leaks == 0);
    CHECK(t.leases == leases / 4 * 4);
    CHECK(db.stats().returned_dirty == t.dirty);
    CHECK(s.committed() == "0");
}

} // namespace

TEST_CASE("case-B7 case-B8 case-B12: MySQL: every kind of dirt under every reset policy leaves what the table says", "[purity]") {
    const stage s;
    for (const auto& r : mysql_table) {
        each_policy([&](policy p, moment m) {
            for (const bool seasoned : {false, true}) {
                if (r.kind == mysql_dirt::hidden_schema && !seasoned) continue; // the first reset takes nothing for granted, and clears it
                CAPTURE(r.name, to_string(p), to_string(m), seasoned);
                walk(r.kind, r.under(p).at(m), p, m, s, seasoned);
            }
        });
    }
    CHECK(s.committed() == "0");
}

TEST_CASE("MySQL: a full reset brings back what options.init has set, whatever was left behind", "[purity]") {
    const stage s;
    const std::vector<std::string> init{"set @purity = 'from init'", "set time_zone = '+01:00'", "set role none", "use " + servers::mysql().database};
    for (const auto& r : mysql_table) {
        if (r.kind == mysql_dirt::other_user) continue; // takes what init has set away itself
        CAPTURE(r.name);
        const bool by_init = r.kind == mysql_dirt::role || r.kind == mysql_dirt::hidden_schema;
        const found expected = by_init ? found::cleared : r.always.deferred;
        for (const moment m : all_moments) {
            for (const bool seasoned : {false, true}) walk(r.kind, expected, policy::always, m, s, seasoned, init);
        }
    }
}

TEST_CASE("MySQL: with no_reset the next user commits the transaction that was left open, whichever way he begins", "[purity]") {
    const stage s;
    unsigned rows = 0;
    for (const user who : all_users) {
        CAPTURE(static_cast<int>(who));
        const auto db = make_pool(driver(), policy::no_reset, moment::deferred, mysql_script);
        statements left;
        {
            const auto lease = db.acquire();
            leave_open(lease->handle(), leak::without_autocommit, s, left);
        }
        behave(db.acquire()->handle(), who, s);
        CHECK(s.committed("n = 1") == std::to_string(++rows));
    }
}

TEST_CASE("MySQL: a transaction left open is never committed, whatever the next user does at once", "[purity]") {
    const stage s;
    std::size_t own = 0;
    for (const leak how : all_leaks) {
        for (const user who : all_users) {
            each_policy([&](policy p, moment m) {
                if (p == policy::no_reset) return;
                CAPTURE(static_cast<int>(how), static_cast<int>(who), to_string(p), to_string(m));
                statements left;
                const auto db = make_pool(driver(), p, m, mysql_script);
                auto lease = db.acquire();
                leave_open(lease->handle(), how, s, left);
                lease.give_back();
                CHECK(db.stats().returned_dirty == 1);
                lease = db.acquire();
                behave(lease->handle(), who, s);
                if (who == user::inserts) ++own;
                lease.give_back();
                CHECK(db.stats().returned_dirty == 1);
                CHECK(s.committed("n = 1") == "0");
            });
        }
    }
    CHECK(s.committed() == std::to_string(own)); // also once all pools are gone; and what the next users committed is there
}

TEST_CASE("MySQL: a transaction left open is never committed when the server cleans up only after the next user has come", "[purity][alone]") {
    const stage s;
    std::size_t own = 0;
    for (const leak how : {leak::open, leak::without_autocommit}) {
        each_policy([&](policy p, moment m) {
            if (p == policy::no_reset) return;
            CAPTURE(static_cast<int>(how), to_string(p), to_string(m));
            const auto db = make_pool(driver(), p, m, mysql_script);
            statements left;
            auto lease = db.acquire();
            leave_open(lease->handle(), how, s, left);
            std::string said;
            std::atomic<bool> asked = false;
            {
                const stopped server;
                std::jthread next{[&] { // at_return waits in give_back
                    asked = true;
                    try {
                        lease.give_back();
                        behave(db.acquire()->handle(), user::inserts, s);
                    } catch (const std::exception& e) {
                        said = e.what();
                    }
                }};
                CHECK(eventually([&] { return asked.load(); }));
                server.go_on();
            }
            CHECK(said == "");
            CHECK(s.committed("n = 2") == std::to_string(++own));
            CHECK(s.committed("n = 1") == "0");
        });
    }
}

TEST_CASE("MySQL: a large transaction is never committed though the next user works while the server still undoes it", "[purity]") {
    const stage s;
    std::size_t own = 0;
    each_policy([&](policy p, moment m) {
        if (p == policy::no_reset) return;
        CAPTURE(to_string(p), to_string(m));
        const auto db = make_pool(driver(), p, m, mysql_script, 1, 1ms); // less than it takes
        auto lease = db.acquire();
        const unsigned long id = mysql_thread_id(lease->handle());
        run(lease->handle(), "begin");
        run(lease->handle(), "insert into " + s.rows() + " with recursive r(n) as (select 1 union all select n + 1 from r where n < 200) select 1 from r a, r b");
        lease.give_back();
        behave(db.acquire()->handle(), user::inserts, s);
        CHECK(s.committed("n = 1") == "0");
        if (db.stats().opened == 2) CHECK(s.ended(id));
        CHECK(s.committed("n = 1") == "0");
        CHECK(s.committed("n = 2") == std::to_string(++own));
    });
}

TEST_CASE("MySQL: without options.database a session that selected a default schema is closed by a full reset", "[purity]") {
    const stage s;
    cenote::mysql::options o = driver().settings();
    o.database.clear();
    for (const moment m : all_moments) {
        for (const bool by_use : {true, false}) {
            CAPTURE(to_string(m), by_use);
            const auto db = make_pool(cenote::mysql{o}, policy::always, m, mysql_script);
            auto lease = db.acquire();
            lease.give_back();
            lease = db.acquire();
            CHECK(db.stats().opened == 1);
            statements left;
            soil(lease->handle(), by_use ? mysql_dirt::used_schema : mysql_dirt::selected_schema, s, left);
            lease.give_back();
            lease = db.acquire();
            CHECK(db.stats().opened == 2);
            CHECK(value(lease->handle(), "select database()") == "null");
        }
    }
}

TEST_CASE("MySQL: under a full reset nobody finds anything of anybody, however many there are", "[purity][alone]") {
    const unsigned long leases = leases_to_take();
    weather(driver(), moment::deferred, leases);
    weather(driver(), moment::background, leases / 5);
    weather(driver(), moment::at_return, leases / 5);
    cenote::mysql::options encrypted = driver().settings();
    encrypted.socket.clear();
    encrypted.host = "127.0.0.1";
    encrypted.port = servers::mysql().port;
    encrypted.tls = {.mode = cenote::mysql::tls_mode::verify_ca, .ca = servers::mysql().ca};
    weather(cenote::mysql{encrypted}, moment::deferred, leases / 10);
}

TEST_CASE("MySQL: a statement that was sent and not waited for never answers the next user", "[purity]") {
    const stage s;
    for (const std::string_view sql : {"select 'secret'", "do 1", "select sleep(0.05)"}) {
        each_policy([&](policy p, moment m) {
            if (p == policy::no_reset) return;
            CAPTURE(sql, to_string(p), to_string(m));
            try {
                const auto db = make_pool(driver(), p, m, mysql_script);
                auto lease = db.acquire();
                MYSQL* const c = lease->handle();
                must(mysql_send_query(c, sql.data(), sql.size()) == 0, c);
                lease.give_back();
                CHECK(value(db.acquire()->handle(), "select 'mine'") == "mine");
            } catch (const std::exception& e) {
                FAIL_CHECK(e.what());
            }
        });
    }
}
