// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// A locking backend of one's own, and the explorer trying every schedule of three threads on it: first as it should be, then with a
// bug that no test which only runs threads is likely to meet.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>
#include <cenote/testing/explore.hpp>

#include <cstdio>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

namespace explore = cenote::testing::explore;
using cenote::detail::attention;
using cenote::testing::explore_sync;

/// The idle connections under a spinlock. It touches the machine only through Sync, so that the explorer can take its place.
template <class Order, class Sync, bool Careful>
class spin_set {
public:
    using link = cenote::detail::link;
    static constexpr bool calm = false;

    void lock() noexcept {
        while (!taken_.swap_if(0, 1)) {
            if (explore::exploring()) explore::yield();
            else std::this_thread::yield();
        }
    }
    void unlock() noexcept { taken_.store(0); }

    [[nodiscard]] link* pop() noexcept {
        lock();
        link* const l = idle_.pop();
        unlock();
        return l;
    }
    /// Publishes, unless somebody wants to know of it: then says no and keeps the lock.
    [[nodiscard]] bool push(link& l) noexcept {
        const bool quiet_before = wanted_.load() == 0;
        lock();
        // The bug: who began to wait between the look and the lock is not seen.
        if (!(Careful ? wanted_.load() == 0 : quiet_before)) return false;
        idle_.push(l);
        unlock();
        return true;
    }

    void raise(attention) noexcept { wanted_.store(1); }
    void lower() noexcept { wanted_.store(0); }
    [[nodiscard]] link* pop_locked() noexcept { return idle_.pop(); }
    void push_locked(link& l) noexcept { idle_.push(l); }
    [[nodiscard]] bool empty_locked() const noexcept { return idle_.empty(); }
    [[nodiscard]] unsigned count_locked() const noexcept { return idle_.count(); }
    template <class Pred>
    [[nodiscard]] link* extract(Pred&& pred, unsigned keep) noexcept { return idle_.extract(pred, keep); }
    template <class F>
    void each_locked(F&& f) const noexcept { idle_.each(f); }

private:
    typename Sync::word taken_{0}, wanted_{0};
    cenote::detail::chain<Order> idle_;
};

/// Family locking. A program uses it with cenote's Sync for the machine, the check below with the explorer's.
template <class Sync, bool Careful = true>
struct spinning {
    using family = cenote::family::locking;
    using sync = Sync;
    static constexpr bool threads = true;
    template <class Order>
    using idle_set = spin_set<Order, Sync, Careful>;
};
using machine = cenote::detail::real_sync<std::mutex>;

template <class Locking>
auto make_pool() {
    return std::make_unique<cenote::pool<cenote::null, cenote::bounded, Locking, cenote::strictly_fair, cenote::manual, cenote::no_age_limit, cenote::no_acquire_timeout>>(
        cenote::null{}, cenote::bounded{.max = 1});
}

/// One connection and three who want it, without a deadline: a wake-up that is lost is lost for ever.
template <class Locking>
explore::result check(unsigned preemptions) {
    return explore::run({.preemptions = preemptions, .deepen = true, .print_to = nullptr}, [](explore::world& w) {
        auto db = std::shared_ptr{make_pool<Locking>()}; // fresh in every schedule
        auto users = std::make_shared<int>(0);
        for (const char* name : {"a", "b", "c"}) {
            w.thread(name, [=] {
                auto lease = db->acquire(cenote::deadline::never());
                explore::require(++*users == 1, "a connection has one user");
                explore::point("uses the connection");
                --*users;
            });
        }
        w.at_rest([=] {
            const auto s = db->stats();
            explore::require(s.pending == 0 || s.idle == 0, "nobody waits beside an idle connection");
        });
        w.finally([=] { explore::require(db->stats().idle == 1, "the connection is back"); });
    });
}

int main() {
    {
        const auto db = make_pool<spinning<machine>>(); // on the machine
        const auto lease = db->acquire(cenote::deadline::never());
        std::printf("in a pool: %s\n", lease ? "a lease" : "nothing");
    }
    const auto good = check<spinning<explore_sync>>(2);
    std::printf("careful: %s, %llu schedules, %s\n", good.passed() ? "no violation" : good.violation.c_str(), static_cast<unsigned long long>(good.schedules),
                good.complete ? "all there are with 2 preemptions" : "there are more");

    const auto bad = check<spinning<explore_sync, false>>(2);
    std::printf("careless: %s\n", bad.violation.c_str());
    // Who did what is in bad.events, line by line, and explore::replay(bad.schedule, scenario) runs it again under a debugger. Of all
    // that, what concerns the flag, which is word 2, and who fell asleep:
    std::istringstream events{bad.events};
    for (std::string line; std::getline(events, line);) {
        if (line.find("word 2") != std::string::npos || line.find("  parks") != std::string::npos) std::printf("%s\n", line.c_str());
    }
    return good.passed() && good.complete && !bad.passed() ? 0 : 1;
}
