// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/testing/script.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace cenote::testing {

/// What the scripted driver leases: a session that remembers what was left open on it and notices who touches it.
///
/// Called   by whoever holds the lease; two threads in it at once is what it is there to notice.
class scripted_connection {
public:
    scripted_connection(scripted_connection&& o) noexcept : home_{o.home_}, s_{std::move(o.s_)} {} // a moved-from one can still be blamed
    scripted_connection& operator=(scripted_connection&& o) noexcept {
        if (this != &o) {
            drop();
            home_ = o.home_;
            s_ = std::move(o.s_);
        }
        return *this;
    }
    ~scripted_connection() { drop(); }

    [[nodiscard]] std::size_t id() const noexcept { return s_ ? s_->id : 0; }
    [[nodiscard]] std::size_t generation() const noexcept { return s_ ? s_->generation : 0; }
    [[nodiscard]] bool lost() const noexcept { return s_ && s_->lost.load(std::memory_order_relaxed); }

    /// Works with the session for an instant. A lost one throws class `disconnected`.
    void use() { (void)alive(enter("use")); }

    /// Marks the time a lease is held: until its end, a second `hold` or a call from another thread is a violation.
    ///
    /// Shape    `auto lease = pool.acquire(); const auto held = lease->hold();` so that it ends before the lease goes back.
    class [[nodiscard]] holding {
    public:
        holding(const holding&) = delete;
        holding& operator=(const holding&) = delete;
        ~holding() {
            if (s_) s_->holder.store({}, std::memory_order_relaxed);
        }

    private:
        friend scripted_connection;
        holding(const script& home, script::session* s) noexcept : s_{s} {
            if (!s_) return;
            std::thread::id nobody{};
            if (s_->holder.compare_exchange_strong(nobody, std::this_thread::get_id(), std::memory_order_relaxed)) return;
            home.blame("hold", s_->id, "the connection is leased to two at once");
            s_ = nullptr;
        }
        script::session* s_;
    };
    holding hold() {
        const visit v = enter("hold");
        return holding{home_, v.ok() ? s_.get() : nullptr};
    }

    // Leaving things behind.

    void begin() {
        if (const visit v = alive(enter("begin")); v.ok()) s_->in_transaction = true;
    }
    /// An open transaction that can only be rolled back.
    void fail_transaction() {
        if (const visit v = alive(enter("fail_transaction")); v.ok()) s_->in_transaction = s_->failed = true;
    }
    void commit() {
        if (const visit v = alive(enter("commit")); v.ok()) s_->in_transaction = s_->failed = false;
    }
    /// An unfinished statement or an unread result.
    void leave_busy() {
        if (const visit v = alive(enter("leave_busy")); v.ok()) s_->busy = true;
    }
    /// A setting, temporary table or lock that only a reset takes away.
    void set(std::string what) {
        if (const visit v = alive(enter("set")); v.ok()) s_->settings.push_back(std::move(what));
    }
    /// Declares that the session now belongs to the test, which ends it by destroying this object. Say it before `detach`, so that
    /// the script stops counting the session before the pool does.
    void mark_detached() noexcept {
        const visit v = enter("mark_detached");
        if (!v.ok() || s_->detached.exchange(true, std::memory_order_relaxed)) return;
        home_.strike(*s_);
        home_.s_->detached.fetch_add(1, std::memory_order_relaxed);
        home_.depart();
    }

    /// Whether nothing of an earlier lease is left.
    [[nodiscard]] bool pristine() const noexcept {
        return s_ && !s_->in_transaction && !s_->failed && !s_->busy && !s_->started && s_->settings.empty();
    }
    [[nodiscard]] const std::vector<std::string>& settings() const noexcept { return s_->settings; }

private:
    friend class scripted_base;

    scripted_connection(const script& home, std::unique_ptr<script::session> s) noexcept : home_{home}, s_{std::move(s)} {}

    /// One call inside the session. Relaxed throughout: it must notice, not order.
    class visit {
    public:
        visit(const script& home, script::session* s, std::string_view what) noexcept {
            if (!s) {
                home.blame(what, 0, "the connection was moved from");
                return;
            }
            if (s->closed.load(std::memory_order_relaxed)) {
                home.blame(what, s->id, "it was closed before");
                return;
            }
            const std::thread::id me = std::this_thread::get_id();
            std::thread::id there{};
            if (!s->inside.compare_exchange_strong(there, me, std::memory_order_relaxed) && there != me) {
                home.blame(what, s->id, "another thread is in a call");
                return;
            }
            s_ = s;
            outermost_ = there != me;
            const std::thread::id holder = s->holder.load(std::memory_order_relaxed);
            if (holder != std::thread::id{} && holder != me) home.blame(what, s->id, "another thread holds the lease");
            ++s->touched;
        }
        visit(visit&& o) noexcept : s_{std::exchange(o.s_, nullptr)}, outermost_{o.outermost_} {}
        ~visit() {
            if (s_ && outermost_) s_->inside.store({}, std::memory_order_relaxed);
        }
        [[nodiscard]] bool ok() const noexcept { return s_ != nullptr; }

    private:
        script::session* s_ = nullptr;
        bool outermost_ = false;
    };

    [[nodiscard]] visit enter(std::string_view what) const noexcept {
        visit v{home_, s_.get(), what};
        if (v.ok() && s_->started) home_.blame(what, s_->id, "the answer of its clean-up is still due");
        return v;
    }
    [[nodiscard]] visit alive(visit v) const {
        if (v.ok() && lost()) throw driver_error{error_class::disconnected, "scripted session " + std::to_string(id()) + " is lost"};
        return v;
    }

    void clean(bool also_settings) noexcept {
        s_->in_transaction = s_->failed = s_->busy = false;
        s_->started.reset();
        if (also_settings) s_->settings.clear();
    }

    void drop() noexcept {
        if (!s_ || s_->closed.load(std::memory_order_relaxed) || s_->detached.load(std::memory_order_relaxed)) return;
        home_.blame("destructor", s_->id, "it was never closed");
        home_.strike(*s_);
    }

    script home_;
    std::unique_ptr<script::session> s_;
};

/// What another thread interferes through: the session's number, so that it means nothing any more once that is closed.
class scripted_token {
public:
    /// The id of the session.
    [[nodiscard]] std::size_t id() const noexcept { return id_; }

private:
    friend class scripted_base;
    explicit scripted_token(std::size_t id) noexcept : id_{id} {}
    std::size_t id_;
};

/// Everything the scripted driver can do; `basic_scripted` says which of it a pool gets to see.
class scripted_base {
protected:
    using connection = scripted_connection;
    using visit = connection::visit;

    explicit scripted_base(script s) noexcept : script_{std::move(s)} {}

    [[nodiscard]] connection do_open(deadline by) const {
        script_.arrive();
        try {
            const auto played = script_.play(site::open, 0, by);
            auto fresh = std::make_unique<script::session>();
            fresh->lost.store(script::loses(played), std::memory_order_relaxed);
            script_.enlist(*fresh);
            return connection{script_, std::move(fresh)};
        } catch (...) {
            script_.depart();
            throw;
        }
    }

    void do_close(connection& c) const noexcept {
        const visit v = look(site::close, c);
        (void)script_.play(site::close, c.id());
        if (!v.ok()) return;
        if (c.s_->detached.load(std::memory_order_relaxed)) return script_.blame("close", c.id(), "it was detached before");
        script_.strike(*c.s_);
        c.s_->closed.store(true, std::memory_order_relaxed);
        script_.s_->closed.fetch_add(1, std::memory_order_relaxed);
        script_.depart();
    }

    [[nodiscard]] liveness do_peek(connection& c) const noexcept {
        const visit v = look(site::peek, c);
        const auto played = script_.play(site::peek, c.id());
        liveness own = liveness::quiet;
        if (v.ok() && (c.s_->busy || c.s_->started)) own = liveness::suspicious;
        if (!v.ok() || c.lost()) own = liveness::dead;
        return script::answer(played, own);
    }

    [[nodiscard]] session_state do_state(connection& c) const noexcept {
        const visit v = look(site::state, c);
        const auto played = script_.play(site::state, c.id());
        session_state own = session_state::idle;
        if (!v.ok()) own = session_state::unknown;
        else if (c.s_->busy || c.s_->started) own = session_state::busy;
        else if (c.s_->failed) own = session_state::failed_transaction;
        else if (c.s_->in_transaction) own = session_state::in_transaction;
        return script::answer(played, own);
    }

    void do_ping(connection& c, deadline by) const {
        const visit v = round_trip(site::ping, c, by);
        if (v.ok()) refuse_if_busy(c);
    }
    void do_rollback(connection& c, deadline by) const {
        const visit v = round_trip(site::rollback, c, by);
        if (v.ok()) c.clean(false);
    }
    void do_reset(connection& c, deadline by) const {
        const visit v = round_trip(site::reset, c, by);
        if (v.ok()) c.clean(true);
    }
    void do_execute(connection& c, std::string_view sql, deadline by) const {
        const visit v = round_trip(site::execute, c, by, sql);
        if (!v.ok()) return;
        refuse_if_busy(c);
        script_.note(sql);
    }

    [[nodiscard]] bool do_start(site s, connection& c, std::string_view sql = {}) const noexcept {
        const visit v = c.enter(to_string(s));
        const auto played = script_.play(s, c.id(), deadline::never(), sql);
        if (v.ok() && script::loses(played)) c.s_->lost.store(true, std::memory_order_relaxed);
        if (script::refused(played)) return false;
        if (!v.ok()) return true;
        try {
            c.s_->sql = sql;
        } catch (...) { // no memory: not sent
            return false;
        }
        c.s_->started = s;
        return true;
    }
    void do_reset_finish(connection& c, deadline by) const {
        const visit v = look(site::reset_finish, c);
        if (v.ok() && !c.s_->started) script_.blame("reset_finish", c.id(), "nothing was started");
        (void)trip(site::reset_finish, c, by, {});
        if (!v.ok()) return;
        if (c.s_->started == site::execute_start) script_.note(c.s_->sql);
        c.clean(c.s_->started == site::reset_start);
    }

    [[nodiscard]] server_role do_role(connection& c, deadline by) const {
        const visit v = c.enter(to_string(site::role));
        return script::answer(trip(site::role, c, by, {}), server_role::primary);
    }

    [[nodiscard]] scripted_token do_interrupter(connection& c) const {
        const visit v = look(site::interrupter, c);
        (void)script_.play(site::interrupter, c.id());
        return scripted_token{c.id()};
    }
    void do_cancel(scripted_token& t, deadline by) const { (void)script_.play(site::cancel, t.id(), by); }
    void do_sever(scripted_token& t, deadline by) const noexcept {
        (void)script_.play(site::sever, t.id(), by);
        script{script_}.lose(t.id()); // by another handle, this one is const
    }

    script script_;

private:
    [[nodiscard]] visit look(site s, connection& c) const noexcept { return visit{script_, c.s_.get(), to_string(s)}; }

    [[nodiscard]] visit round_trip(site s, connection& c, deadline by, std::string_view sql = {}) const {
        visit v = c.enter(to_string(s));
        (void)trip(s, c, by, sql);
        return v;
    }
    std::shared_ptr<const outcome> trip(site s, connection& c, deadline by, std::string_view sql) const {
        std::shared_ptr<const outcome> played;
        try {
            played = script_.play(s, c.id(), by, sql);
        } catch (const driver_error& e) {
            if (e.kind() == error_class::disconnected && c.s_) c.s_->lost.store(true, std::memory_order_relaxed);
            throw;
        }
        if (c.lost()) throw driver_error{error_class::disconnected, "scripted session " + std::to_string(c.id()) + " is lost"};
        if (c.s_ && script::loses(played)) c.s_->lost.store(true, std::memory_order_relaxed);
        return played;
    }
    static void refuse_if_busy(const connection& c) {
        if (c.s_->busy) throw driver_error{error_class::other, "scripted session " + std::to_string(c.id()) + " has an unread result"};
    }
};

/// What the scripted driver lets a pool see beside `open` and `close`.
enum class refinement : unsigned {
    none = 0,
    peek = 1,
    ping = 2,
    state = 4,
    rollback = 8,
    reset = 16,
    deferred_reset = 32, ///< reset_start and reset_finish
    execute = 64,
    native_handle = 128,
    deferred_rollback = 256, ///< rollback_start, where there is deferred_reset
    deferred_execute = 512,  ///< execute_start, where there is deferred_reset
    role = 1024,
    interrupt = 2048, ///< interrupter, cancel and sever
    all = 4095,
};
[[nodiscard]] constexpr refinement operator|(refinement a, refinement b) noexcept {
    return static_cast<refinement>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
/// `refinement::all - refinement::peek`: all but one.
[[nodiscard]] constexpr refinement operator-(refinement a, refinement b) noexcept {
    return static_cast<refinement>(static_cast<unsigned>(a) & ~static_cast<unsigned>(b));
}
[[nodiscard]] constexpr bool has(refinement all, refinement one) noexcept {
    return (static_cast<unsigned>(all) & static_cast<unsigned>(one)) == static_cast<unsigned>(one);
}

/// A driver that does what a test's script says and watches what the pool does with it. No I/O.
///
/// Shape    `script s; pool p{scripted{s}, …};` then `s.next(site::open, outcome::fail(error_class::refused));` and, once the pool is
///          gone, `s.violations_at_end()` is empty.
/// With     `basic_scripted<refinement::all - refinement::peek>` lacks `peek`, and so on, so that fall-backs can be tested.
template <refinement R = refinement::all>
class basic_scripted : private scripted_base {
public:
    using connection = scripted_connection;

    basic_scripted() : scripted_base{testing::script{}} {}
    explicit basic_scripted(testing::script s) noexcept : scripted_base{std::move(s)} {}

    /// A handle to the script; stays valid when the driver is gone.
    [[nodiscard]] testing::script script() const { return script_; }

    [[nodiscard]] connection open(deadline by) { return do_open(by); }
    void close(connection& c) noexcept { do_close(c); }

    [[nodiscard]] liveness peek(connection& c) noexcept
        requires(has(R, refinement::peek))
    {
        return do_peek(c);
    }
    void ping(connection& c, deadline by)
        requires(has(R, refinement::ping))
    {
        do_ping(c, by);
    }
    [[nodiscard]] session_state state(connection& c) noexcept
        requires(has(R, refinement::state))
    {
        return do_state(c);
    }
    void rollback(connection& c, deadline by)
        requires(has(R, refinement::rollback))
    {
        do_rollback(c, by);
    }
    void reset(connection& c, deadline by)
        requires(has(R, refinement::reset))
    {
        do_reset(c, by);
    }
    [[nodiscard]] bool reset_start(connection& c) noexcept
        requires(has(R, refinement::deferred_reset))
    {
        return do_start(site::reset_start, c);
    }
    [[nodiscard]] bool rollback_start(connection& c) noexcept
        requires(has(R, refinement::deferred_reset | refinement::deferred_rollback))
    {
        return do_start(site::rollback_start, c);
    }
    [[nodiscard]] bool execute_start(connection& c, std::string_view sql) noexcept
        requires(has(R, refinement::deferred_reset | refinement::deferred_execute))
    {
        return do_start(site::execute_start, c, sql);
    }
    void reset_finish(connection& c, deadline by)
        requires(has(R, refinement::deferred_reset))
    {
        do_reset_finish(c, by);
    }
    void execute(connection& c, std::string_view sql, deadline by)
        requires(has(R, refinement::execute))
    {
        do_execute(c, sql, by);
    }
    /// The id of the session.
    [[nodiscard]] std::size_t native_handle(connection& c) noexcept
        requires(has(R, refinement::native_handle))
    {
        return c.id();
    }
    /// A primary, unless the script says otherwise.
    [[nodiscard]] server_role role(connection& c, deadline by)
        requires(has(R, refinement::role))
    {
        return do_role(c, by);
    }
    [[nodiscard]] scripted_token interrupter(connection& c)
        requires(has(R, refinement::interrupt))
    {
        return do_interrupter(c);
    }
    /// Counted, and nothing else, unless the script says otherwise.
    void cancel(scripted_token& t, deadline by)
        requires(has(R, refinement::interrupt))
    {
        do_cancel(t, by);
    }
    /// Loses the session, as the script's `lose`.
    void sever(scripted_token& t, deadline by) noexcept
        requires(has(R, refinement::interrupt))
    {
        do_sever(t, by);
    }
};

using scripted = basic_scripted<>;

} // namespace cenote::testing
