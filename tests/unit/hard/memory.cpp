// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// No memory, at each allocation of each public operation in turn. (What acquire, give back, resize, close and construction do then, each
// for itself, is in unit/shell/allocations.cpp.)
#include "unit/pool/support.hpp"
#include "unit/shell/allocations.hpp"

#include <cenote/retry.hpp>
#include <cenote/view.hpp>

#include <array>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

using namespace pool_test;
using namespace alloc_test;

namespace {

constexpr unsigned size = 3;
const std::string long_name = "a name that is too long for any small buffer of a string";

/// A hook that needs memory of its own.
struct greedy {
    void operator()(const auto&) const { (void)std::string(100, 'x').size(); }
};

auto everything(const script& s, manual_clock& time, auto... more) {
    return pool{scripted{s}, bounded{.min_idle = 1, .max = size, .ceiling = 80}, named{long_name}, live_settings{}, leak_threshold{1s}, counters{}, keepalive{.every = 10s},
                max_lifetime{1h}, refresh_every{.period = 24h}, report_nested{}, on_connect{greedy{}}, on_acquire{greedy{}}, on_give_back{greedy{}}, on_close{greedy{}},
                on_leak{greedy{}}, clock::manual{time}, more...};
}
struct by_hand {
    using guard = fail_at;
    static auto make(const script& s, manual_clock& time) { return everything(s, time, manual{}); }
};
struct by_thread {
    using guard = fail_anywhere_at; // what the background thread needs, too
    static auto make(const script& s, manual_clock& time) { return everything(s, time, background_thread{.max_dials = 1}, backoff{.first = 1us, .max = 1us}, no_breaker{}); }
};

/// What may come out of an operation that finds no memory: bad_alloc, or an error that says so or what came of it.
[[nodiscard]] bool is_expected(std::error_code e) {
    return e == errc::out_of_memory || e == errc::connect_failed || e == errc::connect_timeout || e == errc::acquire_timeout || e == errc::hook_failed || e == errc::validation_failed;
}

template <class How>
void sweep_all() {
    using pool_type = decltype(How::make(std::declval<const script&>(), std::declval<manual_clock&>()));
    using lease = typename pool_type::lease;
    struct operation {
        const char* name;
        std::function<void(pool_type&)> run;
    };
    const retry twice{{.attempts = 2, .first = 0s, .pause = [](duration) {}}};
    const auto brief = 20ms; // where there is no thread, nobody waits
    static_assert(noexcept(std::declval<pool_type&>().stats()) && noexcept(std::declval<pool_type&>().try_acquire()) && noexcept(std::declval<pool_type&>().maintain()));
    static_assert(noexcept(std::declval<pool_type&>().trim()) && noexcept(std::declval<pool_type&>().suspend()) && noexcept(std::declval<pool_type&>().resume()));
    static_assert(noexcept(std::declval<pool_type&>().invalidate_all()) && noexcept(std::declval<pool_type&>().ready()) && std::is_nothrow_move_constructible_v<pool_type>);
    const std::vector<operation> all{
        {"with", [&](auto& p) { p.with(brief, [](auto& c) { c.use(); }); }},
        {"with, and its work needs memory", [&](auto& p) { p.with(brief, [](auto&) { return std::string(100, 'x'); }); }},
        {"acquire until a deadline", [&](auto& p) { (void)p.acquire(deadline::in(brief)); }},
        {"acquire, stopped", [&](auto& p) {
             std::optional<std::stop_source> stop;
             {
                 const spared its_own_affair;
                 stop.emplace();
                 stop->request_stop();
             }
             failure why;
             (void)p.acquire(brief, stop->get_token(), why);
             if (why.code != errc::cancelled && why.code && !is_expected(why.code)) throw std::logic_error{why.code.message()};
             const spared its_end;
             stop.reset();
         }},
        {"everything out, and one more", [&](auto& p) {
             std::array<lease, size> held;
             for (lease& l : held) {
                 l = p.acquire(brief);
                 l.tag("x");
             }
             failure why;
             (void)p.acquire(0s, why);
             if (!is_expected(why.code)) throw std::logic_error{why.code.message()};
         }},
        {"discard and detach", [&](auto& p) {
             auto a = p.acquire(brief);
             a.discard(error_class::disconnected);
             auto b = p.acquire(brief);
             b->mark_detached();
             (void)b.detach();
         }},
        {"dirty", [&](auto& p) { p.acquire(brief)->begin(); }},
        {"stats, inspect, ready, get, name", [&](auto& p) {
             auto l = p.acquire(brief);
             (void)p.stats();
             (void)p.inspect().leases.size();
             (void)p.ready();
             (void)p.name().size();
         }},
        {"warm_up", [&](auto& p) {
             const auto r = p.warm_up(size, deadline::in(brief));
             if (!r && !is_expected(r.why.code)) throw std::logic_error{r.why.code.message()};
         }},
        {"settings and reconfigure", [&](auto& p) {
             auto all_of = p.settings();
             all_of.template get<leak_threshold>().after = 2s;
             p.reconfigure(all_of);
             p.reconfigure(max_lifetime{2h}, keepalive{.every = 5s});
         }},
        {"resize", [&](auto& p) {
             p.resize(80);
             p.resize(size);
         }},
        {"invalidate, at once and in time", [&](auto& p) {
             p.invalidate_all();
             p.invalidate_all(1s);
             (void)p.maintain();
         }},
        {"trim", [&](auto& p) {
             (void)p.trim([](const testing::scripted_connection& c) noexcept { return c.id() % 2 == 0; });
             (void)p.trim();
         }},
        {"suspend and resume", [&](auto& p) {
             p.suspend();
             (void)p.try_acquire();
             p.resume();
         }},
        {"move", [&](auto& p) {
             pool_type other{std::move(p)};
             p = std::move(other);
         }},
        {"view", [&](auto& p) {
             pool_view<testing::scripted_connection> view{p};
             any_lease<testing::scripted_connection> l = view.acquire(timeout{brief});
             l->use();
             (void)view.stats();
         }},
        {"retry", [&](auto& p) { twice.with(p, idempotent, [](auto& c) { c.use(); }); }},
        {"a failed dial", [&](auto& p) {
             (void)p.trim();
             failure why;
             (void)p.acquire(brief, why);
             (void)p.try_acquire();
         }},
    };
    std::size_t points = 0;
    for (const operation& op : all) {
        for (const bool from_then_on : {false, true}) {
            bool failed = true;
            for (std::size_t n = 1; failed; ++n) {
                INFO(op.name << ", allocation " << n << (from_then_on ? " and all after it" : ""));
                REQUIRE(n < 500);
                watched s;
                manual_clock time;
                auto p = How::make(s, time);
                REQUIRE(p.warm_up(1));
                if (n % 2 == 0) time.advance(20s); // then what is idle is tested
                std::string unexpected;
                {
                    const typename How::guard guard{n, from_then_on};
                    try {
                        op.run(p);
                    } catch (const std::bad_alloc&) {
                    } catch (const error& e) {
                        const spared words;
                        if (!is_expected(e.code())) unexpected = e.what();
                    } catch (const std::exception& e) {
                        const spared words;
                        unexpected = e.what();
                    }
                    failed = guard.failed();
                }
                if (failed) ++points;
                CHECK(unexpected == "");
                p.resume();
                if (p.stats().max != size) p.resize(size); // between one and the other there was no memory
                const auto at_rest = [&] {
                    (void)p.maintain();
                    const pool_stats now = p.stats();
                    return now.opening + now.closing + now.resetting == 0;
                };
                REQUIRE(eventually(at_rest)); // a dial that is to fail yet would refuse whoever waits
                CHECK(p.stats().used == 0);
                CHECK(p.stats().pending == 0);
                check_capacity(p, size);
                check_sums(p.stats());
            }
        }
    }
    CHECK(points > 100);
    std::printf("no memory: at %zu allocations\n", points);
}

} // namespace

TEST_CASE("case-D12: whichever allocation of whichever operation fails, the failure is the one to expect and nothing is lost") { sweep_all<by_hand>(); }
TEST_CASE("case-D12: whichever allocation of whichever thread fails, the failure is the one to expect and nothing is lost") { sweep_all<by_thread>(); }

TEST_CASE("case-D12: after its first turn, a pool that looks at everything acquires and gives back without memory") {
    watched s{size};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = size}, pre_ping{}, deferred<reset_always>{}, leak_threshold{1h}, counters{}, max_uses{1000}, keepalive{}, report_nested{},
           named{long_name}, clock::manual{time}};
    open_idle(p, size);
    const std::size_t before = made_here();
    {
        const fail_at guard{1, true}; // and it would not get any
        for (int i = 0; i < 100; ++i) {
            std::error_code why;
            auto a = p.acquire();
            auto b = p.acquire(timeout{patience}, why);
            auto c = p.try_acquire();
            a->begin();
            a.tag("x");
            b = std::move(a);
            time.advance(1s);
        }
    }
    CHECK(made_here() == before);
    CHECK(s.opened() == size);
}
