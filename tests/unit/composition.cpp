// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;
using namespace cenote;
using Catch::Matchers::Message;

namespace {
using db_pool = pool<null, bounded, max_lifetime, pre_ping_after, named, reset_with, counters>;

struct values {
    unsigned max;
    duration life, idle;
    std::string name, sql;
    bool operator==(const values&) const = default;
};
values of(const db_pool& db) {
    return {db.get<bounded>().max, db.get<max_lifetime>().after, db.get<pre_ping_after>().idle, db.get<named>().name,
            db.get<deferred<reset_with>>().what.sql};
}
} // namespace

TEST_CASE("each policy gets the value it was given, in whatever order, and its default where it was not") {
    const reset_with sql{"discard all"}; // without SQL there is nothing to run
    CHECK(of(db_pool{null{}, sql}) == values{10, 30min, 500ms, "", "discard all"});
    CHECK(of(db_pool{null{}, bounded{.max = 3}, sql}) == values{3, 30min, 500ms, "", "discard all"});
    CHECK(of(db_pool{null{}, named{"shop"}, sql, bounded{.max = 3}}) == values{3, 30min, 500ms, "shop", "discard all"});
    CHECK(of(db_pool{null{}, reset_with{"reset"}, counters{}, pre_ping_after{1s}, named{"n"}, max_lifetime{1h}, bounded{.max = 4}}) ==
          values{4, 1h, 1s, "n", "reset"});
    const bounded lvalue{.max = 5};
    CHECK(of(db_pool{null{}, lvalue, sql}).max == 5);
}

TEST_CASE("case-D15: values that may not be are refused by the constructor, with field, value and rule") {
    CHECK_THROWS_MATCHES(db_pool{null{}}, std::invalid_argument,
                         Message("cenote: reset_with.sql = '': must not be empty; for nothing to be done write no_reset"));
    CHECK_THROWS_MATCHES((pool{null{}, bounded{.max = 0}}), std::invalid_argument, Message("cenote: bounded.max = 0: must be 1 to 1000000"));
    CHECK_THROWS_MATCHES((pool{null{}, max_lifetime{1s}, backoff{.first = 1s, .max = 2s, .factor = 0.5}}), std::invalid_argument,
                         Message("cenote: backoff.factor = 0.500000: must be a finite number of at least 1"));
    CHECK_THROWS_MATCHES((pool{null{}, profile::web{}, overflow{.size = 0}}), std::invalid_argument,
                         Message("cenote: overflow.size = 0: must be 1 to 1000000"));
    CHECK_THROWS_MATCHES((pool{null{}, bundle{idle_timeout{0s}}}), std::invalid_argument,
                         Message("cenote: idle_timeout.after = 0s: must be above zero; to switch it off write no_idle_timeout"));
    CHECK_THROWS_MATCHES((pool{null{}, single_threaded{}, background{reset_if_dirty{}, -1s}}), std::invalid_argument,
                         Message("cenote: background.timeout = -1s: must be above zero; to switch it off write no_reset"));
    CHECK_THROWS_MATCHES((pool{null{}, fixed<2>{}, peek_after{-1s}}), std::invalid_argument,
                         Message("cenote: peek_after.idle = -1s: must not be negative"));
}

TEST_CASE("a profile brings its values, and what is named beside it overrides it") {
    const pool web{null{}, profile::web{}};
    CHECK(web.stats().max == 30);
    CHECK(web.get<max_lifetime>().after == 1800s);
    const pool worker{null{}, max_lifetime{5min}, profile::worker{}, no_reset{}};
    CHECK(worker.get<overflow>().size == 5);
    CHECK(worker.get<acquire_timeout>().after == 60s);
    CHECK(worker.get<max_lifetime>().after == 5min);
    const pool smaller{null{}, bounded{.max = 3}, profile::worker{}};
    CHECK(smaller.stats().max == 3);
    const pool<null, profile::worker, named> by_type{null{}, named{"jobs"}};
    CHECK(by_type.get<overflow>().max_overflow == 10);
    CHECK(by_type.name() == "jobs");
    const pool<null, named, profile::worker> by_value{null{}, profile::worker{}};
    CHECK(by_value.get<acquire_timeout>().after == 60s);
}

TEST_CASE("a bundle brings the values it was made with") {
    const pool db{null{}, bundle{bounded{.max = 7}, reset_with{"reset"}, named{"shop"}}, named{"depot"}};
    CHECK(db.stats().max == 7);
    CHECK(db.name() == "depot");
    CHECK(db.get<deferred<reset_with>>().what.sql == "reset");
}

TEST_CASE("what cannot be copied is moved in, also out of a bundle") {
    auto told = std::make_shared<int>(0);
    pool own{null{}, manual{}, on_connect{[mark = std::make_unique<int>(7), told](null::connection& c) { c.mark = *mark + ++*told; }}};
    pool bundled{null{}, bundle{manual{}, on_connect{[mark = std::make_unique<int>(9)](null::connection& c) { c.mark = *mark; }}}};
    pool moved{std::move(own)};
    CHECK(moved.acquire()->mark == 8);
    CHECK(bundled.acquire()->mark == 9);
}

TEST_CASE("a what without a when gets the driver's when, with its values") {
    const pool script{null{}, reset_with{"a"}};
    CHECK(script.get<deferred<reset_with>>().timeout == 5s);
    const pool always{null{}, reset_always{}};
    CHECK(always.get<deferred<reset_always>>().timeout == 5s);
    const pool when{null{}, at_return{reset_with{"b"}, 3s}};
    CHECK(when.get<at_return<reset_with>>().timeout == 3s);
    CHECK(when.get<at_return<reset_with>>().what.sql == "b");
}

TEST_CASE("hooks are called in the order they were written in, and sinks are all told") {
    std::string order;
    struct opens {
        using family = family::metrics;
        std::string* to;
        void on_opened(const opened_event&) { to->append("o"); }
    };
    struct closes {
        using family = family::metrics;
        std::string* to;
        void on_closed(const closed_event&) { to->append("c"); }
    };
    {
        pool db{null{}, manual{}, on_acquire{[&](null::connection&) { order += '3'; }}, closes{&order}, on_connect{[&](null::connection&) { order += '1'; }},
                on_close{[&](null::connection&) { order += '5'; }}, opens{&order}, on_connect{[&](null::connection&) { order += '2'; }},
                on_acquire{[&](null::connection&) { order += '4'; }}, on_close{[&](null::connection&, close_reason r) { order += r == close_reason::shutdown ? '6' : '!'; }}};
        const auto lease = db.acquire();
    }
    CHECK(order == "o123456c");
}

namespace {
struct own {
    using family = family::sizing;
    static constexpr unsigned embedded = 0;
    limits l;
    [[nodiscard]] limits bounds() const { return l; }
};
struct embeds_four {
    using family = family::sizing;
    static constexpr unsigned embedded = 4;
    unsigned n;
    [[nodiscard]] limits bounds() const { return {.keep = n, .max = n, .ceiling = n}; }
};
} // namespace

TEST_CASE("a sizing policy of one's own is held to its word") {
    CHECK(pool{null{}, own{{.keep = 2, .max = 3, .ceiling = 4}}}.stats().max == 3);
    const std::string rule = ": the limits of a sizing policy must satisfy 1 <= max <= ceiling <= 1000000, and min, min_idle and keep at most max";
    for (const limits& l : {limits{}, limits{.keep = 4, .max = 3, .ceiling = 3}, limits{.min = 4, .keep = 3, .max = 3, .ceiling = 3},
                            limits{.min_idle = 4, .keep = 3, .max = 3, .ceiling = 3}, limits{.keep = 3, .max = 3, .ceiling = 2},
                            limits{.keep = 3, .max = 3, .ceiling = 1'000'001}}) {
        CHECK_THROWS_MATCHES((pool{null{}, own{l}}), std::invalid_argument, Message("cenote: sizing.bounds().max = " + std::to_string(l.max) + rule));
    }
    CHECK(pool{null{}, embeds_four{4}}.stats().max == 4);
    for (const unsigned n : {1U, 3U, 5U}) {
        CHECK_THROWS_MATCHES((pool{null{}, embeds_four{n}}), std::invalid_argument,
                             Message("cenote: sizing.bounds().max = " + std::to_string(n) + ": must be as many as the policy embeds, which is 4"));
    }
}
