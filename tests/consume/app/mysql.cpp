// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/mysql.hpp>

// No server here: the header compiles, and the client library is linked.
int main() {
    return sizeof(cenote::mysql::connection) > 0 && mysql_get_client_version() > 0 ? 0 : 1;
}
