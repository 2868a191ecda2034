// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "desk_scenarios.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>

/// What is explored of a configuration: up to so many preemptions, but one fewer where that has so many schedules already.
struct effort {
    unsigned preemptions = 3;
    std::uint64_t enough = std::numeric_limits<std::uint64_t>::max();
};

/// Explores all scenarios of a configuration and says how many schedules there were.
template <class Idle, class Waiting, bool CallerDials>
void explore_desk(const char* configuration, effort how = {}) {
    namespace explore = cenote::testing::explore;
    for (const auto& s : desk_scenarios::scenarios<desk_scenarios::config<Idle, Waiting, CallerDials>>()) {
        const unsigned bound = std::min(s.preemptions, how.preemptions);
        const auto run = [&](unsigned preemptions) {
            auto r = explore::run({.preemptions = preemptions}, s.body);
            const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(r.elapsed).count();
            std::printf("bound %u %9llu schedules %6lld ms  %s: %s\n", preemptions, static_cast<unsigned long long>(r.schedules),
                        static_cast<long long>(ms), configuration, s.name.c_str());
            INFO(configuration << ": " << s.name);
            CHECK(r.violation == "");
            CHECK(r.complete);
            return r.schedules;
        };
        const bool careful = how.enough != std::numeric_limits<std::uint64_t>::max();
        if (!careful || run(bound - 1) < how.enough) run(bound);
    }
}
