// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/bag.hpp>
#include <cenote/detail/config.hpp>
#include <cenote/detail/desk.hpp>
#include <cenote/detail/keeper.hpp>
#include <cenote/detail/renewal.hpp>
#include <cenote/detail/slot.hpp>
#include <cenote/detail/versions.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

namespace cenote::detail {

template <class Driver, class Canonical>
class core;

/// What the shell says to a core. Each lives in the header of its name under detail/shell/.
namespace shell {
template <class Core>
void close_in_place(Core& c, typename Core::slot_type& s, close_reason why) noexcept;
template <class Core>
void do_chore(Core& c, typename Core::slot_type& s) noexcept;
template <class Core>
bool dial_for_waiters(Core& c, auto&& entered, auto&& pause) noexcept;
template <class Core>
time_point scan(Core& c, time_point now) noexcept;
} // namespace shell

/// Where a lease goes that was out when its calm pool was closed: its return is a push like any other, to here.
template <class Idle, class Core>
struct afterlife : Idle {
    Core* owner = nullptr;
};

/// What only pools that open for others, or in several threads, have to remember about connecting.
template <class Sync>
class connect_log {
public:
    void failed(std::shared_ptr<const connect_error> e) noexcept {
        const bool final = !is_retryable(e->kind);
        mutex_.lock();
        last_.swap(e);
        final_ = final;
        ++failures_;
        mutex_.unlock();
    }
    void succeeded() noexcept {
        mutex_.lock();
        final_ = false;
        failures_ = 0;
        mutex_.unlock();
    }
    /// Why the last attempt failed, if it did.
    [[nodiscard]] std::shared_ptr<const connect_error> last() noexcept {
        mutex_.lock();
        auto copy = failures_ != 0 ? last_ : nullptr;
        mutex_.unlock();
        return copy;
    }
    /// Why the last of those that failed did: for who was refused because of it, though another may have succeeded since.
    [[nodiscard]] std::shared_ptr<const connect_error> last_failed() noexcept {
        mutex_.lock();
        auto copy = last_;
        mutex_.unlock();
        return copy;
    }
    [[nodiscard]] unsigned failures() noexcept {
        mutex_.lock();
        const unsigned n = failures_;
        mutex_.unlock();
        return n;
    }

    /// Whether the last attempt failed for a reason that will not pass by itself.
    [[nodiscard]] bool hopeless() noexcept {
        mutex_.lock();
        const bool yes = final_;
        mutex_.unlock();
        return yes;
    }

private:
    typename Sync::mutex mutex_;
    std::shared_ptr<const connect_error> last_;
    unsigned failures_ = 0;
    bool final_ = false;
};

/// A part that this pool does not have. Distinct types, so that none takes a byte.
template <int>
struct absent {};

/// What cuts a connection from another thread, while it is open.
template <class Driver, bool Kept>
struct token_for { using type = no_token; };
template <class Driver>
struct token_for<Driver, true> { using type = std::optional<decltype(std::declval<Driver&>().interrupter(std::declval<typename Driver::connection&>()))>; };

/// The pool itself: driver, policies, desk, slots and housekeeping. Data and who owns what; what is done with it is in shell/.
///
/// On the heap it is owned by the pool object and by every permit that is out: whoever gives up the last of these frees it.
template <class Driver, class... P>
class core<Driver, list<P...>>
    : public desk<typename config<Driver, list<P...>>::idle, typename config<Driver, list<P...>>::waiting,
                  typename config<Driver, list<P...>>::sync, config<Driver, list<P...>>::caller_dials,
                  config<Driver, list<P...>>::sizing::embedded> {
public:
    using cfg = config<Driver, list<P...>>;
    using driver_type = Driver;
    using connection_type = typename Driver::connection;
    using sync = typename cfg::sync;
    using idle_type = typename cfg::idle;
    using waiting_type = typename cfg::waiting;
    using desk_type = desk<idle_type, waiting_type, sync, cfg::caller_dials, cfg::sizing::embedded>;
    using stop_token = typename sync::stop_token;
    static constexpr bool has_chores = !cfg::calm || cfg::works_at_return;
    using mark_type = std::conditional_t<has_chores, chore_mark, no_chore_mark>;
    using doubt_type = std::conditional_t<cfg::heeds_doubt, doubt_mark, no_doubt_mark>;
    using slot_type = slot<idle_type, connection_type, typename cfg::facts, mark_type, doubt_type, typename token_for<Driver, cfg::keeps_tokens>::type,
                           std::conditional_t<cfg::fork_aware, fork_mark, no_fork_mark>>;
    using afterlife_type = afterlife<idle_type, core>;

    /// The values of those policies that reconfigure() may replace.
    using settings_type = typename bag_of<typename cfg::tunable>::type;
    struct tuning {
        settings_type values;
        limits bounds{};
    };

    template <class Source>
    core(Driver d, Source&& source) : driver_{std::move(d)}, values_{source}, tuning_{first_tuning(source)} {
        check_each(values_);
        const limits l = checked_bounds(sizing());
        if (cfg::embedded && l.max != cfg::sizing::embedded) {
            bad_value("sizing.bounds().max", l.max, "must be as many as the policy embeds, which is " + std::to_string(cfg::sizing::embedded));
        }
        this->start(l.keep, l.max, cfg::places(l.ceiling));
        add_slots(l.max);
        if constexpr (cfg::threads) {
            keeper_ = std::make_shared<crew<core>>(*this, housekeeping().max_dials, housekeeping().patience);
            if constexpr (!cfg::live) limits_ = l;
            if (l.min != 0 || l.min_idle != 0) {
                keeper_->start();
                keeper_->poke();
            }
        } else if constexpr (!cfg::embedded && !cfg::live) {
            limits_ = l;
        }
    }
    core(const core&) = delete;
    core& operator=(const core&) = delete;
    ~core() {
        if constexpr (cfg::calm) {
            const afterlife_type* found = nullptr;
            slots_.each([&](slot_type& s) {
                if (s.rehomed) found = static_cast<const afterlife_type*>(s.home);
            });
            delete found;
        }
    }

    // ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    [[nodiscard]] Driver& driver() noexcept { return driver_; }
    /// This process was forked from the one that made the pool. Hot.
    [[nodiscard]] bool forked() const noexcept {
        if constexpr (cfg::fork_aware) return *word_ == 0;
        else return false;
    }
    template <class Policy>
    [[nodiscard]] decltype(auto) get() noexcept {
        if constexpr (contains_v<Policy, typename cfg::tunable>) return tuning_.now().values.template get<Policy>();
        else return values_.template get<Policy>();
    }
    template <class Policy>
    [[nodiscard]] decltype(auto) get() const noexcept {
        if constexpr (contains_v<Policy, typename cfg::tunable>) return tuning_.now().values.template get<Policy>();
        else return values_.template get<Policy>();
    }
    [[nodiscard]] decltype(auto) sizing() const noexcept { return get<typename cfg::sizing>(); }
    [[nodiscard]] decltype(auto) waiting() const noexcept { return get<waiting_type>(); }
    [[nodiscard]] decltype(auto) housekeeping() const noexcept { return get<typename cfg::keeping>(); }
    [[nodiscard]] duration budget() const noexcept { return get<typename cfg::budget>().budget(); }
    [[nodiscard]] std::string_view name() const noexcept { return get<typename cfg::name>().view(); }
    [[nodiscard]] time_point age_now() const noexcept { return get<typename cfg::clock>().now(); }
    /// How long one open may take.
    [[nodiscard]] duration connect_limit() const noexcept {
        return [this]<class... C>(list<C...>) {
            duration limit = duration::max();
            ([&] {
                if constexpr (std::is_same_v<kind_of<C>, kind::connect_timeout>) limit = get<C>().limit();
            }(), ...);
            return limit;
        }(typename cfg::template many<family::connecting>{});
    }
    /// How long the dialler rests after so many failures in a row.
    [[nodiscard]] duration backoff_pause(unsigned failures, double fraction) const noexcept {
        return [&]<class... C>(list<C...>) {
            duration rest = duration::zero();
            ([&] {
                if constexpr (std::is_same_v<kind_of<C>, kind::backoff>) rest = get<C>().pause(failures, fraction);
            }(), ...);
            return rest;
        }(typename cfg::template many<family::connecting>{});
    }
    /// After how many failures in a row those who wait are told; 0: never.
    [[nodiscard]] unsigned connect_attempts() const noexcept {
        return [&]<class... C>(list<C...>) {
            unsigned n = 0;
            ([&] {
                if constexpr (std::is_same_v<kind_of<C>, kind::backoff> && requires(const C& p) { { p.attempts } -> std::convertible_to<unsigned>; }) n = get<C>().attempts;
            }(), ...);
            return n;
        }(typename cfg::template many<family::connecting>{});
    }
    /// After how many nobody is made to wait any more; 0: never.
    [[nodiscard]] unsigned breaks_after() const noexcept {
        return [&]<class... C>(list<C...>) {
            unsigned n = 0;
            ([&] {
                if constexpr (std::is_same_v<kind_of<C>, kind::breaker>) n = get<C>().limit();
            }(), ...);
            return n;
        }(typename cfg::template many<family::connecting>{});
    }
    /// The breaker is open, and nothing is out that could come back.
    [[nodiscard]] bool fails_fast() noexcept {
        if constexpr (cfg::threads) {
            const unsigned limit = breaks_after();
            return limit != 0 && log_.failures() >= limit && this->barren();
        } else {
            return false;
        }
    }
    [[nodiscard]] auto& keeper() noexcept {
        if constexpr (cfg::threads) return *keeper_;
        else return keeper_;
    }
    /// Keeps housekeeping alive for a call after the last touch of the core.
    [[nodiscard]] auto hold_keeper() noexcept {
        if constexpr (cfg::threads) return keeper_;
        else return keeper_.hold();
    }
    [[nodiscard]] auto& slots() noexcept { return slots_; }
    [[nodiscard]] auto& renewing() noexcept { return renewal_; }
    [[nodiscard]] auto& log() noexcept { return log_; }
    static constexpr bool keeps_log = !cfg::calm;
    /// Opens another connection before an old one goes, for `min_idle` and `min`.
    static constexpr bool replaces_early = !cfg::embedded && cfg::age::while_idle;

    [[nodiscard]] unsigned min_idle() const noexcept {
        if constexpr (cfg::embedded) return 0;
        else return bounds().min_idle;
    }
    [[nodiscard]] unsigned min() const noexcept {
        if constexpr (cfg::embedded) return 0;
        else return bounds().min;
    }
    /// How many the dialler is to keep: for those idle ones that will soon have to go there are others already.
    [[nodiscard]] unsigned wanted_idle() const noexcept { return min_idle() == 0 ? 0 : min_idle() + going(); }
    [[nodiscard]] unsigned wanted_open() const noexcept { return min() == 0 ? 0 : min() + going(); }
    void set_going(unsigned n) noexcept {
        if constexpr (replaces_early) going_.store(n, std::memory_order_relaxed);
    }
    [[nodiscard]] const limits& bounds() const noexcept
        requires(!cfg::embedded)
    {
        if constexpr (cfg::live) return tuning_.now().bounds;
        else return limits_;
    }

    [[nodiscard]] settings_type settings() const
        requires(cfg::live)
    {
        return tuning_.now().values;
    }
    /// Replaces the settings by what `change` makes of a copy of them, or throws and leaves them. Whether the limits are others.
    template <class Change>
    bool tune(Change&& change)
        requires(cfg::live)
    {
        const std::scoped_lock one_at_a_time{change_}; // from the reading on: else one of two changes at once would be lost
        const limits was = tuning_.now().bounds;
        tuning fresh{change(settings_type{tuning_.now().values}), was};
        check_each(fresh.values);
        if constexpr (!cfg::embedded && contains_v<typename cfg::sizing, typename cfg::tunable>) fresh.bounds = checked_bounds(fresh.values.template get<typename cfg::sizing>());
        const limits l = fresh.bounds;
        if constexpr (requires(const idle_type& i) { i.room(); }) {
            if (cfg::places(l.ceiling) > idle_type::room()) {
                bad_value("sizing.bounds().ceiling", l.ceiling, "must be at most " + std::to_string(idle_type::room() / cfg::places(1)) +
                          ", for which the pool's locking policy has made room; construct the pool with the largest ceiling it may ever need, or with_mutex");
            }
        }
        typename versions<tuning>::draft made{std::move(fresh)};
        if (!cfg::embedded) add_slots(l.max);
        tuning_.publish(std::move(made));
        if (l == was) return false;
        if constexpr (!cfg::embedded) this->limit(l.keep, l.max);
        return true;
    }

    /// 32 random bits. Called when a connection is opened, never on a hot path.
    [[nodiscard]] std::uint32_t random() noexcept {
        std::uint64_t z = 0;
        if constexpr (keeps_log) {
            z = seed_.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed) + 0x9e3779b97f4a7c15U;
        } else {
            z = static_cast<std::uint64_t>(clock::steady::now().time_since_epoch().count());
        }
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
    }
    /// Connections being cleaned, or waiting for it.
    void count_resetting(int by) noexcept {
        if constexpr (cfg::resets) resetting_.fetch_add(static_cast<unsigned>(by), std::memory_order_relaxed);
    }
    [[nodiscard]] unsigned resetting() const noexcept {
        if constexpr (cfg::resets) return resetting_.load(std::memory_order_relaxed);
        else return 0;
    }
    void swallow() noexcept {
        if constexpr (has_chores) swallowed_.fetch_add(1, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t swallowed() const noexcept {
        if constexpr (has_chores) return swallowed_.load(std::memory_order_relaxed);
        else return 0;
    }

    /// Makes slots until there are enough for n connections. One caller at a time.
    void add_slots(unsigned n) {
        n = cfg::places(n);
        if (n <= slots_.size() && !(cfg::embedded && n == slots_.size())) return;
        slots_.add(cfg::embedded ? n : n - slots_.size(), [this](slot_type* first, unsigned count) {
            for (unsigned i = 0; i < count; ++i) first[i].home = this;
            this->add_vacant(first, count);
        });
    }

    [[nodiscard]] static core& of(slot_type& s) noexcept {
        if constexpr (cfg::calm) {
            if (s.rehomed) return *static_cast<afterlife_type*>(s.home)->owner;
        }
        return *static_cast<core*>(s.home);
    }
    [[nodiscard]] static slot_type& slot_of(link& l) noexcept { return static_cast<slot_type&>(l); }

    // ── what the crew calls ──────────────────────────────────────────────────────────────────────────────────────────

    bool keep_dial(auto&& entered, auto&& pause) noexcept { return shell::dial_for_waiters(*this, entered, pause); }
    void keep_chore(link& l) noexcept { shell::do_chore(*this, slot_of(l)); }
    void let_go() noexcept {
        if (this->unpin()) delete this;
    }
    [[nodiscard]] time_point keep_up() noexcept {
        const time_point now = age_now();
        const time_point due = shell::scan(*this, now);
        // The age clock may be a manual one; the thread sleeps by the real one.
        return due == time_point::max() ? due : deadline::after(due - now, clock::steady::now()).at();
    }

    /// Guards resize() and reconfiguration against each other; taken before the desk's lock.
    [[nodiscard]] auto& change_mutex() noexcept { return change_; }
    /// Guards the tokens of all slots; never held in a driver call.
    [[nodiscard]] auto& token_mutex() noexcept { return tokens_; }

private:
    using slots_type = std::conditional_t<cfg::embedded, embedded_slots<slot_type, cfg::sizing::embedded == 0 ? 1 : cfg::sizing::embedded>,
                                          heap_slots<slot_type>>;
    using keeper_type = std::conditional_t<cfg::threads, std::shared_ptr<crew<core>>,
                                           std::conditional_t<has_chores, manual_keeper<sync>, idle_keeper>>;

    [[no_unique_address]] std::conditional_t<cfg::fork_aware, const unsigned*, absent<12>> word_{word_here()};
    [[no_unique_address]] Driver driver_;
    [[no_unique_address]] typename bag_of<typename cfg::constant>::type values_;
    [[no_unique_address]] std::conditional_t<cfg::live, versions<tuning>, absent<8>> tuning_;
    [[no_unique_address]] keeper_type keeper_;
    [[no_unique_address]] std::conditional_t<keeps_log, connect_log<sync>, absent<5>> log_;
    [[no_unique_address]] std::conditional_t<keeps_log, std::atomic<std::uint64_t>, absent<6>> seed_{initial_seed()};
    [[no_unique_address]] std::conditional_t<has_chores, std::atomic<std::uint64_t>, absent<1>> swallowed_{};
    [[no_unique_address]] std::conditional_t<cfg::resets, std::atomic<unsigned>, absent<2>> resetting_{};
    [[no_unique_address]] std::conditional_t<cfg::embedded || cfg::live, absent<3>, limits> limits_{};
    [[no_unique_address]] std::conditional_t<cfg::embedded && !cfg::live, absent<4>, std::mutex> change_;
    [[no_unique_address]] std::conditional_t<cfg::keeps_tokens, std::mutex, absent<7>> tokens_;
    [[no_unique_address]] std::conditional_t<cfg::heeds_doubt, renewal<sync>, absent<9>> renewal_;
    [[no_unique_address]] std::conditional_t<replaces_early, std::atomic<unsigned>, absent<10>> going_{};
    slots_type slots_;

    [[nodiscard]] unsigned going() const noexcept {
        if constexpr (replaces_early) return going_.load(std::memory_order_relaxed);
        else return 0;
    }
    static void check_each(const auto& values) {
        values.each([](const auto& p) {
            if constexpr (requires { p.check(); }) p.check();
        });
    }
    [[nodiscard]] static limits checked_bounds(const auto& sizing) {
        const limits l = sizing.bounds();
        if (l.max < 1 || l.keep > l.max || l.min > l.max || l.min_idle > l.max || l.ceiling < l.max || l.ceiling > most_connections) {
            bad_value("sizing.bounds().max", l.max, "the limits of a sizing policy must satisfy 1 <= max <= ceiling <= 1000000, and min, min_idle and keep at most max");
        }
        return l;
    }
    template <class Source>
    [[nodiscard]] static auto first_tuning([[maybe_unused]] Source&& source) {
        if constexpr (cfg::live) {
            tuning first{settings_type{source}};
            check_each(first.values);
            if constexpr (contains_v<typename cfg::sizing, typename cfg::tunable>) first.bounds = checked_bounds(first.values.template get<typename cfg::sizing>());
            else first.bounds = checked_bounds(source(std::type_identity<typename cfg::sizing>{}));
            return first;
        } else {
            return absent<8>{};
        }
    }
    [[nodiscard]] static auto word_here() {
        if constexpr (cfg::fork_aware) return cfg::forking::word::here();
        else return absent<12>{};
    }
    [[nodiscard]] auto initial_seed() const noexcept {
        if constexpr (keeps_log) {
            return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this)) ^
                   static_cast<std::uint64_t>(clock::steady::now().time_since_epoch().count());
        } else {
            return absent<6>{};
        }
    }
};

} // namespace cenote::detail
