// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <cenote/testing/faulty.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <ostream>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

using namespace pool_test;
using cenote::testing::faults;
using cenote::testing::faulty;

namespace {

/// What each of the places does where a pool leaves its own code: connect, validate, reset, hook, close.
enum class fate { ok, error, slow, never };
constexpr std::array fates{fate::ok, fate::error, fate::slow, fate::never};

struct combination {
    fate connect, validate, reset, hook, close;
};
std::ostream& operator<<(std::ostream& to, const combination& c) {
    const auto name = [](fate f) { return std::array{"ok", "error", "slow", "never"}[static_cast<std::size_t>(f)]; };
    return to << "connect " << name(c.connect) << ", validate " << name(c.validate) << ", reset " << name(c.reset) << ", hook "
              << name(c.hook) << ", close " << name(c.close);
}
constexpr bool works(fate f) { return f == fate::ok || f == fate::slow; }

/// All 4^5 of them.
template <class F>
void each_combination(F f) {
    std::size_t n = 0;
    for (const fate connect : fates) {
        for (const fate validate : fates) {
            for (const fate reset : fates) {
                for (const fate hook : fates) {
                    for (const fate close : fates) {
                        const combination c{connect, validate, reset, hook, close};
                        INFO(c);
                        f(c);
                        ++n;
                    }
                }
            }
        }
    }
    CHECK(n == 1024);
}

/// How often each combination is gone through in the background: CENOTE_GRID_ROUNDS.
std::size_t grid_rounds() {
    const char* const n = std::getenv("CENOTE_GRID_ROUNDS");
    return n != nullptr ? std::stoul(n) : 1;
}
/// For anything between nothing and the time that a round takes.
void wait_at_random() {
    static std::minstd_rand dice{std::random_device{}()};
    const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds{dice() % (1U << (dice() % 17))};
    while (std::chrono::steady_clock::now() < until) {}
}

/// A pool's surroundings under one combination. Slow and never are times of a manual clock, so nobody sleeps: slow is less than every
/// deadline of the pool, never ends at the call's deadline. A hook has no deadline, and neither has a close: there, never is a
/// day; and where an error of `close` would be, the hook before it throws.
class world {
public:
    explicit world(const combination& c, std::size_t most) : s_{most}, what_{c} {}

    /// From now on things go as the combination says; until then, and again after `calm()`, they go well.
    void begin() {
        rough_ = true;
        const auto say = [this](site s, fate f) {
            if (f == fate::error) f_.always(s, outcome::fail(error_class::auth, "by the grid"));
            if (f == fate::slow) f_.always(s, outcome::ok().after(slow));
            if (f == fate::never) f_.always(s, outcome::until_deadline());
        };
        say(site::open, what_.connect);
        say(site::ping, what_.validate);
        say(site::reset_finish, what_.reset);
        say(site::reset, what_.reset);
        say(site::rollback, what_.reset);
        if (what_.close == fate::slow) f_.always(site::close, outcome::ok().after(slow));
        if (what_.close == fate::never) f_.always(site::close, outcome::ok().after(24h));
    }
    void calm() {
        rough_ = false;
        f_.clear();
    }

    [[nodiscard]] faulty<scripted> driver() const { return faulty{scripted{s_}, f_}; }
    [[nodiscard]] auto hook() {
        return on_acquire{[this](testing::scripted_connection&) {
            if (!rough_) return;
            if (what_.hook == fate::slow) clock_.advance(slow);
            if (what_.hook == fate::never) clock_.advance(24h);
            if (!works(what_.hook)) throw std::runtime_error{"the hook, by the grid"};
        }};
    }
    [[nodiscard]] auto end_hook() {
        return on_close{[this](testing::scripted_connection&) {
            if (rough_ && what_.close == fate::error) throw std::runtime_error{"the close, by the grid"};
        }};
    }
    [[nodiscard]] script& seen() noexcept { return s_; }
    [[nodiscard]] faults& trouble() noexcept { return f_; }

    /// What every combination must leave behind: nothing is out, nothing is under way, all permits are there, as many were
    /// closed as opened but for those that are idle.
    void check_whole(any_pool auto& p, std::size_t max) {
        calm();
        // An attempt to connect that began before may still fail for whoever waits now; with all permits in hand none is under way.
        CHECK(eventually([&] {
            std::vector<typename std::remove_cvref_t<decltype(p)>::lease> all;
            std::error_code why;
            do all.push_back(p.acquire(timeout{patience}, why));
            while (all.back() && all.size() < max);
            if (!all.back()) return false;
            CHECK(gauges_of(p) == gauges{.used = max});
            return true;
        }));
        check_capacity(p, max);
        const gauges g = gauges_of(p);
        CHECK(g.used == 0);
        CHECK(g.idle == s_.opened() - s_.closed());
        CHECK(p.stats().pending == 0);
    }

private:
    static constexpr auto slow = 1ms;

    watched s_; // at its end: as many closed as opened, and nothing forbidden was done
    manual_clock clock_;
    faults f_{clock_};
    combination what_;
    std::atomic<bool> rough_{false};
};

/// Uses what it got, and leaves it dirty. The give back must not throw, whatever happens in it: it would end the program.
bool use(auto&& lease) {
    static_assert(noexcept(lease.give_back()) && std::is_nothrow_destructible_v<std::remove_cvref_t<decltype(lease)>>);
    const bool pristine = good(lease);
    if (lease) lease->begin();
    lease.give_back();
    return pristine;
}

} // namespace

TEST_CASE("whatever connect, validate, reset, hook and close do, the thread that does it all gets what it should and loses no permit") {
    each_combination([](const combination& c) {
        world w{c, 2};
        pool p{w.driver(), manual{}, bounded{.max = 2}, pre_ping{}, at_return{reset_always{}}, connect_timeout{15s}, w.hook(),
               w.end_hook()};
        { auto one_is_idle = p.acquire(); }
        w.begin();

        // What can be foretold of the first, which meets the idle connection.
        std::error_code why;
        bool from_hook = false;
        const bool connects = works(c.validate) || works(c.connect);
        try {
            auto l = p.acquire(timeout{patience});
            CHECK(works(c.hook));
            CHECK(use(std::move(l)));
        } catch (const error& e) {
            why = e.code();
        } catch (const std::runtime_error&) {
            from_hook = true;
        }
        CHECK(from_hook == (connects && !works(c.hook)));
        if (connects) CHECK(why == std::error_code{});
        else CHECK(why == (c.connect == fate::error ? errc::connect_failed : errc::connect_timeout));
        (void)p.maintain(); // closes what is to be closed
        CHECK(gauges_of(p) == gauges{.idle = connects && works(c.reset) ? 1U : 0U});

        // Without time, cancelled before, and cancelled in the middle of each call that it makes.
        (void)use(p.acquire(0s, why));
        std::stop_source before;
        before.request_stop();
        (void)use(p.acquire(timeout{patience}, before.get_token(), why));
        for (const site s : {site::open, site::ping, site::reset}) {
            std::stop_source during;
            w.trouble().on(s, [&](const testing::call&) { during.request_stop(); });
            (void)use(p.acquire(timeout{patience}, during.get_token(), why));
            w.trouble().on(s, nullptr);
        }
        (void)use(p.try_acquire());
        {
            auto discarded = p.acquire(timeout{patience}, why);
            discarded.discard();
        }
        (void)p.maintain();
        CHECK(gauges_of(p).used == 0);
        w.check_whole(p, 2);
        w.begin(); // what is left is closed as the combination says
    });
}

TEST_CASE("whatever they do in the background, those who wait and those who are cancelled lose no permit") {
    const std::size_t rounds = grid_rounds();
    each_combination([&](const combination& c) {
        world w{c, 2};
        pool p{w.driver(), bounded{.max = 2}, pre_ping{}, backoff{.first = 1us, .max = 10us, .attempts = 2}, no_breaker{}, w.hook(),
               w.end_hook()};
        CHECK(use(p.acquire(timeout{patience}))); // its clean-up is under way
        w.begin();

        std::atomic<int> bad{0};
        std::stop_source stop, whenever;
        const auto ask = [&](auto... how) {
            std::error_code why;
            if (auto l = p.acquire(how..., why)) bad += use(std::move(l)) ? 0 : 1;
        };
        for (std::size_t round = 0; round < rounds; ++round) {
            stop = std::stop_source{};
            whenever = std::stop_source{};
            std::jthread first{[&] {
                ask(timeout{patience});
                ask(timeout{patience}, stop.get_token());
            }};
            std::jthread second{[&] {
                ask(timeout{patience}, whenever.get_token());
                ask(timeout{patience}, stop.get_token());
                stop.request_stop();
                ask(10us);
                ask(timeout{patience});
            }};
            wait_at_random();
            whenever.request_stop();
            ask(timeout{patience}, stop.get_token());
            ask(0s);
            (void)p.try_acquire();
            first.join();
            second.join();
            if (p.stats().total > 2) ++bad;
        }
        CHECK(bad == 0);
        w.check_whole(p, 2);
        w.begin();
        if (c.connect == fate::ok) {
            const auto left = p.close();
            CHECK(left.drained);
            CHECK(left.still_out == 0);
        }
    });
}
