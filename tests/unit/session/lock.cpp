// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/session/lock.hpp>

#include <unit/pool/support.hpp>
#include <unit/shell/allocations.hpp>

#include <catch2/generators/catch_generators.hpp>

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <stop_token>
#include <vector>

using namespace pool_test;

namespace {

/// Who holds what, and what there is to say about it. Its statements are those of `word`.
struct fake_database {
    std::map<std::string, std::size_t> holders{};
    std::vector<std::string> said{};
    std::function<std::optional<std::string>(const std::string& sql, std::size_t session)> instead{}; ///< empty text: as usual

    std::optional<std::string> answer(const std::string& sql, std::size_t session) {
        said.push_back(sql);
        if (instead) {
            const auto other = instead(sql, session);
            if (!other || !other->empty()) return other;
        }
        std::istringstream in{sql};
        std::string verb, key, meant;
        in >> verb >> key >> meant;
        if (!meant.empty() && meant != std::to_string(session)) return "-1";
        const auto at = holders.find(key);
        const bool own = at != holders.end() && at->second == session;
        if (verb == "take") {
            if (at != holders.end() && !own) return "0";
            holders[key] = session;
            return std::to_string(session);
        }
        if (verb == "release" && own) holders.erase(at);
        return own ? "1" : "0";
    }
};

class lockable : public scripted {
public:
    lockable(testing::script s, fake_database& there) : scripted{std::move(s)}, there_{&there} {}

    [[nodiscard]] std::optional<std::string> ask(connection& c, std::string_view sql, deadline by) {
        const auto in_order = [&] {
            const std::string text{sql};
            return there_->answer(text, c.id());
        };
        const auto said = in_order();
        execute(c, sql, by); // what the script says of it comes after: the server has done it
        return said;
    }
    [[nodiscard]] std::uint64_t session_number(connection& c) noexcept { return c.id() + (pooled ? 100 : 0); }

    bool pooled = false;

private:
    fake_database* there_;
};

struct word {
    std::string name;
    [[nodiscard]] std::string take(std::optional<std::uint64_t> login) const { return "take " + name + (login ? " " + std::to_string(*login) : ""); }
    [[nodiscard]] std::string release(std::uint64_t s) const { return "release " + name + " " + std::to_string(s); }
    [[nodiscard]] std::string ask(std::uint64_t s) const { return "ask " + name + " " + std::to_string(s); }
    [[nodiscard]] static const char* type() noexcept { return "named"; }
    [[nodiscard]] std::string text() const { return "word " + name; }
};

/// Time that passes only while somebody waits, and then at once; or, `standing`, only by hand.
class hand_clock : public lock_clock {
public:
    [[nodiscard]] time_point now() const noexcept override { return clock.now(); }
    [[nodiscard]] bool wait(time_point until, const std::stop_token& stop) const override {
        ++waits;
        if (standing) {
            while (clock.now() < until) {
                if (stop.stop_requested()) return false;
                std::this_thread::yield();
            }
            return true;
        }
        if (meanwhile) meanwhile();
        if (stop.stop_requested()) return false;
        clock.set(until);
        return true;
    }
    mutable manual_clock clock;
    mutable std::function<void()> meanwhile{};
    mutable std::atomic<int> waits{0};
    bool standing = false;
};

struct notes {
    void on_lock(const lock_event& e) {
        const std::scoped_lock lock{m};
        all.push_back(e.what);
        last_key = e.key;
        figures.on_lock(e);
    }
    [[nodiscard]] std::vector<lock_change> taken() {
        const std::scoped_lock lock{m};
        return std::exchange(all, {});
    }
    std::mutex m;
    std::vector<lock_change> all{};
    std::string last_key{};
    lock_counters figures{};
};
using changes = std::vector<lock_change>;

using db_pool = pool<lockable, bounded, manual>;
using guard = held_lock<db_pool::lease, word>;

struct fixture {
    script s;
    fake_database there;
    hand_clock time;
    notes heard;
    std::optional<db_pool> db{std::in_place, lockable{s, there}, bounded{.max = 2}};

    [[nodiscard]] lock_options options(lock_options o = {}) {
        o.sink = heard;
        o.clock = &time;
        return o;
    }
    ~fixture() {
        db.reset();
        CHECK(s.violations_at_end() == std::vector<std::string>{});
    }
};

/// What it throws: code and text.
template <class F>
std::pair<std::error_code, std::string> thrown(F f) {
    try {
        f();
    } catch (const error& e) {
        return {e.code(), e.what()};
    }
    return {};
}

} // namespace

static_assert(sizeof(guard) == sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<guard> && !std::is_copy_constructible_v<guard>);
static_assert(lock_key<advisory_lock> && lock_key<named_lock> && lock_sink<lock_counters>);

TEST_CASE("A lock is taken and released on one session, which goes back to its pool") {
    fixture f;
    guard held = lock(*f.db, word{"x"}, f.options());
    CHECK(held);
    CHECK(held.owns());
    CHECK(held.key().name == "x");
    CHECK(held.connection().id() == 1);
    CHECK(held.native_handle() == 1);
    CHECK(f.db->stats().used == 1);
    CHECK(f.heard.taken() == changes{lock_change::acquired});
    CHECK(f.heard.last_key == "word x");
    held.check(1s);
    f.time.clock.advance(3s);
    CHECK(held.held_for() == 3s);

    f.s.on(site::execute, [](const testing::call& c) { CHECK(c.by.remaining() <= 5s); });
    CHECK(held.release());
    f.s.on(site::execute, {});
    CHECK(f.there.holders.empty());
    CHECK(f.there.said == std::vector<std::string>{"take x 1", "ask x 1", "release x 1"});
    CHECK(f.heard.taken() == changes{lock_change::released});
    CHECK(gauges_of(*f.db) == gauges{.idle = 1});
    SECTION("again, and of what never held anything, it is harmless") {
        CHECK_FALSE(held.release());
        CHECK_FALSE(held);
        CHECK_FALSE(held.owns());
        CHECK(held.held_for() == 0s);
        std::error_code why = errc::exhausted;
        CHECK_FALSE(held.release(why));
        CHECK_FALSE(why);
        CHECK(thrown([&] { held.check(); }).first == errc::lock_lost);
        guard none;
        CHECK_FALSE(none.release());
        CHECK(f.there.said.size() == 3);
    }
    SECTION("the end of a guard releases, also one that was moved, and after its pool") {
        {
            guard a = lock(*f.db, word{"x"}, f.options());
            guard b = std::move(a);
            CHECK_FALSE(a); // NOLINT(bugprone-use-after-move): that is the question
            CHECK(b.owns());
            b = lock(*f.db, word{"y"}, f.options());
            CHECK(f.there.holders == std::map<std::string, std::size_t>{{"y", 2}});
            f.db.reset();
            CHECK(b.owns());
        }
        CHECK(f.there.holders.empty());
        CHECK(f.s.closed() == f.s.opened());
    }
}

TEST_CASE("Who waits asks every `poll` until `wait` is over, and holds no connection meanwhile") {
    fixture f;
    f.there.holders["x"] = 77;
    unsigned most = 0;
    f.time.meanwhile = [&] { most = std::max(most, static_cast<unsigned>(f.db->stats().used)); };
    SECTION("and is told that somebody else holds it") {
        failure why;
        const guard none = lock(*f.db, word{"x"}, f.options({.wait = 1s, .poll = 300ms}), why);
        CHECK_FALSE(none);
        CHECK(why.code == errc::lock_timeout);
        CHECK(why.code == std::errc::timed_out);
        CHECK(f.there.said.size() == 5); // at 0, 300, 600, 900 and 1000 ms
        CHECK(why.text() == "lock timeout: somebody else holds it after 1000ms (max 2, used 0, idle 1, opening 0, waiting 0); word x");
        CHECK(f.heard.taken() == changes{lock_change::timed_out});
    }
    SECTION("once, if it waits for nothing") {
        CHECK(thrown([&] { (void)lock(*f.db, word{"x"}, f.options({.wait = 0s})); }).first == errc::lock_timeout);
        CHECK(f.there.said.size() == 1);
        CHECK(f.time.waits == 0);
    }
    SECTION("or gets it when it is released") {
        f.time.meanwhile = [&] {
            most = std::max(most, static_cast<unsigned>(f.db->stats().used));
            if (f.time.waits == 3) f.there.holders.clear();
        };
        const guard held = lock(*f.db, word{"x"}, f.options());
        CHECK(f.time.clock.now() - manual_clock::start == 300ms);
        CHECK(held.held_for() == 0s);
    }
    SECTION("or is stopped") {
        std::stop_source stop;
        f.time.meanwhile = [&] { stop.request_stop(); };
        std::error_code why;
        const guard none = lock(*f.db, word{"x"}, f.options({.wait = duration::max()}), stop.get_token(), why);
        CHECK_FALSE(none);
        CHECK(why == errc::cancelled);
        CHECK(f.heard.taken() == changes{lock_change::failed});
    }
    CHECK(most == 0);
    CHECK(f.db->stats().used == 0);
}

TEST_CASE("A session that may hold a lock nobody knows of is closed") {
    fixture f;
    SECTION("its answer got lost: another one asks, while there is time") {
        f.s.next(site::execute, outcome::fail(error_class::disconnected));
        // The server notices the end of the first session a little later.
        f.time.meanwhile = [&] { f.there.holders.clear(); };
        const guard held = lock(*f.db, word{"x"}, f.options());
        CHECK(f.there.said == std::vector<std::string>{"take x 1", "take x 2"});
        CHECK(held.connection().id() == 2);
        CHECK(f.s.closed() == 1);
        CHECK(f.heard.taken() == changes{lock_change::acquired});
    }
    SECTION("and if there is none, it failed") {
        f.s.always(site::execute, outcome::fail(error_class::disconnected, "cable pulled", 0, "08006"));
        const auto [code, text] = thrown([&] { (void)lock(*f.db, word{"x"}, f.options({.wait = 250ms, .poll = 100ms})); });
        CHECK(code == errc::lock_failed);
        CHECK_THAT(text, ContainsSubstring("word x: cable pulled (SQLSTATE 08006)"));
        CHECK(f.there.said.size() == 4);
        CHECK(f.s.closed() == 4);
        CHECK(f.heard.taken() == changes{lock_change::failed});
    }
    SECTION("another error is one at once") {
        const auto bad = GENERATE(0, 1, 2);
        f.s.next(site::execute, bad == 0   ? outcome::fail(error_class::other, "out of shared memory", 0, "53200")
                                : bad == 1 ? outcome::fail(error_class::timeout)
                                           : outcome::throw_int());
        std::error_code why;
        CHECK_FALSE(lock(*f.db, word{"x"}, f.options(), why));
        CHECK(why == errc::lock_failed);
        CHECK(f.s.closed() == 1);
        CHECK(f.there.said.size() == 1);
    }
    SECTION("NULL is one as well") {
        f.there.instead = [](const auto&, auto) { return std::optional<std::string>{}; };
        CHECK_THAT(thrown([&] { (void)lock(*f.db, word{"x"}, f.options()); }).second, ContainsSubstring("NULL"));
        CHECK(f.s.closed() == 1);
    }
    SECTION("and what is no number") {
        f.there.instead = [](const auto&, auto) { return std::optional<std::string>{"1 or so"}; };
        CHECK(thrown([&] { (void)lock(*f.db, word{"x"}, f.options()); }).first == errc::lock_failed);
        CHECK(f.s.closed() == 1);
    }
}

TEST_CASE("A pooler that shares sessions is refused before anything is taken") {
    fixture f;
    f.db->driver().pooled = true;
    const auto [code, text] = thrown([&] { (void)lock(*f.db, word{"x"}, f.options()); });
    CHECK(code == errc::lock_failed);
    CHECK_THAT(text, ContainsSubstring("transaction mode") && ContainsSubstring("session_pooler = true"));
    CHECK(f.there.holders.empty());
    CHECK(gauges_of(*f.db) == gauges{.idle = 1});

    // Whoever says that it is none is believed, until another session answers.
    guard held = lock(*f.db, word{"x"}, f.options({.session_pooler = true}));
    CHECK(f.there.holders.size() == 1);
    const auto lies = GENERATE(false, true);
    if (lies) f.there.instead = [](const auto&, auto) { return "-1"; };
    failure why;
    CHECK(held.release(why) != lies);
    CHECK((why.code == errc::lock_lost) == lies);
    CHECK(f.s.closed() == (lies ? 1 : 0));
}

TEST_CASE("What keeps a connection from being had comes through") {
    fixture f;
    (void)f.db->close(deadline::in(0s));
    CHECK(thrown([&] { (void)lock(*f.db, word{"x"}, f.options()); }).first == errc::pool_closed);
    CHECK(f.heard.taken() == changes{lock_change::failed});
    CHECK(f.there.said.empty());
}

TEST_CASE("Without memory or a driver's good manners nothing is held afterwards") {
    fixture f;
    std::optional<guard> held{lock(*f.db, word{"x"}, f.options())};
    f.s.next(site::execute, outcome::throw_int());
    SECTION("at the end of the guard") { held.reset(); }
    SECTION("in release") {
        std::error_code why;
        CHECK_FALSE(held->release(why));
        CHECK(why == errc::lock_failed);
    }
    SECTION("in check") {
        std::error_code why;
        CHECK_FALSE(held->check(1s, why));
        CHECK(why == errc::lock_lost);
        CHECK_FALSE(*held);
    }
    CHECK(f.s.closed() == 1);
    CHECK(f.db->stats().used == 0);
}

TEST_CASE("A release that is not certain closes the connection, and says what is known") {
    fixture f;
    guard held = lock(*f.db, word{"x"}, f.options());
    (void)f.heard.taken();
    errc expected = errc::lock_lost;
    const auto how = GENERATE(0, 1, 2, 3, 4);
    switch (how) {
    case 0: f.there.holders.clear(); break; // somebody has ended the session and it is another one
    case 1: f.s.next(site::execute, outcome::fail(error_class::disconnected)); break;
    case 2: f.s.next(site::execute, outcome::fail(error_class::timeout)), expected = errc::lock_failed; break;
    case 3: f.s.next(site::execute, outcome::throw_std()), expected = errc::lock_failed; break;
    case 4: f.there.instead = [](const auto&, auto) { return std::optional<std::string>{}; }; break;
    }
    const auto by_hand = GENERATE(false, true);
    if (by_hand) {
        const auto [code, text] = thrown([&] { (void)held.release(); });
        CHECK(code == expected);
        CHECK_THAT(text, ContainsSubstring("after 0ms; word x"));
        CHECK_FALSE(held);
        CHECK_FALSE(held.release());
    } else {
        held = guard{};
    }
    CHECK(f.heard.taken() == changes{lock_change::lost, lock_change::close_error});
    CHECK(f.s.closed() == 1);
    CHECK(gauges_of(*f.db) == gauges{});
    CHECK(f.heard.figures.count(lock_change::close_error, "named") == 1);
}

TEST_CASE("What the holder left open is ended before the lock") {
    fixture f;
    guard held = lock(*f.db, word{"x"}, f.options());
    (void)f.heard.taken();
    held.connection().begin();
    SECTION("a transaction is rolled back") {
        f.s.on(site::rollback, [&](const testing::call&) { CHECK(f.there.holders.size() == 1); });
        CHECK(held.release());
        CHECK(f.there.holders.empty());
        CHECK(f.s.calls(site::sever) == 0);
        CHECK(gauges_of(*f.db) == gauges{.idle = 1});
    }
    SECTION("what cannot be ended is cut, so that the server does not keep the lock until its end") {
        f.s.next(site::rollback, outcome::fail(error_class::other, "more is unread"));
        CHECK_THAT(thrown([&] { (void)held.release(); }).second, ContainsSubstring("more is unread"));
        CHECK(f.s.calls(site::sever) == 1);
        CHECK(f.s.closed() == 1);
        CHECK(f.there.said.back() == "take x 1");
    }
}

TEST_CASE("The guard knows when its session died") {
    fixture f;
    guard held = lock(*f.db, word{"x"}, f.options());
    (void)f.heard.taken();
    SECTION("by a look, without asking") {
        f.s.lose(1);
        CHECK_FALSE(held.owns());
        CHECK(held);
        CHECK(thrown([&] { (void)held.release(); }).first == errc::lock_lost);
    }
    SECTION("by asking") {
        const auto how = GENERATE(0, 1, 2);
        if (how == 0) f.s.lose(1);
        if (how == 1) f.there.holders.clear();
        if (how == 2) f.s.next(site::execute, outcome::fail(error_class::timeout));
        CHECK(thrown([&] { held.check(); }).first == errc::lock_lost);
        CHECK_FALSE(held);
        CHECK(f.heard.taken() == changes{lock_change::lost});
    }
    SECTION("and does not take a statement in progress for its end") {
        held.connection().leave_busy();
        failure why;
        CHECK_FALSE(held.check(1s, why));
        CHECK(why.code == errc::lock_failed);
        CHECK(held.owns());
        f.s.next(site::state, outcome::see(session_state::failed_transaction));
        f.s.next(site::ping, outcome::ok());
        held.connection().commit();
        held.driver().rollback(held.connection(), deadline::in(1s));
        held.connection().fail_transaction();
        held.check(1s);
        CHECK(f.s.calls(site::ping) == 1);
        CHECK(held.release());
        return;
    }
    CHECK(f.s.closed() == 1);
    CHECK(f.db->stats().used == 0);
}

TEST_CASE("A lock that is held for too long is told of once") {
    fixture f;
    guard held = lock(*f.db, word{"x"}, f.options({.max_hold = 1min}));
    (void)f.heard.taken();
    f.time.clock.advance(1min);
    CHECK(held.owns());
    CHECK(f.heard.taken().empty());
    f.time.clock.advance(1ns);
    SECTION("when it is looked at") {
        CHECK(held.owns());
        CHECK(f.heard.taken() == changes{lock_change::overdue});
        held.check();
        CHECK(held.release());
        CHECK(f.heard.taken() == changes{lock_change::released});
    }
    SECTION("or at its end") {
        held = guard{};
        CHECK(f.heard.taken() == changes{lock_change::overdue, lock_change::released});
    }
    CHECK(f.time.waits == 0);
}

TEST_CASE("… or its session is ended in time") {
    fixture f;
    f.time.standing = true;
    guard held = lock(*f.db, word{"x"}, f.options({.max_hold = 1min, .on_overdue = on_overdue::close}));
    (void)f.heard.taken();
    CHECK(held.owns());
    f.time.clock.advance(1min);
    REQUIRE(eventually([&] { return f.heard.figures.count(lock_change::overdue) == 1; }));
    CHECK(f.s.calls(site::sever) == 1);
    CHECK_FALSE(held.owns());
    CHECK(held);
    SECTION("and its release says so") {
        const auto [code, text] = thrown([&] { (void)held.release(); });
        CHECK(code == errc::lock_lost);
        CHECK_THAT(text, ContainsSubstring("max_hold"));
    }
    SECTION("and its check") { CHECK(thrown([&] { held.check(); }).first == errc::lock_lost); }
    SECTION("and its end") { held = guard{}; }
    CHECK(f.heard.taken() == changes{lock_change::overdue, lock_change::lost});
    CHECK(f.s.closed() == 1);
    CHECK(f.there.said == std::vector<std::string>{"take x 1"});
}

TEST_CASE("A watchdog goes with its lock") {
    fixture f;
    f.time.standing = true;
    guard held = lock(*f.db, word{"x"}, f.options({.max_hold = 1min, .on_overdue = on_overdue::close}));
    f.time.clock.advance(1min - 1ns);
    CHECK(held.release());
    f.time.clock.advance(1h);
    CHECK(f.s.calls(site::sever) == 0);
    CHECK(f.heard.taken() == changes{lock_change::acquired, lock_change::released});
}

TEST_CASE("A watchdog that cannot be had leaves nothing held") {
    fixture f;
    f.s.next(site::interrupter, outcome::ok()).next(site::interrupter, outcome::throw_std("no descriptor is left")); // the first one is the pool's
    std::error_code why;
    CHECK_FALSE(lock(*f.db, word{"x"}, f.options({.on_overdue = on_overdue::close}), why));
    CHECK(why == errc::lock_failed);
    CHECK(f.there.holders.empty());
    CHECK(f.db->stats().used == 0);
    CHECK(f.heard.taken() == changes{lock_change::failed});
}

TEST_CASE("Whichever allocation fails, nothing is held afterwards") {
    const auto how = GENERATE(on_overdue::warn, on_overdue::close);
    const bool from_then_on = GENERATE(false, true);
    std::size_t n = 1;
    for (bool failed = true; failed; ++n) {
        REQUIRE(n < 1000);
        fixture f;
        f.time.standing = true; // for the watchdog; nobody waits otherwise
        f.s.on(site::close, [&](const testing::call& c) { std::erase_if(f.there.holders, [&](const auto& h) { return h.second == c.connection; }); });
        (void)lock(*f.db, word{"x"}, f.options()).release();
        const lock_options o = f.options({.wait = 0s, .on_overdue = how});
        failure why;
        {
            const alloc_test::fail_at guard{n, from_then_on};
            auto held = lock(*f.db, word{"x"}, o, why);
            if (held && n % 2 == 0) (void)held.check(1s, why);
            if (n % 3 != 0) (void)held.release(why);
            held = {};
            failed = guard.failed();
        }
        CHECK(f.there.holders.empty());
        CHECK(f.db->stats().used == 0);
        CHECK((failed || !why));
    }
    CHECK(n > 5);
}

namespace {

/// A driver that can query: one row with one value for each statement, taken from the front.
struct querying {
    struct connection {
        bool busy = false;
    };
    struct rows {
        connection* c;
        std::optional<value_view> left;
        value_view now{};
        [[nodiscard]] static std::size_t columns() noexcept { return 1; }
        [[nodiscard]] static std::string_view name(std::size_t) noexcept { return "answer"; }
        bool next(deadline) {
            c->busy = left.has_value();
            if (left) now = *std::exchange(left, std::nullopt);
            return c->busy;
        }
        [[nodiscard]] value_view at(std::size_t) const { return now; }
        [[nodiscard]] static std::uint64_t affected() noexcept { return 1; }
    };
    connection open(deadline) { return {}; }
    void close(connection&) noexcept {}
    rows query(connection& c, const statement&, deadline) {
        c.busy = true;
        return {&c, answer};
    }
    std::optional<value_view> answer{};
};
static_assert(can_query<querying>);

} // namespace

TEST_CASE("A driver that can query is asked that way, and its rows are read to their end") {
    querying d;
    querying::connection c;
    const auto ask = [&](std::optional<value_view> answer) {
        d.answer = answer;
        const auto said = cenote::detail::ask_number(d, c, "select", deadline::in(1s));
        CHECK_FALSE(c.busy);
        return said;
    };
    CHECK(ask(value_view{-7}) == -7);
    CHECK(ask(value_view{7U}) == 7);
    CHECK(ask(value_view{"4711"}) == 4711);
    for (const char* bad : {"", "1 ", "x", "1.5", "99999999999999999999"}) CHECK_FALSE(ask(value_view{bad}));
    CHECK_FALSE(ask(value_view{nullptr}));
    CHECK_FALSE(ask(std::nullopt));
}

TEST_CASE("Options out of their range name field and rule") {
    fixture f;
    const auto said = [&](const lock_options& o) -> std::string {
        try {
            (void)lock(*f.db, word{"x"}, o);
        } catch (const std::invalid_argument& e) {
            return e.what();
        }
        return {};
    };
    CHECK(said({.wait = -1ns}) == "cenote: lock_options.wait = -1ns: must not be negative");
    CHECK(said({.poll = 0s}) == "cenote: lock_options.poll = 0s: must be above zero");
    CHECK(said({.answer = 0s}) == "cenote: lock_options.answer = 0s: must be above zero");
    CHECK(said({.max_hold = -1s}) == "cenote: lock_options.max_hold = -1s: must be above zero");
    CHECK(f.there.said.empty());
    failure why;
    CHECK_FALSE(lock(*f.db, word{"x"}, {.poll = 0s}, why));
    CHECK(why.code == errc::lock_failed);
    CHECK_THAT(why.text(), ContainsSubstring("lock_options.poll"));
}
