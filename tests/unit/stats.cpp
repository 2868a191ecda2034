// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/reflect.hpp>

#include <catch2/catch_test_macros.hpp>

#include <boost/hana/accessors.hpp>
#include <boost/hana/core/to.hpp>
#include <boost/hana/ext/std/integral_constant.hpp>
#include <boost/hana/for_each.hpp>
#include <boost/hana/keys.hpp>
#include <boost/hana/members.hpp>
#include <boost/hana/second.hpp>
#include <boost/hana/size.hpp>
#include <boost/hana/string.hpp>

#include <cstdint>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace hana = boost::hana;
using cenote::close_reason;
using cenote::pool_stats;

namespace {

constexpr std::pair<close_reason, std::string_view> reasons[]{
    {close_reason::idle, "idle"},
    {close_reason::age, "age"},
    {close_reason::uses, "uses"},
    {close_reason::overflow, "overflow"},
    {close_reason::broken, "broken"},
    {close_reason::reset_failed, "reset_failed"},
    {close_reason::validation, "validation"},
    {close_reason::setup_failed, "setup_failed"},
    {close_reason::discarded, "discarded"},
    {close_reason::shutdown, "shutdown"},
    {close_reason::invalidated, "invalidated"},
    {close_reason::wrong_role, "wrong_role"},
    {close_reason::leaked, "leaked"},
    {close_reason::custom, "custom"},
};
constexpr bool named_in_order() {
    unsigned i = 0;
    for (const auto& [r, name] : reasons) {
        if (static_cast<unsigned>(r) != i++ || cenote::to_string(r) != name) return false;
    }
    return true;
}
static_assert(named_in_order());
static_assert(std::size(reasons) == cenote::close_reasons);
static_assert(cenote::close_reasons == static_cast<unsigned>(close_reason::custom) + 1, "custom is the last");

/// How many members an aggregate has: as many as it can be initialised with.
struct any_value {
    template <class T>
    operator T() const noexcept;
};
template <class T, class... V>
constexpr std::size_t members() {
    if constexpr (requires { T{V{}..., any_value{}}; }) return members<T, V..., any_value>();
    else return sizeof...(V);
}

static_assert(hana::Struct<pool_stats>::value);
static_assert(decltype(hana::size(hana::keys(std::declval<pool_stats>())))::value == members<pool_stats>(),
              "a field of pool_stats is missing in its Hana adaptation: exporters would not see it");
static_assert(members<pool_stats>() == 25);

} // namespace

TEST_CASE("the exporters' list of fields names each field of pool_stats once, and reads that field") {
    pool_stats s;
    std::set<const void*> addresses;
    std::set<std::string> names;
    std::size_t bytes = 0;
    hana::for_each(hana::accessors<pool_stats>(), [&](auto pair) {
        auto& field = hana::second(pair)(s);
        addresses.insert(&field);
        names.insert(hana::to<const char*>(hana::first(pair)));
        bytes += sizeof field;
    });
    CHECK(addresses.size() == members<pool_stats>());
    CHECK(names.size() == members<pool_stats>());
    CHECK(bytes == sizeof(pool_stats) - sizeof(std::uint64_t) + sizeof(bool)); // all 64-bit numbers but `counted`
    s.opened = 3;
    s.counted = true;
    std::string seen;
    hana::for_each(hana::accessors<pool_stats>(), [&](auto pair) {
        if (const auto value = hana::second(pair)(s); value != 0) {
            seen.append(hana::to<const char*>(hana::first(pair))).append("=").append(std::to_string(value)).append(" ");
        }
    });
    CHECK(seen == "counted=1 opened=3 ");
}

TEST_CASE("statistics of nothing are zero and uncounted") {
    hana::for_each(hana::members(pool_stats{}), [](auto value) { CHECK(value == 0); });
}
