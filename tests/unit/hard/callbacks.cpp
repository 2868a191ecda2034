// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Callbacks that call back, and throw whatever they like, and clocks that jump.
#include "unit/pool/support.hpp"

#include <cenote/view.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace pool_test;

namespace {

constexpr unsigned size = 3;

/// A hook that makes a visit.
struct caller {
    std::function<void()>* visit;
    void operator()(const auto&...) const { (*visit)(); }
};
/// A sink whose every event makes a visit.
struct caller_sink {
    using family = family::metrics;
    std::function<void()>* visit;
    void on_acquired(const acquired_event&) { (*visit)(); }
    void on_returned(const returned_event&) { (*visit)(); }
    void on_refused(const refused_event&) { (*visit)(); }
    void on_opened(const opened_event&) { (*visit)(); }
    void on_open_failed(const open_failed_event&) { (*visit)(); }
    void on_closed(const closed_event&) { (*visit)(); }
    void on_waited(duration) { (*visit)(); }
    void on_dirty() { (*visit)(); }
    void on_detached() { (*visit)(); }
    void on_validation_failed() { (*visit)(); }
    void on_reset_failed() { (*visit)(); }
    void on_refreshed(const refreshed_event&) { (*visit)(); }
    void on_nested() { (*visit)(); }
    void on_leak(const lease_info&) { (*visit)(); }
    void on_leak_returned(const lease_info&) { (*visit)(); }
};

/// A pool that has every hook, a sink, and whatever makes events.
auto everything(const script& s, manual_clock& time, std::function<void()>& visit, auto... more) {
    const caller c{&visit};
    return pool{scripted{s}, bounded{.min_idle = 1, .max = size, .ceiling = size + 1}, on_connect{c}, on_acquire{c}, on_give_back{c}, on_close{c}, on_leak{c}, caller_sink{.visit = &visit},
                leak_threshold{1min}, report_nested{}, max_lifetime{1h, 0.0}, idle_timeout{10min}, keepalive{.every = 30s, .jitter = 0.0}, require_role{}, pre_ping_after{1s},
                refresh_every{.period = 24h}, live_settings{}, counters{}, clock::manual{time}, cut_at_close{0s}, more...};
}
auto by_hand(const script& s, manual_clock& time, std::function<void()>& visit) { return everything(s, time, visit, manual{}); }
auto by_thread(const script& s, manual_clock& time, std::function<void()>& visit) {
    return everything(s, time, visit, background_thread{.max_dials = 2, .patience = 0s}, backoff{.first = 1us, .max = 1us}, no_breaker{});
}

/// A short life that comes by every hook, every event and every call of the driver. Not what it does but what it leaves is looked at.
void live(any_pool auto& p, script& s, manual_clock& time) {
    using lease = typename std::remove_cvref_t<decltype(p)>::lease;
    const auto in_any_way = [](auto f) {
        try {
            return f();
        } catch (const std::exception&) {
        } catch (int) {
        }
        return decltype(f()){};
    };
    const auto take = [&] {
        std::error_code why;
        return p.acquire(100ms, why);
    };
    (void)p.maintain();
    (void)in_any_way([&] { return p.acquire(100ms); });
    in_any_way([&] { return p.with(100ms, [](auto& c) { return c.use(), 1; }); });
    in_any_way([&] { return p.with(100ms, [](auto&) -> int { throw 42; }); });
    in_any_way([&] { return p.with(100ms, [](auto&) -> int { throw driver_error{error_class::disconnected, "lost"}; }); });
    in_any_way([&] {
        pool_view<testing::scripted_connection> view{p};
        return static_cast<bool>(view.acquire(timeout{100ms}));
    });
    {
        auto dirty = take();
        if (dirty) dirty->begin();
    }
    time.advance(40s); // idle ones are due for a test, and a lease is tested
    (void)p.maintain();
    {
        auto tested = take();
        time.advance(2min); // a suspected leak
        (void)p.maintain();
    }
    s.lose_all();
    time.advance(2s);
    (void)take();
    {
        std::vector<lease> all;
        for (unsigned i = 0; i < size; ++i) all.push_back(take());
        (void)p.try_acquire();
        std::error_code why;
        (void)p.acquire(1ms, why); // refused
        if (all[0]) all[0].discard();
        if (all[1]) {
            all[1]->mark_detached();
            in_any_way([&] { return (void)all[1].detach(), 1; });
        }
    }
    s.next(site::open, outcome::fail(error_class::auth));
    (void)take();
    s.clear(site::open);
    in_any_way([&] { return p.invalidate_all(1s), 1; });
    time.advance(2s);
    (void)p.maintain();
    (void)in_any_way([&] { return p.warm_up(size, deadline::in(100ms)).open; });
    p.invalidate_all();
    (void)in_any_way([&] { return p.reconfigure(bounded{.max = 2, .ceiling = size + 1}), 1; });
    (void)in_any_way([&] { return p.resize(size), 1; });
    time.advance(20min);
    (void)p.maintain();
    p.suspend();
    p.resume();
    (void)take();
    (void)p.trim();
}

/// Nothing is out, nothing is under way, and all can be had.
void check_whole(any_pool auto& p) {
    const auto at_rest = [&] {
        (void)p.maintain();
        const pool_stats n = p.stats();
        return n.opening + n.closing + n.resetting == 0;
    };
    p.resume();
    p.reconfigure(bounded{.max = size, .ceiling = size + 1});
    REQUIRE(eventually(at_rest)); // a dial that is to fail yet would refuse whoever waits
    check_capacity(p, size);
    REQUIRE(eventually(at_rest));
    check_sums(p.stats());
    CHECK(p.stats().used == 0);
    CHECK(p.stats().pending == 0);
}

/// How deep in visits this thread is.
thread_local int depth = 0;

/// From each callback in turn, one operation that does not wait for what the callback has in hand.
void call_back(auto make) {
    watched s{size + 1};
    manual_clock time;
    std::function<void()> visit = [] {};
    std::atomic<unsigned> visits{0};
    {
        auto p = make(s, time, visit);
        using pool_type = decltype(p);
        const std::vector<std::function<void(pool_type&)>> calls{
            [](auto& q) { (void)q.stats(); },
            [](auto& q) { (void)q.inspect(); },
            [](auto& q) { (void)q.try_acquire(); },
            [](auto& q) { (void)q.trim(); },
            [](auto& q) { (void)q.maintain(); },
            [](auto& q) {
                std::error_code why;
                (void)q.acquire(0s, why);
            },
            [](auto& q) {
                std::error_code why;
                (void)q.acquire(1ms, why); // waits, for others
            },
            [](auto& q) { q.invalidate_all(); },
            [](auto& q) { q.invalidate_all(1s); },
            [](auto& q) { (void)q.trim([](const testing::scripted_connection& c) noexcept { return c.id() % 2 == 0; }); },
            [](auto& q) {
                q.suspend();
                q.resume();
            },
            [](auto& q) { q.resize(size); },
            [](auto& q) { q.reconfigure(q.settings()); },
            [](auto& q) { q.reconfigure(bounded{.max = size, .ceiling = size + 1}, keepalive{.every = 20s}); },
            [](auto& q) { (void)q.ready(); },
            [](auto& q) { (void)q.warm_up(1, deadline{time_point::min()}); },
            [](auto& q) {
                try {
                    q.with(0s, [](auto&) {});
                } catch (const error&) { // nothing is free just now
                }
            },
        };
        visit = [&] {
            if (depth != 0) return;
            ++depth;
            calls[visits.fetch_add(1) % calls.size()](p);
            --depth;
        };
        for (std::size_t life = 0; life < calls.size(); ++life) { // callback i meets call i, i + 1, …
            live(p, s, time);
            visits.fetch_add(1);
        }
        CHECK(visits > 10 * calls.size());
        visit = [] {};
        check_whole(p);
        // And close, from within all of them: who holds a lease is not waited for beyond the deadline.
        visit = [&] {
            if (depth != 0) return;
            ++depth;
            (void)p.close(deadline{time_point::min()});
            --depth;
        };
        live(p, s, time);
        std::error_code why;
        CHECK_FALSE(p.acquire(timeout{patience}, why));
        CHECK(why == errc::pool_closed);
        CHECK(p.close(deadline::in(patience)).drained);
    }
}

/// Every step in turn throws: each callback, and each call of the driver that may.
void throw_everywhere(auto make) {
    enum class what { standard, of_driver, of_pool, integer, last };
    for (int kind = 0; kind < static_cast<int>(what::last); ++kind) {
        bool tripped = true;
        for (unsigned at = 1; tripped; ++at) {
            REQUIRE(at < 2000);
            INFO("kind " << kind << ", step " << at);
            watched s{size + 1};
            manual_clock time;
            std::atomic<unsigned> steps{0};
            std::atomic<bool> armed{true}, done{false};
            std::function<void()> step = [&] {
                if (!armed || steps.fetch_add(1) + 1 != at) return;
                done = true;
                switch (static_cast<what>(kind)) {
                case what::standard: throw std::runtime_error{"thrown"};
                case what::of_driver: throw driver_error{error_class::wrong_role, "thrown"};
                case what::of_pool: throw error{failure{make_error_code(errc::pool_closed), nullptr}};
                default: throw 42;
                }
            };
            constexpr site sites[]{site::open, site::ping, site::role, site::rollback, site::reset, site::reset_finish, site::execute, site::interrupter, site::cancel};
            for (const site where : sites) s.on(where, [&](const testing::call&) { step(); });
            {
                auto p = make(s, time, step);
                live(p, s, time);
                armed = false;
                for (const site where : sites) s.clear(where);
                check_whole(p);
                CHECK(p.close(deadline::in(patience)).drained);
                CHECK(p.stats().opened == p.stats().closed + p.stats().detached);
            }
            tripped = done;
        }
    }
}

} // namespace

TEST_CASE("case-D10: every hook and every sink may call its pool, whatever it calls: no deadlock, nothing lost") {
    SECTION("callers dial") { call_back([](auto&... a) { return by_hand(a...); }); }
    SECTION("a background thread") { call_back([](auto&... a) { return by_thread(a...); }); }
}

TEST_CASE("case-D11: whatever is thrown by whichever hook, sink or call of the driver, nothing is lost") {
    SECTION("callers dial") { throw_everywhere([](auto&... a) { return by_hand(a...); }); }
    SECTION("a background thread") { throw_everywhere([](auto&... a) { return by_thread(a...); }); }
}

TEST_CASE("case-D13: a clock that jumps ends each connection once at most, and one that jumps back ends none") {
    watched s{size};
    manual_clock time;
    std::function<void()> visit = [] {};
    auto p = by_hand(s, time, visit);
    open_idle(p, size);
    const auto closed = [&] {
        for (unsigned i = 0; i < size; ++i) {
            (void)p.maintain();
            const auto all = hold(p, size);
            for (const auto& l : all) CHECK(good(l));
        }
        (void)p.maintain();
        return s.closed();
    };
    // Back, over and over, further than the pool is old.
    for (const duration by : {duration{1min}, duration{1h}, duration{900h}}) time.set(time_point{time.now() - by});
    CHECK(closed() == 0);
    time.set(time_point{});
    CHECK(closed() == 0);
    // To and fro by less than any limit.
    for (int i = 0; i < 200; ++i) {
        time.set(time_point{i % 2 == 0 ? 9min : 0min});
        CHECK(closed() == 0);
    }
    CHECK(s.opened() == size);
    // Forth: what is too old by then goes, once, and what comes instead stays.
    time.set(manual_clock::start);
    for (unsigned jump = 1; jump <= 10; ++jump) {
        time.advance(48h);
        CHECK(closed() == jump * size);
        CHECK(s.opened() == (jump + 1) * size);
        time.set(time.now() - 5min);
        CHECK(closed() == jump * size);
    }
    CHECK(p.stats().leaks == 0);
}

TEST_CASE("case-D13: a clock that jumps ends no wait early and none late") {
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, acquire_timeout{20ms}, leak_threshold{1s}, clock::manual{time}};
    const auto held = p.acquire(timeout{patience});
    std::jthread jumps{[&](const std::stop_token& over) {
        for (int i = 0; !over.stop_requested(); ++i) {
            time.set(i % 2 == 0 ? time_point::max() : time_point{});
            std::this_thread::yield();
        }
    }};
    for (int i = 0; i < 5; ++i) {
        const auto began = std::chrono::steady_clock::now();
        std::error_code why;
        CHECK_FALSE(p.acquire(why));
        CHECK(why == errc::acquire_timeout);
        const auto took = std::chrono::steady_clock::now() - began;
        CHECK(took >= 20ms);
        CHECK(took < patience);
    }
}
