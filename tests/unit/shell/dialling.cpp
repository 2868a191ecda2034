// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <atomic>
#include <cstddef>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace pool_test;

namespace {

/// Threads that each acquire once, use what they get and give it back.
class crowd {
public:
    template <class Pool>
    crowd(Pool& p, std::size_t n, timeout t = patience) : codes_(n) {
        for (std::size_t i = 0; i < n; ++i) {
            all_.emplace_back([this, &p, i, t] {
                auto l = p.acquire(t, codes_[i]);
                if (!l) return;
                if (good(l)) ++served_;
            });
        }
    }
    void join() { all_.clear(); }
    [[nodiscard]] std::size_t served() const noexcept { return served_; }
    [[nodiscard]] std::size_t failed_with(errc e) const {
        std::size_t n = 0;
        for (const auto& c : codes_) n += c == e ? 1U : 0U;
        return n;
    }

private:
    std::vector<std::error_code> codes_;
    std::atomic<std::size_t> served_{0};
    std::vector<std::jthread> all_;
};

} // namespace

TEST_CASE("a spike of waiters opens no more at once than max_dials") {
    for (const unsigned dials : {1U, 2U, 5U}) {
        watched s{20};
        door opening;
        pool p{scripted{s}, bounded{.max = 20}, background_thread{.max_dials = dials}};
        s.always(site::open, outcome::ok().after(opening));
        crowd many{p, 12};
        REQUIRE(eventually([&] { return p.stats().pending == 12; }));
        REQUIRE(opening.await(dials));
        CHECK(gauges_of(p) == gauges{.opening = dials});
        CHECK(s.calls(site::open) == dials);
        opening.open();
        many.join();
        CHECK(many.served() == 12);
        CHECK(s.opened() <= 12);
    }
}

TEST_CASE("a spike of fifty waiters does not open fifty connections when three come back first") {
    watched s{50};
    door opening;
    pool p{scripted{s}, bounded{.max = 50}};
    std::vector<decltype(p)::lease> held;
    for (int i = 0; i < 3; ++i) held.push_back(p.acquire(timeout{patience}));
    s.always(site::open, outcome::ok().after(opening));
    crowd many{p, 50};
    REQUIRE(eventually([&] { return p.stats().pending == 50; }));
    held.clear();
    many.join(); // served by the three, while the two dials still hang
    CHECK(many.served() == 50);
    CHECK(s.calls(site::open) == 5);
    opening.open();
    REQUIRE(becomes(p, {.idle = 5}));
}

TEST_CASE("as many are opened as wait, and not one more") {
    watched s{10};
    pool p{scripted{s}, bounded{.max = 10}};
    std::vector<decltype(p)::lease> held;
    for (std::size_t i = 1; i <= 5; ++i) {
        held.push_back(p.acquire(timeout{patience}));
        CHECK(s.opened() == i);
    }
    CHECK(s.calls(site::open) == 5);
}

TEST_CASE("a waiter that leaves does not kill the dial; its connection is there for the next") {
    watched s{1};
    door opening;
    pool p{scripted{s}, bounded{.max = 1}};
    s.next(site::open, outcome::ok().after(opening));
    SECTION("by its deadline") {
        do { // until one was there when the dial began
            CHECK(code_of([&] { (void)p.acquire(5ms); }) == errc::acquire_timeout);
        } while (opening.waiting() == 0);
    }
    SECTION("by its stop token") {
        std::stop_source stop;
        std::error_code code;
        std::jthread waiter{[&] { (void)p.acquire(deadline::never(), stop.get_token(), code); }};
        REQUIRE(opening.await(1));
        stop.request_stop();
        waiter.join();
        CHECK(code == errc::cancelled);
    }
    REQUIRE(opening.await(1));
    opening.open();
    REQUIRE(becomes(p, {.idle = 1}));
    CHECK(p.try_acquire()->id() == 1);
    CHECK(s.calls(site::open) == 1);
}

TEST_CASE("a waiter takes whichever comes first, what is given back or what is opened") {
    watched s{2};
    door opening;
    pool p{scripted{s}, bounded{.max = 2}};
    auto held = p.acquire(timeout{patience});
    s.next(site::open, outcome::ok().after(opening));
    std::size_t got = 0;
    std::jthread waiter{[&] { got = p.acquire(timeout{patience})->id(); }};
    REQUIRE(opening.await(1));
    held.give_back();
    waiter.join();
    CHECK(got == 1);
    CHECK(gauges_of(p) == gauges{.idle = 1, .opening = 1});
    opening.open();
    REQUIRE(becomes(p, {.idle = 2})); // what was opened stays
}

TEST_CASE("a stuck dial holds no acquire past its deadline") {
    watched s{2};
    door stuck;
    pool p{scripted{s}, bounded{.max = 2}};
    s.always(site::open, outcome::ok().after(stuck));
    for (int i = 0; i < 5 || stuck.waiting() == 0; ++i) {
        failure why;
        CHECK_FALSE(p.acquire(2ms, why));
        CHECK(why.code == errc::acquire_timeout);
        REQUIRE(why.seen);
        CHECK(why.seen->opening <= 2);
    }
    CHECK(s.calls(site::open) == 1); // it is for whoever waits then, one at a time
    stuck.open();
    s.clear(site::open);
    check_capacity(p, 2);
}

TEST_CASE("while all dials are stuck, closing and cleaning go on") {
    watched s{3};
    door stuck;
    pool p{scripted{s}, bounded{.max = 3}, background_thread{.max_dials = 1}, background<reset_if_dirty>{}};
    auto a = p.acquire(timeout{patience});
    auto b = p.acquire(timeout{patience});
    s.always(site::open, outcome::ok().after(stuck));
    CHECK_FALSE(p.try_acquire());
    REQUIRE(stuck.await(1));
    a->begin();
    a.give_back();
    b.discard();
    REQUIRE(becomes(p, {.idle = 1, .opening = 1}));
    CHECK(good(p.acquire(timeout{patience})));
    stuck.open();
}

TEST_CASE("a failed dial frees its permit and the next attempt serves who waits") {
    watched s{1};
    recorder sink;
    pool p{scripted{s}, bounded{.max = 1}, backoff{.first = 1ms, .max = 2ms}, no_breaker{}, sink};
    s.next(site::open, outcome::fail(error_class::refused, "connection refused"), 2).next(site::open, outcome::fail(error_class::timeout, "connection timeout"));
    crowd two{p, 2};
    two.join();
    CHECK(two.served() == 2);
    CHECK(s.calls(site::open) == 4);
    CHECK(sink.to->count("open failed: connection refused") == 2);
    CHECK(sink.to->count("open failed: connection timeout") == 1);
}

TEST_CASE("what can pass is tried again until the deadline, and the evidence says why it failed") {
    for (const error_class kind : {error_class::disconnected, error_class::refused, error_class::not_ready, error_class::server_full,
                                   error_class::wrong_role, error_class::timeout}) {
        CAPTURE(to_string(kind));
        watched s{1};
        pool p{scripted{s}, bounded{.max = 1}, backoff{.first = 1us, .max = 1us}, no_breaker{}};
        s.always(site::open, outcome::fail(kind, "not now"));
        failure why;
        do { // until it was tried twice while somebody waited
            CHECK_FALSE(p.acquire(30ms, why));
            CHECK(why.code == errc::acquire_timeout);
        } while (s.calls(site::open) < 2);
        REQUIRE(why.seen);
        CHECK(why.seen->last_connect_error.kind == kind);
        CHECK(why.seen->last_connect_error.text == "not now");
        s.clear(site::open);
        CHECK(good(p.acquire(timeout{patience})));
    }
}

TEST_CASE("what will not pass reaches everybody who waits at once, with its cause") {
    for (const error_class kind : {error_class::auth, error_class::other, error_class::constraint}) {
        watched s{5};
        door opening;
        pool p{scripted{s}, bounded{.max = 5}, background_thread{.max_dials = 1}, backoff{.first = 1h, .max = 1h}};
        s.next(site::open, outcome::fail(kind, "password wrong").after(opening));
        crowd many{p, 10, std::chrono::hours{24}}; // only the refusal can end their wait
        REQUIRE(eventually([&] { return p.stats().pending == 10; }));
        opening.open();
        many.join();
        CHECK(many.failed_with(errc::connect_failed) == 10);
        CHECK(s.calls(site::open) == 1);
    }
}

TEST_CASE("while the dialler rests after a failure, what is given back still serves who waits") {
    watched s{2};
    pool p{scripted{s}, bounded{.max = 2}, backoff{.first = 1h, .max = 1h}};
    auto held = p.acquire(timeout{patience});
    s.next(site::open, outcome::fail(error_class::refused), 1);
    crowd one{p, 1};
    REQUIRE(eventually([&] { return s.calls(site::open) == 2 && p.stats().opening == 0; }));
    CHECK(p.stats().pending == 1);
    held.give_back();
    one.join();
    CHECK(one.served() == 1);
}

TEST_CASE("under manual, when the one who dials fails, the next who waits goes on") {
    watched s{1};
    door opening;
    pool p{scripted{s}, manual{}, bounded{.max = 1}, strictly_fair{}};
    s.next(site::open, outcome::fail(error_class::refused).after(opening));
    crowd many{p, 3};
    REQUIRE(opening.await(1));
    REQUIRE(eventually([&] { return p.stats().pending == 2; }));
    opening.open();
    many.join();
    CHECK(many.failed_with(errc::connect_failed) == 1);
    CHECK(many.served() == 2);
    CHECK(s.opened() == 1);
}

TEST_CASE("under manual, no lock is held while a caller dials") {
    watched s{2};
    door opening;
    pool p{scripted{s}, manual{}, bounded{.max = 2}};
    p.acquire().give_back();
    auto held = p.acquire();
    s.next(site::open, outcome::ok().after(opening));
    crowd one{p, 1};
    REQUIRE(opening.await(1));
    CHECK(gauges_of(p) == gauges{.used = 1, .opening = 1});
    held.give_back();
    CHECK(good(p.acquire()));
    opening.open();
}

TEST_CASE("dials run beside leases that come and go, and closing the pool meanwhile leaves nothing behind") {
    for (int round = 0; round < 30; ++round) {
        watched s{4};
        {
            pool p{scripted{s}, bounded{.max = 4}, backoff{.first = 1us, .max = 1us}};
            s.next(site::open, outcome::ok()).next(site::open, outcome::fail(error_class::refused)).next(site::open, outcome::fail(error_class::auth));
            crowd many{p, 6};
            if (round % 2 == 0) (void)p.close(deadline::in(patience));
            many.join();
        }
        REQUIRE(eventually([&] { return s.open_now() == 0; }));
    }
}
