// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/reflect.hpp>
#include <cenote/version.hpp>

int main() {
    const cenote::pool_stats nothing{};
    (void)nothing;
    return cenote::version::major;
}
