// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Explores the desk of one configuration with fewer preemptions first, up to the bound given as an argument, and says what it
// found after how long. Not among the tests: run compiles it against copies of the headers that have a bug.
#include "../desk_scenarios.hpp"

#include <cstdio>
#include <cstdlib>
#include <ctime>

int main(int, char** argv) {
    const auto bound = static_cast<unsigned>(std::atoi(argv[1]));
    const auto seconds = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }; // of this program: others may keep the machine busy
    const auto all = desk_scenarios::scenarios<desk_scenarios::config<desk_scenarios::IDLE, cenote::WAITING, CALLERS_DIAL>>();
    unsigned long long schedules = 0;
    for (unsigned preemptions = 0; preemptions <= bound; ++preemptions) {
        for (const auto& s : all) {
            const auto r = cenote::testing::explore::run({.preemptions = preemptions, .print_to = nullptr}, s.body);
            schedules += r.schedules;
            if (r.passed()) continue;
            std::printf("%.2f s, %llu schedules, bound %u, %s: %s\n", seconds(), schedules, preemptions, s.name.c_str(), r.violation.c_str());
            return 1;
        }
    }
    std::printf("%.2f s, %llu schedules, bound %u, no violation\n", seconds(), schedules, bound);
    return 0;
}
