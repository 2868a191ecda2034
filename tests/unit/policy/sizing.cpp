// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/policy/sizing.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <limits>
#include <stdexcept>
#include <type_traits>

using Catch::Matchers::Message;
using cenote::bounded;
using cenote::fixed;
using cenote::limits;
using cenote::overflow;

namespace {
constexpr unsigned most = 1'000'000;
constexpr unsigned huge = std::numeric_limits<unsigned>::max();

static_assert(cenote::sizing_policy<fixed<1>> && cenote::sizing_policy<bounded> && cenote::sizing_policy<overflow>);
static_assert(std::is_empty_v<fixed<7>>, "it is stored for nothing");
static_assert(fixed<7>::embedded == 7 && bounded::embedded == 0 && overflow::embedded == 0);
static_assert(fixed<most>::bounds().max == most);

static_assert(fixed<7>::bounds() == limits{.min_idle = 0, .min = 0, .keep = 7, .max = 7, .ceiling = 7});
static_assert(bounded{}.bounds() == limits{.min_idle = 0, .min = 0, .keep = 10, .max = 10, .ceiling = 10}, "the documented defaults");
static_assert(overflow{}.bounds() == limits{.min_idle = 0, .min = 0, .keep = 10, .max = 30, .ceiling = 30}, "the documented defaults");
static_assert(bounded{.min_idle = 2, .min = 3, .max = 4, .ceiling = 5}.bounds() == limits{.min_idle = 2, .min = 3, .keep = 4, .max = 4, .ceiling = 5});
static_assert(bounded{.max = 4}.bounds().ceiling == 4, "without a ceiling the maximum is it");
static_assert(overflow{.size = 3, .max_overflow = 0}.bounds() == limits{.min_idle = 0, .min = 0, .keep = 3, .max = 3, .ceiling = 3});
} // namespace

TEST_CASE("bounded takes what its documentation says") {
    for (const bounded& b : {bounded{}, bounded{.max = 1}, bounded{.max = most}, bounded{.max = most, .ceiling = most}, bounded{.max = 7, .ceiling = 7},
                             bounded{.max = most - 1, .ceiling = most}, bounded{.min_idle = 7, .min = 7, .max = 7},
                             bounded{.min_idle = 0, .min = 6, .max = 7}, bounded{.min_idle = 7, .min = 0, .max = 7}}) {
        CAPTURE(b.min_idle, b.min, b.max, b.ceiling);
        CHECK_NOTHROW(b.check());
    }
}

TEST_CASE("bounded refuses a maximum of nothing or of millions") {
    CHECK_THROWS_MATCHES(bounded{.max = 0}.check(), std::invalid_argument, Message("cenote: bounded.max = 0: must be 1 to 1000000"));
    CHECK_THROWS_MATCHES(bounded{.max = most + 1}.check(), std::invalid_argument, Message("cenote: bounded.max = 1000001: must be 1 to 1000000"));
    CHECK_THROWS_MATCHES(bounded{.max = huge}.check(), std::invalid_argument, Message("cenote: bounded.max = 4294967295: must be 1 to 1000000"));
    CHECK_THROWS_MATCHES((bounded{.max = 0, .ceiling = 5}.check()), std::invalid_argument, Message("cenote: bounded.max = 0: must be 1 to 1000000"));
}

TEST_CASE("bounded refuses a ceiling below its maximum or of millions") {
    CHECK_THROWS_MATCHES((bounded{.max = 10, .ceiling = 9}.check()), std::invalid_argument,
                         Message("cenote: bounded.ceiling = 9: must be at least bounded.max, which is 10"));
    CHECK_THROWS_MATCHES((bounded{.max = 10, .ceiling = 1}.check()), std::invalid_argument,
                         Message("cenote: bounded.ceiling = 1: must be at least bounded.max, which is 10"));
    CHECK_THROWS_MATCHES((bounded{.max = 10, .ceiling = most + 1}.check()), std::invalid_argument,
                         Message("cenote: bounded.ceiling = 1000001: must be at most 1000000"));
    CHECK_THROWS_MATCHES((bounded{.max = 10, .ceiling = huge}.check()), std::invalid_argument,
                         Message("cenote: bounded.ceiling = 4294967295: must be at most 1000000"));
}

TEST_CASE("bounded refuses to keep more than it may have, whatever its ceiling") {
    CHECK_THROWS_MATCHES((bounded{.min = 11}.check()), std::invalid_argument,
                         Message("cenote: bounded.min = 11: must be at most bounded.max, which is 10"));
    CHECK_THROWS_MATCHES((bounded{.min = 12, .max = 11, .ceiling = 20}.check()), std::invalid_argument,
                         Message("cenote: bounded.min = 12: must be at most bounded.max, which is 11"));
    CHECK_THROWS_MATCHES((bounded{.min = huge}.check()), std::invalid_argument,
                         Message("cenote: bounded.min = 4294967295: must be at most bounded.max, which is 10"));
    CHECK_THROWS_MATCHES((bounded{.min_idle = 2, .max = 1}.check()), std::invalid_argument,
                         Message("cenote: bounded.min_idle = 2: must be at most bounded.max, which is 1"));
    CHECK_THROWS_MATCHES((bounded{.min_idle = 12, .max = 11, .ceiling = 20}.check()), std::invalid_argument,
                         Message("cenote: bounded.min_idle = 12: must be at most bounded.max, which is 11"));
}

TEST_CASE("overflow takes what its documentation says") {
    for (const overflow& o : {overflow{}, overflow{.size = 1, .max_overflow = 0}, overflow{.size = most, .max_overflow = 0},
                              overflow{.size = 1, .max_overflow = most - 1}, overflow{.size = most / 2, .max_overflow = most / 2}}) {
        CAPTURE(o.size, o.max_overflow);
        CHECK_NOTHROW(o.check());
    }
}

TEST_CASE("overflow refuses no size, and a sum of millions, also one that overflows") {
    CHECK_THROWS_MATCHES(overflow{.size = 0}.check(), std::invalid_argument, Message("cenote: overflow.size = 0: must be 1 to 1000000"));
    CHECK_THROWS_MATCHES((overflow{.size = 1, .max_overflow = most}.check()), std::invalid_argument,
                         Message("cenote: overflow.max_overflow = 1000000: must be at most 1000000 together with overflow.size, which is 1"));
    CHECK_THROWS_MATCHES((overflow{.size = 5, .max_overflow = huge}.check()), std::invalid_argument,
                         Message("cenote: overflow.max_overflow = 4294967295: must be at most 1000000 together with overflow.size, which is 5"));
    CHECK_THROWS_MATCHES((overflow{.size = huge, .max_overflow = 1}.check()), std::invalid_argument,
                         Message("cenote: overflow.size = 4294967295: must be 1 to 1000000"));
    CHECK_THROWS_MATCHES((overflow{.size = most + 1, .max_overflow = 0}.check()), std::invalid_argument,
                         Message("cenote: overflow.size = 1000001: must be 1 to 1000000"));
}
