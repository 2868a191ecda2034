// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <cstddef>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace pool_test;

namespace {

enum class dirt { none, transaction, failed, busy, setting };
constexpr dirt all_dirt[] = {dirt::none, dirt::transaction, dirt::failed, dirt::busy, dirt::setting};

void leave(auto& lease, dirt d) {
    switch (d) {
    case dirt::none: break;
    case dirt::transaction: lease->begin(); break;
    case dirt::failed: lease->fail_transaction(); break;
    case dirt::busy: lease->leave_busy(); break;
    case dirt::setting: lease->set("search_path = other"); break;
    }
}
constexpr bool is_dirty(dirt d) { return d == dirt::transaction || d == dirt::failed || d == dirt::busy; }

/// Calls of the driver that clean.
std::size_t cleanings(const script& s) {
    return s.calls(site::rollback) + s.calls(site::reset) + s.calls(site::reset_start) + s.calls(site::rollback_start) + s.calls(site::execute_start) +
           s.calls(site::reset_finish) + s.calls(site::execute);
}
/// Rollbacks that were carried out or sent.
std::size_t rollbacks(const script& s) { return s.calls(site::rollback) + s.calls(site::rollback_start); }

template <class Reset>
auto by_hand(script s, Reset r, auto... more) {
    return pool{scripted{s}, manual{}, bounded{.max = 1}, no_validation{}, counters{}, r, more...};
}
template <class Reset>
auto in_background(script s, Reset r, auto... more) {
    return pool{scripted{s}, bounded{.max = 1}, no_validation{}, counters{}, r, more...};
}

} // namespace

// ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("no_reset asks nothing and cleans nothing") {
    watched s{1};
    auto p = by_hand(s, no_reset{});
    for (const dirt d : all_dirt) {
        auto l = p.acquire();
        leave(l, d);
    }
    CHECK(s.calls(site::state) == 0);
    CHECK(cleanings(s) == 0);
    CHECK(p.stats().returned_dirty == 0);
    CHECK(s.opened() == 1);
}

TEMPLATE_TEST_CASE("a clean connection costs a look at its state and nothing else", "", at_return<reset_if_dirty>, background<reset_if_dirty>,
                   deferred<reset_if_dirty>) {
    watched s{1};
    auto p = by_hand(s, TestType{});
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(good(p.acquire()));
        CHECK(s.calls(site::state) == i + 1);
        CHECK(gauges_of(p) == gauges{.idle = 1});
    }
    CHECK(cleanings(s) == 0);
    CHECK(p.stats().returned_dirty == 0);
}

TEMPLATE_TEST_CASE("what is left open is rolled back before the next lease, and counted; settings stay", "", at_return<reset_if_dirty>,
                   background<reset_if_dirty>, deferred<reset_if_dirty>) {
    for (const dirt d : all_dirt) {
        CAPTURE(static_cast<int>(d));
        watched s{1};
        auto p = by_hand(s, TestType{});
        {
            auto l = p.acquire();
            leave(l, d);
        }
        CHECK(p.stats().returned_dirty == (is_dirty(d) ? 1 : 0));
        auto next = p.acquire();
        CHECK(next->id() == 1);
        CHECK(rollbacks(s) == (is_dirty(d) ? 1U : 0U));
        CHECK(s.calls(site::reset_finish) == s.calls(site::rollback_start));
        CHECK(next->pristine() == (d != dirt::setting));
        CHECK(next->settings().size() == (d == dirt::setting ? 1U : 0U));
    }
}

TEMPLATE_TEST_CASE("reset_always makes every session as good as new", "", at_return<reset_always>, background<reset_always>, deferred<reset_always>) {
    for (const dirt d : all_dirt) {
        CAPTURE(static_cast<int>(d));
        watched s{1};
        auto p = by_hand(s, TestType{});
        {
            auto l = p.acquire();
            leave(l, d);
        }
        CHECK(p.stats().returned_dirty == (is_dirty(d) ? 1 : 0));
        auto next = p.acquire();
        CHECK(next->id() == 1);
        CHECK(good(next));
        CHECK(rollbacks(s) == 0);
        CHECK(s.calls(site::reset) + s.calls(site::reset_finish) == 1);
        CHECK(s.calls(site::reset_start) == s.calls(site::reset_finish));
    }
}

TEMPLATE_TEST_CASE("reset_with rolls back if need be and runs its SQL once per return", "", at_return<reset_with>, background<reset_with>, deferred<reset_with>) {
    for (const dirt d : all_dirt) {
        CAPTURE(static_cast<int>(d));
        watched s{1};
        auto p = by_hand(s, TestType{reset_with{"discard temp"}});
        {
            auto l = p.acquire();
            leave(l, d);
        }
        auto next = p.acquire();
        CHECK(next->id() == 1);
        CHECK(next->pristine() == (d != dirt::setting));
        CHECK(s.executed() == lines{"discard temp"});
        next.give_back();
        next = p.acquire();
        CHECK(s.executed() == lines{"discard temp", "discard temp"});
        const bool starts = s.calls(site::execute_start) != 0; // which rolls back by itself
        CHECK(rollbacks(s) == (is_dirty(d) && !starts ? 1U : 0U));
        CHECK(s.calls(site::execute_start) + s.calls(site::execute) == 2);
        CHECK(s.opened() == 1);
    }
}

TEST_CASE("a driver that cannot roll back is reset instead") {
    watched s{1};
    pool p{basic_scripted<refinement::all - refinement::rollback - refinement::deferred_reset>{s}, manual{}, bounded{.max = 1}, at_return<reset_if_dirty>{}};
    {
        auto l = p.acquire();
        l->begin();
        l->set("x");
    }
    CHECK(s.calls(site::reset) == 1);
    CHECK(good(p.acquire()));
}

TEST_CASE("a driver that can tell but not clean loses its dirty connections, and only those") {
    using cenote::testing::refinement;
    watched s{1};
    pool p{cenote::testing::basic_scripted<refinement::state>{s}, manual{}, bounded{.max = 1}, counters{}};
    for (const dirt d : all_dirt) {
        auto l = p.acquire();
        CHECK(l->id() == 1U + p.stats().closed);
        leave(l, d);
    }
    CHECK(p.stats().returned_dirty == 3);
    p.maintain();
    CHECK(p.template get<counters>().closed_for(close_reason::broken) == 3);
    CHECK(cleanings(s) == 0);
}

TEST_CASE("the default cleans dirty connections in the best way the driver has") {
    const auto leave_open = [](auto& p) {
        auto l = p.acquire(timeout{patience});
        l->begin();
    };
    watched s{3};
    pool defers{scripted{s}, bounded{.max = 1}};
    leave_open(defers);
    CHECK(s.calls(site::rollback_start) == 1);
    CHECK(good(defers.acquire(timeout{patience})));
    CHECK(s.calls(site::reset_finish) == 1);
    pool cleans{basic_scripted<refinement::all - refinement::deferred_reset>{s}, bounded{.max = 1}};
    leave_open(cleans);
    CHECK(good(cleans.acquire(timeout{patience})));
    CHECK(s.calls(site::rollback) == 1);
    pool cannot{basic_scripted<refinement::peek | refinement::ping>{s}, bounded{.max = 1}};
    leave_open(cannot);
    CHECK(cleanings(s) == 3);
}

// ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEMPLATE_TEST_CASE("a clean-up that fails closes the connection and frees its slot", "", at_return<reset_if_dirty>, background<reset_if_dirty>) {
    const outcome ways[] = {outcome::fail(error_class::disconnected), outcome::throw_std(), outcome::throw_int()};
    for (const outcome& way : ways) {
        watched s{1};
        auto p = by_hand(s, TestType{});
        s.next(site::rollback, way);
        p.acquire()->begin();
        CHECK(good(p.acquire()));
        CHECK(s.opened() == 2);
        CHECK(p.stats().reset_failed == 1);
        CHECK(p.template get<counters>().closed_for(close_reason::reset_failed) == 1);
        check_capacity(p, 1);
    }
}

TEMPLATE_TEST_CASE("a connection that is still dirty after its clean-up is closed", "", at_return<reset_always>, background<reset_always>,
                   deferred<reset_always>) {
    watched s{1};
    auto p = by_hand(s, TestType{});
    s.next(site::state, outcome::ok()).next(site::state, outcome::see(session_state::busy));
    CHECK(good(p.acquire()));
    CHECK(good(p.acquire()));
    CHECK(s.opened() == 2);
    CHECK(p.stats().reset_failed == 1);
}

TEMPLATE_TEST_CASE("a clean-up has its own deadline", "", at_return<reset_if_dirty>, background<reset_if_dirty>) {
    watched s{1};
    auto p = by_hand(s, TestType{reset_if_dirty{}, 5ms});
    s.next(site::rollback, outcome::until_deadline());
    p.acquire()->begin();
    CHECK(good(p.acquire()));
    CHECK(s.opened() == 2);
}

TEMPLATE_TEST_CASE("a connection that cannot tell its state is closed", "", at_return<reset_if_dirty>, background<reset_always>, deferred<reset_if_dirty>) {
    watched s{1};
    auto p = by_hand(s, TestType{});
    s.next(site::state, outcome::see(session_state::unknown));
    CHECK(good(p.acquire()));
    CHECK(cleanings(s) == 0);
    CHECK(good(p.acquire()));
    CHECK(s.opened() == 2);
    CHECK(p.template get<counters>().closed_for(close_reason::broken) == 1);
    CHECK(p.stats().returned_dirty == 0);
}

// ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("at_return cleans before give back ends") {
    watched s{1};
    auto p = by_hand(s, at_return<reset_if_dirty>{});
    auto l = p.acquire();
    l->begin();
    gauges during;
    s.on(site::rollback, [&](const testing::call&) { during = gauges_of(p); });
    l.give_back();
    CHECK(s.calls(site::rollback) == 1);
    CHECK(during == gauges{.resetting = 1});
    CHECK(gauges_of(p) == gauges{.idle = 1});
}

TEST_CASE("background leaves it to the thread, and the connection is not available meanwhile") {
    watched s{1};
    auto p = in_background(s, background<reset_if_dirty>{});
    door cleaning;
    s.always(site::rollback, outcome::ok().after(cleaning));
    p.acquire(timeout{patience})->begin();
    CHECK(gauges_of(p) == gauges{.resetting = 1});
    CHECK_FALSE(p.try_acquire());
    REQUIRE(cleaning.await(1));
    CHECK(gauges_of(p) == gauges{.resetting = 1});
    cleaning.open();
    REQUIRE(becomes(p, {.idle = 1}));
    CHECK(good(p.acquire(timeout{patience})));
    CHECK(s.opened() == 1);
}

TEST_CASE("under manual, background waits for maintain() or for an acquire that finds nothing idle") {
    watched s{2};
    pool p{scripted{s}, manual{}, bounded{.max = 2}, no_validation{}, background<reset_if_dirty>{}};
    auto a = p.acquire();
    auto b = p.acquire();
    a->begin();
    a.give_back();
    CHECK(gauges_of(p) == gauges{.used = 1, .resetting = 1});
    CHECK(s.calls(site::rollback) == 0);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1, .used = 1});
    a = p.acquire();
    a->begin();
    a.give_back();
    a = p.acquire();
    CHECK(good(a));
    CHECK(s.calls(site::rollback) == 2);
    a->begin();
    a.give_back();
    a = p.try_acquire();
    CHECK(good(a));
    CHECK(s.opened() == 2);
}

TEST_CASE("under manual, a connection that needs cleaning does not leave somebody waiting") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, no_validation{}, background<reset_if_dirty>{}};
    auto l = p.acquire();
    bool got = false;
    std::jthread waiter{[&] {
        std::error_code code;
        got = good(p.acquire(timeout{patience}, code));
    }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    l->begin();
    l.give_back();
    waiter.join();
    CHECK(got);
}

TEST_CASE("under manual, a connection that needs closing does not leave somebody waiting") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, max_uses{1}};
    auto l = p.acquire();
    bool got = false;
    std::jthread waiter{[&] {
        std::error_code code;
        got = good(p.acquire(timeout{patience}, code));
    }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    l.give_back();
    waiter.join();
    CHECK(got);
}

TEST_CASE("deferred sends at give back and reads the answer at the next checkout, where it replaces the test") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, pre_ping{}, deferred<reset_if_dirty>{}};
    p.acquire()->begin();
    CHECK(s.calls(site::rollback_start) == 1);
    CHECK(s.calls(site::reset_finish) == 0);
    CHECK(gauges_of(p) == gauges{.idle = 1});
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::reset_finish) == 1);
    CHECK(s.calls(site::ping) == 0);
    CHECK(good(p.acquire())); // clean now: nothing to read, the ordinary test
    CHECK(s.calls(site::reset_finish) == 1);
    CHECK(s.calls(site::ping) == 1);
    CHECK(s.opened() == 1);
}

TEST_CASE("deferred: a session that died meanwhile is not asked for its answer") {
    watched s{1};
    auto p = by_hand(s, deferred<reset_if_dirty>{});
    p.acquire()->begin();
    s.lose_all();
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::reset_finish) == 0);
    CHECK(s.opened() == 2);
    CHECK(p.template get<counters>().closed_for(close_reason::validation) == 1);
}

TEST_CASE("deferred: an answer that is bad or does not come closes the connection") {
    for (const outcome& way : {outcome::fail(error_class::other), outcome::throw_int(), outcome::until_deadline()}) {
        watched s{1};
        auto p = by_hand(s, deferred<reset_if_dirty>{reset_if_dirty{}, 5ms});
        s.next(site::reset_finish, way);
        p.acquire()->begin();
        CHECK(good(p.acquire()));
        CHECK(s.opened() == 2);
        CHECK(p.stats().reset_failed == 1);
        CHECK(p.template get<counters>().closed_for(close_reason::reset_failed) == 1);
        CHECK(good(p.acquire()));
        CHECK(s.opened() == 2); // the new one owes no answer
    }
}

TEST_CASE("deferred: a driver that can start a reset and no rollback sends the full reset for a dirty connection") {
    watched s{1};
    pool p{basic_scripted<refinement::all - refinement::deferred_rollback>{s}, manual{}, bounded{.max = 1}, deferred<reset_if_dirty>{}};
    {
        auto l = p.acquire();
        l->begin();
        l->set("x");
    }
    CHECK(s.calls(site::reset_start) == 1);
    CHECK(good(p.acquire()));
    CHECK(cleanings(s) == 2);
    s.next(site::reset_start, outcome::would_block()); // what has to wait is the rollback that was asked for
    p.acquire()->begin();
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::rollback) == 1);
    CHECK(s.calls(site::reset) == 0);
    CHECK(s.opened() == 1);
}

TEST_CASE("deferred: what cannot be sent without waiting is left to maintain() or to an acquire that finds nothing idle") {
    const auto refused = [](site start, site instead, auto r) {
        CAPTURE(to_string(start));
        watched s{1};
        auto p = by_hand(s, r);
        s.next(start, outcome::would_block(), 2);
        p.acquire()->begin();
        CHECK(gauges_of(p) == gauges{.resetting = 1});
        CHECK(s.calls(instead) == 0);
        (void)p.maintain();
        CHECK(s.calls(instead) == 1);
        CHECK(gauges_of(p) == gauges{.idle = 1});
        p.acquire()->leave_busy();
        CHECK(gauges_of(p) == gauges{.resetting = 1});
        auto next = p.acquire();
        CHECK(good(next));
        CHECK(s.calls(instead) == 2);
        CHECK(s.calls(site::reset_finish) == 0);
        CHECK(s.opened() == 1);
        CHECK(p.stats().reset_failed == 0);
        next.give_back();
        const std::size_t finished = s.calls(site::reset_finish);
        p.acquire()->begin(); // this time it can be sent
        CHECK(good(p.acquire()));
        CHECK(s.calls(site::reset_finish) > finished);
        CHECK(s.calls(instead) == 2);
    };
    refused(site::rollback_start, site::rollback, deferred<reset_if_dirty>{});
    refused(site::reset_start, site::reset, deferred<reset_always>{});
    refused(site::execute_start, site::execute, deferred<reset_with>{reset_with{"discard temp"}});
}

TEST_CASE("deferred: what cannot be sent without waiting is cleaned by the background thread, and the connection is not available meanwhile") {
    const auto refused = [](site start, site instead, auto r) {
        CAPTURE(to_string(start));
        watched s{1};
        auto p = in_background(s, r);
        door cleaning;
        s.next(start, outcome::would_block()).next(instead, outcome::ok().after(cleaning));
        p.acquire(timeout{patience})->begin();
        CHECK(gauges_of(p) == gauges{.resetting = 1});
        REQUIRE(cleaning.await(1));
        CHECK_FALSE(p.try_acquire());
        cleaning.open();
        REQUIRE(becomes(p, {.idle = 1}));
        CHECK(good(p.acquire(timeout{patience})));
        CHECK(s.opened() == 1);
    };
    refused(site::rollback_start, site::rollback, deferred<reset_if_dirty>{});
    refused(site::reset_start, site::reset, deferred<reset_always>{});
    refused(site::execute_start, site::execute, deferred<reset_with>{reset_with{"discard temp"}});
}

TEST_CASE("deferred: a refused start does not leave somebody waiting") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, no_validation{}, deferred<reset_if_dirty>{}};
    s.always(site::rollback_start, outcome::would_block());
    auto l = p.acquire();
    bool got = false;
    std::jthread waiter{[&] {
        std::error_code code;
        got = good(p.acquire(timeout{patience}, code));
    }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    l->begin();
    l.give_back();
    waiter.join();
    CHECK(got);
}

TEST_CASE("deferred: a clean-up left to housekeeping may fail, or take longer than the policy says, and then the connection is closed") {
    for (const outcome& way : {outcome::fail(error_class::other), outcome::throw_int(), outcome::until_deadline()}) {
        watched s{1};
        auto p = by_hand(s, deferred<reset_if_dirty>{reset_if_dirty{}, 5ms});
        s.next(site::rollback_start, outcome::would_block()).next(site::rollback, way);
        p.acquire()->begin();
        CHECK(good(p.acquire()));
        CHECK(s.opened() == 2);
        CHECK(p.stats().reset_failed == 1);
        CHECK(p.template get<counters>().closed_for(close_reason::reset_failed) == 1);
        CHECK(gauges_of(p) == gauges{.idle = 1});
    }
}

TEST_CASE("deferred: what cannot be sent without waiting is closed where the driver cannot do it in its time either") {
    const auto refused = [](auto driver, script s, site start, auto r) {
        CAPTURE(to_string(start));
        pool p{driver, manual{}, bounded{.max = 1}, no_validation{}, counters{}, r};
        s.next(start, outcome::would_block());
        p.acquire()->begin();
        CHECK(gauges_of(p) == gauges{.closing = 1});
        CHECK(good(p.acquire()));
        CHECK(s.opened() == 2);
        CHECK(p.stats().reset_failed == 1);
        CHECK(p.template get<counters>().closed_for(close_reason::reset_failed) == 1);
        CHECK(s.calls(site::rollback) + s.calls(site::reset) + s.calls(site::execute) == 0);
    };
    constexpr refinement starts = refinement::state | refinement::deferred_reset | refinement::deferred_rollback | refinement::deferred_execute;
    {
        watched s{1};
        refused(basic_scripted<starts>{s}, s, site::rollback_start, deferred<reset_if_dirty>{});
    }
    {
        watched s{1};
        refused(basic_scripted<starts | refinement::rollback>{s}, s, site::reset_start, deferred<reset_always>{});
    }
    {
        watched s{1};
        refused(basic_scripted<starts | refinement::rollback>{s}, s, site::execute_start, deferred<reset_with>{reset_with{"x"}});
    }
    {
        watched s{1};
        refused(basic_scripted<starts | refinement::execute>{s}, s, site::execute_start, deferred<reset_with>{reset_with{"x"}});
    }
}

TEST_CASE("deferred: a refused start on a pool that is closed, or full, ends the connection") {
    watched s{2};
    {
        auto p = in_background(s, deferred<reset_if_dirty>{});
        s.always(site::rollback_start, outcome::would_block());
        auto l = p.acquire(timeout{patience});
        l->begin();
        (void)p.close(deadline::in(0s));
        l.give_back();
        CHECK(p.close(deadline::in(patience)).drained);
    }
    pool p{scripted{s}, manual{}, overflow{.size = 1, .max_overflow = 1}, counters{}, deferred<reset_if_dirty>{}};
    auto a = p.acquire();
    auto b = p.acquire();
    b.give_back();
    a->begin();
    a.give_back();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1});
    CHECK(p.get<counters>().closed_for(close_reason::overflow) == 1);
    p.acquire()->begin();
    CHECK(p.close(deadline::in(patience)).drained);
}

TEST_CASE("deferred: a connection whose answer is due may be closed, retired or taken away") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, deferred<reset_if_dirty>{}, idle_timeout{1s}, clock::manual{time}};
    p.acquire()->begin();
    time.advance(2s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});
    p.acquire()->begin();
    p.resize(1);
    CHECK(p.close().drained);
}

TEST_CASE("a transaction left open never reaches the next user, whoever cleans up and whatever goes wrong") {
    const auto try_all = [](auto make) {
        for (const site at : {site::rollback, site::reset, site::execute, site::reset_finish}) {
            for (const outcome& way : {outcome::ok(), outcome::fail(error_class::disconnected), outcome::throw_int()}) {
                watched s{2};
                auto p = make(s);
                s.next(at, way);
                for (const dirt d : {dirt::transaction, dirt::failed, dirt::busy, dirt::transaction}) {
                    auto l = p.acquire(timeout{patience});
                    CHECK(good(l));
                    leave(l, d);
                }
                CHECK(good(p.acquire(timeout{patience})));
                CHECK(p.stats().returned_dirty == 4);
            }
        }
    };
    try_all([](script s) { return by_hand(s, at_return<reset_if_dirty>{}); });
    try_all([](script s) { return by_hand(s, background<reset_always>{}); });
    try_all([](script s) { return by_hand(s, deferred<reset_if_dirty>{}); });
    const auto every_second = [](script s, site start) {
        for (int i = 0; i < 3; ++i) s.next(start, outcome::would_block()).next(start, outcome::ok());
    };
    try_all([&](script s) {
        every_second(s, site::execute_start);
        return by_hand(s, deferred<reset_with>{reset_with{"x"}});
    });
    try_all([&](script s) {
        every_second(s, site::rollback_start);
        return in_background(s, deferred<reset_if_dirty>{});
    });
    try_all([](script s) { return in_background(s, at_return<reset_always>{}); });
    try_all([](script s) { return in_background(s, background<reset_if_dirty>{}); });
    try_all([](script s) { return in_background(s, deferred<reset_always>{}); });
}

TEST_CASE("a pool that goes while connections wait to be cleaned closes them all") {
    watched s{3};
    {
        pool p{scripted{s}, manual{}, bounded{.max = 3}, background<reset_if_dirty>{}};
        auto a = p.acquire();
        auto b = p.acquire();
        a->begin();
        b->begin();
    }
    CHECK(s.closed() == 2);
    {
        pool p{scripted{s}, fixed<2>{}, single_threaded{}, background<reset_if_dirty>{}};
        p.acquire()->begin();
    }
    CHECK(s.closed() == 3);
    {
        pool p{scripted{s}, bounded{.max = 2}, background<reset_if_dirty>{}};
        auto a = p.acquire();
        auto b = p.acquire();
        a->begin();
        b->begin();
    }
}
