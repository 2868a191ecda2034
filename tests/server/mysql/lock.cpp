// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "server/mysql/support.hpp"

#include <server/support/locks.hpp>

using namespace mysql_tests;
using cenote::errc;
using cenote::named_lock;

namespace {

std::string holder(opened& root, const std::string& name) { return root.ask("select is_used_lock('" + name + "')"); }

template <class Pool>
std::error_code try_once(Pool& db, const named_lock& key) {
    std::error_code why;
    (void)cenote::lock(db, key, {.wait = 0s}, why);
    return why;
}

} // namespace

TEST_CASE("Named locks exclude each other as the server says") {
    const std::string name = locks::own_name("exclude");
    cenote::pool db{mysql{by_socket()}, cenote::bounded{.max = 4}};
    opened root{as_root()};
    auto held = cenote::lock(db, named_lock{name});
    CHECK(holder(root, name) == std::to_string(mysql_thread_id(held.native_handle())));
    CHECK(root.ask("select get_lock('" + name + "', 0)") == "0");
    CHECK(try_once(db, named_lock{name}) == errc::lock_timeout);
    CHECK_FALSE(try_once(db, named_lock{name + "'\\"}));
    held.check();
    // What the holder locks besides on this session, and once more, goes with it.
    held.driver().execute(held.connection(), "do get_lock('" + name + "', 0), get_lock('" + name + "-2', 0)", soon());
    held.driver().execute(held.connection(), "begin", soon());
    CHECK(held.release());
    CHECK(holder(root, name) == "null");
    CHECK(holder(root, name + "-2") == "null");
    CHECK_FALSE(held.release());
    std::string most;
    for (int i = 0; i < 48; ++i) most += "\xc3\xa4";
    auto longest = cenote::lock(db, named_lock{most + std::to_string(::getpid() % 10000)});
    longest.check();
}

TEST_CASE("A named lock that the server does not take has failed") {
    // 64 characters, but more bytes than MariaDB takes; a server that does take them gives it.
    std::string name;
    for (int i = 0; i < 64; ++i) name += "\xf0\x9f\x94\x92";
    cenote::pool db{mysql{by_socket()}, cenote::bounded{.max = 4}};
    cenote::failure why;
    const auto held = cenote::lock(db, named_lock{name}, {.wait = 0s}, why);
    INFO(why.text());
    CHECK((held || why.code == errc::lock_failed));
    CHECK(db.stats().used == (held ? 1 : 0));
}

TEST_CASE("The guard of a named lock knows that its session was ended") {
    const std::string name = locks::own_name("ended");
    opened root{as_root()};
    cenote::pool db{mysql{by_tcp()}, cenote::bounded{.max = 4}};
    const auto take = [&] { return cenote::lock(db, named_lock{name}, {.wait = 10s, .poll = 5ms}); };
    auto held = take();
    CHECK(held.owns());
    root.run("kill " + std::to_string(mysql_thread_id(held.native_handle())));
    CHECK(comes_true([&] { return !held.owns(); }));
    auto next = take();
    cenote::failure why;
    CHECK_FALSE(held.release(why));
    CHECK(why.code == errc::lock_lost);
    next.check();

    // Given back on its own session by somebody else.
    next.driver().execute(next.connection(), "do release_lock('" + name + "')", soon());
    CHECK_FALSE(next.release(why));
    CHECK(why.code == errc::lock_lost);

    // A statement that still runs, and was given up, does not keep it.
    next = take();
    const auto id = mysql_thread_id(next.native_handle());
    CHECK(error_of([&] { next.driver().execute(next.connection(), "do sleep(600)", deadline::in(20ms)); }));
    CHECK_FALSE(next.owns());
    CHECK_FALSE(next.release(why));
    CHECK(comes_true([&] { return holder(root, name) == "null"; }));
    CHECK(comes_true([&] { return !is_alive(root, id); }));
}

TEST_CASE("A named lock that is held for too long is taken away in the middle of a statement") {
    const std::string name = locks::own_name("overdue");
    cenote::pool db{mysql{by_tcp()}, cenote::bounded{.max = 4}};
    auto held = cenote::lock(db, named_lock{name}, {.max_hold = 50ms, .on_overdue = cenote::on_overdue::close});
    CHECK(error_of([&] { held.driver().execute(held.connection(), "do sleep(600)", soon()); }));
    CHECK_FALSE(held.owns());
    const auto next = cenote::lock(db, named_lock{name}, {.wait = 20s, .poll = 5ms});
    std::error_code why;
    CHECK_FALSE(held.release(why));
    CHECK(why == errc::lock_lost);
}

TEST_CASE("Taking and releasing a named lock are cut at every point") {
    const std::string name = locks::own_name("cut");
    cenote::testing::fault_proxy net{"127.0.0.1", servers::mysql().port};
    opened root{as_root()};
    mysql::options o = by_tcp();
    o.port = net.port();
    locks::cut_everywhere(net, mysql{o}, named_lock{name}, [&] { return holder(root, name) == "null"; });
}

TEST_CASE("Never two processes hold a named lock, though their holders are killed") {
    const std::string name = locks::own_name("fight");
    std::optional<opened> root; // made when the processes are
    const mysql::options o = by_socket();
    const auto look = [&]() -> opened& {
        if (!root) root.emplace(as_root());
        return *root;
    };
    locks::fight(mysql{o}, named_lock{name}, locks::rounds(), static_cast<unsigned>(::getpid()), [&](std::uint64_t id) { return is_alive(look(), id); },
                 [&] { return holder(look(), name) == "null"; });
}
