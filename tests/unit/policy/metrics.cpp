// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/metrics.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <limits>
#include <source_location>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;
using cenote::close_reason;
using cenote::counters;
using cenote::errc;
using cenote::pool_stats;

static_assert(std::is_empty_v<cenote::no_metrics>, "off is stored for nothing");
static_assert(std::is_nothrow_move_constructible_v<counters>);

namespace {
pool_stats filled(const counters& c) {
    pool_stats s;
    c.fill(s);
    return s;
}
} // namespace

TEST_CASE("counters that heard of nothing say so: counted, and zero") {
    const pool_stats s = filled(counters{});
    CHECK(s.counted);
    CHECK(s.waits + s.wait_ns + s.timeouts + s.queue_full + s.failed + s.opened + s.open_failed + s.closed + s.detached + s.validation_failed +
              s.reset_failed + s.returned_dirty + s.leaks + s.severed + s.leases + s.swallowed == 0);
}

TEST_CASE("each event is counted once, under its own name") {
    counters c;
    c.on_waited(3ms);
    c.on_waited(4ms);
    c.on_waited(-1ms); // a clock that went backwards adds nothing
    CHECK(filled(c).waits == 3);
    CHECK(filled(c).wait_ns == 7'000'000);
    for (int i = 0; i < 2; ++i) c.on_opened({1ms});
    const cenote::connect_error error{};
    for (int i = 0; i < 3; ++i) c.on_open_failed({1ms, error});
    for (int i = 0; i < 4; ++i) c.on_detached();
    for (int i = 0; i < 5; ++i) c.on_validation_failed();
    for (int i = 0; i < 6; ++i) c.on_reset_failed();
    for (int i = 0; i < 7; ++i) c.on_dirty();
    for (int i = 0; i < 8; ++i) c.on_leak({.id = 0, .age = 1s});
    for (int i = 0; i < 9; ++i) c.on_severed({.id = 0, .age = 1s});
    const pool_stats s = filled(c);
    CHECK(s.opened == 2);
    CHECK(s.open_failed == 3);
    CHECK(s.detached == 4);
    CHECK(s.validation_failed == 5);
    CHECK(s.reset_failed == 6);
    CHECK(s.returned_dirty == 7);
    CHECK(s.leaks == 8);
    CHECK(s.severed == 9);
    CHECK(s.closed == 0);
    CHECK(s.timeouts + s.queue_full + s.failed == 0);
}

TEST_CASE("refusals are counted as timeouts, full queues and all others") {
    for (int code = static_cast<int>(errc::acquire_timeout); code <= static_cast<int>(errc::out_of_memory); ++code) {
        counters c;
        const errc why = static_cast<errc>(code);
        c.on_refused({why, 1s});
        const pool_stats s = filled(c);
        CAPTURE(code);
        CHECK(s.timeouts == (why == errc::acquire_timeout ? 1 : 0));
        CHECK(s.queue_full == (why == errc::queue_full ? 1 : 0));
        CHECK(s.failed == (why == errc::acquire_timeout || why == errc::queue_full ? 0 : 1));
    }
}

TEST_CASE("closes are counted by reason, and together") {
    counters c;
    for (unsigned r = 0; r < cenote::close_reasons; ++r) {
        for (unsigned i = 0; i <= r; ++i) c.on_closed({static_cast<close_reason>(r)});
    }
    for (unsigned r = 0; r < cenote::close_reasons; ++r) CHECK(c.closed_for(static_cast<close_reason>(r)) == r + 1);
    CHECK(filled(c).closed == cenote::close_reasons * (cenote::close_reasons + 1) / 2);
    CHECK(filled(c).leaks == 0);
}

TEST_CASE("counters keep their counts when they move into a pool, and filling leaves the gauges alone") {
    counters c;
    c.on_dirty();
    c.on_closed({close_reason::custom});
    const counters moved{std::move(c)};
    counters copy;
    copy.on_dirty();
    copy = moved;
    CHECK(filled(moved).returned_dirty == 1);
    CHECK(filled(copy).returned_dirty == 1);
    CHECK(copy.closed_for(close_reason::custom) == 1);
    pool_stats s{.total = 4, .idle = 3, .used = 1, .max = 9, .leases = 77, .swallowed = 2};
    copy.fill(s);
    CHECK(s.total == 4);
    CHECK(s.idle == 3);
    CHECK(s.used == 1);
    CHECK(s.max == 9);
    CHECK(s.leases == 77);
    CHECK(s.swallowed == 2);
}
