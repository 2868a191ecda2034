// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

// How far the scenarios of a configuration are explored, and what is printed of it. What they check of the invariants of a pool is
// named where it is checked, inv-1 (never more connections than the limit), inv-2 (every permit comes back), inv-3 (one holder),
// inv-6 (nobody is overtaken who must not be), inv-7 (nobody waits beside what he waits for), inv-8 (nobody waits after close).
//
// CENOTE_EXPLORE_PREEMPTIONS=n   explores every scenario to bound 3, then 4, up to this
// CENOTE_EXPLORE_CROWD=1         explores the scenarios of four threads instead
// CENOTE_EXPLORE_SCHEDULES=n     stops each scenario after so many schedules of a bound
#include <cenote/testing/explore.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <string>
#include <utility>

/// Up to so many preemptions, but one fewer where that has so many schedules already.
struct effort {
    unsigned preemptions = 3;
    std::uint64_t enough = std::numeric_limits<std::uint64_t>::max();
};

#define CHECKED "[inv-1][inv-2][inv-3][inv-7][inv-8][case-D1][case-D2][case-D3]"
#define CHECKED_AND_FAIR CHECKED "[inv-6][case-D4]"

class exploration {
    static constexpr auto no_limit = std::numeric_limits<std::uint64_t>::max();

public:
    exploration(std::string configuration, effort how) : configuration_{std::move(configuration)}, how_{how} {}
    exploration(const exploration&) = delete;
    exploration& operator=(const exploration&) = delete;
    ~exploration() {
        std::string text;
        for (const auto& [bound, n] : scenarios_) text += std::to_string(n) + " scenarios to bound " + std::to_string(bound) + ", ";
        for (const auto& [bound, n] : unfinished_) text += std::to_string(n) + " with bound " + std::to_string(bound) + " not to their end, ";
        std::printf("explored: %s: %s%llu schedules\n", configuration_.c_str(), text.c_str(), static_cast<unsigned long long>(schedules_));
    }

    static bool crowd() { return std::getenv("CENOTE_EXPLORE_CROWD") != nullptr; }

    template <class Body>
    void run(const std::string& name, unsigned preemptions, const Body& body) {
        unsigned bound = std::min(preemptions, how_.preemptions);
        bool whole = true;
        if (const auto forced = static_cast<unsigned>(from_environment("CENOTE_EXPLORE_PREEMPTIONS", 0)); forced != 0) {
            bound = std::min(3U, forced);
            for (;; ++bound) {
                whole = once(name, bound, body).complete;
                if (!whole || bound == forced) break;
            }
        } else if (how_.enough == no_limit) {
            whole = once(name, bound, body).complete;
        } else {
            const auto less = once(name, bound - 1, body);
            if (less.complete && less.schedules < how_.enough) whole = once(name, bound, body).complete;
            else whole = less.complete, --bound;
        }
        ++(whole ? scenarios_ : unfinished_)[bound];
    }

private:
    static std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
        const char* const text = std::getenv(name);
        return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
    }
    template <class Body>
    cenote::testing::explore::result once(const std::string& name, unsigned preemptions, const Body& body) {
        const std::uint64_t limit = from_environment("CENOTE_EXPLORE_SCHEDULES", no_limit);
        auto r = cenote::testing::explore::run({.preemptions = preemptions, .max_schedules = limit}, body);
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(r.elapsed).count();
        std::printf("bound %u %9llu schedules %6lld ms  %s: %s%s\n", preemptions, static_cast<unsigned long long>(r.schedules), static_cast<long long>(ms),
                    configuration_.c_str(), name.c_str(), r.complete ? "" : " (there are more)");
        INFO(configuration_ << ": " << name);
        CHECK(r.violation == "");
        CHECK((r.complete || limit != no_limit));
        schedules_ += r.schedules;
        return r;
    }

    std::string configuration_;
    effort how_;
    std::map<unsigned, int> scenarios_, unfinished_; ///< by bound
    std::uint64_t schedules_ = 0;
};
