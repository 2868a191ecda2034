// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "server/purity/table.hpp"

#include <cenote/pool.hpp>
#include <cenote/view.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

/// What the tests of both databases have in common.
namespace purity {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;

/// Long enough for whatever happens at all, on any machine.
inline constexpr auto patience = 60s;

/// Waits until `f()` holds; false if that did not happen in a very long time.
template <class F>
[[nodiscard]] bool eventually(F f) {
    const cenote::deadline by = cenote::deadline::in(patience);
    while (!f()) {
        if (by.expired()) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

/// The state of a session, value by value.
struct look {
    using values = std::vector<std::pair<std::string, std::string>>;
    values client;                ///< what the client library knows
    std::optional<values> server; ///< what the server answers, if it can be asked
    bool operator==(const look&) const = default;
};
using names = std::vector<std::string>;

/// What is not as it was. Only what was looked at both times is compared: a busy session cannot be asked.
[[nodiscard]] inline names differences(const look& a, const look& b) {
    names out;
    const auto compare = [&out](const look::values& x, const look::values& y) {
        for (const auto& [name, value] : x) {
            const auto same = std::find_if(y.begin(), y.end(), [&name](const auto& other) { return other.first == name; });
            if (same != y.end() && same->second != value) out.push_back(name);
        }
    };
    compare(a.client, b.client);
    if (a.server && b.server) compare(*a.server, *b.server);
    std::sort(out.begin(), out.end());
    return out;
}
[[nodiscard]] inline names sorted(names all) {
    std::sort(all.begin(), all.end());
    return all;
}

/// A pool whose policies are known only at run time.
template <class Connection>
struct some_pool {
    std::shared_ptr<void> owner;
    cenote::pool_view<Connection> view;

    [[nodiscard]] cenote::any_lease<Connection> acquire() const { return view.acquire(cenote::timeout{patience}); }
    [[nodiscard]] cenote::any_lease<Connection> acquire(cenote::duration budget) const { return view.acquire(cenote::timeout{budget}); }
    [[nodiscard]] cenote::pool_stats stats() const { return view.stats(); }
};

/// The pool of a driver with the reset policy that the table names. Nothing but the reset may see dirt, so nothing else tests connections.
template <class Driver>
some_pool<typename Driver::connection> make_pool(const Driver& driver, policy p, moment m, std::string_view script, unsigned max = 1,
                                                 cenote::duration limit = patience) {
    using connection = typename Driver::connection;
    const auto with = [&](auto reset) {
        using pool_type = decltype(cenote::pool{driver, cenote::bounded{}, cenote::counters{}, cenote::no_validation{}, reset});
        auto made = std::make_shared<pool_type>(driver, cenote::bounded{.max = max}, cenote::counters{}, cenote::no_validation{}, reset);
        return some_pool<connection>{made, *made};
    };
    const auto at = [&](auto what) {
        using what_type = decltype(what);
        switch (m) {
        case moment::deferred: return with(cenote::deferred<what_type>{what, limit});
        case moment::background: return with(cenote::background<what_type>{what, limit});
        case moment::at_return: break;
        }
        return with(cenote::at_return<what_type>{what, limit});
    };
    switch (p) {
    case policy::no_reset: break;
    case policy::if_dirty: return at(cenote::reset_if_dirty{});
    case policy::with: return at(cenote::reset_with{std::string{script}});
    case policy::always: return at(cenote::reset_always{});
    }
    return with(cenote::no_reset{});
}

/// Calls `f(p, m)` for every policy and moment; `no_reset` has none.
template <class F>
void each_policy(F f) {
    f(policy::no_reset, moment::deferred);
    for (const policy p : {policy::if_dirty, policy::with, policy::always}) {
        for (const moment m : all_moments) f(p, m);
    }
}

/// How many leases the long tests take in all; every database and moment has its share.
[[nodiscard]] inline unsigned long leases_to_take() {
    const char* const text = std::getenv("CENOTE_PURITY_LEASES");
    return text != nullptr && *text != '\0' ? std::stoul(text) : 20'000;
}

/// What came out of many leases.
struct tally {
    unsigned long leases = 0, leaks = 0, dirty = 0;
    std::string first; ///< leak, or what was thrown
};

/// Four threads take so many leases. Each time `f(connection, random)` looks for what the last user left, says it (nothing: clean) and
/// soils the session anew; `dirty` counts how often that was a transaction or something unfinished.
template <class Connection, class F>
tally storm(const some_pool<Connection>& db, unsigned long leases, unsigned seed, F f) {
    constexpr unsigned threads = 4;
    std::array<tally, threads> each;
    {
        std::vector<std::jthread> all;
        for (unsigned t = 0; t < threads; ++t) {
            all.emplace_back([&, t] {
                tally& mine = each[t];
                std::mt19937 random{seed + t};
                try {
                    for (; mine.leases < leases / threads; ++mine.leases) {
                        const auto lease = db.acquire();
                        const std::string left = f(*lease, random, mine);
                        if (left.empty()) continue;
                        ++mine.leaks;
                        if (mine.first.empty()) mine.first = left;
                    }
                } catch (const std::exception& e) {
                    if (mine.first.empty()) mine.first = e.what();
                    ++mine.leaks;
                }
            });
        }
    }
    tally sum;
    for (const tally& t : each) {
        sum.leases += t.leases;
        sum.leaks += t.leaks;
        sum.dirty += t.dirty;
        if (sum.first.empty()) sum.first = t.first;
    }
    return sum;
}

/// Whether a test may print figures: CENOTE_PURITY_FIGURES=1.
[[nodiscard]] inline bool wants_figures() {
    const char* const text = std::getenv("CENOTE_PURITY_FIGURES");
    return text != nullptr && std::string_view{text} == "1";
}

} // namespace purity
