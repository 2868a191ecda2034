// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/age.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <type_traits>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::close_reason;
using cenote::duration;
using cenote::idle_timeout;
using cenote::max_lifetime;
using cenote::max_uses;
using cenote::time_point;

namespace {
constexpr time_point noon{1000h};

struct facts : cenote::opened_at, cenote::jitter_draw, cenote::last_used, cenote::use_count {};
facts opened(time_point t, std::uint32_t draw = 0) {
    facts f;
    f.opened = f.used = t;
    f.draw = draw;
    return f;
}

static_assert(cenote::age_policy<max_lifetime> && cenote::age_policy<idle_timeout> && cenote::age_policy<max_uses>);
static_assert(!cenote::age_policy<cenote::no_age_limit> && !cenote::age_policy<cenote::no_max_lifetime> && !cenote::age_policy<cenote::no_idle_timeout>,
              "off decides nothing");
static_assert(std::is_empty_v<cenote::no_age_limit> && std::is_empty_v<cenote::no_max_lifetime> && std::is_empty_v<cenote::no_idle_timeout>);

static_assert(max_lifetime::at_checkout && max_lifetime::at_return && max_lifetime::while_idle);
static_assert(!idle_timeout::at_checkout && !idle_timeout::at_return && idle_timeout::while_idle && idle_timeout::spares_min_idle);
static_assert(!max_uses::at_checkout && max_uses::at_return && !max_uses::while_idle);
static_assert(max_lifetime::reason == close_reason::age && idle_timeout::reason == close_reason::idle && max_uses::reason == close_reason::uses);

static_assert(max_lifetime{}.after == 30min && max_lifetime{}.jitter == 0.1 && idle_timeout{}.after == 10min && max_uses{}.n == 10'000,
              "the documented defaults");
constexpr std::uint32_t last_draw = std::numeric_limits<std::uint32_t>::max();
} // namespace

TEST_CASE("a lifetime without jitter ends on the dot") {
    const max_lifetime life{.after = 30min, .jitter = 0};
    for (const std::uint32_t draw : {std::uint32_t{0}, std::uint32_t{1} << 31, last_draw}) {
        const facts f = opened(noon, draw);
        CHECK(life.due(f) == noon + 30min);
        CHECK_FALSE(life.expired(f, noon));
        CHECK_FALSE(life.expired(f, noon + 30min - 1ns));
        CHECK(life.expired(f, noon + 30min));
        CHECK(life.expired(f, time_point::max()));
        CHECK_FALSE(life.expired(f, noon - 1h));
    }
}

TEST_CASE("with jitter lives end within the last tenth, evenly") {
    const max_lifetime life{};
    CHECK(life.due(opened(noon, 0)) == noon + 30min);
    CHECK(life.due(opened(noon, std::uint32_t{1} << 31)) == noon + 30min - 90s);
    CHECK(life.due(opened(noon, std::uint32_t{1} << 30)) == noon + 30min - 45s);
    const time_point first = life.due(opened(noon, last_draw));
    CHECK(first > noon + 27min);
    CHECK(first < noon + 27min + 1us);
}

TEST_CASE("a fraction drawn is at least 0 and below 1") {
    CHECK(opened(noon, 0).fraction() == 0.0);
    CHECK(opened(noon, last_draw).fraction() < 1.0);
    CHECK(opened(noon, std::uint32_t{1} << 31).fraction() == 0.5);
}

TEST_CASE("case-D14: the longest lives never end") {
    for (const double jitter : {0.0, 0.1, std::nextafter(1.0, 0.0)}) {
        for (const std::uint32_t draw : {std::uint32_t{0}, last_draw}) {
            const max_lifetime life{.after = duration::max(), .jitter = jitter};
            const facts f = opened(noon, draw);
            CAPTURE(jitter, draw);
            CHECK(life.due(f) >= noon);
            CHECK_FALSE(life.expired(f, noon));
        }
    }
    CHECK(max_lifetime{.after = duration::max(), .jitter = 0}.due(opened(noon)) == time_point::max());
    CHECK(max_lifetime{.after = 1h}.due(opened(time_point::max() - 1ns)) == time_point::max());
    CHECK(idle_timeout{.after = duration::max()}.due(opened(noon)) == time_point::max());
    CHECK(max_lifetime{.after = 1ns, .jitter = 0.9}.due(opened(noon, last_draw)) == noon + 1ns);
}

TEST_CASE("a lifetime is above zero and its jitter a share of it") {
    CHECK_NOTHROW(max_lifetime{}.check());
    CHECK_NOTHROW(max_lifetime{.after = 1ns}.check());
    CHECK_NOTHROW(max_lifetime{.after = duration::max()}.check());
    CHECK_NOTHROW((max_lifetime{.after = 1s, .jitter = 0.0}.check()));
    CHECK_NOTHROW((max_lifetime{.after = 1s, .jitter = -0.0}.check()));
    CHECK_NOTHROW((max_lifetime{.after = 1s, .jitter = std::nextafter(1.0, 0.0)}.check()));
    CHECK_THROWS_MATCHES(max_lifetime{.after = 0s}.check(), std::invalid_argument,
                         Message("cenote: max_lifetime.after = 0s: must be above zero; to switch it off write no_max_lifetime"));
    CHECK_THROWS_MATCHES(max_lifetime{.after = -1min}.check(), std::invalid_argument,
                         Message("cenote: max_lifetime.after = -60s: must be above zero; to switch it off write no_max_lifetime"));
    CHECK_THROWS_MATCHES((max_lifetime{.after = 1s, .jitter = 1.0}.check()), std::invalid_argument,
                         Message("cenote: max_lifetime.jitter = 1.000000: must be at least 0 and below 1"));
    CHECK_THROWS_MATCHES((max_lifetime{.after = 1s, .jitter = -0.1}.check()), std::invalid_argument,
                         Message("cenote: max_lifetime.jitter = -0.100000: must be at least 0 and below 1"));
    CHECK_THROWS_MATCHES((max_lifetime{.after = 1s, .jitter = std::numeric_limits<double>::infinity()}.check()), std::invalid_argument,
                         Message("cenote: max_lifetime.jitter = inf: must be at least 0 and below 1"));
    CHECK_THROWS_MATCHES((max_lifetime{.after = 1s, .jitter = std::numeric_limits<double>::quiet_NaN()}.check()), std::invalid_argument,
                         Message("cenote: max_lifetime.jitter = nan: must be at least 0 and below 1"));
}

TEST_CASE("idleness ends at its timeout") {
    const idle_timeout idle{.after = 5min};
    const facts f = opened(noon);
    CHECK(idle.due(f) == noon + 5min);
    CHECK_FALSE(idle.expired(f, noon + 5min - 1ns));
    CHECK(idle.expired(f, noon + 5min));
    CHECK_FALSE(idle.expired(f, noon - 5min));
    CHECK_NOTHROW(idle.check());
    CHECK_NOTHROW(idle_timeout{.after = duration::max()}.check());
    CHECK_THROWS_MATCHES(idle_timeout{.after = 0s}.check(), std::invalid_argument,
                         Message("cenote: idle_timeout.after = 0s: must be above zero; to switch it off write no_idle_timeout"));
    CHECK_THROWS_MATCHES(idle_timeout{.after = duration::min()}.check(), std::invalid_argument,
                         Message("cenote: idle_timeout.after = -9223372036854775808ns: must be above zero; to switch it off write no_idle_timeout"));
}

TEST_CASE("uses end with the n-th") {
    facts f = opened(noon);
    CHECK_FALSE(max_uses{1}.expired(f));
    f.uses = 1;
    CHECK(max_uses{1}.expired(f));
    CHECK_FALSE(max_uses{2}.expired(f));
    f.uses = 3;
    CHECK(max_uses{2}.expired(f));
    f.uses = std::numeric_limits<std::uint64_t>::max() - 1;
    CHECK_FALSE(max_uses{std::numeric_limits<std::uint64_t>::max()}.expired(f));
    CHECK_NOTHROW(max_uses{1}.check());
    CHECK_NOTHROW(max_uses{std::numeric_limits<std::uint64_t>::max()}.check());
    CHECK_THROWS_MATCHES(max_uses{0}.check(), std::invalid_argument, Message("cenote: max_uses.n = 0: must be at least 1"));
}

TEST_CASE("expired is what due says, however wide the jitter") {
    for (const double jitter : {0.0, 0.1, 0.5, 0.51, 0.99}) {
        for (const auto after : {duration{1}, duration{3}, duration{1001}, duration{30min}, duration::max()}) {
            const max_lifetime life{.after = after, .jitter = jitter};
            for (const std::uint32_t draw : {std::uint32_t{0}, std::uint32_t{1} << 31, last_draw}) {
                const facts f = opened(noon, draw);
                const time_point due = life.due(f);
                for (const auto now : {noon - 1ns, noon, noon + 1ns, noon + after / 4, due - 1ns, due, time_point::max()}) {
                    CAPTURE(jitter, after.count(), draw, now.time_since_epoch().count());
                    CHECK(life.expired(f, now) == (now >= due));
                }
            }
        }
    }
}
