// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>
#include <cenote/retry.hpp>
#include <cenote/testing/scripted.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <limits>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::attempt_event;
using cenote::bounded;
using cenote::driver_error;
using cenote::duration;
using cenote::errc;
using cenote::error_class;
using cenote::idempotent;
using cenote::manual;
using cenote::retry;
using cenote::retry_options;

namespace {

/// What retry did instead of sleeping, and what it told.
struct notebook {
    std::vector<duration> pauses;
    std::vector<std::string> told;
    [[nodiscard]] retry_options options(retry_options o = {}) {
        o.report = [this](const attempt_event& e) {
            told.push_back(std::to_string(e.number) + "/" + std::to_string(e.of) + " " + std::string{to_string(e.kind)} + ": " + std::string{e.why});
        };
        o.pause = [this](duration d) { pauses.push_back(d); };
        return o;
    }
};

auto full_pool() { return cenote::pool{cenote::null{}, bounded{.max = 1}, manual{}, cenote::no_wait{}}; }

} // namespace

TEST_CASE("retry: what works is done once") {
    notebook n;
    auto db = full_pool();
    CHECK(retry{n.options()}.with(db, [](auto&) { return 7; }) == 7);
    CHECK(n.pauses.empty());
    CHECK(n.told.empty());
}

TEST_CASE("retry: an acquire that found nothing is tried again, so many times, and the last failure comes through") {
    notebook n;
    auto db = full_pool();
    const auto out = db.acquire();
    int ran = 0;
    try {
        retry{n.options({.attempts = 4, .first = 100ms, .factor = 2, .max = 300ms})}.with(db, [&](auto&) { ++ran; });
        FAIL("it did not throw");
    } catch (const cenote::error& e) {
        CHECK(e.code() == errc::exhausted);
    }
    CHECK(ran == 0);
    CHECK(n.pauses == std::vector<duration>{100ms, 200ms, 300ms});
    REQUIRE(n.told.size() == 4);
    CHECK(n.told[0].starts_with("1/4 other: pool exhausted"));
    CHECK(n.told[3].starts_with("4/4"));
}

TEST_CASE("retry: the next attempt may be luckier") {
    auto db = full_pool();
    auto out = db.acquire();
    retry_options o;
    o.pause = [&](duration) { out.give_back(); };
    CHECK(retry{o}.with(db, [](auto&) { return 1; }) == 1);
}

TEST_CASE("retry: work that has begun runs again only if it is idempotent, and its error may pass") {
    for (const error_class kind : {error_class::disconnected, error_class::not_ready, error_class::refused, error_class::wrong_role, error_class::server_full}) {
        notebook n;
        auto db = full_pool();
        int ran = 0;
        const auto work = [&](auto&) {
            if (++ran < 3) throw driver_error{kind, "gone"};
            return ran;
        };
        CHECK(retry{n.options()}.with(db, idempotent, work) == 3);
        CHECK(n.pauses == std::vector<duration>{1s, 1s});
        CHECK(n.told == std::vector<std::string>{"1/3 " + std::string{to_string(kind)} + ": gone", "2/3 " + std::string{to_string(kind)} + ": gone"});
        ran = 0;
        CHECK_THROWS_AS(retry{n.options()}.with(db, work), driver_error);
        CHECK(ran == 1);
    }
    for (const error_class kind : {error_class::other, error_class::auth, error_class::constraint, error_class::serialization, error_class::timeout, error_class::cancelled}) {
        notebook n;
        auto db = full_pool();
        int ran = 0;
        CHECK_THROWS_AS(retry{n.options()}.with(db, idempotent, [&](auto&) { ++ran; throw driver_error{kind, "no"}; }), driver_error);
        CHECK(ran == 1);
        CHECK(n.told.empty());
    }
}

TEST_CASE("retry: what is no error of a server, and what a pool throws inside the work, comes through at once") {
    notebook n;
    auto db = full_pool();
    int ran = 0;
    CHECK_THROWS_AS(retry{n.options()}.with(db, idempotent, [&](auto&) { ++ran; throw 42; }), int);
    CHECK_THROWS_AS(retry{n.options()}.with(db, idempotent, [&](auto&) { ++ran; throw std::logic_error{"mine"}; }), std::logic_error);
    auto inner = full_pool();
    const auto taken = inner.acquire();
    CHECK_THROWS_AS(retry{n.options()}.with(db, idempotent, [&](auto&) { ++ran; (void)inner.acquire(); }), cenote::error);
    CHECK(ran == 3);
    CHECK(n.told.empty());
}

TEST_CASE("retry: a failure to connect is tried again if it may pass") {
    for (const auto& [kind, attempts] : {std::pair{error_class::refused, 3U}, {error_class::auth, 0U}}) {
        notebook n;
        cenote::testing::script s;
        s.always(cenote::testing::site::open, cenote::testing::outcome::fail(kind, "not today"));
        cenote::pool db{cenote::testing::scripted{s}, manual{}};
        CHECK_THROWS_AS(retry{n.options()}.with(db, [](auto&) {}), cenote::error);
        CHECK(n.told.size() == attempts);
        if (attempts != 0) CHECK(n.told[0].starts_with("1/3 refused: connect failed"));
    }
}

TEST_CASE("retry: a closed pool is not tried again") {
    notebook n;
    auto db = full_pool();
    (void)db.close();
    CHECK_THROWS_AS(retry{n.options()}.with(db, [](auto&) {}), cenote::error);
    CHECK_THROWS_AS(retry{n.options()}.with_or(db, [](auto&) { return 1; }, [] { return 2; }), cenote::error);
    CHECK(n.told.empty());
}

TEST_CASE("retry: with_or falls back when time has not helped") {
    notebook n;
    auto db = full_pool();
    auto out = db.acquire();
    CHECK(retry{n.options({.attempts = 2})}.with_or(db, [](auto&) { return 1; }, [] { return 2; }) == 2);
    CHECK(n.told.size() == 2);
    out.give_back();
    CHECK(retry{n.options()}.with_or(db, [](auto&) { return 1; }, [] { return 2; }) == 1);
}

TEST_CASE("retry: a stop request ends it with the failure there was") {
    auto db = full_pool();
    const auto out = db.acquire();
    std::stop_source stop;
    int paused = 0;
    retry_options o{.attempts = 10};
    o.pause = [&](duration) {
        ++paused;
        stop.request_stop();
    };
    CHECK_THROWS_AS(retry{o}.with(db, [](auto&) {}, stop.get_token()), cenote::error);
    CHECK(paused == 1);
    const retry patient{{.attempts = 2, .first = 1h, .max = 1h}};
    CHECK_THROWS_AS(patient.with(db, [](auto&) {}, stop.get_token()), cenote::error); // it does not sleep an hour
}

TEST_CASE("retry: what report throws ends it") {
    auto db = full_pool();
    const auto out = db.acquire();
    retry_options o;
    o.report = [](const attempt_event&) { throw std::logic_error{"no more"}; };
    CHECK_THROWS_AS(retry{o}.with(db, [](auto&) {}), std::logic_error);
}

TEST_CASE("retry: values out of range are refused") {
    CHECK_THROWS_MATCHES((retry{{.attempts = 0}}), std::invalid_argument, Message("cenote: retry.attempts = 0: must be at least 1"));
    CHECK_THROWS_MATCHES((retry{{.first = -1s}}), std::invalid_argument, Message("cenote: retry.first = -1s: must not be negative"));
    CHECK_THROWS_AS((retry{{.factor = 0.5}}), std::invalid_argument);
    CHECK_THROWS_AS((retry{{.factor = std::numeric_limits<double>::infinity()}}), std::invalid_argument);
    CHECK_THROWS_MATCHES((retry{{.first = 2s, .max = 1s}}), std::invalid_argument, Message("cenote: retry.max = 1s: must be at least retry.first, which is 2s"));
}
