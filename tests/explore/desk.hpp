// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "desk_scenarios.hpp"
#include "effort.hpp"

/// Explores all scenarios of a configuration and says how many schedules there were.
template <class Idle, class Waiting, bool CallerDials>
void explore_desk(const char* configuration, effort how = {}) {
    const auto all = desk_scenarios::scenarios<desk_scenarios::config<Idle, Waiting, CallerDials>>(exploration::crowd());
    exploration e{configuration, exploration::crowd() ? effort{} : how};
    for (const auto& s : all) e.run(s.name, s.preemptions, s.body);
}
