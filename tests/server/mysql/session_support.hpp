// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "server/mysql/support.hpp"

#include <cenote/session/statement.hpp>
#include <cenote/session/value.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

/// What the tests of statements with values share.
namespace mysql_tests {

using cenote::condition;
using cenote::value_view;

struct how {
    bool stream = false;
    bool keep = false;
};

inline mysql::rows ask_for(opened& a, std::string_view sql, const std::vector<value_view>& values = {}, how h = {}, deadline by = soon()) {
    return a.driver.query(a.c, {.sql = sql, .values = values, .stream = h.stream, .keep = h.keep}, by);
}

/// The first value, which must be a number, and the rest read away.
inline value_view first(opened& a, std::string_view sql, const std::vector<value_view>& values = {}, how h = {}) {
    auto rows = ask_for(a, sql, values, h);
    if (!rows.next(soon())) return {};
    const value_view v = rows.at(0);
    while (rows.next(soon())) {}
    return v;
}

inline bool same(const value_view& a, const value_view& b) {
    if (a.is() != b.is()) return false;
    switch (a.is()) {
    case value_view::kind::null: return true;
    case value_view::kind::boolean: return a.boolean() == b.boolean();
    case value_view::kind::integer: return a.integer() == b.integer();
    case value_view::kind::unsigned_integer: return a.unsigned_integer() == b.unsigned_integer();
    case value_view::kind::real: return !(a.real() < b.real()) && !(b.real() < a.real());
    default: return a.text() == b.text();
    }
}

} // namespace mysql_tests
