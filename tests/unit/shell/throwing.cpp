// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

using namespace pool_test;

namespace {

/// Counts the steps of a scenario (every hook, every event of a sink, every call of the driver that may throw) and throws at one.
class tripwire {
public:
    enum class kind { standard, of_driver, integer };

    tripwire(std::size_t at, kind what) noexcept : at_{at}, what_{what} {}

    void step() {
        if (!armed_.load()) return;
        if (steps_.fetch_add(1) + 1 != at_) return;
        tripped_ = true;
        switch (what_) {
        case kind::standard: throw std::runtime_error{"tripped"};
        case kind::of_driver: throw driver_error{error_class::disconnected, "tripped"};
        case kind::integer: throw 42;
        }
    }
    void disarm() noexcept { armed_ = false; }
    [[nodiscard]] bool tripped() const noexcept { return tripped_; }

private:
    std::atomic<std::size_t> steps_{0};
    std::size_t at_;
    kind what_;
    std::atomic<bool> tripped_{false};
    std::atomic<bool> armed_{true};
};

/// A sink whose every callback is a step.
struct wired {
    using family = family::metrics;
    tripwire* wire;
    void on_acquired(const acquired_event&) { wire->step(); }
    void on_returned(const returned_event&) { wire->step(); }
    void on_refused(const refused_event&) { wire->step(); }
    void on_opened(const opened_event&) { wire->step(); }
    void on_open_failed(const open_failed_event&) { wire->step(); }
    void on_closed(const closed_event&) { wire->step(); }
    void on_waited(duration) { wire->step(); }
    void on_dirty() { wire->step(); }
    void on_detached() { wire->step(); }
    void on_validation_failed() { wire->step(); }
    void on_reset_failed() { wire->step(); }
    void on_nested() { wire->step(); }
    void on_leak(const lease_info&) { wire->step(); }
    void on_leak_returned(const lease_info&) { wire->step(); }
};

/// A hook that is a step.
struct trip {
    tripwire* wire;
    void operator()(const auto&) const { wire->step(); }
};

constexpr std::size_t size = 2;

/// What a driver may answer with an exception.
constexpr site throwing_sites[]{site::open, site::ping, site::rollback, site::reset, site::reset_finish, site::execute, site::interrupter, site::cancel};

/// A short life of a pool that comes by everything it can do; what it throws is expected, what it does wrong is not.
template <class Pool>
void scenario(Pool& p, script& s, manual_clock& time) {
    using lease = typename Pool::lease;
    const auto take = [&]() -> lease {
        try {
            return p.acquire(timeout{patience});
        } catch (const std::exception&) {
        } catch (int) {
        }
        return {};
    };
    const auto tell = [&] {
        std::error_code code;
        lease l = p.acquire(timeout{patience}, code);
        CHECK(static_cast<bool>(l) != static_cast<bool>(code));
        if (l) CHECK(l->pristine());
        return l;
    };
    (void)p.maintain();
    { // plain
        auto a = take();
        auto b = tell();
        if (a) a->use();
    }
    { // dirty, twice
        auto a = tell();
        auto b = take();
        if (a) a->begin();
        if (b) b->leave_busy();
    }
    (void)p.maintain();
    { // tested
        time.advance(1s);
        auto a = tell();
        auto b = p.try_acquire();
    }
    { // tested and found dead
        s.lose_all();
        time.advance(1s);
        auto a = take();
        time.advance(1min); // a suspected leak
        (void)p.maintain();
    }
    { // ended early
        auto a = tell();
        a.discard();
        a = tell();
        if (a) {
            a->mark_detached();
            try {
                (void)a.detach();
            } catch (int) {
            }
        }
    }
    { // a failed dial
        s.next(site::open, outcome::fail(error_class::auth));
        auto a = tell();
        auto b = tell();
        auto c = p.try_acquire();
    }
    s.clear(site::open); // if nobody dialled
    time.advance(2h); // too old
    (void)p.maintain();
    p.suspend();
    p.resume();
    { auto a = tell(); }
}

/// Runs the scenario on pools that `make(driver, wire, clock)` makes, with every kind of exception at every step in turn.
template <class Make>
void sweep(Make make) {
    for (const auto what : {tripwire::kind::standard, tripwire::kind::of_driver, tripwire::kind::integer}) {
        bool more = true;
        for (std::size_t at = 1; more; ++at) {
            REQUIRE(at < 1000);
            INFO("kind " << static_cast<int>(what) << ", step " << at);
            watched s;
            s.limit(size);
            tripwire wire{at, what};
            manual_clock time;
            const auto arm = [&] {
                for (const site where : throwing_sites) {
                    s.on(where, [&wire](const testing::call&) { wire.step(); });
                }
            };
            arm();
            std::vector<typename std::remove_cvref_t<decltype(*make(s, wire, time))>::lease> left;
            {
                auto p = make(s, wire, time);
                scenario(*p, s, time);
                wire.disarm();
                for (const site where : throwing_sites) s.clear(where);
                const auto at_rest = [&] {
                    (void)p->maintain();
                    const pool_stats n = p->stats();
                    return n.opening + n.closing + n.resetting == 0;
                };
                REQUIRE(eventually(at_rest)); // a dial that is to fail yet would refuse whoever waits
                check_capacity(*p, size);
                REQUIRE(eventually(at_rest));
                check_sums(p->stats());
                left.push_back(p->acquire(timeout{patience}));
                CHECK_FALSE(p->close(deadline::in(0s)).drained);
                left.clear();
                CHECK(p->close(deadline::in(patience)).drained);
            }
            REQUIRE(eventually([&] { return s.open_now() == 0; }));
            more = wire.tripped();
        }
    }
}

/// A pool with every hook and a sink, all wired.
auto all_hooks(script s, tripwire& w, manual_clock& time, auto... policies) {
    const trip t{&w};
    auto* const made = new pool{scripted{s}, on_connect{t}, on_acquire{t}, on_give_back{t}, on_close{t}, on_leak{t}, wired{.wire = &w},
                                leak_threshold{10s}, report_nested{}, max_lifetime{1h, 0.0}, clock::manual{time}, policies...};
    return std::unique_ptr<std::remove_pointer_t<decltype(made)>>{made};
}

} // namespace

TEST_CASE("case-D11: no exception at any step loses a slot: callers dial, resets at return") {
    sweep([](script s, tripwire& w, manual_clock& time) { return all_hooks(s, w, time, manual{}, bounded{.max = size}, cut_at_close{0s}, at_return<reset_if_dirty>{}, peek_after{}); });
}
TEST_CASE("case-D11: no exception at any step loses a slot: callers dial, resets deferred, min kept") {
    sweep([](script s, tripwire& w, manual_clock& time) {
        return all_hooks(s, w, time, manual{}, bounded{.min_idle = 1, .min = 1, .max = size}, cut_at_close{0s}, deferred<reset_always>{}, pre_ping{});
    });
}
TEST_CASE("case-D11: no exception at any step loses a slot: callers dial, resets in the background, overflow") {
    sweep([](script s, tripwire& w, manual_clock& time) {
        return all_hooks(s, w, time, manual{}, overflow{.size = 1, .max_overflow = 1}, cut_at_close{0s}, background<reset_with>{reset_with{"discard"}}, pre_ping_after{});
    });
}
TEST_CASE("case-D11: no exception at any step loses a slot: one thread") {
    sweep([](script s, tripwire& w, manual_clock& time) { return all_hooks(s, w, time, single_threaded{}, bounded{.max = size}, background<reset_always>{}, pre_ping{}); });
}
TEST_CASE("case-D11: no exception at any step loses a slot: nobody waits, fixed size") {
    sweep([](script s, tripwire& w, manual_clock& time) { return all_hooks(s, w, time, fixed<size>{}, no_wait{}, deferred<reset_if_dirty>{}, pre_ping{}); });
}
TEST_CASE("case-D11: no exception at any step loses a slot: a background thread, resets deferred") {
    sweep([](script s, tripwire& w, manual_clock& time) {
        return all_hooks(s, w, time, bounded{.max = size}, cut_at_close{0s}, backoff{.first = 1us, .max = 1us}, deferred<reset_if_dirty>{}, peek_after{});
    });
}
TEST_CASE("case-D11: no exception at any step loses a slot: callers dial, a script is deferred or, every second time, left to housekeeping") {
    sweep([](script s, tripwire& w, manual_clock& time) {
        for (int i = 0; i < 20; ++i) s.next(site::execute_start, outcome::would_block()).next(site::execute_start, outcome::ok());
        return all_hooks(s, w, time, manual{}, bounded{.max = size}, cut_at_close{0s}, deferred<reset_with>{reset_with{"discard"}}, pre_ping{});
    });
}
TEST_CASE("case-D11: no exception at any step loses a slot: a background thread, resets left to it for want of room to send") {
    sweep([](script s, tripwire& w, manual_clock& time) {
        s.always(site::rollback_start, outcome::would_block());
        return all_hooks(s, w, time, bounded{.max = size}, cut_at_close{0s}, backoff{.first = 1us, .max = 1us}, deferred<reset_if_dirty>{}, peek_after{});
    });
}
TEST_CASE("case-D11: no exception at any step loses a slot: a background thread, resets in the background, overflow, strictly fair") {
    sweep([](script s, tripwire& w, manual_clock& time) {
        return all_hooks(s, w, time, overflow{.size = 1, .max_overflow = 1}, strictly_fair{}, cut_at_close{0s}, backoff{.first = 1us, .max = 1us}, background<reset_always>{}, pre_ping{});
    });
}
