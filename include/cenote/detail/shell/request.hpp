// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/shell/acquire.hpp>
#include <cenote/detail/shell/budget.hpp>
#include <cenote/error.hpp>

#include <chrono>
#include <exception>

/// What acquire() is asked with: how long, until when, and who is told if there is nothing.
namespace cenote::detail::shell {

/// Throws what a failed acquire has to say.
template <class Core>
[[noreturn, gnu::noinline]] void raise(Core& c, const taken<Core>& got) {
    if (got.from_hook) std::rethrow_exception(got.from_hook);
    throw error{failure_of(c, got, true)};
}

/// A stop token that nobody can pull, of whatever type the pool uses.
struct no_token {
    template <class StopToken>
    operator StopToken() const noexcept {
        return {};
    }
};

/// The pool's own budget; throws.
struct default_request {
    [[nodiscard]] static budget allowance(const auto& c) noexcept { return budget{timeout{c.budget()}}; }
    [[nodiscard]] static no_token stop() noexcept { return {}; }
    template <class Core>
    static void refused(Core& c, const taken<Core>& got) {
        raise(c, got);
    }
};

/// Waits for nobody and tells nobody.
struct try_request {
    [[nodiscard]] static budget allowance(const auto&) noexcept { return budget::none(); }
    [[nodiscard]] static no_token stop() noexcept { return {}; }
    static void refused(const auto&, const auto&) noexcept {}
};

/// A budget and a stop token of its own; throws.
template <class StopToken>
struct timed_request {
    budget b;
    const StopToken* token;

    [[nodiscard]] budget allowance(const auto&) const noexcept { return b; }
    [[nodiscard]] StopToken stop() const noexcept { return token != nullptr ? *token : StopToken{}; }
    template <class Core>
    static void refused(Core& c, const taken<Core>& got) {
        raise(c, got);
    }
};

/// The same, and the failure goes into a `fail_to`.
template <class StopToken>
struct telling_request : timed_request<StopToken> {
    fail_to target;

    template <class Core>
    void refused(Core& c, const taken<Core>& got) const noexcept {
        target.set(failure_of(c, got, target.wants_evidence()));
    }
};

} // namespace cenote::detail::shell
