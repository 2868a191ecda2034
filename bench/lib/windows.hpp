// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "rows.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sched.h>
#include <time.h>
#include <unistd.h>

/// Measures subjects against each other in short windows, taken in turns, so that what disturbs the machine disturbs all of them alike:
///
///     bench::contest c{{.windows = 9, .length = 50ms}};
///     c.add("cenote lock_free", 2, [&](unsigned) { auto lease = pool.acquire(); bench::keep(&*lease); });         // cycles of 2 threads
///     c.add("by hand", 2, [&](unsigned) { auto* p = hand.acquire(); bench::keep(p); hand.release(p); });
///     c.add_waits("SOCI", 8, [&](unsigned) { return lease_of(soci); }, [] { bench::spin(2us); });                 // how long each had to wait
///     for (const bench::standing& s : c.run()) s.write(rows, "micro", "cycle", {{"threads", "2"}, {"size", "8"}});
namespace bench {

using clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

/// What is measured is used, as far as the compiler can tell.
template <class T>
inline void keep(T* p) noexcept {
    asm volatile("" : : "r"(p) : "memory");
}

/// Holds a connection as work does, and as an answer of a server does.
inline void spin(nanoseconds d) noexcept {
    for (const auto until = clock::now() + d; clock::now() < until;) {}
}
inline void sleep(nanoseconds d) noexcept { std::this_thread::sleep_for(d); }

/// Takes `n` connections at once and gives them back: then all are open. `take(thread)` as for `contest::add_waits`.
template <class Take>
void fill(unsigned n, Take&& take) {
    std::vector<decltype(take(0U))> all;
    for (unsigned i = 0; i < n; ++i) all.push_back(take(0U));
}

/// glibc and libstdc++ leave out the atomic instructions of a process with one thread: measure beside another one.
class parked_thread {
public:
    parked_thread() = default;
    parked_thread(const parked_thread&) = delete;
    parked_thread& operator=(const parked_thread&) = delete;
    ~parked_thread() {
        {
            const std::scoped_lock lock{mutex_};
            over_ = true;
        }
        changed_.notify_one();
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool over_ = false;
    std::jthread thread_{[this] {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [this] { return over_; });
    }};
};

/// Counts of durations: 32 buckets for each power of two, so a percentile is at most 3 % too high; the greatest is exact.
class histogram {
public:
    void add(nanoseconds d) noexcept {
        const auto ns = static_cast<std::uint64_t>(std::max<nanoseconds::rep>(d.count(), 0));
        ++counts_[bucket(ns)];
        ++total_;
        max_ = std::max(max_, ns);
    }
    void merge(const histogram& other) noexcept {
        for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
        total_ += other.total_;
        max_ = std::max(max_, other.max_);
    }
    [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
    [[nodiscard]] double max() const noexcept { return static_cast<double>(max_); }
    /// The least duration, in ns, that a share `p` of all do not exceed.
    [[nodiscard]] double percentile(double p) const noexcept {
        const auto wanted = static_cast<std::uint64_t>(p * static_cast<double>(total_) + 0.5);
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            seen += counts_[i];
            if (seen >= wanted && seen != 0) return std::min(static_cast<double>(upper(i)), max());
        }
        return max();
    }

private:
    static constexpr unsigned fine = 5;
    static constexpr std::uint64_t per_power = 1U << fine;
    [[nodiscard]] static std::size_t bucket(std::uint64_t ns) noexcept {
        if (ns < per_power) return static_cast<std::size_t>(ns);
        const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - fine - 1;
        return static_cast<std::size_t>((shift + 1) * per_power + ((ns >> shift) - per_power));
    }
    [[nodiscard]] static std::uint64_t upper(std::size_t i) noexcept {
        if (i < per_power) return i;
        const auto shift = static_cast<unsigned>(i / per_power - 1);
        return ((i % per_power + per_power + 1) << shift) - 1;
    }

    std::array<std::uint64_t, (64 - fine + 1) * per_power> counts_{};
    std::uint64_t total_ = 0;
    std::uint64_t max_ = 0;
};

/// One value of one window, and what it means.
struct reading {
    std::string metric, unit;
    double value = 0;
    bool more_is_better = false;
};

/// The median of all windows, and their extremes.
struct figure {
    std::string metric, unit;
    double value = 0, low = 0, high = 0;
    int windows = 1;
    bool more_is_better = false;
    int disturbed = 0; ///< how many of the windows the machine had something else to do in
};

/// What came out for one subject.
struct standing {
    std::string name;
    std::vector<figure> figures;

    [[nodiscard]] const figure* find(const std::string& metric) const noexcept {
        for (const figure& f : figures) {
            if (f.metric == metric) return &f;
        }
        return nullptr;
    }
    [[nodiscard]] double value(const std::string& metric) const noexcept {
        const figure* const f = find(metric);
        return f == nullptr ? 0 : f->value;
    }
    /// A row for each figure, or for those named only.
    void write(rows& out, const std::string& suite, const std::string& test, const std::vector<condition>& at,
               const std::vector<std::string>& only = {}) const {
        for (const figure& f : figures) {
            if (!only.empty() && std::ranges::find(only, f.metric) == only.end()) continue;
            out.add({.suite = suite, .test = test, .subject = name, .at = at, .metric = f.metric, .unit = f.unit, .value = f.value,
                     .low = f.low, .high = f.high, .windows = f.windows, .more_is_better = f.more_is_better, .disturbed = f.disturbed});
        }
    }
};

/// What other processes, and other machines on the same processor, took of the processors' time, as far as the system tells.
class disturbance {
public:
    disturbance() : others_{others()}, began_{clock::now()} {}
    /// The share of the time since then, of all processors together: 0 to 1. Ticks are coarse, so it needs tens of milliseconds.
    [[nodiscard]] double share() const {
        const double wall = std::chrono::duration<double>(clock::now() - began_).count() * processors();
        return wall <= 0 ? 0 : std::max(0.0, (others() - others_) / wall);
    }
    /// A process that belongs to what is measured: what it takes is not taken by others. Before any window.
    static void count_in(clockid_t process) { ours().push_back(process); }
    [[nodiscard]] static unsigned processors() {
        static const unsigned n = std::max(1U, std::thread::hardware_concurrency());
        return n;
    }

private:
    /// Seconds that were spent on anything but this process and idleness.
    [[nodiscard]] static double others() {
        std::FILE* const f = std::fopen("/proc/stat", "r");
        if (f == nullptr) return 0;
        unsigned long long user = 0, nice = 0, system = 0, idle = 0, io = 0, irq = 0, softirq = 0, steal = 0;
        const int n = std::fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &io, &irq, &softirq, &steal);
        std::fclose(f);
        if (n != 8) return 0;
        double own = 0;
        for (const clockid_t process : ours()) {
            timespec t{};
            if (::clock_gettime(process, &t) == 0) own += static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
        }
        static const double tick = 1.0 / static_cast<double>(::sysconf(_SC_CLK_TCK));
        return static_cast<double>(user + nice + system + irq + softirq + steal) * tick - own;
    }
    [[nodiscard]] static std::vector<clockid_t>& ours() {
        static std::vector<clockid_t> clocks{CLOCK_PROCESS_CPUTIME_ID};
        return clocks;
    }

    double others_;
    clock::time_point began_;
};

/// Tells whoever watches how much of `what` is done; nobody where the output goes to a file.
[[nodiscard]] inline std::function<void(double)> progress(std::string what) {
    if (::isatty(STDERR_FILENO) == 0) return [](double) {};
    return [what = std::move(what)](double share) { std::fprintf(stderr, "\r   %s: %.0f %% \r", what.c_str(), 100 * share); };
}

/// For how long the calling thread could have run and did not, in seconds; 0 where the system does not tell.
inline double time_in_run_queue() {
    std::FILE* const f = std::fopen("/proc/thread-self/schedstat", "r");
    if (f == nullptr) return 0;
    unsigned long long ran = 0, waited = 0;
    const int n = std::fscanf(f, "%llu %llu", &ran, &waited);
    std::fclose(f);
    return n == 2 ? 1e-9 * static_cast<double>(waited) : 0;
}

/// What one thread did in one window.
struct lap {
    std::uint64_t cycles = 0;
    double seconds = 0;
    double queued = 0; ///< see time_in_run_queue
};

/// Runs `work(thread, stop)`, which returns how many cycles it did, on so many threads until `length` has passed. Time begins for all when
/// the last is there, whoever has to wait for a processor then, and ends for each when it does. As many threads as processors or fewer
/// have a processor each.
template <class Work>
std::vector<lap> run_threads(unsigned threads, nanoseconds length, Work&& work) {
    std::vector<lap> laps(threads);
    std::atomic<bool> stop{false};
    clock::time_point began;
    std::barrier start{static_cast<std::ptrdiff_t>(threads) + 1, [&began]() noexcept { began = clock::now(); }};
    {
        std::vector<std::jthread> running;
        running.reserve(threads);
        for (unsigned t = 0; t < threads; ++t) {
            running.emplace_back([&, t] {
                if (threads > 1 && threads <= disturbance::processors()) {
                    cpu_set_t one;
                    CPU_ZERO(&one);
                    CPU_SET(t, &one);
                    (void)::sched_setaffinity(0, sizeof one, &one); // where that is not allowed they run where they may
                }
                lap own;
                start.arrive_and_wait();
                const double queued = time_in_run_queue();
                own.cycles = work(t, static_cast<const std::atomic<bool>&>(stop));
                own.seconds = std::chrono::duration<double>(clock::now() - began).count();
                own.queued = time_in_run_queue() - queued;
                laps[t] = own;
            });
        }
        start.arrive_and_wait();
        std::this_thread::sleep_for(length);
        stop.store(true, std::memory_order_relaxed);
    }
    return laps;
}

/// Cycles per second of all threads together, in millions; ns per cycle of one thread; and what the thread that was served worst got
/// of its fair share, 0 to 1.
inline std::vector<reading> readings_of(const std::vector<lap>& laps) {
    double all = 0, worst = -1;
    for (const lap& l : laps) {
        const double rate = static_cast<double>(l.cycles) / l.seconds;
        all += rate;
        worst = worst < 0 ? rate : std::min(worst, rate);
    }
    const auto n = static_cast<double>(laps.size());
    std::vector<reading> out{{.metric = "throughput", .unit = "M/s", .value = all * 1e-6, .more_is_better = true},
                             {.metric = "time", .unit = "ns", .value = all == 0 ? 0 : n * 1e9 / all}};
    if (laps.size() > 1) out.push_back({.metric = "worst share", .unit = "1", .value = all == 0 ? 0 : worst * n / all, .more_is_better = true});
    return out;
}

/// Threads that have a processor each should never have to wait for it: the share of the window that the worst of them did.
inline double queued_share(const std::vector<lap>& laps) {
    if (laps.size() > disturbance::processors()) return 0;
    double worst = 0;
    for (const lap& l : laps) worst = std::max(worst, l.queued / l.seconds);
    return worst;
}

/// Threads that do `body(thread)` again and again. The flag that ends them is looked at every `batch` cycles: 1 for bodies that take long.
template <class Body>
std::vector<lap> cycles(unsigned threads, nanoseconds length, Body& body, unsigned batch = 64) {
    return run_threads(threads, length, [&body, batch](unsigned t, const std::atomic<bool>& stop) {
        std::uint64_t n = 0;
        while (!stop.load(std::memory_order_relaxed)) {
            for (unsigned i = 0; i < batch; ++i) body(t);
            n += batch;
        }
        return n;
    });
}

/// Threads that take a connection, hold it and give it back: `take(thread)` returns something that gives back when it is destroyed, `hold()`
/// passes the time. How long each take took goes into `waits`.
template <class Take, class Hold>
std::vector<lap> waits(unsigned threads, nanoseconds length, Take& take, Hold& hold, histogram& waits) {
    std::vector<histogram> own(threads);
    auto laps = run_threads(threads, length, [&](unsigned t, const std::atomic<bool>& stop) {
        std::uint64_t n = 0;
        histogram& mine = own[t];
        while (!stop.load(std::memory_order_relaxed)) {
            const auto began = clock::now();
            const auto held = take(t);
            mine.add(clock::now() - began);
            hold();
            ++n;
        }
        return n;
    });
    for (const histogram& h : own) waits.merge(h);
    return laps;
}

struct options {
    int windows = 9;
    nanoseconds length = std::chrono::milliseconds{50};
    int repeats = 1;          ///< a disturbed window is repeated, but at most so many times as many windows in all
    double tolerated = 0.03;  ///< the share of a window that others may take
    bool warm_up = true;      ///< one window of each first that does not count
};

/// Subjects that are measured in turns.
class contest {
public:
    /// What one window of a subject gave; `disturbed` is a share of it, 0 to 1, where the subject can tell better than the contest.
    struct window {
        std::vector<reading> readings;
        double disturbed = 0;
    };
    using measure = std::function<window(nanoseconds)>;

    contest() = default;
    explicit contest(options o) : options_{o} {}

    /// Threads that do cycles; `throughput`, `time` and with several threads `worst share`.
    template <class Body>
    void add(std::string name, unsigned threads, Body body, unsigned batch = 64) {
        add_measured(std::move(name), [threads, batch, body = std::move(body)](nanoseconds length) mutable {
            const auto laps = cycles(threads, length, body, batch);
            return window{readings_of(laps), queued_share(laps)};
        });
    }

    /// Threads that wait for connections; as `add`, and `p50`, `p99`, `p99.9` and `max` of the wait.
    template <class Take, class Hold>
    void add_waits(std::string name, unsigned threads, Take take, Hold hold) {
        add_measured(std::move(name), [threads, take = std::move(take), hold = std::move(hold)](nanoseconds length) mutable {
            histogram h;
            const auto laps = waits(threads, length, take, hold, h);
            window w{readings_of(laps), queued_share(laps)};
            for (const auto& [metric, p] : {std::pair{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}}) {
                w.readings.push_back({.metric = metric, .unit = "us", .value = h.percentile(p) * 1e-3});
            }
            w.readings.push_back({.metric = "max", .unit = "us", .value = h.max() * 1e-3});
            return w;
        });
    }

    /// Anything else: `m(length)` measures for so long and says what came out, the same metrics each time.
    void add_measured(std::string name, measure m) { subjects_.push_back({std::move(name), std::move(m), {}}); }

    /// All windows of all subjects: in each round every subject once, each round beginning with another one. `progress` is told the share
    /// that is done.
    std::vector<standing> run(const std::function<void(double)>& progress = {}) {
        const std::size_t n = subjects_.size();
        if (options_.warm_up) {
            for (subject& s : subjects_) (void)s.run(std::min<nanoseconds>(options_.length, std::chrono::milliseconds{20}));
        }
        const int rounds = options_.windows * (1 + options_.repeats);
        for (int round = 0; round < rounds; ++round) {
            bool all = true;
            for (std::size_t i = 0; i < n; ++i) {
                subject& s = subjects_[(i + static_cast<std::size_t>(round)) % n];
                if (s.quiet() >= options_.windows) continue;
                const disturbance d;
                taken w;
                w.of = s.run(options_.length);
                w.share = std::max(w.of.disturbed, d.share() - tick_share(options_.length));
                w.quiet = w.share <= options_.tolerated;
                s.all.push_back(std::move(w));
                all = all && s.quiet() >= options_.windows;
                if (progress) progress((static_cast<double>(round) + static_cast<double>(i + 1) / static_cast<double>(n)) / rounds);
            }
            if (all) break;
        }
        std::vector<standing> out;
        for (subject& s : subjects_) out.push_back(s.sum_up(options_.windows));
        return out;
    }

private:
    struct taken {
        window of;
        double share = 0;
        bool quiet = true;
    };
    struct subject {
        std::string name;
        measure run;
        std::vector<taken> all;

        [[nodiscard]] int quiet() const { return static_cast<int>(std::ranges::count(all, true, &taken::quiet)); }
        /// The quietest windows count, so many.
        [[nodiscard]] standing sum_up(int wanted) {
            std::ranges::sort(all, {}, &taken::share);
            if (all.size() > static_cast<std::size_t>(wanted)) all.resize(static_cast<std::size_t>(wanted));
            standing out{name, {}};
            if (all.empty()) return out;
            for (std::size_t m = 0; m < all.front().of.readings.size(); ++m) {
                const reading& r = all.front().of.readings[m];
                std::vector<double> v;
                for (const taken& w : all) v.push_back(w.of.readings.at(m).value);
                std::ranges::sort(v);
                const std::size_t half = v.size() / 2;
                out.figures.push_back({.metric = r.metric, .unit = r.unit, .value = v.size() % 2 == 1 ? v[half] : (v[half - 1] + v[half]) / 2,
                                       .low = v.front(), .high = v.back(), .windows = static_cast<int>(v.size()), .more_is_better = r.more_is_better,
                                       .disturbed = static_cast<int>(v.size()) - quiet()});
            }
            return out;
        }
    };

    /// What a tick more or less makes of a window.
    [[nodiscard]] static double tick_share(nanoseconds length) {
        return 0.010 / std::chrono::duration<double>(length).count() / disturbance::processors();
    }

    options options_{};
    std::vector<subject> subjects_;
    parked_thread beside_;
};

} // namespace bench
