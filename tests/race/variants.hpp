// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

// The pools that races are run on. Under TSan, where compiling takes longer than running, each of the two compilers takes half of them.
#include <cenote/policy/housekeeping.hpp>
#include <cenote/policy/locking.hpp>
#include <cenote/policy/waiting.hpp>

#if defined(__SANITIZE_THREAD__)
#define RACES_ARE_SEEN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_ARE_SEEN 1
#endif
#endif
#ifndef RACES_ARE_SEEN
#define RACES_ARE_SEEN 0
#endif


template <class W, class K, class L = cenote::with_mutex<>>
struct variant {
    using waiting = W;
    using keeping = K;
    using locking = L;
};

#define FIRST_VARIANTS                                                                                                                 \
    (variant<cenote::strictly_fair, cenote::background_thread>), (variant<cenote::eventually_fair, cenote::manual>),                   \
        (variant<cenote::barging, cenote::background_thread>), (variant<cenote::strictly_fair, cenote::manual, cenote::lock_free>),    \
        (variant<cenote::barging, cenote::manual, cenote::lock_free>)
#define SECOND_VARIANTS                                                                                                                \
    (variant<cenote::strictly_fair, cenote::manual>), (variant<cenote::eventually_fair, cenote::background_thread>),                   \
        (variant<cenote::barging, cenote::manual>), (variant<cenote::eventually_fair, cenote::background_thread, cenote::lock_free>),  \
        (variant<cenote::strictly_fair, cenote::background_thread, cenote::thread_affine>)

#if !RACES_ARE_SEEN
#define EVERY_VARIANT FIRST_VARIANTS, SECOND_VARIANTS
#elif defined(__clang__)
#define EVERY_VARIANT SECOND_VARIANTS
#else
#define EVERY_VARIANT FIRST_VARIANTS
#endif
