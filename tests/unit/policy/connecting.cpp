// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/connecting.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <type_traits>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::backoff;
using cenote::breaker;
using cenote::connect_timeout;
using cenote::duration;
using cenote::no_breaker;
using cenote::no_connect_timeout;

namespace {
static_assert(connect_timeout{}.limit() == 15s && no_connect_timeout::limit() == duration::max());
static_assert(std::is_empty_v<no_connect_timeout>);
static_assert(breaker{}.limit() == 3 && breaker{7}.limit() == 7 && no_breaker::limit() == 0 && std::is_empty_v<no_breaker>);
static_assert(std::is_same_v<breaker::kind, no_breaker::kind> && !std::is_same_v<breaker::kind, backoff::kind>, "one breaker beside one backoff");
static_assert(backoff{}.attempts == 0, "those who wait are not told before their budget ends");
static_assert(backoff{}.first == 100ms && backoff{}.max == 30s && backoff{}.factor == 2.0, "the documented defaults");
constexpr double all = 1.0; // not drawn, but shows the whole span
} // namespace

TEST_CASE("opening has a time limit above zero, or none by name") {
    CHECK_NOTHROW(connect_timeout{}.check());
    CHECK_NOTHROW(connect_timeout{1ns}.check());
    CHECK_NOTHROW(connect_timeout{duration::max()}.check());
    CHECK_THROWS_MATCHES(connect_timeout{0s}.check(), std::invalid_argument,
                         Message("cenote: connect_timeout.after = 0s: must be above zero; to switch it off write no_connect_timeout"));
    CHECK_THROWS_MATCHES(connect_timeout{-2ms}.check(), std::invalid_argument,
                         Message("cenote: connect_timeout.after = -2ms: must be above zero; to switch it off write no_connect_timeout"));
}

TEST_CASE("pauses double from the first to the longest") {
    const backoff b{};
    const duration spans[]{100ms, 200ms, 400ms, 800ms, 1600ms, 3200ms, 6400ms, 12800ms, 25600ms, 30s, 30s};
    for (unsigned i = 0; i < std::size(spans); ++i) {
        CAPTURE(i);
        CHECK(b.pause(i + 1, all) == spans[i]);
        CHECK(b.pause(i + 1, 0.5) == spans[i] / 2);
        CHECK(b.pause(i + 1, 0.0) == 0s);
    }
    CHECK(b.pause(std::numeric_limits<unsigned>::max(), all) == 30s);
}

TEST_CASE("pauses grow by any factor, or not at all") {
    CHECK(backoff{.first = 1s, .max = 1h, .factor = 1.0}.pause(1000000, all) == 1s);
    CHECK(backoff{.first = 1s, .max = 1h, .factor = 1.5}.pause(3, all) == 2250ms);
    CHECK(backoff{.first = 1s, .max = 1h, .factor = std::numeric_limits<double>::max()}.pause(2, all) == 1h);
    CHECK(backoff{.first = 1s, .max = 1s}.pause(50, all) == 1s);
}

TEST_CASE("case-D14: the longest pauses do not overflow") {
    const double most = std::nextafter(1.0, 0.0); // the largest fraction that can be drawn
    CHECK(backoff{.first = duration::max(), .max = duration::max()}.pause(1, most) > duration::max() - 2048ns);
    CHECK(backoff{.first = 1ns, .max = duration::max()}.pause(std::numeric_limits<unsigned>::max(), most) > duration::max() - 2048ns);
    CHECK(backoff{.first = 1ns, .max = duration::max(), .factor = 1e300}.pause(3, most) > duration::max() - 2048ns);
}

TEST_CASE("backoff refuses what would never pause or never stop growing") {
    CHECK_NOTHROW(backoff{}.check());
    CHECK_NOTHROW((backoff{.first = 1ns, .max = 1ns, .factor = 1.0}.check()));
    CHECK_NOTHROW((backoff{.first = duration::max(), .max = duration::max(), .factor = 1e308}.check()));
    CHECK_THROWS_MATCHES(backoff{.first = 0s}.check(), std::invalid_argument, Message("cenote: backoff.first = 0s: must be above zero"));
    CHECK_THROWS_MATCHES(backoff{.first = -1s}.check(), std::invalid_argument, Message("cenote: backoff.first = -1s: must be above zero"));
    CHECK_THROWS_MATCHES((backoff{.first = 31s}.check()), std::invalid_argument,
                         Message("cenote: backoff.max = 30s: must be at least backoff.first, which is 31s"));
    CHECK_THROWS_MATCHES((backoff{.first = 100ms, .max = 100ms - 1ns}.check()), std::invalid_argument,
                         Message("cenote: backoff.max = 99999999ns: must be at least backoff.first, which is 100ms"));
    for (const auto& [factor, text] : {std::pair{0.99, "0.990000"}, {0.0, "0.000000"}, {-2.0, "-2.000000"},
                                       {std::numeric_limits<double>::infinity(), "inf"}, {std::numeric_limits<double>::quiet_NaN(), "nan"}}) {
        backoff b{};
        b.factor = factor;
        CHECK_THROWS_MATCHES(b.check(), std::invalid_argument,
                             Message(std::string{"cenote: backoff.factor = "} + text + ": must be a finite number of at least 1"));
    }
}

TEST_CASE("a breaker opens after one failure or more") {
    CHECK_NOTHROW(breaker{}.check());
    CHECK_NOTHROW(breaker{1}.check());
    CHECK_NOTHROW(breaker{std::numeric_limits<unsigned>::max()}.check());
    CHECK_THROWS_MATCHES(breaker{0}.check(), std::invalid_argument,
                         Message("cenote: breaker.failures = 0: must be at least 1; to switch it off write no_breaker"));
}

TEST_CASE("any number of attempts is one that backoff takes") {
    backoff b{};
    for (const unsigned n : {0U, 1U, std::numeric_limits<unsigned>::max()}) {
        b.attempts = n;
        CHECK_NOTHROW(b.check());
    }
}
