// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The desk of pools whose callers open their own connections: every schedule of three threads to the bound.
#include "desk.hpp"

namespace {
constexpr effort fewer{.preemptions = 2}; // the order changes nothing that threads could get in between
} // namespace

TEST_CASE("callers dial, first come first served", "[desk]" CHECKED_AND_FAIR) {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::strictly_fair, true>("callers dial, strictly_fair, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::strictly_fair, true>("callers dial, strictly_fair, fifo", fewer);
}
TEST_CASE("callers dial, newcomers overtake for a while", "[desk]" CHECKED_AND_FAIR) {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::eventually_fair, true>("callers dial, eventually_fair, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::eventually_fair, true>("callers dial, eventually_fair, fifo", fewer);
}
TEST_CASE("callers dial, newcomers overtake", "[desk]" CHECKED) {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::barging, true>("callers dial, barging, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::barging, true>("callers dial, barging, fifo", fewer);
}
TEST_CASE("callers dial, nobody waits", "[desk]" CHECKED) {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::no_wait, true>("callers dial, no_wait, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::no_wait, true>("callers dial, no_wait, fifo", fewer);
}
