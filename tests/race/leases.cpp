// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Leases and pools at the edges of their lives: time-outs, moves between threads, pools that go first, use after the end.
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>

#include "crowd.hpp"
#include "variants.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::background_thread;
using cenote::bounded;
using cenote::errc;
using cenote::manual;

TEMPLATE_TEST_CASE("an acquire that times out leaves nothing behind", "[race][case-D1]", EVERY_VARIANT) {
    script s;
    {
        cenote::pool db{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 1}, cenote::leak_threshold{},
                        cenote::named{"edge"}};
        auto held = db.acquire(10s);
        std::vector<cenote::failure> kept;
        std::atomic<int> wrong{0};
        for (int i = 0; i < 200; ++i) {
            const cenote::timeout budget = i % 2 == 0 ? 0us : 200us;
            try {
                auto never = db.acquire(budget);
                ++wrong;
            } catch (const cenote::error& e) {
                const cenote::error copy = e;
                if (copy.code() != errc::acquire_timeout || copy.why().seen->pool != "edge" || copy.why().seen->holders.size() != 1) ++wrong;
                if (i % 16 == 0) kept.push_back(copy.why());
            }
            cenote::failure why;
            const auto empty = db.acquire(budget, why);
            if (empty || why.code != errc::acquire_timeout || why.text().find("edge") == std::string::npos) ++wrong;
            std::error_code code;
            if (db.acquire(cenote::deadline::in(budget), {}, code) || code != std::errc::timed_out) ++wrong;
            if (db.try_acquire()) ++wrong;
        }
        CHECK(wrong == 0);
        CHECK(db.stats().pending == 0);
        held.give_back();
        CHECK(db.acquire(10s));
        CHECK(kept.front().seen->max == 1); // evidence lives on its own
        CHECK(db.stats().total == 1);
    }
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("time-outs that race with returns lose nothing", "[race][case-D1][inv-2]", EVERY_VARIANT) {
    constexpr int each = 1800;
    script s;
    s.limit(1);
    {
        cenote::pool db{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 1}};
        std::atomic<int> got{0}, refused{0}, wrong{0};
        {
            std::latch start{3};
            std::vector<std::jthread> threads;
            for (int t = 0; t < 3; ++t) {
                threads.emplace_back([&, t] {
                    start.arrive_and_wait();
                    for (int i = 0; i < each; ++i) {
                        cenote::failure why;
                        auto lease = db.acquire(std::chrono::microseconds{(i * 7 + t) % 60}, why);
                        if (lease) {
                            const auto hold = lease->hold();
                            const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds{i % 25};
                            while (std::chrono::steady_clock::now() < until) {}
                            ++got;
                        } else {
                            ++(why.code == errc::acquire_timeout ? refused : wrong);
                        }
                    }
                });
            }
        }
        CHECK(wrong == 0);
        CHECK(got > 0);
        CHECK(refused > 0);
        CHECK(got + refused == 3 * each);
        CHECK(db.acquire(10s)); // nothing was lost
        const auto now = db.stats();
        CHECK(now.total <= 1);
        CHECK(now.pending == 0);
    }
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("case-C9: giving back twice gives back once", "[race][inv-3]", EVERY_VARIANT) {
    script s;
    {
        cenote::pool db{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 2}};
        std::latch start{3};
        std::vector<std::jthread> threads;
        for (int t = 0; t < 3; ++t) {
            threads.emplace_back([&db, &start] {
                start.arrive_and_wait();
                for (int i = 0; i < 900; ++i) {
                    auto lease = db.acquire(10s);
                    { const auto hold = lease->hold(); }
                    if (i % 3 == 0) lease.discard();
                    lease.give_back();
                    lease.give_back();
                    lease.discard();
                    auto again = std::move(lease);
                    again.give_back();
                }
            });
        }
        threads.clear();
        const auto now = db.stats();
        CHECK(now.used == 0);
        CHECK(now.total <= 2);
    }
    CHECK(s.most_open() <= 2);
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("case-C4: a lease may end on another thread than it began on", "[race]", EVERY_VARIANT) {
    constexpr int count = 2400;
    script s;
    {
        using pool_type = decltype(cenote::pool{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 3}});
        pool_type db{scripted{s}, bounded{.max = 3}};
        std::mutex m;
        std::vector<typename pool_type::lease> parcel;
        std::atomic<bool> over{false};
        std::jthread taker{[&] {
            while (!over.load()) {
                std::vector<typename pool_type::lease> mine;
                {
                    const std::scoped_lock lock{m};
                    mine.swap(parcel);
                }
                for (auto& lease : mine) {
                    const auto hold = lease->hold();
                    lease->use();
                }
                if (mine.empty()) std::this_thread::yield();
            }
        }};
        for (int i = 0; i < count; ++i) {
            auto lease = db.acquire(10s);
            if (i % 2 == 0) lease->begin(); // dirty: the clean-up happens on the other thread
            const std::scoped_lock lock{m};
            parcel.push_back(std::move(lease));
        }
        while ([&] { const std::scoped_lock lock{m}; return !parcel.empty(); }()) std::this_thread::yield();
        over = true;
        taker.join();
        CHECK(db.stats().used == 0);
    }
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("case-C8: leases outlive their pool, wherever they end", "[race]", EVERY_VARIANT) {
    script s;
    for (int round = 0; round < 90; ++round) {
        using pool_type = decltype(cenote::pool{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 4}});
        auto db = std::make_unique<pool_type>(scripted{s}, bounded{.max = 4});
        std::atomic<int> ready{0};
        std::atomic<bool> go{false};
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&, t, lease = db->acquire(10s)]() mutable {
                ++ready;
                while (!go.load()) std::this_thread::yield();
                lease->use();
                if (t == 1) lease->begin();
                if (t == 2) {
                    lease.discard();
                } else if (t == 3) {
                    lease->mark_detached();
                    (void)lease.detach();
                } else {
                    auto last = std::move(lease);
                }
            });
        }
        while (ready.load() < 4) std::this_thread::yield();
        go = true;
        db.reset();
    }
    CHECK(at_rest(s) == none{});
    CHECK(s.detached() == 90);
}

TEST_CASE("a pool goes while its dial is stuck, and what comes of the dial is closed", "[race]") {
    script s;
    gate stuck;
    s.next(site::open, outcome::ok().after(stuck), 2);
    {
        auto db = std::make_unique<decltype(cenote::pool{scripted{s}, background_thread{.max_dials = 2, .patience = 20ms}, bounded{.max = 4}})>(
            scripted{s}, background_thread{.max_dials = 2, .patience = 20ms}, bounded{.max = 4});
        std::vector<std::jthread> waiting;
        std::atomic<int> timed_out{0};
        for (int t = 0; t < 3; ++t) {
            waiting.emplace_back([&] {
                std::error_code why;
                if (!db->acquire(100ms, why) && why == errc::acquire_timeout) ++timed_out;
            });
        }
        REQUIRE(stuck.await(2));
        waiting.clear();
        CHECK(timed_out == 3);
        CHECK(db->stats().opening == 2);
        const auto began = std::chrono::steady_clock::now();
        db.reset();
        CHECK(std::chrono::steady_clock::now() - began < 5s);
    }
    CHECK(s.closed() == 0);
    stuck.open();
    REQUIRE(s.await(site::close, 2));
    CHECK(at_rest(s) == none{});
}

TEST_CASE("a stuck dial that fails after its pool has gone frees the pool", "[race]") {
    script s;
    gate stuck;
    s.next(site::open, outcome::fail(cenote::error_class::refused).after(stuck), 1);
    auto token = std::make_shared<int>(0); // held by a hook, which lives in the core
    const std::weak_ptr<int> alive = token;
    {
        cenote::pool db{scripted{s}, background_thread{.max_dials = 2, .patience = 1ms}, bounded{.max = 2},
                        cenote::on_acquire{[token](auto&) { (void)token; }}};
        token.reset();
        CHECK_FALSE(db.try_acquire());
        REQUIRE(stuck.await(1));
    }
    CHECK_FALSE(alive.expired());
    stuck.open();
    const auto by = cenote::deadline::in(10s);
    while (!alive.expired() && !by.expired()) std::this_thread::sleep_for(200us);
    CHECK(alive.expired());
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("case-C9: a lease or pool moved to itself is what it was", "[race]", EVERY_VARIANT) {
    script s;
    {
        cenote::pool db{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 2}};
        auto lease = db.acquire(10s);
        auto& same = lease;
        const auto id = lease->id();
        lease = std::move(same);
        REQUIRE(lease);
        CHECK(lease->id() == id);
        CHECK(db.stats().used == 1);

        auto& same_pool = db;
        db = std::move(same_pool);
        CHECK(db.stats().used == 1);
        auto second = db.acquire(10s);
        second = std::move(lease); // gives its own back first
        CHECK(second->id() == id);
        CHECK_FALSE(lease); // NOLINT(bugprone-use-after-move): empty is what it must be
        lease.give_back();
        CHECK(db.stats().used == 1);
    }
    CHECK(at_rest(s) == none{});
}

TEMPLATE_TEST_CASE("case-C8: a closed pool refuses, and takes back", "[race]", EVERY_VARIANT) {
    script s;
    {
        cenote::pool db{scripted{s}, typename TestType::waiting{}, typename TestType::keeping{}, typename TestType::locking{}, bounded{.max = 3, .ceiling = 5}, cenote::never_cut{}, cenote::counters{}};
        auto lease = db.acquire(10s);
        auto other = db.acquire(10s);
        auto third = db.acquire(10s);
        third.give_back();
        const auto report = db.close(cenote::deadline::in(1ms));
        CHECK_FALSE(report.drained);
        CHECK(report.still_out == 2);
        std::error_code why;
        CHECK_FALSE(db.acquire(1s, why));
        CHECK(why == errc::pool_closed);
        CHECK_FALSE(db.try_acquire());
        CHECK_THROWS_AS(db.acquire(), cenote::error);
        CHECK_THROWS_AS(db.with([](auto&) {}), cenote::error);
        db.suspend();
        db.resume();
        db.resize(5);
        (void)db.maintain();
        CHECK_FALSE(db.try_acquire());
        CHECK_FALSE(db.acquire(0s, why));
        CHECK(why == errc::pool_closed);
        lease->use();
        lease.give_back();
        other.discard();
        const auto end = db.close(cenote::deadline::in(10s));
        CHECK(end.drained);
        CHECK(end.still_out == 0);
        const auto now = db.stats();
        CHECK(now.total == 0);
        CHECK(now.opened == 3);
        CHECK(now.closed == 3);
        CHECK(db.template get<cenote::counters>().closed_for(cenote::close_reason::shutdown) == 2);
        CHECK(db.template get<cenote::counters>().closed_for(cenote::close_reason::discarded) == 1);
    }
    CHECK(at_rest(s) == none{});
}
