// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <array>

namespace cenote {

/// How many addresses of a stack are kept.
inline constexpr unsigned stack_depth = 16;

/// From where a lease was acquired, innermost first: what the function of `with_stack` has found. Empty without it.
struct stack_frames {
    std::array<void*, stack_depth> at{};
    unsigned depth = 0;

    [[nodiscard]] void* const* begin() const noexcept { return at.data(); }
    [[nodiscard]] void* const* end() const noexcept { return at.data() + depth; }
    [[nodiscard]] bool empty() const noexcept { return depth == 0; }
};

} // namespace cenote
