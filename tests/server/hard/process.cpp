// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What a process does to itself beside real servers: signals, threads that end, descriptors that run out, statements that are kept, and
// time that it was not there for.
//
// CENOTE_HARD_ROUNDS says how much of it; the test case with a dot is a child that another one runs.
#include <fault/support/servers.hpp>
#include <server/support/punctuality.hpp>

#include <server/support/process.hpp>

#include <cenote/pool.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace fault;
using cenote::bounded;
using cenote::deadline;
using cenote::errc;
using Catch::Matchers::ContainsSubstring;

namespace {

/// How often a test goes round: as often as is said here, or that many times more.
std::size_t rounds(std::size_t quick) {
    const char* n = std::getenv("CENOTE_HARD_ROUNDS");
    return quick * (n != nullptr ? std::stoul(n) : 1);
}

// ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

std::atomic<unsigned> signals{0};
static_assert(std::atomic<unsigned>::is_always_lock_free);

/// A thousand signals a second, whose handler lets no system call go on. They reach every thread that does not block them.
class storm {
public:
    storm() {
        struct sigaction act {};
        act.sa_handler = [](int) { signals.fetch_add(1, std::memory_order_relaxed); };
        sigemptyset(&act.sa_mask);
        ::sigaction(SIGALRM, &act, &before_);
        const itimerval each{{0, 1000}, {0, 1000}};
        ::setitimer(ITIMER_REAL, &each, nullptr);
    }
    storm(const storm&) = delete;
    storm& operator=(const storm&) = delete;
    ~storm() {
        const itimerval off{};
        ::setitimer(ITIMER_REAL, &off, nullptr);
        std::this_thread::sleep_for(5ms); // none is on its way any more
        ::sigaction(SIGALRM, &before_, nullptr);
    }

private:
    struct sigaction before_ {};
};

/// Signals go to other threads than this one.
class sheltered {
public:
    sheltered() { set(SIG_BLOCK); }
    sheltered(const sheltered&) = delete;
    sheltered& operator=(const sheltered&) = delete;
    ~sheltered() { set(SIG_UNBLOCK); }

private:
    static void set(int how) {
        sigset_t alarm{};
        sigemptyset(&alarm);
        sigaddset(&alarm, SIGALRM);
        pthread_sigmask(how, &alarm, nullptr);
    }
};

// ── descriptors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

[[maybe_unused]] int lowest_free() {
    const int fd = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
    ::close(fd);
    return fd;
}

/// The limit of descriptors is another one for as long as this lives.
class limited {
public:
    explicit limited(rlim_t most) {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        rlimit now = before_;
        now.rlim_cur = std::min(most, before_.rlim_max);
        ::setrlimit(RLIMIT_NOFILE, &now);
    }
    limited(const limited&) = delete;
    limited& operator=(const limited&) = delete;
    ~limited() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

template <class Server>
auto manual_pool(bool tcp, unsigned max) {
    return cenote::pool{Server::to(tcp, "hard"), bounded{.max = max}, cenote::manual{}, cenote::pre_ping{}, cenote::deferred<cenote::reset_always>{}, cenote::counters{}};
}

/// Everything that can be acquired is, at once, and works; and then not one more. What is wrong, or nothing.
template <class Server, class Pool>
std::string short_of(Pool& db, unsigned max) {
    std::vector<typename Pool::lease> all;
    for (unsigned i = 0; i < max; ++i) {
        cenote::failure why;
        all.push_back(db.acquire(10s, why));
        if (!all.back()) return "of " + std::to_string(max) + " only " + std::to_string(i) + ": " + why.text();
        if (Server::ask(all.back().native_handle(), "select 7") != row{"7"}) return "another answer";
    }
    return db.try_acquire() ? "one too many" : "";
}

} // namespace

TEMPLATE_TEST_CASE("case-C6: a thousand signals a second interrupt every call and change nothing", "[hard][alone]", postgres_server, mysql_server) {
    using server = TestType;
    const std::string nap = "select " + server::pause("0.003");
    const std::string doze = "select " + server::pause("20");
    for (const bool tcp : {true, false}) {
        CAPTURE(tcp);
        unsigned before = signals;
        testing_support::punctuality kept;
        std::vector<std::string> wrong;
        const auto tried = [&](const char* what, auto f) {
            try {
                f();
            } catch (const std::exception& e) {
                if (wrong.size() < 5) wrong.push_back(std::string{what} + ": " + e.what());
            }
        };
        {
            auto d = server::to(tcp, "stormy");
            auto db = manual_pool<server>(tcp, 2);
            const storm blows;
            for (std::size_t i = 0; i < rounds(8); ++i) {
                tried("open to close", [&] {
                    auto c = d.open(deadline::in(10s));
                    tried("ping", [&] { d.ping(c, deadline::in(10s)); });
                    tried("execute", [&] { d.execute(c, nap, deadline::in(10s)); });
                    tried("transaction", [&] { d.execute(c, "begin", deadline::in(10s)); });
                    tried("rollback", [&] { d.rollback(c, deadline::in(10s)); });
                    tried("reset", [&] { d.reset(c, deadline::in(10s)); });
                    tried("deferred reset", [&] {
                        if (!d.reset_start(c)) throw std::runtime_error{"would wait"};
                        d.reset_finish(c, deadline::in(10s));
                    });
                    if (d.peek(c) != cenote::liveness::quiet) wrong.push_back("peek");
                    tried("cancel", [&] {
                        auto token = d.interrupter(c);
                        d.cancel(token, deadline::in(10s)); // of nothing
                    });
                    tried("after cancel", [&] { d.reset(c, deadline::in(10s)); });
                    d.close(c);
                });
                tried("lease", [&] {
                    auto a = db.acquire(10s);
                    if (server::ask(a.native_handle(), "select 7") != row{"7"}) throw std::runtime_error{"another answer"};
                    auto b = db.acquire(10s);
                    (void)server::ask(b.native_handle(), "begin");
                });
            }
            // A deadline is kept: not before, and not because a wait begins again with each signal.
            auto slow = d.open(deadline::in(10s));
            for (std::size_t i = 0; i < rounds(3); ++i) {
                bool timed_out = false;
                kept.measure(40ms, 20ms, [&](deadline by) {
                    try {
                        d.execute(slow, doze, by);
                    } catch (const cenote::driver_error& e) {
                        timed_out = e.kind() == cenote::error_class::timeout;
                    }
                });
                if (!timed_out) wrong.push_back("no timeout");
                d.close(slow);
                slow = d.open(deadline::in(10s));
            }
            d.close(slow);
            CHECK(db.stats().opened == 2);
            CHECK(db.stats().closed == 0);
        }
        CHECK(wrong == std::vector<std::string>{});
        INFO(kept.text());
        CHECK(kept.early == 0);
        CHECK(kept.late == 0);
        CHECK(signals - before > 40); // or they were none
    }
}

TEMPLATE_TEST_CASE("case-C6: a thousand signals a second do not disturb the background thread", "[hard][alone]", postgres_server, mysql_server) {
    using server = TestType;
    const unsigned before = signals;
    cenote::pool db{server::to(true, "hard"), bounded{.min_idle = 2, .max = 4}, cenote::keepalive{.every = 5ms}, cenote::background<cenote::reset_always>{}, cenote::counters{}};
    REQUIRE(db.warm_up(2)); // whose thread lets the signals in
    const storm blows;
    const sheltered here;
    unsigned wrong = 0;
    for (std::size_t i = 0; i < rounds(60); ++i) {
        std::error_code why;
        auto a = db.acquire(10s, why);
        auto b = db.acquire(10s, why);
        if (!a || !b || server::ask(a.native_handle(), "select " + server::pause("0.001"))[0] == "7") ++wrong;
        if (i % 10 == 0) b.discard();
        else if (b) (void)server::ask(b.native_handle(), "begin");
    }
    CHECK(wrong == 0);
    const auto s = db.stats();
    CHECK(s.open_failed == 0);
    CHECK(s.validation_failed == 0);
    CHECK(s.reset_failed == 0);
    CHECK(s.timeouts + s.failed == 0);
    CHECK(signals - before > 40);
}

TEST_CASE("case-C5: threads come, have one lease each and end, and leave nothing of the MySQL client's behind", "[hard]") {
    cenote::pool db{mysql_server::to(false, "hard"), bounded{.max = 8}, cenote::counters{}};
    const std::size_t all = rounds(400);
    std::atomic<std::size_t> next{0}, wrong{0};
    for (std::size_t begun = 0; begun < all;) {
        std::vector<std::jthread> crowd;
        for (unsigned i = 0; i < 16 && begun < all; ++i, ++begun) {
            crowd.emplace_back([&] {
                std::error_code why;
                auto lease = db.acquire(10s, why);
                const auto number = std::to_string(next++);
                if (!lease || mysql_server::ask(lease.native_handle(), "select " + number) != row{number}) ++wrong;
                if (next % 50 == 0) lease.discard(); // closed by another thread than it was opened and used by
            });
        }
    }
    CHECK(wrong == 0);
    CHECK(db.stats().leases == all);
    CHECK(db.close(deadline::in(10s)).drained);
}

#if !DESCRIPTORS_ARE_NEEDED
TEMPLATE_TEST_CASE("case-C10: with hardly a descriptor left, opening works or fails in words, and all is well when there are some again", "[hard][alone]", postgres_server, mysql_server) {
    using server = TestType;
    for (const bool tcp : {true, false}) {
        auto db = manual_pool<server>(tcp, 4);
        auto held = db.acquire(10s);
        const std::size_t before = process::descriptors();
        unsigned opened = 0;
        std::vector<cenote::failure> refused;
        std::vector<std::string> odd;
        for (unsigned spare = 0; spare < 8; ++spare) {
            const limited few{static_cast<rlim_t>(lowest_free()) + spare};
            for (std::size_t i = 0; i < rounds(3); ++i) {
                cenote::failure why;
                auto lease = db.acquire(2s, why);
                if (lease) {
                    ++opened;
                    if (server::ask(lease.native_handle(), "select 7") != row{"7"}) odd.push_back("another answer");
                    lease.discard();
                } else {
                    refused.push_back(why);
                }
                if (server::ask(held.native_handle(), "select 7") != row{"7"}) odd.push_back("what is open has gone");
            }
        }
        for (const auto& why : refused) {
            if (why.code != errc::connect_failed || !why.seen || why.seen->last_connect_error.text.empty()) odd.push_back(why.text());
        }
        CHECK(odd == std::vector<std::string>{});
        CHECK(refused.size() > 0);
        CHECK(opened > 0);
        CHECK(process::descriptors() == before);
        held.give_back();
        CHECK(short_of<server>(db, 4) == "");
    }
}
#endif

TEMPLATE_TEST_CASE("case-C10: descriptors beyond 1024 are as good as others", "[hard][alone]", postgres_server, mysql_server) {
    using server = TestType;
    const limited many{4096};
    std::vector<int> fill;
    while (fill.empty() || (fill.back() >= 0 && fill.back() < 1100)) fill.push_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
    const struct emptied {
        std::vector<int>& all;
        ~emptied() {
            for (const int fd : all) ::close(fd);
        }
    } after{fill};
    REQUIRE(fill.back() >= 1100);
    for (const bool tcp : {true, false}) {
        auto db = manual_pool<server>(tcp, 2);
        auto& d = db.driver();
        {
            auto lease = db.acquire(10s);
            const auto c = lease.native_handle();
            if constexpr (is_mysql<server>) CHECK(mysql_get_socket(c) > 1100);
            else CHECK(PQsocket(c) > 1100);
            CHECK(server::ask(c, "select 7") == row{"7"});
            CHECK(d.peek(*lease) == cenote::liveness::quiet);
            d.ping(*lease, deadline::in(10s));
            d.reset(*lease, deadline::in(10s));
            d.execute(*lease, "select " + server::pause("0.01"), deadline::in(10s));
            auto token = d.interrupter(*lease);
            std::jthread other{[&] {
                std::this_thread::sleep_for(20ms);
                d.cancel(token, deadline::in(10s));
            }};
            try {
                d.execute(*lease, "select " + server::pause("20"), deadline::in(10s));
                CHECK(is_mysql<server>); // SLEEP() ends early instead
            } catch (const cenote::driver_error& e) {
                CHECK(e.kind() == cenote::error_class::cancelled);
            }
            other.join();
            (void)server::ask(c, "begin");
        }
        CHECK(server::ask(db.acquire(10s).native_handle(), "select 7") == row{"7"});
        CHECK(db.stats().opened == 1);
        auto lease = db.acquire(10s);
        auto token = d.interrupter(*lease);
        d.sever(token, deadline::in(10s));
        CHECK(d.peek(*lease) == cenote::liveness::dead);
    }
}

TEST_CASE("case-B10: a prepared statement that is kept across leases is there under reset_if_dirty, and gone under reset_always, which says so and costs no connection", "[hard]") {
    { // MySQL
        cenote::pool kept{mysql_server::to(false, "hard"), bounded{.max = 1}, cenote::manual{}, cenote::counters{}};
        cenote::pool reset{mysql_server::to(false, "hard"), bounded{.max = 1}, cenote::manual{}, cenote::deferred<cenote::reset_always>{}, cenote::counters{}};
        const auto prepare = [](MYSQL* m) {
            std::unique_ptr<MYSQL_STMT, decltype(&mysql_stmt_close)> s{mysql_stmt_init(m), &mysql_stmt_close};
            REQUIRE(mysql_stmt_prepare(s.get(), "do 1", 4) == 0);
            return s;
        };
        auto a = prepare(kept.acquire(10s).native_handle());
        {
            auto lease = kept.acquire(10s);
            CHECK(mysql_stmt_execute(a.get()) == 0);
            a.reset();
        }
        auto b = prepare(reset.acquire(10s).native_handle());
        {
            auto lease = reset.acquire(10s);
            CHECK(mysql_stmt_execute(b.get()) != 0);
            CHECK((mysql_stmt_errno(b.get()) == 2013 || mysql_stmt_errno(b.get()) == 2056)); // says "lost", and is not
            CHECK(mysql_server::ask(lease.native_handle(), "select 7") == row{"7"});
            b.reset();
            b = prepare(lease.native_handle());
            CHECK(mysql_stmt_execute(b.get()) == 0);
            b.reset();
        }
        CHECK(reset.acquire(10s));
        CHECK(kept.stats().opened == 1);
        CHECK(reset.stats().opened == 1);
    }
    { // PostgreSQL
        cenote::pool kept{postgres_server::to(false, "hard"), bounded{.max = 1}, cenote::manual{}, cenote::counters{}};
        cenote::pool reset{postgres_server::to(false, "hard"), bounded{.max = 1}, cenote::manual{}, cenote::deferred<cenote::reset_always>{}, cenote::counters{}};
        const auto prepare = [](PGconn* c) { return pg::result{PQprepare(c, "mine", "select 7", 0, nullptr)}; };
        const auto execute = [](PGconn* c) { return pg::result{PQexecPrepared(c, "mine", 0, nullptr, nullptr, nullptr, 0)}; };
        (void)prepare(kept.acquire(10s).native_handle());
        CHECK(PQresultStatus(execute(kept.acquire(10s).native_handle()).get()) == PGRES_TUPLES_OK);
        (void)prepare(reset.acquire(10s).native_handle());
        {
            auto lease = reset.acquire(10s);
            const auto gone = execute(lease.native_handle());
            CHECK(std::string{PQresultErrorField(gone.get(), PG_DIAG_SQLSTATE)} == "26000"); // invalid_sql_statement_name
            CHECK(PQresultStatus(prepare(lease.native_handle()).get()) == PGRES_COMMAND_OK);
            CHECK(PQresultStatus(execute(lease.native_handle()).get()) == PGRES_TUPLES_OK);
        }
        CHECK(reset.stats().opened == 1);
    }
}

TEMPLATE_TEST_CASE("case-B11: a session that the client would swap behind the pool's back, as its holder told it to, comes back to nobody swapped", "[hard]", cenote::peek_after, cenote::pre_ping) {
    TestType test{};
    if constexpr (std::is_same_v<TestType, cenote::peek_after>) test.idle = 0ms;
    auto o = mysql_tests::by_socket();
    o.init = {"set @init = 'yes'"};
    cenote::pool db{cenote::mysql{o}, bounded{.max = 1}, cenote::manual{}, test, cenote::counters{}};
    mysql_tests::opened root{mysql_tests::as_root()};
    for (const bool asks_again : {true, false}) {
        CAPTURE(asks_again);
        unsigned long first = 0;
        {
            auto lease = db.acquire(10s);
            MYSQL* const m = lease.native_handle();
            cenote::drivers::mysql_client::flag on = 1;
            (void)mysql_options(m, MYSQL_OPT_RECONNECT, &on); // in before_connect it is refused; this nobody sees
            first = mysql_thread_id(m);
            root.run("kill connection " + std::to_string(first));
            REQUIRE(becomes([&] { return !mysql_tests::is_alive(root, first); }));
            if (asks_again) {
                CHECK(mysql_ping(m) == 0); // another session, without a word, and without init
                CHECK(mysql_thread_id(m) != first);
            }
        }
        auto lease = db.acquire(10s);
        CHECK(mysql_thread_id(lease.native_handle()) != first);
        CHECK(mysql_server::ask(lease.native_handle(), "select @init") == row{"yes"});
        lease.discard();
    }
    CHECK(db.stats().opened == 4);
}

// ── a process that is stopped ────────────────────────────────────────────────────────────────────────────────────────────

namespace {
constexpr auto test_limit = 500ms; // of what is tested when the process is stopped
template <class Server>
void sleep_through() {
    cenote::pool db{Server::to(true, "stopped"), bounded{.min_idle = 4, .max = 6}, cenote::keepalive{.every = 10ms, .timeout = test_limit}, cenote::pre_ping{.timeout = test_limit},
                    cenote::idle_timeout{1h}, cenote::counters{}};
    REQUIRE(db.warm_up(6));
    std::atomic<bool> over{false};
    std::atomic<unsigned> after{0}, failed{0};
    std::atomic<bool> resumed{false};
    {
        std::vector<std::jthread> users;
        for (int i = 0; i < 2; ++i) {
            users.emplace_back([&] {
                while (!over) {
                    std::error_code why;
                    auto lease = db.acquire(500ms, why);
                    if (!lease) ++failed;
                    else if (Server::ask(lease.native_handle(), "select 7") == row{"7"} && resumed) ++after;
                }
            });
        }
        std::this_thread::sleep_for(50ms);
        const auto before = steady::now();
        ::raise(SIGSTOP); // for longer than any limit that runs
        resumed = true;
        CHECK(steady::now() - before > test_limit);
        std::this_thread::sleep_for(300ms);
        over = true;
    }
    const auto s = db.stats();
    UNSCOPED_INFO(s.closed << " closed, " << failed << " failed, " << after << " leases after it");
    CHECK(s.closed <= 3); // what each of three threads was just testing
    CHECK(failed <= 2);   // who was waiting
    CHECK(after > 0);
    CHECK(short_of<Server>(db, 6) == "");
}
} // namespace

TEST_CASE("child: stopped beside PostgreSQL", "[.child]") { sleep_through<postgres_server>(); }
TEST_CASE("child: stopped beside MariaDB", "[.child]") { sleep_through<mysql_server>(); }

TEST_CASE("case-D13: a process that is stopped and goes on has its connections and uses them", "[hard][alone]") {
    (void)servers::postgres();
    (void)servers::mysql();
    for (std::string name : {"child: stopped beside PostgreSQL", "child: stopped beside MariaDB"}) {
        CAPTURE(name);
        std::string program = "/proc/self/exe";
        const std::array<char*, 3> arguments{program.data(), name.data(), nullptr};
        pid_t child = -1;
        REQUIRE(::posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments.data(), environ) == 0);
        int status = 0;
        while (::waitpid(child, &status, WUNTRACED) < 0 && errno == EINTR) {}
        const bool stopped = WIFSTOPPED(status);
        if (stopped) {
            std::this_thread::sleep_for(test_limit + 200ms);
            ::kill(child, SIGCONT);
            while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        }
        CHECK(stopped);
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
}
