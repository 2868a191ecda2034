// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/clock.hpp>
#include <cenote/drivers/sqlite.hpp>

#include <chrono>

int main() {
    const auto by = cenote::deadline::in(std::chrono::seconds{2});
    cenote::sqlite driver{"file:consumer?mode=memory&cache=shared"};
    auto connection = driver.open(by);
    driver.ping(connection, by);
    driver.close(connection);
}
