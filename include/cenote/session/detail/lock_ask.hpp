// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>
#include <cenote/session/statement.hpp>
#include <cenote/session/value.hpp>

#include <charconv>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace cenote {

class postgres;
class mysql;
class sqlite;
class advisory_lock;
class named_lock;

/// `optional<string> ask(c, sql, deadline)`: the first value that a statement answers, as text, and nothing for NULL. What locks need of a
/// driver that cannot `query`.
template <class D>
concept can_ask = driver<D> && requires(D& d, typename D::connection& c, std::string_view sql, deadline by) {
    { d.ask(c, sql, by) } -> std::same_as<std::optional<std::string>>;
};

/// `uint64_t session_number(c) noexcept`: what the login called the session. Where the session itself says another number, somebody in
/// between shares sessions out. Without it nobody can tell.
template <class D>
concept can_number_sessions = driver<D> && requires(D& d, typename D::connection& c) {
    { d.session_number(c) } noexcept -> std::same_as<std::uint64_t>;
};

namespace detail {

/// Whether the shipped driver's database knows this kind of lock; others are taken at their word.
template <class D, class Key>
inline constexpr bool knows_lock = true;
template <class Key>
inline constexpr bool knows_lock<sqlite, Key> = false;
template <>
inline constexpr bool knows_lock<mysql, advisory_lock> = false;
template <>
inline constexpr bool knows_lock<postgres, named_lock> = false;

/// The number that a statement answers; nothing for NULL or anything else.
template <class D>
[[nodiscard]] std::optional<std::int64_t> ask_number(D& d, typename D::connection& c, std::string_view sql, deadline by) {
    const auto number = [](std::string_view text) -> std::optional<std::int64_t> {
        std::int64_t n = 0;
        const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), n);
        return bad == std::errc{} && end == text.data() + text.size() && !text.empty() ? std::optional{n} : std::nullopt;
    };
    if constexpr (can_query<D>) {
        auto rows = d.query(c, statement{.sql = sql}, by);
        std::optional<std::int64_t> answer;
        if (!rows.next(by)) return answer;
        const value_view v = rows.at(0);
        if (v.is() == value_view::kind::integer) answer = v.integer();
        else if (v.is() == value_view::kind::unsigned_integer) answer = static_cast<std::int64_t>(v.unsigned_integer());
        else if (v.is() == value_view::kind::text) answer = number(v.text());
        while (rows.next(by)) {}
        return answer;
    } else {
        const std::optional<std::string> text = d.ask(c, sql, by);
        return text ? number(*text) : std::nullopt;
    }
}

} // namespace detail
} // namespace cenote
