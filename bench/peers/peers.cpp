// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The pools one would use instead, in the same run: peers ROWS quick|full [command that starts HikariCP's harness...]
#include "hikari.hpp"
#include "pools.hpp"

#include "../lib/rows.hpp"
#include "../lib/windows.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr const char* by_hand = "std::mutex + vector";
/// Those whose threads keep the processors busy while they wait for a connection: who comes back from a sleep is served the sooner.
constexpr std::array<std::string_view, 3> spinning{by_hand, "Boost.Lockfree stack", "Boost.Lockfree queue"};

/// Calls `f.operator()<Pool>(name)` for every pool there is.
template <class F>
void each_pool(F&& f) {
    f.template operator()<peers::with_mutex>("cenote with_mutex");
    f.template operator()<peers::lock_free>("cenote lock_free");
    f.template operator()<peers::thread_affine>("cenote thread_affine");
    f.template operator()<peers::defaults>("cenote, all defaults");
    f.template operator()<peers::mutex_vector>(by_hand);
    f.template operator()<peers::condvar_deque>("mutex + condvar + deque");
#ifdef PEERS_SOCI
    f.template operator()<peers::soci_lease>("SOCI");
    f.template operator()<peers::soci_session>("SOCI, a session each time");
#endif
#ifdef PEERS_POCO
    f.template operator()<peers::poco>("POCO ObjectPool");
#endif
#ifdef PEERS_TBB
    f.template operator()<peers::tbb_queue>("oneTBB bounded queue");
#endif
#ifdef PEERS_MOODYCAMEL
    f.template operator()<peers::moodycamel_queue>("moodycamel blocking queue");
#endif
#ifdef PEERS_BOOST
    f.template operator()<peers::boost_stack>("Boost.Lockfree stack");
    f.template operator()<peers::boost_queue>("Boost.Lockfree queue");
#endif
}

/// A connection as it is used: waited for, touched, and given back at the end.
template <class Pool>
class loan {
public:
    explicit loan(Pool& pool) : held_{pool.take()} {
        int& mark = Pool::mark(held_);
        ++mark;
        bench::keep(&mark);
    }

private:
    decltype(std::declval<Pool&>().take()) held_;
};

struct length_of {
    bench::options cycle, waits;
    nanoseconds warm_up;
};
constexpr length_of quick{.cycle = {.windows = 3, .length = 40ms, .repeats = 1}, .waits = {.windows = 2, .length = 200ms, .repeats = 1}, .warm_up = 700ms};
constexpr length_of full{.cycle = {.windows = 15, .length = 60ms}, .waits = {.windows = 5, .length = 1s}, .warm_up = 3s};

class suite {
public:
    suite(const char* file, const length_of& length, peers::hikari* hikari) : rows_{file}, length_{length}, hikari_{hikari} {}

    /// Acquire, touch the connection, give back.
    void cycle(unsigned threads, unsigned size) {
        std::vector<std::shared_ptr<void>> pools;
        bench::contest c{length_.cycle};
        each_pool([&]<class Pool>(const char* name) {
            auto pool = std::make_shared<Pool>(size);
            pools.push_back(pool);
            c.add(name, threads, [&pool = *pool](unsigned) { const loan<Pool> held{pool}; });
        });
        if (hikari_ != nullptr) {
            (void)hikari_->cycle(threads, size, length_.warm_up); // its compiler watches before it compiles
            c.add_measured("HikariCP", [=, this](nanoseconds length) { return hikari_->cycle(threads, size, length); });
        }
        run(c, "cycle", {{"threads", std::to_string(threads)}, {"size", std::to_string(size)}});
    }

    /// More threads than connections: who waits, and how long. The hold is as it was asked for; sleeping takes somewhat longer.
    void oversubscribed(unsigned threads, unsigned size, nanoseconds hold) {
        std::vector<std::shared_ptr<void>> pools;
        bench::contest c{length_.waits};
        each_pool([&]<class Pool>(const char* name) {
            auto pool = std::make_shared<Pool>(size);
            pools.push_back(pool);
            c.add_waits(name, threads, [&pool = *pool](unsigned) { return loan<Pool>{pool}; }, [hold] {
                if (hold != 0ns) bench::sleep(hold);
            });
        });
        if (hikari_ != nullptr) {
            (void)hikari_->waits(threads, size, hold, length_.warm_up);
            c.add_measured("HikariCP", [=, this](nanoseconds length) { return hikari_->waits(threads, size, hold, length); });
        }
        run(c, "oversubscribed",
            {{"threads", std::to_string(threads)}, {"size", std::to_string(size)}, {"hold", hold == 0ns ? "none" : std::to_string(hold / 1us) + "us"}});
    }

    void compare() {
        std::printf("\nAgainst each other\n   %-78s %10s %10s\n", "", "here", "target");
        const auto cycle = [this](int threads) -> const results& { return results_["cycle, threads " + std::to_string(threads) + ", size 8"]; };
        const auto ratio = [](const results& a, std::string_view who, const results& b, std::string_view whom, const char* metric) {
            return std::pair{value(a, who, metric), value(b, whom, metric)};
        };
        const auto one = [&](std::string_view who, std::string_view whom) { return ratio(cycle(1), who, cycle(1), whom, "time"); };
        const auto two = [&](std::string_view who, std::string_view whom) { return ratio(cycle(2), who, cycle(2), whom, "throughput"); };
        const auto scaling = [&](std::string_view who) { return ratio(cycle(2), who, cycle(1), who, "throughput"); };
        say("with_mutex, 1 thread, time / std::mutex + vector", one("cenote with_mutex", by_hand), at_most, 1.0);
        say("with_mutex, 1 thread, time / SOCI", one("cenote with_mutex", "SOCI"), at_most, 0.9);
        say("with_mutex, 1 thread, time / POCO ObjectPool", one("cenote with_mutex", "POCO ObjectPool"), at_most, 0.65);
        say("with_mutex, 1 thread, time / HikariCP", one("cenote with_mutex", "HikariCP"), at_most, 0.3);
        say("with_mutex, 2 threads, throughput / std::mutex + vector", two("cenote with_mutex", by_hand), at_least, 1.2);
        say("lock_free, 1 thread, time / std::mutex + vector", one("cenote lock_free", by_hand), at_most, 0.45);
        say("lock_free, throughput, 2 threads / 1 thread", scaling("cenote lock_free"), at_least, 1.9);
        say("lock_free, throughput, 8 threads on 8 / 2 threads",
            ratio(cycle(8), "cenote lock_free", cycle(2), "cenote lock_free", "throughput"), at_least, 0.9);
        say("lock_free, 2 threads, throughput / std::mutex + vector", two("cenote lock_free", by_hand), at_least, 10);
        say("lock_free, 2 threads, throughput / HikariCP", two("cenote lock_free", "HikariCP"), at_least, 6);
        say("thread_affine, throughput, 2 threads / 1 thread", scaling("cenote thread_affine"), at_least, 1.9);
        say("all defaults, 1 thread, time / with_mutex", one("cenote, all defaults", "cenote with_mutex"), at_most, 2);

        const results& sleeping = results_["oversubscribed, threads 8, size 2, hold 100us"];
        const results& empty = results_["oversubscribed, threads 8, size 2, hold none"];
        double best = 0;
        for (const bench::standing& s : sleeping) {
            if (std::ranges::find(spinning, s.name) == spinning.end()) best = std::max(best, s.value("throughput"));
        }
        const double ideal = (8 - 2) / best; // us: six wait at any time, served in the order they came
        for (const char* who : {"with_mutex", "lock_free", "thread_affine"}) {
            const std::string name = std::string{"cenote "} + who, text = std::string{who} + ", 8 threads on 2, ";
            const double p999 = value(sleeping, name, "p99.9");
            say(text + "100 us, throughput / the best that does not spin", {value(sleeping, name, "throughput"), best}, at_least, 0.97);
            say(text + "100 us, p99.9 / an ideal queue", {p999, ideal}, at_most, 2.2);
            say(text + "100 us, p99.9 / SOCI", {p999, value(sleeping, "SOCI", "p99.9")}, at_most, 1.0 / 25);
            say(text + "100 us, p99.9 / POCO ObjectPool", {p999, value(sleeping, "POCO ObjectPool", "p99.9")}, at_most, 1.0 / 25);
            say(text + "100 us, worst-served thread / its fair share", {value(sleeping, name, "worst share"), 1}, at_least, 0.95);
            say(text + "no hold, throughput / SOCI", ratio(empty, name, empty, "SOCI", "throughput"), at_least, 1.0);
            say(text + "no hold, worst wait / SOCI", ratio(empty, name, empty, "SOCI", "max"), at_most, 0.4);
        }
    }

private:
    using results = std::vector<bench::standing>;
    enum direction { at_most, at_least };

    /// Not a number for whom is not here.
    [[nodiscard]] static double value(const results& all, std::string_view name, const char* metric) {
        for (const bench::standing& s : all) {
            if (s.name == name) return s.value(metric);
        }
        return std::numeric_limits<double>::quiet_NaN();
    }
    static void say(const std::string& what, std::pair<double, double> of, direction way, double target) {
        if (std::isnan(of.first) || std::isnan(of.second)) return;
        const double is = of.first / of.second;
        std::printf("   %-78s %10.3f   %s %5.2f %s\n", what.c_str(), is, way == at_most ? "<=" : ">=", target,
                    (way == at_most ? is <= target : is >= target) ? "" : "  missed");
    }

    void run(bench::contest& c, const std::string& test, const std::vector<bench::condition>& at) {
        std::string title = test;
        for (const auto& [what, value] : at) title += ", " + what + " " + value;
        const bool tell = ::isatty(STDERR_FILENO) != 0;
        results all = c.run([&](double share) {
            if (tell) std::fprintf(stderr, "\r   %s: %.0f %% \r", title.c_str(), 100 * share);
        });
        std::ranges::sort(all, std::greater{}, [](const bench::standing& s) { return s.value("throughput"); });
        const bool waited = all.front().find("max") != nullptr;
        std::printf("\n%s\n   %-28s", title.c_str(), "");
        if (waited) std::printf(" %8s %21s   wait, us: p50 %9s %9s %9s %12s\n", "1000/s", "low - high", "p99", "p99.9", "max", "worst share");
        else std::printf(" %8s %21s %10s\n", "M/s", "low - high", "ns");
        for (const bench::standing& s : all) {
            const bench::figure& f = *s.find("throughput");
            const double scale = waited ? 1000 : 1;
            std::printf("   %-28s %8.1f   %8.1f - %8.1f", s.name.c_str(), scale * f.value, scale * f.low, scale * f.high);
            if (waited) {
                std::printf("   %13.2f %9.1f %9.1f %9.0f %12.3f\n", s.value("p50"), s.value("p99"), s.value("p99.9"), s.value("max"), s.value("worst share"));
            } else {
                std::printf(" %10.1f\n", s.value("time"));
            }
            s.write(rows_, "peers", test, at);
        }
        results_[title] = std::move(all);
    }

    bench::rows rows_;
    const length_of& length_;
    peers::hikari* hikari_;
    std::map<std::string, results> results_;
};

} // namespace

int main(int count, char** arguments) {
    const std::string_view mode = count > 2 ? arguments[2] : "";
    if (mode != "quick" && mode != "full") {
        std::fprintf(stderr, "usage: %s ROWS quick|full [command that starts HikariCP's harness...]\n", arguments[0]);
        return 2;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    std::optional<peers::hikari> hikari;
    if (count > 3) {
        try {
            hikari.emplace(arguments + 3);
            (void)hikari->cycle(1, 8, 1ms);
        } catch (const std::exception& e) {
            std::printf("   left out: HikariCP (%s)\n", e.what());
            hikari.reset();
        }
    }
    suite s{arguments[1], mode == "quick" ? quick : full, hikari ? &*hikari : nullptr};
    s.cycle(1, 8);
    s.cycle(2, 8);
    s.cycle(8, 8);
    s.oversubscribed(8, 2, 0us);
    s.oversubscribed(8, 2, 100us);
    s.compare();
}
