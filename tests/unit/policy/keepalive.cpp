// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/keepalive.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::duration;
using cenote::keepalive;
using cenote::time_point;

namespace {
static_assert(keepalive{}.every == 2min && keepalive{}.timeout == 5s && keepalive{}.jitter == 0.1, "the documented defaults");
static_assert(keepalive{}.limit() == 5s);
static_assert(std::is_empty_v<cenote::no_keepalive> && !cenote::no_keepalive::tests && keepalive::tests);

constexpr time_point t0{1000h};

struct facts : cenote::last_used, cenote::last_tested, cenote::jitter_draw {};
facts facts_at(time_point used, time_point tested, double fraction = 0.0) {
    facts f;
    f.used = used;
    f.tested = tested;
    f.draw = static_cast<std::uint32_t>(fraction * 4294967296.0);
    return f;
}
} // namespace

TEST_CASE("a test is due so long after the last use or the last test, whichever was later") {
    const keepalive k{.every = 10s, .jitter = 0.0};
    CHECK(k.due(facts_at(t0, t0)) == t0 + 10s);
    CHECK(k.due(facts_at(t0 + 3s, t0)) == t0 + 13s);
    CHECK(k.due(facts_at(t0, t0 + 7s)) == t0 + 17s);
}

TEST_CASE("each connection draws its interval from the last tenth, or as much of it as jitter says") {
    CHECK(keepalive{.every = 100s}.due(facts_at(t0, t0, 0.0)) == t0 + 100s);
    CHECK(keepalive{.every = 100s}.due(facts_at(t0, t0, 0.5)) == t0 + 95s);
    const auto earliest = keepalive{.every = 100s}.due(facts_at(t0, t0, 1.0 - 1e-9));
    CHECK(earliest > t0 + 90s);
    CHECK(earliest < t0 + 90s + 1ms);
    CHECK(keepalive{.every = 100s, .jitter = 0.8}.due(facts_at(t0, t0, 0.25)) == t0 + 80s);
    CHECK(keepalive{.every = 100s, .jitter = 0.0}.due(facts_at(t0, t0, 0.75)) == t0 + 100s);
}

TEST_CASE("an interval that is longer than time is never due") {
    CHECK(keepalive{.every = duration::max(), .jitter = 0.0}.due(facts_at(t0, t0)) == time_point::max());
    CHECK(keepalive{.every = 1ns, .jitter = 0.9}.due(facts_at(t0, t0, 0.9)) == t0 + 1ns);
}

TEST_CASE("keepalive refuses what would test all the time, wait for nothing or never be drawn") {
    CHECK_NOTHROW(keepalive{}.check());
    CHECK_NOTHROW((keepalive{.every = 1ns, .timeout = 1ns, .jitter = 0.0}.check()));
    CHECK_NOTHROW((keepalive{.every = duration::max(), .timeout = duration::max(), .jitter = 0.999}.check()));
    CHECK_THROWS_MATCHES(keepalive{.every = 0s}.check(), std::invalid_argument,
                         Message("cenote: keepalive.every = 0s: must be above zero; to switch it off write no_keepalive"));
    CHECK_THROWS_MATCHES(keepalive{.every = -1s}.check(), std::invalid_argument,
                         Message("cenote: keepalive.every = -1s: must be above zero; to switch it off write no_keepalive"));
    CHECK_THROWS_MATCHES(keepalive{.timeout = 0s}.check(), std::invalid_argument, Message("cenote: keepalive.timeout = 0s: must be above zero"));
    for (const auto& [jitter, text] : {std::pair{1.0, "1.000000"}, {-0.1, "-0.100000"}, {7.0, "7.000000"},
                                       {std::numeric_limits<double>::infinity(), "inf"}, {std::numeric_limits<double>::quiet_NaN(), "nan"}}) {
        CHECK_THROWS_MATCHES(keepalive{.jitter = jitter}.check(), std::invalid_argument,
                             Message(std::string{"cenote: keepalive.jitter = "} + text + ": must be at least 0 and below 1"));
    }
}
