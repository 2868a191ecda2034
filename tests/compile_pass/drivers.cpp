// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What a pool makes of what its driver can do.
#include <cenote/pool.hpp>
#include <cenote/testing/scripted.hpp>

#include <chrono>
#include <memory>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;
using namespace cenote;
using cenote::testing::basic_scripted;
using cenote::testing::refinement;

template <class D, class... P>
using cfg_of = typename pool<D, P...>::core_type::cfg;
template <refinement R, class... P>
using cfg = cfg_of<basic_scripted<R>, P...>;
template <class A, class B>
constexpr bool same = std::is_same_v<A, B>;

// Validation: peek, else ping, else trust.
static_assert(same<cfg<refinement::all>::validation, peek_after>);
static_assert(same<cfg<refinement::peek>::validation, peek_after>);
static_assert(same<cfg<refinement::ping>::validation, pre_ping_after>);
static_assert(same<cfg<refinement::all - refinement::peek>::validation, pre_ping_after>);
static_assert(same<cfg<refinement::none>::validation, no_validation>);
static_assert(same<cfg<refinement::all - (refinement::peek | refinement::ping)>::validation, no_validation>);

// Reset: what is dirty, if that can be seen; deferred, if that can be started without waiting, else in the background.
constexpr refinement seen = refinement::state;
static_assert(same<cfg<refinement::all>::reset, deferred<reset_if_dirty>>);
static_assert(same<cfg<refinement::all - refinement::deferred_reset>::reset, background<reset_if_dirty>>);
static_assert(same<cfg<seen | refinement::rollback>::reset, background<reset_if_dirty>>);
static_assert(same<cfg<seen | refinement::reset>::reset, background<reset_if_dirty>>);
static_assert(same<cfg<seen | refinement::deferred_reset>::reset, deferred<reset_if_dirty>>);
static_assert(same<cfg<refinement::all - seen>::reset, no_reset> && same<cfg<refinement::none>::reset, no_reset>);
static_assert(same<cfg<seen>::reset, background<reset_if_dirty>>, "what cannot be mended is closed");

// A what alone gets the best when; a when that is written stays.
static_assert(same<cfg<refinement::all, reset_always>::reset, deferred<reset_always>>);
static_assert(same<cfg<refinement::reset, reset_always>::reset, background<reset_always>>, "a full reset needs no look at the state");
static_assert(same<cfg<refinement::deferred_reset, reset_always>::reset, deferred<reset_always>>);
static_assert(same<cfg<refinement::all, reset_with>::reset, deferred<reset_with>>);
static_assert(same<cfg<refinement::all - refinement::execute, reset_with>::reset, deferred<reset_with>>, "sent, it needs no execute");
static_assert(same<cfg<refinement::all - refinement::deferred_execute, reset_with>::reset, background<reset_with>>);
static_assert(same<cfg<refinement::all - refinement::deferred_rollback>::reset, deferred<reset_if_dirty>>, "the full reset does");
static_assert(same<cfg<refinement::all, background<reset_always>>::reset, background<reset_always>>);
static_assert(same<cfg<refinement::all, at_return<reset_if_dirty>>::reset, at_return<reset_if_dirty>>);
static_assert(same<cfg<refinement::all, no_reset>::reset, no_reset>);

// What is named can be had from any driver that has what it needs.
template <refinement R, class... P>
int use() {
    pool db{basic_scripted<R>{}, P{}...};
    auto lease = db.acquire(1s);
    lease.discard();
    db.maintain();
    return static_cast<int>(db.close().still_out);
}
int every_combination_that_stands() {
    return use<refinement::none>() + use<refinement::all>() + use<refinement::all, manual>() + use<refinement::peek, peek_after>() +
           use<refinement::ping, pre_ping>() + use<refinement::peek | refinement::ping, peek_after>() + use<refinement::reset, at_return<reset_always>>() +
           use<seen | refinement::deferred_reset>() + use<seen | refinement::rollback, background<>>() +
           use<seen | refinement::reset, at_return<>>() + use<refinement::none, profile::bare<2>>() + use<refinement::none, profile::worker>() +
           use<refinement::ping, profile::web>() + use<refinement::all - refinement::deferred_rollback>() +
           use<seen | refinement::deferred_reset, deferred<reset_always>>() + use<refinement::native_handle, fixed<2>>();
}

// A lease has a native handle if the driver has.
template <class L>
concept has_handle = requires(const L& l) { l.native_handle(); };
static_assert(has_handle<pool<basic_scripted<refinement::native_handle>>::lease> && !has_handle<pool<basic_scripted<refinement::none>>::lease>);

// The least a driver can be: a connection that moves, open, close. It may itself be move-only.
struct door {
    explicit door(int k) : key{k} {}
    door(door&&) = default;
    door& operator=(door&&) = default;
    int key;
};
struct doorman {
    using connection = door;
    std::unique_ptr<int> next = std::make_unique<int>(0);
    door open(deadline) { return door{++*next}; }
    void close(door&) noexcept {}
};
int a_hotel() {
    pool db{doorman{}};
    pool small{doorman{}, profile::bare<1>{}};
    auto lease = db.acquire();
    const door mine = lease.detach();
    return mine.key + db.with([](door& d) { return d.key; }) + *small.driver().next;
}
static_assert(driver<doorman> && !can_peek<doorman> && !can_ping<doorman> && !can_tell_state<doorman> && !can_rollback<doorman> && !can_reset<doorman> &&
              !can_defer_reset<doorman> && !can_defer_rollback<doorman> && !can_defer_script<doorman> && !can_dial<doorman> && !can_interrupt<doorman> &&
              !can_abandon<doorman> && !can_tell_role<doorman> && !can_execute<doorman> && !has_native_handle<doorman> && !can_classify<doorman>);
