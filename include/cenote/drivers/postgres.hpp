// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/credentials.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/drivers/detail/pg_batch.hpp>
#include <cenote/drivers/detail/pg_cancel.hpp>
#include <cenote/drivers/detail/pg_copy.hpp>
#include <cenote/drivers/detail/pg_dial.hpp>
#include <cenote/drivers/detail/pg_query.hpp>
#include <cenote/drivers/detail/pg_session.hpp>
#include <cenote/drivers/detail/pg_target.hpp>
#include <cenote/drivers/detail/socket.hpp>
#include <cenote/session/statement.hpp>

#include <libpq-fe.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote {

/// The driver for PostgreSQL, on libpq 14 or later (PostgreSQL licence).
///
/// A lease's `native_handle()` is the PGconn: existing libpq code runs on it unchanged, but for PQfinish and PQreset, which are the pool's.
///
/// Called   `open`, `dial` and `close` from several threads at once. A connection is used by one thread at a time, as libpq asks.
/// Errors   driver_error with the SQLSTATE, the server's or libpq's text and its class. Passwords are taken out of every text. What the
///          server says beside its answers goes to `options.on_notice`, never to stderr.
/// Cost     open 1.5–7 ms, most of it the server's; peek 0.2 µs; ping, rollback and reset one round trip each.
/// With     deadlines hold to the millisecond, but the name of a host is resolved by the system, which knows no deadline: give `hostaddr`
///          beside `host`, or let the background thread wait for it, as pools do unless they are told otherwise. Several hosts share the
///          time that is left evenly; `connect_timeout`, where given, bounds each of them, to the second and not rounded up.
class postgres {
public:
    using notice = drivers::pg::notice;

    struct options {
        /// Where to connect: `host=db dbname=shop user=web`, or `postgresql://web@db/shop`. What it leaves out comes from libpq's
        /// environment (PGHOST, PGPASSWORD …), service and password files.
        ///
        /// Errors   std::invalid_argument when libpq cannot read it. The message says what is wrong and never repeats the string, as that
        ///          is most often a password with a special character. In a URI, one with '@', '/' or '%' must be percent-encoded.
        std::string conninfo{};

        /// Keywords and values, as they are: nothing in a value can add a keyword. They win over the string's.
        ///
        /// Shape    `{{"host", host}, {"dbname", name}, {"password", secret}}`
        /// Range    keywords that this libpq knows, values without a zero byte; else std::invalid_argument.
        std::vector<std::pair<std::string, std::string>> parameters{};

        /// Where user and password come from each time a connection is opened; they win over all of the above.
        ///
        /// Default  none.
        cenote::credentials credentials{};

        /// What pg_stat_activity shows, unless PGAPPNAME, the string or `parameters` say otherwise.
        ///
        /// Default  the program's name, where the system tells it, else "cenote".
        std::string application_name = program_name();

        /// How long the kernel keeps trying to deliver what was sent before it gives the connection up (`tcp_user_timeout`). Keepalives do
        /// not help while data is unacknowledged: without this a query to a host that vanished hangs for a quarter of an hour.
        ///
        /// Default  15 s. 0 leaves it to the kernel.
        /// Range    0 … 2147483647 ms, whole milliseconds; else std::invalid_argument. TCP on Linux only.
        duration tcp_user_timeout = std::chrono::seconds{15};

        /// How often the server looks, while it works for a session, whether the client is still there (`client_connection_check_interval`).
        /// By itself it never does: a statement whose client has gone runs on to its end, and keeps its locks as long.
        ///
        /// Default  0: not set, so what the server, the database or the role has been given holds. A pool needs it less than a program by
        ///          itself: a connection that is closed in the middle of a statement has that cancelled first (`cut_at_close`), which takes
        ///          2 ms. This one helps where no cancel arrives, as no new connection gets through or the program was killed, and where
        ///          one arrives before the server has begun with the statement: it is then ignored.
        /// Range    0 … 2147483647 ms, rounded up to whole milliseconds; else std::invalid_argument. A second or more costs nobody anything.
        /// Cost     one round trip when a connection is opened; one more statement in each full reset, in the same round trip. At the
        ///          server one poll in each interval, only while it works. 0: nothing.
        /// With     PostgreSQL 14 or later on Linux; others refuse it or are not asked, and go on without. It is a SET, so that poolers in
        ///          between let it pass, but one that hands a session from client to client sets it for whoever comes next, and hides
        ///          the clients from the server: leave it 0 there. `init` runs after it and may set something else.
        duration client_connection_check_interval{};

        /// SQL that every new connection runs, one statement each, and again at the end of each full reset, in the same round trip.
        ///
        /// Default  none.
        /// Errors   when one fails, `open` and `reset` fail.
        std::vector<std::string> init{};

        /// How much of an unfinished result is read to save its connection; beyond that the statement is cancelled (libpq 17 or later) or
        /// the connection closed.
        ///
        /// Default  64 KiB or 1 ms, whichever comes first: a new connection costs more than that, but not much.
        /// Range    drain_time ≥ 0, else std::invalid_argument.
        std::size_t drain_bytes = std::size_t{64} * 1024;
        duration drain_time = std::chrono::milliseconds{1};

        /// How many statements each connection keeps prepared, of those that ask for it (`statement::keep`); beyond that the one used longest ago
        /// goes. They live as long as the connection, or until a full reset. Where the schema changes under one, all connections prepare
        /// theirs anew; outside a transaction nobody notices, inside one the statement fails as `stale_plan`.
        ///
        /// Default  0: none are kept, and nothing is paid for it.
        /// Cost     a round trip more the first time, and when one goes; the planning less each time after.
        /// With     PgBouncer in transaction mode: leave it at 0, unless PgBouncer keeps track itself (1.21 with max_prepared_statements).
        ///          Elsewhere its sessions change under the connection: statements are not found and prepared anew all the time, never mixed up.
        std::size_t statement_cache = 0;

        /// How much longer than its deadline a statement, batch or copy may take to be cancelled, which leaves the connection usable.
        ///
        /// Default  500 ms: several round trips to another continent. 0 does not cancel: the connection is of no more use then.
        /// Range    ≥ 0, else std::invalid_argument.
        /// With     the server's own limit is a belt for when it cannot be reached: `init = {"set statement_timeout = '60s'"}`. It is not set
        ///          along with each deadline, as that would be a round trip more.
        duration cancel_time = std::chrono::milliseconds{500};

        /// Hears what the server says beside its answers: notices, warnings and the last words of a session that is ended.
        ///
        /// Default  nobody.
        /// Called   inside any call that reads from the server, on its thread; must not use the connection. What it throws is dropped.
        std::function<void(const notice&)> on_notice{};
    };

    class connection;
    class dialling;
    class interrupt_token;
    class result;
    using rows = drivers::pg::rows;
    using copy_writer = drivers::pg::copy_writer;
    using copy_reader = drivers::pg::copy_reader;
    using batch = drivers::pg::batch;
    using batch_answer = drivers::pg::batch_answer;
    using batch_error = drivers::pg::batch_error;
    /// A value for `$1`, `$2` …: text as PostgreSQL reads it, or nothing for NULL.
    using parameter = std::optional<std::string_view>;

    explicit postgres(std::string conninfo) : postgres{with_conninfo(std::move(conninfo))} {}
    explicit postgres(const char* conninfo) : postgres{std::string{conninfo}} {}
    explicit postgres(options o) : options_{checked(std::move(o))}, plan_{make_plan(options_)} {
        if (options_.statement_cache != 0) plans_ = std::make_shared<std::atomic<std::uint64_t>>(0);
    }

    [[nodiscard]] const options& settings() const noexcept { return options_; }

    [[nodiscard]] connection open(deadline by);
    [[nodiscard]] dialling dial(deadline by);
    /// Says good-bye and closes. Never waits, also when the server is stopped.
    void close(connection& c) noexcept;

    /// Hang-up is `dead`, something to be read `suspicious`: a NOTIFY as well as the last words of a session that was ended. libpq's own
    /// PQstatus knows neither.
    ///
    /// Cost     one poll.
    [[nodiscard]] liveness peek(connection& c) noexcept;

    /// An empty query. Passes whatever the state of the transaction.
    void ping(connection& c, deadline by);

    /// `busy`: a statement, COPY or result is unfinished, or pipeline mode was left on. Free.
    [[nodiscard]] static session_state state(connection& c) noexcept;

    /// Clears: the unfinished statement, COPY or pipeline, as far as `options.drain_…` allow, and the transaction. Keeps everything else.
    ///
    /// Errors   driver_error when the unfinished is too much: the connection has to be closed.
    /// Cost     nothing if the connection is idle.
    void rollback(connection& c, deadline by);

    /// Clears what `rollback` clears, then everything that DISCARD ALL does (settings and role, prepared statements, cursors, temporary
    /// tables, LISTEN, advisory locks, sequence caches) and what libpq keeps by itself (non-blocking mode, error verbosity, trace, notice
    /// receiver, notifications nobody has read); then sets `options.client_connection_check_interval` and runs `options.init` again. What an on_connect hook has set is gone as well: put it into `init`.
    ///
    /// Cost     one round trip in all.
    void reset(connection& c, deadline by);

    /// Sends the same without waiting; `reset_finish` reads the answers.
    [[nodiscard]] bool rollback_start(connection& c) noexcept;
    [[nodiscard]] bool reset_start(connection& c) noexcept;
    /// Only on an idle connection: else false, as a script may hold what cannot follow a ROLLBACK in one message.
    [[nodiscard]] bool execute_start(connection& c, std::string_view sql) noexcept;
    void reset_finish(connection& c, deadline by);

    /// Runs any number of statements in one message and throws their rows away.
    ///
    /// Errors   driver_error. When the deadline passes the connection is of no more use: `state` is `unknown`.
    void execute(connection& c, std::string_view sql, deadline by);

    /// Runs one statement with bound values, `execute(c, "select $1::int + 1", {{"41"}}, by)`, and returns what it answers.
    ///
    /// Errors   driver_error, std::invalid_argument for a value with a zero byte.
    result execute(connection& c, std::string_view sql, std::span<const parameter> values, deadline by);
    result execute(connection& c, std::string_view sql, std::initializer_list<parameter> values, deadline by);

    /// The number that the login gave the session: pg_backend_pid() says another where a pooler is in between.
    [[nodiscard]] static std::uint64_t session_number(connection& c) noexcept;

    /// One statement, placeholders `$1`, `$2` …; see `can_query`. Values go as text whose type the server infers from the place, so that an
    /// integer fits wherever one can be written; bytes are a bytea. Columns come back as what they are: boolean, integers, floats, bytea; all
    /// others as text, numerics too, as nothing is to be lost.
    ///
    /// Errors   driver_error; std::invalid_argument for a text with a zero byte, more than 65535 values, 1 GiB or more. A deadline that has
    ///          passed: class `timeout`. The statement has been cancelled then, or had just ended, which nobody knows; the connection is
    ///          usable (inside a transaction: for its rollback), or `unknown` where that took longer than `options.cancel_time`.
    rows query(connection& c, const statement& what, deadline by);
    /// Begins a transaction.
    ///
    /// Errors   driver_error; when one is open already. std::invalid_argument: deferrable, but not serializable and read only.
    void begin(connection& c, const transaction_options& how, deadline by);
    /// Errors   driver_error: the transaction was rolled back; where it is of class `disconnected` or `timeout`, nobody knows. One whose
    ///          deadline had passed before it was sent is of class `cancelled`, and still open. It is never cancelled once sent: a commit that waits
    ///          for a standby would count as done.
    void commit(connection& c, deadline by);
    /// What `statement::keep` has prepared is not used again, and deallocated when next a statement is kept.
    void forget_statements(connection& c) noexcept;

    /// Begins `copy … from stdin`. The one deadline is for all of it. The connection must outlive what is returned, and is busy meanwhile.
    ///
    /// Shape    `auto w = d.copy_in(c, "copy t from stdin", by); w.row({1, "one"}); w.row({2, nullptr}); w.finish();`
    /// Errors   driver_error; std::invalid_argument for any other statement.
    [[nodiscard]] copy_writer copy_in(connection& c, std::string_view sql, deadline by);
    /// Begins `copy … to stdout`, likewise.
    ///
    /// Shape    `for (auto r = d.copy_out(c, "copy t to stdout", by); r.next();) use(r.fields());`
    [[nodiscard]] copy_reader copy_out(connection& c, std::string_view sql, deadline by);
    /// Sends all statements of a batch at once, and returns an answer for each.
    ///
    /// Errors   batch_error when one fails that all depend on; driver_error otherwise. Class `disconnected` or `timeout`: nobody knows what
    ///          took place.
    std::vector<batch_answer> run(connection& c, const batch& b, batch::mode how, deadline by);

    /// What the server reported with its last answer: `standby` in recovery, or where transactions are read only by default. Servers
    /// before 14 do not report it and are asked.
    [[nodiscard]] server_role role(connection& c, deadline by);

    [[nodiscard]] interrupt_token interrupter(connection& c);
    /// Asks the server to cancel what the session does.
    ///
    /// Errors   driver_error when the server could not be asked. That it was asked does not mean that anything was cancelled.
    /// With     libpq before 17 knows no deadline here: a thread asks, which stays behind for as long as the server is stopped. Nor does it use TLS for this.
    void cancel(interrupt_token& t, deadline by);
    /// Cuts the connection, which frees its user at once, then cancels what still runs, so that the server notices.
    void sever(interrupt_token& t, deadline by) noexcept;

    /// Closes the descriptor. What libpq holds in memory stays.
    void abandon(connection& c) noexcept;

    [[nodiscard]] PGconn* native_handle(connection& c) noexcept;

    [[nodiscard]] error_class classify(const std::exception& e) noexcept {
        const auto* own = dynamic_cast<const driver_error*>(&e);
        return own != nullptr ? own->kind() : error_class::other;
    }
    /// The class of a SQLSTATE of your own calls: `postgres::classify(PQresultErrorField(r, PG_DIAG_SQLSTATE))`; null is `other`. When
    /// PQstatus is bad as well the connection is lost, whatever the SQLSTATE.
    [[nodiscard]] static constexpr error_class classify(const char* sqlstate) noexcept {
        return drivers::pg::class_of(sqlstate != nullptr ? std::string_view{sqlstate} : std::string_view{});
    }

private:
    using session = drivers::pg::session;

    [[nodiscard]] static std::string program_name();
    [[nodiscard]] static options with_conninfo(std::string conninfo) {
        options o;
        o.conninfo = std::move(conninfo);
        return o;
    }
    [[nodiscard]] static options checked(options o);
    [[nodiscard]] static std::shared_ptr<const drivers::pg::blueprint> make_plan(const options& o);
    [[nodiscard]] static session& usable(connection& c, std::string_view doing);
    void end_work(session& s, deadline by) const;
    [[nodiscard]] bool send_reset(session& s) const noexcept;
    template <class Send>
    [[nodiscard]] bool start(connection& c, Send send) const noexcept;
    [[nodiscard]] static std::string terminated(std::string_view text);
    static void read_answers(session& s, std::string_view doing, deadline by);
    static void read_pipeline(session& s, std::span<const std::string_view> tags, std::string_view doing, deadline by);

    options options_;
    std::shared_ptr<const drivers::pg::blueprint> plan_;
    drivers::pg::plan_age plans_; // none if no statement is kept
};

/// One session at the server. Closed by the driver; a detached one closes itself.
class postgres::connection {
public:
    connection(connection&&) noexcept = default;
    connection& operator=(connection&&) noexcept = default;

    [[nodiscard]] PGconn* handle() const noexcept { return s_ ? s_->handle.get() : nullptr; }
    /// The SQLSTATE of the last words of a session that the server has ended, as 57P01; empty while there are none.
    [[nodiscard]] std::string_view last_word() const noexcept { return s_ ? std::string_view{s_->last_word} : std::string_view{}; }

private:
    friend postgres;
    explicit connection(std::unique_ptr<session> s) noexcept : s_{std::move(s)} {}
    std::unique_ptr<session> s_;
};

/// A connection that is being opened, in steps.
class postgres::dialling {
public:
    [[nodiscard]] int descriptor() const noexcept { return d_.descriptor(); }
    [[nodiscard]] readiness want() const noexcept { return d_.want(); }
    [[nodiscard]] deadline until() const noexcept { return d_.until(); }
    [[nodiscard]] bool step() { return d_.step(); }
    [[nodiscard]] connection take() { return connection{d_.take()}; }

private:
    friend postgres;
    explicit dialling(drivers::pg::dial d) noexcept : d_{std::move(d)} {}
    drivers::pg::dial d_;
};

/// What another thread needs to interfere with a connection; touches nothing of it.
class postgres::interrupt_token {
    friend postgres;
    drivers::descriptor_copy socket_;
    drivers::pg::canceller server_;
};

/// Rows, or how many there would have been.
class postgres::result {
public:
    [[nodiscard]] std::size_t rows() const noexcept { return static_cast<std::size_t>(PQntuples(r_.get())); }
    [[nodiscard]] std::size_t columns() const noexcept { return static_cast<std::size_t>(PQnfields(r_.get())); }
    /// The value as text, nothing for NULL. Lives as long as the result.
    ///
    /// Errors   std::out_of_range.
    [[nodiscard]] parameter at(std::size_t row, std::size_t column) const {
        if (row >= rows() || column >= columns()) {
            throw std::out_of_range("cenote: postgres::result: row " + std::to_string(row) + ", column " + std::to_string(column) + " of " +
                                    std::to_string(rows()) + " rows with " + std::to_string(columns()) + " columns");
        }
        const int y = static_cast<int>(row), x = static_cast<int>(column);
        if (PQgetisnull(r_.get(), y, x) != 0) return std::nullopt;
        return std::string_view{PQgetvalue(r_.get(), y, x), static_cast<std::size_t>(PQgetlength(r_.get(), y, x))};
    }
    [[nodiscard]] const PGresult* native_handle() const noexcept { return r_.get(); }

private:
    friend postgres;
    explicit result(drivers::pg::result_owner r) noexcept : r_{std::move(r)} {}
    drivers::pg::result_owner r_;
};

// ── what follows is how ──────────────────────────────────────────────────────────────────────────────────────────────────

inline std::string postgres::program_name() {
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    if (::program_invocation_short_name != nullptr && *::program_invocation_short_name != '\0') return ::program_invocation_short_name;
#endif
    return "cenote";
}

inline postgres::options postgres::checked(options o) {
    if (o.tcp_user_timeout < duration::zero() || o.tcp_user_timeout > std::chrono::milliseconds{2147483647}) {
        detail::bad_value("postgres.options.tcp_user_timeout", o.tcp_user_timeout, "must be 0 … 2147483647 ms; 0 leaves it to the kernel");
    }
    if (o.client_connection_check_interval < duration::zero() || o.client_connection_check_interval > std::chrono::milliseconds{2147483647}) {
        detail::bad_value("postgres.options.client_connection_check_interval", o.client_connection_check_interval,
                          "must be 0 … 2147483647 ms; 0 leaves it to the server");
    }
    detail::require_not_negative("postgres.options.drain_time", o.drain_time);
    detail::require_not_negative("postgres.options.cancel_time", o.cancel_time);
    for (const std::string& sql : o.init) {
        if (sql.empty() || sql.find('\0') != sql.npos) {
            drivers::pg::refuse("options.init", sql.empty() ? "''" : "a text with a zero byte", "must be statements, not empty and without a zero byte");
        }
    }
    return o;
}

inline std::shared_ptr<const drivers::pg::blueprint> postgres::make_plan(const options& o) {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(o.tcp_user_timeout).count();
    drivers::pg::settings defaults{{"fallback_application_name", o.application_name}};
    if (ms > 0) defaults.emplace_back("tcp_user_timeout", std::to_string(ms));
    const auto check = std::chrono::ceil<std::chrono::milliseconds>(o.client_connection_check_interval).count();
    auto hears = o.on_notice ? std::make_shared<const std::function<void(const notice&)>>(o.on_notice) : nullptr;
    return std::make_shared<const drivers::pg::blueprint>(
        drivers::pg::blueprint{drivers::pg::target{o.conninfo, o.parameters, defaults}, o.init, std::move(hears),
                               check > 0 ? "set client_connection_check_interval = " + std::to_string(check) : std::string{}});
}

inline postgres::dialling postgres::dial(deadline by) {
    if (!options_.credentials) return dialling{drivers::pg::dial{plan_, by}};
    const login now = options_.credentials.get();
    options o = options_;
    if (!now.user.empty()) o.parameters.emplace_back("user", now.user);
    o.parameters.emplace_back("password", now.password);
    return dialling{drivers::pg::dial{make_plan(o), by}};
}
inline postgres::connection postgres::open(deadline by) { return drivers::complete(dial(by)); }

inline void postgres::close(connection& c) noexcept {
    const drivers::errno_kept keep;
    c.s_.reset();
}

inline liveness postgres::peek(connection& c) noexcept {
    return c.s_ && c.s_->alive() ? drivers::peek_socket(PQsocket(c.s_->handle.get())) : liveness::dead;
}

inline postgres::session& postgres::usable(connection& c, std::string_view doing) {
    if (!c.s_) drivers::pg::fail(error_class::disconnected, doing, "the connection is closed");
    if (!c.s_->alive()) drivers::pg::fail_broken(*c.s_, doing);
    return *c.s_;
}

inline void postgres::ping(connection& c, deadline by) {
    const drivers::errno_kept keep;
    session& s = usable(c, "ping failed");
    drivers::pg::expect(s, drivers::pg::round_trip(s, "ping failed", "", by).get(), "", "ping failed");
}

inline session_state postgres::state(connection& c) noexcept {
    if (!c.s_ || !c.s_->alive()) return session_state::unknown;
    PGconn* const h = c.s_->handle.get();
    if (PQpipelineStatus(h) != PQ_PIPELINE_OFF) return session_state::busy;
    switch (PQtransactionStatus(h)) {
    case PQTRANS_IDLE: return session_state::idle;
    case PQTRANS_INTRANS: return session_state::in_transaction;
    case PQTRANS_INERROR: return session_state::failed_transaction;
    case PQTRANS_ACTIVE: return session_state::busy;
    case PQTRANS_UNKNOWN: break;
    }
    return session_state::unknown;
}

/// Ends what is unfinished, so that commands can be sent again.
inline void postgres::end_work(session& s, deadline by) const {
    PGconn* const h = s.handle.get();
    if (PQpipelineStatus(h) == PQ_PIPELINE_OFF && PQtransactionStatus(h) != PQTRANS_ACTIVE) return;
    if (drivers::pg::drain(s, {options_.drain_bytes, options_.drain_time}, by)) return;
#if defined(LIBPQ_HAS_ASYNC_CANCEL)
    drivers::pg::canceller{h}.ask("cannot clean up", by);
    if (drivers::pg::drain(s, {std::numeric_limits<std::size_t>::max(), by.remaining()}, by)) return;
#endif
    s.broken = true;
    drivers::pg::fail(error_class::other, "cannot clean up", "more of a result is unread than options.drain_bytes and drain_time allow");
}

inline void postgres::rollback(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot roll back";
    const drivers::errno_kept keep;
    session& s = usable(c, doing);
    end_work(s, by);
    if (PQtransactionStatus(s.handle.get()) == PQTRANS_IDLE) return;
    drivers::pg::expect(s, drivers::pg::round_trip(s, doing, "rollback", by).get(), "ROLLBACK", doing);
}

/// Sends all of a full reset. Each statement has a sync of its own, as DISCARD ALL fails behind anything else in one transaction.
inline bool postgres::send_reset(session& s) const noexcept {
    PGconn* const h = s.handle.get();
    PQsetErrorVerbosity(h, PQERRORS_DEFAULT);
    PQsetErrorContextVisibility(h, PQSHOW_CONTEXT_ERRORS);
    PQuntrace(h);
    PQsetNoticeReceiver(h, &session::receive, &s);
    s.clears = true;
    ++s.turn;
    if (s.kept) s.kept->forget();
    const bool open = s.rolls_back = PQtransactionStatus(h) != PQTRANS_IDLE;
    if (!open && plan_->init.empty() && !s.checked) return PQsendQuery(h, "discard all") == 1;
    if (PQenterPipelineMode(h) == 0) return false;
    const auto send = [&](const char* sql) {
        if (PQsendQueryParams(h, sql, 0, nullptr, nullptr, nullptr, nullptr, 0) == 0) return false;
        ++s.syncs_due;
#if defined(LIBPQ_HAS_SEND_PIPELINE_SYNC)
        return PQsendPipelineSync(h) == 1; // flushed in the end, all in one write
#else
        return PQpipelineSync(h) == 1;
#endif
    };
    if (open && !send("rollback")) return false;
    if (!send("discard all")) return false;
    if (s.checked && !send(plan_->check.c_str())) return false;
    for (const std::string& sql : plan_->init) {
        if (!send(sql.c_str())) return false;
    }
    return true;
}

/// Reads the answers to whatever was started.
inline void postgres::read_answers(session& s, std::string_view doing, deadline by) {
    drivers::pg::flush(s, doing, by);
    const bool rolls_back = std::exchange(s.rolls_back, false), clears = std::exchange(s.clears, false);
    if (PQpipelineStatus(s.handle.get()) == PQ_PIPELINE_OFF) {
        const drivers::pg::result_owner last = drivers::pg::finish(s, doing, by);
        if (clears || rolls_back) drivers::pg::expect(s, last.get(), clears ? "DISCARD" : "ROLLBACK", doing);
    } else {
        std::initializer_list<std::string_view> both{"ROLLBACK", "DISCARD"};
        read_pipeline(s, std::span{both}.subspan(rolls_back ? 0 : 1), doing, by);
    }
    if (!clears) return;
    while (PGnotify* const n = PQnotifies(s.handle.get())) PQfreemem(n); // of channels that nobody listens to any more
}
/// `tags` are those of the first commands.
inline void postgres::read_pipeline(session& s, std::span<const std::string_view> tags, std::string_view doing, deadline by) {
    drivers::pg::result_owner bad;
    for (bool between = false; s.syncs_due > 0;) {
        drivers::pg::result_owner r = drivers::pg::next(s, doing, by);
        if (!r) {
            if (std::exchange(between, true)) drivers::pg::fail_broken(s, doing); // it believes that no answer is due
            continue;
        }
        between = false;
        if (PQresultStatus(r.get()) == PGRES_PIPELINE_SYNC) {
            --s.syncs_due;
        } else {
            const bool failed = drivers::pg::is_error(PQresultStatus(r.get()));
            if (!tags.empty()) {
                if (!failed) drivers::pg::expect(s, r.get(), tags.front(), doing);
                tags = tags.subspan(1);
            }
            if (failed && !bad) bad = std::move(r);
        }
    }
    if (PQexitPipelineMode(s.handle.get()) == 0 || !s.alive()) drivers::pg::fail_broken(s, doing);
    if (bad) drivers::pg::fail(s, bad.get(), doing);
}

inline void postgres::reset(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot reset";
    const drivers::errno_kept keep;
    session& s = usable(c, doing);
    end_work(s, by);
    PQsetnonblocking(s.handle.get(), 0);
    const drivers::pg::unblocked here{s};
    if (!send_reset(s)) drivers::pg::fail_broken(s, doing);
    read_answers(s, doing, by);
}

/// Sends without waiting; half of it is as good as none.
template <class Send>
bool postgres::start(connection& c, Send send) const noexcept {
    const drivers::errno_kept keep;
    if (const session_state now = state(c); now == session_state::busy || now == session_state::unknown) return false;
    session& s = *c.s_;
    const drivers::pg::unblocked here{s};
    if (send(s) && PQflush(s.handle.get()) == 0) return true;
    s.broken = true;
    return false;
}
inline bool postgres::rollback_start(connection& c) noexcept {
    return start(c, [](session& s) {
        s.rolls_back = PQtransactionStatus(s.handle.get()) != PQTRANS_IDLE;
        return !s.rolls_back || PQsendQuery(s.handle.get(), "rollback") == 1;
    });
}
inline bool postgres::reset_start(connection& c) noexcept {
    if (PGconn* const h = c.handle()) PQsetnonblocking(h, 0); // what is left behind is part of the dirt
    return start(c, [this](session& s) { return send_reset(s); });
}
inline bool postgres::execute_start(connection& c, std::string_view sql) noexcept {
    if (state(c) != session_state::idle) return false;
    try {
        const std::string text{sql};
        return start(c, [&](session& s) { return PQsendQuery(s.handle.get(), text.c_str()) == 1; });
    } catch (...) { // no memory: nothing was sent
        return false;
    }
}
inline void postgres::reset_finish(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot reset";
    const drivers::errno_kept keep;
    session& s = usable(c, doing);
    const drivers::pg::unblocked here{s};
    read_answers(s, doing, by);
}

inline void postgres::execute(connection& c, std::string_view sql, deadline by) {
    constexpr std::string_view doing = "statement failed";
    const drivers::errno_kept keep;
    (void)drivers::pg::round_trip(usable(c, doing), doing, terminated(sql).c_str(), by);
}

inline postgres::result postgres::execute(connection& c, std::string_view sql, std::initializer_list<parameter> values, deadline by) {
    return execute(c, sql, std::span<const parameter>{values.begin(), values.size()}, by);
}
inline postgres::result postgres::execute(connection& c, std::string_view sql, std::span<const parameter> values, deadline by) {
    constexpr std::string_view doing = "statement failed";
    const drivers::errno_kept keep;
    session& s = usable(c, doing);
    std::vector<std::string> texts;
    std::vector<const char*> pointers;
    texts.reserve(values.size());
    for (const parameter& v : values) {
        pointers.push_back(v ? texts.emplace_back(terminated(*v)).c_str() : nullptr);
    }
    if (values.size() > 65535) throw std::invalid_argument("cenote: postgres.execute: values = " + std::to_string(values.size()) + ": must be at most 65535");
    const std::string statement = terminated(sql);
    return result{drivers::pg::round_trip(s, doing, by, [&](PGconn* h) {
        return PQsendQueryParams(h, statement.c_str(), static_cast<int>(pointers.size()), nullptr, pointers.data(), nullptr, nullptr, 0);
    })};
}

inline std::uint64_t postgres::session_number(connection& c) noexcept {
    return c.handle() != nullptr ? static_cast<std::uint64_t>(PQbackendPID(c.handle())) : 0;
}

inline postgres::rows postgres::query(connection& c, const statement& what, deadline by) {
    constexpr std::string_view doing = "statement failed";
    const drivers::errno_kept keep;
    session& s = usable(c, doing);
    const drivers::pg::bound_values values{what.values};
    const std::string sql = terminated(what.sql);
    if (what.keep && plans_) {
        if (!s.kept) s.kept = std::make_unique<drivers::pg::kept_statements>(options_.statement_cache, plans_);
        return drivers::pg::ask_kept(s, doing, options_.cancel_time, by, what.stream, sql, values);
    }
    return drivers::pg::ask(s, doing, options_.cancel_time, by, what.stream, [&](PGconn* h) {
        return PQsendQueryParams(h, sql.c_str(), values.count(), values.types(), values.data(), values.lengths(), values.formats(), 0);
    });
}

inline void postgres::forget_statements(connection& c) noexcept {
    if (c.s_ && c.s_->kept) c.s_->kept->drop_all();
}

inline void postgres::begin(connection& c, const transaction_options& how, deadline by) {
    constexpr std::string_view doing = "cannot begin a transaction";
    const drivers::errno_kept keep;
    session& s = usable(c, doing);
    const std::string sql = drivers::pg::begin_sql(how);
    drivers::pg::require_free(s, doing, by);
    if (PQtransactionStatus(s.handle.get()) != PQTRANS_IDLE) drivers::pg::fail(error_class::other, doing, "one is open already");
    drivers::pg::expect(s, drivers::pg::round_trip(s, doing, sql.c_str(), by).get(), "BEGIN", doing);
}

inline void postgres::commit(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot commit";
    const drivers::errno_kept keep;
    session& s = usable(c, doing);
    // Not of class timeout, as everybody knows: it was not even sent.
    if (by.expired()) drivers::pg::fail(error_class::cancelled, doing, "deadline passed before it was sent", {}, condition::statement_timeout);
    drivers::pg::require_free(s, doing, deadline::never());
    if (PQtransactionStatus(s.handle.get()) == PQTRANS_IDLE) drivers::pg::fail(error_class::other, doing, "no transaction is open");
    drivers::pg::result_owner r;
    try {
        r = drivers::pg::round_trip(s, doing, "commit", by);
    } catch (const driver_error& e) {
        // A trigger that runs now may have waited too long for a lock, or lost a server of its own: the answer is as clear as any other.
        if (!s.alive() || PQtransactionStatus(s.handle.get()) != PQTRANS_IDLE || e.sqlstate() == "08007") throw;
        if (e.kind() != error_class::timeout && e.kind() != error_class::disconnected) throw;
        throw driver_error{error_class::other, e.what(), e.native_code(), e.sqlstate(), e.met()};
    }
    if (drivers::pg::answers(r.get(), "ROLLBACK")) {
        drivers::pg::fail(error_class::other, doing, "the server rolled back instead, as a statement had failed", "25P02");
    }
    drivers::pg::expect(s, r.get(), "COMMIT", doing);
}

inline postgres::copy_writer postgres::copy_in(connection& c, std::string_view sql, deadline by) {
    const drivers::errno_kept keep;
    return {usable(c, "cannot copy in"), terminated(sql), options_.cancel_time, by};
}
inline postgres::copy_reader postgres::copy_out(connection& c, std::string_view sql, deadline by) {
    const drivers::errno_kept keep;
    return {usable(c, "cannot copy out"), terminated(sql), options_.cancel_time, by};
}
inline std::vector<postgres::batch_answer> postgres::run(connection& c, const batch& b, batch::mode how, deadline by) {
    const drivers::errno_kept keep;
    return drivers::pg::pipeline{usable(c, "batch failed"), b, how, options_.cancel_time, by}.run();
}

inline std::string postgres::terminated(std::string_view text) {
    if (text.find('\0') != text.npos) throw std::invalid_argument("cenote: postgres.execute: a text contains a zero byte, where libpq would stop");
    return std::string{text};
}

inline server_role postgres::role(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot tell the role";
    session& s = usable(c, doing);
    const auto on = [&](const char* name) -> std::optional<bool> {
        const char* const value = PQparameterStatus(s.handle.get(), name);
        return value != nullptr ? std::optional{std::string_view{value} == "on"} : std::nullopt;
    };
    const auto recovering = on("in_hot_standby"), read_only = on("default_transaction_read_only");
    if (recovering && read_only) return *recovering || *read_only ? server_role::standby : server_role::primary;
    const result asked = execute(c, "select pg_catalog.pg_is_in_recovery() or pg_catalog.current_setting('default_transaction_read_only') = 'on'", {}, by);
    return asked.at(0, 0) == "t" ? server_role::standby : server_role::primary;
}

inline postgres::interrupt_token postgres::interrupter(connection& c) {
    session& s = usable(c, "cannot make an interrupter");
    interrupt_token t;
    t.socket_ = drivers::descriptor_copy{PQsocket(s.handle.get())};
    if (!t.socket_) drivers::pg::fail(error_class::server_full, "cannot make an interrupter", "no descriptor is left");
    t.server_ = drivers::pg::canceller{s.handle.get()};
    return t;
}
inline void postgres::cancel(interrupt_token& t, deadline by) {
    const drivers::errno_kept keep;
    t.server_.ask("cannot cancel", by);
}
inline void postgres::sever(interrupt_token& t, deadline by) noexcept {
    t.socket_.shut();
    if (by.expired()) return;
    try {
        cancel(t, by);
    } catch (...) { // then the server notices when it next writes
    }
}

inline void postgres::abandon(connection& c) noexcept {
    const drivers::errno_kept keep;
    const session* const left = c.s_.release(); // as it is: libpq and its TLS may be in the middle of something
    if (left != nullptr && left->handle) drivers::let_go(PQsocket(left->handle.get()));
}

inline PGconn* postgres::native_handle(connection& c) noexcept { return c.handle(); }

} // namespace cenote
