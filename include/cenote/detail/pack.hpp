// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/policy/family.hpp>

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

// Type lists, families and kinds: what the judge and the resolver are written in. Plain C++20: a resolver over Hana containers
// costs four times the compile time of a user's translation unit.
namespace cenote::detail {

template <class... T>
struct list {
    static constexpr std::size_t size = sizeof...(T);
};

template <class... L>
struct join;
template <>
struct join<> { using type = list<>; };
template <class... A>
struct join<list<A...>> { using type = list<A...>; };
template <class... A, class... B, class... Rest>
struct join<list<A...>, list<B...>, Rest...> : join<list<A..., B...>, Rest...> {};
template <class... L>
using join_t = typename join<L...>::type;

template <class T, class L>
inline constexpr bool contains_v = false;
template <class T, class... U>
inline constexpr bool contains_v<T, list<U...>> = (std::is_same_v<T, U> || ...);

template <class Seen, class... T>
struct unique { using type = Seen; };
template <class... S, class T, class... Rest>
struct unique<list<S...>, T, Rest...>
    : unique<std::conditional_t<contains_v<T, list<S...>>, list<S...>, list<S..., T>>, Rest...> {};
template <class L>
struct unique_of;
template <class... T>
struct unique_of<list<T...>> : unique<list<>, T...> {};

template <class P>
using family_of = typename P::family;

template <class P>
struct kind_of_impl {
    using type = std::conditional_t<P::family::many, P, typename P::family>;
};
template <class P>
    requires requires { typename P::kind; }
struct kind_of_impl<P> { using type = typename P::kind; };
/// Policies of one kind exclude each other.
template <class P>
using kind_of = typename kind_of_impl<P>::type;

template <class P>
inline constexpr bool switches_family_off = std::is_same_v<kind_of<P>, kind::all>;

/// Whether naming `Named` makes `Other` go.
template <class Named, class Other>
inline constexpr bool displaces_v = std::is_same_v<family_of<Named>, family_of<Other>> &&
    (std::is_same_v<kind_of<Named>, kind_of<Other>> || switches_family_off<Named> || switches_family_off<Other>);

template <class P>
inline constexpr bool is_profile_v = std::is_same_v<family_of<P>, family::profile>;

/// Those of `Others` that no `Named` displaces.
template <class Named, class Others>
struct undisplaced;
template <class... N, class... O>
struct undisplaced<list<N...>, list<O...>> {
    template <class P>
    using one = std::conditional_t<(displaces_v<N, P> || ...), list<>, list<P>>;
    using type = join_t<one<O>...>;
};
template <class Named, class Others>
using undisplaced_t = typename undisplaced<Named, Others>::type;

/// The first of family F, or `Default`.
template <class F, class Default, class L>
struct first_of_family { using type = Default; };
template <class F, class Default, class P, class... Rest>
struct first_of_family<F, Default, list<P, Rest...>>
    : std::conditional_t<std::is_same_v<family_of<P>, F>, std::type_identity<P>, first_of_family<F, Default, list<Rest...>>> {};
template <class F, class Default, class L>
using first_of_family_t = typename first_of_family<F, Default, L>::type;

/// All of family F, in order.
template <class F, class L>
struct of_family;
template <class F, class... P>
struct of_family<F, list<P...>> {
    using type = join_t<std::conditional_t<std::is_same_v<family_of<P>, F>, list<P>, list<>>...>;
};
template <class F, class L>
using of_family_t = typename of_family<F, L>::type;

/// By family index, stable inside a family: the order of hooks is the order they were written in.
template <class L>
struct canonical;
template <class... P>
struct canonical<list<P...>> {
    static constexpr auto order = [] {
        std::array<std::size_t, sizeof...(P)> at{};
        const std::array<int, sizeof...(P)> key{P::family::index...};
        for (std::size_t i = 0; i < at.size(); ++i) at[i] = i;
        for (std::size_t i = 1; i < at.size(); ++i) {
            for (std::size_t j = i; j > 0 && key[at[j - 1]] > key[at[j]]; --j) std::swap(at[j - 1], at[j]);
        }
        return at;
    }();
    template <std::size_t I, class T>
    struct leaf {};
    template <class Seq>
    struct leaves;
    template <std::size_t... I>
    struct leaves<std::index_sequence<I...>> : leaf<I, P>... {};
    template <std::size_t I, class T>
    static std::type_identity<T> find(const leaf<I, T>&);
    using all = leaves<std::make_index_sequence<sizeof...(P)>>;
    template <class Seq>
    struct sorted;
    template <std::size_t... I>
    struct sorted<std::index_sequence<I...>> {
        using type = list<typename decltype(find<order[I]>(std::declval<const all&>()))::type...>;
    };
    using type = typename sorted<std::make_index_sequence<sizeof...(P)>>::type;
};
template <class L>
using canonical_t = typename canonical<L>::type;

} // namespace cenote::detail
