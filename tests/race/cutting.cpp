// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Leases that are cut at the very moment when they end, wait for others, or lose their pool.
#include <cenote/cancel.hpp>
#include <cenote/policy/leak.hpp>
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>

#include "crowd.hpp"

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::bounded;
using cenote::close_reason;

namespace {

unsigned own_stack(void** at, unsigned) noexcept {
    at[0] = at;
    return 1;
}

} // namespace

TEST_CASE("leases are cut while they end in every way, and while the pool is resized, invalidated and closed", "[race][inv-1][inv-2]") {
    constexpr int rounds = 12;
    script s;
    std::atomic<int> wrong{0};
    std::uint64_t cut = 0, ended = 0, lost = 0;
    for (int r = 0; r < rounds; ++r) {
        // Every lease is out too long at once, so each that a scan meets is cut.
        auto p = std::make_unique<cenote::pool<scripted, cenote::with_stack<cenote::close_now>, bounded, cenote::counters, cenote::clock::steady, cenote::pre_ping>>(
            scripted{s}, cenote::with_stack{cenote::close_now{.after = 1ns, .grace = 0ns}, own_stack}, bounded{.max = 3, .ceiling = 4}, cenote::counters{});
        auto& db = *p;
        std::mutex m;
        std::vector<std::remove_reference_t<decltype(db)>::lease> kept;
        {
            crowd all;
            all.add(0, [&](int) {
                (void)db.maintain();
                for (const auto& l : db.suspicious(0ns)) wrong += l.stack.depth <= cenote::stack_depth ? 0 : 1;
                const auto t = db.stats();
                wrong += t.idle + t.used + t.opening + t.closing + t.resetting == t.total ? 0 : 1;
            });
            for (int t = 0; t < 3; ++t) {
                all.add(t, [&](int i) {
                    std::error_code why;
                    auto l = db.acquire(5ms, why);
                    if (!l) return;
                    try {
                        const auto held = l->hold();
                        l->use();
                    } catch (const cenote::driver_error&) { // it was cut
                    }
                    switch (i % 5) {
                    case 0: l.discard(cenote::error_class::disconnected); break;
                    case 1: {
                        l->mark_detached();
                        (void)l.detach();
                        break;
                    }
                    case 2: {
                        const std::scoped_lock lock{m};
                        if (kept.size() < 2) kept.push_back(std::move(l));
                        break;
                    }
                    default: break;
                    }
                });
            }
            const auto by = cenote::deadline::in(10s);
            for (int i = 0; db.stats().severed < 20 && !by.expired(); ++i) {
                db.resize(i % 2 == 0 ? 4 : 2);
                if (i % 4 == 3) db.invalidate_all();
                const std::scoped_lock lock{m};
                if (i % 3 == 2) kept.clear();
            }
        }
        if (r % 2 == 0) {
            (void)db.close(cenote::deadline::in(1ms));
        } else if (r % 3 == 0) {
            kept.clear();
            db.resize(3);
            std::vector<std::remove_reference_t<decltype(db)>::lease> held; // all of them can be had, though some are cut again meanwhile
            for (int i = 0; i < 3; ++i) held.push_back(db.acquire(30s));
        }
        const auto last = db.stats();
        cut += last.severed;
        ended += db.get<cenote::counters>().closed_for(close_reason::leaked);
        lost += last.validation_failed;
        p.reset();
        kept.clear(); // some outlive their pool
    }
    CHECK(wrong == 0);
    CHECK(cut >= 20 * rounds);
    CHECK(ended <= cut);
    CHECK(lost == 0); // who was not cut has lost nothing
    CHECK(at_rest(s) == none{});
}

TEST_CASE("cancels race with the ends of their leases and of the pool", "[race][case-B13]") {
    constexpr int rounds = 60;
    script s;
    std::atomic<std::size_t> holder{0};
    std::atomic<int> wrong{0};
    s.on(site::cancel, [&](const call& c) { wrong += c.connection == holder ? 0 : 1; });
    for (int r = 0; r < rounds; ++r) {
        auto p = std::make_unique<cenote::pool<scripted, bounded>>(scripted{s}, bounded{.max = 2});
        cenote::cancellable mine{p->acquire(30s)};
        holder = mine->id();
        const auto who = mine.canceller();
        std::vector<std::jthread> others;
        for (int t = 0; t < 2; ++t) others.emplace_back([who] { (void)who.cancel(cenote::deadline::in(30s)); });
        if (r % 4 == 0) p.reset();
        if (r % 3 == 0) mine.give_back();
        else if (r % 3 == 1) (void)mine.release(cenote::deadline::in(30s));
        else mine.discard();
        p.reset();
    }
    CHECK(wrong == 0);
    CHECK(at_rest(s) == none{});
}
