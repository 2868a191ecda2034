// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/credentials.hpp>
#include <cenote/driver.hpp>
#include <cenote/drivers/detail/mysql_client.hpp>
#include <cenote/drivers/detail/mysql_dial.hpp>
#include <cenote/drivers/detail/mysql_error.hpp>
#include <cenote/drivers/detail/mysql_query.hpp>
#include <cenote/drivers/detail/mysql_session.hpp>
#include <cenote/drivers/detail/mysql_target.hpp>
#include <cenote/drivers/detail/mysql_transact.hpp>
#include <cenote/drivers/detail/socket.hpp>
#include <cenote/session/statement.hpp>
#include <cenote/session/value.hpp>

#include <mysql.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote {

/// The driver for MySQL and MariaDB, over MariaDB Connector/C (3.1 or later, LGPL-2.1) or Oracle's libmysqlclient (8.1 or later, GPL-2.0
/// with Oracle's FOSS exception): whichever one's `mysql.h` is found is the one to link.
///
/// The client's calls that can wait are made in their non-blocking forms, under the pool's own deadlines. Your own calls on the native
/// handle are the client's usual ones, and wait as long as they like unless you set MYSQL_OPT_READ_TIMEOUT in `options.before_connect`.
///
/// Called   everything from several threads at once, each on its own connection. A thread that uses a connection is made known to
///          libmysqlclient by itself. Both clients set SIGPIPE to be ignored when they are first used; it has to stay ignored
///          where TLS is used, as Connector/C writes to a connection that is gone by OpenSSL's own means.
/// Errors   driver_error with the number of the server or client as `native_code()`, its SQLSTATE (HY000 even for a lost connection)
///          and text, and the password taken out of it.
/// Cost     with local socket / TCP on one machine: open and close 90 / 115 µs without TLS, peek 0.2 µs, state 30 ns, ping and reset each one
///          round trip, 10 / 15 µs; a reset that is started 4 / 8 µs, and 2 µs to finish. A ping takes libmysqlclient up to twice as long.
///          Connector/C keeps a stack of 60 KiB for each connection.
/// With     `rollback` and `reset` say below what they clear. BEGIN, SET autocommit = 1 and DDL commit what is open: either has undone it
///          before the next user can. What cannot be told apart or undone is closed instead: a statement
///          that was sent and not waited for (`mysql_send_query`), a session that `mysql_change_user` gave to another user, and one
///          whose holder switched MYSQL_OPT_RECONNECT on.
///          A prepared statement does not survive a reset: it answers 2013 (Connector/C) or 2056 although the connection is well.
///          Connector/C before 3.3.4 may crash after a failed connect (CONC-622).
class mysql {
public:
    /// `off`, `preferred` (by TCP, where the server offers it), `required`, `verify_ca` (signed by `ca`), `verify_identity` (and made out to `host`).
    using tls_mode = drivers::mysql_client::tls_mode;
    struct tls_options {
        /// Default  `preferred`, with either client.
        /// Cost     1 ms of the processor per connect with `ca`. Without, 4 to 20 ms: the client then reads the system's whole list of
        ///          authorities, only to ask none of them.
        /// Errors   a mode that this client cannot give throws std::invalid_argument; a server that does not meet it, driver_error.
        /// With     without TLS on TCP, MySQL's usual authentication (caching_sha2_password) takes only passwords it has seen lately, unless
        ///          `before_connect` sets MYSQL_OPT_GET_SERVER_PUBLIC_KEY (libmysqlclient).
        tls_mode mode = tls_mode::preferred;
        std::string ca{};   ///< PEM file; given with `verify_ca` and `verify_identity`, and only there
        std::string cert{}; ///< PEM file of the client's own certificate, with its `key`
        std::string key{};
    };

    struct options {
        /// A name or an address, reached by TCP also when it is "localhost" (the clients themselves would take a socket file then).
        /// Looking a name up may take as long as the system's resolver likes, whatever the deadline; an address needs none of it.
        ///
        /// Range    one name or address: lists, URLs and connection strings throw std::invalid_argument.
        std::string host{"localhost"};
        unsigned port = 3306;
        /// The file of a local server's socket, instead of host and port.
        std::string socket{};

        std::string user{};     ///< empty: the client takes the name of the system's user
        std::string password{}; ///< in no message and no dump
        /// Where both come from each time a connection is opened, instead.
        ///
        /// Default  none.
        cenote::credentials credentials{};

        /// The default schema, which `reset` brings back.
        ///
        /// Default  none. Then a session that selected one cannot be reset, and is closed instead.
        std::string database{};

        /// What text is sent and received in.
        std::string charset{"utf8mb4"};

        tls_options tls{};

        /// How the server's lists of sessions name this program (connection attribute program_name); empty: not at all.
        std::string program_name{"cenote"};

        /// How long sent data may stay unacknowledged before the system gives the connection up: what ends a call of yours whose packets
        /// vanish, which keep-alives do not.
        ///
        /// Default  15 s. 0 leaves it to the system (about 15 minutes). TCP on Linux only.
        duration tcp_user_timeout = std::chrono::seconds{15};

        /// Statements run on each new connection and again at the end of each `reset`, one each.
        ///
        /// Errors   when one fails, `open` and `reset` fail.
        std::vector<std::string> init{};

        /// Whether one call may carry several statements separated by semicolons (CLIENT_MULTI_STATEMENTS).
        ///
        /// Default  false: text that got into a statement by mistake cannot begin another one.
        bool multi_statements = false;

        /// How much of unread results a clean-up reads before it gives the connection up; `drain_time` is spent waiting for them, what has
        /// arrived already is read.
        ///
        /// Default  64 KiB or 1 ms, whichever comes first: a new connection costs more than that, but not much.
        /// Range    drain_time ≥ 0, else std::invalid_argument.
        std::size_t drain_bytes = std::size_t{64} * 1024;
        duration drain_time = std::chrono::milliseconds{1};

        /// How many prepared statements a connection keeps for `statement::keep`; the one used longest ago goes first.
        ///
        /// Default  0: none, and nothing is spent on it. The server's max_prepared_stmt_count (16382) counts those of all its sessions.
        /// With     a reset ends them.
        std::size_t statement_cache = 0;

        /// How long a `query` whose deadline has passed takes to have its statement stopped and to read the rest of its answer, so that
        /// the connection stays of use. Then it is cut.
        ///
        /// Default  1 s: KILL QUERY needs a connection of its own. 0: the connection is cut at the deadline, and the server not told.
        /// Range    ≥ 0, else std::invalid_argument.
        duration cancel_time = std::chrono::seconds{1};

        /// The last word on a handle before it connects: more mysql_options. Called on each connect, on several threads at once.
        ///
        /// Errors   what it throws comes out of `open`. MYSQL_OPT_RECONNECT, which would swap the session without a word, is refused there.
        /// With     MYSQL_INIT_COMMAND is not run again after a reset; `init` is.
        std::function<void(MYSQL*)> before_connect{};
    };

    using connection = drivers::mysql_client::session;
    using dialling = drivers::mysql_client::dialling<options>;
    class token;

private:
    using target = drivers::mysql_client::target<options>;

public:
    using rows = drivers::mysql_client::rows<mysql, target>;

    /// Errors   std::invalid_argument for a bad setting, naming field, value and rule.
    explicit mysql(options o) : target_{std::make_shared<const target>(std::move(o))} {}

    [[nodiscard]] const options& settings() const noexcept { return target_->opt; }

    /// Connects, sets the character set and runs `options.init`.
    ///
    /// Errors   driver_error. The deadline holds to the millisecond, but for name resolution and, with Connector/C, for a server that falls
    ///          silent in the middle of a TLS handshake: that may cost a second more.
    /// Cost     the client's own connect, a round trip for the character set, and one per statement of `init`.
    [[nodiscard]] connection open(deadline by);
    /// `open` in steps.
    ///
    /// With     Connector/C makes the TLS handshake in one step, which may wait for the server, up to the deadline.
    [[nodiscard]] dialling dial(deadline by);

    /// Says goodbye to the server and closes. Never waits: a connection in the middle of something is cut instead.
    ///
    /// With     a server in the middle of a statement may not notice until its end; `sever` tells it.
    void close(connection& c) noexcept;

    /// A look at the socket.
    [[nodiscard]] liveness peek(connection& c) noexcept;

    /// COM_PING, or `DO 0` with libmysqlclient, which has no ping that does not wait. A session that is busy fails.
    void ping(connection& c, deadline by);

    /// What the server said with its last answer. `unknown` also when an earlier call of yours lost the connection.
    ///
    /// With     LOCK TABLES, GET_LOCK and settings do not show: only `reset` ends those.
    [[nodiscard]] static session_state state(connection& c) noexcept;

    /// Clears: results left unread, as far as `options.drain_…` allow, and the transaction. Keeps everything else.
    ///
    /// Errors   driver_error, and the connection is of no more use, when more is left than that or when it is read one by one
    ///          (mysql_use_result) or by a prepared statement: only the holder of those can end them.
    /// Cost     nothing without a transaction, else a round trip.
    void rollback(connection& c, deadline by);

    /// Clears what `rollback` clears, and then: user variables · session variables, isolation level and autocommit · temporary tables ·
    /// GET_LOCK and LOCK TABLES · prepared statements · the default schema, the character set of both sides and what the client thinks
    /// of the session, which the client's own reset leaves as they were. Then it runs `options.init` again.
    ///
    /// Cost     one round trip; one more for a default schema or character set that was changed, and one per statement of `init`. The
    ///          first on each connection takes four more, to learn what the server restores by itself.
    /// With     a session that switched session_track_schema off hides its default schema from this.
    void reset(connection& c, deadline by);

    /// Sends the reset, or the rollback; false when the connection is busy or the write would wait.
    [[nodiscard]] bool reset_start(connection& c) noexcept;
    [[nodiscard]] bool rollback_start(connection& c) noexcept;
    /// Sends the statement. In a transaction it sends a rollback, and `reset_finish` the statement.
    [[nodiscard]] bool execute_start(connection& c, std::string_view sql) noexcept;
    void reset_finish(connection& c, deadline by);

    /// Runs the SQL and throws all its results away. When the deadline passes first the connection is lost.
    ///
    /// Errors   driver_error. Of a failure in the middle of rows libmysqlclient tells nothing but 2014, and the connection is lost as well.
    void execute(connection& c, std::string_view sql, deadline by);

    /// The number that the login gave the session: CONNECTION_ID() says another where a proxy is in between.
    [[nodiscard]] static std::uint64_t session_number(connection& c) noexcept { return c.id_; }

    /// Runs one statement. With values it is prepared on the server (binary protocol), without it is sent as text.
    ///
    /// Shape    integers, signed and unsigned, FLOAT and DOUBLE come as numbers; BLOB, BINARY, BIT and GEOMETRY as bytes; all else, as
    ///          DECIMAL, dates and JSON, as text. Streamed values are valid until the next row. Of several results, as those of a
    ///          procedure, the first with rows is given and the others are read away.
    /// Errors   driver_error; std::invalid_argument when there are more or fewer values than placeholders. When the deadline passes the
    ///          statement is stopped (see options.cancel_time): class `timeout`, condition `statement_timeout`. A statement without rows
    ///          that ends all the same before the server has stopped it succeeds, late. The connection is good for more unless `state` is `unknown`.
    /// Cost     one round trip. Two for values with libmysqlclient, with MySQL's server, or where quotes or comments in the SQL leave the
    ///          number of its placeholders to the server. With `keep` one after the first.
    /// With     a server that freezes costs options.cancel_time more. MAX_EXECUTION_TIME and max_statement_time, which stop a statement
    ///          on the server's side, are yours to set in `options.init`: along with each statement they would cost a round trip.
    ///          A FLOAT without values comes with the six digits that the server prints, with values exactly. Each bounded call of
    ///          libmysqlclient with values starts a thread, as it has no other way to end one.
    [[nodiscard]] rows query(connection& c, const statement& s, deadline by);

    /// What `statement.keep` has kept is closed before the next of them is prepared.
    void forget_statements(connection& c) noexcept { c.forgets_ = c.kept_ != nullptr; }

    /// Begins a transaction.
    ///
    /// Errors   std::invalid_argument for `deferrable`; driver_error, also when one is open already, which the server would commit.
    /// Cost     a round trip; one more for an isolation level, unless options.multi_statements is set.
    void begin(connection& c, const transaction_options& o, deadline by);

    /// Commits. What the server has rolled back by itself, as after a deadlock, fails with class `serialization`.
    ///
    /// Errors   driver_error. Class `disconnected` or `timeout`: nobody knows what became of it, and the connection is lost. Class `cancelled`:
    ///          the deadline had passed before anything was sent, and the transaction is still open.
    /// Cost     a round trip; one more after an error in the transaction, to learn whether that has ended it.
    void commit(connection& c, deadline by);

    /// Inserts many rows with few statements: `insert into t (a,b) values (?,?),(?,?)…`, each prepared, with up to 65535 values or 1 MiB.
    ///
    /// Shape    `values` row after row, a value for each of `columns`. A dot in `table` separates schema and name; names are quoted.
    /// Errors   std::invalid_argument for names and numbers that cannot be; driver_error, after which earlier statements of the same call
    ///          have inserted their rows: in a transaction all of them go back.
    /// Cost     one round trip per statement, two for the first of a length.
    /// @return  how many rows were inserted.
    std::uint64_t insert_many(connection& c, std::string_view table, std::span<const std::string_view> columns, std::span<const value_view> values, deadline by);

    /// What another thread needs to interfere with a connection in use.
    [[nodiscard]] token interrupter(connection& c);

    /// KILL QUERY over a connection of its own. An idle session takes no harm.
    ///
    /// With     behind an address that hides several servers it may reach another one, and stop a statement of the same user there.
    void cancel(token& t, deadline by);

    /// Ends the socket, so that its user's call fails at once, and then the session, with KILL CONNECTION over a connection of its own:
    /// a server in the middle of a statement would notice only at its end, and hold its locks until then.
    void sever(token& t, deadline by) noexcept;

    /// Lets go of a connection in a forked child; the parent's session does not notice.
    void abandon(connection& c) noexcept;

    /// `standby` for a server with read_only or innodb_read_only set, also when this user may write there nevertheless.
    ///
    /// Cost     a round trip for a standby, two for a primary.
    [[nodiscard]] server_role role(connection& c, deadline by);

    [[nodiscard]] MYSQL* native_handle(connection& c) noexcept;

    [[nodiscard]] error_class classify(const std::exception& e) noexcept {
        const auto* own = dynamic_cast<const driver_error*>(&e);
        return own ? own->kind() : error_class::other;
    }
    /// The class of a number out of `mysql_errno`.
    [[nodiscard]] static constexpr error_class classify(unsigned code) noexcept { return drivers::mysql_client::class_of(code); }

private:
    void kill(const token& t, std::string_view what, deadline by) const;

    /// What to connect with at this moment.
    [[nodiscard]] std::shared_ptr<const target> target_now() const;

    std::shared_ptr<const target> target_; // shared with what outlives a move of the driver
};

/// What `interrupter` gives.
class mysql::token {
public:
    token(token&&) noexcept = default;
    token& operator=(token&&) noexcept = default;

private:
    friend mysql;
    token() = default;
    drivers::descriptor_copy socket_{};
    std::string address_{}; // the server's, as the socket says; empty for a local one
    unsigned long session_ = 0;
};

inline mysql::dialling mysql::dial(deadline by) { return dialling{target_now(), by}; }
inline std::shared_ptr<const mysql::target> mysql::target_now() const {
    if (!target_->opt.credentials) return target_;
    const login now = target_->opt.credentials.get();
    options o = target_->opt;
    o.credentials = {};
    if (!now.user.empty()) o.user = now.user;
    o.password = now.password;
    return std::make_shared<const target>(std::move(o));
}
inline mysql::connection mysql::open(deadline by) { return drivers::complete(dial(by)); }
inline void mysql::close(connection& c) noexcept { c.close(); }
inline void mysql::abandon(connection& c) noexcept { c.abandon(); }

inline liveness mysql::peek(connection& c) noexcept { return c.peek(); }
inline session_state mysql::state(connection& c) noexcept { return c.state(); }
inline void mysql::ping(connection& c, deadline by) {
    c.call_.ping(c.ready(*target_, "cannot use"));
    c.finish(*target_, "cannot use", by);
}

inline void mysql::rollback(connection& c, deadline by) { c.rollback(*target_, by); }
inline void mysql::reset(connection& c, deadline by) { c.reset(*target_, by); }
inline bool mysql::reset_start(connection& c) noexcept { return c.begin_if_not_busy(connection::work::reset, {}); }
inline bool mysql::rollback_start(connection& c) noexcept { return c.begin_if_not_busy(connection::work::rollback, "rollback"); }
inline bool mysql::execute_start(connection& c, std::string_view sql) noexcept { return c.begin_script(sql); }
inline void mysql::reset_finish(connection& c, deadline by) { c.finish_begun(*target_, by); }

inline void mysql::execute(connection& c, std::string_view sql, deadline by) {
    (void)c.ready(*target_, "statement failed on");
    c.run(*target_, sql, "statement failed on", by);
}

inline mysql::rows mysql::query(connection& c, const statement& s, deadline by) { return rows{*this, c, *target_, s, by}; }
inline void mysql::begin(connection& c, const transaction_options& o, deadline by) { drivers::mysql_client::transacting::begin(c, *target_, o, by); }
inline void mysql::commit(connection& c, deadline by) { drivers::mysql_client::transacting::commit(c, *target_, by); }
inline std::uint64_t mysql::insert_many(connection& c, std::string_view table, std::span<const std::string_view> columns,
                                        std::span<const value_view> values, deadline by) {
    const drivers::mysql_client::multi_row_insert insert{table, columns, values};
    return insert.run([&](const statement& s) { return query(c, s, by).affected(); });
}

inline MYSQL* mysql::native_handle(connection& c) noexcept {
    drivers::mysql_client::attach_thread();
    return c.handle();
}

inline server_role mysql::role(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot ask for the role of";
    const auto is_on = [&](std::string_view sql) { // one variable at a time: beside other things MariaDB answers 0
        std::string value;
        (void)c.ready(*target_, doing);
        c.run(*target_, sql, doing, by, &value);
        return !value.empty() && value != "0" && value != "OFF";
    };
    try {
        return is_on("select @@global.read_only") || is_on("select @@global.innodb_read_only") ? server_role::standby : server_role::primary;
    } catch (const driver_error& e) {
        constexpr int unknown_variable = 1193;
        if (e.native_code() == unknown_variable) return server_role::unknown;
        throw;
    }
}

inline mysql::token mysql::interrupter(connection& c) {
    token t;
    if (c.handle() == nullptr) return t;
    const int fd = drivers::mysql_client::descriptor(c.handle());
    t.socket_ = drivers::descriptor_copy{fd};
    t.session_ = c.id_;
    if (!target_->local()) t.address_ = drivers::mysql_client::peer_address(fd);
    return t;
}

/// Over a connection to the same server: to its address, unless its certificate must show the name.
inline void mysql::kill(const token& t, std::string_view what, deadline by) const {
    constexpr std::string_view doing = "cannot interrupt a statement on";
    if (!t.socket_) target_->fail(error_class::disconnected, doing, "the connection was closed");
    options o = target_now()->opt;
    o.database.clear();
    o.init.clear();
    if (!t.address_.empty() && o.tls.mode != tls_mode::verify_identity) o.host = t.address_;
    mysql second{std::move(o)};
    connection c = second.open(by);
    if (drivers::mysql_client::peer_address(drivers::mysql_client::descriptor(c.handle())) != t.address_) {
        target_->fail(error_class::other, doing, "its name leads to another server by now");
    }
    second.execute(c, std::string{what} + std::to_string(t.session_), by);
}

inline void mysql::cancel(token& t, deadline by) { kill(t, "kill query ", by); }

inline void mysql::sever(token& t, deadline by) noexcept {
    t.socket_.shut();
    if (by.expired()) return;
    try {
        kill(t, "kill connection ", by);
    } catch (...) { // its user is free already, and the server will notice by itself in the end
    }
}

} // namespace cenote
