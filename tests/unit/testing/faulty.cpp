// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <cenote/drivers/null.hpp>
#include <cenote/drivers/sqlite.hpp>
#if __has_include(<libpq-fe.h>)
#include <cenote/drivers/postgres.hpp>
#endif
#if __has_include(<mysql.h>)
#include <cenote/drivers/mysql.hpp>
#endif
#include <cenote/testing/conformance.hpp>
#include <cenote/testing/faulty.hpp>

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace pool_test;
using cenote::testing::check_driver;
using cenote::testing::fault_counts;
using cenote::testing::faults;
using cenote::testing::faulty;
using cenote::testing::injected_error;

namespace {

// ── what it has ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A bit for each refinement.
template <class D>
constexpr unsigned can() {
    unsigned bits = 0;
    for (const bool has : {can_peek<D>, can_ping<D>, can_tell_state<D>, can_rollback<D>, can_reset<D>, can_defer_reset<D>,
                           can_defer_rollback<D>, can_defer_script<D>, can_execute<D>, has_native_handle<D>, can_classify<D>, can_dial<D>,
                           can_interrupt<D>, can_abandon<D>, can_tell_role<D>}) {
        bits = bits * 2 + (has ? 1 : 0);
    }
    return bits;
}
template <class D>
inline constexpr bool same = driver<faulty<D>> && can<faulty<D>>() == can<D>();

struct least {
    using connection = int;
    int opened = 0;
    int open(deadline) { return ++opened; }
    void close(int& c) noexcept { c = -1; }
};

static_assert(same<least> && can<least>() == 0);
static_assert(same<null> && can<null>() == 0b111111111101111);
static_assert(same<sqlite> && !can_dial<faulty<sqlite>> && can_classify<faulty<sqlite>>);
static_assert(same<basic_scripted<refinement::none>> && same<scripted> && !can_dial<faulty<scripted>> && !can_abandon<faulty<scripted>>);
static_assert(same<faulty<null>>, "twice is as good as once");
#if __has_include(<libpq-fe.h>)
static_assert(same<postgres> && can_dial<faulty<postgres>> && can_abandon<faulty<postgres>> && can_defer_script<faulty<postgres>>);
#endif
#if __has_include(<mysql.h>)
static_assert(same<mysql> && can_dial<faulty<mysql>> && can_abandon<faulty<mysql>> && can_tell_role<faulty<mysql>>);
#endif
template <std::size_t... I>
constexpr bool same_for_each(std::index_sequence<I...>) {
    return (same<basic_scripted<static_cast<refinement>(1U << I)>> && ...) &&
           (same<basic_scripted<refinement::all - static_cast<refinement>(1U << I)>> && ...);
}
static_assert(same_for_each(std::make_index_sequence<12>{}), "each refinement alone, and all but each");

static_assert(std::is_base_of_v<sqlite::connection, faulty<sqlite>::connection>);
static_assert(std::is_nothrow_move_constructible_v<faulty<sqlite>::connection>);
static_assert(!std::is_copy_constructible_v<faulty<sqlite>::connection>);
static_assert(requires(faulty<sqlite>& d, faulty<sqlite>::connection& c) {
    { d.native_handle(c) } -> std::same_as<sqlite3*>;
});
static_assert(!std::is_constructible_v<faults, manual_clock&&>, "the clock must live");

// ── what the tests have in common ────────────────────────────────────────────────────────────────────────────────────────

const deadline never = deadline::never();
const auto refused = outcome::fail(error_class::refused, "nobody there");

/// The class of the driver_error that `f` throws; empty if it throws none.
template <class F>
std::optional<error_class> class_of(F f) {
    try {
        f();
    } catch (const driver_error& e) {
        return e.kind();
    }
    return std::nullopt;
}

/// A scripted driver with faults, whose script watches what reaches it.
struct bench {
    watched s{};
    manual_clock clock{};
    faults f{clock};

    [[nodiscard]] faulty<scripted> driver() const { return faulty{scripted{s}, f}; }
};

/// One connection, tested before each use and reset after each, by the thread that uses it.
auto one(const bench& b, auto... more) {
    return pool{b.driver(), manual{}, bounded{.max = 1}, pre_ping{}, at_return{reset_always{}}, connect_timeout{15s}, counters{}, more...};
}

} // namespace

TEST_CASE("without faults a wrapped driver passes the conformance check as well as it does by itself") {
    const auto begin = [](auto& c) { c.begin(); };
    const auto leave_busy = [](auto& c) { c.leave_busy(); };
    const auto use = [](auto& c) { c.use(); };
    script plain;
    const auto alone = check_driver(scripted{plain}, {.use = use, .begin = begin, .leave_busy = leave_busy, .bad_sql = {}});
    bench b;
    const auto wrapped = check_driver(b.driver(), {.use = use, .begin = begin, .leave_busy = leave_busy, .bad_sql = {}});
    INFO(wrapped);
    CHECK(wrapped.ok());
    CHECK(to_string(wrapped) == to_string(alone));
    CHECK(b.f.counts().hit == 0);
    CHECK(b.f.counts(site::open).calls == b.s.calls(site::open));
    CHECK(b.f.counts().calls > 100);

    const auto nothing = check_driver(faulty{null{}}, {.severs = false, .abandons = true, .bad_sql = {}});
    INFO(nothing);
    CHECK(nothing.ok());
}

TEST_CASE("a wrapped SQLite driver passes the conformance check") {
    using connection = faulty<sqlite>::connection;
    std::vector<std::unique_ptr<sqlite3_stmt, decltype([](sqlite3_stmt* q) { sqlite3_finalize(q); })>> forgotten; // after their connections
    const auto begin = [](connection& c) { (void)sqlite3_exec(c.handle(), "begin immediate", nullptr, nullptr, nullptr); };
    const auto leave_busy = [&](connection& c) {
        sqlite3_stmt* q = nullptr;
        (void)sqlite3_prepare_v2(c.handle(), "values (1), (2)", -1, &q, nullptr);
        forgotten.emplace_back(q);
        (void)sqlite3_step(q);
    };
    const auto report = check_driver(faulty{sqlite{"file:faulty-conformance?mode=memory&cache=shared"}},
                                     {.begin = begin, .leave_busy = leave_busy});
    INFO(report);
    CHECK(report.ok());
}

TEST_CASE("what cannot be derived from is held") {
    faults f;
    pool p{faulty{least{}, f}, bounded{.max = 1}, manual{}};
    auto l = p.acquire();
    CHECK(**l == 1);
    int& same_one = *l;
    CHECK(&same_one == &**l);
    f.next(site::open, refused);
    l.discard();
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::connect_failed);
    CHECK(**p.acquire() == 2);
    CHECK(p.driver().wrapped().opened == 2);
}

// ── what goes wrong where ────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("every site that may throw throws what was asked for, and the driver is not called") {
    struct {
        site where;
        void (*call)(faulty<scripted>&, faulty<scripted>::connection&, deadline);
    } const calls[] = {
        {site::ping, [](auto& d, auto& c, deadline by) { d.ping(c, by); }},
        {site::rollback, [](auto& d, auto& c, deadline by) { d.rollback(c, by); }},
        {site::reset, [](auto& d, auto& c, deadline by) { d.reset(c, by); }},
        {site::execute, [](auto& d, auto& c, deadline by) { d.execute(c, "select 1", by); }},
        {site::role, [](auto& d, auto& c, deadline by) { (void)d.role(c, by); }},
        {site::interrupter, [](auto& d, auto& c, deadline) { (void)d.interrupter(c); }},
        {site::open,
         [](auto& d, auto&, deadline by) {
             auto c = d.open(by);
             d.close(c);
         }},
        {site::cancel,
         [](auto& d, auto& c, deadline by) {
             auto t = d.interrupter(c);
             d.cancel(t, by);
         }},
        {site::reset_finish,
         [](auto& d, auto& c, deadline by) {
             if (d.reset_start(c)) d.reset_finish(c, by);
         }},
    };
    for (const auto& [where, call] : calls) {
        INFO(to_string(where));
        bench b;
        auto d = b.driver();
        auto c = d.open(never);
        const std::size_t before = b.s.calls(where);

        for (const error_class kind : {error_class::other, error_class::auth, error_class::serialization, error_class::timeout}) {
            b.f.next(where, outcome::fail(kind, "as asked", 7, "XX000"));
            try {
                call(d, c, never);
                FAIL("it threw nothing");
            } catch (const injected_error& e) {
                CHECK(e.kind() == kind);
                CHECK(e.what() == std::string{"as asked"});
                CHECK(e.native_code() == 7);
                CHECK(e.sqlstate() == "XX000");
            }
            if (where == site::reset_finish) d.wrapped().reset_finish(c, never); // the answer is still due
        }
        b.f.next(where, outcome::throw_std()).next(where, outcome::throw_int(3)).next(where, outcome::raise(std::string{"mine"}));
        CHECK_THROWS_AS(call(d, c, never), std::runtime_error);
        if (where == site::reset_finish) d.wrapped().reset_finish(c, never);
        CHECK_THROWS_AS(call(d, c, never), int);
        if (where == site::reset_finish) d.wrapped().reset_finish(c, never);
        CHECK_THROWS_AS(call(d, c, never), std::string);
        if (where == site::reset_finish) d.wrapped().reset_finish(c, never);
        const std::size_t own = where == site::reset_finish ? 7 : 0;
        CHECK(b.s.calls(where) == before + own);
        CHECK(b.f.counts(where) == fault_counts{.calls = 7 + (where == site::open ? 1U : 0U), .hit = 7, .thrown = 7});

        if (where != site::interrupter) { // has no deadline
            b.f.next(where, outcome::until_deadline()).next(where, outcome::ok().after(2h)).next(where, refused.after(1s));
            CHECK(class_of([&] { call(d, c, deadline::in(1h)); }) == error_class::timeout);
            if (where == site::reset_finish) d.wrapped().reset_finish(c, never);
            CHECK(b.clock.now() > manual_clock::start + 50min);
            CHECK(b.clock.now() <= manual_clock::start + 1h);
            CHECK(class_of([&] { call(d, c, deadline::in(1h)); }) == error_class::timeout);
            if (where == site::reset_finish) d.wrapped().reset_finish(c, never);
            CHECK(class_of([&] { call(d, c, deadline::in(1h)); }) == error_class::refused);
            if (where == site::reset_finish) d.wrapped().reset_finish(c, never);
            CHECK(b.f.counts(where).timeouts == 2);
            CHECK(b.f.counts(where).delayed == 3);
        }
        b.f.next(where, outcome::ok().after(1s));
        CHECK_NOTHROW(call(d, c, deadline::in(1h)));
        CHECK(b.f.counts(where).thrown == (where == site::interrupter ? 7U : 10U));
        CHECK(b.s.calls(where) > before + own);
        CHECK_FALSE(b.f.is_lost(c));
        d.close(c);
    }
}

TEST_CASE("answers can be made up, starts refused, and what cannot throw delayed") {
    bench b;
    auto d = b.driver();
    auto c = d.open(never);
    b.f.next(site::peek, outcome::see(liveness::dead)).next(site::state, outcome::see(session_state::busy));
    b.f.next(site::role, outcome::see(server_role::standby));
    CHECK(d.peek(c) == liveness::dead);
    CHECK(d.peek(c) == liveness::quiet);
    CHECK(d.state(c) == session_state::busy);
    CHECK(d.state(c) == session_state::idle);
    CHECK(d.role(c, never) == server_role::standby);
    CHECK(d.role(c, never) == server_role::primary);
    for (const site s : {site::reset_start, site::rollback_start, site::execute_start}) b.f.next(s, outcome::would_block());
    CHECK_FALSE(d.reset_start(c));
    CHECK_FALSE(d.rollback_start(c));
    CHECK_FALSE(d.execute_start(c, "select 1"));
    CHECK(b.s.calls(site::reset_start) + b.s.calls(site::rollback_start) + b.s.calls(site::execute_start) == 0);
    CHECK(d.execute_start(c, "select 2"));
    d.reset_finish(c, never);
    CHECK(b.s.executed() == std::vector<std::string>{"select 2"});
    CHECK(b.f.counts().answered == 6);

    auto t = d.interrupter(c);
    for (const site s : {site::close, site::sever, site::peek, site::state}) b.f.next(s, outcome::ok().after(1h));
    (void)d.peek(c);
    (void)d.state(c);
    d.sever(t, deadline::in(1min)); // waits no longer than that, and severs then
    CHECK(c.lost());
    d.close(c);
    CHECK(b.f.counts().delayed == 4);
    CHECK(b.clock.now() > manual_clock::start + 3h);
    CHECK(b.clock.now() <= manual_clock::start + 3h + 1min);
}

TEST_CASE("a dialling is refused, delayed and hung like an open, and never waits in a step") {
    faults f; // on the real clock
    faulty d{null{}, f};
    f.next(site::open, refused);
    CHECK(class_of([&] { (void)d.dial(never); }) == error_class::refused);

    f.next(site::open, outcome::until_deadline());
    const deadline soon = deadline::in(1h);
    auto hung = d.dial(soon);
    CHECK_FALSE(hung.step());
    CHECK(hung.until() == soon);
    CHECK(hung.descriptor() == -1);

    f.next(site::open, outcome::ok().after(1min));
    auto slow = d.dial(never);
    CHECK_FALSE(slow.step());
    CHECK(slow.until() <= deadline::in(1min));
    f.stop();
    CHECK(slow.step());
    CHECK_FALSE(f.is_lost(slow.take()));
    auto moved = std::move(hung);
    CHECK(moved.step());
    f.start();

    f.next(site::open, outcome::until_deadline());
    auto late = d.dial(deadline{time_point{}});
    CHECK(class_of([&] { (void)late.step(); }) == error_class::timeout);
    f.next(site::open, refused.after(1ns));
    auto failing = d.dial(never);
    CHECK(eventually([&] { return failing.until().expired(); }));
    CHECK(class_of([&] { (void)failing.step(); }) == error_class::refused);
    f.next(site::open, outcome::ok().then_lost());
    auto last = d.dial(never);
    CHECK(last.step());
    CHECK(f.is_lost(last.take()));

    manual_clock clock;
    faulty skipping{null{}, faults{clock}};
    skipping.faults().next(site::open, outcome::ok().after(1h)).next(site::open, outcome::until_deadline());
    CHECK(skipping.dial(never).step());
    CHECK(clock.now() > manual_clock::start + 50min);
    CHECK(class_of([&] { (void)skipping.dial(never); }) == error_class::timeout);
}

// ── lost sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("a lost session looks dead, and every call that needs it throws without reaching the driver") {
    for (const bool told : {false, true}) {
        bench b;
        auto d = b.driver();
        auto c = d.open(never);
        auto other = d.open(never);
        if (told) b.f.lose(c);
        else b.f.lose_all();
        CHECK(b.f.is_lost(c));
        CHECK(b.f.is_lost(other) == !told);
        const std::size_t before = b.s.calls(site::ping) + b.s.calls(site::reset) + b.s.calls(site::reset_start);
        CHECK(d.state(c) == (told ? session_state::unknown : session_state::idle)); // a restart is noticed when it is met
        CHECK(d.peek(c) == liveness::dead);
        CHECK(d.reset_start(c));
        CHECK(class_of([&] { d.reset_finish(c, never); }) == error_class::disconnected);
        CHECK(d.state(c) == session_state::unknown);
        CHECK(class_of([&] { d.ping(c, never); }) == error_class::disconnected);
        CHECK(class_of([&] { d.reset(c, never); }) == error_class::disconnected);
        CHECK(class_of([&] { d.rollback(c, never); }) == error_class::disconnected);
        CHECK(class_of([&] { d.execute(c, "select 1", never); }) == error_class::disconnected);
        CHECK(class_of([&] { (void)d.role(c, never); }) == error_class::disconnected);
        CHECK(b.s.calls(site::ping) + b.s.calls(site::reset) + b.s.calls(site::reset_start) == before);
        auto fresh = d.open(never);
        CHECK_NOTHROW(d.ping(fresh, never));
        for (auto* x : {&c, &other, &fresh}) d.close(*x);
        CHECK(b.f.counts().hit == 0);
    }
}

TEST_CASE("a session is lost after the call that was the last to work, and by the error that says so") {
    bench b;
    auto d = b.driver();
    b.f.next(site::open, outcome::ok().then_lost());
    auto c = d.open(never);
    CHECK(b.f.is_lost(c));
    d.close(c);

    c = d.open(never);
    b.f.next(site::execute, outcome::ok().then_lost());
    d.execute(c, "insert", never);
    CHECK(b.s.executed() == std::vector<std::string>{"insert"});
    CHECK(b.f.is_lost(c));
    CHECK(d.state(c) == session_state::idle);
    CHECK(class_of([&] { d.ping(c, never); }) == error_class::disconnected);
    CHECK(d.state(c) == session_state::unknown);
    d.close(c);

    c = d.open(never);
    b.f.next(site::reset, outcome::until_deadline().then_lost());
    CHECK(class_of([&] { d.reset(c, deadline::in(1s)); }) == error_class::timeout);
    CHECK(d.state(c) == session_state::unknown);
    d.close(c);

    c = d.open(never);
    b.f.next(site::ping, outcome::fail(error_class::disconnected));
    CHECK(class_of([&] { d.ping(c, never); }) == error_class::disconnected);
    CHECK(b.f.is_lost(c));
    d.close(c);

    c = d.open(never);
    b.f.next(site::reset_start, outcome::ok().then_lost());
    CHECK(d.reset_start(c));
    CHECK(class_of([&] { d.reset_finish(c, never); }) == error_class::disconnected);
    d.close(c);
    CHECK(b.f.counts().dropped == 5);

    // However the call ends: by anything thrown, and by what the driver throws itself.
    for (const bool own : {false, true}) {
        c = d.open(never);
        if (own) b.s.next(site::reset, outcome::throw_int());
        b.f.next(site::reset, (own ? outcome::ok() : outcome::throw_int()).then_lost());
        CHECK_THROWS_AS(d.reset(c, never), int);
        CHECK(b.f.is_lost(c));
        CHECK(d.state(c) == (own ? session_state::idle : session_state::unknown));
        d.close(c);
    }
    // Where there is no session, none is lost.
    b.f.next(site::open, refused.then_lost()).next(site::open, outcome::fail(error_class::disconnected));
    for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(d.open(never), injected_error);
    CHECK(b.f.counts().dropped == 7);
}

TEST_CASE("the scripted driver, too, loses a session after the call that was the last to work") {
    watched s;
    scripted d{s};
    s.next(site::open, outcome::ok().then_lost());
    auto c = d.open(never);
    CHECK(c.lost());
    d.close(c);
    for (const bool fails : {false, true}) {
        c = d.open(never);
        s.next(site::ping, (fails ? outcome::throw_int() : outcome::ok()).then_lost());
        if (fails) CHECK_THROWS_AS(d.ping(c, never), int);
        else CHECK_NOTHROW(d.ping(c, never));
        CHECK(c.lost());
        d.close(c);
    }
    c = d.open(never);
    s.next(site::reset_start, outcome::ok().then_lost());
    CHECK(d.reset_start(c));
    CHECK(class_of([&] { d.reset_finish(c, never); }) == error_class::disconnected);
    d.close(c);
    CHECK_THROWS_AS(s.next(site::peek, outcome::ok().then_lost()), std::invalid_argument);
    CHECK_THROWS_AS(s.next(site::close, outcome::ok().then_lost()), std::invalid_argument);
}

// ── how it is said ───────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("what is queued comes first, then what chance says, then what is always so") {
    faults f;
    faulty d{null{}, f};
    const auto met = [&] {
        std::string all;
        for (int i = 0; i < 6; ++i) {
            const auto k = class_of([&] { (void)d.open(never); });
            all += k ? to_string(*k).front() : '.';
        }
        return all;
    };
    const auto fail = [](error_class k) { return outcome::fail(k); };
    f.nth(site::open, 3, fail(error_class::auth)).next(site::open, fail(error_class::serialization), 3);
    CHECK(met() == "ssas..");
    f.always(site::open, fail(error_class::refused)).nth(site::open, 2, fail(error_class::auth)).nth(site::open, 4, outcome::ok());
    CHECK(met() == "rar.rr");
    f.randomly(site::open, 1, fail(error_class::timeout)).next(site::open, outcome::ok());
    CHECK(met() == ".ttttt");
    f.clear(site::open);
    CHECK(met() == "......");
    f.next(site::open, refused).next(site::ping, refused).clear();
    CHECK(met() == "......");
}

TEST_CASE("chance is a matter of the seed, the site and the number of the call alone") {
    const auto throws = [](std::uint64_t seed, site s) {
        faults f;
        faulty d{null{}, f};
        f.seed(seed).randomly(s, 0.2, outcome::throw_int(1)).randomly(s, 0.1, outcome::throw_int(2));
        auto c = d.open(never);
        std::array<std::size_t, 3> n{};
        std::string all;
        for (int i = 0; i < 10000; ++i) {
            int kind = 0;
            try {
                if (s == site::ping) d.ping(c, never);
                else d.reset(c, never);
            } catch (int k) {
                kind = k;
            }
            ++n[static_cast<std::size_t>(kind)];
            all += static_cast<char>('0' + kind);
        }
        CHECK(n[1] > 1800);
        CHECK(n[1] < 2200);
        CHECK(n[2] > 850);
        CHECK(n[2] < 1150);
        CHECK(f.counts(s) == fault_counts{.calls = 10000, .hit = n[1] + n[2], .thrown = n[1] + n[2]});
        return all;
    };
    const auto first = throws(7, site::ping);
    CHECK(first == throws(7, site::ping));
    CHECK(first != throws(8, site::ping));
    CHECK(first != throws(7, site::reset));
}

TEST_CASE("what cannot be is refused with a sentence") {
    faults f;
    const auto said = [](auto call) -> std::string {
        try {
            call();
        } catch (const std::invalid_argument& e) {
            return e.what();
        }
        return "nothing";
    };
    for (const site s : {site::close, site::peek, site::state, site::sever, site::reset_start, site::rollback_start, site::execute_start}) {
        CHECK(said([&] { f.next(s, refused); }) ==
              "cenote: faults." + std::string{to_string(s)} + " = an outcome of another call: must be one that this call can have");
    }
    for (const site s : {site::close, site::peek, site::state, site::interrupter, site::reset_start}) {
        CHECK_THAT(said([&] { f.always(s, outcome::until_deadline()); }), ContainsSubstring("= until_deadline: must be one that ends"));
    }
    for (const site s : {site::close, site::peek, site::state, site::interrupter, site::cancel, site::sever}) {
        CHECK_THROWS_AS(f.next(s, outcome::ok().then_lost()), std::invalid_argument);
    }
    CHECK_THROWS_AS(f.next(site::ping, outcome::see(liveness::dead)), std::invalid_argument);
    CHECK_THROWS_AS(f.next(site::reset, outcome::would_block()), std::invalid_argument);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const double share : {-0.1, 1.1, nan}) {
        CHECK_THAT(said([&] { f.randomly(site::ping, share, refused); }), ContainsSubstring("must be 0 to 1"));
    }
    f.randomly(site::ping, 0.6, refused);
    CHECK_THAT(said([&] { f.randomly(site::ping, 0.5, refused); }), ContainsSubstring("all shares of the site at 1 or less"));
    CHECK_THAT(said([&] { f.nth(site::ping, 0, refused); }), ContainsSubstring("faults.nth(n) = 0: must be 1 to 1000000"));
}

TEST_CASE("a hook sees each call, and what it throws comes out of it") {
    bench b;
    auto d = b.driver();
    auto c = d.open(never);
    std::vector<std::string> seen;
    b.f.on(site::execute, [&](const testing::call& k) {
        seen.push_back(std::to_string(k.connection) + "/" + std::to_string(k.number) + " " + std::string{k.sql});
        if (k.sql.starts_with("insert")) throw driver_error{error_class::constraint, "no"};
    });
    d.execute(c, "select 1", never);
    CHECK(class_of([&] { d.execute(c, "insert", never); }) == error_class::constraint);
    CHECK(seen == std::vector<std::string>{"1/1 select 1", "1/2 insert"});
    CHECK(b.f.counts(site::execute).thrown == 1);
    b.f.on(site::execute, nullptr);
    CHECK_NOTHROW(d.execute(c, "insert", never));
    d.close(c);
}

namespace {
/// Knows its own errors only.
struct own_errors : least {
    [[nodiscard]] error_class classify(const std::exception& e) noexcept {
        return dynamic_cast<const std::out_of_range*>(&e) != nullptr ? error_class::server_full : error_class::other;
    }
};
} // namespace

TEST_CASE("an injected class survives a driver that classifies for itself, and its own errors keep theirs") {
    faults f;
    pool p{faulty{own_errors{}, f}, manual{}, bounded{.max = 1}};
    f.next(site::open, outcome::fail(error_class::not_ready)).next(site::open, outcome::raise(std::out_of_range{"slots"}));
    f.nth(site::open, 3, outcome::throw_int());
    for (const error_class kind : {error_class::not_ready, error_class::server_full, error_class::other}) {
        failure why;
        CHECK_FALSE(p.acquire(timeout{1s}, why));
        CHECK(why.code == errc::connect_failed);
        CHECK(why.seen->last_connect_error.kind == kind);
    }
    CHECK(p.acquire());
}

// ── through a pool ───────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("a pool loses no slot to any fault at any site, and says what it was") {
    const auto kinds = {outcome::fail(error_class::auth), outcome::fail(error_class::disconnected), outcome::throw_int(),
                        outcome::until_deadline(),        outcome::ok().after(1s),                  outcome::ok().then_lost(),
                        outcome::fail(error_class::timeout).after(1ms).then_lost()};
    for (const site s : {site::open, site::ping, site::reset}) {
        for (const auto& kind : kinds) {
            INFO(to_string(s));
            bench b;
            auto p = one(b);
            { auto first = p.acquire(); }
            if (s == site::open) b.f.lose_all();
            b.f.next(s, kind);
            for (int i = 0; i < 3; ++i) {
                std::error_code ignored;
                if (auto l = p.acquire(timeout{patience}, ignored)) CHECK(l->pristine());
            }
            CHECK(b.f.counts(s).hit == 1);
            CHECK(gauges_of(p) == gauges{.idle = 1});
            check_capacity(p, 1);
        }
    }
}

TEST_CASE("connecting fails with the class that was asked for, twice, and then does not") {
    bench b;
    auto p = one(b);
    b.f.next(site::open, refused, 2).next(site::open, outcome::until_deadline());
    for (int i = 0; i < 2; ++i) {
        failure why;
        CHECK_FALSE(p.acquire(timeout{1s}, why));
        CHECK(why.code == errc::connect_failed);
        CHECK(why.seen->last_connect_error.kind == error_class::refused);
        CHECK(why.seen->last_connect_error.text == "nobody there");
    }
    CHECK(code_of([&] { (void)p.acquire(1s); }) == errc::connect_timeout);
    CHECK(p.acquire(1s));
    CHECK(b.f.counts(site::open) == fault_counts{.calls = 4, .hit = 3, .thrown = 3, .timeouts = 1, .delayed = 1});
}

TEST_CASE("a lease that its user marks lost is closed when it comes back, and the others are tested") {
    bench b;
    pool p{b.driver(), manual{}, bounded{.max = 2}, counters{}};
    {
        auto x = p.acquire(), y = p.acquire();
        CHECK(x);
        CHECK(y);
    }
    {
        auto l = p.acquire();
        b.f.lose(*l);
    }
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{.idle = 1});
    CHECK(b.s.closed() == 1);
    const std::size_t pings = b.s.calls(site::ping);
    CHECK(p.acquire());
    CHECK(b.s.calls(site::ping) == pings + 1);

    const auto work = [&](auto& c) {
        p.driver().execute(c, "select 1", never);
        b.f.lose(c);
        p.driver().execute(c, "select 2", never);
    };
    CHECK_THROWS_AS(p.with(work), injected_error);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});
}

TEST_CASE("faults are switched on and off while a pool runs, and a call that hangs goes on when they stop") {
    watched s{1};
    faults f; // on the real clock: nothing but stop() ends this
    pool p{faulty{scripted{s}, f}, bounded{.max = 1}, no_connect_timeout{}};
    f.always(site::open, outcome::until_deadline());
    std::jthread waiter{[&] { (void)good(p.acquire(timeout{patience})); }};
    REQUIRE(f.await(site::open, 1));
    CHECK(gauges_of(p) == gauges{.opening = 1});
    f.stop();
    waiter.join();
    CHECK(s.opened() == 1);
    f.always(site::ping, refused).always(site::peek, outcome::see(liveness::dead));
    CHECK(good(p.acquire())); // stopped
    CHECK(s.opened() == 1);
    f.clear().start();

    // A stop that is over at once has ended it all the same.
    f.next(site::ping, outcome::until_deadline());
    const std::size_t pings = f.counts(site::ping).calls;
    std::jthread pinging{[&] {
        auto l = p.acquire();
        p.driver().ping(*l, deadline::never());
    }};
    REQUIRE(f.await(site::ping, pings + 1));
    f.stop();
    f.start();
    pinging.join();
    f.next(site::state, outcome::see(session_state::unknown));
    { auto l = p.acquire(); }
    REQUIRE(becomes(p, {}));
    CHECK(s.closed() == 1);
}

TEST_CASE("a gate holds a call whatever its deadline says") {
    watched s{1};
    faults f;
    door shut;
    pool p{faulty{scripted{s}, f}, bounded{.max = 1}, connect_timeout{1ms}};
    f.next(site::open, outcome::ok().after(shut));
    std::jthread waiter{[&] { (void)good(p.acquire(timeout{patience})); }};
    REQUIRE(shut.await(1));
    CHECK(gauges_of(p) == gauges{.opening = 1});
    shut.open();
    waiter.join();
    REQUIRE(becomes(p, {.idle = 1}));
    CHECK(f.counts(site::open).delayed == 1);
}

TEST_CASE("threads use a pool while another scripts its faults: no slot is lost and every session is closed") {
    watched s{4};
    manual_clock clock;
    faults f{clock};
    {
        pool p{faulty{scripted{s}, f}, bounded{.max = 4}, pre_ping{}, backoff{.first = 1us, .max = 10us}, no_breaker{}};
        std::atomic<bool> over{false};
        std::atomic<unsigned> dirty{0};
        std::vector<std::jthread> users;
        for (int i = 0; i < 4; ++i) {
            users.emplace_back([&] {
                for (int k = 0; k < 300; ++k) {
                    std::error_code ignored;
                    auto l = p.acquire(timeout{2ms}, ignored);
                    if (!l) continue;
                    if (!l->pristine()) ++dirty;
                    if (k % 3 == 0) l->begin();
                    if (k % 7 == 0) f.lose(*l);
                }
            });
        }
        std::jthread adversary{[&] {
            for (unsigned i = 0; !over; ++i) {
                for (const site at : {site::open, site::ping, site::reset_finish, site::rollback, site::interrupter}) {
                    f.clear(at).randomly(at, 0.2, outcome::fail(error_class::disconnected)).randomly(at, 0.1, outcome::throw_int());
                    if (at != site::interrupter) f.randomly(at, 0.2, outcome::until_deadline());
                }
                if (i % 4 == 0) f.lose_all();
                if (i % 5 == 0) f.stop();
                else f.start();
                std::this_thread::yield();
            }
        }};
        users.clear();
        over = true;
        adversary.join();
        f.stop();
        CHECK(dirty == 0);
        check_capacity(p, 4);
        CHECK(f.counts().hit > 0);
    }
    CHECK(f.counts(site::close).calls == s.opened());
}
