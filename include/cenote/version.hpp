// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

// The one source of the version: build files and package recipes read these three lines.
#define CENOTE_VERSION_MAJOR 0
#define CENOTE_VERSION_MINOR 1
#define CENOTE_VERSION_PATCH 0

namespace cenote {

/// The version these headers were taken from.
struct version {
    static constexpr int major = CENOTE_VERSION_MAJOR;
    static constexpr int minor = CENOTE_VERSION_MINOR;
    static constexpr int patch = CENOTE_VERSION_PATCH;
};

} // namespace cenote
