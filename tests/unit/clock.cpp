// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/clock.hpp>
#include <cenote/testing/manual_clock.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <array>
#include <chrono>
#include <cmath>
#include <compare>
#include <concepts>
#include <cstdint>
#include <limits>
#include <ratio>
#include <stdexcept>
#include <type_traits>

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::duration;
using cenote::time_point;
using cenote::timeout;
using Catch::Matchers::Message;

namespace {

constexpr duration longest = duration::max();
constexpr duration shortest = duration::min();
constexpr time_point epoch{};
constexpr time_point noon{1000h};

template <class Rep, class Period = std::ratio<1>>
using span = std::chrono::duration<Rep, Period>;

static_assert(cenote::age_clock<cenote::clock::steady>);
static_assert(cenote::age_clock<cenote::clock::coarse>);
static_assert(cenote::age_clock<cenote::clock::manual>);
static_assert(!cenote::age_clock<std::chrono::steady_clock::time_point>);
static_assert(std::is_empty_v<cenote::clock::steady> && std::is_empty_v<cenote::clock::coarse>);

static_assert(std::convertible_to<std::chrono::hours, timeout>);
static_assert(std::convertible_to<span<double>, timeout>);
static_assert(!std::convertible_to<int, timeout>, "a bare number has no unit");
static_assert(!std::convertible_to<time_point, timeout>);
static_assert(!std::convertible_to<duration, deadline> && std::convertible_to<time_point, deadline>, "a length is no deadline, an instant is");
static_assert(std::is_nothrow_constructible_v<timeout, duration>);

// A timeout is a constant where its duration is.
static_assert(timeout{2s}.length() == 2'000'000'000ns);
static_assert(timeout{0s}.length() == 0ns);
static_assert(timeout{-3ms}.length() == -3'000'000ns);
static_assert(timeout{span<double>{0.25}}.length() == 250ms);
static_assert(timeout{std::chrono::hours::max()}.length() == longest);
static_assert(timeout{std::chrono::hours::min()}.length() == shortest);

// The edge: the last that fits, and the first that does not.
static_assert(timeout{longest}.length() == longest);
static_assert(timeout{longest - 1ns}.length() == longest - 1ns);
static_assert(timeout{shortest}.length() == shortest);
static_assert(timeout{shortest + 1ns}.length() == shortest + 1ns);
static_assert(timeout{std::chrono::microseconds{9'223'372'036'854'775}}.length() == 9'223'372'036'854'775'000ns);
static_assert(timeout{std::chrono::microseconds{9'223'372'036'854'776}}.length() == longest);
static_assert(timeout{std::chrono::microseconds{-9'223'372'036'854'775}}.length() == -9'223'372'036'854'775'000ns);
static_assert(timeout{std::chrono::microseconds{-9'223'372'036'854'776}}.length() == shortest);
static_assert(timeout{2'562'047h}.length() == 2'562'047h);
static_assert(timeout{2'562'048h}.length() == longest);
static_assert(timeout{span<std::int64_t, std::pico>::max()}.length() == 9'223'372'036'854'775ns);
static_assert(timeout{span<std::uint64_t, std::nano>::max()}.length() == longest);
static_assert(timeout{span<std::int8_t, std::ratio<86'400 * 365>>{127}}.length() == 127 * 365 * 24h);
static_assert(timeout{span<std::int16_t, std::ratio<86'400 * 365>>{300}}.length() == longest);
static_assert(timeout{span<double>{1e300}}.length() == longest);
static_assert(timeout{span<double>{-1e300}}.length() == shortest);
static_assert(timeout{span<double, std::nano>{0.9}}.length() == 0ns);
static_assert(timeout{span<double>{std::numeric_limits<double>::infinity()}}.length() == longest);
static_assert(timeout{span<double>{-std::numeric_limits<double>::infinity()}}.length() == shortest);
static_assert(timeout{span<double>{std::numeric_limits<double>::denorm_min()}}.length() == 0ns);

} // namespace

TEST_CASE("case-D14: a floating-point timeout just below the limit does not overflow on its way to nanoseconds") {
    // Each of these numbers is below the limit and would be rounded up to it by a multiplication in double.
    const auto below = [](auto limit) { return std::nextafter(limit, decltype(limit){0}); };
    for (const double ms : {9223372036854.775, below(9223372036854.775807), 9223372036854.7754}) {
        CHECK(timeout{span<double, std::milli>{ms}}.length() > 9'223'372'036'854ms);
        CHECK(timeout{span<double, std::milli>{-ms}}.length() < -9'223'372'036'854ms);
    }
    CHECK(timeout{span<double>{below(9223372036.854775807)}}.length() > 9'223'372'036s);
    CHECK(timeout{span<double, std::nano>{9223372036854775808.0}}.length() == longest);
    CHECK(timeout{span<double, std::nano>{below(9223372036854775808.0)}}.length() == longest - 1023ns);
    CHECK(timeout{span<double, std::nano>{-9223372036854775808.0}}.length() == shortest);
    CHECK(timeout{span<float>{9.2233720e9F}}.length() > 9'223'371'000s);
    CHECK(timeout{span<long double>{9223372036.854775807L}}.length() >= longest - 1us);
}

TEST_CASE("case-D15: a timeout that is not a number is refused, of any floating-point type") {
    const auto text = Message("cenote: timeout = nan: must be a number");
    CHECK_THROWS_MATCHES(timeout{span<double>{std::nan("")}}, std::invalid_argument, text);
    CHECK_THROWS_MATCHES((timeout{span<float, std::milli>{std::numeric_limits<float>::quiet_NaN()}}), std::invalid_argument, text);
    CHECK_THROWS_MATCHES((timeout{span<long double, std::ratio<3600>>{std::numeric_limits<long double>::quiet_NaN()}}), std::invalid_argument, text);
}

// ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────────────────────

static_assert(deadline::never().is_never() && deadline::never().at() == time_point::max());
static_assert(!deadline{noon}.is_never());
static_assert(deadline::after(2s, noon) == deadline{noon + 2s});
static_assert(deadline::after(0s, noon) == deadline{noon});
static_assert(deadline::after(-5s, noon) == deadline{noon}, "a deadline that has passed is now: the past has no grades");
static_assert(deadline::after(shortest, noon) == deadline{noon});
static_assert(deadline::after(longest, noon).is_never());
static_assert(deadline::after(std::chrono::hours::max(), noon).is_never());
static_assert(deadline::after(span<double>{1e300}, noon).is_never());
static_assert(deadline::after(longest, epoch).is_never());
static_assert(deadline::after(longest, epoch - 1ns) == deadline{time_point::max() - 1ns});
static_assert(deadline::after(longest - 1000h, noon).is_never());
static_assert(deadline::after(longest - 1000h - 1ns, noon) == deadline{time_point::max() - 1ns});
static_assert(deadline::after(1ns, time_point::max()).is_never());
static_assert(deadline::after(1ns, time_point::max() - 1ns).is_never());
static_assert(deadline::after(1ns, time_point::min()) == deadline{time_point::min() + 1ns});
static_assert(deadline::after(longest, time_point::min()) == deadline{epoch - 1ns});

static_assert(deadline{noon}.remaining(noon - 3s) == 3s);
static_assert(deadline{noon}.remaining(noon) == 0s);
static_assert(deadline{noon}.remaining(noon + 1ns) == 0s);
static_assert(deadline{noon}.remaining(time_point::max()) == 0s);
static_assert(deadline::never().remaining(epoch) == longest);
static_assert(deadline::never().remaining(noon) == longest - 1000h);
static_assert(deadline::never().remaining(epoch - 1ns) == longest, "saturates");
static_assert(deadline::never().remaining(time_point::min()) == longest);
static_assert(deadline::never().remaining(time_point::max()) == 0s);
static_assert(deadline{epoch - 5s}.remaining(epoch - 10s) == 5s, "instants before the epoch are instants too");
static_assert(deadline{epoch - 5s}.remaining(time_point::min()) == longest - 5s + 1ns);
static_assert(deadline{epoch}.remaining(time_point::min()) == longest);
static_assert(deadline{epoch - 1ns}.remaining(time_point::min()) == longest);
static_assert(deadline{time_point::min()}.remaining(time_point::min()) == 0s);
static_assert(deadline{time_point::min()}.remaining(epoch) == 0s);

static_assert(deadline{noon}.sooner(deadline{noon + 1ns}) == deadline{noon});
static_assert(deadline{noon + 1ns}.sooner(deadline{noon}) == deadline{noon});
static_assert(deadline{noon}.sooner(deadline::never()) == deadline{noon});
static_assert(deadline::never().sooner(deadline::never()).is_never());
static_assert(deadline{noon} < deadline{noon + 1ns} && deadline{noon + 1ns} < deadline::never());

TEST_CASE("case-D14: what is left at any instant never overflows and never falls below zero") {
    constexpr std::array<std::int64_t, 11> edges{std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::min() + 1,
                                                 -(std::int64_t{1} << 62), -1000, -1, 0, 1, 1000, std::int64_t{1} << 62,
                                                 std::numeric_limits<std::int64_t>::max() - 1, std::numeric_limits<std::int64_t>::max()};
    __extension__ using wide = __int128;
    const auto clamp = [](wide v) {
        const wide top = std::numeric_limits<std::int64_t>::max();
        return duration{static_cast<std::int64_t>(v < 0 ? 0 : v > top ? top : v)};
    };
    for (const std::int64_t at : edges) {
        for (const std::int64_t now : edges) {
            CAPTURE(at, now);
            CHECK(deadline{time_point{duration{at}}}.remaining(time_point{duration{now}}) == clamp(wide{at} - now));
            const wide sum = at > 0 ? wide{now} + at : wide{now};
            const time_point expected = sum > std::numeric_limits<std::int64_t>::max() ? time_point::max()
                                                                                        : time_point{duration{static_cast<std::int64_t>(sum)}};
            CHECK(deadline::after(duration{at}, time_point{duration{now}}).at() == expected);
        }
    }
}

TEST_CASE("a deadline in a while has not passed, one that is due has") {
    CHECK_FALSE(deadline::in(1h).expired());
    CHECK_FALSE(deadline::never().expired());
    CHECK(deadline::in(0s).expired());
    CHECK(deadline::in(-1s).expired());
    CHECK(deadline{time_point::min()}.expired());
    CHECK(deadline::in(1h).remaining() <= 1h);
    CHECK(deadline::in(1h).remaining() > 59min);
    CHECK(deadline::in(std::chrono::hours::max()).is_never());
}

TEST_CASE("the coarse clock follows the steady one by no more than a few ticks") {
    for (int i = 0; i < 100; ++i) {
        const time_point before = cenote::clock::coarse::now();
        const time_point steady = cenote::clock::steady::now();
        CHECK(before <= steady);
        CHECK(steady - before < 1s);
        CHECK(cenote::clock::coarse::now() >= before);
    }
}
