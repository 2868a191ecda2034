// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/session/detail/channel.hpp>
#include <cenote/session/detail/statements.hpp>
#include <cenote/session/rerun.hpp>
#include <cenote/session/savepoint.hpp>
#include <cenote/session/statement.hpp>

#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace cenote {

/// A transaction that is open: commit() or rollback() ends it and gives the session back; its destructor rolls back.
///
///     auto t = std::move(s).begin({.isolation = cenote::transaction_options::level::serializable});
///     t.exec("update accounts set balance = balance - ? where id = ?", 10, from);
///     s = t.commit();
///
/// A second one on the same session is impossible: the session is in here. Parts of it that may fail alone: savepoint(), nested().
/// Shape    the statements are the session's (see detail::statements), and so is `within`.
/// Errors   when the database has ended the transaction by itself (a deadlock, an interrupt), or a COMMIT among the statements has, every
///          further statement and commit() throw a driver_error of that error's class, instead of running outside of any transaction.
///          The destructor never throws: where a rollback is not possible within 5 s, the connection is closed.
template <class Core>
class transaction : public detail::statements<transaction<Core>, Core> {
public:
    using driver_type = typename Core::driver_type;

    transaction(transaction&& other) noexcept
        : over_{std::move(other.over_)}, open_{std::exchange(other.open_, false)}, inner_{std::exchange(other.inner_, nullptr)},
          named_{other.named_} {
        take_over();
    }
    transaction& operator=(transaction&& other) noexcept {
        if (this != &other) {
            finish();
            over_ = std::move(other.over_);
            open_ = std::exchange(other.open_, false);
            inner_ = std::exchange(other.inner_, nullptr);
            named_ = other.named_;
            take_over();
        }
        return *this;
    }
    ~transaction() { finish(); }

    /// Whether it can still be committed or rolled back.
    [[nodiscard]] bool is_open() const noexcept { return open_; }

    /// As the session's.
    [[nodiscard]] detail::timed<Core> within(timeout t) { return {over_, deadline::in(t)}; }
    [[nodiscard]] detail::timed<Core> until(deadline d) { return {over_, d}; }

    /// As the session's.
    [[nodiscard]] cenote::canceller<Core> canceller() { return over_.canceller(); }

    /// As the session's: what is begun or ended there, the transaction does not know.
    [[nodiscard]] cenote::lease<Core>& lease() noexcept { return over_.held; }

    /// Commits, and gives the session back (which ends if nobody takes it).
    ///
    /// Errors   cenote::error with errc::outcome_unknown: it may have been committed or not, as the answer did not come; the connection
    ///          is closed. Anything else: it was not committed, nothing of it is left, and a further rollback() gives the session back.
    ///          std::logic_error while a savepoint is open, or when it has ended already; then nothing has changed.
    session<Core> commit() {
        need_open("commit()");
        if (inner_ != nullptr) throw std::logic_error{"cenote: commit() while a savepoint is open; release() it, or roll it back, before"};
        try {
            over_.need();
        } catch (const driver_error&) {
            end();
            throw;
        }
        try {
            over_.driver().commit(over_.connection(), over_.by());
        } catch (const std::exception& e) {
            if (is_unknown(e)) lose_track(e.what());
            over_.judge(e);
            end();
            throw;
        } catch (...) {
            lose_track("an exception that is no std::exception");
        }
        return leave();
    }

    /// Undoes everything, and gives the session back.
    ///
    /// Errors   the driver's: then the connection is closed, and the database undoes it. Twice, or after a commit() that failed: nothing but
    ///          the session, if its connection is there.
    session<Core> rollback() {
        if (!over_.held && !over_.lost) {
            throw std::logic_error{"cenote: rollback() of a transaction that was moved from, or whose session was given back"};
        }
        if (over_.reading || over_.held.forked()) over_.need();
        forget_savepoints();
        if (std::exchange(open_, false) && over_.held) {
            over_.in_transaction = false;
            try {
                over_.driver().rollback(over_.connection(), over_.by());
            } catch (const std::exception& e) {
                over_.discard(classify(over_.driver(), e));
                throw;
            }
        }
        return leave();
    }

    /// A part that can be undone alone, until release() keeps it: see savepoint.
    [[nodiscard]] cenote::savepoint<Core> savepoint() {
        need_open("savepoint()");
        return cenote::savepoint<Core>{*this};
    }
    /// Calls `f()`; when it throws, what was done in it is undone and the exception goes on.
    template <class F>
        requires std::invocable<F&>
    auto nested(F&& f) -> std::invoke_result_t<F&> {
        cenote::savepoint<Core> part = savepoint();
        if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
            std::invoke(f);
            part.release();
        } else {
            decltype(auto) got = std::invoke(f);
            part.release();
            return static_cast<std::invoke_result_t<F&>>(got);
        }
    }

private:
    template <class, class>
    friend class detail::statements;
    friend class cenote::savepoint<Core>;
    friend class session<Core>;
    template <class>
    friend struct detail::pool_statements;

    transaction(detail::channel<Core>& from, const transaction_options& o) : over_{begun(from, o)} {}

    /// Begins on a session that stays whole if that fails.
    static detail::channel<Core>&& begun(detail::channel<Core>& from, const transaction_options& o) {
        static_assert(can_transact<driver_type>, "cenote: begin() wants a driver with begin(), commit(), rollback() and execute(); this one has "
                                                 "not, see cenote/session/statement.hpp");
        from.need();
        if (const session_state is = from.state(); is == session_state::in_transaction || is == session_state::failed_transaction) {
            throw std::logic_error{"cenote: begin() where a statement has begun a transaction that the session does not know of; let begin() do that"};
        }
        try {
            from.call([&](auto& d, auto& c) { d.begin(c, o, from.by()); });
        } catch (...) {
            if (from.held && from.state() != session_state::idle) from.roll_back(); // it may have begun
            throw;
        }
        from.in_transaction = true;
        from.read_only = o.mode == transaction_options::access::read_only;
        return std::move(from);
    }

    [[nodiscard]] detail::reach<Core> cenote_reach() { return {over_, over_.by()}; }
    void need_open(const char* what) const {
        if (!open_) throw std::logic_error{"cenote: " + std::string{what} + " of a transaction that has ended, or that was moved from"};
    }

    /// `f(*this)`, and the commit if it has not ended the transaction itself.
    template <class F>
    auto run_and_commit(F& f) -> std::invoke_result_t<F&, transaction&> {
        using R = std::invoke_result_t<F&, transaction&>;
        if constexpr (std::is_void_v<R>) {
            std::invoke(f, *this);
            if (open_) commit();
        } else {
            R got = std::invoke(f, *this);
            if (open_) commit();
            return got;
        }
    }

    /// Whether nobody knows what became of a commit that failed with `e`.
    [[nodiscard]] bool is_unknown(const std::exception& e) const noexcept {
        const error_class kind = classify(over_.driver(), e);
        if (kind == error_class::disconnected || kind == error_class::timeout) return true;
        if (dynamic_cast<const driver_error*>(&e) != nullptr || kind != error_class::other) return false;
        const session_state is = over_.state(); // a stranger (no memory, say): before or after it was sent?
        return is != session_state::in_transaction && is != session_state::failed_transaction;
    }
    [[noreturn]] void lose_track(const char* why) {
        open_ = false;
        over_.in_transaction = false;
        failure f{make_error_code(errc::outcome_unknown), nullptr};
        try {
            evidence seen;
            seen.detail = why;
            f.seen = std::make_shared<const evidence>(std::move(seen));
        } catch (const std::bad_alloc&) { // the code says what matters
        }
        over_.discard(error_class::disconnected);
        throw error{std::move(f)};
    }
    /// It cannot be committed any more: nothing of it may be left.
    void end() noexcept {
        open_ = false;
        forget_savepoints();
        over_.roll_back();
        over_.doomed = false;
    }
    [[nodiscard]] session<Core> leave() noexcept {
        open_ = false;
        over_.in_transaction = false;
        over_.doomed = false;
        return session<Core>{std::move(over_)};
    }
    void finish() noexcept {
        if (open_) end();
        else forget_savepoints();
    }
    void take_over() noexcept {
        for (cenote::savepoint<Core>* s = inner_; s != nullptr; s = s->outer_) s->in_ = this;
    }
    void forget_savepoints() noexcept {
        for (cenote::savepoint<Core>* s = std::exchange(inner_, nullptr); s != nullptr; s = s->outer_) s->in_ = nullptr;
    }

    detail::channel<Core> over_;
    bool open_ = true;
    cenote::savepoint<Core>* inner_ = nullptr; ///< the innermost that is open
    unsigned named_ = 0;                       ///< how many savepoints there were
};

} // namespace cenote
