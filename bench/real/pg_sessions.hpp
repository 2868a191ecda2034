// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "load.hpp"
#include "prices.hpp"

#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What statements, transactions and bulk cost before PostgreSQL, beside the same written by hand with libpq. Turn by turn, in one run.
namespace bench {

class pg_sessions {
public:
    pg_sessions(const plan& p, cenote::postgres::options o) : plan_{p}, turns_{p.quick ? 30 : 4000}, options_{std::move(o)} {
        options_.statement_cache = 64;
    }

    void run() {
        cenote::postgres d{options_};
        cenote::pool db{d, cenote::bounded{.max = 1}, cenote::no_age_limit{}};
        auto own = d.open(soon());
        PGconn* const hand = own.handle();
        exec(hand, "drop table if exists bench_sessions; create unlogged table bench_sessions (id int primary key, s text, n int);"
                   "insert into bench_sessions select g, 'row ' || g, g from generate_series(1, 1000) g; analyze bench_sessions");
        statements(d, own);
        transactions(db, hand);
        bulk(d, own);
        exec(hand, "drop table bench_sessions");
        d.close(own);
    }

private:
    struct subject {
        std::string name;
        std::function<void()> turn;
        series times{};
    };
    [[nodiscard]] static cenote::deadline soon() { return cenote::deadline::in(std::chrono::seconds{60}); }
    static void require(bool good, PGconn* c) {
        if (!good) throw std::runtime_error{PQerrorMessage(c)};
    }
    static void exec(PGconn* c, const char* sql) {
        PGresult* const r = PQexec(c, sql);
        const ExecStatusType s = PQresultStatus(r);
        PQclear(r);
        require(s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK, c);
    }
    static void expect_row(PGconn* c, PGresult* r) {
        const bool good = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1 && PQgetvalue(r, 0, 0)[0] != '\0';
        PQclear(r);
        require(good, c);
    }
    static void expect_row(cenote::postgres::rows r) {
        if (!r.next(soon()) || r.at(0).is_null()) throw std::runtime_error{"no row"};
    }

    /// The first is what the others are compared with.
    void compare(const char* test, std::vector<condition> at, int turns, std::vector<subject> all, const std::function<void()>& between = [] {}) {
        for (int i = 0; i < turns + 2; ++i) {
            for (subject& s : all) {
                if (i < 2) s.turn(); // used to it
                else s.times.time(s.turn);
                between();
            }
        }
        std::printf("\n   PostgreSQL, %s", test);
        for (const auto& [key, value] : at) std::printf(", %s: %s", key.c_str(), value.c_str());
        std::printf(", us by local socket\n   %-44s %12s %8s\n", "", "each", "ratio");
        const auto base = all.front().times.medians();
        for (const subject& s : all) {
            const auto times = s.times.medians();
            std::vector<double> ratio;
            for (std::size_t w = 0; w < times.size(); ++w) ratio.push_back(times[w] / base[w]);
            std::printf("   %-44s %12.1f %8.3f\n", s.name.c_str(), series::median(times), series::median(ratio));
            plan_.out->add(row_of(times, "PostgreSQL", test, s.name, at, "time"));
            plan_.out->add(row_of(ratio, "PostgreSQL", test, s.name, at, "ratio", "x"));
        }
    }

    /// One that takes longer to plan than to run: what is prepared pays off.
    void statements(cenote::postgres& d, cenote::postgres::connection& c) {
        static constexpr const char* sql = "select a.s from bench_sessions a join bench_sessions b on b.id = a.id join bench_sessions e on e.id = b.id where a.id = $1";
        PGconn* const h = c.handle();
        PQclear(PQprepare(h, "by_hand", sql, 0, nullptr));
        static constexpr const char* value = "500";
        const std::array<cenote::value_view, 1> values{500};
        const auto query = [&d, &c, values](bool stream, bool keep) {
            return [&d, &c, values, stream, keep] { expect_row(d.query(c, {.sql = sql, .values = values, .stream = stream, .keep = keep}, soon())); };
        };
        compare("statement", {}, turns_,
                {{"libpq, PQexecParams", [h] { expect_row(h, PQexecParams(h, sql, 1, nullptr, &value, nullptr, nullptr, 0)); }},
                 {"query", query(false, false)},
                 {"query, kept", query(false, true)},
                 {"libpq, PQexecPrepared", [h] { expect_row(h, PQexecPrepared(h, "by_hand", 1, &value, nullptr, nullptr, 0)); }}});
    }

    template <class Pool>
    void transactions(Pool& db, PGconn* h) {
        transactions(db, h, "transaction that reads", "select s from bench_sessions where id = $1");
        transactions(db, h, "transaction that writes", "update bench_sessions set n = n + 1 where id = $1 returning s");
    }
    template <class Pool>
    void transactions(Pool& db, PGconn* h, const char* test, const char* sql) {
        static constexpr const char* value = "500";
        compare(test, {}, turns_,
                {{"libpq by hand",
                  [h, sql] {
                      exec(h, "begin");
                      expect_row(h, PQexecParams(h, sql, 1, nullptr, &value, nullptr, nullptr, 0));
                      exec(h, "commit");
                  }},
                 {"acquire, begin, query, commit, give back", [&db, sql] {
                      auto lease = db.acquire(std::chrono::seconds{5});
                      auto& d = lease.driver();
                      d.begin(*lease, {}, soon());
                      const std::array<cenote::value_view, 1> values{500};
                      expect_row(d.query(*lease, {.sql = sql, .values = values}, soon()));
                      d.commit(*lease, soon());
                  }}});
    }

    /// So many rows, as one may write them.
    void bulk(cenote::postgres& d, cenote::postgres::connection& c) {
        const int n = plan_.quick ? 500 : 10000;
        static constexpr std::string_view sql = "insert into bench_sessions values ($1, $2, $3)";
        static constexpr std::string_view text = "a text of some forty characters, not more";
        const auto insert = [&d, &c, n](bool keep) {
            for (int i = 0; i < n; ++i) {
                const std::array<cenote::value_view, 3> values{i, text, i};
                (void)d.query(c, {.sql = sql, .values = values, .keep = keep}, soon());
            }
        };
        const auto piped = [&d, &c, n](cenote::postgres::batch::mode how) {
            return [&d, &c, n, how] {
                cenote::postgres::batch b;
                for (int i = 0; i < n; ++i) b.add(sql, {i, text, i});
                (void)d.run(c, b, how, soon());
            };
        };
        using mode = cenote::postgres::batch::mode;
        const std::function<void()> clear = [h = c.handle()] { exec(h, "truncate bench_sessions"); };
        clear();
        compare("bulk", {{"rows", std::to_string(n)}}, plan_.quick ? 1 : 9,
                {{"row by row", [insert] { insert(false); }},
                 {"row by row, one transaction",
                  [&d, &c, insert] {
                      d.begin(c, {}, soon());
                      insert(false);
                      d.commit(c, soon());
                  }},
                 {"row by row, one transaction, kept",
                  [&d, &c, insert] {
                      d.begin(c, {}, soon());
                      insert(true);
                      d.commit(c, soon());
                  }},
                 {"batch, each", piped(mode::each)},
                 {"batch, together", piped(mode::together)},
                 {"copy_in",
                  [&d, &c, n] {
                      auto w = d.copy_in(c, "copy bench_sessions from stdin", soon());
                      for (int i = 0; i < n; ++i) w.row({i, text, i});
                      if (w.finish() != static_cast<std::uint64_t>(n)) throw std::runtime_error{"rows are missing"};
                  }}},
                clear);
    }

    plan plan_;
    int turns_;
    cenote::postgres::options options_;
};

} // namespace bench
