// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/// A server on a free port of 127.0.0.1 that does to each who connects what a script says. It ends with its object, at once.
class fake_server {
public:
    /// Who has connected.
    class peer {
    public:
        /// False: it has gone, or the server ends.
        bool send(std::string_view bytes) {
            while (!bytes.empty()) {
                if (!wait(POLLOUT, std::chrono::minutes{1})) return false;
                const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
                if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
            }
            return true;
        }
        /// Exactly so many bytes; less: it has gone, or the server ends.
        std::string receive(std::size_t n) {
            std::string out;
            while (out.size() < n && wait(POLLIN, std::chrono::minutes{1})) {
                std::array<char, 4096> part;
                const ssize_t got = ::recv(socket_, part.data(), std::min(part.size(), n - out.size()), 0);
                if (got <= 0) break;
                out.append(part.data(), static_cast<std::size_t>(got));
            }
            return out;
        }
        /// Says nothing until it has gone, or the server ends.
        void linger() {
            while (wait(POLLIN, std::chrono::minutes{1})) {
                std::array<char, 4096> part;
                if (::recv(socket_, part.data(), part.size(), 0) <= 0) return;
            }
        }
        /// False: it has gone meanwhile, or the server ends.
        bool pause(std::chrono::milliseconds t) {
            pollfd p[2] = {{socket_, POLLRDHUP, 0}, {stop_, POLLIN, 0}};
            return ::poll(p, 2, static_cast<int>(t.count())) == 0;
        }

    private:
        friend fake_server;
        peer(int socket, int stop) : socket_{socket}, stop_{stop} {}
        bool wait(short events, std::chrono::milliseconds t) {
            pollfd p[2] = {{socket_, events, 0}, {stop_, POLLIN, 0}};
            return ::poll(p, 2, static_cast<int>(t.count())) > 0 && p[1].revents == 0;
        }
        int socket_, stop_;
    };
    using script = std::function<void(peer&)>;

    explicit fake_server(script s) : script_{std::move(s)}, listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}, stop_{::eventfd(0, EFD_CLOEXEC)} {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof at;
        if (listener_ < 0 || stop_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&at), size) != 0 || ::listen(listener_, 512) != 0 ||
            ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
            throw std::runtime_error{"no fake server"};
        }
        port_ = ntohs(at.sin_port);
        thread_ = std::thread{[this] { serve(); }};
    }
    fake_server(const fake_server&) = delete;
    fake_server& operator=(const fake_server&) = delete;
    ~fake_server() {
        ::eventfd_write(stop_, 1);
        thread_.join();
        for (auto& g : guests_) g.thread.join();
        ::close(listener_);
        ::close(stop_);
    }

    [[nodiscard]] unsigned port() const noexcept { return port_; }
    [[nodiscard]] std::string conninfo() const {
        return "host=127.0.0.1 port=" + std::to_string(port_) + " user=u dbname=d password=pw sslmode=disable gssencmode=disable";
    }
    /// How many have connected so far.
    [[nodiscard]] std::size_t accepted() const noexcept { return accepted_; }

private:
    struct guest {
        std::atomic<bool> over{false};
        std::thread thread;
    };

    void serve() {
        for (;;) {
            pollfd p[2] = {{listener_, POLLIN, 0}, {stop_, POLLIN, 0}};
            if (::poll(p, 2, -1) < 0 && errno == EINTR) continue;
            if (p[1].revents != 0) return;
            const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (socket < 0) continue;
            const int on = 1;
            ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            ++accepted_;
            guests_.remove_if([](guest& g) {
                if (!g.over) return false;
                g.thread.join();
                return true;
            });
            guest& g = guests_.emplace_back();
            g.thread = std::thread{[this, socket, &g] {
                peer who{socket, stop_};
                script_(who);
                ::close(socket);
                g.over = true;
            }};
        }
    }

    script script_;
    int listener_, stop_;
    unsigned port_ = 0;
    std::atomic<std::size_t> accepted_{0};
    std::list<guest> guests_;
    std::thread thread_;
};

/// The words of PostgreSQL's protocol that a script needs.
namespace wire {

inline std::string number(std::uint32_t n) {
    const std::uint32_t big = htonl(n);
    return {reinterpret_cast<const char*>(&big), 4};
}
inline std::string message(char kind, const std::string& body) {
    return std::string(1, kind) + number(static_cast<std::uint32_t>(body.size() + 4)) + body;
}
inline std::string text(std::string_view s) { return std::string{s} + '\0'; }

inline std::string authentication_ok() { return message('R', number(0)); }
inline std::string parameter(std::string_view name, std::string_view value) { return message('S', text(name) + text(value)); }
inline std::string ready() { return message('Z', "I"); }
/// All that ends a successful login.
inline std::string welcome() {
    return authentication_ok() + parameter("server_version", "15.0") + parameter("client_encoding", "UTF8") + parameter("in_hot_standby", "off") +
           parameter("default_transaction_read_only", "off") + message('K', number(1) + number(2)) + ready();
}
inline std::string report(char kind, std::string_view severity, std::string_view sqlstate, std::string_view words) {
    std::string body;
    const auto field = [&](char name, std::string_view value) { body += name + text(value); };
    field('S', severity);
    field('V', severity);
    field('C', sqlstate);
    field('M', words);
    return message(kind, body + '\0');
}
inline std::string error(std::string_view sqlstate, std::string_view words) { return report('E', "FATAL", sqlstate, words); }
inline std::string notice(std::string_view sqlstate, std::string_view words) { return report('N', "NOTICE", sqlstate, words); }

/// Reads what a client begins with, refusing TLS; false: it has gone.
inline bool begin(fake_server::peer& p) {
    for (;;) {
        const std::string head = p.receive(8);
        if (head.size() != 8) return false;
        std::uint32_t size = 0, code = 0;
        std::copy_n(head.data(), 4, reinterpret_cast<char*>(&size));
        std::copy_n(head.data() + 4, 4, reinterpret_cast<char*>(&code));
        size = ntohl(size);
        code = ntohl(code);
        const std::size_t rest = size - 8;
        if (p.receive(rest).size() != rest) return false;
        if (code != 80877103 && code != 80877104) return true; // neither TLS nor GSSAPI is asked for
        if (!p.send("N")) return false;
    }
}

/// Answers every query as if it were empty, until the client goes.
inline void serve(fake_server::peer& p) {
    for (;;) {
        const std::string head = p.receive(5);
        if (head.size() != 5 || head[0] == 'X') return;
        std::uint32_t size = 0;
        std::copy_n(head.data() + 1, 4, reinterpret_cast<char*>(&size));
        (void)p.receive(ntohl(size) - 4);
        if (head[0] == 'Q' && !p.send(message('I', "") + ready())) return;
    }
}

} // namespace wire
