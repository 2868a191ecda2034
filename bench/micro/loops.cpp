// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Acquire and give back, again and again: threads × sizes × locking policies, by Google Benchmark in random order.
// usage: loops <rows> <quick|full>
#include "../lib/pools.hpp"
#include "../lib/windows.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace {

constexpr int sizes[] = {1, 8, 64, 1024};
constexpr int most_threads = 8;

template <class Pool>
void cycles(benchmark::State& state, Pool& pool) {
    for (auto _ : state) {
        const auto lease = pool.acquire();
        bench::keep(&*lease);
    }
}

/// Registered as subject/size; what comes out is per thread and repetition.
template <class Make>
void add(const char* name, int size, Make make, int threads) {
    auto pool = std::make_shared<decltype(make())>(make());
    bench::fill(static_cast<unsigned>(size), [&](unsigned) { return pool->acquire(); });
    auto* const b = benchmark::RegisterBenchmark((name + ("/" + std::to_string(size))).c_str(), [pool](benchmark::State& s) { cycles(s, *pool); });
    b->UseRealTime();
    for (int t = 1; t <= threads; t *= 2) b->Threads(t);
}

template <int N>
void add_bare() {
    static bench::bare<N> pool{cenote::null{}}; // cannot be moved
    bench::fill(N, [&](unsigned) { return pool.acquire(); });
    benchmark::RegisterBenchmark(("cenote bare/" + std::to_string(N)).c_str(), [](benchmark::State& s) { cycles(s, pool); })->UseRealTime();
}

/// Collects the repetitions; rows are made of them at the end.
class collector : public benchmark::BenchmarkReporter {
public:
    bool ReportContext(const Context&) override { return true; }
    void ReportRuns(const std::vector<Run>& runs) override {
        for (const Run& r : runs) {
            if (r.run_type != Run::RT_Iteration || r.error_occurred) continue;
            const auto name = r.run_name.function_name;
            const auto slash = name.find('/');
            all_[{r.threads, std::stoi(name.substr(slash + 1)), name.substr(0, slash)}].push_back(r.GetAdjustedRealTime());
        }
    }
    void write(bench::rows& rows) {
        std::printf("\n   %-24s %8s %8s %12s %14s\n", "cycles", "threads", "size", "ns", "M cycles/s");
        for (auto& [key, ns] : all_) { // ns between two cycles, whichever thread does them
            const auto& [threads, size, subject] = key;
            std::ranges::sort(ns);
            const double half = (ns[(ns.size() - 1) / 2] + ns[ns.size() / 2]) / 2;
            bench::row r{.suite = "micro", .test = "cycle", .subject = subject,
                         .at = {{"threads", std::to_string(threads)}, {"size", std::to_string(size)}}, .metric = "time", .unit = "ns",
                         .value = half * static_cast<double>(threads), .low = ns.front() * static_cast<double>(threads), .high = ns.back() * static_cast<double>(threads),
                         .windows = static_cast<int>(ns.size())};
            rows.add(r);
            r.metric = "throughput";
            r.unit = "M/s";
            r.value = 1e3 / half;
            r.low = 1e3 / ns.back();
            r.high = 1e3 / ns.front();
            r.more_is_better = true;
            rows.add(r);
            std::printf("   %-24s %8d %8d %12.2f %14.2f\n", subject.c_str(), static_cast<int>(threads), size, half * static_cast<double>(threads), 1e3 / half);
        }
    }

private:
    std::map<std::tuple<std::int64_t, int, std::string>, std::vector<double>> all_;
};

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: loops <rows> <quick|full>\n");
        return 2;
    }
    const bool quick = std::strcmp(argv[2], "quick") == 0;
    bench::rows rows{argv[1]};
    const bench::parked_thread beside;
    std::string options[] = {"loops", "--benchmark_enable_random_interleaving=true", quick ? "--benchmark_repetitions=3" : "--benchmark_repetitions=11",
                             quick ? "--benchmark_min_time=0.015" : "--benchmark_min_time=0.1"};
    std::vector<char*> words;
    for (std::string& o : options) words.push_back(o.data());
    int n = static_cast<int>(words.size());
    benchmark::Initialize(&n, words.data());

    add_bare<1>();
    add_bare<8>();
    add_bare<64>();
    add_bare<1024>();
    for (const int size : sizes) {
        const auto many = static_cast<unsigned>(size);
        add("cenote with_mutex", size, [=] { return bench::plain<cenote::with_mutex<>>(many); }, most_threads);
        add("cenote lock_free", size, [=] { return bench::plain<cenote::lock_free>(many); }, most_threads);
        add("cenote thread_affine", size, [=] { return bench::plain<cenote::thread_affine>(many); }, most_threads);
        add("cenote, all defaults", size, [=] { return bench::defaults(many); }, most_threads);
    }
    collector reporter;
    benchmark::RunSpecifiedBenchmarks(&reporter);
    reporter.write(rows);
    benchmark::Shutdown();
}
