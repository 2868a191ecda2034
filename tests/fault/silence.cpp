// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Servers that are there and say nothing, and packets that vanish: acquires end by their deadlines, give backs wait for nothing.
#include <fault/support/black_hole.hpp>
#include <fault/support/load.hpp>

#include <server/support/punctuality.hpp>

#include <cenote/testing/fault_proxy.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace fault;
using cenote::bounded;
using cenote::deadline;
using testing_support::deadline_rounds;
using testing_support::punctuality;

namespace {

constexpr cenote::backoff quick{.first = 5ms, .max = 40ms};

template <class Server>
std::vector<pid_t> processes_of() {
    const pid_t first = Server::pid();
    auto all = children_of(first);
    all.insert(all.begin(), first);
    return all;
}

template <class Server>
void leave_open(const typename Server::handle& c) {
    (void)Server::ask(c, "begin");
    (void)Server::ask(c, "select 7");
}

/// What holds while the server of these pools says nothing, however that came to be. `silence` brings it, `end` takes it away.
template <class Server, class Silence, class End>
void keeps_time(std::string_view name, const typename Server::driver& driver, Silence silence, End end) {
    constexpr unsigned size = 3;
    punctuality opening, testing, waiting, giving_back;
    times back;
    // New connections; connections that are tested; connections whose clean-up was sent when nobody answered any more.
    cenote::pool opens{driver, bounded{.max = size}, quick, cenote::no_breaker{}};
    cenote::pool tests{driver, bounded{.max = size}, quick, cenote::no_breaker{}, cenote::pre_ping{}};
    cenote::pool cleans{driver, bounded{.max = size}, quick, cenote::no_breaker{}};
    REQUIRE(short_of<Server>(tests, size) == "");
    {
        std::vector<decltype(cleans.acquire())> dirty;
        for (unsigned i = 0; i < size; ++i) {
            dirty.push_back(cleans.acquire(10s));
            leave_open<Server>(dirty.back().native_handle());
        }
        silence();
        for (auto& lease : dirty) giving_back.measure(1ms, 20ms, [&](deadline) { lease.give_back(); });
    }
    for (std::size_t i = 0; i < deadline_rounds(); ++i) {
        cenote::failure why;
        opening.measure(60ms, 20ms, [&](deadline by) { CHECK_FALSE(opens.acquire(by, why)); });
        testing.measure(60ms, 20ms, [&](deadline by) { CHECK_FALSE(tests.acquire(by, why)); });
        waiting.measure(60ms, 20ms, [&](deadline by) { CHECK_FALSE(cleans.acquire(by, why)); });
    }
    end();
    const auto ended = steady::now();
    CHECK(short_of<Server>(opens, size) == "");
    CHECK(short_of<Server>(tests, size) == "");
    CHECK(short_of<Server>(cleans, size) == "");
    back.add(steady::now() - ended);
    const auto tell_of = [&](const char* what, const punctuality& p) { tell(name, std::string{Server::name} + ", " + what + ": " + p.text()); };
    tell_of("acquires that open", opening);
    tell_of("acquires that test", testing);
    tell_of("acquires that wait for a clean-up", waiting);
    tell_of("give backs of open transactions, 1 ms each", giving_back);
    tell(name, std::string{Server::name} + ": three pools whole again after " + text(back.quantile(1)));
    CHECK(opening.late == 0);
    CHECK(testing.late == 0);
    CHECK(waiting.late == 0);
    CHECK(giving_back.late == 0);
}

/// The same server, reached through the network that loses packets.
template <class Server>
typename Server::driver through_hole(cenote::duration patience) {
    if constexpr (std::is_same_v<Server, mysql_server>) {
        auto o = mysql_tests::by_tcp();
        o.host = black_hole::address;
        o.port = black_hole::mysql_port;
        o.tcp_user_timeout = patience;
        return cenote::mysql{o};
    } else {
        auto o = pg::options("user=cenote dbname=cenote sslmode=disable gssencmode=disable",
                             {{"host", black_hole::address}, {"port", std::to_string(black_hole::postgres_port)}});
        o.tcp_user_timeout = patience;
        return cenote::postgres{o};
    }
}
template <class Server>
typename Server::driver through_proxy(const cenote::testing::fault_proxy& net) {
    if constexpr (std::is_same_v<Server, mysql_server>) {
        auto o = mysql_tests::by_tcp();
        o.port = net.port();
        return cenote::mysql{o};
    } else {
        return cenote::postgres{pg::options(servers::postgres().tcp, {{"port", std::to_string(net.port())}})};
    }
}
template <class Server>
unsigned port_of() {
    if constexpr (std::is_same_v<Server, mysql_server>) return servers::mysql().port;
    else return servers::postgres().port;
}

/// Says so where packets cannot be made to vanish: then a proxy that passes nothing on has to do.
bool has_black_hole() {
    static const std::string why_not = black_hole::why_not();
    if (!why_not.empty()) tell("case-A6 A7", "no black hole, a frozen proxy stands in: " + why_not);
    return why_not.empty();
}

} // namespace

TEMPLATE_TEST_CASE("case-A5: a server is stopped: acquires end by their deadlines, and pools recover", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    std::optional<process::stopped> still;
    keeps_time<server>("case-A5", server::to(true, "stopped"), [&] { still.emplace(processes_of<server>()); }, [&] { still.reset(); });
}

TEMPLATE_TEST_CASE("case-A6: packets vanish: acquires end by their deadlines, and pools recover", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    if (has_black_hole()) {
        black_hole net;
        net.inside([&] { keeps_time<server>("case-A6", through_hole<server>(15s), [&] { net.swallow(); }, [&] { net.restore(); }); });
    } else {
        cenote::testing::fault_proxy net{"127.0.0.1", port_of<server>()};
        keeps_time<server>("case-A6", through_proxy<server>(net), [&] { net.freeze(); }, [&] { net.thaw(); });
    }
}

TEMPLATE_TEST_CASE("case-A6: keepalive finds the dead among the idle when packets vanish", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const auto test = [](const typename server::driver& driver, auto silence, auto end) {
        constexpr unsigned size = 3;
        cenote::pool db{driver, bounded{.max = size}, quick, cenote::keepalive{.every = 50ms, .timeout = 100ms}, cenote::counters{}};
        REQUIRE(short_of<server>(db, size) == "");
        silence();
        const auto began = steady::now();
        REQUIRE(becomes([&] { return db.stats().total == 0; }));
        tell("case-A6", std::string{server::name} + ": keepalive{50ms, timeout 100ms} has found all of " + std::to_string(size) + " after " + text(steady::now() - began));
        end();
        CHECK(short_of<server>(db, size) == "");
        CHECK(db.stats().validation_failed >= size);
    };
    if (has_black_hole()) {
        black_hole net;
        net.inside([&] { test(through_hole<server>(15s), [&] { net.swallow(); }, [&] { net.restore(); }); });
    } else {
        cenote::testing::fault_proxy net{"127.0.0.1", port_of<server>()};
        test(through_proxy<server>(net), [&] { net.freeze(); }, [&] { net.thaw(); });
    }
}

TEMPLATE_TEST_CASE("case-A7: a statement whose packets vanish ends with tcp_user_timeout, and its connection goes", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    if (!has_black_hole()) {
        tell("case-A7", "not shown: only a kernel that gets no acknowledgement gives up");
        return;
    }
    black_hole net;
    net.inside([&] {
        cenote::pool db{through_hole<server>(1500ms), bounded{.max = 1}, quick, cenote::counters{}};
        REQUIRE(short_of<server>(db, 1) == "");
        punctuality giving_back;
        {
            auto lease = db.acquire(10s);
            net.swallow();
            const auto began = steady::now();
            CHECK_THROWS(server::ask(lease.native_handle(), "select 7"));
            const auto took = steady::now() - began;
            CHECK(took < 10s); // the system's own patience is 15 minutes
            tell("case-A7", std::string{server::name} + ": a statement in flight with tcp_user_timeout 1.5 s ended after " + text(took));
            giving_back.measure(1ms, 20ms, [&](deadline) { lease.give_back(); });
        }
        CHECK(giving_back.late == 0);
        CHECK(becomes([&] { return db.stats().closed == 1; }));
        net.restore();
        CHECK(short_of<server>(db, 1) == "");
    });
}
