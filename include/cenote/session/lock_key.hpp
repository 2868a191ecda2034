// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/session/value.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

// What is locked in the database, and the statements that do it.
namespace cenote {

/// What a lock is called, and how its database takes, gives back and tells of it.
///
/// Shape    each function returns one statement, whose first value is the answer. `session` is the number of the session that it is
///          meant for; where another one answers, the statement does nothing.
///            `take(login)`       the number of the session that holds it now; 0: somebody else holds it; -1: another session than `login`
///                                answers, and nothing was taken (without `login` nobody looks); NULL: an error
///            `release(session)`  1: it was held, and so are all that the session holds given back; 0: it was not; -1: another session
///            `ask(session)`      1: it is held; 0: it is not; -1: another session
///            `type()` a word for figures, which lives as long as the program; `text()` its name for messages
template <class K>
concept lock_key = std::copyable<K> && requires(const K& k, std::optional<std::uint64_t> login, std::uint64_t session) {
    { k.take(login) } -> std::same_as<std::string>;
    { k.release(session) } -> std::same_as<std::string>;
    { k.ask(session) } -> std::same_as<std::string>;
    { k.type() } noexcept -> std::same_as<const char*>;
    { k.text() } -> std::same_as<std::string>;
};

/// An advisory lock of PostgreSQL: a number that all programs agree on, or two, or a name. Locks are the database's, not the server's.
///
/// Shape    `advisory_lock{4711}`, `advisory_lock{42, 7}`, `advisory_lock{"nightly report"}`; `.shared()` for one that many hold together
/// Range    one 64-bit number, or two of 32 bits, which never meet the single ones. A name becomes the 64-bit FNV-1a hash of its bytes,
///          read as a signed number, for ever: other programs may compute it. Two names meet with a chance of 1 in 2^64. An empty name
///          throws std::invalid_argument.
/// With     a hot standby has advisory locks of its own: ask the server that takes writes.
class advisory_lock {
public:
    template <detail::plain_integer T>
    explicit advisory_lock(T key) : high_{static_cast<std::int64_t>(key)} {
        if (!std::in_range<std::int64_t>(key)) detail::bad_value("advisory_lock.key", key, "must fit into 64 bits with a sign");
    }
    advisory_lock(std::int32_t first, std::int32_t second) noexcept : high_{first}, low_{second}, two_{true} {}
    explicit advisory_lock(std::string name) : high_{hashed(name)}, name_{std::move(name)} {
        if (name_.empty()) detail::bad_value("advisory_lock.name", std::string_view{"''"}, "must not be empty");
    }
    explicit advisory_lock(std::string_view name) : advisory_lock{std::string{name}} {}
    explicit advisory_lock(const char* name) : advisory_lock{std::string{name}} {}

    /// The same lock, for many together: whoever wants it exclusively waits for them all.
    [[nodiscard]] advisory_lock shared() const& { return advisory_lock{*this}.shared(); }
    [[nodiscard]] advisory_lock shared() && {
        shared_ = true;
        return std::move(*this);
    }

    /// The number of a name: FNV-1a of 64 bits.
    [[nodiscard]] static constexpr std::int64_t hashed(std::string_view name) noexcept {
        std::uint64_t h = 0xcbf29ce484222325U;
        for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
        return static_cast<std::int64_t>(h);
    }

    [[nodiscard]] std::string take(std::optional<std::uint64_t> login) const {
        std::string sql{"select case "};
        if (login) sql.append("when pg_catalog.pg_backend_pid() <> ").append(std::to_string(*login)).append(" then -1 ");
        return sql.append("when ").append(call("pg_try_advisory_lock")).append(" then pg_catalog.pg_backend_pid() else 0 end");
    }
    /// The same until the end of the transaction: 1 or 0.
    [[nodiscard]] std::string take_in_transaction() const { return "select " + call("pg_try_advisory_xact_lock") + "::int"; }
    [[nodiscard]] std::string release(std::uint64_t session) const {
        return of(session).append(" when ").append(call("pg_advisory_unlock"))
            .append(" then (select 1 from pg_catalog.pg_advisory_unlock_all()) else 0 end");
    }
    [[nodiscard]] std::string ask(std::uint64_t session) const {
        const auto key = static_cast<std::uint64_t>(high_);
        const std::uint64_t first = two_ ? key & 0xffffffffU : key >> 32;
        const std::uint64_t second = two_ ? static_cast<std::uint32_t>(low_) : key & 0xffffffffU;
        return of(session)
            .append(" when exists (select from pg_catalog.pg_locks where locktype = 'advisory' and granted and pid = ")
            .append(std::to_string(session))
            .append(" and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())")
            .append(" and classid::bigint = ").append(std::to_string(first)).append(" and objid::bigint = ").append(std::to_string(second)).append(" and objsubid = ")
            .append(two_ ? "2" : "1").append(" and mode = '").append(shared_ ? "Share" : "Exclusive").append("Lock') then 1 else 0 end");
    }

    [[nodiscard]] const char* type() const noexcept { return shared_ ? "advisory_shared" : "advisory"; }
    [[nodiscard]] std::string text() const {
        std::string out{shared_ ? "shared advisory lock " : "advisory lock "};
        if (!name_.empty()) return out.append("'").append(name_).append("' (").append(std::to_string(high_)).append(")");
        out.append(std::to_string(high_));
        return two_ ? out.append(", ").append(std::to_string(low_)) : out;
    }

private:
    [[nodiscard]] static std::string of(std::uint64_t session) {
        return "select case when pg_catalog.pg_backend_pid() <> " + std::to_string(session) + " then -1";
    }
    [[nodiscard]] std::string call(std::string_view function) const {
        std::string out{"pg_catalog."};
        out.append(function).append(shared_ ? "_shared('" : "('").append(std::to_string(high_)).append(two_ ? "'::int" : "'::bigint");
        if (two_) out.append(", '").append(std::to_string(low_)).append("'::int");
        return out.append(")");
    }

    std::int64_t high_;
    std::int32_t low_ = 0;
    bool two_ = false;
    bool shared_ = false;
    std::string name_{};
};

/// A lock of MySQL or MariaDB (GET_LOCK): a name for all databases of the server, so put the database's in front if that is meant.
///
/// Range    1 to 64 characters of UTF-8, without a zero byte; else std::invalid_argument. The server takes upper and lower case for the
///          same, and MariaDB no more than 192 bytes.
/// With     MySQL 5.7.5 or MariaDB 10.5.2, which know RELEASE_ALL_LOCKS. Each server of a group has locks of its own: ask the one that takes
///          writes.
class named_lock {
public:
    explicit named_lock(std::string name) : name_{std::move(name)} {
        std::size_t characters = 0;
        for (const char c : name_) characters += (static_cast<unsigned char>(c) & 0xc0U) != 0x80U ? 1 : 0;
        if (characters < 1 || characters > 64) detail::bad_value("named_lock.name.size", characters, "must be 1 to 64 characters");
        if (name_.find('\0') == name_.npos) return;
        detail::bad_value("named_lock.name", std::string_view{"a text with a zero byte"}, "must have none");
    }
    explicit named_lock(std::string_view name) : named_lock{std::string{name}} {}
    explicit named_lock(const char* name) : named_lock{std::string{name}} {}

    [[nodiscard]] std::string take(std::optional<std::uint64_t> login) const {
        std::string sql{"select case "};
        constexpr std::uint64_t told = 0xffffffff; // of its number the login tells so much
        if (login) {
            sql.append("when (connection_id() & ").append(std::to_string(told)).append(") <> ").append(std::to_string(*login & told));
            sql.append(" then -1 else case ");
        }
        sql.append("get_lock(").append(quoted()).append(", 0) when 1 then connection_id() when 0 then 0 end");
        return login ? sql.append(" end") : sql;
    }
    [[nodiscard]] std::string release(std::uint64_t session) const {
        return of(session).append(" when release_lock(").append(quoted()).append(") = 1 then 1 + 0 * release_all_locks() else 0 end");
    }
    [[nodiscard]] std::string ask(std::uint64_t session) const {
        return of(session).append(" when is_used_lock(").append(quoted()).append(") = connection_id() then 1 else 0 end");
    }

    [[nodiscard]] const char* type() const noexcept { return "named"; }
    [[nodiscard]] std::string text() const { return "named lock '" + name_ + "'"; }

private:
    [[nodiscard]] static std::string of(std::uint64_t session) {
        return "select case when connection_id() <> " + std::to_string(session) + " then -1";
    }
    /// As digits, which no setting of the session reads in another way.
    [[nodiscard]] std::string quoted() const {
        constexpr std::string_view digits{"0123456789abcdef"};
        std::string out{"_utf8mb4 0x"};
        for (const char c : name_) {
            const auto byte = static_cast<unsigned char>(c);
            out.append(1, digits[byte >> 4U]).append(1, digits[byte & 15U]);
        }
        return out;
    }

    std::string name_;
};

} // namespace cenote
