// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

namespace cenote::detail {

/// A value that is replaced as a whole while others read it. Readers take no lock, and what they have begun to read stays until the end.
template <class T>
class versions {
    struct version {
        T value;
        std::unique_ptr<const version> before;
    };

public:
    explicit versions(T first) : last_{new version{std::move(first), nullptr}}, now_{last_.get()} {}

    [[nodiscard]] const T& now() const noexcept { return now_.load(std::memory_order_acquire)->value; }

    /// The next version, not yet to be seen. If this throws, nothing has changed.
    class draft {
    public:
        explicit draft(T value) : made_{new version{std::move(value), nullptr}} {}
        [[nodiscard]] const T& value() const noexcept { return made_->value; }

    private:
        friend class versions;
        std::unique_ptr<version> made_;
    };
    /// One caller at a time.
    void publish(draft next) noexcept {
        next.made_->before = std::move(last_);
        last_ = std::move(next.made_);
        now_.store(last_.get(), std::memory_order_release);
    }

private:
    std::unique_ptr<const version> last_;
    std::atomic<const version*> now_;
};

} // namespace cenote::detail
