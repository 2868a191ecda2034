// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// A pool with every policy off against what one would write by hand: the same bytes, the same instructions.
#include "../../bench/baseline/stack.hpp"

#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

namespace {

using connection = cenote::null::connection;
constexpr unsigned capacity = 8;
constexpr int rounds = 1000;

/// The pool one writes by hand for one thread.
using hand_pool = hand::stack<capacity>;
using bare_pool = cenote::pool<cenote::null, cenote::profile::bare<capacity>>;
static_assert(sizeof(bare_pool) == sizeof(hand_pool), "the all-off pool is larger than one written by hand");
static_assert(sizeof(bare_pool::lease) == sizeof(hand_pool::lease));

bare_pool* theirs = nullptr;
hand_pool* own = nullptr;

void use(connection& c) noexcept { asm volatile("" : : "r"(&c) : "memory"); }

} // namespace

// The cycles are equal, instruction for instruction. Before its loop the compiler sets up the address of the call site that
// a failed acquire would report, which the pool by hand does not do: three instructions in all.
// allow cycle: +3
// allow try: +3

extern "C" [[gnu::noinline]] void pool_cycle() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = theirs->acquire();
        use(*held);
    }
}
extern "C" [[gnu::noinline]] void hand_cycle() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = own->acquire();
        use(*held);
    }
}

extern "C" [[gnu::noinline]] void pool_try() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = theirs->try_acquire();
        use(*held);
    }
}
extern "C" [[gnu::noinline]] void hand_try() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = own->acquire();
        use(*held);
    }
}

int main() {
    bare_pool pool{cenote::null{}};
    hand_pool hand;
    theirs = &pool;
    own = &hand;
    { // opened before anything is counted
        const auto a = pool.acquire();
        const auto b = hand.acquire();
    }
    pool_cycle();
    hand_cycle();
    pool_try();
    hand_try();
}
