// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What tests and clean-ups cost against a real server, beside what they are made of: a bare poll, a round trip. Everything of one table
// is measured in one run, turn by turn, so that the ratios mean something where the microseconds do not.
#include <cenote/pool.hpp>
#ifdef BENCH_POSTGRES
#include <cenote/drivers/postgres.hpp>
#endif
#ifdef BENCH_MYSQL
#include <cenote/drivers/mysql.hpp>
#endif

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

/// Enough for a reply to be there on loopback, as for a connection that was idle.
constexpr auto a_round_trip = 300us;

/// How often each thing is measured.
int turns = 2000;

class samples {
public:
    template <class F>
    void time(F f) {
        const auto began = clock::now();
        f();
        all_.push_back(std::chrono::duration<double, std::micro>(clock::now() - began).count());
    }
    [[nodiscard]] double median() {
        std::ranges::nth_element(all_, all_.begin() + static_cast<std::ptrdiff_t>(all_.size() / 2));
        return all_[all_.size() / 2];
    }

private:
    std::vector<double> all_;
};

void idle() {
    for (const auto until = clock::now() + a_round_trip; clock::now() < until;) std::this_thread::yield();
}

/// ns per call, the least of several rounds.
template <class F>
double best_of(int rounds, int calls, F f) {
    double best = 1e9;
    for (int r = 0; r < rounds; ++r) {
        const auto began = clock::now();
        for (int i = 0; i < calls; ++i) f();
        best = std::min(best, std::chrono::duration<double, std::nano>(clock::now() - began).count() / calls);
    }
    return best;
}

template <class Driver>
void looks(const char* what, Driver driver, int (*descriptor)(typename Driver::connection&)) {
    auto c = driver.open(cenote::deadline::in(5s));
    pollfd p{.fd = descriptor(c), .events = POLLIN | POLLRDHUP, .revents = 0};
    double bare = 1e9, peek = 1e9;
    for (int turn = 0; turn < 20; ++turn) {
        bare = std::min(bare, best_of(5, 2000, [&] { (void)::poll(&p, 1, 0); }));
        peek = std::min(peek, best_of(5, 2000, [&] { (void)driver.peek(c); }));
    }
    samples pings;
    for (int i = 0; i < turns; ++i) pings.time([&] { driver.ping(c, cenote::deadline::in(5s)); });
    std::printf("   %-18s %10.0f ns %10.0f ns %8.2f x %12.1f us\n", what, bare, peek, peek / bare, pings.median());
    driver.close(c);
}

/// A lease cycle's price to its caller: give back, some idleness, acquire.
template <class Pool>
struct cycle {
    const char* name;
    Pool pool;
    samples back{}, again{};

    template <class Dirty>
    void turn(Dirty dirty) {
        {
            auto lease = pool.acquire(5s);
            dirty(*lease);
            back.time([&] { lease.give_back(); });
        }
        idle();
        typename Pool::lease next;
        again.time([&] { next = pool.acquire(5s); });
    }
};
template <class Driver, class... P>
auto make(const char* name, const Driver& driver, P... policies) {
    return cycle{name, cenote::pool{driver, cenote::bounded{.max = 1}, cenote::no_validation{}, cenote::no_age_limit{}, std::move(policies)...}};
}

template <class Driver, class What, class Dirty>
void resets(const char* title, const Driver& driver, What what, Dirty dirty) {
    auto none = make("no_reset", driver, cenote::no_reset{});
    auto at_return = make("at_return", driver, cenote::at_return{what});
    auto background = make("background", driver, cenote::background{what});
    auto deferred = make("deferred", driver, cenote::deferred{what});
    for (int i = 0; i < turns; ++i) {
        none.turn([](auto&) {});
        at_return.turn(dirty);
        background.turn(dirty);
        deferred.turn(dirty);
    }
    std::printf("\n   %s, us\n   %-18s %12s %12s %12s\n", title, "when", "give back", "acquire", "reset costs");
    const double base = none.back.median() + none.again.median();
    double sync = 0, late = 0;
    const auto row = [&](auto& c) {
        const double b = c.back.median(), a = c.again.median();
        std::printf("   %-18s %12.2f %12.2f %12.2f\n", c.name, b, a, b + a - base);
        return b + a - base;
    };
    (void)row(none);
    sync = row(at_return);
    (void)row(background);
    late = row(deferred);
    std::printf("   deferred is %.1f x cheaper than at_return\n", sync / late);
}

[[maybe_unused]] std::string from_environment(const char* name) {
    const char* const value = std::getenv(name);
    if (value == nullptr) {
        std::fprintf(stderr, "%s is not set: run it by bench/run\n", name);
        std::exit(2);
    }
    return value;
}

[[maybe_unused]] void header(const char* name) {
    std::printf("\n%s\n   %-18s %13s %13s %10s %15s\n", name, "", "bare poll", "peek", "ratio", "ping");
}

#ifdef BENCH_POSTGRES
void postgres() {
    header("PostgreSQL");
    const auto socket_of = [](cenote::postgres::connection& c) { return PQsocket(c.handle()); };
    for (const char* way : {"UNIX", "TCP", "TLS"}) looks(way, cenote::postgres{from_environment((std::string{"CENOTE_PG_"} + way).c_str())}, socket_of);
    const cenote::postgres tcp{from_environment("CENOTE_PG_TCP")};
    const auto begin = [](auto& c) { PQclear(PQexec(c.handle(), "begin")); };
    resets("TCP, reset_always, nothing left open", tcp, cenote::reset_always{}, [](auto&) {});
    resets("TCP, reset_always, transaction left open", tcp, cenote::reset_always{}, begin);
    resets("TCP, reset_if_dirty, transaction left open", tcp, cenote::reset_if_dirty{}, begin);
}
#endif

#ifdef BENCH_MYSQL
void mysql() {
    header("MySQL, MariaDB");
    cenote::mysql::options o{.user = from_environment("CENOTE_MYSQL_USER"),
                             .password = from_environment("CENOTE_MYSQL_PASSWORD"),
                             .database = from_environment("CENOTE_MYSQL_DB")};
    const auto socket_of = [](cenote::mysql::connection& c) { return cenote::drivers::mysql_client::descriptor(c.handle()); };
    auto local = o;
    local.socket = from_environment("CENOTE_MYSQL_SOCKET");
    looks("UNIX", cenote::mysql{local}, socket_of);
    o.host = "127.0.0.1";
    o.port = static_cast<unsigned>(std::stoul(from_environment("CENOTE_MYSQL_PORT")));
    const cenote::mysql tcp{o};
    looks("TCP", tcp, socket_of);
    const auto begin = [](auto& c) { mysql_query(c.handle(), "begin"); };
    resets("TCP, reset_always, nothing left open", tcp, cenote::reset_always{}, [](auto&) {});
    resets("TCP, reset_always, transaction left open", tcp, cenote::reset_always{}, begin);
    resets("TCP, reset_if_dirty, transaction left open", tcp, cenote::reset_if_dirty{}, begin);
}
#endif

} // namespace

int main(int count, char** arguments) {
    if (count > 1) turns = std::max(1, std::atoi(arguments[1]));
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
#ifdef BENCH_POSTGRES
    postgres();
#endif
#ifdef BENCH_MYSQL
    mysql();
#endif
}
