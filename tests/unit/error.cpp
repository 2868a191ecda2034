// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/error.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <memory>
#include <set>
#include <source_location>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using cenote::errc;
using cenote::error_class;

namespace {

constexpr errc all_codes[]{errc::acquire_timeout, errc::exhausted, errc::queue_full, errc::cancelled, errc::pool_closed, errc::pool_suspended,
                           errc::connect_failed, errc::connect_timeout, errc::breaker_open, errc::validation_failed, errc::hook_failed, errc::nested_acquire,
                           errc::out_of_memory, errc::pool_forked, errc::lock_timeout, errc::lock_lost, errc::lock_failed, errc::outcome_unknown};

static_assert(std::is_error_code_enum_v<errc>);
static_assert(std::is_base_of_v<std::system_error, cenote::error>);
static_assert(std::is_nothrow_copy_constructible_v<cenote::error>, "an exception that cannot be copied ends the program");
static_assert(std::is_nothrow_copy_constructible_v<cenote::failure>);
static_assert(std::convertible_to<std::error_code&, cenote::fail_to> && std::convertible_to<cenote::failure&, cenote::fail_to>);
static_assert(!std::convertible_to<std::error_code, cenote::fail_to>, "a temporary would lose the reason");
static_assert(!std::convertible_to<const std::error_code&, cenote::fail_to>);
static_assert(!std::convertible_to<cenote::failure, cenote::fail_to>);

cenote::lease_info holder(cenote::duration age, const char* tag, std::source_location where = std::source_location::current()) {
    return {.id = 0, .age = age, .where = where, .thread = {}, .tag = tag};
}

cenote::failure told(cenote::evidence e, errc code = errc::acquire_timeout) {
    return {make_error_code(code), std::make_shared<const cenote::evidence>(std::move(e))};
}

} // namespace

TEST_CASE("every code has a number, a name and a message of its own") {
    std::set<std::string> messages;
    int expected = 1;
    for (const errc e : all_codes) {
        CHECK(static_cast<int>(e) == expected++);
        const std::error_code code = e;
        CHECK(code.category() == cenote::category());
        CHECK(code);
        CHECK(code.message() != "unknown cenote error");
        messages.insert(code.message());
    }
    CHECK(messages.size() == std::size(all_codes));
    CHECK(std::string{cenote::category().name()} == "cenote");
    CHECK(cenote::category().message(0) == "unknown cenote error");
    CHECK(cenote::category().message(expected) == "unknown cenote error");
    CHECK(cenote::category().message(-1) == "unknown cenote error");
}

TEST_CASE("the messages say which step failed") {
    const std::pair<errc, std::string> texts[]{
        {errc::acquire_timeout, "acquire timeout: no connection became free"},
        {errc::exhausted, "pool exhausted: no connection is free and the policy is not to wait"},
        {errc::queue_full, "queue full: too many acquires are waiting already"},
        {errc::cancelled, "acquire cancelled by its stop token"},
        {errc::pool_closed, "pool closed"},
        {errc::pool_suspended, "pool suspended and the policy is not to wait"},
        {errc::connect_failed, "connect failed"},
        {errc::connect_timeout, "connection timeout"},
        {errc::breaker_open, "breaker open: connecting fails again and again"},
        {errc::validation_failed, "validation failed: no connection passed its test in time"},
        {errc::hook_failed, "hook failed"},
        {errc::nested_acquire, "nested acquire: this thread already holds a lease of this pool"},
        {errc::out_of_memory, "out of memory"},
        {errc::pool_forked, "pool made before a fork: make a new pool in this process"},
        {errc::lock_timeout, "lock timeout: somebody else holds it"},
        {errc::lock_lost, "lock lost: its session holds it no longer"},
        {errc::lock_failed, "lock failed: an error, or no answer"},
        {errc::outcome_unknown, "outcome unknown: the answer to the commit did not come; it may have been committed, or rolled back"},
    };
    for (const auto& [code, text] : texts) CHECK(make_error_code(code).message() == text);
    CHECK(std::size(texts) == std::size(all_codes));
}

TEST_CASE("codes compare equal to the standard condition they are a case of, and to no other") {
    const std::pair<errc, std::errc> same[]{
        {errc::acquire_timeout, std::errc::timed_out},
        {errc::connect_timeout, std::errc::timed_out},
        {errc::validation_failed, std::errc::timed_out},
        {errc::lock_timeout, std::errc::timed_out},
        {errc::exhausted, std::errc::resource_unavailable_try_again},
        {errc::queue_full, std::errc::resource_unavailable_try_again},
        {errc::cancelled, std::errc::operation_canceled},
        {errc::nested_acquire, std::errc::resource_deadlock_would_occur},
        {errc::out_of_memory, std::errc::not_enough_memory},
    };
    for (const errc e : all_codes) {
        const std::error_code code = e;
        CHECK(code == e);
        for (const std::errc condition : {std::errc::timed_out, std::errc::resource_unavailable_try_again, std::errc::operation_canceled,
                                          std::errc::resource_deadlock_would_occur, std::errc::not_enough_memory,
                                          std::errc::connection_refused, std::errc::invalid_argument}) {
            bool expected = false;
            for (const auto& [own, other] : same) expected = expected || (own == e && other == condition);
            CAPTURE(code.message(), static_cast<int>(condition));
            CHECK((code == condition) == expected);
        }
    }
    for (const errc e : {errc::pool_closed, errc::pool_suspended, errc::connect_failed, errc::hook_failed, errc::pool_forked}) {
        CHECK(make_error_code(e).default_error_condition() == std::error_condition(static_cast<int>(e), cenote::category()));
    }
    CHECK(std::error_code{} != make_error_code(errc::acquire_timeout));
}

TEST_CASE("a failure without evidence is its message") {
    const cenote::failure none;
    CHECK_FALSE(none);
    const cenote::failure bare{make_error_code(errc::pool_closed), nullptr};
    CHECK(bare);
    CHECK(bare.text() == "pool closed");
}

TEST_CASE("the text of a failure gives the counts") {
    CHECK(told({.max = 10, .used = 9, .idle = 0, .opening = 1, .waiting = 3, .waited = 1999999us}).text() ==
          "acquire timeout: no connection became free after 1999ms (max 10, used 9, idle 0, opening 1, waiting 3)");
    CHECK(told({.pool = "shop", .max = 1, .used = 1}, errc::queue_full).text() ==
          "queue full: too many acquires are waiting already after 0ms (pool shop: max 1, used 1, idle 0, opening 0, waiting 0)");
    CHECK(told({.max = 2, .resetting = 1, .closing = 1}).text() ==
          "acquire timeout: no connection became free after 0ms (max 2, used 0, idle 0, opening 0, resetting 1, closing 1, waiting 0)");
}

TEST_CASE("the text of a failure tells what a hook threw and why connecting failed") {
    CHECK(told({.max = 2, .detail = "no such table"}, errc::hook_failed).text() ==
          "hook failed after 0ms (max 2, used 0, idle 0, opening 0, waiting 0); no such table");
    CHECK(told({.max = 2, .last_connect_error = {.kind = error_class::refused, .native_code = 111, .sqlstate = {}, .text = "nobody listens"}},
               errc::connect_failed)
              .text() == "connect failed after 0ms (max 2, used 0, idle 0, opening 0, waiting 0); last connect error: nobody listens");
    CHECK(told({.max = 2, .last_connect_error = {.kind = error_class::auth, .native_code = 0, .sqlstate = "28P01", .text = "wrong password"}},
               errc::connect_failed)
              .text() ==
          "connect failed after 0ms (max 2, used 0, idle 0, opening 0, waiting 0); last connect error: wrong password (SQLSTATE 28P01)");
}

TEST_CASE("the text of a failure names who holds, where and for how long") {
    const auto here = std::source_location::current();
    const std::string at = std::string{here.file_name()} + ":" + std::to_string(here.line());
    CHECK(holder(1500us, nullptr, here).text() == "1ms at " + at);
    CHECK(holder(90min, "report", here).text() == "5400000ms at " + at + " [report]");
    CHECK(holder(0ns, "", here).text() == "0ms at " + at + " []");
    CHECK(holder(cenote::duration::max(), nullptr, here).text() == "9223372036854ms at " + at);
    CHECK(told({.max = 2, .holders = {holder(2s, "a", here), holder(1s, nullptr, here)}}).text() ==
          "acquire timeout: no connection became free after 0ms (max 2, used 0, idle 0, opening 0, waiting 0)"
          "; held longest: 2000ms at " + at + " [a], 1000ms at " + at);
}

TEST_CASE("an error is a system_error whose text is the failure's, also in copies that outlive it") {
    std::unique_ptr<cenote::error> copy;
    {
        const cenote::error e{told({.pool = "shop", .max = 4})};
        CHECK(e.code() == errc::acquire_timeout);
        CHECK(e.code() == std::errc::timed_out);
        CHECK(std::string{e.what()} == e.why().text());
        CHECK(e.why().seen->pool == "shop");
        copy = std::make_unique<cenote::error>(e);
    }
    CHECK(std::string{copy->what()} ==
          "acquire timeout: no connection became free after 0ms (pool shop: max 4, used 0, idle 0, opening 0, waiting 0)");
    CHECK(copy->why().seen->max == 4);
    try {
        throw *copy;
    } catch (const std::system_error& caught) {
        CHECK(caught.code() == errc::acquire_timeout);
    }
}

TEST_CASE("a noexcept form writes to an error_code, or to a failure if the evidence is wanted") {
    std::error_code code = errc::queue_full;
    const cenote::fail_to to_code{code};
    CHECK_FALSE(to_code.wants_evidence());
    to_code.set(told({.max = 4}));
    CHECK(code == errc::acquire_timeout);
    to_code.clear();
    CHECK_FALSE(code);

    cenote::failure f;
    const cenote::fail_to to_failure{f};
    CHECK(to_failure.wants_evidence());
    to_failure.set(told({.max = 4}, errc::exhausted));
    CHECK(f.code == errc::exhausted);
    CHECK(f.seen->max == 4);
    to_failure.clear();
    CHECK_FALSE(f);
    CHECK(f.seen == nullptr);
}

// ── the classes of driver errors ─────────────────────────────────────────────────────────────────────────────────────────

namespace {
constexpr std::pair<error_class, std::string_view> classes[]{
    {error_class::other, "other"},
    {error_class::disconnected, "disconnected"},
    {error_class::refused, "refused"},
    {error_class::not_ready, "not_ready"},
    {error_class::auth, "auth"},
    {error_class::server_full, "server_full"},
    {error_class::wrong_role, "wrong_role"},
    {error_class::stale_plan, "stale_plan"},
    {error_class::serialization, "serialization"},
    {error_class::constraint, "constraint"},
    {error_class::timeout, "timeout"},
    {error_class::cancelled, "cancelled"},
};
constexpr bool named_in_order() {
    unsigned i = 0;
    for (const auto& [c, name] : classes) {
        if (static_cast<unsigned>(c) != i++ || cenote::to_string(c) != name) return false;
    }
    return true;
}
static_assert(named_in_order());
static_assert(cenote::to_string(static_cast<error_class>(std::size(classes))) == "other", "no class was added without its name");
} // namespace

TEST_CASE("a retry is worth while only after what passes by itself") {
    const std::set<error_class> passing{error_class::disconnected, error_class::refused, error_class::not_ready, error_class::server_full,
                                        error_class::wrong_role, error_class::timeout};
    for (const auto& [c, name] : classes) {
        CAPTURE(name);
        CHECK(cenote::is_retryable(c) == passing.contains(c));
    }
}

TEST_CASE("a driver's error carries class, text, code and SQLSTATE") {
    const cenote::driver_error plain{error_class::refused, "nobody listens"};
    CHECK(plain.kind() == error_class::refused);
    CHECK(std::string{plain.what()} == "nobody listens");
    CHECK(plain.native_code() == 0);
    CHECK(plain.sqlstate().empty());
    const cenote::driver_error full{error_class::auth, "wrong password", 1045, "28000"};
    CHECK(full.native_code() == 1045);
    CHECK(full.sqlstate() == "28000");
}

namespace {
struct session {};
struct plain_driver {
    using connection = session;
    static session open(cenote::deadline) { return {}; }
    static void close(session&) noexcept {}
};
struct knowing_driver : plain_driver {
    static error_class classify(const std::exception&) noexcept { return error_class::not_ready; }
};
} // namespace

TEST_CASE("an error's class comes from the driver, else from the error itself, else it is other") {
    plain_driver plain;
    knowing_driver knowing;
    const cenote::driver_error own{error_class::auth, "no"};
    const std::runtime_error foreign{"no"};
    CHECK(cenote::classify(plain, own) == error_class::auth);
    CHECK(cenote::classify(plain, foreign) == error_class::other);
    CHECK(cenote::classify(knowing, own) == error_class::not_ready);
    CHECK(cenote::classify(knowing, foreign) == error_class::not_ready);
}
