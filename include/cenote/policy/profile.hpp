// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/policy/age.hpp>
#include <cenote/policy/connecting.hpp>
#include <cenote/policy/cutting.hpp>
#include <cenote/policy/family.hpp>
#include <cenote/policy/forking.hpp>
#include <cenote/policy/hooks.hpp>
#include <cenote/policy/housekeeping.hpp>
#include <cenote/policy/keepalive.hpp>
#include <cenote/policy/leak.hpp>
#include <cenote/policy/locking.hpp>
#include <cenote/policy/metrics.hpp>
#include <cenote/policy/name.hpp>
#include <cenote/policy/nesting.hpp>
#include <cenote/policy/order.hpp>
#include <cenote/policy/reset.hpp>
#include <cenote/policy/role.hpp>
#include <cenote/policy/settings.hpp>
#include <cenote/policy/sizing.hpp>
#include <cenote/policy/validation.hpp>
#include <cenote/policy/waiting.hpp>

#include <chrono>
#include <tuple>
#include <utility>

namespace cenote {

/// Several policies under one name. What a pool names itself overrides the same kind in the bundle.
///
/// Shape    a profile is any type with `using family = family::profile` and `static constexpr auto policies()`, or a member of that
///          name, that returns a bundle. At most one profile per pool.
template <class... P>
struct bundle {
    using family = family::profile;
    std::tuple<P...> values;

    constexpr bundle() = default;
    constexpr explicit bundle(P... p)
        requires(sizeof...(P) > 0)
        : values{std::move(p)...} {}
    [[nodiscard]] constexpr const bundle& policies() const noexcept { return *this; }
};

namespace profile {

/// For a service that answers requests: 10 connections and 20 more in a rush, wait 30 s, ping before use, 30 min of life.
///
/// Tune     size 10–20, overflow 10–25: `cenote::pool{driver, cenote::profile::web{}, cenote::overflow{.size = 16, .max_overflow = 10}}`.
struct web {
    using family = family::profile;
    [[nodiscard]] static constexpr auto policies() {
        using namespace std::chrono_literals;
        return bundle{overflow{.size = 10, .max_overflow = 20}, acquire_timeout{30s}, max_lifetime{.after = 1800s}, pre_ping{}};
    }
};

/// For background jobs: 5 connections and 10 more, wait 60 s, 1 h of life.
///
/// Tune     size 5–10, overflow 5–15.
struct worker {
    using family = family::profile;
    [[nodiscard]] static constexpr auto policies() {
        using namespace std::chrono_literals;
        return bundle{overflow{.size = 5, .max_overflow = 10}, acquire_timeout{60s}, max_lifetime{.after = 3600s}};
    }
};

/// Everything off: N slots inside the pool object, one thread, no clock, no lock, no check. As fast and as small as a pool
/// written by hand; whatever is added costs what its own row in the cost table says.
template <unsigned N>
struct bare {
    using family = family::profile;
    [[nodiscard]] static constexpr auto policies() {
        return bundle{fixed<N>{}, no_wait{}, lifo{}, single_threaded{}, manual{}, no_acquire_timeout{}, no_connect_timeout{}, no_age_limit{},
                      no_validation{}, any_role{}, no_keepalive{}, no_reset{}, never_cut{}, no_leak_check{}, allow_nested{}, no_metrics{}, no_hooks{}, clock::steady{}, unnamed{}, fixed_settings{}, fork_unaware{}};
    }
};

} // namespace profile
} // namespace cenote
