// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <utility>
#include <vector>

using namespace pool_test;

namespace {

/// Everything off: a return is a push and nothing else.
struct bare {
    static auto make(script s) { return pool{scripted{s}, profile::bare<3>{}}; }
};
/// A return does work, but nothing besides closing could want its attention.
struct bare_with_work {
    static auto make(script s) { return pool{scripted{s}, profile::bare<3>{}, counters{}, leak_threshold{}, max_uses{100}, background<reset_if_dirty>{}}; }
};
struct bare_deferred {
    static auto make(script s) { return pool{scripted{s}, profile::bare<3>{}, deferred<reset_always>{}, pre_ping{}}; }
};
struct on_the_heap {
    static auto make(script s) { return pool{scripted{s}, single_threaded{}, bounded{.max = 3}}; }
};

} // namespace

TEMPLATE_TEST_CASE("a pool on one thread hands out up to its maximum and is exhausted then", "", bare, bare_with_work, bare_deferred, on_the_heap) {
    watched s{3};
    auto p = TestType::make(s);
    check_capacity(p, 3);
    auto a = p.acquire(), b = p.acquire(), c = p.acquire();
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::exhausted);
    CHECK(code_of([&] { (void)p.acquire(1h); }) == errc::exhausted);
    CHECK_FALSE(p.try_acquire());
    std::swap(a, b);
    b.discard();
    CHECK(good(p.acquire()));
    CHECK(s.opened() == 4);
}

TEMPLATE_TEST_CASE("a pool on one thread closes with leases out; they stay usable and come back to nobody", "", bare, bare_with_work, bare_deferred, on_the_heap) {
    watched s{3};
    auto p = TestType::make(s);
    auto a = p.acquire(), b = p.acquire();
    p.acquire().give_back();
    const close_report first = p.close();
    CHECK_FALSE(first.drained);
    CHECK(first.still_out == 2);
    CHECK(s.closed() == 1);
    CHECK(good(a));
    a.give_back();
    CHECK_FALSE(p.try_acquire());
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::pool_closed);
    const close_report second = p.close();
    CHECK_FALSE(second.drained);
    CHECK(second.still_out == 1);
    CHECK(s.closed() == 2);
    b.give_back();
    CHECK_FALSE(p.try_acquire());
    CHECK(p.close().drained);
    CHECK(s.closed() == 3);
    CHECK(s.opened() == 3);
}

TEMPLATE_TEST_CASE("what comes back to a closed pool on one thread is closed by its end", "", bare, bare_with_work, bare_deferred, on_the_heap) {
    watched s{3};
    {
        auto p = TestType::make(s);
        auto a = p.acquire(), b = p.acquire(), c = p.acquire();
        (void)p.close();
        a.give_back();
        b->begin();
        b.give_back();
        c.discard();
        CHECK_FALSE(p.try_acquire());
    }
    CHECK(s.closed() == 3);
}

TEMPLATE_TEST_CASE("a lease of a closed pool on one thread may be discarded or detached", "", bare, bare_with_work, bare_deferred, on_the_heap) {
    watched s{3};
    auto p = TestType::make(s);
    auto a = p.acquire(), b = p.acquire();
    (void)p.close();
    a.discard();
    CHECK(s.closed() == 1);
    b->mark_detached();
    auto taken = b.detach();
    CHECK(taken.id() == 2);
    CHECK(p.close().drained);
}

TEMPLATE_TEST_CASE("a pool on one thread ends with dirty connections waiting for nobody", "", bare_with_work, bare_deferred, on_the_heap) {
    watched s{3};
    for (const bool closes : {false, true}) {
        auto p = TestType::make(s);
        std::vector<typename decltype(p)::lease> all;
        for (int i = 0; i < 3; ++i) all.push_back(p.acquire());
        for (auto& l : all) l->begin();
        all.clear();
        if (closes) CHECK(p.close().drained);
    }
    CHECK(s.closed() == 6);
}

TEST_CASE("a pool on one thread that is suspended hands out nothing until it resumes") {
    watched s{1};
    pool p{scripted{s}, single_threaded{}, bounded{.max = 1}};
    p.acquire().give_back();
    p.suspend();
    CHECK(code_of([&] { (void)p.acquire(); }) == errc::pool_suspended);
    p.resume();
    check_capacity(p, 1);
}
