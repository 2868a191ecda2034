// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// What a callback may not return, as far as the compiler can see it.
namespace cenote {

class value_view;
class cursor;
template <class Core>
class session;
template <class Core>
class transaction;
template <class Core>
class savepoint;

namespace detail {

/// What query(), exec() and transaction() of a pool do: session/session.hpp defines it.
template <class Core>
struct pool_statements;

/// Types that refer to a session, a transaction or a row that is being read.
template <class T>
inline constexpr bool names_session = false;
template <>
inline constexpr bool names_session<value_view> = true;
template <>
inline constexpr bool names_session<cursor> = true;
template <class Core>
inline constexpr bool names_session<session<Core>> = true;
template <class Core>
inline constexpr bool names_session<transaction<Core>> = true;
template <class Core>
inline constexpr bool names_session<savepoint<Core>> = true;
template <class T>
inline constexpr bool names_session<T*> = names_session<std::remove_cv_t<T>>;

/// Types that refer to somebody else's text or bytes.
template <class T>
inline constexpr bool names_bytes = false;
template <class C, class Traits>
inline constexpr bool names_bytes<std::basic_string_view<C, Traits>> = true;
template <class T, std::size_t N>
inline constexpr bool names_bytes<std::span<T, N>> = true;
template <>
inline constexpr bool names_bytes<const char*> = true;
template <>
inline constexpr bool names_bytes<value_view> = true;

/// Whether a callback of a session may not return it: references, what is named above, and the usual wrappings of these.
template <class T>
inline constexpr bool escapes = std::is_reference_v<T> || names_session<T> || names_bytes<T>;
template <class T>
inline constexpr bool escapes<std::optional<T>> = escapes<T>;
template <class T, class A>
inline constexpr bool escapes<std::vector<T, A>> = escapes<T>;
template <class T, std::size_t N>
inline constexpr bool escapes<std::array<T, N>> = escapes<T>;
template <class A, class B>
inline constexpr bool escapes<std::pair<A, B>> = escapes<A> || escapes<B>;
template <class... T>
inline constexpr bool escapes<std::tuple<T...>> = (escapes<T> || ...);

} // namespace detail
} // namespace cenote
