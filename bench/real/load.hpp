// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "../lib/windows.hpp"
#include "bystanders.hpp"
#include "pools.hpp"

#include <cenote/pool.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// Requests of many threads over few connections: take one, query, give it back, at once again.
namespace bench {

struct plan {
    rows* out;
    bool quick;
};

/// One thread's request from the first wish to the last of the answer; how long it waited for a connection, and how long it took.
using request = std::function<void(unsigned thread, histogram& waits, histogram& answers)>;

/// One window of requests.
inline contest::window serve(const request& one, unsigned threads, nanoseconds length) {
    std::vector<histogram> waits(threads), answers(threads);
    const auto laps = run_threads(threads, length, [&](unsigned t, const std::atomic<bool>& stop) {
        std::uint64_t n = 0;
        for (; !stop.load(std::memory_order_relaxed); ++n) one(t, waits[t], answers[t]);
        return n;
    });
    contest::window w;
    for (reading& r : readings_of(laps)) {
        if (r.metric == "throughput") w.readings.push_back({.metric = r.metric, .unit = "k/s", .value = r.value * 1e3, .more_is_better = true});
        if (r.metric == "worst share") w.readings.push_back(r);
    }
    for (unsigned t = 1; t < threads; ++t) {
        waits[0].merge(waits[t]);
        answers[0].merge(answers[t]);
    }
    for (const auto& [what, h] : {std::pair{"wait ", &waits[0]}, {"latency ", &answers[0]}}) {
        for (const auto& [name, p] : {std::pair{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}}) {
            w.readings.push_back({.metric = std::string{what} + name, .unit = "us", .value = h->percentile(p) * 1e-3});
        }
        w.readings.push_back({.metric = std::string{what} + "max", .unit = "us", .value = h->max() * 1e-3});
    }
    return w;
}

/// A pool of the library's as the others are used.
template <class Pool>
struct leased {
    Pool pool;
    [[nodiscard]] auto take(unsigned) { return pool.acquire(); }
};

template <class Db>
class load {
public:
    explicit load(const plan& p) : plan_{p} {}

    void run() {
        using shape = std::pair<unsigned, unsigned>;
        for (const auto& [threads, size] : {shape{2, 2}, {4, 4}, {8, 2}, {32, 4}}) {
            if (!plan_.quick || size == 2) run(threads, size);
        }
    }

private:
    using driver = typename Db::driver;

    void run(unsigned threads, unsigned size) {
        const driver d = Db::local();
        options o{.windows = plan_.quick ? 3 : 9, .length = std::chrono::milliseconds{plan_.quick ? 40 : 100}};
        o.tolerated = 1; // what the contest sees of others is most of all the server
        contest sharing{o};
        add(sharing, "cenote", threads, size, pool(d, size)); // with its defaults
        add(sharing, "cenote with_mutex", threads, size, pool(d, size, cenote::with_mutex{}));
        add(sharing, "cenote strictly_fair", threads, size, pool(d, size, cenote::strictly_fair{}));
        add(sharing, "cenote barging", threads, size, pool(d, size, cenote::barging{}));
        add(sharing, "mutex + condvar + deque", threads, size, std::make_shared<by_hand<driver>>(d, size));
#ifdef BENCH_SOCI
        add(sharing, "SOCI", threads, size, std::make_shared<by_soci<driver>>(d, size));
#endif
        add(sharing, "a connection per thread", threads, size, std::make_shared<one_each<driver>>(d, threads));
        std::vector<standing> all = sharing.run();

        contest alone{o}; // apart: the server is busy for a while with what it leaves behind
        add(alone, "a connection per request", threads, 0, std::make_shared<one_per_request<driver>>(d));
        for (standing& s : alone.run()) all.push_back(std::move(s));

        tell(all, threads, size);
    }

    template <class... P>
    [[nodiscard]] static auto pool(const driver& d, unsigned size, P... policies) {
        using type = decltype(cenote::pool{d, cenote::bounded{.max = size}, policies...});
        return std::shared_ptr<leased<type>>{new leased<type>{cenote::pool{d, cenote::bounded{.max = size}, policies...}}};
    }
    template <class Pool>
    void add(contest& c, const std::string& name, unsigned threads, unsigned size, std::shared_ptr<Pool> p) {
        if constexpr (requires { p->pool; }) fill(size, [&](unsigned t) { return p->take(t); });
        const request one = [p](unsigned t, histogram& waits, histogram& answers) {
            const auto began = clock::now();
            {
                auto held = p->take(t);
                waits.add(clock::now() - began);
                Db::select(*held);
            }
            answers.add(clock::now() - began);
        };
        c.add_measured(name, [one, threads, size](nanoseconds length) {
            const bystanders others{Db::process()};
            contest::window w = serve(one, threads, length);
            const double share = size == 0 ? 0 : others.share(); // without a pool: servers that have ended would count as well
            w.disturbed = share > bystanders::tolerated(length) ? 1 + share : 0;
            return w;
        });
    }

    void tell(const std::vector<standing>& all, unsigned threads, unsigned size) {
        std::printf("\n   %s, %u threads on %u connections, select 1 by local socket\n", Db::name, threads, size);
        std::printf("   %-26s %9s %9s %9s %9s %9s %9s %14s\n", "", "k/s", "wait p50", "p99", "p99.9", "max, us", "worst", "latency p99");
        for (const standing& s : all) {
            std::printf("   %-26s %9.1f %9.1f %9.1f %9.1f %9.1f %8.0f%% %11.1f us\n", s.name.c_str(), s.value("throughput"),
                        s.value("wait p50"), s.value("wait p99"), s.value("wait p99.9"), s.value("wait max"), 100 * s.value("worst share"),
                        s.value("latency p99"));
            s.write(*plan_.out, "real", "queries",
                    {{"server", Db::name}, {"threads", std::to_string(threads)}, {"connections", std::to_string(size)}});
        }
        const auto to = [&](const char* name, const char* metric) {
            double own = 0, other = 0;
            for (const standing& s : all) {
                if (s.name == "cenote") own = s.value(metric);
                if (s.name == name) other = s.value(metric);
            }
            return other == 0 ? 0 : own / other;
        };
        if (threads <= size) {
            const char* const bound = "a connection per thread";
            std::printf("   cenote to %s: throughput %.2f x, to be 0.97 at least\n", bound, to(bound, "throughput"));
            return;
        }
        for (const char* other : {"mutex + condvar + deque", "SOCI"}) {
            if (to(other, "throughput") == 0) continue; // not here
            std::printf("   cenote to %s: throughput %.2f x, to be 1.05 at least; wait p99.9 %.2f x, to be 0.35 at most\n", other,
                        to(other, "throughput"), to(other, "wait p99.9"));
        }
    }

    plan plan_;
};

} // namespace bench
