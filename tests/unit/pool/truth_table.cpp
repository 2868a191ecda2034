// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

using namespace pool_test;

namespace {
constexpr auto idle_after = 10s, old_after = 100s;

/// A row of README's table "min_idle, idle_timeout, max_lifetime and max together".
struct row {
    unsigned min_idle, min, max;
    bool idle_timeout, max_lifetime;
    // what there is, when `max` connections were opened together and given back, and maintain() is called every second
    unsigned after_idle_timeout; ///< idle, when idle_timeout has passed
    unsigned after_max_lifetime; ///< idle, when max_lifetime has passed
    unsigned fewest;             ///< idle at any moment until then
    unsigned replaced;           ///< opened until then beside the first
};

constexpr row table[] = {
    // min_idle, min, max, idle_timeout, max_lifetime | after idle_timeout, after max_lifetime, fewest, opened
    {0, 0, 2, false, false, 2, 2, 2, 0},
    {0, 0, 2, true, false, 0, 0, 0, 0},
    {0, 0, 2, false, true, 2, 0, 0, 0},
    {0, 0, 2, true, true, 0, 0, 0, 0},
    {0, 0, 4, false, false, 4, 4, 4, 0},
    {0, 0, 4, true, false, 0, 0, 0, 0},
    {0, 0, 4, false, true, 4, 0, 0, 0},
    {0, 0, 4, true, true, 0, 0, 0, 0},
    {2, 0, 2, false, false, 2, 2, 2, 0},
    {2, 0, 2, true, false, 2, 2, 2, 0},
    {2, 0, 2, false, true, 2, 2, 0, 2},
    {2, 0, 2, true, true, 2, 2, 0, 2},
    {2, 0, 4, false, false, 4, 4, 4, 0},
    {2, 0, 4, true, false, 2, 2, 2, 0},
    {2, 0, 4, false, true, 4, 2, 2, 2},
    {2, 0, 4, true, true, 2, 2, 2, 2},
    {0, 2, 2, false, false, 2, 2, 2, 0},
    {0, 2, 2, true, false, 2, 2, 2, 0},
    {0, 2, 2, false, true, 2, 2, 0, 2},
    {0, 2, 2, true, true, 2, 2, 0, 2},
    {0, 2, 4, false, false, 4, 4, 4, 0},
    {0, 2, 4, true, false, 2, 2, 2, 0},
    {0, 2, 4, false, true, 4, 2, 2, 2},
    {0, 2, 4, true, true, 2, 2, 2, 2},
};

struct seen {
    unsigned after_idle_timeout, after_max_lifetime, fewest, replaced;
};

template <class Idle, class Old>
seen observe(const row& r, Idle idle, Old old) {
    watched s{r.max};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.min_idle = r.min_idle, .min = r.min, .max = r.max}, idle, old, counters{}, clock::manual{time}};
    {
        std::vector<typename decltype(p)::lease> all;
        for (unsigned i = 0; i < r.max; ++i) all.push_back(p.acquire());
    }
    seen out{.after_idle_timeout = 0, .after_max_lifetime = 0, .fewest = r.max, .replaced = 0};
    const auto look = [&] { out.fewest = std::min(out.fewest, static_cast<unsigned>(p.stats().idle)); };
    const auto look_inside = [&](const cenote::testing::call&) { look(); };
    s.on(site::open, look_inside).on(site::close, look_inside); // between the steps, too
    for (duration t = 1s; t <= old_after; t += 1s) {
        time.advance(1s);
        (void)p.maintain();
        look();
        if (t == idle_after) out.after_idle_timeout = static_cast<unsigned>(gauges_of(p).idle);
    }
    out.after_max_lifetime = static_cast<unsigned>(gauges_of(p).idle);
    out.replaced = static_cast<unsigned>(s.opened()) - r.max;
    CHECK(p.stats().total == out.after_max_lifetime);
    // What is left is of use, and none of it past its end.
    std::vector<typename decltype(p)::lease> all;
    for (unsigned i = 0; i < out.after_max_lifetime; ++i) {
        all.push_back(p.try_acquire());
        CHECK(good(all.back()));
        if (r.max_lifetime) CHECK(all.back()->id() > r.max);
    }
    CHECK(s.opened() == r.max + out.replaced);
    s.clear(site::open).clear(site::close);
    return out;
}

template <class F>
auto with_policies(const row& r, F f) {
    const max_lifetime old{old_after, 0.0};
    const idle_timeout idle{idle_after};
    if (r.idle_timeout && r.max_lifetime) return f(idle, old);
    if (r.idle_timeout) return f(idle, no_max_lifetime{});
    if (r.max_lifetime) return f(no_idle_timeout{}, old);
    return f(no_idle_timeout{}, no_max_lifetime{});
}

} // namespace

TEST_CASE("min_idle, min, idle_timeout, max_lifetime and max together: each cell of the table") {
    for (const row& r : table) {
        INFO("min_idle " << r.min_idle << ", min " << r.min << ", max " << r.max << ", idle_timeout " << r.idle_timeout << ", max_lifetime " << r.max_lifetime);
        const seen is = with_policies(r, [&](auto idle, auto old) { return observe(r, idle, old); });
        CHECK(is.after_idle_timeout == r.after_idle_timeout);
        CHECK(is.after_max_lifetime == r.after_max_lifetime);
        CHECK(is.fewest == r.fewest);
        CHECK(is.replaced == r.replaced);
    }
}

TEST_CASE("README.md carries the table of min_idle, idle_timeout, max_lifetime and max as it is tested") {
    std::ostringstream wanted;
    wanted << "|---:|---:|---:|---|---|---:|---:|---:|---:|\n";
    const auto on = [](bool yes) { return yes ? "on" : "off"; };
    for (const row& r : table) {
        wanted << "| " << r.min_idle << " | " << r.min << " | " << r.max << " | " << on(r.idle_timeout) << " | " << on(r.max_lifetime) << " | "
               << r.after_idle_timeout << " | " << r.after_max_lifetime << " | " << r.fewest << " | " << r.replaced << " |\n";
    }
    wanted << '\n'; // and no row more
    const auto root = std::filesystem::path{__FILE__}.parent_path().parent_path().parent_path().parent_path();
    std::ifstream file{root / "README.md"};
    std::ostringstream readme;
    readme << file.rdbuf();
    CHECK_THAT(readme.str(), Catch::Matchers::ContainsSubstring(wanted.str()));
}

TEST_CASE("the table has every combination once, and says what it is for") {
    std::vector<std::vector<unsigned>> keys;
    for (const row& r : table) {
        keys.push_back({r.min_idle, r.min, r.max, r.idle_timeout, r.max_lifetime});
        const unsigned kept = std::max(r.min_idle, r.min);
        CHECK(r.after_max_lifetime >= kept);
        if (r.max > kept) CHECK(r.fewest >= kept); // while there is room
        else if (kept != 0 && r.max_lifetime) CHECK(r.fewest < kept); // at max the old one goes first
    }
    std::sort(keys.begin(), keys.end());
    CHECK(std::adjacent_find(keys.begin(), keys.end()) == keys.end());
    CHECK(keys.size() == 3 * 2 * 2 * 2);
}

TEST_CASE("a new connection is there before the old one goes: two seconds ahead, or an eighth of the shortest age") {
    const auto opens_at = [](duration life) {
        watched s{4};
        manual_clock time;
        pool p{scripted{s}, manual{}, bounded{.min_idle = 1, .max = 4}, no_idle_timeout{}, max_lifetime{life, 0.0}, clock::manual{time}};
        (void)p.maintain();
        CHECK(s.opened() == 1);
        const time_point born = time.now();
        time_point opened{};
        for (int i = 0; i < 100'000 && s.closed() == 0; ++i) {
            const time_point next = p.maintain(); // coming when it says is enough
            if (s.opened() == 2 && opened == time_point{}) opened = time.now();
            CHECK(p.stats().idle >= 1);
            if (s.closed() == 0) time.set(next);
        }
        CHECK(time.now() == born + life); // not before
        CHECK(s.opened() == 2);
        CHECK(gauges_of(p) == gauges{.idle = 1});
        return born + life - opened;
    };
    CHECK(opens_at(30min) == 2s);
    CHECK(opens_at(16s) == 2s);
    CHECK(opens_at(8s) == 1s);
    CHECK(opens_at(800ms) == 100ms);
}

TEST_CASE("what is leased counts for min; when it comes back past its end it goes as ever") {
    watched s{4};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.min = 2, .max = 4}, no_idle_timeout{}, max_lifetime{old_after, 0.0}, clock::manual{time}};
    auto held = p.acquire();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1, .used = 1});
    time.advance(old_after);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1, .used = 1});
    CHECK(s.opened() == 3);
    CHECK(good(held));
    held.give_back();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2});
    CHECK(s.opened() == 4);
    CHECK(s.closed() == 2);
}

TEST_CASE("where all that is idle is past its end and the pool is full, those beyond min_idle make room for the others' successors") {
    watched s{3};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.min_idle = 2, .max = 3}, no_idle_timeout{}, max_lifetime{old_after, 0.0}, clock::manual{time}};
    {
        auto a = p.acquire(), b = p.acquire(), c = p.acquire();
    }
    std::uint64_t fewest = 3;
    s.on(site::close, [&](const auto&) { fewest = std::min(fewest, p.stats().idle); });
    time.advance(old_after);
    for (int i = 0; i < 5; ++i) {
        (void)p.maintain();
        time.advance(1s);
    }
    CHECK(fewest == 2);
    CHECK(s.closed() == 3);
    CHECK(s.opened() >= 5);
    s.clear(site::close);
}

TEST_CASE("while the server refuses, the old ones stay but are never handed out past their end") {
    watched s{4};
    manual_clock time;
    const auto watch = [&](auto& p) {
        (void)p.maintain();
        REQUIRE(becomes(p, {.idle = 2}));
        s.always(site::open, outcome::fail(error_class::refused));
        for (int i = 0; i < 200; ++i) {
            time.advance(1s);
            (void)p.maintain();
            CHECK(p.stats().idle == 2);
            if (i == 50) CHECK(good(p.try_acquire())); // not yet
        }
        CHECK(s.closed() == 0);
        std::error_code code;
        CHECK_FALSE(p.acquire(20ms, code));
        CHECK(code);
        CHECK_FALSE(p.try_acquire());
        s.clear(site::open);
        auto l = p.acquire(timeout{patience});
        CHECK(good(l));
        CHECK(l->id() > 2);
        l.give_back();
        REQUIRE(eventually([&] { return (void)p.maintain(), s.closed() >= 2; }));
    };
    SECTION("manual") {
        pool p{scripted{s}, manual{}, bounded{.min_idle = 2, .max = 4}, no_idle_timeout{}, max_lifetime{old_after, 0.0}, clock::manual{time}};
        watch(p);
    }
    SECTION("in the background") {
        pool p{scripted{s}, bounded{.min_idle = 2, .max = 4}, no_idle_timeout{}, max_lifetime{old_after, 0.0}, backoff{.first = 1us, .max = 1us}, no_breaker{}, clock::manual{time}};
        watch(p);
    }
    SECTION("by min") {
        pool p{scripted{s}, manual{}, bounded{.min = 2, .max = 4}, no_idle_timeout{}, max_lifetime{old_after, 0.0}, clock::manual{time}};
        watch(p);
    }
    SECTION("at max the old ones have gone") {
        pool p{scripted{s}, manual{}, bounded{.min_idle = 2, .max = 2}, no_idle_timeout{}, max_lifetime{old_after, 0.0}, clock::manual{time}};
        (void)p.maintain();
        s.always(site::open, outcome::fail(error_class::refused));
        time.advance(old_after);
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{});
        s.clear(site::open);
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{.idle = 2});
    }
}

TEST_CASE("the background thread has a new connection before the old one goes") {
    watched s{8};
    manual_clock time;
    pool p{scripted{s}, bounded{.min_idle = 2, .max = 8}, no_idle_timeout{}, max_lifetime{old_after, 0.0}, counters{}, clock::manual{time}};
    REQUIRE(becomes(p, {.idle = 2}));
    std::atomic<std::uint64_t> fewest{8};
    s.on(site::close, [&](const auto&) { fewest = std::min(fewest.load(), p.stats().idle); });
    time.advance(old_after - 2s);
    (void)p.maintain();
    REQUIRE(eventually([&] { return p.stats().idle == 4; }));
    CHECK(s.closed() == 0);
    time.advance(2s);
    (void)p.maintain();
    REQUIRE(becomes(p, {.idle = 2}));
    CHECK(fewest == 2);
    CHECK(p.get<counters>().closed_for(close_reason::age) == 2);
    CHECK(s.opened() == 4);
    s.clear(site::close);
}
