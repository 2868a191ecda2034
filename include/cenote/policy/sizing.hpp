// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/family.hpp>

#include <concepts>
#include <cstdint>

namespace cenote {

/// How many connections a pool may have, in one form for every sizing policy.
struct limits {
    unsigned min_idle = 0; ///< keep at least so many idle
    unsigned min = 0;      ///< keep at least so many open, idle or not
    unsigned keep = 0;     ///< beyond so many, a connection is closed on return unless a waiter takes it
    unsigned max = 0;      ///< never more than so many, those being opened and closed included
    unsigned ceiling = 0;  ///< what resize() may reach

    bool operator==(const limits&) const = default;
};

/// Family `sizing`: how many connections there may be.
///
/// Shape    `limits bounds() const`; `static constexpr unsigned embedded`: slots kept inside the pool object (0: on the heap).
template <class S>
concept sizing_policy = policy<S> && std::same_as<typename S::family, family::sizing> && requires(const S& s) {
    { s.bounds() } -> std::same_as<limits>;
    { S::embedded } -> std::convertible_to<unsigned>;
};

namespace detail {
/// More slots than any server has sessions: a larger number is a slip, not a wish.
inline constexpr unsigned most_connections = 1'000'000;

/// A first member that no number converts to.
struct by_name_only {
    explicit by_name_only() = default;
};
} // namespace detail

/// Exactly up to N connections, in slots inside the pool object: no heap.
///
/// Range    1 to 1,000,000.
/// With     the pool cannot be moved; at destruction with leases out it ends the program and says who holds them. There is no
///          background thread (`manual` is the default) and no `resize()`.
template <unsigned N>
struct fixed {
    static_assert(N >= 1 && N <= detail::most_connections, "cenote: fixed<N> takes 1 to 1,000,000 connections; see cenote/policy/sizing.hpp");
    using family = family::sizing;
    static constexpr unsigned embedded = N;
    [[nodiscard]] static constexpr limits bounds() noexcept { return {.min_idle = 0, .min = 0, .keep = N, .max = N, .ceiling = N}; }
};

/// Between `min` and `max` connections.
///
/// Default  max 10: ten busy connections saturate most databases; never unlimited (Go's database/sql is, and its users pay for it).
/// Range    1 ≤ max ≤ ceiling ≤ 1,000,000; min ≤ max; min_idle ≤ max. Anything else throws std::invalid_argument.
/// With     `min` and `min_idle` are kept by housekeeping: at once by `background_thread`, by `maintain()` under `manual`.
struct bounded {
    using family = family::sizing;
    static constexpr unsigned embedded = 0;

    [[no_unique_address]] detail::by_name_only fields = detail::by_name_only{}; ///< `bounded{4}` could mean any of them: name the one you mean
    unsigned min_idle = 0; ///< keep at least so many idle, as far as `max` allows
    unsigned min = 0;      ///< keep at least so many open
    unsigned max = 10;     ///< never more, those being opened and closed included
    unsigned ceiling = 0;  ///< how far resize() may raise `max`; 0 means `max` itself

    [[nodiscard]] constexpr limits bounds() const noexcept {
        return {.min_idle = min_idle, .min = min, .keep = max, .max = max, .ceiling = ceiling == 0 ? max : ceiling};
    }
    void check() const {
        if (max < 1 || max > detail::most_connections) detail::bad_value("bounded.max", max, "must be 1 to 1000000");
        if (ceiling > detail::most_connections) detail::bad_value("bounded.ceiling", ceiling, "must be at most 1000000");
        if (ceiling != 0 && ceiling < max) detail::bad_value("bounded.ceiling", ceiling, "must be at least bounded.max, which is " + std::to_string(max));
        if (min > max) detail::bad_value("bounded.min", min, "must be at most bounded.max, which is " + std::to_string(max));
        if (min_idle > max) detail::bad_value("bounded.min_idle", min_idle, "must be at most bounded.max, which is " + std::to_string(max));
    }
};

/// `size` connections that stay, and up to `max_overflow` more that are closed on return unless somebody waits.
///
/// Default  10 and 20, so at most 30.
/// Range    size ≥ 1; size + max_overflow ≤ 1,000,000. Anything else throws std::invalid_argument.
/// Source   SQLAlchemy's pool_size and max_overflow.
struct overflow {
    using family = family::sizing;
    static constexpr unsigned embedded = 0;

    unsigned size = 10;
    unsigned max_overflow = 20;

    [[nodiscard]] constexpr limits bounds() const noexcept {
        return {.min_idle = 0, .min = 0, .keep = size, .max = size + max_overflow, .ceiling = size + max_overflow};
    }
    void check() const {
        if (size < 1 || size > detail::most_connections) detail::bad_value("overflow.size", size, "must be 1 to 1000000");
        if (std::uint64_t{size} + max_overflow > detail::most_connections) {
            detail::bad_value("overflow.max_overflow", max_overflow, "must be at most 1000000 together with overflow.size, which is " + std::to_string(size));
        }
    }
};

} // namespace cenote
