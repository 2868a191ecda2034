// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/judge.hpp>
#include <cenote/detail/pack.hpp>
#include <cenote/policy/reset.hpp>

#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

// Where a pool's policies get their values from when it is constructed.
namespace cenote::detail {

/// Gives each stored policy its value: the argument, else the profile's, else its default.
template <class... A>
class value_source {
public:
    explicit value_source(A&... args) noexcept : args_{args...} {}

    template <class T>
    [[nodiscard]] T operator()(std::type_identity<T>) const {
        if constexpr (contains_v<T, list<std::remove_cvref_t<A>...>>) {
            return T(std::move(std::get<T&>(args_)));
        } else {
            return other<T>();
        }
    }

private:
    template <class T>
    struct wrapped { using type = void; };
    template <template <class> class When, class What>
    struct wrapped<When<What>> { using type = What; };

    /// The profile among the arguments that has a T.
    template <class T, class Profile>
    static constexpr bool brings = [] {
        if constexpr (!is_profile_v<Profile>) return false;
        else return contains_v<T, policies_of<Profile>>;
    }();

    template <class T>
    [[nodiscard]] T other() const {
        using what = typename wrapped<T>::type;
        if constexpr (std::is_same_v<family_of<T>, family::reset> && !std::is_void_v<what>) {
            if constexpr (reset_what<what>) {
                if constexpr (has<what>()) return T{(*this)(std::type_identity<what>{})};
                else return make<T>();
            } else {
                return make<T>();
            }
        } else if constexpr ((brings<T, std::remove_cvref_t<A>> || ...)) {
            return from_profile<T>();
        } else {
            return make<T>();
        }
    }
    template <class T>
    static consteval bool has() { return contains_v<T, list<std::remove_cvref_t<A>...>> || (brings<T, std::remove_cvref_t<A>> || ...); }

    template <class T>
    [[nodiscard]] T from_profile() const {
        return std::apply([](A&... args) -> T { return first_with<T>(args...); }, args_);
    }
    template <class T, class First, class... Rest>
    [[nodiscard]] static T first_with(First& first, Rest&... rest) {
        if constexpr (!brings<T, First>) return first_with<T>(rest...);
        else if constexpr (std::is_same_v<decltype(std::as_const(first).policies()), const First&>) return std::move(std::get<T>(first.values)); // a bundle: ours
        else return std::get<T>(first.policies().values);
    }

    template <class T>
    [[nodiscard]] static T make() {
        return T{};
    }

    std::tuple<A&...> args_;
};

template <class X, class... P>
inline constexpr bool named_in = (std::is_same_v<std::remove_cvref_t<X>, P> || ...);

template <class... X>
inline constexpr bool all_distinct = unique_of<list<std::remove_cvref_t<X>...>>::type::size == sizeof...(X);

/// Whether P has a value in a pool that is constructed from X...
template <class P, class... X>
inline constexpr bool has_value = (std::is_same_v<P, std::remove_cvref_t<X>> || ...) || std::is_default_constructible_v<P>;

} // namespace cenote::detail
