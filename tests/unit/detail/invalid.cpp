// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/invalid.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::detail::to_text;

TEST_CASE("a duration is written in the largest unit that loses nothing") {
    CHECK(to_text(0ns) == "0s");
    CHECK(to_text(1ns) == "1ns");
    CHECK(to_text(1500ns) == "1500ns");
    CHECK(to_text(2us) == "2us");
    CHECK(to_text(1500us) == "1500us");
    CHECK(to_text(250ms) == "250ms");
    CHECK(to_text(30min) == "1800s");
    CHECK(to_text(-1ms) == "-1ms");
    CHECK(to_text(cenote::duration::max()) == "9223372036854775807ns");
    CHECK(to_text(cenote::duration::min()) == "-9223372036854775808ns");
}

TEST_CASE("numbers are written as they are") {
    CHECK(to_text(0U) == "0");
    CHECK(to_text(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
    CHECK(to_text(-7) == "-7");
    CHECK(to_text(0.25) == "0.250000");
}

TEST_CASE("a refusal names field, value and rule") {
    CHECK_THROWS_MATCHES(cenote::detail::bad_value("a.b", 3U, "must be even"), std::invalid_argument, Message("cenote: a.b = 3: must be even"));
    CHECK_NOTHROW(cenote::detail::require_positive("a.b", 1ns, "off"));
    CHECK_THROWS_MATCHES(cenote::detail::require_positive("a.b", 0ns, "off"), std::invalid_argument,
                         Message("cenote: a.b = 0s: must be above zero; to switch it off write off"));
    CHECK_THROWS_MATCHES(cenote::detail::require_positive("a.b", -1ns, ""), std::invalid_argument, Message("cenote: a.b = -1ns: must be above zero"));
    CHECK_NOTHROW(cenote::detail::require_not_negative("a.b", 0ns));
    CHECK_THROWS_MATCHES(cenote::detail::require_not_negative("a.b", -1ns), std::invalid_argument, Message("cenote: a.b = -1ns: must not be negative"));
}
