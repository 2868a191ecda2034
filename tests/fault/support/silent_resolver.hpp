// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <server/support/process.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

namespace fault {

/// A name server that takes every question and answers none until it is told to.
///
/// Shape    to be made on a thread in a network namespace of its own whose loopback is up, as `black_hole::inside` gives it. From then on
///          that thread, and those that it starts, see files of their own over resolv.conf and nsswitch.conf, and so ask only here.
///          Afterwards the thread is of no use but to end.
/// Units    `options` are resolv.conf's: `timeout:1 attempts:2` has the system give a name up after 2 s.
/// Errors   the constructor throws std::runtime_error: no mount namespace, no file, no port.
class silent_resolver {
public:
    static constexpr auto name = "db.cenote.test."; // with its dot: nothing else is tried

    explicit silent_resolver(const std::string& address, const std::string& options)
        : resolv_{"nameserver 127.0.0.1\nsearch .\noptions " + options + "\n"}, nsswitch_{"passwd: files\ngroup: files\nhosts: files dns\n"} {
        if (::inet_pton(AF_INET, address.c_str(), address_.data()) != 1) throw std::runtime_error{"no address: " + address};
        if (::unshare(CLONE_NEWNS) != 0) fail("no mount namespace");
        if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail("the namespace is not private");
        if (::mount(resolv_.path().c_str(), "/etc/resolv.conf", nullptr, MS_BIND, nullptr) != 0) fail("no resolv.conf");
        if (::access("/etc/nsswitch.conf", F_OK) == 0 && ::mount(nsswitch_.path().c_str(), "/etc/nsswitch.conf", nullptr, MS_BIND, nullptr) != 0) fail("no nsswitch.conf");
        socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockaddr_in here{};
        here.sin_family = AF_INET;
        here.sin_port = htons(53);
        here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::bind(socket_, reinterpret_cast<sockaddr*>(&here), sizeof here) != 0) {
            ::close(socket_);
            fail("no port for names");
        }
        thread_ = std::thread{[this] { serve(); }};
    }
    silent_resolver(const silent_resolver&) = delete;
    silent_resolver& operator=(const silent_resolver&) = delete;
    ~silent_resolver() {
        over_ = true;
        thread_.join();
        ::close(socket_);
    }

    /// From now on every name has the address.
    void answer() noexcept { answers_ = true; }
    /// Questions that have arrived.
    [[nodiscard]] std::size_t asked() const noexcept { return asked_; }

private:
    [[noreturn]] static void fail(const char* what) { throw std::runtime_error{std::string{what} + ": " + std::strerror(errno)}; }

    void serve() {
        while (!over_) {
            pollfd wait{.fd = socket_, .events = POLLIN, .revents = 0};
            if (::poll(&wait, 1, 5) <= 0) continue;
            std::array<char, 512> packet;
            sockaddr_in from{};
            socklen_t size = sizeof from;
            const ssize_t n = ::recvfrom(socket_, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
            if (n < 12) continue;
            ++asked_;
            if (!answers_) continue;
            const std::string said = answer_to({packet.data(), static_cast<std::size_t>(n)});
            (void)::sendto(socket_, said.data(), said.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&from), size);
        }
    }
    /// The one address, or to a question for something else that there is none.
    [[nodiscard]] std::string answer_to(std::string question) const {
        std::size_t end = 12;
        while (end < question.size() && question[end] != 0) end += static_cast<unsigned char>(question[end]) + 1U;
        end += 5; // its last byte, type and class
        if (end > question.size()) return question;
        question.resize(end);
        const bool wanted = question[end - 4] == 0 && question[end - 3] == 1;
        question[2] = '\x81'; // an answer; recursion was asked for
        question[3] = '\x80'; // and is to be had
        question.replace(6, 6, std::string{'\0', wanted ? '\1' : '\0', '\0', '\0', '\0', '\0'});
        if (wanted) question.append("\xc0\x0c\0\1\0\1\0\0\0\0\0\4", 12).append(address_.data(), address_.size());
        return question;
    }

    process::secret_file resolv_, nsswitch_;
    std::array<char, 4> address_{};
    int socket_ = -1;
    std::atomic<bool> over_{false}, answers_{false};
    std::atomic<std::size_t> asked_{0};
    std::thread thread_;
};

} // namespace fault
