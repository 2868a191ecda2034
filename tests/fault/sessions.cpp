// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// What the server sees: no more sessions than the pool may have, none that nobody uses any more, and as many as it should have.
#include <fault/support/figures.hpp>
#include <fault/support/load.hpp>
#include <fault/support/servers.hpp>

#include <cenote/pool.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace fault;
using cenote::bounded;

namespace {

constexpr cenote::backoff quick{.first = 5ms, .max = 40ms};

/// Sees and ends the sessions of the tests' database.
template <class Server>
class witness : public admin<Server> {
public:
    witness() : admin<Server>{" dbname=cenote"} {}
    std::size_t sessions(const std::string& name) { return std::stoul(this->ask(Server::count(name))); }
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
            const auto end = steady::now() + length();
            for (auto asked = steady::now(); asked < end; asked = steady::now()) {
                std::this_thread::sleep_until(asked + 1ms);
                const std::size_t there = counting.sessions(name);
                const std::size_t closing = closings.since(asked - grace - control.worst(asked - grace, asked)) + db.stats().closing;
                ++samples;
                most = std::max(most, there);
                if (there > size) {
                    ++above;
                    most_above = std::max(most_above, there - size);
                }
                if (there > size + closing) beyond.add(std::to_string(there) + " sessions, and " + std::to_string(closing) + " closed lately");
            }
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
        tell("case-D5", std::string{server::name} + ", max " + std::to_string(size) + ": " + std::to_string(samples) + " samples, at most " + std::to_string(most) +
                            " sessions, above max in " + std::to_string(above) + " (by " + std::to_string(most_above) + " at most), beyond those being closed in " +
                            std::to_string(beyond.count()) + "; " + std::to_string(db.stats().opened) + " opened, " + std::to_string(db.stats().closed) + " closed");
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
