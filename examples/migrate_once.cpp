// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Many processes start together, and exactly one of them changes the schema: the others wait for it, and find it done.
// Needs a server that is thrown away afterwards: examples/run migrate_once
#include <cenote/drivers/postgres.hpp>
#include <cenote/session/lock.hpp>

#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

const std::vector<std::string> migrations{"create table shipments (id bigint primary key)", "alter table shipments add column customer text not null",
                                          "create index on shipments (customer)"};

/// Brings the schema to its last version; returns how many migrations this process has run.
std::size_t migrate(auto& db) {
    // On this connection, and no other, the lock is held: if it is lost, so is the work that is not committed.
    auto only_one = cenote::lock(db, cenote::advisory_lock{"schema of the shop"}, {.wait = 1min});
    const auto run = [&](const std::string& sql) { only_one.driver().execute(*only_one, sql, cenote::deadline::in(1min)); };
    const auto ask = [&](const char* sql) {
        return std::stoul(std::string{only_one.driver().execute(*only_one, sql, {}, cenote::deadline::in(10s)).at(0, 0).value()});
    };

    run("create table if not exists schema_version (version int not null)");
    const std::size_t from = ask("select coalesce(max(version), 0) from schema_version");
    for (std::size_t i = from; i < migrations.size(); ++i) {
        run("begin");
        run(migrations[i]);
        run("insert into schema_version values (" + std::to_string(i + 1) + ")");
        run("commit");
    }
    only_one.release(); // says so if it was lost; its destructor would be silent
    return migrations.size() - from;
}

int main() {
    const char* address = std::getenv("CENOTE_PG_TCP");
    if (address == nullptr) {
        std::cerr << "it needs a server; run it by examples/run migrate_once\n";
        return 2;
    }
    constexpr int processes = 8;
    for (int i = 0; i < processes; ++i) {
        if (::fork() == 0) {
            try {
                cenote::pool db{cenote::postgres{address}};
                ::_exit(static_cast<int>(migrate(db)));
            } catch (const std::exception& e) {
                std::cerr << e.what() << "\n";
                ::_exit(100);
            }
        }
    }
    int ran = 0, failed = 0;
    std::size_t run = 0;
    for (int i = 0; i < processes; ++i) {
        int status = 0;
        ::wait(&status);
        const int said = WIFEXITED(status) ? WEXITSTATUS(status) : 100;
        failed += said == 100 ? 1 : 0;
        ran += said != 0 && said != 100 ? 1 : 0;
        run += said != 100 ? static_cast<std::size_t>(said) : 0;
    }
    std::cout << processes << " processes, " << failed << " failed; " << ran << " of them ran " << run << " migrations\n";

    cenote::pool db{cenote::postgres{address}};
    std::cout << "started once more: " << migrate(db) << " migrations\n";
    db.with([&](auto& c) { db.driver().execute(c, "drop table shipments, schema_version", cenote::deadline::in(10s)); });
    return failed;
}
