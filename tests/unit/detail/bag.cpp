// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/bag.hpp>

#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace {
using cenote::detail::bag;

template <int I>
struct empty {
    static constexpr int id = 100 + I;
};
template <int I>
struct number {
    int value = I;
    static constexpr int id = I;
};
struct only_moves {
    std::unique_ptr<int> held;
    static constexpr int id = 7;
};
struct empty_but_particular {
    empty_but_particular() { ++made; }
    static constexpr int id = 8;
    static inline int made = 0;
};

/// Gives each its default, and counts how often it was asked for what.
struct source {
    std::string* asked = nullptr;
    template <class T>
    T operator()(std::type_identity<T>) const {
        if (asked != nullptr) asked->append(std::to_string(T::id)).append(" ");
        if constexpr (std::is_same_v<T, only_moves>) return {std::make_unique<int>(5)};
        else return T{};
    }
};

static_assert(std::is_empty_v<bag<>> && std::is_empty_v<bag<empty<1>, empty<2>, empty<3>>>, "what is empty is not stored");
static_assert(sizeof(bag<empty<1>, number<1>, empty<2>, number<2>, empty<3>>) == 2 * sizeof(int));
static_assert(sizeof(bag<number<1>>) == sizeof(int));
static_assert(cenote::detail::made_on_demand<empty<1>> && !cenote::detail::made_on_demand<number<1>>);
static_assert(!cenote::detail::made_on_demand<empty_but_particular>, "a constructor that does something runs once");

// An object is handed out by reference, what is made on demand by value.
using mixed = bag<empty<1>, number<4>>;
static_assert(std::is_same_v<decltype(std::declval<mixed&>().get<number<4>>()), number<4>&>);
static_assert(std::is_same_v<decltype(std::declval<const mixed&>().get<number<4>>()), const number<4>&>);
static_assert(std::is_same_v<decltype(std::declval<mixed&>().get<empty<1>>()), empty<1>>);
} // namespace

TEST_CASE("a bag asks its source for what it stores, once each and in order") {
    std::string asked;
    const bag<number<3>, empty<1>, number<1>, number<2>> b{source{&asked}};
    CHECK(asked.find("3 ") == 0);
    CHECK(asked.find("1 2 ") != std::string::npos);
    CHECK(b.get<number<3>>().value == 3);
    CHECK(b.get<number<1>>().value == 1);
    CHECK(b.get<empty<1>>().id == 101);
}

TEST_CASE("a bag walks all it has in order, also what is made on demand") {
    const bag<number<3>, empty<1>, number<1>> b{source{}};
    std::string seen;
    b.each([&](const auto& p) { seen.append(std::to_string(p.id)).append(" "); });
    CHECK(seen == "3 101 1 ");
}

TEST_CASE("what a bag stores can be changed, and need not be copyable") {
    bag<number<1>, only_moves> b{source{}};
    b.get<number<1>>().value = 9;
    CHECK(std::as_const(b).get<number<1>>().value == 9);
    CHECK(*b.get<only_moves>().held == 5);
}

TEST_CASE("an empty policy with a constructor of its own is made once") {
    empty_but_particular::made = 0;
    const bag<empty_but_particular, number<1>> b{source{}};
    (void)b.get<empty_but_particular>();
    b.each([](const auto&) {});
    CHECK(empty_but_particular::made == 1);
}
