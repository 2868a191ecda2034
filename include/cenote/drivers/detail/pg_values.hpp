// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/session/value.hpp>

#include <libpq-fe.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#if !defined(__cpp_lib_to_chars)
#include <locale>
#include <sstream>
#endif

// Values as PostgreSQL writes and reads them.
namespace cenote::drivers::pg {

/// The OIDs of the built-in types that are more than text here; they never change.
namespace oid {
inline constexpr Oid boolean = 16, bytea = 17, int8 = 20, int2 = 21, int4 = 23, oid = 26, float4 = 700, float8 = 701;
}

[[noreturn]] inline void bad_value(std::size_t index, std::string_view rule) {
    throw std::invalid_argument("cenote: postgres: value " + std::to_string(index + 1) + ": " + std::string{rule});
}

/// A number as text, without a terminating zero; the least digits that read back as the same.
class digits {
public:
    explicit digits(const value_view& v) noexcept {
        using kind = value_view::kind;
        char *const first = text_.data(), *const last = first + text_.size();
        if (v.is() == kind::boolean) {
            size_ = std::string_view{v.boolean() ? "true" : "false"}.copy(first, text_.size());
        } else {
            size_ = static_cast<std::size_t>((v.is() == kind::integer              ? std::to_chars(first, last, v.integer())
                                              : v.is() == kind::unsigned_integer ? std::to_chars(first, last, v.unsigned_integer())
                                                                                 : std::to_chars(first, last, v.real()))
                                                 .ptr -
                                             first);
        }
    }
    [[nodiscard]] std::string_view text() const noexcept { return {text_.data(), size_}; }
    static constexpr std::size_t most = 32;

private:
    std::array<char, most> text_{};
    std::size_t size_ = 0;
};

/// Values as libpq takes them. Text goes as text, whose type the server infers from its place, so that an integer fits a smallint, a numeric
/// and a jsonb's key alike; bytes go in binary and are a bytea, whatever the place.
class bound_values {
public:
    bound_values() = default;
    /// Bytes stay where they are unless `copied`.
    explicit bound_values(std::span<const value_view> values, bool copied = false) {
        using kind = value_view::kind;
        if (values.empty()) return;
        if (values.size() > 65535) {
            throw std::invalid_argument("cenote: postgres: values = " + std::to_string(values.size()) + ": must be at most 65535");
        }
        std::size_t needed = 0;
        bool bytes = false;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const value_view& v = values[i];
            const bool text = v.is() == kind::text, raw = v.is() == kind::bytes;
            if ((text || raw) && v.text().size() > 0x3fffffff) bad_value(i, "must be below 1 GiB");
            if (text && v.text().find('\0') != std::string_view::npos) bad_value(i, "a text must not contain a zero byte; bytes may");
            bytes = bytes || raw;
            needed += text ? v.text().size() + 1 : raw ? (copied ? v.text().size() : 0) : v.is_null() ? 0 : digits::most + 1;
        }
        arena_.reserve(needed);
        pointers_.reserve(values.size());
        if (bytes) {
            lengths_.assign(values.size(), 0);
            formats_.assign(values.size(), 0);
            types_.assign(values.size(), 0);
        }
        for (std::size_t i = 0; i < values.size(); ++i) {
            const value_view& v = values[i];
            switch (v.is()) {
            case kind::null: pointers_.push_back(nullptr); break;
            case kind::text: pointers_.push_back(keep(v.text(), true)); break;
            case kind::bytes:
                lengths_[i] = static_cast<int>(v.text().size());
                formats_[i] = 1;
                types_[i] = oid::bytea;
                pointers_.push_back(v.text().empty() ? "" : copied ? keep(v.text(), false) : v.text().data());
                break;
            default: pointers_.push_back(keep(digits{v}.text(), true));
            }
        }
    }

    [[nodiscard]] int count() const noexcept { return static_cast<int>(pointers_.size()); }
    [[nodiscard]] const char* const* data() const noexcept { return pointers_.data(); }
    [[nodiscard]] const int* lengths() const noexcept { return lengths_.empty() ? nullptr : lengths_.data(); }
    [[nodiscard]] const int* formats() const noexcept { return formats_.empty() ? nullptr : formats_.data(); }
    [[nodiscard]] const Oid* types() const noexcept { return types_.empty() ? nullptr : types_.data(); }
    /// Which are bytes: a plan made for these does not fit others.
    [[nodiscard]] std::string shape() const {
        std::string out;
        for (std::size_t i = 0; i < types_.size(); ++i) {
            if (types_[i] != 0) out += std::to_string(i) + ',';
        }
        return out;
    }
    /// About how much is sent.
    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t n = arena_.size() + 8 * pointers_.size();
        for (const int l : lengths_) n += static_cast<std::size_t>(l);
        return n;
    }

private:
    [[nodiscard]] const char* keep(std::string_view t, bool terminated) {
        const std::size_t at = arena_.size(); // reserved: nothing moves
        arena_.insert(arena_.end(), t.begin(), t.end());
        if (terminated) arena_.push_back('\0');
        return arena_.data() + at;
    }

    std::vector<char> arena_;
    std::vector<const char*> pointers_;
    std::vector<int> lengths_, formats_;
    std::vector<Oid> types_;
};

[[nodiscard]] inline std::optional<double> read_real(std::string_view t) {
    if (t == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (t == "Infinity") return std::numeric_limits<double>::infinity();
    if (t == "-Infinity") return -std::numeric_limits<double>::infinity();
    double out = 0;
#if defined(__cpp_lib_to_chars)
    const auto read = std::from_chars(t.data(), t.data() + t.size(), out);
    if (read.ec == std::errc{} && read.ptr == t.data() + t.size()) return out;
#else
    std::istringstream in{std::string{t}};
    in.imbue(std::locale::classic());
    if (in >> out && in.peek() == std::istringstream::traits_type::eof()) return out;
#endif
    return std::nullopt;
}

/// A bytea as the server writes it: in hex, or escaped where the session has asked for that.
[[nodiscard]] inline bool read_bytea(std::string_view t, std::string& out) {
    const auto hex = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    const auto octal = [](char c) { return c >= '0' && c <= '7'; };
    out.clear();
    if (t.starts_with("\\x")) {
        t.remove_prefix(2);
        if (t.size() % 2 != 0) return false;
        out.resize(t.size() / 2);
        for (std::size_t i = 0; i < out.size(); ++i) {
            const int high = hex(t[2 * i]), low = hex(t[2 * i + 1]);
            if (high < 0 || low < 0) return false;
            out[i] = static_cast<char>(high * 16 + low);
        }
        return true;
    }
    for (std::size_t i = 0; i < t.size(); ++i) {
        if (t[i] != '\\') {
            out += t[i];
        } else if (i + 1 < t.size() && t[i + 1] == '\\') {
            out += t[++i];
        } else if (i + 3 < t.size() && octal(t[i + 1]) && octal(t[i + 2]) && octal(t[i + 3])) {
            out += static_cast<char>((t[i + 1] - '0') * 64 + (t[i + 2] - '0') * 8 + (t[i + 3] - '0'));
            i += 3;
        } else {
            return false;
        }
    }
    return true;
}

/// A column's text as the value it is. What has no kind of its own stays text, and so do numerics: nothing is lost.
[[nodiscard]] inline value_view read_value(Oid type, std::string_view t) {
    switch (type) {
    case oid::boolean: return value_view{t == "t"};
    case oid::int2:
    case oid::int4:
    case oid::int8:
    case oid::oid: {
        std::int64_t n = 0;
        const auto read = std::from_chars(t.data(), t.data() + t.size(), n);
        return read.ec == std::errc{} && read.ptr == t.data() + t.size() ? value_view{n} : value_view{t};
    }
    case oid::float4:
    case oid::float8: {
        const auto r = read_real(t);
        return r ? value_view{*r} : value_view{t};
    }
    default: return value_view{t};
    }
}

} // namespace cenote::drivers::pg
