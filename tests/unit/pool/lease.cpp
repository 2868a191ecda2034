// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

using namespace pool_test;

namespace {

struct in_background {
    static auto make(script s, auto... policies) { return pool{scripted{s}, policies...}; }
};
struct by_hand {
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, policies...}; }
};

struct death {
    int status = 0;
    std::string said;
};
/// Runs `f` in a child process that dies with it or at a time limit; what it wrote to stderr and how it ended.
template <class F>
death dies(F f) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::alarm(30);
        (void)::signal(SIGABRT, SIG_DFL); // Catch reports signals otherwise
        (void)::dup2(ends[1], 2);
        (void)::close(ends[0]);
        (void)::close(ends[1]);
        f();
        ::_exit(0);
    }
    (void)::close(ends[1]);
    death out;
    char buffer[256];
    for (;;) {
        const auto n = ::read(ends[0], buffer, sizeof buffer);
        if (n <= 0) break;
        out.said.append(buffer, static_cast<std::size_t>(n));
    }
    (void)::close(ends[0]);
    REQUIRE(::waitpid(child, &out.status, 0) == child);
    return out;
}

} // namespace

TEST_CASE("case-C9: a lease is one pointer, and an empty one owns nothing") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}};
    using lease = decltype(p)::lease;
    static_assert(sizeof(lease) == sizeof(void*) && sizeof(p) == sizeof(void*));
    static_assert(std::is_nothrow_move_constructible_v<lease> && std::is_nothrow_move_assignable_v<lease> && !std::is_copy_constructible_v<lease>);
    lease nothing;
    CHECK_FALSE(nothing);
    nothing.give_back();
    nothing.discard();
    nothing.tag("x");
    CHECK(s.opened() == 0);
}

TEST_CASE("case-C9: a moved lease takes its connection along, also onto itself and over another") {
    watched s{2};
    pool p{scripted{s}, manual{}, bounded{.max = 2}};
    auto a = p.acquire();
    auto b = std::move(a);
    CHECK_FALSE(a); // NOLINT: that is what is tested
    CHECK(b->id() == 1);
    auto& same = b;
    b = std::move(same);
    REQUIRE(b);
    CHECK(b->id() == 1);
    CHECK(gauges_of(p).used == 1);
    auto c = p.acquire();
    CHECK(c->id() == 2);
    b = std::move(c); // gives the first one back
    CHECK(b->id() == 2);
    CHECK(gauges_of(p) == gauges{.idle = 1, .used = 1});
    b = {};
    CHECK(gauges_of(p) == gauges{.idle = 2});
}

TEST_CASE("case-C9: giving back twice is giving back once") {
    watched s{1};
    recorder sink;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, sink};
    auto a = p.acquire();
    a.give_back();
    a.give_back();
    a.discard();
    CHECK(gauges_of(p) == gauges{.idle = 1});
    CHECK(sink.to->count("returned") == 1);
    auto b = p.acquire();
    a.give_back();
    CHECK(gauges_of(p) == gauges{.used = 1});
}

TEST_CASE("case-C4: a lease may be ended on another thread") {
    watched s{1};
    pool p{scripted{s}, bounded{.max = 1}};
    for (int i = 0; i < 50; ++i) {
        std::thread{[l = p.acquire(timeout{patience})]() mutable { l->use(); }}.join();
    }
    CHECK(s.opened() == 1);
    check_capacity(p, 1);
}

TEST_CASE("discard closes the connection: on the spot without a background thread, there with one") {
    SECTION("on the spot") {
        watched s{1};
        pool p{scripted{s}, manual{}, bounded{.max = 1}, counters{}};
        p.acquire().discard();
        CHECK(gauges_of(p) == gauges{});
        CHECK(s.closed() == 1);
        CHECK(p.get<counters>().closed_for(close_reason::discarded) == 1);
        check_capacity(p, 1);
    }
    SECTION("there") {
        watched s{1};
        door stuck;
        pool p{scripted{s}, bounded{.max = 1}, counters{}};
        s.next(site::close, outcome::ok().after(stuck));
        p.acquire(timeout{patience}).discard(); // does not wait for the stuck close
        REQUIRE(stuck.await(1));
        CHECK(gauges_of(p) == gauges{.closing = 1});
        CHECK_FALSE(p.try_acquire());
        stuck.open();
        check_capacity(p, 1);
        CHECK(s.opened() == 2);
        CHECK(p.get<counters>().closed_for(close_reason::discarded) == 1);
    }
}

TEMPLATE_TEST_CASE("a detached connection is its taker's, and its place is free at once", "", in_background, by_hand) {
    watched s;
    recorder sink;
    std::optional<testing::scripted_connection> taken;
    {
        auto p = TestType::make(s, bounded{.max = 1}, sink, counters{});
        {
            auto l = p.acquire(timeout{patience});
            l->mark_detached();
            taken.emplace(l.detach());
            CHECK_FALSE(l);
            CHECK(gauges_of(p) == gauges{});
        }
        CHECK(taken->id() == 1);
        taken->use();
        check_capacity(p, 1);
        CHECK(s.opened() == 2);
        CHECK(p.stats().detached == 1);
        CHECK(p.stats().closed == 0);
        CHECK(sink.to->count("detached") == 1);
    }
    taken->use(); // also when the pool is gone
}

TEMPLATE_TEST_CASE("detaching wakes somebody who waits for a place", "", in_background, by_hand) {
    watched s;
    auto p = TestType::make(s, bounded{.max = 1});
    auto l = p.acquire(timeout{patience});
    bool got = false;
    std::jthread waiter{[&] { got = good(p.acquire(timeout{patience})); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    l->mark_detached();
    auto taken = l.detach();
    waiter.join();
    CHECK(got);
}

// ── leases and the end of the pool ───────────────────────────────────────────────────────────────────────────────────────

TEMPLATE_TEST_CASE("case-C8: leases may outlive their pool; what comes back then is closed", "", in_background, by_hand) {
    watched s{3};
    using lease = typename decltype(TestType::make(s, bounded{.max = 3}))::lease;
    lease a, b, c;
    {
        auto p = TestType::make(s, bounded{.max = 3});
        a = p.acquire(timeout{patience});
        b = p.acquire(timeout{patience});
        c = p.acquire(timeout{patience});
    }
    CHECK(s.closed() == 0);
    CHECK(good(a));
    a.give_back();
    CHECK(s.closed() == 1);
    b.discard();
    CHECK(s.closed() == 2);
    c->begin();
    c.give_back(); // dirty: closed all the same
    CHECK(s.closed() == 3);
}

TEST_CASE("leases of a pool on one thread may outlive it too") {
    watched s{2};
    using lease = decltype(pool{scripted{s}, single_threaded{}, bounded{.max = 2}})::lease;
    lease a, b;
    {
        pool p{scripted{s}, single_threaded{}, bounded{.max = 2}};
        a = p.acquire();
        b = p.acquire();
    }
    CHECK(good(a));
    a.give_back();
    b.discard();
    CHECK(s.closed() == 2);
}

TEMPLATE_TEST_CASE("a pool may be moved, and move-assigned over, with leases out", "", in_background, by_hand) {
    watched s{2}, t{1};
    auto p = TestType::make(s, bounded{.max = 2});
    auto a = p.acquire(timeout{patience});
    auto q = std::move(p);
    CHECK(gauges_of(q).used == 1);
    a.give_back();
    CHECK(gauges_of(q) == gauges{.idle = 1});
    auto b = q.acquire(timeout{patience});
    auto other = TestType::make(t, bounded{.max = 1});
    auto c = other.acquire(timeout{patience});
    q = std::move(other); // ends the first pool
    CHECK(good(b));
    b.give_back();
    CHECK(s.closed() == 1);
    CHECK(gauges_of(q).used == 1);
    c.give_back();
    check_capacity(q, 1);
    auto& same = q;
    q = std::move(same);
    check_capacity(q, 1);
}

TEST_CASE("case-C8: a fixed pool destroyed with leases out ends the program and says how many and who") {
    const death d = dies([] {
        script s;
        static auto* const kept = new std::optional<cenote::lease<decltype(pool{scripted{s}, fixed<3>{}, leak_threshold{}})::core_type>>[2];
        pool p{scripted{s}, fixed<3>{}, leak_threshold{}};
        kept[0] = p.acquire();
        kept[1] = p.acquire();
        kept[1]->tag("import");
        auto third = p.acquire();
    });
    CHECK(WIFSIGNALED(d.status));
    CHECK(WTERMSIG(d.status) == SIGABRT);
    CHECK_THAT(d.said, ContainsSubstring("cenote: a fixed<N> pool was destroyed with 2 leases out"));
    CHECK_THAT(d.said, ContainsSubstring("held for ") && ContainsSubstring("lease.cpp:") && ContainsSubstring("[import]"));
}

TEST_CASE("a bare pool destroyed with a lease out ends the program too, closed before or not") {
    for (const bool closed : {false, true}) {
        const death d = dies([&] {
            script s;
            static auto* const kept = new std::optional<cenote::lease<decltype(pool{scripted{s}, profile::bare<2>{}})::core_type>>;
            pool p{scripted{s}, profile::bare<2>{}};
            *kept = p.acquire();
            if (closed) (void)p.close();
        });
        CHECK(WIFSIGNALED(d.status));
        CHECK_THAT(d.said, ContainsSubstring("destroyed with 1 leases out"));
    }
}

// ── close ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEMPLATE_TEST_CASE("close closes what is idle, is done when all is back, and may be called again", "", in_background, by_hand) {
    watched s{3};
    auto p = TestType::make(s, bounded{.max = 3}, never_cut{}, counters{});
    {
        auto a = p.acquire(timeout{patience});
        auto b = p.acquire(timeout{patience});
        b.give_back();
        const close_report r = p.close(deadline::in(0s));
        CHECK_FALSE(r.drained);
        CHECK(r.still_out == 1);
        CHECK(r.holders.empty());
        CHECK(s.await(site::close, 1, patience));
        CHECK(good(a)); // it is not cut
    }
    for (int i = 0; i < 3; ++i) {
        const close_report r = p.close(deadline::in(patience));
        CHECK(r.drained);
        CHECK(r.still_out == 0);
    }
    CHECK(gauges_of(p) == gauges{});
    CHECK(p.template get<counters>().closed_for(close_reason::shutdown) == 2);
    CHECK_FALSE(p.try_acquire());
    (void)p.maintain();
    p.suspend();
    p.resume();
    CHECK_FALSE(p.try_acquire());
    CHECK(s.opened() == 2);
}

TEST_CASE("close keeps min connections no longer") {
    watched s{2};
    pool p{scripted{s}, bounded{.min = 2, .max = 2}};
    REQUIRE(becomes(p, {.idle = 2}));
    CHECK(p.close(deadline::in(patience)).drained);
    (void)p.maintain();
    CHECK(s.opened() == s.closed());
}

TEMPLATE_TEST_CASE("close names who still holds", "", in_background, by_hand) {
    watched s{2};
    manual_clock time;
    auto p = TestType::make(s, bounded{.max = 2}, leak_threshold{}, cut_at_close{0s}, clock::manual{time});
    auto a = p.acquire(timeout{patience});
    time.advance(3s);
    auto b = p.acquire(timeout{patience});
    a.tag("import");
    const close_report r = p.close(deadline::in(0s));
    CHECK_FALSE(r.drained);
    CHECK(r.still_out == 2);
    REQUIRE(r.holders.size() == 2);
    CHECK(r.holders[0].age == 3s);
    CHECK(r.holders[0].text() == "3000ms at " + std::string{r.holders[0].where.file_name()} + ":" + std::to_string(r.holders[0].where.line()) + " [import]");
    CHECK(r.holders[1].age == 0s);
}

TEMPLATE_TEST_CASE("close waits for a lease that another thread holds", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1});
    door go;
    s.next(site::close, outcome::ok().after(go));
    auto l = p.acquire(timeout{patience});
    close_report first, second;
    std::jthread a{[&] { first = p.close(deadline::in(patience)); }};
    std::jthread b{[&] { second = p.close(deadline::never()); }}; // two of them at once
    REQUIRE(eventually([&] { return !p.try_acquire(); }));
    std::jthread holder{[l = std::move(l)]() mutable { l.give_back(); }};
    REQUIRE(go.await(1));
    go.open();
    a.join();
    b.join();
    CHECK(first.drained);
    CHECK(second.drained);
}

TEST_CASE("case-D6: closing twenty pools that are in use, from two threads each, leaves nothing behind") {
    for (int round = 0; round < 20; ++round) {
        watched s{3};
        pool p{scripted{s}, bounded{.max = 3}};
        std::vector<std::jthread> all;
        for (int t = 0; t < 3; ++t) {
            all.emplace_back([&] {
                std::error_code code;
                while (code != errc::pool_closed) {
                    auto l = p.acquire(timeout{patience}, code);
                    if (l) l->use();
                }
            });
        }
        all.emplace_back([&] { (void)p.close(deadline::in(patience)); });
        CHECK(p.close(deadline::in(patience)).drained);
        all.clear();
        CHECK(s.open_now() == 0);
    }
}

// ── stuck drivers ────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("a pool destroyed while a dial is stuck does not hang; the connection is closed once the driver lets go") {
    watched s{1};
    door stuck;
    s.next(site::open, outcome::ok().after(stuck));
    {
        pool p{scripted{s}, bounded{.max = 1}, background_thread{.max_dials = 1, .patience = 1ms}};
        do {
            CHECK(code_of([&] { (void)p.acquire(1ms); }) == errc::acquire_timeout);
        } while (stuck.waiting() == 0);
        CHECK(gauges_of(p) == gauges{.opening = 1});
        const close_report r = p.close(deadline::in(0s));
        CHECK_FALSE(r.drained);
        CHECK(r.still_out == 1);
    }
    CHECK(s.opened() == 0);
    stuck.open();
    REQUIRE(eventually([&] { return s.closed() == 1; }));
}

TEST_CASE("a pool destroyed while a dial is stuck that fails in the end leaves nothing behind") {
    watched s{1};
    door stuck;
    s.next(site::open, outcome::fail(error_class::refused).after(stuck));
    {
        pool p{scripted{s}, bounded{.max = 1}, background_thread{.patience = 0ms}};
        CHECK_FALSE(p.try_acquire());
        REQUIRE(stuck.await(1));
    }
    stuck.open();
    REQUIRE(eventually([&] { return s.open_now() == 0; }));
}

TEST_CASE("a pool destroyed while closing and cleaning are stuck does not hang") {
    watched s{2};
    door stuck;
    s.next(site::close, outcome::ok().after(stuck)).next(site::rollback, outcome::ok().after(stuck));
    {
        pool p{scripted{s}, bounded{.max = 2}, background<reset_if_dirty>{}, background_thread{.patience = 1ms}};
        auto a = p.acquire(timeout{patience});
        auto b = p.acquire(timeout{patience});
        a.discard();
        b->begin();
        b.give_back();
        REQUIRE(stuck.await(2));
    }
    stuck.open();
    REQUIRE(eventually([&] { return s.closed() == 2; }));
}

TEST_CASE("a lease that is still out while the pool's dial is stuck frees the pool together with it") {
    watched s{2};
    door stuck;
    using lease = decltype(pool{scripted{s}, bounded{.max = 2}, background_thread{}})::lease;
    lease kept;
    {
        pool p{scripted{s}, bounded{.max = 2}, background_thread{.patience = 0ms}};
        kept = p.acquire(timeout{patience});
        s.next(site::open, outcome::ok().after(stuck));
        CHECK_FALSE(p.try_acquire());
        REQUIRE(stuck.await(1));
    }
    CHECK(good(kept));
    SECTION("the lease first") {
        kept.give_back();
        stuck.open();
    }
    SECTION("the dial first") {
        stuck.open();
        REQUIRE(eventually([&] { return s.closed() == 1; }));
        kept.give_back();
    }
    REQUIRE(eventually([&] { return s.closed() == 2; }));
}
