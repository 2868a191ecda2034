// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <server/support/process.hpp>

#include <cenote/pool.hpp>
#include <cenote/session/lock.hpp>
#include <cenote/testing/fault_proxy.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <new>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/// What both databases' locks are put through.
namespace locks {

using namespace std::chrono_literals;
using cenote::errc;

template <class F>
[[nodiscard]] bool becomes(F holds) {
    for (const auto by = cenote::deadline::in(20s); !holds();) {
        if (by.expired()) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

/// A name that no other test has.
inline std::string own_name(const char* what) {
    static std::atomic<int> n{0};
    return std::string{what} + "-" + std::to_string(::getpid()) + "-" + std::to_string(n++);
}

/// What processes tell each other.
struct board {
    static constexpr std::size_t most = 8192;
    std::atomic<pid_t> holder{0};
    std::atomic<pid_t> condemned{0};   ///< is being killed
    std::atomic<unsigned> rounds{0};   ///< locks that were taken
    std::atomic<unsigned> crimes{0};   ///< two holders, or a mark that another one wrote over
    std::atomic<unsigned> failures{0}; ///< locks that were not got, or lost
    std::atomic<bool> over{false};
    std::atomic<std::size_t> sessions_seen{0};
    std::array<std::atomic<std::uint64_t>, most> sessions{}; ///< the numbers of those that held it
};

class shared_board {
public:
    shared_board() {
        void* const at = ::mmap(nullptr, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) throw std::system_error{errno, std::generic_category()};
        board_ = ::new (at) board{};
    }
    shared_board(const shared_board&) = delete;
    shared_board& operator=(const shared_board&) = delete;
    ~shared_board() { ::munmap(static_cast<void*>(board_), sizeof(board)); }
    board* operator->() const noexcept { return board_; }
    board& operator*() const noexcept { return *board_; }

private:
    board* board_;
};

/// Whether a process whose mark still stands has died of the kill that it was condemned to.
inline bool was_killed(const board& b, pid_t p) {
    for (const auto by = cenote::deadline::in(5s); !by.expired(); std::this_thread::yield()) {
        const char state = process::state_of(p);
        if (state == '\0' || state == 'Z' || state == 'X') return true;
        if (b.condemned.load() != p) return false;
    }
    return false;
}

/// One of the processes: takes the lock, leaves its mark, looks whether anybody else does, and gives it back, until it is over.
template <class Driver, class Key>
int compete(board& b, Driver d, const Key& key, unsigned seed) noexcept {
    try {
        std::minstd_rand dice{seed};
        const pid_t me = ::getpid();
        cenote::pool db{std::move(d), cenote::bounded{.max = 2}, cenote::manual{}};
        while (!b.over) {
            std::error_code why;
            auto held = cenote::lock(db, key, {.wait = 20s, .poll = 2ms}, why);
            if (!held) {
                ++b.failures;
                continue;
            }
            const std::size_t n = b.sessions_seen++;
            if (n < board::most) b.sessions[n] = held.driver().session_number(held.connection());
            const pid_t before = b.holder.exchange(me);
            if (before != 0 && !was_killed(b, before)) ++b.crimes;
            ++b.rounds;
            std::this_thread::sleep_for(std::chrono::microseconds{static_cast<int>(dice() % 3000)});
            if (dice() % 4 == 0 && !held.check(10s, why)) ++b.failures;
            if (!held.owns()) ++b.failures;
            pid_t own = me;
            if (!b.holder.compare_exchange_strong(own, 0)) ++b.crimes;
            if (dice() % 4 != 0 && !held.release(why)) ++b.failures; // else at the end of its scope
        }
        return 0;
    } catch (const std::exception&) {
        return 2;
    }
}

/// 4 processes fight for a lock, and the one that holds it is killed now and then. `rounds`: how many locks are taken at least.
template <class Driver, class Key>
void fight(const Driver& d, const Key& key, unsigned rounds, unsigned seed, const std::function<bool(std::uint64_t session)>& lives, const std::function<bool()>& is_free) {
    shared_board b;
    std::minstd_rand dice{seed};
    std::vector<pid_t> processes;
    const auto start = [&] {
        const auto own = static_cast<unsigned>(dice());
        const pid_t child = ::fork();
        if (child == 0) ::_exit(compete(*b, d, key, own));
        processes.push_back(child);
    };
    for (int i = 0; i < 4; ++i) start();
    unsigned killed = 0;
    const auto by = cenote::deadline::in(120s);
    while ((b->rounds < rounds || killed < rounds / 4) && !by.expired()) {
        std::this_thread::sleep_for(std::chrono::milliseconds{1 + static_cast<int>(dice() % 8)});
        const pid_t victim = b->holder.load();
        if (std::find(processes.begin(), processes.end(), victim) == processes.end()) continue; // nobody, or one that is dead
        b->condemned = victim; // it may have released meanwhile, and is killed somewhere else
        ::kill(victim, SIGKILL);
        int status = 0;
        ::waitpid(victim, &status, 0);
        ++killed;
        std::erase(processes, victim);
        start();
    }
    b->over = true;
    std::vector<int> ends;
    for (const pid_t p : processes) {
        int status = 0;
        ::waitpid(p, &status, 0);
        ends.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : 256);
    }
    CHECK(ends == std::vector<int>(4, 0));
    CHECK(b->rounds >= rounds);
    CHECK(killed >= rounds / 4);
    CHECK(b->crimes == 0);
    CHECK(b->failures == 0);
    CHECK(becomes(is_free));
    const std::size_t seen = std::min(b->sessions_seen.load(), board::most);
    CHECK(becomes([&] { return std::none_of(b->sessions.begin(), b->sessions.begin() + static_cast<std::ptrdiff_t>(seen), lives); }));
    UNSCOPED_INFO("locks: " << b->rounds << " taken, " << killed << " holders killed");
}

inline unsigned rounds() {
    const char* const said = std::getenv("CENOTE_LOCK_ROUNDS");
    return said != nullptr ? static_cast<unsigned>(std::stoul(said)) : 12;
}

/// Where a connection is cut: the statement does not leave, its answer does not come back, or not all of it.
struct cut {
    const char* name;
    cenote::testing::direction where;
    std::uint64_t bytes;
};
inline constexpr std::array<cut, 4> cuts{{{"before the statement is sent", cenote::testing::direction::to_server, 0},
                                          {"in the middle of the statement", cenote::testing::direction::to_server, 20},
                                          {"before the answer", cenote::testing::direction::to_client, 0},
                                          {"in the middle of the answer", cenote::testing::direction::to_client, 7}}};

/// Cuts taking and releasing at each point, in each way. `through` leads through the proxy.
template <class Driver, class Key>
void cut_everywhere(cenote::testing::fault_proxy& net, const Driver& through, const Key& key, const std::function<bool()>& is_free) {
    using cenote::testing::ending;
    cenote::lock_counters figures;
    cenote::pool db{through, cenote::bounded{.max = 2}, cenote::counters{}};
    unsigned lost = 0;
    for (const cut& c : cuts) {
        for (const ending how : {ending::fin, ending::reset}) {
            INFO(c.name << (how == ending::fin ? ", in order" : ", by a reset"));
            cenote::failure why;
            (void)db.warm_up(1);
            {
                net.cut_after(c.bytes, c.where, how);
                auto none = cenote::lock(db, key, {.wait = 0s, .sink = figures}, why);
                CHECK_FALSE(none);
                INFO(why.text());
                CHECK(why.code == errc::lock_failed);
                net.heal();
                CHECK(becomes(is_free));
            }
            { // the same, but there is time to ask again
                net.cut_after(c.bytes, c.where, how);
                std::jthread healer{[&] {
                    (void)becomes([&] { return db.stats().closed > 0 && net.open_now() == 0; });
                    net.heal();
                }};
                auto held = cenote::lock(db, key, {.wait = 20s, .poll = 10ms, .sink = figures}, why);
                INFO(why.text());
                healer.join();
                REQUIRE(held);
                held.check(10s);
            }
            CHECK(becomes(is_free));
            for (const bool by_hand : {true, false}) {
                auto held = cenote::lock(db, key, {.wait = 20s, .sink = figures});
                net.cut_after(c.bytes, c.where, how);
                if (by_hand) {
                    CHECK_FALSE(held.release(why));
                    CHECK(why.code == errc::lock_lost);
                    CHECK_FALSE(held.release());
                } else {
                    held = {};
                }
                ++lost;
                net.heal();
                CHECK(becomes(is_free));
            }
        }
    }
    CHECK(figures.count(cenote::lock_change::close_error) == lost);
    // Nobody answers: a release ends with its own time, and the server hears of it as soon as it can.
    for (const auto where : {cenote::testing::direction::to_server, cenote::testing::direction::to_client}) {
        auto held = cenote::lock(db, key, {.wait = 20s, .answer = 50ms, .sink = figures});
        net.freeze(where);
        cenote::failure why;
        CHECK_FALSE(held.release(why));
        CHECK(why.code == errc::lock_failed);
        std::error_code taking;
        CHECK_FALSE(cenote::lock(db, key, {.wait = 0s, .answer = 50ms, .sink = figures}, taking));
        CHECK(taking);
        net.thaw(where);
        CHECK(becomes(is_free));
    }
    CHECK(becomes([&] { return db.stats().used == 0; }));
    auto held = cenote::lock(db, key, {.wait = 20s});
    CHECK(held.release());
}

} // namespace locks
