// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/mysql_client.hpp>
#include <cenote/session/value.hpp>

#include <mysql.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

/// Statements prepared on the server, and values on their way in and out.
namespace cenote::drivers::mysql_client {

/// What a column's values become. Numbers that a double would not hold, dates and the like stay as the server writes them.
[[nodiscard]] inline value_view::kind kind_of(const MYSQL_FIELD& f) noexcept {
    using enum value_view::kind;
    constexpr unsigned binary = 63; // the character set of bytes
    constexpr auto json = static_cast<int>(245), vector = static_cast<int>(242); // names that not every client has
    switch (static_cast<int>(f.type)) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_YEAR: return (f.flags & UNSIGNED_FLAG) != 0 ? unsigned_integer : integer;
    case MYSQL_TYPE_FLOAT:
    case MYSQL_TYPE_DOUBLE: return real;
    case MYSQL_TYPE_NULL: return null;
    case MYSQL_TYPE_BIT:
    case MYSQL_TYPE_GEOMETRY:
    case vector: return bytes;
    case MYSQL_TYPE_TINY_BLOB:
    case MYSQL_TYPE_MEDIUM_BLOB:
    case MYSQL_TYPE_LONG_BLOB:
    case MYSQL_TYPE_BLOB:
    case MYSQL_TYPE_VARCHAR:
    case MYSQL_TYPE_VAR_STRING:
    case MYSQL_TYPE_STRING: return f.charsetnr == binary ? bytes : text;
    case json:
    default: return text;
    }
}

[[nodiscard]] inline value_view characters(value_view::kind is, const char* data, std::size_t size) noexcept {
    if (is == value_view::kind::bytes) return std::as_bytes(std::span{data, size});
    return std::string_view{data, size};
}

/// A value as the text protocol has it. What does not read as a number stays text.
[[nodiscard]] inline value_view read_text(value_view::kind is, const char* data, std::size_t size) noexcept {
    if (data == nullptr) return {};
    const auto number = [&](auto n) -> value_view {
        const auto [end, error] = std::from_chars(data, data + size, n);
        if (error != std::errc{} || end != data + size) return std::string_view{data, size};
        return n;
    };
    switch (is) {
    case value_view::kind::integer: return number(std::int64_t{});
    case value_view::kind::unsigned_integer: return number(std::uint64_t{});
#if defined(__cpp_lib_to_chars)
    case value_view::kind::real: return number(double{});
#endif
    default: return characters(is, data, size);
    }
}

/// The statement's placeholders, where they can be told without knowing how the session reads it. False: comments, backslashes in quotes
/// and other letters than those of ASCII depend on that.
[[nodiscard]] inline bool count_placeholders(std::string_view sql, std::size_t& n) noexcept {
    n = 0;
    char quote = 0;
    for (std::size_t i = 0; i < sql.size(); ++i) {
        const char c = sql[i];
        if (static_cast<unsigned char>(c) >= 0x80 || c == 0) return false;
        if (quote != 0) {
            if (c == '\\' && quote != '`') return false;
            if (c == quote) quote = 0;
            continue;
        }
        switch (c) {
        case '\'':
        case '"':
        case '`': quote = c; break;
        case '#': return false;
        case '-':
        case '/':
            if (i + 1 < sql.size() && (sql[i + 1] == '-' || sql[i + 1] == '*')) return false;
            break;
        case '?': ++n; break;
        default: break;
        }
    }
    return quote == 0;
}

/// Values, bound.
class parameters {
public:
    explicit parameters(std::span<const value_view> values) : binds_(values.size()), numbers_(values.size()) {
        for (std::size_t i = 0; i < values.size(); ++i) bind(binds_[i], numbers_[i], values[i]);
    }
    [[nodiscard]] MYSQL_BIND* data() noexcept { return binds_.data(); }
    [[nodiscard]] std::size_t size() const noexcept { return binds_.size(); }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

private:
    union number {
        std::int64_t i = 0;
        std::uint64_t u;
        double r;
        signed char b;
    };
    void bind(MYSQL_BIND& b, number& n, const value_view& v) noexcept {
        b = MYSQL_BIND{};
        b.buffer = &n;
        bytes_ += 16;
        switch (v.is()) {
        case value_view::kind::null: b.buffer_type = MYSQL_TYPE_NULL; break;
        case value_view::kind::boolean:
            n.b = v.boolean() ? 1 : 0;
            b.buffer_type = MYSQL_TYPE_TINY;
            break;
        case value_view::kind::integer:
            n.i = v.integer();
            b.buffer_type = MYSQL_TYPE_LONGLONG;
            break;
        case value_view::kind::unsigned_integer:
            n.u = v.unsigned_integer();
            b.buffer_type = MYSQL_TYPE_LONGLONG;
            b.is_unsigned = 1;
            break;
        case value_view::kind::real:
            n.r = v.real();
            b.buffer_type = MYSQL_TYPE_DOUBLE;
            break;
        case value_view::kind::text:
        case value_view::kind::bytes: {
            const std::string_view t = v.text();
            b.buffer_type = v.is() == value_view::kind::text ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
            b.buffer = const_cast<char*>(t.empty() ? "" : t.data()); // only read
            b.buffer_length = static_cast<unsigned long>(t.size());
            bytes_ += t.size();
            break;
        }
        }
    }
    std::vector<MYSQL_BIND> binds_;
    std::vector<number> numbers_;
    std::size_t bytes_ = 0;
};

/// A prepared statement, and where the values of its rows go.
///
/// With     to be destroyed only when no rows of its connection are left unread: the client would read them, however many.
class prepared {
public:
    prepared(MYSQL* m, std::string_view sql) : sql_{sql}, handle_{mysql_stmt_init(m)} {
        if (handle_ == nullptr) throw std::bad_alloc{};
    }
    prepared(const prepared&) = delete;
    prepared& operator=(const prepared&) = delete;
    ~prepared() { (void)mysql_stmt_close(handle_); }

    [[nodiscard]] MYSQL_STMT* handle() const noexcept { return handle_; }
    [[nodiscard]] const std::string& sql() const noexcept { return sql_; }
    /// False: something has ended all statements of the session (a reset, a change of its user).
    [[nodiscard]] bool is_there() const noexcept {
#if defined(MARIADB_PACKAGE_VERSION_ID)
        return handle_->mysql != nullptr;
#else
        return true; // it says so when it is used
#endif
    }

    /// After it has run and answered with rows.
    void bind_rows() {
        const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> all{mysql_stmt_result_metadata(handle_), &mysql_free_result};
        if (!all) throw std::bad_alloc{};
        const unsigned n = mysql_num_fields(all.get());
        const MYSQL_FIELD* fields = mysql_fetch_fields(all.get());
        columns_.resize(n);
        binds_.assign(n, MYSQL_BIND{});
        for (unsigned i = 0; i < n; ++i) bind(columns_[i], binds_[i], fields[i]);
        (void)mysql_stmt_bind_result(handle_, binds_.data());
    }
    [[nodiscard]] std::size_t columns() const noexcept { return columns_.size(); }
    [[nodiscard]] const std::string& name(std::size_t i) const noexcept { return columns_[i].name; }

    /// After each row: brings what was longer than its place.
    [[nodiscard]] bool complete_row() {
        bool grown = false;
        row_bytes_ = 0;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            column& c = columns_[i];
            row_bytes_ += 1 + (c.null ? 0 : c.length);
            if (c.null || !c.is_text || c.length <= c.text.size()) continue;
            const unsigned long whole = c.length;
            c.text.resize(std::max<std::size_t>(whole, 2 * c.text.size()));
            binds_[i].buffer = c.text.data();
            binds_[i].buffer_length = static_cast<unsigned long>(c.text.size());
            grown = true;
            MYSQL_BIND piece = binds_[i];
            if (mysql_stmt_fetch_column(handle_, &piece, static_cast<unsigned>(i), 0) != 0) return false;
            c.length = whole;
        }
        return !grown || mysql_stmt_bind_result(handle_, binds_.data()) == 0;
    }
    [[nodiscard]] value_view at(std::size_t i) const noexcept {
        const column& c = columns_[i];
        if (c.null) return {};
        switch (c.is) {
        case value_view::kind::integer: return c.number.i;
        case value_view::kind::unsigned_integer: return c.number.u;
        case value_view::kind::real: return c.is_float ? static_cast<double>(c.number.f) : c.number.r;
        case value_view::kind::null: return {};
        default: return characters(c.is, c.text.data(), c.length);
        }
    }
    [[nodiscard]] std::size_t row_bytes() const noexcept { return row_bytes_; }

private:
    struct column {
        std::string name{};
        std::string text{};
        union {
            std::int64_t i = 0;
            std::uint64_t u;
            double r;
            float f;
        } number{};
        unsigned long length = 0;
        value_view::kind is{};
        flag null = 0;
        flag error = 0;
        bool is_text = false;
        bool is_float = false;
    };
    static void bind(column& c, MYSQL_BIND& b, const MYSQL_FIELD& f) {
        c.name.assign(f.name, f.name_length);
        c.is = kind_of(f);
        c.is_text = false;
        c.is_float = f.type == MYSQL_TYPE_FLOAT;
        b.length = &c.length;
        b.is_null = &c.null;
        b.error = &c.error;
        b.buffer = &c.number;
        b.buffer_length = sizeof c.number;
        switch (c.is) {
        case value_view::kind::unsigned_integer: b.is_unsigned = 1; [[fallthrough]];
        case value_view::kind::integer: b.buffer_type = MYSQL_TYPE_LONGLONG; break;
        case value_view::kind::real: b.buffer_type = c.is_float ? MYSQL_TYPE_FLOAT : MYSQL_TYPE_DOUBLE; break;
        default: {
            // The most that a value can have, if that is little; longer ones are fetched again, once.
            constexpr unsigned long little = 512, least = 40;
            c.is_text = true;
            if (c.text.size() < std::clamp(f.length, least, little)) c.text.resize(std::clamp(f.length, least, little));
            b.buffer_type = c.is == value_view::kind::bytes ? MYSQL_TYPE_BLOB : MYSQL_TYPE_STRING;
            b.buffer = c.text.data();
            b.buffer_length = static_cast<unsigned long>(c.text.size());
        }
        }
    }

    std::string sql_;
    MYSQL_STMT* handle_;
    std::vector<column> columns_{};
    std::vector<MYSQL_BIND> binds_{};
    std::size_t row_bytes_ = 0;
};

/// The statements that a connection keeps: the least recently used goes first.
///
/// With     what changes it closes statements: not while rows are unread.
class kept_statements {
public:
    [[nodiscard]] prepared* find(std::string_view sql) noexcept {
        const auto at = by_sql_.find(sql);
        if (at == by_sql_.end()) return nullptr;
        all_.splice(all_.begin(), all_, at->second);
        return &all_.front();
    }
    [[nodiscard]] prepared& add(MYSQL* m, std::string_view sql, std::size_t most) {
        while (all_.size() >= most) forget(all_.back());
        all_.emplace_front(m, sql);
        try {
            by_sql_.emplace(all_.front().sql(), all_.begin());
        } catch (...) {
            all_.pop_front();
            throw;
        }
        return all_.front();
    }
    void forget(prepared& p) noexcept {
        const auto at = by_sql_.find(p.sql());
        const auto there = at->second;
        by_sql_.erase(at);
        all_.erase(there);
    }
    void clear() noexcept {
        by_sql_.clear();
        all_.clear();
    }
    [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

private:
    std::list<prepared> all_{};
    std::unordered_map<std::string_view, std::list<prepared>::iterator> by_sql_{};
};

} // namespace cenote::drivers::mysql_client
