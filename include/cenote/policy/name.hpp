// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/policy/family.hpp>

#include <string>
#include <string_view>

namespace cenote {

/// Gives the pool a name that its errors carry.
struct named {
    using family = family::name;
    std::string name;
    [[nodiscard]] std::string_view view() const noexcept { return name; }
};

/// The pool has no name.
struct unnamed {
    using family = family::name;
    [[nodiscard]] static constexpr std::string_view view() noexcept { return {}; }
};

} // namespace cenote
