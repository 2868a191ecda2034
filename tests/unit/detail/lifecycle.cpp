// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/bag.hpp>
#include <cenote/detail/lifecycle.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <optional>
#include <type_traits>

using namespace std::chrono_literals;
using cenote::close_reason;
using cenote::duration;
using cenote::probe;
using cenote::session_state;
using cenote::time_point;

namespace {
namespace lifecycle = cenote::detail::lifecycle;
using cenote::detail::bag;
using cenote::detail::list;
using lifecycle::moment;
using why = std::optional<close_reason>;
constexpr time_point noon{1000h};

// ── how long a test may take ─────────────────────────────────────────────────────────────────────────────────────────────
static_assert(lifecycle::validation_limit(5s, 30s) == 5s);
static_assert(lifecycle::validation_limit(5s, 20s) == 5s);
static_assert(lifecycle::validation_limit(5s, 20s - 4ns) == 5s - 1ns);
static_assert(lifecycle::validation_limit(5s, 2s) == 500ms, "a hung test leaves time for the next connection");
static_assert(lifecycle::validation_limit(5s, 4ns) == 1ns);
static_assert(lifecycle::validation_limit(5s, 0s) == 5s, "who has no budget grants the whole limit");
static_assert(lifecycle::validation_limit(5s, -1s) == 5s);
static_assert(lifecycle::validation_limit(5s, duration::max()) == 5s);
static_assert(lifecycle::validation_limit(duration::max(), duration::max()) == duration::max() / 4);
static_assert(lifecycle::validation_limit(duration::max(), 0s) == duration::max());

// ── what counts as dirty ─────────────────────────────────────────────────────────────────────────────────────────────────
static_assert(!lifecycle::is_dirty(session_state::idle) && !lifecycle::is_dirty(session_state::unknown));
static_assert(lifecycle::is_dirty(session_state::in_transaction) && lifecycle::is_dirty(session_state::failed_transaction) &&
              lifecycle::is_dirty(session_state::busy));

// ── when age policies are asked ──────────────────────────────────────────────────────────────────────────────────────────

/// An age policy that is asked at the moments named by `At` (1 checkout, 2 return, 4 idle), with an answer that the test sets.
template <unsigned At, close_reason Why, bool Clock = true, bool Spares = false>
struct limit {
    using family = cenote::family::age;
    static constexpr bool at_checkout = (At & 1) != 0, at_return = (At & 2) != 0, while_idle = (At & 4) != 0;
    static constexpr close_reason reason = Why;
    static constexpr bool spares_min_idle = Spares;
    bool ends = true;
    [[nodiscard]] bool expired(const auto&, time_point now) const noexcept
        requires(Clock)
    {
        return ends && now == noon;
    }
    [[nodiscard]] bool expired(const auto&) const noexcept
        requires(!Clock)
    {
        return ends;
    }
};
struct unspoken { // does not say whether it spares min_idle
    using family = cenote::family::age;
    static constexpr bool at_checkout = false, at_return = false, while_idle = true;
    static constexpr close_reason reason = close_reason::custom;
    [[nodiscard]] static bool expired(const auto&) noexcept { return true; }
};
struct defaults {
    template <class T>
    T operator()(std::type_identity<T>) const { return T{}; }
};
constexpr struct {
} no_facts{};

template <unsigned At, bool Clock>
void each_moment() {
    using asked = limit<At, close_reason::age, Clock>;
    bag<asked> policies{defaults{}};
    for (const bool ends : {false, true}) {
        policies.template get<asked>().ends = ends;
        const auto expected = [&](unsigned bit) { return ends && (At & bit) != 0 ? why{close_reason::age} : std::nullopt; };
        CAPTURE(At, Clock, ends);
        CHECK(lifecycle::end_of_life<moment::checkout>(list<asked>{}, policies, no_facts, noon) == expected(1));
        CHECK(lifecycle::end_of_life<moment::give_back>(list<asked>{}, policies, no_facts, noon) == expected(2));
        CHECK(lifecycle::end_of_life<moment::idle>(list<asked>{}, policies, no_facts, noon) == expected(4));
        CHECK(lifecycle::end_of_idling<false>(list<asked>{}, policies, no_facts, noon) == expected(4));
        CHECK(lifecycle::end_of_idling<true>(list<asked>{}, policies, no_facts, noon) == std::nullopt);
        if constexpr (Clock) CHECK(lifecycle::end_of_life<moment::idle>(list<asked>{}, policies, no_facts, noon + 1ns) == std::nullopt);
    }
}
template <unsigned... At>
void every_moment(std::integer_sequence<unsigned, At...>) {
    (each_moment<At, true>(), ...);
    (each_moment<At, false>(), ...);
}
} // namespace

TEST_CASE("a policy is asked at its moments and at no other, with or without a clock") {
    every_moment(std::make_integer_sequence<unsigned, 8>{});
}

TEST_CASE("of several limits that are reached the first one is the reason") {
    using first = limit<1, close_reason::age>;
    using second = limit<3, close_reason::uses, false>;
    using third = limit<7, close_reason::custom>;
    using all = list<first, second, third>;
    for (unsigned reached = 0; reached < 8; ++reached) {
        bag<first, second, third> policies{defaults{}};
        policies.get<first>().ends = (reached & 1) != 0;
        policies.get<second>().ends = (reached & 2) != 0;
        policies.get<third>().ends = (reached & 4) != 0;
        const why one = close_reason::age, two = close_reason::uses, three = close_reason::custom, none;
        CAPTURE(reached);
        CHECK(lifecycle::end_of_life<moment::checkout>(all{}, policies, no_facts, noon) ==
              ((reached & 1) != 0 ? one : (reached & 2) != 0 ? two : (reached & 4) != 0 ? three : none));
        CHECK(lifecycle::end_of_life<moment::give_back>(all{}, policies, no_facts, noon) == ((reached & 2) != 0 ? two : (reached & 4) != 0 ? three : none));
        CHECK(lifecycle::end_of_life<moment::idle>(all{}, policies, no_facts, noon) == ((reached & 4) != 0 ? three : none));
    }
    const bag<> nothing{defaults{}};
    CHECK(lifecycle::end_of_life<moment::checkout>(list<>{}, nothing, no_facts, noon) == std::nullopt);
}

TEST_CASE("idle limits that spare min_idle and those that do not are asked apart; who says nothing does not spare") {
    using spares = limit<4, close_reason::idle, true, true>;
    using strict = limit<4, close_reason::age>;
    const bag<spares, strict> policies{defaults{}};
    CHECK(lifecycle::end_of_idling<true>(list<spares, strict>{}, policies, no_facts, noon) == close_reason::idle);
    CHECK(lifecycle::end_of_idling<false>(list<spares, strict>{}, policies, no_facts, noon) == close_reason::age);
    const bag<unspoken> silent{defaults{}};
    CHECK(lifecycle::end_of_idling<true>(list<unspoken>{}, silent, no_facts, noon) == std::nullopt);
    CHECK(lifecycle::end_of_idling<false>(list<unspoken>{}, silent, no_facts, noon) == close_reason::custom);
}

TEST_CASE("an idle connection is due when the first of its limits is") {
    struct : cenote::opened_at, cenote::jitter_draw, cenote::last_used, cenote::use_count {
    } facts;
    facts.opened = noon;
    facts.used = noon + 25min;
    const auto given = []<class T>(std::type_identity<T>) {
        if constexpr (std::is_same_v<T, cenote::max_lifetime>) return T{.after = 30min, .jitter = 0};
        else return T{};
    };
    using cenote::idle_timeout, cenote::max_lifetime, cenote::max_uses;
    const bag<max_lifetime, idle_timeout, max_uses, unspoken> policies{given};
    CHECK(lifecycle::next_due(list<max_lifetime, idle_timeout, max_uses, unspoken>{}, policies, facts) == noon + 30min);
    CHECK(lifecycle::next_due(list<idle_timeout, max_uses>{}, policies, facts) == noon + 35min);
    facts.used = noon;
    CHECK(lifecycle::next_due(list<max_lifetime, idle_timeout>{}, policies, facts) == noon + 10min);
    CHECK(lifecycle::next_due(list<max_uses, unspoken>{}, policies, facts) == time_point::max());
    CHECK(lifecycle::next_due(list<>{}, policies, facts) == time_point::max());
}

TEST_CASE("what to look at before use is the validation's to say, with a clock or without") {
    const cenote::last_used f{noon};
    CHECK(lifecycle::test_before_use(cenote::no_validation{}, f, noon) == probe::none);
    CHECK(lifecycle::test_before_use(cenote::pre_ping{}, f, noon) == probe::ping);
    CHECK(lifecycle::test_before_use(cenote::pre_ping_after{}, f, noon + 499ms) == probe::none);
    CHECK(lifecycle::test_before_use(cenote::pre_ping_after{}, f, noon + 500ms) == probe::ping);
    CHECK(lifecycle::test_before_use(cenote::peek_after{}, f, noon + 499ms) == probe::none);
    CHECK(lifecycle::test_before_use(cenote::peek_after{}, f, noon + 500ms) == probe::peek);
}
