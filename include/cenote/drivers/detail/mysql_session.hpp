// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>
#include <cenote/drivers/detail/mysql_call.hpp>
#include <cenote/drivers/detail/mysql_client.hpp>
#include <cenote/drivers/detail/mysql_error.hpp>
#include <cenote/drivers/detail/mysql_limit.hpp>
#include <cenote/drivers/detail/mysql_prepared.hpp>
#include <cenote/drivers/detail/socket.hpp>

#include <mysql.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cenote {
class mysql;
}

namespace cenote::drivers::mysql_client {

/// One MYSQL handle, and what is done with it once it is open. Closed by the driver; a detached one closes itself.
class session {
public:
    session(session&& o) noexcept { swap(o); }
    session& operator=(session&& o) noexcept {
        session taken{std::move(o)};
        swap(taken);
        return *this;
    }
    ~session() { close(); }

    [[nodiscard]] MYSQL* handle() const noexcept { return handle_; }

private:
    friend class cenote::mysql;
    template <class>
    friend class dialling;
    friend struct transacting;
    template <class, class>
    friend class asking;
    template <class, class>
    friend class rows;
    enum class work : unsigned char { none, rollback, reset, script, rollback_then_script };

    session() noexcept = default;

    void swap(session& o) noexcept {
        std::swap(handle_, o.handle_);
        std::swap(charset_, o.charset_);
        std::swap(id_, o.id_);
        std::swap(fresh_status_, o.fresh_status_);
        std::swap(pending_, o.pending_);
        std::swap(lost_, o.lost_);
        std::swap(learnt_, o.learnt_);
        std::swap(schema_is_tracked_, o.schema_is_tracked_);
        std::swap(keeps_charset_, o.keeps_charset_);
        std::swap(call_, o.call_);
        script_.swap(o.script_);
        user_.swap(o.user_);
        std::swap(loose_, o.loose_);
        std::swap(kept_, o.kept_);
        std::swap(open_, o.open_);
        std::swap(serial_, o.serial_);
        std::swap(forgets_, o.forgets_);
        std::swap(had_error_, o.had_error_);
    }

    [[nodiscard]] session_state state() const noexcept {
        if (handle_ == nullptr || lost_ || pending_ != work::none || call_.under_way()) return session_state::unknown;
        if (descriptor(handle_) < 0 || is_fatal(mysql_errno(handle_)) || mysql_thread_id(handle_) != id_) return session_state::unknown;
        if (reconnects(handle_)) return session_state::unknown; // its holder said so: from then on it may be another session at any time
        if (handle_->user == nullptr || user_ != handle_->user) return session_state::unknown; // mysql_change_user: somebody else's rights
        if (handle_->status != MYSQL_STATUS_READY || mysql_more_results(handle_) || awaits_answer(handle_)) return session_state::busy;
        return (handle_->server_status & SERVER_STATUS_IN_TRANS) != 0 ? session_state::in_transaction : session_state::idle;
    }
    [[nodiscard]] liveness peek() const noexcept {
        return handle_ == nullptr || lost_ ? liveness::dead : peek_socket(descriptor(handle_));
    }

    void close() noexcept {
        if (handle_ == nullptr) return;
        attach_thread();
        const errno_kept keep;
        if (state() == session_state::unknown || peek() != liveness::quiet) lose(); // the goodbye is for a server that listens
        end_handle();
    }
    /// In a forked child: what the client holds in memory stays as it is, as it may be in the middle of something.
    void abandon() noexcept {
        if (handle_ == nullptr) return;
        let_go(descriptor(std::exchange(handle_, nullptr)));
        call_ = call{};
        open_ = nullptr;
        (void)loose_.release(); // to be closed they would ask the client
        (void)kept_.release();
    }
    /// Statements end with their session, and need no goodbye of their own.
    void end_handle() noexcept {
        const bool had_tls = lost_ || is_encrypted(handle_);
        mysql_close(std::exchange(handle_, nullptr));
        if (had_tls) forget_tls_errors();
        call_.drop();
        drop_statements();
    }
    void drop_statements() noexcept {
        open_ = nullptr;
        loose_.reset();
        kept_.reset();
    }
    /// After a call that did not end: nobody knows what the server will say next.
    void lose() noexcept {
        lost_ = true;
        if (handle_ == nullptr) return;
        cut(handle_);
        // Else the client would go on reading when it is to forget rows or their statement.
        handle_->status = MYSQL_STATUS_READY;
        handle_->server_status &= ~static_cast<unsigned>(SERVER_MORE_RESULTS_EXIST);
        call_.drop();
        open_ = nullptr;
        forget_tls_errors();
    }

    /// The handle of a connection that is of use.
    MYSQL* usable(const auto& t, std::string_view doing) const {
        attach_thread();
        if (handle_ == nullptr) t.fail(error_class::disconnected, doing, "the connection is closed");
        if (state() == session_state::unknown) {
            if (!lost_ && mysql_errno(handle_) != 0) t.fail(handle_, doing);
            t.fail(error_class::disconnected, doing, "the connection was lost");
        }
        return handle_;
    }
    /// … and takes a command.
    MYSQL* ready(const auto& t, std::string_view doing) const {
        MYSQL* const m = usable(t, doing);
        if (state() == session_state::busy) t.fail(error_class::other, doing, "a result is still unread");
        return m;
    }

    /// Brings the call that was begun to its end, and throws unless it ended well.
    void finish(const auto& t, std::string_view doing, deadline by) {
        if (!call_.finish(by)) {
            lose();
            t.fail(error_class::timeout, doing, "timeout: no answer before the deadline", 0, {}, condition::statement_timeout);
        }
        check(t, doing);
    }
    /// Throws unless the call that is over ended well.
    void check(const auto& t, std::string_view doing) {
        if (!call_.failed()) return;
        had_error_ = true;
        const unsigned code = mysql_errno(handle_);
        try {
            t.fail(handle_, doing);
        } catch (...) {
            if (code == 0 || is_fatal(code)) lose();
            throw;
        }
    }
    void run(const auto& t, std::string_view sql, std::string_view doing, deadline by, std::string* answer = nullptr) {
        call_.run(handle_, sql, answer);
        finish(t, doing, by);
    }

    /// Reads what is left of earlier statements.
    void drain(const auto& t, std::string_view doing, deadline by) {
        MYSQL* const m = usable(t, doing);
        ++serial_; // whoever was reading rows has lost them
        if (state() != session_state::busy) return;
        if (open_ != nullptr) {
            const bool over = drain_open(t.opt.drain_bytes, by.sooner(deadline::in(t.opt.drain_time)));
            if (!over || state() == session_state::busy) {
                lose();
                t.fail(error_class::other, doing, "more rows were left unread than options.drain_bytes and drain_time allow to read");
            }
            (void)usable(t, doing);
            return;
        }
        if (call_.rows() == nullptr && m->status != MYSQL_STATUS_READY && m->status != MYSQL_STATUS_GET_RESULT) {
            lose();
            t.fail(error_class::other, doing, "a result is read row by row, or by a prepared statement, and only its holder could end that");
        }
        if (awaits_answer(m)) {
            lose();
            t.fail(error_class::other, doing, "a statement was sent without waiting for its answer, and only its sender knows how to read that");
        }
        call_.drain(m, t.opt.drain_bytes);
        if (!call_.finish(by.sooner(deadline::in(t.opt.drain_time))) || call_.hit_limit()) {
            lose();
            t.fail(error_class::other, doing, "more results were left unread than options.drain_bytes and drain_time allow to read");
        }
        // That a later one of several statements failed is nobody's business any more.
        if (state() == session_state::busy) lose();
        (void)usable(t, doing);
    }

    /// Reads what is left of the rows of a prepared statement. False: it is too much.
    [[nodiscard]] bool drain_open(std::size_t bytes, deadline by) {
        auto late = []() noexcept { return deadline{time_point{}}; };
        limit l{handle_, by, false, late};
        MYSQL_STMT* const h = open_->handle();
        std::size_t read = 0;
        int code = 0;
        while ((code = mysql_stmt_fetch(h)) == 0 || code == MYSQL_DATA_TRUNCATED) {
            if (!open_->complete_row() || (read += open_->row_bytes()) > bytes) return false;
        }
        if (code == MYSQL_NO_DATA) {
            note_end_of_rows();
            while ((code = mysql_stmt_next_result(h)) == 0) (void)mysql_stmt_free_result(h);
        }
        // That it failed is nobody's business any more, unless the connection did.
        if (l.passed() || (code > 0 && code != MYSQL_NO_DATA && is_fatal(mysql_errno(handle_)))) return false;
        open_ = nullptr;
        loose_.reset();
        return true;
    }
    /// At the end of rows that were fetched one by one Connector/C does not read what the server tells of the session.
    void note_end_of_rows() noexcept {
#if defined(MARIADB_PACKAGE_VERSION_ID)
        const auto* last = handle_->net.read_pos;
        if (last != nullptr && last[0] == 0xfe) handle_->server_status = static_cast<unsigned>(last[3]) | static_cast<unsigned>(last[4]) << 8U;
#endif
    }

    void rollback(const auto& t, deadline by) {
        constexpr std::string_view doing = "cannot roll back on";
        drain(t, doing, by);
        if (state() == session_state::in_transaction) run(t, "rollback", doing, by);
    }
    void reset(const auto& t, deadline by) {
        drain(t, "cannot reset", by);
        call_.reset(handle_);
        finish(t, "cannot reset", by);
        restore(t, by);
    }

    /// What COM_RESET_CONNECTION leaves: the client's idea of the session, the default schema, the character set, options.init.
    void restore(const auto& t, deadline by) {
        constexpr std::string_view doing = "cannot reset";
        handle_->server_status = fresh_status_; // Connector/C keeps the old session's
        had_error_ = false;
        drop_statements(); // the client knows that they are gone
        if (!learnt_) {
            learn(t, by);
        } else {
            if (!keeps_charset_ || !has_its_charset()) run(t, t.set_names, doing, by);
            if (!t.use.empty() && (!schema_is_tracked_ || schema(handle_) != t.opt.database)) run(t, t.use, doing, by);
        }
        if (t.use.empty()) {
            std::string selected{schema(handle_)};
            if (!schema_is_tracked_) run(t, "select database()", doing, by, &selected);
            if (!selected.empty()) t.fail(error_class::other, doing, "a default schema was selected, which only options.database could undo");
        }
        if (!has_its_charset()) t.fail(error_class::other, doing, "the client's character set was changed, and this server does not tell it back");
        for (const std::string& sql : t.opt.init) run(t, sql, "options.init failed on", by);
        if (state() != session_state::idle) t.fail(error_class::other, doing, "options.init leaves a transaction or a result open");
    }
    [[nodiscard]] bool has_its_charset() const noexcept { return std::strcmp(mysql_character_set_name(handle_), charset_) == 0; }

    /// Right after the first reset: what the server restores by itself, and what it tells of changes. Restores the rest.
    void learn(const auto& t, deadline by) {
        constexpr std::string_view doing = "cannot reset";
        constexpr std::string_view ask =
            "select concat_ws(',', @@character_set_client, @@character_set_connection, @@character_set_results, @@collation_connection)";
        std::string restored, wanted;
        run(t, ask, doing, by, &restored);
        run(t, t.set_names, doing, by);
        const bool told = was_told(handle_, SESSION_TRACK_SYSTEM_VARIABLES);
        run(t, ask, doing, by, &wanted);
        keeps_charset_ = restored == wanted;
        if (!t.use.empty()) {
            run(t, t.use, doing, by);
            schema_is_tracked_ = was_told(handle_, SESSION_TRACK_SCHEMA);
        } else if (told) {
            std::string on;
            run(t, "select @@session_track_schema", doing, by, &on);
            schema_is_tracked_ = on == "1";
        }
        learnt_ = true;
    }

    /// Sends without waiting. False: the connection cannot take it.
    [[nodiscard]] bool begin(work what, std::string_view sql) noexcept {
        attach_thread();
        const errno_kept keep;
        if (what == work::reset) call_.reset(handle_);
        else call_.run(handle_, sql);
        const bool over = call_.resume(deadline::never());
        pending_ = what;
        if (over || call_.want() == readiness::read) return true; // an error that is there already is told when it is finished
        lost_ = true; // half of it may have gone out
        return false;
    }
    [[nodiscard]] bool begin_if_not_busy(work what, std::string_view sql) noexcept {
        const session_state s = state();
        return (s == session_state::idle || s == session_state::in_transaction) && begin(what, sql);
    }
    [[nodiscard]] bool begin_script(std::string_view sql) noexcept {
        const session_state s = state();
        if (s == session_state::idle) return begin(work::script, sql);
        if (s != session_state::in_transaction) return false;
        try {
            script_ = sql;
        } catch (...) {
            return false;
        }
        return begin(work::rollback_then_script, "rollback");
    }
    void finish_begun(const auto& t, deadline by) {
        attach_thread();
        const work what = handle_ == nullptr || lost_ ? work::none : std::exchange(pending_, work::none);
        const std::string_view doing = what == work::reset ? "cannot reset" : what == work::script ? "statement failed on" : "cannot roll back on";
        if (what == work::none) t.fail(error_class::disconnected, doing, "the connection was lost");
        finish(t, doing, by);
        if (what == work::reset) restore(t, by);
        if (what == work::rollback_then_script) run(t, script_, "statement failed on", by);
    }

    MYSQL* handle_ = nullptr;
    const char* charset_ = "";       // the client's own name for options.charset
    unsigned long id_ = 0;           // the server's number for the session
    unsigned fresh_status_ = 0;      // server_status of a new one
    work pending_ = work::none;
    bool lost_ = false;
    bool learnt_ = false;            // the next two are known
    bool schema_is_tracked_ = false; // the client's idea of the default schema is the server's
    bool keeps_charset_ = false;     // COM_RESET_CONNECTION brings the character set back
    call call_{};
    std::string script_{};
    std::string user_{};             // whose session it is
    std::unique_ptr<prepared> loose_{};        // used once
    std::unique_ptr<kept_statements> kept_{};  // none yet
    prepared* open_ = nullptr;       // the one of them whose rows are being read
    std::uint64_t serial_ = 0;       // counts what was asked, so that whoever reads rows knows them to be over
    bool forgets_ = false;           // what is kept is to be closed, when there is a chance
    bool had_error_ = false;         // since the transaction began
};

} // namespace cenote::drivers::mysql_client
