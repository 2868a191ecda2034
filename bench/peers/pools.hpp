// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "../baseline/hand.hpp"
#include "../lib/pools.hpp"

#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#ifdef PEERS_SOCI
#include <soci/soci.h>
#endif
#ifdef PEERS_POCO
#include <Poco/ObjectPool.h>
#endif
#ifdef PEERS_TBB
#include <oneapi/tbb/concurrent_queue.h>
#endif
#ifdef PEERS_MOODYCAMEL
#if __has_include(<concurrentqueue/moodycamel/blockingconcurrentqueue.h>)
#include <concurrentqueue/moodycamel/blockingconcurrentqueue.h>
#else
#include <concurrentqueue/blockingconcurrentqueue.h>
#endif
#endif
#ifdef PEERS_BOOST
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/stack.hpp>
#endif

/// The pools that are compared, each as its documentation says to use it. All their connections exist before anything is measured.
///
///   explicit P(unsigned size)
///   auto take()                     waits for a connection; what it returns gives it back when it is destroyed
///   static int& mark(const auto&)   something in the connection; those of peers have a cache line each, cenote keeps its own in its slots
namespace peers {

struct alignas(64) connection {
    int mark = 0;
};

/// Gives back what a pool knows no guard for, as one would write it.
template <class Pool>
class guard {
public:
    explicit guard(Pool& pool) : pool_{pool}, connection_{pool.acquire()} {}
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
    ~guard() { pool_.give_back(connection_); }
    [[nodiscard]] connection& operator*() const { return *connection_; }

private:
    Pool& pool_;
    connection* connection_;
};

/// For pools of pointers: acquire() and give_back() are the pool's own.
template <class Pool>
struct pool_of_pointers {
    [[nodiscard]] auto take() { return guard<Pool>{static_cast<Pool&>(*this)}; }
    [[nodiscard]] static int& mark(const guard<Pool>& held) { return (*held).mark; }
};

// ----------------------------------------------------------------------------------------------------------------------------- cenote

/// The pool alone: what one would write by hand knows no ages, tests or clean-ups either.
template <class Locking>
[[nodiscard]] auto alone(unsigned size) { return bench::plain<Locking>(size); }

template <auto Make>
class cenote_pool {
public:
    explicit cenote_pool(unsigned size) : pool_{Make(size)} {
        std::vector<decltype(pool_.acquire())> all;
        for (unsigned i = 0; i < size; ++i) all.push_back(pool_.acquire());
    }
    [[nodiscard]] auto take() { return pool_.acquire(); }
    [[nodiscard]] static int& mark(const auto& lease) { return lease->mark; }

private:
    decltype(Make(1)) pool_;
};
using with_mutex = cenote_pool<alone<cenote::with_mutex<>>>;
using lock_free = cenote_pool<alone<cenote::lock_free>>;
using thread_affine = cenote_pool<alone<cenote::thread_affine>>;
using defaults = cenote_pool<bench::defaults>;

// ---------------------------------------------------------------------------------------------------------------------------- by hand

struct mutex_vector : hand::basic_mutex_vector<connection>, pool_of_pointers<mutex_vector> {
    using basic_mutex_vector::basic_mutex_vector;
};
struct condvar_deque : hand::basic_mutex_condvar_deque<connection>, pool_of_pointers<condvar_deque> {
    using basic_mutex_condvar_deque::basic_mutex_condvar_deque;
};

// ----------------------------------------------------------------------------------------------------------------------------- peers

#ifdef PEERS_SOCI
namespace soci_stub {

/// A backend that can be opened, and nothing else.
struct session final : soci::details::session_backend {
    connection line;

    bool is_connected() override { return true; }
    void begin() override {}
    void commit() override {}
    void rollback() override {}
    [[nodiscard]] std::string get_dummy_from_table() const override { return {}; }
    [[nodiscard]] std::string get_backend_name() const override { return "stub"; }
    soci::details::statement_backend* make_statement_backend() override { return nothing(); }
    soci::details::rowid_backend* make_rowid_backend() override { return nothing(); }
    soci::details::blob_backend* make_blob_backend() override { return nothing(); }

private:
    [[noreturn]] static std::nullptr_t nothing() { throw soci::soci_error{"the stub has no statements"}; }
};
struct factory final : soci::backend_factory {
    soci::details::session_backend* make_session(const soci::connection_parameters&) const override { return new session; }
};

class pool {
public:
    explicit pool(unsigned size) : pool_{size} {
        for (unsigned i = 0; i < size; ++i) pool_.at(i).open(factory_, "");
    }

protected:
    factory factory_;
    soci::connection_pool pool_;
};
[[nodiscard]] inline int& mark(soci::session& s) { return static_cast<session*>(s.get_backend())->line.mark; }

} // namespace soci_stub

/// The pool's own functions.
class soci_lease : soci_stub::pool {
public:
    using pool::pool;

    class lease {
    public:
        explicit lease(soci::connection_pool& pool) : pool_{pool}, at_{pool.lease()} {}
        lease(const lease&) = delete;
        lease& operator=(const lease&) = delete;
        ~lease() { pool_.give_back(at_); }
        [[nodiscard]] soci::session& operator*() const { return pool_.at(at_); }

    private:
        soci::connection_pool& pool_;
        std::size_t at_;
    };
    [[nodiscard]] lease take() { return lease{pool_}; }
    [[nodiscard]] static int& mark(const lease& held) { return soci_stub::mark(*held); }
};
/// As its manual shows it: a session that is constructed from the pool.
class soci_session : soci_stub::pool {
public:
    using pool::pool;
    [[nodiscard]] soci::session take() { return soci::session{pool_}; }
    [[nodiscard]] static int& mark(const soci::session& held) { return soci_stub::mark(const_cast<soci::session&>(held)); }
};
#endif

#ifdef PEERS_POCO
class poco : public pool_of_pointers<poco> {
public:
    explicit poco(unsigned size) : pool_{size, size} {
        std::vector<connection*> all;
        for (unsigned i = 0; i < size; ++i) all.push_back(acquire());
        for (connection* c : all) give_back(c);
    }
    [[nodiscard]] connection* acquire() {
        for (;;) {
            if (connection* const c = pool_.borrowObject(30'000)) return c;
        }
    }
    void give_back(connection* c) { pool_.returnObject(c); }

private:
    Poco::ObjectPool<connection> pool_;
};
#endif

#ifdef PEERS_TBB
class tbb_queue : public pool_of_pointers<tbb_queue> {
public:
    explicit tbb_queue(unsigned size) : all_(size) {
        idle_.set_capacity(size);
        for (connection& c : all_) idle_.push(&c);
    }
    [[nodiscard]] connection* acquire() {
        connection* c = nullptr;
        idle_.pop(c);
        return c;
    }
    void give_back(connection* c) { idle_.push(c); }

private:
    std::vector<connection> all_;
    tbb::concurrent_bounded_queue<connection*> idle_;
};
#endif

#ifdef PEERS_MOODYCAMEL
class moodycamel_queue : public pool_of_pointers<moodycamel_queue> {
public:
    explicit moodycamel_queue(unsigned size) : all_(size) {
        for (connection& c : all_) idle_.enqueue(&c);
    }
    [[nodiscard]] connection* acquire() {
        connection* c = nullptr;
        idle_.wait_dequeue(c);
        return c;
    }
    void give_back(connection* c) { idle_.enqueue(c); }

private:
    std::vector<connection> all_;
    moodycamel::BlockingConcurrentQueue<connection*> idle_;
};
#endif

#ifdef PEERS_BOOST
/// Nobody can wait for a lock-free container: who finds it empty lets others run and looks again.
template <template <class, class...> class Container>
class boost_lockfree : public pool_of_pointers<boost_lockfree<Container>> {
public:
    explicit boost_lockfree(unsigned size) : all_(size), idle_{size} {
        for (connection& c : all_) give_back(&c);
    }
    [[nodiscard]] connection* acquire() {
        connection* c = nullptr;
        while (!idle_.pop(c)) std::this_thread::yield();
        return c;
    }
    void give_back(connection* c) {
        if (!idle_.bounded_push(c)) throw std::logic_error{"there is room for every connection"};
    }

private:
    std::vector<connection> all_;
    Container<connection*> idle_;
};
using boost_stack = boost_lockfree<boost::lockfree::stack>;
using boost_queue = boost_lockfree<boost::lockfree::queue>;
#endif

} // namespace peers
