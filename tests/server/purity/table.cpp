// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// README.md says what the tables say.
#include "server/purity/table.hpp"

#include <catch2/catch_test_macros.hpp>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

using namespace purity;

namespace {

const std::filesystem::path readme = std::filesystem::path{__FILE__}.parent_path().parent_path().parent_path().parent_path() / "README.md";

/// What stands between the markers of a table, without the empty lines around it.
std::string between_markers(std::string_view name) {
    std::ifstream file{readme};
    REQUIRE(file);
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    const std::string begin = "<!-- reset table: " + std::string{name} + " -->";
    auto from = text.find(begin);
    INFO("README.md wants a line " << begin);
    REQUIRE(from != text.npos);
    from = text.find_first_not_of('\n', from + begin.size());
    const auto to = text.find("<!-- end -->", from);
    REQUIRE(to != text.npos);
    return text.substr(from, text.find_last_not_of('\n', to - 1) + 2 - from);
}

template <class Table>
void check_complete(const Table& table) {
    std::set<int> kinds;
    std::set<std::string_view> texts;
    for (const auto& r : table) {
        kinds.insert(static_cast<int>(r.kind));
        texts.insert(r.name);
        for (const policy p : {policy::no_reset, policy::if_dirty, policy::with, policy::always}) {
            CAPTURE(r.name, to_string(p));
            CHECK(r.under(p).same() == r.under(p).why.empty()); // a moment that changes something says why
        }
        CHECK(r.no_reset.deferred == found::kept);
    }
    CHECK(kinds.size() == table.size());
    CHECK(*kinds.rbegin() + 1 == static_cast<int>(table.size()));
    CHECK(texts.size() == table.size());
}

} // namespace

TEST_CASE("The tables name each kind of dirt once", "[purity]") {
    check_complete(pg_table);
    check_complete(mysql_table);
}

TEST_CASE("README.md carries the table for PostgreSQL as it is tested", "[purity]") {
    const std::string carried = between_markers("postgres");
    CHECK(carried == pg_markdown());
}

TEST_CASE("README.md carries the table for MySQL as it is tested", "[purity]") {
    const std::string carried = between_markers("mysql");
    CHECK(carried == mysql_markdown());
}

TEST_CASE("The tables as README.md wants them", "[.print]") {
    std::cout << "<!-- reset table: postgres -->\n" << pg_markdown() << "<!-- end -->\n\n";
    std::cout << "<!-- reset table: mysql -->\n" << mysql_markdown() << "<!-- end -->\n";
}
