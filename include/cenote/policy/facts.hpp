// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/stack.hpp>

#include <array>
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

/// Whose a lease is: its holder's, until one compare-and-swap decides whether it was given back or cut first.
///
/// The number of the lease is in the word, so that whoever wants to cut one lease cannot meet the next.
struct custody {
    static constexpr std::uint64_t state_bits = 3, out = 1, severed = 2;
    std::atomic<std::uint64_t> word{};

    // Only its holder writes while nobody can cut it. Release, for who sees that it is out reads who has it.
    void on_lease() noexcept { word.store(((word.load(std::memory_order_relaxed) & ~state_bits) + 4) | out, std::memory_order_release); }
    /// By the holder, who ends the lease. False: it was cut.
    [[nodiscard]] bool reclaim() noexcept {
        std::uint64_t was = word.load(std::memory_order_relaxed);
        return (was & state_bits) == out &&
               word.compare_exchange_strong(was, was & ~state_bits, std::memory_order_acq_rel, std::memory_order_acquire);
    }
    /// By whoever saw the word as `seen`. False: that lease has ended, or was cut already.
    [[nodiscard]] bool cut(std::uint64_t seen) noexcept {
        return (seen & state_bits) == out &&
               word.compare_exchange_strong(seen, (seen & ~state_bits) | severed, std::memory_order_acq_rel, std::memory_order_relaxed);
    }
    /// By the holder of one that was cut: there is no lease any more.
    void bury() noexcept { word.store(word.load(std::memory_order_relaxed) & ~state_bits, std::memory_order_release); }
};

/// From where the connection was acquired: addresses that the user's function has found. Read as `holder` is.
struct call_stack {
    std::array<std::atomic<void*>, stack_depth> frames{};
    std::atomic<unsigned> depth{};
    /// Before the lease begins, so that it is part of what `holder`'s epoch covers.
    void store(void* const* from, unsigned n) noexcept {
        n = n < stack_depth ? n : stack_depth;
        for (unsigned i = 0; i < n; ++i) frames[i].store(from[i], std::memory_order_release);
        depth.store(n, std::memory_order_release);
    }
};

/// Which thread holds the connection; empty while nobody does.
struct holding_thread {
    std::atomic<std::thread::id> owner{};
    void on_lease() noexcept { owner.store(std::this_thread::get_id(), std::memory_order_relaxed); }
    void on_return() noexcept { owner.store(std::thread::id{}, std::memory_order_relaxed); }
};

} // namespace cenote
