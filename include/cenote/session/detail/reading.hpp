// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/session/detail/channel.hpp>
#include <cenote/session/statement.hpp>

#include <chrono>
#include <concepts>
#include <exception>
#include <optional>
#include <utility>

namespace cenote::detail {

/// Rows that free their connection when they are destroyed, wherever they are: `static constexpr bool frees_connection = true`.
template <class Rows>
inline constexpr bool frees_connection = false;
template <class Rows>
    requires requires { { Rows::frees_connection } -> std::convertible_to<bool>; }
inline constexpr bool frees_connection<Rows> = Rows::frees_connection;

/// The rows of one statement, and that the connection is free again after them.
template <class Core>
class reading {
public:
    using rows_type = decltype(std::declval<channel<Core>&>().start(std::declval<const statement&>(), deadline::never()));

    reading(channel<Core>& over, const statement& s, deadline by) : over_{over}, by_{by} {
        over.need();
        rows_.emplace(over.start(s, by));
    }
    reading(const reading&) = delete;
    reading& operator=(const reading&) = delete;
    ~reading() {
        if (done_) return;
        if (over_.held.forked()) { // the rest is the parent's to read
            rows_.reset();
            (void)over_.let_go_if_forked();
            return;
        }
        if constexpr (!frees_connection<rows_type>) {
            if (over_.held && read_on()) return;
        }
        rows_.reset();
        over_.settle();
    }

    bool next() {
        if (done_) return false;
        try {
            if (rows_->next(by_)) return true;
        } catch (const std::exception& e) {
            end();
            over_.judge(e);
            throw;
        } catch (...) {
            end();
            over_.settle();
            throw;
        }
        done_ = true;
        return false;
    }
    [[nodiscard]] const rows_type& rows() const noexcept { return *rows_; }
    [[nodiscard]] bool has_rows() const noexcept { return rows_.has_value(); }
    [[nodiscard]] channel<Core>& over() const noexcept { return over_; }

private:
    /// After an error. The rows go first, as what is judged next may be the end of the connection that they come from.
    void end() noexcept {
        done_ = true;
        rows_.reset();
    }
    /// The rest, if it does not take long.
    bool read_on() noexcept {
        try {
            const deadline soon = by_.sooner(deadline::in(std::chrono::milliseconds{100}));
            do {
                if (!rows_->next(soon)) return true;
            } while (!soon.expired());
        } catch (...) { // what it left behind is looked at next
        }
        return false;
    }

    channel<Core>& over_;
    deadline by_;
    std::optional<rows_type> rows_;
    bool done_ = false;
};

} // namespace cenote::detail
