// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/validation.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <stdexcept>
#include <type_traits>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::duration;
using cenote::no_validation;
using cenote::peek_after;
using cenote::pre_ping;
using cenote::pre_ping_after;
using cenote::probe;
using cenote::time_point;

namespace {
constexpr time_point noon{1000h};
constexpr cenote::last_used at_noon{noon};
constexpr struct {
} nothing{};

static_assert(cenote::validation_policy<no_validation> && cenote::validation_policy<pre_ping> && cenote::validation_policy<pre_ping_after> &&
              cenote::validation_policy<peek_after>);
static_assert(std::is_empty_v<no_validation>);
static_assert(!no_validation::peeks && !no_validation::pings && pre_ping::pings && !pre_ping::peeks && pre_ping_after::pings && !pre_ping_after::peeks &&
              peek_after::peeks && !peek_after::pings);

// The documented defaults.
static_assert(pre_ping{}.limit() == 5s && pre_ping_after{}.limit() == 5s && peek_after{}.limit() == 5s && no_validation::limit() == duration::max());
static_assert(pre_ping_after{}.idle == 500ms && peek_after{}.idle == 500ms);

static_assert(no_validation::choose(nothing) == probe::none);
static_assert(pre_ping::choose(nothing) == probe::ping);

template <class V>
constexpr bool decides_by_idleness(probe looks) {
    const V half{};
    const V always{.idle = 0s};
    const V never{.idle = duration::max()};
    return half.choose(at_noon, noon) == probe::none && half.choose(at_noon, noon + 500ms - 1ns) == probe::none &&
           half.choose(at_noon, noon + 500ms) == looks && half.choose(at_noon, time_point::max()) == looks &&
           half.choose(at_noon, noon - 1s) == probe::none // a clock that lags behind the last use
           && always.choose(at_noon, noon) == looks && always.choose(at_noon, noon + 1h) == looks &&
           never.choose(at_noon, time_point::max()) == probe::none;
}
static_assert(decides_by_idleness<pre_ping_after>(probe::ping));
static_assert(decides_by_idleness<peek_after>(probe::peek));
} // namespace

TEST_CASE("validations refuse a timeout of nothing and idleness below nothing") {
    CHECK_NOTHROW(pre_ping{}.check());
    CHECK_NOTHROW(pre_ping{1ns}.check());
    CHECK_NOTHROW(pre_ping_after{}.check());
    CHECK_NOTHROW((pre_ping_after{.idle = 0s, .timeout = duration::max()}.check()));
    CHECK_NOTHROW((peek_after{.idle = duration::max(), .timeout = 1ns}.check()));
    CHECK_THROWS_MATCHES(pre_ping{0s}.check(), std::invalid_argument,
                         Message("cenote: pre_ping.timeout = 0s: must be above zero; to switch it off write no_validation"));
    CHECK_THROWS_MATCHES(pre_ping{-5s}.check(), std::invalid_argument,
                         Message("cenote: pre_ping.timeout = -5s: must be above zero; to switch it off write no_validation"));
    CHECK_THROWS_MATCHES(pre_ping_after{-1ns}.check(), std::invalid_argument, Message("cenote: pre_ping_after.idle = -1ns: must not be negative"));
    CHECK_THROWS_MATCHES((pre_ping_after{.idle = 1s, .timeout = 0s}.check()), std::invalid_argument,
                         Message("cenote: pre_ping_after.timeout = 0s: must be above zero; to switch it off write no_validation"));
    CHECK_THROWS_MATCHES(peek_after{duration::min()}.check(), std::invalid_argument,
                         Message("cenote: peek_after.idle = -9223372036854775808ns: must not be negative"));
    CHECK_THROWS_MATCHES((peek_after{.idle = 1s, .timeout = -1us}.check()), std::invalid_argument,
                         Message("cenote: peek_after.timeout = -1us: must be above zero; to switch it off write no_validation"));
}
