// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The desk over the words of lock_free and thread_affine: every schedule of three threads to the bound.
#include "desk.hpp"

namespace {
using desk_scenarios::bits;
}

TEST_CASE("lock_free, callers dial, first come first served") { explore_desk<bits, cenote::strictly_fair, true>("lock_free, callers dial, strictly_fair"); }
TEST_CASE("lock_free, callers dial, newcomers overtake for a while") { explore_desk<bits, cenote::eventually_fair, true>("lock_free, callers dial, eventually_fair"); }
TEST_CASE("lock_free, callers dial, newcomers overtake") { explore_desk<bits, cenote::barging, true>("lock_free, callers dial, barging"); }
TEST_CASE("lock_free, callers dial, nobody waits") { explore_desk<bits, cenote::no_wait, true>("lock_free, callers dial, no_wait"); }
TEST_CASE("lock_free, a dialler, first come first served") { explore_desk<bits, cenote::strictly_fair, false>("lock_free, a dialler, strictly_fair"); }
TEST_CASE("lock_free, a dialler, newcomers overtake for a while") { explore_desk<bits, cenote::eventually_fair, false>("lock_free, a dialler, eventually_fair"); }
TEST_CASE("lock_free, a dialler, newcomers overtake") { explore_desk<bits, cenote::barging, false>("lock_free, a dialler, barging"); }
TEST_CASE("lock_free, a dialler, nobody waits") { explore_desk<bits, cenote::no_wait, false>("lock_free, a dialler, no_wait"); }
