// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/session/value.hpp>

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace cenote {

/// How a type gets out of a column and into a placeholder. Specialise it for a type of yours:
///
///     template <>
///     struct cenote::convert<json> {
///         static json from(cenote::value_view v) { return json::parse(v.text()); } // row.get<json>(0)
///         static std::string to(const json& j) { return j.dump(); }                // s.exec("insert …", j)
///     };
///
/// Shape    `from` gives a T, `to` something that a value_view can be made of; either may be left out.
/// Called   `from` never for NULL, unless `static constexpr bool takes_null = true`. `v` lives as long as the row.
/// Errors   `from` throws a std::exception where the value does not fit; column, value and type are added to what it says. What `to`
///          throws comes through.
/// Range    there are: bool, integers, floating point, std::string, std::string_view and std::span<const std::byte> (into the row),
///          std::vector<std::byte>, value_view, and std::optional of what has a `convert`. A number is never cut short: what the type
///          cannot hold exactly is an error, but that `float` and `double` round a text as they must. Text is read as a number if all
///          of it is one.
template <class T>
struct convert;

namespace detail {

[[noreturn]] inline void unfit(const char* why) { throw std::invalid_argument{why}; }

template <class Number>
[[nodiscard]] Number parsed(std::string_view text) {
    Number n{};
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (failed == std::errc::result_out_of_range) unfit("out of range");
    if (failed != std::errc{} || end != text.data() + text.size()) unfit(std::is_integral_v<Number> ? "not a whole number" : "not a number");
    return n;
}

template <class Number>
[[nodiscard]] std::string printed(Number n) {
    char room[32];
    return {room, std::to_chars(room, room + sizeof room, n).ptr};
}

/// An integer in a floating-point type, if it is exactly there.
template <std::floating_point T, class Integer>
[[nodiscard]] T exactly(Integer n) {
    const T t = static_cast<T>(n);
    const T beyond = std::ldexp(T{1}, std::numeric_limits<Integer>::digits); // the first that does not go back
    if (t >= beyond || static_cast<Integer>(t) != n) unfit("not exactly in range");
    return t;
}

/// A floating-point number in an integer type, if it is a whole one.
template <class T>
[[nodiscard]] T exactly_whole(double r) {
    if (!(std::trunc(r) == r)) unfit("not a whole number");
    // The limits are powers of two, or one less: 2^digits is exact.
    const double beyond = std::ldexp(1.0, std::numeric_limits<T>::digits);
    if (r >= beyond || (std::is_signed_v<T> ? r < -beyond : r < 0)) unfit("out of range");
    return static_cast<T>(r);
}

} // namespace detail

template <>
struct convert<value_view> {
    static constexpr bool takes_null = true;
    static value_view from(value_view v) noexcept { return v; }
};

template <>
struct convert<bool> {
    static bool from(value_view v) {
        using kind = value_view::kind;
        if (v.is() == kind::boolean) return v.boolean();
        if (v.is() == kind::integer && (v.integer() == 0 || v.integer() == 1)) return v.integer() == 1;
        if (v.is() == kind::unsigned_integer && v.unsigned_integer() <= 1) return v.unsigned_integer() == 1;
        if (v.is() == kind::text) {
            const std::string_view t = v.text();
            if (t == "t" || t == "true" || t == "1") return true;
            if (t == "f" || t == "false" || t == "0") return false;
        }
        detail::unfit("neither true nor false");
    }
};

template <detail::plain_integer T>
struct convert<T> {
    static T from(value_view v) {
        switch (v.is()) {
        case value_view::kind::integer: return narrow(v.integer());
        case value_view::kind::unsigned_integer: return narrow(v.unsigned_integer());
        case value_view::kind::boolean: return static_cast<T>(v.boolean());
        case value_view::kind::real: return detail::exactly_whole<T>(v.real());
        case value_view::kind::text: return detail::parsed<T>(v.text());
        default: detail::unfit("not a number");
        }
    }

private:
    static T narrow(auto n) {
        if (!std::in_range<T>(n)) detail::unfit("out of range");
        return static_cast<T>(n);
    }
};

template <std::floating_point T>
struct convert<T> {
    static T from(value_view v) {
        switch (v.is()) {
        case value_view::kind::integer: return detail::exactly<T>(v.integer());
        case value_view::kind::unsigned_integer: return detail::exactly<T>(v.unsigned_integer());
        case value_view::kind::real:
            if (std::isfinite(v.real()) && std::abs(v.real()) > static_cast<double>(std::numeric_limits<T>::max())) {
                detail::unfit("out of range");
            }
            return static_cast<T>(v.real());
        case value_view::kind::text: return detail::parsed<T>(v.text());
        default: detail::unfit("not a number");
        }
    }
};

template <>
struct convert<std::string> {
    static std::string from(value_view v) {
        switch (v.is()) {
        case value_view::kind::boolean: return v.boolean() ? "true" : "false";
        case value_view::kind::integer: return detail::printed(v.integer());
        case value_view::kind::unsigned_integer: return detail::printed(v.unsigned_integer());
        case value_view::kind::real: return detail::printed(v.real());
        default: return std::string{v.text()};
        }
    }
};

template <>
struct convert<std::string_view> {
    static std::string_view from(value_view v) {
        if (v.is() != value_view::kind::text && v.is() != value_view::kind::bytes) detail::unfit("no text: there are no characters to look at");
        return v.text();
    }
};

template <>
struct convert<std::span<const std::byte>> {
    static std::span<const std::byte> from(value_view v) {
        if (v.is() != value_view::kind::text && v.is() != value_view::kind::bytes) detail::unfit("neither bytes nor text");
        return v.bytes();
    }
};

template <>
struct convert<std::vector<std::byte>> {
    static std::vector<std::byte> from(value_view v) {
        const auto seen = convert<std::span<const std::byte>>::from(v);
        return {seen.begin(), seen.end()};
    }
};

template <class T>
    requires requires(value_view v) { { convert<T>::from(v) } -> std::convertible_to<T>; }
struct convert<std::optional<T>> {
    static constexpr bool takes_null = true;
    static std::optional<T> from(value_view v) {
        if (v.is_null()) return std::nullopt;
        return convert<T>::from(v);
    }
};

namespace detail {

template <class T>
concept readable = requires(value_view v) { { convert<T>::from(v) } -> std::convertible_to<T>; };
template <class T>
concept has_to = requires(const T& v) { convert<T>::to(v); };
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

/// What is kept while a statement runs, so that a value_view can be made of it: a view of the argument, or what `to` made of it.
template <class T>
[[nodiscard]] auto bindable(const T& v) {
    if constexpr (has_to<T>) {
        return convert<T>::to(v);
    } else if constexpr (std::constructible_from<value_view, const T&>) {
        return value_view{v};
    } else if constexpr (is_optional<T>) {
        using inner = decltype(bindable(*v));
        return v ? std::optional<inner>{bindable(*v)} : std::optional<inner>{};
    } else {
        static_assert(has_to<T>, "cenote: a value of this type cannot be bound to a placeholder; give it a cenote::convert<T> with a "
                                 "function to(), see cenote/session/convert.hpp");
        return value_view{};
    }
}

} // namespace detail
} // namespace cenote
