// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The driver's promises, kept by a real server.
#include "server/mysql/support.hpp"

#include <cenote/testing/conformance.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

using namespace mysql_tests;

namespace {

/// A user of this test's own, whose sessions are counted: those of other tests come and go, some a while after their close.
class counted_user {
public:
    counted_user() {
        root_.run("create user " + name_ + "@'%' identified by '" + password_ + "'");
        root_.run("grant all on " + servers::mysql().database + ".* to " + name_ + "@'%'");
        const opened heard_of{as(by_socket())}; // some servers want to have seen a password before they take it without TLS
    }
    counted_user(const counted_user&) = delete;
    counted_user& operator=(const counted_user&) = delete;
    ~counted_user() {
        try {
            root_.run("drop user " + name_);
        } catch (const std::exception&) {
        }
    }
    [[nodiscard]] mysql::options as(mysql::options o) const {
        o.user = name_;
        o.password = password_;
        return o;
    }
    /// A number that is new has to stay the same for a while.
    std::size_t sessions() {
        std::size_t now = ask();
        for (int same = 0; now != last_ && same < 40;) {
            std::this_thread::sleep_for(5ms);
            const std::size_t then = ask();
            same = then == now ? same + 1 : 0;
            now = then;
        }
        return last_ = now;
    }

private:
    std::size_t ask() { return std::stoul(root_.ask("select count(*) from information_schema.processlist where user = '" + name_ + "'")); }
    opened root_{as_root()};
    std::string name_ = "counted" + std::to_string(::getpid());
    std::string password_ = "C0unted-in-full";
    std::size_t last_ = 0;
};

void conforms(mysql::options o, std::size_t checks) {
    counted_user user;
    o = user.as(std::move(o));
    relay between;
    const bool local = !o.socket.empty();
    if (!local) o.port = between.port();
    o.drain_time = 5s; // the machine may have much else to do
    cenote::testing::conformance_options<mysql> given;
    given.use = [](auto& c) { run(c.handle(), "select 1"); };
    given.begin = [](auto& c) { run(c.handle(), "begin"); };
    given.leave_busy = [](auto& c) {
        if (mysql_query(c.handle(), "select 1 union select 2") != 0) throw std::runtime_error{mysql_error(c.handle())};
    };
    given.linger = [](auto& c) {
        if (ask(c.handle(), "select sleep(60)") != "0") throw std::runtime_error{"it was cut short"};
    };
    if (!local) given.stall = [&between](auto& c) { between.freeze(cenote::drivers::mysql_client::descriptor(c.handle())); };
    given.sessions = [&user] { return user.sessions(); };
    given.abandons = true;
    const auto report = cenote::testing::check_driver(mysql{std::move(o)}, given);
    INFO(report);
    CHECK(report.ok());
    CHECK(report.count(cenote::testing::conformance::verdict::not_applicable) == (local ? 1 : 0));
    CHECK(report.findings.size() >= checks);
}

} // namespace

// Alone, as they measure times.
TEST_CASE("The MySQL driver conforms over a local socket", "[alone]") { conforms(by_socket(), 50); }
TEST_CASE("The MySQL driver conforms over TCP", "[alone]") { conforms(by_tcp(), 50); }
TEST_CASE("The MySQL driver conforms over TLS", "[alone]") { conforms(by_tls(), 50); }
