// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The main job, on MySQL or MariaDB: threads share a pool, sessions are ended under it, transactions are forgotten, the server refuses or
// stops. Takes about 12 seconds and a server that is thrown away afterwards: examples/run mysql
#include "server_tour.hpp"

#include <cenote/drivers/mysql.hpp>

namespace {

struct mysql_server {
    using plain = std::unique_ptr<MYSQL, decltype([](MYSQL* c) { mysql_close(c); })>;

    cenote::mysql::options address{.host = "127.0.0.1",
                                   .port = static_cast<unsigned>(std::stoul(tour::variable("CENOTE_MYSQL_PORT", "mysql"))),
                                   .user = tour::variable("CENOTE_MYSQL_USER", "mysql"),
                                   .password = tour::variable("CENOTE_MYSQL_PASSWORD", "mysql"),
                                   .database = tour::variable("CENOTE_MYSQL_DB", "mysql"),
                                   .tls = {.mode = cenote::mysql::tls_mode::off}}; // as the client's own calls below have it
    pid_t server = std::stoi(tour::variable("CENOTE_MYSQL_PID", "mysql"));

    [[nodiscard]] cenote::mysql driver() const { return cenote::mysql{address}; }
    [[nodiscard]] std::vector<std::pair<const char*, cenote::mysql>> refusing() const {
        auto wrong_password = address, no_such_database = address, nobody_listens = address;
        wrong_password.password = "not it";
        no_such_database.database = "nowhere";
        nobody_listens.port = 1;
        return {{"wrong password", cenote::mysql{wrong_password}}, {"no such database", cenote::mysql{no_such_database}},
                {"nobody listens", cenote::mysql{nobody_listens}}};
    }
    /// Sessions are threads of one process.
    [[nodiscard]] std::vector<pid_t> processes(MYSQL*) const { return {server}; }

    // The client library as most programs use it.
    [[nodiscard]] plain open() const {
        plain c{mysql_init(nullptr)};
        const auto& a = address;
        if (!mysql_real_connect(c.get(), a.host.c_str(), a.user.c_str(), a.password.c_str(), a.database.c_str(), a.port, nullptr, 0)) {
            throw std::runtime_error(mysql_error(c.get()));
        }
        return c;
    }
    static void run(MYSQL* c, const std::string& sql) { ask(c, sql.c_str()); }
    static long long ask(MYSQL* c, const char* sql) {
        MYSQL_RES* const r = mysql_query(c, sql) == 0 ? mysql_store_result(c) : nullptr;
        const MYSQL_ROW row = r != nullptr ? mysql_fetch_row(r) : nullptr;
        const long long answer = row != nullptr && row[0] != nullptr ? std::atoll(row[0]) : tour::no_answer;
        mysql_free_result(r);
        return answer;
    }
    /// What another session says to end this one.
    static std::string kill(MYSQL* c) { return "kill " + std::to_string(mysql_thread_id(c)); }

    struct dirt { const char* make; const char* look; };
    static constexpr dirt setting{"set session lock_wait_timeout = 4711", "select @@lock_wait_timeout"};
    static constexpr dirt lock{"select get_lock('mine', 0)", "select is_used_lock('mine') is not null"};
    static std::string product() { return std::string{"client "} + mysql_get_client_info(); }
};

} // namespace

int main() { return tour::all<mysql_server>(); }
