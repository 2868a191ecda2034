// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What the tours of server databases share, postgres.cpp and mysql.cpp. Such a program has a type `Server` with the client library's own
// calls (open, run, ask, kill), drivers to good and bad addresses, and the processes to be stopped.
#pragma once

#include <cenote/pool.hpp>
#include <cenote/reflect.hpp>
#include <cenote/version.hpp>

#include <boost/hana/for_each.hpp>
#include <boost/hana/fuse.hpp>
#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>

namespace tour {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using number = unsigned long long; // %llu

/// From the environment that tests/lib/with_servers makes.
inline std::string variable(const char* name, const char* program) {
    if (const char* value = std::getenv(name)) return value;
    throw std::runtime_error(std::string{name} + " is not set: run it by examples/run " + program + ", which starts a server for it");
}

// A shop of 1,000 items, each at the price of 10; the words are the same for every database.
constexpr const char* build_shop[] = {"drop table if exists item", "create table item(id integer primary key, price integer)",
    "insert into item with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000) select i, 10 from n"};
constexpr const char* one_price = "select price from item where id = 471";
constexpr long long no_answer = -1;

/// How long a job takes, in microseconds.
double timed(auto job) {
    const auto began = clock::now();
    job();
    return std::chrono::duration<double, std::micro>(clock::now() - began).count();
}
inline double median(std::vector<double>& v) {
    std::ranges::sort(v);
    return v[v.size() / 2];
}
/// A failure's one line for a log, as several for a table.
inline std::string lines(std::string said) {
    for (std::size_t at = 0; (at = said.find("; ", at)) != said.npos;) said.replace(at, 2, ";\n      ");
    return said;
}
/// Lets so many threads repeat the job for so long; returns how often a second they got an answer.
inline double per_second(unsigned threads, clock::duration length, const std::function<long long()>& job) {
    std::atomic<number> done{0};
    const auto began = clock::now();
    const auto work = [&] { while (clock::now() - began < length) done += job() != no_answer; };
    std::vector<std::jthread> crowd(threads);
    for (auto& t : crowd) t = std::jthread{work};
    crowd.clear(); // joins
    return static_cast<double>(done) / std::chrono::duration<double>(clock::now() - began).count();
}

/// The pool that many programs write by hand: no deadline, no check, no growth.
template <class Server>
class queue_pool {
public:
    queue_pool(const Server& server, int size) { while (size-- > 0) idle_.push_back(server.open()); }
    auto acquire() {
        std::unique_lock lock{mutex_};
        while (idle_.empty()) freed_.wait(lock);
        const auto give_back = [this](auto* c) {
            { const std::scoped_lock again{mutex_}; idle_.emplace_back(c); }
            freed_.notify_one();
        };
        std::unique_ptr<typename Server::plain::element_type, decltype(give_back)> lease{idle_.back().release(), give_back};
        idle_.pop_back();
        return lease;
    }

private:
    std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<typename Server::plain> idle_;
};

template <class Server>
void throughput(const Server& server) {
    std::printf("\n1  Queries per second: threads read one row by its key, by TCP on this machine\n"
                "   A connection for each query, against 4 kept open: by a mutex and a queue, and by a pool with its defaults.\n\n"
                "   %7s %18s %18s %18s\n", "threads", "open and close", "mutex and queue", "cenote");
    queue_pool queue{server, 4};
    cenote::pool db{server.driver(), cenote::bounded{.max = 4}};
    for (const unsigned threads : {1U, 4U, 16U}) {
        const double opened = per_second(threads, 300ms, [&] { return Server::ask(server.open().get(), one_price); });
        const double by_hand = per_second(threads, 300ms, [&] { return Server::ask(queue.acquire().get(), one_price); });
        const double pooled = per_second(threads, 300ms, [&] { return Server::ask(db.acquire().native_handle(), one_price); });
        std::printf("   %7u %16.0f/s %16.0f/s %16.0f/s\n", threads, opened, by_hand, pooled);
    }
}

template <class Server>
void killed_sessions(const Server& server) {
    std::printf("\n2  The server ends 4 idle sessions; half a second later 4 threads have 50 requests each\n"
                "   peek_after{500ms} is the default. The last column: acquire and give back, while nothing is wrong.\n\n"
                "   %-18s %10s %10s %12s %10s %16s\n", "validation", "requests", "failed", "found dead", "opened", "costs");
    const auto with = [&](const char* name, auto policy) {
        cenote::pool db{server.driver(), cenote::bounded{.max = 4}, policy, cenote::counters{}};
        std::atomic<number> requests{0}, failed{0};
        const auto four_at_once = [&] {
            std::barrier all_have_one{4};
            std::jthread threads[4];
            for (auto& t : threads) t = std::jthread{[&] {
                for (int i = 0; i < 50; ++i, ++requests) {
                    cenote::failure why;
                    const auto lease = db.acquire(5s, why);
                    if (i < 2) all_have_one.arrive_and_wait(); // the first may be a dead one
                    failed += !lease || Server::ask(lease.native_handle(), one_price) == no_answer;
                }
            }};
        };
        four_at_once();
        const double cycle = timed([&] { for (int i = 0; i < 2000; ++i) (void)db.acquire(); }) / 2000;
        {
            const auto other = server.open();
            typename decltype(db)::lease all[4];
            for (auto& lease : all) Server::run(other.get(), Server::kill((lease = db.acquire()).native_handle()));
        }
        std::this_thread::sleep_for(600ms);
        four_at_once();
        const cenote::pool_stats s = db.stats();
        std::printf("   %-18s %10llu %10llu %12llu %10llu %13.2f us\n", name, +requests, +failed, number{s.validation_failed},
                    number{s.opened}, cycle);
    };
    with("no_validation", cenote::no_validation{});
    with("peek_after{500ms}", cenote::peek_after{});
    with("peek_after{0ms}", cenote::peek_after{.idle = 0ms});
    with("pre_ping", cenote::pre_ping{});
}

constexpr const char* forgotten[] = {"begin", "update item set price = 99 where id = 471"}; // and no commit
void leave_transaction(const auto& server, auto* session) {
    for (const char* sql : forgotten) server.run(session, sql);
}

template <class Server>
void dirt(const Server& server) {
    std::printf("\n3  What one user leaves behind, and whether the next one has it\n"
                "   reset_if_dirty is the default.\n\n"
                "   %-18s %18s %18s %18s %18s\n", "reset", "update, no commit", "setting", "temporary table", "session lock");
    const auto with = [&](const char* name, auto policy) {
        std::printf("   %-18s", name);
        const auto column = [&](const char* look, auto... leave) {
            cenote::pool db{server.driver(), cenote::bounded{.max = 1}, policy};
            const auto seen = [&] { return Server::ask(db.acquire().native_handle(), look); };
            const long long before = seen();
            db.with([&](auto& c) { (Server::run(c.handle(), leave), ...); });
            std::printf(" %18s", seen() == before ? "gone" : "still there");
        };
        column(one_price, forgotten[0], forgotten[1]);
        column(Server::setting.look, Server::setting.make);
        column("select count(*) from mine", "create temporary table mine(n integer)");
        column(Server::lock.look, Server::lock.make);
        std::printf("\n");
    };
    with("no_reset", cenote::no_reset{});
    with("reset_if_dirty", cenote::reset_if_dirty{});
    with("reset_always", cenote::reset_always{});
}

/// Calls f(name, wrap) for every time at which a connection can be cleaned; wrap says it of what is to be done.
void for_each_when(auto f) {
    f("at_return", [](auto what) { return cenote::at_return{what}; });
    f("background", [](auto what) { return cenote::background{what}; });
    f("deferred", [](auto what) { return cenote::deferred{what}; });
}

template <class Server>
void clean_up(const Server& server) {
    std::printf("\n4  What cleaning up costs the caller, in us: to give back, and to acquire at once again\n"
                "   There is one connection, so that nobody can take another while it is cleaned.\n\n"
                "   %-12s %26s %26s %26s\n   %-12s", "", "nothing to clean", "a forgotten transaction", "reset_always", "");
    for (int i = 0; i < 3; ++i) std::printf(" %14s %11s", "give back", "acquire");
    std::printf("\n");
    for_each_when([&](const char* name, auto when) {
        std::printf("   %-12s", name);
        const auto measure = [&](auto what, bool forget) {
            cenote::pool db{server.driver(), cenote::bounded{.max = 1}, when(what)};
            std::vector<double> to_give_back, to_acquire;
            auto lease = db.acquire();
            for (const auto end = clock::now() + 200ms; clock::now() < end;) {
                if (forget) leave_transaction(server, lease.native_handle());
                else Server::ask(lease.native_handle(), one_price);
                to_give_back.push_back(timed([&] { lease.give_back(); }));
                to_acquire.push_back(timed([&] { lease = db.acquire(); }));
            }
            std::printf(" %14.2f %11.2f", median(to_give_back), median(to_acquire));
        };
        measure(cenote::reset_if_dirty{}, false);
        measure(cenote::reset_if_dirty{}, true);
        measure(cenote::reset_always{}, true);
        std::printf("\n");
    });
}

template <class Server>
void refusals(const Server& server) {
    std::printf("\n5  The server cannot be reached, or refuses: acquire(500ms)\n"
                "   What nobody will change soon is said at once; otherwise the pool tries again, and after three failures nobody is made to wait.\n\n");
    for (const auto& [name, driver] : server.refusing()) {
        cenote::pool db{driver};
        cenote::failure why;
        const double took = timed([&] { (void)db.acquire(500ms, why); }) / 1000;
        const std::string kind{to_string(why.seen->last_connect_error.kind)};
        std::printf("   %-18s %6.1f ms, class %s\n      %s\n", name, took, kind.c_str(), lines(why.text()).c_str());
    }
}

/// Whether all threads of a process have stopped: the signal is sent before they have.
inline bool at_rest(pid_t id) {
    for (const auto& thread : std::filesystem::directory_iterator{"/proc/" + std::to_string(id) + "/task"}) {
        std::ifstream file{thread.path() / "stat"};
        std::string stat;
        std::getline(file, stat);
        if (stat.find(") T ") == stat.npos) return false;
    }
    return true;
}
/// Processes that do not run while it lives.
struct stopped {
    std::vector<pid_t> processes;
    explicit stopped(std::vector<pid_t> p) : processes{std::move(p)} {
        for (const pid_t id : processes) ::kill(id, SIGSTOP);
        for (const pid_t id : processes) {
            for (int i = 0; i < 1000 && !at_rest(id); ++i) std::this_thread::sleep_for(1ms);
        }
    }
    ~stopped() { for (const pid_t id : processes) ::kill(id, SIGCONT); }
    stopped(const stopped&) = delete;
};

template <class Server>
void stopped_server(const Server& server) {
    std::printf("\n6  The server stops in the middle (SIGSTOP) while the only connection is out, with a transaction open\n"
                "   Nobody waits longer than they said, and once it goes on all is well.\n\n");
    for_each_when([&](const char* name, auto when) {
        cenote::pool db{server.driver(), cenote::bounded{.max = 1}, when(cenote::reset_if_dirty{})};
        auto lease = db.acquire();
        leave_transaction(server, lease.native_handle());
        cenote::failure why;
        const auto acquire = [&](const char* then, cenote::timeout t) {
            const double took = timed([&] { lease = db.acquire(t, why); }) / 1000;
            std::printf("   %-12s %-18s %10.3f ms  %s\n", "", then, took, lease ? "has a connection" : "gives up");
            if (!lease) std::printf("      %s\n", lines(why.text()).c_str());
        };
        {
            const stopped now{server.processes(lease.native_handle())};
            std::printf("   %-12s %-18s %10.3f ms\n", name, "give back", timed([&] { lease.give_back(); }) / 1000);
            acquire("acquire(300ms)", 300ms);
        }
        acquire("when it goes on", 5s);
        if (lease) std::printf("   %-12s %-18s %10lld\n", "", "and reads", Server::ask(lease.native_handle(), one_price));
    });
}

template <class Server>
void statistics(const Server& server) {
    std::printf("\n7  What a pool says about itself: 12 threads share 4 connections, each closed after 1,000 uses\n"
                "   One connection is discarded, one transaction forgotten, one session ended by the server.\n\n");
    cenote::pool db{server.driver(), cenote::bounded{.max = 4}, cenote::max_uses{1000}, cenote::peek_after{.idle = 0ms}, cenote::counters{}};
    per_second(12, 500ms, [&] { return Server::ask(db.acquire().native_handle(), one_price); });
    db.acquire().discard();
    leave_transaction(server, db.acquire().native_handle());
    Server::run(server.open().get(), Server::kill(db.acquire().native_handle()));
    std::this_thread::sleep_for(100ms);
    const long long price = db.with([](auto& c) { return Server::ask(c.handle(), one_price); });
    std::printf("   The next user reads %lld.\n", price);
    std::printf("   close(): %s\n", db.close().drained ? "all leases back, all connections closed" : "leases are out");

    int cells = 0;
    const auto cell = [&](const char* name, number value) { std::printf("   %-18s %12llu%s", name, value, ++cells % 3 == 0 ? "\n" : ""); };
    std::printf("\n   All of stats():\n");
    boost::hana::for_each(db.stats(), boost::hana::fuse([&](auto name, auto value) { cell(boost::hana::to<const char*>(name), number{value}); }));
    std::printf("%s\n   Closed connections by reason:\n", cells % 3 == 0 ? "" : "\n");
    cells = 0;
    for (unsigned i = 0; i < cenote::close_reasons; ++i) {
        const auto why = static_cast<cenote::close_reason>(i);
        cell(to_string(why).data(), db.template get<cenote::counters>().closed_for(why));
    }
    std::printf("\n");
}

template <class Server>
int all() {
    try {
        std::setvbuf(stdout, nullptr, _IOLBF, 0); // rows appear as they are measured
        const Server server;
        for (const char* sql : build_shop) Server::run(server.open().get(), sql);
        std::printf("cenote %d.%d.%d, %s, %u processors\n", cenote::version::major, cenote::version::minor, cenote::version::patch,
                    Server::product().c_str(), std::thread::hardware_concurrency());
        throughput(server);
        killed_sessions(server);
        dirt(server);
        clean_up(server);
        refusals(server);
        stopped_server(server);
        statistics(server);
        return 0;
    } catch (const std::exception& e) {
        std::printf("%s\n", e.what());
        return 2;
    }
}

} // namespace tour
