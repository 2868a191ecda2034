// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What every benchmark here says: rows. bench/lib/report makes JSON, CSV and pictures of them.
///
/// A row is one figure of one subject under stated conditions:
///   suite    the program: micro, baseline, peers, matrix, real, compile
///   test     what is measured: "cycle", "oversubscribed", "hand-off" …
///   subject  who is measured: "cenote lock_free", "std::mutex + std::vector", "SOCI" …
///   at       the conditions, in the order they are shown: {"threads", "8"}, {"size", "2"}
///   metric   what the value is: "throughput", "p99.9", "instructions", "bytes"; its unit: "M/s", "us", "1", "B"
///   value    the median of the windows, and low and high, their extremes; windows: how many there were
///   disturbed  in how many of them the machine had something else to do
///   better   which way is good: less, more
namespace bench {

using condition = std::pair<std::string, std::string>;

struct row {
    std::string suite, test, subject;
    std::vector<condition> at{};
    std::string metric, unit;
    double value = 0, low = 0, high = 0;
    int windows = 1;
    bool more_is_better = false;
    int disturbed = 0;
};

/// Writes rows to a file, one JSON object a line, each as soon as it is known.
class rows {
public:
    explicit rows(const char* path) : file_{std::fopen(path, "w")} {
        if (file_ == nullptr) throw std::runtime_error{std::string{"cannot write "} + path};
    }
    rows(const rows&) = delete;
    rows& operator=(const rows&) = delete;
    ~rows() { std::fclose(file_); }

    void add(const row& r) {
        std::fputs("{", file_);
        text("suite", r.suite);
        text("test", r.test);
        text("subject", r.subject);
        std::fputs("\"at\": {", file_);
        for (std::size_t i = 0; i < r.at.size(); ++i) text(r.at[i].first, r.at[i].second, i + 1 < r.at.size() ? ", " : "");
        std::fputs("}, ", file_);
        text("metric", r.metric);
        text("unit", r.unit);
        std::fprintf(file_, "\"value\": %.6g, \"low\": %.6g, \"high\": %.6g, \"windows\": %d, \"disturbed\": %d, \"better\": \"%s\"}\n", r.value, r.low,
                     r.high, r.windows, r.disturbed, r.more_is_better ? "more" : "less");
        std::fflush(file_);
    }

private:
    void text(std::string_view name, std::string_view value, const char* then = ", ") {
        quoted(name);
        std::fputs(": ", file_);
        quoted(value);
        std::fputs(then, file_);
    }
    void quoted(std::string_view s) {
        std::fputc('"', file_);
        for (const char c : s) {
            if (c == '"' || c == '\\') std::fputc('\\', file_);
            std::fputc(c, file_);
        }
        std::fputc('"', file_);
    }

    std::FILE* file_;
};

} // namespace bench
