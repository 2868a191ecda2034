// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <functional>
#include <optional>
#include <thread>
#include <vector>

using namespace pool_test;

// Hooks that call their pool, and pools that end in the middle of things.

TEST_CASE("case-D10: a hook may resize the pool it belongs to") {
    watched s{4};
    std::function<void()> again = [] {};
    pool p{scripted{s}, manual{}, bounded{.max = 4}, on_close{[&](auto&) { std::exchange(again, [] {})(); }}};
    {
        std::vector<decltype(p)::lease> all;
        for (int i = 0; i < 4; ++i) all.push_back(p.acquire());
    }
    again = [&] { p.resize(2); };
    p.resize(3);
    CHECK(p.stats().max == 2);
    CHECK(p.stats().total == 2);
    check_capacity(p, 2);
}

TEST_CASE("case-D10: a pool whose last handle goes in a hook on its own thread ends when that hook is done") {
    using pool_type = pool<scripted, bounded, idle_timeout, on_close<std::function<void(testing::scripted_connection&)>>>;
    script s;
    std::optional<pool_type> p;
    std::function<void(testing::scripted_connection&)> drop = [&](testing::scripted_connection&) { p.reset(); };
    p.emplace(scripted{s}, bounded{.max = 2}, on_close{drop});
    auto kept = p->acquire(timeout{patience});
    auto gone = p->acquire(timeout{patience});
    gone.discard(); // closed on the background thread, whose hook destroys the pool
    REQUIRE(s.await(site::close, 1, patience));
    CHECK(good(kept));
    kept.give_back(); // nobody is there any more: closed here
    CHECK(eventually([&] { return s.open_now() == 0; }));
    CHECK(s.violations_at_end().empty());
}

TEST_CASE("overflow goes at once when more come back than wait") {
    watched s{10};
    pool p{scripted{s}, overflow{.size = 1, .max_overflow = 9}};
    std::vector<decltype(p)::lease> all;
    for (int i = 0; i < 10; ++i) all.push_back(p.acquire(timeout{patience}));
    std::jthread waiter{[&] { const auto held = p.acquire(timeout{patience}); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    all.clear();
    waiter.join();
    CHECK(eventually([&] { return p.stats().total == 1; }));
}

TEST_CASE("what is held beyond overflow.size while suspended goes at resume()") {
    watched s{3};
    pool p{scripted{s}, overflow{.size = 1, .max_overflow = 2}};
    std::vector<decltype(p)::lease> all;
    for (int i = 0; i < 3; ++i) all.push_back(p.acquire(timeout{patience}));
    p.suspend();
    std::jthread waiter{[&] {
        std::error_code ec;
        (void)p.acquire(50ms, ec);
    }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    all.clear();
    waiter.join();
    p.resume();
    CHECK(eventually([&] { return p.stats().total == 1; }));
}

TEST_CASE("an acquire that had its turn and got a dead connection is not refused by a queue that filled meanwhile") {
    watched s{1};
    pool p{scripted{s}, bounded{.max = 1}, pre_ping{}, strictly_fair{.max_waiters = 1}};
    auto held = p.acquire(timeout{patience});
    door ping_gate;
    s.next(site::ping, outcome::fail(error_class::disconnected).after(ping_gate));
    bool first_served = false, second_served = false;
    std::jthread first{[&] { first_served = static_cast<bool>(p.acquire(timeout{patience})); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    held.give_back();
    REQUIRE(ping_gate.await(1, patience)); // the first has the connection and tests it
    std::jthread second{[&] { second_served = static_cast<bool>(p.acquire(timeout{patience})); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    ping_gate.open();
    first.join();
    second.join();
    CHECK(first_served);
    CHECK(second_served);
}

TEST_CASE("the destructor does not wait for a close that hangs") {
    script s;
    door stuck;
    {
        pool p{scripted{s}, bounded{.max = 2}, background_thread{.patience = 1ms}};
        { const auto held = p.acquire(timeout{patience}); }
        s.always(site::close, outcome::ok().after(stuck));
    }
    CHECK(s.closed() == 0);
    stuck.open();
    CHECK(eventually([&] { return s.open_now() == 0; }));
}
