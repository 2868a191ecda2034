// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>
#include <cenote/session/value.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

// What sessions ask of a driver, beside what pools do.
namespace cenote {

/// One statement with its values. The SQL is the server's own, placeholders included: `$1` for PostgreSQL, `?` for MySQL, either for
/// SQLite. Nothing is ever pasted into it.
struct statement {
    std::string_view sql;
    std::span<const value_view> values{};
    bool stream = false; ///< rows are wanted one by one as they arrive, not all at once
    bool keep = false;   ///< prepared on this connection, and kept for the next time
};

/// How a transaction runs.
struct transaction_options {
    enum class level : unsigned char { server_default, read_committed, repeatable_read, serializable };
    enum class access : unsigned char { server_default, read_write, read_only };

    level isolation = level::server_default;
    access mode = access::server_default;
    /// PostgreSQL: a serializable, read-only one waits for a moment in which it cannot fail. Others: refused.
    bool deferrable = false;
};

/// `auto query(c, const statement&, deadline)`: sends one statement, waits for its first answer and returns its rows. Throws the driver's
/// error, after which `state` tells what the connection is good for. What it returns is movable and has
///   `std::size_t columns() const noexcept`               none for a statement without rows
///   `std::string_view name(std::size_t) const noexcept`  of a column
///   `bool next(deadline)`                                goes to the next row; false: there is none, and the connection is free again
///   `value_view at(std::size_t) const`                   of the row it is on; valid until it goes on
///   `std::uint64_t affected() const noexcept`            how many rows were changed, or returned; once next() has said false
/// Destroying it before that leaves the connection busy, unless it says `static constexpr bool frees_connection = true`. A time that passes
/// inside is class `timeout`: the statement has been cancelled then and the connection brought back to a known state, or `state` is `unknown`.
template <class D>
concept can_query = driver<D> && requires(D& d, typename D::connection& c, const statement& s, deadline by) {
    requires std::movable<decltype(d.query(c, s, by))>;
    requires requires(decltype(d.query(c, s, by))& rows, const decltype(d.query(c, s, by))& seen, std::size_t i) {
        { seen.columns() } noexcept -> std::same_as<std::size_t>;
        { seen.name(i) } noexcept -> std::same_as<std::string_view>;
        { rows.next(by) } -> std::same_as<bool>;
        { seen.at(i) } -> std::same_as<value_view>;
        { seen.affected() } noexcept -> std::same_as<std::uint64_t>;
    };
};

/// `void begin(c, const transaction_options&, deadline)` begins a transaction, and throws std::invalid_argument for what this database
/// cannot do; `void commit(c, deadline)` commits it, and throws when the server rolled it back instead. An error of class `disconnected`
/// or `timeout` out of `commit` means that nobody knows. `rollback` ends it otherwise.
template <class D>
concept can_transact = can_execute<D> && can_rollback<D> && requires(D& d, typename D::connection& c, const transaction_options& o, deadline by) {
    { d.begin(c, o, by) } -> std::same_as<void>;
    { d.commit(c, by) } -> std::same_as<void>;
};

/// `void forget_statements(c) noexcept`: statements that were kept are prepared anew when they next come. What a session calls when one failed with
/// class `stale_plan`, to run it once more; without it the error goes to its user. What a reset ends the driver forgets by itself.
template <class D>
concept can_forget_statements = can_query<D> && requires(D& d, typename D::connection& c) {
    { d.forget_statements(c) } noexcept -> std::same_as<void>;
};

} // namespace cenote
