// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/detail/secret.hpp>

#include <catch2/catch_test_macros.hpp>

#include <initializer_list>
#include <string>
#include <utility>

namespace {
std::string scrubbed(std::initializer_list<std::string> words, std::string text) {
    cenote::drivers::secrets s;
    for (const std::string& word : words) s.add(word);
    return s.scrubbed(std::move(text));
}
} // namespace

TEST_CASE("a long secret is taken out wherever it stands, and nothing else is") {
    CHECK(scrubbed({"Tr0ub4dor"}, "user \"Tr0ub4dor\", xTr0ub4dorx") == "user \"***\", x***x");
    CHECK(scrubbed({"Tr0ub4dor"}, "Tr0ub4do r") == "Tr0ub4do r");
    CHECK(scrubbed({}, "Tr0ub4dor") == "Tr0ub4dor");
    CHECK(scrubbed({""}, "Tr0ub4dor") == "Tr0ub4dor");
    CHECK(scrubbed({"Tr0ub4dor"}, "").empty());
}

TEST_CASE("a short secret is taken out where it stands by itself") {
    CHECK(scrubbed({"in"}, "the word is in; within, login and in") == "the word is ***; within, login and ***");
    CHECK(scrubbed({"in"}, "in\xc3\xa9") == "in\xc3\xa9");
    CHECK(scrubbed({"*"}, "a * b") == "a *** b");
}

TEST_CASE("of secrets that overlap no end is left") {
    CHECK(scrubbed({"secret", "secretsauce"}, "it is secretsauce") == "it is ***");
    CHECK(scrubbed({"secretsauce", "secret"}, "it is secretsauce") == "it is ***");
    CHECK(scrubbed({"abcdef", "defghi"}, "it is abcdefghi!") == "it is ***!");
    CHECK(scrubbed({"abcabc"}, "xabcabcabcx") == "x***x");
    CHECK(scrubbed({"aaaaaa"}, std::string(100, 'a')) == "***");
}

TEST_CASE("a mask does not make up a secret with what stands beside it") {
    CHECK(scrubbed({"abc***"}, "abcabc******").find("abc***") == std::string::npos);
    CHECK(scrubbed({"0", "abc***"}, "abc*0").find("abc***") == std::string::npos);
    CHECK(scrubbed({"******"}, std::string(100, '*')) == "***");
}
