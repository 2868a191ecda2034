// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/lease.hpp>
#include <cenote/pool.hpp>
#include <cenote/session/detail/channel.hpp>
#include <cenote/session/detail/statements.hpp>
#include <cenote/session/result.hpp>
#include <cenote/session/transaction.hpp>

#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cenote {

/// A lease that statements can be run on: it owns the lease and gives it back when it ends.
///
///     cenote::session s{db.acquire()};
///     s.exec("insert into users(name) values (?)", name);
///     auto n = s.scalar<int>("select count(*) from users");
///     auto t = std::move(s).begin();   // the session is the transaction's now
///
/// Shape    the statements are those of detail::statements: exec, query, one, one_or_none, scalar, scalar_or_none, process, many, script.
/// Called   by one thread at a time.
/// Errors   as there. One that was moved from throws std::logic_error whatever is asked of it; one whose connection is gone throws
///          driver_error of class `disconnected`.
/// Cost     what the driver's query costs; a result allocates, scalar() and exec() do not, nor does an argument that a value_view can be.
template <class Core>
class session : public detail::statements<session<Core>, Core> {
public:
    using driver_type = typename Core::driver_type;
    using connection_type = typename Core::connection_type;

    explicit session(cenote::lease<Core> l, const session_options& o = {}) : over_{std::move(l), checked(o)} {}

    session(session&&) noexcept = default;
    session& operator=(session&&) noexcept = default;

    /// Whether there is a connection.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(over_.held); }

    /// The same, for one statement that may take this long: `s.within(2s).exec(…)`. To be used where it is written.
    ///
    /// Errors   driver_error of class `timeout`; what it `met` is `statement_timeout`, or `lock_timeout`.
    [[nodiscard]] detail::timed<Core> within(timeout t) { return {over_, deadline::in(t)}; }
    [[nodiscard]] detail::timed<Core> until(deadline d) { return {over_, d}; }

    /// Begins a transaction, which takes the session over; commit() and rollback() give it back.
    ///
    /// Errors   the driver's, and std::invalid_argument for what the database cannot do: then the session stays what it was.
    [[nodiscard]] transaction<Core> begin(const transaction_options& o = {}) && { return transaction<Core>{over_, o}; }
    template <class O = transaction_options>
    transaction<Core> begin(const std::type_identity_t<O>& = {}) & {
        static_assert(detail::never_true<O>, "cenote: begin() takes the session over, so that nothing else runs on it meanwhile; write "
                                                "std::move(session).begin(), see cenote/session/session.hpp");
    }

    /// For other threads, to cancel what the session does for as long as it has its lease, also in a transaction: `stop.cancel()`, or
    /// `cenote::cancel_on on{s.canceller(), token}` for a stop token. What is cancelled fails with a driver_error whose condition is `cancelled`.
    ///
    /// Errors   what the driver's `interrupter` throws.
    /// With     as `cancellable`: a cancel in flight when the lease ends costs the connection, and never meets its next user.
    [[nodiscard]] cenote::canceller<Core> canceller() { return over_.canceller(); }

    /// The lease, for what the client library or the driver can do beyond this.
    ///
    /// With     what is begun there, the session does not know.
    [[nodiscard]] cenote::lease<Core>& lease() noexcept { return over_.held; }
    /// Ends the session now.
    void give_back() noexcept { over_.give_back(); }

private:
    template <class, class>
    friend class detail::statements;
    friend class transaction<Core>;

    explicit session(detail::channel<Core>&& over) noexcept : over_{std::move(over)} {}
    [[nodiscard]] detail::reach<Core> cenote_reach() { return {over_, over_.by()}; }

    static const session_options& checked(const session_options& o) {
        detail::require_not_negative("session_options.statement_timeout", o.statement_timeout);
        return o;
    }

    detail::channel<Core> over_;
};

template <class Core>
session(lease<Core>) -> session<Core>;
template <class Core>
session(lease<Core>, session_options) -> session<Core>;

namespace detail {

/// What pool.query, pool.exec and pool.transaction are made of: pool.hpp declares it and knows no more.
template <class Core>
struct pool_statements {
    template <class Pool, class... A>
    static std::uint64_t exec(Pool& db, const sql_here& sql, const A&... values) {
        return session<Core>{db.acquire(sql.at)}.exec(sql.text, values...);
    }
    template <class Pool, class... A>
    static result query(Pool& db, const sql_here& sql, const A&... values) {
        return session<Core>{db.acquire(sql.at)}.query(sql.text, values...);
    }
    template <class Pool, class F>
    static auto transact(Pool& db, F& f, const transaction_run& how, const std::source_location& at) {
        return rerunning(db.driver(), how, [&] {
            transaction<Core> t = session<Core>{db.acquire(at), {.statement_timeout = how.statement_timeout}}.begin(
                {.isolation = how.isolation, .mode = how.mode, .deferrable = how.deferrable});
            return t.run_and_commit(f);
        });
    }
};

} // namespace detail
} // namespace cenote
