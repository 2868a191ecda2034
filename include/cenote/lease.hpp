// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/shell/give_back.hpp>
#include <cenote/driver.hpp>

#include <cassert>
#include <utility>

namespace cenote {

/// A connection on loan: use it like a pointer; it is given back when the lease ends.
///
/// Move-only, 8 bytes. It may outlive its pool (not a `fixed<N>` one), and be used and destroyed on another thread than it was
/// acquired on, by one thread at a time. An empty lease (default-constructed, moved from, given back) owns nothing; using its
/// connection is undefined and caught by an assertion in debug builds.
/// Errors   ending a lease never throws, never allocates and never waits (but for `at_return`).
template <class Core>
class lease {
public:
    using connection_type = typename Core::connection_type;

    lease() noexcept = default;
    lease(lease&& other) noexcept : s_{std::exchange(other.s_, nullptr)} {}
    lease& operator=(lease&& other) noexcept {
        if (this != &other) {
            give_back();
            s_ = std::exchange(other.s_, nullptr);
        }
        return *this;
    }
    ~lease() { give_back(); }

    [[nodiscard]] explicit operator bool() const noexcept { return s_ != nullptr; }
    [[nodiscard]] connection_type& operator*() const noexcept { return connection(); }
    [[nodiscard]] connection_type* operator->() const noexcept { return &connection(); }

    /// What the client library's own functions take.
    [[nodiscard]] auto native_handle() const
        requires has_native_handle<typename Core::driver_type>
    {
        assert(s_ != nullptr && "cenote: native_handle() of an empty lease");
        return Core::of(*s_).driver().native_handle(s_->conn);
    }

    /// The pool's driver, for what it does with a connection: `lease.driver().execute(*lease, "vacuum", by)`.
    [[nodiscard]] typename Core::driver_type& driver() const noexcept {
        assert(s_ != nullptr && "cenote: driver() of an empty lease");
        return Core::of(*s_).driver();
    }

    /// Gives the connection back now. Again, or on an empty lease: nothing.
    void give_back() noexcept {
        if (s_ != nullptr) detail::shell::give_back<Core>(*std::exchange(s_, nullptr));
    }

    /// Ends the lease and closes the connection: for one that is known to be of no more use. On an empty lease: nothing.
    ///
    /// With     `background_thread` closes it there; otherwise it is closed before this returns.
    void discard() noexcept {
        if (s_ != nullptr) detail::shell::discard<Core>(*std::exchange(s_, nullptr));
    }
    /// The same, and says why, for what that means for the others: `disconnected`, they are tested before their next use (unless
    /// the pool tests none); `wrong_role` in a pool with `require_role`, they all end, so that a demoted server serves nobody else.
    void discard(error_class because) noexcept {
        if (s_ != nullptr) detail::shell::discard<Core>(*std::exchange(s_, nullptr), because);
    }

    /// Takes the connection out of the pool for good: it is the caller's to close, and no longer counts against the maximum.
    ///
    /// Errors   what the connection's move constructor throws; the lease is then as it was.
    [[nodiscard]] connection_type detach() {
        assert(s_ != nullptr && "cenote: detach() of an empty lease");
        connection_type taken = detail::shell::detach<Core>(*s_);
        s_ = nullptr;
        return taken;
    }

    /// In a forked child: lets go of the connection as pool::abandon() does, and empties the lease, which must not end there otherwise.
    ///
    /// With     `fork_aware`: any end does that. Not there for a driver without `abandon`.
    void abandon() noexcept
        requires can_abandon<typename Core::driver_type>
    {
        if (s_ != nullptr) detail::shell::abandon_by_hand<Core>(*std::exchange(s_, nullptr));
    }

    /// Whether this is the copy of a lease in a process that was forked from its pool's, which can only end. Without `fork_aware`: no.
    [[nodiscard]] bool forked() const noexcept { return s_ != nullptr && Core::of(*s_).forked(); }

    /// A word for `inspect()`, leak reports and errors, which keep the pointer: a string literal, or text that lives as long as the
    /// program. Without a leak policy: nothing.
    void tag(const char* text) const noexcept {
        if (s_ != nullptr) detail::shell::tag<Core>(*s_, text);
    }

private:
    template <class D, class... P>
    friend class pool;
    template <class Conn>
    friend class any_lease;
    template <class Conn>
    friend class pool_view;
    template <class C>
    friend class cancellable;

    explicit lease(typename Core::slot_type* s) noexcept : s_{s} {}
    [[nodiscard]] connection_type& connection() const noexcept {
        assert(s_ != nullptr && "cenote: use of an empty lease");
        return s_->conn;
    }
    [[nodiscard]] typename Core::slot_type* release() noexcept { return std::exchange(s_, nullptr); }

    typename Core::slot_type* s_ = nullptr;
};

} // namespace cenote
