// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "load.hpp"
#include "prices.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

namespace bench {

/// tests/lib/with_servers says where the server is.
[[nodiscard]] inline std::string from_environment(const char* name) {
    const char* const value = std::getenv(name);
    if (value == nullptr) {
        std::fprintf(stderr, "%s is not set: run it by bench/real/run\n", name);
        std::exit(2);
    }
    return value;
}
[[nodiscard]] inline unsigned number_from_environment(const char* name) { return static_cast<unsigned>(std::stoul(from_environment(name))); }

/// All of one server: `<program> <rows> <quick|full>`.
///
/// Shape    Db, all static: `driver`; `name`; `port()` and `process()` of the server; `local()` a driver by local socket, `tcp(host, port)`
///          one without TLS, `ways()` names and drivers; `select(connection)` one query and its answer, `begin(connection)` a transaction,
///          `descriptor(connection)`. And, if it likes, `sessions(plan)`: what more is measured of this one.
template <class Db>
int measure(int count, char** arguments) {
    if (count != 3) {
        std::fprintf(stderr, "%s <rows> <quick|full>\n", arguments[0]);
        return 2;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    try {
        rows out{arguments[1]};
        const plan p{.out = &out, .quick = std::string_view{arguments[2]} == "quick"};
        const parked_thread beside;
        load<Db>{p}.run();
        prices<Db>{p}.run();
        if constexpr (requires { Db::sessions(p); }) Db::sessions(p);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s: %s\n", Db::name, e.what());
        return 1;
    }
    return 0;
}

} // namespace bench
