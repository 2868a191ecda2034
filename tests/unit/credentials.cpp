// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/credentials.hpp>

#include <catch2/catch_test_macros.hpp>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using cenote::credentials;
using cenote::login;

TEST_CASE("credentials: none until they are set") {
    credentials c;
    CHECK_FALSE(c);
    c.set({.user = "web", .password = "one"});
    REQUIRE(c);
    CHECK(c.get().user == "web");
    CHECK(c.get().password == "one");
}

TEST_CASE("credentials: a copy is the same source, whichever is changed") {
    credentials a{login{.password = "one"}};
    credentials b = a;
    b.set({.password = "two"});
    CHECK(a.get().password == "two");
    int asked = 0;
    a.set([&] { return login{.password = std::to_string(++asked)}; });
    CHECK(b.get().password == "1");
    CHECK(b.get().password == "2");
}

TEST_CASE("credentials: what the source throws comes through, and it may be changed while it is asked") {
    credentials c{credentials::source{[]() -> login { throw std::runtime_error{"vault sealed"}; }}};
    CHECK_THROWS_AS(c.get(), std::runtime_error);
    c.set([&c] {
        c.set({.password = "next"});
        return login{.password = "this"};
    });
    CHECK(c.get().password == "this");
    CHECK(c.get().password == "next");
}

TEST_CASE("credentials: asked and changed by several threads") {
    credentials c{login{.user = "a", .password = "a"}};
    std::vector<std::jthread> threads;
    std::vector<int> torn(3);
    for (std::size_t t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 1000; ++i) {
                const login now = c.get();
                if (now.user != now.password) ++torn[t];
                if (i % 10 == 0) c.set({.user = std::to_string(i), .password = std::to_string(i)});
            }
        });
    }
    threads.clear();
    CHECK(torn == std::vector<int>(3));
}
