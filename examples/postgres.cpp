// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The main job, on PostgreSQL: threads share a pool, sessions are ended under it, transactions are forgotten, the server refuses or stops.
// Takes about 12 seconds and a server that is thrown away afterwards: examples/run postgres
#include "server_tour.hpp"

#include <cenote/drivers/postgres.hpp>

namespace {

struct postgres_server {
    using plain = std::unique_ptr<PGconn, decltype([](PGconn* c) { PQfinish(c); })>;

    std::string address = tour::variable("CENOTE_PG_TCP", "postgres"); // a conninfo string
    pid_t postmaster = std::stoi(tour::variable("CENOTE_PG_PID", "postgres"));

    [[nodiscard]] cenote::postgres driver() const { return cenote::postgres{address}; }
    [[nodiscard]] std::vector<std::pair<const char*, cenote::postgres>> refusing() const {
        const auto with = [&](const char* keyword, const char* value) {
            return cenote::postgres{{.conninfo = address, .parameters = {{keyword, value}}}};
        };
        return {{"wrong password", with("password", "not it")}, {"no such database", with("dbname", "nowhere")},
                {"nobody listens", with("port", "1")}};
    }
    /// Each session is a process of its own, which goes on without the postmaster.
    [[nodiscard]] std::vector<pid_t> processes(PGconn* session) const { return {postmaster, PQbackendPID(session)}; }

    // libpq as most programs use it.
    [[nodiscard]] plain open() const {
        plain c{PQconnectdb(address.c_str())};
        if (PQstatus(c.get()) != CONNECTION_OK) throw std::runtime_error(PQerrorMessage(c.get()));
        PQsetNoticeProcessor(c.get(), [](void*, const char*) {}, nullptr);
        return c;
    }
    static void run(PGconn* c, const std::string& sql) { PQclear(PQexec(c, sql.c_str())); }
    static long long ask(PGconn* c, const char* sql) {
        PGresult* const r = PQexec(c, sql);
        const bool ok = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) > 0;
        const long long answer = ok ? std::atoll(PQgetvalue(r, 0, 0)) : tour::no_answer;
        PQclear(r);
        return answer;
    }
    /// What another session says to end this one.
    static std::string kill(PGconn* c) { return "select pg_terminate_backend(" + std::to_string(PQbackendPID(c)) + ")"; }

    struct dirt { const char* make; const char* look; };
    static constexpr dirt setting{"set statement_timeout = 4711", "select setting from pg_settings where name = 'statement_timeout'"};
    static constexpr dirt lock{"select pg_advisory_lock(4711)", "select count(*) from pg_locks where locktype = 'advisory'"};
    static std::string product() {
        const int v = PQlibVersion();
        return "libpq " + std::to_string(v / 10000) + "." + std::to_string(v % 10000);
    }
};

} // namespace

int main() { return tour::all<postgres_server>(); }
