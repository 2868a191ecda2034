// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Everything at once on real servers, whose sessions are killed all the while; and servers that vanish from a process that does not
// ignore SIGPIPE.
//
// CENOTE_TORTURE_OPS: how many operations for each server.
#include <fault/support/load.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <csignal>

using namespace fault;
using cenote::bounded;
using cenote::errc;
using cenote::error_class;

namespace {

std::uint32_t roll(std::uint32_t n) {
    thread_local std::minstd_rand dice{std::random_device{}()};
    return static_cast<std::uint32_t>(dice()) % n;
}

constexpr cenote::backoff quick_for_pipes{.first = 5ms, .max = 40ms};

struct thrown_by_work {}; // is no std::exception

/// Sees, counts and kills the sessions of one program.
template <class Server>
class executioner : public admin<Server> {
public:
    executioner() : admin<Server>{" dbname=cenote"} {}
    std::size_t sessions(const std::string& name) { return std::stoul(this->ask(Server::count(name))); }
    void kill_one(const std::string& name) {
        if constexpr (is_mysql<Server>) {
            const std::string id = this->ask("select ifnull((select id from information_schema.processlist where user = 'cenote' order by rand() limit 1), 0)");
            if (id != "0") mysql_query(this->who_->native(), ("kill connection " + id).c_str()); // it may have gone meanwhile
        } else {
            this->run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = '" + name + "' order by random() limit 1");
        }
    }
};

/// Threads that do with leases whatever can be done with one.
template <class Server, class Pool>
class tormentors {
public:
    tormentors(Pool& db, std::uint64_t wanted) : db_{&db}, wanted_{wanted} {
        for (int i = 0; i < 8; ++i) threads_.emplace_back([this] { work(); });
    }
    tormentors(const tormentors&) = delete;
    tormentors& operator=(const tormentors&) = delete;
    ~tormentors() { finish(); }
    [[nodiscard]] bool busy() const noexcept { return ops < wanted_; }
    void stop_somebody() {
        const std::scoped_lock lock{m_};
        source_.request_stop();
        source_ = {};
    }
    void finish() {
        wanted_ = 0;
        threads_.clear();
    }

    complaints wrong;
    std::atomic<std::uint64_t> ops{0}, leases{0}, lost{0}, refused{0}, detached{0};

private:
    using lease = typename Pool::lease;
    static constexpr auto patience = 20ms; // there are more threads than connections, and some keep theirs

    lease acquire() {
        std::error_code why;
        lease out;
        try {
            switch (roll(6)) {
            case 0: out = db_->try_acquire(); return out;
            case 1: out = db_->acquire(std::chrono::microseconds{roll(300)}, why); break;
            case 2: out = db_->acquire(patience); break;
            case 3: {
                std::stop_token token;
                {
                    const std::scoped_lock lock{m_};
                    token = source_.get_token();
                }
                out = db_->acquire(patience, token, why);
                break;
            }
            case 4:
                db_->with(patience, [&](auto& c) {
                    (void)Server::ask(c.handle(), "select 7");
                    if (roll(8) != 0) throw thrown_by_work{};
                    throw cenote::driver_error{error_class::disconnected, "says the work"};
                });
                break;
            default: {
                cenote::failure f;
                out = db_->acquire(cenote::deadline::in(patience), f);
                why = f.code;
            }
            }
        } catch (const cenote::error& e) {
            why = e.code();
        } catch (const std::exception&) { // of the work: its session was killed
        } catch (const thrown_by_work&) {
        }
        if (!out && why) {
            ++refused;
            const bool possible = why == errc::acquire_timeout || why == errc::cancelled || why == errc::connect_failed || why == errc::connect_timeout ||
                                  why == errc::validation_failed || why == errc::breaker_open;
            if (!possible) wrong.add("an acquire failed with: " + why.message());
        }
        return out;
    }

    void use(lease& l) {
        const auto c = l.native_handle();
        const std::string token = std::to_string(ops.load());
        if (Server::ask(c, "select '" + token + "', " + Server::tag()) != row{token, ""}) wrong.add("a lease was not clean, or another's answer came");
        switch (roll(40)) {
        case 0: (void)Server::ask(c, "begin"); break;
        case 1: (void)Server::ask(c, Server::set_tag("x")); break;
        case 2: l.discard(); break;
        case 3: l.discard(error_class::disconnected); break;
        case 4: {
            auto own = l.detach();
            ++detached;
            (void)Server::ask(own.handle(), "select 7");
            db_->driver().close(own);
            break;
        }
        case 5: { // in the middle of a statement
            const std::string sql = "select 7";
            if constexpr (is_mysql<Server>) mysql_send_query(c, sql.data(), static_cast<unsigned long>(sql.size()));
            else PQsendQuery(c, sql.c_str());
            break;
        }
        case 6: std::jthread{[mine = std::move(l)]() mutable { mine.give_back(); }}.join(); break;
        default: break;
        }
    }

    void work() {
        std::vector<lease> held;
        while (ops < wanted_) {
            ++ops;
            if (auto l = acquire()) {
                ++leases;
                try {
                    use(l);
                } catch (const std::exception&) {
                    ++lost;
                    if (l && roll(2) == 0) l.discard(error_class::disconnected);
                }
                if (l && roll(16) == 0) held.push_back(std::move(l)); // kept for a while
            }
            if (roll(3) == 0) held.clear();
        }
    }

    Pool* db_;
    std::atomic<std::uint64_t> wanted_;
    std::mutex m_;
    std::stop_source source_;
    std::vector<std::jthread> threads_;
};

} // namespace

TEMPLATE_TEST_CASE("whatever is done to a pool and to its sessions at once, nothing is lost", "[alone][torture]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    constexpr unsigned size = 5, ceiling = 8;
    const std::string name = "tortured-" + std::to_string(::getpid());
    const std::uint64_t wanted = number_from("CENOTE_TORTURE_OPS", 1000);
    executioner<server> outside;
    REQUIRE(becomes([&] { return outside.sessions(name) == 0; }));
    std::string did;
    {
        cenote::pool db{server::to(true, name), bounded{.min_idle = 1, .max = size, .ceiling = ceiling}, cenote::backoff{.first = 1ms, .max = 10ms}, cenote::no_breaker{},
                        cenote::deferred<cenote::reset_always>{}, cenote::peek_after{0ms}, cenote::keepalive{.every = 20ms, .timeout = 2s}, cenote::max_uses{200},
                        cenote::max_lifetime{5s, 0.5}, cenote::idle_timeout{1s}, cenote::leak_threshold{500ms}, cenote::counters{}, cenote::live_settings{}};
        tormentors<server, decltype(db)> them{db, wanted};
        unsigned kills = 0;
        const auto by = steady::now() + 30s + std::chrono::milliseconds{wanted};
        while (them.busy() && steady::now() < by) {
            switch (kills == 0 ? 0 : roll(16)) {
            case 0:
            case 1:
                outside.kill_one(name);
                ++kills;
                break;
            case 4: db.resize(1 + roll(ceiling)); break;
            case 5:
                if (roll(4) == 0) db.invalidate_all();
                break;
            case 6: db.invalidate_all(20ms); break;
            case 7: (void)db.trim(); break;
            case 8:
                db.suspend();
                std::this_thread::sleep_for(std::chrono::microseconds{roll(2000)});
                db.resume();
                break;
            case 9: db.reconfigure(bounded{.min_idle = roll(2), .max = 2 + roll(ceiling - 1), .ceiling = ceiling}, cenote::max_uses{10 + roll(300)}); break;
            case 10: (void)db.warm_up(1, cenote::deadline::in(1ms)); break;
            case 11: (void)db.maintain(); break;
            case 12: them.stop_somebody(); break;
            default: (void)db.inspect(); break;
            }
            if (const auto s = db.stats(); s.total > ceiling) them.wrong.add("more connections than the ceiling");
            std::this_thread::sleep_for(std::chrono::microseconds{roll(6000)});
        }
        CHECK_FALSE(them.busy());
        them.finish();
        db.resume();
        db.reconfigure(bounded{.max = size, .ceiling = ceiling}, cenote::max_uses{1000}, cenote::max_lifetime{1h}, cenote::idle_timeout{1h});
        db.resize(size);
        CHECK(becomes([&] { return db.stats().total <= size; }));
        INFO(them.wrong.text());
        CHECK(them.wrong.count() == 0);
        CHECK(db.stats().used == 0);
        CHECK(db.stats().pending == 0);
        CHECK(short_of<server>(db, size) == "");
        CHECK(becomes([&] { return outside.sessions(name) == db.stats().total; })); // none that nobody knows any more
        CHECK(db.close(cenote::deadline::in(10s)).drained);
        const auto s = db.stats();
        CHECK(s.opened == s.closed + s.detached);
        CHECK(s.detached == them.detached);
        CHECK(s.swallowed == 0);
        CHECK(them.leases > 0);
        CHECK(kills > 0);
        did = std::to_string(them.ops) + " operations, " + std::to_string(them.leases) + " leases, " + std::to_string(kills) + " sessions killed, " +
              std::to_string(them.lost) + " leases lost with them, " + std::to_string(them.refused) + " refused, " + std::to_string(s.opened) + " opened";
    }
    CHECK(becomes([&] { return outside.sessions(name) == 0; }));
    tell("torture", std::string{server::name} + ": " + did);
}

TEMPLATE_TEST_CASE("case-C7: with SIGPIPE at its default the process survives servers that vanish, whatever it is about to write", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    { // libmariadb has it ignored from its first use on, without a word
        cenote::pool first{server::to(true, "pipe"), bounded{.max = 1}, cenote::manual{}};
        (void)first.acquire(10s);
    }
    struct sigaction as_found {};
    struct sigaction fatal {};
    fatal.sa_handler = SIG_DFL;
    REQUIRE(::sigaction(SIGPIPE, &fatal, &as_found) == 0);
    if (is_mysql<server>) CHECK(as_found.sa_handler == SIG_IGN);
    const std::size_t turns = std::max<std::size_t>(cycles() / 12, 2);
    for (const char* const transport : {"TCP", "unix socket", "TLS"}) {
        CAPTURE(transport);
        const bool tls = std::string{transport} == "TLS";
        // By TLS libmariadb writes as it may only where nobody has undone what it did.
        if (is_mysql<server> && tls) REQUIRE(::sigaction(SIGPIPE, &as_found, nullptr) == 0);
        auto driver = [&] {
            if (!tls) return server::to(transport[0] == 'T', "pipe");
            if constexpr (is_mysql<server>) return cenote::mysql{mysql_tests::by_tls()};
            else return cenote::postgres{pg::options(servers::postgres().tls, {{"application_name", "pipe"}})};
        }();
        for (std::size_t turn = 1; turn <= turns; ++turn) {
            // One pool looks before it writes, the other writes at once: pings and clean-ups into a socket that nobody reads any more.
            cenote::pool looks{driver, bounded{.max = 4}, quick_for_pipes, cenote::peek_after{0ms}, cenote::deferred<cenote::reset_always>{}};
            cenote::pool writes{driver, bounded{.max = 4}, quick_for_pipes, cenote::pre_ping{}, cenote::at_return<cenote::reset_always>{}};
            auto out = looks.acquire(10s);
            auto dirty = looks.acquire(10s);
            auto also = writes.acquire(10s);
            auto gone = writes.acquire(10s);
            auto idle = writes.acquire(10s);
            (void)server::ask(dirty.native_handle(), "begin");
            (void)server::ask(also.native_handle(), "begin");
            idle.give_back();
            if (turn % 2 == 1) server::end_sessions();
            else server::crash(turn);
            dirty.give_back(); // sends its clean-up
            also.give_back();  // and waits for it
            gone.discard();    // says goodbye
            try {
                (void)server::ask(out.native_handle(), "select 7");
                FAIL_CHECK("a session survives");
            } catch (const std::exception&) {
            }
            try {
                (void)server::ask(out.native_handle(), "select 7"); // once more
            } catch (const std::exception&) {
            }
            out.give_back();
            (void)await_answer<server>();
            CHECK(short_of<server>(looks, 4) == "");
            CHECK(short_of<server>(writes, 4) == "");
        }
    }
    struct sigaction now {};
    REQUIRE(::sigaction(SIGPIPE, &as_found, &now) == 0);
    CHECK(now.sa_handler == (is_mysql<server> ? SIG_IGN : SIG_DFL)); // nobody has helped meanwhile
}
