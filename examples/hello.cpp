// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>
#include <iostream>
#include <thread>

int main() {
    cenote::pool db{cenote::sqlite{"hello.db"}, cenote::bounded{.max = 4}, cenote::counters{}};
    auto run = [&db](const char* sql, sqlite3_callback on_row = nullptr) {
        auto lease = db.acquire(std::chrono::seconds{2});                   // waits its turn, or throws and says why
        sqlite3_exec(lease.native_handle(), sql, on_row, nullptr, nullptr); // SQLite's own API
    };                                                                      // given back here

    run("drop table if exists hits; create table hits(n); insert into hits values (0)");
    {
        std::jthread threads[8];
        for (auto& t : threads) t = std::jthread{[&] { for (int i = 0; i < 100; ++i) run("update hits set n = n + 1"); }};
    }
    run("select n from hits", [](void*, int, char** row, char**) { std::cout << row[0] << " hits counted\n"; return 0; });
    std::cout << db.stats().leases << " leases, never more than " << db.stats().max << " connections\n";
}
