// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace pool_test;

namespace {

/// Writes `what` and the connection's id.
auto note(std::shared_ptr<journal> to, std::string what) {
    return [to, what](testing::scripted_connection& c) { to->write(what + " " + std::to_string(c.id())); };
}

struct no_std_exception {};

/// Every callback throws, one kind of thing after the other.
struct thrower {
    using family = family::metrics;
    std::shared_ptr<unsigned> calls = std::make_shared<unsigned>(0);
    void boom() const {
        if (++*calls % 2 == 0) throw std::runtime_error{"sink"};
        throw no_std_exception{};
    }
    void on_acquired(const acquired_event&) { boom(); }
    void on_returned(const returned_event&) { boom(); }
    void on_refused(const refused_event&) { boom(); }
    void on_opened(const opened_event&) { boom(); }
    void on_open_failed(const open_failed_event&) { boom(); }
    void on_closed(const closed_event&) { boom(); }
    void on_waited(duration) { boom(); }
    void on_dirty() { boom(); }
    void on_detached() { boom(); }
    void on_validation_failed() { boom(); }
    void on_reset_failed() { boom(); }
    void on_nested() { boom(); }
    void on_leak(const lease_info&) { boom(); }
    void on_leak_returned(const lease_info&) { boom(); }
};

/// The short forms of two callbacks.
struct terse {
    using family = family::metrics;
    std::shared_ptr<journal> to;
    void on_acquired() { to->write("acquired"); }
    void on_returned() { to->write("returned"); }
};

} // namespace

TEST_CASE("hooks are called at their step, in the order they were written in") {
    watched s{1};
    auto j = std::make_shared<journal>();
    pool p{scripted{s},
           manual{},
           bounded{.max = 1},
           on_close{note(j, "close a")},
           on_give_back{note(j, "give back a")},
           on_connect{note(j, "connect a")},
           on_acquire{note(j, "acquire a")},
           on_connect{[j](testing::scripted_connection& c) { j->write("connect b " + std::to_string(c.id())); }},
           on_acquire{[j](testing::scripted_connection& c) { j->write("acquire b " + std::to_string(c.id())); }},
           on_give_back{[j](testing::scripted_connection& c) { j->write("give back b " + std::to_string(c.id())); }},
           on_close{[j](testing::scripted_connection& c, close_reason why) { j->write("close b " + std::to_string(c.id()) + " " + std::string{to_string(why)}); }}};
    auto l = p.acquire();
    CHECK(j->take() == lines{"connect a 1", "connect b 1", "acquire a 1", "acquire b 1"});
    l.give_back();
    CHECK(j->take() == lines{"give back a 1", "give back b 1"});
    l = p.acquire();
    CHECK(j->take() == lines{"acquire a 1", "acquire b 1"});
    l.discard();
    CHECK(j->take() == lines{"close a 1", "close b 1 discarded"});
    p.acquire().give_back();
    j->take();
    (void)p.close();
    CHECK(j->take() == lines{"close a 2", "close b 2 shutdown"});
}

TEST_CASE("a hook sees the connection before the next user does, and may leave it clean or dirty") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, at_return<reset_if_dirty>{}, on_give_back{[](testing::scripted_connection& c) { c.begin(); }}};
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::rollback) == 1); // the hook runs before the reset
    CHECK(good(p.acquire()));
}

TEST_CASE("case-D10: hooks may use the pool") {
    watched s{2};
    std::function<void()> visit;
    unsigned calls = 0;
    const std::function<void(testing::scripted_connection&)> look = [&](testing::scripted_connection&) {
        ++calls;
        visit();
    };
    pool p{scripted{s}, manual{}, bounded{.max = 2}, no_wait{}, on_connect{look}, on_acquire{look}, on_give_back{look}, on_close{look}};
    visit = [&] {
        (void)p.stats();
        (void)p.inspect();
        (void)p.maintain();
        p.resize(2);
    };
    p.acquire().give_back();
    p.acquire().discard();
    check_capacity(p, 2);
    CHECK(calls > 6);
    (void)p.close();
}

TEST_CASE("under manual, what on_connect throws closes the connection and comes through") {
    watched s{1};
    int how = 0;
    recorder sink;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, counters{}, sink, on_connect{[&](testing::scripted_connection&) {
               if (how == 1) throw std::runtime_error{"no such setting"};
               if (how == 2) throw no_std_exception{};
           }}};
    how = 1;
    CHECK_THROWS_AS(p.acquire(), std::runtime_error);
    failure why;
    CHECK_FALSE(p.acquire(patience, why));
    CHECK(why.code == errc::hook_failed);
    REQUIRE(why.seen);
    CHECK(why.seen->detail == "no such setting");
    CHECK_THAT(why.text(), ContainsSubstring("hook failed after ") && ContainsSubstring("; no such setting"));
    how = 2;
    CHECK_THROWS_AS(p.acquire(), no_std_exception);
    std::error_code code;
    CHECK_FALSE(p.acquire(patience, code));
    CHECK(code == errc::hook_failed);
    CHECK_FALSE(p.acquire(patience, why));
    CHECK(why.seen->detail == "an exception that is no std::exception");
    CHECK_FALSE(p.try_acquire());
    CHECK(gauges_of(p) == gauges{});
    CHECK(s.opened() == 6);
    CHECK(s.closed() == 6);
    CHECK(p.get<counters>().closed_for(close_reason::setup_failed) == 6);
    CHECK(sink.to->count("refused: hook failed") == 6);
    how = 0;
    check_capacity(p, 1);
    CHECK(p.stats().opened == 7); // what was closed was opened before
}

TEST_CASE("with a background thread, what on_connect throws reaches those who wait as connect_failed with its text") {
    watched s{1};
    std::atomic<int> how{1};
    pool p{scripted{s}, bounded{.max = 1}, counters{}, backoff{.first = 1us, .max = 1us}, on_connect{[&](testing::scripted_connection&) {
               if (how == 1) throw std::runtime_error{"no such setting"};
               if (how == 2) throw no_std_exception{};
           }}};
    failure why;
    CHECK_FALSE(p.acquire(patience, why));
    CHECK(why.code == errc::connect_failed);
    REQUIRE(why.seen);
    CHECK(why.seen->last_connect_error.text == "no such setting");
    how = 2;
    CHECK_FALSE(p.acquire(patience, why));
    CHECK(why.code == errc::connect_failed);
    CHECK(why.seen->last_connect_error.text == "an exception that is no std::exception");
    how = 0;
    check_capacity(p, 1);
    CHECK(s.closed() == 2);
    CHECK(p.get<counters>().closed_for(close_reason::setup_failed) == 2);
    CHECK(p.stats().opened == 3);
}

TEST_CASE("what on_acquire throws gives the connection back and comes through") {
    watched s{1};
    bool fails = true;
    auto j = std::make_shared<journal>();
    recorder sink;
    pool p{scripted{s}, bounded{.max = 1}, counters{}, sink, on_give_back{note(j, "back")}, on_acquire{[&](testing::scripted_connection&) {
               if (fails) throw std::runtime_error{"tenant unknown"};
           }}};
    CHECK_THROWS_AS(p.acquire(timeout{patience}), std::runtime_error);
    CHECK(gauges_of(p) == gauges{.idle = 1});
    CHECK(j->take().empty()); // there was no lease to give back
    failure why;
    CHECK_FALSE(p.acquire(patience, why));
    CHECK(why.code == errc::hook_failed);
    REQUIRE(why.seen);
    CHECK(why.seen->detail == "tenant unknown");
    CHECK_FALSE(p.try_acquire());
    CHECK(sink.to->count("refused: hook failed") == 3);
    CHECK(sink.to->count("acquired") == 0);
    CHECK(p.stats().leases == 0);
    fails = false;
    CHECK(good(p.acquire()));
    CHECK(p.stats().leases == 1);
    CHECK(s.opened() == 1);
}

TEST_CASE("what on_give_back throws closes the connection and is counted") {
    watched s{1};
    bool fails = true;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, counters{}, on_give_back{[&](testing::scripted_connection&) {
               if (fails) throw no_std_exception{};
           }}};
    p.acquire().give_back();
    CHECK(p.stats().swallowed == 1);
    fails = false;
    CHECK(good(p.acquire()));
    CHECK(s.opened() == 2);
    CHECK(p.get<counters>().closed_for(close_reason::broken) == 1);
}

TEST_CASE("what on_close throws is swallowed and counted, and the connection is closed all the same") {
    watched s{1};
    auto j = std::make_shared<journal>();
    pool p{scripted{s}, manual{}, bounded{.max = 1}, on_close{[](testing::scripted_connection&) { throw no_std_exception{}; }}, on_close{note(j, "close")}};
    p.acquire().discard();
    CHECK(p.stats().swallowed == 1);
    CHECK(j->take() == lines{"close 1"}); // the others are called all the same
    CHECK(s.closed() == 1);
    check_capacity(p, 1);
}

// ── sinks ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("every sink is told each event once, in order") {
    watched s{1};
    recorder sink;
    terse brief{.to = std::make_shared<journal>()};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, acquire_timeout{1ms}, at_return<reset_if_dirty>{}, report_nested{}, leak_threshold{10s}, sink, brief,
           clock::manual{time}};
    auto& j = *sink.to;

    s.next(site::open, outcome::fail(error_class::refused, "connection refused"));
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::connect_failed);
    CHECK(j.take() == lines{"open failed: connection refused", "waited", "refused: connect failed"});

    auto l = p.acquire();
    CHECK(j.take() == lines{"opened", "waited", "acquired, opened"});
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::acquire_timeout);
    CHECK(j.take() == lines{"nested", "waited", "refused: " + make_error_code(errc::acquire_timeout).message()});
    l.give_back();
    CHECK(j.take() == lines{"returned"});
    l = p.acquire();
    CHECK(j.take() == lines{"acquired"});
    l->begin();
    l.give_back();
    CHECK(j.take() == lines{"dirty", "returned dirty"});

    l = p.acquire();
    s.next(site::rollback, outcome::throw_std());
    l->begin();
    l.give_back();
    (void)p.maintain();
    CHECK(j.take() == lines{"acquired", "dirty", "returned dirty", "reset failed", "closed: reset_failed"});

    l = p.acquire();
    l.give_back();
    j.take();
    time.advance(1s);
    s.lose_all();
    l = p.acquire();
    CHECK(j.take() == lines{"validation failed", "closed: validation", "opened", "waited", "acquired, opened"});

    l.tag("import");
    time.advance(10s);
    (void)p.maintain();
    CHECK(j.take() == lines{"leak import"});
    l.give_back();
    CHECK(j.take() == lines{"leak returned import", "returned"});

    l = p.acquire();
    j.take();
    l.discard();
    CHECK(j.take() == lines{"returned", "closed: discarded"});
    l = p.acquire();
    j.take();
    l->mark_detached();
    (void)l.detach();
    CHECK(j.take() == lines{"returned", "detached"});
    (void)p.close();
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::pool_closed);
    CHECK(j.take() == lines{"waited", "refused: pool closed"});
    CHECK(brief.to->count("acquired") == 7);
    CHECK(brief.to->count("returned") == 7);
}

TEST_CASE("a sink that throws at every event changes nothing but a counter") {
    watched s;
    s.limit(2);
    manual_clock time;
    thrower sink;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, acquire_timeout{1ms}, at_return<reset_if_dirty>{}, report_nested{}, leak_threshold{10s}, sink,
           on_leak{[](const lease_info&) { throw no_std_exception{}; }}, clock::manual{time}};
    s.next(site::open, outcome::fail(error_class::refused));
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::connect_failed);
    auto l = p.acquire();
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::acquire_timeout);
    l->begin();
    l.give_back();
    s.next(site::rollback, outcome::throw_int());
    l = p.acquire();
    l->begin();
    l.give_back();
    p.acquire().give_back();
    time.advance(1s);
    s.lose_all();
    l = p.acquire();
    time.advance(10s);
    (void)p.maintain();
    l.give_back();
    p.acquire().discard();
    l = p.acquire();
    l->mark_detached();
    (void)l.detach();
    check_capacity(p, 1);
    CHECK(p.stats().swallowed == *sink.calls + 2);
    CHECK(*sink.calls > 25);
}

TEST_CASE("a returned_event tells how long the lease was held") {
    struct timer {
        using family = family::metrics;
        std::shared_ptr<std::vector<duration>> used = std::make_shared<std::vector<duration>>();
        void on_returned(const returned_event& e) { used->push_back(e.used); }
    };
    watched s{1};
    manual_clock time;
    timer t;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, t, clock::manual{time}};
    for (const auto held : {3s, 5s}) {
        auto l = p.acquire();
        time.advance(held);
        l.give_back();
        time.advance(7s);
    }
    CHECK(*t.used == std::vector<duration>{3s, 5s});
}

TEST_CASE("counters count what happened, once each") {
    watched s{1};
    recorder sink;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, counters{}, forbid_nested{}, acquire_timeout{1ms}};
    CHECK_FALSE(pool{scripted{s}, manual{}}.stats().counted);
    CHECK(p.stats().counted);
    p.acquire().give_back(); // opens
    p.acquire().give_back(); // finds it idle
    auto l = p.acquire();
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::nested_acquire);
    std::error_code code;
    std::thread{[&] { (void)p.acquire(code); }}.join();
    CHECK(code == errc::acquire_timeout);
    l.give_back();
    const pool_stats n = p.stats();
    CHECK(n.leases == 3);
    CHECK(n.waits == 2); // one opened, one timed out; the nested one neither waited nor opened
    CHECK(n.wait_ns >= 1'000'000);
    CHECK(n.timeouts == 1);
    CHECK(n.queue_full == 0);
    CHECK(n.failed == 1);
    CHECK(n.opened == 1);
    CHECK(n.open_failed == 0);
    CHECK(n.closed == 0);
}

TEST_CASE("the gauges of stats() add up while threads do everything at once") {
    watched s{4};
    pool p{scripted{s}, bounded{.min_idle = 1, .max = 4}, counters{}, max_uses{5}, background<reset_if_dirty>{}};
    std::atomic<bool> stop{false};
    bool fine = true;
    std::vector<std::jthread> all;
    for (unsigned t = 0; t < 3; ++t) {
        all.emplace_back([&, t] {
            for (unsigned i = 0; !stop; ++i) {
                std::error_code code;
                auto l = p.acquire(timeout{patience}, code);
                if (!l) continue;
                if (i % 3 == t) l->begin();
                if (i % 7 == t) l.discard();
            }
        });
    }
    for (int i = 0; i < 2000; ++i) {
        const pool_stats n = p.stats();
        fine = fine && n.idle + n.used + n.opening + n.closing + n.resetting == n.total && n.total <= n.max;
    }
    stop = true;
    all.clear();
    CHECK(fine);
    REQUIRE(eventually([&] {
        const pool_stats n = p.stats();
        return n.closing + n.resetting + n.opening == 0 && n.opened - n.closed == n.total;
    }));
}

// ── leaks ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("a lease past the threshold is reported once, and once more when it is back") {
    watched s{2};
    manual_clock time;
    auto j = std::make_shared<journal>();
    pool p{scripted{s}, manual{}, bounded{.max = 2}, leak_threshold{10s}, counters{}, clock::manual{time},
           on_leak{[j](const lease_info& l) { j->write(l.text()); }}};
    auto a = p.acquire();
    time.advance(10s - 1ns);
    (void)p.maintain();
    CHECK(j->take().empty());
    time.advance(1ns);
    a.tag("import");
    (void)p.maintain();
    auto told = j->take();
    REQUIRE(told.size() == 1);
    CHECK_THAT(told[0], ContainsSubstring("10000ms at ") && ContainsSubstring("hooks.cpp:") && ContainsSubstring("[import]"));
    time.advance(1h);
    (void)p.maintain();
    (void)p.maintain();
    CHECK(j->take().empty());
    CHECK(p.stats().leaks == 1);
    a.give_back();
    CHECK(j->take().size() == 1);
    a = p.acquire(); // the same connection, another lease
    a.give_back();
    CHECK(j->take().empty());
    a = p.acquire();
    auto b = p.acquire();
    time.advance(10s);
    (void)p.maintain();
    CHECK(j->take().size() == 2);
    CHECK(p.stats().leaks == 3);
    a.discard();
    CHECK(j->take().size() == 1);
    b->mark_detached();
    (void)b.detach();
    CHECK(j->take().size() == 1);
}

TEST_CASE("the background thread finds leaks by itself") {
    watched s{1};
    recorder sink;
    pool p{scripted{s}, bounded{.max = 1}, leak_threshold{10ms}, sink, clock::steady{}};
    auto l = p.acquire(timeout{patience});
    REQUIRE(eventually([&] { return sink.to->count("leak") == 1; }));
    l.give_back();
    CHECK(sink.to->count("leak returned") == 1);
}

TEST_CASE("inspect() shows who holds what, oldest first") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 3}, leak_threshold{}, clock::manual{time}};
    CHECK(p.inspect().leased == 0);
    auto a = p.acquire();
    time.advance(1s);
    auto b = p.acquire();
    time.advance(1s);
    b.tag("report");
    auto i = p.inspect();
    CHECK(i.leased == 2);
    REQUIRE(i.leases.size() == 2);
    CHECK(i.leases[0].age == 2s);
    CHECK(i.leases[0].tag == nullptr);
    CHECK(i.leases[1].age == 1s);
    CHECK(std::string{i.leases[1].tag} == "report");
    CHECK(i.leases[0].id != i.leases[1].id);
    CHECK(i.leases[0].thread == std::this_thread::get_id());
    b.tag(nullptr);
    CHECK(p.inspect().leases[1].tag == nullptr);
    b.tag("again");
    b.give_back();
    b = p.acquire();
    CHECK(p.inspect().leases[1].tag == nullptr); // a tag ends with its lease
    pool q{scripted{s}, manual{}, bounded{.max = 1}};
    s.limit(4);
    auto c = q.acquire();
    c.tag("nobody writes it down");
    CHECK(q.inspect().leased == 1);
    CHECK(q.inspect().leases.empty());
}
