// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// What it costs to wait: more threads than connections, a connection that is handed over, many waiters, few connections left.
// usage: crowds <rows> <quick|full>
#include "../baseline/hand.hpp"
#include "../lib/pools.hpp"
#include "../lib/windows.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bench::condition;
using bench::contest;
using bench::standing;

bool quick = false;

[[nodiscard]] bench::options in_windows(int many, std::chrono::milliseconds length) {
    return quick ? bench::options{.windows = 3, .length = length / 5, .repeats = 0} : bench::options{.windows = many, .length = length};
}

template <class... P>
[[nodiscard]] auto shared(unsigned size) {
    auto pool = std::make_shared<decltype(bench::plain<P...>(size))>(bench::plain<P...>(size));
    bench::fill(size, [&](unsigned) { return pool->acquire(); });
    return pool;
}
template <class Pool>
[[nodiscard]] auto take_from(std::shared_ptr<Pool> pool) {
    return [pool = std::move(pool)](unsigned) { return pool->acquire(); };
}

/// Every waiting policy with every locking policy that many threads can use: f(name, take(thread)).
template <class F>
void each_waiting(unsigned size, F&& f) {
    using mutex = cenote::with_mutex<>;
    using free = cenote::lock_free;
    f("cenote with_mutex, strictly_fair", take_from(shared<mutex, cenote::strictly_fair>(size)));
    f("cenote with_mutex, eventually_fair", take_from(shared<mutex, cenote::eventually_fair>(size)));
    f("cenote with_mutex, barging", take_from(shared<mutex, cenote::barging>(size)));
    f("cenote lock_free, strictly_fair", take_from(shared<free, cenote::strictly_fair>(size)));
    f("cenote lock_free, eventually_fair", take_from(shared<free, cenote::eventually_fair>(size)));
    f("cenote lock_free, barging", take_from(shared<free, cenote::barging>(size)));
}
/// Beside a mutex and a condition variable.
template <class F>
void each_way_to_wait(unsigned size, F&& f) {
    each_waiting(size, f);
    f("mutex + condvar + deque", [pool = std::make_shared<hand::mutex_condvar_deque>(size)](unsigned) { return hand::lease{*pool}; });
}

void print_head(const char* what, const std::vector<const char*>& columns) {
    std::printf("\n   %-38s", what);
    for (const char* c : columns) std::printf(" %12s", c);
    std::printf("\n");
}
void print(const standing& s, const std::vector<const char*>& columns) {
    std::printf("   %-38s", s.name.c_str());
    for (const char* c : columns) {
        if (s.find(c) != nullptr) std::printf(" %12.4g", s.value(c));
    }
    std::printf("\n");
    std::fflush(stdout);
}

// ── more threads than connections ────────────────────────────────────────────────────────────────────────────────────────

/// How long a hold of 100 µs really is.
[[nodiscard]] double seconds_held(std::chrono::microseconds hold) {
    std::vector<double> all;
    for (int i = 0; i < 200; ++i) {
        const auto began = bench::clock::now();
        bench::sleep(hold);
        all.push_back(std::chrono::duration<double>(bench::clock::now() - began).count());
    }
    std::ranges::nth_element(all, all.begin() + 100);
    return all[100];
}

void oversubscribed(bench::rows& rows) {
    static const std::vector<const char*> columns{"throughput", "p50", "p99", "p99.9", "max", "worst share"};
    const auto threads_and_sizes = {std::pair{8U, 2U}, {32U, 8U}};
    for (const auto& [threads, size] : threads_and_sizes) {
        const auto run = [&](const char* name, auto hold, bench::options how, bool sleeps) {
            const std::vector<condition> at{{"threads", std::to_string(threads)}, {"size", std::to_string(size)}, {"hold", name}};
            print_head((std::to_string(threads) + " threads on " + std::to_string(size) + ", hold " + name + " (M/s, us)").c_str(), columns);
            contest timed{how};
            each_way_to_wait(size, [&](const char* who, auto take) { timed.add_waits(who, threads, take, hold); });
            auto standings = timed.run(bench::progress("waits"));
            if (!sleeps) { // to read the clock costs as much as such a hold: waits are timed, but cycles are counted without
                contest counted{how};
                each_way_to_wait(size, [&](const char* who, auto take) {
                    counted.add(who, threads, [take, hold](unsigned t) mutable {
                        const auto held = take(t);
                        bench::keep(&*held);
                        hold();
                    }, 1);
                });
                const auto free = counted.run(bench::progress("cycles"));
                for (std::size_t i = 0; i < standings.size(); ++i) {
                    for (bench::figure& f : standings[i].figures) {
                        if (const bench::figure* const better = free[i].find(f.metric)) f = *better;
                    }
                }
            } else { // what a queue without any cost would do
                const double held = seconds_held(100us), wait = held * 1e6 * (threads / size - 1);
                standing ideal{"ideal queue", {{.metric = "throughput", .unit = "M/s", .value = size / held * 1e-6, .more_is_better = true}}};
                for (const char* p : {"p50", "p99", "p99.9", "max"}) ideal.figures.push_back({.metric = p, .unit = "us", .value = wait});
                for (bench::figure& f : ideal.figures) f.low = f.high = f.value;
                standings.push_back(std::move(ideal));
            }
            for (const standing& s : standings) {
                s.write(rows, "micro", "oversubscribed", at, {"throughput", "p50", "p99", "p99.9", "max", "worst share"});
                print(s, columns);
            }
        };
        run("none", [] {}, in_windows(9, 150ms), false);
        run("2us", [] { bench::spin(2us); }, in_windows(9, 150ms), false);
        run("100us", [] { bench::sleep(100us); }, in_windows(9, 600ms), true);
    }
}

// ── handing over ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Two threads and one connection: who has it waits until the other sleeps in its queue, and gives it back.
template <class Take>
contest::window hand_over(Take& take, bench::nanoseconds length) {
    bench::histogram arrival, leaving;
    std::atomic<bench::nanoseconds::rep> given{0};
    std::atomic<unsigned> holder{2};
    bench::histogram own[2][2];
    const auto now = [] { return std::chrono::duration_cast<bench::nanoseconds>(bench::clock::now().time_since_epoch()); };
    const auto laps = bench::run_threads(2, length, [&](unsigned me, const std::atomic<bool>& stop) {
        std::uint64_t n = 0;
        while (!stop.load(std::memory_order_relaxed)) {
            {
                std::optional held{take(me)};
                const auto got = now();
                if (const auto since = given.load(); since != 0) own[me][0].add(got - bench::nanoseconds{since});
                holder.store(me);
                bench::spin(60us);
                const auto began = now();
                given.store(began.count());
                held.reset();
                own[me][1].add(now() - began);
            }
            ++n;
            while (holder.load(std::memory_order_relaxed) == me && !stop.load(std::memory_order_relaxed)) {}
            if (stop.load()) given.store(0);
        }
        return n;
    });
    for (const auto& h : own) {
        arrival.merge(h[0]);
        leaving.merge(h[1]);
    }
    contest::window w;
    w.readings = {{.metric = "hand-off p50", .unit = "us", .value = arrival.percentile(0.5) * 1e-3},
                  {.metric = "hand-off p99", .unit = "us", .value = arrival.percentile(0.99) * 1e-3},
                  {.metric = "give back p50", .unit = "us", .value = leaving.percentile(0.5) * 1e-3}};
    w.disturbed = bench::queued_share(laps);
    return w;
}

void hand_off(bench::rows& rows) {
    static const std::vector<const char*> columns{"hand-off p50", "hand-off p99", "give back p50"};
    contest c{in_windows(9, 150ms)};
    each_way_to_wait(1, [&](const char* who, auto take) {
        c.add_measured(who, [take](bench::nanoseconds length) mutable { return hand_over(take, length); });
    });
    print_head("one waits, one gives back (us)", columns);
    for (const standing& s : c.run(bench::progress("hand-offs"))) {
        s.write(rows, "micro", "hand-off", {{"threads", "2"}, {"size", "1"}});
        print(s, columns);
    }
}

// ── many waiters ─────────────────────────────────────────────────────────────────────────────────────────────────────────

void waiters(bench::rows& rows) {
    static const std::vector<const char*> columns{"throughput", "p50", "p99.9", "worst share"};
    for (const unsigned threads : {4U, 16U, 64U, 256U}) {
        contest c{in_windows(7, 600ms)};
        c.add_waits("cenote with_mutex, strictly_fair", threads, take_from(shared<cenote::with_mutex<>, cenote::strictly_fair>(2)), [] { bench::sleep(50us); });
        c.add_waits("cenote lock_free, strictly_fair", threads, take_from(shared<cenote::lock_free, cenote::strictly_fair>(2)), [] { bench::sleep(50us); });
        c.add_waits("cenote lock_free, eventually_fair", threads, take_from(shared<cenote::lock_free, cenote::eventually_fair>(2)), [] { bench::sleep(50us); });
        print_head((std::to_string(threads) + " threads on 2, hold 50 us (M/s, us)").c_str(), columns);
        for (const standing& s : c.run(bench::progress("crowds"))) {
            s.write(rows, "micro", "waiters", {{"threads", std::to_string(threads)}, {"size", "2"}, {"hold", "50us"}}, {"throughput", "p50", "p99.9", "worst share"});
            print(s, columns);
        }
    }
}

// ── size ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What a cycle costs where all of many connections are idle, and where only one is, now this one, now that.
void size(bench::rows& rows) {
    contest c{in_windows(15, 90ms)};
    std::vector<std::pair<const char*, std::vector<condition>>> subjects;
    const auto add = [&]<class L>(const char* who, L) {
        for (const unsigned n : {2U, 256U, 4096U}) {
            subjects.push_back({who, {{"size", std::to_string(n)}, {"idle", "all"}}});
            c.add(who, 1, [pool = shared<L>(n)](unsigned) {
                const auto held = pool->acquire();
                bench::keep(&*held);
            });
        }
        for (const unsigned n : {2U, 256U}) {
            subjects.push_back({who, {{"size", std::to_string(n)}, {"idle", "one"}}});
            auto pool = shared<L>(n);
            auto held = std::make_shared<std::vector<decltype(pool->acquire())>>();
            for (unsigned i = 0; i < n; ++i) held->push_back(pool->acquire());
            // Every 61st: far from the one before. The pool ends after its leases.
            c.add(who, 1, [pool, held, at = std::size_t{0}](unsigned) mutable {
                at = (at + 61) & (held->size() - 1);
                auto& one = (*held)[at];
                one.give_back();
                one = pool->acquire();
                bench::keep(&*one);
            });
        }
    };
    add("cenote with_mutex", cenote::with_mutex<>{});
    add("cenote lock_free", cenote::lock_free{});
    add("cenote thread_affine", cenote::thread_affine{});
    const auto standings = c.run(bench::progress("sizes"));
    print_head("1 thread", {"size", "idle", "ns"});
    for (std::size_t i = 0; i < standings.size(); ++i) {
        standings[i].write(rows, "micro", "size", subjects[i].second, {"time"});
        std::printf("   %-38s %12s %12s %12.2f\n", standings[i].name.c_str(), subjects[i].second[0].second.c_str(), subjects[i].second[1].second.c_str(),
                    standings[i].value("time"));
    }
}

// ── affinity ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// How many leases of a thread, 0 to 1, are of the connection that it had before.
template <class Take>
contest::window same(unsigned threads, Take& take, bench::nanoseconds length) {
    std::atomic<std::uint64_t> again{0}, all{0};
    const auto laps = bench::run_threads(threads, length, [&](unsigned t, const std::atomic<bool>& stop) {
        std::uint64_t n = 0, equal = 0;
        for (const void* last = nullptr; !stop.load(std::memory_order_relaxed); ++n) {
            const auto held = take(t);
            bench::keep(&*held);
            if (n != 0 && &*held == last) ++equal;
            last = &*held;
        }
        again += equal;
        all += n == 0 ? 0 : n - 1;
        return n;
    });
    const double share = all == 0 ? 0 : static_cast<double>(again) / static_cast<double>(all);
    return {{{.metric = "same", .unit = "1", .value = share, .more_is_better = true}}, bench::queued_share(laps)};
}

void affinity(bench::rows& rows) {
    for (const unsigned threads : {2U, 8U}) {
        contest c{in_windows(9, 100ms)};
        const auto add = [&](const char* who, auto take) {
            c.add_measured(who, [take, threads](bench::nanoseconds length) mutable { return same(threads, take, length); });
        };
        add("cenote with_mutex", take_from(shared<cenote::with_mutex<>>(8)));
        add("cenote lock_free", take_from(shared<cenote::lock_free>(8)));
        add("cenote thread_affine", take_from(shared<cenote::thread_affine>(8)));
        print_head((std::to_string(threads) + " threads on 8").c_str(), {"same again"});
        for (const standing& s : c.run(bench::progress("affinity"))) {
            s.write(rows, "micro", "affinity", {{"threads", std::to_string(threads)}, {"size", "8"}});
            print(s, {"same"});
        }
    }
}

// ── work conservation ────────────────────────────────────────────────────────────────────────────────────────────────────

/// A connection that stays idle while somebody waits is work that nobody does.
void conservation(bench::rows& rows) {
    static const std::vector<const char*> columns{"throughput", "worst share"};
    for (const auto& [threads, size] : {std::pair{8U, 2U}, {8U, 4U}, {32U, 8U}}) {
        contest c{in_windows(9, 300ms)};
        each_waiting(size, [&](const char* who, auto take) {
            c.add(who, threads, [take](unsigned t) mutable {
                const auto held = take(t);
                bench::keep(&*held);
                bench::sleep(20us);
            }, 1);
        });
        print_head(("conservation: " + std::to_string(threads) + " threads on " + std::to_string(size) + ", hold 20 us (M/s)").c_str(), columns);
        for (const standing& s : c.run(bench::progress("crowds"))) {
            s.write(rows, "micro", "work conservation", {{"threads", std::to_string(threads)}, {"size", std::to_string(size)}, {"hold", "20us"}}, {"throughput", "worst share"});
            print(s, columns);
        }
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: crowds <rows> <quick|full>\n");
        return 2;
    }
    quick = std::strcmp(argv[2], "quick") == 0;
    bench::rows rows{argv[1]};
    size(rows);
    affinity(rows);
    hand_off(rows);
    oversubscribed(rows);
    waiters(rows);
    conservation(rows);
}
