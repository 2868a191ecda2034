// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Everything at once, on one pool from its first connection to its last: threads do with leases whatever can be done with one, work and
// hooks throw, connections are lost, and another thread changes, renews, trims, suspends and resizes the pool. Every lease and every
// connection is accounted for. (random.cpp has more pools, which are closed and replaced meanwhile.)
//
// CENOTE_TORTURE_OPS sets how many operations each pool has.
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>
#include <cenote/view.hpp>

#include "race/crowd.hpp"
#include "race/variants.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::bounded;
using cenote::errc;
using steady = std::chrono::steady_clock;

namespace {

constexpr unsigned size = 4, ceiling = 6, workers = 5;

std::uint64_t operations() {
    const char* const text = std::getenv("CENOTE_TORTURE_OPS");
    return text == nullptr ? 100'000 : std::strtoull(text, nullptr, 10);
}
std::uint32_t roll(std::uint32_t n) {
    thread_local std::minstd_rand dice{std::random_device{}()};
    return static_cast<std::uint32_t>(dice()) % n;
}

struct no_exception {}; // is no std::exception

/// A hook that throws now and then, as long as it may.
struct moody {
    std::atomic<bool>* calm;
    void operator()(const auto&...) const {
        if (calm->load(std::memory_order_relaxed) || roll(300) != 0) return;
        if (roll(2) == 0) throw no_exception{};
        throw std::runtime_error{"thrown by a hook"};
    }
};

/// Keeps the books, from the sinks' side.
struct books {
    using family = cenote::family::metrics;
    struct page {
        std::atomic<std::uint64_t> acquired{0}, opened{0}, closed{0}, detached{0}, leaks{0}, leaks_back{0}, renewals{0};
    };
    std::shared_ptr<page> at = std::make_shared<page>();
    void on_acquired(const cenote::acquired_event&) const { ++at->acquired; }
    void on_opened(const cenote::opened_event&) const { ++at->opened; }
    void on_closed(const cenote::closed_event&) const { ++at->closed; }
    void on_detached() const { ++at->detached; }
    void on_leak(const cenote::lease_info&) const { ++at->leaks; }
    void on_leak_returned(const cenote::lease_info&) const { ++at->leaks_back; }
    void on_refreshed(const cenote::refreshed_event&) const { ++at->renewals; }
};

template <class V>
auto make(const script& s, const books& b, std::atomic<bool>& calm) {
    const moody m{&calm};
    const auto with = [&](auto... more) {
        return cenote::pool{scripted{s}, typename V::waiting{}, typename V::keeping{}, typename V::locking{}, bounded{.min_idle = 1, .max = size, .ceiling = ceiling},
                            cenote::acquire_timeout{5ms}, cenote::max_uses{40}, cenote::max_lifetime{20ms, 0.5}, cenote::idle_timeout{5ms}, cenote::keepalive{.every = 2ms},
                            cenote::refresh_every{.period = 30ms, .over = 10ms}, cenote::leak_threshold{2ms}, cenote::deferred<cenote::reset_always>{}, cenote::peek_after{.idle = 0ms},
                            cenote::counters{}, b, cenote::report_nested{}, cenote::cut_at_close{0s}, cenote::live_settings{}, cenote::clock::steady{}, cenote::on_connect{m},
                            cenote::on_acquire{m}, cenote::on_give_back{m}, cenote::on_close{m}, more...};
    };
    if constexpr (V::keeping::threads) return with(cenote::backoff{.first = 1us, .max = 20us}, cenote::no_breaker{});
    else return with();
}

template <class Pool>
class torture {
    using lease = typename Pool::lease;
    using any = cenote::any_lease<scripted_connection>;

public:
    torture(Pool& db, script s, std::atomic<bool>& calm) : db_{&db}, script_{std::move(s)}, calm_{&calm} {}

    void run(std::uint64_t wanted) {
        const auto by = steady::now() + 5s + std::chrono::milliseconds{wanted / 5};
        {
            crowd all;
            for (unsigned i = 0; i < workers; ++i) all.add(i, [this](unsigned) { step(); });
            while (ops < wanted && steady::now() < by) disturb();
        }
        db_->resume();
        *calm_ = true;
        for (auto& kept : kept_) kept.what.reset();
    }
    void wrong(std::string what) {
        const std::scoped_lock lock{m_};
        if (complaints.size() < 10) complaints.push_back(std::move(what));
    }

    std::atomic<std::uint64_t> ops{0}, got{0}, detached{0};
    none complaints;

private:
    struct pocket {
        std::mutex m;
        std::optional<lease> what;
    };

    void judge(std::error_code why) {
        const bool possible = why == errc::acquire_timeout || why == errc::cancelled || why == errc::connect_failed || why == errc::connect_timeout ||
                              why == errc::validation_failed || why == errc::hook_failed || why == errc::pool_suspended; // of those who do not wait
        if (!possible) wrong("an acquire failed with: " + why.message());
    }
    void check(scripted_connection& c) {
        ++got;
        if (!c.pristine()) wrong("a lease did not start clean");
        const auto hold = c.hold();
        c.use();
    }

    lease acquire() {
        std::error_code why;
        const std::chrono::microseconds budget{roll(400)};
        switch (roll(7)) {
        case 0: return db_->try_acquire();
        case 1: return db_->acquire();
        case 2: return db_->acquire(budget);
        case 3: return db_->acquire(cenote::deadline::in(budget));
        case 4: {
            cenote::failure f;
            auto l = db_->acquire(budget, f);
            if (!l) (void)f.text().size(), judge(f.code);
            return l;
        }
        case 5: {
            std::stop_token token;
            {
                const std::scoped_lock lock{m_};
                token = source_.get_token();
            }
            auto l = db_->acquire(5ms, token, why);
            if (!l) judge(why);
            return l;
        }
        default: {
            auto l = db_->acquire(0s, why);
            if (!l) judge(why);
            return l;
        }
        }
    }

    /// What becomes of a lease.
    void end(lease l) {
        switch (roll(14)) {
        case 0: l.discard(); break;
        case 1: l.discard(cenote::error_class::disconnected); break;
        case 2:
            if (roll(4) != 0) break;
            l->mark_detached();
            ++detached;
            (void)l.detach();
            break;
        case 3:
        case 4: { // kept for long, and ended by somebody else
            pocket& p = kept_[roll(static_cast<std::uint32_t>(kept_.size()))];
            const std::scoped_lock lock{p.m};
            std::optional<lease> mine{std::move(l)};
            p.what.swap(mine);
            break;
        }
        case 5: l->begin(); break;
        case 6: l->leave_busy(); break;
        case 7: l->set("x"); break;
        case 8: {
            any erased{std::move(l)};
            erased.tag("erased");
            any moved = std::move(erased);
            moved.give_back();
            moved.give_back();
            break;
        }
        case 9:
            l.give_back();
            l.give_back();
            l.discard();
            break;
        default: break;
        }
    }

    void step() {
        ++ops;
        try {
            if (roll(8) == 0) {
                db_->with(std::chrono::microseconds{roll(400)}, [this](scripted_connection& c) {
                    check(c);
                    switch (roll(4)) {
                    case 0: throw no_exception{};
                    case 1: throw cenote::driver_error{cenote::error_class::disconnected, "says the work"};
                    default: break;
                    }
                });
                return;
            }
            auto l = acquire();
            if (!l) {
                if (roll(4) == 0) std::this_thread::yield();
                return;
            }
            l.tag("tortured");
            try {
                check(*l);
            } catch (const cenote::driver_error&) { // it was lost
                l.discard(cenote::error_class::disconnected);
                return;
            }
            end(std::move(l));
        } catch (const cenote::error& e) {
            judge(e.code());
        } catch (const std::exception&) { // from a hook, of a lost connection, of the work
        } catch (const no_exception&) {
        }
    }

    void disturb() {
        std::this_thread::sleep_for(std::chrono::microseconds{roll(200)});
        switch (roll(15)) {
        case 0: db_->resize(1 + roll(ceiling)); break;
        case 1: db_->invalidate_all(); break;
        case 2: db_->invalidate_all(std::chrono::microseconds{1 + roll(3000)}); break;
        case 3:
            db_->suspend();
            std::this_thread::sleep_for(std::chrono::microseconds{roll(300)});
            if (roll(3) == 0) db_->resize(1 + roll(ceiling));
            db_->resume();
            break;
        case 4: db_->reconfigure(bounded{.min_idle = roll(2), .max = 1 + roll(ceiling), .ceiling = ceiling}, cenote::max_uses{1 + roll(80)}); break;
        case 5: {
            auto all = db_->settings();
            all.template get<cenote::leak_threshold>().after = std::chrono::microseconds{1 + roll(4000)};
            all.template get<cenote::idle_timeout>().after = std::chrono::microseconds{1 + roll(9000)};
            all.template get<cenote::refresh_every>() = {.period = std::chrono::milliseconds{1 + roll(50)}, .over = 1ms};
            db_->reconfigure(all);
            break;
        }
        case 6: (void)db_->trim(); break;
        case 7: (void)db_->trim([](const scripted_connection& c) noexcept { return c.id() % 2 == 0; }); break;
        case 8: (void)db_->maintain(); break;
        case 9: (void)db_->warm_up(1, cenote::deadline::in(std::chrono::microseconds{roll(500)})); break;
        case 10: script_.lose(script_.opened() - roll(4)); break;
        case 11: {
            const std::scoped_lock lock{m_};
            source_.request_stop();
            source_ = {};
            break;
        }
        case 12: {
            pocket& p = kept_[roll(static_cast<std::uint32_t>(kept_.size()))];
            const std::scoped_lock lock{p.m};
            p.what.reset();
            break;
        }
        case 13: (void)db_->inspect(); break;
        default: {
            const auto s = db_->stats();
            if (s.idle + s.used + s.opening + s.closing + s.resetting != s.total) wrong("the gauges do not add up");
            if (s.total > ceiling) wrong("more connections than the ceiling");
            (void)db_->ready();
            break;
        }
        }
    }

    Pool* db_;
    script script_;
    std::atomic<bool>* calm_;
    std::mutex m_;
    std::stop_source source_;
    std::array<pocket, 2> kept_;
};

} // namespace

#if !RACES_ARE_SEEN
#define TORTURED (variant<cenote::eventually_fair, cenote::background_thread, cenote::lock_free>), (variant<cenote::strictly_fair, cenote::manual>)
#elif defined(__clang__)
#define TORTURED (variant<cenote::strictly_fair, cenote::manual>)
#else
#define TORTURED (variant<cenote::eventually_fair, cenote::background_thread, cenote::lock_free>)
#endif

TEMPLATE_TEST_CASE("torture: every lease and every connection is accounted for, whatever is done to the pool meanwhile", "[race][torture][inv-1][inv-2][inv-3][inv-4][inv-8]", TORTURED) {
    script s;
    s.limit(ceiling);
    const books b;
    std::atomic<bool> calm{false};
    {
        auto db = make<TestType>(s, b, calm);
        torture<decltype(db)> t{db, s, calm};
        t.run(operations());
        db.reconfigure(bounded{.max = size, .ceiling = ceiling}, cenote::max_uses{1'000'000}, cenote::max_lifetime{1h}, cenote::idle_timeout{1h});
        db.resize(size); // what it has set stays when the limits that are named are the same
        auto held = hold_all(db, size, [](auto& from, std::error_code& why) { return from.acquire(1s, why); });
        CHECK(held.size() == size);
        const auto now = db.stats();
        INFO("idle " << now.idle << ", used " << now.used << ", opening " << now.opening << ", closing " << now.closing << ", resetting " << now.resetting << ", max " << now.max);
        CHECK_FALSE(db.try_acquire());
        t.got += held.size();
        held.clear();
        CHECK(t.complaints == none{});
        CHECK(db.stats().pending == 0);
        CHECK(db.close(cenote::deadline::in(10s)).drained);
        const auto end = db.stats();
        CHECK(end.leases == t.got);
        CHECK(b.at->acquired == t.got);
        CHECK(end.opened == end.closed + end.detached);
        CHECK(b.at->opened == end.opened);
        CHECK(b.at->closed == end.closed);
        CHECK(end.detached == t.detached);
        CHECK(b.at->detached == t.detached);
        CHECK(b.at->leaks_back <= b.at->leaks); // one that comes back in the very moment is told of once
        CHECK(s.opened() == end.opened);
        CHECK(t.got > t.ops / 10);
        std::printf("random: torture: %llu operations, %llu leases, %llu opened, %llu detached, %llu suspected leaks, %llu renewals\n", static_cast<unsigned long long>(t.ops.load()),
                    static_cast<unsigned long long>(t.got.load()), static_cast<unsigned long long>(end.opened), static_cast<unsigned long long>(end.detached),
                    static_cast<unsigned long long>(end.leaks), static_cast<unsigned long long>(b.at->renewals.load()));
    }
    CHECK(at_rest(s) == none{});
}
