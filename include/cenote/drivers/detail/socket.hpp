// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/driver.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/// What the drivers of servers do with the descriptor under their client library.
namespace cenote::drivers {

/// Puts errno back: the pool's calls run between a user's call and their look at errno.
class errno_kept {
public:
    errno_kept() noexcept : before_{errno} {}
    errno_kept(const errno_kept&) = delete;
    errno_kept& operator=(const errno_kept&) = delete;
    ~errno_kept() { errno = before_; }

private:
    int before_;
};

/// Waits for one of the events of poll (or for a broken descriptor, which reading will show), at most until `by`. False: time is up.
[[nodiscard]] inline bool wait_for(int descriptor, short events, deadline by) noexcept {
    const errno_kept keep;
    pollfd p{.fd = descriptor, .events = events, .revents = 0};
    for (;;) {
        int ms = -1;
        if (!by.is_never()) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(by.remaining()).count(); // never early
            ms = static_cast<int>(std::min<long long>(left, INT_MAX));
        }
        const int n = ::poll(&p, 1, ms);
        if (n > 0) return true;
        if (n == 0 && (ms == 0 || by.expired())) return false;
        if (n < 0 && errno != EINTR && errno != EAGAIN) return true; // the client library will meet it, and say what it is
    }
}
[[nodiscard]] inline bool wait_ready(int descriptor, readiness what, deadline by) noexcept {
    return wait_for(descriptor, what == readiness::read ? POLLIN : POLLOUT, by);
}
/// Whether the descriptor is ready now.
[[nodiscard]] inline bool is_ready(int descriptor, readiness what) noexcept { return wait_ready(descriptor, what, deadline{time_point{}}); }

/// A look at an idle connection's socket. Hang-up and errors are dead; something to be read may be a notification as well as a last
/// word, so it is only suspicious.
///
/// Cost     one poll.
[[nodiscard]] inline liveness peek_socket(int descriptor) noexcept {
    if (descriptor < 0) return liveness::dead;
    const errno_kept keep;
#if defined(POLLRDHUP)
    constexpr short hang_up = POLLRDHUP;
#else
    constexpr short hang_up = 0;
#endif
    pollfd p{.fd = descriptor, .events = POLLIN | hang_up, .revents = 0};
    int n = 0;
    while ((n = ::poll(&p, 1, 0)) < 0 && errno == EINTR) {}
    if (n == 0) return liveness::quiet;
    if (n < 0 || (p.revents & (hang_up | POLLHUP | POLLERR | POLLNVAL)) != 0) return liveness::dead;
#if !defined(POLLRDHUP)
    char byte = 0; // the end of the stream reads as nothing at all
    if (::recv(descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) return liveness::dead;
#endif
    return liveness::suspicious;
}

/// Points a descriptor at nothing, so that whatever its client library writes or shuts down no longer reaches the peer. False: it could
/// not be redirected, and was closed.
inline bool divert(int descriptor) noexcept {
    if (descriptor < 0) return false;
    const errno_kept keep;
    const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0) {
        ::close(descriptor);
        return false;
    }
    while (::dup2(nowhere, descriptor) < 0 && errno == EINTR) {}
    ::close(nowhere);
    return true;
}

/// Closes a descriptor that a forked child has of its parent's connection, under a client library that will never be asked again: one
/// that was, even to free its memory, could write, or close what has become somebody else's.
inline void let_go(int descriptor) noexcept {
    const errno_kept keep;
    if (descriptor >= 0) ::close(descriptor);
}

/// A descriptor of one's own for somebody else's socket.
class descriptor_copy {
public:
    descriptor_copy() noexcept = default;
    /// Holds nothing if the descriptor cannot be copied.
    explicit descriptor_copy(int descriptor) noexcept : fd_{descriptor < 0 ? -1 : ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0)} {}
    descriptor_copy(descriptor_copy&& o) noexcept : fd_{std::exchange(o.fd_, -1)} {}
    descriptor_copy& operator=(descriptor_copy&& o) noexcept {
        std::swap(fd_, o.fd_);
        return *this;
    }
    ~descriptor_copy() {
        const errno_kept keep;
        if (fd_ >= 0) ::close(fd_);
    }

    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
    [[nodiscard]] int get() const noexcept { return fd_; }
    /// Ends the conversation in both directions, for every holder of the socket.
    void shut() const noexcept {
        const errno_kept keep;
        if (fd_ >= 0) ::shutdown(fd_, SHUT_RDWR);
    }

private:
    int fd_ = -1;
};

/// `open` made of `dial`.
template <class Dialling>
[[nodiscard]] auto complete(Dialling dialling) {
    while (!dialling.step()) (void)wait_ready(dialling.descriptor(), dialling.want(), dialling.until());
    return dialling.take();
}

} // namespace cenote::drivers
