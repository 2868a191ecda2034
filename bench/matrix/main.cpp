// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Runs the cells that are linked to it.
//   sizes                  what each takes in bytes, and how often its cycles allocate
//   count                  under callgrind with --collect-atstart=no: one dump for each cell
//   time <rows> <n> <ms>   ns per cycle, the median of n windows of so many milliseconds
#include "cell.hpp"

#include "../lib/windows.hpp"

#include <valgrind/callgrind.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

namespace {

constexpr unsigned rounds = 1000;
std::atomic<unsigned long> allocations{0};

/// Valgrind has no restartable sequences, which is where `lock_free` reads its processor. So that what is counted is what is executed
/// without it, processor 0 is written where the C library would have been told, and taken back before it starts another thread.
class told_processor {
public:
#if __has_include(<sys/rseq.h>)
    told_processor() { write(0); }
    told_processor(const told_processor&) = delete;
    told_processor& operator=(const told_processor&) = delete;
    ~told_processor() { write(before_); }

private:
    static volatile __u32& id() {
        return const_cast<volatile __u32&>(reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset)->cpu_id);
    }
    void write(__u32 value) {
        if (unregistered_) id() = value;
    }
    const __u32 before_ = id();
    const bool unregistered_ = static_cast<int>(before_) < 0;
#endif
};

} // namespace

// Not inlined: there a compiler might see free() end what `new` began, and warn.
[[gnu::noinline]] void* operator new(std::size_t n) {
    allocations.fetch_add(1, std::memory_order_relaxed);
    if (void* const p = std::malloc(n == 0 ? 1 : n)) return p;
    throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

std::vector<matrix::cell*> all() {
    std::vector<matrix::cell*> out;
    for (matrix::cell* c = matrix::cell::first; c != nullptr; c = c->next) out.push_back(c);
    std::ranges::sort(out, {}, [](const matrix::cell* c) { return c->base + '|' + c->name; });
    return out;
}

void weigh(matrix::cell& c) {
    const unsigned long before = allocations;
    c.cycles(rounds);
    std::printf("%s|%s|%zu|%zu|%zu|%zu|%lu\n", c.base.c_str(), c.name.c_str(), c.pool, c.core, c.slot, c.lease, allocations - before);
}

void count(matrix::cell& c) {
    const std::string id = c.base + '|' + c.name;
    const told_processor told;
    CALLGRIND_ZERO_STATS;
    CALLGRIND_TOGGLE_COLLECT;
    c.cycles(rounds);
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS_AT(id.c_str());
}

/// All pools are there at once and are measured in turns.
void time(const char* path, int windows, std::chrono::milliseconds length) {
    bench::contest contest{{.windows = windows, .length = length}};
    for (matrix::cell* const c : all()) {
        c->open();
        contest.add_measured(c->name, [c](std::chrono::nanoseconds for_so_long) {
            const auto laps = bench::run_threads(1, for_so_long, [c](unsigned, const std::atomic<bool>& stop) {
                std::uint64_t n = 0;
                for (; !stop.load(std::memory_order_relaxed); n += 256) c->cycles(256);
                return n;
            });
            return bench::contest::window{bench::readings_of(laps), laps.front().queued / laps.front().seconds};
        });
    }
    const auto standings = contest.run();
    bench::rows out{path};
    for (std::size_t i = 0; matrix::cell* const c : all()) {
        standings[i++].write(out, "matrix", c->base == "pair" ? "pair" : "cycle", {{"base", c->base}}, {"time"});
        c->close();
    }
}

} // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    const bench::parked_thread beside;
    if (mode == "time" && argc == 5) {
        time(argv[2], std::atoi(argv[3]), std::chrono::milliseconds{std::atoi(argv[4])});
        return 0;
    }
    if (mode != "sizes" && mode != "count") return 2;
    for (matrix::cell* const c : all()) {
        c->open();
        c->cycles(rounds);
        if (mode == "count") count(*c);
        else weigh(*c);
        c->close();
    }
}
