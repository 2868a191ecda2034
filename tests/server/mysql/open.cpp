// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Connecting: deadlines, encryption, what a new session is, and why there is none.
#include "server/mysql/support.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

using namespace mysql_tests;
using Catch::Matchers::ContainsSubstring;

namespace {

int descriptor(opened& a) { return cenote::drivers::mysql_client::descriptor(a.native()); }

/// The error of an open that ought to end by itself.
driver_error refusal(mysql::options o, deadline by = soon()) {
    mysql d{std::move(o)};
    auto e = error_of([&] {
        auto c = d.open(by);
        d.close(c);
    });
    if (!e) throw std::runtime_error{"it connected"};
    return *e;
}

void gives_up_in_time(mysql::options o) {
    o.password = servers::mysql().password;
    for (const auto limit : {50ms, 200ms}) {
        std::optional<driver_error> e;
        const auto took = time_of([&] { e = refusal(o, deadline::in(limit)); });
        CHECK(e->kind() == error_class::timeout);
        CHECK_THAT(e->what(), ContainsSubstring("connection timeout"));
        CHECK(took >= limit);
        CHECK(took < limit + grace);
    }
}

} // namespace

TEST_CASE("Opening ends at its deadline when a listening port says nothing", "[alone]") {
    const listener silent; // the system accepts, nobody speaks
    gives_up_in_time({.host = "127.0.0.1", .port = silent.port()});
}

TEST_CASE("Opening ends at its deadline when a local server says nothing", "[alone]") {
    const std::string path = "/tmp/cenote-silent-" + std::to_string(::getpid());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    path.copy(a.sun_path, sizeof a.sun_path - 1);
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
    REQUIRE(::listen(fd, 8) == 0);
    gives_up_in_time({.socket = path});
    ::close(fd);
    ::unlink(path.c_str());
}

TEST_CASE("Opening ends at its deadline while TCP connects, and waits for a socket or for nothing", "[alone]") {
    const listener full{0};
    std::vector<int> others; // until the system no longer answers
    for (int i = 0; i < 4; ++i) {
        others.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        sockaddr_in a = full.address();
        (void)::connect(others.back(), reinterpret_cast<sockaddr*>(&a), sizeof a);
    }
    const mysql::options o{.host = "127.0.0.1", .port = full.port()};
    gives_up_in_time(o);
    {
        mysql d{o};
        auto given_up = d.dial(deadline::in(50ms));
        for (int i = 0; i < 5; ++i) {
            CHECK(!given_up.step());
            struct stat what {};
            const int fd = given_up.descriptor();
            CHECK((fd == -1 || (::fstat(fd, &what) == 0 && S_ISSOCK(what.st_mode))));
        }
    }
    for (const int fd : others) ::close(fd);
}

TEST_CASE("Opening ends at its deadline wherever a server stops talking", "[alone]") {
    const auto& s = servers::mysql();
    for (const auto& tls : {by_tcp().tls, by_tls().tls}) {
        for (const std::size_t bytes : {1u, 20u, 60u, 90u, 110u, 200u, 1200u, 2000u}) {
            relay between;
            between.freeze_after(bytes);
            mysql d{{.host = "127.0.0.1", .port = between.port(), .user = s.user, .password = s.password, .tls = tls}};
            INFO("after " << bytes << " bytes, TLS " << static_cast<int>(tls.mode));
            const auto took = time_of([&] {
                const auto e = error_of([&] {
                    auto c = d.open(deadline::in(100ms));
                    d.close(c);
                });
                CHECK((!e || e->kind() == error_class::timeout));
            });
            const bool may_block = cenote::drivers::mysql_client::is_mariadb && tls.mode != mysql::tls_mode::off; // at most for a second
            CHECK(took < 100ms + grace + (may_block ? 1s : 0s));
        }
    }
}

TEST_CASE("A new session has the database, the character set and what options.init makes of it") {
    auto o = by_socket();
    o.init = {"set @purpose = 'test'", "select 1", "set sql_mode = 'ANSI_QUOTES'"};
    opened a{std::move(o)};
    CHECK(a.state() == session_state::idle);
    CHECK(a.ask("select database()") == servers::mysql().database);
    CHECK(a.ask("select @purpose") == "test");
    CHECK(a.ask("select @@sql_mode") == "ANSI_QUOTES");
    CHECK(a.ask("select concat_ws(',', @@character_set_client, @@character_set_connection, @@character_set_results)") == "utf8mb4,utf8mb4,utf8mb4");
    CHECK(mysql_character_set_name(a.native()) == std::string{"utf8mb4"});
    CHECK(a.ask("select 'Größe 😀'") == "Größe 😀");
}

TEST_CASE("Another character set is set on both sides") {
    auto o = by_socket();
    o.charset = "latin1";
    opened a{std::move(o)};
    CHECK(a.ask("select concat_ws(',', @@character_set_client, @@character_set_connection, @@character_set_results)") == "latin1,latin1,latin1");
    CHECK(mysql_character_set_name(a.native()) == std::string{"latin1"});
}

TEST_CASE("A statement of options.init that fails, or leaves something open, makes opening fail") {
    auto o = by_socket();
    o.init = {"select 1", "select * from no_such_table"};
    auto e = refusal(o);
    CHECK_THAT(e.what(), ContainsSubstring("options.init failed") && ContainsSubstring("1146"));
    CHECK(e.native_code() == 1146);
    CHECK(e.sqlstate() == "42S02");
    o.init = {"begin"};
    CHECK_THAT(refusal(o).what(), ContainsSubstring("options.init leaves a transaction"));
}

TEST_CASE("The socket has a system's limit for lost packets and is not inherited by other programs") {
    auto o = by_tcp();
    o.tcp_user_timeout = 7s;
    opened a{std::move(o)};
    unsigned ms = 0;
    socklen_t length = sizeof ms;
    REQUIRE(::getsockopt(descriptor(a), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &length) == 0);
    CHECK(ms == 7000);
    CHECK((::fcntl(descriptor(a), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(descriptor(a), F_GETFL) & O_NONBLOCK) == (cenote::drivers::mysql_client::is_mariadb ? 0 : O_NONBLOCK));
    opened local{by_socket()};
    CHECK((::fcntl(descriptor(local), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("The client's own blocking calls work, also with more rows than a socket holds, and over TLS") {
    for (const auto& o : {by_socket(), by_tcp(), by_tls()}) {
        opened a{o};
        a.driver.ping(a.c, soon());
        a.driver.reset(a.c, soon());
        CHECK(a.ask("select sleep(0.05)") == "0");
        const std::string big(3'000'000, 'x');
        CHECK(a.ask("select length('" + big + "')") == "3000000");
        CHECK(a.ask("select repeat('x', 3000000)") == big);
        CHECK(mysql_ping(a.native()) == 0);
        a.driver.ping(a.c, soon());
        a.driver.execute(a.c, "select repeat('x', 3000000) union all select repeat('y', 3000000)", soon());
        a.driver.execute(a.c, "select length('" + big + "')", soon());
        CHECK(a.state() == session_state::idle);
    }
}

TEST_CASE("TLS is as the settings want it, or there is no connection") {
    const auto& s = servers::mysql();
    const auto cipher = [](mysql::options o) {
        opened a{std::move(o)};
        const char* name = mysql_get_ssl_cipher(a.native());
        return std::string{name != nullptr ? name : ""};
    };
    using mode = mysql::tls_mode;
    auto o = by_tcp();
    CHECK(cipher(o).empty());
    o.tls = {};
    CHECK(!cipher(o).empty());
    o.tls.mode = mode::required;
    CHECK(!cipher(o).empty());
    o.tls = {.mode = mode::verify_identity, .ca = s.ca};
    CHECK(!cipher(o).empty());
    o.host = "localhost"; // by TCP, not by a socket file
    CHECK(!cipher(o).empty());
    o.host = "127.0.0.2"; // the server does not listen there, or its certificate does not say so
    CHECK((refusal(o).kind() == error_class::refused || refusal(o).kind() == error_class::other));
    CHECK(cipher(by_socket()).empty());

    // A certificate authority that did not sign the server's certificate.
    const std::string stranger = "/tmp/cenote-ca-" + std::to_string(::getpid()) + ".pem";
    REQUIRE(std::system(("openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=stranger -keyout /dev/null -out " + stranger + " 2>/dev/null").c_str()) == 0);
    o = by_tcp();
    for (const auto strict : {mode::verify_ca, mode::verify_identity}) {
        o.tls = {.mode = strict, .ca = stranger};
        try {
            const auto e = refusal(o);
            CHECK(e.kind() == error_class::other);
            CHECK_THAT(e.what(), ContainsSubstring("certificate"));
            o.tls.ca = s.ca;
            CHECK(!cipher(o).empty());
        } catch (const std::invalid_argument& e) { // a client that cannot do it says so
            CHECK(strict == mode::verify_ca);
        }
    }
    ::unlink(stranger.c_str());
}

TEST_CASE("case-B11: The hook before connecting has the last word, but for reconnecting") {
    auto o = by_socket();
    o.before_connect = [](MYSQL* m) { mysql_options(m, MYSQL_INIT_COMMAND, "set @hooked = 'yes'"); };
    CHECK(opened{o}.ask("select @hooked") == "yes");
    o.before_connect = [](MYSQL*) { throw std::runtime_error{"not today"}; };
    CHECK_THROWS_WITH((mysql{o}.open(soon())), "not today");
    o.before_connect = [](MYSQL* m) {
        cenote::drivers::mysql_client::flag on = 1;
        mysql_options(m, MYSQL_OPT_RECONNECT, &on);
    };
    CHECK_THAT(refusal(o).what(), ContainsSubstring("MYSQL_OPT_RECONNECT"));
}

TEST_CASE("Several statements in one text are an error, unless they are allowed") {
    opened one{by_socket()};
    CHECK_THROWS(one.run("select 1; select 2"));
    auto o = by_socket();
    o.multi_statements = true;
    opened many{std::move(o)};
    many.driver.execute(many.c, "select 1; select 2; set @a = 3", soon());
    CHECK(many.ask("select @a") == "3");
}

TEST_CASE("Why a connection cannot be opened is told with its class, in words that people look for, and without the password") {
    const auto& s = servers::mysql();
    const auto check = [](const driver_error& e, error_class kind, const char* words) {
        INFO(e.what());
        CHECK(e.kind() == kind);
        CHECK_THAT(e.what(), ContainsSubstring(words) && ContainsSubstring("mysql: cannot connect to "));
        CHECK_THAT(e.what(), !ContainsSubstring(servers::mysql().password) && !ContainsSubstring("wrong-secret"));
    };
    auto o = by_tls();
    o.password = "wrong-secret";
    check(refusal(o), error_class::auth, "authentication failed: Access denied");
    CHECK(refusal(o).native_code() == 1045);
    CHECK(refusal(o).sqlstate() == "28000");
    o = by_tls();
    o.user = "wrong-secret"; // and the server repeats it
    o.password = "wrong-secret";
    check(refusal(o), error_class::auth, "authentication failed");
    o = by_tcp();
    o.database = "mysql";
    check(refusal(o), error_class::auth, "Access denied");
    o = as_root();
    o.database = "no_such_database";
    auto unknown = refusal(o);
    // A server that refuses faster than libmysqlclient can finish its packet is not always heard.
    for (int i = 0; i < 20 && unknown.native_code() == 2000; ++i) unknown = refusal(o);
    check(unknown, error_class::other, "Unknown database");
    unsigned nobody = 0;
    {
        const listener gone;
        nobody = gone.port();
    }
    o = by_tcp();
    o.port = nobody;
    check(refusal(o), error_class::refused, "connection refused");
    o = by_socket();
    o.socket += ".none";
    check(refusal(o), error_class::refused, "No such file or directory");
    o = by_tcp();
    o.host = "no-such-host.invalid";
    check(refusal(o, deadline::in(3s)), error_class::refused, "no-such-host.invalid");
    CHECK_THAT(refusal(by_tcp(), deadline{cenote::time_point{}}).what(), ContainsSubstring("@127.0.0.1:" + std::to_string(s.port) + "/" + s.database));
}

TEST_CASE("A server that is full says so", "[alone]") {
    opened root{as_root()};
    const std::string before = root.ask("select @@global.max_connections");
    root.run("set global max_connections = 10");
    std::vector<std::unique_ptr<opened>> taken;
    const auto e = error_of([&] {
        for (int i = 0; i < 20; ++i) taken.push_back(std::make_unique<opened>(by_tcp()));
    });
    root.run("set global max_connections = " + before);
    REQUIRE(e);
    CHECK(e->kind() == error_class::server_full);
    CHECK(e->native_code() == 1040);
    CHECK_THAT(e->what(), ContainsSubstring("too many connections"));
}

TEST_CASE("A user whose sessions are used up is told the same") {
    opened root{as_root()};
    const std::string name = "few" + std::to_string(::getpid());
    root.run("create user " + name + "@'%' identified by 'Few-3nough!' with max_user_connections 1");
    auto o = by_tls();
    o.user = name;
    o.password = "Few-3nough!";
    o.database.clear();
    {
        opened first{o};
        const auto e = refusal(o);
        INFO(e.what());
        CHECK(e.kind() == error_class::server_full);
    }
    root.run("drop user " + name);
}
