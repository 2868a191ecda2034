// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/drivers/detail/sqlite_condition.hpp>
#include <cenote/drivers/detail/sqlite_kept.hpp>
#include <cenote/session/statement.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#if SQLITE_VERSION_NUMBER < 3039000
#error "cenote's SQLite driver needs SQLite 3.39 or later: sqlite3_db_name, sqlite3_txn_state, SQLITE_OPEN_EXRESCODE."
#endif

namespace cenote {

/// The driver for SQLite databases, in files or shared memory.
///
/// One connection may write at a time, and in WAL mode any number read meanwhile, undisturbed. A writer that meets another waits up
/// to `busy_timeout`, but only where it *begins* to write: a transaction that has read first and then writes fails at once
/// (SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT), so begin those that will write with BEGIN IMMEDIATE. More connections give more readers,
/// never more writers: one pool for reading and one with `bounded{.max = 1}` for writing is the shape that never sees SQLITE_BUSY.
///
/// Called   `open` and `close` from several threads at once. SQLite must be built thread-safe; the connections have no mutex of their
///          own (SQLITE_OPEN_NOMUTEX), as a lease has one holder.
/// Errors   driver_error with SQLite's extended result code as `native_code()` and the file's name in the text; the query part of
///          a URI, where keys may stand, is left out. A missing folder is class `other`: waiting does not create it.
/// Cost     open and close 70 µs, peek 1.3 µs, ping 5 µs, rollback of a clean connection 30 ns, reset 30 µs, on a file in the page
///          cache. The last close of a WAL database also writes the log back into the file.
/// With     `rollback` and `reset` say below what they clear. The driver uses the busy handler and the progress handler of its
///          connections; yours last until the next ping or reset. Where connections can be cut it uses the trace and the commit hook, too.
class sqlite {
public:
    enum class access_mode : unsigned char {
        read_write_create, ///< creates the file when there is none
        read_write,        ///< the file must exist
        read_only,         ///< the file must exist and is never written, also not to change its journal
    };
    enum class journal_mode : unsigned char {
        wal,      ///< readers and the writer do not block each other; a property of the file, set on open
        rollback, ///< SQLite's old journal (DELETE): a writer locks everybody out while it commits
        keep,     ///< whatever the file has
    };
    enum class sync_mode : unsigned char { off, normal, full, extra };

    struct options {
        /// The file's name, or a URI: `file:shop.db?cache=private`. A database in memory must be a shared one with a name,
        /// `file:NAME?mode=memory&cache=shared`; it lives as long as one connection, and there a reader that meets a writer fails
        /// at once with SQLITE_LOCKED, which no busy timeout covers.
        ///
        /// Range    `:memory:` and the empty name, where each connection would be a database of its own, throw std::invalid_argument.
        std::string file{};

        /// Default  `read_write_create`. A file that cannot be written is an error of class `auth`, not a silent read-only connection.
        access_mode access = access_mode::read_write_create;

        /// How long a statement waits for another connection's lock.
        ///
        /// Default  5 s. 0 does not wait: SQLITE_BUSY at once.
        /// Range    0 … 2147483647 ms; a part of a millisecond counts as a whole one. Else std::invalid_argument.
        duration busy_timeout = std::chrono::seconds{5};

        /// Default  `wal`, as a pool is there for concurrent use. Read-only connections leave the file as it is.
        journal_mode journal = journal_mode::wal;

        /// When SQLite waits for the disk.
        ///
        /// Default  empty: `normal` under `journal = wal`, where a power cut may lose the last commits but not the database; with the
        ///          other journals SQLite's own default, `full`.
        std::optional<sync_mode> synchronous{};

        /// Default  true, unlike SQLite's: a constraint that is written down should hold.
        bool foreign_keys = true;

        /// Promises that nobody changes the file, so that SQLite neither locks nor looks.
        ///
        /// Default  false.
        /// Range    only with `access = read_only`, else std::invalid_argument.
        bool immutable = false;

        /// How many statements each connection keeps prepared, those used last; what a session runs on it is kept (`statement.keep`). They
        /// outlive rollback and reset, and SQLite prepares them anew when the schema has changed.
        ///
        /// Default  0: none are kept, and nothing is paid for it.
        /// Range    0 … 1000, else std::invalid_argument.
        /// Cost     a look at as many numbers with each statement; 6 ns of each `state` and rollback, so of each give back, for each.
        std::size_t statement_cache = 0;

        /// SQL run on each new connection and again at the end of each `reset`: pragmas, ATTACH, temporary tables.
        ///
        /// Default  empty.
        /// Errors   when it fails, `open` and `reset` fail.
        std::string init{};
    };

    class connection;
    class token;

    explicit sqlite(std::string file) : sqlite{with_file(std::move(file))} {}
    explicit sqlite(const char* file) : sqlite{std::string{file}} {}
    explicit sqlite(options o) : options_{std::move(o)}, name_{checked(options_)} {}

    [[nodiscard]] const options& settings() const noexcept { return options_; }

    /// Opens the database, brings it into the configured mode and reads its schema, so that a file that is no database is found here.
    ///
    /// Errors   driver_error. Locks of others are waited for until the deadline, whatever the busy timeout.
    [[nodiscard]] connection open(deadline by);

    /// Ends statements, rolls back and closes. A statement that nobody finalized keeps the file open, but no lock.
    void close(connection& c) noexcept;

    /// `dead` when the file was deleted, moved, replaced, emptied or overwritten by something else. SQLite itself would go on
    /// reading and, in WAL mode, writing the lost file without an error.
    ///
    /// Cost     one stat and one 16-byte read. Databases in memory are always `quiet`.
    [[nodiscard]] liveness peek(connection& c) noexcept;

    /// `peek`, and reads the schema's first page through SQLite. Never waits: a database somebody else has locked is alive.
    ///
    /// Cost     5 µs; when somebody changed the schema since, reading that, under the deadline.
    void ping(connection& c, deadline by);

    /// Knows everything but an unfinished sqlite3_backup.
    ///
    /// Cost     10 ns, and 6 ns for each prepared statement.
    [[nodiscard]] static session_state state(connection& c) noexcept;

    /// Clears: running statements (they are reset, not finalized) and the transaction. What a half-read INSERT … RETURNING did is
    /// undone too. Keeps everything else.
    ///
    /// Cost     waits for nobody, so the deadline is not looked at. What a large transaction wrote into the file already is undone there.
    void rollback(connection& c, deadline by);

    /// Clears what `rollback` clears, and then:
    ///   temporary tables, views, triggers and indexes · attached databases · every pragma in `pragmas` below, every sqlite3_db_config
    ///   switch and every sqlite3_limit, back to their values after `open` · busy timeout · progress handler, authorizer, trace,
    ///   commit, rollback, update and WAL hook · last_insert_rowid. Then it runs `options.init` again.
    /// Keeps: functions, collations, modules and extensions (PRAGMA case_sensitive_like is one of these: it replaces a function),
    ///   the collation-needed and auto-vacuum callbacks, prepared statements, changes(), total_changes().
    ///
    /// Errors   driver_error when something cannot be brought back, as when another connection keeps the journal from changing.
    void reset(connection& c, deadline by);

    /// Runs any number of statements and throws their rows away. The deadline interrupts a long one and ends a row of short ones; one
    /// short statement always runs. What ran before an error stays.
    void execute(connection& c, std::string_view sql, deadline by);

    /// What another thread interferes through.
    ///
    /// Cost     an allocation, and from then on 10 ns for each statement of the connection.
    [[nodiscard]] token interrupter(connection& c);
    /// Stops the statement that runs: its next step fails with SQLITE_INTERRUPT. Where none runs nothing happens.
    void cancel(token& t, deadline by);
    /// The same, and from then on every statement fails so as it begins, and every commit as it ends. A transaction that is open keeps
    /// its locks until the connection's holder ends it: SQLite has no server that could.
    ///
    /// With     the connection's trace and commit hooks: a user's own, in their place, leave only the first.
    void sever(token& t, deadline by) noexcept;

    /// Runs one statement up to its first row, and then a row at a time, whether `s.stream` says so or not: rows are never gathered here.
    /// They end when they are destroyed, and free the connection with that.
    ///
    /// Range    placeholders `?`, `?3` and `$3`; as many values as they ask for. An unsigned number above 2^63 - 1 and a NaN, which SQLite
    ///          would make NULL, are errors (`met` data_error), and so is a second statement in the text.
    /// With     `s.keep` is heeded as `options.statement_cache` says.
    /// Errors   what a deadline interrupted is class `timeout`. SQLite rolls the whole transaction back when that was a change inside of one;
    ///          `state` shows it.
    [[nodiscard]] auto query(connection& c, const statement& s, deadline by);
    /// Lets go of what `keep` has kept.
    static void forget_statements(connection& c) noexcept;

    /// Begins. `read_write` takes the write lock now (BEGIN IMMEDIATE), so that nothing is read which is old when it comes to writing;
    /// `read_only` refuses writes until its end (PRAGMA query_only); else the lock is taken with the first write (BEGIN), which fails at once
    /// if something was read before and has been changed since (`met` serialization_failure).
    ///
    /// Range    every isolation level, as SQLite's is the strictest; `deferrable` throws std::invalid_argument.
    void begin(connection& c, const transaction_options& o, deadline by);
    /// Commits. A lock that others hold is waited for up to the busy timeout and the deadline; then it has failed, class `serialization`,
    /// `met` lock_timeout, and can be tried again. A disk that fails meanwhile is class `disconnected`: it may have been committed.
    void commit(connection& c, deadline by);

    [[nodiscard]] sqlite3* native_handle(connection& c) noexcept;

    [[nodiscard]] error_class classify(const std::exception& e) noexcept {
        const auto* own = dynamic_cast<const driver_error*>(&e);
        return own ? own->kind() : error_class::other;
    }

    /// The class of a result code, plain or extended, of SQLite's own functions.
    [[nodiscard]] static constexpr error_class classify(int code) noexcept {
        switch (code) {
        case SQLITE_BUSY_SNAPSHOT:
        case SQLITE_LOCKED_SHAREDCACHE: return error_class::serialization;
        case SQLITE_READONLY_DBMOVED: return error_class::disconnected;
        case SQLITE_IOERR_NOMEM: return error_class::other;
        default: break;
        }
        switch (code & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_PROTOCOL: return error_class::timeout;
        case SQLITE_IOERR: return error_class::disconnected;
        case SQLITE_PERM:
        case SQLITE_AUTH: return error_class::auth;
        case SQLITE_SCHEMA: return error_class::stale_plan;
        case SQLITE_CONSTRAINT: return error_class::constraint;
        case SQLITE_INTERRUPT: return error_class::cancelled;
        default: return error_class::other; // also CANTOPEN, FULL, CORRUPT, NOTADB, READONLY: a retry changes nothing
        }
    }

    /// The pragmas that `reset` brings back to their values after `open`, beside `temp_store`, `busy_timeout` and those that
    /// sqlite3_db_config covers (foreign_keys, trusted_schema, writable_schema, legacy_alter_table).
    static constexpr std::array<const char*, 26> pragmas{
        "query_only", "analysis_limit", "automatic_index", "cache_size", "cache_spill", "cell_size_check", "checkpoint_fullfsync",
        "count_changes", "defer_foreign_keys", "empty_result_callbacks", "full_column_names", "fullfsync", "ignore_check_constraints",
        "journal_mode", "journal_size_limit", "locking_mode", "max_page_count", "mmap_size", "read_uncommitted", "recursive_triggers",
        "reverse_unordered_selects", "secure_delete", "short_column_names", "synchronous", "threads", "wal_autocheckpoint"};

private:
    struct baseline;
    struct reach;
    class time_limit;
    class rows;
    using header = std::array<char, 16>;

    [[nodiscard]] static options with_file(std::string file) {
        options o;
        o.file = std::move(file);
        return o;
    }
    [[nodiscard]] static std::string checked(const options& o);
    [[nodiscard]] static std::string target(const options& o);
    [[nodiscard]] static bool is_uri(std::string_view file) noexcept { return file.starts_with("file:"); }
    [[nodiscard]] int busy_ms() const noexcept { return whole_ms(options_.busy_timeout); }
    [[nodiscard]] static int whole_ms(duration d) noexcept {
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(d).count();
        return static_cast<int>(std::clamp<decltype(ms)>(ms, 0, std::numeric_limits<int>::max()));
    }

    [[noreturn]] void fail(sqlite3* db, int rc, std::string_view doing) const;
    [[noreturn]] void fail(error_class kind, std::string_view doing, std::string_view why, int code = 0, condition met = condition::none) const;

    void set_up(connection& c, deadline by) const;
    void patiently(sqlite3* db, const std::string& sql, deadline by, std::string* answer = nullptr) const;
    static int run(sqlite3* db, std::string_view sql, std::string* answer = nullptr, time_limit* limit = nullptr);
    void run_or_fail(sqlite3* db, std::string_view sql, std::string_view doing, std::string* answer = nullptr,
                     time_limit* limit = nullptr) const;
    [[nodiscard]] std::string read(sqlite3* db, const char* pragma) const;
    [[nodiscard]] static bool intact(connection& c) noexcept;
    [[nodiscard]] static bool any_running(sqlite3* db) noexcept;
    static int end_work(sqlite3* db) noexcept;
    static int write_again(connection& c) noexcept;
    void restore(connection& c) const;

    options options_;
    std::string name_; // for messages
};

/// What `reset` goes back to.
struct sqlite::baseline {
    static constexpr int first_switch = SQLITE_DBCONFIG_ENABLE_FKEY;
    // Up to those of SQLite 3.53; an older one says that it does not know them.
    static constexpr int last_switch = 1022;
    static constexpr int limits_count = 13;

    std::array<int, last_switch - first_switch + 1> switches{};
    std::array<int, limits_count> limits{};
    std::array<std::string, pragmas.size()> values{};
    std::string temp_store{};

    [[nodiscard]] static int read_switch(sqlite3* db, int which) noexcept {
        int v = -1;
        if (which == SQLITE_DBCONFIG_RESET_DATABASE) return v;
        return sqlite3_db_config(db, which, -1, &v) == SQLITE_OK ? v : -1;
    }

    template <class Read>
    baseline(sqlite3* db, Read read) : temp_store{read("temp_store")} {
        for (std::size_t i = 0; i < switches.size(); ++i) switches[i] = read_switch(db, first_switch + static_cast<int>(i));
        for (std::size_t i = 0; i < limits.size(); ++i) limits[i] = sqlite3_limit(db, static_cast<int>(i), -1);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = read(pragmas[i]);
    }
};

/// How far other threads can reach into a connection: as long as it is open.
struct sqlite::reach {
    explicit reach(sqlite3* db) noexcept : db_{db} { watch(); }
    reach(const reach&) = delete;
    reach& operator=(const reach&) = delete;

    /// By the connection's holder.
    void watch() noexcept {
        sqlite3_trace_v2(db_, SQLITE_TRACE_STMT, [](unsigned, void* self, void*, void*) { return static_cast<reach*>(self)->begins(), 0; }, this);
        sqlite3_commit_hook(db_, [](void* self) { return static_cast<reach*>(self)->severed_.load(std::memory_order_relaxed) ? 1 : 0; }, this);
    }
    /// The same: it is about to be closed, and what is left to do is done.
    void gone() noexcept {
        const std::scoped_lock lock{mutex_};
        sqlite3_trace_v2(db_, 0, nullptr, nullptr);
        sqlite3_commit_hook(db_, nullptr, nullptr);
        db_ = nullptr;
    }
    [[nodiscard]] bool severed() const noexcept { return severed_.load(std::memory_order_relaxed); }
    /// By anybody. False: there is no connection any more.
    [[nodiscard]] bool interrupt(bool for_good) noexcept {
        const std::scoped_lock lock{mutex_};
        if (!db_) return false;
        if (for_good) severed_.store(true, std::memory_order_relaxed);
        sqlite3_interrupt(db_);
        return true;
    }

private:
    void begins() const noexcept {
        if (severed()) sqlite3_interrupt(db_);
    }
    std::mutex mutex_; ///< guards the end of the connection against others who interrupt it
    sqlite3* db_;
    std::atomic<bool> severed_{false};
};

/// What `interrupter` gives.
class sqlite::token {
    friend sqlite;
    explicit token(std::shared_ptr<reach> at) noexcept : at_{std::move(at)} {}
    std::shared_ptr<reach> at_;
};

/// One sqlite3 handle. Closed by the driver; a detached one closes itself.
class sqlite::connection {
public:
    connection(connection&& o) noexcept
        : db_{std::exchange(o.db_, nullptr)}, header_{o.header_}, has_header_{o.has_header_}, reads_only_{o.reads_only_}, fresh_{std::move(o.fresh_)},
          reach_{std::move(o.reach_)}, kept_{std::move(o.kept_)} {}
    connection& operator=(connection&& o) noexcept {
        if (this != &o) {
            shut();
            db_ = std::exchange(o.db_, nullptr);
            header_ = o.header_;
            has_header_ = o.has_header_;
            reads_only_ = o.reads_only_;
            fresh_ = std::move(o.fresh_);
            reach_ = std::move(o.reach_);
            kept_ = std::move(o.kept_);
        }
        return *this;
    }
    ~connection() { shut(); }

    [[nodiscard]] sqlite3* handle() const noexcept { return db_; }

private:
    friend sqlite;
    explicit connection(sqlite3* db) noexcept : db_{db} {}

    void shut() noexcept {
        if (!db_) return;
        if (const auto at = std::exchange(reach_, nullptr)) at->gone();
        kept_.reset();
        sqlite3_set_authorizer(db_, nullptr, nullptr); // it could refuse the rollback
        end_work(db_); // else a statement that nobody finalized would keep the transaction and its locks
        sqlite3_close_v2(std::exchange(db_, nullptr));
    }

    sqlite3* db_;
    header header_{}; // the file's first bytes, which no SQLite ever changes
    bool has_header_ = false;
    bool reads_only_ = false; // query_only is on for the length of a transaction
    std::unique_ptr<baseline> fresh_;
    std::shared_ptr<reach> reach_; // null until somebody asks for it
    std::unique_ptr<detail::sqlite_kept> kept_; // made with the first statement that is to be kept
};

/// Makes statements end by a deadline: an interrupt when it passes, and no waiting for locks beyond it, however many statements.
class sqlite::time_limit {
public:
    time_limit(sqlite3* db, int busy_ms, deadline by) noexcept : db_{db}, busy_ms_{busy_ms}, by_{by} {
        sqlite3_busy_handler(db_, [](void* self, int nth) { return static_cast<time_limit*>(self)->wait(nth); }, this);
        sqlite3_progress_handler(db_, by.is_never() ? 0 : 1000, [](void* self) { return static_cast<time_limit*>(self)->passed(); }, this);
    }
    time_limit(const time_limit&) = delete;
    time_limit& operator=(const time_limit&) = delete;
    ~time_limit() {
        sqlite3_progress_handler(db_, 0, nullptr, nullptr);
        sqlite3_busy_timeout(db_, busy_ms_);
    }
    /// Whether to interrupt.
    int passed() noexcept {
        cut_ = cut_ || (!by_.is_never() && by_.expired());
        return cut_ ? 1 : 0;
    }
    /// In a handler: rethrows, as class `timeout` when it was the deadline that interrupted.
    [[noreturn]] void explain(const sqlite& driver, const driver_error& e, std::string_view doing) const {
        const int code = e.native_code();
        if (cut_ && (code & 0xff) == SQLITE_INTERRUPT) {
            driver.fail(error_class::timeout, doing, "deadline passed", code, condition::statement_timeout);
        }
        throw;
    }

private:
    /// Whether to try again for a lock; `nth` counts from 0 for each statement that waits.
    int wait(int nth) noexcept {
        const time_point now = std::chrono::steady_clock::now();
        if (nth == 0) began_ = now;
        const duration left = deadline::after(std::chrono::milliseconds{busy_ms_}, began_).sooner(by_).remaining(now);
        if (left == duration::zero()) return 0;
        std::this_thread::sleep_for(std::min<duration>(left, std::chrono::milliseconds{std::min(1 << std::min(nth, 5), 25)}));
        return 1;
    }
    sqlite3* db_;
    int busy_ms_;
    deadline by_;
    time_point began_{};
    bool cut_ = false;
};

inline std::string sqlite::checked(const options& o) {
    const auto refuse = [](std::string_view field, std::string_view value, std::string_view rule) {
        throw std::invalid_argument{"cenote: sqlite." + std::string{field} + " = " + std::string{value} + ": " + std::string{rule}};
    };
    constexpr std::string_view own =
        "each connection would be a database of its own; write file:NAME?mode=memory&cache=shared, where a reader that meets a writer "
        "gets SQLITE_LOCKED at once, or the name of a file";
    constexpr std::string_view field = "options.file";

    const std::string_view file{o.file};
    if (file.find('\0') != file.npos) refuse(field, "a name with a zero byte", "must not contain zero bytes");
    const std::string_view name = file.substr(0, is_uri(file) ? file.find_first_of("?#") : file.npos);
    const std::string quoted = "'" + std::string{name} + "'";
    if (!is_uri(file)) {
        if (file.empty() || file == ":memory:") refuse(field, quoted, own);
    } else {
        std::string_view query = file.substr(name.size());
        query = query.substr(0, query.find('#'));
        bool memory = name == "file:" || name == "file::memory:";
        bool shared = false;
        while (!query.empty()) {
            query.remove_prefix(1); // ? or &
            const std::string_view word = query.substr(0, query.find('&'));
            memory = memory || word == "mode=memory";
            shared = shared || word == "cache=shared" || word == "vfs=memdb";
            query.remove_prefix(word.size());
        }
        if (memory && (!shared || name == "file:")) refuse(field, quoted, own);
    }
    if (o.busy_timeout < duration::zero() || o.busy_timeout > std::chrono::milliseconds{std::numeric_limits<int>::max()}) {
        detail::bad_value("sqlite.options.busy_timeout", o.busy_timeout, "must be 0 … 2147483647 ms; 0 does not wait");
    }
    constexpr std::size_t most_kept = 1000;
    if (o.statement_cache > most_kept) detail::bad_value("sqlite.options.statement_cache", o.statement_cache, "must be 0 to 1000; 0 keeps none");
    if (o.immutable && o.access != access_mode::read_only) {
        refuse("options.immutable", "true", "must come with options.access = read_only, as nobody may change the file");
    }
    return std::string{name};
}

/// What sqlite3_open_v2 gets: `immutable` can only be said in a URI.
inline std::string sqlite::target(const options& o) {
    if (!o.immutable) return o.file;
    std::string uri{o.file};
    if (!is_uri(uri)) {
        uri = "file:";
        for (const char c : o.file) {
            switch (c) {
            case '%': uri += "%25"; break;
            case '?': uri += "%3f"; break;
            case '#': uri += "%23"; break;
            default: uri += c;
            }
        }
    }
    const auto end = std::min(uri.find('#'), uri.size());
    return uri.insert(end, uri.find('?') < end ? "&immutable=1" : "?immutable=1");
}

[[noreturn]] inline void sqlite::fail(error_class kind, std::string_view doing, std::string_view why, int code, condition met) const {
    std::string text{"sqlite: "};
    text.append(doing).append(" ").append(name_).append(": ").append(why);
    throw driver_error{kind, text, code, {}, met};
}

[[noreturn]] inline void sqlite::fail(sqlite3* db, int rc, std::string_view doing) const {
    if (!db) throw std::bad_alloc{};
    std::string why{sqlite3_errcode(db) == rc || sqlite3_extended_errcode(db) == rc ? sqlite3_errmsg(db) : sqlite3_errstr(rc)};
    error_class kind = classify(rc);
    const int primary = rc & 0xff;
    if (const int system = sqlite3_system_errno(db); system != 0 && (primary == SQLITE_CANTOPEN || primary == SQLITE_IOERR)) {
        why.append(" (").append(std::generic_category().message(system)).append(")");
        if (system == EACCES || system == EPERM) kind = error_class::auth;
        if (system == EMFILE || system == ENFILE) kind = error_class::server_full; // some descriptor will be closed again
    }
    fail(kind, doing, why, rc, detail::sqlite_condition(rc, why));
}

/// Runs every statement in `sql`; `answer` gets the first column of the first row.
inline int sqlite::run(sqlite3* db, std::string_view sql, std::string* answer, time_limit* limit) {
    if (sql.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) return SQLITE_TOOBIG;
    while (!sql.empty()) {
        sqlite3_stmt* s = nullptr;
        const char* rest = nullptr;
        if (const int rc = sqlite3_prepare_v2(db, sql.data(), static_cast<int>(sql.size()), &s, &rest); rc != SQLITE_OK) return rc;
        sql.remove_prefix(static_cast<std::size_t>(rest - sql.data()));
        if (!s) {
            if (!sql.empty() && sql.front() == '\0') break; // it gets no further
            continue;                                       // a blank or a comment
        }
        const std::unique_ptr<sqlite3_stmt, decltype([](sqlite3_stmt* p) { sqlite3_finalize(p); })> owner{s};
        int rc = SQLITE_ROW;
        while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
            if (!answer) continue;
            if (const unsigned char* text = sqlite3_column_text(s, 0)) *answer = reinterpret_cast<const char*>(text);
            answer = nullptr;
        }
        if (rc != SQLITE_DONE) return rc;
        if (limit && !sql.empty() && limit->passed() != 0) return SQLITE_INTERRUPT; // short statements are not interrupted themselves
    }
    return SQLITE_OK;
}

inline void sqlite::run_or_fail(sqlite3* db, std::string_view sql, std::string_view doing, std::string* answer, time_limit* limit) const {
    if (sql.find('\0') != sql.npos) fail(error_class::other, doing, "the SQL contains a zero byte, where SQLite would stop");
    if (const int rc = run(db, sql, answer, limit); rc != SQLITE_OK) fail(db, rc, doing);
}

inline std::string sqlite::read(sqlite3* db, const char* pragma) const {
    std::string value;
    run_or_fail(db, std::string{"pragma "} + pragma, "cannot reset", &value);
    return value;
}

/// Repeats a statement for as long as others hold a lock. SQLite's busy timeout does not do: changing the journal fails at once
/// beside a writer, and so does everything in a shared cache.
inline void sqlite::patiently(sqlite3* db, const std::string& sql, deadline by, std::string* answer) const {
    for (duration pause = std::chrono::milliseconds{1};; pause = std::min<duration>(2 * pause, std::chrono::milliseconds{25})) {
        const int rc = run(db, sql, answer);
        if (rc == SQLITE_OK) return;
        const int primary = rc & 0xff;
        if (primary != SQLITE_BUSY && primary != SQLITE_LOCKED) fail(db, rc, "cannot open");
        const duration left = by.remaining();
        if (left == duration::zero()) fail(error_class::timeout, "cannot open", std::string{"deadline passed: "} + sqlite3_errmsg(db), rc);
        std::this_thread::sleep_for(std::min(pause, left));
    }
}

inline sqlite::connection sqlite::open(deadline by) {
    if (sqlite3_threadsafe() == 0) fail(error_class::other, "cannot open", "this SQLite is built single-threaded (SQLITE_THREADSAFE=0)");
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_URI;
    switch (options_.access) {
    case access_mode::read_write_create: flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE; break;
    case access_mode::read_write: flags |= SQLITE_OPEN_READWRITE; break;
    case access_mode::read_only: flags |= SQLITE_OPEN_READONLY; break;
    }
    sqlite3* db = nullptr;
    if (const int rc = sqlite3_open_v2(target(options_).c_str(), &db, flags, nullptr); rc != SQLITE_OK) {
        const std::unique_ptr<sqlite3, decltype([](sqlite3* p) { sqlite3_close_v2(p); })> left{db}; // good for its message only
        fail(db, rc, "cannot open");
    }
    connection c{db};
    set_up(c, by);
    return c;
}

inline void sqlite::set_up(connection& c, deadline by) const {
    sqlite3* const db = c.db_;
    const bool writable = options_.access != access_mode::read_only;
    if (writable && sqlite3_db_readonly(db, "main") == 1) {
        fail(error_class::auth, "cannot open", "the file is not writable; open it with options.access = read_only", SQLITE_READONLY);
    }
    time_limit limit{db, busy_ms(), by};
    try {
        patiently(db, options_.foreign_keys ? "pragma foreign_keys = on" : "pragma foreign_keys = off", by);
        if (writable && options_.journal != journal_mode::keep) {
            const bool wal = options_.journal == journal_mode::wal;
            std::string got;
            patiently(db, wal ? "pragma journal_mode = wal" : "pragma journal_mode = delete", by, &got);
            if (got != (wal ? "wal" : "delete") && got != "memory") {
                fail(error_class::other, "cannot open", "the journal mode stayed '" + got + "'; say options.journal = keep to accept that");
            }
        }
        constexpr std::array<const char*, 4> words{"off", "normal", "full", "extra"};
        auto sync = options_.synchronous;
        if (!sync && options_.journal == journal_mode::wal) sync = sync_mode::normal;
        if (sync) patiently(db, std::string{"pragma synchronous = "} + words[static_cast<std::size_t>(*sync)], by);
        patiently(db, "select 1 from sqlite_schema limit 1", by);
        run_or_fail(db, options_.init, "options.init failed on");
        c.fresh_ = std::make_unique<baseline>(db, [&](const char* pragma) {
            std::string value;
            patiently(db, std::string{"pragma "} + pragma, by, &value);
            return value;
        });
    } catch (const driver_error& e) {
        limit.explain(*this, e, "cannot open");
    }
    if (state(c) != session_state::idle) fail(error_class::other, "cannot open", "options.init leaves a transaction or a statement open");
    (void)intact(c); // remembers the file's first bytes
}

inline void sqlite::close(connection& c) noexcept { c.shut(); }

/// Looks at the file itself. In WAL mode SQLite keeps the first page in memory and would not notice.
inline bool sqlite::intact(connection& c) noexcept {
    int moved = 0;
    if (sqlite3_file_control(c.db_, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved != 0) return false;
    sqlite3_file* file = nullptr;
    if (sqlite3_file_control(c.db_, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file || !file->pMethods) return true;
    header now{};
    if (file->pMethods->xRead(file, now.data(), static_cast<int>(now.size()), 0) != SQLITE_OK) return !c.has_header_; // shorter: empty
    if (!c.has_header_) {
        c.header_ = now;
        c.has_header_ = true;
    }
    return now == c.header_;
}

inline sqlite::token sqlite::interrupter(connection& c) {
    if (c.db_ && !c.reach_) c.reach_ = std::make_shared<reach>(c.db_);
    return token{c.reach_};
}
inline void sqlite::cancel(token& t, deadline) {
    if (!t.at_ || !t.at_->interrupt(false)) fail(error_class::disconnected, "cannot cancel", "the connection is closed");
}
inline void sqlite::sever(token& t, deadline) noexcept {
    if (t.at_) (void)t.at_->interrupt(true);
}

inline liveness sqlite::peek(connection& c) noexcept { return c.db_ && !(c.reach_ && c.reach_->severed()) && intact(c) ? liveness::quiet : liveness::dead; }

inline void sqlite::ping(connection& c, deadline by) {
    if (!c.db_) fail(error_class::disconnected, "cannot use", "the connection is closed");
    if (c.reach_ && c.reach_->severed()) fail(error_class::disconnected, "cannot use", "the connection was cut");
    if (!intact(c)) {
        fail(error_class::disconnected, "cannot use", "the file was deleted, moved, replaced or overwritten", SQLITE_READONLY_DBMOVED);
    }
    time_limit limit{c.db_, busy_ms(), by};
    sqlite3_busy_timeout(c.db_, 0);
    try {
        run_or_fail(c.db_, "select 1 from sqlite_schema limit 1", "cannot use");
    } catch (const driver_error& e) {
        const int primary = e.native_code() & 0xff;
        if (primary != SQLITE_BUSY && primary != SQLITE_LOCKED) limit.explain(*this, e, "cannot use");
    }
}

inline bool sqlite::any_running(sqlite3* db) noexcept {
    for (sqlite3_stmt* s = nullptr; (s = sqlite3_next_stmt(db, s)) != nullptr;) {
        if (sqlite3_stmt_busy(s)) return true;
    }
    return false;
}

inline session_state sqlite::state(connection& c) noexcept {
    if (!c.db_) return session_state::unknown;
    if (any_running(c.db_)) return session_state::busy;
    if (sqlite3_get_autocommit(c.db_) == 0 || c.reads_only_) return session_state::in_transaction; // the latter has something left to undo
    return sqlite3_txn_state(c.db_, nullptr) == SQLITE_TXN_NONE ? session_state::idle : session_state::busy;
}

/// Ends statements and transaction without committing anything.
inline int sqlite::end_work(sqlite3* db) noexcept {
    sqlite3_progress_handler(db, 0, nullptr, nullptr); // it could interrupt the rollback
    const auto quietly = [db](const char* sql) { return sqlite3_exec(db, sql, nullptr, nullptr, nullptr); };
    // A writing statement that is still running commits when it is reset, unless it is inside a transaction.
    if (sqlite3_get_autocommit(db) != 0 && sqlite3_txn_state(db, nullptr) == SQLITE_TXN_WRITE) (void)quietly("begin");
    const int rc = sqlite3_get_autocommit(db) == 0 ? quietly("rollback") : SQLITE_OK;
    for (sqlite3_stmt* s = nullptr; (s = sqlite3_next_stmt(db, s)) != nullptr;) {
        if (sqlite3_stmt_busy(s)) sqlite3_reset(s); // returns what the statement met, which no longer matters
    }
    return rc;
}

inline void sqlite::rollback(connection& c, deadline) {
    if (!c.db_) fail(error_class::disconnected, "cannot roll back", "the connection is closed");
    int rc = end_work(c.db_);
    if (rc == SQLITE_OK && c.reads_only_) rc = write_again(c);
    if (state(c) != session_state::idle) fail(c.db_, rc == SQLITE_OK ? SQLITE_ERROR : rc, "cannot roll back");
}

inline void sqlite::reset(connection& c, deadline by) {
    if (!c.db_ || !c.fresh_) fail(error_class::disconnected, "cannot reset", "the connection is closed");
    sqlite3* const db = c.db_;
    // First what could keep SQL from running.
    for (std::size_t i = 0; i < c.fresh_->limits.size(); ++i) sqlite3_limit(db, static_cast<int>(i), c.fresh_->limits[i]);
    sqlite3_set_authorizer(db, nullptr, nullptr);
    if (c.reach_) {
        c.reach_->watch();
    } else {
        sqlite3_trace_v2(db, 0, nullptr, nullptr);
        sqlite3_commit_hook(db, nullptr, nullptr);
    }
    sqlite3_rollback_hook(db, nullptr, nullptr);
    sqlite3_update_hook(db, nullptr, nullptr);
    rollback(c, by);

    time_limit limit{db, busy_ms(), by};
    try {
        restore(c);
        run_or_fail(db, options_.init, "options.init failed on");
    } catch (const driver_error& e) {
        limit.explain(*this, e, "cannot reset");
    }
    sqlite3_set_last_insert_rowid(db, 0);
}

inline void sqlite::restore(connection& c) const {
    constexpr std::string_view doing = "cannot reset";
    sqlite3* const db = c.db_;
    for (std::size_t i = 0; i < c.fresh_->switches.size(); ++i) {
        const int which = baseline::first_switch + static_cast<int>(i);
        const int before = c.fresh_->switches[i];
        if (before >= 0 && baseline::read_switch(db, which) != before) sqlite3_db_config(db, which, before, nullptr);
    }

    // A change of temp_store throws the temporary database away, whole.
    const std::string& kept = c.fresh_->temp_store;
    run_or_fail(db, std::string{"pragma temp_store = "} + (kept == "2" ? "1" : "2") + "; pragma temp_store = " + kept, doing);
    while (const char* name = sqlite3_db_name(db, 2)) { // 0 is main, 1 is temp
        const std::unique_ptr<char, decltype([](char* p) { sqlite3_free(p); })> sql{sqlite3_mprintf("detach \"%w\"", name)};
        if (!sql) throw std::bad_alloc{};
        run_or_fail(db, sql.get(), doing);
    }
    for (std::size_t i = 0; i < pragmas.size(); ++i) {
        const std::string_view which{pragmas[i]};
        const std::string& before = c.fresh_->values[i];
        const std::string now = read(db, pragmas[i]);
        if (now == before || before.empty()) continue;
        // Whether a file has a write-ahead log is the file's business, not the connection's, unless the options say so.
        if (which == "journal_mode" && options_.journal != journal_mode::wal && (now == "wal" || before == "wal")) continue;
        const bool fast = which == "secure_delete" && before == "2"; // reads as a number, is written as a word
        run_or_fail(db, std::string{"pragma "}.append(which).append(" = ").append(fast ? "fast" : before), doing);
        const std::string then = read(db, pragmas[i]);
        if (then != before) fail(error_class::other, doing, std::string{"pragma "}.append(which).append(" stays at '").append(then).append("'"));
    }
}

inline void sqlite::execute(connection& c, std::string_view sql, deadline by) {
    if (!c.db_) fail(error_class::disconnected, "cannot use", "the connection is closed");
    time_limit limit{c.db_, busy_ms(), by};
    try {
        run_or_fail(c.db_, sql, "statement failed on", nullptr, &limit);
    } catch (const driver_error& e) {
        limit.explain(*this, e, "statement failed on");
    }
}

inline sqlite3* sqlite::native_handle(connection& c) noexcept { return c.db_; }

} // namespace cenote

#include <cenote/drivers/detail/sqlite_query.hpp>
#include <cenote/drivers/detail/sqlite_transact.hpp>
