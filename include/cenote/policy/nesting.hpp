// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/policy/facts.hpp>
#include <cenote/policy/family.hpp>

namespace cenote {

/// Family `nesting`: what happens when a thread that holds a lease of this pool acquires another. With fewer connections than
/// threads × depth that deadlocks, and it does so under load only.
///
/// A thread may hold as many leases as it likes.
///
/// Default  yes. Cost: nothing.
struct allow_nested {
    using family = family::nesting;
    static constexpr bool watches = false, refuses = false;
};

/// A nested acquire is reported to metrics sinks (`on_nested`) and goes ahead.
///
/// Cost     every acquire looks at every slot: one load each.
/// With     a lease handed to another thread still counts for the one that acquired it, and, once that has ended, for a new thread
///          that happens to get its id. One that `close_now` has cut does not count: it has no permit that anybody could wait for.
struct report_nested {
    using family = family::nesting;
    using needs = facts<holding_thread>;
    static constexpr bool watches = true, refuses = false;
};

/// A nested acquire fails with errc::nested_acquire.
///
/// Cost     as `report_nested`.
struct forbid_nested {
    using family = family::nesting;
    using needs = facts<holding_thread>;
    static constexpr bool watches = true, refuses = true;
};

} // namespace cenote
