// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/session/lock_events.hpp>
#include <cenote/session/lock_key.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using namespace cenote;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("The number of a name is FNV-1a, for ever") {
    STATIC_CHECK(advisory_lock::hashed("") == static_cast<std::int64_t>(0xcbf29ce484222325U)); // the published ones
    STATIC_CHECK(advisory_lock::hashed("a") == static_cast<std::int64_t>(0xaf63dc4c8601ec8cU));
    STATIC_CHECK(advisory_lock::hashed("foobar") == static_cast<std::int64_t>(0x85944171f73967e8U));
    CHECK(advisory_lock::hashed("\xff") != advisory_lock::hashed("\x7f"));
    CHECK(advisory_lock{"nightly report"}.take(7) == advisory_lock{advisory_lock::hashed("nightly report")}.take(7));
}

TEST_CASE("The statements of an advisory lock") {
    CHECK(advisory_lock{4711}.take(7) == "select case when pg_catalog.pg_backend_pid() <> 7 then -1 when pg_catalog.pg_try_advisory_lock('4711'::bigint) "
                                         "then pg_catalog.pg_backend_pid() else 0 end");
    CHECK(advisory_lock{-1, 2}.shared().take({}) ==
          "select case when pg_catalog.pg_try_advisory_lock_shared('-1'::int, '2'::int) then pg_catalog.pg_backend_pid() else 0 end");
    CHECK_THAT(advisory_lock{4711}.shared().release(7), ContainsSubstring("pg_advisory_unlock_shared('4711'::bigint)"));
    CHECK_THAT(advisory_lock{std::numeric_limits<std::int64_t>::min()}.ask(7), ContainsSubstring("classid::bigint = 2147483648 and objid::bigint = 0 "));
    CHECK_THAT(advisory_lock(-1, -2).ask(7), ContainsSubstring("classid::bigint = 4294967295 and objid::bigint = 4294967294 and objsubid = 2"));
    CHECK(std::string{advisory_lock{1}.type()} == "advisory");
    CHECK(std::string{advisory_lock{1}.shared().type()} == "advisory_shared");
    CHECK(advisory_lock("a").shared().text() == "shared advisory lock 'a' (-5808556873153909620)");
    CHECK(advisory_lock(1, -2).text() == "advisory lock 1, -2");
    CHECK_THROWS_AS(advisory_lock{""}, std::invalid_argument);
    CHECK_THROWS_AS(advisory_lock{std::uint64_t{1} << 63U}, std::invalid_argument);
}

TEST_CASE("The statements of a named lock hold its name as digits only") {
    CHECK(named_lock{"a'\\"}.take(7) == "select case when (connection_id() & 4294967295) <> 7 then -1 else case get_lock(_utf8mb4 0x61275c, 0) "
                                       "when 1 then connection_id() when 0 then 0 end end");
    CHECK(named_lock{"a"}.take({}) == "select case get_lock(_utf8mb4 0x61, 0) when 1 then connection_id() when 0 then 0 end");
    CHECK(named_lock{"a"}.text() == "named lock 'a'");
    std::string most;
    for (int i = 0; i < 64; ++i) most += "\xc3\xa4"; // ä
    CHECK_NOTHROW(named_lock{most});
    for (const std::string& bad : {std::string{}, most + "a", std::string(65, 'a'), std::string{"a\0b", 3}}) CHECK_THROWS_AS(named_lock{bad}, std::invalid_argument);
    try {
        named_lock{std::string(65, 'a')};
    } catch (const std::invalid_argument& e) {
        CHECK(std::string{e.what()} == "cenote: named_lock.name.size = 65: must be 1 to 64 characters");
    }
}

TEST_CASE("The figures of locks, as Prometheus reads them") {
    lock_counters figures;
    const auto tell = [&](lock_change what, duration lasted, std::string_view type = "named") { figures.on_lock({what, type, "x", lasted, {}}); };
    tell(lock_change::acquired, 1s);
    tell(lock_change::released, 250ms);
    tell(lock_change::lost, 251ms);
    tell(lock_change::close_error, 251ms);
    tell(lock_change::released, 24h);
    tell(lock_change::overdue, 6min, "mine");
    CHECK(figures.count(lock_change::released) == 2);
    CHECK(figures.count(lock_change::overdue, "named") == 0);
    CHECK(figures.count(lock_change::overdue, "other") == 1);
    const std::string text = figures.prometheus("shop");
    for (const char* line : {"# TYPE shop_lock_connection_age_seconds histogram\n", "shop_lock_connection_age_seconds_bucket{lock_type=\"named\",le=\"0.05\"} 0\n",
                             "shop_lock_connection_age_seconds_bucket{lock_type=\"named\",le=\"0.25\"} 1\n",
                             "shop_lock_connection_age_seconds_bucket{lock_type=\"named\",le=\"1\"} 2\n",
                             "shop_lock_connection_age_seconds_bucket{lock_type=\"named\",le=\"+Inf\"} 3\n",
                             "shop_lock_connection_age_seconds_sum{lock_type=\"named\"} 86400.501\n", "shop_lock_connection_age_seconds_count{lock_type=\"named\"} 3\n",
                             "# TYPE shop_lock_connection_leak_detected_total counter\n", "shop_lock_connection_leak_detected_total{lock_type=\"other\"} 1\n",
                             "shop_lock_connection_close_error_total{lock_type=\"named\"} 1\n", "shop_lock_lost_total{lock_type=\"named\"} 1\n"}) {
        CHECK_THAT(text, ContainsSubstring(line));
    }
    CHECK_THAT(text, !ContainsSubstring("\"advisory\""));
}
