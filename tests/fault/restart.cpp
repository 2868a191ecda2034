// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Servers that are killed and started again: pools come back, at once and whole.
#include <fault/support/load.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <cenote/credentials.hpp>

using namespace fault;
using cenote::bounded;

namespace {

constexpr unsigned size = 4; // of each of two pools
constexpr auto step = 40ms;
constexpr cenote::backoff quick{.first = 5ms, .max = step};

} // namespace

TEMPLATE_TEST_CASE("case-A1 case-A2 case-A15 case-D7: a server is killed under load and started again", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const std::string table = "chaos_" + std::to_string(::getpid());
    if constexpr (std::is_same_v<server, mysql_server>) {
        mysql_tests::opened root{mysql_tests::as_root()};
        root.run("set global innodb_flush_log_at_trx_commit = 1"); // until it is killed: the table must outlive that
        root.run("create table " + servers::mysql().database + "." + table + " (n int) engine = innodb");
    } else {
        pg::witness owner{servers::postgres().unix_socket};
        owner.run("set synchronous_commit = on");
        owner.run("create table " + table + " (n int)");
    }
    dial_watch dials;
    times to_answer, to_lease, worst_of_both;
    std::size_t most_lost = 0, turns = cycles();
    {
        // As it is without a word, and one that leaves nothing to chance.
        cenote::pool usual{server::to(true, "usual"), bounded{.max = size}, quick, dials};
        cenote::pool strict{server::to(false, "strict"), bounded{.max = size}, quick, cenote::no_breaker{}, cenote::peek_after{0ms},
                            cenote::deferred<cenote::reset_always>{}, dials};
        load<server> users{table};
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
            const auto killed = steady::now();
            server::crash(turn);
            for (auto& r : users.recovered) r.arm(); // whoever is answered from now on is answered by the new one
            const auto answered = await_answer<server>();
            dials.to->up_since = steady::now().time_since_epoch().count();
            users.server_is_up();
            REQUIRE(becomes([&] { return std::ranges::all_of(users.recovered, &first_time::is_there); }));
            to_answer.add(answered - killed);
            for (const auto& r : users.recovered) to_lease.add(std::max(r.get() - answered, steady::duration{}));

            REQUIRE(users.pause());
            const std::size_t lost = users.seen.lost - lost_before;
            most_lost = std::max(most_lost, lost);
            CHECK(lost <= 2 * size); // each session is lost to one lease at most
            for (const auto& s : {usual.stats(), strict.stats()}) {
                CHECK(s.used == 0);
                CHECK(s.pending == 0);
            }
            REQUIRE(short_of<server>(usual, size) == "");
            REQUIRE(short_of<server>(strict, size) == "");
            users.resume();
        }
        INFO(users.dead.text() << users.wrong.text() << users.late.text());
        CHECK(users.dead.count() == 0);
        CHECK(users.wrong.count() == 0);
        CHECK(users.late.count() == 0);
        REQUIRE(users.pause());
        tell("case-A1 A2", std::string{server::name} + ", " + std::to_string(turns) + " crashes under 16 threads: " + std::to_string(users.seen.leases) +
                               " leases, " + std::to_string(users.seen.lost) + " lost with their sessions, at most " + std::to_string(most_lost) +
                               " each; 0 slots lost, " + std::to_string(users.dead.count()) + " dead handed out, " + std::to_string(users.wrong.count()) +
                               " wrong, " + std::to_string(users.late.count()) + " late");
        tell("case-A1 A2", std::string{server::name} + " is back after " + to_answer.summary() + "; first good lease after that: " + to_lease.summary());
        tell("case-A15", std::string{server::name} + ": " + std::to_string(dials.to->failed) + " attempts failed, " + std::to_string(dials.to->starting) +
                             " of them as it was starting up; " + std::to_string(dials.to->opened) + " opened");
    }
    // An attempt that begins when the server is there succeeds, so one step of the backoff and one connect are all that it takes.
    CHECK(dials.to->failed_when_up == 0);
    CHECK(to_lease.quantile(1) < in_ms(step) + 500);
    // What was left uncommitted never is committed.
    if constexpr (std::is_same_v<server, mysql_server>) {
        mysql_tests::opened root{mysql_tests::as_root()};
        CHECK(root.ask("select count(*) from " + servers::mysql().database + "." + table) == "0");
        root.run("drop table " + servers::mysql().database + "." + table);
    } else {
        pg::witness owner{servers::postgres().unix_socket};
        CHECK(owner.ask("select count(*) from " + table) == "0");
        owner.run("drop table " + table);
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
