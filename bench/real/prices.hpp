// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "load.hpp"

#include <cenote/testing/fault_proxy.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/prctl.h>

/// What tests and clean-ups cost, beside what they are made of: a bare poll, a round trip. Everything of one table is measured in one run,
/// turn by turn, so that the ratios mean something where the microseconds do not.
namespace bench {

using std::chrono::microseconds;

/// Times, in us, in the order in which they were measured, cut into windows.
class series {
public:
    static constexpr std::size_t most = 9;

    void add(nanoseconds d) { all_.push_back(std::chrono::duration<double, std::micro>(d).count()); }
    template <class F>
    void time(F f) {
        const auto began = clock::now();
        f();
        add(clock::now() - began);
    }
    [[nodiscard]] std::size_t windows() const noexcept { return std::clamp<std::size_t>(all_.size() / 5, 1, most); }
    [[nodiscard]] std::vector<double> medians() const {
        std::vector<double> out;
        for (std::size_t w = 0; w < windows(); ++w) {
            std::vector<double> v(all_.begin() + at(w), all_.begin() + at(w + 1));
            out.push_back(median(v));
        }
        return out;
    }
    [[nodiscard]] static double median(std::vector<double> v) {
        std::ranges::sort(v);
        return v.empty() ? 0 : (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
    }
    [[nodiscard]] double median() const { return median(all_); }

private:
    [[nodiscard]] std::ptrdiff_t at(std::size_t window) const noexcept { return static_cast<std::ptrdiff_t>(all_.size() * window / windows()); }

    std::vector<double> all_;
};

[[nodiscard]] inline row row_of(std::vector<double> windows, const char* server, std::string test, std::string subject, std::vector<condition> at,
                                std::string metric, std::string unit = "us") {
    at.insert(at.begin(), {"server", server});
    const auto [low, high] = std::ranges::minmax(windows);
    return {.suite = "real", .test = std::move(test), .subject = std::move(subject), .at = std::move(at), .metric = std::move(metric),
            .unit = std::move(unit), .value = series::median(windows), .low = low, .high = high, .windows = static_cast<int>(windows.size())};
}

template <class Db>
class prices {
    using driver = typename Db::driver;
    using connection = typename driver::connection;
    using pause = std::function<void()>;

public:
    explicit prices(const plan& p) : plan_{p}, turns_{p.quick ? 20 : 1500} {}

    void run() {
        looks();
        const driver near = Db::tcp("127.0.0.1", Db::port());
        policies(near, "local", turns_, [] { // enough for an answer to be there on loopback, as for a connection that was idle
            for (const auto until = clock::now() + microseconds{300}; clock::now() < until;) std::this_thread::yield();
        });
        distant(near);
    }

private:
    /// One round trip, and what needs none.
    void looks() {
        std::printf("\n   %s: a look at an idle connection\n   %-18s %13s %13s %10s %15s\n", Db::name, "", "bare poll", "peek", "ratio", "ping");
        for (const auto& [way, d] : Db::ways()) {
            driver own = d;
            connection c = own.open(cenote::deadline::in(std::chrono::seconds{5}));
            pollfd p{.fd = Db::descriptor(c), .events = POLLIN | POLLRDHUP, .revents = 0};
            std::vector<double> bare, peek;
            series ping;
            for (int window = 0; window < 9; ++window) {
                bare.push_back(best([&] { (void)::poll(&p, 1, 0); }));
                peek.push_back(best([&] { (void)own.peek(c); }));
            }
            for (int i = 0; i < turns_; ++i) ping.time([&] { own.ping(c, cenote::deadline::in(std::chrono::seconds{5})); });
            own.close(c);
            std::printf("   %-18s %10.0f ns %10.0f ns %8.2f x %12.1f us\n", way, series::median(bare), series::median(peek),
                        series::median(peek) / series::median(bare), ping.median());
            const std::vector<condition> at{{"way", way}};
            plan_.out->add(row_of(bare, Db::name, "look", "bare poll", at, "time", "ns"));
            plan_.out->add(row_of(peek, Db::name, "look", "peek", at, "time", "ns"));
            auto in_ns = ping.medians();
            for (double& v : in_ns) v *= 1e3;
            plan_.out->add(row_of(in_ns, Db::name, "look", "ping", at, "time", "ns"));
        }
    }
    /// ns per call, the least of several rounds.
    template <class F>
    [[nodiscard]] double best(F f) const {
        double least = 1e9;
        const int calls = plan_.quick ? 100 : 2000;
        for (int r = 0; r < 5; ++r) {
            const auto began = clock::now();
            for (int i = 0; i < calls; ++i) f();
            least = std::min(least, std::chrono::duration<double, std::nano>(clock::now() - began).count() / calls);
        }
        return least;
    }

    /// One pool in its turns: acquire, query, give back, then idleness.
    template <class Pool>
    struct subject {
        std::string name;
        std::shared_ptr<Pool> pool;
        bool dirties = false; // leaves a transaction open
        series acquire{}, give_back{}, whole{};

        void turn(const pause& idle) {
            nanoseconds took{};
            const auto part = [&took](auto f) {
                const auto began = clock::now();
                f();
                const nanoseconds d = clock::now() - began;
                took += d;
                return d;
            };
            typename Pool::lease lease;
            acquire.add(part([&] { lease = pool->acquire(std::chrono::seconds{5}); }));
            (void)part([&] { Db::select(*lease); });
            if (dirties) Db::begin(*lease); // the user's own time
            give_back.add(part([&] { lease.give_back(); }));
            whole.add(took);
            idle();
        }
    };
    template <class... P>
    [[nodiscard]] static auto entry(std::string name, const driver& d, bool dirties, P... policies) {
        using type = decltype(cenote::pool{d, cenote::bounded{.max = 1}, cenote::no_age_limit{}, policies...});
        return subject<type>{std::move(name), std::make_shared<type>(d, cenote::bounded{.max = 1}, cenote::no_age_limit{}, policies...), dirties};
    }

    /// The first is what the others are compared with.
    template <class First, class... Subject>
    void compare(const char* test, const std::vector<condition>& at, int turns, const pause& idle, First first, Subject... others) {
        for (int i = 0; i < turns + 2; ++i) {
            if (i == 2) { // they have connected, and are used to it
                forget(first);
                (forget(others), ...);
            }
            first.turn(idle);
            (others.turn(idle), ...);
        }
        std::printf("\n   %s, %s", Db::name, test);
        for (const auto& [key, value] : at) std::printf(", %s: %s", key.c_str(), value.c_str());
        std::printf(", us\n   %-38s %10s %10s %14s %10s %8s\n", "", "acquire", "give back", "with a query", "price", "ratio");
        const auto base = first.whole.medians();
        const auto tell = [&](const auto& s) {
            const auto whole = s.whole.medians();
            std::vector<double> price, ratio;
            for (std::size_t w = 0; w < whole.size(); ++w) {
                price.push_back(whole[w] - base[w]);
                ratio.push_back(whole[w] / base[w]);
            }
            std::printf("   %-38s %10.2f %10.2f %14.2f %10.2f %8.3f\n", s.name.c_str(), s.acquire.median(), s.give_back.median(),
                        series::median(whole), series::median(price), series::median(ratio));
            plan_.out->add(row_of(s.acquire.medians(), Db::name, test, s.name, at, "acquire"));
            plan_.out->add(row_of(s.give_back.medians(), Db::name, test, s.name, at, "give back"));
            plan_.out->add(row_of(whole, Db::name, test, s.name, at, "with a query"));
            plan_.out->add(row_of(price, Db::name, test, s.name, at, "price"));
            plan_.out->add(row_of(ratio, Db::name, test, s.name, at, "ratio", "x"));
        };
        tell(first);
        (tell(others), ...);
    }
    template <class S>
    static void forget(S& s) {
        s.acquire = {};
        s.give_back = {};
        s.whole = {};
    }

    void policies(const driver& d, const char* network, int turns, const pause& idle) {
        using namespace cenote;
        constexpr nanoseconds always{0};
        compare("validation", {{"network", network}}, turns, idle, //
                entry("no_validation", d, false, no_validation{}, no_reset{}), //
                entry("peek_after{500ms}", d, false, peek_after{}, no_reset{}), //
                entry("peek_after{0}", d, false, peek_after{.idle = always}, no_reset{}), //
                entry("pre_ping_after{500ms}", d, false, pre_ping_after{}, no_reset{}), //
                entry("pre_ping_after{0}", d, false, pre_ping_after{.idle = always}, no_reset{}), //
                entry("pre_ping", d, false, pre_ping{}, no_reset{}));
        for (const bool dirty : {false, true}) {
            compare("reset", {{"network", network}, {"left", dirty ? "transaction" : "nothing"}}, turns, idle, //
                    entry("no_reset, nothing left", d, false, no_validation{}, no_reset{}), //
                    entry("at_return{reset_if_dirty}", d, dirty, no_validation{}, at_return{reset_if_dirty{}}), //
                    entry("background{reset_if_dirty}", d, dirty, no_validation{}, background{reset_if_dirty{}}), //
                    entry("deferred{reset_if_dirty}", d, dirty, no_validation{}, deferred{reset_if_dirty{}}), //
                    entry("at_return{reset_always}", d, dirty, no_validation{}, at_return{reset_always{}}), //
                    entry("background{reset_always}", d, dirty, no_validation{}, background{reset_always{}}), //
                    entry("deferred{reset_always}", d, dirty, no_validation{}, deferred{reset_always{}}));
        }
    }

    /// The server is half a millisecond away: a quarter there, a quarter back.
    void distant(const driver& near) {
        ::prctl(PR_SET_TIMERSLACK, 1UL); // of this thread, which is to wake in time
        cenote::testing::fault_proxy net{"127.0.0.1", Db::port(), {.precise = true}};
        const driver far = Db::tcp(cenote::testing::fault_proxy::host, net.port());
        const int turns = plan_.quick ? 10 : 300;
        const double direct = round_trip(near, turns), proxied = round_trip(far, turns);
        net.delay(microseconds{250});
        const double delayed = round_trip(far, turns);
        std::printf("\n   %s: select 1 takes %.1f us by TCP, %.1f through the proxy, %.1f when it delays each way by 250 us\n", Db::name, direct,
                    proxied, delayed);
        const std::vector<std::pair<const char*, double>> trips{{"by TCP", direct}, {"through the proxy", proxied}, {"250 us each way", delayed}};
        for (const auto& [name, us] : trips) plan_.out->add(row_of({us}, Db::name, "round trip", name, {}, "time"));

        const auto a_round_trip = std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double, std::micro>{delayed});
        const pause idle = [a_round_trip] { std::this_thread::sleep_for(a_round_trip); };
        policies(far, "0.5ms", turns, idle);
        using namespace cenote;
        constexpr peek_after look{.idle = nanoseconds{0}};
        compare("reset and validation", {{"network", "0.5ms"}}, turns, idle, //
                entry("neither", far, false, no_validation{}, no_reset{}), //
                entry("peek_after{0}, deferred{reset_always}", far, false, look, deferred{reset_always{}}), //
                entry("pre_ping, deferred{reset_always}", far, false, pre_ping{}, deferred{reset_always{}}), //
                entry("pre_ping, at_return{reset_always}", far, false, pre_ping{}, at_return{reset_always{}}));
    }
    [[nodiscard]] static double round_trip(driver d, int turns) {
        connection c = d.open(cenote::deadline::in(std::chrono::seconds{5}));
        series s;
        for (int i = 0; i < turns; ++i) s.time([&] { Db::select(c); });
        d.close(c);
        return s.median();
    }

    plan plan_;
    int turns_;
};

} // namespace bench
