// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The desk of pools whose callers open their own connections: every schedule of three threads to the bound.
#include "desk.hpp"

TEST_CASE("callers dial, first come first served") {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::strictly_fair, true>("callers dial, strictly_fair, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::strictly_fair, true>("callers dial, strictly_fair, fifo");
}
TEST_CASE("callers dial, newcomers overtake for a while") {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::eventually_fair, true>("callers dial, eventually_fair, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::eventually_fair, true>("callers dial, eventually_fair, fifo");
}
TEST_CASE("callers dial, newcomers overtake") {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::barging, true>("callers dial, barging, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::barging, true>("callers dial, barging, fifo");
}
TEST_CASE("callers dial, nobody waits") {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::no_wait, true>("callers dial, no_wait, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::no_wait, true>("callers dial, no_wait, fifo");
}
