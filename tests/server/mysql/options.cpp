// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What needs no server: settings judged, errors classified.
#include <cenote/drivers/mysql.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;
using cenote::error_class;
using cenote::mysql;
using Catch::Matchers::ContainsSubstring;

static_assert(cenote::driver<mysql> && cenote::can_peek<mysql> && cenote::can_ping<mysql> && cenote::can_tell_state<mysql>);
static_assert(cenote::can_rollback<mysql> && cenote::can_reset<mysql> && cenote::can_defer_reset<mysql>);
static_assert(cenote::can_defer_rollback<mysql> && cenote::can_defer_script<mysql> && cenote::can_execute<mysql>);
static_assert(cenote::has_native_handle<mysql> && cenote::can_classify<mysql> && cenote::can_dial<mysql>);
static_assert(cenote::can_interrupt<mysql> && cenote::can_abandon<mysql> && cenote::can_tell_role<mysql>);
static_assert(std::is_nothrow_move_constructible_v<mysql::connection> && !std::is_copy_constructible_v<mysql::connection>);
static_assert(std::is_same_v<decltype(std::declval<mysql&>().native_handle(std::declval<mysql::connection&>())), MYSQL*>);

namespace {
constexpr const char* secret = "Tr0ub4dor";

/// What the driver says to these settings; empty: nothing.
std::string objection(mysql::options o) {
    o.password = secret;
    try {
        const mysql d{std::move(o)};
    } catch (const std::invalid_argument& e) {
        return e.what();
    }
    return {};
}
} // namespace

TEST_CASE("A bad setting of the MySQL driver is refused by field, value and rule, and without the password") {
    const std::pair<mysql::options, const char*> bad[] = {
        {{.host = ""}, "mysql.options.host = ''"},
        {{.host = "a,b"}, "must be one name or address"},
        {{.host = "user=root;host=b"}, "must be one name or address"},
        {{.host = "replication://a"}, "must be one name or address"},
        {{.host = std::string("a\0b", 3)}, "mysql.options.host = a text with a zero byte"},
        {{.port = 0}, "mysql.options.port = 0: must be 1 … 65535"},
        {{.port = 65536}, "mysql.options.port = 65536"},
        {{.host = "db", .socket = "/run/s"}, "mysql.options.host = 'db': must be left out"},
        {{.socket = "/" + std::string(107, 's')}, "must be at most 107 bytes"},
        {{.charset = ""}, "mysql.options.charset = ''"},
        {{.charset = "utf8mb4 collate x"}, "mysql.options.charset = 'utf8mb4 collate x'"},
        {{.tls = {.mode = mysql::tls_mode::verify_identity}}, "mysql.options.tls.ca = ''"},
        {{.tls = {.mode = mysql::tls_mode::required, .ca = "ca.pem"}}, "mysql.options.tls.ca = 'ca.pem': would not be looked at"},
        {{.tls = {.cert = "c.pem"}}, "mysql.options.tls.key = ''"},
        {{.tls = {.mode = mysql::tls_mode::off, .cert = "c.pem", .key = "k.pem"}}, "mysql.options.tls.cert = 'c.pem'"},
        {{.tcp_user_timeout = -1ms}, "mysql.options.tcp_user_timeout = -1ms"},
        {{.tcp_user_timeout = 600h * 24}, "mysql.options.tcp_user_timeout = "},
        {{.init = {"set @a = 1", ""}}, "mysql.options.init"},
        {{.drain_time = -1ms}, "mysql.options.drain_time = -1ms: must not be negative"},
    };
    for (const auto& [options, words] : bad) {
        const std::string said = objection(options);
        CHECK_THAT(said, ContainsSubstring(words));
        CHECK_THAT(said, !ContainsSubstring(secret));
    }
    CHECK(objection({}).empty());
    CHECK(objection({.host = "::1"}).empty());
    CHECK(objection({.socket = "/run/mysqld/mysqld.sock"}).empty());
    CHECK(objection({.host = "", .socket = "/run/mysqld/mysqld.sock"}).empty());
}

TEST_CASE("A password with a zero byte is refused without being shown") {
    mysql::options o;
    o.password = std::string("top\0secret", 10);
    try {
        const mysql d{std::move(o)};
        FAIL("it was taken");
    } catch (const std::invalid_argument& e) {
        CHECK_THAT(e.what(), ContainsSubstring("mysql.options.password = a text with a zero byte") && !ContainsSubstring("secret"));
    }
}

TEST_CASE("MySQL errors are classified by number") {
    static_assert(mysql::classify(2002u) == error_class::refused && mysql::classify(2003u) == error_class::refused);
    static_assert(mysql::classify(2005u) == error_class::refused);
    static_assert(mysql::classify(1040u) == error_class::server_full && mysql::classify(1203u) == error_class::server_full);
    static_assert(mysql::classify(1226u) == error_class::server_full);
    static_assert(mysql::classify(1044u) == error_class::auth && mysql::classify(1045u) == error_class::auth);
    static_assert(mysql::classify(1130u) == error_class::auth && mysql::classify(1698u) == error_class::auth);
    static_assert(mysql::classify(1290u) == error_class::wrong_role && mysql::classify(1792u) == error_class::wrong_role);
    static_assert(mysql::classify(1836u) == error_class::wrong_role && mysql::classify(1047u) == error_class::wrong_role);
    static_assert(mysql::classify(1213u) == error_class::serialization && mysql::classify(1205u) == error_class::timeout);
    static_assert(mysql::classify(1062u) == error_class::constraint && mysql::classify(1451u) == error_class::constraint);
    static_assert(mysql::classify(1452u) == error_class::constraint && mysql::classify(4025u) == error_class::constraint);
    static_assert(mysql::classify(1317u) == error_class::cancelled && mysql::classify(3024u) == error_class::timeout);
    static_assert(mysql::classify(1969u) == error_class::timeout && mysql::classify(1615u) == error_class::stale_plan);
    static_assert(mysql::classify(1243u) == error_class::stale_plan && mysql::classify(2056u) == error_class::stale_plan);
    for (const unsigned lost : {1053u, 1077u, 1078u, 1079u, 1080u, 1927u, 2006u, 2013u, 2014u, 2027u, 2055u, 3168u, 3169u, 4031u}) {
        CHECK(mysql::classify(lost) == error_class::disconnected);
    }
    for (const unsigned other : {0u, 1049u, 1054u, 1064u, 1146u, 3100u}) CHECK(mysql::classify(other) == error_class::other);
}

TEST_CASE("The MySQL driver knows the class of its own errors and of nobody else's") {
    mysql d{mysql::options{}};
    CHECK(d.classify(cenote::driver_error{error_class::timeout, "late"}) == error_class::timeout);
    CHECK(d.classify(std::runtime_error{"1213"}) == error_class::other);
    CHECK(d.classify(std::exception{}) == error_class::other);
}
