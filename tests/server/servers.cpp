// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The throw-away servers are what environment.hpp says of them, asked with the client libraries alone.
#include "server/support/environment.hpp"

#include <libpq-fe.h>
#include <mysql.h>

#include <memory>
#include <string>

#include <signal.h>

namespace {

std::string ask_postgres(const std::string& conninfo, const char* sql) {
    const std::unique_ptr<PGconn, decltype(&PQfinish)> c{PQconnectdb(conninfo.c_str()), &PQfinish};
    if (PQstatus(c.get()) != CONNECTION_OK) return PQerrorMessage(c.get());
    const std::unique_ptr<PGresult, decltype(&PQclear)> r{PQexec(c.get(), sql), &PQclear};
    return PQresultStatus(r.get()) == PGRES_TUPLES_OK ? PQgetvalue(r.get(), 0, 0) : PQerrorMessage(c.get());
}

/// By the socket if there is no host.
std::string ask_mysql(const char* host, const char* user, const char* password, const char* database, const char* sql) {
    const auto& server = servers::mysql();
    const std::unique_ptr<MYSQL, decltype(&mysql_close)> c{mysql_init(nullptr), &mysql_close};
    if (host != nullptr) mysql_ssl_set(c.get(), nullptr, nullptr, server.ca.c_str(), nullptr, nullptr);
    if (mysql_real_connect(c.get(), host, user, password, database, server.port, server.socket.c_str(), 0) == nullptr ||
        mysql_query(c.get(), sql) != 0) {
        return mysql_error(c.get());
    }
    const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> r{mysql_store_result(c.get()), &mysql_free_result};
    const MYSQL_ROW row = r ? mysql_fetch_row(r.get()) : nullptr;
    return row != nullptr && row[0] != nullptr ? row[0] : "nothing";
}

} // namespace

TEST_CASE("PostgreSQL is reached in every way that has a name") {
    const auto& server = servers::postgres();
    CHECK(ask_postgres(server.unix_socket, "select current_user") == "cenote");
    CHECK(ask_postgres(server.tcp, "select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "f");
    CHECK(ask_postgres(server.tls, "select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "t");
    CHECK(ask_postgres(server.standby, "select pg_is_in_recovery()") == "t");
    CHECK(ask_postgres(server.admin, "select usesuper from pg_user where usename = current_user") == "t");
    CHECK(ask_postgres(server.unix_socket, "select pg_has_role('pg_signal_backend', 'member')") == "t");
    CHECK(ask_postgres(server.tcp, "show port") == std::to_string(server.port));
    CHECK(ask_postgres(server.admin, "show data_directory") == server.data);
    CHECK(::kill(server.pid, 0) == 0);
}

TEST_CASE("PostgreSQL wants the password by TCP") {
    const auto& server = servers::postgres();
    std::string conninfo = server.tcp;
    conninfo.replace(conninfo.find(server.password), server.password.size(), "another");
    CHECK(ask_postgres(conninfo, "select 1").find("password authentication failed") != std::string::npos);
}

TEST_CASE("MariaDB is reached in every way that has a name") {
    const auto& server = servers::mysql();
    const char* const user = server.user.c_str();
    const char* const password = server.password.c_str();
    const char* const database = server.database.c_str();
    CHECK(ask_mysql(nullptr, user, password, database, "select database()") == server.database);
    CHECK(ask_mysql("127.0.0.1", user, password, database, "select @@port") == std::to_string(server.port));
    CHECK(ask_mysql("127.0.0.1", user, password, database, "show status where variable_name = 'ssl_cipher' and value <> ''") == "Ssl_cipher");
    CHECK(ask_mysql(nullptr, user, password, (server.database + "_other").c_str(), "select database()") == server.database + "_other");
    CHECK(ask_mysql(nullptr, "root", "", nullptr, "select current_user()") == "root@localhost");
    CHECK(::kill(server.pid, 0) == 0);
}

TEST_CASE("MariaDB wants the password, and lets root in by the socket only") {
    const auto& server = servers::mysql();
    CHECK(ask_mysql(nullptr, server.user.c_str(), "another", nullptr, "select 1").starts_with("Access denied"));
    CHECK(ask_mysql("127.0.0.1", "root", "", nullptr, "select 1").starts_with("Access denied"));
}
