// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/session/convert.hpp>
#include <cenote/session/result_error.hpp>
#include <cenote/session/value.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cenote::detail {

/// The name of a type, for messages.
template <class T>
[[nodiscard]] constexpr std::string_view type_name() noexcept {
#if defined(__GNUC__) || defined(__clang__)
    const std::string_view all = __PRETTY_FUNCTION__; // … [with T = int; std::string_view = …] or … [T = int]
    const std::size_t begin = all.find("T = ") + 4;
    return all.substr(begin, std::min(all.find(';', begin), all.rfind(']')) - begin);
#else
    return "the type asked for";
#endif
}

/// The beginning of a value, as a message shows it.
[[nodiscard]] inline std::string shown(value_view v) {
    using kind = value_view::kind;
    if (v.is() == kind::null) return "NULL";
    if (v.is() == kind::bytes) return std::to_string(v.bytes().size()) + " bytes";
    if (v.is() != kind::text) return convert<std::string>::from(v);
    constexpr std::size_t most = 40;
    const std::string_view t = v.text();
    std::string out{"'"};
    for (const char c : t.substr(0, most)) out += static_cast<unsigned char>(c) < 0x20 ? '?' : c; // one line for a log
    return out + (t.size() > most ? "…'" : "'");
}

/// "column 2 \"name\"", counted from 0 as get() does.
[[nodiscard]] inline std::string column_text(std::size_t i, std::string_view name) {
    return "column " + std::to_string(i) + " \"" + std::string{name} + "\"";
}

template <class T>
[[nodiscard]] constexpr bool takes_null() noexcept {
    if constexpr (requires { convert<T>::takes_null; }) return convert<T>::takes_null;
    else return false;
}

/// One value as a T, or an error that names it.
template <class T>
[[nodiscard]] T read(value_view v, std::size_t i, std::string_view name) {
    static_assert(readable<T>, "cenote: a value cannot be read as this type; give it a cenote::convert<T> with a function from(), see "
                               "cenote/session/convert.hpp");
    if (v.is_null() && !takes_null<T>()) {
        throw result_error{result_error::reason::null_value, "cenote: " + column_text(i, name) + " is NULL, which " +
                                                                 std::string{type_name<T>()} + " cannot hold; read it as a std::optional"};
    }
    try {
        return convert<T>::from(v);
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& e) {
        throw result_error{result_error::reason::wrong_value, "cenote: " + column_text(i, name) + ": " + shown(v) + " cannot be read as " +
                                                                  std::string{type_name<T>()} + ": " + e.what()};
    }
}

template <class T>
inline constexpr bool is_view =
    std::is_same_v<T, std::string_view> || std::is_same_v<T, value_view> || std::is_same_v<T, std::span<const std::byte>>;
template <class T>
inline constexpr bool is_view<std::optional<T>> = is_view<T>;

template <class Tuple>
inline constexpr bool is_tuple_like = requires { std::tuple_size<Tuple>::value; };

/// What a row in a result and a row under a cursor have in common, over `columns()`, `name(i)` and `value(i)` of the `Row`.
template <class Row>
class columns_of {
public:
    /// The value of a column as a T. Columns count from 0, or go by their exact name.
    ///
    /// Errors   result_error: no such column, NULL for a T without a place for it, a value that T cannot hold exactly.
    /// With     std::string_view, std::span and value_view look into the row: they are good as long as it is.
    template <class T>
    [[nodiscard]] T get(std::size_t i) const {
        need(i);
        return read<T>(self().value(i), i, self().name(i));
    }
    template <class T>
    [[nodiscard]] T get(std::string_view name) const {
        const std::size_t i = index(name);
        return read<T>(self().value(i), i, name);
    }
    [[nodiscard]] bool is_null(std::size_t i) const {
        need(i);
        return self().value(i).is_null();
    }
    [[nodiscard]] bool is_null(std::string_view name) const { return self().value(index(name)).is_null(); }

    /// All columns at once: `auto [id, name] = row.as<std::tuple<int, std::string>>();`. Their number must be that of the columns.
    template <class Tuple>
        requires is_tuple_like<Tuple>
    [[nodiscard]] Tuple as() const {
        constexpr std::size_t n = std::tuple_size_v<Tuple>;
        if (self().columns() != n) {
            throw result_error{result_error::reason::no_column,
                               "cenote: a row of " + std::to_string(self().columns()) + " columns cannot be read as " + std::to_string(n)};
        }
        return [this]<std::size_t... I>(std::index_sequence<I...>) {
            return Tuple{this->template get<std::tuple_element_t<I, Tuple>>(I)...};
        }(std::make_index_sequence<n>{});
    }

    /// The number of the column of that name.
    [[nodiscard]] std::size_t index(std::string_view name) const {
        const std::size_t n = self().columns();
        std::size_t found = n;
        for (std::size_t i = 0; i < n; ++i) {
            if (self().name(i) != name) continue;
            if (found != n) {
                throw result_error{result_error::reason::no_column,
                                   "cenote: two columns are called \"" + std::string{name} + "\"; say which by its number"};
            }
            found = i;
        }
        if (found != n) return found;
        std::string text = "cenote: no column is called \"" + std::string{name} + "\"; there are";
        for (std::size_t i = 0; i < n; ++i) text.append(i == 0 ? " " : ", ").append(self().name(i));
        throw result_error{result_error::reason::no_column, n == 0 ? text + " none" : text};
    }

protected:
    columns_of() = default;
    columns_of(const columns_of&) = default;
    columns_of& operator=(const columns_of&) = default;
    ~columns_of() = default;

private:
    [[nodiscard]] const Row& self() const noexcept { return static_cast<const Row&>(*this); }
    void need(std::size_t i) const {
        if (i < self().columns()) return;
        throw result_error{result_error::reason::no_column,
                           "cenote: column " + std::to_string(i) + " of a row of " + std::to_string(self().columns()) + "; they count from 0"};
    }
};

} // namespace cenote::detail
