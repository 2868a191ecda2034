// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// A policy of the user's own in every family that takes one, each as short as it can be.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;

namespace mine {
namespace family = cenote::family;
using cenote::duration;
using cenote::time_point;

/// As many connections as the machine has cores.
struct per_core {
    using family = family::sizing;
    static constexpr unsigned embedded = 0;
    [[nodiscard]] static cenote::limits bounds() noexcept {
        const unsigned n = std::thread::hardware_concurrency() + 1;
        return {.keep = n, .max = n, .ceiling = n};
    }
};

/// Fair after a while that may be changed while the pool runs.
struct fair_after {
    using family = family::waiting;
    static constexpr bool waits = true, reads_time = true;
    static constexpr unsigned max_waiters = 100;
    const std::atomic<duration::rep>* after;
    [[nodiscard]] bool hand_over(duration waited) const noexcept { return waited.count() >= after->load(); }
};

/// At most 512 leases, then until the connection has been idle for a while.
struct worn_out {
    using family = family::age;
    using needs = cenote::facts<cenote::use_count, cenote::last_used>;
    static constexpr bool at_checkout = false, at_return = false, while_idle = true;
    static constexpr cenote::close_reason reason = cenote::close_reason::custom;
    [[nodiscard]] bool expired(const auto& facts, time_point now) const noexcept { return facts.uses > 512 && now - facts.used > 1s; }
    [[nodiscard]] time_point due(const auto& facts) const noexcept { return facts.uses > 512 ? facts.used + 1s : time_point::max(); }
};

/// A fact of one's own, and a limit that reads it.
struct failures {
    unsigned failed = 0;
    void on_open(const cenote::open_event&) noexcept { failed = 0; }
};
struct three_strikes {
    using family = family::age;
    using needs = cenote::facts<failures>;
    static constexpr bool at_checkout = false, at_return = true, while_idle = false;
    static constexpr cenote::close_reason reason = cenote::close_reason::custom;
    [[nodiscard]] static bool expired(const auto& facts) noexcept { return facts.failed >= 3; }
};

/// Pings every sixteenth checkout.
struct ping_now_and_then {
    using family = family::validation;
    using needs = cenote::facts<cenote::use_count>;
    static constexpr bool peeks = false, pings = true;
    [[nodiscard]] static cenote::probe choose(const auto& facts) noexcept { return facts.uses % 16 == 0 ? cenote::probe::ping : cenote::probe::none; }
    [[nodiscard]] static duration limit() noexcept { return 250ms; }
};

/// Resets fully what was left dirty, and trusts the rest.
struct reset_what_is_dirty {
    using family = family::reset;
    static constexpr bool reads_state = true, resets = true, executes = false;
    [[nodiscard]] static cenote::cleanup choose(cenote::session_state s) noexcept {
        return s == cenote::session_state::idle ? cenote::cleanup::none : cenote::cleanup::reset;
    }
};

/// A sink that hears of two things, and one that lives elsewhere.
struct gauge {
    using family = family::metrics;
    std::atomic<long>* out;
    void on_acquired() noexcept { ++*out; }
    void on_returned() noexcept { --*out; }
};
struct histogram {
    using family = family::metrics;
    void on_waited(duration d) { ++buckets[d > 1ms ? 1 : 0]; }
    void on_refused(const cenote::refused_event& e) { ++buckets[e.why == cenote::errc::acquire_timeout ? 2 : 3]; }
    std::array<int, 4> buckets{};
};

/// A clock that counts seconds of one's own.
struct ticks {
    using family = family::clock;
    const std::atomic<std::int64_t>* seconds;
    [[nodiscard]] time_point now() const noexcept { return time_point{std::chrono::seconds{seconds->load()}}; }
};

/// Another mutex, and a whole locking policy.
struct spin {
    void lock() noexcept { while (taken.test_and_set(std::memory_order_acquire)) std::this_thread::yield(); }
    void unlock() noexcept { taken.clear(std::memory_order_release); }
    std::atomic_flag taken = ATOMIC_FLAG_INIT;
};
struct spinning {
    using family = family::locking;
    using sync = cenote::detail::real_sync<spin, cenote::detail::os::portable_parker>;
    static constexpr bool threads = true;
    template <class Order>
    using idle_set = cenote::detail::idle_locked<Order, sync>;
};

/// Budgets, connecting and names are open, too.
struct short_budget {
    using family = family::budget;
    [[nodiscard]] static duration budget() noexcept { return 3s; }
};
struct quick_connect {
    using family = family::connecting;
    using kind = cenote::kind::connect_timeout;
    [[nodiscard]] static duration limit() noexcept { return 1s; }
};
struct same_pause {
    using family = family::connecting;
    using kind = cenote::kind::backoff;
    [[nodiscard]] static duration pause(unsigned, double) noexcept { return 1s; }
};
struct host_name {
    using family = family::name;
    [[nodiscard]] static std::string_view view() noexcept { return "here"; }
};

/// A circuit breaker whose limit may be changed while the pool runs.
struct fuse {
    using family = family::connecting;
    using kind = cenote::kind::breaker;
    const std::atomic<unsigned>* failures;
    [[nodiscard]] unsigned limit() const noexcept { return failures->load(); }
};

/// Writers now, readers after a switch.
struct changing_role {
    using family = family::role;
    static constexpr bool checks = true;
    const std::atomic<cenote::server_role>* role;
    [[nodiscard]] cenote::server_role wanted() const noexcept { return role->load(); }
};

/// Tests what nobody has used for a while, and remembers nothing.
struct once_in_a_while {
    using family = family::keepalive;
    using needs = cenote::facts<cenote::last_used>;
    static constexpr bool tests = true;
    duration every = 1min;
    [[nodiscard]] time_point due(const auto& facts) const noexcept { return facts.used + every; }
    [[nodiscard]] static duration limit() noexcept { return 1s; }
};

/// Cuts, and waits for nobody.
struct cut_at_once {
    using family = family::cutting;
    static constexpr bool cuts = true;
    static constexpr duration grace = duration::zero();
};

/// A profile, and one with a choice in it.
struct batch {
    using family = family::profile;
    [[nodiscard]] static auto policies() { return cenote::bundle{per_core{}, cenote::manual{}, cenote::no_acquire_timeout{}, cenote::max_uses{1000}}; }
};
struct tier {
    using family = family::profile;
    unsigned size = 4;
    [[nodiscard]] auto policies() const { return cenote::bundle{cenote::bounded{.max = size}, short_budget{}, quick_connect{}}; }
};
} // namespace mine

int all_of_them() {
    static std::atomic<cenote::duration::rep> after{1000};
    static std::atomic<std::int64_t> seconds{0};
    static std::atomic<unsigned> failures{5};
    static std::atomic<cenote::server_role> role{cenote::server_role::primary};
    std::atomic<long> out{0};
    cenote::pool db{cenote::null{},
                    mine::per_core{},
                    mine::fair_after{&after},
                    mine::worn_out{},
                    mine::three_strikes{},
                    mine::ping_now_and_then{},
                    cenote::at_return{mine::reset_what_is_dirty{}},
                    mine::gauge{&out},
                    mine::histogram{},
                    cenote::counters{},
                    mine::ticks{&seconds},
                    mine::spinning{},
                    mine::short_budget{},
                    mine::quick_connect{},
                    mine::same_pause{},
                    mine::fuse{&failures},
                    mine::changing_role{&role},
                    mine::once_in_a_while{},
                    mine::cut_at_once{},
                    mine::host_name{}};
    using cfg = decltype(db)::core_type::cfg;
    static_assert(std::is_same_v<cfg::ages, cenote::detail::list<mine::worn_out, mine::three_strikes, cenote::max_lifetime, cenote::idle_timeout>>);
    static_assert(std::is_same_v<cfg::many<cenote::family::connecting>, cenote::detail::list<mine::quick_connect, mine::same_pause, mine::fuse>>);
    static_assert(std::is_same_v<cfg::sinks, cenote::detail::list<mine::gauge, mine::histogram, cenote::counters>>);
    auto lease = db.acquire();
    lease.give_back();
    db.maintain();
    db.close(cenote::deadline::in(1s));
    return db.get<mine::histogram>().buckets[0];
}

int alone(cenote::any_pool auto&& db) {
    auto lease = db.try_acquire();
    return lease ? lease->mark : 0;
}
int one_by_one() {
    return alone(cenote::pool{cenote::null{}, mine::per_core{}}) + alone(cenote::pool{cenote::null{}, mine::reset_what_is_dirty{}}) +
           alone(cenote::pool{cenote::null{}, mine::batch{}}) + alone(cenote::pool{cenote::null{}, mine::tier{8}, cenote::fifo{}}) +
           alone(cenote::pool{cenote::null{}, cenote::profile::bare<2>{}, mine::three_strikes{}}) +
           alone(cenote::pool{cenote::null{}, cenote::with_mutex<mine::spin>{}}) + alone(cenote::pool{cenote::null{}, cenote::with_mutex<std::shared_mutex>{}}) +
           alone(cenote::pool{cenote::null{}, cenote::fixed<2>{}, mine::spinning{}, mine::histogram{}});
}

// What a policy holds need not be copyable.
int only_moved() {
    cenote::pool db{cenote::null{}, cenote::manual{},
                    cenote::on_connect{[mark = std::make_unique<int>(3)](cenote::null::connection& c) { c.mark = *mark; }},
                    cenote::on_close{[last = std::make_unique<int>(0)](cenote::null::connection& c, cenote::close_reason) mutable { *last = c.mark; }},
                    cenote::on_give_back{[](auto& c) { c.mark = 0; }},
                    cenote::on_leak{[told = std::make_unique<int>(0)](const cenote::lease_info&) mutable { ++*told; }}, cenote::leak_threshold{1s}};
    auto moved = std::move(db);
    cenote::pool bundled{cenote::null{}, cenote::bundle{cenote::on_acquire{[mark = std::make_unique<int>(3)](cenote::null::connection& c) { c.mark = *mark; }}}};
    return moved.acquire()->mark + bundled.acquire()->mark;
}
