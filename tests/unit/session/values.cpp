// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/escape.hpp>
#include <cenote/session/cursor.hpp>
#include <cenote/session/result.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::Equals;
using cenote::result_error;
using cenote::value_view;

namespace {

/// Rows as a driver has them, out of the test's own values.
struct fake_rows {
    std::vector<std::string> names;
    std::vector<value_view> values;
    [[nodiscard]] std::size_t columns() const noexcept { return names.size(); }
    [[nodiscard]] std::string_view name(std::size_t i) const noexcept { return names[i]; }
    [[nodiscard]] value_view at(std::size_t i) const { return values[i]; }
};

cenote::result result_of(fake_rows rows) {
    auto t = std::make_shared<cenote::detail::table>(rows);
    t->add(rows);
    t->finish(1);
    return cenote::result{std::move(t)};
}
cenote::row one(value_view v) { return result_of({{"c"}, {v}}).front(); }

template <class T>
std::string refusal(value_view v) {
    try {
        const cenote::row r = one(v);
        (void)r.get<T>(0);
    } catch (const result_error& e) {
        CHECK(e.why() == (v.is_null() ? result_error::reason::null_value : result_error::reason::wrong_value));
        return e.what();
    }
    return "none";
}

struct point {
    int x = 0, y = 0;
    bool operator==(const point&) const = default;
};
struct unheard {};

} // namespace

/// A type of the user's, as a JSON library's would be.
template <>
struct cenote::convert<point> {
    static point from(value_view v) {
        const std::string_view t = v.text();
        const auto comma = t.find(',');
        if (comma == t.npos) throw std::invalid_argument{"there is no comma"};
        return {std::stoi(std::string{t.substr(0, comma)}), std::stoi(std::string{t.substr(comma + 1)})};
    }
    static std::string to(const point& p) { return std::to_string(p.x) + ',' + std::to_string(p.y); }
};

static_assert(cenote::detail::readable<int> && cenote::detail::readable<std::optional<std::string>> && cenote::detail::readable<point>);
static_assert(!cenote::detail::readable<unheard> && !cenote::detail::readable<char> && !cenote::detail::readable<std::optional<unheard>>);
static_assert(cenote::detail::escapes<std::string_view> && cenote::detail::escapes<int&> && cenote::detail::escapes<value_view>);
static_assert(cenote::detail::escapes<std::optional<std::string_view>> && cenote::detail::escapes<std::vector<const char*>>);
static_assert(cenote::detail::escapes<std::tuple<int, cenote::cursor*>> && cenote::detail::escapes<std::pair<int, std::span<const std::byte>>>);
static_assert(!cenote::detail::escapes<cenote::row> && !cenote::detail::escapes<cenote::result> && !cenote::detail::escapes<std::vector<std::string>>);

TEST_CASE("a number is read as any type that can hold it, and as no other") {
    constexpr auto least = std::numeric_limits<std::int64_t>::min();
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    CHECK(one(127).get<std::int8_t>(0) == 127);
    CHECK(one(least).get<std::int64_t>(0) == least);
    CHECK(one(std::numeric_limits<std::uint64_t>::max()).get<std::uint64_t>(0) == std::numeric_limits<std::uint64_t>::max());
    CHECK(one(std::uint64_t{7}).get<short>(0) == 7);
    CHECK(one(3.0).get<int>(0) == 3);
    CHECK(one(-0x1p63).get<std::int64_t>(0) == least);
    CHECK(one(true).get<int>(0) == 1);
    CHECK(one(1).get<double>(0) == 1.0);
    CHECK(one(0.1).get<float>(0) == 0.1F);
    CHECK(one(most).get<std::string>(0) == "9223372036854775807");
    CHECK(one(0.1).get<std::string>(0) == "0.1");
    CHECK(std::isnan(one(std::nan("")).get<double>(0)));

    CHECK_THAT(refusal<std::int8_t>(128), Equals("cenote: column 0 \"c\": 128 cannot be read as signed char: out of range"));
    CHECK_THAT(refusal<unsigned>(-1), ContainsSubstring("out of range"));
    CHECK_THAT(refusal<std::int64_t>(std::uint64_t{1} << 63), ContainsSubstring("out of range"));
    CHECK_THAT(refusal<int>(1.5), ContainsSubstring("not a whole number"));
    CHECK_THAT(refusal<int>(std::nan("")), ContainsSubstring("not a whole number"));
    CHECK_THAT(refusal<std::int64_t>(0x1p63), ContainsSubstring("out of range"));
    CHECK_THAT(refusal<std::uint64_t>(-1.0), ContainsSubstring("out of range"));
    CHECK_THAT(refusal<std::int64_t>(HUGE_VAL), ContainsSubstring("out of range"));
    CHECK_THAT(refusal<double>(most), ContainsSubstring("not exactly in range"));
    CHECK_THAT(refusal<double>((std::int64_t{1} << 53) + 1), ContainsSubstring("not exactly in range"));
    CHECK_THAT(refusal<double>(std::numeric_limits<std::uint64_t>::max()), ContainsSubstring("not exactly in range"));
    CHECK(one(least).get<double>(0) == -0x1p63);
    CHECK_THAT(refusal<float>(1e300), ContainsSubstring("out of range"));
}

TEST_CASE("text is read as a number if all of it is one") {
    CHECK(one("123").get<int>(0) == 123);
    CHECK(one("-5").get<std::int8_t>(0) == -5);
    CHECK(one("1.5e3").get<double>(0) == 1500.0);
    CHECK(one("18446744073709551615").get<std::uint64_t>(0) == std::numeric_limits<std::uint64_t>::max());
    CHECK_THAT(refusal<int>("12x"), Equals("cenote: column 0 \"c\": '12x' cannot be read as int: not a whole number"));
    for (const char* const text : {"", " 1", "1 ", "+1", "0x1", "1.0", "one"}) CHECK_THAT(refusal<int>(text), ContainsSubstring("not a whole number"));
    CHECK_THAT(refusal<std::int8_t>("128"), ContainsSubstring("out of range"));
    CHECK_THAT(refusal<unsigned>("-1"), ContainsSubstring("cannot be read as"));
    CHECK_THAT(refusal<double>("1e999"), ContainsSubstring("out of range"));
    CHECK_THAT(refusal<double>("1,5"), ContainsSubstring("not a number"));
    CHECK_THAT(refusal<int>(std::string(200, '7') + "\n"), ContainsSubstring("'7777777777777777777777777777777777777777…'"));
    CHECK_THAT(refusal<int>("7\n"), ContainsSubstring("'7?'"));
    const std::byte raw[]{std::byte{1}};
    CHECK_THAT(refusal<int>(std::span<const std::byte>{raw}), ContainsSubstring("1 bytes cannot be read as int: not a number"));
}

TEST_CASE("bool is read from what says true or false") {
    CHECK(one(true).get<bool>(0));
    CHECK(one(1).get<bool>(0));
    CHECK_FALSE(one(std::uint64_t{0}).get<bool>(0));
    CHECK(one("t").get<bool>(0));
    CHECK_FALSE(one("false").get<bool>(0));
    CHECK_THAT(refusal<bool>(2), ContainsSubstring("neither true nor false"));
    CHECK_THAT(refusal<bool>("yes"), ContainsSubstring("neither true nor false"));
    CHECK_THAT(refusal<bool>(1.0), ContainsSubstring("neither true nor false"));
}

TEST_CASE("NULL is read as nothing, and is an error where there is no place for nothing") {
    CHECK(one(nullptr).get<std::optional<int>>(0) == std::nullopt);
    CHECK(one(5).get<std::optional<int>>(0) == 5);
    CHECK(one(std::optional<int>{}).is_null(0));
    const cenote::row null = one(nullptr);
    CHECK(null.get<value_view>(0).is_null());
    CHECK(null.is_null("c"));
    CHECK_THAT(refusal<int>(nullptr), Equals("cenote: column 0 \"c\" is NULL, which int cannot hold; read it as a std::optional"));
    CHECK_THAT(refusal<std::string>(nullptr), ContainsSubstring("is NULL"));
    CHECK_THAT(refusal<std::optional<int>>("x"), ContainsSubstring("not a whole number"));
}

TEST_CASE("texts and bytes come out as they went in") {
    const std::string zero{"a\0b", 3};
    CHECK(one(zero).get<std::string>(0) == zero);
    CHECK(one(std::string_view{}).get<std::string>(0).empty());
    const std::byte raw[]{std::byte{0}, std::byte{255}};
    const cenote::row r = one(std::span<const std::byte>{raw});
    CHECK(r.get<std::vector<std::byte>>(0) == std::vector<std::byte>{raw[0], raw[1]});
    CHECK(r.get<std::span<const std::byte>>(0).size() == 2);
    CHECK(r.get<value_view>(0).is() == value_view::kind::bytes);
    CHECK_THAT(refusal<std::vector<std::byte>>(1), ContainsSubstring("neither bytes nor text"));
    CHECK(refusal<std::span<const std::byte>>("x") == "none");
}

TEST_CASE("a type of the user's goes in and comes out through its convert, whose errors name the column") {
    CHECK(one("1,2").get<point>(0) == point{1, 2});
    CHECK(one(nullptr).get<std::optional<point>>(0) == std::nullopt);
    CHECK_THAT(refusal<point>("12"), ContainsSubstring("column 0 \"c\": '12' cannot be read as ") && ContainsSubstring("point: there is no comma"));
    CHECK_THAT(refusal<point>(nullptr), ContainsSubstring("is NULL"));

    const auto bound = cenote::detail::bindable(point{3, 4});
    static_assert(std::is_same_v<decltype(bound), const std::string>, "kept while the statement runs");
    CHECK(value_view{bound}.text() == "3,4");
    const auto perhaps = cenote::detail::bindable(std::optional<point>{});
    CHECK(value_view{perhaps}.is_null());
    CHECK(value_view{cenote::detail::bindable(std::optional<int>{7})}.integer() == 7);
    CHECK(value_view{cenote::detail::bindable("text")}.text() == "text");
}

TEST_CASE("columns are found by number and by name, and a mistake says which there are") {
    const cenote::row r = result_of({{"id", "name", "name"}, {1, "a", "b"}}).front();
    CHECK(r.get<int>("id") == 1);
    CHECK(r.columns() == 3);
    CHECK(r.name(1) == "name");
    CHECK_THROWS_WITH(r.get<int>("ID"), "cenote: no column is called \"ID\"; there are id, name, name");
    CHECK_THROWS_WITH(r.get<std::string>("name"), "cenote: two columns are called \"name\"; say which by its number");
    CHECK_THROWS_WITH(r.get<int>(3), "cenote: column 3 of a row of 3; they count from 0");
    CHECK_THROWS_WITH(r.is_null(3), "cenote: column 3 of a row of 3; they count from 0");

    const auto [id, first, second] = r.as<std::tuple<int, std::string, std::optional<std::string>>>();
    CHECK((id == 1 && first == "a" && second == "b"));
    CHECK_THROWS_WITH((r.as<std::pair<int, std::string>>()), "cenote: a row of 3 columns cannot be read as 2");
    CHECK_THROWS_AS((r.as<std::tuple<int, int, int>>()), result_error);
}

TEST_CASE("a row outlives its result, and a result what it was copied from") {
    std::optional<cenote::row> kept;
    std::string_view seen;
    {
        fake_rows rows{{"n", "text"}, {}};
        auto t = std::make_shared<cenote::detail::table>(rows);
        for (int i = 0; i < 1000; ++i) {
            const std::string text(static_cast<std::size_t>(i), 'x');
            rows.values = {i, text};
            t->add(rows);
        }
        cenote::result all{std::move(t)};
        REQUIRE(all.size() == 1000);
        std::size_t n = 0;
        for (const cenote::row& r : all) {
            CHECK(r.get<std::size_t>(0) == n);
            CHECK(r.get<std::string_view>(1).size() == n++);
        }
        CHECK(n == 1000);
        kept = all[999];
        seen = kept->get<std::string_view>("text");
        const cenote::result moved = std::move(all);
        CHECK(moved[3].get<int>(0) == 3);
        CHECK_THROWS_WITH(moved[1000], "cenote: row 1000 of a result of 1000; they count from 0");
    }
    CHECK(seen == std::string(999, 'x'));
    CHECK(kept->get<int>("n") == 999);

    const cenote::result none;
    CHECK((none.empty() && none.columns() == 0 && none.begin() == none.end()));
    CHECK_THROWS_AS(none.front(), std::out_of_range);
}
