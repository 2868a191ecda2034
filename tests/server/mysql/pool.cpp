// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The driver inside a pool.
#include "server/mysql/support.hpp"

#include <cenote/pool.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace mysql_tests;

namespace {

/// A user leaves a transaction open, and the next begins one of his own: had the first not been undone, that would commit it.
template <class Reset>
void never_commits(Reset reset, const mysql::options& o) {
    table t;
    cenote::pool db{mysql{o}, cenote::bounded{.max = 1}, std::move(reset)};
    for (int i = 0; i < 20; ++i) {
        db.with([&](auto& c) {
            run(c.handle(), "begin");
            run(c.handle(), "insert into " + t.name() + " values (" + std::to_string(i) + ")");
        });
        db.with([&](auto& c) {
            switch (i % 4) {
            case 0: run(c.handle(), "begin"); break;
            case 1: run(c.handle(), "set autocommit = 1"); break;
            case 2: CHECK(mysql_autocommit(c.handle(), 1) == 0); break;
            case 3: run(c.handle(), "create or replace view " + t.name() + "v as select 1"); break;
            }
        });
        CHECK(t.rows() == "0");
    }
    opened root{as_root()};
    root.run("drop view " + t.name() + "v");
}

template <template <class> class When>
void never_commits_when() {
    for (const auto& o : {by_socket(), by_tls()}) {
        never_commits(When<cenote::reset_if_dirty>{}, o);
        never_commits(When<cenote::reset_always>{}, o);
        never_commits(When<cenote::reset_with>{cenote::reset_with{"set @x = 1"}}, o);
    }
}

} // namespace

TEST_CASE("A transaction left open is never committed by the next user: deferred") { never_commits_when<cenote::deferred>(); }
TEST_CASE("A transaction left open is never committed by the next user: background") { never_commits_when<cenote::background>(); }
TEST_CASE("A transaction left open is never committed by the next user: at return") { never_commits_when<cenote::at_return>(); }
TEST_CASE("A transaction left open is never committed by the next user: default") {
    table t;
    cenote::pool db{mysql{by_socket()}, cenote::bounded{.max = 1}};
    for (int i = 0; i < 20; ++i) {
        db.with([&](auto& c) {
            run(c.handle(), "begin");
            run(c.handle(), "insert into " + t.name() + " values (1)");
        });
        db.with([&](auto& c) { run(c.handle(), "begin"); });
        CHECK(t.rows() == "0");
    }
}

TEST_CASE("Results left unread never reach the next user") {
    auto o = by_socket();
    o.multi_statements = true;
    const auto test = [&](auto reset) {
        cenote::pool db{mysql{o}, cenote::bounded{.max = 1}, std::move(reset)};
        for (int i = 0; i < 30; ++i) {
            db.with([&](auto& c) {
                switch (i % 4) {
                case 0: CHECK(mysql_query(c.handle(), "select 'stale' union select 'stale'") == 0); break;
                case 1: run(c.handle(), "select 'stale'; select 'stale'; do 0"); break;
                case 2: { // nobody frees these rows, but the client when it closes
                    CHECK(mysql_query(c.handle(), "select 'stale' union select 'stale'") == 0);
                    break;
                }
                default: {
                    MYSQL_STMT* s = mysql_stmt_init(c.handle());
                    const std::string sql = "select 'stale' union select 'stale'";
                    CHECK(mysql_stmt_prepare(s, sql.data(), static_cast<unsigned long>(sql.size())) == 0);
                    CHECK(mysql_stmt_execute(s) == 0);
                    mysql_stmt_close(s);
                }
                }
            });
            db.with([&](auto& c) { CHECK(ask(c.handle(), "select 'fresh'") == "fresh"); });
        }
    };
    test(cenote::deferred<cenote::reset_if_dirty>{});
    test(cenote::deferred<cenote::reset_always>{});
    test(cenote::background<cenote::reset_if_dirty>{});
    test(cenote::at_return<cenote::reset_always>{});
}

TEST_CASE("Rows of a statement left half read never reach the next user") {
    auto o = by_socket();
    o.statement_cache = 3;
    cenote::pool db{mysql{std::move(o)}, cenote::bounded{.max = 1}};
    for (int i = 0; i < 20; ++i) {
        const std::array<cenote::value_view, 1> values{i};
        const auto go = [&](std::string_view sql, bool stream, auto f) {
            auto lease = db.acquire();
            auto rows = lease.driver().query(*lease, {.sql = sql, .values = values, .stream = stream, .keep = i % 2 == 0}, soon());
            REQUIRE(rows.next(soon()));
            f(rows);
        };
        const bool many = i % 4 < 2;
        go(many ? "with recursive n (i) as (select ? union all select i + 1 from n where i < 1000) select 1 from n a, n b, n c" : "select ? union select -2", true,
           [](auto&) {});
        go("select ?", false, [&](auto& rows) { CHECK(rows.at(0).integer() == i); });
    }
}

TEST_CASE("A pool of MySQL connections hands no dead one out after its sessions were killed") {
    opened root{as_root()};
    cenote::pool db{mysql{by_tcp()}, cenote::bounded{.max = 4}, cenote::peek_after{0ms}};
    for (int round = 0; round < 10; ++round) {
        {
            std::vector<decltype(db.acquire())> all;
            for (int i = 0; i < 4; ++i) all.push_back(db.acquire(5s));
            std::vector<unsigned long> ids;
            for (auto& lease : all) ids.push_back(mysql_thread_id(lease.native_handle()));
            all.clear();
            for (const auto id : ids) root.run("kill " + std::to_string(id));
            for (const auto id : ids) REQUIRE(comes_true([&] { return !is_alive(root, id); }));
        }
        for (int i = 0; i < 4; ++i) CHECK(db.with([](auto& c) { return ask(c.handle(), "select 1"); }) == "1");
    }
}

TEST_CASE("Many threads share few MySQL connections, and each gets a clean one") {
    table t{"n int"};
    for (const auto& o : {by_socket(), by_tls()}) {
        cenote::pool db{mysql{o}, cenote::bounded{.max = 3}, cenote::deferred<cenote::reset_always>{}, cenote::counters{}};
        std::atomic<int> dirty{0}, failed{0};
        {
            std::vector<std::jthread> threads;
            for (int i = 0; i < 8; ++i) {
                threads.emplace_back([&, i] {
                    for (int k = 0; k < 100; ++k) {
                        try {
                            auto lease = db.acquire(20s);
                            if (ask(lease.native_handle(), "select @var") != "null") ++dirty;
                            run(lease.native_handle(), "set @var = 1");
                            if ((i + k) % 3 == 0) run(lease.native_handle(), "begin");
                            run(lease.native_handle(), "insert into " + t.name() + " values (1)");
                            if ((i + k) % 5 == 0) run(lease.native_handle(), "use " + servers::mysql().database + "_other");
                        } catch (const std::exception&) {
                            ++failed;
                        }
                    }
                });
            }
        }
        CHECK(dirty == 0);
        CHECK(failed == 0);
        CHECK(db.stats().leases == 800);
    }
    // Of each 100 of a thread those with (i + k) % 3 == 0 were undone.
    CHECK(comes_true([&] { return t.rows() == std::to_string(2 * (800 - 267)); }));
}
