// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/waiting.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <limits>
#include <stdexcept>
#include <type_traits>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::acquire_timeout;
using cenote::barging;
using cenote::duration;
using cenote::eventually_fair;
using cenote::no_acquire_timeout;
using cenote::no_wait;
using cenote::strictly_fair;

namespace {
static_assert(cenote::waiting_policy<no_wait> && cenote::waiting_policy<strictly_fair> && cenote::waiting_policy<eventually_fair> &&
              cenote::waiting_policy<barging>);
static_assert(std::is_empty_v<no_wait> && std::is_empty_v<no_acquire_timeout>, "off is stored for nothing");
static_assert(!no_wait::waits && strictly_fair::waits && eventually_fair::waits && barging::waits);
static_assert(eventually_fair::reads_time && !no_wait::reads_time && !strictly_fair::reads_time && !barging::reads_time,
              "only who decides by time reads a clock");

// The documented defaults.
static_assert(eventually_fair{}.after == 500us);
static_assert(acquire_timeout{}.budget() == 30s);
static_assert(strictly_fair{}.max_waiters == cenote::unlimited && eventually_fair{}.max_waiters == cenote::unlimited &&
              barging{}.max_waiters == cenote::unlimited && no_wait::max_waiters == 0);
static_assert(cenote::unlimited == std::numeric_limits<unsigned>::max());
static_assert(no_acquire_timeout::budget() == duration::max());

// Whether a returned connection goes to the oldest waiter, who has waited that long.
static_assert(!no_wait::hand_over(duration::max()));
static_assert(!barging::hand_over(duration::max()) && !barging::hand_over(0s));
static_assert(strictly_fair::hand_over(0s) && strictly_fair::hand_over(-1s) && strictly_fair::hand_over(duration::max()));
static_assert(!eventually_fair{}.hand_over(0s) && !eventually_fair{}.hand_over(500us - 1ns) && eventually_fair{}.hand_over(500us));
static_assert(eventually_fair{}.hand_over(duration::max()) && !eventually_fair{}.hand_over(duration::min()));
static_assert(eventually_fair{.after = 0s}.hand_over(0s), "after nothing it is strictly fair");
static_assert(!eventually_fair{.after = duration::max()}.hand_over(duration::max() - 1ns), "after for ever it is barging");
static_assert(eventually_fair{.after = duration::max()}.hand_over(duration::max()));
} // namespace

TEST_CASE("eventual fairness begins at once or later, not earlier") {
    CHECK_NOTHROW(eventually_fair{}.check());
    CHECK_NOTHROW(eventually_fair{.after = 0s}.check());
    CHECK_NOTHROW(eventually_fair{.after = duration::max()}.check());
    CHECK_NOTHROW((eventually_fair{.after = 1s, .max_waiters = 0}.check()));
    CHECK_THROWS_MATCHES(eventually_fair{.after = -1ns}.check(), std::invalid_argument,
                         Message("cenote: eventually_fair.after = -1ns: must not be negative"));
    CHECK_THROWS_MATCHES(eventually_fair{.after = -1500us}.check(), std::invalid_argument,
                         Message("cenote: eventually_fair.after = -1500us: must not be negative"));
    CHECK_THROWS_MATCHES(eventually_fair{.after = duration::min()}.check(), std::invalid_argument,
                         Message("cenote: eventually_fair.after = -9223372036854775808ns: must not be negative"));
}

TEST_CASE("an acquire's budget is above zero, and having none is a policy of its own") {
    CHECK_NOTHROW(acquire_timeout{}.check());
    CHECK_NOTHROW(acquire_timeout{1ns}.check());
    CHECK_NOTHROW(acquire_timeout{duration::max()}.check());
    CHECK_THROWS_MATCHES(acquire_timeout{0s}.check(), std::invalid_argument,
                         Message("cenote: acquire_timeout.after = 0s: must be above zero; to switch it off write no_acquire_timeout"));
    CHECK_THROWS_MATCHES(acquire_timeout{-250ms}.check(), std::invalid_argument,
                         Message("cenote: acquire_timeout.after = -250ms: must be above zero; to switch it off write no_acquire_timeout"));
}
