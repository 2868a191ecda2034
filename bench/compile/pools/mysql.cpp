// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/mysql.hpp>
#include <cenote/pool.hpp>

int main() {
    cenote::pool<cenote::mysql> db{cenote::mysql{{.user = "web", .database = "shop"}}};
    const auto lease = db.acquire();
    return lease ? 0 : 1;
}
