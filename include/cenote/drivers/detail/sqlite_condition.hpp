// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>

#include <sqlite3.h>

#include <string_view>

namespace cenote::detail {

/// What a result code, plain or extended, means for a statement. What SQLite only calls SQLITE_ERROR its text tells apart: it is always English.
[[nodiscard]] constexpr condition sqlite_condition(int code, std::string_view text) noexcept {
    switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID: return condition::unique_violation;
    case SQLITE_CONSTRAINT_FOREIGNKEY: return condition::foreign_key_violation;
    case SQLITE_CONSTRAINT_NOTNULL: return condition::not_null_violation;
    case SQLITE_CONSTRAINT_CHECK: return condition::check_violation;
    case SQLITE_CONSTRAINT_DATATYPE: return condition::data_error;
    case SQLITE_BUSY_SNAPSHOT:
    case SQLITE_LOCKED_SHAREDCACHE: return condition::serialization_failure;
    case SQLITE_READONLY_DBMOVED: return condition::disconnected;
    case SQLITE_IOERR_NOMEM: return condition::none;
    default: break;
    }
    const auto says = [text](std::string_view words) { return text.find(words) != text.npos; };
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL: return condition::lock_timeout;
    case SQLITE_IOERR: return condition::disconnected;
    case SQLITE_INTERRUPT: return condition::cancelled;
    case SQLITE_READONLY: return condition::read_only;
    case SQLITE_PERM:
    case SQLITE_AUTH: return condition::permission_denied;
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH: return condition::data_error;
    case SQLITE_ERROR:
        if (text.starts_with("no such ")) return condition::undefined_object;
        if (text.ends_with(" already exists")) return condition::duplicate_object;
        if (text.ends_with(": syntax error") || text.starts_with("unrecognized token") || text == "incomplete input") return condition::syntax_error;
        if (says("integer overflow")) return condition::data_error;
        return condition::none;
    default: return condition::none;
    }
}

} // namespace cenote::detail
