// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/// What the tests of the servers have in common: somebody who says bytes and hears bytes.
namespace raw_test {

inline constexpr auto patience = 10'000; // ms
/// What did not come by then does not come.
inline constexpr auto silence = 50; // ms

[[nodiscard]] inline sockaddr_in loopback(unsigned port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(static_cast<std::uint16_t>(port));
    return at;
}

/// One end of a connection.
class end_point {
public:
    explicit end_point(int fd) : fd_{fd} {
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    end_point(end_point&& o) noexcept : fd_{std::exchange(o.fd_, -1)}, error_{o.error_} {}
    ~end_point() { close(); }
    /// Connects to the port; if that fails, `error()` says why.
    [[nodiscard]] static end_point to(unsigned port) {
        end_point e{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const sockaddr_in at = loopback(port);
        if (::connect(e.fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) e.error_ = errno;
        return e;
    }
    [[nodiscard]] int error() const { return error_; }
    [[nodiscard]] int fd() const { return fd_; }
    void close() {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }
    void half_close() const { ::shutdown(fd_, SHUT_WR); }
    void reset() {
        const linger at_once{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }

    bool say(std::string_view s) const { return ::send(fd_, s.data(), s.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(s.size()); }
    /// As many bytes, or fewer and then "(end)", "(reset)" or "(nothing)".
    [[nodiscard]] std::string hear(std::size_t n, int ms = patience) const {
        std::string out;
        while (out.size() < n) {
            pollfd p{fd_, POLLIN, 0};
            if (::poll(&p, 1, ms) == 0) return out + "(nothing)";
            std::array<char, 65536> part;
            const ssize_t got = ::recv(fd_, part.data(), std::min(part.size(), n - out.size()), 0);
            if (got == 0) return out + "(end)";
            if (got < 0) return out + (errno == ECONNRESET ? "(reset)" : "(error)");
            out.append(part.data(), static_cast<std::size_t>(got));
        }
        return out;
    }
    /// What comes within a moment.
    [[nodiscard]] std::string next() const { return hear(1, silence); }

private:
    int fd_, error_ = 0;
};

} // namespace raw_test
