// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/pack.hpp>

#include <type_traits>
#include <utility>

namespace cenote::detail {

/// Whether a policy has nothing to store: it is made on demand. (Two empty members of one type would take a byte each.)
template <class T>
inline constexpr bool made_on_demand = std::is_empty_v<T> && std::is_trivially_default_constructible_v<T>;

template <class T, bool = made_on_demand<T>>
struct cell {
    T value;
    [[nodiscard]] T& get() noexcept { return value; }
    [[nodiscard]] const T& get() const noexcept { return value; }
};
template <class T>
struct cell<T, true> {
    template <class... Ignored>
    explicit cell(Ignored&&...) noexcept {}
    [[nodiscard]] static T get() noexcept { return T{}; }
};

/// The values of a pool's policies, each once, empty ones not at all.
template <class... T>
class bag : cell<T>... {
public:
    /// `source(type_identity<T>)` gives the value of each.
    template <class Source>
        requires(!std::is_same_v<std::remove_cvref_t<Source>, bag>)
    explicit bag(Source&& source) : cell<T>{source(std::type_identity<T>{})}... {}

    template <class P>
    [[nodiscard]] decltype(auto) get() noexcept { return cell<P>::get(); }
    template <class P>
    [[nodiscard]] decltype(auto) get() const noexcept { return cell<P>::get(); }

    template <class F>
    void each(F&& f) const {
        (f(static_cast<const cell<T>&>(*this).get()), ...);
    }
};

template <class L>
struct bag_of;
template <class... T>
struct bag_of<list<T...>> { using type = bag<T...>; };

} // namespace cenote::detail
