// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/config.hpp>
#include <cenote/drivers/null.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <source_location>
#include <string>
#include <thread>
#include <type_traits>

using namespace std::chrono_literals;
using cenote::null;
using cenote::time_point;
using cenote::detail::fact_base;
using cenote::detail::list;

namespace {
constexpr time_point noon{1000h};

template <class... P>
using config_of = cenote::detail::config<null, typename cenote::detail::resolve<null, P...>::type>;
template <class... P>
using facts_of = typename config_of<P...>::fact_list;
using off = cenote::profile::bare<2>;

// ── which facts a pool keeps ─────────────────────────────────────────────────────────────────────────────────────────────
static_assert(std::is_same_v<facts_of<off>, list<>>);
static_assert(std::is_same_v<facts_of<off, cenote::idle_timeout, cenote::peek_after>, list<cenote::last_used>>, "each fact once, whoever needs it");
static_assert(std::is_same_v<facts_of<off, cenote::max_lifetime>, list<cenote::opened_at, cenote::jitter_draw>>);
static_assert(std::is_same_v<facts_of<off, cenote::counters, cenote::max_uses>, list<cenote::use_count, cenote::lease_count>>, "in canonical order");
static_assert(std::is_same_v<facts_of<off, cenote::deferred<>>, list<cenote::detail::reply_pending>>);
static_assert(std::is_same_v<facts_of<off, cenote::leak_threshold>, list<cenote::holder>>);

struct timing_sink {
    using family = cenote::family::metrics;
    void on_returned(const cenote::returned_event&) {}
};
struct counting_sink {
    using family = cenote::family::metrics;
    void on_returned() {}
};
static_assert(std::is_same_v<facts_of<off, timing_sink>, list<cenote::leased_at>>, "a sink that is told for how long makes the pool time leases");
static_assert(std::is_same_v<facts_of<off, counting_sink>, list<>>);

// ── which events read the clock ──────────────────────────────────────────────────────────────────────────────────────────
template <class... P>
constexpr unsigned clock_at = (config_of<P...>::clock_at_checkout ? 1U : 0U) | (config_of<P...>::clock_at_lease ? 2U : 0U) |
                              (config_of<P...>::clock_at_return ? 4U : 0U);
static_assert(clock_at<off> == 0);
static_assert(clock_at<off, cenote::counters> == 0 && clock_at<off, cenote::max_uses> == 0 && clock_at<off, cenote::pre_ping> == 0 &&
              clock_at<off, cenote::forbid_nested> == 0 && clock_at<off, cenote::deferred<>> == 0);
static_assert(clock_at<off, cenote::idle_timeout> == 4);
static_assert(clock_at<off, cenote::peek_after> == (1 | 4) && clock_at<off, cenote::pre_ping_after> == (1 | 4));
static_assert(clock_at<off, cenote::max_lifetime> == (1 | 4));
static_assert(clock_at<off, cenote::leak_threshold> == 2);
static_assert(clock_at<off, timing_sink> == (2 | 4) && clock_at<off, counting_sink> == 0);

// ── what a give back has to do ───────────────────────────────────────────────────────────────────────────────────────────
template <class... P>
constexpr bool only_pushes = !config_of<P...>::works_at_return;
static_assert(only_pushes<off> && only_pushes<off, cenote::pre_ping>);
static_assert(!only_pushes<off, cenote::max_uses> && !only_pushes<off, cenote::reset_if_dirty> && !only_pushes<off, counting_sink> &&
              !only_pushes<off, cenote::on_close<void (*)(null::connection&)>> && !only_pushes<off, cenote::leak_threshold>);
static_assert(config_of<off>::calm && !config_of<off, cenote::with_mutex<>>::calm && !config_of<off, cenote::bounded>::calm);
static_assert(config_of<off>::caller_dials && !config_of<>::caller_dials && config_of<cenote::manual>::caller_dials && config_of<cenote::no_wait>::caller_dials);

// ── a fact of every shape ────────────────────────────────────────────────────────────────────────────────────────────────
std::string heard;
struct hears_all {
    void on_open(const cenote::open_event& e) noexcept { heard += "open " + std::to_string(e.random) + (e.now == noon ? " noon" : "") + ";"; }
    void on_lease(time_point now, const std::source_location& w) noexcept { heard += (now == noon ? "lease noon line " : "lease ") + std::to_string(w.line()) + ";"; }
    void on_return(time_point now) noexcept { heard += now == noon ? "return noon;" : "return;"; }
};
struct hears_times {
    void on_lease(time_point now) noexcept { heard += now == noon ? "timed;" : "?;"; }
};
struct hears_events {
    void on_lease() noexcept { heard += "leased;"; }
    void on_return() noexcept { heard += "returned;"; }
};
struct hears_nothing {};

static_assert(fact_base<list<hears_all>>::stamps_lease_any && fact_base<list<hears_all>>::stamps_return_any);
static_assert(fact_base<list<hears_nothing, hears_times>>::stamps_lease_any && !fact_base<list<hears_times>>::stamps_return_any);
static_assert(!fact_base<list<hears_events, hears_nothing>>::stamps_lease_any && !fact_base<list<hears_events>>::stamps_return_any);
static_assert(std::is_empty_v<fact_base<list<>>> && std::is_empty_v<fact_base<list<hears_all, hears_events>>>);
} // namespace

TEST_CASE("each fact is told of the events it has a member for, in the form it takes, and in order") {
    fact_base<list<hears_all, hears_nothing, hears_times, hears_events>> facts;
    const auto here = std::source_location::current();
    heard.clear();
    facts.open({.now = noon, .random = 7});
    CHECK(heard == "open 7 noon;");
    heard.clear();
    facts.lease(noon, here);
    CHECK(heard == "lease noon line " + std::to_string(here.line()) + ";timed;leased;");
    heard.clear();
    facts.returned(noon);
    CHECK(heard == "return noon;returned;");
}

TEST_CASE("the facts of the pool's own policies are stamped at their events") {
    fact_base<list<cenote::opened_at, cenote::jitter_draw, cenote::last_used, cenote::leased_at, cenote::use_count, cenote::lease_count, cenote::holder,
                   cenote::holding_thread, cenote::detail::reply_pending>>
        f;
    const auto here = std::source_location::current();
    f.pending = true;
    f.uses = 99;
    f.open({.now = noon, .random = 0x80000000U});
    CHECK(f.opened == noon);
    CHECK(f.used == noon); // "last used" begins with the opening
    CHECK(f.fraction() == 0.5);
    CHECK(f.uses == 0);
    CHECK_FALSE(f.pending);

    f.tag = "of an earlier lease";
    f.lease(noon + 1s, here);
    CHECK(f.leased == noon + 1s);
    CHECK(f.uses == 1);
    CHECK(f.leases == 1);
    CHECK(f.epoch == 1);
    CHECK(f.since == (noon + 1s).time_since_epoch().count());
    CHECK(f.where.load().line() == here.line());
    CHECK(f.thread.load() == std::this_thread::get_id());
    CHECK(f.tag.load() == nullptr);
    CHECK(f.owner.load() == std::this_thread::get_id());
    CHECK(f.opened == noon);
    CHECK(f.used == noon);

    f.returned(noon + 2s);
    CHECK(f.used == noon + 2s);
    CHECK(f.epoch == 2);
    CHECK(f.owner.load() == std::thread::id{});
    CHECK(f.leased == noon + 1s);

    f.lease(noon + 3s, here);
    f.returned(noon + 4s);
    CHECK(f.uses == 2);
    CHECK(f.leases == 2);
    f.open({.now = noon + 5s, .random = 0}); // another connection in the same slot
    CHECK(f.uses == 0);
    CHECK(f.leases == 2); // counted over all its connections
    CHECK(f.opened == noon + 5s);
    CHECK(f.used == noon + 5s);
    CHECK(f.fraction() == 0.0);
}
