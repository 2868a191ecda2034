// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Servers that are there and say no: pools neither hammer them nor give up, and say why.
#include <fault/support/figures.hpp>
#include <fault/support/load.hpp>
#include <fault/support/servers.hpp>

#include <server/support/fake_server.hpp>

#include <cenote/credentials.hpp>
#include <cenote/pool.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <sys/mount.h>
#include <sys/stat.h>

using namespace fault;
using cenote::bounded;
using cenote::deadline;
using cenote::errc;
using cenote::error_class;

namespace {

constexpr cenote::backoff quick{.first = 5ms, .max = 40ms};

/// A user of a test's own.
template <class Server>
class account {
public:
    explicit account(std::string password, const std::string& more = "") : password_{std::move(password)} {
        if constexpr (is_mysql<Server>) admin_.run("create user " + name_ + " identified by '" + password_ + "' " + more);
        else admin_.run("create role " + name_ + " login password '" + password_ + "' " + more);
    }
    account(const account&) = delete;
    account& operator=(const account&) = delete;
    ~account() {
        try {
            end_sessions();
            admin_.run((is_mysql<Server> ? "drop user " : "drop role ") + name_);
        } catch (const std::exception&) {
        }
    }
    [[nodiscard]] const std::string& name() const { return name_; }
    void change_password(const std::string& to) {
        admin_.run(is_mysql<Server> ? "alter user " + name_ + " identified by '" + to + "'" : "alter role " + name_ + " password '" + to + "'");
    }
    void end_sessions() {
        if constexpr (is_mysql<Server>) admin_.run("kill user " + name_);
        else admin_.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = '" + name_ + "'");
    }
    [[nodiscard]] admin<Server>& outside() { return admin_; }

    /// A driver that logs in as it by TCP.
    [[nodiscard]] typename Server::driver driver(const std::string& password, const cenote::credentials& from = {}) const {
        if constexpr (is_mysql<Server>) {
            auto o = mysql_tests::by_tcp();
            o.database.clear();
            o.user = name_;
            o.password = password;
            o.credentials = from;
            return cenote::mysql{o};
        } else {
            auto o = pg::options(servers::postgres().tcp, {{"user", name_}, {"password", password}});
            o.credentials = from;
            return cenote::postgres{o};
        }
    }

private:
    std::string password_, name_ = "chaos_" + std::to_string(::getpid());
    admin<Server> admin_;
};

/// So many attempts are twice what the backoff's pauses, 20 ms in the mean, allow; chance alone does not get there.
std::size_t most_attempts(std::chrono::nanoseconds in) { return static_cast<std::size_t>(in / 10ms) + 20; }

/// Threads that do nothing but acquire and ask.
template <class Server, class Pool>
class askers {
public:
    std::atomic<std::size_t> served{0}, refused{0}, lost{0};

    /// `look(handle)`: what else to do with a lease; `told(failure)`: what to do without one.
    askers(Pool& db, int n, cenote::duration budget, std::function<void(typename Server::handle)> look, std::function<void(const cenote::failure&)> told)
        : each_(static_cast<std::size_t>(n)) {
        for (auto& own : each_) {
            threads_.emplace_back([this, &db, &own, budget, look, told](const std::stop_token& stop) {
                while (!stop.stop_requested()) work(db, own, budget, look, told);
            });
        }
    }
    /// What the unluckiest got.
    [[nodiscard]] std::size_t least() const {
        return std::ranges::min_element(each_, {}, [](const auto& n) { return n.load(); })->load();
    }
    void join() {
        for (auto& t : threads_) t.request_stop();
        threads_.clear();
    }

private:
    void work(Pool& db, std::atomic<std::size_t>& own, cenote::duration budget, const auto& look, const auto& told) {
        cenote::failure why;
        auto lease = db.acquire(budget, why);
        if (!lease) {
            ++refused;
            told(why);
            std::this_thread::sleep_for(1ms);
            return;
        }
        try {
            look(lease.native_handle());
            ++served;
            ++own;
        } catch (const std::exception&) {
            ++lost;
        }
    }
    std::vector<std::atomic<std::size_t>> each_;
    std::vector<std::jthread> threads_;
};

} // namespace

TEMPLATE_TEST_CASE("case-A10: a wrong password is tried once per step of the backoff, and everybody is told", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    account<server> who{"the-right-secret"};
    dial_watch dials;
    cenote::pool db{who.driver("the-wrong-secret"), bounded{.max = 8}, quick, dials};
    const auto began = steady::now();
    {
        complaints untold;
        const auto told = [&](const cenote::failure& why) {
            const bool right_code = why.code == errc::connect_failed || why.code == errc::breaker_open;
            const auto cause = why.seen ? why.seen->last_connect_error : cenote::connect_error{};
            const bool right_cause = cause.kind == error_class::auth && (is_mysql<server> ? cause.native_code == 1045 : cause.sqlstate == "28P01");
            if (!right_code || !right_cause || why.text().find("secret") != std::string::npos) untold.add(why.text());
        };
        askers<server, decltype(db)> many{db, 8, 5s, [](auto) {}, told};
        std::this_thread::sleep_for(length() / 2);
        many.join();
        INFO(untold.text());
        CHECK(untold.count() == 0);
        CHECK(many.served == 0);
        CHECK(many.refused >= 8);
        const auto took = steady::now() - began;
        CHECK(dials.to->failed >= 2);
        CHECK(dials.to->failed <= most_attempts(took));
        tell("case-A10", std::string{server::name} + ": " + std::to_string(dials.to->failed) + " attempts in " + text(took) + " for " +
                             std::to_string(many.refused) + " acquires, each told why");
    }
    CHECK(becomes([&] { return db.stats().total == 0; })); // the last attempt may be on its way
}

TEMPLATE_TEST_CASE("case-A11: a password rotates under load: leases end as they began, and no session of before is used again", "[alone]", postgres_server,
                   mysql_server) {
    using server = TestType;
    server::ensure();
    constexpr unsigned size = 4;
    account<server> who{"secret-0"};
    cenote::credentials secret{cenote::login{.user = who.name(), .password = "secret-0"}};
    dial_watch dials;
    cenote::pool db{who.driver("", secret), bounded{.max = size}, quick, dials, cenote::counters{}};
    // Sessions are told apart by numbers that grow: when they began, or the server's own.
    const std::string number = is_mysql<server> ? "select connection_id()" : "select (extract(epoch from backend_start) * 1e6)::bigint from pg_stat_activity where pid = pg_backend_pid()";
    const auto number_now = [&] {
        return std::stoll(is_mysql<server> ? mysql_tests::opened{mysql_tests::as_root()}.ask("select connection_id()")
                                           : who.outside().ask("select (extract(epoch from clock_timestamp()) * 1e6)::bigint"));
    };
    std::atomic<long long> oldest{0};
    {
        complaints stale;
        std::vector<std::jthread> users;
        std::atomic<std::size_t> served{0}, lost{0}, refused{0};
        std::atomic<bool> over{false};
        for (int i = 0; i < 8; ++i) {
            users.emplace_back([&] {
                while (!over) {
                    const long long at_least = oldest;
                    std::error_code why;
                    auto lease = db.acquire(1s, why);
                    if (!lease) {
                        ++refused;
                        std::this_thread::sleep_for(2ms);
                        continue;
                    }
                    try {
                        if (std::stoll(server::ask(lease.native_handle(), number).at(0)) < at_least) stale.add("a session of before");
                        std::this_thread::sleep_for(1ms); // and not in the server: MariaDB's SLEEP() may hold up for seconds who kills it
                        (void)server::ask(lease.native_handle(), "select 7");
                        ++served;
                    } catch (const std::exception&) {
                        ++lost;
                    }
                }
            });
        }
        struct stop {
            std::atomic<bool>& over;
            ~stop() { over = true; }
        } const at_the_end{over};
        const int turns = 6;
        for (int turn = 1; turn <= turns; ++turn) {
            CAPTURE(turn);
            REQUIRE(becomes([&, then = served.load()] { return served > then + 40; }));
            const std::size_t lost_before = lost;
            dials.to->up_since = std::numeric_limits<steady::rep>::max();
            const std::string fresh = "secret-" + std::to_string(turn);
            who.change_password(fresh);
            secret.set({.user = who.name(), .password = fresh});
            dials.to->up_since = steady::now().time_since_epoch().count();
            const long long now = number_now();
            db.invalidate_all();
            oldest = now;
            if (turn % 2 == 0) who.end_sessions();
            REQUIRE(becomes([&, then = served.load()] { return served > then + 40; }));
            CHECK(lost - lost_before <= (turn % 2 == 0 ? size : 0));
        }
        INFO(stale.text());
        CHECK(stale.count() == 0);
        CHECK(dials.to->failed_when_up == 0); // all new sessions use the new secret
        over = true;
        users.clear();
        tell("case-A11", std::string{server::name} + ", " + std::to_string(turns) + " rotations under 8 threads: " + std::to_string(served) + " leases, " +
                             std::to_string(lost) + " lost (sessions ended in every second), " + std::to_string(refused) + " acquires refused, 0 old sessions used");
    }
    CHECK(short_of<server>(db, size) == "");
}

namespace {

/// What holds when the server has no session left to give: `limit` of them it has.
template <class Server, class Lift>
void serves_by_returns(std::string_view what, const typename Server::driver& driver, unsigned max, unsigned limit, Lift lift) {
    dial_watch dials;
    cenote::pool db{driver, bounded{.max = max}, quick, dials};
    askers<Server, decltype(db)> many{db, static_cast<int>(max), 10s, [](auto c) { (void)Server::ask(c, "select " + Server::pause("0.001")); }, [](const auto&) {}};
    REQUIRE(becomes([&] { return dials.to->failed > 0 && db.stats().total >= limit; }));
    const unsigned failed_before = dials.to->failed;
    const std::size_t served_before = many.served;
    const auto began = steady::now();
    std::this_thread::sleep_for(length() / 2);
    const auto took = steady::now() - began;
    const unsigned failed = dials.to->failed - failed_before;
    CHECK(failed <= most_attempts(took));
    CHECK(failed > 0); // it goes on trying
    CHECK(many.served > served_before + max);
    CHECK(many.least() > 0);
    CHECK(many.refused == 0);
    CHECK(many.lost == 0);
    CHECK(db.stats().total - db.stats().opening <= limit);
    tell("case-A12", std::string{Server::name} + ", " + std::string{what} + ": " + std::to_string(failed) + " attempts in " + text(took) + ", " +
                         std::to_string(many.served - served_before) + " leases served by " + std::to_string(limit) + " connections to " + std::to_string(max) +
                         " threads, 0 refused");
    lift();
    const auto lifted = steady::now();
    CHECK(becomes([&] { return db.stats().total - db.stats().opening == max; }));
    tell("case-A12", std::string{Server::name} + ": the pool is full " + text(steady::now() - lifted) + " after the limit is lifted");
    many.join();
    CHECK(many.refused == 0);
    CHECK(short_of<Server>(db, max) == "");
}

} // namespace

TEST_CASE("case-A12: a server that has no session left: no spin, and returns serve who waits (PostgreSQL)", "[alone]") {
    postgres_server::ensure();
    account<postgres_server> who{"secret", "connection limit 3"};
    serves_by_returns<postgres_server>("53300", who.driver("secret"), 8, 3, [&] { who.outside().run("alter role " + who.name() + " connection limit -1"); });
}

TEST_CASE("case-A12: a server that has no session left: no spin, and returns serve who waits (MariaDB)", "[alone]") {
    mysql_server::ensure();
    SECTION("for this user") {
        account<mysql_server> who{"secret", "with max_user_connections 3"};
        serves_by_returns<mysql_server>("1226", who.driver("secret"), 8, 3, [&] { who.outside().run("alter user " + who.name() + " with max_user_connections 0"); });
    }
    SECTION("for anybody") {
        admin<mysql_server> outside;
        const std::string before = outside.ask("select @@global.max_connections");
        outside.run("set global max_connections = 10"); // no fewer are possible; one of them is ours
        serves_by_returns<mysql_server>("1040", mysql_server::to(true, "full"), 16, 10, [&] { outside.run("set global max_connections = " + before); });
        outside.run("set global max_connections = " + before);
    }
}

namespace {

/// A statement that fails for want of room is no reason to give its connection up.
template <class Server>
std::string fails_and_stays(const typename Server::driver& driver, const std::string& sql) {
    cenote::pool db{driver, bounded{.max = 1}, cenote::counters{}};
    const std::string session = is_mysql<Server> ? "select connection_id()" : "select pg_backend_pid()";
    const std::string before = Server::ask(db.acquire(10s).native_handle(), session).at(0);
    std::string code;
    for (int i = 0; i < 3; ++i) {
        try {
            db.with(10s, [&](auto& c) { db.driver().execute(c, sql, deadline::in(20s)); });
        } catch (const cenote::driver_error& e) {
            CHECK(e.kind() == error_class::other);
            code = is_mysql<Server> ? std::to_string(e.native_code()) : e.sqlstate();
        }
        CHECK(Server::ask(db.acquire(10s).native_handle(), session).at(0) == before);
    }
    CHECK(db.stats().closed == 0);
    CHECK(db.stats().opened == 1);
    return code;
}

/// A disk of one megabyte over a folder of PostgreSQL's, with a folder of that name on it; false where none can be mounted.
class small_disk {
public:
    small_disk(std::string over, const std::string& inside) : path_{std::move(over)} {
        struct stat owner {};
        if (::stat(servers::postgres().data.c_str(), &owner) != 0) throw std::runtime_error{"no data"};
        mounted_ = ::mount("none", path_.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=1m,mode=755") == 0;
        if (!mounted_) return;
        guard();
        for (const std::string& folder : {path_, path_ + "/" + inside}) {
            if ((::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) || ::chown(folder.c_str(), owner.st_uid, owner.st_gid) != 0) {
                throw std::runtime_error{"no folder on the small disk"};
            }
        }
    }
    small_disk(const small_disk&) = delete;
    small_disk& operator=(const small_disk&) = delete;
    ~small_disk() {
        if (!mounted_) return;
        ::close(guarded_);
        while (::waitpid(guard_, nullptr, 0) < 0 && errno == EINTR) {}
    }
    [[nodiscard]] explicit operator bool() const { return mounted_; }

private:
    /// A shell takes the disk away when it hears that this program has gone, however it went.
    void guard() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
        std::string shell = "/bin/sh", option = "-c", words = "read -r x; umount -l '" + path_ + "'";
        const std::array<char*, 4> arguments{shell.data(), option.data(), words.data(), nullptr};
        const int failed = ::posix_spawn(&guard_, "/bin/sh", &actions, nullptr, arguments.data(), environ);
        posix_spawn_file_actions_destroy(&actions);
        ::close(ends[0]);
        guarded_ = ends[1];
        if (failed != 0) {
            ::umount2(path_.c_str(), MNT_DETACH);
            throw std::runtime_error{"no shell to guard a mounted disk"};
        }
    }
    std::string path_;
    bool mounted_ = false;
    pid_t guard_ = -1;
    int guarded_ = -1;
};

} // namespace

TEST_CASE("case-A14: a full disk fails the statement, and its connection stays", "[alone]") {
    postgres_server::ensure();
    mysql_server::ensure();
    const std::string sorts = "select count(*) from (select g from generate_series(1, 300000) g order by g desc) s";
    CHECK(fails_and_stays<postgres_server>(cenote::postgres{pg::options(servers::postgres().admin, {{"options", "-c temp_file_limit=64kB -c work_mem=64kB"}})},
                                           sorts) == "53400");
    std::string disk_full = "not shown, as nothing can be mounted here";
    {
        // A tablespace inside the data, as the standby makes its own of whatever the primary makes: both are on this machine.
        pg::witness outside{servers::postgres().admin + " dbname=cenote"};
        const std::string own = "chaos_full_" + std::to_string(::getpid());
        outside.run("set allow_in_place_tablespaces = on");
        outside.run("create tablespace " + own + " location ''");
        const std::filesystem::path folder = servers::postgres().data + "/pg_tblspc/" + outside.ask("select oid from pg_tablespace where spcname = '" + own + "'");
        if (const small_disk disk{folder, std::filesystem::directory_iterator{folder}->path().filename()}; disk) {
            outside.run("create table " + own + " (t text) tablespace " + own);
            outside.run("alter table " + own + " owner to cenote");
            disk_full = fails_and_stays<postgres_server>(postgres_server::to(true, "full"), "insert into " + own + " select repeat('x', 1000) from generate_series(1, 5000)");
            CHECK(disk_full == "53100");
            outside.run("drop table " + own);
            outside.run("checkpoint"); // nothing is written there any more
        }
        outside.run("drop tablespace " + own);
    }
    const table_of_its_own<mysql_server> small; // for its name
    const std::string table = small.name() + "_memory";
    admin<mysql_server> root;
    root.run("set session max_heap_table_size = 16384");
    root.run("create table " + table + " (t char(200)) engine = memory max_rows = 10");
    const std::string fill = "insert into " + table + " select 'x' from (with recursive n as (select 1 i union all select i + 1 from n where i < 900) select * from n) s";
    CHECK(fails_and_stays<mysql_server>(mysql_server::to(true, "full"), fill) == "1114");
    root.run("drop table " + table);
    tell("case-A14", "PostgreSQL, temporary files beyond their limit (53400) and disk full (" + disk_full + "), MariaDB, table full (1114): connections stay");
}

TEST_CASE("case-A15: a server that is starting up is asked with patience, and who waits is served when it is there", "[alone]") {
    constexpr unsigned refusals = 8;
    const bool breaks = GENERATE(false, true);
    std::atomic<unsigned> asked{0};
    const fake_server server{[&](fake_server::peer& p) {
        if (!wire::begin(p)) return;
        if (++asked <= refusals) {
            (void)p.send(wire::error("57P03", "the database system is starting up"));
            return;
        }
        if (p.send(wire::welcome())) wire::serve(p);
    }};
    dial_watch dials;
    const auto serve = [&](auto db) {
        std::atomic<unsigned> served{0}, told{0}, other{0};
        {
            std::vector<std::jthread> waiters;
            for (int i = 0; i < 6; ++i) {
                waiters.emplace_back([&] {
                    for (const deadline by = deadline::in(20s); !by.expired();) {
                        cenote::failure why;
                        if (const auto lease = db.acquire(20s, why)) {
                            ++served;
                            return;
                        }
                        ++(why.code == errc::breaker_open && why.seen && why.seen->last_connect_error.kind == error_class::not_ready ? told : other);
                        std::this_thread::sleep_for(1ms);
                    }
                });
            }
        }
        CHECK(served == 6);
        CHECK(other == 0);
        CHECK((told > 0) == breaks);
        CHECK(dials.to->starting == refusals);
        CHECK(dials.to->failed == refusals);
        tell("case-A15", "57P03 " + std::to_string(refusals) + " times, " + (breaks ? "with" : "without") + " a breaker: 6 of 6 waiters served, " +
                             std::to_string(told) + " acquires told that the server is not ready");
    };
    if (breaks) serve(cenote::pool{cenote::postgres{server.conninfo()}, bounded{.max = 2}, quick, dials});
    else serve(cenote::pool{cenote::postgres{server.conninfo()}, bounded{.max = 2}, quick, dials, cenote::no_breaker{}});
}
