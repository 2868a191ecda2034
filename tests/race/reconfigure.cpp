// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Settings that change, limits that move and connections that are renewed while threads use the pool.
#include <cenote/pool.hpp>
#include <cenote/testing/manual_clock.hpp>
#include <cenote/testing/scripted.hpp>

#include "race/crowd.hpp"
#include "race/variants.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::background_thread;
using cenote::bounded;
using cenote::deadline;
using steady = std::chrono::steady_clock;

namespace {
constexpr unsigned size = 8, rounds = RACES_ARE_SEEN ? 150 : 300;

/// Says that every round that was told of is whole. `renewals` outlives the pool.
struct listener {
    using family = cenote::family::metrics;
    std::shared_ptr<std::atomic<unsigned>> renewals = std::make_shared<std::atomic<unsigned>>();
    void on_refreshed(const cenote::refreshed_event& e) {
        if (e.took >= cenote::duration::zero() && e.before.total <= size && e.after.total <= size) renewals->fetch_add(1);
    }
};

template <class V>
auto make(const script& s, const manual_clock& time, const listener& heard) {
    const auto with = [&](auto... more) {
        return cenote::pool{scripted{s}, cenote::live_settings{}, typename V::waiting{}, typename V::locking{}, typename V::keeping{}, bounded{.max = size},
                            cenote::acquire_timeout{20ms}, cenote::max_lifetime{1h}, cenote::idle_timeout{1min}, cenote::max_uses{1000}, cenote::keepalive{.every = 10s},
                            cenote::refresh_every{.period = 1'000'000h, .over = 1min}, cenote::leak_threshold{1h}, cenote::cut_at_close{0s}, heard, cenote::clock::manual{time}, more...};
    };
    if constexpr (std::is_same_v<typename V::keeping, background_thread>) return with(cenote::backoff{.first = 1us, .max = 10us});
    else return with();
}

/// Users: they wait by the pool's own budget, whatever that is now.
template <class Pool>
void use(Pool& p, int i) {
    std::error_code why;
    auto l = i % 5 == 0 ? p.try_acquire() : i % 2 == 0 ? p.acquire(why) : p.acquire(5ms, why);
    if (!l) return;
    bool lost = false;
    try {
        const auto held = l->hold();
        l->use();
        if (i % 3 == 0) l->begin();
    } catch (const cenote::driver_error&) { // cut by close()
        lost = true;
    }
    if (lost || i % 13 == 0) l.discard();
}

template <class V, class Pool>
void change(Pool& p, unsigned i) {
    const unsigned max = 1 + i % size;
    switch (i % 6) {
    case 0: p.reconfigure(bounded{.min_idle = i % 2, .max = max, .ceiling = size}); break;
    case 1: p.reconfigure(cenote::acquire_timeout{std::chrono::milliseconds{1 + i % 20}}, cenote::idle_timeout{std::chrono::seconds{1 + i % 60}}); break;
    case 2: p.reconfigure(cenote::max_lifetime{std::chrono::minutes{1 + i % 60}, 0.5}, cenote::max_uses{1 + i % 100}, cenote::keepalive{std::chrono::seconds{1 + i % 10}}); break;
    case 3: {
        auto all = p.settings();
        all.template get<cenote::leak_threshold>().after = std::chrono::seconds{1 + i};
        all.template get<cenote::refresh_every>() = {.period = std::chrono::seconds{10 + i % 60}, .over = std::chrono::seconds{1 + i % 9}};
        p.reconfigure(all);
        break;
    }
    case 4:
        try {
            p.reconfigure(bounded{.max = 0}, cenote::acquire_timeout{1h});
        } catch (const std::invalid_argument&) { // as it should
        }
        break;
    default:
        if constexpr (std::is_same_v<typename V::keeping, background_thread>) p.reconfigure(cenote::backoff{.first = 1us, .max = std::chrono::microseconds{1 + i % 20}}, cenote::breaker{1 + i % 5});
        else p.reconfigure(cenote::connect_timeout{std::chrono::seconds{1 + i % 9}});
        break;
    }
}
} // namespace

TEMPLATE_TEST_CASE("case-D8: whatever is reconfigured, resized and renewed meanwhile, every slot can be had afterwards", "[race]", EVERY_VARIANT) {
    script s;
    s.limit(size);
    manual_clock time;
    listener heard;
    {
        auto p = make<TestType>(s, time, heard);
        std::atomic<bool> beyond{false};
        {
            crowd all;
            for (int t = 0; t < 3; ++t) all.add(t, [&](int i) { use(p, i); });
            all.add(0U, [&](unsigned) { // looks, and reads what is being replaced
                const auto now = p.settings();
                if (now.template get<bounded>().max > size) beyond = true;
                (void)p.template get<bounded>().max;
                (void)p.stats();
                (void)p.inspect();
                (void)p.ready();
                (void)p.maintain();
            });
            all.add(0U, [&](unsigned i) {
                try {
                    p.resize(1 + i % size);
                } catch (const std::invalid_argument&) { // the ceiling or min_idle has just moved
                }
                if (i % 3 == 0) p.invalidate_all(std::chrono::seconds{1 + i % 5});
                if (i % 31 == 0) p.invalidate_all();
                time.advance(500ms);
                std::this_thread::yield();
            });
            all.add(0U, [&](unsigned i) { change<TestType>(p, i); }); // a second one who changes
            for (unsigned i = 0; i < rounds; ++i) change<TestType>(p, i);
        }
        CHECK_FALSE(beyond);
        p.reconfigure(bounded{.max = size - 1, .ceiling = size});
        p.reconfigure(bounded{.max = size}, cenote::acquire_timeout{1s});
        auto held = hold_all(p, size, [](auto& from, std::error_code& why) { return from.acquire(why); });
        CHECK(held.size() == size);
        CHECK_FALSE(p.try_acquire());
        held.clear();
        // And whatever was under way: a renewal that is begun now ends, and is told.
        time.advance(10h);
        for (const auto until = steady::now() + 30s; steady::now() < until && p.stats().closing != 0;) (void)p.maintain();
        p.reconfigure(cenote::refresh_every{.period = 1000h, .over = 1h}, cenote::max_lifetime{1000h}, cenote::idle_timeout{1000h});
        const unsigned before = *heard.renewals;
        p.invalidate_all(1s);
        time.advance(1s);
        for (const auto until = steady::now() + 30s; steady::now() < until && *heard.renewals == before;) {
            (void)p.maintain();
            std::this_thread::yield();
        }
        CHECK(*heard.renewals >= before + 1);
    }
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("a renewal that begins beside housekeeping is carried out, and told once and not before its end", "[race]", EVERY_VARIANT) {
    script s;
    s.limit(size);
    manual_clock time;
    listener heard;
    {
        auto p = make<TestType>(s, time, heard);
        std::atomic<bool> over{false};
        std::jthread keeps{[&] {
            while (!over) (void)p.maintain();
        }};
        const auto comes = [&](auto f) {
            for (const auto until = steady::now() + 10s; steady::now() < until && !f();) std::this_thread::yield();
            return f();
        };
        unsigned early = 0, missing = 0, left = 0;
        const unsigned begun = rounds;
        for (unsigned n = 0; n < begun && early + missing + left == 0; ++n) {
            {
                std::error_code why;
                const auto l = p.acquire(10s, why);
                if (!l) break;
            }
            p.invalidate_all(1h);
            if (*heard.renewals != n) ++early; // it is there still
            time.advance(n % 2 == 0 ? 1h : 1min);
            if (n % 2 != 0) p.invalidate_all();
            if (!comes([&] { return *heard.renewals >= n + 1; })) ++missing;
            if (s.closed() != s.opened()) ++left;
        }
        CHECK(early == 0);
        CHECK(missing == 0);
        CHECK(left == 0);
        CHECK(*heard.renewals == begun);
        over = true;
    }
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("case-D6: closing and destroying in the middle of a change leaves nothing behind", "[race]", EVERY_VARIANT) {
    for (unsigned round = 0; round < (RACES_ARE_SEEN ? 10U : 25U); ++round) {
        script s;
        s.limit(size);
        manual_clock time;
        std::vector<typename decltype(make<TestType>(s, time, listener{}))::lease> outlive;
        {
            auto p = make<TestType>(s, time, listener{});
            crowd all;
            for (int t = 0; t < 2; ++t) all.add(t, [&](int i) { use(p, i); });
            all.add(round, [&](unsigned i) { change<TestType>(p, i); });
            all.add(0U, [&](unsigned) {
                p.invalidate_all(1s);
                time.advance(300ms);
                (void)p.maintain();
            });
            outlive = close_amid(p, round);
        }
        outlive.clear();
        REQUIRE(at_rest(s) == none{});
    }
}
