// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "server/support/environment.hpp"

#include <cenote/drivers/mysql.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/// What the tests of the MySQL driver share: ways to the server, and the client's own calls without the driver.
namespace mysql_tests {

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::driver_error;
using cenote::error_class;
using cenote::liveness;
using cenote::mysql;
using cenote::session_state;

/// How late a call may come back on a machine that has much else to do. It is well below the whole seconds that the clients count in.
constexpr auto grace = 400ms;
inline deadline soon() { return deadline::in(10s); }

inline mysql::options by_socket() {
    const auto& s = servers::mysql();
    return {.socket = s.socket, .user = s.user, .password = s.password, .database = s.database};
}
inline mysql::options by_tcp() {
    const auto& s = servers::mysql();
    return {.host = "127.0.0.1", .port = s.port, .user = s.user, .password = s.password, .database = s.database, .tls = {.mode = mysql::tls_mode::off}};
}
inline mysql::options by_tls() {
    mysql::options o = by_tcp();
    o.tls = {.mode = mysql::tls_mode::verify_identity, .ca = servers::mysql().ca};
    return o;
}
inline mysql::options as_root() { return {.socket = servers::mysql().socket, .user = "root"}; }

/// A statement by the client's blocking calls, as users make them. Throws std::runtime_error.
inline void run(MYSQL* m, const std::string& sql) {
    if (mysql_real_query(m, sql.data(), static_cast<unsigned long>(sql.size())) != 0) throw std::runtime_error{sql + ": " + mysql_error(m)};
    if (MYSQL_RES* rows = mysql_store_result(m)) mysql_free_result(rows);
}
/// The first value of the first row; "null", or "nothing" without one.
inline std::string ask(MYSQL* m, const std::string& sql) {
    if (mysql_real_query(m, sql.data(), static_cast<unsigned long>(sql.size())) != 0) throw std::runtime_error{sql + ": " + mysql_error(m)};
    const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> rows{mysql_store_result(m), &mysql_free_result};
    const MYSQL_ROW row = rows ? mysql_fetch_row(rows.get()) : nullptr;
    if (mysql_errno(m) != 0) throw std::runtime_error{sql + ": " + mysql_error(m)};
    return row == nullptr ? "nothing" : row[0] == nullptr ? "null" : row[0];
}

/// A connection that is closed whatever happens.
class opened {
public:
    explicit opened(mysql::options o) : driver{std::move(o)}, c{driver.open(soon())} {}
    opened(const opened&) = delete;
    opened& operator=(const opened&) = delete;
    ~opened() { driver.close(c); }

    [[nodiscard]] MYSQL* native() { return driver.native_handle(c); }
    void run(const std::string& sql) { mysql_tests::run(native(), sql); }
    [[nodiscard]] std::string ask(const std::string& sql) { return mysql_tests::ask(native(), sql); }
    [[nodiscard]] session_state state() { return driver.state(c); }
    [[nodiscard]] unsigned long id() { return mysql_thread_id(native()); }

    mysql driver;
    mysql::connection c;
};

/// A table of this program's own, as others use the server at the same time.
class table {
public:
    explicit table(std::string columns = "n int primary key") : root_{as_root()} {
        static std::atomic<int> next{0};
        name_ = servers::mysql().database + ".t" + std::to_string(::getpid()) + "_" + std::to_string(next++);
        root_.run("create table " + name_ + " (" + columns + ") engine = innodb");
    }
    table(const table&) = delete;
    table& operator=(const table&) = delete;
    ~table() {
        try {
            root_.run("drop table " + name_);
        } catch (const std::exception&) {
        }
    }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] std::string rows() { return root_.ask("select count(*) from " + name_); }

private:
    opened root_;
    std::string name_;
};

/// Whether the server knows a session of this number.
inline bool is_alive(opened& root, unsigned long id) {
    return root.ask("select count(*) from information_schema.processlist where id = " + std::to_string(id)) != "0";
}
template <class F>
[[nodiscard]] bool comes_true(F f, std::chrono::milliseconds within = 5s) {
    const auto by = std::chrono::steady_clock::now() + within;
    while (!f()) {
        if (std::chrono::steady_clock::now() > by) return false;
        std::this_thread::sleep_for(2ms);
    }
    return true;
}

template <class F>
[[nodiscard]] std::optional<driver_error> error_of(F f) {
    try {
        f();
    } catch (const driver_error& e) {
        return e;
    }
    return std::nullopt;
}

/// How long f took.
template <class F>
[[nodiscard]] std::chrono::milliseconds time_of(F f) {
    const auto before = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - before);
}

/// The server is stopped in the middle of whatever it does, until this goes.
class frozen_server {
public:
    frozen_server() : pid_{servers::mysql().pid} {
        ::kill(pid_, SIGSTOP);
        if (!comes_true([this] { return is_still(); })) throw std::runtime_error{"the server does not stop"};
    }
    frozen_server(const frozen_server&) = delete;
    frozen_server& operator=(const frozen_server&) = delete;
    ~frozen_server() { ::kill(pid_, SIGCONT); }

private:
    [[nodiscard]] bool is_still() const { // each of its threads
        for (const auto& thread : std::filesystem::directory_iterator{"/proc/" + std::to_string(pid_) + "/task"}) {
            std::ifstream file{thread.path() / "stat"};
            std::string line;
            std::getline(file, line);
            if (line.find(") T ") == std::string::npos) return false;
        }
        return true;
    }
    pid_t pid_;
};

/// A port of 127.0.0.1 that somebody listens on.
class listener {
public:
    explicit listener(int backlog = 64) : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address_;
        auto* const any = reinterpret_cast<sockaddr*>(&address_);
        if (::bind(fd_, any, length) != 0 || ::listen(fd_, backlog) != 0 || ::getsockname(fd_, any, &length) != 0) {
            throw std::system_error{errno, std::generic_category()};
        }
    }
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;
    ~listener() { ::close(fd_); }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] unsigned port() const noexcept { return ntohs(address_.sin_port); }
    [[nodiscard]] const sockaddr_in& address() const noexcept { return address_; }

private:
    int fd_;
    sockaddr_in address_{};
};

/// Stands between one client after the other and the server, counts what the client sends in one go, and may stop passing things on.
class relay {
public:
    relay() : thread_{[this](const std::stop_token& stop) { serve(stop); }} {}

    [[nodiscard]] unsigned port() const noexcept { return listener_.port(); }
    /// Bursts of bytes from clients. Exact as long as the client waits for an answer to each.
    [[nodiscard]] int flights() const noexcept { return flights_; }
    /// After so many bytes from the server nothing is passed on any more, in either direction.
    void freeze_after(std::size_t bytes) noexcept { budget_ = bytes; }
    /// Nothing is passed on any more for the client with this descriptor.
    void freeze(int client) {
        sockaddr_in a{};
        socklen_t length = sizeof a;
        if (::getsockname(client, reinterpret_cast<sockaddr*>(&a), &length) == 0) frozen_port_ = ntohs(a.sin_port);
    }

private:
    struct link {
        int client;
        int server;
        unsigned port;
    };
    void serve(const std::stop_token& stop) {
        std::vector<link> links;
        while (!stop.stop_requested()) {
            std::vector<pollfd> waits{{.fd = listener_.fd(), .events = POLLIN, .revents = 0}};
            for (const link& l : links) {
                waits.push_back({.fd = is_frozen(l) ? -1 : l.client, .events = POLLIN, .revents = 0});
                waits.push_back({.fd = is_frozen(l) ? -1 : l.server, .events = POLLIN, .revents = 0});
            }
            (void)::poll(waits.data(), waits.size(), 5);
            for (std::size_t i = 0; i < links.size(); ++i) {
                if (waits[1 + 2 * i].revents != 0 && !pass(links[i].client, links[i].server, true)) end(links[i]);
                if (waits[2 + 2 * i].revents != 0 && !pass(links[i].server, links[i].client, false)) end(links[i]);
            }
            std::erase_if(links, [](const link& l) { return l.client < 0; });
            if (waits[0].revents != 0) links.push_back(accepted());
        }
        for (link& l : links) end(l);
    }
    [[nodiscard]] bool is_frozen(const link& l) const noexcept { return budget_ == 0 || frozen_port_ == l.port; }
    link accepted() {
        sockaddr_in a{};
        socklen_t length = sizeof a;
        const int client = ::accept(listener_.fd(), reinterpret_cast<sockaddr*>(&a), &length);
        return {client, to_server(), ntohs(a.sin_port)};
    }
    bool pass(int from, int to, bool is_client) {
        if (from < 0 || to < 0) return true; // its other end has just gone
        std::array<char, 16384> bytes;
        const std::size_t most = is_client ? bytes.size() : std::min<std::size_t>(bytes.size(), budget_);
        const ssize_t n = ::recv(from, bytes.data(), most, 0);
        if (n <= 0) return false;
        if (is_client) ++flights_;
        else if (budget_ != static_cast<std::size_t>(-1)) budget_ -= static_cast<std::size_t>(n);
        return ::send(to, bytes.data(), static_cast<std::size_t>(n), MSG_NOSIGNAL) == n;
    }
    static void end(link& l) noexcept {
        if (l.client >= 0) ::close(l.client);
        if (l.server >= 0) ::close(l.server);
        l = {-1, -1, 0};
    }
    static int to_server() {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in a{};
        a.sin_family = AF_INET;
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        a.sin_port = htons(static_cast<std::uint16_t>(servers::mysql().port));
        (void)::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a);
        return fd;
    }

    listener listener_;
    std::atomic<int> flights_{0};
    std::atomic<std::size_t> budget_{static_cast<std::size_t>(-1)};
    std::atomic<unsigned> frozen_port_{0};
    std::jthread thread_;
};

} // namespace mysql_tests
