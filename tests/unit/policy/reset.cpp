// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/reset.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <array>
#include <chrono>
#include <stdexcept>
#include <type_traits>

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using cenote::at_return;
using cenote::background;
using cenote::cleanup;
using cenote::deferred;
using cenote::no_reset;
using cenote::reset_always;
using cenote::reset_if_dirty;
using cenote::reset_with;
using cenote::session_state;

namespace {
static_assert(cenote::reset_what<no_reset> && cenote::reset_what<reset_if_dirty> && cenote::reset_what<reset_always> && cenote::reset_what<reset_with>);
static_assert(!cenote::reset_what<deferred<>>, "a when is no what");
static_assert(std::is_empty_v<no_reset> && std::is_empty_v<reset_if_dirty> && std::is_empty_v<reset_always>);
static_assert(sizeof(deferred<>) == sizeof(cenote::duration) && sizeof(background<>) == sizeof(cenote::duration));

// What they need of a driver.
template <class R>
constexpr std::array<bool, 3> asks{R::reads_state, R::resets, R::executes};
static_assert(asks<no_reset> == std::array{false, false, false});
static_assert(asks<reset_if_dirty> == std::array{true, false, false});
static_assert(asks<reset_always> == std::array{true, true, false});
static_assert(asks<reset_with> == std::array{true, false, true});
static_assert(asks<deferred<reset_if_dirty>> == asks<reset_if_dirty> && asks<background<reset_with>> == asks<reset_with> &&
              asks<at_return<reset_always>> == asks<reset_always>);

// The documented defaults.
static_assert(std::is_same_v<deferred<>::what_type, reset_if_dirty> && std::is_same_v<background<>::what_type, reset_if_dirty> &&
              std::is_same_v<at_return<>::what_type, reset_if_dirty>);
static_assert(deferred<>{}.timeout == 5s && background<>{}.timeout == 5s && at_return<>{}.timeout == 1s);
static_assert(std::is_same_v<decltype(deferred{reset_always{}}), deferred<reset_always>>);
static_assert(deferred{reset_always{}, 2s}.timeout == 2s && background{reset_always{}, 2s}.timeout == 2s && at_return{reset_always{}, 2s}.timeout == 2s);

// The whole table: state, and what each policy wants done about it.
struct row {
    session_state state;
    cleanup dirty, always, script;
};
constexpr row table[]{
    {session_state::idle, cleanup::none, cleanup::reset, cleanup::script},
    {session_state::in_transaction, cleanup::rollback, cleanup::reset, cleanup::script},
    {session_state::failed_transaction, cleanup::rollback, cleanup::reset, cleanup::script},
    {session_state::busy, cleanup::rollback, cleanup::reset, cleanup::script},
    {session_state::unknown, cleanup::close, cleanup::close, cleanup::close},
};
constexpr bool table_holds() {
    for (const row& r : table) {
        if (no_reset::choose(r.state) != cleanup::none || reset_if_dirty::choose(r.state) != r.dirty || reset_always::choose(r.state) != r.always ||
            reset_with::choose(r.state) != r.script) {
            return false;
        }
    }
    return true;
}
static_assert(table_holds());
static_assert(reset_if_dirty::choose(static_cast<session_state>(std::size(table))) == cleanup::close, "a state nobody knows is not clean");
} // namespace

TEST_CASE("resets refuse a timeout of nothing and SQL of nothing") {
    CHECK_NOTHROW(deferred{}.check());
    CHECK_NOTHROW(background{reset_with{"discard all"}, 1ns}.check());
    CHECK_NOTHROW(at_return{reset_always{}, cenote::duration::max()}.check());
    CHECK_NOTHROW(reset_with{" "}.check());
    CHECK_THROWS_MATCHES(deferred(reset_if_dirty{}, 0s).check(), std::invalid_argument,
                         Message("cenote: deferred.timeout = 0s: must be above zero; to switch it off write no_reset"));
    CHECK_THROWS_MATCHES(background(reset_always{}, -1s).check(), std::invalid_argument,
                         Message("cenote: background.timeout = -1s: must be above zero; to switch it off write no_reset"));
    CHECK_THROWS_MATCHES(at_return(reset_if_dirty{}, -1ms).check(), std::invalid_argument,
                         Message("cenote: at_return.timeout = -1ms: must be above zero; to switch it off write no_reset"));
    const auto empty = Message("cenote: reset_with.sql = '': must not be empty; for nothing to be done write no_reset");
    CHECK_THROWS_MATCHES(reset_with{}.check(), std::invalid_argument, empty);
    CHECK_THROWS_MATCHES(background(reset_with{}).check(), std::invalid_argument, empty);
    CHECK_THROWS_MATCHES(at_return(reset_with{}).check(), std::invalid_argument, empty);
}
