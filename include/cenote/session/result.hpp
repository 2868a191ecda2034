// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/session/row.hpp>
#include <cenote/session/value.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote {
namespace detail {

/// Rows that belong to nobody but this: what a result and its rows share.
class table {
public:
    template <class Rows>
    explicit table(const Rows& from) {
        const std::size_t n = from.columns();
        names_.reserve(n);
        for (std::size_t i = 0; i < n; ++i) names_.emplace_back(from.name(i));
    }

    /// Copies the row that `from` is on.
    template <class Rows>
    void add(const Rows& from) {
        for (std::size_t i = 0; i < names_.size(); ++i) cells_.push_back(keep(from.at(i)));
        ++rows_;
    }
    void finish(std::uint64_t affected) noexcept { affected_ = affected; }

    [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] std::size_t columns() const noexcept { return names_.size(); }
    [[nodiscard]] std::string_view name(std::size_t i) const noexcept { return names_[i]; }
    [[nodiscard]] value_view at(std::size_t row, std::size_t column) const noexcept { return cells_[row * names_.size() + column]; }
    [[nodiscard]] std::uint64_t affected() const noexcept { return affected_; }

private:
    /// The same value, over bytes of this table's own.
    [[nodiscard]] value_view keep(value_view v) {
        const bool bytes = v.is() == value_view::kind::bytes;
        if (!bytes && v.is() != value_view::kind::text) return v;
        const std::string_view given = v.text();
        if (given.size() > free_.size()) {
            const std::size_t room = std::max(given.size(), next_room_);
            blocks_.push_back(std::make_unique_for_overwrite<char[]>(room));
            free_ = {blocks_.back().get(), room};
            next_room_ = std::min<std::size_t>(2 * next_room_, 1 << 20);
        }
        if (!given.empty()) std::memcpy(free_.data(), given.data(), given.size());
        const std::string_view own{free_.data(), given.size()};
        free_ = free_.subspan(given.size());
        if (bytes) return std::as_bytes(std::span{own});
        return own;
    }

    std::vector<std::string> names_;
    std::vector<value_view> cells_;
    std::vector<std::unique_ptr<char[]>> blocks_; // never moved: the cells look into them
    std::span<char> free_{};
    std::size_t next_room_ = 256;
    std::size_t rows_ = 0;
    std::uint64_t affected_ = 0;
};

} // namespace detail

/// One row of a result. It keeps the rows of its result alive, so it may go anywhere and outlive the result, the lease and the pool.
///
/// Cost     16 bytes; a copy counts a shared owner.
class row : public detail::columns_of<row> {
public:
    [[nodiscard]] std::size_t columns() const noexcept { return of_->columns(); }
    [[nodiscard]] std::string_view name(std::size_t i) const noexcept { return of_->name(i); }
    /// As it came, without a check of `i`: for those who know their columns.
    [[nodiscard]] value_view value(std::size_t i) const noexcept { return of_->at(n_, i); }

    using columns_of<row>::get;
    template <class T, class I>
        requires detail::is_view<T>
    T get(I) && {
        static_assert(!detail::is_view<T>, "cenote: a view into a row that is a temporary would be left without it; give the row a name first, "
                                           "or read a std::string, see cenote/session/result.hpp");
        return T{};
    }

private:
    friend class result;
    row(std::shared_ptr<const detail::table> of, std::size_t n) noexcept : of_{std::move(of)}, n_{n} {}

    std::shared_ptr<const detail::table> of_;
    std::size_t n_;
};

/// What a statement gave, whole and owned: good after its lease, its session and its pool are gone. One type for all drivers.
///
///     for (const cenote::row& r : s.query("select id, name from users where age > ?", 30)) use(r.get<int>(0), r.get<std::string>("name"));
///
/// Cost     32 bytes a value, and the bytes of texts in blocks that grow from 256 bytes to 1 MiB. Move and copy: a shared pointer.
class result {
public:
    /// Goes through the rows; what it gives is good until it goes on, a copy of it for as long as one likes.
    class iterator {
    public:
        using value_type = row;
        using difference_type = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;

        [[nodiscard]] const row& operator*() const noexcept { return at_; }
        [[nodiscard]] const row* operator->() const noexcept { return &at_; }
        iterator& operator++() noexcept {
            ++at_.n_;
            return *this;
        }
        void operator++(int) noexcept { ++*this; }
        [[nodiscard]] bool operator==(std::default_sentinel_t) const noexcept { return !at_.of_ || at_.n_ >= at_.of_->rows(); }

    private:
        friend result;
        explicit iterator(row at) noexcept : at_{std::move(at)} {}
        row at_;
    };

    result() noexcept = default;
    explicit result(std::shared_ptr<const detail::table> t) noexcept : table_{std::move(t)} {}

    [[nodiscard]] std::size_t size() const noexcept { return table_ ? table_->rows() : 0; }
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    /// None for a statement without rows.
    [[nodiscard]] std::size_t columns() const noexcept { return table_ ? table_->columns() : 0; }
    /// The name of a column below `columns()`.
    [[nodiscard]] std::string_view name(std::size_t i) const noexcept { return table_->name(i); }
    /// How many rows were changed, or returned.
    [[nodiscard]] std::uint64_t affected() const noexcept { return table_ ? table_->affected() : 0; }

    /// Errors   std::out_of_range.
    [[nodiscard]] row operator[](std::size_t i) const {
        if (i >= size()) {
            throw std::out_of_range{"cenote: row " + std::to_string(i) + " of a result of " + std::to_string(size()) + "; they count from 0"};
        }
        return {table_, i};
    }
    [[nodiscard]] row front() const { return (*this)[0]; }

    [[nodiscard]] iterator begin() const noexcept { return iterator{row{table_, 0}}; }
    [[nodiscard]] static std::default_sentinel_t end() noexcept { return {}; }

private:
    std::shared_ptr<const detail::table> table_;
};

} // namespace cenote
