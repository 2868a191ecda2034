// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/escape.hpp>
#include <cenote/session/detail/statements.hpp>

#include <stdexcept>
#include <string>
#include <utility>

namespace cenote {

/// A part of a transaction that can be undone alone. Its destructor undoes it, release() keeps it (for the transaction to commit).
///
///     auto part = t.savepoint();
///     t.exec("insert …");          // or part.exec(…), which is the same
///     part.release();
///
/// They nest: an outer one takes the inner ones along, whether it is released or rolled back. It stays where it was made; the transaction may
/// be moved meanwhile.
/// Errors   the driver's. Where the part cannot be undone, the whole transaction is rolled back and can no longer be committed.
///          std::logic_error when it has ended, or the transaction has.
/// Cost     a round trip to make it, one to release it, two to roll it back.
template <class Core>
class savepoint : public detail::statements<savepoint<Core>, Core> {
public:
    savepoint(const savepoint&) = delete;
    savepoint& operator=(const savepoint&) = delete;
    ~savepoint() {
        if (in_ == nullptr) return;
        try {
            undo();
        } catch (...) { // the transaction is rolled back then
        }
    }

    [[nodiscard]] bool is_open() const noexcept { return in_ != nullptr; }

    /// Keeps what was done.
    void release() {
        need("release()");
        transaction<Core>& t = *in_;
        t.over_.need();
        run(t, "release savepoint ");
        close(t);
    }
    /// Undoes what was done since. What went wrong in it, as a violated constraint, does not concern the transaction any more.
    void rollback() {
        need("rollback()");
        undo();
    }

    /// As the session's.
    [[nodiscard]] detail::timed<Core> within(timeout t) {
        need("within()");
        return in_->within(t);
    }

private:
    template <class, class>
    friend class detail::statements;
    friend class transaction<Core>;

    explicit savepoint(transaction<Core>& in) : in_{&in}, outer_{in.inner_}, number_{in.named_ + 1} {
        in.over_.need();
        run(in, "savepoint ");
        in.named_ = number_;
        in.inner_ = this;
    }

    [[nodiscard]] detail::reach<Core> cenote_reach() {
        need("a statement");
        return in_->cenote_reach();
    }
    void need(const char* what) const {
        if (in_ == nullptr) throw std::logic_error{"cenote: " + std::string{what} + " of a savepoint that has ended, or whose transaction has"};
    }
    void run(transaction<Core>& t, const char* verb) const {
        const std::string sql = verb + ("cenote_" + std::to_string(number_));
        t.over_.call([&](auto& d, auto& c) { d.execute(c, sql, t.over_.by()); });
    }
    void undo() {
        transaction<Core>& t = *in_;
        close(t);
        if (t.over_.let_go_if_forked() || !t.over_.held || t.over_.doomed) return; // nothing is left that could be undone
        try {
            run(t, "rollback to savepoint ");
            run(t, "release savepoint ");
        } catch (...) {
            t.over_.give_up();
            throw;
        }
    }
    /// It has ended, and those inside of it with it.
    void close(transaction<Core>& t) noexcept {
        for (savepoint* s = std::exchange(t.inner_, outer_); s != nullptr && s != outer_; s = s->outer_) s->in_ = nullptr;
    }

    transaction<Core>* in_;
    savepoint* outer_;
    unsigned number_;
};

} // namespace cenote
