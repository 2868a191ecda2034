// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What a program may hand a pool by mistake or by malice: values that make no sense, times at the end of time, texts that break lines.
#include "unit/pool/support.hpp"

#include <cenote/drivers/null.hpp>
#include <cenote/retry.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <chrono>
#include <limits>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

using namespace pool_test;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();
constexpr duration longest = duration::max();
constexpr duration shortest = duration::min();

/// Two pools that have between them every policy with a value that can make no sense. (Connecting's pauses need the thread.)
using first_pool = pool<null, bounded, eventually_fair, acquire_timeout, background_thread, connect_timeout, backoff, breaker, max_lifetime, idle_timeout, max_uses,
                        refresh_every, peek_after, keepalive, deferred<reset_with>, cut_at_close, leak_threshold, require_role, counters, clock::manual, live_settings>;
using second_pool = pool<null, overflow, pre_ping_after, background<reset_with>, live_settings>;
using third_pool = pool<null, manual, pre_ping, at_return<reset_always>>;

manual_clock a_clock;
const deferred<reset_with> sound_reset{reset_with{"x"}};
const background<reset_with> sound_cleaning{reset_with{"x"}};

auto first(auto... values) { return first_pool{null{}, clock::manual{a_clock}, values...}; }

struct refused {
    std::string said;
    std::string_view field;
    std::string value;
};
template <class P>
refused by_first(std::string_view field, std::string value, P bad) {
    return {refusal([&] {
                if constexpr (std::is_same_v<P, deferred<reset_with>>) first(bad);
                else first(sound_reset, bad);
            }),
            field, std::move(value)};
}
template <class P>
refused by_second(std::string_view field, std::string value, P bad) {
    return {refusal([&] {
                if constexpr (std::is_same_v<P, background<reset_with>>) second_pool{null{}, bad};
                else second_pool{null{}, sound_cleaning, bad};
            }),
            field, std::move(value)};
}
template <class P>
refused by_third(std::string_view field, std::string value, P bad) {
    return {refusal([&] { third_pool{null{}, bad}; }), field, std::move(value)};
}

/// It names field and value, and then the rule, of more than one word.
void check(const refused& r) {
    CAPTURE(r.said);
    const std::string begin = "cenote: " + std::string{r.field} + " = " + r.value + ": must ";
    CHECK(r.said.substr(0, begin.size()) == begin);
    CHECK(std::count(r.said.begin() + static_cast<std::ptrdiff_t>(std::min(begin.size(), r.said.size())), r.said.end(), ' ') >= 1);
}

struct wrong_length {
    duration is;
    const char* text;
};
constexpr wrong_length nothing{0s, "0s"}, less_than_nothing{-1ns, "-1ns"}, far_less{shortest, "-9223372036854775808ns"};

} // namespace

// A duration of a policy is a whole number of nanoseconds: what is no number, or no end, does not convert.
static_assert(!std::is_convertible_v<std::chrono::duration<double>, duration> && !std::is_constructible_v<max_lifetime, std::chrono::duration<double>>);

TEST_CASE("case-D15: every value of every policy that makes no sense is refused, with field, value and rule") {
    std::vector<refused> all;
    for (const auto& [is, text] : {nothing, less_than_nothing, far_less}) { // what has to be above zero
        all.push_back(by_first("acquire_timeout.after", text, acquire_timeout{is}));
        all.push_back(by_first("connect_timeout.after", text, connect_timeout{is}));
        all.push_back(by_first("backoff.first", text, backoff{.first = is}));
        all.push_back(by_first("max_lifetime.after", text, max_lifetime{is}));
        all.push_back(by_first("idle_timeout.after", text, idle_timeout{is}));
        all.push_back(by_first("refresh_every.period", text, refresh_every{.period = is}));
        all.push_back(by_first("refresh_every.over", text, refresh_every{.over = is}));
        all.push_back(by_first("peek_after.timeout", text, peek_after{.timeout = is}));
        all.push_back(by_first("keepalive.every", text, keepalive{.every = is}));
        all.push_back(by_first("keepalive.timeout", text, keepalive{.timeout = is}));
        all.push_back(by_first("deferred.timeout", text, deferred{reset_with{"x"}, is}));
        all.push_back(by_first("leak_threshold.after", text, leak_threshold{is}));
        all.push_back(by_second("pre_ping_after.timeout", text, pre_ping_after{.timeout = is}));
        all.push_back(by_second("background.timeout", text, background{reset_with{"x"}, is}));
        all.push_back(by_third("pre_ping.timeout", text, pre_ping{is}));
        all.push_back(by_third("at_return.timeout", text, at_return{reset_always{}, is}));
    }
    for (const auto& [is, text] : {less_than_nothing, far_less}) { // what may be zero
        all.push_back(by_first("eventually_fair.after", text, eventually_fair{is}));
        all.push_back(by_first("peek_after.idle", text, peek_after{.idle = is}));
        all.push_back(by_first("cut_at_close.grace", text, cut_at_close{is}));
        all.push_back(by_first("background_thread.patience", text, background_thread{.patience = is}));
        all.push_back(by_second("pre_ping_after.idle", text, pre_ping_after{.idle = is}));
    }
    for (const double share : {-0.1, 1.0, 2.0, inf, -inf, not_a_number, -not_a_number}) {
        all.push_back(by_first("max_lifetime.jitter", std::to_string(share), max_lifetime{.jitter = share}));
        all.push_back(by_first("keepalive.jitter", std::to_string(share), keepalive{.jitter = share}));
    }
    for (const double factor : {0.0, 0.999, -2.0, inf, -inf, not_a_number}) all.push_back(by_first("backoff.factor", std::to_string(factor), backoff{.factor = factor}));

    all.push_back(by_first("backoff.max", "1s", backoff{.first = 2s, .max = 1s}));
    all.push_back(by_first("backoff.max", "-1s", backoff{.max = -1s}));
    all.push_back(by_first("refresh_every.over", "2s", refresh_every{.period = 1s, .over = 2s}));
    all.push_back(by_first("breaker.failures", "0", breaker{0}));
    all.push_back(by_first("max_uses.n", "0", max_uses{0}));
    all.push_back(by_first("require_role.role", "unknown", require_role{server_role::unknown}));
    all.push_back(by_first("reset_with.sql", "''", deferred{reset_with{""}}));
    all.push_back(by_second("reset_with.sql", "''", background{reset_with{""}}));
    for (const unsigned n : {0U, 65U, ~0U}) all.push_back(by_first("background_thread.max_dials", std::to_string(n), background_thread{.max_dials = n}));
    for (const unsigned n : {0U, 1'000'001U, ~0U}) {
        all.push_back(by_first("bounded.max", std::to_string(n), bounded{.max = n}));
        all.push_back(by_second("overflow.size", std::to_string(n), overflow{.size = n}));
    }
    for (const unsigned n : {9U, 1U, 1'000'001U, ~0U}) all.push_back(by_first("bounded.ceiling", std::to_string(n), bounded{.max = 10, .ceiling = n}));
    for (const unsigned n : {11U, ~0U}) {
        all.push_back(by_first("bounded.min", std::to_string(n), bounded{.min = n}));
        all.push_back(by_first("bounded.min_idle", std::to_string(n), bounded{.min_idle = n, .ceiling = 20}));
    }
    for (const unsigned n : {1'000'000U, ~0U, ~0U - 9U}) all.push_back(by_second("overflow.max_overflow", std::to_string(n), overflow{.max_overflow = n}));
    all.push_back({refusal([] { retry{{.attempts = 0}}; }), "retry.attempts", "0"});
    all.push_back({refusal([] { retry{{.first = -1s}}; }), "retry.first", "-1s"});
    all.push_back({refusal([] { retry{{.first = 2s, .max = 1s}}; }), "retry.max", "1s"});
    for (const double factor : {0.5, inf, not_a_number}) all.push_back({refusal([&] { retry{{.factor = factor}}; }), "retry.factor", std::to_string(factor)});

    for (const refused& r : all) check(r);
    CHECK(all.size() > 90);
}

TEST_CASE("case-D15: what makes no sense is refused by a pool that runs, too, and changes nothing of what was said beside it") {
    auto p = first(sound_reset, bounded{.max = 4, .ceiling = 8});
    std::vector<refused> all;
    const auto change = [&](std::string_view field, std::string value, auto bad) {
        all.push_back({refusal([&] { p.reconfigure(bounded{.max = 2, .ceiling = 8}, bad); }), field, std::move(value)});
        CHECK(p.stats().max == 4);
        CHECK(p.settings().get<bounded>().max == 4);
    };
    change("eventually_fair.after", "-1ns", eventually_fair{-1ns});
    change("acquire_timeout.after", "0s", acquire_timeout{0s});
    change("connect_timeout.after", "-1s", connect_timeout{-1s});
    change("backoff.factor", "nan", backoff{.factor = not_a_number});
    change("breaker.failures", "0", breaker{0});
    change("max_lifetime.jitter", "1.000000", max_lifetime{.jitter = 1});
    change("idle_timeout.after", "-9223372036854775808ns", idle_timeout{shortest});
    change("max_uses.n", "0", max_uses{0});
    change("refresh_every.over", "1h", refresh_every{.period = 1s, .over = 1h});
    change("peek_after.idle", "-1ms", peek_after{-1ms});
    change("keepalive.jitter", "nan", keepalive{.jitter = not_a_number});
    change("deferred.timeout", "0s", deferred{reset_with{"x"}, 0s});
    change("reset_with.sql", "''", deferred{reset_with{""}});
    change("cut_at_close.grace", "-1s", cut_at_close{-1s});
    change("leak_threshold.after", "0s", leak_threshold{0s});
    all[8].value = "3600s"; // as it is written
    for (const unsigned n : {0U, 1'000'001U}) {
        all.push_back({refusal([&] { p.reconfigure(bounded{.max = n}); }), "bounded.max", std::to_string(n)});
    }
    for (const refused& r : all) check(r);

    for (const unsigned n : {0U, 9U, ~0U}) CHECK_THAT(refusal([&] { p.resize(n); }), ContainsSubstring(" = " + std::to_string(n) + ": must be "));
    for (const unsigned n : {0U, 5U, ~0U}) CHECK_THAT(refusal([&] { (void)p.warm_up(n); }), ContainsSubstring("warm_up(n) = " + std::to_string(n) + ": must be "));
    for (const duration d : {duration{0s}, duration{-1ns}, shortest}) CHECK_THAT(refusal([&] { p.invalidate_all(d); }), ContainsSubstring("invalidate_all(over) = "));
    CHECK_THAT(refusal([&] { (void)p.acquire(std::chrono::duration<double>{not_a_number}); }), ContainsSubstring("timeout = nan: must be a number"));
    CHECK(p.stats().max == 4);
    check_sums(p.stats());
    auto all_there = hold(p, 4);
    CHECK_FALSE(p.try_acquire());
}

TEST_CASE("case-D14: the longest of all times and the largest of all numbers overflow nowhere") {
    manual_clock time;
    for (const time_point now : {manual_clock::start, time_point{}, time_point::max(), time_point::max() - 1ns}) {
        time.set(now);
        const double most = std::nextafter(1.0, 0.0);
        first_pool p{null{},
                     clock::manual{time},
                     bounded{.min_idle = 1, .min = 1, .max = 2, .ceiling = 5000},
                     eventually_fair{longest},
                     acquire_timeout{longest},
                     background_thread{.max_dials = 64, .patience = longest},
                     connect_timeout{longest},
                     backoff{.first = longest, .max = longest, .factor = std::numeric_limits<double>::max(), .attempts = ~0U},
                     breaker{~0U},
                     max_lifetime{longest, most},
                     idle_timeout{longest},
                     max_uses{std::numeric_limits<std::uint64_t>::max()},
                     refresh_every{.period = longest, .over = longest},
                     peek_after{longest, longest},
                     keepalive{longest, longest, most},
                     deferred{reset_with{"x"}, longest},
                     cut_at_close{longest},
                     leak_threshold{longest}};
        REQUIRE(p.warm_up(1, deadline::never()));
        for (int turn = 0; turn < 3; ++turn) {
            std::error_code why;
            CHECK(p.acquire());
            CHECK(p.acquire(std::chrono::hours::max()));
            CHECK(p.acquire(std::chrono::duration<double, std::ratio<86400>>{1e300}));
            CHECK(p.acquire(std::chrono::duration<long double>{std::numeric_limits<long double>::infinity()}, why));
            CHECK(p.acquire(longest, std::stop_token{}));
            CHECK(p.acquire(deadline::never(), why));
            CHECK(p.acquire(deadline{time_point::max() - 1ns}, std::stop_token{}, why));
            (void)p.acquire(deadline{time_point::min()}, why); // what is idle is to be tested, for which there is no time
            (void)p.acquire(shortest, why);
            (void)p.acquire(std::chrono::hours::min(), why);
            (void)p.acquire(std::chrono::duration<double>{-inf}, why);
            {
                const auto all = hold(p, 2);
                (void)p.maintain();
                CHECK_FALSE(p.acquire(deadline{time_point::min()}, why)); // none is
                CHECK_FALSE(p.acquire(shortest, why));
                CHECK(why == errc::acquire_timeout);
                CHECK(p.inspect().leases.size() == 2);
            }
            (void)p.maintain();
            p.invalidate_all(longest);
            (void)p.maintain();
            p.invalidate_all(1ns);
            (void)p.maintain();
            if (turn == 0) time.set(time_point::max());
            if (turn == 1) time.set(now);
        }
        p.resize(5000);
        p.resize(1);
        CHECK(p.trim() <= 2);
        CHECK(eventually([&] { return p.stats().total <= 1; })); // closed in the background
        check_sums(p.stats());
        CHECK(p.close(deadline::never()).drained);
    }
}

TEST_CASE("case-D14: with the shortest of all times that are allowed a pool serves, all the same") {
    manual_clock time;
    first_pool p{null{},
                 clock::manual{time},
                 bounded{.max = 1},
                 eventually_fair{0s},
                 background_thread{.max_dials = 1, .patience = 0s},
                 backoff{.first = 1ns, .max = 1ns, .factor = 1},
                 breaker{1},
                 max_lifetime{1ns, 0.0},
                 idle_timeout{1ns},
                 max_uses{1},
                 refresh_every{.period = 1ns, .over = 1ns},
                 peek_after{0s, 1ns},
                 keepalive{1ns, 1ns, 0.0},
                 deferred{reset_with{"x"}, 1ns},
                 cut_at_close{0s},
                 leak_threshold{1ns}};
    for (int i = 0; i < 50; ++i) {
        CHECK(p.acquire(timeout{patience}));
        time.advance(1ns);
    }
    CHECK(eventually([&] { return p.stats().used == 0; }));
    CHECK(p.close(deadline::in(patience)).drained);
    CHECK(p.stats().opened == p.stats().closed);
}

TEST_CASE("case-E3: names, tags and what drivers and hooks say may be any bytes, and break neither the pool nor the line that tells of them") {
    const std::string texts[] = {"a\nb\r\n\tc", "say \"hello\"", R"(back\slash\)", "\xff\xfe\x80\xc3(", std::string{"zero\0byte", 9}, "\x1b[31mred\x7f", "{label=\"x\"} 1\n# HELP",
                                 std::string(1U << 20U, 'x'), std::string(1U << 20U, '\n'), ""};
    for (const std::string& text : texts) {
        CAPTURE(text.substr(0, 40));
        watched s{1};
        bool angry = false;
        const auto tag = std::make_unique<std::string>(text); // outlives the lease
        pool p{scripted{s}, manual{}, bounded{.max = 1}, named{text}, leak_threshold{}, counters{}, on_acquire{[&](testing::scripted_connection&) {
                   if (angry) throw std::runtime_error{text};
               }}};
        CHECK(p.name() == text);
        const auto is_one_line = [](const std::string& said) { return std::none_of(said.begin(), said.end(), [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; }); };
        failure why;
        {
            auto held = p.acquire(timeout{patience});
            held.tag(tag->c_str());
            CHECK_FALSE(p.acquire(0s, why)); // names the pool and the holder
            CHECK(why.seen->pool == text);
            CHECK(is_one_line(why.text()));
            CHECK(is_one_line(p.inspect().leases.at(0).text()));
            CHECK(is_one_line(error{why}.what()));
        }
        p.acquire(timeout{patience}).discard();
        s.next(site::open, outcome::fail(error_class::auth, text, 1, text.substr(0, 5)));
        CHECK_FALSE(p.acquire(timeout{patience}, why)); // quotes the driver
        CHECK(why.code == errc::connect_failed);
        CHECK(why.seen->last_connect_error.text == text.c_str()); // as it was: who exports it knows how to quote there
        CHECK(is_one_line(why.text()));
        angry = true;
        CHECK_FALSE(p.acquire(timeout{patience}, why)); // and the hook
        CHECK(why.code == errc::hook_failed);
        CHECK(is_one_line(why.text()));
        angry = false;
        check_capacity(p, 1);
    }
}
