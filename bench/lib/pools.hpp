// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

/// The pools that are measured, over a driver that has no resource.
namespace bench {

/// Nothing but the set of idle connections, its lock and its queue: what is chosen besides is added.
template <class... P>
[[nodiscard]] auto plain(unsigned size) {
    return cenote::pool{cenote::null{}, cenote::bounded{.max = size}, cenote::manual{}, cenote::no_acquire_timeout{}, cenote::no_connect_timeout{},
                        cenote::no_age_limit{}, cenote::no_validation{}, cenote::no_reset{}, P{}...};
}
/// Embedded, for one thread, everything off.
template <unsigned N>
using bare = cenote::pool<cenote::null, cenote::profile::bare<N>>;
/// The same, but on the heap.
[[nodiscard]] inline auto bare_on_heap(unsigned size) { return plain<cenote::single_threaded>(size); }

/// With all its defaults.
[[nodiscard]] inline auto defaults(unsigned size) { return cenote::pool{cenote::null{}, cenote::bounded{.max = size}}; }

} // namespace bench
