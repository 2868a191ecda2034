// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/driver.hpp>
#include <cenote/drivers/detail/mysql_client.hpp>
#include <cenote/drivers/detail/socket.hpp>

#include <mysql.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#if !defined(MARIADB_PACKAGE_VERSION_ID)
#include <condition_variable>
#include <mutex>
#include <thread>
#endif

#include <poll.h>
#include <sys/socket.h>

namespace cenote::drivers::mysql_client {

/// While it lives, the client's own blocking calls on this handle, on this thread, end by a deadline: the calls of prepared statements have
/// no other forms (libmysqlclient), or forms that cost a round trip more (Connector/C).
///
/// Shape    `late()` is called once when the deadline passes, in the middle of such a call, to have the statement stopped. It returns until
///          when an answer is still waited for; then the connection ends, and the call fails.
/// Called   with Connector/C `late` runs on this thread, where the client waits. With libmysqlclient on a thread that waits beside it, and
///          is there only where there is a deadline.
class limit {
public:
    /// `sends_much`: the first of the calls may have to wait until the server takes what is sent.
    template <class Late>
    limit(MYSQL* m, deadline by, bool sends_much, Late& late)
        : m_{m}, by_{by}, late_{&late}, call_late_{[](void* l) noexcept -> deadline { return (*static_cast<Late*>(l))(); }},
          encrypted_{is_encrypted(m)}, sends_much_{sends_much} {
        begin();
    }
    limit(const limit&) = delete;
    limit& operator=(const limit&) = delete;
    ~limit() { end(); }

    [[nodiscard]] bool passed() const noexcept { return passed_; }
    /// When the call is over: whether it was in time. Then `late` will not be called any more; otherwise it has come to its end.
    [[nodiscard]] bool ended_in_time() noexcept { return conclude(); }
    /// For whoever reads rows that never make the client wait: looks at the clock. True: time is up, and `late` has been called.
    [[nodiscard]] bool look() noexcept {
        if (!passed_ && by_.expired()) pass();
        return passed_;
    }
    /// Until when what was stopped may still answer.
    [[nodiscard]] deadline until() const noexcept { return until_; }
    /// After the deadline: whether there is no time left for what was stopped, either.
    [[nodiscard]] bool is_over() const noexcept { return passed_ && until_.load().expired(); }

private:
#if defined(MARIADB_PACKAGE_VERSION_ID)
    void begin() noexcept {
        before_ = now_;
        now_ = this;
        if (encrypted_) set_blocking(descriptor(m_), false); // as OpenSSL would block in the system's call, unseen
        (void)mysql_optionsv(m_, MARIADB_OPT_IO_WAIT, reinterpret_cast<void*>(&wait));
    }
    void end() noexcept {
        (void)mysql_optionsv(m_, MARIADB_OPT_IO_WAIT, nullptr);
        if (encrypted_) set_blocking(descriptor(m_), true);
        now_ = before_;
    }
    void pass() noexcept {
        passed_ = true;
        until_ = call_late_(late_);
    }
    [[nodiscard]] bool conclude() const noexcept { return !passed_; }
    /// Where Connector/C waits.
    static int wait(my_socket fd, flag is_read, int) noexcept {
        limit& l = *now_;
        for (;;) {
            const deadline by = l.passed_ ? l.until_.load() : l.by_;
            // Under TLS it says that it waits to read also when it waits to write. It asks again when it was told too much.
            if (l.encrypted_ && l.sends_much_) {
                if (wait_for(fd, POLLIN, by.sooner(deadline::in(l.slice_)))) return 1;
                if (!by.expired()) {
                    l.slice_ = std::min<duration>(2 * l.slice_, std::chrono::milliseconds{8});
                    return 1;
                }
            } else if (wait_ready(fd, is_read != 0 ? readiness::read : readiness::write, by)) {
                return 1;
            }
            if (l.passed_) return 0;
            l.pass();
        }
    }

    static inline thread_local limit* now_ = nullptr;
    limit* before_ = nullptr;
    duration slice_ = std::chrono::milliseconds{1};
#else
    void begin() {
        if (by_.is_never()) return;
        socket_ = descriptor_copy{descriptor(m_)};
        beside_ = std::thread{[this] {
            attach_thread();
            std::unique_lock lock{m_ended_};
            if (ended_.wait_until(lock, by_.at(), [this] { return is_ended_; })) return;
            pass_once();
            if (ended_.wait_until(lock, until_.load().at(), [this] { return is_ended_; })) return;
            socket_.shut();
        }};
    }
    void end() noexcept {
        if (!beside_.joinable()) return;
        {
            const std::lock_guard lock{m_ended_};
            is_ended_ = true;
        }
        ended_.notify_all();
        beside_.join();
    }
    void pass() noexcept { // the thread beside has seen it too
        const std::lock_guard lock{m_ended_};
        pass_once();
    }
    [[nodiscard]] bool conclude() noexcept {
        const std::lock_guard lock{m_ended_}; // whoever has begun to stop it has done so
        if (!passed_) is_ended_ = true;
        return !passed_;
    }
    void pass_once() noexcept { // locked
        if (passed_.exchange(true)) return;
        until_ = call_late_(late_);
    }

    std::mutex m_ended_{};
    std::condition_variable ended_{};
    bool is_ended_ = false;
    descriptor_copy socket_{};
    std::thread beside_{};
#endif

    MYSQL* m_;
    deadline by_;
    std::atomic<deadline> until_{deadline::never()}; // until it is known
    void* late_;
    deadline (*call_late_)(void*) noexcept;
    std::atomic<bool> passed_{false};
    bool encrypted_;
    bool sends_much_;
};

} // namespace cenote::drivers::mysql_client
