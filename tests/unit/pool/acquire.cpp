// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <algorithm>
#include <concepts>
#include <memory>
#include <source_location>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

using namespace pool_test;

namespace {

/// Calls every form of acquire that can wait, with a budget of `t` (the pool's own for the forms without one), and hands the
/// result to `look(name, lease, code, evidence)`.
template <class Pool, class Look>
void every_form(Pool& p, timeout t, Look look) {
    using lease = typename Pool::lease;
    const auto thrown = [&](const char* name, auto call) {
        lease got;
        failure f;
        try {
            got = call();
        } catch (const error& e) {
            f = e.why();
        }
        look(name, got, f.code, f.seen);
    };
    const auto told_code = [&](const char* name, auto call) {
        std::error_code code = std::make_error_code(std::errc::address_in_use); // must be overwritten or cleared
        lease got = call(code);
        look(name, got, code, std::shared_ptr<const evidence>{});
    };
    const auto told_failure = [&](const char* name, auto call) {
        failure f{std::make_error_code(std::errc::address_in_use), std::make_shared<evidence>()};
        lease got = call(f);
        look(name, got, f.code, f.seen);
    };
    thrown("acquire()", [&] { return p.acquire(); });
    thrown("acquire(timeout)", [&] { return p.acquire(t); });
    thrown("acquire(deadline)", [&] { return p.acquire(deadline::in(t)); });
    thrown("acquire(deadline, stop_token)", [&] { return p.acquire(deadline::in(t), std::stop_token{}); });
    told_code("acquire(error_code)", [&](auto& to) { return p.acquire(to); });
    told_code("acquire(timeout, error_code)", [&](auto& to) { return p.acquire(t, to); });
    told_code("acquire(deadline, stop_token, error_code)", [&](auto& to) { return p.acquire(deadline::in(t), {}, to); });
    told_failure("acquire(failure)", [&](auto& to) { return p.acquire(to); });
    told_failure("acquire(timeout, failure)", [&](auto& to) { return p.acquire(t, to); });
    told_failure("acquire(deadline, stop_token, failure)", [&](auto& to) { return p.acquire(deadline::in(t), {}, to); });
}

/// Every form fails with `why`; those that carry evidence have it.
template <class Pool>
void every_form_fails(Pool& p, timeout t, errc why) {
    every_form(p, t, [&](const char* name, auto& lease, std::error_code code, const std::shared_ptr<const evidence>& e) {
        INFO(name);
        CHECK_FALSE(lease);
        CHECK(code == make_error_code(why));
        if (std::string_view{name}.find("error_code") == std::string_view::npos) {
            REQUIRE(e);
            CHECK(e->max == p.stats().max);
            CHECK(e->used == p.stats().used);
        }
    });
}

struct in_background {
    static auto make(script s, auto... policies) { return pool{scripted{s}, policies...}; }
    static auto make_restless(script s, auto... policies) { return make(s, backoff{.first = 1us, .max = 1us}, no_breaker{}, policies...); }
};
struct by_hand {
    static auto make(script s, auto... policies) { return pool{scripted{s}, manual{}, policies...}; }
    static auto make_restless(script s, auto... policies) { return make(s, policies...); } // callers do not rest
};

} // namespace

TEMPLATE_TEST_CASE("every form of acquire gives a usable connection and clears its error target", "", in_background, by_hand) {
    watched s{2};
    auto p = TestType::make(s, bounded{.max = 2});
    every_form(p, patience, [&](const char* name, auto& lease, std::error_code code, const std::shared_ptr<const evidence>& e) {
        INFO(name);
        CHECK(good(lease));
        CHECK_FALSE(code);
        CHECK_FALSE(e);
        CHECK(gauges_of(p).used == 1);
    });
    CHECK(s.opened() == 1);
    CHECK(p.acquire()->id() == 1);
    CHECK(good(p.try_acquire()));
}

TEMPLATE_TEST_CASE("an acquire with nothing free ends with acquire_timeout in every form", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, acquire_timeout{1ms});
    auto held = p.acquire(patience);
    every_form_fails(p, 1ms, errc::acquire_timeout);
    every_form_fails(p, 0ms, errc::acquire_timeout);
    every_form_fails(p, -1h, errc::acquire_timeout);
    CHECK_FALSE(p.try_acquire());
    held.give_back();
    check_capacity(p, 1);
}

TEMPLATE_TEST_CASE("a pool whose policy is not to wait is exhausted at once", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, no_wait{});
    {
        auto held = p.acquire(patience);
        every_form_fails(p, patience, errc::exhausted);
        CHECK_FALSE(p.try_acquire());
    }
    check_capacity(p, 1);
}

TEMPLATE_TEST_CASE("with max_waiters 0 nobody may wait, and the error says that the queue is full", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, strictly_fair{.max_waiters = 0});
    if constexpr (std::same_as<TestType, in_background>) { // nobody may wait, so nobody can wait for the dialler either
        CHECK(code_of([&] { (void)p.acquire(patience); }) == errc::queue_full);
        CHECK_FALSE(p.try_acquire()); // but it has one opened for later
        REQUIRE(eventually([&] { return gauges_of(p).idle == 1; }));
    }
    {
        auto held = p.acquire(patience);
        every_form_fails(p, patience, errc::queue_full);
    }
    check_capacity(p, 1);
}

TEST_CASE("with max_waiters 1 the second waiter is refused at once while the first keeps its place") {
    watched s{1};
    pool p{scripted{s}, bounded{.max = 1}, eventually_fair{.max_waiters = 1}};
    auto held = p.acquire(patience);
    bool got = false;
    std::jthread first{[&] { got = good(p.acquire(patience)); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    every_form_fails(p, patience, errc::queue_full);
    CHECK(p.stats().pending == 1);
    held.give_back();
    first.join();
    CHECK(got);
    check_capacity(p, 1);
}

TEMPLATE_TEST_CASE("an acquire whose stop was requested before it had to wait is cancelled", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1});
    std::stop_source stop;
    stop.request_stop();
    auto held = p.acquire(patience);
    CHECK(code_of([&] { (void)p.acquire(deadline::never(), stop.get_token()); }) == errc::cancelled);
    std::error_code code;
    CHECK_FALSE(p.acquire(deadline::never(), stop.get_token(), code));
    CHECK(code == errc::cancelled);
    CHECK(code == std::errc::operation_canceled);
    failure why;
    CHECK_FALSE(p.acquire(deadline::never(), stop.get_token(), why));
    CHECK(why.code == errc::cancelled);
    held.give_back();
    CHECK(good(p.acquire(deadline::never(), stop.get_token()))); // what is idle is taken all the same
    check_capacity(p, 1);
}

TEMPLATE_TEST_CASE("an acquire is cancelled while it waits, and the connection goes to the next", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1}, strictly_fair{});
    auto held = p.acquire(patience);
    std::stop_source stop;
    std::error_code first, second;
    bool got = false;
    std::jthread a{[&] { (void)p.acquire(deadline::never(), stop.get_token(), first); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    std::jthread b{[&] { got = good(p.acquire(patience, second)); }};
    REQUIRE(eventually([&] { return p.stats().pending == 2; }));
    stop.request_stop();
    a.join();
    CHECK(first == errc::cancelled);
    CHECK(p.stats().pending == 1);
    held.give_back();
    b.join();
    CHECK(got);
    CHECK_FALSE(second);
    check_capacity(p, 1);
}

TEMPLATE_TEST_CASE("a closed pool refuses every form, also those that wait", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make(s, bounded{.max = 1});
    auto held = p.acquire(patience);
    std::error_code code;
    std::jthread waiter{[&] { (void)p.acquire(deadline::never(), {}, code); }};
    REQUIRE(eventually([&] { return p.stats().pending == 1; }));
    const auto report = p.close(deadline::in(0s));
    waiter.join();
    CHECK(code == errc::pool_closed);
    CHECK_FALSE(report.drained);
    CHECK(report.still_out == 1);
    every_form_fails(p, patience, errc::pool_closed);
    CHECK_FALSE(p.try_acquire());
    held.give_back();
    CHECK(p.close(deadline::in(patience)).drained);
    every_form_fails(p, patience, errc::pool_closed);
    CHECK(s.open_now() == 0);
}

TEMPLATE_TEST_CASE("on a suspended pool acquires wait; those that may not are told that it is suspended", "", in_background, by_hand) {
    watched s{2};
    auto p = TestType::make(s, bounded{.max = 2}, acquire_timeout{1ms});
    p.acquire(patience).give_back();
    p.suspend();
    CHECK(gauges_of(p).idle == 1);
    CHECK_FALSE(p.try_acquire());
    every_form(p, 1ms, [&](const char* name, auto& lease, std::error_code code, const auto&) {
        INFO(name);
        CHECK_FALSE(lease);
        CHECK(code == errc::acquire_timeout);
    });
    CHECK(code_of([&] { (void)p.acquire(0s); }) == errc::pool_suspended);
    p.resume();
    check_capacity(p, 2);

    watched t{1};
    auto q = TestType::make(t, bounded{.max = 1}, no_wait{});
    q.suspend();
    every_form_fails(q, patience, errc::pool_suspended);
    q.resume();
    check_capacity(q, 1);
}

TEMPLATE_TEST_CASE("a connection that cannot be opened fails every form with connect_failed and the driver's words", "", in_background, by_hand) {
    watched s{1};
    auto p = TestType::make_restless(s, bounded{.max = 1}, named{"shop"});
    s.always(site::open, outcome::fail(error_class::auth, "authentication failed for user shop", 7, "28P01"));
    every_form(p, patience, [&](const char* name, auto& lease, std::error_code code, const std::shared_ptr<const evidence>& e) {
        INFO(name);
        CHECK_FALSE(lease);
        CHECK(code == errc::connect_failed);
        if (!e) return;
        CHECK(e->pool == "shop");
        CHECK(e->last_connect_error.kind == error_class::auth);
        CHECK(e->last_connect_error.text == "authentication failed for user shop");
        CHECK(e->last_connect_error.native_code == 7);
        CHECK(e->last_connect_error.sqlstate == "28P01");
        CHECK(e->waited >= 0s);
        const std::string text = failure{code, e}.text();
        CHECK_THAT(text, ContainsSubstring("connect failed after ") && ContainsSubstring("(pool shop: max 1, used 0, idle 0, opening "));
        CHECK_THAT(text, ContainsSubstring("; last connect error: authentication failed for user shop (SQLSTATE 28P01)"));
    });
    s.clear(site::open);
    check_capacity(p, 1); // and the failure is forgotten
    p.suspend();
    failure why;
    CHECK_FALSE(p.acquire(0s, why));
    REQUIRE(why.seen);
    CHECK(why.seen->last_connect_error.text.empty());
}

TEST_CASE("under manual, an open that takes longer than the budget ends with connect_timeout") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}};
    s.next(site::open, outcome::until_deadline()).always(site::open, outcome::fail(error_class::timeout));
    CHECK(code_of([&] { (void)p.acquire(300ms); }) == errc::connect_timeout);
    every_form(p, patience, [&](const char* name, auto& lease, std::error_code code, const auto&) {
        INFO(name);
        CHECK_FALSE(lease);
        CHECK(code == errc::connect_timeout);
        CHECK(code == std::errc::timed_out);
    });
    s.clear(site::open);
    check_capacity(p, 1);
}

TEST_CASE("under manual, an open gets the sooner of its own limit and what is left of the budget") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, connect_timeout{1h}};
    time_point by{};
    s.on(site::open, [&](const testing::call& c) {
        by = c.by.at();
        throw 1;
    });
    const auto before = std::chrono::steady_clock::now();
    CHECK(code_of([&] { (void)p.acquire(30min); }) == errc::connect_failed);
    CHECK((by >= before + 30min && by <= std::chrono::steady_clock::now() + 30min));
    CHECK(code_of([&] { (void)p.acquire(2h); }) == errc::connect_failed);
    CHECK((by >= before + 1h && by <= std::chrono::steady_clock::now() + 1h));
    const deadline exact{before + 10min};
    CHECK(code_of([&] { (void)p.acquire(exact); }) == errc::connect_failed);
    CHECK(by == exact.at());
    CHECK_FALSE(p.try_acquire());
    CHECK((by >= before + 1h && by <= std::chrono::steady_clock::now() + 1h));
    CHECK(code_of([&] { (void)p.acquire(std::chrono::hours::max()); }) == errc::connect_failed);
    s.clear(site::open);
    check_capacity(p, 1);
}

TEST_CASE("the evidence of a timeout counts and names the holders, oldest first, at most five") {
    watched s{7};
    manual_clock time;
    pool p{scripted{s}, bounded{.max = 7}, named{"shop"}, leak_threshold{1h}, clock::manual{time}};
    std::vector<decltype(p)::lease> held;
    for (int i = 0; i < 7; ++i) {
        held.push_back(p.acquire(patience));
        time.advance(1s);
    }
    held[1].tag("import");
    failure why;
    const auto line = std::source_location::current().line() + 1;
    CHECK_FALSE(p.acquire(1ms, why));
    CHECK(why.code == errc::acquire_timeout);
    REQUIRE(why.seen);
    const evidence& e = *why.seen;
    CHECK(e.pool == "shop");
    CHECK(e.max == 7);
    CHECK(e.used == 7);
    CHECK(e.idle == 0);
    CHECK(e.opening == 0);
    CHECK(e.waiting == 0);
    CHECK(e.waited >= 1ms);
    REQUIRE(e.holders.size() == 5);
    CHECK(e.holders[0].age == 7s);
    CHECK(e.holders[1].age == 6s);
    CHECK(e.holders[4].age == 3s);
    CHECK(std::string_view{e.holders[0].where.file_name()}.ends_with("acquire.cpp"));
    CHECK(e.holders[0].where.line() < line);
    CHECK(e.holders[0].thread == std::this_thread::get_id());
    CHECK(e.holders[0].tag == nullptr);
    REQUIRE(e.holders[1].tag != nullptr);
    CHECK(std::string{e.holders[1].tag} == "import");
    CHECK_THAT(why.text(), ContainsSubstring("acquire timeout: no connection became free after ") &&
                               ContainsSubstring("(pool shop: max 7, used 7, idle 0, opening 0, waiting 0)") &&
                               ContainsSubstring("; held longest: 7000ms at ") && ContainsSubstring("acquire.cpp:") && ContainsSubstring(" [import]"));
}

TEST_CASE("the call site of a lease is that of the caller, in every form") {
    watched s{4};
    pool p{scripted{s}, manual{}, bounded{.max = 4}, leak_threshold{}};
    std::error_code code;
    const auto line = std::source_location::current().line();
    auto a = p.acquire();
    auto b = p.acquire(patience, code);
    auto c = p.acquire(deadline::never(), {});
    auto d = p.try_acquire();
    std::vector<unsigned> at;
    for (const auto& l : p.inspect().leases) at.push_back(l.where.line() - line);
    std::sort(at.begin(), at.end());
    CHECK(at == std::vector<unsigned>{1, 2, 3, 4});
    a.give_back();
    p.with([&](auto&) { CHECK(p.inspect().leases.size() == 4); });
    CHECK(p.inspect().leases.size() == 3);
}

TEMPLATE_TEST_CASE("a nested acquire is allowed, reported or refused as the policy says", "", in_background, by_hand) {
    SECTION("forbidden") {
        watched s{2};
        auto p = TestType::make(s, bounded{.max = 2}, forbid_nested{});
        auto held = p.acquire(patience);
        every_form_fails(p, patience, errc::nested_acquire);
        CHECK_FALSE(p.try_acquire());
        bool other = false;
        std::thread{[&] { other = good(p.acquire(patience)); }}.join();
        CHECK(other);
        auto moved = std::move(held);
        every_form_fails(p, patience, errc::nested_acquire);
        moved.give_back();
        CHECK(good(p.acquire(patience)));
        p.acquire(patience).discard();
        auto taken = p.acquire(patience);
        taken->mark_detached();
        (void)taken.detach();
        CHECK(good(p.acquire(patience)));
    }
    SECTION("reported") {
        watched s{2};
        recorder sink;
        auto p = TestType::make(s, bounded{.max = 2}, report_nested{}, sink);
        auto a = p.acquire(patience);
        CHECK(sink.to->count("nested") == 0);
        auto b = p.acquire(patience);
        CHECK(sink.to->count("nested") == 1);
        b.give_back();
        a.give_back();
        auto c = p.acquire(patience);
        CHECK(sink.to->count("nested") == 1);
    }
    SECTION("allowed") {
        watched s{2};
        auto p = TestType::make(s, bounded{.max = 2});
        check_capacity(p, 2);
    }
}

TEST_CASE("with() leases for as long as its function and passes its result on") {
    watched s{1};
    pool p{scripted{s}, bounded{.max = 1}};
    CHECK(p.with([&](auto& c) {
        CHECK(gauges_of(p).used == 1);
        c.use();
        return 5 + static_cast<int>(c.id());
    }) == 6);
    CHECK(gauges_of(p) == gauges{.idle = 1});
    p.with(patience, [](auto& c) { c.use(); });
    struct boom {};
    CHECK_THROWS_AS(p.with([](auto&) { throw boom{}; }), boom);
    CHECK(gauges_of(p) == gauges{.idle = 1});
    auto held = p.acquire();
    bool called = false;
    CHECK(code_of([&] { p.with(1ms, [&](auto&) { called = true; }); }) == errc::acquire_timeout);
    CHECK_FALSE(called);
    auto only_movable = [u = std::make_unique<int>(3)](auto&) { return std::make_unique<int>(*u); };
    held.give_back();
    CHECK(*p.with(std::move(only_movable)) == 3);
}
