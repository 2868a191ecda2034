// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

int main() {
    cenote::pool<cenote::null, cenote::with_mutex<>> db{cenote::null{}};
    const auto lease = db.acquire();
    return lease ? 0 : 1;
}
