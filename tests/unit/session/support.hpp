// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>
#include <cenote/testing/faulty.hpp>

#include <sqlite3.h>

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>
#include <unistd.h>

// What the tests of sessions share: a file of their own, and a pool of the SQLite driver in which anything may go wrong.
namespace session_tests {

/// A folder of its own for each test, gone afterwards.
struct folder {
    std::filesystem::path path;
    folder() {
        static std::atomic<int> n{0};
        path = std::filesystem::temp_directory_path() / ("cenote-session-" + std::to_string(::getpid()) + "-" + std::to_string(n++));
        std::filesystem::create_directories(path);
    }
    folder(const folder&) = delete;
    ~folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
};

using driver = cenote::testing::faulty<cenote::sqlite>;
using pool = cenote::pool<driver, cenote::bounded, cenote::manual, cenote::named>;
using session = cenote::session<pool::core_type>;
using transaction = cenote::transaction<pool::core_type>;

/// A database with a table of two accounts, 100 in each.
struct bank {
    explicit bank(cenote::sqlite::options o = {}, unsigned max = 2)
        : db{driver{cenote::sqlite{in(where, std::move(o))}, wrong}, cenote::bounded{.max = max}, cenote::manual{}, cenote::named{"bank"}} {
        session s{db.acquire()};
        s.script("create table accounts(id integer primary key, balance integer not null check (balance >= 0));"
                 "insert into accounts values (1, 100), (2, 100)");
    }
    static cenote::sqlite::options in(const folder& f, cenote::sqlite::options o) {
        o.file = (f.path / "bank.db").string();
        o.busy_timeout = cenote::duration{};
        o.synchronous = cenote::sqlite::sync_mode::off;
        return o;
    }

    /// What is in the file, seen by nobody's session: "100 100".
    [[nodiscard]] std::string balances() const {
        sqlite3* own = nullptr;
        std::string out = "cannot be read";
        if (sqlite3_open((where.path / "bank.db").c_str(), &own) == SQLITE_OK) {
            sqlite3_exec(own, "select group_concat(balance, ' ') from (select balance from accounts order by id)",
                         [](void* to, int, char** row, char**) { return *static_cast<std::string*>(to) = row[0] ? row[0] : "none", 0; }, &out, nullptr);
        }
        sqlite3_close(own);
        return out;
    }
    /// Nothing is held: every connection that is left is idle, clean, and can write.
    [[nodiscard]] bool at_rest() {
        db.maintain();
        const auto seen = db.stats();
        if (seen.used != 0 || seen.pending != 0) return false;
        session s{db.acquire()};
        return s.exec("update accounts set id = id") != 0;
    }

    folder where;
    cenote::testing::faults wrong;
    pool db;
};

} // namespace session_tests
