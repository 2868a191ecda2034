// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cenote::detail {

/// "250ms", "30s", "1500us": the largest unit that loses nothing.
[[nodiscard]] inline std::string to_text(duration d) {
    const std::int64_t ns = d.count();
    if (ns % 1'000'000'000 == 0) return std::to_string(ns / 1'000'000'000) + "s";
    if (ns % 1'000'000 == 0) return std::to_string(ns / 1'000'000) + "ms";
    if (ns % 1'000 == 0) return std::to_string(ns / 1'000) + "us";
    return std::to_string(ns) + "ns";
}
[[nodiscard]] inline std::string to_text(double d) { return std::to_string(d); }
[[nodiscard]] inline std::string to_text(std::string_view s) { return std::string{s}; }
template <std::integral T>
[[nodiscard]] std::string to_text(T v) { return std::to_string(v); }

/// Refuses a run-time parameter: "cenote: bounded.min = 12: must be at most bounded.max, which is 10".
template <class Value>
[[noreturn]] void bad_value(std::string_view field, const Value& value, std::string_view rule) {
    std::string text{"cenote: "};
    text.append(field).append(" = ").append(to_text(value)).append(": ").append(rule);
    throw std::invalid_argument(text);
}

inline void require_positive(std::string_view field, duration d, std::string_view off) {
    if (d > duration::zero()) return;
    std::string rule{"must be above zero"};
    if (!off.empty()) rule.append("; to switch it off write ").append(off);
    bad_value(field, d, rule);
}
inline void require_not_negative(std::string_view field, duration d) {
    if (d < duration::zero()) bad_value(field, d, "must not be negative");
}

} // namespace cenote::detail
