// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/testing/manual_clock.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <type_traits>

using namespace std::chrono_literals;
using cenote::testing::manual_clock;

static_assert(cenote::age_clock<cenote::clock::manual>);
static_assert(cenote::policy<cenote::clock::manual>);
static_assert(!std::is_default_constructible_v<cenote::clock::manual>, "without a clock there is no time to tell");
static_assert(!std::is_constructible_v<cenote::clock::manual, manual_clock>, "a temporary clock would dangle");

TEST_CASE("a manual clock stands still until it is moved") {
    manual_clock c;
    CHECK(c.now() == manual_clock::start);
    std::this_thread::sleep_for(2ms);
    CHECK(c.now() == manual_clock::start);
    CHECK(c.advance(3s) == manual_clock::start + 3s);
    CHECK(c.now() == manual_clock::start + 3s);
    CHECK(c.advance(0s) == manual_clock::start + 3s);
}

TEST_CASE("a manual clock starts far from zero, or where it is told") {
    CHECK(manual_clock::start.time_since_epoch() > 24h);
    const cenote::time_point t{5s};
    CHECK(manual_clock{t}.now() == t);
}

TEST_CASE("a manual clock is set forwards and backwards") {
    manual_clock c;
    c.set(cenote::time_point::max());
    CHECK(c.now() == cenote::time_point::max());
    c.set(cenote::time_point{1ns});
    CHECK(c.now() == cenote::time_point{1ns});
}

TEST_CASE("a manual clock that is moved too far stops at the end of time") {
    manual_clock c;
    CHECK(c.advance(std::chrono::hours::max()) == cenote::time_point::max());
    CHECK(c.advance(1ns) == cenote::time_point::max());
}

TEST_CASE("a manual clock does not go backwards by a negative length") {
    manual_clock c;
    CHECK_THROWS_AS(c.advance(-1ns), std::invalid_argument);
    CHECK(c.now() == manual_clock::start);
}

TEST_CASE("the manual clock policy reads the clock it was given") {
    manual_clock c;
    const cenote::clock::manual policy{c};
    CHECK(policy.now() == c.now());
    c.advance(1h);
    CHECK(policy.now() == manual_clock::start + 1h);
}

TEST_CASE("threads that move one manual clock lose no step") {
    manual_clock c;
    const auto work = [&c] {
        for (int i = 0; i < 1000; ++i) c.advance(1ns);
    };
    std::thread a{work};
    std::thread b{work};
    a.join();
    b.join();
    CHECK(c.now() == manual_clock::start + 2000ns);
}
