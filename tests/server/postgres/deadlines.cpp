// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <server/support/fake_server.hpp>
#include <server/support/postgres.hpp>
#include <server/support/process.hpp>
#include <server/support/punctuality.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/socket.h>

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::error_class;
using cenote::postgres;
using testing_support::deadline_rounds;
using testing_support::punctuality;

namespace {

constexpr auto budget = 30ms;
constexpr auto tolerance = 20ms;

void expect_punctual(const punctuality& seen) {
    INFO(seen.text());
    CHECK(seen.early == 0);
    CHECK(seen.late == 0);
    SUCCEED();
}

/// open, and acquires that wait for it: by themselves, by the background thread.
void expect_punctual_opening(const std::string& conninfo) {
    SECTION("open") {
        postgres d{conninfo};
        punctuality seen;
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < deadline_rounds(); ++i) {
            seen.measure(budget, tolerance, [&](deadline by) {
                const auto e = pg::error_of([&] { pg::opened{d, d.open(by)}; });
                wrong += e && e->kind() == error_class::timeout ? 0 : 1;
            });
        }
        expect_punctual(seen);
        CHECK(wrong == 0);
    }
    SECTION("acquire, where callers open") {
        cenote::pool db{postgres{conninfo}, cenote::manual{}};
        punctuality seen;
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < deadline_rounds(); ++i) {
            seen.measure(budget, tolerance, [&](deadline by) {
                cenote::failure why;
                wrong += !db.acquire(by, why) && why.code == std::errc::timed_out ? 0 : 1;
            });
        }
        expect_punctual(seen);
        CHECK(wrong == 0);
    }
    SECTION("acquire, where the background thread opens") {
        cenote::pool db{postgres{conninfo}, cenote::connect_timeout{100ms}, cenote::backoff{.first = 1ms, .max = 1ms}, cenote::no_breaker{}};
        punctuality seen;
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < deadline_rounds(); ++i) {
            seen.measure(budget, tolerance, [&](deadline by) {
                cenote::failure why;
                wrong += !db.acquire(by, why) && why.code == std::errc::timed_out ? 0 : 1;
            });
        }
        expect_punctual(seen);
        CHECK(wrong == 0);
        CHECK(db.close(deadline::in(5s)).drained);
    }
}

/// Waits until a server that was stopped has worked off all who gave up meanwhile.
void expect_recovery(const std::string& conninfo) {
    postgres d{conninfo};
    CHECK(pg::becomes([&] { return !pg::error_of([&] { pg::opened{d, d.open(pg::soon())}; }); }));
}

/// A call on a connection whose session is stopped.
void expect_punctual_call(const std::function<void(postgres&, postgres::connection&, deadline)>& call,
                          const std::function<void(postgres&, postgres::connection&)>& before = {}) {
    const std::size_t rounds = std::max<std::size_t>(deadline_rounds() / 3, 1); // on each of the three
    for (const auto& [name, conninfo] : pg::transports()) {
        auto o = pg::options(conninfo);
        o.drain_time = 1h;
        postgres d{o};
        punctuality seen;
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < rounds; ++i) {
            pg::opened c{d};
            if (before) before(d, *c);
            const process::stopped session{c.pid()};
            seen.measure(budget, tolerance, [&](deadline by) {
                const auto e = pg::error_of([&] { call(d, *c, by); });
                wrong += e && e->kind() == error_class::timeout ? 0 : 1;
            });
            wrong += d.state(*c) == cenote::session_state::unknown ? 0 : 1;
        }
        INFO(name);
        expect_punctual(seen);
        CHECK(wrong == 0);
    }
}
void begin(postgres&, postgres::connection& c) { (void)pg::run(c.handle(), "begin"); }

} // namespace

TEST_CASE("opening ends at its deadline when the server is stopped, over a unix socket", "[alone]") {
    const std::string conninfo = servers::postgres().unix_socket;
    {
        const process::stopped server{servers::postgres().pid};
        expect_punctual_opening(conninfo);
    }
    expect_recovery(conninfo);
}
TEST_CASE("opening ends at its deadline when the server is stopped, over TCP", "[alone]") {
    const std::string conninfo = servers::postgres().tcp;
    {
        const process::stopped server{servers::postgres().pid};
        expect_punctual_opening(conninfo);
    }
    expect_recovery(conninfo);
}
TEST_CASE("opening ends at its deadline when the server is stopped, over TLS", "[alone]") {
    const std::string conninfo = servers::postgres().tls;
    {
        const process::stopped server{servers::postgres().pid};
        expect_punctual_opening(conninfo);
    }
    expect_recovery(conninfo);
}
TEST_CASE("opening ends at its deadline when a server accepts and says nothing", "[alone]") {
    fake_server silent{[](auto& peer) { peer.linger(); }};
    expect_punctual_opening(silent.conninfo());
}
TEST_CASE("opening ends at its deadline when a server answers byte by byte", "[alone]") {
    fake_server slow{[](auto& peer) {
        if (!wire::begin(peer)) return;
        for (const char c : wire::welcome()) {
            if (!peer.send({&c, 1}) || !peer.pause(1ms)) return;
        }
        wire::serve(peer);
    }};
    expect_punctual_opening(slow.conninfo());
}
TEST_CASE("opening ends at its deadline when authentication never ends", "[alone]") {
    fake_server hanging{[](auto& peer) {
        if (wire::begin(peer)) peer.linger();
    }};
    expect_punctual_opening(hanging.conninfo());
}
TEST_CASE("opening ends at its deadline when authentication is late", "[alone]") {
    fake_server late{[](auto& peer) {
        if (!wire::begin(peer) || !peer.pause(500ms) || !peer.send(wire::welcome())) return;
        wire::serve(peer);
    }};
    expect_punctual_opening(late.conninfo());
}
TEST_CASE("opening ends at its deadline when a server never stops talking", "[alone]") {
    fake_server talker{[](auto& peer) {
        if (!wire::begin(peer) || !peer.send(wire::authentication_ok())) return;
        std::string much;
        for (int i = 0; i < 1000; ++i) much += wire::parameter("a", "b");
        while (peer.send(much)) {}
    }};
    expect_punctual_opening(talker.conninfo());
}
TEST_CASE("opening ends at its deadline when options.init is not answered", "[alone]") {
    fake_server deaf{[](auto& peer) {
        if (wire::begin(peer) && peer.send(wire::welcome())) peer.linger();
    }};
    auto o = pg::options(deaf.conninfo());
    o.init = {"select 1"};
    postgres d{o};
    punctuality seen;
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < deadline_rounds(); ++i) {
        seen.measure(budget, tolerance, [&](deadline by) {
            const auto e = pg::error_of([&] { pg::opened{d, d.open(by)}; });
            wrong += e && e->kind() == error_class::timeout ? 0 : 1;
        });
    }
    expect_punctual(seen);
    CHECK(wrong == 0);
}

TEST_CASE("ping ends at its deadline when the session is stopped", "[alone]") {
    expect_punctual_call([](postgres& d, postgres::connection& c, deadline by) { d.ping(c, by); });
}
TEST_CASE("rollback ends at its deadline when the session is stopped", "[alone]") {
    expect_punctual_call([](postgres& d, postgres::connection& c, deadline by) { d.rollback(c, by); }, begin);
}
TEST_CASE("reset ends at its deadline when the session is stopped", "[alone]") {
    expect_punctual_call([](postgres& d, postgres::connection& c, deadline by) { d.reset(c, by); }, begin);
}
TEST_CASE("the end of a started reset ends at its deadline when the session is stopped", "[alone]") {
    expect_punctual_call([](postgres& d, postgres::connection& c, deadline by) {
        if (!d.reset_start(c)) return;
        d.reset_finish(c, by);
    });
}
TEST_CASE("execute ends at its deadline when the session is stopped", "[alone]") {
    expect_punctual_call([](postgres& d, postgres::connection& c, deadline by) { d.execute(c, "select 1", by); });
}
TEST_CASE("execute with values ends at its deadline when the session is stopped, though more is to be sent than fits", "[alone]") {
    const std::string large((testing_support::sanitized ? 10 : 16) << 20, 'x'); // a sanitizer looks at each copy of it
    expect_punctual_call([&](postgres& d, postgres::connection& c, deadline by) { (void)d.execute(c, "select length($1)", {{large}}, by); });
}

namespace {

/// What a user leaves behind who was copying, or filling a pipeline, when the server stopped to listen: the kernel takes no more, and the rest
/// is with libpq, whose own way is to wait.
void fill(PGconn* c) {
    const std::string anything(4000, 'x');
    while (::send(PQsocket(c), anything.data(), anything.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {}
    if (PQpipelineStatus(c) != PQ_PIPELINE_OFF) {
        const char* const value = anything.c_str();
        REQUIRE(PQsendQueryParams(c, "select $1", 1, nullptr, &value, nullptr, nullptr, 0) == 1);
    } else {
        REQUIRE(PQputCopyData(c, anything.data(), 4000) == 1);
    }
}
void begin_copy(PGconn* c) {
    (void)pg::run(c, "create temporary table t (x text)");
    (void)pg::run(c, "copy t from stdin");
}

} // namespace

TEST_CASE("a clean-up ends at its deadline, and closing at once, when neither the server nor the kernel takes what libpq holds back", "[alone]") {
    const bool copy = GENERATE(true, false);
    for (const auto& [name, conninfo] : pg::transports()) {
        auto o = pg::options(conninfo);
        o.drain_time = 1h;
        postgres d{o};
        punctuality cleaning, closing;
        for (std::size_t i = 0; i < std::max<std::size_t>(deadline_rounds() / 6, 1); ++i) {
            pg::opened c{d};
            if (copy) begin_copy(c.handle());
            else PQenterPipelineMode(c.handle());
            const process::stopped session{c.pid()};
            fill(c.handle());
            if (i % 2 == 0) cleaning.measure(budget, tolerance, [&](deadline by) { CHECK(pg::error_of([&] { d.rollback(*c, by); })); });
            closing.measure(0ms, 1ms, [&](deadline) { c.close(); });
        }
        INFO(name << (copy ? ", COPY" : ", pipeline"));
        expect_punctual(cleaning);
        expect_punctual(closing);
    }
}

TEST_CASE("a call ends at its deadline when the server never stops to answer", "[alone]") {
    fake_server talker{[](auto& peer) {
        if (!wire::begin(peer) || !peer.send(wire::welcome()) || peer.receive(5).size() != 5) return;
        std::string much;
        for (int i = 0; i < 1000; ++i) much += wire::parameter("a", "b");
        while (peer.send(much)) {}
    }};
    auto o = pg::options(talker.conninfo());
    o.drain_time = 1h;
    o.drain_bytes = static_cast<std::size_t>(-1);
    postgres d{o};
    const auto expect_timeout = [&](auto call) {
        punctuality seen;
        for (std::size_t i = 0; i < std::max<std::size_t>(deadline_rounds() / 6, 1); ++i) {
            pg::opened c{d};
            seen.measure(budget, tolerance, [&](deadline by) {
                const auto e = pg::error_of([&] { call(*c, by); });
                CHECK(e.has_value());
            });
        }
        expect_punctual(seen);
    };
    expect_timeout([&](auto& c, deadline by) { d.ping(c, by); });
    expect_timeout([&](auto& c, deadline by) { (void)d.execute(c, "select 1", {}, by); });
    expect_timeout([&](auto& c, deadline by) {
        PQsendQuery(c.handle(), "select 1");
        d.rollback(c, by);
    });
    expect_timeout([&](auto& c, deadline by) {
        if (d.reset_start(c)) d.reset_finish(c, by);
    });
}

TEST_CASE("a statement whose answer never stops coming ends at its deadline", "[alone]") {
    const std::string endless = "select repeat('x', 1000) from generate_series(1, 2000000)";
    for (const auto& [name, conninfo] : pg::transports()) {
        postgres d{conninfo};
        punctuality rows, copy, values;
        for (int i = 0; i < 3; ++i) {
            const auto expect_timeout = [&](punctuality& seen, auto call) {
                pg::opened c{d};
                std::optional<cenote::driver_error> e;
                seen.measure(budget, tolerance, [&](deadline by) { e = pg::error_of([&] { call(*c, by); }); });
                CHECK((e && e->kind() == error_class::timeout));
                CHECK(d.state(*c) == cenote::session_state::unknown);
            };
            expect_timeout(rows, [&](auto& c, deadline by) { d.execute(c, endless, by); });
            expect_timeout(copy, [&](auto& c, deadline by) { d.execute(c, "copy (" + endless + ") to stdout", by); });
            expect_timeout(values, [&](auto& c, deadline by) { (void)d.execute(c, endless, {}, by); });
        }
        INFO(name);
        expect_punctual(rows);
        expect_punctual(copy);
        expect_punctual(values);
    }
}
