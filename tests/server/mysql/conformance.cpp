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

/// How many sessions there are beside root's, once it stays the same for a while: the server ends them some time after their close.
std::size_t sessions(opened& root) {
    std::string last;
    for (int same = 0; same < 3;) {
        const std::string now = root.ask("select count(*) from information_schema.processlist where user = '" + servers::mysql().user + "'");
        same = now == last ? same + 1 : 0;
        last = now;
        std::this_thread::sleep_for(3ms);
    }
    return static_cast<std::size_t>(std::stoul(last));
}

void conforms(mysql::options o, std::size_t checks) {
    opened root{as_root()};
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
    given.sessions = [&root] { return sessions(root); };
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
