// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/fork_mark.hpp>
#include <cenote/driver.hpp>
#include <cenote/lease.hpp>

#include <atomic>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

namespace cenote {
namespace detail {

template <class Core>
class channel;

/// What a lease and those who may cancel its statements share. Outlives the lease, and then means nothing.
///
/// `mutex_` guards all of it and is never held while the driver is called. While a cancel is in flight the core is pinned, as the driver
/// is in there and the lease may end.
template <class Core>
class cancel_desk {
public:
    cancel_desk(Core& c, typename Core::slot_type& s) : core_{&c}, token_{c.driver().interrupter(s.conn)} {}
    cancel_desk(const cancel_desk&) = delete;
    cancel_desk& operator=(const cancel_desk&) = delete;

    bool cancel(deadline by) {
        std::unique_lock lock{mutex_};
        // The token is for one at a time.
        if (!wait(lock, by, [this] { return !in_flight_ || !core_; })) {
            throw driver_error{error_class::timeout, "cannot cancel: the deadline passed while another cancel of this lease was in flight"};
        }
        if (!core_ || core_->forked()) return false;
        Core& c = *core_; // the lease has not ended, so it is there
        c.pin();
        in_flight_ = true;
        lock.unlock();
        try {
            c.driver().cancel(*token_, by);
        } catch (...) {
            landed(c, false);
            throw;
        }
        landed(c, true);
        return true;
    }

    /// In a forked child, where nobody else is: lets go of what only this end of the lease needs, and waits for nobody.
    void end_in_child() noexcept {
        const std::unique_lock lock{mutex_, std::try_to_lock}; // who held it at the moment of the fork is not there
        if (!lock || in_flight_) return;
        core_ = nullptr;
        token_.reset();
    }

    /// From now on nothing is sent any more. False: one that was begun has not ended by `by`, or badly, and may still hit.
    [[nodiscard]] bool end(deadline by) noexcept {
        std::unique_lock lock{mutex_};
        core_ = nullptr;
        landed_.notify_all();
        if (!wait(lock, by, [this] { return !in_flight_; })) return false;
        token_.reset();
        return !doubtful_;
    }

private:
    template <class Condition>
    [[nodiscard]] bool wait(std::unique_lock<std::mutex>& lock, deadline by, Condition holds) {
        if (holds()) return true;
        if (by.expired()) return false;
        if (!by.is_never()) return landed_.wait_until(lock, by.at(), holds);
        landed_.wait(lock, holds);
        return true;
    }
    void landed(Core& c, bool well) noexcept {
        {
            const std::scoped_lock lock{mutex_};
            in_flight_ = false;
            doubtful_ = doubtful_ || !well;
            if (!core_) token_.reset(); // nobody asks for it any more
            landed_.notify_all();
        }
        c.let_go();
    }

    std::mutex mutex_;
    std::condition_variable landed_;
    Core* core_; ///< null once the lease has ended
    std::optional<decltype(std::declval<typename Core::driver_type&>().interrupter(std::declval<typename Core::connection_type&>()))> token_;
    bool in_flight_ = false;
    bool doubtful_ = false; ///< one failed: what was sent of it may arrive yet
};

} // namespace detail

/// Cancels what a lease is doing, from any thread, for as long as the lease is held. From `cancellable::canceller()`; copies mean the same
/// lease. It may outlive the lease and the pool.
template <class Core>
class canceller {
public:
    /// Of nothing.
    canceller() noexcept = default;

    /// Asks the server to stop the statement that runs, and waits until it was told. True: it was asked while the lease was held; whether
    /// anything ran then the lease's holder will see. False: the lease had ended, or is a forked child's copy; nothing was sent.
    ///
    /// Errors   driver_error when the server could not be asked, or not by the deadline. It may hear of it yet, so the connection is closed
    ///          when the lease ends.
    /// Cost     for PostgreSQL and MySQL a connection of its own.
    bool cancel(deadline by = deadline::in(std::chrono::seconds{5})) const { return at_ && at_->cancel(by); }

private:
    template <class C>
    friend class cancellable;
    explicit canceller(std::shared_ptr<detail::cancel_desk<Core>> at) noexcept : at_{std::move(at)} {}

    std::shared_ptr<detail::cancel_desk<Core>> at_;
};

/// A lease whose statements other threads may cancel, so that no cancel ever meets the next user of the connection.
///
///     cenote::cancellable call{db.acquire()};
///     watchdog.after(2s, [stop = call.canceller()] { stop.cancel(); });
///     PQexec(call.native_handle(), "select …");    // ends with SQLSTATE 57014 if the watchdog barks
///     call.give_back();                            // from here on stop.cancel() returns false
///
/// A server stops whatever its session is doing when the request arrives, which is the statement of the next user if the connection was
/// given back meanwhile. Here the end of the lease forbids further cancels, and one that is just being sent is waited for, by
/// release(), or else, as the end of a lease never waits, costs the connection: it is closed (close_reason::discarded), not reused.
/// With     a driver with `interrupter`, and a pool of several threads that is not `fixed<N>`; leases of a pool's own type, not `any_lease`. A
///          pool pays nothing for leases that are used without.
/// Errors   the constructor throws what the driver's `interrupter` throws, and then the lease is as it was.
/// Cost     one allocation, a descriptor of its own, some µs.
template <class Core>
class cancellable {
    static_assert(can_interrupt<typename Core::driver_type>,
                  "cenote: cancellable needs a driver with interrupter, cancel and sever; complete them, or use the lease as it is, see cenote/driver.hpp");
    static_assert(Core::cfg::locking::threads && !Core::cfg::embedded,
                  "cenote: cancellable is for leases of pools of several threads on the heap, which a cancel in flight may outlive; write bounded and lock_free instead of fixed<N> or single_threaded, see cenote/cancel.hpp");

public:
    using connection_type = typename Core::connection_type;

    explicit cancellable(lease<Core>&& of) {
        assert(of && "cenote: cancellable of an empty lease");
        at_ = desk_of(of);
        lease_ = std::move(of);
    }
    cancellable(cancellable&&) noexcept = default;
    cancellable& operator=(cancellable&& other) noexcept {
        if (this != &other) {
            give_back();
            lease_ = std::move(other.lease_);
            at_ = std::move(other.at_);
        }
        return *this;
    }
    ~cancellable() { give_back(); }

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(lease_); }
    [[nodiscard]] connection_type& operator*() const noexcept { return *lease_; }
    [[nodiscard]] connection_type* operator->() const noexcept { return lease_.operator->(); }
    [[nodiscard]] auto native_handle() const
        requires has_native_handle<typename Core::driver_type>
    {
        return lease_.native_handle();
    }
    void tag(const char* text) const noexcept { lease_.tag(text); }

    /// For other threads, and as many of them as one likes.
    [[nodiscard]] cenote::canceller<Core> canceller() const noexcept { return handle_of(at_); }

    /// Ends the lease, without waiting: with a cancel in flight the connection is closed. Again, or on an empty one: nothing.
    void give_back() noexcept { (void)close(deadline{time_point::min()}, [this] { lease_.give_back(); }); }
    /// Ends the lease and closes the connection.
    void discard(error_class because = error_class::other) noexcept {
        (void)close(deadline{time_point::min()}, [this, because] { lease_.discard(because); });
    }

    /// Gives the lease back to its caller, and nobody can cancel it any more. Waits for a cancel in flight until `by`; if that has not
    /// ended well by then the lease is ended, its connection closed, and what is returned is empty.
    ///
    /// Default  5 s.
    [[nodiscard]] lease<Core> release(deadline by = deadline::in(std::chrono::seconds{5})) noexcept {
        lease<Core> out;
        (void)close(by, [this, &out] { out = std::move(lease_); });
        return out;
    }

private:
    friend class detail::channel<Core>;
    using desk = detail::cancel_desk<Core>;

    [[nodiscard]] static std::shared_ptr<desk> desk_of(const lease<Core>& of) { return std::make_shared<desk>(Core::of(*of.s_), *of.s_); }
    [[nodiscard]] static cenote::canceller<Core> handle_of(const std::shared_ptr<desk>& at) noexcept { return cenote::canceller<Core>{at}; }

    /// Nothing is sent any more. False: what is being sent may still arrive, so the lease has ended.
    static bool end(std::shared_ptr<desk> at, lease<Core>& of, deadline by) noexcept {
        if (of.forked()) {
            at->end_in_child();
            detail::leave_behind(std::move(at)); // other threads may have been in there
            of.give_back();
            return false;
        }
        if (at->end(by)) return true;
        of.discard();
        return false;
    }

    /// `whole` ends the lease if no cancel is in flight any more.
    bool close(deadline by, auto&& whole) noexcept {
        auto at = std::exchange(at_, nullptr);
        if (!at || !end(std::move(at), lease_, by)) return false;
        whole();
        return true;
    }

    lease<Core> lease_;
    std::shared_ptr<detail::cancel_desk<Core>> at_;
};

/// Cancels when a stop is requested, for as long as it lives: `cenote::cancel_on stop{call.canceller(), token};` beside the `cancellable`.
///
/// Called   the server is asked by the thread that requests the stop, or by the constructor if that has been requested already. What it
///          throws is swallowed: failed() says that there was something.
/// Default  at most 5 s.
/// With     its end waits for a cancel that it is just making.
template <class Core>
class cancel_on {
public:
    cancel_on(canceller<Core> who, std::stop_token when, duration limit = std::chrono::seconds{5})
        : ask_{std::move(when), asking{std::move(who), limit, &failed_}} {}
    cancel_on(const cancel_on&) = delete;
    cancel_on& operator=(const cancel_on&) = delete;
    ~cancel_on() = default;

    /// Whether the server could not be asked.
    [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_relaxed); }

private:
    struct asking {
        canceller<Core> who;
        duration limit;
        std::atomic<bool>* failed;
        void operator()() const noexcept {
            try {
                (void)who.cancel(deadline::in(limit));
            } catch (...) {
                failed->store(true, std::memory_order_relaxed);
            }
        }
    };
    std::atomic<bool> failed_{false};
    std::stop_callback<asking> ask_;
};

} // namespace cenote
