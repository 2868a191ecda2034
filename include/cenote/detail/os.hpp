// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include <thread>

#if defined(__linux__)
#include <cerrno>
#include <climits>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<sys/rseq.h>) && defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
#include <sys/rseq.h>
#define CENOTE_HAS_RSEQ
#endif
#endif
#endif

// Everything that only Linux has, each with a portable stand-in of the same shape that the tests compile everywhere.
namespace cenote::detail::os {

/// Sleeps on a word by address, in the manner of a parking lot: the word may be gone when it is woken.
///
/// Shape    park(word, expected, until): returns when woken, when `*word != expected`, at `until`, or for no reason.
///          wake(address): wakes who sleeps there. Never reads through the address.
struct portable_parker {
    static void park(const std::atomic<std::uint32_t>& word, std::uint32_t expected, time_point until) noexcept {
        bucket& b = bucket_of(&word);
        std::unique_lock lock{b.mutex};
        if (word.load(std::memory_order_acquire) != expected) return;
        if (until == time_point::max()) {
            b.changed.wait(lock);
        } else {
            b.changed.wait_until(lock, until);
        }
    }
    static void wake(const void* address) noexcept {
        bucket& b = bucket_of(address);
        { const std::scoped_lock lock{b.mutex}; }
        b.changed.notify_all();
    }

private:
    struct bucket {
        std::mutex mutex;
        std::condition_variable changed;
    };
    // Leaked on purpose: pools of static storage duration may still wake while the program ends.
    static bucket& bucket_of(const void* address) noexcept {
        static auto& buckets = *new std::array<bucket, 64>;
        return buckets[(reinterpret_cast<std::uintptr_t>(address) >> 4) % buckets.size()];
    }
};

#if defined(__linux__)
struct futex_parker {
    static void park(const std::atomic<std::uint32_t>& word, std::uint32_t expected, time_point until) noexcept {
        static_assert(sizeof word == sizeof(std::uint32_t), "cenote: a futex word is 32 bits; use portable_parker on this platform");
        timespec at{};
        const timespec* limit = nullptr;
        if (until != time_point::max()) {
            const auto since = until.time_since_epoch() < duration::zero() ? duration::zero() : until.time_since_epoch();
            const auto s = std::chrono::floor<std::chrono::seconds>(since);
            at.tv_sec = static_cast<time_t>(s.count());
            at.tv_nsec = static_cast<long>((since - s).count());
            limit = &at;
        }
        // FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time, which is what steady_clock reads.
        ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, expected, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
    }
    static void wake(const void* address) noexcept {
        const int before = errno;
        ::syscall(SYS_futex, address, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
        errno = before; // give back runs between a user's call and their look at errno
    }
};
using parker = futex_parker;
#else
using parker = portable_parker;
#endif

/// How many processors there are, at least one.
[[nodiscard]] inline unsigned processors() noexcept {
    static const unsigned n = std::max(1U, std::thread::hardware_concurrency());
    return n;
}

/// A number of the calling thread: 0 for the first that asks, then 1, 2 …
[[nodiscard]] inline unsigned thread_number() noexcept {
    static std::atomic<unsigned> next{0};
    thread_local const unsigned mine = next.fetch_add(1, std::memory_order_relaxed);
    return mine;
}

/// The processor that the calling thread runs on, or did a moment ago: a hint.
///
/// Cost     one load where the C library has registered restartable sequences (glibc 2.35).
[[nodiscard]] inline unsigned processor() noexcept {
#if defined(CENOTE_HAS_RSEQ)
    const auto* const area = reinterpret_cast<const struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset);
    if (const auto id = static_cast<int>(*static_cast<const volatile __u32*>(&area->cpu_id)); id >= 0) [[likely]] return static_cast<unsigned>(id);
#endif
#if defined(__linux__)
    if (const int id = ::sched_getcpu(); id >= 0) return static_cast<unsigned>(id);
#endif
    return thread_number();
}
#undef CENOTE_HAS_RSEQ

} // namespace cenote::detail::os
