// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Millions of random operations: four threads on bare pools of a driver that does next to nothing, so that it is the pool which
// runs all the time. random.cpp has fewer operations and every policy.
//
// CENOTE_RACE_SEED repeats the dice (not the schedule), CENOTE_RACE_MILLIONS sets how many operations each pool has, in millions.
#include <cenote/pool.hpp>

#include "variants.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <mutex>
#include <random>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using cenote::errc;

namespace {

#if RACES_ARE_SEEN
constexpr double default_millions = 1; // of each of five pools, by each of two compilers: ten
#else
constexpr double default_millions = 0.2;
#endif
constexpr std::uint64_t per_pool = 50'000; // operations, then it is closed in the middle of everything
constexpr unsigned workers = 4;
constexpr unsigned ceiling = 4;

double from_environment(const char* name, double otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtod(text, nullptr);
}

/// What the drivers of one pool have seen.
struct tally {
    std::atomic<unsigned> there{0}, opened{0}, closed{0};

    void wrong(std::string what) {
        const std::scoped_lock lock{m};
        if (complaints.size() < 10) complaints.push_back(std::move(what));
    }
    std::mutex m;
    std::vector<std::string> complaints;
};

struct no_exception {}; // is no std::exception

class driver {
public:
    struct connection {
        std::uint64_t written = 0; ///< by whoever has it, plainly: two holders are a data race
        bool held = false;
    };
    explicit driver(tally& t) : t_{&t} {}

    [[nodiscard]] connection open(cenote::deadline) {
        if (t_->opened.fetch_add(1, std::memory_order_relaxed) % 16 == 15) {
            t_->closed.fetch_add(1, std::memory_order_relaxed);
            throw no_exception{};
        }
        if (t_->there.fetch_add(1, std::memory_order_relaxed) >= ceiling) t_->wrong("more connections than the ceiling");
        return {};
    }
    void close(connection& c) noexcept {
        if (c.held) t_->wrong("what somebody holds is closed");
        t_->there.fetch_sub(1, std::memory_order_relaxed);
        t_->closed.fetch_add(1, std::memory_order_relaxed);
    }

private:
    tally* t_;
};

/// Each thread's own dice.
class dice {
public:
    explicit dice(std::uint64_t seed) : state_{seed * 2 + 1} {}
    std::uint32_t roll(std::uint32_t n) noexcept {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<std::uint32_t>(state_ >> 33) % n;
    }

private:
    std::uint64_t state_;
};

/// A hook that throws now and then.
struct moody {
    std::atomic<unsigned>* calls;
    void operator()(driver::connection&) const {
        if (calls->fetch_add(1, std::memory_order_relaxed) % 512 == 511) throw no_exception{};
    }
};

template <class Locking, class Waiting>
struct built_of {
    using locking = Locking;
    using waiting = Waiting;
};

/// One pool, from its first acquire to its close.
template <class Kind>
class round_of {
    static auto make(tally& t, std::atomic<unsigned>& calls) {
        return cenote::pool{driver{t}, typename Kind::locking{}, typename Kind::waiting{}, cenote::lifo{}, cenote::manual{}, cenote::no_age_limit{},
                            cenote::no_acquire_timeout{}, cenote::bounded{.max = 3, .ceiling = ceiling}, cenote::on_acquire{moody{&calls}}};
    }
    using pool_type = decltype(make(std::declval<tally&>(), std::declval<std::atomic<unsigned>&>()));
    using lease_type = typename pool_type::lease;

public:
    std::uint64_t run(std::uint64_t operations, std::uint64_t seed) {
        std::latch start{workers};
        std::vector<std::jthread> all;
        std::array<std::uint64_t, workers> got{};
        for (unsigned me = 0; me < workers; ++me) {
            all.emplace_back([&, me] {
                start.arrive_and_wait();
                got[me] = work(operations / workers, dice{seed + me}, me == 0);
            });
        }
        all.clear();
        const auto s = pool_.stats();
        if (s.pending != 0 || s.used != 0 || s.total != 0) t_.wrong("not everything is back after close");
        if (t_.there != 0 || t_.opened != t_.closed) t_.wrong("not everything that was opened was closed");
        std::uint64_t acquired = 0;
        for (const auto n : got) acquired += n;
        return acquired;
    }
    [[nodiscard]] const std::vector<std::string>& complaints() const { return t_.complaints; }
    [[nodiscard]] unsigned opened() const { return t_.opened; }

private:
    std::uint64_t work(std::uint64_t operations, dice d, bool closes) {
        std::array<lease_type, 2> mine;
        std::uint64_t got = 0;
        for (std::uint64_t i = 0; i < operations; ++i) {
            if (closes && i == operations - operations / 50) (void)pool_.close(cenote::deadline::in(0s)); // they all go on for a while
            if (d.roll(4096) == 0) look(d);
            lease_type& l = mine[d.roll(8) == 0 ? 1 : 0];
            if (l) {
                if (!l->held) t_.wrong("somebody else has ended a lease");
                ++l->written;
                end(l, d);
            } else {
                begin(l, d);
                if (!l) continue;
                ++got;
                if (l->held) t_.wrong("a connection has two holders");
                l->held = true;
                ++l->written;
            }
        }
        for (auto& l : mine) {
            if (l) l->held = false;
            l = {};
        }
        return got;
    }
    void begin(lease_type& l, dice& d) {
        std::error_code why;
        try {
            switch (d.roll(8)) {
            case 0: l = pool_.acquire(0s, why); break;
            case 1: l = pool_.acquire(std::chrono::microseconds{d.roll(3)}, why); break;
            case 2: l = pool_.acquire(1ms); break;
            case 3: {
                std::stop_source stop;
                if (d.roll(2) == 0) stop.request_stop();
                l = pool_.acquire(cenote::deadline::in(50us), stop.get_token(), why);
                break;
            }
            default: l = pool_.try_acquire();
            }
        } catch (const cenote::error& e) {
            why = e.code();
        } catch (const no_exception&) { // of the hook, or of opening
        }
        if (!why) return;
        const auto code = static_cast<errc>(why.value());
        const bool possible = code == errc::acquire_timeout || code == errc::cancelled || code == errc::pool_closed || code == errc::connect_failed ||
                              code == errc::hook_failed || code == errc::pool_suspended;
        if (!possible || l) t_.wrong("an acquire failed with: " + why.message());
    }
    static void end(lease_type& l, dice& d) {
        l->held = false;
        switch (d.roll(64)) {
        case 0: l.discard(); break;
        case 1: { // moved, and ended by another object
            lease_type other{std::move(l)};
            other.give_back();
            break;
        }
        case 2: l = {}; break;
        default: l.give_back();
        }
    }
    void look(dice& d) {
        switch (d.roll(5)) {
        case 0:
        case 1: {
            const auto s = pool_.stats();
            if (s.idle + s.used + s.opening + s.closing + s.resetting != s.total) t_.wrong("the gauges do not add up");
            if (s.total > ceiling) t_.wrong("more connections than the ceiling");
            break;
        }
        case 2: pool_.resize(1 + d.roll(ceiling)); break;
        case 3:
            pool_.suspend();
            pool_.resume();
            break;
        default: (void)pool_.maintain();
        }
    }

    tally t_;
    std::atomic<unsigned> calls_{0};
    pool_type pool_ = make(t_, calls_);
};

template <class T>
constexpr const char* name_of = "";
template <> constexpr const char* name_of<cenote::with_mutex<>> = "with_mutex";
template <> constexpr const char* name_of<cenote::lock_free> = "lock_free";
template <> constexpr const char* name_of<cenote::thread_affine> = "thread_affine";
template <> constexpr const char* name_of<cenote::strictly_fair> = "strictly_fair";
template <> constexpr const char* name_of<cenote::eventually_fair> = "eventually_fair";
template <> constexpr const char* name_of<cenote::barging> = "barging";
} // namespace

TEMPLATE_TEST_CASE("millions of random operations", "[race][inv-1][inv-3][inv-8][case-D1]", (built_of<cenote::with_mutex<>, cenote::strictly_fair>),
                   (built_of<cenote::with_mutex<>, cenote::eventually_fair>), (built_of<cenote::lock_free, cenote::strictly_fair>),
                   (built_of<cenote::lock_free, cenote::barging>), (built_of<cenote::thread_affine, cenote::eventually_fair>)) {
    const auto seed = static_cast<std::uint64_t>(from_environment("CENOTE_RACE_SEED", std::random_device{}() >> 1));
    const auto operations = static_cast<std::uint64_t>(1e6 * from_environment("CENOTE_RACE_MILLIONS", default_millions));
    const std::string what = std::string{name_of<typename TestType::locking>} + ", " + name_of<typename TestType::waiting>;
    std::printf("millions: %s: CENOTE_RACE_SEED=%llu\n", what.c_str(), static_cast<unsigned long long>(seed));
    std::uint64_t done = 0, acquired = 0, opened = 0;
    std::vector<std::string> wrong;
    for (std::uint64_t n = 0; done < operations && wrong.empty(); ++n, done += per_pool) {
        round_of<TestType> one;
        acquired += one.run(per_pool, seed + n * workers);
        wrong.insert(wrong.end(), one.complaints().begin(), one.complaints().end());
        opened += one.opened();
    }
    std::printf("millions: %s: %llu operations, %llu acquired, %llu opened\n", what.c_str(), static_cast<unsigned long long>(done),
                static_cast<unsigned long long>(acquired), static_cast<unsigned long long>(opened));
    CHECK(wrong == std::vector<std::string>{});
    CHECK(acquired > operations / 10);
}
