// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <server/support/postgres.hpp>
#include <server/support/process.hpp>
#include <server/support/punctuality.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::postgres;
using testing_support::punctuality;

namespace {

struct dirt {
    const char* name;
    std::function<void(PGconn*)> leave;
};
const std::vector<dirt>& kinds_of_dirt() {
    static const std::vector<dirt> all{
        {"clean", [](PGconn*) {}},
        {"in a transaction", [](PGconn* c) { (void)pg::run(c, "begin"); }},
        {"in a failed transaction",
         [](PGconn* c) {
             (void)pg::run(c, "begin");
             const pg::result r{PQexec(c, "select 1/0")};
         }},
        {"with unread rows", [](PGconn* c) { PQsendQuery(c, "select repeat('x', 1000) from generate_series(1, 10000)"); }},
        {"with a statement that runs", [](PGconn* c) { PQsendQuery(c, "select pg_sleep(0.2)"); }},
        {"in a COPY to the server",
         [](PGconn* c) {
             (void)pg::run(c, "create temporary table if not exists t (x text)");
             (void)pg::run(c, "copy t from stdin");
         }},
        {"in a COPY from the server", [](PGconn* c) { (void)pg::run(c, "copy (select repeat('x', 1000) from generate_series(1, 10000)) to stdout"); }},
        {"with a pipeline",
         [](PGconn* c) {
             PQenterPipelineMode(c);
             PQsendQueryParams(c, "select 1", 0, nullptr, nullptr, nullptr, nullptr, 0);
         }},
    };
    return all;
}

/// Stops the server and the session, whose kernel buffer may be `full`, then measures how long `end` takes to end the lease.
template <class End, class... Policies>
void expect_quick(bool full, End end, Policies... policies) {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        const std::string session = pg::own_name();
        for (const dirt& d : kinds_of_dirt()) {
            INFO(name << ", " << d.name);
            punctuality seen;
            {
                cenote::pool db{postgres{pg::options(conninfo, {{"application_name", session}})}, policies...};
                const std::size_t rounds = std::max<std::size_t>(testing_support::deadline_rounds() / 12, 1);
                for (std::size_t i = 0; i < rounds; ++i) {
                    auto lease = db.acquire(10s);
                    PGconn* const c = lease.native_handle();
                    d.leave(c);
                    const process::stopped all{{servers::postgres().pid, PQbackendPID(c)}};
                    if (full) {
                        const std::string anything(65536, 'x');
                        while (::send(PQsocket(c), anything.data(), anything.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {}
                    }
                    seen.measure(0ms, 1ms, [&](deadline) { end(lease); });
                }
            }
            INFO(seen.text());
            CHECK(seen.late == 0);
            SUCCEED();
        }
        CHECK(pg::becomes([&] { return outside.sessions(session) == 0; }));
    }
}
const auto give_back = [](auto& lease) { lease.give_back(); };
const auto discard = [](auto& lease) { lease.discard(); };

} // namespace

TEST_CASE("giving back takes no millisecond when the server is stopped, whatever the lease left behind", "[alone]") { expect_quick(false, give_back); }
TEST_CASE("giving back for a full reset takes no millisecond when the server is stopped, whatever the lease left behind", "[alone]") {
    expect_quick(false, give_back, cenote::deferred{cenote::reset_always{}});
}
TEST_CASE("giving back to be cleaned in the background takes no millisecond when the server is stopped, whatever the lease left behind", "[alone]") {
    expect_quick(false, give_back, cenote::background{cenote::reset_always{}});
}
TEST_CASE("giving back takes no millisecond when not even the kernel takes another byte", "[alone]") { expect_quick(true, give_back); }
TEST_CASE("discarding takes no millisecond when the server is stopped, whatever the lease left behind", "[alone]") { expect_quick(false, discard); }
TEST_CASE("discarding in a pool without a thread takes no millisecond when the server is stopped, nor when not even the kernel takes another byte", "[alone]") {
    expect_quick(false, discard, cenote::manual{});
    expect_quick(true, discard, cenote::manual{});
}

TEST_CASE("a pool ends in time while the server is stopped and its connections are dirty", "[alone]") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        pg::witness outside;
        const std::string session = pg::own_name();
        punctuality closing, ending;
        {
            std::optional<process::stopped> all;
            cenote::pool closed{postgres{pg::options(conninfo, {{"application_name", session}})}, cenote::background{cenote::reset_if_dirty{}}};
            std::optional ended{cenote::pool{postgres{pg::options(conninfo, {{"application_name", session}})}}};
            std::vector<pid_t> pids{servers::postgres().pid};
            {
                std::vector<decltype(closed.acquire())> from_closed;
                std::vector<decltype(ended->acquire())> from_ended;
                for (const dirt& d : kinds_of_dirt()) {
                    from_closed.push_back(closed.acquire(10s));
                    d.leave(from_closed.back().native_handle());
                    pids.push_back(PQbackendPID(from_closed.back().native_handle()));
                    from_ended.push_back(ended->acquire(10s));
                    d.leave(from_ended.back().native_handle());
                    pids.push_back(PQbackendPID(from_ended.back().native_handle()));
                }
                all.emplace(pids);
            }
            closing.measure(200ms, 20ms, [&](deadline by) { (void)closed.close(by); });
            ending.measure(100ms, 20ms, [&](deadline) { ended.reset(); }); // background_thread.patience
        }
        INFO(closing.text() << "; " << ending.text());
        CHECK(closing.late == 0);
        CHECK(ending.late == 0);
        CHECK(pg::becomes([&] { return outside.sessions(session) == 0; }));
    }
}
