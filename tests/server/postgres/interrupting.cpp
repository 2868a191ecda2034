// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>

#include <server/support/fake_server.hpp>
#include <server/support/postgres.hpp>
#include <server/support/process.hpp>
#include <server/support/punctuality.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::error_class;
using cenote::postgres;
using testing_support::punctuality;

namespace {
constexpr std::size_t rounds = 50;
}

TEST_CASE("severing frees who runs a long statement within 100 ms, and ends the session", "[alone]") {
    for (const auto& [name, conninfo] : pg::transports()) {
        pg::witness outside;
        postgres d{conninfo};
        punctuality seen;
        std::size_t failed = 0, ended = 0;
        for (std::size_t i = 0; i < rounds; ++i) {
            pg::opened c{d};
            auto token = d.interrupter(*c);
            bool by_libpq = i % 2 == 0, errs = false;
            std::thread user{[&] {
                if (by_libpq) {
                    const pg::result r{PQexec(c.handle(), "select pg_sleep(60)")};
                    errs = PQresultStatus(r.get()) == PGRES_FATAL_ERROR;
                } else {
                    errs = pg::error_of([&] { d.execute(*c, "select pg_sleep(60)", deadline::never()); }).has_value();
                }
            }};
            const bool runs = outside.is_running(c.pid());
            seen.measure(0ms, 100ms, [&](deadline) {
                d.sever(token, pg::soon());
                user.join();
            });
            failed += runs && errs ? 1 : 0;
            const int pid = c.pid();
            ended += pg::becomes([&] { return !outside.lives(pid); }) ? 1 : 0; // though nobody has closed it yet
        }
        INFO(name << ": " << seen.text());
        CHECK(seen.late == 0);
        CHECK(failed == rounds);
        CHECK(ended == rounds);
    }
}

TEST_CASE("severing an idle connection makes its next use fail within 100 ms, and ends the session", "[alone]") {
    for (const auto& [name, conninfo] : pg::transports()) {
        pg::witness outside;
        postgres d{conninfo};
        punctuality seen;
        std::size_t failed = 0, ended = 0, dead = 0;
        for (std::size_t i = 0; i < rounds; ++i) {
            pg::opened c{d};
            auto token = d.interrupter(*c);
            std::thread{[&] { d.sever(token, pg::soon()); }}.join();
            dead += d.peek(*c) == cenote::liveness::dead ? 1 : 0;
            seen.measure(0ms, 100ms, [&](deadline) {
                const auto e = pg::error_of([&] { d.ping(*c, pg::soon()); });
                failed += e && e->kind() == error_class::disconnected ? 1 : 0;
            });
            const int pid = c.pid();
            ended += pg::becomes([&] { return !outside.lives(pid); }) ? 1 : 0;
        }
        INFO(name << ": " << seen.text());
        CHECK(seen.late == 0);
        CHECK(failed == rounds);
        CHECK(dead == rounds);
        CHECK(ended == rounds);
    }
}

TEST_CASE("severing races with every use of a connection, and its user always gets out") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        postgres d{conninfo};
        for (int i = 0; i < 30; ++i) {
            pg::opened c{d};
            auto token = d.interrupter(*c);
            std::atomic<int> done{0};
            std::thread user{[&] {
                try {
                    for (;;) {
                        d.ping(*c, pg::soon());
                        d.execute(*c, "begin; select generate_series(1, 1000)", pg::soon());
                        d.rollback(*c, pg::soon());
                        d.reset(*c, pg::soon());
                        ++done;
                    }
                } catch (const pg::driver_error&) {
                }
            }};
            CHECK(pg::becomes([&] { return done > i % 5; }));
            d.sever(token, pg::soon());
            user.join();
            CHECK(d.state(*c) == cenote::session_state::unknown);
            const int pid = c.pid();
            CHECK(pg::becomes([&] { return !outside.lives(pid); }));
        }
    }
}

TEST_CASE("cancelling stops the statement with 57014, and the connection stays usable") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        postgres d{conninfo};
        pg::opened c{d};
        auto token = d.interrupter(*c);
        const int pid = c.pid();
        for (int i = 0; i < 20; ++i) {
            std::optional<cenote::driver_error> e;
            std::thread user{[&] { e = pg::error_of([&] { d.execute(*c, "select pg_sleep(60)", deadline::never()); }); }};
            const bool runs = outside.is_running(pid);
            d.cancel(token, pg::soon());
            user.join();
            CHECK(runs);
            REQUIRE(e);
            CHECK(e->kind() == error_class::cancelled);
            CHECK(e->sqlstate() == "57014");
            CHECK(d.state(*c) == cenote::session_state::idle);
            CHECK(pg::ask(c.handle(), "select 1") == "1");
        }
        CHECK(c.pid() == pid);
    }
}

TEST_CASE("a token outlives its connection, and then touches no other") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        const std::size_t before = process::descriptors();
        {
            postgres d{conninfo};
            std::vector<postgres::interrupt_token> tokens;
            for (int i = 0; i < 10; ++i) {
                pg::opened c{d};
                tokens.push_back(d.interrupter(*c));
            }
            pg::opened other{d};
            for (auto& token : tokens) {
                try {
                    d.cancel(token, pg::soon()); // the server may be asked, and finds nobody
                } catch (const cenote::driver_error&) {
                }
                d.sever(token, pg::soon());
            }
            CHECK(pg::ask(other.handle(), "select 1") == "1");
            CHECK(d.peek(*other) == cenote::liveness::quiet);
        }
        CHECK(process::descriptors() == before);
    }
}

TEST_CASE("a cancel that reaches nobody throws, and severing without a server does not") {
    postgres::interrupt_token* token = nullptr;
    std::optional<postgres::interrupt_token> kept;
    auto server = std::make_unique<fake_server>([](auto& peer) {
        if (wire::begin(peer) && peer.send(wire::welcome())) wire::serve(peer);
    });
    postgres d{server->conninfo()};
    pg::opened c{d};
    kept.emplace(d.interrupter(*c));
    token = &*kept;
    d.ping(*c, pg::soon());
    server.reset();
    const auto e = pg::error_of([&] { d.cancel(*token, pg::soon()); });
    REQUIRE(e);
    CHECK(e->kind() == error_class::disconnected);
    d.sever(*token, pg::soon());
    CHECK(pg::error_of([&] { (void)d.ping(*c, pg::soon()); }));
    CHECK(pg::error_of([&] { (void)d.interrupter(*c); }));
}

TEST_CASE("a forked child that abandons a connection leaves it to its parent, and keeps no descriptor") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        pg::witness outside;
        postgres d{conninfo};
        auto idle = std::make_unique<pg::opened>(d), transaction = std::make_unique<pg::opened>(d), busy = std::make_unique<pg::opened>(d),
             copy = std::make_unique<pg::opened>(d);
        (void)pg::run(transaction->handle(), "create temporary table t (x text)");
        (void)pg::run(transaction->handle(), "begin; insert into t values ('kept')");
        PQsendQuery(busy->handle(), "select generate_series(1, 1000)");
        (void)pg::run(copy->handle(), "create temporary table t (x text)");
        (void)pg::run(copy->handle(), "copy t from stdin");
        REQUIRE(PQputCopyData(copy->handle(), "kept\n", 5) == 1);
        const int pid = idle->pid();
        CHECK(process::in_child([&] {
            const std::size_t before = process::descriptors();
            for (auto* c : {&idle, &transaction, &busy, &copy}) {
                d.abandon(***c);
                d.abandon(***c);
                if (d.state(***c) != cenote::session_state::unknown || (*c)->handle() != nullptr) return 1;
                c->reset(); // closes and destroys
            }
            return process::descriptors() == before - 4 ? 0 : 2;
        }) == 0);
        CHECK(outside.lives(pid));
        d.ping(**idle, pg::soon());
        CHECK(idle->pid() == pid);
        (void)pg::run(transaction->handle(), "commit");
        CHECK(pg::ask(transaction->handle(), "select x from t") == "kept");
        int rows = 0;
        while (const pg::result r{PQgetResult(busy->handle())}) rows += PQntuples(r.get());
        CHECK(rows == 1000);
        REQUIRE(PQputCopyEnd(copy->handle(), nullptr) == 1);
        while (const pg::result r{PQgetResult(copy->handle())}) CHECK(PQresultStatus(r.get()) == PGRES_COMMAND_OK);
        CHECK(pg::ask(copy->handle(), "select x from t") == "kept");
    }
}
