// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Money moved by many while the server is killed: none is made or lost, and every transfer is told what became of it.
#include <fault/support/load.hpp>

#include <cenote/retry.hpp>
#include <cenote/session/session.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

using namespace fault;
using cenote::error_class;

namespace {

constexpr unsigned users = 16, size = 8;
constexpr std::int64_t accounts = 500, first_balance = 1000;
constexpr std::int64_t wanted = 4; // the accounts that each transfer wants one of, to or from, or nobody would meet anybody
/// How many transfers there are at least: CENOTE_TRANSFERS.
std::size_t transfers() { return number_from("CENOTE_TRANSFERS", 400); }

template <class Server>
typename Server::driver durable() {
    if constexpr (is_mysql<Server>) {
        // The throw-away server keeps its log to itself for a second. That can be changed for all sessions only, and each start of it forgets.
        auto o = mysql_tests::as_root();
        o.database = servers::mysql().database;
        o.init = {"set global innodb_flush_log_at_trx_commit = 2"}; // what is killed is the server, not the machine
        o.statement_cache = 8;
        return typename Server::driver{o};
    } else {
        auto o = pg::options(servers::postgres().tcp, {{"application_name", "bank"}});
        o.init = {"set synchronous_commit = on"};
        o.statement_cache = 8;
        return typename Server::driver{o};
    }
}

/// The statements, in the words of the server.
template <class Server>
struct words {
    std::string books = "bank_" + std::to_string(::getpid()), journal = books + "_journal";
    static std::string n(int i) { return is_mysql<Server> ? "?" : "$" + std::to_string(i); }
    std::string open = "insert into " + books + " (id, balance) values (" + n(1) + ", " + n(2) + ")";
    std::string balance = "select balance from " + books + " where id = " + n(1);
    std::string take = "update " + books + " set balance = balance - " + n(1) + " where id = " + n(2);
    std::string give = "update " + books + " set balance = balance + " + n(1) + " where id = " + n(2);
    std::string note = "insert into " + journal + " (id, payer, payee, amount) values (" + n(1) + ", " + n(2) + ", " + n(3) + ", " + n(4) + ")";
};

enum class outcome : unsigned char { committed, failed, unknown };

/// What the users were told, and what surprised them.
struct ledger {
    std::atomic<std::int64_t> next{1};
    std::atomic<bool> struck{false}; ///< nothing more will happen to the server
    std::atomic<std::size_t> told{0}, reruns{0}, waited{0}, gave_up{0}, idle{0};
    complaints strange;
    std::mutex m;
    std::unordered_map<std::int64_t, outcome> outcomes;

    void tell(std::int64_t id, outcome what) {
        const std::scoped_lock lock{m};
        if (!outcomes.emplace(id, what).second) strange.add("transfer " + std::to_string(id) + " was told twice what became of it");
        ++told;
    }
    [[nodiscard]] std::size_t count(outcome what) const {
        return static_cast<std::size_t>(std::ranges::count_if(outcomes, [=](const auto& o) { return o.second == what; }));
    }
};

/// Moves money until there have been so many transfers, and the server has been killed as often as it is to be.
template <class Pool, class Words>
void move_money(Pool& db, const Words& sql, ledger& all, unsigned seed) {
    const auto last = static_cast<std::int64_t>(transfers());
    std::minstd_rand random{seed};
    const auto below = [&](std::int64_t n) { return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n)); };
    cenote::transaction_run how;
    how.isolation = cenote::transaction_options::level::serializable;
    how.attempts = 200;
    how.first = 1ms;
    how.max = 20ms;
    how.report = [&](const cenote::attempt_event& e) { ++(e.number < e.of ? all.reruns : all.gave_up); };
    const cenote::retry again{{.attempts = 1000, .first = 5ms, .max = 50ms, .report = [&](const cenote::attempt_event&) { ++all.waited; }}};
    for (;;) {
        const std::int64_t id = all.next++;
        if (id > last && all.struck) return;
        std::int64_t payer = 1 + below(wanted), payee = 1 + below(accounts);
        if (id % 2 == 0) std::swap(payer, payee);
        if (payer == payee) payee = 1 + payer % accounts;
        const std::int64_t amount = 1 + below(100);
        try {
            const bool moved = again.transaction(db, [&](auto& t) {
                const bool enough = t.template scalar<std::int64_t>(sql.balance, payer) >= amount;
                if (enough) {
                    t.exec(sql.take, amount, payer);
                    t.exec(sql.give, amount, payee);
                }
                t.exec(sql.note, id, payer, payee, enough ? amount : 0);
                return enough;
            }, how);
            if (!moved) ++all.idle;
            all.tell(id, outcome::committed);
        } catch (const cenote::error& e) {
            const bool unknown = e.code() == cenote::errc::outcome_unknown;
            if (!unknown) all.strange.add(e.what()); // a thousand times in a row
            all.tell(id, unknown ? outcome::unknown : outcome::failed);
        } catch (const std::exception& e) {
            const error_class kind = classify(db.driver(), e);
            if (kind != error_class::disconnected && kind != error_class::serialization) all.strange.add(std::string{to_string(kind)} + ": " + e.what());
            all.tell(id, outcome::failed);
        }
    }
}

} // namespace

TEMPLATE_TEST_CASE("bank: no money is made or lost, and what is told of each transfer is true, while the server is killed twice", "[alone]",
                   postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const words<server> sql;
    cenote::pool db{durable<server>(), cenote::bounded{.max = size}, cenote::backoff{.first = 5ms, .max = 50ms}};
    const std::string kind = is_mysql<server> ? " engine = innodb" : "";
    db.exec("create table " + sql.books + " (id bigint primary key, balance bigint not null check (balance >= 0))" + kind);
    db.exec("create table " + sql.journal +
            " (id bigint primary key, payer bigint not null, payee bigint not null, amount bigint not null)" + kind);
    db.transaction([&](auto& t) {
        for (std::int64_t i = 1; i <= accounts; ++i) t.exec(sql.open, i, first_balance);
    });

    ledger all;
    constexpr std::size_t strikes = 2;
    const auto began = steady::now();
    {
        std::vector<std::jthread> threads;
        const struct ends {
            std::atomic<bool>& yes;
            ~ends() { yes = true; }
        } at_the_end{all.struck};
        for (unsigned i = 0; i < users; ++i) threads.emplace_back([&, i] { move_money(db, sql, all, i + 1); });
        for (std::size_t i = 1; i <= strikes; ++i) {
            const std::size_t due = i == 1 ? transfers() / 3 : std::max(all.told + users, 2 * transfers() / 3);
            REQUIRE(becomes([&] { return all.told >= due; }, 280s));
            server::crash(i == 1 ? 1 : 8); // PostgreSQL: one of its processes, and then the first one
            (void)await_answer<server>();
        }
        all.struck = true;
    }
    const double seconds = std::chrono::duration<double>{steady::now() - began}.count();

    INFO(all.strange.text());
    CHECK(all.strange.count() == 0);
    CHECK(all.gave_up == 0);
    CHECK(db.stats().used == 0);
    CHECK(short_of<server>(db, size) == "");

    // What the books say, and what the journal says they should.
    std::vector<std::int64_t> should(static_cast<std::size_t>(accounts) + 1, first_balance);
    std::size_t booked = 0, invented = 0, undone = 0, unknown_booked = 0, moved = 0;
    cenote::session s{db.acquire()};
    s.process("select id, payer, payee, amount from " + sql.journal, [&](cenote::cursor& rows) {
        while (rows.next()) {
            ++booked;
            const auto amount = rows.get<std::int64_t>(3);
            should.at(static_cast<std::size_t>(rows.get<std::int64_t>(1))) -= amount;
            should.at(static_cast<std::size_t>(rows.get<std::int64_t>(2))) += amount;
            const auto told = all.outcomes.find(rows.get<std::int64_t>(0));
            if (told == all.outcomes.end() || told->second == outcome::failed) ++undone; // and yet it is there
            else if (told->second == outcome::unknown) ++unknown_booked;
            else if (amount > 0) ++moved;
        }
    });
    std::int64_t sum = 0;
    std::size_t differing = 0;
    s.process("select id, balance from " + sql.books, [&](cenote::cursor& rows) {
        while (rows.next()) {
            sum += rows.get<std::int64_t>(1);
            if (should.at(static_cast<std::size_t>(rows.get<std::int64_t>(0))) != rows.get<std::int64_t>(1)) ++differing;
        }
    });
    const std::size_t committed = all.count(outcome::committed), failed = all.count(outcome::failed), unknown = all.count(outcome::unknown);
    invented = committed + unknown_booked - std::min(committed + unknown_booked, booked - undone); // told to be committed, and not there
    CHECK(sum == accounts * first_balance);
    CHECK(differing == 0);
    CHECK(undone == 0);
    CHECK(invented == 0);
    CHECK(moved == committed - all.idle);
    CHECK(all.outcomes.size() >= transfers());
    CHECK(committed + failed + unknown == all.outcomes.size());
    CHECK(failed + unknown > 0); // or nobody was struck
    CHECK(failed + unknown <= strikes * 2 * size); // each connection is lost to one, and one that was being opened, too
    CHECK(all.reruns > 0);
    s.exec("drop table " + sql.books);
    s.exec("drop table " + sql.journal);
    const auto say = [](std::size_t n) { return std::to_string(n); };
    tell("bank", std::string{server::name} + ", killed " + say(strikes) + " times under " + say(users) + " threads, serializable: " +
                     say(all.outcomes.size()) + " transfers, " + say(committed) + " committed, " + say(all.reruns) + " re-runs, " + say(failed) +
                     " failed, " + say(unknown) + " unknown, of which " + say(unknown_booked) +
                     " were committed; " + text(seconds * 1000) + ", " +
                     say(static_cast<std::size_t>(static_cast<double>(committed) / seconds)) + " a second");
}
