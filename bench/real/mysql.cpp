// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "server.hpp"

#include <cenote/drivers/mysql.hpp>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

struct mysql {
    using driver = cenote::mysql;
    static constexpr auto name = "MariaDB";

    [[nodiscard]] static driver local() {
        auto o = account();
        o.socket = bench::from_environment("CENOTE_MYSQL_SOCKET");
        return driver{o};
    }
    [[nodiscard]] static driver tcp(const std::string& host, unsigned port) { return by_tcp(host, port, driver::tls_mode::off); }
    [[nodiscard]] static unsigned port() { return bench::number_from_environment("CENOTE_MYSQL_PORT"); }
    [[nodiscard]] static pid_t process() { return static_cast<pid_t>(bench::number_from_environment("CENOTE_MYSQL_PID")); }
    [[nodiscard]] static std::vector<std::pair<const char*, driver>> ways() {
        return {{"local", local()}, {"TCP", tcp("127.0.0.1", port())}, {"TLS", by_tcp("127.0.0.1", port(), driver::tls_mode::required)}};
    }
    [[nodiscard]] static int descriptor(driver::connection& c) { return cenote::drivers::mysql_client::descriptor(c.handle()); }
    static void select(driver::connection& c) {
        execute(c, "select 1");
        MYSQL_RES* const r = mysql_store_result(c.handle());
        if (r == nullptr) throw std::runtime_error{mysql_error(c.handle())};
        mysql_free_result(r);
    }
    static void begin(driver::connection& c) { execute(c, "begin"); }

private:
    [[nodiscard]] static driver::options account() {
        return {.user = bench::from_environment("CENOTE_MYSQL_USER"),
                .password = bench::from_environment("CENOTE_MYSQL_PASSWORD"),
                .database = bench::from_environment("CENOTE_MYSQL_DB")};
    }
    [[nodiscard]] static driver by_tcp(const std::string& host, unsigned port, driver::tls_mode mode) {
        auto o = account();
        o.host = host;
        o.port = port;
        o.tls.mode = mode;
        return driver{o};
    }
    static void execute(driver::connection& c, const char* sql) {
        if (mysql_query(c.handle(), sql) != 0) throw std::runtime_error{mysql_error(c.handle())};
    }
};

} // namespace

int main(int count, char** arguments) { return bench::measure<mysql>(count, arguments); }
