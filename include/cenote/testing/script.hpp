// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

/// What a test writes to say how the scripted driver behaves, and what it reads to see what happened.
/// The driver itself is in testing/scripted.hpp.
namespace cenote::testing {

/// A place where a pool calls its driver.
enum class site : unsigned char {
    open, close, peek, ping, state, rollback, reset, reset_start, rollback_start, execute_start, reset_finish, execute, role, interrupter, cancel, sever,
    query, begin, commit,
};
inline constexpr std::size_t site_count = 19;

[[nodiscard]] constexpr std::string_view to_string(site s) noexcept {
    constexpr std::array<std::string_view, site_count> names{"open",  "close",       "peek",           "ping",          "state",        "rollback",
                                                             "reset", "reset_start", "rollback_start", "execute_start", "reset_finish", "execute",
                                                             "role",  "interrupter", "cancel",         "sever",         "query",        "begin",
                                                             "commit"};
    return names[static_cast<std::size_t>(s)];
}

/// Whether a call there sends a clean-up that `reset_finish` ends.
[[nodiscard]] constexpr bool is_start(site s) noexcept { return s == site::reset_start || s == site::rollback_start || s == site::execute_start; }

/// Whether the driver concept lets a call there throw.
[[nodiscard]] constexpr bool may_throw(site s) noexcept {
    return s != site::close && s != site::peek && s != site::state && s != site::sever && !is_start(s);
}

/// Whether a call there opens the connection or sends something on it, so that it may be the one after which the connection is lost.
[[nodiscard]] constexpr bool talks(site s) noexcept {
    return s != site::interrupter && s != site::cancel && (may_throw(s) || is_start(s));
}

/// One call of the driver, as a hook sees it.
struct call {
    site where;
    std::size_t connection;                ///< its id, counted from 1; 0 in `open`, where there is none yet
    std::size_t number;                    ///< how many calls of this site there were, this one included
    deadline by = deadline::never();       ///< `never` where the call has none
    std::string_view sql{};                ///< only in `execute`, `execute_start` and `query`
};

/// A door that calls of the driver wait at: closed until `open()`, or until it is destroyed, so a test that fails cannot hang.
class gate {
public:
    gate() : door_{std::make_shared<door>()} {}
    ~gate() { open(); }
    gate(const gate&) = delete;
    gate& operator=(const gate&) = delete;

    /// Lets through everybody who waits and everybody who comes later.
    void open() noexcept {
        const std::lock_guard lock{door_->m};
        door_->is_open = true;
        door_->opened.notify_all();
    }
    /// How many calls wait here now.
    [[nodiscard]] std::size_t waiting() const noexcept {
        const std::lock_guard lock{door_->m};
        return door_->waiting;
    }
    /// Waits until `n` calls stand here; false if that did not happen in time.
    [[nodiscard]] bool await(std::size_t n, timeout t = std::chrono::seconds{10}) const {
        const deadline by = deadline::in(t);
        while (waiting() < n) {
            if (by.expired()) return false;
            std::this_thread::sleep_for(std::chrono::microseconds{200});
        }
        return true;
    }

private:
    friend class outcome;
    struct door {
        std::mutex m;
        std::condition_variable opened;
        bool is_open = false;
        std::size_t waiting = 0;

        void pass() {
            std::unique_lock lock{m};
            ++waiting;
            opened.wait(lock, [this] { return is_open; });
            --waiting;
        }
    };
    std::shared_ptr<door> door_;
};

/// What one call of the driver does. Made by the named functions; `after` puts a wait in front of any of them.
class outcome {
public:
    /// What the driver does by itself.
    [[nodiscard]] static outcome ok() { return outcome{}; }
    /// Throws a driver_error. `disconnected` also loses the session, as with a real one.
    [[nodiscard]] static outcome fail(error_class kind, const std::string& text = "scripted failure", int native_code = 0,
                                      const std::string& sqlstate = {}) {
        return throwing([=] { return driver_error{kind, text, native_code, sqlstate}; });
    }
    /// Throws a std::runtime_error that is not a driver_error.
    [[nodiscard]] static outcome throw_std(const std::string& text = "scripted exception") { return throwing([=] { return std::runtime_error{text}; }); }
    /// Throws an int: something that is not a std::exception.
    [[nodiscard]] static outcome throw_int(int v = 42) { return throwing([=] { return v; }); }
    /// Throws a copy of `e`, of whatever type: what a driver of your own throws.
    template <std::copy_constructible E>
    [[nodiscard]] static outcome raise(E e) {
        return throwing([e = std::move(e)] { return e; });
    }
    /// What `peek` answers.
    [[nodiscard]] static outcome see(liveness v) {
        outcome o{kind::liveness};
        o.liveness_ = v;
        return o;
    }
    /// What `state` answers.
    [[nodiscard]] static outcome see(session_state v) {
        outcome o{kind::state};
        o.state_ = v;
        return o;
    }
    /// What `role` answers.
    [[nodiscard]] static outcome see(server_role v) {
        outcome o{kind::role};
        o.role_ = v;
        return o;
    }
    /// `reset_start`, `rollback_start` or `execute_start` answers false: the send would wait.
    [[nodiscard]] static outcome would_block() { return outcome{kind::refusal}; }
    /// Nothing happens until the call's deadline, then it throws class `timeout`: a black hole and a driver that keeps its word.
    [[nodiscard]] static outcome until_deadline() { return outcome{}.after(duration::max()); }

    /// The same, after a delay. A deadline that comes first ends the call there with class `timeout`.
    [[nodiscard]] outcome after(timeout t) const {
        outcome o{*this};
        o.delay_ = t.length();
        return o;
    }
    /// The same, once the gate is open, whatever the deadline says: a stuck call.
    [[nodiscard]] outcome after(const gate& g) const {
        outcome o{*this};
        o.door_ = g.door_;
        return o;
    }
    /// The same, and when the call is over, in whatever way, the session is lost.
    [[nodiscard]] outcome then_lost() const {
        outcome o{*this};
        o.loses_ = true;
        return o;
    }

private:
    friend class script;
    friend class faults;
    enum class kind : unsigned char { own, thrown, liveness, state, role, refusal };

    explicit outcome(kind k = kind::own) noexcept : kind_{k} {}

    /// Each throw makes its own exception: copies of one share a text whose count a thread sanitizer cannot see.
    template <class Make>
    static outcome throwing(Make make) {
        outcome o{kind::thrown};
        o.throw_ = [make = std::move(make)] { throw make(); };
        return o;
    }

    [[nodiscard]] bool fits(site s) const noexcept {
        if (loses_ && !talks(s)) return false;
        switch (kind_) {
        case kind::own: return true;
        case kind::thrown: return may_throw(s);
        case kind::liveness: return s == site::peek;
        case kind::state: return s == site::state;
        case kind::role: return s == site::role;
        case kind::refusal: return is_start(s);
        }
        return false;
    }

    kind kind_;
    liveness liveness_ = liveness::quiet;
    session_state state_ = session_state::idle;
    server_role role_ = server_role::primary;
    std::function<void()> throw_;
    duration delay_ = duration::zero();
    std::shared_ptr<gate::door> door_;
    bool loses_ = false;
};

namespace detail {

/// What is to happen to the calls of one site. A lock guards all but the last two.
struct site_plan {
    std::deque<std::shared_ptr<const outcome>> queue;
    std::shared_ptr<const outcome> otherwise;
    std::shared_ptr<const std::function<void(const call&)>> before;
    std::atomic<bool> armed{false};
    std::atomic<std::size_t> calls{0};

    void add(const std::shared_ptr<const outcome>& o, std::size_t n) { queue.insert(queue.end(), n, o); }
    void arm() noexcept { armed.store(!queue.empty() || otherwise || before, std::memory_order_release); }
    void clear() noexcept {
        queue.clear();
        otherwise.reset();
        before.reset();
        arm();
    }
};

/// The words that `script` and `faults` share, to say what the calls of a driver do. `Self` has the plans, a site_plan or what is made of
/// one for each site, and says with `checked` which outcomes fit.
template <class Self>
class plans {
public:
    using hook = std::function<void(const call&)>;

    /// The next `n` calls of `s` that nothing was queued for.
    ///
    /// Errors   here and wherever an outcome is given: std::invalid_argument when it does not fit the site: a throw where the concept says
    ///          noexcept, a value that another call returns.
    Self& next(site s, const outcome& o, std::size_t n = 1) {
        const auto shared = Self::checked(s, o);
        return tell(s, [&](auto& p) { p.add(shared, n); });
    }
    /// Every call of `s` that nothing else was said about.
    Self& always(site s, const outcome& o) {
        auto shared = Self::checked(s, o);
        return tell(s, [&](auto& p) { p.otherwise = std::move(shared); });
    }
    /// Runs `h` in every call of `s`, before its outcome, without a lock. It may throw anything where the call may throw. An empty one takes
    /// it away.
    Self& on(site s, hook h) {
        auto shared = h ? std::make_shared<const hook>(std::move(h)) : nullptr;
        return tell(s, [&](auto& p) { p.before = std::move(shared); });
    }
    /// Forgets everything said about `s`. A call that is being delayed stays so.
    Self& clear(site s) noexcept {
        return tell(s, [](auto& p) noexcept { p.clear(); });
    }
    /// Waits until `s` was called `n` times in all; false if that did not happen in time.
    [[nodiscard]] bool await(site s, std::size_t n, timeout t = std::chrono::seconds{10}) const {
        const deadline by = deadline::in(t);
        while (static_cast<const Self&>(*this).plan_of(s).calls.load(std::memory_order_acquire) < n) {
            if (by.expired()) return false;
            std::this_thread::sleep_for(std::chrono::microseconds{200});
        }
        return true;
    }

private:
    friend Self;
    plans() = default;

    /// Changes what is said about `s`, under the lock.
    template <class F>
    Self& tell(site s, const F& change) {
        Self& self = static_cast<Self&>(*this);
        const std::lock_guard lock{self.s_->m};
        auto& p = self.plan_of(s);
        change(p);
        p.arm();
        return self;
    }
};

} // namespace detail

/// The script of a scripted driver: says what its calls do, counts them, and keeps a list of what the pool did wrong.
///
/// Shape    `script s; pool p{scripted{s}, …};` A copy is a second handle to the same script, so it may outlive the pool and be outlived.
/// Called   every function from any thread at any time.
/// Cost     a call of the driver that nothing was scripted for takes no lock and allocates nothing, so that the script does not
///          order threads that the pool should have ordered, and a thread sanitizer still sees it.
/// With     a hook that throws where the driver concept says noexcept is recorded as a violation.
class script : public detail::plans<script> {
public:
    script() : s_{std::make_shared<state>()} {}

    // What the calls do: `next`, `always`, `on` and `clear`, and

    /// Ends every delay now running or begun later, as if its time had come.
    void hurry() noexcept { s_->hurry.store(true, std::memory_order_relaxed); }

    /// The server ends session `id`: peek sees it, calls throw class `disconnected`, `state` notices nothing.
    void lose(std::size_t id) noexcept {
        const std::lock_guard lock{s_->m};
        for (session* e : s_->open) {
            if (e->id == id) e->lost.store(true, std::memory_order_relaxed);
        }
    }
    /// The server restarts: every session is lost, and those opened from now on are of the next generation.
    void lose_all() noexcept {
        const std::lock_guard lock{s_->m};
        s_->generation.fetch_add(1, std::memory_order_relaxed);
        for (session* e : s_->open) e->lost.store(true, std::memory_order_relaxed);
    }
    /// From now on an open connection too many is a violation; counts those being opened and closed.
    void limit(std::size_t n) noexcept { s_->limit.store(n, std::memory_order_relaxed); }

    // What happened.

    [[nodiscard]] std::size_t calls(site s) const noexcept { return plan_of(s).calls.load(std::memory_order_relaxed); }
    /// Sessions opened with success; the ids are 1 … opened().
    [[nodiscard]] std::size_t opened() const noexcept { return s_->opened.load(std::memory_order_relaxed); }
    [[nodiscard]] std::size_t closed() const noexcept { return s_->closed.load(std::memory_order_relaxed); }
    [[nodiscard]] std::size_t detached() const noexcept { return s_->detached.load(std::memory_order_relaxed); }
    /// Being opened, open or being closed now; a detached one no longer counts.
    [[nodiscard]] std::size_t open_now() const noexcept { return s_->alive.load(std::memory_order_relaxed); }
    /// Open and not lost: as many as a server would count.
    [[nodiscard]] std::size_t sessions_now() const noexcept {
        const std::lock_guard lock{s_->m};
        std::size_t n = 0;
        for (const session* e : s_->open) n += e->lost.load(std::memory_order_relaxed) ? 0U : 1U;
        return n;
    }
    [[nodiscard]] std::size_t most_open() const noexcept { return s_->most.load(std::memory_order_relaxed); }
    [[nodiscard]] std::size_t generation() const noexcept { return s_->generation.load(std::memory_order_relaxed); }
    /// The statements that `execute` got, and `execute_start` if its answer was read; oldest first.
    [[nodiscard]] std::vector<std::string> executed() const {
        const std::lock_guard lock{s_->m};
        return s_->executed;
    }

    /// What the pool did that no pool may do, a sentence each: one connection in two hands, used after close, closed twice, destroyed
    /// open, used while the answer of a clean-up is on its way, more open than the limit.
    [[nodiscard]] std::vector<std::string> violations() const {
        const std::lock_guard lock{s_->m};
        auto all = s_->violations;
        if (s_->unwritten != 0) all.push_back(std::to_string(s_->unwritten) + " violations could not be written down for want of memory");
        return all;
    }
    /// The same, and what is only wrong once the pool and its leases are gone: a session that was opened and never closed.
    [[nodiscard]] std::vector<std::string> violations_at_end() const {
        auto all = violations();
        if (const auto left = open_now(); left != 0) all.push_back("still open at the end: " + std::to_string(left));
        if (opened() != closed() + detached()) {
            all.push_back("opened " + std::to_string(opened()) + ", but closed " + std::to_string(closed()) + " and detached " +
                          std::to_string(detached()));
        }
        return all;
    }

private:
    friend class scripted_connection;
    friend class scripted_token;
    friend class scripted_base;
    friend class faults;
    friend class detail::plans<script>;

    using plan = detail::site_plan;

    /// One open session. The connection owns it; `state::open` looks at it under the lock.
    struct session {
        std::size_t id = 0;
        std::size_t generation = 0;
        std::atomic<bool> lost{false};
        std::atomic<bool> closed{false};
        std::atomic<bool> detached{false};
        std::atomic<std::thread::id> inside{}; // who is in a call
        std::atomic<std::thread::id> holder{}; // who holds the lease
        // Plain on purpose, and no lock around them: a pool that hands a connection over without ordering the two threads is a data
        // race here, which a thread sanitizer sees.
        unsigned long touched = 0;
        bool in_transaction = false;
        bool failed = false;
        bool busy = false;
        std::optional<site> started; // the clean-up whose answer is due
        std::string sql;             // what execute_start sent
        std::vector<std::string> settings;
    };

    struct state {
        mutable std::mutex m; // guards plans' contents, open, executed, violations, unwritten
        std::array<plan, site_count> plans;
        std::vector<session*> open;
        std::vector<std::string> executed;
        std::vector<std::string> violations;
        std::size_t unwritten = 0;
        std::atomic<bool> hurry{false};
        std::atomic<std::size_t> limit{static_cast<std::size_t>(-1)};
        std::atomic<std::size_t> opened{0}, closed{0}, detached{0}, alive{0}, most{0}, generation{1};
    };

    [[nodiscard]] plan& plan_of(site s) const noexcept { return s_->plans[static_cast<std::size_t>(s)]; }

    static std::shared_ptr<const outcome> checked(site s, const outcome& o) {
        if (!o.fits(s)) {
            throw std::invalid_argument("cenote: script." + std::string{to_string(s)} + " = an outcome of another call: must be one that " +
                                        std::string{to_string(s)} + " can have");
        }
        return std::make_shared<const outcome>(o);
    }

    void blame(std::string_view what, std::size_t id, std::string_view how) const noexcept {
        const std::lock_guard lock{s_->m};
        try {
            std::string line{what};
            if (id != 0) line += " on connection " + std::to_string(id);
            s_->violations.push_back(std::move(line.append(": ").append(how)));
        } catch (...) {
            ++s_->unwritten;
        }
    }

    /// A place for one more session, from the first thought of it.
    void arrive() const noexcept {
        const std::size_t now = s_->alive.fetch_add(1, std::memory_order_relaxed) + 1;
        std::size_t most = s_->most.load(std::memory_order_relaxed);
        while (most < now && !s_->most.compare_exchange_weak(most, now, std::memory_order_relaxed)) {}
        if (now > s_->limit.load(std::memory_order_relaxed)) blame("open", 0, "more connections than the limit are open at once");
    }
    void depart() const noexcept { s_->alive.fetch_sub(1, std::memory_order_relaxed); }

    void enlist(session& e) const {
        e.generation = generation();
        const std::lock_guard lock{s_->m};
        s_->open.push_back(&e);
        e.id = s_->opened.fetch_add(1, std::memory_order_relaxed) + 1;
    }
    void note(std::string_view sql) const {
        const std::lock_guard lock{s_->m};
        s_->executed.emplace_back(sql);
    }
    void strike(session& e) const noexcept {
        const std::lock_guard lock{s_->m};
        std::erase(s_->open, &e);
    }

    /// Counts the call and plays what was scripted for it; null means: what the driver does by itself.
    std::shared_ptr<const outcome> play(site s, std::size_t id, deadline by = deadline::never(), std::string_view sql = {}) const {
        plan& p = plan_of(s);
        const std::size_t number = p.calls.fetch_add(1, std::memory_order_relaxed) + 1;
        if (!p.armed.load(std::memory_order_acquire)) return nullptr;

        std::shared_ptr<const outcome> o;
        std::shared_ptr<const hook> before;
        {
            const std::lock_guard lock{s_->m};
            before = p.before;
            o = p.otherwise;
            if (!p.queue.empty()) {
                o = std::move(p.queue.front());
                p.queue.pop_front();
                p.arm();
            }
        }
        if (before) run(*before, call{s, id, number, by, sql});
        if (!o) return nullptr;
        if (o->door_) o->door_->pass();
        try {
            if (o->delay_ > duration::zero()) delay(s, o->delay_, by);
            if (o->throw_) o->throw_();
        } catch (...) {
            if (o->loses_) script{*this}.lose(id); // by another handle, this one is const
            throw;
        }
        return o;
    }

    void run(const hook& h, const call& c) const {
        if (may_throw(c.where)) return h(c);
        try {
            h(c);
        } catch (...) {
            blame(to_string(c.where), c.connection, "the test's hook threw where the driver concept says noexcept");
        }
    }

    void delay(site s, duration length, deadline by) const {
        const deadline end = deadline::in(length);
        const deadline first = may_throw(s) ? end.sooner(by) : end;
        while (!s_->hurry.load(std::memory_order_relaxed)) {
            const duration left = first.remaining();
            if (left == duration::zero()) break;
            std::this_thread::sleep_for(std::min<duration>(left, std::chrono::milliseconds{1}));
        }
        if (first < end && first.expired()) throw driver_error{error_class::timeout, std::string{to_string(s)} + ": deadline passed"};
    }

    // What was scripted as the answer of a call that returns one, else `own`.
    static liveness answer(const std::shared_ptr<const outcome>& o, liveness own) noexcept {
        return o && o->kind_ == outcome::kind::liveness ? o->liveness_ : own;
    }
    static session_state answer(const std::shared_ptr<const outcome>& o, session_state own) noexcept {
        return o && o->kind_ == outcome::kind::state ? o->state_ : own;
    }
    static server_role answer(const std::shared_ptr<const outcome>& o, server_role own) noexcept {
        return o && o->kind_ == outcome::kind::role ? o->role_ : own;
    }
    static bool loses(const std::shared_ptr<const outcome>& o) noexcept { return o && o->loses_; }
    static bool refused(const std::shared_ptr<const outcome>& o) noexcept { return o && o->kind_ == outcome::kind::refusal; }

    std::shared_ptr<state> s_;
};

} // namespace cenote::testing
