// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/error.hpp>
#include <cenote/policy/facts.hpp>
#include <cenote/policy/family.hpp>
#include <cenote/stats.hpp>

#include <array>
#include <atomic>
#include <cstdint>

namespace cenote {

// What a sink can be told. Events are structs so that fields can be added without breaking anybody's sink.

/// An acquire succeeded. `waited` is zero when a connection was idle: no clock is read then.
struct acquired_event { duration waited; bool opened; };
/// An acquire failed.
struct refused_event { errc why; duration waited; };
/// A lease ended after `used`: given back, discarded or detached.
struct returned_event { duration used; bool dirty; };
/// A connection was opened in `took`.
struct opened_event { duration took; };
/// Opening failed after `took`. `error` lives as long as the call.
struct open_failed_event { duration took; const connect_error& error; };
/// A connection was closed, and why.
struct closed_event { close_reason why; };
/// A renewal has ended (`invalidate_all(over)`, `refresh_every`): none of the connections that were open at its beginning is left.
struct refreshed_event { const pool_stats& before; const pool_stats& after; duration took; };

/// Family `metrics`: any number of user sinks, told at compile time what happens.
///
/// Shape    any of these members; those that are missing cost nothing:
///            void on_acquired(const acquired_event&)     void on_acquired()
///            void on_returned(const returned_event&)     void on_returned()        the first form makes the pool time each lease
///            void on_refused(const refused_event&)       void on_opened(const opened_event&)
///            void on_open_failed(const open_failed_event&)  void on_closed(const closed_event&)
///            void on_refreshed(const refreshed_event&)
///            void on_waited(duration)          an acquire that found nothing idle ended, well or badly, after so long
///            void on_dirty()                   a connection came back with a transaction or statement open
///            void on_detached()    void on_validation_failed()    void on_reset_failed()    void on_nested()
///            void on_leak(const lease_info&)             still out past the threshold
///            void on_severed(const lease_info&)          cut by `close_now`: its permit is free again
///            void on_leak_returned(const lease_info&)    and back at last; not told when it comes back at the very moment of the report
/// Called   outside locks, on whatever thread the event happens on, several at once: a sink guards its own data.
/// Errors   what a sink throws is swallowed and counted (`stats().swallowed`).
/// With     a sink is moved into the pool when it is constructed: one with atomics or a mutex needs a move constructor. Give it a pointer or reference to what must outlive the pool; get at it with `pool.get<Sink>()`.
struct no_metrics {
    using family = family::metrics;
    using kind = kind::all;
};

/// Counts what happens, for `stats()`.
///
/// Cost     per acquire one plain increment in the slot; everything else is counted where time is spent anyway.
class counters {
public:
    using family = family::metrics;
    using needs = facts<lease_count>;

    counters() = default;
    counters(counters&& other) noexcept { *this = other; }
    counters(const counters& other) noexcept { *this = other; }
    counters& operator=(const counters& other) noexcept {
        for (unsigned i = 0; i < size; ++i) n_[i].store(other.n_[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
        return *this;
    }

    void on_waited(duration waited) noexcept {
        add(waits);
        add(wait_ns, static_cast<std::uint64_t>(waited.count() > 0 ? waited.count() : 0));
    }
    void on_refused(const refused_event& e) noexcept {
        add(e.why == errc::acquire_timeout ? timeouts : e.why == errc::queue_full ? queue_full : failed);
    }
    void on_opened(const opened_event&) noexcept { add(opened); }
    void on_open_failed(const open_failed_event&) noexcept { add(open_failed); }
    void on_closed(const closed_event& e) noexcept { add(closed_first + static_cast<unsigned>(e.why)); }
    void on_detached() noexcept { add(detached); }
    void on_validation_failed() noexcept { add(validation_failed); }
    void on_reset_failed() noexcept { add(reset_failed); }
    void on_dirty() noexcept { add(returned_dirty); }
    void on_leak(const lease_info&) noexcept { add(leaks); }
    void on_severed(const lease_info&) noexcept { add(severed); }

    /// How many connections were closed for this reason.
    [[nodiscard]] std::uint64_t closed_for(close_reason r) const noexcept { return at(closed_first + static_cast<unsigned>(r)); }

    /// Fills in the counters of `s` but `leases`, which the slots keep, and `swallowed`, which the pool keeps.
    void fill(pool_stats& s) const noexcept {
        s.counted = true;
        s.waits = at(waits);
        s.wait_ns = at(wait_ns);
        s.timeouts = at(timeouts);
        s.queue_full = at(queue_full);
        s.failed = at(failed);
        s.opened = at(opened);
        s.open_failed = at(open_failed);
        s.detached = at(detached);
        s.validation_failed = at(validation_failed);
        s.reset_failed = at(reset_failed);
        s.returned_dirty = at(returned_dirty);
        s.leaks = at(leaks);
        s.severed = at(severed);
        for (unsigned i = 0; i < close_reasons; ++i) s.closed += at(closed_first + i);
    }

private:
    enum index : unsigned {
        waits, wait_ns, timeouts, queue_full, failed, opened, open_failed, detached, validation_failed, reset_failed,
        returned_dirty, leaks, severed, closed_first, size = closed_first + close_reasons
    };
    void add(unsigned i, std::uint64_t n = 1) noexcept { n_[i].fetch_add(n, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t at(unsigned i) const noexcept { return n_[i].load(std::memory_order_relaxed); }

    std::array<std::atomic<std::uint64_t>, size> n_{};
};

} // namespace cenote
