// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>

// No server here: the header compiles, and the client library is linked.
int main() {
    return sizeof(cenote::postgres::connection) > 0 && PQlibVersion() > 0 ? 0 : 1;
}
