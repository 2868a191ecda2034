// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/drivers/detail/sqlite_condition.hpp>
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/statement.hpp>

#include <sqlite3.h>

#include <string>
#include <string_view>

// Transactions of the SQLite driver.
namespace cenote {

inline void sqlite::begin(connection& c, const transaction_options& o, deadline by) {
    if (o.deferrable) detail::bad_value("transaction_options.deferrable", std::string_view{"true"}, "must be false for SQLite, which knows no such transactions");
    if (!c.db_) fail(error_class::disconnected, "cannot begin on", "the connection is closed", 0, condition::disconnected);
    using access = transaction_options::access;
    constexpr std::string_view doing = "cannot begin on";
    time_limit limit{c.db_, busy_ms(), by};
    try {
        run_or_fail(c.db_, o.mode == access::read_write ? "begin immediate" : "begin", doing);
        if (o.mode == access::read_only) {
            std::string is;
            run_or_fail(c.db_, "pragma query_only", doing, &is);
            if (is != "0") return; // the connection never writes
            c.reads_only_ = true;
            run_or_fail(c.db_, "pragma query_only = on", doing);
        }
    } catch (const driver_error& e) {
        limit.explain(*this, e, doing);
    }
}

inline int sqlite::write_again(connection& c) noexcept {
    const int rc = sqlite3_exec(c.db_, "pragma query_only = off", nullptr, nullptr, nullptr);
    if (rc == SQLITE_OK) c.reads_only_ = false;
    return rc;
}

inline void sqlite::commit(connection& c, deadline by) {
    constexpr std::string_view doing = "cannot commit on";
    if (!c.db_) fail(error_class::disconnected, doing, "the connection is closed", 0, condition::disconnected);
    // Only locks are waited for: what is being written is not interrupted.
    time_limit limit{c.db_, busy_ms(), by};
    sqlite3_progress_handler(c.db_, 0, nullptr, nullptr);
    const int rc = run(c.db_, "commit");
    if (rc == SQLITE_OK) {
        if (c.reads_only_ && write_again(c) != SQLITE_OK) return; // state() shows it, and the next rollback tries again
        return;
    }
    if ((rc & 0xff) == SQLITE_BUSY) { // class timeout would say that nobody knows
        fail(error_class::serialization, doing, sqlite3_errmsg(c.db_), rc, detail::sqlite_condition(rc, {}));
    }
    fail(c.db_, rc, doing);
}

} // namespace cenote
