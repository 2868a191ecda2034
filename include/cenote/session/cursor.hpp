// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/session/result.hpp>
#include <cenote/session/row.hpp>

#include <cstddef>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string_view>

namespace cenote {

/// Rows as they arrive, one at a time: `process` makes one, calls back with it, and ends it.
///
///     s.process("select id, name from users", [&](cenote::cursor& rows) {
///         for (auto& r : rows) use(r.get<int>(0), r.get<std::string_view>(1)); // the text is good until the next row
///     });
///
/// It is the row that it is on, too, and begins before the first. It cannot be copied or moved, so it stays where it was made; what looks
/// into it (a text, a span, a value_view) is good until it goes on.
/// Errors   what the driver throws; result_error as of a result's row; std::logic_error for a value where there is no row.
/// Cost     a virtual call for each row and each value; nothing is allocated but by the driver.
class cursor : public detail::columns_of<cursor> {
public:
    cursor(const cursor&) = delete;
    cursor& operator=(const cursor&) = delete;

    /// Goes to the next row. False: there is none.
    bool next() { return here_ = !over_ && advance(); }
    /// The next `n` rows, or what is left; empty when nothing is. Owned, as any result.
    [[nodiscard]] result many(std::size_t n) {
        if (n == 0) throw std::invalid_argument{"cenote: many(n) = 0: must be at least 1"};
        auto out = std::make_shared<detail::table>(source{*this});
        while (out->rows() < n && next()) out->add(source{*this});
        out->finish(out->rows());
        here_ = false;
        return result{std::move(out)};
    }

    [[nodiscard]] std::size_t columns() const noexcept { return count(); }
    [[nodiscard]] std::string_view name(std::size_t i) const noexcept { return title(i); }
    [[nodiscard]] value_view value(std::size_t i) const {
        if (!here_) throw std::logic_error{"cenote: the cursor is not on a row; next() has not been called, or has said that there is none"};
        return look(i);
    }

    class iterator {
    public:
        using value_type = cursor;
        using difference_type = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;

        [[nodiscard]] cursor& operator*() const noexcept { return *at_; }
        iterator& operator++() {
            at_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        [[nodiscard]] bool operator==(std::default_sentinel_t) const noexcept { return !at_->here_; }

    private:
        friend cursor;
        explicit iterator(cursor* c) noexcept : at_{c} {}
        cursor* at_;
    };
    /// Goes to the next row: a second loop goes on where the first one stopped.
    [[nodiscard]] iterator begin() {
        next();
        return iterator{this};
    }
    [[nodiscard]] static std::default_sentinel_t end() noexcept { return {}; }

protected:
    cursor() = default;
    ~cursor() = default;

    bool over_ = false; ///< there is no further row, and nobody is asked for one

private:
    struct source { // what a table copies from
        const cursor& of;
        [[nodiscard]] std::size_t columns() const noexcept { return of.count(); }
        [[nodiscard]] std::string_view name(std::size_t i) const noexcept { return of.title(i); }
        [[nodiscard]] value_view at(std::size_t i) const { return of.look(i); }
    };

    virtual bool advance() = 0;
    [[nodiscard]] virtual value_view look(std::size_t) const = 0;
    [[nodiscard]] virtual std::size_t count() const noexcept = 0;
    [[nodiscard]] virtual std::string_view title(std::size_t) const noexcept = 0;

    bool here_ = false;
};

} // namespace cenote
