// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote::detail {

/// The statements that a connection keeps prepared: those that were used last.
///
/// Called   by whoever holds the connection.
/// Cost     a hash of the text and a look at a number for each.
class sqlite_kept {
public:
    explicit sqlite_kept(std::size_t most) : most_{most} {}
    sqlite_kept(const sqlite_kept&) = delete;
    sqlite_kept& operator=(const sqlite_kept&) = delete;
    ~sqlite_kept() { clear(); }

    /// The statement of this text, which is the caller's until give_back(); null if there is none or it is in use.
    [[nodiscard]] sqlite3_stmt* take(std::string_view sql) noexcept {
        const std::size_t hash = std::hash<std::string_view>{}(sql);
        for (entry& e : all_) {
            if (e.hash != hash || e.sql != sql) continue;
            if (std::exchange(e.used, true)) return nullptr;
            e.last = ++now_;
            return e.what;
        }
        return nullptr;
    }
    /// Keeps one that was just prepared and stays in use. False: it stays the caller's own.
    [[nodiscard]] bool keep(std::string_view sql, sqlite3_stmt* s) {
        const auto same = [&](const entry& e) { return e.sql == sql; };
        if (std::any_of(all_.begin(), all_.end(), same)) return false; // that one is in use
        entry fresh{std::hash<std::string_view>{}(sql), std::string{sql}, s, ++now_, true};
        if (all_.size() < most_) {
            all_.push_back(std::move(fresh));
            return true;
        }
        const auto older = [](const entry& a, const entry& b) { return a.used != b.used ? b.used : a.last < b.last; };
        const auto oldest = std::min_element(all_.begin(), all_.end(), older);
        if (oldest->used) return false;
        sqlite3_finalize(oldest->what);
        *oldest = std::move(fresh);
        return true;
    }
    void give_back(sqlite3_stmt* s) noexcept {
        for (entry& e : all_) {
            if (e.what == s) e.used = false;
        }
    }
    /// What is in use goes with its user.
    void clear() noexcept {
        for (const entry& e : all_) {
            if (!e.used) sqlite3_finalize(e.what);
        }
        std::erase_if(all_, [](const entry& e) { return !e.used; });
    }
    [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

private:
    struct entry {
        std::size_t hash;
        std::string sql;
        sqlite3_stmt* what;
        std::uint64_t last;
        bool used;
    };
    std::size_t most_;
    std::vector<entry> all_;
    std::uint64_t now_ = 0;
};

} // namespace cenote::detail
