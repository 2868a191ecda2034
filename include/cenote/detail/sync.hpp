// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/os.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <utility>

namespace cenote::detail {

/// The seam between the pool's waiting logic and the machine. Everything that blocks, wakes or tells the time of a wait goes
/// through it, so that testing/explore.hpp can compile the same code over fibres and try every schedule.
///
/// Shape    mutex                           lock, unlock
///          word                            one 32-bit atomic in a waiter's frame
///          bits                            one 64-bit atomic of an idle set
///          processor(), thread_number()    hints where to look first
///          park(word&, expected, until)    sleeps while the word is `expected`; may return for no reason
///          wake(word*)                     by address only: the word may be gone
///          now()                           time of waits
///          stop_token, stop_callback<F>    as in <stop_token>
template <class Mutex, class Parker = os::parker>
struct real_sync {
    using mutex = Mutex;
    using stop_token = std::stop_token;
    template <class F>
    using stop_callback = std::stop_callback<F>;

    class word {
    public:
        explicit word(std::uint32_t v) noexcept : v_{v} {}
        [[nodiscard]] std::uint32_t load() const noexcept { return v_.load(std::memory_order_acquire); }
        void store(std::uint32_t v) noexcept { v_.store(v, std::memory_order_release); }
        /// Replaces `from` by `to`; false if it was something else.
        bool swap_if(std::uint32_t from, std::uint32_t to) noexcept {
            return v_.compare_exchange_strong(from, to, std::memory_order_acq_rel, std::memory_order_acquire);
        }

    private:
        friend real_sync;
        std::atomic<std::uint32_t> v_;
    };

    /// After its construction every change is a read-modify-write, so who takes a bit sees what its last giver did, however many
    /// others changed the word between them; and either a giver sees the flag, or who raised it sees the bit: both are in the one
    /// order of this word's changes, so no fence is needed.
    class bits {
    public:
        explicit bits(std::uint64_t v) noexcept : v_{v} {}
        /// A first look: a swap confirms what it shows. What it shows too late ends at the lock, whose holders see all that was
        /// changed under it before, and their own changes.
        [[nodiscard]] std::uint64_t peek() const noexcept { return v_.load(std::memory_order_relaxed); }
        /// Replaces `from` by `to`; false if it was something else, which `from` is then, or for no reason. Acquires for who takes,
        /// releases for who gives.
        bool swap_if(std::uint64_t& from, std::uint64_t to) noexcept {
            return v_.compare_exchange_weak(from, to, std::memory_order_acq_rel, std::memory_order_relaxed);
        }
        /// Only gives.
        void set(std::uint64_t mask) noexcept { v_.fetch_or(mask, std::memory_order_release); }

    private:
        std::atomic<std::uint64_t> v_;
    };
    [[nodiscard]] static unsigned processor() noexcept { return os::processor(); }
    [[nodiscard]] static unsigned thread_number() noexcept { return os::thread_number(); }

    static void park(word& w, std::uint32_t expected, time_point until) noexcept { Parker::park(w.v_, expected, until); }
    static void wake(word* w) noexcept { Parker::wake(w); }
    [[nodiscard]] static time_point now() noexcept { return std::chrono::steady_clock::now(); }
};

/// A mutex for pools that one thread uses.
struct no_mutex {
    void lock() noexcept {}
    void unlock() noexcept {}
};

} // namespace cenote::detail
