// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/mysql_client.hpp>
#include <cenote/drivers/detail/socket.hpp>

#include <mysql.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace cenote::drivers::mysql_client {

/// Where to connect to.
struct destination {
    const char* host = nullptr;
    const char* user = nullptr;
    const char* password = nullptr;
    const char* database = nullptr;
    unsigned port = 0;
    const char* socket = nullptr;
    unsigned long flags = 0;
};

/// One call of the client library that never waits: begun, and taken up again whenever the socket is ready.
///
/// With     a connection has at most one. It can be moved while it is under way, but the SQL and the destination must stay.
class call {
public:
    call() noexcept = default;
    call(call&& o) noexcept { swap(o); }
    call& operator=(call&& o) noexcept {
        swap(o);
        return *this;
    }
    ~call() = default; // whoever gives up cuts the connection first, and then drops the rows

    void connect(MYSQL* m, const destination& to) noexcept {
        start(m, step::connect);
        to_ = &to;
    }
    void ping(MYSQL* m) noexcept {
        start(m, is_mariadb ? step::ping : step::query);
        sql_ = "do 0"; // libmysqlclient has no ping that does not wait
    }
    void reset(MYSQL* m) noexcept { start(m, step::reset); }
    /// Runs the SQL and reads all its results to their end. The first value of the first row goes to `answer`.
    void run(MYSQL* m, std::string_view sql, std::string* answer = nullptr) noexcept {
        start(m, step::query);
        sql_ = sql;
        answer_ = answer;
    }
    /// Runs the SQL up to its first answer. If that has rows they wait to be fetched one by one.
    void ask(MYSQL* m, std::string_view sql) noexcept {
        start(m, step::query);
        sql_ = sql;
        by_row_ = true;
    }
    /// Whether any of its answers was one of rows.
    [[nodiscard]] bool met_rows() const noexcept { return met_rows_; }
    /// Goes to the next row. After the last one all further results are read away.
    void fetch() noexcept { step_ = step::row; }
    /// The rows that `ask` has brought and `fetch` not yet read to their end.
    [[nodiscard]] MYSQL_RES* rows() const noexcept { return rows_; }
    /// The one that `fetch` went to; null: there was none left.
    [[nodiscard]] MYSQL_ROW row() const noexcept { return row_; }
    /// From here on nobody wants the rows.
    void skip() noexcept {
        by_row_ = false;
        if (!under_way() && rows_ != nullptr) step_ = step::row;
    }
    /// Reads what an earlier statement left, up to so many bytes.
    void drain(MYSQL* m, std::size_t limit) noexcept {
        if (rows_ != nullptr) {
            bytes_ = 0;
            skip();
        } else {
            start(m, step::none);
        }
        limit_ = limit;
        if (rows_ == nullptr) after_result();
    }

    [[nodiscard]] bool under_way() const noexcept { return step_ != step::none; }
    [[nodiscard]] bool failed() const noexcept { return failed_; }
    [[nodiscard]] bool hit_limit() const noexcept { return bytes_ > limit_; }
    [[nodiscard]] readiness want() const noexcept { return want_; }
    /// When to take it up even if the socket is not ready.
    [[nodiscard]] deadline until(deadline by) const noexcept {
        if (is_mariadb || m_ == nullptr) return by;
        // libmysqlclient does not say what it waits for, and while TCP connects not even on which socket.
        return by.sooner(deadline::in(std::chrono::milliseconds{mysql_client::descriptor(m_) < 0 ? 1 : 10}));
    }

    /// Goes on. True: it is over. False: it waits, or goes on and on until the deadline.
    bool resume(deadline by) {
        for (unsigned steps = 1; under_way(); ++steps) {
            set_nonblocking(true);
            const progress p = go();
            if (p == progress::waiting) return false;
            suspended_ = false;
            failed_ = p == progress::failed;
            advance(p);
            if (under_way() && limit_ == no_limit && steps % 256 == 0 && by.expired()) return false;
        }
        set_nonblocking(false);
        return true;
    }
    /// Goes on until it is over. False: time was up first.
    [[nodiscard]] bool finish(deadline by) {
        while (!resume(by)) {
            if (by.expired()) return false;
            (void)wait_ready(descriptor(m_), want_, until(by));
        }
        return true;
    }
    /// Forgets the call, and the rows it was reading. The connection is cut, or its call over.
    void drop() noexcept {
        // libmysqlclient forgets to free what it authenticates with, unless it is let fail.
        for (int i = 0; !is_mariadb && step_ == step::connect && i < 16 && go() == progress::waiting; ++i) {}
        if (rows_ != nullptr) mysql_free_result(std::exchange(rows_, nullptr));
        row_ = nullptr;
        step_ = step::none;
    }

private:
    enum class step : unsigned char { none, connect, query, row, next, reset, ping };
    enum class progress : unsigned char { waiting, done, failed, nothing_more };
    static constexpr auto no_limit = static_cast<std::size_t>(-1);

    void start(MYSQL* m, step first) noexcept {
        *this = call{};
        m_ = m;
        step_ = first;
        encrypted_ = first != step::connect && is_encrypted(m);
    }
    void swap(call& o) noexcept {
        std::swap(m_, o.m_);
        std::swap(rows_, o.rows_);
        std::swap(row_, o.row_);
        std::swap(answer_, o.answer_);
        std::swap(sql_, o.sql_);
        std::swap(to_, o.to_);
        std::swap(bytes_, o.bytes_);
        std::swap(limit_, o.limit_);
        std::swap(wanted_, o.wanted_);
        std::swap(step_, o.step_);
        std::swap(want_, o.want_);
        std::swap(suspended_, o.suspended_);
        std::swap(failed_, o.failed_);
        std::swap(encrypted_, o.encrypted_);
        std::swap(by_row_, o.by_row_);
        std::swap(met_rows_, o.met_rows_);
    }

    /// Connector/C's own switch does nothing under TLS, where a read of a socket that blocks would block.
    void set_nonblocking(bool on) const noexcept {
        if (is_mariadb && encrypted_) set_blocking(descriptor(m_), !on);
    }

    void advance(progress p) {
        switch (std::exchange(step_, step::none)) {
        case step::query:
        case step::next:
            if (p == progress::done) after_result();
            break;
        case step::row: after_row(); break;
        default: break;
        }
    }
    void after_result() noexcept {
        if (m_->status == MYSQL_STATUS_GET_RESULT) {
            rows_ = mysql_use_result(m_);
            met_rows_ = true;
            failed_ = rows_ == nullptr;
            if (!failed_ && !by_row_) step_ = step::row;
        } else if (mysql_more_results(m_)) {
            step_ = step::next;
        }
    }
    void after_row() {
        if (row_ == nullptr) {
            failed_ = mysql_errno(m_) != 0; // the rows have let go of the connection either way
            mysql_free_result(std::exchange(rows_, nullptr));
            by_row_ = false;
            if (!failed_) after_result();
            return;
        }
        if (by_row_) return;
        const unsigned long* lengths = mysql_fetch_lengths(rows_);
        if (answer_ != nullptr && row_[0] != nullptr) answer_->assign(row_[0], lengths[0]);
        answer_ = nullptr;
        for (unsigned i = 0; i < mysql_num_fields(rows_); ++i) bytes_ += lengths[i] + 1;
        if (!hit_limit()) step_ = step::row;
    }

#if defined(MARIADB_PACKAGE_VERSION_ID)
    progress go() noexcept {
        int code = 0;
        MYSQL* connected = m_;
        const int ready = wanted_ & (MYSQL_WAIT_READ | MYSQL_WAIT_WRITE | MYSQL_WAIT_EXCEPT);
        if (!suspended_) {
            switch (step_) {
            case step::none: break;
            case step::connect:
                wanted_ = mysql_real_connect_start(&connected, m_, to_->host, to_->user, to_->password, to_->database, to_->port, to_->socket, to_->flags);
                break;
            case step::query: wanted_ = mysql_real_query_start(&code, m_, sql_.data(), static_cast<unsigned long>(sql_.size())); break;
            case step::row: wanted_ = mysql_fetch_row_start(&row_, rows_); break;
            case step::next: wanted_ = mysql_next_result_start(&code, m_); break;
            case step::reset: wanted_ = mysql_reset_connection_start(&code, m_); break;
            case step::ping: wanted_ = mysql_ping_start(&code, m_); break;
            }
        } else {
            switch (step_) {
            case step::none: break;
            case step::connect: wanted_ = mysql_real_connect_cont(&connected, m_, ready); break;
            case step::query: wanted_ = mysql_real_query_cont(&code, m_, ready); break;
            case step::row: wanted_ = mysql_fetch_row_cont(&row_, rows_, ready); break;
            case step::next: wanted_ = mysql_next_result_cont(&code, m_, ready); break;
            case step::reset: wanted_ = mysql_reset_connection_cont(&code, m_, ready); break;
            case step::ping: wanted_ = mysql_ping_cont(&code, m_, ready); break;
            }
        }
        if (wanted_ != 0) {
            suspended_ = true;
            want_ = (wanted_ & MYSQL_WAIT_READ) != 0 ? readiness::read : readiness::write;
            return progress::waiting;
        }
        if (step_ == step::next && code == -1) return progress::nothing_more;
        return code == 0 && connected != nullptr ? progress::done : progress::failed;
    }
#else
    progress go() noexcept {
        net_async_status s = NET_ASYNC_ERROR;
        switch (step_) {
        case step::none:
        case step::ping: break;
        case step::connect:
            s = mysql_real_connect_nonblocking(m_, to_->host, to_->user, to_->password, to_->database, to_->port, to_->socket, to_->flags);
            break;
        case step::query: s = mysql_real_query_nonblocking(m_, sql_.data(), static_cast<unsigned long>(sql_.size())); break;
        case step::row: s = mysql_fetch_row_nonblocking(rows_, &row_); break;
        case step::next: s = mysql_next_result_nonblocking(m_); break;
        case step::reset: s = mysql_reset_connection_nonblocking(m_); break;
        }
        switch (s) {
        case NET_ASYNC_NOT_READY: suspended_ = true; return progress::waiting;
        case NET_ASYNC_COMPLETE: return progress::done;
        case NET_ASYNC_COMPLETE_NO_MORE_RESULTS: return progress::nothing_more;
        default: return progress::failed;
        }
    }
#endif

    MYSQL* m_ = nullptr;
    MYSQL_RES* rows_ = nullptr;
    MYSQL_ROW row_ = nullptr;
    std::string* answer_ = nullptr;
    std::string_view sql_{};
    const destination* to_ = nullptr;
    std::size_t bytes_ = 0;
    std::size_t limit_ = no_limit;
    int wanted_ = 0;
    step step_ = step::none;
    readiness want_ = readiness::read;
    bool suspended_ = false;
    bool failed_ = false;
    bool encrypted_ = false;
    bool by_row_ = false;
    bool met_rows_ = false;
};

} // namespace cenote::drivers::mysql_client
