// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Every way to say what a pool is, and what becomes of it.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <chrono>
#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;
using namespace cenote;

// An alias, constructed with any subset of its policies in any order.
using db_pool = pool<null, bounded, max_lifetime, pre_ping>;

void any_subset_in_any_order() {
    const bounded b{.max = 3};
    const max_lifetime m{5min};
    const pre_ping p{1s};
    db_pool none{null{}};
    db_pool one{null{}, m}, other{null{}, b}, third{null{}, p};
    db_pool bm{null{}, b, m}, mb{null{}, m, b}, pb{null{}, p, b};
    db_pool bmp{null{}, b, m, p}, bpm{null{}, b, p, m}, mbp{null{}, m, b, p}, mpb{null{}, m, p, b}, pbm{null{}, p, b, m}, pmb{null{}, p, m, b};
}
static_assert(std::is_constructible_v<db_pool, null> && std::is_constructible_v<db_pool, null, bounded&, const pre_ping&>);
static_assert(!std::convertible_to<null, db_pool>, "explicit");

// As a class member.
auto make_db() { return pool{null{}, bounded{.max = 3}, acquire_timeout{1s}}; }
class shop {
public:
    int sell() { return db_.with([](null::connection& c) { return c.mark; }); }
    shop() = default;
    shop(shop&&) = default;
    shop& operator=(shop&&) = default;

private:
    decltype(make_db()) db_ = make_db();
    db_pool other_{null{}, bounded{.max = 4}};
};
shop moved(shop s) { return s; }

// As a factory's result, also of one that cannot be moved.
auto make_fixed() { return pool{null{}, fixed<3>{}, no_wait{}}; }
int use_fixed() {
    auto db = make_fixed();
    const auto also = std::make_unique<decltype(make_fixed())>(null{}, no_wait{});
    return db.try_acquire() && also->try_acquire() ? 0 : 1;
}
static_assert(!std::move_constructible<decltype(make_fixed())> && !std::copyable<decltype(make_db())>);
static_assert(std::is_nothrow_move_constructible_v<db_pool> && std::is_nothrow_move_assignable_v<db_pool> && !std::is_copy_constructible_v<db_pool>);

// In templates.
int work(any_pool auto& db) {
    auto lease = db.acquire();
    return lease->mark;
}
int work_on_any() {
    auto a = make_db();
    auto b = make_fixed();
    const auto& c = a;
    return work(a) + work(b) + static_cast<int>(c.stats().idle);
}
static_assert(any_pool<db_pool> && any_pool<const db_pool> && !any_pool<null> && !any_pool<db_pool&> && !any_pool<lease<db_pool::core_type>>);

// Permuted packs are distinct pools over one core, with leases of one type.
using permuted = pool<null, pre_ping, max_lifetime, bounded>;
static_assert(!std::is_same_v<db_pool, permuted>);
static_assert(std::is_same_v<db_pool::core_type, permuted::core_type> && std::is_same_v<db_pool::lease, permuted::lease>);
// Naming a default changes nothing; nor does saying "off" where it is off anyway.
static_assert(std::is_same_v<pool<null>::core_type, pool<null, bounded, lock_free, lifo, eventually_fair, clock::coarse, unnamed, no_leak_check>::core_type>);
static_assert(std::is_same_v<pool<null>::core_type, pool<null, no_metrics, no_hooks, allow_nested, background_thread, peek_after>::core_type>);
static_assert(std::is_same_v<pool<null, no_age_limit>::core_type, pool<null, no_max_lifetime, no_idle_timeout>::core_type>);
static_assert(std::is_same_v<pool<null>::core_type, pool<null, reset_if_dirty>::core_type>, "the when is the default's");
static_assert(!std::is_same_v<pool<null>::core_type, pool<null, background<reset_if_dirty>>::core_type>);
// The order of hooks and sinks is kept: it is the order of the calls.
template <int>
struct hook {
    void operator()(null::connection&) const noexcept {}
};
static_assert(!std::is_same_v<pool<null, on_connect<hook<1>>, on_connect<hook<2>>>::core_type, pool<null, on_connect<hook<2>>, on_connect<hook<1>>>::core_type>);
static_assert(std::is_same_v<pool<null, on_connect<hook<1>>, fifo, on_connect<hook<2>>>::core_type, pool<null, on_connect<hook<1>>, on_connect<hook<2>>, fifo>::core_type>);

// Policies meet in any order when deduced, too.
void deduced_in_any_order() {
    pool a{null{}, named{"shop"}, fifo{}, no_acquire_timeout{}, overflow{.size = 2}, counters{}, clock::steady{}};
    pool b{null{}, overflow{.size = 2}, clock::steady{}, counters{}, no_acquire_timeout{}, named{"shop"}, fifo{}};
    decltype(a)::lease from_b = b.try_acquire();
}

// Profiles, and what is named beside them.
template <class... P>
using cfg_of = typename pool<null, P...>::core_type::cfg;
static_assert(std::is_same_v<cfg_of<profile::web>::sizing, overflow> && std::is_same_v<cfg_of<profile::web>::validation, pre_ping>);
static_assert(std::is_same_v<cfg_of<profile::web>::waiting, eventually_fair>, "what a profile leaves open is the pool's default");
static_assert(std::is_same_v<cfg_of<profile::web, bounded>::sizing, bounded> && std::is_same_v<cfg_of<bounded, profile::web>::sizing, bounded>);
static_assert(std::is_same_v<cfg_of<no_age_limit, profile::web>::ages, detail::list<>>);
static_assert(std::is_same_v<cfg_of<profile::web, no_max_lifetime>::ages, detail::list<idle_timeout>>);
static_assert(std::is_same_v<cfg_of<profile::bare<2>>::ages, detail::list<>> && cfg_of<profile::bare<2>>::calm);
static_assert(std::is_same_v<cfg_of<profile::bare<2>, max_uses>::ages, detail::list<max_uses>>, "what a profile switches off stays off but for what is named");
static_assert(std::is_same_v<cfg_of<profile::bare<2>, counters>::sinks, detail::list<counters>>);
static_assert(std::is_same_v<cfg_of<bundle<fifo, reset_always>>::order, fifo> && std::is_same_v<cfg_of<bundle<fifo, reset_always>>::reset, deferred<reset_always>>);

// The defaults, in types.
static_assert(std::is_same_v<cfg_of<>::sizing, bounded> && std::is_same_v<cfg_of<>::waiting, eventually_fair> && std::is_same_v<cfg_of<>::order, lifo> &&
              std::is_same_v<cfg_of<>::locking, lock_free> && std::is_same_v<cfg_of<fifo>::locking, with_mutex<std::mutex>> && std::is_same_v<cfg_of<>::keeping, background_thread> &&
              std::is_same_v<cfg_of<>::budget, acquire_timeout> && std::is_same_v<cfg_of<>::validation, peek_after> &&
              std::is_same_v<cfg_of<>::reset, deferred<reset_if_dirty>> && std::is_same_v<cfg_of<>::leak, no_leak_check> &&
              std::is_same_v<cfg_of<>::nesting, allow_nested> && std::is_same_v<cfg_of<>::clock, clock::coarse> && std::is_same_v<cfg_of<>::name, unnamed>);
static_assert(std::is_same_v<cfg_of<>::ages, detail::list<max_lifetime, idle_timeout>> && std::is_same_v<cfg_of<>::sinks, detail::list<>> &&
              std::is_same_v<cfg_of<>::hooks, detail::list<>>);
static_assert(std::is_same_v<cfg_of<>::many<family::connecting>, detail::list<connect_timeout, backoff, breaker>>);
static_assert(std::is_same_v<cfg_of<manual>::many<family::connecting>, detail::list<connect_timeout>>, "nobody backs off without a thread");
static_assert(std::is_same_v<cfg_of<>::role, any_role> && std::is_same_v<cfg_of<>::keepalive, no_keepalive> && std::is_same_v<cfg_of<>::cutting, cut_at_close>);
static_assert(std::is_same_v<cfg_of<single_threaded>::waiting, no_wait> && std::is_same_v<cfg_of<single_threaded>::keeping, manual>);
static_assert(std::is_same_v<cfg_of<fixed<2>>::waiting, eventually_fair> && std::is_same_v<cfg_of<fixed<2>>::keeping, manual>);

// What things weigh.
static_assert(sizeof(db_pool) == 8 && sizeof(db_pool::lease) == 8 && sizeof(pool<null, profile::bare<2>>::lease) == 8);
template <class... P>
constexpr std::size_t core_size = sizeof(typename pool<null, P...>::core_type);
static_assert(core_size<> == core_size<no_metrics, allow_nested, no_leak_check, unnamed, clock::steady, lifo>, "what is empty takes nothing");
static_assert(core_size<manual> == core_size<manual, on_connect<hook<1>>, on_connect<hook<2>>, on_acquire<hook<1>>>, "not even three of them");
static_assert(core_size<manual, no_acquire_timeout> + sizeof(duration) == core_size<manual>, "a value takes what it takes");
