// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/version.hpp>

#include <sqlite3.h>

int main() {
    return sqlite3_threadsafe() == 0;
}
