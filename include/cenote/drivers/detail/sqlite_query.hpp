// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/sqlite_kept.hpp>
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/statement.hpp>
#include <cenote/session/value.hpp>

#include <sqlite3.h>

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

// Statements with values of the SQLite driver.
namespace cenote {

/// The rows of one statement. They end when this is destroyed.
class sqlite::rows {
public:
    static constexpr bool frees_connection = true;

    rows(rows&& o) noexcept
        : driver_{o.driver_}, db_{o.db_}, s_{std::exchange(o.s_, nullptr)}, keeper_{o.keeper_}, changes_before_{o.changes_before_}, count_{o.count_},
          columns_{o.columns_}, ready_{o.ready_}, changes_{o.changes_} {}
    rows& operator=(rows&& o) noexcept {
        if (this != &o) {
            end();
            driver_ = o.driver_, db_ = o.db_, s_ = std::exchange(o.s_, nullptr), keeper_ = o.keeper_, changes_before_ = o.changes_before_, count_ = o.count_;
            columns_ = o.columns_, ready_ = o.ready_, changes_ = o.changes_;
        }
        return *this;
    }
    ~rows() { end(); }

    [[nodiscard]] std::size_t columns() const noexcept { return columns_; }
    [[nodiscard]] std::string_view name(std::size_t i) const noexcept {
        const char* const n = s_ ? sqlite3_column_name(s_, static_cast<int>(i)) : nullptr;
        return n ? n : std::string_view{};
    }
    bool next(deadline by) {
        if (ready_ == state::over) return false;
        if (ready_ == state::first) {
            ready_ = state::on_row;
            ++count_;
            return true;
        }
        if (sqlite3_stmt_busy(s_) == 0) { // SQLite would run it anew
            ready_ = state::over;
            driver_->fail(error_class::cancelled, "statement failed on", "it was ended by a rollback", SQLITE_ABORT_ROLLBACK, condition::cancelled);
        }
        if (!step(by)) return false;
        ++count_;
        return true;
    }
    [[nodiscard]] value_view at(std::size_t i) const {
        const int n = static_cast<int>(i);
        const auto size = [&] { return static_cast<std::size_t>(sqlite3_column_bytes(s_, n)); };
        switch (sqlite3_column_type(s_, n)) {
        case SQLITE_INTEGER: return std::int64_t{sqlite3_column_int64(s_, n)};
        case SQLITE_FLOAT: return sqlite3_column_double(s_, n);
        case SQLITE_NULL: return {};
        case SQLITE_BLOB: {
            const void* const b = sqlite3_column_blob(s_, n);
            return std::span{static_cast<const std::byte*>(b), b ? size() : 0};
        }
        default: {
            const unsigned char* const t = sqlite3_column_text(s_, n);
            if (!t) throw std::bad_alloc{};
            return std::string_view{reinterpret_cast<const char*>(t), size()};
        }
        }
    }
    [[nodiscard]] std::uint64_t affected() const noexcept { return count_; }

private:
    friend sqlite;
    enum class state : unsigned char { first, on_row, over }; // first: a row is there that nobody has asked for

    rows(const sqlite& d, connection& c, const statement& q) : driver_{&d}, db_{c.db_}, changes_before_{sqlite3_total_changes64(c.db_)} {
        if (q.keep && d.options_.statement_cache != 0) {
            if (!c.kept_) c.kept_ = std::make_unique<detail::sqlite_kept>(d.options_.statement_cache);
            keeper_ = c.kept_.get();
            s_ = keeper_->take(q.sql);
        }
        if (!s_) prepare(q);
        try {
            columns_ = static_cast<std::size_t>(sqlite3_column_count(s_));
            changes_ = sqlite3_stmt_readonly(s_) == 0;
            bind(q.values);
        } catch (...) {
            end();
            throw;
        }
    }

    void prepare(const statement& q) {
        constexpr std::string_view doing = "statement failed on";
        if (q.sql.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) driver_->fail(db_, SQLITE_TOOBIG, doing);
        const auto flags = static_cast<unsigned>(keeper_ ? SQLITE_PREPARE_PERSISTENT : 0);
        const char* rest = nullptr;
        if (const int rc = sqlite3_prepare_v3(db_, q.sql.data(), static_cast<int>(q.sql.size()), flags, &s_, &rest); rc != SQLITE_OK) {
            driver_->fail(db_, rc, doing);
        }
        if (!s_) driver_->fail(error_class::other, doing, "there is no statement in the text", SQLITE_MISUSE, condition::syntax_error);
        std::string_view more = q.sql.substr(static_cast<std::size_t>(rest - q.sql.data()));
        while (!more.empty()) {
            sqlite3_stmt* another = nullptr;
            const bool fine = more.front() != '\0' && sqlite3_prepare_v2(db_, more.data(), static_cast<int>(more.size()), &another, &rest) == SQLITE_OK && !another;
            sqlite3_finalize(another);
            if (!fine) {
                sqlite3_finalize(std::exchange(s_, nullptr));
                driver_->fail(error_class::other, doing, "there is more in the text than one statement", SQLITE_MISUSE, condition::syntax_error);
            }
            more.remove_prefix(static_cast<std::size_t>(rest - more.data()));
        }
        if (keeper_) {
            bool kept = false;
            try {
                kept = keeper_->keep(q.sql, s_);
            } catch (...) {
                sqlite3_finalize(std::exchange(s_, nullptr));
                throw;
            }
            if (!kept) keeper_ = nullptr;
        }
    }

    /// Which of the values the placeholder of SQLite's number `i` is for, from 1.
    [[nodiscard]] std::size_t number_of(int i) const {
        const char* const name = sqlite3_bind_parameter_name(s_, i);
        if (!name || *name == '?') return static_cast<std::size_t>(i);
        std::size_t n = 0;
        const std::string_view digits{name + 1};
        const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
        if (*name == '$' && failed == std::errc{} && end == digits.data() + digits.size() && n != 0) return n;
        driver_->fail(error_class::other, "statement failed on", std::string{"the placeholder "} + name + " has no number; write ? or $1, $2 …", SQLITE_RANGE,
                      condition::syntax_error);
    }
    void bind(std::span<const value_view> values) {
        const int slots = sqlite3_bind_parameter_count(s_);
        std::size_t most = 0;
        for (int i = 1; i <= slots; ++i) {
            const std::size_t n = number_of(i);
            most = std::max(most, n);
            if (n <= values.size()) bind(i, n, values[n - 1]);
        }
        if (most != values.size()) {
            driver_->fail(error_class::other, "statement failed on", "it has placeholders for " + std::to_string(most) + " values, and " +
                          std::to_string(values.size()) + " were given", SQLITE_RANGE);
        }
    }
    void bind(int i, std::size_t n, const value_view& v) {
        const auto refuse = [&](const char* why) {
            driver_->fail(error_class::other, "statement failed on", "value " + std::to_string(n) + " " + why, SQLITE_MISMATCH, condition::data_error);
        };
        // What gives no rows is done with its values before the call returns.
        const auto lives = columns_ == 0 ? SQLITE_STATIC : SQLITE_TRANSIENT;
        const char* const data = v.text().data() ? v.text().data() : ""; // for SQLite no address is NULL
        int rc = SQLITE_OK;
        switch (v.is()) {
        case value_view::kind::null: rc = sqlite3_bind_null(s_, i); break;
        case value_view::kind::boolean: rc = sqlite3_bind_int(s_, i, v.boolean() ? 1 : 0); break;
        case value_view::kind::integer: rc = sqlite3_bind_int64(s_, i, v.integer()); break;
        case value_view::kind::unsigned_integer:
            if (!std::in_range<sqlite3_int64>(v.unsigned_integer())) refuse("is above 9223372036854775807, the greatest that SQLite can store");
            rc = sqlite3_bind_int64(s_, i, static_cast<sqlite3_int64>(v.unsigned_integer()));
            break;
        case value_view::kind::real:
            if (std::isnan(v.real())) refuse("is not a number (NaN), which SQLite would store as NULL");
            rc = sqlite3_bind_double(s_, i, v.real());
            break;
        case value_view::kind::text: rc = sqlite3_bind_text64(s_, i, data, v.text().size(), lives, SQLITE_UTF8); break;
        case value_view::kind::bytes: rc = sqlite3_bind_blob64(s_, i, data, v.text().size(), lives); break;
        }
        if (rc != SQLITE_OK) driver_->fail(db_, rc, "statement failed on");
    }

    /// True: on a row. False: there is no further one.
    bool step(deadline by) {
        int rc = 0;
        if (by.is_never()) { // the connection's own busy timeout is what there is to wait for
            rc = sqlite3_step(s_);
        } else {
            time_limit limit{db_, driver_->busy_ms(), by};
            rc = limit.passed() != 0 ? SQLITE_INTERRUPT : sqlite3_step(s_); // short ones are not interrupted themselves
            if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
                try {
                    give_up(rc);
                } catch (const driver_error& e) {
                    limit.explain(*driver_, e, "statement failed on");
                }
            }
        }
        if (rc == SQLITE_ROW) return true;
        if (rc != SQLITE_DONE) give_up(rc);
        ready_ = state::over;
        if (changes_ && columns_ == 0) count_ = sqlite3_total_changes64(db_) == changes_before_ ? 0 : static_cast<std::uint64_t>(sqlite3_changes64(db_));
        sqlite3_reset(s_); // frees what it has locked
        return false;
    }
    [[noreturn]] void give_up(int rc) {
        ready_ = state::over;
        struct at_end {
            sqlite3_stmt* s;
            ~at_end() { sqlite3_reset(s); }
        };
        const at_end last{s_}; // after the message was read
        driver_->fail(db_, rc, "statement failed on");
    }
    void end() noexcept {
        if (!s_) return;
        if (keeper_) {
            if (ready_ != state::over) sqlite3_reset(s_);
            sqlite3_clear_bindings(s_);
            keeper_->give_back(std::exchange(s_, nullptr));
        } else {
            sqlite3_finalize(std::exchange(s_, nullptr));
        }
    }

    const sqlite* driver_;
    sqlite3* db_;
    sqlite3_stmt* s_ = nullptr;
    detail::sqlite_kept* keeper_ = nullptr;
    sqlite3_int64 changes_before_;
    std::uint64_t count_ = 0;
    std::size_t columns_ = 0;
    state ready_ = state::on_row;
    bool changes_ = false;
};

inline auto sqlite::query(connection& c, const statement& s, deadline by) {
    if (!c.db_) fail(error_class::disconnected, "cannot use", "the connection is closed", 0, condition::disconnected);
    rows r{*this, c, s};
    if (r.step(by)) r.ready_ = rows::state::first;
    r.columns_ = static_cast<std::size_t>(sqlite3_column_count(r.s_)); // SQLite may have prepared a kept one anew
    return r;
}

inline void sqlite::forget_statements(connection& c) noexcept {
    if (c.kept_) c.kept_->clear();
}

} // namespace cenote
