// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "pg_sessions.hpp"
#include "server.hpp"

#include <cenote/drivers/postgres.hpp>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

struct postgres {
    using driver = cenote::postgres;
    static constexpr auto name = "PostgreSQL";

    [[nodiscard]] static driver local() { return driver{bench::from_environment("CENOTE_PG_UNIX")}; }
    [[nodiscard]] static driver tcp(const std::string& host, unsigned port) {
        return driver{driver::options{.conninfo = bench::from_environment("CENOTE_PG_TCP"),
                                      .parameters = {{"host", host}, {"port", std::to_string(port)}}}};
    }
    [[nodiscard]] static unsigned port() { return bench::number_from_environment("CENOTE_PG_PORT"); }
    [[nodiscard]] static pid_t process() { return static_cast<pid_t>(bench::number_from_environment("CENOTE_PG_PID")); }
    [[nodiscard]] static std::vector<std::pair<const char*, driver>> ways() {
        return {{"local", local()},
                {"TCP", driver{bench::from_environment("CENOTE_PG_TCP")}},
                {"TLS", driver{bench::from_environment("CENOTE_PG_TLS")}}};
    }
    [[nodiscard]] static int descriptor(driver::connection& c) { return PQsocket(c.handle()); }
    static void select(driver::connection& c) { execute(c, "select 1", PGRES_TUPLES_OK); }
    static void sessions(const bench::plan& p) { bench::pg_sessions{p, driver::options{.conninfo = bench::from_environment("CENOTE_PG_UNIX")}}.run(); }
    static void begin(driver::connection& c) { execute(c, "begin", PGRES_COMMAND_OK); }

private:
    static void execute(driver::connection& c, const char* sql, ExecStatusType wanted) {
        PGresult* const r = PQexec(c.handle(), sql);
        const bool good = PQresultStatus(r) == wanted;
        PQclear(r);
        if (!good) throw std::runtime_error{PQerrorMessage(c.handle())};
    }
};

} // namespace

int main(int count, char** arguments) { return bench::measure<postgres>(count, arguments); }
