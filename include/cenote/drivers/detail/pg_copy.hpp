// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/pg_query.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote::drivers::pg {

/// One field of COPY's text format.
inline void append_field(std::string& out, const value_view& v, std::size_t index) {
    using kind = value_view::kind;
    switch (v.is()) {
    case kind::null: out += "\\N"; return;
    case kind::text:
        for (const char c : v.text()) {
            switch (c) {
            case '\0': bad_value(index, "a text must not contain a zero byte; bytes may");
            case '\\': out += "\\\\"; break;
            case '\b': out += "\\b"; break;
            case '\f': out += "\\f"; break;
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\t': out += "\\t"; break;
            case '\v': out += "\\v"; break;
            default: out += c;
            }
        }
        return;
    case kind::bytes: {
        constexpr std::string_view hex = "0123456789abcdef";
        out += "\\\\x";
        for (const std::byte b : v.bytes()) {
            const auto n = std::to_integer<unsigned>(b);
            out += {hex[n >> 4], hex[n & 15]};
        }
        return;
    }
    default: out += digits{v}.text();
    }
}

/// A COPY that is under way, for as long as this lives. The connection must live longer.
class copying {
public:
    copying(const copying&) = delete;
    copying& operator=(const copying&) = delete;

protected:
    copying(session& s, std::string_view doing, const std::string& sql, ExecStatusType wanted, duration bound, deadline by)
        : by_{by}, bound_{bound}, doing_{doing} {
        require_free(s, doing, by);
        const unblocked here{s};
        dispatch(s, doing, bound, by, false, [&](PGconn* c) { return PQsendQuery(c, sql.c_str()); });
        if (!arrives(s, doing, by)) out_of_time(s, doing, bound);
        result_owner r = take(s);
        if (PQresultStatus(r.get()) == wanted) {
            s_ = &s;
            turn_ = s.turn;
            columns_ = static_cast<std::size_t>(PQnfields(r.get()));
            is_binary_ = PQbinaryTuples(r.get()) != 0;
            return;
        }
        if (is_copy(PQresultStatus(r.get())) && !stop(s, bound)) s.broken = true; // the other way
        else if (s.alive() && PQtransactionStatus(s.handle.get()) == PQTRANS_ACTIVE) (void)collect(s, doing, bound, by);
        if (is_error(PQresultStatus(r.get()))) fail(s, r.get(), doing);
        if (!s.alive() && !s.broken) fail_broken(s, doing);
        const std::string_view rule = wanted == PGRES_COPY_IN ? ": the statement must be COPY … FROM STDIN" : ": the statement must be COPY … TO STDOUT";
        throw std::invalid_argument(std::string{"cenote: postgres: "}.append(doing).append(rule));
    }
    copying(copying&& o) noexcept
        : s_{std::exchange(o.s_, nullptr)}, turn_{o.turn_}, by_{o.by_}, bound_{o.bound_}, columns_{o.columns_}, doing_{o.doing_},
          is_binary_{o.is_binary_} {}
    ~copying() { abort(); }

    /// Ends it without its effect, and leaves the connection free or broken.
    void abort() noexcept {
        const errno_kept keep;
        session* const s = std::exchange(s_, nullptr);
        if (s == nullptr || s->turn != turn_ || !s->alive()) return;
        const unblocked here{*s};
        try {
            // Often that is enough: nothing more is to be copied in, or little to be read.
            if (drain(*s, {std::size_t{64} * 1024, std::min<duration>(bound_, std::chrono::milliseconds{5})}, deadline::never())) return;
        } catch (const std::exception&) {
            return;
        }
        if (!stop(*s, bound_)) s->broken = true;
    }
    [[nodiscard]] session& running() {
        if (s_ == nullptr) fail(error_class::other, doing_, "it is over");
        if (s_->turn != turn_) {
            s_ = nullptr;
            fail(error_class::other, doing_, "the connection was used otherwise in between");
        }
        if (!s_->alive()) fail_broken(*std::exchange(s_, nullptr), doing_);
        return *s_;
    }
    void late() { out_of_time(*std::exchange(s_, nullptr), doing_, bound_); }
    [[nodiscard]] std::uint64_t ended() {
        return affected_by(collect(*std::exchange(s_, nullptr), doing_, bound_, by_).get());
    }

    session* s_ = nullptr; // while it is under way
    std::uint64_t turn_ = 0;
    deadline by_;
    duration bound_;
    std::size_t columns_ = 0;
    std::string_view doing_; // a literal
    bool is_binary_ = false;
};

/// Rows on their way into a table. Destroyed before `finish` has returned, nothing of it is there.
///
/// Cost     what is written is sent in parts of 64 KiB; nothing more is kept, whatever the size of the whole.
class copy_writer : copying {
public:
    copy_writer(copy_writer&&) noexcept = default;

    /// One row of COPY's text format, which is the default one.
    ///
    /// Errors   std::invalid_argument for a text with a zero byte or another number of columns, after which the row is not written; driver_error,
    ///          after which the copy is over.
    void row(std::span<const value_view> values) {
        (void)running();
        if (is_binary_) throw std::logic_error("cenote: postgres: copy_writer.row: the format is binary: write raw data");
        if (values.size() != columns_) {
            throw std::invalid_argument("cenote: postgres: copy_writer.row: values = " + std::to_string(values.size()) + ": must be " +
                                        std::to_string(columns_) + ", one for each column");
        }
        const std::size_t before = text_.size();
        try {
            for (std::size_t i = 0; i < values.size(); ++i) {
                if (i != 0) text_ += '\t';
                append_field(text_, values[i], i);
            }
            text_ += '\n';
        } catch (...) {
            text_.resize(before);
            throw;
        }
        if (text_.size() >= part) send();
    }
    void row(std::initializer_list<value_view> values) { row(std::span{values.begin(), values.size()}); }
    /// Anything, in the format that the statement names; its parts need not be rows.
    void raw(std::string_view data) {
        (void)running();
        while (!data.empty()) {
            const std::string_view now = data.substr(0, part);
            data.remove_prefix(now.size());
            text_.append(now);
            if (text_.size() >= part) send();
        }
    }
    /// Ends it; how many rows there were.
    ///
    /// Errors   driver_error. Class `disconnected` or `timeout` outside a transaction: nobody knows whether it took place.
    std::uint64_t finish() {
        const errno_kept keep;
        session& s = running();
        const unblocked here{s};
        if (!text_.empty()) send();
        if (PQputCopyEnd(s.handle.get(), nullptr) != 1) fail_broken(*std::exchange(s_, nullptr), doing_);
        if (!leaves(s, doing_, by_)) late();
        return ended();
    }
    [[nodiscard]] std::size_t columns() const noexcept { return columns_; }

    copy_writer(session& s, const std::string& sql, duration bound, deadline by) : copying{s, "cannot copy in", sql, PGRES_COPY_IN, bound, by} {}

private:
    static constexpr std::size_t part = std::size_t{64} * 1024;

    void send() {
        const errno_kept keep;
        session& s = running();
        const unblocked here{s};
        if (by_.expired()) late();
        std::string_view left = text_;
        while (!left.empty()) { // a row may be large, an int is not
            const std::string_view now = left.substr(0, std::size_t{1} << 24);
            left.remove_prefix(now.size());
            if (PQputCopyData(s.handle.get(), now.data(), static_cast<int>(now.size())) != 1) fail_broken(*std::exchange(s_, nullptr), doing_);
            if (!leaves(s, doing_, by_)) late();
        }
        text_.clear();
    }

    std::string text_;
};

/// Rows on their way out. Destroyed before the end, the rest is cancelled.
class copy_reader : copying {
public:
    copy_reader(copy_reader&&) noexcept = default;

    /// Goes to the next row; false: that was all, and the connection is free again.
    bool next() {
        const errno_kept keep;
        data_ = {};
        row_.reset();
        if (is_over_) return false;
        session& s = running();
        PGconn* const c = s.handle.get();
        for (;;) {
            char* at = nullptr;
            const int n = PQgetCopyData(c, &at, 1);
            if (n > 0) {
                row_.reset(at);
                data_ = {at, static_cast<std::size_t>(n)};
                return true;
            }
            if (n < 0) break; // the end, or an error, which follows
            if (by_.expired() || !wait_for(PQsocket(c), POLLIN, by_)) late();
            if (!take_input(c)) fail_broken(*std::exchange(s_, nullptr), doing_);
        }
        rows_ = ended();
        is_over_ = true;
        return false;
    }
    /// The row as the server sent it; valid until the next.
    [[nodiscard]] std::string_view data() const noexcept { return data_; }
    /// Its fields, of the text format; no value is NULL. Valid until the next call.
    [[nodiscard]] std::span<const std::optional<std::string>> fields() {
        if (is_binary_) throw std::logic_error("cenote: postgres: copy_reader.fields: the format is binary: read the raw data");
        std::size_t n = 0;
        std::string_view left = data_;
        if (left.ends_with('\n')) left.remove_suffix(1);
        fields_.resize(columns_);
        for (; n < columns_; ++n) {
            const std::size_t end = std::min(left.find('\t'), left.size());
            read_field(left.substr(0, end), fields_[n]);
            left.remove_prefix(std::min(end + 1, left.size()));
        }
        return fields_;
    }
    /// How many rows there were, once `next` has said false.
    [[nodiscard]] std::uint64_t rows() const noexcept { return rows_; }
    [[nodiscard]] std::size_t columns() const noexcept { return columns_; }

    copy_reader(session& s, const std::string& sql, duration bound, deadline by) : copying{s, "cannot copy out", sql, PGRES_COPY_OUT, bound, by} {}

private:
    struct release {
        void operator()(char* p) const noexcept { PQfreemem(p); }
    };
    static void read_field(std::string_view t, std::optional<std::string>& out) {
        if (t == "\\N") {
            out.reset();
            return;
        }
        out.emplace();
        for (std::size_t i = 0; i < t.size(); ++i) {
            if (t[i] != '\\' || i + 1 == t.size()) {
                *out += t[i];
                continue;
            }
            switch (const char c = t[++i]) {
            case 'b': *out += '\b'; break;
            case 'f': *out += '\f'; break;
            case 'n': *out += '\n'; break;
            case 'r': *out += '\r'; break;
            case 't': *out += '\t'; break;
            case 'v': *out += '\v'; break;
            default: *out += c; // the server writes none in octal or hex
            }
        }
    }

    std::string_view data_;
    std::unique_ptr<char, release> row_;
    std::vector<std::optional<std::string>> fields_;
    std::uint64_t rows_ = 0;
    bool is_over_ = false;
};

} // namespace cenote::drivers::pg
