// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>

int main() {
    cenote::pool<cenote::sqlite> db{cenote::sqlite{"shop.db"}};
    const auto lease = db.acquire();
    return lease ? 0 : 1;
}
