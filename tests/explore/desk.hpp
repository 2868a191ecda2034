// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "desk_scenarios.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cstdio>
#include <string>

/// Explores all scenarios of a configuration and says how many schedules there were.
template <class Idle, class Waiting, bool CallerDials>
void explore_desk(const char* configuration) {
    for (const auto& s : desk_scenarios::scenarios<desk_scenarios::config<Idle, Waiting, CallerDials>>()) {
        const auto r = cenote::testing::explore::run({.preemptions = s.preemptions}, s.body);
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(r.elapsed).count();
        std::printf("bound %u %9llu schedules %6lld ms  %s: %s\n", s.preemptions, static_cast<unsigned long long>(r.schedules),
                    static_cast<long long>(ms), configuration, s.name.c_str());
        INFO(configuration << ": " << s.name);
        CHECK(r.violation == "");
        CHECK(r.complete);
    }
}
