// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/profile.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;
using cenote::bundle;

namespace {
namespace profile = cenote::profile;
static_assert(cenote::policy<bundle<>> && cenote::policy<profile::web> && cenote::policy<profile::worker> && cenote::policy<profile::bare<3>>);
static_assert(std::is_empty_v<profile::web> && std::is_empty_v<profile::worker> && std::is_empty_v<profile::bare<3>>);

template <class P>
constexpr P of(const auto& some) { return std::get<P>(some.policies().values); }

// What the profiles promise.
static_assert(of<cenote::overflow>(profile::web{}).size == 10 && of<cenote::overflow>(profile::web{}).max_overflow == 20);
static_assert(of<cenote::acquire_timeout>(profile::web{}).after == 30s && of<cenote::max_lifetime>(profile::web{}).after == 1800s);
static_assert(of<cenote::pre_ping>(profile::web{}).timeout == 5s);
static_assert(of<cenote::overflow>(profile::worker{}).size == 5 && of<cenote::overflow>(profile::worker{}).max_overflow == 10);
static_assert(of<cenote::acquire_timeout>(profile::worker{}).after == 60s && of<cenote::max_lifetime>(profile::worker{}).after == 3600s);
static_assert(of<cenote::fixed<3>>(profile::bare<3>{}).bounds().max == 3);

template <class... P>
constexpr bool all_empty(const bundle<P...>&) { return (std::is_empty_v<P> && ...); }
static_assert(all_empty(profile::bare<3>::policies()), "everything that is off is stored for nothing");

/// One bit per family.
template <class... P>
constexpr unsigned families(const bundle<P...>&) { return (0U | ... | (1U << P::family::index)); }
static_assert(families(profile::bare<3>::policies()) == (1U << (cenote::family::forking::index + 1)) - 2, "every family but `profile` is named");
} // namespace

TEST_CASE("the values of a profile pass their own checks") {
    const auto check = [](const auto& profile) {
        std::apply([](const auto&... p) {
            ([&] {
                if constexpr (requires { p.check(); }) CHECK_NOTHROW(p.check());
            }(), ...);
        }, profile.policies().values);
    };
    check(profile::web{});
    check(profile::worker{});
    check(profile::bare<1>{});
}

TEST_CASE("a bundle holds the policies it is made of, defaults or values") {
    const bundle<cenote::bounded, cenote::named> defaults;
    CHECK(of<cenote::bounded>(defaults).max == 10);
    CHECK(of<cenote::named>(defaults).name.empty());
    const bundle own{cenote::bounded{.max = 3}, cenote::named{"shop"}};
    CHECK(of<cenote::bounded>(own).max == 3);
    CHECK(of<cenote::named>(own).view() == "shop");
    CHECK(&own.policies() == &own);
}

TEST_CASE("a name is what it was given, and no name is empty") {
    CHECK(cenote::named{"shop"}.view() == "shop");
    CHECK(cenote::named{}.view().empty());
    CHECK(cenote::unnamed::view().empty());
}
