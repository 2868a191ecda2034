// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/mysql_dial.hpp>
#include <cenote/drivers/mysql.hpp>

#include <array>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <netdb.h>
#include <sys/socket.h>

/// What is done with an open connection.
namespace cenote {

inline mysql::mysql(options o) : target_{std::make_shared<const target>(std::move(o))} {}
inline const mysql::options& mysql::settings() const noexcept { return target_->opt; }

inline void mysql::connection::swap(connection& o) noexcept {
    std::swap(handle_, o.handle_);
    std::swap(charset_, o.charset_);
    std::swap(session_, o.session_);
    std::swap(fresh_status_, o.fresh_status_);
    std::swap(pending_, o.pending_);
    std::swap(lost_, o.lost_);
    std::swap(learnt_, o.learnt_);
    std::swap(schema_is_tracked_, o.schema_is_tracked_);
    std::swap(keeps_charset_, o.keeps_charset_);
    std::swap(call_, o.call_);
    script_.swap(o.script_);
}
inline void mysql::connection::lose() noexcept {
    lost_ = true;
    if (handle_ == nullptr) return;
    drivers::mysql_client::cut(handle_);
    call_.drop();
}
inline void mysql::connection::shut() noexcept {
    if (handle_ == nullptr) return;
    drivers::mysql_client::attach_thread();
    const drivers::errno_kept keep;
    // The client's goodbye is for a server that listens.
    if (mysql::state(*this) == session_state::unknown || drivers::peek_socket(drivers::mysql_client::descriptor(handle_)) != liveness::quiet) lose();
    mysql_close(std::exchange(handle_, nullptr));
}

inline void mysql::close(connection& c) noexcept { c.shut(); }

inline void mysql::abandon(connection& c) noexcept {
    if (c.handle_ == nullptr) return;
    drivers::mysql_client::attach_thread();
    (void)drivers::divert(drivers::mysql_client::descriptor(c.handle_)); // the goodbye goes nowhere
    c.call_.drop();
    mysql_close(std::exchange(c.handle_, nullptr));
}

inline MYSQL* mysql::native_handle(connection& c) noexcept {
    drivers::mysql_client::attach_thread();
    return c.handle_;
}

inline liveness mysql::peek(connection& c) noexcept {
    if (c.handle_ == nullptr || c.lost_) return liveness::dead;
    return drivers::peek_socket(drivers::mysql_client::descriptor(c.handle_));
}

inline session_state mysql::state(connection& c) noexcept {
    MYSQL* const m = c.handle_;
    if (m == nullptr || c.lost_ || c.pending_ != work::none || c.call_.under_way()) return session_state::unknown;
    if (drivers::mysql_client::descriptor(m) < 0 || drivers::mysql_is_fatal(mysql_errno(m)) || mysql_thread_id(m) != c.session_) {
        return session_state::unknown;
    }
    if (m->status != MYSQL_STATUS_READY || mysql_more_results(m)) return session_state::busy;
    return (m->server_status & SERVER_STATUS_IN_TRANS) != 0 ? session_state::in_transaction : session_state::idle;
}

/// The handle of a connection that can take a command, or at least be read from.
inline MYSQL* mysql::usable(connection& c, std::string_view doing) const {
    drivers::mysql_client::attach_thread();
    if (c.handle_ == nullptr) target_->fail(error_class::disconnected, doing, "the connection is closed");
    if (state(c) == session_state::unknown) {
        if (!c.lost_ && mysql_errno(c.handle_) != 0) target_->fail(c.handle_, doing);
        target_->fail(error_class::disconnected, doing, "the connection was lost");
    }
    return c.handle_;
}

/// Brings the call that was begun to its end, and throws unless it ended well. `late` is said when time is up.
inline void mysql::finish(connection& c, std::string_view doing, deadline by, std::string_view late) const {
    if (!c.call_.finish(by)) {
        c.lose();
        target_->fail(error_class::timeout, doing, late);
    }
    if (!c.call_.failed()) return;
    const driver_error why = [&] {
        try {
            target_->fail(c.handle_, doing);
        } catch (const driver_error& e) {
            return e;
        }
    }();
    if (drivers::mysql_is_fatal(static_cast<unsigned>(why.native_code())) || why.native_code() == 0) c.lose();
    throw driver_error{why};
}

inline void mysql::run(connection& c, std::string_view sql, std::string_view doing, deadline by, std::string* answer) const {
    c.call_.run(c.handle_, sql, answer);
    finish(c, doing, by, "timeout: no answer before the deadline");
}

inline void mysql::ping(connection& c, deadline by) {
    MYSQL* const m = usable(c, "cannot use");
    if (state(c) == session_state::busy) target_->fail(error_class::other, "cannot use", "a result is still unread");
    c.call_.ping(m);
    finish(c, "cannot use", by, "timeout: no answer to a ping before the deadline");
}

/// Reads what is left of earlier statements.
inline void mysql::drain(connection& c, std::string_view doing, deadline by) const {
    MYSQL* const m = usable(c, doing);
    if (state(c) != session_state::busy) return;
    constexpr std::string_view too_much = "results were left unread, more than options.drain allows to read";
    if (m->status != MYSQL_STATUS_READY && m->status != MYSQL_STATUS_GET_RESULT) {
        c.lose();
        target_->fail(error_class::other, doing, "a result is read row by row, or by a prepared statement, and only its holder could end that");
    }
    c.call_.drain(m, target_->opt.drain.bytes);
    if (!c.call_.finish(by.sooner(deadline::in(target_->opt.drain.time))) || c.call_.hit_limit()) {
        c.lose();
        target_->fail(error_class::other, doing, too_much);
    }
    // A later statement of several may have failed, which is nobody's business any more; unless nothing more can come.
    if (state(c) == session_state::busy) c.lose();
    (void)usable(c, doing);
}

inline void mysql::rollback(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot roll back on";
    drain(c, doing, by);
    if (state(c) == session_state::in_transaction) run(c, "rollback", doing, by);
}

inline void mysql::reset(connection& c, deadline by) {
    drain(c, "cannot reset", by);
    c.call_.reset(c.handle_);
    finish(c, "cannot reset", by, "timeout: no answer to a reset before the deadline");
    restore(c, by);
}

/// After COM_RESET_CONNECTION: what that leaves.
inline void mysql::restore(connection& c, deadline by) const {
    constexpr std::string_view doing = "cannot reset";
    MYSQL* const m = c.handle_;
    m->server_status = c.fresh_status_; // Connector/C keeps the old session's
    if (!c.learnt_) {
        learn(c, by);
    } else {
        if (!c.keeps_charset_ || std::strcmp(mysql_character_set_name(m), c.charset_) != 0) run(c, target_->set_names, doing, by);
        const bool moved = drivers::mysql_client::schema(m) != target_->opt.database;
        if (!target_->use.empty() && (moved || !c.schema_is_tracked_)) run(c, target_->use, doing, by);
    }
    if (target_->use.empty()) {
        std::string selected{drivers::mysql_client::schema(m)};
        if (!c.schema_is_tracked_) run(c, "select database()", doing, by, &selected);
        if (!selected.empty()) target_->fail(error_class::other, doing, "a default schema was selected, which cannot be undone without options.database");
    }
    if (std::strcmp(mysql_character_set_name(m), c.charset_) != 0) {
        target_->fail(error_class::other, doing, "the client's character set was changed, and this server does not tell it back");
    }
    for (const std::string& sql : target_->opt.init) run(c, sql, "options.init failed on", by);
    if (state(c) != session_state::idle) target_->fail(error_class::other, doing, "options.init leaves a transaction or a result open");
}

/// Finds out, right after the first reset, what the server restores by itself and what it tells of changes, and restores the rest.
inline void mysql::learn(connection& c, deadline by) const {
    constexpr std::string_view doing = "cannot reset";
    constexpr std::string_view ask =
        "select concat_ws(',', @@character_set_client, @@character_set_connection, @@character_set_results, @@collation_connection)";
    std::string restored, wanted;
    run(c, ask, doing, by, &restored);
    run(c, target_->set_names, doing, by);
    const bool told = drivers::mysql_client::was_told(c.handle_, SESSION_TRACK_SYSTEM_VARIABLES);
    run(c, ask, doing, by, &wanted);
    c.keeps_charset_ = restored == wanted;
    if (!target_->use.empty()) {
        run(c, target_->use, doing, by);
        c.schema_is_tracked_ = drivers::mysql_client::was_told(c.handle_, SESSION_TRACK_SCHEMA);
    } else if (told) {
        std::string on;
        run(c, "select @@session_track_schema", doing, by, &on);
        c.schema_is_tracked_ = on == "1";
    }
    c.learnt_ = true;
}

/// Sends without waiting. False: the connection cannot take it.
inline bool mysql::begin(connection& c, work what, std::string_view sql) noexcept {
    drivers::mysql_client::attach_thread();
    const drivers::errno_kept keep;
    if (what == work::reset) c.call_.reset(c.handle_);
    else c.call_.run(c.handle_, sql);
    const bool over = c.call_.resume();
    c.pending_ = what;
    if (over ? !c.call_.failed() : c.call_.want() == readiness::read) return true;
    c.lost_ = true; // half of it may have gone out
    return false;
}

inline bool mysql::reset_start(connection& c) noexcept {
    const session_state s = state(c);
    return (s == session_state::idle || s == session_state::in_transaction) && begin(c, work::reset, {});
}
inline bool mysql::rollback_start(connection& c) noexcept {
    const session_state s = state(c);
    return (s == session_state::idle || s == session_state::in_transaction) && begin(c, work::rollback, "rollback");
}
inline bool mysql::execute_start(connection& c, std::string_view sql) noexcept {
    const session_state s = state(c);
    if (s == session_state::idle) return begin(c, work::script, sql);
    if (s != session_state::in_transaction) return false;
    try {
        c.script_ = sql;
    } catch (...) {
        return false;
    }
    return begin(c, work::rollback_then_script, "rollback");
}

inline void mysql::reset_finish(connection& c, deadline by) {
    const work what = c.lost_ ? work::none : std::exchange(c.pending_, work::none);
    const std::string_view doing = what == work::reset ? "cannot reset" : what == work::script ? "statement failed on" : "cannot roll back on";
    drivers::mysql_client::attach_thread();
    if (c.handle_ == nullptr || what == work::none) target_->fail(error_class::disconnected, doing, "the connection was lost");
    finish(c, doing, by, "timeout: no answer before the deadline");
    if (what == work::reset) restore(c, by);
    if (what == work::rollback_then_script) run(c, c.script_, "statement failed on", by);
}

inline void mysql::execute(connection& c, std::string_view sql, deadline by) {
    constexpr std::string_view doing = "statement failed on";
    (void)usable(c, doing);
    if (state(c) == session_state::busy) target_->fail(error_class::other, doing, "a result is still unread");
    run(c, sql, doing, by);
}

inline server_role mysql::role(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot ask for the role of";
    (void)usable(c, doing);
    const auto is_on = [&](std::string_view sql) { // one variable at a time: beside other things MariaDB has answered 0
        std::string value;
        run(c, sql, doing, by, &value);
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

namespace drivers::mysql_client {
/// The address of the other end of a TCP connection; empty for a local one.
[[nodiscard]] inline std::string peer_address(int fd) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    std::array<char, NI_MAXHOST> text{};
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::getpeername(fd, any, &length) != 0 || (address.ss_family != AF_INET && address.ss_family != AF_INET6)) return {};
    if (::getnameinfo(any, length, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) return {};
    return text.data();
}
} // namespace drivers::mysql_client

inline mysql::token mysql::interrupter(connection& c) {
    token t;
    if (c.handle_ == nullptr) return t;
    const int fd = drivers::mysql_client::descriptor(c.handle_);
    t.socket_ = drivers::descriptor_copy{fd};
    t.session_ = c.session_;
    if (!target_->local()) t.address_ = drivers::mysql_client::peer_address(fd);
    return t;
}

/// Over a connection to the same server: its address, unless its certificate must show the name.
inline void mysql::kill(const token& t, std::string_view what, deadline by) const {
    options o = target_->opt;
    o.database.clear();
    o.init.clear();
    if (!t.address_.empty() && o.tls.mode != tls_mode::verify_identity) o.host = t.address_;
    mysql second{std::move(o)};
    connection c = second.open(by);
    if (!target_->local() && drivers::mysql_client::peer_address(drivers::mysql_client::descriptor(c.handle_)) != t.address_) {
        target_->fail(error_class::other, "cannot interrupt a statement on", "the name leads to another server by now");
    }
    second.execute(c, std::string{what} + std::to_string(t.session_), by);
}

inline void mysql::cancel(token& t, deadline by) {
    if (!t.socket_) target_->fail(error_class::disconnected, "cannot interrupt a statement on", "the connection was closed");
    kill(t, "kill query ", by);
}

inline void mysql::sever(token& t, deadline by) noexcept {
    t.socket_.shut();
    if (!t.socket_) return;
    try {
        kill(t, "kill connection ", by);
    } catch (...) { // its user is free already, and the server will notice by itself in the end
    }
}

} // namespace cenote
