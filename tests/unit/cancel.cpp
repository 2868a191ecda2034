// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <cenote/cancel.hpp>

#include <atomic>
#include <cstddef>
#include <optional>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>

using namespace pool_test;

namespace {

using any_pool_here = pool<scripted, bounded, counters>;
using call_of = cancellable<any_pool_here::core_type>;
static_assert(!std::is_copy_constructible_v<call_of> && std::is_nothrow_move_constructible_v<call_of> && std::is_nothrow_move_assignable_v<call_of>);
static_assert(std::is_nothrow_destructible_v<call_of> && noexcept(std::declval<call_of&>().give_back()) && noexcept(std::declval<call_of&>().release(deadline::never())));
static_assert(std::is_copy_constructible_v<canceller<any_pool_here::core_type>>);

struct fixture {
    watched s;
    any_pool_here p{scripted{s}, bounded{.max = 1}, counters{}};
    [[nodiscard]] call_of call() { return call_of{p.acquire(timeout{patience})}; }
};

} // namespace

TEST_CASE("a cancel reaches the server while the lease is held, and not afterwards") {
    fixture x;
    auto call = x.call();
    const auto stop = call.canceller();
    const auto copy = stop;
    CHECK(good(call));
    CHECK(stop.cancel(deadline::in(patience)));
    CHECK(copy.cancel(deadline::in(patience)));
    CHECK(x.s.calls(site::cancel) == 2);

    SECTION("given back") {
        call.give_back();
        call.give_back();
    }
    SECTION("discarded") { call.discard(); }
    SECTION("destroyed") { const auto gone = std::move(call); }
    SECTION("replaced") {
        pool other{scripted{x.s}, bounded{.max = 1}, counters{}};
        auto empty = std::move(call);
        empty.give_back();
    }
    SECTION("released") {
        auto lease = call.release();
        REQUIRE(lease);
        CHECK(good(lease));
        CHECK_FALSE(stop.cancel());
        lease.give_back();
    }
    CHECK_FALSE(call);
    CHECK_FALSE(stop.cancel(deadline::in(patience)));
    CHECK_FALSE(copy.cancel());
    CHECK(x.s.calls(site::cancel) == 2);
    check_capacity(x.p, 1);
}

TEST_CASE("a canceller of nothing cancels nothing") {
    const canceller<any_pool_here::core_type> none;
    CHECK_FALSE(none.cancel());
}

TEST_CASE("a lease with a cancel in flight ends without waiting, and its connection is not used again") {
    fixture x;
    door here;
    x.s.next(site::cancel, outcome::ok().after(here));
    auto call = x.call();
    const std::size_t id = call->id();
    bool sent = false;
    std::jthread other{[&, stop = call.canceller()] { sent = stop.cancel(deadline::in(patience)); }};
    REQUIRE(here.await(1));
    SECTION("given back") { call.give_back(); }
    SECTION("destroyed") { const auto gone = std::move(call); }
    SECTION("released too soon") { CHECK_FALSE(call.release(deadline::in(1ms))); }
    {
        auto next = x.p.acquire(timeout{patience}); // the other is still in flight
        CHECK(next->id() != id);
        CHECK(good(next));
    }
    CHECK(ended(x.p, close_reason::discarded) == 1);
    here.open();
    other.join();
    CHECK(sent);
    check_capacity(x.p, 1);
}

TEST_CASE("release waits for a cancel in flight, and the lease goes on") {
    fixture x;
    door here;
    x.s.next(site::cancel, outcome::ok().after(here));
    auto call = x.call();
    const std::size_t id = call->id();
    std::jthread other{[stop = call.canceller()] { (void)stop.cancel(deadline::in(patience)); }};
    REQUIRE(here.await(1));
    std::jthread later{[&] { here.open(); }};
    auto lease = call.release(deadline::in(patience));
    REQUIRE(lease);
    CHECK(lease->id() == id);
    CHECK(good(lease));
    lease.give_back();
    CHECK(x.p.stats().closed == 0);
}

TEST_CASE("a cancel that failed may arrive yet, so the connection is not used again") {
    fixture x;
    x.s.next(site::cancel, outcome::fail(error_class::timeout));
    auto call = x.call();
    const auto stop = call.canceller();
    CHECK_THROWS_AS(stop.cancel(), driver_error);
    CHECK(good(call)); // until then it is
    SECTION("given back") { call.give_back(); }
    SECTION("released") { CHECK_FALSE(call.release()); }
    CHECK(becomes(x.p, {}));
    CHECK(ended(x.p, close_reason::discarded) == 1);
}

TEST_CASE("of two cancels at once one waits for the other, as long as it may, and for the end of the lease") {
    fixture x;
    door here;
    x.s.next(site::cancel, outcome::ok().after(here));
    auto call = x.call();
    const auto stop = call.canceller();
    std::jthread first{[stop] { (void)stop.cancel(deadline::in(patience)); }};
    REQUIRE(here.await(1));
    CHECK_THROWS_AS(stop.cancel(deadline::in(1ms)), driver_error);
    bool second = true;
    std::jthread waits{[&, stop] { second = stop.cancel(deadline::never()); }};
    call.give_back();
    waits.join(); // though the first is still there
    CHECK_FALSE(second);
    here.open();
}

TEST_CASE("a cancel in flight outlives lease and pool") {
    watched s;
    door here;
    s.next(site::cancel, outcome::ok().after(here));
    std::optional p{pool{scripted{s}, bounded{.max = 1}}};
    bool sent = false;
    std::jthread other;
    {
        cancellable call{p->acquire(timeout{patience})};
        other = std::jthread{[&sent, stop = call.canceller()] { sent = stop.cancel(deadline::in(patience)); }};
        REQUIRE(here.await(1));
    }
    p.reset();
    here.open();
    other.join();
    CHECK(sent);
}

TEST_CASE("an interrupter that cannot be had leaves the lease where it is") {
    watched s;
    pool p{scripted{s}, bounded{.max = 1}, never_cut{}};
    auto lease = p.acquire(timeout{patience});
    s.next(site::interrupter, outcome::fail(error_class::other));
    CHECK_THROWS_AS(cancellable{std::move(lease)}, driver_error);
    CHECK(good(lease));
}

TEST_CASE("a stop request cancels, for as long as somebody wants that") {
    fixture x;
    std::stop_source stop;
    {
        auto call = x.call();
        const cancel_on on{call.canceller(), stop.get_token()};
        CHECK(x.s.calls(site::cancel) == 0);
        std::jthread{[&] { stop.request_stop(); }}.join();
        CHECK(x.s.calls(site::cancel) == 1);
        CHECK_FALSE(on.failed());
        x.s.next(site::cancel, outcome::fail(error_class::refused));
        const cancel_on too_late{call.canceller(), stop.get_token()}; // has been requested
        CHECK(x.s.calls(site::cancel) == 2);
        CHECK(too_late.failed());
    }
    std::stop_source another;
    {
        auto call = x.call();
        const cancel_on ends{call.canceller(), another.get_token()};
    }
    another.request_stop();
    CHECK(x.s.calls(site::cancel) == 2);
}

TEST_CASE("cancels from many threads meet no lease but their own") {
    watched s;
    pool p{scripted{s}, bounded{.max = 1}, counters{}};
    std::atomic<std::size_t> wrong{0};
    std::atomic<std::size_t> held{0};
    s.on(site::cancel, [&](const cenote::testing::call& c) { wrong += c.connection == held ? 0 : 1; });
    for (int i = 0; i < 200; ++i) {
        cancellable call{p.acquire(timeout{patience})};
        held = call->id();
        std::jthread other{[stop = call.canceller()] { (void)stop.cancel(deadline::in(patience)); }};
        for (int turn = 0; turn < i % 5; ++turn) std::this_thread::yield();
        call.give_back();
        other.join();
    }
    CHECK(wrong == 0);
}
