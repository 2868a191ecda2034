// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Servers that are there and say nothing, packets that vanish and names that nobody resolves: acquires end by their deadlines, give backs
// wait for nothing.
#include <fault/support/black_hole.hpp>
#include <fault/support/load.hpp>
#include <fault/support/silent_resolver.hpp>

#include <server/support/punctuality.hpp>

#include <cenote/testing/fault_proxy.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <netdb.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

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
typename Server::driver through_hole(cenote::duration patience, const std::string& host = black_hole::address) {
    if constexpr (std::is_same_v<Server, mysql_server>) {
        auto o = mysql_tests::by_tcp();
        o.host = host;
        o.port = black_hole::mysql_port;
        o.tcp_user_timeout = patience;
        return cenote::mysql{o};
    } else {
        auto o = pg::options("user=cenote dbname=cenote sslmode=disable gssencmode=disable",
                             {{"host", host}, {"port", std::to_string(black_hole::postgres_port)}});
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

/// Runs f in another process, which then ends as programs do. What it ends with, or -1 if it does not end; how long it took from when f was over.
template <class F>
std::pair<int, std::chrono::nanoseconds> ends_with(F f, std::chrono::nanoseconds within) {
    std::fflush(nullptr);
    std::array<int, 2> over{};
    if (::pipe2(over.data(), O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
    const pid_t child = ::fork();
    if (child == 0) {
        const int code = f();
        ::close(over[1]); // and the other one with the process
        std::exit(code);
    }
    ::close(over[1]);
    pollfd hears{.fd = over[0], .events = POLLIN, .revents = 0};
    (void)::poll(&hears, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(within).count()));
    ::close(over[0]);
    const auto began = steady::now();
    int status = 0;
    const bool ended = becomes([&] { return ::waitpid(child, &status, WNOHANG) == child; }, within);
    const auto took = steady::now() - began;
    if (!ended) {
        ::kill(child, SIGKILL);
        (void)::waitpid(child, nullptr, 0);
        return {-1, took};
    }
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, took};
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

TEMPLATE_TEST_CASE("case-A13: a name that nobody resolves holds nobody past his deadline, nor a pool that ends", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    if (!has_black_hole()) {
        tell("case-A13", "not shown: there is no network in which to keep names from being resolved");
        return;
    }
    constexpr unsigned size = 3;
    constexpr auto give_up = 2s; // the system's patience, twice 1 s
    black_hole net;
    net.inside([&] {
        silent_resolver names{black_hole::address, "timeout:1 attempts:2"};
        punctuality waiting, ending;
        const auto driver = through_hole<server>(15s, silent_resolver::name);
        const auto make = [&] { return cenote::pool{driver, bounded{.max = size}, quick, cenote::no_breaker{}, cenote::connect_timeout{200ms}}; };
        auto db = make();
        const auto began = steady::now();
        cenote::failure why;
        // The dial is the system's until it gives the name up, whatever connect_timeout says; nobody waits for that.
        const std::size_t rounds = std::max<std::size_t>(deadline_rounds() / 4, 3);
        for (std::size_t i = 0; i < rounds; ++i) {
            waiting.measure(300ms, 20ms, [&](deadline by) { CHECK_FALSE(db.acquire(by, why)); });
            CHECK(why.code == cenote::errc::acquire_timeout);
            REQUIRE(why.seen);
            if (i == 0) CHECK(why.seen->opening > 0);
            if (steady::now() < began + give_up) CHECK(why.seen->last_connect_error.text.empty()); // it is not known yet that anything is wrong
        }
        CHECK(names.asked() > 0);
        REQUIRE(becomes([&] {
            CHECK_FALSE(db.acquire(20ms, why));
            return why.seen && !why.seen->last_connect_error.text.empty();
        }));
        const auto told = steady::now() - began;
        tell("case-A13", std::string{server::name} + ", dead name server: acquires of 300 ms: " + waiting.text() + "; the cause, when the system has given up after " +
                             text(give_up) + ", is told after " + text(told) + ": " + why.seen->last_connect_error.text);
        // The MySQL driver says that it took too long, and not why.
        CHECK(why.seen->last_connect_error.kind == (is_mysql<server> ? cenote::error_class::timeout : cenote::error_class::refused));
        {
            auto other = make();
            const std::size_t before = names.asked();
            CHECK_FALSE(other.try_acquire());
            REQUIRE(becomes([&] { return names.asked() > before && other.stats().opening > 0; }));
            ending.measure(50ms, 20ms, [&](deadline by) { CHECK_FALSE(other.close(by).drained); });
            ending.measure(cenote::background_thread{}.patience, 20ms, [last = std::move(other)](deadline) mutable { const auto gone = std::move(last); });
        }
        CHECK(waiting.late == 0);
        CHECK(ending.late == 0);
        names.answer();
        const auto answers = steady::now();
        CHECK(short_of<server>(db, size) == "");
        tell("case-A13", std::string{server::name} + ", a pool whose dial hangs, closed within 50 ms and destroyed within its patience of 100 ms: " + ending.text() +
                             "; another is whole again " + text(steady::now() - answers) + " after names were resolved");
    });
}

TEST_CASE("case-A13: a program ends though its pools wait for names that nobody resolves", "[alone]") {
    if (!has_black_hole()) {
        tell("case-A13", "not shown: there is no network in which to keep names from being resolved");
        return;
    }
    (void)servers::postgres(); // not known is found out here
    (void)servers::mysql();
    const auto [code, took] = ends_with(
        [] {
            try {
                if (::unshare(CLONE_NEWNET) != 0) return 2;
                run_program({"ip", "link", "set", "lo", "up"});
                const silent_resolver names{"127.0.0.1", "timeout:30 attempts:5"}; // two minutes and a half
                static cenote::pool outlives{through_hole<postgres_server>(15s, silent_resolver::name)}; // is destroyed while the program ends
                cenote::pool db{through_hole<mysql_server>(15s, silent_resolver::name)};
                std::error_code why;
                if (outlives.acquire(100ms, why) || db.acquire(100ms, why)) return 3;
                return outlives.stats().opening > 0 && db.stats().opening > 0 && names.asked() >= 2 ? 7 : 4;
            } catch (const std::exception& e) {
                std::fprintf(stderr, "%s\n", e.what());
                return 5;
            }
        },
        20s);
    CHECK(code == 7);
    tell("case-A13", "a program ended " + text(took) + " after its last word, while a name was waited for with each client (the system would give up after 150 s)");
}

TEST_CASE("case-B14: where no cancel arrives, client_connection_check_interval ends a busy session whose client has gone, and nothing else does", "[alone]") {
    postgres_server::ensure();
    pg::witness outside;
    cenote::testing::fault_proxy net{"127.0.0.1", servers::postgres().port};
    const auto to = [&](cenote::duration interval) {
        auto o = pg::options(servers::postgres().tcp, {{"port", std::to_string(net.port())}});
        o.client_connection_check_interval = interval;
        return cenote::postgres{o};
    };
    constexpr auto interval = 50ms;
    times gone;
    const std::size_t rounds = number_from("CENOTE_CHECK_ROUNDS", 5);
    for (std::size_t i = 0; i < rounds; ++i) {
        net.serve();
        cenote::pool without{to(0ms), bounded{.max = 1}, cenote::counters{}}, with{to(interval), bounded{.max = 1}, cenote::counters{}};
        const auto discards_busy = [&](auto& db) {
            auto lease = db.acquire(10s);
            const int pid = PQbackendPID(lease.native_handle());
            REQUIRE(PQsendQuery(lease.native_handle(), "select pg_sleep(60)") == 1);
            REQUIRE(outside.is_running(pid));
            net.refuse(); // the cancel, which would come as a connection
            lease.discard();
            REQUIRE(becomes([&] { return db.stats().closed == 1; }));
            return pid;
        };
        const int lives_on = discards_busy(without);
        net.serve();
        const int checked = discards_busy(with);
        const auto closed = steady::now();
        CHECK(becomes([&] { return !outside.lives(checked); }));
        gone.add(steady::now() - closed);
        CHECK(outside.lives(lives_on)); // though it was closed before
        CHECK(outside.terminate(lives_on));
    }
    tell("case-B14", "PostgreSQL, a busy connection discarded while no cancel arrives: with client_connection_check_interval = 50 ms its session is gone " + gone.summary() +
                         " after that, without it stays");
    times cancelled;
    net.serve();
    for (std::size_t i = 0; i < rounds; ++i) {
        cenote::pool db{to(0ms), bounded{.max = 1}};
        auto lease = db.acquire(10s);
        const int pid = PQbackendPID(lease.native_handle());
        REQUIRE(PQsendQuery(lease.native_handle(), "select pg_sleep(60)") == 1);
        REQUIRE(outside.is_running(pid));
        const auto began = steady::now();
        lease.discard();
        CHECK(becomes([&] { return !outside.lives(pid); }));
        cancelled.add(steady::now() - began);
    }
    tell("case-B14", "PostgreSQL, the same where the cancel arrives, without the setting: " + cancelled.summary());
    times late;
    for (int i = 0; i < 2; ++i) {
        cenote::pool db{to(interval), bounded{.max = 1}, cenote::counters{}};
        auto lease = db.acquire(10s);
        const int pid = PQbackendPID(lease.native_handle());
        {
            const process::stopped session{pid}; // begins with the statement when it has ignored the cancel
            REQUIRE(PQsendQuery(lease.native_handle(), "select pg_sleep(60)") == 1);
            lease.discard();
            REQUIRE(becomes([&] { return db.stats().closed == 1; }));
        }
        const auto began = steady::now();
        CHECK(becomes([&] { return !outside.lives(pid); }));
        late.add(steady::now() - began);
    }
    tell("case-B14", "PostgreSQL, with the setting, where the cancel comes before the statement is begun: " + late.summary());
}
