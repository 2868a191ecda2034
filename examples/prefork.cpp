// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Pre-forked workers, each with a pool of its own; the parent goes on using its own as if nobody had been forked.
// Needs a server that is thrown away afterwards: examples/run prefork
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

auto make_pool(unsigned max) {
    const char* const server = std::getenv("CENOTE_PG_TLS"); // encrypted: what a child did to that could not be repaired
    if (server == nullptr) throw std::runtime_error("CENOTE_PG_TLS is not set: run it by examples/run prefork, which starts a server for it");
    return cenote::pool{cenote::postgres{std::string{server} + " application_name=prefork"}, cenote::bounded{.max = max}, cenote::fork_aware{}};
}
using db_pool = decltype(make_pool(1));

std::string query(db_pool& db, const char* sql) {
    const auto lease = db.acquire(5s);
    const std::unique_ptr<PGresult, decltype([](PGresult* r) { PQclear(r); })> r{PQexec(lease.native_handle(), sql)};
    if (PQresultStatus(r.get()) != PGRES_COMMAND_OK && PQresultStatus(r.get()) != PGRES_TUPLES_OK) throw std::runtime_error(PQerrorMessage(lease.native_handle()));
    return PQntuples(r.get()) > 0 ? PQgetvalue(r.get(), 0, 0) : "";
}

/// The life of a worker: takes jobs until there are none.
int work(db_pool& db, int number) {
    try {
        (void)db.acquire(); // the parent's
    } catch (const cenote::error& e) {
        if (number == 0) std::cout << "  in a child: " << e.what() << std::endl;
    }
    db = make_pool(2); // lets go of the parent's connections: their descriptors are closed here, and the server hears nothing
    std::vector<std::jthread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&db] {
            while (!query(db, "update jobs set worker = pg_backend_pid() where n = "
                              "(select n from jobs where worker is null limit 1 for update skip locked) returning n").empty()) {
            }
        });
    }
    return 0;
}

int main() try {
    db_pool db = make_pool(4);
    if (!db.warm_up(4)) throw std::runtime_error("no server"); // before anybody is forked: nobody connects while others are
    query(db, "drop table if exists jobs");
    query(db, "create table jobs as select n, null::int as worker from generate_series(1, 400) n");
    const std::string sessions = "select string_agg(pid::text, ' ' order by pid) from pg_stat_activity where application_name = 'prefork'";
    const std::string before = query(db, sessions.c_str());

    std::vector<pid_t> workers;
    std::string answer;
    {
        auto held = db.acquire(); // a lease is out while the workers are forked, in the middle of a transaction
        PQclear(PQexec(held.native_handle(), "begin; create temporary table mine as select 42 as answer"));
        for (int number = 0; number < 4; ++number) {
            const pid_t child = fork();
            if (child == 0) {
                held.give_back(); // or let its scope do it: in a child the lease is for nothing else
                return work(db, number);
            }
            workers.push_back(child);
        }
        PGresult* const r = PQexec(held.native_handle(), "select answer from mine");
        answer = PQntuples(r) == 1 ? PQgetvalue(r, 0, 0) : "lost";
        PQclear(r);
        PQclear(PQexec(held.native_handle(), "rollback"));
    }
    int failed = 0;
    for (const pid_t worker : workers) {
        int status = 0;
        failed += waitpid(worker, &status, 0) != worker || status != 0;
    }
    std::cout << "  4 workers have ended, " << failed << " failed\n"
              << "  the parent's transaction goes on: " << answer << '\n'
              << "  " << query(db, "select count(worker) from jobs") << " jobs of 400 are done, by "
              << query(db, "select count(distinct worker) from jobs") << " sessions\n";
    std::string after;
    for (int i = 0; i < 500 && after != before; ++i, std::this_thread::sleep_for(10ms)) after = query(db, sessions.c_str()); // theirs end
    std::cout << "  the parent's four sessions are " << (after == before ? "those that it had" : "others") << '\n';
} catch (const std::exception& e) {
    std::cout << e.what() << '\n';
    return 2;
}
