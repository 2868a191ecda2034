// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/cancel.hpp>
#include <cenote/clock.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/lease.hpp>
#include <cenote/session/statement.hpp>
#include <cenote/session/value.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cenote {

/// What a session does with all of its statements.
struct session_options {
    /// How long one may take, from the call to its last row. `within` and `until` say it for one.
    ///
    /// Default  zero: as long as it takes.
    /// Range    not negative: std::invalid_argument.
    duration statement_timeout{};

    /// Whether statements may be kept prepared on their connection for the next time: how many are, a driver's `statement_cache` says.
    ///
    /// Default  true. False for those that will not come again.
    bool keep_statements = true;
};

namespace detail {

/// Stands in for the rows of a driver that has none, so that the sentence about it is the one error.
struct no_rows {
    [[nodiscard]] static std::size_t columns() noexcept { return 0; }
    [[nodiscard]] static std::string_view name(std::size_t) noexcept { return {}; }
    [[nodiscard]] static bool next(deadline) { return false; }
    [[nodiscard]] static value_view at(std::size_t) { return {}; }
    [[nodiscard]] static std::uint64_t affected() noexcept { return 0; }
};

/// The lease that a session owns, and then its transaction: through here goes every call to the driver, and here it is judged.
///
/// With     an error that says that the connection is gone, or after which the driver does not know its state, ends the lease.
template <class Core>
class channel {
public:
    using driver_type = typename Core::driver_type;
    using connection_type = typename Core::connection_type;

    channel(lease<Core>&& l, const session_options& o) noexcept : held{std::move(l)}, options{o} {}
    channel(channel&&) noexcept = default;
    channel& operator=(channel&& other) noexcept {
        if (this != &other) {
            std::destroy_at(this);
            std::construct_at(this, std::move(other));
        }
        return *this;
    }
    ~channel() { end_cancels(); }

    [[nodiscard]] driver_type& driver() const noexcept { return held.driver(); }
    [[nodiscard]] connection_type& connection() const noexcept { return *held; }

    [[nodiscard]] deadline by() const noexcept {
        return options.statement_timeout == duration::zero() ? deadline::never() : deadline::in(options.statement_timeout);
    }

    /// In a forked child the session is the parent's: the lease ends, and nothing else is done. Nothing where there was no fork.
    bool let_go_if_forked() noexcept {
        if (!held.forked()) return false;
        give_back();
        in_transaction = false;
        return lost = true;
    }

    /// Whether a call may be made now; throws otherwise.
    void need() {
        if (let_go_if_forked()) throw error{failure{make_error_code(errc::pool_forked), nullptr}};
        if constexpr (can_tell_state<driver_type>) { // else what follows would be committed one by one
            if (in_transaction && held && !reading && !doomed && state() == session_state::idle) doom(error_class::other, condition::none);
        }
        if (held && !reading && !doomed) [[likely]] return;
        if (lost) throw driver_error{error_class::disconnected, "cenote: the session has lost its connection before", 0, {}, condition::disconnected};
        if (!held) throw std::logic_error{"cenote: use of a session that was moved from or given back, or of a transaction that has ended"};
        if (reading) throw std::logic_error{"cenote: the session is reading rows for a callback; nothing else can be asked of it before that returns"};
        throw driver_error{doom_kind,
                           "cenote: the transaction has ended already: the database rolled it back, a statement ended it, or rows could not be "
                           "read to their end; nothing more can run in it",
                           0, {}, doom_met};
    }

    /// One call of the driver.
    template <class F>
    decltype(auto) call(F&& f) {
        try {
            return f(driver(), connection());
        } catch (const std::exception& e) {
            judge(e);
            throw;
        } catch (...) {
            doubt(error_class::other, condition::none);
            throw;
        }
    }

    /// Begins a statement. One whose plan has become stale did not run: outside a transaction it is prepared anew, once.
    [[nodiscard]] auto start(const statement& s, deadline until) {
        static_assert(can_query<driver_type>, "cenote: a session wants a driver that can query(); this one cannot, see cenote/session/statement.hpp");
        if constexpr (can_query<driver_type>) return start_it(s, until);
        else return no_rows{};
    }

    /// What an error of the driver means for the lease. Called in its handler.
    void judge(const std::exception& e) noexcept {
        const error_class kind = classify(driver(), e);
        const auto* const own = dynamic_cast<const driver_error*>(&e);
        // A server that refuses a write in a transaction which is to be read-only does what it was told.
        const bool demoted = Core::cfg::role::checks && kind == error_class::wrong_role && !(in_transaction && read_only);
        if (kind == error_class::disconnected || demoted) discard(kind);
        else doubt(kind, own != nullptr ? own->met() : condition::none);
    }
    void discard(error_class because) noexcept {
        if (!held) return;
        end_cancels();
        held.discard(because);
        lost = true;
    }

    void give_back() noexcept {
        end_cancels();
        held.give_back();
    }

    /// For other threads, until the lease ends.
    [[nodiscard]] cenote::canceller<Core> canceller() {
        need();
        if (!cancels) cancels = cancellable<Core>::desk_of(held);
        return cancellable<Core>::handle_of(cancels);
    }

    /// Nothing of the transaction may be left, though it is still being used.
    void give_up() noexcept {
        if (!held || doomed) return;
        doom(error_class::other, condition::none);
        roll_back();
        in_transaction = true;
    }

    /// Rolls back whatever is open, in its own time. False: that was not possible, and the connection is gone.
    bool roll_back() noexcept {
        in_transaction = false;
        if (!held) return true;
        if (let_go_if_forked()) return false;
        try {
            driver().rollback(connection(), deadline::in(clean_up_limit));
            return true;
        } catch (...) {
            discard(error_class::other);
            return false;
        }
    }

    /// After rows that were not read to their end, and are gone now: the connection is made free again.
    void settle() noexcept {
        if (!held) return;
        if constexpr (can_tell_state<driver_type>) {
            const session_state is = state();
            if (is != session_state::busy && is != session_state::unknown) return;
        }
        if constexpr (can_rollback<driver_type>) {
            if (in_transaction) give_up();
            else roll_back();
        } else {
            discard(error_class::other);
        }
    }

    [[nodiscard]] session_state state() const noexcept {
        if constexpr (can_tell_state<driver_type>) return driver().state(connection());
        else return session_state::unknown;
    }

    static constexpr bool may_be_cancelled = can_interrupt<driver_type> && Core::cfg::locking::threads && !Core::cfg::embedded;

    lease<Core> held;
    std::conditional_t<may_be_cancelled, std::shared_ptr<cancel_desk<Core>>, std::nullptr_t> cancels{}; ///< null until somebody asks for it
    session_options options;
    bool in_transaction = false;
    bool read_only = false; ///< the transaction was begun to be that
    bool reading = false; ///< a callback is being given rows
    bool lost = false;    ///< the lease ended because of an error
    bool doomed = false;  ///< the transaction is no longer there
    error_class doom_kind = error_class::other;
    condition doom_met = condition::none;

    /// How long a rollback of the library's own may take; then the connection is closed instead.
    static constexpr duration clean_up_limit = std::chrono::seconds{5};

private:
    /// Before the lease ends: none is begun any more, and with one in flight the connection goes, or it would hit the next user's statement.
    void end_cancels() noexcept {
        if constexpr (may_be_cancelled) {
            if (auto at = std::exchange(cancels, nullptr)) (void)cancellable<Core>::end(std::move(at), held, deadline{time_point::min()});
        }
    }
    [[nodiscard]] auto start_it(const statement& s, deadline until) {
        const auto query = [&](driver_type& d, connection_type& c) { return d.query(c, s, until); };
        if constexpr (can_forget_statements<driver_type>) {
            if (s.keep && !in_transaction) {
                try {
                    return driver().query(connection(), s, until);
                } catch (const std::exception& e) {
                    if (classify(driver(), e) != error_class::stale_plan || state() != session_state::idle) {
                        judge(e);
                        throw;
                    }
                } catch (...) {
                    doubt(error_class::other, condition::none);
                    throw;
                }
                driver().forget_statements(connection());
            }
        }
        return call(query);
    }

    void doubt(error_class kind, condition met) noexcept {
        if constexpr (can_tell_state<driver_type>) {
            const session_state is = state();
            if (is == session_state::unknown) discard(kind);
            else if (in_transaction && is == session_state::idle) doom(kind, met);
        }
    }
    void doom(error_class kind, condition met) noexcept {
        doomed = true;
        doom_kind = kind;
        doom_met = met;
    }
};

} // namespace detail
} // namespace cenote
