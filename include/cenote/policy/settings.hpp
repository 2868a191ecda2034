// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/policy/family.hpp>

namespace cenote {

/// Family `settings`: whether the values that a pool was made with can be replaced while it runs.
///
/// They cannot; only resize() changes anything.
///
/// Default  yes. Cost: nothing.
struct fixed_settings {
    using family = family::settings;
    static constexpr bool live = false;
};

/// `pool::reconfigure()` replaces them, all at once: limits, timeouts, ages, thresholds, what a reset does.
///
/// Range    the policies of the families sizing (but for `fixed<N>`), waiting, budget, connecting, age, validation, keepalive, reset, cutting
///          and leak, as far as they hold values and can be copied. Which policies a pool has, it has for good.
/// Cost     each value that is read is reached through one pointer more. Every reconfigure() allocates once; what it replaces stays
///          until the pool's end, because somebody may be reading it: some hundred bytes each.
/// With     whoever waits keeps the deadline he came with; a connection keeps the random part of its age limits.
struct live_settings {
    using family = family::settings;
    static constexpr bool live = true;
};

} // namespace cenote
