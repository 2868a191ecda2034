// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Passwords where one would not look for them: in the wrong field, replaced by another one, with blanks in them, in what a server says
// after a connection was made.
#include <server/mysql/support.hpp>
#include <server/support/fake_server.hpp>
#include <server/support/postgres.hpp>

#include <cenote/drivers/mysql.hpp>
#include <cenote/drivers/postgres.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using cenote::mysql;
using cenote::postgres;

namespace {

const std::string secret = "Tr0ub4dor";

/// What f throws, as everybody reads it; fails if it throws nothing.
std::string words_of(const std::function<void()>& f) {
    try {
        f();
    } catch (const std::exception& e) {
        return e.what();
    }
    FAIL("nothing was wrong");
    return {};
}
void check_said(const std::string& words) { CHECK_THAT(words, !ContainsSubstring(secret) && ContainsSubstring("***")); }
void check_hidden(const std::function<void()>& f) { check_said(words_of(f)); }

} // namespace

TEST_CASE("case-E1: a password that has got into another field of the PostgreSQL driver as well is not shown by its refusal") {
    const std::vector<std::pair<std::string, std::string>> misplaced{{secret, "x"}, {"x" + secret + "x", "x"}, {"port", secret}};
    for (const auto& field : misplaced) {
        INFO(field.first);
        check_hidden([&] { postgres{pg::options("", {field, {"password", secret}})}; });
        check_hidden([&] { postgres{pg::options("password=" + secret, {field})}; });
    }
    const std::string listed = secret.substr(0, 4) + "," + secret.substr(4);
    CHECK_THAT(words_of([&] { postgres{pg::options("", {{"host", "a,b"}, {"port", listed}, {"password", listed}})}; }),
               !ContainsSubstring(secret.substr(4)) && ContainsSubstring("options.port"));
    postgres::options o;
    o.init = {"alter role web password '" + secret + "'"};
    o.init.front().push_back('\0');
    CHECK_THAT(words_of([&] { postgres{o}; }), !ContainsSubstring(secret) && ContainsSubstring("options.init"));
}

TEST_CASE("case-E1: a password that has got into another field of the MySQL driver as well is not shown by its refusal") {
    mysql::options o;
    o.password = secret;
    const auto said = [&o](std::string mysql::options::*field) {
        mysql::options wrong = o;
        wrong.*field = "a " + secret + std::string(200, 'x');
        return words_of([&] { mysql{wrong}; });
    };
    check_said(said(&mysql::options::charset));
    check_said(said(&mysql::options::socket));
    o.socket = "/run/s";
    check_said(said(&mysql::options::host));
    o.tls.ca = secret + ".pem";
    check_hidden([&] { mysql{o}; });
}

TEST_CASE("case-E1: a password with line ends and blanks in it is not shown when a text is made one line") {
    for (const std::string& password : {secret + "\n\t  tail", "head\n" + secret, secret + "\nLOCATION: x", "a:  " + secret.substr(0, 5) + ": " + secret}) {
        INFO(password);
        fake_server parrot{[&](auto& peer) {
            if (wire::begin(peer)) peer.send(wire::error("28P01", "password " + password + " is wrong"));
        }};
        postgres d{pg::options(parrot.conninfo(), {{"password", password}})};
        check_hidden([&] { pg::opened{d}; });
    }
}

TEST_CASE("case-E1: a password that another one has taken the place of is not shown") {
    fake_server parrot{[](auto& peer) {
        if (wire::begin(peer)) peer.send(wire::error("28P01", secret + " is old"));
    }};
    postgres replaced{pg::options(parrot.conninfo() + " password=" + secret, {{"password", "another"}})};
    check_hidden([&] { pg::opened{replaced}; });
    auto o = pg::options(parrot.conninfo(), {{"password", secret}});
    o.credentials = cenote::credentials{cenote::login{.user = "u", .password = "another"}};
    postgres asks{o};
    check_hidden([&] { pg::opened{asks}; });
}

TEST_CASE("case-E1: what a server says on an open connection is shown without the password, wherever that came from") {
    const auto answers = [](std::string_view severity, std::string_view code) {
        return [severity, code](auto& peer) {
            if (!wire::begin(peer) || !peer.send(wire::welcome()) || peer.receive(5).size() != 5) return;
            peer.send(wire::report('E', severity, code, "no such thing as " + secret));
            if (severity == "ERROR" && peer.send(wire::ready())) peer.linger();
        };
    };
    for (const bool asked : {false, true}) {
        auto o = pg::options("", {{"password", secret}});
        if (asked) {
            o.parameters.clear();
            o.credentials = cenote::credentials{cenote::login{.user = "u", .password = secret}};
        }
        const auto said = [&](auto script) {
            fake_server parrot{std::move(script)};
            o.conninfo = parrot.conninfo();
            postgres d{o};
            pg::opened c{d};
            return words_of([&] { d.execute(*c, "select", pg::soon()); });
        };
        check_said(said(answers("ERROR", "42P01")));
        check_said(said(answers("FATAL", "57P01")));
    }
}

TEST_CASE("case-E1: what MySQL says on an open connection is shown without the password that credentials gave") {
    mysql::options o = mysql_tests::by_tcp();
    o.credentials = cenote::credentials{cenote::login{.user = o.user, .password = o.password}};
    const std::string password = std::exchange(o.password, "another");
    mysql_tests::opened s{o};
    const std::string said = words_of([&] { s.driver.execute(s.c, "select `" + password + "`", mysql_tests::soon()); });
    CHECK_THAT(said, !ContainsSubstring(password) && ContainsSubstring("***") && ContainsSubstring("1054"));
}
