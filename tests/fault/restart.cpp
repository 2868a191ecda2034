// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Servers that are killed and started again: pools come back, at once and whole.
#include <fault/support/load.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>


using namespace fault;
using cenote::bounded;

namespace {

constexpr unsigned size = 4; // of each of two pools
constexpr auto step = 40ms;
constexpr cenote::backoff quick{.first = 5ms, .max = step};

/// Sixteen users of two pools, and again and again the same fault: `strike(turn)`, after which the sessions of before are dead.
/// `validation`: of the first pool, which is as pools are without a word otherwise; the second leaves nothing to chance.
template <class Server, class Validation, class Strike>
void endure(std::string_view name, std::string_view what, std::size_t turns, Validation validation, Strike strike) {
    Server::ensure();
    const table_of_its_own<Server> table;
    dial_watch dials;
    times to_answer, to_lease;
    std::size_t most_lost = 0;
    {
        cenote::pool usual{Server::to(true, "usual"), bounded{.max = size}, quick, validation, dials};
        cenote::pool strict{Server::to(false, "strict"), bounded{.max = size}, quick, cenote::no_breaker{}, cenote::peek_after{0ms},
                            cenote::deferred<cenote::reset_always>{}, dials};
        load<Server> users{table.name()};
        for (int i = 0; i < 8; ++i) {
            users.add(usual, false);
            users.add(strict, true);
        }
        for (std::size_t turn = 1; turn <= turns; ++turn) {
            CAPTURE(turn);
            REQUIRE(becomes([&, then = users.seen.leases.load()] { return users.seen.leases > then + 16; }));
            const std::size_t lost_before = users.seen.lost;
            dials.to->up_since = std::numeric_limits<steady::rep>::max();
            users.server_goes();
            const auto struck = steady::now();
            strike(turn);
            for (auto& r : users.recovered) r.arm(); // whoever is answered from now on is answered by a new session
            const auto answered = await_answer<Server>();
            dials.to->up_since = steady::now().time_since_epoch().count();
            users.server_is_up();
            REQUIRE(becomes([&] { return std::ranges::all_of(users.recovered, &first_time::is_there); }));
            to_answer.add(answered - struck);
            for (const auto& r : users.recovered) to_lease.add(std::max(r.get() - answered, steady::duration{}));

            REQUIRE(users.pause());
            const std::size_t lost = users.seen.lost - lost_before;
            most_lost = std::max(most_lost, lost);
            CHECK(lost <= 2 * size); // each session is lost to one lease at most
            for (const auto& s : {usual.stats(), strict.stats()}) {
                CHECK(s.used == 0);
                CHECK(s.pending == 0);
            }
            REQUIRE(short_of<Server>(usual, size) == "");
            REQUIRE(short_of<Server>(strict, size) == "");
            users.resume();
        }
        REQUIRE(users.pause());
        INFO(users.dead.text() << users.wrong.text() << users.late.text());
        CHECK(users.dead.count() == 0);
        CHECK(users.wrong.count() == 0);
        CHECK(users.late.count() == 0);
        CHECK(users.seen.lost > 0); // or nobody was struck
        tell(name, std::string{Server::name} + ", " + std::to_string(turns) + " times " + std::string{what} + " under 16 threads: " +
                       std::to_string(users.seen.leases) + " leases, " + std::to_string(users.seen.lost) + " lost with their sessions, at most " +
                       std::to_string(most_lost) + " at a time; 0 slots lost, " + std::to_string(users.dead.count()) + " dead handed out, " +
                       std::to_string(users.wrong.count()) + " wrong, " + std::to_string(users.late.count()) + " late");
        tell(name, std::string{Server::name} + " answers again after " + to_answer.summary() + "; first good lease after that: " + to_lease.summary());
        tell(name, std::string{Server::name} + ": " + std::to_string(dials.to->failed) + " attempts to open failed, " + std::to_string(dials.to->starting) +
                       " of them as it was starting up (case-A15); " + std::to_string(dials.to->opened) + " opened");
    }
    // An attempt that begins when the server is there succeeds, so one step of the backoff and one connect are all that it takes.
    CHECK(dials.to->failed_when_up == 0);
    CHECK(to_lease.quantile(1) < in_ms(step) + 5000); // or it waited for something else; the machine may be busy
    CHECK(table.rows() == "0"); // what was left uncommitted never is committed
}

} // namespace

TEMPLATE_TEST_CASE("case-A1 case-A2 case-A15 case-D7: a server is killed under load and started again", "[alone]", postgres_server, mysql_server) {
    endure<TestType>("case-A1 A2", "killed", cycles(), cenote::peek_after{}, [](std::size_t turn) { TestType::crash(turn); });
}

TEMPLATE_TEST_CASE("case-A3 case-A4: all sessions are ended at once, idle and in the middle of statements", "[alone]", postgres_server, mysql_server) {
    endure<TestType>("case-A3 A4", "all sessions ended", cycles(), cenote::peek_after{0ms}, [](std::size_t) { TestType::end_sessions(); });
}

TEMPLATE_TEST_CASE("case-A1: of sessions that were used a moment ago the first dead one warns of the others", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    cenote::pool db{server::to(true, "usual"), bounded{.max = size}, quick, cenote::peek_after{1h}};
    for (std::size_t turn = 1; turn <= 3; ++turn) {
        REQUIRE(short_of<server>(db, size) == "");
        server::crash(turn);
        (void)await_answer<server>();
        unsigned dead = 0;
        for (unsigned i = 0; i < 2 * size; ++i) {
            auto lease = db.acquire(10s);
            try {
                (void)server::ask(lease.native_handle(), "select 7");
            } catch (const std::exception&) {
                ++dead;
            }
        }
        CHECK(dead == 1); // nobody looked at it
        REQUIRE(short_of<server>(db, size) == "");
    }
}

TEMPLATE_TEST_CASE("case-A1: a server is killed and started again while nobody looks", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const std::size_t turns = std::max<std::size_t>(cycles() / 5, 2);
    times first;
    for (const bool tcp : {true, false}) {
        cenote::pool db{server::to(tcp, "idle"), bounded{.max = size}, quick, cenote::peek_after{0ms}, cenote::counters{}};
        for (std::size_t turn = 1; turn <= turns; ++turn) {
            CAPTURE(tcp, turn);
            REQUIRE(short_of<server>(db, size) == "");
            server::crash(turn);
            (void)await_answer<server>();
            const auto began = steady::now();
            {
                auto lease = db.acquire(10s);
                first.add(steady::now() - began);
                REQUIRE(server::ask(lease.native_handle(), "select 7") == row{"7"});
            }
            REQUIRE(short_of<server>(db, size) == "");
        }
        CHECK(db.stats().open_failed == 0);
        CHECK(db.stats().timeouts + db.stats().failed == 0);
        CHECK(db.stats().validation_failed == turns * size);
    }
    tell("case-A1", std::string{server::name} + ", killed while the pool was idle: 0 of " + std::to_string(2 * turns * size) +
                        " dead sessions handed out; first lease after " + first.summary());
}
