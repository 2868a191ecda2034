// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "hand.hpp"

#include "../lib/pools.hpp"

#include <cstddef>

/// Who is compared.
///
///   name, threads        may several threads use it
///   pool make(size)      not for those whose size is part of the type: they have 8
///   auto take(pool&)     what it returns gives back at its end
namespace subject {

inline constexpr unsigned size = 8;

template <class Pool>
struct by_hand {
    using pool = Pool;
    static constexpr bool threads = true;
    static pool make(unsigned n) { return pool{n}; }
    static auto take(pool& p) { return hand::lease<Pool>{p}; }
};
struct mutex_vector : by_hand<hand::mutex_vector> {
    static constexpr auto name = "std::mutex + vector";
};
struct mutex_condvar_deque : by_hand<hand::mutex_condvar_deque> {
    static constexpr auto name = "mutex + condvar + deque";
};
struct one_slot : by_hand<hand::one_slot> {
    static constexpr auto name = "one slot, xchg + xchg";
};
struct bitmap : by_hand<hand::bitmap> {
    static constexpr auto name = "bitmap that cannot wait";
};
struct stack {
    using pool = hand::stack<size>;
    static constexpr bool threads = false;
    static constexpr auto name = "stack for one thread";
    static pool make(unsigned) { return {}; }
    static auto take(pool& p) { return p.acquire(); }
};

template <auto Make, bool Threads = true>
struct cenote_pool {
    using pool = decltype(Make(size));
    static constexpr bool threads = Threads;
    static pool make(unsigned n) { return Make(n); }
    static auto take(pool& p) { return p.acquire(); }
};
struct bare {
    using pool = bench::bare<size>;
    static constexpr bool threads = false;
    static constexpr auto name = "cenote bare, fixed<8>";
    static pool make(unsigned) { return pool{cenote::null{}}; }
    static auto take(pool& p) { return p.acquire(); }
};
struct bare_on_heap : cenote_pool<bench::bare_on_heap, false> {
    static constexpr auto name = "cenote bare, on the heap";
};
struct with_mutex : cenote_pool<bench::plain<cenote::with_mutex<>>> {
    static constexpr auto name = "cenote with_mutex";
};
struct lock_free : cenote_pool<bench::plain<cenote::lock_free>> {
    static constexpr auto name = "cenote lock_free";
};
struct lock_free_no_wait : cenote_pool<bench::plain<cenote::lock_free, cenote::no_wait>> {
    static constexpr auto name = "cenote lock_free, no_wait";
};
struct thread_affine : cenote_pool<bench::plain<cenote::thread_affine>> {
    static constexpr auto name = "cenote thread_affine";
};
struct defaults : cenote_pool<bench::defaults> {
    static constexpr auto name = "cenote, all defaults";
};

} // namespace subject
