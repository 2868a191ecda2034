// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/driver.hpp>
#include <cenote/drivers/detail/mysql_session.hpp>
#include <cenote/session/statement.hpp>
#include <cenote/session/value.hpp>

#include <mysql.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cenote::drivers::mysql_client {

/// Beginning and ending a transaction.
struct transacting {
    template <class Target>
    static void begin(session& s, const Target& t, const transaction_options& o, deadline by) {
        constexpr std::string_view doing = "cannot begin a transaction on";
        if (o.deferrable) {
            throw std::invalid_argument{"cenote: mysql: transaction_options.deferrable = true: must be false: only PostgreSQL has deferrable transactions"};
        }
        const std::string_view level = level_of(o.isolation), start = start_of(o.mode);
        (void)s.ready(t, doing);
        if (s.state() != session_state::idle) t.fail(error_class::other, doing, "one is open already, which the server would commit");
        if (level.empty()) {
            s.run(t, start, doing, by);
        } else if (t.opt.multi_statements) {
            start_or_forget(s, t, std::string{level}.append("; ").append(start), by);
        } else {
            s.run(t, level, doing, by);
            start_or_forget(s, t, start, by);
        }
        s.had_error_ = false;
    }

    template <class Target>
    static void commit(session& s, const Target& t, deadline by) {
        constexpr std::string_view doing = "cannot commit on";
        MYSQL* const m = s.ready(t, doing);
        if (by.expired()) {
            t.fail(error_class::cancelled, doing, "the deadline had passed before it was sent; the transaction is open", 0, {}, condition::statement_timeout);
        }
        if (s.had_error_ || mysql_errno(m) != 0) { // the server may have rolled back; its error did not say
            s.run(t, "do 0", doing, by);
            if (s.state() == session_state::idle) {
                s.had_error_ = false;
                t.fail(error_class::serialization, doing, "the server has rolled the transaction back after an error in it", 0, {},
                       condition::serialization_failure);
            }
        }
        s.run(t, "commit", doing, by);
        s.had_error_ = false;
    }

private:
    /// The level was set for one transaction; if none began, for whichever comes next. That must not be another user's.
    template <class Target>
    static void start_or_forget(session& s, const Target& t, std::string_view sql, deadline by) {
        constexpr std::string_view doing = "cannot begin a transaction on";
        try {
            s.run(t, sql, doing, by);
        } catch (const driver_error&) {
            try {
                if (s.state() == session_state::idle) {
                    s.run(t, "start transaction read only", doing, by);
                    s.run(t, "rollback", doing, by);
                }
            } catch (const driver_error&) {
                s.lose();
            }
            throw;
        }
    }
    [[nodiscard]] static std::string_view level_of(transaction_options::level l) noexcept {
        switch (l) {
        case transaction_options::level::server_default: return {};
        case transaction_options::level::read_committed: return "set transaction isolation level read committed";
        case transaction_options::level::repeatable_read: return "set transaction isolation level repeatable read";
        case transaction_options::level::serializable: return "set transaction isolation level serializable";
        }
        return {};
    }
    [[nodiscard]] static std::string_view start_of(transaction_options::access a) noexcept {
        switch (a) {
        case transaction_options::access::server_default: return "start transaction";
        case transaction_options::access::read_write: return "start transaction read write";
        case transaction_options::access::read_only: return "start transaction read only";
        }
        return "start transaction";
    }
};

/// Many rows in few statements.
class multi_row_insert {
public:
    multi_row_insert(std::string_view table, std::span<const std::string_view> columns, std::span<const value_view> values)
        : values_{values}, columns_{columns.size()} {
        if (columns.empty() || columns.size() > most_values) refuse("columns", std::to_string(columns.size()) + " names", "must be 1 … 65535");
        if (values.size() % columns.size() != 0) {
            refuse("values", std::to_string(values.size()) + " values", "must be a multiple of the number of columns, " + std::to_string(columns.size()));
        }
        head_ = "insert into ";
        const auto dot = table.find('.');
        if (dot != table.npos) quote("table", table.substr(0, dot)).append(".");
        quote("table", dot == table.npos ? table : table.substr(dot + 1));
        for (std::size_t i = 0; i < columns.size(); ++i) {
            head_ += i == 0 ? " (" : ",";
            quote("columns", columns[i]);
        }
        head_ += ") values ";
        one_ = "(?";
        for (std::size_t i = 1; i < columns.size(); ++i) one_ += ",?";
        one_ += ')';
    }

    /// `insert(statement)` returns how many rows it inserted.
    template <class F>
    std::uint64_t run(F insert) const {
        std::uint64_t inserted = 0;
        std::string sql;
        std::size_t rows_in_sql = 0;
        for (std::size_t at = 0; at < values_.size();) {
            const std::size_t n = rows_from(at);
            if (n != rows_in_sql) {
                sql = head_;
                for (std::size_t i = 0; i < n; ++i) sql.append(i == 0 ? "" : ",").append(one_);
                rows_in_sql = n;
            }
            inserted += insert(statement{.sql = sql, .values = values_.subspan(at, n * columns_)});
            at += n * columns_;
        }
        return inserted;
    }

private:
    static constexpr std::size_t most_values = 65535;        // the protocol's own limit
    static constexpr std::size_t most_bytes = 1024 * 1024;   // well below max_allowed_packet, 16 MiB or more

    /// How many rows fit into one statement: one at least.
    [[nodiscard]] std::size_t rows_from(std::size_t at) const noexcept {
        const std::size_t most = most_values / columns_;
        std::size_t n = 0, bytes = 0;
        for (; n < most && at < values_.size(); ++n) {
            std::size_t row = 0;
            for (std::size_t i = 0; i < columns_; ++i, ++at) {
                const auto is = values_[at].is();
                row += 12 + (is == value_view::kind::text || is == value_view::kind::bytes ? values_[at].text().size() : 0);
            }
            if (n > 0 && bytes + row > most_bytes) break;
            bytes += row;
        }
        return n;
    }
    std::string& quote(std::string_view field, std::string_view name) {
        if (name.empty() || name.find('\0') != name.npos) refuse(field, "a name that is empty or has a zero byte", "must be the name of a table or column");
        head_ += '`';
        for (const char c : name) head_.append(c == '`' ? 2 : 1, c);
        return head_ += '`';
    }
    [[noreturn]] static void refuse(std::string_view field, const std::string& value, const std::string& rule) {
        throw std::invalid_argument{"cenote: mysql.insert_many: " + std::string{field} + " = " + value + ": " + rule};
    }

    std::span<const value_view> values_;
    std::size_t columns_;
    std::string head_{};
    std::string one_{};
};

} // namespace cenote::drivers::mysql_client
