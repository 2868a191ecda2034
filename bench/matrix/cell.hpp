// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <utility>

/// One pool type of the matrix, behind functions that the compiler cannot see through: main.cpp times, counts and weighs it.
namespace matrix {

/// How many connections each pool has, all of them open before anything is measured.
inline constexpr unsigned connections = 8;

using bare = cenote::profile::bare<connections>;
using connection = cenote::null::connection;
inline constexpr auto never = std::numeric_limits<std::uint64_t>::max(); ///< of uses

struct cell {
    std::string base;                  ///< the pool it is put into: bare, default, or what the row calls it
    std::string name;                  ///< what is put into it
    std::size_t pool, core, slot, lease; ///< bytes; those of the core without its slots
    void (*open)();
    void (*cycles)(unsigned);
    void (*close)();
    cell* next;

    static inline cell* first = nullptr;
};

/// What a user does with the connection, as far as the compiler knows.
inline void use(connection& c) noexcept { asm volatile("" : : "r"(&c) : "memory"); }

/// Hooks that the compiler cannot leave out, and a sink.
inline constexpr auto touch = [](connection& c) noexcept { use(c); };
struct timing_sink {
    using family = cenote::family::metrics;
    static void on_returned(const cenote::returned_event& e) noexcept { asm volatile("" : : "r"(e.used.count())); }
};

/// What captures a stack and finds none.
inline unsigned no_stack(void** at, unsigned) noexcept {
    asm volatile("" : : "r"(at) : "memory");
    return 0;
}

/// Opens so many connections: each is taken while those before it are held. Where a thread may hold only one it takes as many threads.
template <class Pool>
void open_more(Pool& p, unsigned n) {
    const auto held = p.acquire();
    use(*held);
    if (n <= 1) return;
    if constexpr (Pool::core_type::cfg::nesting::refuses) std::jthread{[&] { open_more(p, n - 1); }};
    else open_more(p, n - 1);
}

/// `Make` is a function object that returns the pool. The loop knows it by a pointer that it must read again each time.
template <class Make>
struct subject {
    using pool_type = decltype(std::declval<Make>()());
    using core_type = typename pool_type::core_type;
    static inline pool_type* pool = nullptr;

    static void open() {
        pool = new pool_type(Make{}());
        open_more(*pool, connections);
    }
    [[gnu::noinline]] static void cycles(unsigned n) {
        for (unsigned i = n; i != 0; --i) {
            const auto held = pool->acquire();
            use(*held);
        }
    }
    static void close() { delete std::exchange(pool, nullptr); }

    static constexpr std::size_t slot_bytes = sizeof(typename core_type::slot_type);
    static constexpr std::size_t core_bytes = sizeof(core_type) - (core_type::cfg::embedded ? connections * slot_bytes : 0);

    subject(std::string base, std::string name)
        : self{std::move(base), std::move(name), sizeof(pool_type), core_bytes, slot_bytes, sizeof(typename pool_type::lease),
               open, cycles, close, cell::first} {
        cell::first = &self;
    }
    cell self;
};

} // namespace matrix
