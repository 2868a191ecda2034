// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Servers that go, connections that are invalidated, tested, trimmed, warmed up and cut, all at once.
#include <cenote/pool.hpp>
#include <cenote/testing/manual_clock.hpp>
#include <cenote/testing/scripted.hpp>

#include "race/crowd.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::background_thread;
using cenote::bounded;
using cenote::deadline;
using cenote::error_class;
using cenote::manual;

namespace {
constexpr unsigned size = 4;

template <class W, class K, class R, class L = cenote::with_mutex<>, class V = cenote::peek_after>
struct variant {
    using waiting = W;
    using keeping = K;
    using reset = R;
    using locking = L;
    using validation = V;
};

template <class V>
auto make(const script& s, const manual_clock& time) {
    const auto with = [&](auto... more) {
        return cenote::pool{scripted{s}, typename V::waiting{}, typename V::locking{}, typename V::keeping{}, typename V::reset{}, typename V::validation{},
                            bounded{.min_idle = 1, .max = size}, cenote::keepalive{.every = 10s}, cenote::require_role{}, cenote::cut_at_close{0s},
                            cenote::idle_timeout{1min}, cenote::clock::manual{time}, more...};
    };
    if constexpr (std::is_same_v<typename V::keeping, background_thread>) return with(cenote::backoff{.first = 1us, .max = 10us});
    else return with();
}
#define EVERY_VARIANT                                                                                                                              \
    (variant<cenote::eventually_fair, background_thread, cenote::deferred<cenote::reset_if_dirty>>),                                               \
        (variant<cenote::strictly_fair, background_thread, cenote::background<cenote::reset_if_dirty>, cenote::with_mutex<>, cenote::pre_ping>),   \
        (variant<cenote::barging, manual, cenote::background<cenote::reset_if_dirty>>),                                                            \
        (variant<cenote::eventually_fair, manual, cenote::deferred<cenote::reset_if_dirty>, cenote::lock_free>),                                   \
        (variant<cenote::strictly_fair, background_thread, cenote::deferred<cenote::reset_if_dirty>, cenote::lock_free>),                          \
        (variant<cenote::no_wait, background_thread, cenote::at_return<cenote::reset_if_dirty>, cenote::thread_affine>),                           \
        (variant<cenote::eventually_fair, background_thread, cenote::no_reset, cenote::with_mutex<>, cenote::no_validation>)

/// Users of one pool: most behave, some leave things behind, and all say what they met with.
template <class Pool>
void use(Pool& p, int i) {
    std::error_code why;
    auto l = i % 7 == 0 ? p.try_acquire() : p.acquire(20ms, why);
    if (!l) return;
    bool lost = false;
    try {
        const auto held = l->hold();
        l->use();
        if constexpr (!std::is_same_v<typename Pool::core_type::cfg::reset, cenote::no_reset>) {
            if (i % 3 == 0) l->begin();
            if (i % 11 == 0) l->leave_busy();
        }
    } catch (const cenote::driver_error&) {
        lost = true;
    }
    if (lost) l.discard(error_class::disconnected);
    else if (i % 97 == 0) l.discard(error_class::wrong_role);
    else if (i % 13 == 0) l.discard();
}

/// What the day brings.
template <class Pool>
void trouble(Pool& p, script& s, manual_clock& time, int i) {
    std::error_code why;
    switch (i % 8) {
    case 0: s.lose_all(); break;
    case 1: p.invalidate_all(); break;
    case 2: (void)p.trim([](const auto& c) noexcept { return c.id() % 2 == 0; }); break;
    case 3: time.advance(10s); break;
    case 4: (void)p.maintain(); break;
    case 5:
        s.next(site::role, outcome::see(cenote::server_role::standby)).next(site::open, outcome::fail(error_class::refused), 2);
        break;
    case 6:
        p.suspend();
        p.resume();
        break;
    default:
        p.resize(1 + static_cast<unsigned>(i) % size);
        p.resize(size);
        break;
    }
    (void)p.stats();
    (void)p.ready();
}

template <class Pool>
void warm(Pool& p, int i) {
    try {
        (void)p.warm_up(1 + static_cast<unsigned>(i) % size, deadline::in(2ms));
    } catch (const std::invalid_argument&) { // just resized below
    }
}
} // namespace

TEMPLATE_TEST_CASE("whatever goes wrong meanwhile, every slot can be had afterwards", "[race]", EVERY_VARIANT) {
    script s;
    s.limit(size);
    manual_clock time;
    {
        auto p = make<TestType>(s, time);
        {
            crowd all;
            for (int t = 0; t < 3; ++t) all.add(t, [&](int i) { use(p, i); });
            all.add(0, [&](int i) { warm(p, i); });
            for (int i = 0; i < 600; ++i) trouble(p, s, time, i);
        }
        s.clear(site::open).clear(site::role);
        auto held = hold_all(p, size, [](auto& from, std::error_code& why) { return from.acquire(1s, why); });
        CHECK(held.size() == size);
        CHECK_FALSE(p.try_acquire());
        for (auto& l : held) {
            if constexpr (!std::is_same_v<typename TestType::validation, cenote::no_validation>) CHECK_FALSE(l->lost());
        }
        held.clear();
        (void)p.maintain();
    }
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("closing, cutting and destroying in the middle of recovery leaves nothing behind", "[race]", EVERY_VARIANT) {
    for (int round = 0; round < 25; ++round) {
        script s;
        s.limit(size);
        manual_clock time;
        std::vector<typename decltype(make<TestType>(s, time))::lease> outlive;
        {
            auto p = make<TestType>(s, time);
            crowd all;
            for (int t = 0; t < 2; ++t) all.add(round + t, [&](int i) { use(p, i); });
            all.add(round, [&](int i) { warm(p, i); });
            all.add(round, [&](int i) { trouble(p, s, time, i); });
            outlive = close_amid(p, static_cast<unsigned>(round));
        }
        outlive.clear();
        REQUIRE(at_rest(s) == none{});
    }
}
