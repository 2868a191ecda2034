// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/housekeeping.hpp>
#include <cenote/policy/leak.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <stdexcept>
#include <type_traits>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::background_thread;
using cenote::leak_threshold;

static_assert(background_thread::threads && !cenote::manual::threads);
static_assert(background_thread{}.max_dials == 2, "the documented default");
static_assert(leak_threshold{}.after == 300s, "the documented default");
static_assert(leak_threshold::records && !cenote::no_leak_check::records);
static_assert(std::is_empty_v<cenote::manual> && std::is_empty_v<cenote::no_leak_check>);

TEST_CASE("a background thread dials a few at a time and is patient for a while") {
    CHECK_NOTHROW(background_thread{}.check());
    CHECK_NOTHROW(background_thread{.max_dials = 1}.check());
    CHECK_NOTHROW(background_thread{.max_dials = 64}.check());
    CHECK_NOTHROW((background_thread{.max_dials = 1, .patience = 0s}.check()));
    CHECK_NOTHROW((background_thread{.max_dials = 1, .patience = cenote::duration::max()}.check()));
    CHECK_THROWS_MATCHES(background_thread{.max_dials = 0}.check(), std::invalid_argument,
                         Message("cenote: background_thread.max_dials = 0: must be 1 to 64"));
    CHECK_THROWS_MATCHES(background_thread{.max_dials = 65}.check(), std::invalid_argument,
                         Message("cenote: background_thread.max_dials = 65: must be 1 to 64"));
    CHECK_THROWS_MATCHES(background_thread{.max_dials = 4294967295U}.check(), std::invalid_argument,
                         Message("cenote: background_thread.max_dials = 4294967295: must be 1 to 64"));
    CHECK_THROWS_MATCHES((background_thread{.max_dials = 1, .patience = -1ms}.check()), std::invalid_argument,
                         Message("cenote: background_thread.patience = -1ms: must not be negative"));
}

TEST_CASE("a leak threshold is above zero, and off by name") {
    CHECK_NOTHROW(leak_threshold{}.check());
    CHECK_NOTHROW(leak_threshold{1ns}.check());
    CHECK_NOTHROW(leak_threshold{cenote::duration::max()}.check());
    CHECK_THROWS_MATCHES(leak_threshold{0s}.check(), std::invalid_argument,
                         Message("cenote: leak_threshold.after = 0s: must be above zero; to switch it off write no_leak_check"));
    CHECK_THROWS_MATCHES(leak_threshold{-300s}.check(), std::invalid_argument,
                         Message("cenote: leak_threshold.after = -300s: must be above zero; to switch it off write no_leak_check"));
}
