// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace cenote {

template <class T>
struct convert;

namespace detail {
template <class T>
concept plain_integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
                        !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;
} // namespace detail

/// One value on its way to a placeholder, or out of a column: what it is, and where its bytes are.
///
/// Shape    a view: text and bytes belong to somebody else. As an argument they must live until the call returns; out of a row they
///          live as long as the row (a cursor's: until the next; a result's: as long as the result).
/// Range    integers of up to 64 bits. A single `char` is no value: a text of one character or a number was meant.
class value_view {
public:
    enum class kind : unsigned char { null, boolean, integer, unsigned_integer, real, text, bytes };

    constexpr value_view() noexcept = default;
    constexpr value_view(std::nullptr_t) noexcept {}
    constexpr value_view(std::nullopt_t) noexcept {}
    constexpr value_view(std::same_as<bool> auto b) noexcept : number_{.b = b}, is_{kind::boolean} {}
    template <detail::plain_integer T>
    constexpr value_view(T n) noexcept {
        if constexpr (std::is_signed_v<T>) {
            number_.i = n;
            is_ = kind::integer;
        } else {
            number_.u = n;
            is_ = kind::unsigned_integer;
        }
    }
    template <std::floating_point T>
    constexpr value_view(T r) noexcept : number_{.r = static_cast<double>(r)}, is_{kind::real} {}
    constexpr value_view(std::string_view t) noexcept : data_{t.data()}, size_{t.size()}, is_{kind::text} {}
    constexpr value_view(const char* t) noexcept : value_view{t == nullptr ? value_view{} : value_view{std::string_view{t}}} {}
    constexpr value_view(const std::string& t) noexcept : value_view{std::string_view{t}} {}
    value_view(std::span<const std::byte> b) noexcept : data_{reinterpret_cast<const char*>(b.data())}, size_{b.size()}, is_{kind::bytes} {}
    /// Nothing is NULL.
    template <class T>
        requires std::constructible_from<value_view, const T&>
    constexpr value_view(const std::optional<T>& o) noexcept : value_view{o ? value_view{*o} : value_view{}} {}
    value_view(char) = delete;

    [[nodiscard]] constexpr kind is() const noexcept { return is_; }
    [[nodiscard]] constexpr bool is_null() const noexcept { return is_ == kind::null; }

    // Each for its own kind only.
    [[nodiscard]] constexpr bool boolean() const noexcept { return number_.b; }
    [[nodiscard]] constexpr std::int64_t integer() const noexcept { return number_.i; }
    [[nodiscard]] constexpr std::uint64_t unsigned_integer() const noexcept { return number_.u; }
    [[nodiscard]] constexpr double real() const noexcept { return number_.r; }
    /// The characters of `text`, the bytes of `bytes`.
    [[nodiscard]] constexpr std::string_view text() const noexcept { return {data_, size_}; }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {reinterpret_cast<const std::byte*>(data_), size_}; }

private:
    union number {
        std::int64_t i = 0;
        std::uint64_t u;
        double r;
        bool b;
    };
    number number_{};
    const char* data_ = nullptr;
    std::size_t size_ = 0;
    kind is_ = kind::null;
};

} // namespace cenote
