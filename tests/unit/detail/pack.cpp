// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/pack.hpp>

#include <type_traits>

// Everything here is decided when it compiles.
namespace {
using namespace cenote::detail;
namespace family = cenote::family;

template <class F, int I>
struct in { using family = F; };
template <class F, class K, int I>
struct kinded {
    using family = F;
    using kind = K;
};
struct kind_a {};
struct kind_b {};

template <class A, class B>
constexpr bool same = std::is_same_v<A, B>;

// ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
static_assert(same<join_t<>, list<>> && same<join_t<list<int>>, list<int>>);
static_assert(same<join_t<list<int>, list<>, list<char, int>, list<>, list<long>>, list<int, char, int, long>>);
static_assert(!contains_v<int, list<>> && contains_v<int, list<char, int>> && !contains_v<const int, list<char, int>>);
static_assert(same<unique_of<list<>>::type, list<>>);
static_assert(same<unique_of<list<int, char, int, int, char, long>>::type, list<int, char, long>>, "the first of each stays");
static_assert(list<>::size == 0 && list<int, int>::size == 2);

// ── kinds ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
using size_1 = in<family::sizing, 1>;
using size_2 = in<family::sizing, 2>;
using sink_1 = in<family::metrics, 1>;
using sink_2 = in<family::metrics, 2>;
using no_sinks = kinded<family::metrics, cenote::kind::all, 0>;
using age_a1 = kinded<family::age, kind_a, 1>;
using age_a2 = kinded<family::age, kind_a, 2>;
using age_b = kinded<family::age, kind_b, 1>;
using own_age = in<family::age, 1>;
using no_age = kinded<family::age, cenote::kind::all, 0>;

static_assert(same<kind_of<size_1>, family::sizing>, "one of a family excludes all others of it");
static_assert(same<kind_of<sink_1>, sink_1>, "a policy that names no kind is a kind of its own where a pool takes many");
static_assert(same<kind_of<age_a1>, kind_a> && same<kind_of<own_age>, own_age>);
static_assert(switches_family_off<no_age> && !switches_family_off<age_b> && !switches_family_off<size_1>);

template <class A, class B>
constexpr bool exclude_each_other = displaces_v<A, B> && displaces_v<B, A>;
template <class A, class B>
constexpr bool get_along = !displaces_v<A, B> && !displaces_v<B, A>;
static_assert(exclude_each_other<size_1, size_2> && exclude_each_other<size_1, size_1>);
static_assert(get_along<sink_1, sink_2> && exclude_each_other<sink_1, sink_1>);
static_assert(exclude_each_other<age_a1, age_a2> && get_along<age_a1, age_b> && get_along<own_age, age_b>);
static_assert(exclude_each_other<no_age, age_a1> && exclude_each_other<no_age, own_age> && exclude_each_other<no_age, no_age>);
static_assert(get_along<no_age, no_sinks> && get_along<no_age, sink_1> && get_along<size_1, sink_1>, "families do not meddle with each other");

static_assert(same<undisplaced_t<list<>, list<size_1, age_b>>, list<size_1, age_b>>);
static_assert(same<undisplaced_t<list<size_2, age_a2>, list<size_1, age_a1, age_b, sink_1>>, list<age_b, sink_1>>);
static_assert(same<undisplaced_t<list<no_age>, list<age_a1, age_b, own_age, size_1>>, list<size_1>>);
static_assert(same<undisplaced_t<list<age_b>, list<no_age, size_1>>, list<size_1>>, "naming one of a family switches it on");
static_assert(same<undisplaced_t<list<size_1>, list<>>, list<>>);

// ── families ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static_assert(same<first_of_family_t<family::sizing, void, list<>>, void>);
static_assert(same<first_of_family_t<family::sizing, void, list<sink_1, age_b>>, void>);
static_assert(same<first_of_family_t<family::sizing, void, list<sink_1, size_2, size_1>>, size_2>);
static_assert(same<of_family_t<family::metrics, list<sink_2, size_1, sink_1>>, list<sink_2, sink_1>>);
static_assert(same<of_family_t<family::metrics, list<size_1>>, list<>> && same<of_family_t<family::metrics, list<>>, list<>>);

// ── canonical order ──────────────────────────────────────────────────────────────────────────────────────────────────────
template <int I>
using hook = in<family::hooks, I>;
using wait = in<family::waiting, 0>;
using named = in<family::name, 0>;

static_assert(same<canonical_t<list<>>, list<>> && same<canonical_t<list<size_1>>, list<size_1>>);
static_assert(same<canonical_t<list<named, hook<1>, sink_1, age_b, wait, size_1>>, list<size_1, wait, age_b, sink_1, hook<1>, named>>);
static_assert(same<canonical_t<list<hook<3>, size_1, hook<1>, wait, hook<2>>>, list<size_1, wait, hook<3>, hook<1>, hook<2>>>,
              "stable: hooks are called in the order they were written in");
static_assert(same<canonical_t<list<hook<1>, hook<1>>>, list<hook<1>, hook<1>>>);
static_assert(same<canonical_t<canonical_t<list<sink_2, named, sink_1, wait>>>, canonical_t<list<sink_2, named, sink_1, wait>>>);

// All permutations of five policies of distinct families are one.
template <class Taken, class... Rest>
struct all_permutations;
template <class... T>
struct all_permutations<list<T...>> {
    static constexpr unsigned count = 1;
    static constexpr bool one = same<canonical_t<list<T...>>, list<size_1, wait, age_b, sink_1, named>>;
};
template <class... T, class A>
struct all_permutations<list<T...>, A> : all_permutations<list<T..., A>> {};
template <class... T, class A, class B, class... Rest>
struct all_permutations<list<T...>, A, B, Rest...> {
    template <class Next, class... Others>
    using next = all_permutations<list<T..., Next>, Others...>;
    // Each of the rest comes next once: rotate it to the front.
    template <unsigned N, class First, class... Others>
    struct rotations {
        static constexpr unsigned count = next<First, Others...>::count + rotations<N - 1, Others..., First>::count;
        static constexpr bool one = next<First, Others...>::one && rotations<N - 1, Others..., First>::one;
    };
    template <class First, class... Others>
    struct rotations<0, First, Others...> {
        static constexpr unsigned count = 0;
        static constexpr bool one = true;
    };
    static constexpr unsigned count = rotations<sizeof...(Rest) + 2, A, B, Rest...>::count;
    static constexpr bool one = rotations<sizeof...(Rest) + 2, A, B, Rest...>::one;
};
using permuted = all_permutations<list<>, named, sink_1, age_b, wait, size_1>;
static_assert(permuted::count == 120 && permuted::one);

// Every family has an index of its own, and they leave no gap.
template <class... F>
constexpr bool indexed_without_gap(list<F...>) {
    unsigned seen = 0;
    ((seen |= 1U << F::index), ...);
    return seen == (1U << sizeof...(F)) - 1;
}
static_assert(indexed_without_gap(list<family::profile, family::sizing, family::waiting, family::order, family::locking, family::housekeeping, family::budget,
                                       family::connecting, family::age, family::validation, family::role, family::keepalive, family::reset, family::cutting, family::leak,
                                       family::nesting, family::metrics, family::hooks, family::clock, family::name>{}));
} // namespace
