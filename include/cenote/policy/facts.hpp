// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <atomic>
#include <cstdint>
#include <source_location>
#include <thread>

/// What a policy must remember about each connection. A policy lists what it reads, `using needs = cenote::facts<…>;`, and every
/// slot of the pool carries each fact once, however many policies asked for it.
///
/// Shape    a fact is a struct with any of these members; the pool calls those that are there:
///            on_open(const open_event&)                    a connection was opened into the slot
///            on_lease() | on_lease(time_point) | on_lease(time_point, const std::source_location&)
///            on_return() | on_return(time_point)
/// Cost     the clock is read at an event only if some fact of the pool takes a time there. Facts are written by the slot's one
///          holder; those that other threads read while the connection is leased are atomics (`holder`, `lease_count`).
namespace cenote {

template <class... Fact>
struct facts {};

/// What a fact learns when a connection is opened: the time, and 32 random bits to spread its life with.
struct open_event {
    time_point now;
    std::uint32_t random;
};

/// When the connection was opened.
struct opened_at {
    time_point opened{};
    void on_open(const open_event& e) noexcept { opened = e.now; }
};

/// When the connection was last given back, or opened.
struct last_used {
    time_point used{};
    void on_open(const open_event& e) noexcept { used = e.now; }
    void on_return(time_point now) noexcept { used = now; }
};

/// When the connection was last tested while idle, or opened.
struct last_tested {
    time_point tested{};
    void on_open(const open_event& e) noexcept { tested = e.now; }
};

/// When the current lease began.
struct leased_at {
    time_point leased{};
    void on_lease(time_point now) noexcept { leased = now; }
};

/// A number drawn once per connection, so that connections opened together do not end together.
struct jitter_draw {
    std::uint32_t draw{};
    void on_open(const open_event& e) noexcept { draw = e.random; }
    /// In [0, 1).
    [[nodiscard]] double fraction() const noexcept { return static_cast<double>(draw) / 4294967296.0; }
};

/// How many leases this connection has had.
struct use_count {
    std::uint64_t uses{};
    void on_open(const open_event&) noexcept { uses = 0; }
    void on_lease() noexcept { ++uses; }
};

/// How many leases this slot has had, over all its connections; read by `stats()` at any time.
struct lease_count {
    std::atomic<std::uint64_t> leases{};
    // One writer at a time, so no locked instruction.
    void on_lease() noexcept { leases.store(leases.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
    /// The lease that was counted last came to nothing.
    void take_back() noexcept { leases.store(leases.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed); }
};

/// Who holds the connection since when and why; read by `inspect()` and the leak scan from other threads.
///
/// The epoch is odd while leased; a reader that sees the same odd epoch before and after has read one lease, not a mixture.
struct holder {
    std::atomic<std::uint64_t> epoch{};
    std::atomic<time_point::rep> since{};
    std::atomic<std::source_location> where{};
    std::atomic<std::thread::id> thread{};
    std::atomic<const char*> tag{};
    std::atomic<std::uint64_t> reported{}; ///< the epoch of the lease that has been reported as a suspected leak

    void on_lease(time_point now, const std::source_location& site) noexcept {
        // Release, so that whoever reads one of these also sees that the lease before has ended.
        since.store(now.time_since_epoch().count(), std::memory_order_release);
        where.store(site, std::memory_order_release);
        thread.store(std::this_thread::get_id(), std::memory_order_release);
        tag.store(nullptr, std::memory_order_release);
        epoch.store(epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    void on_return() noexcept { epoch.store(epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
};

/// Which thread holds the connection; empty while nobody does.
struct holding_thread {
    std::atomic<std::thread::id> owner{};
    void on_lease() noexcept { owner.store(std::this_thread::get_id(), std::memory_order_relaxed); }
    void on_return() noexcept { owner.store(std::thread::id{}, std::memory_order_relaxed); }
};

} // namespace cenote
