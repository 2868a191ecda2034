// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Forked children: what a pool of the parent is there, and that the parent notices nothing. Connections are sockets, whose other ends show
// every byte. Children report by their exit status, as Catch is the parent's.
#include <cenote/cancel.hpp>
#include <cenote/detail/fork_mark.hpp>
#include <cenote/pool.hpp>
#include <cenote/retry.hpp>
#include <cenote/session/lock.hpp>
#include <cenote/session/session.hpp>
#include <cenote/view.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

using namespace std::chrono_literals;
using namespace cenote;
namespace os = cenote::detail::os;

namespace {

std::size_t descriptors() {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) ++n;
    return n - 1; // the folder itself
}

int ended(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}
/// Runs f in a forked child. What comes back is what f returns, 99 if it throws, or 256 and the signal that killed it: SIGALRM if it hung.
template <class F>
[[nodiscard]] int in_child(F f) {
    const pid_t child = ::fork();
    if (child == 0) {
        (void)::signal(SIGALRM, SIG_DFL);
        ::alarm(20);
        try {
            ::_exit(f());
        } catch (...) {
            ::_exit(99);
        }
    }
    return ended(child);
}

/// A door in a driver call: who comes to it waits until it is opened again.
class door {
public:
    void shut() noexcept { shut_ = true; }
    void open() noexcept { shut_ = false; }
    void pass() noexcept {
        if (!shut_) return;
        waits_ = true;
        while (shut_) std::this_thread::sleep_for(100us);
        waits_ = false;
    }
    void await() const noexcept {
        while (!waits_) std::this_thread::sleep_for(100us);
    }

private:
    std::atomic<bool> shut_{false}, waits_{false};
};

/// Connections are sockets; a goodbye is a byte.
struct wire {
    struct connection {
        explicit connection(int descriptor) noexcept : fd{descriptor} {}
        connection(connection&& o) noexcept : fd{std::exchange(o.fd, -1)} {}
        connection& operator=(connection&& o) noexcept {
            std::swap(fd, o.fd);
            return *this;
        }
        int fd = -1;
    };
    struct token {
        explicit token(int descriptor) noexcept : fd{::fcntl(descriptor, F_DUPFD_CLOEXEC, 0)} {}
        token(token&& o) noexcept : fd{std::exchange(o.fd, -1)} {}
        token& operator=(token&& o) noexcept {
            std::swap(fd, o.fd);
            return *this;
        }
        ~token() {
            if (fd >= 0) ::close(fd);
        }
        int fd;
    };
    /// The other ends, and what was done.
    struct server {
        server() = default;
        server(const server&) = delete;
        server& operator=(const server&) = delete;
        ~server() {
            for (const int fd : ends) ::close(fd);
        }
        /// Nothing was sent, and nobody has hung up.
        [[nodiscard]] bool is_quiet() {
            const std::scoped_lock lock{m};
            for (const int fd : ends) {
                char byte = 0;
                if (::recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN) return false;
            }
            return true;
        }
        std::mutex m;
        std::vector<int> ends;
        door opening, closing;
        std::atomic<int> asked{0}, abandoned{0}; ///< abandon was called, and had something to do
    };

    connection open(deadline) {
        at->opening.pass();
        std::array<int, 2> both{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both.data()) != 0) throw std::runtime_error{"no socket"};
        const std::scoped_lock lock{at->m};
        at->ends.push_back(both[1]);
        return connection{both[0]};
    }
    void close(connection& c) noexcept {
        at->closing.pass();
        (void)::send(c.fd, "X", 1, MSG_NOSIGNAL);
        ::close(std::exchange(c.fd, -1));
    }
    void abandon(connection& c) noexcept {
        ++at->asked;
        if (c.fd < 0) return;
        ++at->abandoned;
        ::close(std::exchange(c.fd, -1));
    }
    [[nodiscard]] token interrupter(connection& c) { return token{c.fd}; }
    void cancel(token&, deadline) {}
    void sever(token& t, deadline) noexcept { ::shutdown(t.fd, SHUT_RDWR); }

    std::shared_ptr<server> at = std::make_shared<server>();
};
static_assert(can_abandon<wire> && can_interrupt<wire>);

/// A lock that a thread keeps for as long as the test likes.
struct kept_mutex {
    static inline door while_held;
    std::mutex m;
    void lock() {
        m.lock();
        while_held.pass();
    }
    void unlock() { m.unlock(); }
};
struct portable_aware {
    using family = cenote::family::forking;
    static constexpr bool aware = true;
    using word = os::portable_fork_word;
};

/// A database at the other end, to which every question is a byte, and which answers 1 for ever.
struct talking : wire {
    struct rows {
        [[nodiscard]] static std::size_t columns() noexcept { return 1; }
        [[nodiscard]] static std::string_view name(std::size_t) noexcept { return "n"; }
        [[nodiscard]] bool next(deadline) {
            say(fd);
            return !is_one || std::exchange(left, 0) != 0;
        }
        [[nodiscard]] static value_view at(std::size_t) { return std::int64_t{1}; }
        [[nodiscard]] static std::uint64_t affected() noexcept { return 1; }
        int fd;
        bool is_one;
        int left = 1;
    };
    static void say(int fd) { (void)::send(fd, "Q", 1, MSG_NOSIGNAL | MSG_DONTWAIT); }
    rows query(connection& c, const statement& s, deadline) {
        say(c.fd);
        return {c.fd, !s.stream};
    }
    void execute(connection& c, std::string_view, deadline) { say(c.fd); }
    void begin(connection& c, const transaction_options&, deadline) { say(c.fd); }
    void commit(connection& c, deadline) { say(c.fd); }
    void rollback(connection& c, deadline) { say(c.fd); }
    void cancel(token& t, deadline) { say(t.fd); }
    void sever(token& t, deadline) noexcept { say(t.fd); }
    /// What was said until now is forgotten.
    void listen() const {
        const std::scoped_lock lock{at->m};
        char byte = 0;
        for (const int fd : at->ends) while (::recv(fd, &byte, 1, MSG_DONTWAIT) > 0) {}
    }
};
static_assert(can_transact<talking> && can_query<talking>);

using aware = pool<wire, bounded, fork_aware>;
/// Everything that has a lock of its own, that of the desk one which the test keeps; and the stand-in that needs no kernel's help.
using locked = pool<wire, bounded, with_mutex<kept_mutex>, live_settings, leak_threshold, refresh_every, counters, named, portable_aware>;
using unaware = pool<wire, bounded, manual>;

static_assert(sizeof(pool<wire, fork_aware>::core_type::slot_type) >= sizeof(pool<wire>::core_type::slot_type));
static_assert(std::is_same_v<pool<wire>::core_type, pool<wire, fork_unaware>::core_type>, "to say what is the default changes nothing");

/// So many idle connections.
void fill(any_pool auto& p, unsigned n) {
    REQUIRE(p.warm_up(n, deadline::in(20s)).ready);
}
/// Every connection that there may be is to be had at once.
bool is_whole(any_pool auto& p, std::size_t max) {
    std::vector<typename std::remove_cvref_t<decltype(p)>::lease> all;
    for (std::size_t i = 0; i < max; ++i) {
        std::error_code why;
        all.push_back(p.acquire(20s, why));
        if (why) return false;
    }
    return true;
}

template <class F>
std::error_code code_of(F f) {
    try {
        f();
    } catch (const error& e) {
        return e.code();
    }
    return {};
}

} // namespace

TEMPLATE_TEST_CASE("case-C2 a word is 1 where it was asked for and 0 in every process forked from there, which have words of their own", "",
                   os::portable_fork_word, os::fork_word) {
    const unsigned* const mine = TestType::here();
    REQUIRE(*mine == 1);
    CHECK(TestType::here() == mine);
    CHECK(in_child([&] {
        if (*mine != 0) return 1;
        const unsigned* const own = TestType::here();
        if (own == mine || *own != 1 || *mine != 0 || TestType::here() != own) return 2;
        return in_child([&] { // and so on
            if (*mine != 0 || *own != 0) return 3;
            const unsigned* const third = TestType::here();
            return third != own && third != mine && *third == 1 ? 0 : 4;
        });
    }) == 0);
    CHECK(*mine == 1);
    CHECK(TestType::here() == mine);
}

TEMPLATE_TEST_CASE("case-C2 threads that ask a new process for its first word all get the same", "", os::portable_fork_word, os::fork_word) {
    (void)TestType::here();
    for (int round = 0; round < 20; ++round) {
        CHECK(in_child([] {
            std::array<const unsigned*, 4> got{};
            std::atomic<int> ready{0};
            {
                std::vector<std::jthread> all;
                for (auto& word : got) {
                    all.emplace_back([&] {
                        for (++ready; ready < 4;) {}
                        word = TestType::here();
                    });
                }
            }
            for (const unsigned* const word : got) {
                if (word != got[0] || *word != 1) return 1;
            }
            return 0;
        }) == 0);
    }
}

#if defined(__linux__)
TEST_CASE("case-C2 a process made by a bare system call is noticed, too") {
    wire d;
    aware p{d, bounded{.max = 2}};
    fill(p, 2);
    const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0));
    if (child == 0) {
        std::error_code why;
        const bool refused = !p.acquire(why) && why == errc::pool_forked;
        ::_exit(refused && p.forked() ? 0 : 1);
    }
    REQUIRE(child > 0);
    CHECK(ended(child) == 0);
    CHECK_FALSE(p.forked());
    CHECK(d.at->is_quiet());
}
#endif

TEST_CASE("case-C3 in a child every call on its parent's pool comes back, whoever held its locks at the moment of the fork") {
    wire d;
    {
        locked p{d, bounded{.max = 4}, named{"shop"}};
        fill(p, 2);
        auto given = p.acquire(), discarded = p.acquire(), detached = p.acquire(), moved = p.acquire();
        any_lease<wire::connection> erased{std::move(moved)};
        const pool_view<wire::connection> view{p};
        kept_mutex::while_held.shut();
        std::jthread holder{[&] { (void)p.stats(); }};
        kept_mutex::while_held.await();
        const int said = in_child([&] {
            kept_mutex::while_held.open(); // a child that takes the lock hangs in it, not in here
            int step = 0;
            const auto refused = [&](const std::error_code& e) { return ++step, e == errc::pool_forked; };
            if (!p.forked()) return 100;
            std::error_code why;
            failure more;
            if (!refused(code_of([&] { (void)p.acquire(); })) || !refused(code_of([&] { (void)p.acquire(1h); })) ||
                !refused(code_of([&] { (void)p.acquire(deadline::never()); })) || !refused(code_of([&] { (void)p.acquire(1h, std::stop_token{}); })) ||
                !refused(code_of([&] { p.with([](wire::connection&) {}); })) || !refused(code_of([&] { p.with(1h, [](wire::connection&) {}); })) ||
                !refused(code_of([&] { (void)view.acquire(); })) || !refused(code_of([&] { (void)view.acquire(1h); }))) {
                return step;
            }
            if (p.acquire(why) || !refused(why) || p.acquire(1h, why) || !refused(why) || p.acquire(1h, std::stop_token{}, why) || !refused(why) ||
                p.acquire(deadline::never(), why) || !refused(why) || p.acquire(1h, more) || !refused(more.code) || view.acquire(more) || !refused(more.code)) {
                return step;
            }
            if (more.text() != "pool made before a fork: make a new pool in this process") return 50;
            if (p.try_acquire() || view.try_acquire()) return 51;
            if (code_of([&] { (void)retry{{.attempts = 3, .first = 30s}}.with(p, [](wire::connection&) { return 1; }); }) != errc::pool_forked) return 52;
            const warm_report warm = p.warm_up(1000);
            if (warm.ready || warm.why.code != errc::pool_forked || p.ready()) return 53;
            if (p.stats().max != 0 || view.stats().total != 0 || p.inspect().leased != 0 || !p.inspect().leases.empty()) return 54;
            if (p.maintain() != time_point::max() || p.trim() != 0 || p.trim([](const wire::connection&) noexcept { return true; }) != 0) return 55;
            p.invalidate_all();
            p.invalidate_all(1s);
            p.suspend();
            p.resume();
            p.resize(1);
            p.reconfigure(bounded{.max = 1});
            auto s = p.settings();
            p.reconfigure(s);
            if (p.name() != "shop" || s.get<bounded>().max != 4 || p.get<counters>().closed_for(close_reason::shutdown) != 0 || p.driver().at != d.at) return 56;
            given.tag("a word");
            given.give_back();
            discarded.discard(error_class::disconnected);
            if (detached.detach().fd != -1) return 57;
            erased.discard();
            if (d.at->abandoned != 4) return 58;
            const close_report closed = p.close();
            if (!closed.drained || closed.still_out != 0) return 59;
            p.abandon();
            locked other{std::move(p)};
            other = locked{d, bounded{.max = 1}}; // another of the same type works, in its place
            return !other.forked() && other.acquire(20s) && other.stats().max == 1 ? 0 : 60;
        });
        CHECK(said == 0);
        kept_mutex::while_held.open();
        holder.join();
        CHECK(d.at->is_quiet());
        given.give_back();
        discarded.give_back();
        detached.give_back();
        erased.give_back();
        CHECK(p.stats().idle == 4);
        CHECK(is_whole(p, 4));
        CHECK(d.at->is_quiet());
    }
    CHECK_FALSE(d.at->is_quiet()); // it was the goodbyes that were looked for
}

TEST_CASE("case-C1 a child closes its descriptors of the parent's connections, their tokens' too, and says nothing") {
    wire d;
    aware p{d, bounded{.max = 6}};
    fill(p, 6);
    auto mine = p.acquire(), another = p.acquire();
    std::optional<aware> gone{std::in_place, wire{d}, bounded{.max = 2}}; // and of a pool that has ended
    auto outlives = gone->acquire(20s);
    gone.reset();
    while (d.at->ends.size() != 7) std::this_thread::sleep_for(1ms);
    const auto sessions = 2 * (6 + 1U);
    enum class way { end_pool, close_pool, abandon_pool, replace_pool, leases_first, leases_last };
    for (const way w : {way::end_pool, way::close_pool, way::abandon_pool, way::replace_pool, way::leases_first, way::leases_last}) {
        CAPTURE(static_cast<int>(w));
        CHECK(in_child([&] {
            const std::size_t before = descriptors();
            outlives.give_back();
            if (w == way::leases_first) mine.give_back(), another.discard();
            if (w == way::close_pool) (void)p.close();
            if (w == way::abandon_pool) p.abandon(), p.abandon();
            if (w == way::replace_pool) p = aware{d, bounded{.max = 1}};
            if (w != way::replace_pool && w != way::close_pool && w != way::abandon_pool) aware{std::move(p)};
            if (w != way::leases_first) mine.give_back(), another.discard();
            if (d.at->abandoned != 7) return 1;
            return descriptors() == before - sessions ? 0 : 2;
        }) == 0);
        CHECK(d.at->is_quiet());
    }
    CHECK(d.at->abandoned == 0);
    mine.give_back();
    another.give_back();
    CHECK(is_whole(p, 6));
    outlives.give_back();
    CHECK_FALSE(d.at->is_quiet());
}

TEST_CASE("case-C1 what another thread was opening or closing at the moment of the fork is left alone, and what was taken out of the pool") {
    wire d;
    aware p{d, bounded{.max = 4}};
    fill(p, 3);
    auto goes = p.acquire(), stays = p.acquire();
    auto gone = p.acquire().detach();
    d.at->closing.shut();
    d.at->opening.shut();
    goes.discard();
    d.at->closing.await();
    std::jthread asks{[&] { (void)p.acquire(20s); }};
    d.at->opening.await();
    CHECK(in_child([&] {
        stays.give_back();
        aware{std::move(p)};
        return d.at->abandoned == 1 && d.at->asked == 1 ? 0 : 1;
    }) == 0);
    CHECK(d.at->is_quiet());
    d.at->closing.open();
    d.at->opening.open();
    asks.join();
    stays.give_back();
    CHECK(is_whole(p, 4));
    d.close(gone);
}

TEST_CASE("case-C1 children and their children have pools of their own, beside the one that they were born with") {
    wire d;
    aware p{d, bounded{.max = 2}};
    fill(p, 2);
    CHECK(in_child([&] {
        aware own{d, bounded{.max = 2}};
        auto held = own.acquire(20s);
        const int opened = static_cast<int>(own.stats().total);
        if (!held || own.forked() || !p.forked()) return 1;
        const int below = in_child([&] {
            std::error_code why;
            if (!own.forked() || !p.forked() || own.try_acquire() || own.acquire(why) || why != errc::pool_forked) return 2;
            aware third{d, bounded{.max = 2}};
            if (!third.acquire(20s)) return 3;
            held.give_back();
            aware{std::move(own)};
            aware{std::move(p)};
            return d.at->abandoned == 2 + opened ? 0 : 4;
        });
        if (below != 0) return below;
        held.give_back();
        return own.stats().used == 0 && is_whole(own, 2) ? 0 : 5;
    }) == 0);
    CHECK(d.at->is_quiet());
    CHECK(is_whole(p, 2));
}

TEST_CASE("case-C1 a pool that does not notice is let go of by hand, and so are its leases") {
    wire d;
    unaware p{d, bounded{.max = 3}};
    fill(p, 3);
    auto held = p.acquire();
    CHECK(in_child([&] {
        const std::size_t before = descriptors();
        p.abandon();
        held.abandon();
        held.abandon();
        p.abandon();
        if (held || d.at->abandoned != 3 || descriptors() != before - 2 * 3U) return 1;
        p = unaware{d, bounded{.max = 1}};
        return p.acquire(20s) ? 0 : 2;
    }) == 0);
    CHECK(d.at->is_quiet());
    held.give_back();
    CHECK(is_whole(p, 3));
}

TEST_CASE("where there was no fork, abandoning a pool that notices forks does nothing, and its leases are given back") {
    wire d;
    aware p{d, bounded{.max = 2}};
    auto held = p.acquire();
    p.abandon();
    held.abandon();
    CHECK_FALSE(held);
    CHECK(d.at->abandoned == 0);
    CHECK(is_whole(p, 2));
    CHECK(d.at->is_quiet());
}

TEST_CASE("case-C1 what holds a lease, a transaction, a lock, rows or a cancel among them, ends in a child without a word") {
    talking d;
    const auto at = d.at;
    pool p{d, bounded{.max = 5}, fork_aware{}};
    using core = decltype(p)::core_type;
    fill(p, 5);
    std::optional<transaction<core>> work{session{p.acquire()}.begin()};
    const auto key = advisory_lock{"one"};
    std::optional held{lock(p, key)}, watched{lock(p, key, {.max_hold = 20s, .on_overdue = on_overdue::close})};
    std::optional<cancellable<core>> call{p.acquire()};
    const auto stop = call->canceller();
    std::optional<session<core>> reading{p.acquire()};
    const std::size_t before = descriptors();

    SECTION("in the middle of rows and of a part of the transaction, by an exception") {
        pid_t child = -1;
        const auto end_all = [&] {
            work.reset();
            held.reset();
            watched.reset();
            call.reset();
            reading.reset();
        };
        try {
            reading->process("select n", [&](cursor& rows) {
                const auto part = work->savepoint();
                (void)rows.next();
                d.listen();
                child = ::fork();
                if (child == 0) {
                    (void)::signal(SIGALRM, SIG_DFL);
                    ::alarm(20);
                    throw std::runtime_error{"only in the child"};
                }
                CHECK(ended(child) == 0);
                CHECK(at->is_quiet());
            });
        } catch (const std::exception&) {
            end_all();
            ::_exit(child == 0 && descriptors() + 10 <= before ? 0 : 1);
        }
        end_all();
        CHECK(is_whole(p, 5));
        d.listen();
    }
    SECTION("one after the other") {
        d.listen();
        CHECK(in_child([&] {
                  if (!call->operator*().fd || stop.cancel() || held->owns()) return 1;
                  std::error_code why;
                  if (held->check(1s, why) || why != errc::lock_lost || watched->release(why) || *watched) return 2;
                  if (code_of([&] { work->exec("delete"); }) != errc::pool_forked || code_of([&] { reading->exec("delete"); }) != errc::pool_forked) return 3;
                  work.reset();
                  held.reset();
                  watched.reset();
                  call.reset();
                  reading.reset();
                  return p.close().drained && descriptors() + 10 <= before ? 0 : 4;
              }) == 0);
    }
    CHECK(at->is_quiet());
}
