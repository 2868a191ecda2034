// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Random operations from many threads on a pool that is resized, suspended, closed and replaced meanwhile, over a driver that
// fails at random. The invariants are looked at all the time and at the end.
//
// CENOTE_RACE_SEED repeats the dice (not the schedule), CENOTE_RACE_OPS sets how many operations each test case has.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>

#include "variants.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <random>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::background_thread;
using cenote::errc;
using cenote::manual;
using steady = std::chrono::steady_clock;
using none = std::vector<std::string>;

namespace {

#if RACES_ARE_SEEN
constexpr std::uint64_t default_operations = 36'000;
#else
constexpr std::uint64_t default_operations = 21'000;
#endif

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::atomic<std::uint64_t> seeds{0};
/// Each thread has its own dice.
std::uint32_t roll(std::uint32_t n) {
    thread_local std::minstd_rand dice{static_cast<std::uint32_t>(seeds.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed) >> 32)};
    return static_cast<std::uint32_t>(dice()) % n;
}

std::atomic<bool> hooks_throw{false};
struct no_exception {}; // is no std::exception
void perhaps_throw() {
    if (!hooks_throw.load(std::memory_order_relaxed) || roll(200) != 0) return;
    if (roll(2) == 0) throw no_exception{};
    throw std::runtime_error{"thrown by a hook"};
}

/// Says what goes wrong, from any thread; a little of it.
class complaints {
public:
    void say(std::string what) {
        const std::scoped_lock lock{m_};
        if (all_.size() < 10) all_.push_back(std::move(what));
    }
    [[nodiscard]] none all() {
        const std::scoped_lock lock{m_};
        return all_;
    }

private:
    std::mutex m_;
    none all_;
};

// ── the pools ────────────────────────────────────────────────────────────────────────────────────────────────────────────

constexpr unsigned capacity = 4;

struct bounded_size {
    static constexpr bool resizes = true;
    static auto policy() { return cenote::bounded{.min_idle = 1, .max = capacity, .ceiling = capacity + 2}; }
};
struct overflow_size {
    static constexpr bool resizes = true;
    static auto policy() { return cenote::overflow{2, capacity - 2}; }
};
struct fixed_size {
    static constexpr bool resizes = false;
    static auto policy() { return cenote::fixed<capacity>{}; }
};

template <class W, class K, class S, class L = cenote::with_mutex<>>
struct setup {
    using size = S;
    /// Without a lock the order is the nearest connection first.
    using order = std::conditional_t<std::is_same_v<L, cenote::with_mutex<>>, cenote::fifo, cenote::lifo>;
    static constexpr bool resets_all = std::is_same_v<W, cenote::eventually_fair>;

    static auto make(const script& s) {
        const auto connect = cenote::on_connect{[](auto&) { perhaps_throw(); }};
        const auto acquire = cenote::on_acquire{[](auto&) { perhaps_throw(); }};
        const auto give_back = cenote::on_give_back{[](auto&) { perhaps_throw(); }};
        const auto build = [&](auto... more) {
            if constexpr (std::is_same_v<K, background_thread>) {
                return cenote::pool{scripted{s}, W{}, K{}, L{}, S::policy(), cenote::acquire_timeout{20ms}, cenote::cut_at_close{0s}, cenote::counters{}, connect, acquire, give_back,
                                    cenote::backoff{.first = 1us, .max = 50us}, more...};
            } else {
                return cenote::pool{scripted{s}, W{}, K{}, L{}, S::policy(), cenote::acquire_timeout{20ms}, cenote::cut_at_close{0s}, cenote::counters{}, connect, acquire, give_back, more...};
            }
        };
        if constexpr (std::is_same_v<W, cenote::strictly_fair>) {
            return build(order{}, cenote::deferred{cenote::reset_if_dirty{}}, cenote::peek_after{.idle = 0ms}, cenote::max_uses{50}, cenote::leak_threshold{1ms},
                         cenote::clock::steady{});
        } else if constexpr (resets_all) {
            return build(cenote::lifo{}, cenote::background{cenote::reset_always{}}, cenote::pre_ping_after{.idle = 1ms}, cenote::max_lifetime{5ms, 0.5},
                         cenote::idle_timeout{2ms}, cenote::clock::steady{});
        } else {
            return build(cenote::lifo{}, cenote::at_return{cenote::reset_if_dirty{}}, cenote::pre_ping{}, cenote::report_nested{});
        }
    }
    using pool_type = decltype(make(std::declval<script&>()));
};

// ── the storm ────────────────────────────────────────────────────────────────────────────────────────────────────────────

template <class Setup>
class storm {
    using pool_type = typename Setup::pool_type;
    using lease_type = typename pool_type::lease;
    static constexpr bool embedded = pool_type::core_type::cfg::embedded;
    static constexpr unsigned workers = 5;

    /// A lease, and where it may not outlive its pool, that too.
    struct held {
        std::shared_ptr<pool_type> db;
        lease_type lease;
    };

public:
    explicit storm(std::uint64_t operations) : wanted_{operations} { replace(); }

    void run(std::chrono::milliseconds at_most) {
        std::vector<std::jthread> threads;
        for (unsigned i = 0; i < workers; ++i) threads.emplace_back([this, i] { work(i); });
        std::jthread watcher{[this] { watch(); }};
        const auto until = steady::now() + at_most;
        while (ops_.load() < wanted_ && steady::now() < until) disturb();
        calm_down();
        over_ = true;
        threads.clear();
        watcher.join();
        for (auto& p : parked_) p.what.reset();
        now_.reset();
        const auto by = steady::now() + 10s;
        for (const script& s : scripts_) { // a thread that was left to itself may need a moment
            while (!s.violations_at_end().empty() && s.violations().empty() && steady::now() < by) std::this_thread::sleep_for(200us);
            for (const auto& line : s.violations_at_end()) wrong_.say("script: " + line);
            opened_ += s.opened();
        }
    }

    void report(const char* name) {
        std::printf("random: %s: %llu operations, %llu acquired, %zu pools, %llu opened, worst overrun %.1f ms, worst give back %.1f ms\n", name,
                    static_cast<unsigned long long>(ops_.load()), static_cast<unsigned long long>(got_.load()), scripts_.size(),
                    static_cast<unsigned long long>(opened_), static_cast<double>(overrun_.load()) / 1e6, static_cast<double>(give_back_.load()) / 1e6);
        CHECK(wrong_.all() == none{});
        CHECK(got_ > ops_ / 20);
        CHECK(overrun_.load() < std::chrono::nanoseconds{1s}.count());
    }

private:
    std::shared_ptr<pool_type> current() {
        const std::scoped_lock lock{m_};
        return now_;
    }
    script script_now() {
        const std::scoped_lock lock{m_};
        return scripts_.back();
    }

    /// Every second pool has a driver that fails. The other scripts say nothing: then the driver orders no threads.
    void misbehave(script& s, bool yes) {
        hooks_throw = yes;
        if (yes) {
            for (int i = 0; i < 100; ++i) s.next(site::rollback_start, outcome::would_block()).next(site::rollback_start, outcome::ok(), roll(8));
        } else {
            s.clear(site::rollback_start);
        }
        for (const site where : {site::open, site::ping, site::rollback, site::reset, site::reset_finish}) {
            if (!yes) {
                s.clear(where);
                continue;
            }
            s.on(where, [where](const call&) {
                if (roll(25) != 0) return;
                if (where == site::open && roll(4) == 0) throw cenote::driver_error{cenote::error_class::auth, "wrong password"};
                if (roll(4) == 0) throw 1;
                throw cenote::driver_error{cenote::error_class::refused, "at random"};
            });
        }
    }

    void replace() {
        script s;
        s.limit(Setup::size::policy().bounds().ceiling);
        misbehave(s, scripts_.size() % 2 == 1);
        auto fresh = std::shared_ptr<pool_type>{new pool_type(Setup::make(s))};
        const std::scoped_lock lock{m_};
        now_.swap(fresh);
        scripts_.push_back(s);
        generation_.fetch_add(1);
    }

    static void most(std::atomic<std::int64_t>& seen, std::chrono::nanoseconds d) {
        auto was = seen.load(std::memory_order_relaxed);
        while (d.count() > was && !seen.compare_exchange_weak(was, d.count(), std::memory_order_relaxed)) {}
    }

    void judge(std::error_code why) {
        if (!why) return wrong_.say("an acquire failed without saying why");
        const auto code = static_cast<errc>(why.value());
        const bool possible = code == errc::acquire_timeout || code == errc::cancelled || code == errc::pool_closed || code == errc::connect_failed ||
                              code == errc::connect_timeout || code == errc::validation_failed || code == errc::hook_failed ||
                              (code == errc::breaker_open && pool_type::core_type::cfg::threads) ||
                              code == errc::pool_suspended; // of those who do not wait
        if (!possible) wrong_.say("an acquire failed with: " + why.message());
    }

    lease_type acquire(pool_type& db, unsigned me) {
        const auto began = steady::now();
        std::chrono::nanoseconds budget{};
        lease_type lease;
        std::error_code why;
        try {
            switch (roll(8)) {
            case 0:
                lease = db.acquire(0s, why);
                if (!lease) judge(why);
                break;
            case 1: {
                cenote::failure f;
                budget = std::chrono::microseconds{roll(50)};
                lease = db.acquire(budget, f);
                if (!lease) (void)f.text().size(), judge(f.code);
                break;
            }
            case 2:
                budget = 20ms;
                lease = db.acquire();
                break;
            case 3: {
                budget = std::chrono::microseconds{roll(2000)};
                std::stop_source source;
                {
                    const std::scoped_lock lock{sources_[me].m};
                    sources_[me].what = source;
                }
                lease = db.acquire(cenote::deadline{began + budget}, source.get_token(), why);
                if (!lease) judge(why);
                break;
            }
            case 4:
                budget = 2ms;
                db.with(budget, [](auto& c) { c.use(); });
                break;
            case 5:
            case 6: lease = db.try_acquire(); break;
            default:
                budget = std::chrono::microseconds{roll(200)};
                lease = db.acquire(budget);
                break;
            }
        } catch (const cenote::error& e) {
            judge(e.code());
        } catch (const cenote::driver_error&) { // a lost connection was used
        } catch (...) {                         // from a hook
        }
        most(overrun_, steady::now() - began - budget);
        if (lease) {
            got_.fetch_add(1, std::memory_order_relaxed);
            if (!lease->pristine()) wrong_.say("a lease did not start clean");
        }
        return lease;
    }

    void work(unsigned me) {
        std::vector<std::unique_ptr<held>> mine;
        std::shared_ptr<pool_type> db;
        std::uint64_t seen = 0;
        while (!over_.load(std::memory_order_relaxed)) {
            if (pause_.load(std::memory_order_relaxed)) {
                mine.clear();
                ++paused_;
                while (pause_.load()) std::this_thread::sleep_for(50us);
                --paused_;
                continue;
            }
            if (const auto g = generation_.load(std::memory_order_relaxed); g != seen) {
                seen = g;
                db = current(); // may be what ends the last pool
            }
            ops_.fetch_add(1, std::memory_order_relaxed);
            if (mine.empty() || (mine.size() < 2 && roll(4) == 0)) {
                if (auto lease = acquire(*db, me)) mine.push_back(std::make_unique<held>(embedded ? db : nullptr, std::move(lease)));
                else if (roll(8) == 0) std::this_thread::sleep_for(20us);
                else std::this_thread::yield();
                continue;
            }
            lease_type& lease = mine.back()->lease;
            try {
                switch (roll(12)) {
                case 0:
                case 1: {
                    const auto hold = lease->hold();
                    lease->use();
                    break;
                }
                case 2: lease->begin(); break;
                case 3: lease->fail_transaction(); break;
                case 4: lease->leave_busy(); break;
                case 5:
                    if (Setup::resets_all) lease->set("x");
                    break;
                case 6: {
                    parking& p = parked_[roll(static_cast<std::uint32_t>(parked_.size()))];
                    const std::scoped_lock lock{p.m};
                    p.what.swap(mine.back());
                    break;
                }
                case 7:
                    lease.discard();
                    break;
                case 8:
                    if (roll(4) == 0) {
                        lease->mark_detached();
                        (void)lease.detach();
                    }
                    break;
                default: {
                    const auto began = steady::now();
                    lease.give_back();
                    most(give_back_, steady::now() - began);
                }
                }
            } catch (const cenote::driver_error&) {
                lease.discard(); // it was lost
            }
            std::erase_if(mine, [](const auto& h) { return h == nullptr || !h->lease; });
        }
    }

    /// What holds at every instant.
    void watch() {
        std::uint64_t seen = 0, epoch = 1;
        cenote::pool_stats last{};
        std::shared_ptr<pool_type> db;
        while (!over_.load(std::memory_order_relaxed)) {
            const auto g = generation_.load(std::memory_order_relaxed);
            const std::uint64_t before = resizes_.load();
            if (g != seen) {
                db = current();
                last = {};
                seen = g;
                epoch = 1; // it may have been made smaller while the one before was looked at
            }
            const auto now = db->stats();
            const std::uint64_t after = resizes_.load();
            if (now.idle + now.used + now.opening + now.closing + now.resetting != now.total) wrong_.say("the gauges do not add up");
            // After the limit was lowered there may be more for a while, but never more again.
            const bool steady_limit = before == after && before % 2 == 0 && before == epoch;
            if (steady_limit && now.total > now.max && now.total > std::max(last.total, now.max)) {
                wrong_.say("more connections than the limit: " + std::to_string(now.total) + " of " + std::to_string(now.max));
            }
            if (now.total > Setup::size::policy().bounds().ceiling) wrong_.say("more connections than the ceiling");
            last = now;
            epoch = after;
            const auto seen_leases = db->inspect();
            if (seen_leases.leases.size() > Setup::size::policy().bounds().ceiling) wrong_.say("more leases than connections");
            std::this_thread::sleep_for(50us);
        }
    }

    void resize() {
        if constexpr (Setup::size::resizes) {
            resizes_.fetch_add(1);
            now_->resize(1 + roll(Setup::size::policy().bounds().ceiling));
            resizes_.fetch_add(1);
        }
    }

    void disturb() {
        std::this_thread::sleep_for(std::chrono::microseconds{roll(400)});
        script s = script_now();
        if (parking& p = parked_[roll(static_cast<std::uint32_t>(parked_.size()))]; roll(3) == 0) {
            const std::scoped_lock lock{p.m};
            p.what.reset();
        }
        switch (roll(20)) {
        case 0:
        case 1:
        case 2: resize(); break;
        case 3:
        case 4:
            now_->suspend();
            std::this_thread::sleep_for(std::chrono::microseconds{roll(500)});
            if (roll(3) == 0) resize();
            now_->resume();
            break;
        case 5:
        case 6:
        case 7: (void)now_->maintain(); break;
        case 8:
        case 9: s.lose(s.opened() - roll(6)); break;
        case 10:
            if (roll(4) == 0) s.lose_all();
            break;
        case 11:
        case 12:
        case 13: {
            auto& source = sources_[roll(workers)];
            const std::scoped_lock lock{source.m};
            source.what.request_stop();
            break;
        }
        case 14:
            if (roll(3) == 0) calm_down();
            break;
        case 15:
            if (roll(3) != 0) break;
            if (roll(2) == 0) { // two at once
                std::jthread other{[db = current()] { (void)db->close(cenote::deadline::in(std::chrono::microseconds{roll(2000)})); }};
                (void)now_->close(cenote::deadline::in(std::chrono::microseconds{roll(2000)}));
            }
            replace();
            break;
        case 16:
            if (roll(3) == 0) replace(); // without a word
            break;
        default: break;
        }
    }

    /// Nothing is lost: with everybody away, all that there may be can be had.
    void calm_down() {
        pause_ = true;
        while (paused_.load() != workers) std::this_thread::sleep_for(20us);
        for (auto& p : parked_) p.what.reset();
        script s = script_now();
        misbehave(s, false);
        now_->resume();
        {
            std::vector<lease_type> all;
            const auto max = now_->stats().max;
            for (std::uint64_t i = 0; i < max; ++i) {
                std::error_code why;
                all.push_back(now_->acquire(10s, why));
                // A dial that began to fail before the driver was told to behave may still tell those who wait.
                for (int again = 0; again < 3 && why == errc::connect_failed; ++again) all.back() = now_->acquire(10s, why);
                if (!all.back()) {
                    const auto st = now_->stats();
                    wrong_.say("of " + std::to_string(max) + " connections only " + std::to_string(i) + " can be had: " + why.message() + ", idle " +
                               std::to_string(st.idle) + ", used " + std::to_string(st.used) + ", opening " + std::to_string(st.opening) + ", closing " +
                               std::to_string(st.closing) + ", resetting " + std::to_string(st.resetting));
                    break;
                }
            }
            if (now_->try_acquire()) wrong_.say("more leases than connections");
            const auto st = now_->stats();
            if (st.pending != 0) wrong_.say("somebody waits who has gone");
        }
        misbehave(s, scripts_.size() % 2 == 0);
        pause_ = false;
    }

    struct parking {
        std::mutex m;
        std::unique_ptr<held> what;
    };
    struct stopping {
        std::mutex m;
        std::stop_source what;
    };

    std::uint64_t wanted_;
    std::mutex m_;
    std::shared_ptr<pool_type> now_; ///< written under the mutex by the main thread alone
    std::vector<script> scripts_;    ///< one for each pool
    std::array<parking, 2> parked_;
    std::array<stopping, workers> sources_;
    std::atomic<std::uint64_t> generation_{0}, resizes_{0}, ops_{0}, got_{0};
    std::atomic<std::int64_t> overrun_{0}, give_back_{0};
    std::atomic<unsigned> paused_{0};
    std::atomic<bool> pause_{false}, over_{false};
    std::uint64_t opened_ = 0;
    complaints wrong_;
};

template <class Setup>
void weather(const char* name) {
    const std::uint64_t seed = from_environment("CENOTE_RACE_SEED", std::random_device{}());
    seeds = seed << 16;
    std::printf("random: %s: CENOTE_RACE_SEED=%llu\n", name, static_cast<unsigned long long>(seed));
    const std::uint64_t wanted = from_environment("CENOTE_RACE_OPS", default_operations);
    auto s = std::make_unique<storm<Setup>>(wanted);
    s->run(3s + std::chrono::milliseconds{wanted / 20});
    s->report(name);
}
} // namespace

#define STORM(W, K, S) \
    TEST_CASE("random operations: " #W ", " #K ", " #S, "[race][inv-1][inv-2][inv-3][inv-8]") { weather<setup<cenote::W, K, S>>(#W ", " #K ", " #S); }

#if !RACES_ARE_SEEN || !defined(__clang__)
STORM(strictly_fair, background_thread, bounded_size)
STORM(strictly_fair, manual, overflow_size)
STORM(eventually_fair, background_thread, overflow_size)
STORM(eventually_fair, manual, fixed_size)
STORM(barging, manual, bounded_size)
STORM(barging, background_thread, overflow_size)
STORM(barging, manual, fixed_size)
#endif
#if !RACES_ARE_SEEN || defined(__clang__)
STORM(strictly_fair, manual, bounded_size)
STORM(strictly_fair, background_thread, overflow_size)
STORM(strictly_fair, manual, fixed_size)
STORM(eventually_fair, background_thread, bounded_size)
STORM(eventually_fair, manual, bounded_size)
STORM(eventually_fair, manual, overflow_size)
STORM(barging, background_thread, bounded_size)
STORM(barging, manual, overflow_size)
#endif

#define STORM_WITHOUT_LOCK(L, W, K, S) \
    TEST_CASE("random operations: " #L ", " #W ", " #K ", " #S, "[race][inv-1][inv-2][inv-3][inv-8]") { weather<setup<cenote::W, K, S, cenote::L>>(#L ", " #W ", " #K ", " #S); }

#if !RACES_ARE_SEEN || !defined(__clang__)
STORM_WITHOUT_LOCK(lock_free, strictly_fair, background_thread, overflow_size)
STORM_WITHOUT_LOCK(lock_free, barging, manual, fixed_size)
STORM_WITHOUT_LOCK(thread_affine, eventually_fair, manual, overflow_size)
#endif
#if !RACES_ARE_SEEN || defined(__clang__)
STORM_WITHOUT_LOCK(lock_free, strictly_fair, manual, bounded_size)
STORM_WITHOUT_LOCK(lock_free, eventually_fair, background_thread, bounded_size)
STORM_WITHOUT_LOCK(thread_affine, strictly_fair, background_thread, bounded_size)
#endif

// ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

namespace {
/// A folder that goes with its object.
struct temporary_folder {
    std::filesystem::path path = [] {
        std::string name = (std::filesystem::temp_directory_path() / "cenote-race-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::system_error{errno, std::generic_category(), name};
        return std::filesystem::path{name};
    }();
    temporary_folder() = default;
    temporary_folder(const temporary_folder&) = delete;
    temporary_folder& operator=(const temporary_folder&) = delete;
    ~temporary_folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
};

bool run_sql(sqlite3* h, const char* sql) { return sqlite3_exec(h, sql, nullptr, nullptr, nullptr) == SQLITE_OK; }

long count_rows(sqlite3* h, const char* kind) {
    const std::string sql = std::string{"SELECT count(*) FROM t WHERE kind = '"} + kind + "'";
    sqlite3_stmt* st = nullptr;
    long n = -1;
    if (sqlite3_prepare_v2(h, sql.c_str(), -1, &st, nullptr) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) n = static_cast<long>(sqlite3_column_int64(st, 0));
    sqlite3_finalize(st);
    return n;
}

template <class Keeping, class Reset>
void sqlite_weather(const char* name) {
    const std::uint64_t seed = from_environment("CENOTE_RACE_SEED", std::random_device{}());
    seeds = seed << 16;
    std::printf("random: sqlite, %s: CENOTE_RACE_SEED=%llu\n", name, static_cast<unsigned long long>(seed));
    const std::uint64_t wanted = from_environment("CENOTE_RACE_OPS", default_operations) / 10;
    const temporary_folder folder;
    complaints wrong;
    std::atomic<std::uint64_t> ops{0}, committed{0}, left_open{0};
    {
        cenote::pool db{cenote::sqlite{{.file = (folder.path / "race.db").string(), .synchronous = cenote::sqlite::sync_mode::off}}, Keeping{}, Reset{},
                        cenote::bounded{.max = 4, .ceiling = 6}, cenote::max_uses{100}, cenote::counters{}};
        REQUIRE(run_sql(db.acquire(10s).native_handle(), "CREATE TABLE t(kind TEXT)"));
        std::vector<std::jthread> threads;
        for (unsigned i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                while (ops.fetch_add(1, std::memory_order_relaxed) < wanted) {
                    std::error_code why;
                    auto lease = roll(4) == 0 ? db.acquire(std::chrono::microseconds{roll(300)}, why) : db.acquire(10s, why);
                    if (!lease) {
                        const bool possible = why == errc::acquire_timeout || why == errc::validation_failed || why == errc::pool_suspended || why == errc::connect_timeout;
                        if (!possible) wrong.say("acquire: " + why.message());
                        continue;
                    }
                    sqlite3* const h = lease.native_handle();
                    if (sqlite3_get_autocommit(h) == 0) wrong.say("a lease began inside a transaction");
                    switch (roll(8)) {
                    case 0:
                        if (run_sql(h, "BEGIN IMMEDIATE; INSERT INTO t VALUES('kept'); COMMIT")) committed.fetch_add(1);
                        break;
                    case 1:
                        if (run_sql(h, "BEGIN IMMEDIATE; INSERT INTO t VALUES('leaked')")) left_open.fetch_add(1);
                        break;
                    case 2: (void)run_sql(h, "BEGIN; SELECT count(*) FROM t"); break;
                    case 3:
                        if (roll(10) == 0) lease.discard();
                        break;
                    case 4:
                        if (roll(10) == 0) {
                            auto own = lease.detach();
                            db.driver().close(own);
                        }
                        break;
                    default:
                        if (count_rows(h, "leaked") != 0) wrong.say("what was left open was committed");
                    }
                }
            });
        }
        while (ops.load() < wanted) {
            std::this_thread::sleep_for(std::chrono::microseconds{roll(2000)});
            switch (roll(4)) {
            case 0: db.resize(2 + roll(5)); break;
            case 1:
                db.suspend();
                std::this_thread::sleep_for(std::chrono::microseconds{roll(300)});
                db.resume();
                break;
            default: (void)db.maintain();
            }
            const auto now = db.stats();
            if (now.total > 6) wrong.say("more connections than the ceiling");
        }
        threads.clear();
        db.resize(4);
        (void)db.maintain();
        std::vector<decltype(db.acquire())> all;
        for (int i = 0; i < 4; ++i) all.push_back(db.acquire(10s));
        CHECK(count_rows(all[0].native_handle(), "leaked") == 0);
        CHECK(count_rows(all[0].native_handle(), "kept") == static_cast<long>(committed.load()));
        all.clear();
        const auto end = db.close(cenote::deadline::in(10s));
        CHECK(end.drained);
        const auto got = db.stats();
        CHECK(got.opened == got.closed + got.detached);
        std::printf("random: sqlite, %s: %llu operations, %llu committed, %llu left open, %llu opened\n", name, static_cast<unsigned long long>(ops.load()),
                    static_cast<unsigned long long>(committed.load()), static_cast<unsigned long long>(left_open.load()),
                    static_cast<unsigned long long>(got.opened));
        CHECK(left_open > 0);
    }
    CHECK(wrong.all() == none{});
}
} // namespace

TEST_CASE("random operations: SQLite, cleaned in the background", "[race]") {
    sqlite_weather<background_thread, cenote::background<cenote::reset_if_dirty>>("background_thread");
}
TEST_CASE("random operations: SQLite, cleaned at return", "[race]") { sqlite_weather<manual, cenote::at_return<cenote::reset_if_dirty>>("manual"); }
