// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "server/purity/table.hpp"
#include "server/purity/walk.hpp"
#include "server/support/environment.hpp"

#include <cenote/drivers/mysql.hpp>

#include <mysql.h>

#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

/// Sessions of MySQL and MariaDB, looked at and soiled with the client library alone.
namespace purity::my {

struct free_result {
    void operator()(MYSQL_RES* r) const noexcept { mysql_free_result(r); }
};
using result = std::unique_ptr<MYSQL_RES, free_result>;

inline void must(bool ok, MYSQL* m) {
    if (!ok) throw std::runtime_error(std::to_string(mysql_errno(m)) + " " + mysql_error(m));
}
/// Runs SQL and reads all its results to their end. The number of the first error, or 0.
[[nodiscard]] inline unsigned attempt(MYSQL* m, const std::string& sql) {
    unsigned bad = mysql_real_query(m, sql.data(), sql.size()) == 0 ? 0 : mysql_errno(m);
    while (bad == 0) {
        const result r{mysql_store_result(m)};
        const int next = mysql_next_result(m);
        if (next < 0) break;
        if (next > 0) bad = mysql_errno(m);
    }
    return bad;
}
inline void run(MYSQL* m, const std::string& sql) {
    if (attempt(m, sql) != 0) throw std::runtime_error(sql + ": " + mysql_error(m));
}
/// The first row.
[[nodiscard]] inline std::vector<std::string> values(MYSQL* m, const std::string& sql) {
    must(mysql_real_query(m, sql.data(), sql.size()) == 0, m);
    const result r{mysql_store_result(m)};
    must(r != nullptr, m);
    std::vector<std::string> out;
    if (const MYSQL_ROW row = mysql_fetch_row(r.get())) {
        for (unsigned i = 0; i < mysql_num_fields(r.get()); ++i) out.emplace_back(row[i] != nullptr ? row[i] : "null");
    }
    return out;
}
[[nodiscard]] inline std::string value(MYSQL* m, const std::string& sql) { return values(m, sql).at(0); }

/// What the tests of one program need at the server, and a session beside the pool's to look from.
class stage {
public:
    stage() : observer_{mysql_init(nullptr)} {
        const auto& server = servers::mysql();
        must(mysql_real_connect(observer_.get(), nullptr, "root", nullptr, server.database.c_str(), 0, server.socket.c_str(), 0) != nullptr, observer_.get());
        drop();
        for (const std::string& sql : {"create table " + rows() + " (n int) engine = innodb",
                                       "create table " + other() + " (n int)",
                                       "create procedure " + two_results() + "() begin select 1; select 2; end",
                                       "create user " + name() + "@'%' identified by '" + server.password + "'",
                                       "grant all on " + server.database + ".* to " + name() + "@'%'", "create role " + role(),
                                       "grant " + role() + " to " + server.user + "@'%'"}) {
            run(observer_.get(), sql);
        }
    }
    stage(const stage&) = delete;
    stage& operator=(const stage&) = delete;
    ~stage() { drop(); }

    [[nodiscard]] MYSQL* observer() const noexcept { return observer_.get(); }
    [[nodiscard]] const std::string& name() const noexcept { return name_; } // of a user, too
    [[nodiscard]] std::string rows() const { return servers::mysql().database + "." + name_; }
    [[nodiscard]] std::string other() const { return rows() + "_other"; }
    [[nodiscard]] std::string two_results() const { return rows() + "_two"; }
    [[nodiscard]] std::string role() const { return name_ + "_role"; }
    /// How many rows anybody has committed.
    [[nodiscard]] std::string committed(const std::string& where = "true") const {
        return value(observer_.get(), "select count(*) from " + rows() + " where " + where);
    }
    /// Waits until the server has ended a session.
    [[nodiscard]] bool ended(unsigned long id) const {
        const std::string sql = "select count(*) from information_schema.processlist where id = " + std::to_string(id);
        return eventually([&] { return value(observer_.get(), sql) == "0"; });
    }

private:
    void drop() const noexcept {
        for (const std::string& sql : {std::string{"set lock_wait_timeout = 30"}, "drop table if exists " + rows(), "drop table if exists " + other(),
                                       "drop procedure if exists " + two_results(), "drop user if exists " + name_ + "@'%'", "drop role if exists " + role()}) {
            (void)attempt(observer_.get(), sql);
        }
    }
    struct close {
        void operator()(MYSQL* m) const noexcept { mysql_close(m); }
    };
    std::unique_ptr<MYSQL, close> observer_;
    std::string name_ = "purity_" + std::to_string(::getpid());
};

/// Prepared statements that are left behind. Their memory is the test's: it goes when the sessions are gone.
class statements {
public:
    statements() = default;
    statements(const statements&) = delete;
    statements& operator=(const statements&) = delete;
    ~statements() {
        for (MYSQL_STMT* s : all_) mysql_stmt_close(s);
    }
    [[nodiscard]] MYSQL_STMT* make(MYSQL* m) {
        MYSQL_STMT* const s = mysql_stmt_init(m);
        must(s != nullptr, m);
        const std::lock_guard lock{mutex_};
        all_.push_back(s);
        return s;
    }

private:
    std::mutex mutex_;
    std::vector<MYSQL_STMT*> all_;
};

// ── the oracle ───────────────────────────────────────────────────────────────────────────────────────────────────────────

[[nodiscard]] inline bool in_transaction(MYSQL* m) noexcept { return (m->server_status & SERVER_STATUS_IN_TRANS) != 0; }
[[nodiscard]] inline bool is_busy(MYSQL* m) noexcept {
    return m->status != MYSQL_STATUS_READY || mysql_more_results(m) || cenote::drivers::mysql_client::awaits_answer(m);
}

/// What the client keeps beside the session.
[[nodiscard]] inline look::values client_side(MYSQL* m) {
    return {
        {"busy", is_busy(m) ? "yes" : "no"},
        {"transaction", in_transaction(m) ? "open" : "none"},
        {"autocommit", (m->server_status & SERVER_STATUS_AUTOCOMMIT) != 0 ? "on" : "off"},
        {"charset", mysql_character_set_name(m)},
        {"schema", m->db != nullptr ? m->db : ""},
    };
}

/// The whole state of a session.
[[nodiscard]] inline look look_at(MYSQL* m, const stage& s) {
    look out{.client = client_side(m), .server = std::nullopt};
    if (is_busy(m)) return out;
    const bool mariadb = std::string_view{mysql_get_server_info(m)}.find("MariaDB") != std::string_view::npos;
    const std::pair<const char*, std::string> questions[] = {
        {"@@autocommit", "@@autocommit"},
        {"sql_mode", "@@sql_mode"},
        {"time_zone", "@@time_zone"},
        {"isolation", mariadb ? "@@tx_isolation" : "@@transaction_isolation"},
        {"character_set_client", "@@character_set_client"},
        {"character_set_connection", "@@character_set_connection"},
        {"character_set_results", "@@character_set_results"},
        {"collation_connection", "@@collation_connection"},
        {"database()", "database()"},
        {"@purity", "@purity"},
        {"user", "current_user()"},
        {"role", "current_role()"},
        {"last_insert_id()", "last_insert_id()"},
        {"lock", "is_used_lock(concat('purity ', connection_id())) is not null"},
    };
    std::string sql = "select ";
    for (const auto& [name, expression] : questions) sql.append(sql.size() > 7 ? ", " : "").append(expression);
    const std::vector<std::string> answers = values(m, sql);
    out.server.emplace();
    for (std::size_t i = 0; i < answers.size(); ++i) out.server->emplace_back(questions[i].first, answers[i]);
    if (in_transaction(m) || (m->server_status & SERVER_STATUS_AUTOCOMMIT) == 0) return out; // what follows would go on with one, or begin one
    const auto probe = [&](const char* name, const std::string& statement, unsigned tells) {
        out.server->emplace_back(name, attempt(m, statement) == tells ? "yes" : "no");
    };
    constexpr unsigned table_not_locked = 1100;
    probe("temporary table", "select count(*) from " + servers::mysql().database + ".purity_temporary", 0);
    probe("prepared", "execute purity_statement", 0);
    probe("handler", "handler purity_handler read first", 0);
    probe("table locks", "select count(*) from " + s.other(), table_not_locked);
    probe("multi-statements", "do 0; do 0", 0);
    run(m, "do 0"); // leaves no error behind
    return out;
}

// ── dirt ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

struct traits {
    names shows;            ///< what differs from a new session
    bool counted = false;   ///< in stats().returned_dirty: it is a transaction, or something unfinished
    names settings{};       ///< which of `shows` are settings, which reset_if_dirty keeps
};
[[nodiscard]] inline traits traits_of(mysql_dirt d) {
    using enum mysql_dirt;
    switch (d) {
    case user_variable: return {.shows = {"@purity"}};
    case setting: return {.shows = {"sql_mode", "time_zone"}};
    case isolation: return {.shows = {"isolation"}};
    case autocommit_off: return {.shows = {"autocommit", "@@autocommit"}};
    case temporary_table: return {.shows = {"temporary table"}};
    case user_lock: return {.shows = {"lock"}};
    case table_locks: return {.shows = {"table locks"}};
    case prepared: return {.shows = {"prepared"}};
    case handler: return {.shows = {"handler"}};
    case last_insert_id: return {.shows = {"last_insert_id()"}};
    case role: return {.shows = {"role"}};
    case used_schema:
    case selected_schema: return {.shows = {"schema", "database()"}};
    case hidden_schema: return {.shows = {"database()"}};
    case named_charset:
    case client_charset:
        return {.shows = {"charset", "character_set_client", "character_set_connection", "character_set_results", "collation_connection"}};
    case multi_statements: return {.shows = {"multi-statements"}};
    case other_user: return {.shows = {"user"}};
    case transaction:
    case xa_transaction: return {.shows = {"transaction"}, .counted = true};
    case implicit_transaction:
        return {.shows = {"transaction", "autocommit", "@@autocommit"}, .counted = true, .settings = {"autocommit", "@@autocommit"}};
    case few_rows:
    case half_read:
    case statement_rows:
    case unanswered:
    case more_results: return {.shows = {"busy"}, .counted = true};
    case many_rows: return {.shows = {"busy"}, .counted = true};
    }
    return {};
}

inline constexpr const char* hundred_rows = "with recursive r(n) as (select 1 union all select n + 1 from r where n < 100) select n from r";
inline constexpr const char* million_rows =
    "with recursive r(n) as (select 1 union all select n + 1 from r where n < 1000) select repeat('x', 1000) from r a, r b";

inline void send(MYSQL* m, std::string_view sql) { must(mysql_real_query(m, sql.data(), sql.size()) == 0, m); }

/// Leaves this behind. Whatever inserts rows inserts `n` = `mark`.
inline void soil(MYSQL* m, mysql_dirt d, const stage& s, statements& left, int mark = 1) {
    using enum mysql_dirt;
    const auto& server = servers::mysql();
    const std::string insert = "insert into " + s.rows() + "(n) values (" + std::to_string(mark) + ")";
    switch (d) {
    case user_variable: run(m, "set @purity = 'tenant 7'"); break;
    case setting: run(m, "set sql_mode = 'ANSI_QUOTES', time_zone = '+05:45'"); break;
    case isolation: run(m, "set session transaction isolation level serializable"); break;
    case autocommit_off: run(m, "set autocommit = 0"); break;
    case temporary_table: run(m, "create temporary table " + server.database + ".purity_temporary (n int)"); break;
    case user_lock: run(m, "do get_lock(concat('purity ', connection_id()), 0)"); break;
    case table_locks: run(m, "lock tables " + s.rows() + " write"); break;
    case prepared: run(m, "prepare purity_statement from 'do 1'"); break;
    case handler: run(m, "handler " + s.rows() + " open as purity_handler"); break;
    case last_insert_id: run(m, "do last_insert_id(4711)"); break;
    case role: run(m, "set role " + s.role()); break;
    case used_schema: run(m, "use " + server.database + "_other"); break;
    case selected_schema: must(mysql_select_db(m, (server.database + "_other").c_str()) == 0, m); break;
    case hidden_schema:
        run(m, "set session_track_schema = 0");
        run(m, "use " + server.database + "_other");
        break;
    case named_charset: run(m, "set names latin1"); break;
    case client_charset: must(mysql_set_character_set(m, "latin1") == 0, m); break;
    case multi_statements: must(mysql_set_server_option(m, MYSQL_OPTION_MULTI_STATEMENTS_ON) == 0, m); break;
    case other_user: must(mysql_change_user(m, s.name().c_str(), server.password.c_str(), server.database.c_str()) == 0, m); break;
    case transaction:
        run(m, "begin");
        run(m, insert);
        break;
    case implicit_transaction:
        run(m, "set autocommit = 0");
        run(m, insert);
        break;
    case xa_transaction:
        run(m, "xa start 'purity " + std::to_string(mysql_thread_id(m)) + "'");
        run(m, insert);
        break;
    case few_rows: send(m, hundred_rows); break;
    case many_rows: send(m, million_rows); break;
    case half_read: {
        send(m, hundred_rows);
        const result r{mysql_use_result(m)};
        must(r && mysql_fetch_row(r.get()) != nullptr, m);
        r->handle = nullptr; // or freeing it would read the rest
        break;
    }
    case unanswered: must(mysql_send_query(m, "select 'not yours'", 18) == 0, m); break;
    case statement_rows: {
        MYSQL_STMT* const statement = left.make(m);
        must(mysql_stmt_prepare(statement, hundred_rows, static_cast<unsigned long>(std::string_view{hundred_rows}.size())) == 0, m);
        must(mysql_stmt_execute(statement) == 0, m);
        break;
    }
    case more_results: {
        send(m, "call " + s.two_results());
        const result first{mysql_store_result(m)};
        must(first && mysql_more_results(m), m);
        break;
    }
    }
}

[[nodiscard]] inline cenote::mysql driver(std::vector<std::string> init = {}) {
    const auto& server = servers::mysql();
    cenote::mysql::options o;
    o.socket = server.socket;
    o.user = server.user;
    o.password = server.password;
    o.database = server.database;
    o.init = std::move(init);
    o.drain_time = patience; // a busy machine must not turn one outcome into another
    return cenote::mysql{std::move(o)};
}

} // namespace purity::my
