// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Forked children of a program that uses its pool: whatever they do, the parent's sessions are as they were. CENOTE_FORKS: how many.
#include <fault/support/figures.hpp>
#include <fault/support/servers.hpp>

#include <cenote/pool.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace fault;

namespace {

template <class Server>
using forked_pool = cenote::pool<typename Server::driver, cenote::bounded, cenote::fork_aware, cenote::counters>;

std::vector<std::pair<const char*, cenote::postgres>> ways_to(postgres_server, const std::string& own_name) {
    std::vector<std::pair<const char*, cenote::postgres>> out;
    for (const auto& [name, conninfo] : pg::transports()) out.emplace_back(name, cenote::postgres{pg::options(conninfo, {{"application_name", own_name}})});
    return out;
}
std::vector<std::pair<const char*, cenote::mysql>> ways_to(mysql_server, const std::string& own_name) {
    std::vector<std::pair<const char*, cenote::mysql>> out;
    for (auto [name, o] : {std::pair{"unix socket", mysql_tests::by_socket()}, {"TCP", mysql_tests::by_tcp()}, {"TLS", mysql_tests::by_tls()}}) {
        o.program_name = own_name;
        out.emplace_back(name, cenote::mysql{o});
    }
    return out;
}
long session_of(PGconn* c) { return PQbackendPID(c); }
long session_of(MYSQL* c) { return static_cast<long>(mysql_thread_id(c)); }

enum class way { leave, exit, end_pool, close_pool, abandon, end_leases, replace, run_program, call_all };
constexpr std::array all_ways{way::leave, way::exit, way::end_pool, way::close_pool, way::abandon, way::end_leases, way::replace, way::run_program, way::call_all};

/// The life of a child, which ends with 0 if all was as it should be.
template <class Server, class Lease>
[[noreturn]] void live(way w, std::optional<forked_pool<Server>>& p, typename Server::driver& d, Lease& held) {
    (void)std::signal(SIGALRM, SIG_DFL);
    ::alarm(30); // it hangs in a lock
    try {
        std::error_code why;
        if (!p->forked() || p->acquire(why) || why != cenote::errc::pool_forked) ::_exit(1);
        const std::size_t before = process::descriptors();
        switch (w) {
        case way::leave: break;
        case way::exit: std::exit(0); // with the pool, which is a static one
        case way::end_pool: p.reset(); break;
        case way::close_pool:
            if (!p->close().drained) ::_exit(2);
            break;
        case way::abandon: p->abandon(); break;
        case way::end_leases:
            held.give_back();
            p.reset();
            break;
        case way::replace: {
            *p = forked_pool<Server>{d, cenote::bounded{.max = 2}};
            auto own = p->acquire(20s);
            if (Server::ask(own.native_handle(), "select 6 * 7").at(0) != "42") ::_exit(3);
            own.give_back();
            held.discard();
            if (!p->close().drained) ::_exit(4);
            break;
        }
        case way::run_program:
            ::execl("/bin/true", "true", nullptr);
            ::_exit(5);
        case way::call_all:
            p->invalidate_all();
            p->invalidate_all(1s);
            p->suspend();
            p->resume();
            p->resize(1);
            if (p->stats().total + p->inspect().leased + p->trim() != 0 || p->ready() || p->warm_up(1) || p->maintain() != cenote::time_point::max()) ::_exit(6);
            if (p->try_acquire()) ::_exit(7);
            held.discard();
            break;
        }
        if (w == way::end_pool && process::descriptors() >= before) ::_exit(8);
        ::_exit(0);
    } catch (...) {
        ::_exit(9);
    }
}

/// 0, or what went wrong in a child that was forked just now.
template <class Server, class Lease>
[[nodiscard]] int send_out(way w, std::optional<forked_pool<Server>>& p, typename Server::driver& d, Lease& held) {
    std::fflush(nullptr); // what is in there would be written twice
    const pid_t child = ::fork();
    if (child == 0) live<Server>(w, p, d, held);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

template <class Server>
std::vector<long> sessions_of(forked_pool<Server>& p, std::size_t n) {
    std::vector<typename forked_pool<Server>::lease> all;
    std::vector<long> out;
    for (std::size_t i = 0; i < n; ++i) out.push_back(session_of(all.emplace_back(p.acquire(20s)).native_handle()));
    std::ranges::sort(out);
    return out;
}

/// Of a static pool: who exits ends it.
template <class Server>
std::optional<forked_pool<Server>>& the_pool() {
    static std::optional<forked_pool<Server>> p;
    return p;
}

} // namespace

TEMPLATE_TEST_CASE("case-C1 whatever a forked child does with its parent's pool, the sessions are as they were", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const std::string own_name = "forks-" + std::to_string(::getpid());
    for (auto& [name, d] : ways_to(server{}, own_name)) {
        INFO(name);
        auto& p = the_pool<server>();
        p.emplace(d, cenote::bounded{.max = 4});
        REQUIRE(p->warm_up(4).ready);
        const std::vector<long> before = sessions_of<server>(*p, 4);
        auto mine = p->acquire(20s);
        const auto ask = [&](const std::string& sql) { return server::ask(mine.native_handle(), sql).at(0); };
        (void)server::ask(mine.native_handle(), "begin");
        (void)server::ask(mine.native_handle(), server::set_tag("mine"));
        std::atomic<bool> stop{false};
        std::atomic<int> asked{0};
        std::string failed;
        std::jthread beside{[&] { // is in the middle of a statement when others fork
            try {
                auto theirs = p->acquire(20s);
                for (; !stop; ++asked) (void)server::ask(theirs.native_handle(), "select " + server::pause("0.005") + ", 7");
            } catch (const std::exception& e) {
                failed = e.what();
            }
        }};
        for (const way w : all_ways) {
            CAPTURE(static_cast<int>(w));
            const int seen = asked;
            REQUIRE(becomes([&] { return asked != seen || stop; }));
            CHECK(send_out<server>(w, p, d, mine) == 0);
            CHECK(ask("select " + server::tag()) == "mine");
        }
        (void)server::ask(mine.native_handle(), "commit");
        stop = true;
        beside.join();
        CHECK(failed.empty());
        mine.give_back();
        CHECK(sessions_of<server>(*p, 4) == before);
        CHECK(p->stats().opened == 4);
        p.reset();
    }
    CHECK((::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD));
}

TEMPLATE_TEST_CASE("case-C1 case-C3 forks while threads are at work in the pool, by TLS: no error, no zombie, no slot lost", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const std::size_t forks = number_from("CENOTE_FORKS", 36);
    const std::string own_name = "forks-" + std::to_string(::getpid());
    auto d = ways_to(server{}, own_name).back().second;
    auto& p = the_pool<server>();
    p.emplace(d, cenote::bounded{.max = 4});
    REQUIRE(p->warm_up(4).ready);
    const std::size_t descriptors = process::descriptors();
    std::atomic<bool> stop{false};
    std::atomic<long> done{0};
    std::mutex m, changing;
    bool settled = false; // guarded by `changing`
    std::vector<std::string> failed;
    const auto began = steady::now();
    {
        std::vector<std::jthread> all;
        for (int t = 0; t < 4; ++t) {
            all.emplace_back([&, t] {
                try {
                    for (long n = t; !stop; ++n, ++done) {
                        auto held = p->acquire(20s);
                        if (server::ask(held.native_handle(), "select " + std::to_string(n)).at(0) != std::to_string(n)) throw std::runtime_error{"another's answer"};
                        if (n % 16 == 0) (void)p->stats();
                        if (n % 64 == 1) {
                            const std::scoped_lock lock{changing};
                            if (!settled) held.discard();
                        }
                        if (n % 128 == 2) p->suspend(), p->resume();
                    }
                } catch (const std::exception& e) {
                    const std::scoped_lock lock{m};
                    failed.emplace_back(e.what());
                }
            });
        }
        for (std::size_t i = 0; i < forks; ++i) {
            auto held = p->acquire(20s);
            const std::size_t which = i % all_ways.size();
            CAPTURE(i, which);
            {
                // The client libraries have locks of their own, which the child would find taken if somebody connects or says goodbye just
                // then: whoever has children that connect forks at another time.
                const std::scoped_lock lock{changing};
                settled = all_ways[which] == way::replace;
            }
            if (all_ways[which] == way::replace) {
                CHECK(becomes([&] {
                    if (!p->warm_up(4).ready) return false;
                    const auto now = p->stats();
                    return now.total == 4 && now.opening + now.closing == 0;
                }));
            }
            CHECK(send_out<server>(all_ways[which], p, d, held) == 0);
        }
        stop = true;
    }
    const auto took = steady::now() - began;
    CHECK(failed == std::vector<std::string>{});
    CHECK((::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD));
    CHECK(sessions_of<server>(*p, 4).size() == 4);
    CHECK(becomes([&] { return p->stats().idle == 4; }));
    CHECK(becomes([&] { return process::descriptors() == descriptors; }));
    tell(server::name, std::to_string(forks) + " forks while " + std::to_string(done.load()) + " statements ran, in " + text(took));
    p.reset();
}
