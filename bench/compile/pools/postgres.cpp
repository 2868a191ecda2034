// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

int main() {
    cenote::pool<cenote::postgres> db{cenote::postgres{"dbname=shop"}};
    const auto lease = db.acquire();
    return lease ? 0 : 1;
}
