// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "stack.hpp"

#include <cenote/drivers/null.hpp>

#include <atomic>
#include <bit>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

/// Pools as people write them, over the connections that the pools here are measured with. All have
///
///   explicit P(unsigned size)     opens that many connections
///   Connection* acquire()
///   void give_back(Connection*)
namespace hand {

/// Gives back at the end of its scope, as every pool by hand has sooner or later.
template <class Pool>
class lease {
public:
    explicit lease(Pool& pool) : pool_{&pool}, c_{pool.acquire()} {}
    lease(lease&& other) noexcept : pool_{other.pool_}, c_{std::exchange(other.c_, nullptr)} {}
    lease& operator=(lease&&) = delete;
    ~lease() {
        if (c_ != nullptr) pool_->give_back(c_);
    }
    [[nodiscard]] connection& operator*() const noexcept { return *c_; }

private:
    Pool* pool_;
    connection* c_;
};

/// The shortest that many threads can share: whoever finds nothing tries again.
template <class Connection>
class basic_mutex_vector {
public:
    explicit basic_mutex_vector(unsigned size) : all_(size) {
        idle_.reserve(size);
        for (Connection& c : all_) idle_.push_back(&c);
    }
    [[nodiscard]] Connection* acquire() {
        for (;;) {
            {
                const std::scoped_lock lock{mutex_};
                if (!idle_.empty()) {
                    Connection* const c = idle_.back();
                    idle_.pop_back();
                    return c;
                }
            }
            std::this_thread::yield();
        }
    }
    void give_back(Connection* c) {
        const std::scoped_lock lock{mutex_};
        idle_.push_back(c);
    }

private:
    std::mutex mutex_;
    std::vector<Connection> all_;
    std::vector<Connection*> idle_;
};

using mutex_vector = basic_mutex_vector<connection>;

/// The one of the textbooks.
template <class Connection>
class basic_mutex_condvar_deque {
public:
    explicit basic_mutex_condvar_deque(unsigned size) : all_(size) {
        for (Connection& c : all_) idle_.push_back(&c);
    }
    [[nodiscard]] Connection* acquire() {
        std::unique_lock lock{mutex_};
        returned_.wait(lock, [this] { return !idle_.empty(); });
        Connection* const c = idle_.front();
        idle_.pop_front();
        return c;
    }
    void give_back(Connection* c) {
        {
            const std::scoped_lock lock{mutex_};
            idle_.push_back(c);
        }
        returned_.notify_one();
    }

private:
    std::mutex mutex_;
    std::condition_variable returned_;
    std::vector<Connection> all_;
    std::deque<Connection*> idle_;
};
using mutex_condvar_deque = basic_mutex_condvar_deque<connection>;

/// One connection behind two exchanges: what two locked instructions cost, the least for taking and giving back between threads.
class one_slot {
public:
    explicit one_slot(unsigned) {}
    [[nodiscard]] connection* acquire() {
        for (;;) {
            if (connection* const c = idle_.exchange(nullptr, std::memory_order_acquire)) return c;
            std::this_thread::yield();
        }
    }
    void give_back(connection* c) { idle_.exchange(c, std::memory_order_release); }

private:
    connection c_;
    alignas(64) std::atomic<connection*> idle_{&c_};
};

/// Up to 64 connections as the bits of one word: nobody can wait for them but by asking again.
class bitmap {
public:
    explicit bitmap(unsigned size) : all_(size), idle_{size == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << size) - 1} {
        if (size > 64) throw std::invalid_argument("a word has 64 bits");
    }
    [[nodiscard]] connection* acquire() {
        std::uint64_t v = idle_.load(std::memory_order_relaxed);
        for (;;) {
            if (v == 0) {
                std::this_thread::yield();
                v = idle_.load(std::memory_order_relaxed);
            } else if (idle_.compare_exchange_weak(v, v & (v - 1), std::memory_order_acquire, std::memory_order_relaxed)) {
                return &all_[static_cast<std::size_t>(std::countr_zero(v))];
            }
        }
    }
    void give_back(connection* c) { idle_.fetch_or(std::uint64_t{1} << (c - all_.data()), std::memory_order_release); }

private:
    std::vector<connection> all_;
    alignas(64) std::atomic<std::uint64_t> idle_;
};

} // namespace hand
