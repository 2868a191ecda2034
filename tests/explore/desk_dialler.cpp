// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The desk of pools where somebody else opens connections for those who wait: every schedule of three threads to the bound.
#include "desk.hpp"

TEST_CASE("a dialler, first come first served") {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::strictly_fair, false>("a dialler, strictly_fair, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::strictly_fair, false>("a dialler, strictly_fair, fifo");
}
TEST_CASE("a dialler, newcomers overtake for a while") {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::eventually_fair, false>("a dialler, eventually_fair, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::eventually_fair, false>("a dialler, eventually_fair, fifo");
}
TEST_CASE("a dialler, newcomers overtake") {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::barging, false>("a dialler, barging, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::barging, false>("a dialler, barging, fifo");
}
TEST_CASE("a dialler, nobody waits") {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::no_wait, false>("a dialler, no_wait, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::no_wait, false>("a dialler, no_wait, fifo");
}
