// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What a process does to itself: it ends with pools and leases in every order, and runs out of descriptors.
//
// Test cases with a dot are the children: the others run this program again, with their name.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>

#include "server/support/process.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using cenote::bounded;
using cenote::errc;
using cenote::sqlite;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Runs one test case of this program in a process of its own. Its exit code, or 256 and the signal that ended it; its words go nowhere but
/// to `said`.
int run_child(const char* test, const char* said = "/dev/null") {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    std::string program = "/proc/self/exe", name = test;
    const std::array<char*, 3> arguments{program.data(), name.data(), nullptr};
    pid_t child = -1;
    const int failed = ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw std::runtime_error{"this program cannot run itself"};
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

using shop = cenote::pool<sqlite, bounded>; // with all that is safe, so with a thread
shop open_shop() { return shop{sqlite{"file:hard?mode=memory&cache=shared"}, bounded{.max = 3}}; }

bool works(auto& lease) { return lease && sqlite3_exec(lease.native_handle(), "select 1", nullptr, nullptr, nullptr) == SQLITE_OK; }

/// Uses a lease when it ends itself, at the very end.
struct late_user {
    shop::lease held;
    late_user() = default;
    late_user(late_user&&) = delete;
    ~late_user() {
        if (!works(held)) std::_Exit(3);
        held.give_back();
        held.give_back(); // nobody is there any more
        held.discard();
    }
};

} // namespace

TEST_CASE("child: a static pool, then a static lease", "[.child]") {
    static shop db = open_shop();
    static late_user user;
    user.held = db.acquire(10s);
    CHECK(works(user.held));
    static auto second = db.acquire(10s);
    db.acquire(10s).discard(); // closed in the background while all ends
}
TEST_CASE("child: a static lease, then a static pool", "[.child]") {
    static late_user user;
    static shop::lease second;
    static shop db = open_shop();
    user.held = db.acquire(10s);
    second = db.acquire(10s);
    (void)db.acquire(10s);
    CHECK(works(user.held));
}
TEST_CASE("child: a static pool that is closed, and used afterwards", "[.child]") {
    static late_user user;
    static shop db = open_shop();
    user.held = db.acquire(10s);
    CHECK_FALSE(db.close(cenote::deadline{cenote::time_point::min()}).drained);
    static struct last {
        ~last() {
            std::error_code why;
            if (db.acquire(1s, why) || why != errc::pool_closed || db.try_acquire()) std::_Exit(4);
            db.suspend();
            db.resume();
            db.resize(2);
            (void)db.trim();
            (void)db.maintain();
            (void)db.close(cenote::deadline{cenote::time_point::min()});
        }
    } const later;
    user.held.discard(); // what was cut may not work
    static shop other = open_shop();
    user.held = other.acquire(10s);
}
TEST_CASE("child: pool and lease of a thread, and a pool that nobody used", "[.child]") {
    static shop unused = open_shop();
    thread_local late_user user; // goes before all that is static
    static shop db = open_shop();
    user.held = db.acquire(10s);
    std::thread{[] {
        thread_local shop own = open_shop();
        thread_local late_user here;
        here.held = own.acquire(10s);
    }}.join();
}
TEST_CASE("child: the program ends while a lease is out in a thread and a dial is stuck", "[.child]") {
    using namespace cenote::testing;
    static script s;
    static gate stuck;
    static cenote::pool db{scripted{s}, bounded{.max = 2}, cenote::background_thread{.patience = 1ms}};
    static auto& held = *new auto{db.acquire(10s)}; // never given back
    s.always(site::open, outcome::ok().after(stuck));
    (void)db.try_acquire();
    if (!stuck.await(1)) std::_Exit(5);
    held->use();
}
TEST_CASE("child: a fixed pool with a lease that outlives it", "[.child]") {
    static cenote::pool<sqlite, cenote::fixed<2>, cenote::manual>::lease held;
    static cenote::pool<sqlite, cenote::fixed<2>, cenote::manual> db{sqlite{"file:hard?mode=memory&cache=shared"}};
    held = db.acquire(10s);
}

TEST_CASE("case-C8: static pools and leases end in either order, and are used to the last") {
    for (const char* test : {"child: a static pool\\, then a static lease", "child: a static lease\\, then a static pool", "child: a static pool that is closed\\, and used afterwards",
                             "child: pool and lease of a thread\\, and a pool that nobody used", "child: the program ends while a lease is out in a thread and a dial is stuck"}) {
        CAPTURE(test);
        CHECK(run_child(test) == 0);
    }
}

TEST_CASE("case-C8: a fixed pool that ends before its lease ends the program by name") {
    const process::secret_file said{""};
    CHECK(run_child("child: a fixed pool with a lease that outlives it", said.path().c_str()) != 0);
    std::ifstream file{said.path()};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    CHECK_THAT(text, ContainsSubstring("cenote: a fixed<N> pool was destroyed with 1 leases out; it holds their slots inside"));
}

TEST_CASE("case-C8: pools and leases of one scope end in either order") {
    for (const bool pool_first : {false, true}) {
        auto db = std::make_unique<shop>(open_shop());
        auto user = std::make_unique<late_user>();
        user->held = db->acquire(10s);
        auto closed = db->acquire(10s);
        if (pool_first) db.reset();
        CHECK(works(closed));
        user.reset();
        closed.give_back();
    }
}

#if !DESCRIPTORS_ARE_NEEDED
TEST_CASE("case-C10: with no descriptor left, opening fails in words, what is open works on, and all is well when there are some again") {
    // Below the lowest that is free nothing more can be opened.
    std::string folder = "/tmp/cenote-test-XXXXXX";
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
    {
        cenote::pool db{sqlite{folder + "/shop.db"}, bounded{.max = 4}, cenote::manual{}, cenote::counters{}};
        auto held = db.acquire(10s);
        REQUIRE(works(held));
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        const int lowest = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
        ::close(lowest);
        rlimit none = before;
        none.rlim_cur = static_cast<rlim_t>(lowest);
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
        std::vector<std::string> said;
        for (int i = 0; i < 200; ++i) {
            cenote::failure why;
            if (db.acquire(10s, why) || why.code != errc::connect_failed) said.push_back(why.text());
            else if (i == 0) said.push_back(why.seen->last_connect_error.text);
        }
        const bool still_works = works(held);
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
        REQUIRE(said.size() == 1);
        CHECK_THAT(said[0], ContainsSubstring("unable to open database file"));
        CHECK(still_works);
        CHECK(db.stats().total == 1);
        CHECK(db.stats().open_failed == 200);
        std::vector<decltype(held)> all;
        for (int i = 0; i < 3; ++i) all.push_back(db.acquire(10s));
        for (auto& l : all) CHECK(works(l));
        CHECK_FALSE(db.try_acquire());
    }
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
}
#endif
