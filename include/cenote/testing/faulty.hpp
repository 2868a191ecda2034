// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/detail/judge.hpp>
#include <cenote/driver.hpp>
#include <cenote/session/statement.hpp>
#include <cenote/testing/manual_clock.hpp>
#include <cenote/testing/script.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

/// Faults for a driver that works: `faulty` wraps it, `faults` says what goes wrong.
namespace cenote::testing {

/// What an injected fault throws when it throws a driver_error: its class stays what the test said, whatever the wrapped driver's
/// `classify` makes of strangers.
class injected_error : public driver_error {
public:
    using driver_error::driver_error;
};

/// What was done to the calls of one site, or of all.
struct fault_counts {
    std::size_t calls = 0;    ///< made, also while stopped
    std::size_t hit = 0;      ///< with any fault at all
    std::size_t thrown = 0;   ///< that ended with an exception of a fault or a hook
    std::size_t timeouts = 0; ///< of those thrown: whose deadline came before their delay was over
    std::size_t delayed = 0;  ///< that had to wait, if only at a gate
    std::size_t answered = 0; ///< whose answer was made up: peek, state, role, a start that was refused
    std::size_t dropped = 0;  ///< after which the session was lost

    bool operator==(const fault_counts&) const = default;
};

namespace detail {

/// What a connection of `faulty` carries with it. Used by whoever uses the connection, so it needs no lock.
struct fault_mark {
    std::size_t id = 0;
    std::size_t generation = 0;
    bool lost = false;
    bool noticed = false; // by a call, so that `state` shows it
};

template <class C>
concept derivable = std::is_class_v<C> && !std::is_final_v<C>;

/// What `faulty<D>` needs to name even if the driver cannot do it.
template <class D>
struct token_of {
    struct type {};
};
template <can_interrupt D>
struct token_of<D> {
    using type = decltype(std::declval<D&>().interrupter(std::declval<typename D::connection&>()));
};

/// Evenly spread bits, made of a seed and two numbers (splitmix64).
[[nodiscard]] constexpr std::uint64_t scatter(std::uint64_t seed, std::uint64_t a, std::uint64_t b) noexcept {
    std::uint64_t x = seed;
    for (const std::uint64_t more : {a, b}) {
        x += more * 0xd1342543de82ef95U + 0x9e3779b97f4a7c15U;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
        x ^= x >> 31;
    }
    return x;
}

} // namespace detail

/// What `faulty` leases: the wrapped driver's connection, to be used like one; it converts to a reference to it.
///
/// With     what cannot be derived from (a number, a pointer, a final class) is held: `*connection` is the wrapped one.
template <class C>
class faulty_connection : public C {
    friend class faults;
    template <driver D>
    friend class faulty;
    template <can_dial D>
    friend class faulty_dialling;

    faulty_connection(C&& c, const detail::fault_mark& m) : C(std::move(c)), cenote_mark_{m} {}
    [[nodiscard]] C& cenote_inner() noexcept { return *this; }

    detail::fault_mark cenote_mark_; // a name that hides none of C's
};

template <class C>
    requires(!detail::derivable<C>)
class faulty_connection<C> {
public:
    [[nodiscard]] C& operator*() noexcept { return held_; }
    [[nodiscard]] const C& operator*() const noexcept { return held_; }
    [[nodiscard]] C* operator->() noexcept { return std::addressof(held_); }
    [[nodiscard]] const C* operator->() const noexcept { return std::addressof(held_); }
    operator C&() noexcept { return held_; }
    operator const C&() const noexcept { return held_; }

private:
    friend class faults;
    template <driver D>
    friend class faulty;
    template <can_dial D>
    friend class faulty_dialling;

    faulty_connection(C&& c, const detail::fault_mark& m) : held_(std::move(c)), cenote_mark_{m} {}
    [[nodiscard]] C& cenote_inner() noexcept { return held_; }

    C held_;
    detail::fault_mark cenote_mark_;
};

/// What goes wrong in a driver wrapped by `faulty`, and how often it did.
///
/// Shape    `faults f; pool p{faulty{my_driver{…}, f}, …};` then `f.next(site::open, outcome::fail(error_class::refused), 2);`
///          A copy is a second handle to the same, so it may outlive the pool and be outlived.
/// Called   every function from any thread at any time, while the pool runs.
/// Units    delays are real time. With `faults f{the_clock}` nobody sleeps: a manual clock is moved by what the call would have waited, and
///          what its deadline allows is reckoned from the real now, for each call by itself.
/// Cost     a call that nothing was said about takes no lock and allocates nothing.
/// With     the words of `script`: `site` is where, `outcome` is what. `fail`, `throw_std` and the like come instead of the driver's call,
///          and so does a deadline that passes; a delay, a gate and `ok` before it, `then_lost` after it.
/// With     a hook that throws where the driver concept says noexcept ends the program.
/// Errors   as with `script`, and std::invalid_argument also for `until_deadline` where there is no deadline.
class faults : public detail::plans<faults> {
public:
    faults() : s_{std::make_shared<state>()} {}
    /// The clock must outlive every handle. A call that would hang without a deadline throws class `timeout`, and the clock stays.
    explicit faults(manual_clock& c) : faults{} { s_->clock = &c; }

    // What goes wrong: `next`, `always`, `on` and `clear`, and these. For each call what was queued for it, else by chance, else always.

    /// The `n`th call of `s` from now on. Range: 1 to a million, else std::invalid_argument.
    faults& nth(site s, std::size_t n, const outcome& o) {
        if (n < 1 || n > 1'000'000) cenote::detail::bad_value("faults.nth(n)", n, "must be 1 to 1000000");
        auto shared = checked(s, o);
        return tell(s, [&](plan& p) {
            if (p.queue.size() < n) p.queue.resize(n);
            p.queue[n - 1] = std::move(shared);
        });
    }
    /// A share of the calls of `s`; may be said several times, for a share of each kind. What a call meets depends on the seed, on `s` and
    /// on how many calls of `s` there were, and on nothing else: threads may race, and a run can be repeated.
    ///
    /// Range    0 to 1, and all shares of a site together at most 1, else std::invalid_argument.
    faults& randomly(site s, double share, const outcome& o) {
        if (!(share >= 0 && share <= 1)) cenote::detail::bad_value("faults.randomly(share)", share, "must be 0 to 1");
        auto shared = checked(s, o);
        return tell(s, [&](plan& p) {
            double all = share;
            for (const chance& c : p.chances) all += c.share;
            if (all > 1 + 1e-9) cenote::detail::bad_value("faults.randomly(share)", share, "must leave all shares of the site at 1 or less");
            p.chances.push_back({share, std::move(shared)});
        });
    }
    /// Default  1.
    faults& seed(std::uint64_t n) noexcept {
        s_->seed.store(n, std::memory_order_relaxed);
        return *this;
    }
    using plans::clear;
    /// Forgets everything said about all. Calls that are being delayed stay so.
    faults& clear() noexcept {
        const std::lock_guard lock{s_->m};
        for (plan& p : s_->plans) p.clear();
        return *this;
    }

    /// Until `start()` every call is the driver's own, and what is scripted waits. Calls that are being delayed go on as the driver's own,
    /// at once. Connections that are lost stay lost; gates stay shut.
    void stop() noexcept {
        const std::lock_guard lock{s_->m};
        s_->stopped.store(true, std::memory_order_relaxed);
        s_->stops.fetch_add(1, std::memory_order_relaxed);
        s_->changed.notify_all();
    }
    void start() noexcept { s_->stopped.store(false, std::memory_order_relaxed); }

    // Sessions. A lost one looks `dead`, and every call that needs it throws class `disconnected` without asking the driver.

    /// What an application's statement does that meets a dead session: marks the connection it was made on, whose `state` is `unknown` from
    /// then on. Call it through the lease: `f.lose(*lease)`.
    template <class C>
    void lose(faulty_connection<C>& c) const noexcept {
        c.cenote_mark_.lost = c.cenote_mark_.noticed = true;
    }
    /// The server restarts: every session that is open now is lost. `state` shows it once a call has met it.
    void lose_all() noexcept { s_->generation.fetch_add(1, std::memory_order_relaxed); }
    template <class C>
    [[nodiscard]] bool is_lost(const faulty_connection<C>& c) const noexcept {
        return is_lost(c.cenote_mark_);
    }

    // What happened.

    [[nodiscard]] fault_counts counts(site s) const noexcept {
        const plan& p = plan_of(s);
        const auto now = [](const counter& c) { return c.load(std::memory_order_relaxed); };
        return {now(p.calls), now(p.hit), now(p.thrown), now(p.timeouts), now(p.delayed), now(p.answered), now(p.dropped)};
    }
    /// The sum over all sites.
    [[nodiscard]] fault_counts counts() const noexcept {
        fault_counts all;
        for (std::size_t i = 0; i < site_count; ++i) {
            const fault_counts one = counts(static_cast<site>(i));
            all.calls += one.calls;
            all.hit += one.hit;
            all.thrown += one.thrown;
            all.timeouts += one.timeouts;
            all.delayed += one.delayed;
            all.answered += one.answered;
            all.dropped += one.dropped;
        }
        return all;
    }

private:
    template <driver D>
    friend class faulty;
    template <can_dial D>
    friend class faulty_dialling;
    friend class detail::plans<faults>;

    using mark = detail::fault_mark;
    using counter = std::atomic<std::size_t>;
    using told = std::shared_ptr<const outcome>; // null: the driver's own

    struct chance {
        double share;
        told what;
    };
    /// In its queue null says: nothing was queued for this one.
    struct plan : detail::site_plan {
        std::vector<chance> chances;
        counter hit{0}, thrown{0}, timeouts{0}, delayed{0}, answered{0}, dropped{0};

        void add(const told& o, std::size_t n) {
            for (auto& place : queue) {
                if (n == 0) break;
                if (place == nullptr) {
                    place = o;
                    --n;
                }
            }
            site_plan::add(o, n);
        }
        void arm() noexcept { armed.store(!queue.empty() || !chances.empty() || otherwise || before, std::memory_order_release); }
        void clear() noexcept {
            chances.clear();
            site_plan::clear();
            arm();
        }
    };
    struct state {
        mutable std::mutex m; // guards the plans' contents; stops changes under it
        std::condition_variable changed;
        std::array<plan, site_count> plans;
        std::atomic<bool> stopped{false};
        std::atomic<std::uint64_t> seed{1};
        counter generation{1}, opened{0}, stops{0};
        manual_clock* clock = nullptr;
    };
    enum class waited : unsigned char { to_its_end, too_long, until_stopped };

    static void count(counter& c) noexcept { c.fetch_add(1, std::memory_order_relaxed); }
    [[nodiscard]] plan& plan_of(site s) const noexcept { return s_->plans[static_cast<std::size_t>(s)]; }

    [[nodiscard]] static constexpr bool has_deadline(site s) noexcept {
        return (may_throw(s) && s != site::interrupter) || s == site::sever;
    }
    static told checked(site s, const outcome& o) {
        const auto refuse = [s](const char* what, const char* rule) {
            throw std::invalid_argument("cenote: faults." + std::string{to_string(s)} + " = " + what + ": must be one that " + rule);
        };
        if (!o.fits(s)) refuse("an outcome of another call", "this call can have");
        if (o.delay_ == duration::max() && !has_deadline(s)) refuse("until_deadline", "ends, for this call has no deadline; see `after`");
        return std::make_shared<const outcome>(o);
    }

    // Connections.

    [[nodiscard]] mark fresh_mark() const noexcept { return {.generation = s_->generation.load(std::memory_order_relaxed)}; }
    void number(mark& m) const noexcept { m.id = s_->opened.fetch_add(1, std::memory_order_relaxed) + 1; }
    [[nodiscard]] bool is_lost(const mark& m) const noexcept {
        return m.lost || m.generation != s_->generation.load(std::memory_order_relaxed);
    }
    void refuse_if_lost(site s, mark& m) const {
        if (!is_lost(m)) return;
        m.noticed = true;
        throw injected_error{error_class::disconnected, std::string{to_string(s)} + ": the session is lost"};
    }
    void drop(site s, mark& m) const noexcept {
        count(plan_of(s).dropped);
        m.lost = true;
    }

    // One call: `begin`, perhaps `wait`, `conclude`. `play` is all of it.

    /// What it meets. Counts it, runs the hook, passes the gate.
    [[nodiscard]] told begin(site s, mark& m, deadline by, std::string_view sql) const {
        plan& p = plan_of(s);
        const std::size_t number = p.calls.fetch_add(1, std::memory_order_release) + 1; // whoever awaits this call can stop it
        if (s_->stopped.load(std::memory_order_relaxed) || !p.armed.load(std::memory_order_acquire)) return nullptr;
        told o;
        std::shared_ptr<const hook> before;
        {
            const std::lock_guard lock{s_->m};
            before = p.before;
            if (!p.queue.empty()) {
                o = std::move(p.queue.front());
                p.queue.pop_front();
                p.arm();
            }
            if (!o) o = by_chance(p, s, number);
            if (!o) o = p.otherwise;
        }
        if (before) throwing(s, m, false, [&] { (*before)(call{s, m.id, number, by, sql}); });
        if (!o) return nullptr;
        const bool waits = o->door_ || o->delay_ > duration::zero();
        if (waits) count(p.delayed);
        if (waits || o->loses_ || o->kind_ != outcome::kind::own) count(p.hit);
        if (o->door_) o->door_->pass();
        return o;
    }
    [[nodiscard]] told by_chance(const plan& p, site s, std::size_t number) const noexcept {
        if (p.chances.empty()) return nullptr;
        const std::uint64_t bits = detail::scatter(s_->seed.load(std::memory_order_relaxed), static_cast<std::uint64_t>(s) + 1, number);
        double left = static_cast<double>(bits >> 11) * 0x1p-53; // 0 … 1, without 1
        for (const chance& c : p.chances) {
            if (left < c.share) return c.what;
            left -= c.share;
        }
        return nullptr;
    }
    [[nodiscard]] std::size_t stops() const noexcept { return s_->stops.load(std::memory_order_relaxed); }
    /// Waits out a delay that ends at `end`, or until there are more stops than there were when the call began.
    [[nodiscard]] waited wait(site s, deadline end, deadline by, std::size_t stops_before) const {
        const deadline first = has_deadline(s) ? end.sooner(by) : end;
        const waited verdict = first < end || first.is_never() ? waited::too_long : waited::to_its_end;
        if (s_->clock) {
            if (!first.is_never()) s_->clock->advance(first.remaining());
            return verdict;
        }
        std::unique_lock lock{s_->m};
        const auto stopped = [&] { return stops() != stops_before; };
        if (first.is_never()) {
            s_->changed.wait(lock, stopped);
            return waited::until_stopped;
        }
        return s_->changed.wait_until(lock, first.at(), stopped) ? waited::until_stopped : verdict;
    }
    /// What comes instead of the driver's call, or after it.
    [[nodiscard]] told conclude(site s, mark& m, told o, waited w) const {
        if (w == waited::until_stopped) return nullptr;
        if (w == waited::too_long && may_throw(s)) {
            count(plan_of(s).timeouts);
            throwing(s, m, o->loses_, [s] { throw driver_error{error_class::timeout, std::string{to_string(s)} + ": deadline passed"}; });
        }
        if (o->throw_) throwing(s, m, o->loses_, o->throw_);
        if (o->kind_ != outcome::kind::own) count(plan_of(s).answered);
        return o;
    }
    [[nodiscard]] told play(site s, mark& m, deadline by = deadline::never(), std::string_view sql = {}) const {
        const std::size_t before = stops();
        told o = begin(s, m, by, sql);
        if (!o) return nullptr;
        const waited w = o->delay_ > duration::zero() ? wait(s, deadline::in(o->delay_), by, before) : waited::to_its_end;
        return conclude(s, m, std::move(o), w);
    }
    /// Lets out what a fault or a hook throws. What is of class `disconnected` takes the session along, as a real one does.
    template <class F>
    void throwing(site s, mark& m, bool loses, const F& f) const {
        const auto note = [&](bool lost_now) {
            count(plan_of(s).thrown);
            if (lost_now && s != site::open && talks(s) && !is_lost(m)) drop(s, m);
            m.noticed = m.noticed || is_lost(m);
        };
        try {
            f();
        } catch (const driver_error& e) {
            note(loses || e.kind() == error_class::disconnected);
            throw injected_error{e.kind(), e.what(), e.native_code(), e.sqlstate(), e.met()};
        } catch (...) {
            note(loses);
            throw;
        }
    }

    template <class Value>
    [[nodiscard]] static Value answer(const told& o, Value own) noexcept { return script::answer(o, own); }
    [[nodiscard]] static bool loses(const told& o) noexcept { return script::loses(o); }
    [[nodiscard]] static duration delay_of(const outcome& o) noexcept { return o.delay_; }

    /// Ends the session after the call, however that ends.
    struct afterwards {
        const faults& f;
        site s;
        mark& m;
        told o;
        ~afterwards() {
            if (loses(o)) f.drop(s, m);
        }
    };
    /// A call on a connection that may fail; `own` is the driver's.
    template <class F>
    void around(site s, mark& m, deadline by, std::string_view sql, F own) const {
        const told o = play(s, m, by, sql);
        refuse_if_lost(s, m);
        const afterwards last{*this, s, m, o};
        own(o);
    }
    /// A call that sends a clean-up. What is sent into a lost session is met by whoever reads the answer.
    template <class F>
    [[nodiscard]] bool starts(site s, mark& m, std::string_view sql, F own) const {
        const afterwards last{*this, s, m, play(s, m, deadline::never(), sql)};
        return !script::refused(last.o) && (is_lost(m) || own());
    }

    std::shared_ptr<state> s_;
};

/// The wrapped driver's `dial`, with the faults of `open`. A delay is something to wait for, not a step that takes long.
template <can_dial D>
class faulty_dialling {
public:
    [[nodiscard]] int descriptor() const noexcept { return inner_ ? inner_->descriptor() : -1; }
    [[nodiscard]] readiness want() const noexcept { return inner_ ? inner_->want() : readiness::read; }
    [[nodiscard]] deadline until() const noexcept { return inner_ ? inner_->until() : end_.sooner(by_); }
    bool step() {
        if (!inner_) {
            if (delayed_) {
                const bool stopped = faults_.stops() != stops_before_;
                if (!stopped && !until().expired()) return false;
                using waited = faults::waited;
                finish(stopped ? waited::until_stopped : by_ < end_ ? waited::too_long : waited::to_its_end);
            }
            inner_.emplace(driver_->dial(by_));
        }
        return inner_->step();
    }
    [[nodiscard]] faulty_connection<typename D::connection> take() {
        faults_.number(mark_);
        return {inner_->take(), mark_};
    }

private:
    template <driver>
    friend class faulty;

    faulty_dialling(D& d, faults f, deadline by)
        : faults_{std::move(f)}, stops_before_{faults_.stops()}, driver_{std::addressof(d)}, by_{by}, mark_{faults_.fresh_mark()} {
        delayed_ = faults_.begin(site::open, mark_, by, {});
        if (!delayed_) return;
        const duration delay = faults::delay_of(*delayed_);
        const bool waits = delay > duration::zero();
        if (waits) end_ = deadline::in(delay);
        if (waits && !faults_.s_->clock) return;
        finish(waits ? faults_.wait(site::open, end_, by, stops_before_) : faults::waited::to_its_end);
    }
    void finish(faults::waited w) {
        const auto o = faults_.conclude(site::open, mark_, std::exchange(delayed_, nullptr), w);
        if (testing::faults::loses(o)) faults_.drop(site::open, mark_);
    }

    faults faults_;
    std::size_t stops_before_;
    D* driver_;
    deadline by_;
    deadline end_{time_point::min()};
    detail::fault_mark mark_;
    faults::told delayed_; // until its time has come
    std::optional<decltype(std::declval<D&>().dial(deadline::never()))> inner_;
};

/// A driver that does what the wrapped one does, but for the faults that a test asks for: to see how an application, with its own
/// driver and a real server or a fake, lives through them.
///
/// Shape    `faults f; pool db{faulty{sqlite{"shop.db"}, f}, …};` then
///          `f.next(site::open, outcome::fail(error_class::refused), 2);`      refused twice, then fine
///          `f.next(site::ping, outcome::until_deadline());`                   nobody answers
///          `f.randomly(site::execute, 0.1, outcome::fail(error_class::serialization));`
///          `f.next(site::reset, outcome::ok().then_lost());`                  works, and was the last thing that did
/// With     it has those refinements that the wrapped driver has and no others, so a pool chooses the same defaults and calls the same
///          functions. Faults of `dial` are those of `site::open`. Closing, and what talks to nobody (`native_handle`, `classify`,
///          `abandon`), always reaches the wrapped driver.
/// With     what an application does through the native handle goes past this: `faults::lose` says what such a statement met, and
///          `fault_proxy` does it to the bytes. Where a connection's type is named, as in `pool_view`, it is `faulty<D>::connection`.
/// Errors   what the wrapped driver throws, and what was injected: see `injected_error`.
/// Cost     a call nothing was said about: one count and a few relaxed loads more; 24 bytes a connection.
template <driver D>
class faulty {
    static_assert(cenote::detail::near_miss<D>() == cenote::detail::rule::none,
                  "cenote: the driver given to faulty<> has a member with the name of a refinement and another signature, which would get "
                  "lost here; give it the signature of cenote/driver.hpp or another name");

public:
    using connection = faulty_connection<typename D::connection>;
    using token = typename detail::token_of<D>::type;

    explicit faulty(D d = D{}, testing::faults f = testing::faults{}) : inner_{std::move(d)}, faults_{std::move(f)} {}

    [[nodiscard]] D& wrapped() noexcept { return inner_; }
    /// A handle to the faults; stays valid when the driver is gone.
    [[nodiscard]] testing::faults faults() const { return faults_; }

    [[nodiscard]] connection open(deadline by) {
        detail::fault_mark m = faults_.fresh_mark();
        if (testing::faults::loses(faults_.play(site::open, m, by))) faults_.drop(site::open, m);
        typename D::connection c = inner_.open(by);
        faults_.number(m);
        return {std::move(c), m};
    }
    void close(connection& c) noexcept {
        (void)faults_.play(site::close, c.cenote_mark_);
        inner_.close(c.cenote_inner());
    }

    [[nodiscard]] liveness peek(connection& c) noexcept
        requires can_peek<D>
    {
        const auto o = faults_.play(site::peek, c.cenote_mark_);
        if (faults_.is_lost(c.cenote_mark_)) return testing::faults::answer(o, liveness::dead);
        return testing::faults::answer(o, inner_.peek(c.cenote_inner()));
    }
    void ping(connection& c, deadline by)
        requires can_ping<D>
    {
        faults_.around(site::ping, c.cenote_mark_, by, {}, [&](auto&) { inner_.ping(c.cenote_inner(), by); });
    }
    [[nodiscard]] session_state state(connection& c) noexcept
        requires can_tell_state<D>
    {
        const auto& m = c.cenote_mark_;
        const auto o = faults_.play(site::state, c.cenote_mark_);
        if (m.noticed && faults_.is_lost(m)) return testing::faults::answer(o, session_state::unknown);
        return testing::faults::answer(o, inner_.state(c.cenote_inner()));
    }
    void rollback(connection& c, deadline by)
        requires can_rollback<D>
    {
        faults_.around(site::rollback, c.cenote_mark_, by, {}, [&](auto&) { inner_.rollback(c.cenote_inner(), by); });
    }
    void reset(connection& c, deadline by)
        requires can_reset<D>
    {
        faults_.around(site::reset, c.cenote_mark_, by, {}, [&](auto&) { inner_.reset(c.cenote_inner(), by); });
    }
    [[nodiscard]] bool reset_start(connection& c) noexcept
        requires can_defer_reset<D>
    {
        return faults_.starts(site::reset_start, c.cenote_mark_, {}, [&] { return inner_.reset_start(c.cenote_inner()); });
    }
    [[nodiscard]] bool rollback_start(connection& c) noexcept
        requires can_defer_rollback<D>
    {
        return faults_.starts(site::rollback_start, c.cenote_mark_, {}, [&] { return inner_.rollback_start(c.cenote_inner()); });
    }
    [[nodiscard]] bool execute_start(connection& c, std::string_view sql) noexcept
        requires can_defer_script<D>
    {
        return faults_.starts(site::execute_start, c.cenote_mark_, sql, [&] { return inner_.execute_start(c.cenote_inner(), sql); });
    }
    void reset_finish(connection& c, deadline by)
        requires can_defer_reset<D>
    {
        faults_.around(site::reset_finish, c.cenote_mark_, by, {}, [&](auto&) { inner_.reset_finish(c.cenote_inner(), by); });
    }
    void execute(connection& c, std::string_view sql, deadline by)
        requires can_execute<D>
    {
        faults_.around(site::execute, c.cenote_mark_, by, sql, [&](auto&) { inner_.execute(c.cenote_inner(), sql, by); });
    }
    /// Faults come with the statement, not with its rows.
    [[nodiscard]] auto query(connection& c, const statement& s, deadline by)
        requires can_query<D>
    {
        std::optional<decltype(inner_.query(c.cenote_inner(), s, by))> rows;
        faults_.around(site::query, c.cenote_mark_, by, s.sql, [&](auto&) { rows.emplace(inner_.query(c.cenote_inner(), s, by)); });
        return *std::move(rows);
    }
    void begin(connection& c, const transaction_options& o, deadline by)
        requires can_transact<D>
    {
        faults_.around(site::begin, c.cenote_mark_, by, {}, [&](auto&) { inner_.begin(c.cenote_inner(), o, by); });
    }
    void commit(connection& c, deadline by)
        requires can_transact<D>
    {
        faults_.around(site::commit, c.cenote_mark_, by, {}, [&](auto&) { inner_.commit(c.cenote_inner(), by); });
    }
    void forget_statements(connection& c) noexcept
        requires can_forget_statements<D>
    {
        inner_.forget_statements(c.cenote_inner());
    }
    [[nodiscard]] decltype(auto) native_handle(connection& c)
        requires has_native_handle<D>
    {
        return inner_.native_handle(c.cenote_inner());
    }
    [[nodiscard]] error_class classify(const std::exception& e) noexcept
        requires can_classify<D>
    {
        if (const auto* own = dynamic_cast<const injected_error*>(&e)) return own->kind();
        return inner_.classify(e);
    }
    [[nodiscard]] auto dial(deadline by)
        requires can_dial<D>
    {
        return faulty_dialling<D>{inner_, faults_, by};
    }
    [[nodiscard]] server_role role(connection& c, deadline by)
        requires can_tell_role<D>
    {
        server_role is = server_role::unknown;
        faults_.around(site::role, c.cenote_mark_, by, {}, [&](const auto& o) {
            is = testing::faults::answer(o, inner_.role(c.cenote_inner(), by)); // a round trip, also if its answer is made up
        });
        return is;
    }

    [[nodiscard]] token interrupter(connection& c)
        requires can_interrupt<D>
    {
        (void)faults_.play(site::interrupter, c.cenote_mark_);
        return inner_.interrupter(c.cenote_inner());
    }
    void cancel(token& t, deadline by)
        requires can_interrupt<D>
    {
        detail::fault_mark nobody = faults_.fresh_mark();
        (void)faults_.play(site::cancel, nobody, by);
        inner_.cancel(t, by);
    }
    void sever(token& t, deadline by) noexcept
        requires can_interrupt<D>
    {
        detail::fault_mark nobody = faults_.fresh_mark();
        (void)faults_.play(site::sever, nobody, by);
        inner_.sever(t, by);
    }
    void abandon(connection& c) noexcept
        requires can_abandon<D>
    {
        inner_.abandon(c.cenote_inner());
    }

private:
    D inner_;
    testing::faults faults_;
};

} // namespace cenote::testing
