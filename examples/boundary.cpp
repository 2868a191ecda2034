// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Pools across a .cpp boundary: this file has the pools and their policies; boundary/orders.cpp works with any of them, compiled once.
// Needs a server that is thrown away afterwards: examples/run boundary
#include "boundary/orders.hpp"

#include <cenote/drivers/postgres.hpp>
#include <cenote/view.hpp>

#include <cstdlib>
#include <iostream>

using namespace std::chrono_literals;

int main() {
    const char* const address = std::getenv("CENOTE_PG_TCP"); // a conninfo string
    if (address == nullptr) {
        std::cout << "CENOTE_PG_TCP is not set: run it by examples/run boundary, which starts a server for it\n";
        return 2;
    }
    const cenote::postgres server{address};
    cenote::pool web{server, cenote::bounded{.max = 2}, cenote::leak_threshold{1min}, cenote::named{"web"}, cenote::counters{}};
    cenote::pool nightly{server, cenote::fixed<1>{}, cenote::at_return{cenote::reset_always{}}, cenote::pre_ping{}, cenote::counters{}};

    orders::create_table(web); // a pool converts to a view of it
    std::cout << "order " << orders::place(web, "tea", 3) << " from the web\n";
    std::cout << "order " << orders::place(nightly, "tea", 4) << " from the nightly run\n";

    std::cout << "a transaction from function to function\n";
    {
        orders::session in = orders::begin(nightly);
        std::cout << "  order " << orders::place(in, "tea", 100) << ", and forgotten\n";
    }
    std::cout << "  tea: " << orders::pieces_of(nightly, "tea") << " pieces\n";
    {
        orders::session in = orders::begin(nightly);
        std::cout << "  order " << orders::place(in, "tea", 5) << ", committed\n";
        orders::commit(std::move(in));
    }
    std::cout << "  tea: " << orders::pieces_of(web, "tea") << " pieces\n";

    std::cout << "when no connection is free, it is known who has them\n";
    const auto one = orders::begin(web), other = orders::begin(web);
    cenote::failure why;
    if (orders::place_soon(web, "coffee", 1, why) == 0) {
        std::cout << "  " << why.code.message() << '\n';
        for (const cenote::lease_info& holder : why.seen->holders) {
            const std::string file = holder.where.file_name();
            std::cout << "  held by " << holder.where.function_name() << " in " << file.substr(file.rfind('/') + 1) << '\n';
        }
    }
    std::cout << web.stats().leases << " leases from the web, " << nightly.stats().leases << " from the nightly run\n";
}
