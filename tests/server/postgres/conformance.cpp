// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>
#include <cenote/testing/conformance.hpp>

#include <server/support/postgres.hpp>
#include <server/support/process.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>

using namespace std::chrono_literals;
using cenote::postgres;

static_assert(cenote::driver<postgres> && cenote::can_peek<postgres> && cenote::can_ping<postgres> && cenote::can_tell_state<postgres>);
static_assert(cenote::can_rollback<postgres> && cenote::can_reset<postgres> && cenote::can_execute<postgres>);
static_assert(cenote::can_defer_reset<postgres> && cenote::can_defer_rollback<postgres> && cenote::can_defer_script<postgres>);
static_assert(cenote::can_dial<postgres> && cenote::can_interrupt<postgres> && cenote::can_abandon<postgres> && cenote::can_tell_role<postgres>);
static_assert(cenote::has_native_handle<postgres> && cenote::can_classify<postgres>);
static_assert(std::is_nothrow_move_constructible_v<postgres::connection> && !std::is_copy_constructible_v<postgres::connection>);

namespace {

/// How many sessions there are once those that are ending have ended.
std::size_t settled(pg::witness& outside, const std::string& name) {
    std::size_t n = outside.sessions(name);
    for (int same = 0; same < 5; ++same) {
        std::this_thread::sleep_for(1ms);
        const std::size_t now = outside.sessions(name);
        if (now != n) same = 0;
        n = now;
    }
    return n;
}

void check(const std::string& conninfo) {
    const std::string name = pg::own_name();
    auto options = pg::options(conninfo, {{"application_name", name}});
    options.drain_time = 10s; // what is unfinished is little; the machine may be busy
    auto outside = std::make_shared<pg::witness>();
    std::list<process::stopped> frozen;
    const auto report = cenote::testing::check_driver(
        postgres{options},
        {.use = [](auto& c) { (void)pg::ask(c.handle(), "select 1"); },
         .begin = [](auto& c) { (void)pg::run(c.handle(), "begin"); },
         .leave_busy = [](auto& c) { PQsendQuery(c.handle(), "select generate_series(1, 100)"); },
         .stall = [&](auto& c) { frozen.emplace_back(PQbackendPID(c.handle())); },
         .linger = [](auto& c) { (void)pg::run(c.handle(), "select pg_sleep(60)"); },
         .sessions = [&] { return settled(*outside, name); },
         .abandons = true,
         .patience = 30s});
    frozen.clear();
    INFO(report);
    CHECK(report.ok());
    CHECK(report.count(cenote::testing::conformance::verdict::not_applicable) == 0);
    CHECK(pg::becomes([&] { return outside->sessions(name) == 0; }));
}

} // namespace

TEST_CASE("the driver keeps the contract over a unix socket", "[alone]") { check(servers::postgres().unix_socket); }
TEST_CASE("the driver keeps the contract over TCP", "[alone]") { check(servers::postgres().tcp); }
TEST_CASE("the driver keeps the contract over TLS", "[alone]") { check(servers::postgres().tls); }
