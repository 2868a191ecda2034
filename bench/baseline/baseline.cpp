// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Pools as one writes them by hand against those of the library: time per cycle, bytes, allocations.
// usage: baseline <rows> <quick|full> <instructions>     the last: a file of lines `subject <tab> compiler <tab> instructions per cycle`
#include "subject.hpp"

#include "../lib/windows.hpp"

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <malloc.h>

namespace {

std::atomic<std::size_t> allocations{0};
std::atomic<std::size_t> bytes{0}; // in use, as malloc rounds them

void* allocate(std::size_t n, std::size_t alignment) {
    void* const p = alignment > __STDCPP_DEFAULT_NEW_ALIGNMENT__ ? std::aligned_alloc(alignment, (n + alignment - 1) / alignment * alignment) : std::malloc(n);
    if (p == nullptr) throw std::bad_alloc{};
    allocations.fetch_add(1, std::memory_order_relaxed);
    bytes.fetch_add(::malloc_usable_size(p), std::memory_order_relaxed);
    return p;
}
void release(void* p) noexcept {
    bytes.fetch_sub(::malloc_usable_size(p), std::memory_order_relaxed);
    std::free(p);
}

} // namespace

void* operator new(std::size_t n) { return allocate(n, 0); }
void* operator new(std::size_t n, std::align_val_t a) { return allocate(n, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }

namespace {

using namespace std::chrono_literals;

template <class... S>
struct list {};
using everyone = list<subject::stack, subject::bare, subject::bare_on_heap, subject::one_slot, subject::bitmap, subject::lock_free, subject::lock_free_no_wait,
                      subject::thread_affine, subject::mutex_vector, subject::mutex_condvar_deque, subject::with_mutex, subject::defaults>;

template <class... S, class F>
void for_each(list<S...>, F&& f) {
    (f(S{}), ...);
}

template <class S>
using lease_of = decltype(S::take(std::declval<typename S::pool&>()));

void tell(bench::rows& rows, const char* test, const char* subject, std::vector<bench::condition> at, const char* metric, const char* unit, double value) {
    rows.add({.suite = "baseline", .test = test, .subject = subject, .at = std::move(at), .metric = metric, .unit = unit, .value = value, .low = value,
              .high = value});
}

/// What an embedded pool has more for 32 connections more.
template <class S>
constexpr double embedded_slot = 0;
template <>
constexpr double embedded_slot<subject::stack> = double(sizeof(hand::stack<subject::size + 32>) - sizeof(hand::stack<subject::size>)) / 32;
template <>
constexpr double embedded_slot<subject::bare> = double(sizeof(bench::bare<subject::size + 32>) - sizeof(bench::bare<subject::size>)) / 32;

/// Bytes of a pool with so many connections, all open: the object and what it has allocated.
template <class S>
std::size_t footprint(unsigned size) {
    std::vector<lease_of<S>> all;
    all.reserve(size);
    const std::size_t before = bytes.load();
    auto pool = S::make(size);
    for (unsigned i = 0; i < size; ++i) all.push_back(S::take(pool));
    const std::size_t used = bytes.load() - before + sizeof pool;
    all.clear();
    return used;
}

template <class S>
void weigh(bench::rows& rows) {
    const std::vector<bench::condition> at{{"connections", std::to_string(subject::size)}};
    double pool = sizeof(typename S::pool), slot = embedded_slot<S>;
    if constexpr (embedded_slot<S> == 0 && !std::is_same_v<S, subject::one_slot>) {
        pool = static_cast<double>(footprint<S>(subject::size));
        slot = (static_cast<double>(footprint<S>(subject::size + 32)) - pool) / 32;
    }
    tell(rows, "bytes", S::name, at, "pool", "B", pool);
    if (slot > 0) tell(rows, "bytes", S::name, at, "slot", "B", slot);
    tell(rows, "bytes", S::name, at, "lease", "B", sizeof(lease_of<S>));
    std::printf("   %-28s %10.0f %10.1f %10zu\n", S::name, pool, slot, sizeof(lease_of<S>));
}

/// Allocations per cycle of so many threads on so many connections, after the first cycles of each.
template <class S>
double allocated(unsigned threads, unsigned size, std::chrono::microseconds hold) {
    constexpr int rounds = 100;
    auto pool = S::make(size);
    std::barrier phase{static_cast<std::ptrdiff_t>(threads) + 1};
    std::vector<std::jthread> running;
    for (unsigned t = 0; t < threads; ++t) {
        running.emplace_back([&] {
            const auto work = [&] {
                for (int i = 0; i < rounds; ++i) {
                    const auto held = S::take(pool);
                    bench::keep(&*held);
                    if (hold > 0us) bench::sleep(hold);
                }
            };
            work();
            phase.arrive_and_wait(); // everything that is made once has been made
            phase.arrive_and_wait();
            work();
            phase.arrive_and_wait();
        });
    }
    phase.arrive_and_wait();
    const std::size_t before = allocations.load();
    phase.arrive_and_wait();
    phase.arrive_and_wait();
    return static_cast<double>(allocations.load() - before) / (rounds * threads);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: baseline <rows> <quick|full> <instructions>\n");
        return 2;
    }
    bench::rows rows{argv[1]};
    const bool quick = std::strcmp(argv[2], "quick") == 0;
    const bench::options how = quick ? bench::options{.windows = 5, .length = 30ms} : bench::options{.windows = 21, .length = 100ms};

    std::printf("\n   %-28s %12s   %s\n", "one thread", "instructions", "by");
    std::ifstream counted{argv[3]};
    for (std::string subject, compiler, number; std::getline(counted, subject, '\t') && std::getline(counted, compiler, '\t') && std::getline(counted, number);) {
        tell(rows, "instructions", subject.c_str(), {{"compiler", compiler}}, "instructions", "1", std::stod(number));
        std::printf("   %-28s %12s   %s\n", subject.c_str(), number.c_str(), compiler.c_str());
    }

    std::printf("\n   %-28s %10s %10s %10s\n", "bytes, 8 connections", "pool", "per slot", "lease");
    for_each(everyone{}, [&]<class S>(S) { weigh<S>(rows); });

    std::printf("\n   %-28s %10s %10s\n", "allocations per cycle", "idle", "waiting");
    for_each(everyone{}, [&]<class S>(S) {
        const double idle = allocated<S>(1, subject::size, 0us);
        tell(rows, "allocations", S::name, {{"threads", "1"}, {"connections", "8"}}, "allocations", "1", idle);
        std::printf("   %-28s %10.2f", S::name, idle);
        if constexpr (S::threads && !std::is_same_v<S, subject::lock_free_no_wait>) {
            const double waiting = allocated<S>(4, 1, 20us);
            tell(rows, "allocations", S::name, {{"threads", "4"}, {"connections", "1"}}, "allocations", "1", waiting);
            std::printf(" %10.2f", waiting);
        }
        std::printf("\n");
    });

    for (const unsigned threads : {1U, 2U}) {
        bench::contest c{how};
        for_each(everyone{}, [&]<class S>(S) {
            if (threads > 1 && (!S::threads || std::is_same_v<S, subject::one_slot>)) return;
            // Leaked: some cannot be moved, and nothing is measured at their end.
            auto& pool = *new typename S::pool(S::make(subject::size));
            if constexpr (!std::is_same_v<S, subject::one_slot>) bench::fill(subject::size, [&](unsigned) { return S::take(pool); });
            c.add(S::name, threads, [&pool](unsigned) {
                const auto held = S::take(pool);
                bench::keep(&*held);
            });
        });
        std::printf("\n   %-28s %10s %10s %10s %12s\n", threads == 1 ? "1 thread, 8 connections" : "2 threads, 8 connections", "ns", "low", "high", "M cycles/s");
        for (const bench::standing& s : c.run(bench::progress("cycles"))) {
            s.write(rows, "baseline", "cycle", {{"threads", std::to_string(threads)}});
            const bench::figure& f = *s.find("time");
            std::printf("   %-28s %10.2f %10.2f %10.2f %12.1f\n", s.name.c_str(), f.value, f.low, f.high, s.value("throughput"));
        }
    }
    std::fflush(stdout);
}
