// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/facts.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>

namespace cenote {

/// Leases are not recorded; `inspect()` knows how many are out, not who has them.
///
/// Cost     nothing.
struct no_leak_check {
    using family = family::leak;
    static constexpr bool records = false;
};

/// Records who holds each lease, and reports one that is held longer than `after`: once while it is out and once when it comes back.
///
/// The report goes to `on_leak` hooks and to metrics sinks; `inspect()` and the evidence of a timeout list the holders.
/// Default  off; 300 s when chosen.
/// Range    above zero.
/// Cost     an age clock read and five plain stores per acquire, one store per give back.
/// With     the scan is housekeeping's: in time with `background_thread`, at `maintain()` under `manual`.
struct leak_threshold {
    using family = family::leak;
    using needs = facts<holder>;
    static constexpr bool records = true;
    duration after = std::chrono::seconds{300};
    void check() const { detail::require_positive("leak_threshold.after", after, "no_leak_check"); }
};

} // namespace cenote
