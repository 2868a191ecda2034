// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

namespace cenote::testing {

/// How a connection ends: in order, as by close(), or with a reset, as when the peer has lost it.
enum class ending : unsigned char { fin, reset };

namespace detail {

class descriptor {
public:
    descriptor() noexcept = default;
    explicit descriptor(int fd) noexcept : fd_{fd} {}
    descriptor(descriptor&& o) noexcept : fd_{std::exchange(o.fd_, -1)} {}
    descriptor& operator=(descriptor&& o) noexcept {
        std::swap(fd_, o.fd_);
        return *this;
    }
    ~descriptor() { close(); }

    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
    [[nodiscard]] int get() const noexcept { return fd_; }
    void close() noexcept {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }
    void close(ending how) noexcept {
        if (fd_ < 0) return;
        if (how == ending::reset) {
            const linger at_once{.l_onoff = 1, .l_linger = 0};
            ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        } else {
            ::shutdown(fd_, SHUT_WR);
            std::array<char, 4096> unread; // a close over unread bytes would be a reset
            while (::recv(fd_, unread.data(), unread.size(), MSG_DONTWAIT) > 0) {}
        }
        close();
    }

private:
    int fd_ = -1;
};

/// For a socket that the thread of a loop is to use.
inline void prepare(int fd) noexcept {
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); // refused by what is not TCP, which needs it not
}

/// Waits until `holds()`; false if that did not happen in time.
template <class F>
[[nodiscard]] bool becomes(F holds, timeout t) {
    for (const deadline by = deadline::in(t); !holds();) {
        if (by.expired()) return false;
        std::this_thread::sleep_for(std::chrono::microseconds{200});
    }
    return true;
}

/// What a server of a test's has beside its protocol: one thread, which sleeps until something happens and does what others ask of it.
///
/// Shape    the last member of its owner, as its end is the thread's; `loop.start(turn)` last of all in the owner's constructor. The thread
///          calls `turn(watched)` again and again: it adds to what is watched, calls `wait`, and runs what `asked` gives it.
/// Called   `ask` from any thread; `wait` and `asked` from the loop's own. A lock guards what is asked, and is held while none of it runs.
/// Errors   std::system_error, which names the owner.
class server_loop {
public:
    explicit server_loop(const char* owner) noexcept : owner_{owner} {}
    server_loop(const server_loop&) = delete;
    server_loop& operator=(const server_loop&) = delete;
    ~server_loop() {
        if (!thread_.joinable()) return;
        stop_.store(true, std::memory_order_relaxed);
        wake();
        thread_.join();
    }

    /// A socket at a port of 127.0.0.1; 0: at any free one. A shared port may be had by a second one as long as not both listen.
    [[nodiscard]] descriptor bound(unsigned port, bool shared) const {
        descriptor s{::socket(AF_INET, SOCK_STREAM, 0)};
        if (!s) fail("socket");
        prepare(s.get());
        const int on = 1;
        if (shared) ::setsockopt(s.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        at.sin_port = htons(static_cast<std::uint16_t>(port));
        if (::bind(s.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) fail("bind");
        return s;
    }
    void listen(const descriptor& s) const {
        if (::listen(s.get(), 512) != 0) fail("listen");
    }
    [[nodiscard]] unsigned port_of(const descriptor& s) const {
        sockaddr_in at{};
        socklen_t size = sizeof at;
        if (::getsockname(s.get(), reinterpret_cast<sockaddr*>(&at), &size) != 0) fail("getsockname");
        return ntohs(at.sin_port);
    }

    template <class Turn>
    void start(Turn turn) {
        int ends[2];
        if (::pipe(ends) != 0) fail("pipe");
        woken_ = descriptor{ends[0]};
        waker_ = descriptor{ends[1]};
        prepare(ends[0]);
        prepare(ends[1]);
        thread_ = std::thread{[this, turn = std::move(turn)] {
#if defined(__linux__)
            ::prctl(PR_SET_TIMERSLACK, 1UL); // of this thread: the default would be 50 µs
#endif
            inside_.store(std::this_thread::get_id(), std::memory_order_relaxed);
            std::vector<pollfd> watched;
            while (!stop_.load(std::memory_order_relaxed)) {
                watched.clear();
                watched.push_back({woken_.get(), POLLIN, 0});
                turn(watched);
            }
        }};
    }
    /// Runs `f` on the loop's thread and waits until it has run, unless that thread asks. What `f` throws comes out here.
    void ask(std::function<void()> f) {
        std::packaged_task<void()> task{std::move(f)};
        auto over = task.get_future();
        {
            const std::lock_guard lock{mutex_};
            asked_.push_back(std::move(task));
        }
        wake();
        if (inside_.load(std::memory_order_relaxed) != std::this_thread::get_id()) over.get();
    }

    /// Until something happens on what is watched, or it is `until` but for `early`.
    static void wait(std::vector<pollfd>& watched, time_point until, duration early = duration::zero()) noexcept {
        timespec left{};
        const timespec* limit = nullptr;
        if (until != time_point::max()) {
            const auto t = std::max(deadline{until}.remaining() - early, duration::zero());
            const auto s = std::chrono::floor<std::chrono::seconds>(t);
            left.tv_sec = static_cast<time_t>(s.count());
            left.tv_nsec = static_cast<long>((t - s).count());
            limit = &left;
        }
#if defined(__linux__)
        const int n = ::ppoll(watched.data(), watched.size(), limit, nullptr);
#else
        int ms = -1;
        if (limit != nullptr) ms = static_cast<int>(std::min<long long>(left.tv_sec * 1000LL + (left.tv_nsec + 999'999) / 1'000'000, INT_MAX));
        const int n = ::poll(watched.data(), static_cast<nfds_t>(watched.size()), ms);
#endif
        if (n < 0) {
            for (pollfd& p : watched) p.revents = 0;
        }
    }
    /// What was asked since the last call, for the thread to run.
    [[nodiscard]] std::vector<std::packaged_task<void()>> asked() {
        std::array<char, 512> wakes;
        while (::read(woken_.get(), wakes.data(), wakes.size()) > 0) {}
        const std::lock_guard lock{mutex_};
        return std::exchange(asked_, {});
    }

private:
    [[noreturn]] void fail(const char* what) const {
        throw std::system_error{errno, std::generic_category(), std::string{"cenote: "} + owner_ + ": " + what};
    }
    void wake() const noexcept {
        const char byte = 0;
        while (::write(waker_.get(), &byte, 1) < 0 && errno == EINTR) {} // a full pipe wakes as well
    }

    const char* owner_;
    descriptor woken_, waker_;
    std::atomic<bool> stop_{false};
    std::atomic<std::thread::id> inside_{};
    std::mutex mutex_; // guards asked_
    std::vector<std::packaged_task<void()>> asked_;
    std::thread thread_; // the last: it uses all the others
};

} // namespace detail
} // namespace cenote::testing
