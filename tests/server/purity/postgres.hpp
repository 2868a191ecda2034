// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "server/purity/table.hpp"
#include "server/purity/walk.hpp"
#include "server/support/environment.hpp"

#include <cenote/drivers/postgres.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

/// Sessions of PostgreSQL, looked at and soiled with libpq alone.
namespace purity::pg {

struct clear_result {
    void operator()(PGresult* r) const noexcept { PQclear(r); }
};
using result = std::unique_ptr<PGresult, clear_result>;

[[nodiscard]] inline result ask(PGconn* c, const std::string& sql) {
    result r{PQexec(c, sql.c_str())};
    const ExecStatusType status = PQresultStatus(r.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) throw std::runtime_error(sql + ": " + PQerrorMessage(c));
    return r;
}
inline void run(PGconn* c, const std::string& sql) { (void)ask(c, sql); }
[[nodiscard]] inline std::string value(PGconn* c, const std::string& sql) { return PQgetvalue(ask(c, sql).get(), 0, 0); }

/// What the tests of one program need at the server, and a session beside the pool's to look from.
class stage {
public:
    explicit stage(const std::string& conninfo) : observer_{PQconnectdb(conninfo.c_str())} {
        if (PQstatus(observer_.get()) != CONNECTION_OK) throw std::runtime_error(PQerrorMessage(observer_.get()));
        PQsetNoticeProcessor(observer_.get(), [](void*, const char*) {}, nullptr);
        run(observer_.get(), "create schema " + schema_);
        run(observer_.get(), "create table " + rows() + " (n int)");
        run(observer_.get(), "create sequence " + schema_ + ".numbers cache 20");
        run(observer_.get(), "select setseed(0.25)");
        for (int i = 0; i < 50; ++i) seeded_.push_back(value(observer_.get(), "select random()"));
        trace_ = std::tmpfile();
        if (trace_ == nullptr) throw std::runtime_error("no temporary file");
    }
    stage(const stage&) = delete;
    stage& operator=(const stage&) = delete;
    ~stage() {
        // A closed session may still be at work here, and hold a lock.
        const result r{PQexec(observer_.get(), ("set lock_timeout = '30s'; drop schema " + schema_ + " cascade").c_str())};
        std::fclose(trace_);
    }

    [[nodiscard]] PGconn* observer() const noexcept { return observer_.get(); }
    [[nodiscard]] const std::string& schema() const noexcept { return schema_; }
    [[nodiscard]] std::string rows() const { return schema_ + ".rows"; }
    /// How many rows anybody has committed.
    [[nodiscard]] std::string committed(const std::string& where = "true") const {
        return value(observer_.get(), "select count(*) from " + rows() + " where " + where);
    }
    /// Waits until the server has ended a session.
    [[nodiscard]] bool ended(int pid) const {
        const std::string sql = "select count(*) from pg_stat_activity where pid = " + std::to_string(pid);
        return eventually([&] { return value(observer_.get(), sql) == "0"; });
    }
    [[nodiscard]] std::FILE* trace() const noexcept { return trace_; }
    /// Whether a random number is one of those that follow setseed(0.25).
    [[nodiscard]] bool is_seeded(const std::string& number) const { return std::find(seeded_.begin(), seeded_.end(), number) != seeded_.end(); }

private:
    struct finish {
        void operator()(PGconn* c) const noexcept { PQfinish(c); }
    };
    std::unique_ptr<PGconn, finish> observer_;
    std::string schema_ = "purity_" + std::to_string(::getpid());
    std::vector<std::string> seeded_;
    std::FILE* trace_ = nullptr;
};

// ── the oracle ───────────────────────────────────────────────────────────────────────────────────────────────────────────

[[nodiscard]] inline std::string transaction_of(PGconn* c) {
    switch (PQtransactionStatus(c)) {
    case PQTRANS_IDLE: return "idle";
    case PQTRANS_ACTIVE: return "active";
    case PQTRANS_INTRANS: return "open";
    case PQTRANS_INERROR: return "failed";
    case PQTRANS_UNKNOWN: break;
    }
    return "unknown";
}

/// What libpq keeps beside the session. Changes nothing.
[[nodiscard]] inline look::values client_side(PGconn* c) {
    const PGVerbosity verbosity = PQsetErrorVerbosity(c, PQERRORS_DEFAULT);
    PQsetErrorVerbosity(c, verbosity);
    const PGContextVisibility context = PQsetErrorContextVisibility(c, PQSHOW_CONTEXT_ERRORS);
    PQsetErrorContextVisibility(c, context);
    const PQnoticeReceiver receiver = PQsetNoticeReceiver(c, nullptr, nullptr); // null only asks
    return {
        {"transaction", transaction_of(c)},
        {"pipeline", std::to_string(PQpipelineStatus(c))},
        {"nonblocking", std::to_string(PQisnonblocking(c))},
        {"verbosity", std::to_string(verbosity)},
        {"context", std::to_string(context)},
        {"notice receiver", std::to_string(reinterpret_cast<std::uintptr_t>(receiver))},
        {"encoding", pg_encoding_to_char(PQclientEncoding(c))},
    };
}

/// The whole state of a session. `fetches`: with the notifications nobody has fetched, which that takes away.
[[nodiscard]] inline look look_at(PGconn* c, const stage& s, bool fetches = true) {
    look out{.client = client_side(c), .server = std::nullopt};
    if (fetches) {
        int notifications = 0;
        while (PGnotify* n = PQnotifies(c)) {
            PQfreemem(n);
            ++notifications;
        }
        out.client.emplace_back("notifications", std::to_string(notifications));
    }
    const bool askable = PQpipelineStatus(c) == PQ_PIPELINE_OFF &&
                         (PQtransactionStatus(c) == PQTRANS_IDLE || PQtransactionStatus(c) == PQTRANS_INTRANS);
    if (!askable) return out;

    constexpr std::pair<const char*, const char*> questions[] = {
        {"search_path", "current_setting('search_path')"},
        {"TimeZone", "current_setting('TimeZone')"},
        {"statement_timeout", "current_setting('statement_timeout')"},
        {"custom", "coalesce(current_setting('purity.custom', true), '')"}, // once set, an unset one is empty, not null
        {"isolation", "current_setting('default_transaction_isolation')"},
        {"read only", "current_setting('default_transaction_read_only')"},
        {"client_encoding", "current_setting('client_encoding')"},
        {"user", "current_user"},
        {"session user", "session_user"},
        {"advisory locks", "(select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())"},
        {"channels", "(select count(*) from pg_listening_channels())"},
        {"temporary tables", "(select count(*) from pg_class where relnamespace = pg_my_temp_schema())"},
        {"prepared", "(select count(*) from pg_prepared_statements)"},
        {"held cursors", "(select count(*) from pg_cursors where is_holdable)"},
        {"random", "random()"},
    };
    std::string sql = "select ";
    for (const auto& [name, expression] : questions) sql.append(sql.size() > 7 ? ", " : "").append(expression);
    const long before = std::ftell(s.trace());
    const result r = ask(c, sql);
    out.client.emplace_back("trace", std::ftell(s.trace()) == before ? "off" : "on");
    out.server.emplace();
    int column = 0;
    for (const auto& [name, expression] : questions) out.server->emplace_back(name, PQgetvalue(r.get(), 0, column++));
    std::string& random = out.server->back().second;
    random = s.is_seeded(random) ? "seeded" : "not seeded";
    if (PQtransactionStatus(c) == PQTRANS_IDLE) { // it fails where the session has none, and a transaction with it
        const result last{PQexec(c, "select lastval()")};
        out.server->emplace_back("sequence", PQresultStatus(last.get()) == PGRES_TUPLES_OK ? "used" : "unused");
    }
    return out;
}

// ── dirt ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What a lookout sees of a kind of dirt, and how it comes about.
struct traits {
    names shows;              ///< what differs from a new session
    bool counted = false;     ///< in stats().returned_dirty: it is a transaction, or something unfinished
    bool superuser = false;   ///< only a superuser can do it
    bool impatient = false;   ///< meant for a drain_time that it outlasts
};
[[nodiscard]] inline traits traits_of(pg_dirt d) {
    using enum pg_dirt;
    const names busy{"transaction"}, piped{"pipeline"};
    switch (d) {
    case setting: return {.shows = {"search_path", "TimeZone", "statement_timeout"}};
    case custom_setting: return {.shows = {"custom"}};
    case role: return {.shows = {"user"}};
    case session_authorization: return {.shows = {"user", "session user"}, .superuser = true};
    case characteristics: return {.shows = {"isolation", "read only"}};
    case encoding: return {.shows = {"encoding", "client_encoding"}};
    case advisory_lock: return {.shows = {"advisory locks"}};
    case listening: return {.shows = {"channels"}};
    case notification: return {.shows = {"notifications"}};
    case temporary_table: return {.shows = {"temporary tables"}};
    case prepared: return {.shows = {"prepared"}};
    case holdable_cursor: return {.shows = {"held cursors"}};
    case sequence: return {.shows = {"sequence"}};
    case random_seed: return {.shows = {"random"}};
    case nonblocking: return {.shows = {"nonblocking"}};
    case verbosity: return {.shows = {"verbosity", "context"}};
    case notice_receiver: return {.shows = {"notice receiver"}};
    case trace: return {.shows = {"trace"}};
    case transaction:
    case failed_transaction:
    case few_rows:
    case many_rows:
    case copy_in:
    case copy_out: return {.shows = busy, .counted = true};
    case running: return {.shows = busy, .counted = true, .impatient = true};
    case pipeline: return {.shows = piped, .counted = true};
    case pipeline_unsynced:
    case pipeline_unread: return {.shows = {"pipeline", "transaction"}, .counted = true};
    }
    return {};
}

inline void must(bool ok, PGconn* c) {
    if (!ok) throw std::runtime_error(PQerrorMessage(c));
}
/// Reads one row of a result and leaves the rest.
inline void begin_to_read(PGconn* c, const std::string& sql) {
    must(PQsendQuery(c, sql.c_str()) == 1 && PQsetSingleRowMode(c) == 1, c);
    const result r{PQgetResult(c)};
    must(PQresultStatus(r.get()) == PGRES_SINGLE_TUPLE, c);
}
inline void send_piped(PGconn* c, const std::string& sql) { must(PQsendQueryParams(c, sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) == 1, c); }

/// Leaves this behind. Whatever inserts rows inserts `n` = `mark`.
inline void soil(PGconn* c, pg_dirt d, const stage& s, int mark = 1) {
    using enum pg_dirt;
    const std::string insert = "insert into " + s.rows() + " values (" + std::to_string(mark) + ")";
    switch (d) {
    case setting: run(c, "set search_path = pg_catalog; set timezone = 'Asia/Kathmandu'; set statement_timeout = '10min'"); break;
    case custom_setting: run(c, "set purity.custom = 'tenant 7'"); break;
    case role: run(c, "set role pg_signal_backend"); break;
    case session_authorization: run(c, "set session authorization cenote"); break;
    case characteristics: run(c, "set session characteristics as transaction isolation level serializable, read only"); break;
    case encoding: must(PQsetClientEncoding(c, "LATIN1") == 0, c); break;
    case advisory_lock: run(c, "select pg_advisory_lock(pg_backend_pid()), pg_advisory_lock(pg_backend_pid())"); break; // held twice
    case listening: run(c, "listen purity"); break;
    case notification:
        run(c, "listen purity_once");
        run(c, "notify purity_once, 'secret'"); // comes with the answer
        run(c, "unlisten purity_once");
        break;
    case temporary_table: run(c, "create temporary table purity_rows (n int)"); break;
    case prepared: run(c, "prepare purity_statement as select 1"); break;
    case holdable_cursor: run(c, "declare purity_cursor cursor with hold for select generate_series(1, 3)"); break;
    case sequence: run(c, "select nextval('" + s.schema() + ".numbers')"); break;
    case random_seed: run(c, "select setseed(0.25)"); break;
    case nonblocking: must(PQsetnonblocking(c, 1) == 0, c); break;
    case verbosity:
        PQsetErrorVerbosity(c, PQERRORS_VERBOSE);
        PQsetErrorContextVisibility(c, PQSHOW_CONTEXT_ALWAYS);
        break;
    case notice_receiver: PQsetNoticeReceiver(c, [](void*, const PGresult*) {}, nullptr); break;
    case trace: PQtrace(c, s.trace()); break;
    case transaction: run(c, "begin; " + insert); break;
    case failed_transaction: {
        run(c, "begin; " + insert);
        const result r{PQexec(c, "select 1/0")};
        break;
    }
    case few_rows: begin_to_read(c, "select generate_series(1, 100)"); break;
    case many_rows: begin_to_read(c, "select repeat('x', 1000) from generate_series(1, 1000000)"); break;
    case running: must(PQsendQuery(c, "select pg_sleep(5)") == 1, c); break;
    case copy_in: {
        must(PQsendQuery(c, ("copy " + s.rows() + " from stdin").c_str()) == 1, c);
        const result r{PQgetResult(c)};
        must(PQresultStatus(r.get()) == PGRES_COPY_IN, c);
        const std::string line = std::to_string(mark) + "\n";
        must(PQputCopyData(c, line.data(), static_cast<int>(line.size())) == 1, c);
        break;
    }
    case copy_out: {
        must(PQsendQuery(c, "copy (select generate_series(1, 100)) to stdout") == 1, c);
        const result r{PQgetResult(c)};
        char* line = nullptr;
        must(PQresultStatus(r.get()) == PGRES_COPY_OUT && PQgetCopyData(c, &line, 0) > 0, c);
        PQfreemem(line);
        break;
    }
    case pipeline: must(PQenterPipelineMode(c) == 1, c); break;
    case pipeline_unsynced:
        must(PQenterPipelineMode(c) == 1, c);
        send_piped(c, insert);
        must(PQsendFlushRequest(c) == 1 && PQflush(c) >= 0, c);
        break;
    case pipeline_unread:
        must(PQenterPipelineMode(c) == 1, c);
        for (const char* sql : {"select generate_series(1, 100)", "select 1/0", "select 2"}) send_piped(c, sql);
        must(PQpipelineSync(c) == 1, c);
        send_piped(c, "select 3");
        must(PQpipelineSync(c) == 1, c);
        break;
    }
}

/// A driver for this kind of dirt.
[[nodiscard]] inline cenote::postgres driver_for(const traits& t, std::vector<std::string> init = {}) {
    const auto& server = servers::postgres();
    cenote::postgres::options o;
    o.conninfo = t.superuser ? server.admin + " dbname=cenote" : server.unix_socket;
    o.init = std::move(init);
    if (!t.impatient) o.drain_time = patience; // a busy machine must not turn one outcome into another
    return cenote::postgres{std::move(o)};
}

} // namespace purity::pg
