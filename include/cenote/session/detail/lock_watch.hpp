// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/driver.hpp>
#include <cenote/session/lock_events.hpp>

#include <atomic>
#include <chrono>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

namespace cenote::detail {

/// What a driver interferes through; nothing where it cannot.
template <class D>
struct interrupter_of {
    struct type {};
};
template <can_interrupt D>
struct interrupter_of<D> {
    using type = decltype(std::declval<D&>().interrupter(std::declval<typename D::connection&>()));
};

/// Ends a session when its time is over, from a thread of its own. Driver, token, clock and sink outlive it; the connection is not touched.
template <class D>
class lock_watch {
public:
    using token = typename interrupter_of<D>::type;

    lock_watch(D& d, token& t, time_point at, duration allowed, const lock_clock& clock, lock_sink_ref sink, const char* type,
               std::string key)
        : driver_{d}, token_{t}, allowed_{allowed}, clock_{clock}, sink_{sink}, type_{type}, key_{std::move(key)},
          thread_{[this, at](const std::stop_token& stop) { run(at, stop); }} {}
    lock_watch(const lock_watch&) = delete;
    lock_watch& operator=(const lock_watch&) = delete;
    ~lock_watch() = default; // stops the thread, and waits while it is cutting

    /// True from the moment on at which it has decided to cut.
    [[nodiscard]] bool fired() const noexcept { return fired_.load(std::memory_order_acquire); }
    /// No cut begins after this, and none is under way. True: it came first.
    [[nodiscard]] bool stop() noexcept {
        thread_.request_stop();
        if (thread_.joinable()) thread_.join();
        return fired();
    }

private:
    /// How long the server may be asked to end the session, which its own end of the connection does not wait for.
    static constexpr duration grace = std::chrono::seconds{1};

    void run(time_point at, const std::stop_token& stop) noexcept {
        if (!clock_.wait(at, stop)) return;
        fired_.store(true, std::memory_order_release);
        if constexpr (can_interrupt<D>) driver_.sever(token_, deadline::in(grace));
        sink_.on_lock({lock_change::overdue, type_, key_, allowed_, {}});
    }

    D& driver_;
    token& token_;
    duration allowed_;
    const lock_clock& clock_;
    lock_sink_ref sink_;
    const char* type_;
    std::string key_;
    std::atomic<bool> fired_{false};
    std::jthread thread_; // the last one: it uses all of them
};

} // namespace cenote::detail
