// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The driver's promises, kept by a real server.
#include "server/mysql/support.hpp"

#include <cenote/testing/conformance.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace mysql_tests;

namespace {

/// How many sessions there are beside root's. A number that is new has to stay the same for a while: the server ends sessions some time
/// after their close.
class session_count {
public:
    std::size_t operator()() {
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
    std::size_t ask() {
        return std::stoul(root_.ask("select count(*) from information_schema.processlist where user = '" + servers::mysql().user + "'"));
    }
    opened root_{as_root()};
    std::size_t last_ = 0;
};

void conforms(mysql::options o, std::size_t checks) {
    session_count sessions;
    relay between;
    const bool local = !o.socket.empty();
    if (!local) o.port = between.port();
    o.drain.time = 5s; // the machine may have much else to do
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
    given.sessions = [&sessions] { return sessions(); };
    given.abandons = true;
    const auto report = cenote::testing::check_driver(mysql{std::move(o)}, given);
    INFO(report);
    CHECK(report.ok());
    CHECK(report.count(cenote::testing::conformance::verdict::not_applicable) == (local ? 1 : 0));
    CHECK(report.findings.size() >= checks);
}

} // namespace

// Alone, as they count sessions.
TEST_CASE("The MySQL driver conforms over a local socket", "[alone]") { conforms(by_socket(), 50); }
TEST_CASE("The MySQL driver conforms over TCP", "[alone]") { conforms(by_tcp(), 50); }
TEST_CASE("The MySQL driver conforms over TLS", "[alone]") { conforms(by_tls(), 50); }
