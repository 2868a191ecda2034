// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The desk over the words of lock_free and thread_affine: every schedule of three threads to the bound.
#include "desk.hpp"

namespace {
using desk_scenarios::affine_bits;
using desk_scenarios::bits;
using desk_scenarios::packed_bits;

// There are more visible operations than with a mutex, so the largest scenarios get one preemption less.
constexpr effort each{.preemptions = 3, .enough = 12'000};
} // namespace

TEST_CASE("a word per slot, callers dial, first come first served", "[desk]" CHECKED_AND_FAIR) { explore_desk<bits, cenote::strictly_fair, true>("a word per slot, callers dial, strictly_fair", each); }
TEST_CASE("a word per slot, callers dial, newcomers overtake for a while", "[desk]" CHECKED_AND_FAIR) { explore_desk<bits, cenote::eventually_fair, true>("a word per slot, callers dial, eventually_fair", each); }
TEST_CASE("a word per slot, callers dial, newcomers overtake", "[desk]" CHECKED) { explore_desk<bits, cenote::barging, true>("a word per slot, callers dial, barging", each); }
TEST_CASE("a word per slot, callers dial, nobody waits", "[desk]" CHECKED) { explore_desk<bits, cenote::no_wait, true>("a word per slot, callers dial, no_wait", each); }
TEST_CASE("a word per slot, a dialler, first come first served", "[desk]" CHECKED_AND_FAIR) { explore_desk<bits, cenote::strictly_fair, false>("a word per slot, a dialler, strictly_fair", each); }
TEST_CASE("a word per slot, a dialler, newcomers overtake for a while", "[desk]" CHECKED_AND_FAIR) { explore_desk<bits, cenote::eventually_fair, false>("a word per slot, a dialler, eventually_fair", each); }
TEST_CASE("a word per slot, a dialler, newcomers overtake", "[desk]" CHECKED) { explore_desk<bits, cenote::barging, false>("a word per slot, a dialler, barging", each); }
TEST_CASE("a word per slot, a dialler, nobody waits", "[desk]" CHECKED) { explore_desk<bits, cenote::no_wait, false>("a word per slot, a dialler, no_wait", each); }

TEST_CASE("all slots in one word, first come first served", "[desk]" CHECKED_AND_FAIR) {
    explore_desk<packed_bits, cenote::strictly_fair, true>("one word, callers dial, strictly_fair", each);
    explore_desk<packed_bits, cenote::strictly_fair, false>("one word, a dialler, strictly_fair", each);
}
TEST_CASE("all slots in one word, newcomers overtake for a while", "[desk]" CHECKED_AND_FAIR) {
    explore_desk<packed_bits, cenote::eventually_fair, true>("one word, callers dial, eventually_fair", each);
    explore_desk<packed_bits, cenote::eventually_fair, false>("one word, a dialler, eventually_fair", each);
}

TEST_CASE("a word per thread, first come first served", "[desk]" CHECKED_AND_FAIR) {
    explore_desk<affine_bits, cenote::strictly_fair, true>("a word per thread, callers dial, strictly_fair", each);
    explore_desk<affine_bits, cenote::strictly_fair, false>("a word per thread, a dialler, strictly_fair", each);
}
TEST_CASE("a word per thread, newcomers overtake for a while", "[desk]" CHECKED_AND_FAIR) {
    explore_desk<affine_bits, cenote::eventually_fair, true>("a word per thread, callers dial, eventually_fair", each);
    explore_desk<affine_bits, cenote::eventually_fair, false>("a word per thread, a dialler, eventually_fair", each);
}
