// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/cutting.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <stdexcept>
#include <type_traits>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::cut_at_close;
using cenote::duration;

namespace {
static_assert(cut_at_close{}.grace == 1s, "the documented default");
static_assert(cut_at_close::cuts && !cenote::never_cut::cuts && std::is_empty_v<cenote::never_cut>);
} // namespace

TEST_CASE("the grace of a cut is zero or more") {
    CHECK_NOTHROW(cut_at_close{}.check());
    CHECK_NOTHROW(cut_at_close{0s}.check());
    CHECK_NOTHROW(cut_at_close{duration::max()}.check());
    CHECK_THROWS_MATCHES(cut_at_close{-1ns}.check(), std::invalid_argument, Message("cenote: cut_at_close.grace = -1ns: must not be negative"));
}
