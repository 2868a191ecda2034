// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// What the server sees: no more sessions than the pool may have, none that nobody uses any more, and as many as it should have.
#include <fault/support/figures.hpp>
#include <fault/support/load.hpp>
#include <fault/support/servers.hpp>

#include <server/support/punctuality.hpp>

#include <cenote/pool.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace fault;
using cenote::bounded;
using cenote::deadline;
using testing_support::punctuality;

namespace {

constexpr cenote::backoff quick{.first = 5ms, .max = 40ms};

/// Sees and ends the sessions of the tests' database.
template <class Server>
class witness : public admin<Server> {
public:
    witness() : admin<Server>{" dbname=cenote"} {}
    std::size_t sessions(const std::string& name) { return std::stoul(this->ask(Server::count(name))); }
    /// Has the system prefer what answers here, and the calling thread, to all others, where that is allowed: or it would be looked at seldom
    /// just when much is going on.
    void looks_first(bool yes) {
        const auto own = std::stoul(this->ask(is_mysql<Server> ? "select tid from information_schema.processlist where id = connection_id()" : "select pg_backend_pid()"));
        for (const auto thread : {static_cast<id_t>(own), static_cast<id_t>(::syscall(SYS_gettid))}) (void)::setpriority(PRIO_PROCESS, thread, yes ? -15 : 0);
    }
    /// Ends one session, if there is any.
    void end_one(const std::string& name) {
        if constexpr (is_mysql<Server>) {
            const std::string id = this->ask("select ifnull(min(id), 0) from information_schema.processlist where user = 'cenote'");
            if (id != "0") mysql_query(this->who_->native(), ("kill connection " + id).c_str()); // it may have gone meanwhile
        } else {
            this->run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = '" + name + "' limit 1");
        }
    }
};

/// When connections were closed, of late.
struct closing_watch {
    using family = cenote::family::metrics;
    struct moments {
        std::mutex m;
        std::deque<steady::time_point> at;
    };
    std::shared_ptr<moments> to = std::make_shared<moments>();
    void on_closed(const cenote::closed_event&) const {
        const std::scoped_lock lock{to->m};
        to->at.push_back(steady::now());
    }
    [[nodiscard]] std::size_t since(steady::time_point t) const {
        const std::scoped_lock lock{to->m};
        while (!to->at.empty() && to->at.front() < t) to->at.pop_front();
        return to->at.size();
    }
};

} // namespace

TEMPLATE_TEST_CASE("case-D5 case-B14: the server never has more sessions than max and those being closed, whatever happens", "[alone]", postgres_server,
                   mysql_server) {
    using server = TestType;
    server::ensure();
    constexpr unsigned size = 6;
    constexpr auto grace = 250ms; // for the server to take notice that a session has ended, on a busy machine
    const std::string name = "counted-" + std::to_string(::getpid());
    closing_watch closings;
    witness<server> outside, locking;
    REQUIRE(becomes([&] { return outside.sessions(name) == 0; }));
    // What takes long waits for a lock. MariaDB would not bear SLEEP() here: two sessions killed in it can keep each other, and all others
    // that sleep, for two seconds.
    const table_of_its_own<server> table;
    const std::string waits = "update " + table.name() + " set n = n + 1";
    locking.run("insert into " + table.name() + " values (1)");
    locking.run("begin");
    locking.run(waits);
    std::size_t samples = 0, most = 0, above = 0, most_above = 0;
    std::chrono::nanoseconds longest{};
    complaints beyond;
    {
        cenote::pool db{server::to(true, name), bounded{.max = size}, quick, cenote::peek_after{0ms}, closings, cenote::counters{}};
        std::atomic<bool> over{false};
        std::vector<std::jthread> all;
        struct stop {
            std::atomic<bool>& over;
            ~stop() { over = true; }
        } const at_the_end{over};
        for (int i = 0; i < 12; ++i) {
            all.emplace_back([&, i] {
                for (int n = i; !over; ++n) {
                    std::error_code why;
                    auto lease = db.acquire(200ms, why);
                    if (!lease) continue;
                    try {
                        const auto c = lease.native_handle();
                        (void)server::ask(c, "select 7");
                        if (n % 150 == 0) { // in the middle of something that would take a minute
                            if constexpr (is_mysql<server>) mysql_send_query(c, waits.data(), static_cast<unsigned long>(waits.size()));
                            else PQsendQuery(c, waits.c_str());
                            if (n % 300 == 0) lease.discard();
                        } else if (n % 7 == 0) {
                            (void)server::ask(c, "begin");
                        }
                    } catch (const std::exception&) {
                        lease.discard(cenote::error_class::disconnected);
                    }
                }
            });
        }
        all.emplace_back([&] {
            witness<server> other;
            for (int n = 0; !over; ++n) {
                if (n % 2 == 0) other.end_one(name);
                if (n % 16 == 5) db.invalidate_all();
                if (n % 8 == 3) (void)db.trim();
                if (n % 12 == 7) {
                    db.resize(2);
                    db.resize(size);
                }
                std::this_thread::sleep_for(20ms);
            }
        });
        std::thread{[&] {
            lateness control;
            witness<server> counting;
            counting.looks_first(true);
            const auto end = steady::now() + length();
            auto due = steady::now(), within = due;
            for (auto asked = due; asked < end; asked = steady::now()) {
                due = std::max(due + 1ms, asked); // a thousand a second, unless the machine is too busy for that
                std::this_thread::sleep_until(due);
                asked = steady::now();
                const std::size_t there = counting.sessions(name);
                const std::size_t closing = closings.since(asked - grace - control.worst(asked - grace, asked)) + db.stats().closing;
                ++samples;
                most = std::max(most, there);
                if (there > size) {
                    ++above;
                    most_above = std::max(most_above, there - size);
                    longest = std::max<std::chrono::nanoseconds>(longest, asked - within);
                } else {
                    within = asked;
                }
                if (there > size + closing) beyond.add(std::to_string(there) + " sessions, and " + std::to_string(closing) + " closed lately");
            }
            counting.looks_first(false);
        }}.join();
        over = true;
        all.clear();
        INFO(beyond.text());
        CHECK(beyond.count() == 0);
        CHECK(db.template get<cenote::counters>().closed_for(cenote::close_reason::discarded) > 0);
        locking.run("rollback");
        // And when it is quiet again, exactly those that the pool knows: none lives on by itself, busy as it was.
        CHECK(short_of<server>(db, size) == "");
        CHECK(becomes([&] { return outside.sessions(name) == size; }));
        tell("case-D5", std::string{server::name} + ", max " + std::to_string(size) + ": " + std::to_string(samples) + " samples in " +
                            std::to_string(length().count()) + " s, at most " + std::to_string(most) +
                            " sessions, above max in " + std::to_string(above) + " (by " + std::to_string(most_above) + " at most, for " + text(longest) + " at most), beyond those being closed in " +
                            std::to_string(beyond.count()) + "; " + std::to_string(db.stats().opened) + " opened, " + std::to_string(db.stats().closed) + " closed");
    }
    CHECK(becomes([&] { return outside.sessions(name) == 0; }));
}

// The pool's own doings, and no fault: nothing may be lost, nobody may see an error.
TEMPLATE_TEST_CASE("case-D6: close meets acquire, open, give back, resize and another close", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    constexpr unsigned size = 4, users = 6;
    const std::string name = "closed-" + std::to_string(::getpid());
    const std::size_t rounds = number_from("CENOTE_CLOSE_ROUNDS", 24);
    witness<server> outside;
    REQUIRE(becomes([&] { return outside.sessions(name) == 0; }));
    complaints wrong;
    std::atomic<std::size_t> served{0}, cut{0}, opened{0};
    punctuality closing;
    for (std::size_t round = 0; round < rounds; ++round) {
        const bool cuts = round % 4 == 3; // there close() does not wait for those who work
        cenote::pool db{server::to(round % 2 == 0, name), bounded{.max = size}, quick, cenote::counters{}};
        std::latch start{users + 3};
        std::atomic<bool> closed{false};
        std::vector<std::jthread> all;
        for (unsigned u = 0; u < users; ++u) {
            all.emplace_back([&, u] {
                start.arrive_and_wait();
                for (unsigned n = u;; ++n) {
                    std::error_code why;
                    auto lease = db.acquire(deadline::never(), {}, why); // only the close gets them out
                    if (!lease) {
                        if (why != cenote::errc::pool_closed) wrong.add("refused: " + why.message());
                        return;
                    }
                    try {
                        if (server::ask(lease.native_handle(), n % 3 == 0 ? "begin" : "select 7") != (n % 3 == 0 ? row{} : row{"7"})) wrong.add("a wrong answer");
                        ++served;
                    } catch (const std::exception& e) {
                        if (!cuts || !closed) wrong.add(e.what());
                        ++cut;
                        lease.discard();
                    }
                    if (n % 5 == 0) lease.discard();
                }
            });
        }
        all.emplace_back([&] {
            start.arrive_and_wait();
            for (unsigned n = 0; !closed || n < 8; ++n) db.resize(1 + n % size);
        });
        std::atomic<std::size_t> returned{0};
        for (unsigned c = 0; c < 2; ++c) {
            all.emplace_back([&, c] {
                start.arrive_and_wait();
                std::this_thread::sleep_for(std::chrono::microseconds{(round * 9'770 + c * 331) % 40'000}); // from before the first is open to well after
                closed = true;
                const auto report = db.close(cuts ? deadline::in(0ms) : deadline::in(10s));
                if (!cuts && !report.drained) wrong.add(std::to_string(report.still_out) + " are still out");
                if (!cuts && report.cut != 0) wrong.add(std::to_string(report.cut) + " were cut in time");
                ++returned;
            });
        }
        all.clear();
        CHECK(returned == 2);
        const auto again = db.close(deadline::in(10s));
        CHECK(again.drained);
        CHECK(again.still_out == 0);
        closing.measure(0ms, 20ms, [&](deadline by) { CHECK(db.close(by).drained); });
        const auto end = db.stats();
        CHECK(end.total == 0);
        CHECK(end.pending == 0);
        CHECK(end.opened == end.closed);
        opened += end.opened;
        db.resize(size);
        CHECK_FALSE(db.try_acquire());
        INFO("round " << round);
        REQUIRE(becomes([&] { return outside.sessions(name) == 0; }));
    }
    INFO(wrong.text());
    CHECK(wrong.count() == 0);
    CHECK(served > 0);
    CHECK(closing.late == 0);
    tell("case-D6", std::string{server::name} + ", " + std::to_string(rounds) + " pools closed by two under " + std::to_string(users) + " users and a resizer: " +
                        std::to_string(served) + " served, " + std::to_string(cut) + " cut, " + std::to_string(opened) + " sessions opened, 0 left");
}

TEMPLATE_TEST_CASE("case-D8: a pool is resized under load, and below what is leased", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    constexpr unsigned most = 8;
    constexpr auto grace = 250ms; // for the server to take notice that a session has ended, on a busy machine
    const std::string name = "resized-" + std::to_string(::getpid());
    const std::size_t turns = number_from("CENOTE_RESIZE_TURNS", 24);
    closing_watch closings;
    witness<server> outside;
    REQUIRE(becomes([&] { return outside.sessions(name) == 0; }));
    complaints wrong;
    std::size_t samples = 0, above = 0, sudden = 0;
    std::atomic<std::size_t> served{0};
    times shrunk;
    {
        cenote::pool db{server::to(true, name), bounded{.max = most}, quick, closings, cenote::counters{}};
        {
            std::atomic<bool> over{false};
            std::vector<std::jthread> all;
            struct stop {
                std::atomic<bool>& over;
                ~stop() { over = true; }
            } const at_the_end{over};
            lateness control;
            for (unsigned u = 0; u < 12; ++u) {
                all.emplace_back([&, u] {
                    for (unsigned n = u; !over; ++n) {
                        cenote::failure why;
                        auto lease = db.acquire(10s, why);
                        if (!lease) {
                            wrong.add(why.text());
                            continue;
                        }
                        try {
                            if (server::ask(lease.native_handle(), n % 7 == 0 ? "begin" : "select 7") != (n % 7 == 0 ? row{} : row{"7"})) wrong.add("a wrong answer");
                            ++served;
                        } catch (const std::exception& e) {
                            wrong.add(e.what());
                        }
                    }
                });
            }
            for (std::size_t turn = 0; turn < turns; ++turn) {
                const unsigned to = 1 + static_cast<unsigned>(turn * 5) % most; // up and down, by much and by little
                const auto asked = steady::now();
                db.resize(to);
                REQUIRE(becomes([&] { return db.stats().total <= to; })); // those that were out are back
                shrunk.add(steady::now() - asked);
                if (turn % 3 == 2) { // nobody waits for what the one before has begun
                    db.resize(most);
                    db.resize(1);
                    db.resize(to);
                    ++sudden;
                    REQUIRE(becomes([&] { return db.stats().total <= to; }));
                }
                for (int i = 0; i < 10; ++i) {
                    const auto now = steady::now();
                    const std::size_t there = outside.sessions(name), closing = closings.since(now - grace - control.worst(now - grace, now)) + db.stats().closing;
                    ++samples;
                    if (there > to) ++above;
                    if (there > to + closing) wrong.add(std::to_string(there) + " sessions, " + std::to_string(to) + " allowed and " + std::to_string(closing) + " closed lately");
                }
                REQUIRE(becomes([&, then = served.load()] { return served >= then + 12; })); // whatever the size, it goes on
            }
        }
        INFO(wrong.text());
        CHECK(wrong.count() == 0);
        db.resize(most);
        CHECK(short_of<server>(db, most) == "");
        {
            std::vector<decltype(db.acquire())> held;
            for (unsigned i = 0; i < most; ++i) held.push_back(db.acquire(10s));
            db.resize(2);
            CHECK(outside.sessions(name) == most);
            for (unsigned left = most; left > 0; --left) {
                CHECK(db.stats().used == left);
                CHECK_FALSE(db.try_acquire());
                for (auto& lease : held) CHECK(server::ask(lease.native_handle(), "select 7") == row{"7"}); // nothing is cut
                held.pop_back();
                const unsigned allowed = std::max(left - 1, 2U);
                REQUIRE(becomes([&] { return outside.sessions(name) == allowed; }));
                if (left <= 3) break; // from here on there is one to be had
            }
        }
        CHECK(short_of<server>(db, 2) == "");
        CHECK(outside.sessions(name) == 2);
        db.resize(most);
        CHECK(short_of<server>(db, most) == "");
        CHECK(outside.sessions(name) == most);
        const auto end = db.stats();
        CHECK(end.opened - end.closed == most);
        tell("case-D8", std::string{server::name} + ", resized " + std::to_string(turns + 3 * sudden) + " times under 12 threads: " + std::to_string(served) + " leases, 0 lost; the limit held after " +
                            shrunk.summary() + "; " + std::to_string(samples) + " samples, above the limit in " + std::to_string(above) + ", beyond those being closed in 0");
    }
    CHECK(becomes([&] { return outside.sessions(name) == 0; }));
}

TEMPLATE_TEST_CASE("case-B14: a connection that is discarded while it waits for a lock gives the lock up that it has", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const table_of_its_own<server> table;
    times gone;
    for (const bool tcp : {true, false}) {
        for (const bool discards : {true, false}) {
            CAPTURE(tcp, discards);
            cenote::pool db{server::to(tcp, "locking"), bounded{.max = 2}, quick};
            {
                auto owner = db.acquire(10s);
                (void)server::ask(owner.native_handle(), "delete from " + table.name());
                (void)server::ask(owner.native_handle(), "insert into " + table.name() + " values (1)");
            }
            auto lease = db.acquire(10s);
            const auto c = lease.native_handle();
            (void)server::ask(c, "begin");
            (void)server::ask(c, "update " + table.name() + " set n = 2");
            const std::string sql = "select " + server::pause("60");
            if constexpr (is_mysql<server>) REQUIRE(mysql_send_query(c, sql.data(), static_cast<unsigned long>(sql.size())) == 0);
            else REQUIRE(PQsendQuery(c, sql.c_str()) == 1);
            witness<server> outside;
            REQUIRE(becomes([&] {
                return outside.ask(is_mysql<server> ? "select count(*) from information_schema.processlist where state like 'User sleep%'"
                                                    : "select count(*) from pg_stat_activity where state = 'active' and application_name = 'locking'") == "1";
            }));
            const auto began = steady::now();
            if (discards) lease.discard();
            else lease.give_back();
            auto other = db.acquire(10s);
            (void)server::ask(other.native_handle(), "update " + table.name() + " set n = 3"); // waits for as long as the lock is held
            const auto took = steady::now() - began;
            gone.add(took);
            CHECK(took < 20s); // not a minute
            CHECK(server::ask(other.native_handle(), "select n from " + table.name()) == row{"3"});
        }
    }
    tell("case-B14", std::string{server::name} + ", a busy connection discarded or given back: its row lock is free after " + gone.summary());
}

TEMPLATE_TEST_CASE("case-B14: a statement that was just sent ends with its connection, though a server ignores a cancel that comes before it has begun", "[alone]", postgres_server,
                   mysql_server) {
    using server = TestType;
    server::ensure();
    cenote::pool db{server::to(true, "just-sent"), bounded{.max = 1}, quick, cenote::counters{}};
    const std::size_t rounds = number_from("CENOTE_CANCEL_ROUNDS", 40);
    const std::string sql = "select " + server::pause("60");
    for (std::size_t i = 0; i < rounds; ++i) {
        auto lease = db.acquire(10s);
        const auto c = lease.native_handle();
        if constexpr (is_mysql<server>) REQUIRE(mysql_send_query(c, sql.data(), static_cast<unsigned long>(sql.size())) == 0);
        else REQUIRE(PQsendQuery(c, sql.c_str()) == 1);
        if (i % 2 == 0) lease.discard();
    }
    CHECK(db.close(deadline::in(10s)).drained);
    witness<server> outside;
    CHECK(becomes([&] { return outside.sessions("just-sent") == 0; })); // of those that sleep on there would be some
}

TEST_CASE("case-A3: a notification costs no connection", "[alone]") {
    postgres_server::ensure();
    pg::witness outside{servers::postgres().unix_socket};
    for (const auto& [name, conninfo] : pg::transports()) {
        CAPTURE(name);
        cenote::pool db{cenote::postgres{conninfo}, bounded{.max = 1}, cenote::peek_after{0ms}, cenote::counters{}};
        const auto pid = [&] { return pg::ask(db.acquire(10s).native_handle(), "select pg_backend_pid()"); };
        {
            auto lease = db.acquire(10s);
            (void)pg::ask(lease.native_handle(), "select 1");
            (void)pg::run(lease.native_handle(), "listen chaos");
        }
        const std::string before = pid();
        for (int i = 0; i < 20; ++i) {
            outside.run("notify chaos, 'x'");
            CHECK(pid() == before);
        }
        CHECK(db.stats().opened == 1);
        CHECK(db.stats().closed == 0);
        CHECK(db.stats().validation_failed == 0);
    }
    tell("case-A3", "PostgreSQL: 60 notifications to idle connections, 0 of them lost");
}

TEMPLATE_TEST_CASE("case-D7: a pool that keeps a minimum has it again after any fault, though nobody asks", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    constexpr unsigned least = 4;
    cenote::pool db{server::to(true, "kept"), bounded{.min_idle = least, .min = least, .max = 8}, quick, cenote::keepalive{.every = 50ms, .timeout = 1s}};
    REQUIRE(db.warm_up(least).ready);
    times back;
    const auto whole = [&] {
        const auto s = db.stats();
        return s.idle + s.resetting >= least && s.opening == 0;
    };
    for (std::size_t turn = 0; turn < 6; ++turn) {
        CAPTURE(turn);
        REQUIRE(becomes(whole));
        witness<server> before;
        std::optional<steady::time_point> up;
        switch (turn % 3) {
        case 0: server::end_sessions(); break;
        case 1: server::crash(turn); break;
        default: db.invalidate_all(); break;
        }
        up = await_answer<server>();
        REQUIRE(becomes([&] {
            witness<server> outside;
            return whole() && outside.sessions("kept") >= least; // those that live
        }));
        back.add(steady::now() - *up);
        CHECK(short_of<server>(db, 8) == "");
    }
    tell("case-D7", std::string{server::name} + ", min 4, keepalive 50 ms, six faults that nobody saw: all there again after " + back.summary());
}
