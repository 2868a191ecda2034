// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// How to test what a program does when its database misbehaves: its own pool over its own driver, with faults between the two.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>
#include <cenote/testing/faulty.hpp>

#include <iostream>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::error_class;

// The program under test. It takes any pool, so it cannot tell that the driver is wrapped.
std::string sell(cenote::any_pool auto& db, const std::string& what) {
    try {
        auto lease = db.acquire(5s);
        db.driver().execute(*lease, "begin; insert into sold values ('" + what + "')", cenote::deadline::in(1s));
        if (what == "a unicorn") throw std::runtime_error{"out of stock"}; // forgets its transaction, which the pool rolls back
        db.driver().execute(*lease, "commit", cenote::deadline::in(1s));
        return "sold";
    } catch (const std::exception& e) {
        return std::string{e.what()};
    }
}
int count_sold(cenote::any_pool auto& db) {
    int n = 0;
    const auto add = [](void* to, int, char**, char**) { return ++*static_cast<int*>(to), 0; };
    sqlite3_exec(db.acquire().native_handle(), "select what from sold", add, &n, nullptr);
    return n;
}

int main() {
    faults f; // a handle: the pool takes the driver, this says what goes wrong in it
    cenote::pool db{faulty{cenote::sqlite{"chaos_test.db"}, f}, cenote::bounded{.max = 1}, cenote::pre_ping{300ms},
                    cenote::at_return{cenote::reset_if_dirty{}}, cenote::connect_timeout{300ms}, cenote::backoff{.first = 1ms},
                    cenote::counters{}};

    std::cout << "refused twice, then fine\n";
    f.next(site::open, outcome::fail(error_class::refused, "nobody listens"), 2);
    db.with([&](auto& c) { db.driver().execute(c, "drop table if exists sold; create table sold(what)", cenote::deadline::in(1s)); });
    std::cout << "  " << f.counts(site::open).calls << " attempts, and the program saw none of it\n";
    std::cout << "  a hat: " << sell(db, "a hat") << '\n';

    std::cout << "a connection hangs\n";
    f.next(site::ping, outcome::until_deadline());
    std::cout << "  a bat: " << sell(db, "a bat") << ", over another connection: " << db.stats().opened << " opened\n";

    std::cout << "connecting hangs, too\n";
    f.lose_all(); // the server is gone, with all its sessions
    f.always(site::open, outcome::until_deadline());
    std::cout << "  a cat: " << sell(db, "a cat") << '\n';
    f.clear(site::open); // and back
    std::cout << "  ready again: " << (db.warm_up(1) ? "yes" : "no") << "; a cat: " << sell(db, "a cat") << '\n';

    std::cout << "a clean-up fails\n";
    f.next(site::rollback, outcome::fail(error_class::other, "cannot roll back"));
    std::cout << "  a unicorn: " << sell(db, "a unicorn") << '\n';
    std::cout << "  clean-ups failed: " << db.stats().reset_failed << ", sold: " << count_sold(db) << '\n';

    std::cout << "the session is lost in the middle\n";
    f.nth(site::execute, 2, outcome::fail(error_class::disconnected, "the server closed the connection"));
    std::cout << "  a rat: " << sell(db, "a rat") << '\n';
    std::cout << "  a rat: " << sell(db, "a rat") << '\n';

    std::cout << "one statement in ten fails, the same ones in each run\n";
    f.seed(2026).randomly(site::execute, 0.1, outcome::fail(error_class::serialization, "try again"));
    int failed = 0;
    for (int i = 0; i < 50; ++i) failed += sell(db, "a mat") == "sold" ? 0 : 1;
    f.clear();
    std::cout << "  " << failed << " of 50 sales; all in all " << f.counts().hit << " faults in " << f.counts().calls << " calls\n";

    const auto s = db.stats();
    const bool whole = s.used == 0 && count_sold(db) == 4 + 50 - failed;
    std::cout << (whole ? "nothing is lost, nothing is sold twice\n" : "something is wrong\n");
    return whole ? 0 : 1;
}
