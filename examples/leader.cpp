// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// One of several processes leads, and when it is killed another one does: a lock in the database is the election. The leader is killed
// three times. Needs a server that is thrown away afterwards: examples/run leader
#include <cenote/drivers/postgres.hpp>
#include <cenote/session/lock.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

/// What each process does for ever: waits until it is elected, and leads for as long as it is.
[[noreturn]] void candidate(const std::string& address, int to_parent) {
    cenote::pool db{cenote::postgres{address}, cenote::bounded{.max = 2}};
    for (;;) {
        cenote::failure why;
        // A leader leads for as long as it lives. Those that wait hold no connection in between.
        auto leading = cenote::lock(db, cenote::advisory_lock{"leader of the shop"}, {.wait = 1h, .poll = 20ms, .max_hold = cenote::duration::max()}, why);
        if (!leading) continue; // the server was away, say: why.text()
        const pid_t me = ::getpid();
        if (::write(to_parent, &me, sizeof me) != sizeof me) ::_exit(1);
        // A little work, and the question whether it still leads before each piece of it. A piece that must not be done by two is done
        // on the lock's own connection, in a transaction, and then fails with it.
        while (leading.check(1s, why)) std::this_thread::sleep_for(5ms);
        // Lost: its session was ended, or the server does not answer. Somebody else may lead already, so this one does not any more.
    }
}

int main() {
    const char* address = std::getenv("CENOTE_PG_TCP");
    if (address == nullptr) {
        std::cerr << "it needs a server; run it by examples/run leader\n";
        return 2;
    }
    int news[2];
    if (::pipe(news) != 0) return 1;
    std::vector<pid_t> candidates;
    for (int i = 0; i < 4; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            try {
                candidate(address, news[1]);
            } catch (const std::exception& e) {
                std::cerr << e.what() << "\n";
                ::_exit(1);
            }
        }
        candidates.push_back(child);
    }
    const auto next_leader = [&] {
        pid_t who = 0;
        if (::read(news[0], &who, sizeof who) != sizeof who) std::abort();
        return who;
    };
    pid_t leader = next_leader();
    std::cout << candidates.size() << " candidates, one leads\n";
    for (int i = 0; i < 3; ++i) {
        std::this_thread::sleep_for(20ms);
        const auto killed_at = clock_type::now();
        ::kill(leader, SIGKILL);
        ::waitpid(leader, nullptr, 0);
        std::erase(candidates, leader);
        const pid_t next = next_leader();
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(clock_type::now() - killed_at).count();
        const bool known = std::find(candidates.begin(), candidates.end(), next) != candidates.end();
        std::cout << "killed; " << (known ? "one of the other " : "nobody of the ") << candidates.size() << " leads after " << ms << " ms\n";
        leader = next;
    }
    for (const pid_t p : candidates) {
        ::kill(p, SIGKILL);
        ::waitpid(p, nullptr, 0);
    }
    return 0;
}
