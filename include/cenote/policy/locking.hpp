// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/idle_bits.hpp>
#include <cenote/detail/idle_locked.hpp>
#include <cenote/detail/idle_plain.hpp>
#include <cenote/detail/sync.hpp>
#include <cenote/policy/family.hpp>
#include <cenote/policy/order.hpp>

#include <concepts>
#include <mutex>
#include <type_traits>

namespace cenote {

/// What `with_mutex` takes.
template <class M>
concept basic_lockable = requires(M& m) {
    m.lock();
    m.unlock();
};

/// Family `locking`: how the set of idle connections is kept consistent.
///
/// Shape    `sync`                 the Sync seam (detail/sync.hpp): mutex, word, park, wake, now
///          `idle_set<Order>`      models detail::idle_set over it (detail/idle_set.hpp)
///          `calm_idle_set<Order>` optional: one whose push never asks for attention, for pools where only closing could need it
///          `fixed_idle_set<Order, N>` optional: one that holds what N slots need, for pools that use no heap
///          `static constexpr bool threads`   whether more than one thread may use the pool
template <class L>
concept locking_policy = policy<L> && std::same_as<typename L::family, family::locking> && requires {
    typename L::sync::mutex;
    { L::threads } -> std::convertible_to<bool>;
} && (requires { typename L::template idle_set<lifo>; } || requires { typename L::template idle_set<fifo>; });

/// No lock at all: one thread uses the pool and its leases.
///
/// Cost     nothing; an acquire and give back are a dozen instructions.
/// With     debug builds (NDEBUG not defined) stop at a second thread. Nobody can wait, so `no_wait` is the default and the only choice.
struct single_threaded {
    using family = family::locking;
    using sync = detail::real_sync<detail::no_mutex>;
    static constexpr bool threads = false;
    template <class Order>
    using idle_set = detail::idle_plain<Order>;
    template <class Order>
    using calm_idle_set = detail::idle_plain<Order, true>;
};

/// One mutex around the idle set, held for a few instructions, never while a driver, a hook or a sink is called. The one that hands out
/// in an exact order whatever processor asks.
///
/// Default  where `fifo` is named, with std::mutex.
/// Range    M has lock() and unlock(), neither throws in use, and it may be destroyed as soon as the last holder's unlock() has
///          let another thread in (std::mutex may).
/// Cost     about 20 ns per acquire and give back uncontended.
template <class M = std::mutex>
struct with_mutex {
    using family = family::locking;
    using sync = detail::real_sync<M>;
    static constexpr bool threads = true;
    template <class Order>
    using idle_set = detail::idle_locked<Order, sync>;
};

/// No lock on the way of an acquire that finds an idle connection and of a return that nobody waits for: one compare-and-swap each, in a
/// word of the processor's own. Whoever must wait, or finds somebody waiting, takes the mutex of the slow path.
///
/// Default  yes: a thread keeps to the connection that its processor used last, and that to the server's process. Two threads that read from
///          PostgreSQL over two connections get more than twice the answers that they get by `with_mutex`, which hands the connections round;
///          README.md has the figures.
/// Range    `lifo` only, and that by the processor: a thread gets the connection that is used most of those in its processor's word, else
///          another's. `fifo` is refused.
/// Cost     two locked instructions per acquire and give back, 48 in all where `with_mutex` has 151 (g++ 12); 512 bytes for each
///          word, of which there is one per processor, or per connection if these are fewer, and one per 62 connections at least; slots
///          begin on cache lines of their own.
/// With     every waiting and sizing policy. While somebody waits it does what `with_mutex` does. An acquire that does not wait may
///          find nothing while the last idle connections change hands, where a mutex would have made it come earlier or later.
struct lock_free {
    using family = family::locking;
    using sync = detail::real_sync<std::mutex>;
    static constexpr bool threads = true;
    template <std::same_as<lifo> Order>
    using idle_set = detail::idle_bits<sync, detail::by_processor>;
    template <std::same_as<lifo> Order, unsigned N>
    using fixed_idle_set = detail::idle_bits<sync, detail::by_processor, N>;
};

/// As `lock_free`, but with a word for each thread instead of each processor: a thread gets the connection that it had, whatever
/// processor it runs on, as long as all are open and it shares its word with no other.
///
/// Range    `lifo` only, and that by the thread.
/// Cost     as lock_free; words are the greatest power of two that is not above the number of connections, at most 64 (more for more
///          than 3,968 connections).
/// With     threads are numbered in the order in which they first use such a pool; those whose numbers are apart by a multiple of the
///          number of words share a word and its connections, as the 65th does with the first.
struct thread_affine {
    using family = family::locking;
    using sync = detail::real_sync<std::mutex>;
    static constexpr bool threads = true;
    template <std::same_as<lifo> Order>
    using idle_set = detail::idle_bits<sync, detail::by_thread>;
    template <std::same_as<lifo> Order, unsigned N>
    using fixed_idle_set = detail::idle_bits<sync, detail::by_thread, N>;
};

namespace detail {
template <class Order>
using default_locking = std::conditional_t<std::is_same_v<Order, lifo>, lock_free, with_mutex<>>;
} // namespace detail

} // namespace cenote
