// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <cstdlib>
#include <fstream>
#include <string>

#include <sys/types.h>

/// The throw-away servers that tests/lib/with_servers has started, as its environment describes them. A test that asks for one which is
/// not there is skipped, or fails if CENOTE_REQUIRE_SERVERS is 1: tests/run brings them all.
///
/// With     to be asked for in a test case, on its own thread, and not inside a CHECK, which takes a skip for a failure.
namespace servers {

struct mysql_server {
    std::string socket;   // TCP: 127.0.0.1 and `port`
    std::string user;     // may do everything in `database` and in `database`_other, and nothing else; root has no password on the socket
    std::string password;
    std::string database;
    std::string ca;       // the certificate is one for 127.0.0.1 and localhost
    std::string start;   // starts the server anew, should a test have killed it, and does not wait for it
    std::string pid_file;
    unsigned port;
    pid_t pid;           // as it was when first asked for
};

struct postgres_server {
    std::string unix_socket; // this and the next four: complete conninfo strings
    std::string tcp;         // without TLS
    std::string tls;         // the certificate is one for 127.0.0.1 and localhost
    std::string standby;     // a hot standby, by TCP without TLS
    std::string admin;       // as superuser; the others are of a role that owns its database and may signal other roles' sessions
    std::string password;    // the role's, in every string by TCP
    std::string data;
    std::string start;       // starts the server anew, should a test have killed it, and does not wait for it
    std::string bin;         // the folder of pg_ctl, which is to be run as who owns `data`
    unsigned port;
    pid_t pid;               // of the postmaster as it was when first asked for
};

namespace detail {

inline std::string variable(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') {
        const char* required = std::getenv("CENOTE_REQUIRE_SERVERS");
        if (required != nullptr && std::string{required} == "1") FAIL(name << " is not set: run it by tests/lib/with_servers");
        SKIP(name << " is not set: run it by tests/lib/with_servers");
    }
    return value;
}

inline unsigned number(const char* name) { return static_cast<unsigned>(std::stoul(variable(name))); }

/// A test may have started the server anew since the environment was made.
inline pid_t pid_in(const std::string& path, const char* at_first) {
    const auto before = static_cast<pid_t>(number(at_first));
    pid_t now = 0;
    std::ifstream file{path};
    return file >> now ? now : before;
}

} // namespace detail

inline const mysql_server& mysql() {
    static const mysql_server server{
        .socket = detail::variable("CENOTE_MYSQL_SOCKET"),
        .user = detail::variable("CENOTE_MYSQL_USER"),
        .password = detail::variable("CENOTE_MYSQL_PASSWORD"),
        .database = detail::variable("CENOTE_MYSQL_DB"),
        .ca = detail::variable("CENOTE_MYSQL_CA"),
        .start = detail::variable("CENOTE_MYSQL_START"),
        .pid_file = detail::variable("CENOTE_MYSQL_PIDFILE"),
        .port = detail::number("CENOTE_MYSQL_PORT"),
        .pid = detail::pid_in(detail::variable("CENOTE_MYSQL_PIDFILE"), "CENOTE_MYSQL_PID"),
    };
    return server;
}

inline const postgres_server& postgres() {
    static const postgres_server server{
        .unix_socket = detail::variable("CENOTE_PG_UNIX"),
        .tcp = detail::variable("CENOTE_PG_TCP"),
        .tls = detail::variable("CENOTE_PG_TLS"),
        .standby = detail::variable("CENOTE_PG_STANDBY"),
        .admin = detail::variable("CENOTE_PG_ADMIN"),
        .password = detail::variable("CENOTE_PG_PASSWORD"),
        .data = detail::variable("CENOTE_PG_DATA"),
        .start = detail::variable("CENOTE_PG_START"),
        .bin = detail::variable("CENOTE_PG_BIN"),
        .port = detail::number("CENOTE_PG_PORT"),
        .pid = detail::pid_in(detail::variable("CENOTE_PG_DATA") + "/postmaster.pid", "CENOTE_PG_PID"),
    };
    return server;
}

} // namespace servers
