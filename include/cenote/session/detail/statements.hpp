// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/escape.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/session/convert.hpp>
#include <cenote/session/cursor.hpp>
#include <cenote/session/detail/channel.hpp>
#include <cenote/session/detail/reading.hpp>
#include <cenote/session/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cenote::detail {

/// Where a statement goes, and until when it may take.
template <class Core>
struct reach {
    channel<Core>& over;
    deadline by;
};

/// The cursor over a driver's rows.
template <class Core>
class driver_cursor final : public cursor {
public:
    explicit driver_cursor(reading<Core>& of) noexcept : of_{of} { of_.over().reading = true; }
    driver_cursor(const driver_cursor&) = delete;
    driver_cursor& operator=(const driver_cursor&) = delete;
    ~driver_cursor() { of_.over().reading = false; }

private:
    bool advance() override {
        over_ = true; // also if this throws
        over_ = !of_.next();
        return !over_;
    }
    [[nodiscard]] value_view look(std::size_t i) const override { return of_.rows().at(i); }
    [[nodiscard]] std::size_t count() const noexcept override { return of_.has_rows() ? of_.rows().columns() : 0; }
    [[nodiscard]] std::string_view title(std::size_t i) const noexcept override { return of_.has_rows() ? of_.rows().name(i) : std::string_view{}; }

    reading<Core>& of_;
};

/// What can be asked of a session, of a transaction and of a savepoint, and of each within a time.
///
/// Values go to the placeholders that the database knows (`$1` or `?`), never into the text: see value_view and convert for what can be one.
/// Errors   the driver's (driver_error: its class, and what it `met`); an error of class `disconnected`, or after which the driver does not
///          know the connection's state, ends the lease, and what follows throws class `disconnected`, too. result_error when the
///          statement ran and gave something else than was asked for. std::logic_error when there is no session any more.
template <class Derived, class Core>
class statements {
public:
    /// Runs a statement; rows that it gives are thrown away. Returns how many were changed, or given.
    template <class... A>
    std::uint64_t exec(std::string_view sql, const A&... values) {
        return ask(sql, false, [](reading<Core>& r) {
            while (r.next()) {}
            return r.rows().affected();
        }, values...);
    }
    /// All rows.
    template <class... A>
    [[nodiscard]] result query(std::string_view sql, const A&... values) {
        return ask(sql, false, [](reading<Core>& r) {
            auto all = std::make_shared<table>(r.rows());
            while (r.next()) all->add(r.rows());
            all->finish(r.rows().affected());
            return result{std::move(all)};
        }, values...);
    }
    /// The one row that there is. None, or several: result_error.
    template <class... A>
    [[nodiscard]] row one(std::string_view sql, const A&... values) {
        return ask(sql, false, [](reading<Core>& r) {
            const result got = up_to_one(r);
            if (got.empty()) throw result_error{result_error::reason::no_row, "cenote: one row was wanted and there is none"};
            return got.front();
        }, values...);
    }
    template <class... A>
    [[nodiscard]] std::optional<row> one_or_none(std::string_view sql, const A&... values) {
        return ask(sql, false, [](reading<Core>& r) {
            const result got = up_to_one(r);
            return got.empty() ? std::nullopt : std::optional{got.front()};
        }, values...);
    }
    /// The one value of the one row. NULL, where T is no std::optional: result_error.
    template <class T, class... A>
    [[nodiscard]] T scalar(std::string_view sql, const A&... values) {
        static_assert(!escapes<T>, "cenote: scalar<T>() gives back what must not refer to the row that it comes from; ask for a std::string "
                                   "or std::vector<std::byte>, see cenote/session/session.hpp");
        return ask(sql, false, [](reading<Core>& r) {
            std::optional<T> got = up_to_one_value<T>(r);
            if (!got) throw result_error{result_error::reason::no_row, "cenote: one row was wanted and there is none"};
            return *std::move(got);
        }, values...);
    }
    /// The same; nothing for no row, and for NULL.
    template <class T, class... A>
    [[nodiscard]] std::optional<T> scalar_or_none(std::string_view sql, const A&... values) {
        static_assert(!escapes<T>, "cenote: scalar<T>() gives back what must not refer to the row that it comes from; ask for a std::string "
                                   "or std::vector<std::byte>, see cenote/session/session.hpp");
        return ask(sql, false, [](reading<Core>& r) { return up_to_one_value<std::optional<T>>(r).value_or(std::nullopt); }, values...);
    }

    /// `process(sql, values…, f)`: calls `f(cursor&)`, which reads the rows as they arrive, and returns what it returns.
    ///
    /// With     what `f` returns must not refer to the rows; meanwhile the session can be asked nothing else, and not be moved. Rows that `f` leaves are read
    ///          and thrown away for 100 ms. Then the statement is ended, if the driver can, or else the connection, and with both a
    ///          transaction around it: say LIMIT where a few are enough. (SQLite's end at once, whatever there is left.)
    template <class... A>
    decltype(auto) process(std::string_view sql, A&&... values_and_f) {
        static_assert(sizeof...(A) > 0, "cenote: process() wants a callback as its last argument; write process(sql, values..., [](cenote::cursor& rows) { ... }), "
                                        "see cenote/session/session.hpp");
        return with_last([&](auto& f, const auto&... values) {
            using F = decltype(f);
            static_assert(std::is_invocable_v<F, cursor&>, "cenote: the last argument of process() is no callback; write process(sql, values..., "
                                                           "[](cenote::cursor& rows) { ... }), see cenote/session/session.hpp");
            if constexpr (std::is_invocable_v<F, cursor&>) {
                using R = std::invoke_result_t<F, cursor&>;
                static_assert(!escapes<R>, "cenote: what the callback of process() returns refers to rows that end with the call; return a value "
                                           "instead, see cenote/session/session.hpp");
                if constexpr (!escapes<R>) {
                    return ask(sql, true, [&f](reading<Core>& r) -> R {
                        driver_cursor<Core> c{r};
                        return std::invoke(f, static_cast<cursor&>(c));
                    }, values...);
                }
            }
        }, std::forward<A>(values_and_f)...);
    }

    /// `many(n, sql, values…, f)`: calls `f(result)` for each `n` rows as they arrive, and for what is left. Returns how many there were.
    ///
    /// Range    n ≥ 1, else std::invalid_argument; 1000 is a good size.
    template <class... A>
    std::uint64_t many(std::size_t n, std::string_view sql, A&&... values_and_f) {
        if (n == 0) bad_value("many(n)", n, "must be at least 1");
        return with_last([&](auto& f, const auto&... values) {
            return ask(sql, true, [&](reading<Core>& r) {
                driver_cursor<Core> c{r};
                std::uint64_t seen = 0;
                for (result batch = c.many(n); !batch.empty(); batch = c.many(n)) {
                    seen += batch.size();
                    std::invoke(f, std::move(batch));
                }
                return seen;
            }, values...);
        }, std::forward<A>(values_and_f)...);
    }

    /// Any number of statements, separated by semicolons, without values and results: a schema.
    void script(std::string_view sql) {
        static_assert(can_execute<typename Core::driver_type>, "cenote: script() wants a driver with execute(), see cenote/driver.hpp");
        auto [over, by] = derived().cenote_reach();
        over.need();
        over.call([&, until = by](auto& d, auto& c) { d.execute(c, sql, until); });
    }

protected:
    statements() = default;
    ~statements() = default;
    statements(const statements&) = default;
    statements& operator=(const statements&) = default;

private:
    [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }

    template <class F, class... A>
    auto ask(std::string_view sql, bool stream, F&& f, const A&... values) {
        auto [over, by] = derived().cenote_reach();
        const std::tuple kept{bindable(values)...};
        return std::apply([&, &to = over, until = by](const auto&... one) {
            const std::array<value_view, sizeof...(A)> bound{value_view{one}...};
            reading<Core> r{to, statement{sql, bound, stream, to.options.keep_statements}, until};
            return f(r);
        }, kept);
    }

    [[nodiscard]] static result up_to_one(reading<Core>& r) {
        auto got = std::make_shared<table>(r.rows());
        if (r.next()) got->add(r.rows());
        if (r.next()) several();
        got->finish(r.rows().affected());
        return result{std::move(got)};
    }
    template <class T>
    [[nodiscard]] static std::optional<T> up_to_one_value(reading<Core>& r) {
        const std::size_t n = r.rows().columns();
        if (n != 1) throw result_error{result_error::reason::no_column, "cenote: one value was wanted, and a row has " + std::to_string(n) + " columns"};
        std::optional<T> got;
        if (!r.next()) return got;
        got.emplace(read<T>(r.rows().at(0), 0, r.rows().name(0)));
        if (r.next()) several();
        return got;
    }
    [[noreturn]] static void several() { throw result_error{result_error::reason::several_rows, "cenote: one row was wanted and there are several"}; }

    /// Calls `f` with the last argument, and then those before it.
    template <class F, class... A>
    static decltype(auto) with_last(F&& f, A&&... all) {
        const auto refs = std::forward_as_tuple(all...);
        constexpr std::size_t n = sizeof...(A) - 1;
        return [&]<std::size_t... I>(std::index_sequence<I...>) -> decltype(auto) {
            return f(std::get<n>(refs), std::as_const(std::get<I>(refs))...);
        }(std::make_index_sequence<n>{});
    }
};

/// The statements of a session, a transaction or a savepoint until a deadline. It refers to what it was asked of.
template <class Core>
class [[nodiscard]] timed : public statements<timed<Core>, Core> {
public:
    timed(channel<Core>& over, deadline by) noexcept : to_{over, by} {}
    timed(const timed&) = delete;
    timed& operator=(const timed&) = delete;

private:
    template <class, class>
    friend class statements;
    [[nodiscard]] reach<Core> cenote_reach() const noexcept { return to_; }

    reach<Core> to_;
};

template <class... T>
inline constexpr bool never_true = false;

} // namespace cenote::detail
