// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// A pool put together from a profile, policies that override and extend it, and hooks that tell what happens.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>

#include <iostream>
#include <thread>

using namespace std::chrono_literals;

void run(sqlite3* db, const char* sql) {
    char* why = nullptr;
    if (sqlite3_exec(db, sql, nullptr, nullptr, &why) != SQLITE_OK) std::cout << "     SQLite says: " << why << '\n';
    sqlite3_free(why);
}

auto make_db() {
    return cenote::pool{
        cenote::sqlite{"file:policies?mode=memory&cache=shared"},
        cenote::profile::web{},                                      // 10 connections + 20, wait 30 s, ping, at most 30 min old
        cenote::overflow{.size = 1, .max_overflow = 1},              // named explicitly: overrides the profile's sizing
        cenote::max_uses{3},                                         // a third age limit, beside the profile's and idle_timeout
        cenote::at_return{cenote::reset_always{}},                   // what is done on return × when: all of the session, at once
        cenote::strictly_fair{.max_waiters = 100},                   // the 101st who would have to wait is refused at once
        cenote::forbid_nested{},                                     // a thread that holds a lease may not wait for another
        cenote::manual{},                                            // no background thread: all of this happens in order
        cenote::counters{},                                          // for stats()
        cenote::named{"shop"},                                       // for errors
        cenote::on_connect{[](cenote::sqlite::connection& c) { run(c.handle(), "pragma cache_size = 500"); std::cout << "     on_connect\n"; }},
        cenote::on_acquire{[](auto&) { std::cout << "     on_acquire\n"; }},
        cenote::on_give_back{[](auto&) { std::cout << "     on_give_back\n"; }},
        cenote::on_close{[](auto&, cenote::close_reason why) { std::cout << "     on_close: " << to_string(why) << '\n'; }},
    };
}

// As a member, any of these: decltype(make_db()), or an alias that is then constructed with any subset in any order.
using small_pool = cenote::pool<cenote::sqlite, cenote::bounded, cenote::max_lifetime, cenote::manual>;

int main() {
    auto db = make_db();
    std::cout << "at most " << db.stats().max << " connections, not the profile's 30\n";

    std::cout << "1  the first lease opens a connection and leaves a temporary table\n";
    run(db.acquire().native_handle(), "create temp table mine(x)");


    std::cout << "2  the second gets the same connection, as good as new\n";
    run(db.acquire().native_handle(), "insert into mine values (1)");


    std::cout << "3  a nested acquire could wait for its own thread for ever; another thread gets the overflow connection\n";
    {
        auto mine = db.acquire();
        std::error_code why;
        if (!db.acquire(1s, why)) std::cout << "     " << why.message() << '\n';
        std::jthread{[&db] { auto theirs = db.acquire(); }}.join();
    } // the third use of the first connection
    db.maintain(); // closing can wait until somebody has time: with the default background_thread nobody need ask

    std::cout << "4  bad values are refused by name\n";
    try {
        small_pool bad{cenote::sqlite{"file:small?mode=memory&cache=shared"}, cenote::max_lifetime{.after = -1s}};
    } catch (const std::invalid_argument& e) {
        std::cout << "     " << e.what() << '\n';
    }

    const auto s = db.stats();
    std::cout << s.leases << " leases, " << s.opened << " opened, " << s.closed << " closed\n";
}
