// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Pools over MySQL and MariaDB when sessions end, passwords change, and pools close.
#include "server/mysql/support.hpp"

#include <cenote/pool.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <latch>

using namespace mysql_tests;
using Catch::Matchers::ContainsSubstring;
using cenote::bounded;
using cenote::close_reason;
using cenote::counters;
using cenote::failure;
using cenote::manual;

namespace {

template <class Pool>
std::vector<typename Pool::lease> hold(Pool& p, unsigned n) {
    std::vector<typename Pool::lease> all;
    for (unsigned i = 0; i < n; ++i) all.push_back(p.acquire(10s));
    return all;
}

template <class F>
bool becomes(F holds) {
    for (const deadline by = soon(); !holds();) {
        if (by.expired()) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

} // namespace

TEST_CASE("case-A3: when all sessions are killed, each is tested before its next use and none that is dead is handed out (MySQL)") {
    opened root{as_root()};
    for (const auto& o : {by_socket(), by_tcp(), by_tls()}) {
        cenote::pool db{mysql{o}, bounded{.max = 4}, manual{}, cenote::peek_after{0ms}, counters{}};
        std::vector<unsigned long> ids;
        {
            auto held = hold(db, 4);
            for (auto& l : held) ids.push_back(mysql_thread_id(l.native_handle()));
        }
        for (const auto id : ids) root.run("kill connection " + std::to_string(id));
        REQUIRE(becomes([&] { return std::ranges::none_of(ids, [&](auto id) { return is_alive(root, id); }); }));
        for (int i = 0; i < 8; ++i) CHECK(ask(db.acquire(10s).native_handle(), "select 1") == "1");
        CHECK(db.stats().opened == 5);
    }
}

TEST_CASE("case-A11: after a rotation new sessions use the new password, and no old session is used again (MySQL)") {
    opened root{as_root()};
    const std::string user = "r" + std::to_string(::getpid()) + "_rotated";
    root.run("create user " + user + " identified by 'before-the-change'");
    {
        auto o = by_tcp();
        o.database.clear();
        o.credentials.set({.user = user, .password = "before-the-change"});
        auto secret = o.credentials;
        cenote::pool db{mysql{o}, bounded{.max = 2}, counters{}};
        auto held = hold(db, 2);
        held.pop_back();
        root.run("alter user " + user + " identified by 'after-the-change'");
        db.invalidate_all();
        failure why;
        CHECK_FALSE(db.acquire(5s, why));
        REQUIRE(why.seen);
        CHECK(why.seen->last_connect_error.kind == error_class::auth);
        CHECK_THAT(why.text(), !ContainsSubstring("before-the-change"));
        secret.set({.user = user, .password = "after-the-change"});
        CHECK(ask(held[0].native_handle(), "select 1") == "1");
        held.clear();
        auto fresh = hold(db, 2);
        CHECK_THAT(ask(fresh[0].native_handle(), "select current_user()"), ContainsSubstring(user));
        CHECK(db.get<counters>().closed_for(close_reason::invalidated) == 2);
    }
    root.run("drop user " + user);
}

TEST_CASE("close() cuts the leases that are still out at its deadline: their holders are told, and their sessions end (MySQL)") {
    opened root{as_root()};
    for (const auto& o : {by_socket(), by_tcp(), by_tls()}) {
        cenote::pool db{mysql{o}, bounded{.max = 1}};
        std::latch begun{1};
        std::atomic<unsigned long> id{0};
        std::atomic<bool> told{false};
        std::jthread holder{[&] {
            auto lease = db.acquire(10s);
            id = mysql_thread_id(lease.native_handle());
            begun.count_down();
            try {
                (void)ask(lease.native_handle(), "select sleep(60)");
            } catch (const std::runtime_error&) {
                told = true;
            }
        }};
        begun.wait();
        const auto report = db.close(deadline::in(100ms));
        CHECK(report.cut == 1);
        CHECK(report.drained);
        holder.join();
        CHECK(told);
        CHECK(becomes([&] { return !is_alive(root, id); }));
    }
}

TEST_CASE("case-B14: a connection that is discarded in the middle of a statement does not live on at the server (MySQL)") {
    opened root{as_root()};
    for (const auto& o : {by_socket(), by_tcp()}) {
        cenote::pool db{mysql{o}, bounded{.max = 1}};
        unsigned long id = 0;
        {
            auto lease = db.acquire(10s);
            id = mysql_thread_id(lease.native_handle());
            mysql_send_query(lease.native_handle(), "select sleep(60)", 16);
            REQUIRE(becomes([&] { return root.ask("select count(*) from information_schema.processlist where state like 'User sleep%' and id = " + std::to_string(id)) == "1"; }));
            lease.discard();
        }
        CHECK(becomes([&] { return !is_alive(root, id); }));
        CHECK(ask(db.acquire(10s).native_handle(), "select 1") == "1");
    }
}
