// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#ifdef BENCH_SOCI
#include <soci/connection-pool.h>
#endif

/// What people use instead of a pool of the library's, over the same connections. Each has `take(thread)`, which returns a holder whose
/// `*` is the connection and whose end gives it back.
namespace bench {

/// So many open connections.
template <class Driver>
class opened {
public:
    using connection = typename Driver::connection;

    opened(Driver d, unsigned n) : driver_{std::move(d)} {
        all_.reserve(n);
        for (unsigned i = 0; i < n; ++i) all_.push_back(driver_.open(cenote::deadline::in(std::chrono::seconds{10})));
    }
    opened(const opened&) = delete;
    ~opened() {
        for (connection& c : all_) driver_.close(c);
    }
    [[nodiscard]] connection& operator[](std::size_t i) noexcept { return all_[i]; }
    [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

private:
    Driver driver_;
    std::vector<connection> all_;
};

/// Nobody shares anything: what no pool can beat while there are as many connections as threads.
template <class Driver>
class one_each {
public:
    one_each(const Driver& d, unsigned threads) : all_{d, threads} {}
    [[nodiscard]] typename Driver::connection* take(unsigned thread) noexcept { return &all_[thread]; }

private:
    opened<Driver> all_;
};

/// No pool at all.
template <class Driver>
class one_per_request {
public:
    using connection = typename Driver::connection;

    explicit one_per_request(Driver d) : driver_{std::move(d)} {}

    class holder {
    public:
        explicit holder(Driver& d) : driver_{&d}, c_{d.open(cenote::deadline::in(std::chrono::seconds{10}))} {}
        holder(const holder&) = delete;
        ~holder() { driver_->close(c_); }
        [[nodiscard]] connection& operator*() noexcept { return c_; }

    private:
        Driver* driver_;
        connection c_;
    };
    [[nodiscard]] holder take(unsigned) { return holder{driver_}; }

private:
    Driver driver_;
};

/// A mutex, a condition variable and a queue, as in the textbooks.
template <class Driver>
class by_hand {
public:
    using connection = typename Driver::connection;

    by_hand(const Driver& d, unsigned n) : all_{d, n} {
        for (unsigned i = 0; i < n; ++i) idle_.push_back(&all_[i]);
    }

    class holder {
    public:
        explicit holder(by_hand& pool) : pool_{&pool}, c_{pool.acquire()} {}
        holder(const holder&) = delete;
        ~holder() { pool_->give_back(c_); }
        [[nodiscard]] connection& operator*() const noexcept { return *c_; }

    private:
        by_hand* pool_;
        connection* c_;
    };
    [[nodiscard]] holder take(unsigned) { return holder{*this}; }

private:
    [[nodiscard]] connection* acquire() {
        std::unique_lock lock{mutex_};
        returned_.wait(lock, [this] { return !idle_.empty(); });
        connection* const c = idle_.front();
        idle_.pop_front();
        return c;
    }
    void give_back(connection* c) {
        {
            const std::scoped_lock lock{mutex_};
            idle_.push_back(c);
        }
        returned_.notify_one();
    }

    opened<Driver> all_;
    std::mutex mutex_;
    std::condition_variable returned_;
    std::deque<connection*> idle_;
};

#ifdef BENCH_SOCI
/// SOCI's pool says which position is free; the connections are ours, as SOCI's own sessions would bring another way to query.
template <class Driver>
class by_soci {
public:
    using connection = typename Driver::connection;

    by_soci(const Driver& d, unsigned n) : all_{d, n}, positions_{n} {}

    class holder {
    public:
        explicit holder(by_soci& pool) : pool_{&pool}, at_{pool.positions_.lease()} {}
        holder(const holder&) = delete;
        ~holder() { pool_->positions_.give_back(at_); }
        [[nodiscard]] connection& operator*() const noexcept { return pool_->all_[at_]; }

    private:
        by_soci* pool_;
        std::size_t at_;
    };
    [[nodiscard]] holder take(unsigned) { return holder{*this}; }

private:
    opened<Driver> all_;
    soci::connection_pool positions_;
};
#endif

} // namespace bench
