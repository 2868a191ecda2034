// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

/// How much the tests of faults do, and what they tell of it.
namespace fault {

inline std::size_t number_from(const char* variable, std::size_t otherwise) {
    const char* n = std::getenv(variable);
    return n != nullptr ? std::stoul(n) : otherwise;
}
/// How often each server is killed: CENOTE_FAULT_CYCLES.
inline std::size_t cycles() { return number_from("CENOTE_FAULT_CYCLES", 25); }
/// How long what has no cycles goes on: CENOTE_FAULT_SECONDS.
inline std::chrono::seconds length() { return std::chrono::seconds{number_from("CENOTE_FAULT_SECONDS", 2)}; }

/// A line that tests/run shows. What it says is no condition of any test.
inline void tell(std::string_view name, const std::string& figures) {
    std::printf("fault: %.*s: %s\n", static_cast<int>(name.size()), name.data(), figures.c_str());
    std::fflush(stdout);
}

inline double in_ms(std::chrono::nanoseconds t) { return std::chrono::duration<double, std::milli>{t}.count(); }

inline std::string text(double ms) {
    std::array<char, 32> out;
    std::snprintf(out.data(), out.size(), ms < 100 ? "%.1f ms" : "%.0f ms", ms);
    return out.data();
}
inline std::string text(std::chrono::nanoseconds t) { return text(in_ms(t)); }

/// Times, and what is said of many.
class times {
public:
    void add(std::chrono::nanoseconds t) { all_.push_back(in_ms(t)); }
    [[nodiscard]] std::size_t count() const { return all_.size(); }
    /// The one that so much of them do not exceed.
    [[nodiscard]] double quantile(double part) const {
        if (all_.empty()) return 0;
        std::vector<double> sorted = all_;
        std::sort(sorted.begin(), sorted.end());
        const double rank = std::ceil(part * static_cast<double>(sorted.size()));
        return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
    }
    [[nodiscard]] std::string summary() const {
        return "p50 " + text(quantile(0.5)) + ", p99 " + text(quantile(0.99)) + ", worst " + text(quantile(1)) + " (" + std::to_string(count()) + ")";
    }

private:
    std::vector<double> all_;
};

} // namespace fault
