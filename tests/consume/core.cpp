// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/version.hpp>

#include <boost/hana/tuple.hpp>

int main() {
    return cenote::version::major;
}
