// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The writable server becomes another one, or read only: nobody keeps a connection that cannot write.
#include <fault/support/figures.hpp>
#include <fault/support/load.hpp>
#include <fault/support/servers.hpp>

#include <cenote/pool.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <sys/stat.h>

using namespace fault;
using cenote::bounded;
using cenote::deadline;
using cenote::error_class;

namespace {

constexpr unsigned size = 4;
constexpr auto step = 40ms;
constexpr cenote::backoff quick{.first = 5ms, .max = step};

/// A hot standby of the server, to be promoted.
class standby {
public:
    standby() : folder_{std::filesystem::path{servers::postgres().data}.parent_path() / ("standby-" + std::to_string(::getpid()))} {
        const auto& s = servers::postgres();
        as_owner({s.bin + "/pg_basebackup", "-d", s.admin, "-D", folder_, "-R", "-X", "stream", "-c", "fast", "--no-sync"});
        // Free a moment ago; should somebody else take it, the test fails and says so.
        port_ = mysql_tests::listener{}.port();
        std::ofstream{folder_ / "postgresql.conf", std::ios::app} << "port = " << port_ << "\nlogging_collector = off\n";
        as_owner({"setsid", "--fork", "sh", "-c", "exec \"$0\" -D \"$1\" >>\"$1/log\" 2>&1 </dev/null", s.bin + "/postgres", folder_});
        if (!becomes([&] { return accepts(); })) throw std::runtime_error{"the standby does not start"};
    }
    standby(const standby&) = delete;
    standby& operator=(const standby&) = delete;
    ~standby() {
        try {
            kill();
            std::filesystem::remove_all(folder_);
        } catch (const std::exception&) { // whoever started the servers ends this one as well
        }
    }
    [[nodiscard]] unsigned port() const { return port_; }
    [[nodiscard]] std::string admin() const {
        return "host=" + folder_.parent_path().string() + " port=" + std::to_string(port_) + " user=postgres dbname=cenote";
    }
    void promote() {
        pg::witness w{admin()};
        w.run("select pg_promote(false)");
        REQUIRE(becomes([&] { return w.ask("select pg_is_in_recovery()") == "f"; }));
    }
    /// Whether what was committed there has arrived here.
    [[nodiscard]] bool has(const std::string& table) { return pg::witness{admin()}.ask("select count(*) from pg_class where relname = '" + table + "'") == "1"; }
    void kill() {
        const pid_t first = pid_in(folder_ / "postmaster.pid");
        if (first == 0 || is_gone(first)) return;
        auto all = children_of(first);
        all.push_back(first);
        ::kill(first, SIGQUIT);
        await_end(all);
    }

private:
    static void as_owner(std::vector<std::string> words) {
        struct stat of {};
        if (::stat(servers::postgres().data.c_str(), &of) != 0) throw std::runtime_error{"no data"};
        if (of.st_uid != ::geteuid()) {
            const std::vector<std::string> as{"setpriv", "--reuid", std::to_string(of.st_uid), "--regid", std::to_string(of.st_gid), "--init-groups"};
            words.insert(words.begin(), as.begin(), as.end());
        }
        run_program(words);
    }
    [[nodiscard]] bool accepts() const {
        const std::unique_ptr<PGconn, decltype(&PQfinish)> c{PQconnectdb(admin().c_str()), &PQfinish};
        return PQstatus(c.get()) == CONNECTION_OK;
    }

    std::filesystem::path folder_;
    unsigned port_ = 0;
};

/// Threads that write, one statement with each lease, and count what they meet with.
template <class Pool>
class writers {
public:
    std::atomic<std::size_t> written{0}, read_only{0}, lost{0}, refused{0}, refused_for_role{0};
    complaints others;
    first_time recovered;

    writers(Pool& db, std::string sql, int n) {
        for (int i = 0; i < n; ++i) threads_.emplace_back([this, &db, sql](const std::stop_token& stop) { work(db, sql, stop); });
    }

private:
    void work(Pool& db, const std::string& sql, const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            try {
                db.with(300ms, [&](auto& c) { db.driver().execute(c, sql, deadline::in(10s)); });
                recovered.note(steady::now());
                ++written;
            } catch (const cenote::error& e) {
                ++refused;
                if (e.why().seen && e.why().seen->last_connect_error.kind == error_class::wrong_role) ++refused_for_role;
                std::this_thread::sleep_for(2ms);
            } catch (const cenote::driver_error& e) {
                if (e.kind() == error_class::wrong_role) ++read_only;
                else if (e.kind() == error_class::disconnected) ++lost;
                else others.add(e.what());
            }
        }
    }
    std::vector<std::jthread> threads_;
};

/// Everybody has written this often more.
template <class Pool>
void await_writes(const writers<Pool>& w, std::size_t more) {
    REQUIRE(becomes([&, then = w.written.load()] { return w.written >= then + more; }));
}

} // namespace

TEST_CASE("case-A16: a standby is promoted, and the old primary is read only: writers follow (PostgreSQL)", "[alone]") {
    postgres_server::ensure();
    const auto& s = servers::postgres();
    const table_of_its_own<postgres_server> table;
    standby other;
    REQUIRE(becomes([&] { return other.has(table.name()); }));
    pg::witness primary{s.admin};
    const auto demote = [&](bool on) {
        primary.run(on ? "alter system set default_transaction_read_only = on" : "alter system reset default_transaction_read_only");
        primary.run("select pg_reload_conf()");
        REQUIRE(becomes([&] { return primary.ask("show default_transaction_read_only") == (on ? "on" : "off"); }));
    };
    const auto either = pg::options(s.tcp, {{"host", "127.0.0.1,127.0.0.1"}, {"port", std::to_string(s.port) + "," + std::to_string(other.port())},
                                            {"target_session_attrs", "read-write"}});
    cenote::pool usual{cenote::postgres{either}, bounded{.max = size}, cenote::require_role{}, quick, cenote::counters{}};
    // Asks each time, so that no lease begins on a server that is read only by then.
    cenote::pool pinged{cenote::postgres{either}, bounded{.max = size}, cenote::require_role{}, quick, cenote::pre_ping{}, cenote::counters{}};
    // Knows the standby only, and libpq does not choose for it.
    cenote::pool waiting{cenote::postgres{pg::options(s.tcp, {{"port", std::to_string(other.port())}})}, bounded{.max = size}, cenote::require_role{}, quick};
    struct put_back { // whatever happens
        ~put_back() {
            try {
                pg::witness w{};
                w.run("alter system reset default_transaction_read_only");
                w.run("select pg_reload_conf()");
            } catch (const std::exception&) {
            }
        }
    } const at_the_end;

    const std::string sql = "insert into " + table.name() + " values (1)";
    {
        writers of_usual{usual, sql, 8};
        writers of_pinged{pinged, sql, 4};
        writers of_waiting{waiting, sql, 2};
        await_writes(of_usual, 50);
        await_writes(of_pinged, 50);
        REQUIRE(becomes([&] { return of_waiting.refused_for_role > 0; }));
        demote(true);
        // Who asks is told, as soon as its sessions have heard of it themselves.
        REQUIRE(becomes([&] { return of_usual.refused_for_role > 0 && of_pinged.refused_for_role > 0; }));
        const std::size_t settled = of_pinged.read_only;
        of_usual.recovered.arm();
        of_pinged.recovered.arm();
        CHECK(of_waiting.written == 0);
        const auto asked = steady::now();
        other.promote();
        const auto promoted = steady::now();
        REQUIRE(becomes([&] { return of_usual.recovered.is_there() && of_pinged.recovered.is_there(); }));
        await_writes(of_usual, 100); // whoever was on the way has arrived
        await_writes(of_pinged, 100);
        await_writes(of_waiting, 20);
        CHECK(of_waiting.read_only == 0); // no lease before it was the primary
        const std::size_t read_only = of_usual.read_only;
        CHECK(read_only <= size + 1); // each session shows it once, and one may have been opened while the setting arrived
        CHECK(of_pinged.read_only == settled);
        await_writes(of_usual, 200);
        CHECK(of_usual.read_only == read_only);
        CHECK(of_pinged.read_only == settled);
        CHECK(usual.with([&](auto& c) { return pg::ask(c.handle(), "select inet_server_port()"); }) == std::to_string(other.port()));
        INFO(of_usual.others.text() << of_pinged.others.text() << of_waiting.others.text());
        CHECK(of_usual.others.count() + of_pinged.others.count() + of_waiting.others.count() == 0);
        tell("case-A16", "PostgreSQL, promoted in " + text(promoted - asked) + ": first write after that, usual pool " +
                             text(std::max(of_usual.recovered.get() - promoted, steady::duration{})) + ", pre_ping pool " +
                             text(std::max(of_pinged.recovered.get() - promoted, steady::duration{})) + "; read-only errors " + std::to_string(read_only) +
                             " (pool of " + std::to_string(size) + ") and " + std::to_string(settled) + ", none later");

        // And back, as the new primary dies.
        demote(false);
        const std::size_t before = of_usual.lost;
        const auto died = steady::now();
        other.kill();
        of_usual.recovered.arm();
        REQUIRE(becomes([&] { return of_usual.recovered.is_there(); }));
        await_writes(of_usual, 50);
        await_writes(of_pinged, 50);
        CHECK(of_usual.lost - before <= size);
        CHECK(of_usual.others.count() + of_pinged.others.count() == 0);
        tell("case-A16", "PostgreSQL, the new primary killed: first write to the old one after " + text(of_usual.recovered.get() - died));
    }
    CHECK(short_of<postgres_server>(usual, size) == "");
    CHECK(short_of<postgres_server>(pinged, size) == "");
}

TEST_CASE("case-A16: a server becomes read only and writable again: writers get no connection meanwhile (MariaDB)", "[alone]") {
    mysql_server::ensure();
    const table_of_its_own<mysql_server> table;
    struct put_back {
        mysql_tests::opened root{mysql_tests::as_root()};
        ~put_back() {
            try {
                root.run("set global read_only = 0");
            } catch (const std::exception&) {
            }
        }
    } outside;
    cenote::pool usual{mysql_server::to(true, "usual"), bounded{.max = size}, cenote::require_role{}, quick, cenote::counters{}};
    cenote::pool pinged{mysql_server::to(false, "pinged"), bounded{.max = size}, cenote::require_role{}, quick, cenote::pre_ping{}, cenote::counters{}};
    times back;
    std::size_t most = 0;
    const std::string sql = "insert into " + table.name() + " values (1)";
    {
        writers of_usual{usual, sql, 8};
        writers of_pinged{pinged, sql, 4};
        for (int turn = 0; turn < 5; ++turn) {
            CAPTURE(turn);
            await_writes(of_usual, 50);
            await_writes(of_pinged, 50);
            const std::size_t before = of_usual.read_only, before_pinged = of_pinged.read_only;
            outside.root.run("set global read_only = 1");
            REQUIRE(becomes([&, a = of_usual.refused_for_role.load(), b = of_pinged.refused_for_role.load()] {
                return of_usual.refused_for_role > a + 8 && of_pinged.refused_for_role > b + 4; // none has a lease any more
            }));
            CHECK(of_usual.read_only - before <= size); // each session shows it once
            CHECK(of_pinged.read_only - before_pinged <= size);
            most = std::max(most, of_usual.read_only - before);
            const std::size_t settled = of_usual.read_only + of_pinged.read_only, written = of_usual.written + of_pinged.written;
            REQUIRE(becomes([&, a = of_usual.refused.load()] { return of_usual.refused > a + 30; }));
            CHECK(of_usual.read_only + of_pinged.read_only == settled);
            CHECK(of_usual.written + of_pinged.written == written);
            of_usual.recovered.arm();
            of_pinged.recovered.arm();
            outside.root.run("set global read_only = 0");
            const auto writable = steady::now();
            REQUIRE(becomes([&] { return of_usual.recovered.is_there() && of_pinged.recovered.is_there(); }));
            for (const auto* w : {&of_usual.recovered, &of_pinged.recovered}) back.add(std::max(w->get() - writable, steady::duration{}));
        }
        INFO(of_usual.others.text() << of_pinged.others.text());
        CHECK(of_usual.others.count() + of_pinged.others.count() == 0);
        CHECK(of_usual.lost + of_pinged.lost == 0);
    }
    CHECK(back.quantile(1) < in_ms(step) + 5000); // or it waited for something else; the machine may be busy
    CHECK(short_of<mysql_server>(usual, size) == "");
    CHECK(short_of<mysql_server>(pinged, size) == "");
    tell("case-A16", "MariaDB, read_only 5 times: at most " + std::to_string(most) + " statements refused (pool of " + std::to_string(size) +
                         "), no lease meanwhile; first write after it is writable again: " + back.summary());
}
