// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cstddef>

/// Makes allocations fail. The unit tests' `operator new` is replaced by one that counts, and fails where a guard says so; without
/// a guard it only allocates.
namespace alloc_test {

inline constexpr std::size_t none = 0;

/// How many allocations this thread has made so far.
[[nodiscard]] std::size_t made_here() noexcept;

/// While it lives, the `n`-th allocation of this thread fails (counted from 1), and all after it if `from_then_on`.
class fail_at {
public:
    explicit fail_at(std::size_t n, bool from_then_on = false) noexcept;
    ~fail_at();
    fail_at(const fail_at&) = delete;
    fail_at& operator=(const fail_at&) = delete;
    /// Whether it came to that.
    [[nodiscard]] bool failed() const noexcept;
};

/// As fail_at, for the `n`-th allocation of any thread.
class fail_anywhere_at {
public:
    explicit fail_anywhere_at(std::size_t n, bool from_then_on = false) noexcept;
    ~fail_anywhere_at();
    fail_anywhere_at(const fail_anywhere_at&) = delete;
    fail_anywhere_at& operator=(const fail_anywhere_at&) = delete;
    [[nodiscard]] bool failed() const noexcept;
};

/// Exempts a stretch of a test, in the middle of a guard, on this thread.
class spared {
public:
    spared() noexcept;
    ~spared();
    spared(const spared&) = delete;
    spared& operator=(const spared&) = delete;
};

} // namespace alloc_test
