// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <cenote/view.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using namespace pool_test;

namespace {

/// A pool whose idle connections nothing looks at.
auto trusting(script& s, auto... more) { return pool{scripted{s}, no_validation{}, no_age_limit{}, no_reset{}, counters{}, more...}; }

} // namespace

// ── invalidate_all ───────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("invalidate_all ends what is idle at once and what is out as it comes back") {
    watched s{3};
    pool p{scripted{s}, manual{}, bounded{.max = 3}, counters{}};
    auto held = hold(p, 3);
    held.pop_back();
    p.invalidate_all();
    CHECK(gauges_of(p) == gauges{.used = 2, .closing = 1});
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.used = 2});
    CHECK(good(held[0])); // nobody is interrupted
    held.clear();
    CHECK(gauges_of(p) == gauges{.closing = 2});
    CHECK(p.acquire()->id() == 4);
    CHECK(ended(p, close_reason::invalidated) == 3);
    CHECK(s.calls(site::ping) == 0);
}

TEST_CASE("invalidate_all ends connections on the background thread, and min_idle is filled anew") {
    watched s{4};
    pool p{scripted{s}, bounded{.min_idle = 2, .max = 4}, counters{}};
    REQUIRE(becomes(p, {.idle = 2}));
    const std::size_t before = s.opened();
    p.invalidate_all();
    REQUIRE(eventually([&] { return s.closed() == before; }));
    REQUIRE(becomes(p, {.idle = 2}));
    CHECK(eventually([&] { return ended(p, close_reason::invalidated) == before; })); // sinks hear of it after the driver
    auto now = hold(p, 2);
    for (auto& l : now) CHECK(l->id() > before);
}

TEST_CASE("invalidate_all ends what every kind of idle set holds, and what comes back to it") {
    const auto all_end = [](auto& s, auto& p) {
        auto held = hold(p, 3);
        held.pop_back();
        p.invalidate_all();
        held.clear();
        (void)p.maintain();
        REQUIRE(eventually([&] { return s.closed() == 3; }));
        CHECK(eventually([&] { return ended(p, close_reason::invalidated) == 3; })); // sinks hear of it after the driver
        CHECK(p.acquire(timeout{patience})->id() == 4);
    };
    SECTION("lock_free") {
        watched s{3};
        pool p{scripted{s}, lock_free{}, bounded{.max = 3}, counters{}};
        all_end(s, p);
    }
    SECTION("thread_affine") {
        watched s{3};
        pool p{scripted{s}, thread_affine{}, manual{}, bounded{.max = 3}, counters{}};
        all_end(s, p);
    }
    SECTION("fixed") {
        watched s{3};
        pool p{scripted{s}, fixed<3>{}, counters{}};
        all_end(s, p);
    }
    SECTION("single_threaded") {
        watched s{3};
        pool p{scripted{s}, single_threaded{}, bounded{.max = 3}, counters{}};
        all_end(s, p);
    }
    SECTION("fifo") {
        watched s{3};
        pool p{scripted{s}, fifo{}, bounded{.max = 3}, counters{}};
        all_end(s, p);
    }
    SECTION("no validation, no ages, no reset") {
        watched s{3};
        auto p = trusting(s, bounded{.max = 3});
        all_end(s, p);
    }
    SECTION("the same, manual") {
        watched s{3};
        auto p = trusting(s, bounded{.max = 3}, manual{});
        all_end(s, p);
    }
}

template <class Pool>
concept can_be_invalidated = requires(Pool& p) { p.invalidate_all(); };
static_assert(can_be_invalidated<pool<scripted>> && can_be_invalidated<pool<scripted, fixed<2>>>);
static_assert(!can_be_invalidated<pool<scripted, profile::bare<2>>> &&
                  !can_be_invalidated<pool<scripted, no_wait, no_validation, no_age_limit, no_reset, manual>>,
              "they would pay for a look at each lease");

TEST_CASE("what was invalidated while it was being opened reaches nobody") {
    const auto reaches_nobody = [](auto& s, auto& p) {
        s.on(site::open, [&p](const cenote::testing::call& c) {
            if (c.number <= 2) p.invalidate_all();
        });
        auto held = p.acquire(timeout{patience});
        CHECK(held->id() == 3);
        CHECK(ended(p, close_reason::invalidated) == 2);
        held.give_back();
        CHECK(p.acquire()->id() == 3); // and that one stays
        CHECK(s.calls(site::ping) == 0);
    };
    SECTION("by the caller") {
        watched s{1};
        pool p{scripted{s}, manual{}, bounded{.max = 1}, counters{}};
        reaches_nobody(s, p);
    }
    SECTION("by the background thread") {
        watched s{1};
        pool p{scripted{s}, bounded{.max = 1}, counters{}};
        reaches_nobody(s, p);
    }
    SECTION("by the caller of a pool that looks at nothing") {
        watched s{1};
        auto p = trusting(s, manual{}, bounded{.max = 1});
        reaches_nobody(s, p);
    }
    SECTION("by the background thread of a pool that looks at nothing") {
        watched s{1};
        auto p = trusting(s, bounded{.max = 1});
        reaches_nobody(s, p);
    }
}

TEST_CASE("a waiter gets a new connection for the one that was invalidated") {
    watched s{1};
    pool p{scripted{s}, bounded{.max = 1}, counters{}};
    auto held = p.acquire(timeout{patience});
    std::size_t got = 0;
    std::jthread waiter{[&] { got = p.acquire(timeout{patience})->id(); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    p.invalidate_all();
    held.give_back();
    waiter.join();
    CHECK(got == 2);
}

TEST_CASE("what a suspended pool keeps is invalidated, too") {
    watched s{3};
    auto p = trusting(s, bounded{.max = 3});
    auto held = hold(p, 3);
    held.pop_back();
    p.suspend();
    held.pop_back(); // kept beside the one that was idle
    std::size_t got = 0;
    std::jthread waiter{[&] { got = p.acquire(timeout{patience})->id(); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    held.clear(); // kept for who waits
    p.invalidate_all();
    REQUIRE(becomes(p, {}));
    p.resume();
    waiter.join();
    CHECK(got == 4);
    CHECK(ended(p, close_reason::invalidated) == 3);
}

TEST_CASE("what is being cleaned is closed when it is done, and what owes the answer of its clean-up at once") {
    SECTION("in the background") {
        watched s{1};
        door cleaning;
        pool p{scripted{s}, bounded{.max = 1}, background<reset_if_dirty>{}, counters{}};
        s.next(site::rollback, outcome::ok().after(cleaning));
        auto held = p.acquire(timeout{patience});
        held->begin();
        held.give_back();
        REQUIRE(cleaning.await(1));
        p.invalidate_all();
        CHECK(gauges_of(p) == gauges{.resetting = 1});
        cleaning.open();
        CHECK(p.acquire(timeout{patience})->id() == 2);
        CHECK(ended(p, close_reason::invalidated) == 1);
        CHECK(ended(p, close_reason::reset_failed) == 0);
    }
    SECTION("deferred") {
        watched s{1};
        pool p{scripted{s}, manual{}, bounded{.max = 1}, deferred<reset_if_dirty>{}, counters{}};
        auto held = p.acquire();
        held->begin();
        held.give_back();
        CHECK(gauges_of(p) == gauges{.idle = 1});
        p.invalidate_all();
        (void)p.maintain();
        CHECK(s.calls(site::reset_finish) == 0);
        CHECK(s.calls(site::cancel) == 0); // it is the pool's own statement
        CHECK(ended(p, close_reason::invalidated) == 1);
    }
}

TEST_CASE("invalidate_all changes nothing where nothing is open, and where all is over") {
    watched s{2};
    pool p{scripted{s}, manual{}, bounded{.max = 2}, counters{}};
    p.invalidate_all();
    p.invalidate_all();
    CHECK(good(p.acquire()));
    CHECK(p.acquire()->id() == 1);
    CHECK(p.close().drained);
    p.invalidate_all();
    CHECK(ended(p, close_reason::invalidated) == 0);
    CHECK(s.closed() == 1);
}

TEST_CASE("hooks hear that a connection was invalidated") {
    watched s{2};
    std::vector<std::string> seen;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, on_close{[&](cenote::testing::scripted_connection& c, close_reason why) {
        seen.push_back(std::to_string(c.id()) + " " + std::string{to_string(why)});
    }}};
    open_idle(p, 2);
    p.invalidate_all();
    (void)p.maintain();
    CHECK(seen.size() == 2);
    for (const auto& line : seen) CHECK_THAT(line, ContainsSubstring(" invalidated"));
}

// ── trim ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("trim closes what is idle, but keeps min_idle idle and min open, and says how many go") {
    watched s{30};
    {
        pool p{scripted{s}, manual{}, bounded{.max = 5}, counters{}};
        CHECK(p.trim() == 0);
        open_idle(p, 4);
        auto held = p.acquire();
        CHECK(p.trim() == 3);
        CHECK(gauges_of(p) == gauges{.used = 1, .closing = 3});
        (void)p.maintain();
        CHECK(ended(p, close_reason::idle) == 3);
        CHECK(p.trim() == 0);
    }
    {
        pool p{scripted{s}, manual{}, bounded{.min_idle = 2, .max = 5}};
        open_idle(p, 5);
        auto held = p.acquire();
        CHECK(p.trim() == 2);
        CHECK(gauges_of(p) == gauges{.idle = 2, .used = 1, .closing = 2});
    }
    {
        pool p{scripted{s}, manual{}, bounded{.min = 3, .max = 5}};
        open_idle(p, 5);
        auto held = p.acquire();
        CHECK(p.trim() == 2);
        CHECK(gauges_of(p) == gauges{.idle = 2, .used = 1, .closing = 2});
    }
    {
        pool p{scripted{s}, bounded{.min_idle = 1, .max = 3}};
        open_idle(p, 3);
        CHECK(p.trim() == 2);
        REQUIRE(becomes(p, {.idle = 1}));
    }
}

TEST_CASE("trim closes what a predicate names, the coldest first where some have to stay") {
    watched s{10};
    pool p{scripted{s}, manual{}, bounded{.min_idle = 3, .max = 5}, with_mutex{}};
    open_idle(p, 5);
    CHECK(p.trim([](const auto& c) noexcept { return c.id() > 100; }) == 0);
    CHECK(p.trim([](const auto& c) noexcept { return c.id() % 2 == 1; }) == 2); // of three, of which 5 is the warmest
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 3});
    CHECK(p.acquire()->id() == 5);
    CHECK(s.closed() == 2);
}

TEST_CASE("trim works in pools of every kind, and does nothing to a closed one") {
    watched s{20};
    const auto trimmed = [](auto&& p) {
        open_idle(p, 2);
        CHECK(p.trim() == 2);
        (void)p.maintain();
        CHECK(eventually([&] { return p.stats().total == 0; }));
        open_idle(p, 1);
        CHECK(p.trim([](const auto&) noexcept { return true; }) == 1);
        (void)p.close();
        CHECK(p.trim() == 0);
    };
    trimmed(pool{scripted{s}, profile::bare<2>{}});
    trimmed(pool{scripted{s}, fixed<2>{}});
    trimmed(pool{scripted{s}, single_threaded{}});
    trimmed(pool{scripted{s}, lock_free{}});
    trimmed(pool{scripted{s}, thread_affine{}, fixed<3>{}});
}

// ── suspicion ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("one connection that is lost makes the others suspects: each is tested before its next use") {
    watched s{4};
    manual_clock time; // stands still: nothing else would be tested
    pool p{scripted{s}, manual{}, bounded{.max = 3}, counters{}, clock::manual{time}};
    auto held = hold(p, 3);
    auto first = std::move(held[0]);
    held.clear();
    s.lose_all();
    SECTION("and found lost, if the lease says that it was disconnected") {
        first.discard(error_class::disconnected);
        CHECK(s.calls(site::ping) == 0); // then, and not now
        CHECK(p.acquire()->id() == 4);
        CHECK(s.calls(site::ping) == 2);
        CHECK(ended(p, close_reason::validation) == 2);
        CHECK(p.stats().validation_failed == 2);
    }
    SECTION("but not if it says nothing") {
        first.discard();
        CHECK(p.acquire()->lost());
        CHECK(s.calls(site::ping) == 0);
    }
    SECTION("nor if it says something that is no loss") {
        first.discard(error_class::constraint);
        CHECK(p.acquire()->lost());
        CHECK(s.calls(site::ping) == 0);
    }
    CHECK(ended(p, close_reason::discarded) == 1);
}

TEST_CASE("a suspect is tested once and not again") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 3}, with_mutex{}, clock::manual{time}};
    auto held = hold(p, 3);
    held[2].discard(error_class::disconnected);
    held.pop_back();
    held.pop_back(); // one is idle, one is still out
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::ping) == 1);
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::ping) == 1);
    held.clear(); // it was out when it became a suspect, and is one
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::ping) == 2);
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::ping) == 2);
    CHECK(s.opened() == 3);
}

TEST_CASE("a suspect that fails its test tells nothing new: what was opened since is trusted") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 3}, with_mutex{}, counters{}, clock::manual{time}};
    auto held = hold(p, 2);
    held[0].discard(error_class::disconnected);
    auto suspect = std::move(held[1]);
    auto newer = p.acquire();
    CHECK(newer->id() == 3);
    newer.give_back();
    s.lose(2);
    SECTION("at its checkout") {
        suspect.give_back();
        CHECK(p.acquire()->id() == 3);
        CHECK(s.calls(site::ping) == 1);
        CHECK(ended(p, close_reason::validation) == 1);
    }
    SECTION("in the hands of its holder") {
        suspect.discard(error_class::disconnected);
        CHECK(p.acquire()->id() == 3);
        CHECK(s.calls(site::ping) == 0);
    }
}

TEST_CASE("a connection that a peek, a ping or a clean-up shows to be lost makes the others suspects") {
    watched s{3};
    manual_clock time;
    SECTION("peek") {
        pool p{scripted{s}, manual{}, bounded{.max = 2}, with_mutex{}, peek_after{.idle = 1s}, clock::manual{time}};
        open_idle(p, 2);
        time.advance(1s);
        s.lose(2);
        CHECK(p.acquire()->id() == 1);
        CHECK(s.calls(site::peek) == 1);
        CHECK(s.calls(site::ping) == 1); // the stricter test
    }
    SECTION("ping") {
        pool p{scripted{s}, manual{}, bounded{.max = 2}, with_mutex{}, pre_ping_after{.idle = 1s}, clock::manual{time}};
        auto held = hold(p, 2);
        held.erase(held.begin());
        time.advance(1s);
        held.clear(); // just used: not due
        p.acquire().give_back();
        CHECK(s.calls(site::ping) == 0);
        auto warm = p.acquire();
        s.lose(1);
        auto other = p.acquire();
        CHECK(other->id() == 3);
        CHECK(s.calls(site::ping) == 1);
        warm.give_back();
        CHECK(p.acquire()->id() == 2);
        CHECK(s.calls(site::ping) == 2); // not due either, but a suspect
    }
    SECTION("the answer of a clean-up") {
        pool p{scripted{s}, manual{}, bounded{.max = 2}, with_mutex{}, deferred<reset_if_dirty>{}, clock::manual{time}};
        auto held = hold(p, 2);
        held.pop_back();
        held[0]->begin();
        held.clear();
        s.next(site::reset_finish, outcome::fail(error_class::disconnected));
        CHECK(p.acquire()->id() == 2);
        CHECK(s.calls(site::ping) == 1);
    }
    SECTION("the state in which it comes back") {
        pool p{scripted{s}, manual{}, bounded{.max = 2}, with_mutex{}, clock::manual{time}};
        auto held = hold(p, 2);
        held.pop_back();
        s.next(site::state, outcome::see(session_state::unknown));
        held.clear();
        CHECK(p.acquire()->id() == 2);
        CHECK(s.calls(site::ping) == 1);
    }
}

TEST_CASE("the answer of a clean-up is test enough for a suspect") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, deferred<reset_if_dirty>{}, clock::manual{time}};
    auto held = hold(p, 2);
    held[0]->begin();
    held[1].discard(error_class::disconnected);
    held.clear();
    CHECK(good(p.acquire()));
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::reset_finish) == 1);
    CHECK(s.calls(site::ping) == 0);
}

TEST_CASE("an acquire that has no time for the test of a suspect leaves it one") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, clock::manual{time}};
    auto held = hold(p, 2);
    held[0].discard(error_class::disconnected);
    held.clear();
    std::error_code why;
    CHECK_FALSE(p.acquire(0s, why));
    CHECK(why == errc::acquire_timeout);
    CHECK(s.calls(site::ping) == 0);
    CHECK(good(p.try_acquire())); // waits for nobody, but tests
    CHECK(s.calls(site::ping) == 1);
}

TEST_CASE("what is held against a connection while it is tested stays") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 3}, counters{}, clock::manual{time}};
    auto held = hold(p, 3);
    held[0].discard(error_class::disconnected);
    auto other = std::move(held[1]);
    held.clear();
    SECTION("another loss") {
        s.on(site::ping, [&](const cenote::testing::call& c) {
            if (c.number == 1) p.acquire().discard(error_class::disconnected); // opened just now, and lost
        });
        CHECK(good(p.acquire()));
        CHECK(s.calls(site::ping) == 1);
        CHECK(good(p.acquire()));
        CHECK(s.calls(site::ping) == 2);
    }
    SECTION("its end") {
        s.on(site::ping, [&](const cenote::testing::call&) { p.invalidate_all(); });
        auto got = p.acquire();
        CHECK(got->id() == 3); // it was taken before
        got.give_back();
        (void)p.maintain();
        CHECK(ended(p, close_reason::invalidated) == 1);
    }
}

TEST_CASE("a loss that is seen while a connection is being opened makes that one a suspect, too") {
    watched s{2};
    manual_clock time;
    SECTION("opened by the caller, for this very acquire") {
        pool p{scripted{s}, manual{}, bounded{.max = 2}, clock::manual{time}};
        auto first = p.acquire();
        s.on(site::open, [&](const cenote::testing::call&) { first.discard(error_class::disconnected); });
        p.acquire().give_back();
        CHECK(s.calls(site::ping) == 0);
        CHECK(good(p.acquire()));
        CHECK(s.calls(site::ping) == 1);
    }
    SECTION("opened in the background: tested, though it is new") {
        pool p{scripted{s}, bounded{.max = 2}, clock::manual{time}};
        auto first = p.acquire(timeout{patience});
        s.on(site::open, [&](const cenote::testing::call&) { first.discard(error_class::disconnected); });
        CHECK(p.acquire(timeout{patience})->id() == 2);
        CHECK(s.calls(site::ping) == 1);
    }
}

TEST_CASE("a driver that only peeks has its suspects peeked at; a pool that tests nothing trusts them") {
    manual_clock time;
    watched s{2};
    SECTION("peeks") {
        pool p{basic_scripted<refinement::all - refinement::ping>{s}, manual{}, bounded{.max = 2}, clock::manual{time}};
        auto held = hold(p, 2);
        held[0].discard(error_class::disconnected);
        s.lose(2);
        held.clear();
        CHECK(p.acquire()->id() == 3);
        CHECK(s.calls(site::peek) == 1);
    }
    SECTION("trusts") {
        auto p = trusting(s, manual{}, bounded{.max = 2});
        auto held = hold(p, 2);
        held[0].discard(error_class::disconnected);
        held.clear();
        CHECK(p.acquire()->id() == 2);
        CHECK(s.calls(site::peek) + s.calls(site::ping) == 0);
    }
}

// ── what leases and with() say ───────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("a lease that met the wrong role ends only its own connection where any role will do") {
    watched s{3};
    pool p{scripted{s}, manual{}, bounded{.max = 3}, counters{}};
    auto held = hold(p, 3);
    held[0].discard(error_class::wrong_role);
    held.clear();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2});
    CHECK(ended(p, close_reason::invalidated) == 0);
    CHECK_THROWS_AS(p.with([](auto&) { throw driver_error{error_class::wrong_role, "read only"}; }), driver_error);
    CHECK(gauges_of(p) == gauges{.idle = 2});
}

TEST_CASE("a lease that met the wrong role ends all connections of a pool that requires one") {
    watched s{3};
    pool p{scripted{s}, manual{}, bounded{.max = 3}, counters{}, require_role{}};
    auto held = hold(p, 3);
    auto out = std::move(held[2]);
    held.pop_back();
    held.pop_back();
    held[0].discard(error_class::wrong_role);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.used = 1});
    CHECK(ended(p, close_reason::discarded) == 1);
    CHECK(ended(p, close_reason::invalidated) == 1);
    out.give_back();
    (void)p.maintain();
    CHECK(ended(p, close_reason::invalidated) == 2);
}

TEST_CASE("an empty lease is discarded without a word, and a single-threaded fixed pool hears none") {
    watched s{4};
    pool p{scripted{s}, manual{}, bounded{.max = 2}};
    auto l = p.acquire();
    l.give_back();
    l.discard(error_class::wrong_role);
    CHECK(gauges_of(p) == gauges{.idle = 1});

    pool bare{scripted{s}, profile::bare<2>{}};
    auto held = hold(bare, 1);
    for (const error_class because : {error_class::disconnected, error_class::wrong_role}) {
        bare.acquire().discard(because);
        CHECK(bare.stats().total == 1);
    }
}

TEST_CASE("an exception out of with() that means the session is gone ends the connection and makes suspects") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 3}, counters{}, clock::manual{time}, require_role{}};
    using conn = cenote::testing::scripted_connection;
    open_idle(p, 2);
    const auto throwing = [&](auto what) { p.with([&](conn&) { throw what; }); };
    SECTION("disconnected") {
        CHECK_THROWS_AS(throwing(driver_error{error_class::disconnected, "gone"}), driver_error);
        CHECK(ended(p, close_reason::discarded) == 1);
        CHECK(good(p.acquire()));
        CHECK(s.calls(site::ping) == 1);
    }
    SECTION("wrong role") {
        CHECK_THROWS_AS(p.with(timeout{patience}, [](conn&) { throw driver_error{error_class::wrong_role, "read only"}; }), driver_error);
        (void)p.maintain();
        CHECK(ended(p, close_reason::discarded) == 1);
        CHECK(ended(p, close_reason::invalidated) == 1);
    }
    SECTION("anything else, of any type") {
        CHECK_THROWS_AS(throwing(driver_error{error_class::serialization, "again"}), driver_error);
        CHECK_THROWS_AS(throwing(driver_error{error_class::timeout, "late"}), driver_error);
        CHECK_THROWS_AS(throwing(std::runtime_error{"odd"}), std::runtime_error);
        CHECK_THROWS_AS(throwing(42), int);
        CHECK(gauges_of(p) == gauges{.idle = 2});
        CHECK(s.calls(site::ping) == 0);
    }
    CHECK_FALSE(p.with([](conn& c) { return c.lost(); }));
}

TEST_CASE("a lease without its pool's type says why, too") {
    watched s{2};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, counters{}, clock::manual{time}};
    auto held = hold(p, 2);
    any_lease<cenote::testing::scripted_connection> one{std::move(held[0])};
    held.clear();
    one.discard(error_class::disconnected);
    CHECK_FALSE(one);
    CHECK(good(p.acquire()));
    CHECK(s.calls(site::ping) == 1);
    any_lease<cenote::testing::scripted_connection> two{p.acquire()};
    two.discard();
    CHECK(ended(p, close_reason::discarded) == 2);
}

TEST_CASE("a lease that outlives its pool may still say why it ends") {
    for (const error_class because : {error_class::disconnected, error_class::wrong_role, error_class::other}) {
        for (const bool busy : {false, true}) {
            watched s{4};
            {
                std::vector<pool<scripted, bounded>::lease> left;
                {
                    pool<scripted, bounded> p{scripted{s}, bounded{.max = 2}};
                    left = hold(p, 2);
                }
                if (busy) left[0]->leave_busy();
                left[0].discard(because);
            }
            CHECK(s.closed() == 2);
            {
                std::vector<pool<scripted, manual>::lease> left;
                {
                    pool<scripted, manual> p{scripted{s}};
                    left = hold(p, 2);
                }
                if (busy) left[0]->leave_busy();
                left[0].discard(because);
            }
            CHECK(s.closed() == 4);
            CHECK(s.calls(site::cancel) == 0); // who gives back does not wait for one
        }
    }
}
