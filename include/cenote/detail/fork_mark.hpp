// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

// How a pool learns that it is in another process than the one it was made in.
namespace cenote::detail::os {

/// A word that tells of forks, wherever there are POSIX threads; elsewhere nobody forks.
///
/// Shape    here(): a word that is 1 in this process and 0 in every one that is forked from it. Whoever asks in the child gets another one.
/// Called   by several threads at once. Takes no lock: in the child nobody would let go of it.
/// Errors   std::bad_alloc.
/// Cost     to read the word, one load of memory that is never written again. Here, a few bytes per process that was forked.
/// With     a fork that does not run the handlers of pthread_atfork (a system call by hand) is not noticed.
struct portable_fork_word {
    [[nodiscard]] static const unsigned* here() {
#if defined(__unix__) || defined(__APPLE__)
        if (!listens().load(std::memory_order_acquire)) { // twice is harmless, too late is not
            if (::pthread_atfork(nullptr, nullptr, &after_fork) != 0) throw std::bad_alloc{};
            listens().store(true, std::memory_order_release);
        }
#endif
        unsigned* w = now().load(std::memory_order_acquire);
        if (w != nullptr) return w;
        auto fresh = std::make_unique<unsigned>(1U);
        if (now().compare_exchange_strong(w, fresh.get(), std::memory_order_acq_rel, std::memory_order_acquire)) return fresh.release();
        return w;
    }

private:
    [[maybe_unused]] static void after_fork() noexcept {
        if (unsigned* const old = now().exchange(nullptr, std::memory_order_acq_rel)) *old = 0;
    }
    [[maybe_unused]] static std::atomic<bool>& listens() noexcept {
        static constinit std::atomic<bool> yes{false};
        return yes;
    }
    static std::atomic<unsigned*>& now() noexcept {
        static constinit std::atomic<unsigned*> word{nullptr};
        return word;
    }
};

#if defined(MADV_WIPEONFORK)
/// The same in a page that the kernel gives every child as zeros, whatever forked it.
///
/// Cost     a page for each generation of processes that asks.
struct wiped_fork_word {
    [[nodiscard]] static const unsigned* here() {
        const unsigned* w = now().load(std::memory_order_acquire);
        if (w != nullptr && *w != 0) return w;
        const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        void* const page = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) throw std::bad_alloc{};
        if (::madvise(page, size, MADV_WIPEONFORK) != 0) { // Linux before 4.14
            ::munmap(page, size);
            return portable_fork_word::here();
        }
        auto* const fresh = ::new (page) unsigned{1};
        if (now().compare_exchange_strong(w, fresh, std::memory_order_acq_rel, std::memory_order_acquire)) return fresh;
        ::munmap(page, size);
        return w; // another thread's
    }

private:
    static std::atomic<const unsigned*>& now() noexcept {
        static constinit std::atomic<const unsigned*> word{nullptr};
        return word;
    }
};
using fork_word = wiped_fork_word;
#else
using fork_word = portable_fork_word;
#endif

} // namespace cenote::detail::os

namespace cenote::detail {

/// Never destroyed: for what a forked child was born with and cannot take apart, as threads that are not there were in it, or as its end
/// would speak to a server.
template <class T>
void leave_behind(T&& v) noexcept {
    static_assert(std::is_rvalue_reference_v<T&&> && std::is_nothrow_move_constructible_v<T>);
    alignas(T) std::byte room[sizeof(T)];
    (void)::new (static_cast<void*>(room)) T{std::move(v)};
}

} // namespace cenote::detail
