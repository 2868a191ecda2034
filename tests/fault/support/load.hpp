// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <fault/support/figures.hpp>
#include <fault/support/servers.hpp>

#include <cenote/pool.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace fault {

/// Sleeps and notes how late the system wakes it: so late may anybody be.
class lateness {
public:
    lateness() : thread_{[this](const std::stop_token& stop) { watch(stop); }} {}
    /// The worst in this time, and until it was noted.
    [[nodiscard]] std::chrono::nanoseconds worst(steady::time_point from, steady::time_point to) {
        std::chrono::nanoseconds out{};
        const std::scoped_lock lock{m_};
        for (const auto& w : wakes_) {
            if (w.at >= from && w.at - w.late <= to) out = std::max(out, w.late);
        }
        return out;
    }

private:
    struct wake {
        steady::time_point at;
        std::chrono::nanoseconds late;
    };
    void watch(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            const auto due = steady::now() + 2ms;
            std::this_thread::sleep_until(due);
            const auto now = steady::now();
            const std::scoped_lock lock{m_};
            wakes_.push_back({now, now - due});
            while (wakes_.front().at < now - 10s) wakes_.pop_front();
        }
    }
    std::mutex m_;
    std::deque<wake> wakes_;
    std::jthread thread_;
};

/// How long this thread was not let run, though it could, in all its life.
inline std::chrono::nanoseconds held_up() {
    std::ifstream file{"/proc/thread-self/schedstat"};
    long long ran = 0, waited = 0;
    file >> ran >> waited;
    return std::chrono::nanoseconds{file ? waited : 0};
}

/// A time that many threads may name, of which the first counts.
class first_time {
public:
    void arm() noexcept { at_.store(none, std::memory_order_relaxed); }
    void note(steady::time_point t) noexcept {
        auto now = at_.load(std::memory_order_relaxed);
        while (t.time_since_epoch().count() < now && !at_.compare_exchange_weak(now, t.time_since_epoch().count(), std::memory_order_relaxed)) {}
    }
    [[nodiscard]] bool is_there() const noexcept { return at_.load(std::memory_order_relaxed) != none; }
    [[nodiscard]] steady::time_point get() const noexcept { return steady::time_point{steady::duration{at_.load(std::memory_order_relaxed)}}; }

private:
    static constexpr auto none = std::numeric_limits<steady::rep>::max();
    std::atomic<steady::rep> at_{none};
};

/// What went wrong, in words, the first few of each test.
class complaints {
public:
    void add(std::string what) {
        const std::scoped_lock lock{m_};
        if (++n_ <= 8) text_ += what + "\n";
    }
    [[nodiscard]] std::size_t count() const {
        const std::scoped_lock lock{m_};
        return n_;
    }
    [[nodiscard]] std::string text() const {
        const std::scoped_lock lock{m_};
        return text_;
    }

private:
    mutable std::mutex m_;
    std::size_t n_ = 0;
    std::string text_;
};

/// Counts the attempts to open that fail although they began when the server was up.
struct dial_watch {
    using family = cenote::family::metrics;
    struct counts {
        std::atomic<steady::rep> up_since{std::numeric_limits<steady::rep>::max()};
        std::atomic<unsigned> failed{0}, failed_when_up{0}, starting{0}, opened{0};
    };
    std::shared_ptr<counts> to = std::make_shared<counts>();
    void on_opened(const cenote::opened_event&) const { ++to->opened; }
    void on_open_failed(const cenote::open_failed_event& e) const {
        ++to->failed;
        if (e.error.kind == cenote::error_class::not_ready) ++to->starting;
        if ((steady::now() - e.took).time_since_epoch().count() > to->up_since) ++to->failed_when_up;
    }
};

/// Users of a server's pools, each of which leaves something behind and looks whether it finds what others left.
template <class Server>
class load {
public:
    static constexpr auto budget = 300ms;
    static constexpr auto tolerance = 20ms;

    struct counts {
        std::atomic<std::size_t> leases{0}, refused{0}, lost{0};
    };
    counts seen;
    complaints dead;  ///< a lease failed though the server had been up since before the acquire
    complaints wrong; ///< an answer was another's, or something of another lease was left
    complaints late;  ///< an acquire did not end by its deadline
    std::array<first_time, 2> recovered; ///< those with the first pool, and with the second

    explicit load(std::string table) : table_{std::move(table)} {}
    load(const load&) = delete;
    load& operator=(const load&) = delete;
    ~load() {
        over_ = true;
        pausing_ = false;
    }

    /// `scrubs`: the second pool, which resets its sessions, so that nothing that is left on one may be seen again; otherwise transactions are left open.
    template <class Pool>
    void add(Pool& pool, bool scrubs) {
        const unsigned id = static_cast<unsigned>(threads_.size());
        threads_.emplace_back([this, &pool, scrubs, id] { work(pool, scrubs, id); });
    }
    void server_goes() noexcept { ++phase_; } // odd: it may be down
    void server_is_up() noexcept { ++phase_; }

    /// Has everybody stop between two leases, until `resume`.
    [[nodiscard]] bool pause() {
        pausing_ = true;
        return becomes([&] { return paused_ == threads_.size(); });
    }
    void resume() {
        pausing_ = false;
        (void)becomes([&] { return paused_ == 0; });
    }

private:
    template <class Pool>
    void work(Pool& pool, bool scrubs, unsigned id) {
        for (unsigned n = 0; !over_; ++n) {
            if (pausing_) {
                ++paused_;
                while (pausing_) std::this_thread::sleep_for(500us);
                --paused_;
                continue;
            }
            const unsigned before = phase_;
            auto lease = take(pool);
            if (!lease) {
                ++seen.refused;
                std::this_thread::sleep_for(2ms); // as who is refused does
                continue;
            }
            const auto had = steady::now();
            ++seen.leases;
            const std::string token = std::to_string(id) + "." + std::to_string(n);
            try {
                use(lease, token, scrubs, id + n, had);
            } catch (const std::exception& e) {
                ++seen.lost;
                const unsigned after = phase_;
                if (before == after && before % 2 == 0) dead.add(e.what());
                if (n % 2 == 0) lease.discard(cenote::error_class::disconnected); // or the pool sees it by itself
            }
        }
    }

    template <class Pool>
    typename Pool::lease take(Pool& pool) {
        std::error_code why;
        const auto held = held_up();
        const auto by = steady::now() + budget;
        auto lease = pool.acquire(cenote::deadline{by}, why);
        const auto now = steady::now();
        if (now > by + tolerance) {
            const auto blame = std::max(control_.worst(by, now), held_up() - held);
            if (now - by > blame + tolerance) late.add(text(now - by) + " after its deadline, the machine " + text(blame) + (lease ? ", with a lease" : ", " + why.message()));
        }
        return lease;
    }

    template <class Lease>
    void use(Lease& lease, const std::string& token, bool scrubs, unsigned kind, steady::time_point had) {
        const auto c = lease.native_handle();
        const auto expect = [&](const row& answer, const row& right) {
            if (answer == right) return;
            std::string all;
            for (const auto& s : answer) all += s + " ";
            wrong.add("lease " + token + " was answered: " + all);
        };
        expect(Server::ask(c, "select '" + token + "', " + Server::tag()), {token, ""});
        recovered[scrubs ? 1 : 0].note(had);
        if (scrubs) {
            (void)Server::ask(c, Server::set_tag(token));
            const row answer = Server::ask(c, "select '" + token + "', " + Server::tag() + ", " + Server::pause("0.002"));
            expect({answer.begin(), answer.begin() + std::min<std::ptrdiff_t>(2, std::ssize(answer))}, {token, token});
        } else {
            (void)Server::ask(c, "begin");
            (void)Server::ask(c, "insert into " + table_ + " values (1)");
            const row answer = Server::ask(c, "select '" + token + "', " + Server::pause("0.002"));
            expect({answer.begin(), answer.begin() + std::min<std::ptrdiff_t>(1, std::ssize(answer))}, {token});
            if (kind % 3 == 0) (void)Server::ask(c, "rollback");
        }
    }

    std::string table_;
    lateness control_;
    std::atomic<bool> over_{false}, pausing_{false};
    std::atomic<unsigned> phase_{0};
    std::atomic<std::size_t> paused_{0};
    std::vector<std::jthread> threads_; // the first to go
};

/// Everything that can be acquired is, at once, and works; and then not one more. What is wrong, or nothing.
template <class Server, class Pool>
[[nodiscard]] std::string short_of(Pool& pool, unsigned max) {
    std::vector<typename Pool::lease> all;
    for (unsigned i = 0; i < max; ++i) {
        cenote::failure why;
        auto lease = pool.acquire(10s, why);
        if (!lease) return "lease " + std::to_string(i + 1) + " of " + std::to_string(max) + ": " + why.text();
        try {
            if (Server::ask(lease.native_handle(), "select 7") != row{"7"}) return "wrong answer";
        } catch (const std::exception& e) {
            return e.what();
        }
        all.push_back(std::move(lease));
    }
    if (pool.stats().total != max) return "total is " + std::to_string(pool.stats().total);
    return pool.try_acquire() ? "one too many" : "";
}

} // namespace fault
