// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/shell/allocations.hpp"

#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <cstddef>
#include <new>
#include <system_error>
#include <thread>

using namespace pool_test;
using namespace alloc_test;

namespace {

struct in_background {
    static constexpr bool threads = true;
    static auto make(script s, auto... policies) { return pool{scripted{s}, background_thread{.max_dials = 1}, backoff{.first = 1us, .max = 1us}, policies...}; }
};
struct by_hand {
    static constexpr bool threads = false;
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, policies...}; }
};

/// Runs `f(n, from_then_on)` with the first, the second, … allocation failing, until one run needs fewer; each once alone and once
/// with all that follow. `f` says whether it came to a failure.
template <class F>
void sweep(F f) {
    for (const bool from_then_on : {false, true}) {
        std::size_t n = 1;
        while (f(n, from_then_on)) {
            REQUIRE(n < 500);
            ++n;
        }
        CHECK(n >= 1);
    }
}

/// Calls `f` with allocation `n` failing; a bad_alloc that comes out is expected, anything else is not.
template <class F>
bool fails_cleanly(std::size_t n, bool from_then_on, F f) {
    bool failed = false;
    {
        const fail_at guard{n, from_then_on};
        try {
            f();
        } catch (const std::bad_alloc&) {
        } catch (const error&) {
        }
        failed = guard.failed();
    }
    return failed;
}

/// The evidence of a failure is there or it is not, but the code is right.
void check_story(const failure& f, errc why) {
    CHECK(f.code == why);
    if (f.seen) CHECK(f.seen->max != 0);
}

} // namespace

TEMPLATE_TEST_CASE("case-D12: a steady state of acquire and give back allocates nothing", "", in_background, by_hand) {
    watched s{2};
    auto p = TestType::make(s, bounded{.max = 2});
    auto first = p.acquire(timeout{patience});
    first.give_back();
    std::error_code code;
    const std::size_t before = made_here();
    for (int i = 0; i < 100; ++i) {
        auto a = p.acquire();
        auto b = p.acquire(1s, code);
        a.give_back();
        b.give_back();
        auto c = p.try_acquire();
        c.tag("x");
        auto d = std::move(c);
        d.give_back();
        if (i == 0) continue; // the second connection was opened
        if (i == 1) break;
    }
    const std::size_t warm = made_here();
    for (int i = 0; i < 100; ++i) {
        auto a = p.acquire();
        auto b = p.acquire(1s, code);
    }
    CHECK(made_here() == warm);
    CHECK(warm >= before);
}

TEMPLATE_TEST_CASE("waiting allocates nothing", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, strictly_fair{});
    auto held = p.acquire(timeout{patience});
    std::size_t more = 1;
    bool got = false;
    std::error_code code;
    std::thread waiter{[&] {
        const std::size_t before = made_here();
        auto l = p.acquire(timeout{patience}, code);
        got = static_cast<bool>(l);
        l.give_back();
        (void)p.acquire(deadline{time_point::min()}, {}, code);
        more = made_here() - before;
    }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    const std::size_t before = made_here();
    held.give_back();
    const std::size_t here_too = made_here() - before;
    waiter.join();
    CHECK(got);
    CHECK(more == 0);
    CHECK(here_too == 0);
    held = p.acquire(timeout{patience});
    const std::size_t waited = made_here();
    (void)p.acquire(1ms, code); // a timeout without evidence
    CHECK(made_here() == waited);
    CHECK(code == errc::acquire_timeout);
}

TEST_CASE("a fixed pool on one thread never allocates") {
    watched s{2};
    const std::size_t before = made_here();
    std::size_t after = 0;
    {
        pool p{scripted{s}, profile::bare<2>{}};
        const std::size_t made = made_here();
        CHECK(made == before);
        auto l = p.acquire();
        const std::size_t opened = made_here(); // the scripted driver allocates its session
        l.give_back();
        l = p.acquire();
        l.give_back();
        after = made_here() - opened;
    }
    CHECK(after == 0);
}

TEMPLATE_TEST_CASE("case-D12: construction fails cleanly without memory", "", in_background, by_hand) {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{3};
        const bool failed = fails_cleanly(n, from_then_on, [&] {
            auto p = TestType::make(s, bounded{.min = TestType::threads ? 1U : 0U, .max = 3}, named{"a name that is too long for any small buffer"}, leak_threshold{}, counters{});
            const spared rest;
            check_capacity(p, 3);
        });
        return failed;
    });
}

TEMPLATE_TEST_CASE("case-D12: the noexcept forms of acquire never end the program for want of memory", "", in_background, by_hand) {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{1};
        auto p = TestType::make(s, bounded{.max = 1}, named{"a name that is too long for any small buffer"}, leak_threshold{}, counters{});
        bool failed = false;
        failure why;
        std::error_code code;
        typename decltype(p)::lease l;
        {
            const fail_at guard{n, from_then_on}; // also: the background thread cannot be started
            l = p.acquire(20ms, why);
            failed = guard.failed();
        }
        if (!l) CHECK(why.code);
        l.give_back();
        l = p.acquire(timeout{patience});
        {
            const fail_at guard{n, from_then_on};
            auto nothing = p.acquire(1ms, why);
            CHECK_FALSE(nothing);
            failed = failed || guard.failed();
        }
        check_story(why, errc::acquire_timeout);
        {
            const fail_at guard{n, from_then_on};
            auto nothing = p.acquire(1ms, code);
            failed = failed || guard.failed();
        }
        CHECK(code == errc::acquire_timeout);
        l.give_back();
        check_capacity(p, 1);
        return failed;
    });
}

TEST_CASE("a dial that fails without memory to say why is a failure all the same") {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{1};
        pool p{scripted{s}, manual{}, bounded{.max = 1}, counters{}, leak_threshold{}};
        s.always(site::open, outcome::fail(error_class::refused, "a text that is much too long for any small buffer of a string", 7, "a state that is long, too"));
        bool failed = false;
        failure why;
        {
            const fail_at guard{n, from_then_on};
            auto l = p.acquire(timeout{patience}, why);
            failed = guard.failed();
        }
        CHECK((why.code == errc::connect_failed || why.code == errc::out_of_memory));
        s.clear(site::open);
        check_capacity(p, 1);
        return failed;
    });
}

TEST_CASE("a background dial that fails without memory to say why reaches those who wait all the same") {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{1};
        bool failed = false;
        {
            pool p{scripted{s}, bounded{.max = 1}, counters{}, backoff{.first = 1us, .max = 1us}};
            check_capacity(p, 1);
            p.acquire().discard();
            REQUIRE(becomes(p, {}));
            s.always(site::open, outcome::fail(error_class::auth, "a text that is much too long for any small buffer of a string"));
            std::error_code code;
            {
                const fail_anywhere_at guard{n, from_then_on};
                auto l = p.acquire(50ms, code);
                failed = guard.failed();
            }
            CHECK((code == errc::connect_failed || code == errc::out_of_memory || code == errc::acquire_timeout));
            REQUIRE(becomes(p, {})); // no dial is on its way any more
            s.clear(site::open);
            check_capacity(p, 1);
        }
        return failed;
    });
}

TEMPLATE_TEST_CASE("case-D12: the throwing forms throw something for want of memory and lose nothing", "", in_background, by_hand) {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{1};
        auto p = TestType::make(s, bounded{.max = 1}, leak_threshold{}, counters{}, named{"a name that is too long for any small buffer"});
        bool failed = fails_cleanly(n, from_then_on, [&] { (void)p.acquire(20ms); });
        auto l = p.acquire(timeout{patience});
        failed = fails_cleanly(n, from_then_on, [&] { (void)p.acquire(1ms); }) || failed;
        l.give_back();
        check_capacity(p, 1);
        return failed;
    });
}

TEST_CASE("what hooks throw is passed on without memory too") {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{1};
        bool fails = true;
        pool p{scripted{s}, manual{}, bounded{.max = 1}, counters{}, leak_threshold{}, on_acquire{[&](testing::scripted_connection&) {
                   if (!fails) return;
                   const spared its_own_affair;
                   throw 42;
               }}};
        bool failed = false;
        failure why;
        {
            const fail_at guard{n, from_then_on};
            auto l = p.acquire(timeout{patience}, why);
            failed = guard.failed();
        }
        CHECK((why.code == errc::hook_failed || (failed && why.code)));
        fails = false;
        check_capacity(p, 1);
        return failed;
    });
}

TEMPLATE_TEST_CASE("case-D12: give back, discard and detach need no memory", "", in_background, by_hand) {
    watched s;
    auto p = TestType::make(s, bounded{.max = 4}, leak_threshold{}, counters{}, background<reset_if_dirty>{});
    for (int round = 0; round < 3; ++round) {
        auto a = p.acquire(timeout{patience});
        auto b = p.acquire(timeout{patience});
        auto c = p.acquire(timeout{patience});
        auto d = p.acquire(timeout{patience});
        b->begin();
        d->mark_detached();
        const std::size_t before = made_here();
        {
            const fail_at guard{1, true};
            a.give_back();
            b.give_back();
            c.discard();
            (void)d.detach();
        }
        CHECK(made_here() == before);
        (void)p.maintain();
        REQUIRE(becomes(p, {.idle = 2}));
    }
}

TEMPLATE_TEST_CASE("case-D12: resize either happens or changes nothing", "", in_background, by_hand) {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{40};
        auto p = TestType::make(s, bounded{.max = 1, .ceiling = 40});
        bool threw = false;
        bool failed = false;
        {
            const fail_at guard{n, from_then_on};
            try {
                p.resize(40);
            } catch (const std::bad_alloc&) {
                threw = true;
            }
            failed = guard.failed();
        }
        CHECK(threw == failed);
        CHECK(p.stats().max == (threw ? 1 : 40));
        check_capacity(p, threw ? 1 : 40);
        p.resize(2);
        check_capacity(p, 2);
        return failed;
    });
}

TEMPLATE_TEST_CASE("case-D12: closing without memory closes", "", in_background, by_hand) {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{2};
        auto p = TestType::make(s, bounded{.max = 2}, leak_threshold{}, never_cut{}, counters{});
        auto held = p.acquire(timeout{patience});
        p.acquire(timeout{patience}).give_back();
        const bool failed = fails_cleanly(n, from_then_on, [&] { (void)p.close(deadline{time_point::min()}); });
        std::error_code code;
        CHECK_FALSE(p.acquire(timeout{patience}, code));
        CHECK(code == errc::pool_closed);
        CHECK(good(held));
        held.give_back();
        CHECK(p.close(deadline::in(patience)).drained);
        return failed;
    });
}

TEMPLATE_TEST_CASE("closing without memory cuts", "", in_background, by_hand) {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{2};
        auto p = TestType::make(s, bounded{.max = 2}, leak_threshold{}, cut_at_close{0s});
        auto held = p.acquire(timeout{patience});
        const bool failed = fails_cleanly(n, from_then_on, [&] { (void)p.close(deadline{time_point::min()}); });
        (void)p.close(deadline{time_point::min()});
        CHECK(s.calls(site::sever) == 1);
        CHECK(held->lost());
        held.give_back();
        CHECK(p.close(deadline::in(patience)).drained);
        return failed;
    });
}

TEST_CASE("a pool on one thread that could not be closed for want of memory can be closed later") {
    const auto try_all = [](auto make) {
        sweep([&](std::size_t n, bool from_then_on) {
            watched s{2};
            auto p = make(s);
            auto held = p.acquire();
            p.acquire().give_back();
            const bool failed = fails_cleanly(n, from_then_on, [&] { (void)p.close(); });
            held.give_back();
            if (failed) { // whatever happened, closing again ends it
                (void)p.close();
            }
            CHECK_FALSE(p.try_acquire());
            CHECK(p.close().drained);
            return failed;
        });
    };
    try_all([](script s) { return pool{scripted{s}, profile::bare<2>{}}; });
    try_all([](script s) { return pool{scripted{s}, profile::bare<2>{}, counters{}, leak_threshold{}}; });
    try_all([](script s) { return pool{scripted{s}, single_threaded{}, bounded{.max = 2}}; });
}

TEMPLATE_TEST_CASE("maintain() needs no memory of its own", "", in_background, by_hand) {
    sweep([](std::size_t n, bool from_then_on) {
        watched s{3};
        manual_clock time;
        auto p = TestType::make(s, bounded{.min_idle = TestType::threads ? 0U : 1U, .max = 3}, idle_timeout{1s}, leak_threshold{1s}, counters{}, clock::manual{time});
        auto held = p.acquire(timeout{patience});
        p.acquire(timeout{patience}).give_back();
        time.advance(2s);
        bool failed = false;
        {
            const fail_at guard{n, from_then_on};
            (void)p.maintain();
            failed = guard.failed();
        }
        CHECK(p.stats().leaks == 1);
        held.give_back();
        check_capacity(p, 3);
        return failed;
    });
}
