// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using namespace pool_test;
using Catch::Matchers::Message;

namespace {
constexpr time_point t0 = manual_clock::start;

/// What a pool said of its renewals, shared so that it outlives the pool.
class rounds {
public:
    struct round {
        pool_stats before, after;
        duration took;
    };
    void add(const refreshed_event& e) {
        const std::scoped_lock lock{m_};
        all_.push_back({e.before, e.after, e.took});
    }
    [[nodiscard]] std::size_t size() const {
        const std::scoped_lock lock{m_};
        return all_.size();
    }
    [[nodiscard]] round at(std::size_t i) const {
        const std::scoped_lock lock{m_};
        return all_.at(i);
    }

private:
    mutable std::mutex m_;
    std::vector<round> all_;
};

/// Hears of renewals and of nothing else.
struct listener {
    using family = family::metrics;
    std::shared_ptr<rounds> to = std::make_shared<rounds>();
    void on_refreshed(const refreshed_event& e) { to->add(e); }
};

struct by_mutex {
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, with_mutex{}, policies...}; }
};
struct by_queue {
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, fifo{}, policies...}; }
};
struct by_processor {
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, lock_free{}, policies...}; }
};
struct by_thread {
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, thread_affine{}, policies...}; }
};
struct on_one_thread {
    static auto make(script s, auto... policies) { return pool{scripted{s}, single_threaded{}, policies...}; }
};
#define EVERY_KIND by_mutex, by_queue, by_processor, by_thread, on_one_thread

} // namespace

TEMPLATE_TEST_CASE("renewed over a time, connections go evenly and are all gone at its end", "", EVERY_KIND) {
    watched s{20};
    manual_clock time;
    listener heard;
    auto p = TestType::make(s, bounded{.max = 20}, no_age_limit{}, counters{}, heard, clock::manual{time});
    open_idle(p, 20);
    p.invalidate_all(100s);
    (void)p.maintain();
    CHECK(s.closed() == 0);
    for (int second = 1; second <= 100; ++second) {
        time.advance(1s - 1ns);
        (void)p.maintain();
        CHECK(s.closed() == static_cast<std::size_t>((second - 1) / 5)); // never more than time has passed
        time.advance(1ns);
        (void)p.maintain();
        CHECK(s.closed() == static_cast<std::size_t>(second / 5));
        CHECK(gauges_of(p).idle == 20 - s.closed());
        CHECK(heard.to->size() == (second == 100 ? 1U : 0U));
    }
    CHECK(p.template get<counters>().closed_for(close_reason::invalidated) == 20);
    CHECK(s.opened() == 20);
    REQUIRE(heard.to->size() == 1);
    CHECK(gauges_of(heard.to->at(0).before) == gauges{.idle = 20});
    CHECK(gauges_of(heard.to->at(0).after) == gauges{});
    CHECK(heard.to->at(0).took == 100s);
    time.advance(1h);
    (void)p.maintain();
    CHECK(heard.to->size() == 1);
    check_capacity(p, 20);
}

TEST_CASE("maintain() says when the next connection of a renewal goes") {
    watched s{4};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 4}, no_age_limit{}, clock::manual{time}};
    open_idle(p, 4);
    p.invalidate_all(100s);
    // 25 s a connection, and half a minute without anything to do: coming when it says is enough.
    CHECK(p.maintain() - t0 <= 25s + 1ns);
    for (std::size_t n = 1; n <= 4; ++n) {
        while (time.now() < t0 + 25s * n) {
            const time_point at = p.maintain();
            REQUIRE(at > time.now());
            CHECK(at <= t0 + 25s * n + 1us);
            time.set(std::max(at, time.now()));
        }
        (void)p.maintain();
        CHECK(s.closed() == n);
    }
}

TEST_CASE("a maintain() that is late lets go what should have gone by then, and no more") {
    watched s{10};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 10}, no_age_limit{}, clock::manual{time}};
    open_idle(p, 10);
    p.invalidate_all(100s);
    time.advance(55s);
    (void)p.maintain();
    CHECK(s.closed() == 5);
    time.set(t0 + 20s); // a clock that goes back takes nothing back
    (void)p.maintain();
    time.set(t0 - 20s);
    (void)p.maintain();
    CHECK(s.closed() == 5);
    time.set(t0 + 1h);
    (void)p.maintain();
    CHECK(s.closed() == 10);
}

TEST_CASE("what is opened after a renewal has begun stays") {
    watched s{6};
    manual_clock time;
    pool p{scripted{s}, manual{}, with_mutex{}, bounded{.max = 6}, no_age_limit{}, clock::manual{time}};
    open_idle(p, 2);
    p.invalidate_all(10s);
    open_idle(p, 6);
    time.advance(10s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 4});
    std::set<std::size_t> ids;
    for (auto& l : hold(p, 4)) ids.insert(l->id());
    CHECK(ids == std::set<std::size_t>{3, 4, 5, 6});
    CHECK(s.opened() == 6);
}

TEMPLATE_TEST_CASE("what is leased when its turn comes goes as it comes back, and only then the round has ended", "", EVERY_KIND) {
    watched s{4};
    manual_clock time;
    listener heard;
    auto p = TestType::make(s, bounded{.max = 4}, no_age_limit{}, heard, clock::manual{time});
    auto all = hold(p, 4);
    p.invalidate_all(10s);
    time.advance(1s);
    all[0].give_back(); // before its turn: as ever
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1, .used = 3});
    time.advance(9s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.used = 3});
    for (std::size_t i = 1; i < 4; ++i) {
        CHECK(heard.to->size() == 0);
        CHECK(good(all[i]));
        time.advance(1h);
        all[i].give_back();
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{.used = 3 - i});
    }
    REQUIRE(heard.to->size() == 1);
    CHECK(gauges_of(heard.to->at(0).before) == gauges{.used = 4});
    CHECK(gauges_of(heard.to->at(0).after) == gauges{});
    CHECK(heard.to->at(0).took == 3h + 10s);
    CHECK(s.closed() == 4);
    check_capacity(p, 4);
}

TEST_CASE("connections that end for other reasons count among those that have gone") {
    watched s{10};
    manual_clock time;
    listener heard;
    pool p{scripted{s}, manual{}, with_mutex{}, bounded{.max = 10}, no_age_limit{}, heard, clock::manual{time}};
    auto all = hold(p, 10);
    for (std::size_t i = 0; i < 9; ++i) all[i].give_back();
    p.invalidate_all(100s);
    all[9].discard();
    CHECK(p.trim([](const auto& c) noexcept { return c.id() <= 4; }) == 4);
    (void)p.maintain();
    CHECK(s.closed() == 5);
    time.advance(50s);
    (void)p.maintain();
    CHECK(s.closed() == 5); // half of them have gone as it is
    time.advance(10s);
    (void)p.maintain();
    CHECK(s.closed() == 6);
    for (auto& l : hold(p, 4)) {
        l->mark_detached();
        (void)l.detach();
    }
    CHECK(heard.to->size() == 0);
    (void)p.maintain(); // nothing is left: it need not wait for its end
    REQUIRE(heard.to->size() == 1);
    CHECK(heard.to->at(0).took == 60s);
}

TEST_CASE("the renewal of a pool that has nothing open has ended at once") {
    watched s;
    manual_clock time;
    listener heard;
    pool p{scripted{s}, manual{}, bounded{.max = 2}, heard, clock::manual{time}};
    p.invalidate_all(1h);
    (void)p.maintain();
    REQUIRE(heard.to->size() == 1);
    CHECK(gauges_of(heard.to->at(0).before) == gauges{});
    CHECK(heard.to->at(0).took == 0s);
    open_idle(p, 1);
    time.advance(2h);
    CHECK(p.acquire()); // opened since
}

TEST_CASE("a second renewal takes on what the first has left") {
    watched s{20};
    manual_clock time;
    listener heard;
    pool p{scripted{s}, manual{}, with_mutex{}, bounded{.max = 20}, no_age_limit{}, heard, clock::manual{time}};
    open_idle(p, 10);
    p.invalidate_all(100s);
    time.advance(50s);
    (void)p.maintain();
    CHECK(s.closed() == 5);
    open_idle(p, 10); // five more
    CHECK(s.opened() == 15);
    p.invalidate_all(10s); // all ten
    (void)p.maintain();
    CHECK(s.closed() == 5);
    CHECK(heard.to->size() == 0);
    time.advance(5s);
    (void)p.maintain();
    CHECK(s.closed() == 10);
    time.advance(5s);
    (void)p.maintain();
    CHECK(s.closed() == 15);
    REQUIRE(heard.to->size() == 1); // the two have become one
    CHECK(gauges_of(heard.to->at(0).before) == gauges{.idle = 10});
    CHECK(heard.to->at(0).took == 10s);
    time.advance(1h);
    (void)p.maintain();
    CHECK(heard.to->size() == 1);
}

TEST_CASE("a second renewal can be slower than the first") {
    watched s{10};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 10}, no_age_limit{}, clock::manual{time}};
    open_idle(p, 10);
    p.invalidate_all(10s);
    time.advance(5s);
    (void)p.maintain();
    CHECK(s.closed() == 5);
    p.invalidate_all(1000s);
    time.advance(199s);
    (void)p.maintain();
    CHECK(s.closed() == 5);
    time.advance(1s);
    (void)p.maintain();
    CHECK(s.closed() == 6);
}

TEST_CASE("invalidate_all() during a renewal ends it at once") {
    watched s{4};
    manual_clock time;
    listener heard;
    pool p{scripted{s}, manual{}, with_mutex{}, bounded{.max = 4}, no_age_limit{}, heard, clock::manual{time}};
    open_idle(p, 4);
    auto held = p.acquire();
    p.invalidate_all(100s);
    time.advance(30s);
    (void)p.maintain();
    CHECK(s.closed() == 1);
    p.invalidate_all();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.used = 1});
    CHECK(heard.to->size() == 0);
    held.give_back();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});
    REQUIRE(heard.to->size() == 1);
    CHECK(gauges_of(heard.to->at(0).before) == gauges{.idle = 3, .used = 1});
    CHECK(heard.to->at(0).took == 30s);
    open_idle(p, 2);
    time.advance(1h);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 2}); // these are none of its business
    CHECK(heard.to->size() == 1);
}

TEMPLATE_TEST_CASE("a closed pool is renewed like any other: there is nothing left, or what is out goes as it comes back", "", by_mutex, by_processor, on_one_thread) {
    watched s{2};
    manual_clock time;
    listener heard;
    auto p = TestType::make(s, bounded{.max = 2}, no_age_limit{}, never_cut{}, heard, clock::manual{time});
    auto all = hold(p, 2);
    all[0].give_back();
    p.invalidate_all(10s);
    (void)p.close(deadline{time_point::min()});
    p.invalidate_all(20s);
    time.advance(20s);
    (void)p.maintain();
    CHECK(s.closed() == 1);
    CHECK(heard.to->size() == 0);
    CHECK(good(all[1]));
    all[1].give_back();
    (void)p.maintain();
    CHECK(s.closed() == 2);
    REQUIRE(heard.to->size() == 1);
    CHECK(gauges_of(heard.to->at(0).before) == gauges{.used = 1});
}

TEMPLATE_TEST_CASE("a suspended pool is renewed, too", "", by_mutex, by_queue, by_processor) {
    watched s{4};
    manual_clock time;
    listener heard;
    auto p = TestType::make(s, bounded{.max = 4}, no_age_limit{}, heard, clock::manual{time});
    auto all = hold(p, 4);
    all[0].give_back();
    all[1].give_back();
    p.suspend();
    all[2].give_back();
    p.invalidate_all(40s);
    for (std::size_t n = 1; n <= 4; ++n) {
        time.advance(10s);
        (void)p.maintain();
    }
    CHECK(gauges_of(p) == gauges{.used = 1});
    all[3].give_back();
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});
    CHECK(heard.to->size() == 1);
    p.resume();
    check_capacity(p, 4);
}

TEST_CASE("min_idle and min are kept while connections are renewed") {
    watched s{8};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.min_idle = 3, .min = 4, .max = 8}, no_age_limit{}, clock::manual{time}};
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 4});
    p.invalidate_all(40s);
    for (int i = 0; i < 40; ++i) {
        time.advance(1s);
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{.idle = 4});
    }
    CHECK(s.opened() == 8);
    CHECK(s.closed() == 4);
    CHECK(s.most_open() <= 5);
}

TEST_CASE("a pool with its slots inside can be renewed") {
    manual_clock time;
    listener heard;
    SECTION("with threads") {
        watched s{3};
        {
            pool p{scripted{s}, fixed<3>{}, no_age_limit{}, heard, clock::manual{time}};
            open_idle(p, 3);
            p.invalidate_all(30s);
            time.advance(10s);
            (void)p.maintain();
            CHECK(gauges_of(p) == gauges{.idle = 2});
            time.advance(20s);
            (void)p.maintain();
            CHECK(gauges_of(p) == gauges{});
            CHECK(heard.to->size() == 1);
            check_capacity(p, 3);
        }
        CHECK(s.opened() == 6);
    }
    SECTION("on one thread, every so often") {
        watched s{3};
        pool p{scripted{s}, profile::bare<3>{}, refresh_every{.period = 100s, .over = 30s}, heard, clock::manual{time}};
        (void)p.maintain();
        open_idle(p, 3);
        time.advance(100s);
        (void)p.maintain();
        CHECK(s.closed() == 0);
        time.advance(30s);
        (void)p.maintain();
        CHECK(s.closed() == 3);
        CHECK(heard.to->size() == 1);
        check_capacity(p, 3);
    }
}

TEST_CASE("refresh_every renews period by period, and says so once a round") {
    watched s{6};
    manual_clock time;
    listener heard;
    pool p{scripted{s}, manual{}, with_mutex{}, bounded{.max = 6}, refresh_every{.period = 100s, .over = 20s}, no_max_lifetime{}, no_idle_timeout{}, counters{}, heard,
           clock::manual{time}};
    CHECK(p.maintain() <= t0 + 100s);
    for (std::size_t round = 1; round <= 3; ++round) {
        open_idle(p, 4);
        CHECK(s.opened() == 4 * round);
        time.set(t0 + 100s * round - 1ns);
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{.idle = 4});
        time.advance(1ns);
        CHECK(p.maintain() <= t0 + 100s * round + 5s + 1us);
        CHECK(gauges_of(p) == gauges{.idle = 4});
        for (std::size_t n = 1; n <= 4; ++n) {
            time.advance(5s);
            (void)p.maintain();
            CHECK(gauges_of(p) == gauges{.idle = 4 - n});
        }
        REQUIRE(heard.to->size() == round);
        CHECK(gauges_of(heard.to->at(round - 1).before) == gauges{.idle = 4});
        CHECK(gauges_of(heard.to->at(round - 1).after) == gauges{});
        CHECK(heard.to->at(round - 1).took == 20s);
    }
    CHECK(p.template get<counters>().closed_for(close_reason::invalidated) == 12);
}

TEST_CASE("a round of refresh_every that is missed is not made up for") {
    watched s{1};
    manual_clock time;
    listener heard;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, refresh_every{.period = 100s, .over = 10s}, no_max_lifetime{}, no_idle_timeout{}, heard, clock::manual{time}};
    (void)p.maintain();
    open_idle(p, 1);
    time.advance(1000s);
    (void)p.maintain();
    time.advance(10s);
    (void)p.maintain();
    CHECK(heard.to->size() == 1);
    time.advance(89s);
    (void)p.maintain();
    CHECK(heard.to->size() == 1);
    time.advance(1s); // a period after it began
    (void)p.maintain();
    (void)p.maintain();
    CHECK(heard.to->size() == 2);
}

TEST_CASE("rounds of which the first cannot end become one; the others go on") {
    watched s{3};
    manual_clock time;
    listener heard;
    pool p{scripted{s}, manual{}, with_mutex{}, bounded{.max = 3}, refresh_every{.period = 100s, .over = 100s}, no_max_lifetime{}, no_idle_timeout{}, heard, clock::manual{time}};
    (void)p.maintain();
    open_idle(p, 3);
    auto never_given_back = p.acquire();
    for (int i = 0; i < 1000; ++i) {
        time.advance(1s);
        (void)p.maintain();
        if (gauges_of(p).idle == 0) open_idle(p, 2);
    }
    CHECK(heard.to->size() == 0);
    CHECK(s.opened() >= 1 + 2 * 8); // and are renewed all the same
    CHECK(s.opened() <= 1 + 2 * 10);
    never_given_back.give_back();
    (void)p.maintain();
    time.advance(100s);
    (void)p.maintain();
    CHECK(heard.to->size() == 1);
}

TEST_CASE("over may be as long as the period, and both as long as time") {
    watched s{2};
    manual_clock time;
    listener heard;
    {
        pool p{scripted{s}, manual{}, bounded{.max = 1}, no_max_lifetime{}, no_idle_timeout{}, refresh_every{.period = duration::max(), .over = duration::max()}, heard, clock::manual{time}};
        open_idle(p, 1);
        time.advance(std::chrono::years{50});
        CHECK(p.maintain() > time.now());
        p.invalidate_all(duration::max());
        time.advance(std::chrono::years{50});
        CHECK(p.maintain() > time.now());
        CHECK(s.closed() == 0);
        CHECK(heard.to->size() == 0);
        p.invalidate_all(1ns);
        time.advance(1ns);
        (void)p.maintain();
        CHECK(s.closed() == 1);
    }
    time.set(t0);
    pool p{scripted{s}, manual{}, bounded{.max = 1}, refresh_every{.period = 10s, .over = 10s}, heard, clock::manual{time}};
    (void)p.maintain();
    open_idle(p, 1);
    time.advance(10s);
    (void)p.maintain();
    CHECK(s.closed() == 1);
    time.advance(10s - 1ns);
    (void)p.maintain();
    CHECK(s.closed() == 1);
    time.advance(1ns);
    (void)p.maintain();
    (void)p.maintain();
    CHECK(s.closed() == 2);
}

TEST_CASE("values that may not be are refused with field, value and rule") {
    watched s{1};
    CHECK_THROWS_MATCHES((pool{scripted{s}, refresh_every{.period = 0s}}), std::invalid_argument,
                         Message("cenote: refresh_every.period = 0s: must be above zero; to switch it off leave refresh_every out"));
    CHECK_THROWS_MATCHES((pool{scripted{s}, refresh_every{.period = 1s, .over = 0s}}), std::invalid_argument,
                         Message("cenote: refresh_every.over = 0s: must be above zero"));
    CHECK_THROWS_MATCHES((pool{scripted{s}, refresh_every{.period = 1s, .over = 2s}}), std::invalid_argument,
                         Message("cenote: refresh_every.over = 2s: must be at most refresh_every.period"));
    pool p{scripted{s}, manual{}, bounded{.max = 1}};
    open_idle(p, 1);
    CHECK_THROWS_MATCHES(p.invalidate_all(0s), std::invalid_argument, Message("cenote: invalidate_all(over) = 0s: must be above zero; for all at once leave it out"));
    CHECK_THROWS_MATCHES(p.invalidate_all(-1s), std::invalid_argument, Message("cenote: invalidate_all(over) = -1s: must be above zero; for all at once leave it out"));
    CHECK(gauges_of(p) == gauges{.idle = 1});
}

TEST_CASE("the background thread renews by itself, and says so when the last has gone") {
    watched s{8};
    listener heard;
    SECTION("when it is told to") {
        pool p{scripted{s}, bounded{.max = 4}, no_age_limit{}, heard, clock::steady{}};
        open_idle(p, 1);
        auto held = hold(p, 3);
        const std::size_t before = s.opened();
        p.invalidate_all(50ms);
        REQUIRE(eventually([&] { return gauges_of(p.stats()) == gauges{.used = 3}; }));
        CHECK(heard.to->size() == 0);
        for (auto& l : held) CHECK(good(l));
        held.clear();
        REQUIRE(eventually([&] { return heard.to->size() == 1; }));
        CHECK(heard.to->at(0).before.total == before);
        CHECK(gauges_of(heard.to->at(0).after) == gauges{});
        CHECK(heard.to->at(0).took >= 50ms);
        CHECK(s.closed() == before);
        check_capacity(p, 4);
    }
    SECTION("every so often") {
        pool p{scripted{s}, bounded{.min_idle = 2, .max = 8}, no_max_lifetime{}, no_idle_timeout{}, refresh_every{.period = 20ms, .over = 10ms}, heard, clock::steady{}};
        REQUIRE(eventually([&] { return heard.to->size() >= 3; }));
        CHECK(s.opened() >= 4);
    }
    SECTION("by a clock that stands") {
        manual_clock time;
        pool p{scripted{s}, bounded{.max = 4}, no_age_limit{}, heard, clock::manual{time}};
        open_idle(p, 2);
        const std::size_t before = s.opened();
        p.invalidate_all(10s);
        time.advance(5s);
        (void)p.maintain();
        CHECK(gauges_of(p).idle + gauges_of(p).closing == before - before / 2 + gauges_of(p).closing);
        time.advance(5s);
        (void)p.maintain();
        REQUIRE(eventually([&] { return s.closed() == before; }));
        REQUIRE(eventually([&] { return (void)p.maintain(), heard.to->size() == 1; }));
    }
}

TEST_CASE("what a sink throws when it hears of a renewal is swallowed and counted") {
    struct thrower {
        using family = family::metrics;
        static void on_refreshed(const refreshed_event&) { throw 42; }
    };
    watched s{1};
    manual_clock time;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, thrower{}, clock::manual{time}};
    p.invalidate_all(1s);
    (void)p.maintain();
    CHECK(p.stats().swallowed == 1);
    check_capacity(p, 1);
}

TEST_CASE("a thousand connections that are opened within a second do not go together") {
    // In any hundredth of the time in which they go at most three times as many as on average.
    constexpr std::size_t all = 1000, windows = 100, steps = 10; // a window is seen at ten places
    watched s{all};
    manual_clock time;
    const auto worst_window = [](const std::vector<std::size_t>& closed) {
        std::size_t worst = 0;
        for (std::size_t i = steps; i < closed.size(); ++i) worst = std::max(worst, closed[i] - closed[i - steps]);
        return worst;
    };
    const auto watch = [&](auto& p, duration from, duration until) {
        std::vector<std::size_t> closed;
        for (std::size_t i = 0; i <= windows * steps; ++i) {
            time.set(t0 + from + (until - from) / static_cast<int>(windows * steps) * static_cast<int>(i));
            (void)p.maintain();
            closed.push_back(s.closed());
        }
        return closed;
    };
    const auto fill = [&](auto& p) {
        std::vector<typename std::remove_cvref_t<decltype(p)>::lease> held;
        for (std::size_t i = 0; i < all; ++i) {
            held.push_back(p.acquire());
            time.advance(duration{1s} / static_cast<int>(all));
        }
    };
    SECTION("when they are renewed") {
        pool p{scripted{s}, manual{}, bounded{.max = all}, no_age_limit{}, clock::manual{time}};
        fill(p);
        p.invalidate_all(1000s);
        const auto closed = watch(p, 1s, 1001s);
        CHECK(closed.front() == 0);
        CHECK(closed.back() == all);
        CHECK(worst_window(closed) <= all / windows + 1); // evenly, so even less
    }
    SECTION("when they have reached their lifetime") {
        pool p{scripted{s}, manual{}, bounded{.max = all}, max_lifetime{1000s, 0.1}, no_idle_timeout{}, clock::manual{time}};
        fill(p);
        const auto closed = watch(p, 900s - 1ns, 1001s);
        CHECK(closed.front() == 0);
        CHECK(closed.back() == all);
        CHECK(worst_window(closed) <= 3 * all / windows);
    }
}
