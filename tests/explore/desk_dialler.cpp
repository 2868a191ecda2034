// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The desk of pools where somebody else opens connections for those who wait: every schedule of three threads to the bound.
#include "desk.hpp"

namespace {
constexpr effort fewer{.preemptions = 2}; // the order changes nothing that threads could get in between
} // namespace

TEST_CASE("a dialler, first come first served", "[desk]" CHECKED_AND_FAIR) {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::strictly_fair, false>("a dialler, strictly_fair, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::strictly_fair, false>("a dialler, strictly_fair, fifo", fewer);
}
TEST_CASE("a dialler, newcomers overtake for a while", "[desk]" CHECKED_AND_FAIR) {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::eventually_fair, false>("a dialler, eventually_fair, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::eventually_fair, false>("a dialler, eventually_fair, fifo", fewer);
}
TEST_CASE("a dialler, newcomers overtake", "[desk]" CHECKED) {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::barging, false>("a dialler, barging, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::barging, false>("a dialler, barging, fifo", fewer);
}
TEST_CASE("a dialler, nobody waits", "[desk]" CHECKED) {
    explore_desk<desk_scenarios::locked<cenote::lifo>, cenote::no_wait, false>("a dialler, no_wait, lifo");
    explore_desk<desk_scenarios::locked<cenote::fifo>, cenote::no_wait, false>("a dialler, no_wait, fifo", fewer);
}
