// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Who waits gets what is there, in time: lost wake-ups, deadlines, stop tokens, signals.
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>

#include "variants.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sys/time.h>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::background_thread;
using cenote::bounded;
using cenote::errc;
using cenote::manual;
using steady = std::chrono::steady_clock;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

namespace {
using none = std::vector<std::string>;
constexpr bool sanitized = SANITIZED == 1;

/// A pool of this variant; its background thread hardly rests after a failure.
template <class V, class... P>
auto make(const script& s, P... policies) {
    if constexpr (std::is_same_v<typename V::keeping, background_thread>) {
        return cenote::pool{scripted{s}, typename V::waiting{}, typename V::locking{}, background_thread{}, cenote::backoff{.first = 1us, .max = 10us}, policies...};
    } else {
        return cenote::pool{scripted{s}, typename V::waiting{}, typename V::locking{}, typename V::keeping{}, policies...};
    }
}

template <class W, class L>
struct handed_by {
    using waiting = W;
    using locking = L;
};

template <class W>
constexpr const char* name_of = std::is_same_v<W, cenote::strictly_fair> ? "strictly_fair" : std::is_same_v<W, cenote::barging> ? "barging" : "eventually_fair";

void spin(std::chrono::nanoseconds d) {
    const auto until = steady::now() + d;
    while (steady::now() < until) {}
}
double ms(std::chrono::nanoseconds d) { return std::chrono::duration<double, std::milli>(d).count(); }

/// Waits for what must come; false after ten seconds.
template <class F>
bool comes(F f) {
    const auto by = steady::now() + 10s;
    while (!f()) {
        if (steady::now() > by) return false;
        std::this_thread::yield();
    }
    return true;
}
} // namespace

TEMPLATE_PRODUCT_TEST_CASE("two clients, one connection, and no wake-up is lost", "[race][inv-7]", handed_by,
                           ((cenote::strictly_fair, cenote::with_mutex<>), (cenote::eventually_fair, cenote::with_mutex<>), (cenote::barging, cenote::with_mutex<>),
                            (cenote::strictly_fair, cenote::lock_free), (cenote::eventually_fair, cenote::lock_free), (cenote::barging, cenote::thread_affine))) {
    using waiting = typename TestType::waiting;
    constexpr int rounds = sanitized ? 25'000 : 50'000;
    constexpr auto budget = 200ms;
    script s;
    s.limit(1);
    {
        cenote::pool db{scripted{s}, waiting{}, typename TestType::locking{}, bounded{.max = 1}, cenote::counters{}};
        std::atomic<int> holding{0}, coming{0}, lost{0}, stalled{0};
        std::atomic<steady::time_point> freed{steady::now()};
        const auto get = [&] {
            const auto began = steady::now();
            std::error_code why;
            auto lease = db.acquire(budget, why);
            const auto now = steady::now();
            if (!lease || now - began >= budget) {
                // The other one may have been off the processor all the time: that is no loss.
                ++(now - freed.load() > budget / 2 || db.stats().idle != 0 ? lost : stalled);
            }
            return lease;
        };
        const auto client = [&](int me) {
            for (int i = 1; i <= rounds && lost.load() < 5; ++i) {
                if (i % 2 == me) { // has it, and gives it back about when the other one comes
                    auto lease = get();
                    holding = i;
                    while (coming.load() < i && lost.load() < 5) std::this_thread::yield();
                    spin(std::chrono::nanoseconds{i * 37 % 4000});
                    lease.give_back();
                    freed = steady::now();
                } else {
                    while (holding.load() < i && lost.load() < 5) std::this_thread::yield();
                    coming = i;
                    auto lease = get();
                    if (lease) lease->use();
                    lease.give_back();
                    freed = steady::now();
                }
            }
        };
        std::thread other{client, 1};
        client(0);
        other.join();
        const auto got = db.stats();
        std::printf("rounds: %s: %d of 2 clients, waited %llu, lost wake-ups %d, stalled by the machine %d\n", name_of<waiting>, rounds,
                    static_cast<unsigned long long>(got.waits), lost.load(), stalled.load());
        CHECK(lost == 0);
        CHECK(got.waits > rounds / 20); // else nothing was tested
        CHECK(got.opened == 1);
    }
    CHECK(s.violations_at_end() == none{});
}


// Nobody helps a forgotten waiter here: those who are served keep what they have, and nobody's time runs out.
TEMPLATE_TEST_CASE("no connection rests while somebody waits", "[race][inv-7]", EVERY_VARIANT) {
    constexpr int rounds = 900;
    constexpr int waiters = 4;
    script s;
    s.limit(2);
    int forgotten = 0;
    {
        auto db = make<TestType>(s, bounded{.max = 2}, cenote::peek_after{.idle = 0ms}, cenote::no_reset{});
        std::barrier meet{waiters + 2 + 1};
        std::atomic<int> served{0}, kept{0};
        std::atomic<bool> give_up{false}, second_wave{false};
        std::atomic<unsigned> shift{0};
        decltype(db.acquire()) second;
        std::vector<std::jthread> threads;
        for (int t = 0; t < waiters; ++t) {
            threads.emplace_back([&] {
                for (int r = 0; r < rounds; ++r) {
                    meet.arrive_and_wait();
                    {
                        std::error_code why;
                        auto lease = db.acquire(60s, why);
                        if (lease) lease->use();
                        ++served;
                        while (!second_wave.load() && !give_up.load()) std::this_thread::sleep_for(20us);
                    }
                    meet.arrive_and_wait();
                }
            });
        }
        threads.emplace_back([&] { // gives back at the same time as the main thread
            for (int r = 0; r < rounds; ++r) {
                meet.arrive_and_wait();
                spin(std::chrono::microseconds{shift.load() % 7});
                if (r % 5 == 4) second.discard();
                else second.give_back();
                meet.arrive_and_wait();
            }
        });
        threads.emplace_back([&] { // comes in between, and goes again
            for (int r = 0; r < rounds; ++r) {
                meet.arrive_and_wait();
                for (int i = 0; i < 3; ++i) {
                    spin(std::chrono::microseconds{(shift.load() + static_cast<unsigned>(i)) % 5});
                    auto taken = db.try_acquire();
                }
                ++kept;
                meet.arrive_and_wait();
            }
        });
        for (int r = 0; r < rounds; ++r) {
            if (give_up) { // with a closed pool the threads go through the rest of their rounds
                meet.arrive_and_wait();
                meet.arrive_and_wait();
                continue;
            }
            served = kept = 0;
            second_wave = false;
            auto first = db.acquire(10s);
            second = db.acquire(10s);
            if (r % 4 == 1) s.lose(first->id()); // whoever gets it has to look for another
            if (r % 8 == 5) s.lose(second->id());
            shift = static_cast<unsigned>(r) * 7;
            meet.arrive_and_wait();
            const auto queued = static_cast<std::size_t>(r) % (waiters + 1);
            (void)comes([&] { return db.stats().pending >= queued || served.load() > 0; });
            if (r % 3 == 2) first.discard();
            else first.give_back();
            if (!comes([&] { return served.load() >= 2 && kept.load() == 1; })) {
                ++forgotten;
                const auto now = db.stats();
                std::printf("work conservation: round %d: served %d, idle %llu, pending %llu, used %llu, opening %llu\n", r, served.load(),
                            static_cast<unsigned long long>(now.idle), static_cast<unsigned long long>(now.pending),
                            static_cast<unsigned long long>(now.used), static_cast<unsigned long long>(now.opening));
                give_up = true;
                db.close(cenote::deadline::in(0s));
            }
            second_wave = true;
            if (!comes([&] { return served.load() == waiters; }) && !give_up) {
                ++forgotten;
                give_up = true;
                db.close(cenote::deadline::in(0s));
            }
            meet.arrive_and_wait();
        }
    }
    CHECK(forgotten == 0);
    const auto by = steady::now() + 10s;
    while (!s.violations_at_end().empty() && steady::now() < by) std::this_thread::sleep_for(1ms);
    CHECK(s.violations_at_end() == none{});
}

TEMPLATE_TEST_CASE("a deadline is kept under sixteen threads that barge, and never restarts", "[race][case-D3][alone]", cenote::with_mutex<>, cenote::lock_free) {
    constexpr auto length = 1000ms;
    script s;
    {
        cenote::pool db{scripted{s}, cenote::barging{}, TestType{}, bounded{.max = 2}};
        std::atomic<bool> over{false};
        std::atomic<long> acquires{0}, timeouts{0}, early{0};
        std::atomic<std::chrono::nanoseconds::rep> worst{0}, control{0};
        const auto note = [](auto& most, std::chrono::nanoseconds overrun) {
            auto seen = most.load();
            while (overrun.count() > seen && !most.compare_exchange_weak(seen, overrun.count())) {}
        };
        std::vector<std::jthread> threads;
        for (int t = 0; t < 16; ++t) {
            threads.emplace_back([&, t] {
                for (int i = 0; !over.load(); ++i) {
                    const auto budget = std::chrono::milliseconds{5 + (i * 13 + t * 7) % 36};
                    const auto until = steady::now() + budget;
                    std::error_code why;
                    auto lease = i % 2 == 0 ? db.acquire(budget, why) : db.acquire(cenote::deadline{until}, {}, why);
                    const auto now = steady::now();
                    ++acquires;
                    if (!lease) ++timeouts;
                    if (!lease && now < until) ++early;
                    note(worst, now - until);
                    if (lease) std::this_thread::sleep_for(i % 3 == 0 ? 3ms : 500us);
                }
            });
        }
        for (int t = 0; t < 2; ++t) {
            threads.emplace_back([&, t] { // sleeps alike
                for (int i = 0; !over.load(); ++i) {
                    const auto until = steady::now() + std::chrono::milliseconds{5 + (i * 13 + t * 7) % 36};
                    std::atomic<std::uint32_t> word{0};
                    while (steady::now() < until) cenote::detail::os::parker::park(word, 0, until);
                    note(control, steady::now() - until);
                }
            });
        }
        std::this_thread::sleep_for(length);
        over = true;
        threads.clear();
        std::printf("deadlines: %ld acquires, %ld timed out, worst overrun %.2f ms, of the control %.2f ms\n", acquires.load(), timeouts.load(),
                    ms(std::chrono::nanoseconds{worst}), ms(std::chrono::nanoseconds{control}));
        CHECK(timeouts > 20);
        CHECK(early == 0);
        CHECK(worst.load() <= control.load() + std::chrono::nanoseconds{20ms}.count());
    }
    CHECK(s.violations_at_end() == none{});
}

TEMPLATE_TEST_CASE("tests that hang take from the one budget", "[race][alone]", background_thread, manual) {
    for (const int idle : {1, 3, 40}) {
        script s;
        cenote::pool db{scripted{s}, TestType{}, bounded{.max = 40}, cenote::pre_ping{.timeout = 2s}, cenote::no_reset{}, cenote::connect_timeout{2s}};
        {
            std::vector<decltype(db.acquire())> all;
            for (int i = 0; i < idle; ++i) all.push_back(db.acquire(10s));
        }
        s.always(site::ping, outcome::until_deadline());
        s.always(site::open, outcome::until_deadline());
        {
            const auto budget = idle == 1 ? 200ms : 60ms;
            const auto began = steady::now();
            std::error_code why;
            const bool got = static_cast<bool>(db.acquire(budget, why));
            const auto took = steady::now() - began;
            CHECK_FALSE(got);
            INFO(idle << " idle, " << ms(took) << " ms, " << why.message());
            CHECK(took >= budget);
            CHECK(took < budget + 40ms);
        }
        s.hurry();
    }
}

// A stop that is requested while its waiter is being told to look must not be overlooked.
TEMPLATE_TEST_CASE("a stop request reaches its waiter, whatever happens to him", "[race]", EVERY_VARIANT) {
    constexpr int rounds = 1800;
    script s;
    {
        cenote::pool db{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 1}};
        std::barrier meet{3};
        std::optional<std::stop_source> source;
        std::atomic<int> done{0}, cancelled{0}, served{0}, wrong{0};
        std::jthread waiter{[&] {
            for (int r = 0; r < rounds; ++r) {
                meet.arrive_and_wait();
                std::error_code why;
                auto lease = db.acquire(cenote::deadline::in(60s), source->get_token(), why);
                ++(lease ? served : why == errc::cancelled ? cancelled : wrong);
                lease.give_back();
                ++done;
                meet.arrive_and_wait();
            }
        }};
        std::jthread holder{[&] {
            for (int r = 0; r < rounds; ++r) {
                std::error_code closed; // when the test has failed
                auto lease = db.acquire(10s, closed);
                meet.arrive_and_wait();
                (void)comes([&] { return db.stats().pending == 1 || done.load() > r; });
                spin(std::chrono::nanoseconds{r * 131 % 5000});
                lease.give_back();
                lease = db.try_acquire(); // often before the waiter is awake
                (void)comes([&] { return done.load() > r; });
                lease.give_back();
                meet.arrive_and_wait();
            }
        }};
        int overlooked = 0;
        for (int r = 0; r < rounds; ++r) {
            source.emplace();
            meet.arrive_and_wait();
            (void)comes([&] { return db.stats().pending == 1 || done.load() > r; });
            spin(std::chrono::nanoseconds{r * 257 % 5000});
            source->request_stop();
            if (!comes([&] { return done.load() > r; })) {
                ++overlooked;
                db.close(cenote::deadline::in(0s)); // wakes him
            }
            meet.arrive_and_wait();
        }
        std::printf("stop requests: %d cancelled, %d served\n", cancelled.load(), served.load());
        CHECK(overlooked == 0);
        CHECK(wrong == 0);
        CHECK(cancelled + served == rounds);
    }
    CHECK(s.violations_at_end() == none{});
}

namespace {
std::atomic<int> alarms{0};
static_assert(std::atomic<int>::is_always_lock_free);
} // namespace

TEST_CASE("case-C6: signals interrupt waits and change nothing", "[race][alone]") {
    constexpr int wanted = sanitized ? 1500 : 2000;
    script s;
    struct sigaction act {};
    struct sigaction before {};
    act.sa_handler = [](int) { alarms.fetch_add(1, std::memory_order_relaxed); };
    sigemptyset(&act.sa_mask);
    REQUIRE(sigaction(SIGALRM, &act, &before) == 0); // no SA_RESTART: every wait is cut
    sigset_t alarm{};
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &alarm, nullptr) == 0); // here; the clients let it in
    {
        cenote::pool db{scripted{s}, bounded{.max = 1}};
        std::atomic<bool> over{false};
        std::atomic<int> wrong{0}, early{0}, served{0}, timeouts{0};
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&, t] {
                pthread_sigmask(SIG_UNBLOCK, &alarm, nullptr);
                for (int i = 0; !over.load(); ++i) {
                    const std::chrono::nanoseconds budget = (i + t) % 4 == 0 ? std::chrono::nanoseconds{3ms} : std::chrono::nanoseconds{30s};
                    const auto began = steady::now();
                    std::error_code why;
                    auto lease = db.acquire(budget, why);
                    if (lease) {
                        const auto hold = lease->hold();
                        spin(2ms);
                        ++served;
                    } else {
                        ++timeouts;
                        if (why != errc::acquire_timeout) ++wrong;
                        if (steady::now() - began < budget) ++early;
                    }
                }
            });
        }
        const itimerval each{{0, 1000}, {0, 1000}};
        REQUIRE(setitimer(ITIMER_REAL, &each, nullptr) == 0);
        const auto by = steady::now() + 6s;
        while (alarms.load() < wanted && steady::now() < by) std::this_thread::sleep_for(10ms);
        const itimerval off{};
        setitimer(ITIMER_REAL, &off, nullptr);
        over = true;
        threads.clear();
        std::printf("signals: %d, served %d, timed out %d\n", alarms.load(), served.load(), timeouts.load());
        CHECK(wrong == 0);
        CHECK(early == 0);
        CHECK(served > 0);
        CHECK(alarms > wanted / 3);
    }
    std::this_thread::sleep_for(5ms); // none is on its way any more
    sigaction(SIGALRM, &before, nullptr);
    pthread_sigmask(SIG_UNBLOCK, &alarm, nullptr);
    CHECK(s.violations_at_end() == none{});
}
