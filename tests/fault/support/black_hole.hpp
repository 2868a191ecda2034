// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <fault/support/servers.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <future>
#include <list>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

namespace fault {

/// A network of two hosts beside the real one, in which packets can vanish without a word: the kernel of the one goes on sending, and
/// nobody acknowledges. A proxy cannot do that, as its own kernel answers for it.
///
/// Shape    two network namespaces and a cable between them; `inside(f)` runs f on the client's side. On the server's side `address` passes
///          everything on to the real servers' local sockets. Everything goes with the last of these threads.
/// With     needs the right to make network namespaces, and `ip`: `why_not()` says what is missing.
class black_hole {
public:
    static constexpr auto address = "10.231.77.2";
    static constexpr unsigned postgres_port = 5432, mysql_port = 3306;

    static std::string why_not() {
        std::string why;
        std::thread{[&] {
            if (::unshare(CLONE_NEWNET) != 0) why = std::string{"no network namespace is to be had here: "} + std::strerror(errno);
        }}.join();
        if (!why.empty()) return why;
        try {
            const black_hole trial;
        } catch (const std::exception& e) {
            why = e.what();
        }
        return why;
    }

    black_hole() {
        std::promise<pid_t> far;
        auto there = far.get_future();
        server_ = std::thread{[this, &far] {
            try {
                enter();
                far.set_value(static_cast<pid_t>(::syscall(SYS_gettid)));
            } catch (...) {
                return far.set_exception(std::current_exception());
            }
            serve();
        }};
        try {
            const pid_t thread = there.get();
            inside_of(client_, [&] { // this thread stays where it is
                enter();
                ip("link add near address 02:00:00:00:77:01 type veth peer name far address 02:00:00:00:77:02 netns " + std::to_string(thread));
                ip("addr add 10.231.77.1/24 dev near");
                ip("link set lo up");
                ip("link set near up");
                ip("neigh replace 10.231.77.2 lladdr 02:00:00:00:77:02 dev near nud permanent"); // or it would say that nobody is there
            });
            ask("up");
        } catch (...) {
            stop_ = true;
            server_.join();
            throw;
        }
    }
    black_hole(const black_hole&) = delete;
    black_hole& operator=(const black_hole&) = delete;
    ~black_hole() {
        stop_ = true;
        server_.join();
        if (client_ >= 0) ::close(client_);
    }

    /// Runs f with the client's network; so do the threads that f starts.
    template <class F>
    void inside(F f) {
        inside_of(client_, f);
    }
    void swallow() { ask("swallow"); }
    void restore() { ask("restore"); }

private:
    struct link {
        int near, far;
    };

    static void ip(const std::string& words) {
        std::istringstream in{"ip " + words};
        run_program({std::istream_iterator<std::string>{in}, std::istream_iterator<std::string>{}});
    }
    static void enter() {
        if (::unshare(CLONE_NEWNET) != 0) throw std::runtime_error{std::string{"no network namespace: "} + std::strerror(errno)};
    }
    /// On a thread of its own in the namespace `fd`, or in one that f makes and that is then known by `fd`.
    template <class F>
    static void inside_of(int& fd, F f) {
        std::exception_ptr failed;
        std::thread{[&] {
            try {
                if (fd >= 0 && ::setns(fd, CLONE_NEWNET) != 0) throw std::runtime_error{"cannot enter the namespace"};
                f();
                if (fd < 0) fd = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
            } catch (...) {
                failed = std::current_exception();
            }
        }}.join();
        if (failed) std::rethrow_exception(failed);
    }

    // The server's side, all on its one thread, as that is what the namespace belongs to.

    void ask(const std::string& what) {
        std::promise<void> done;
        auto answer = done.get_future();
        {
            const std::scoped_lock lock{m_};
            asked_ = what;
            done_ = &done;
        }
        answer.get();
    }
    void obey() {
        const std::scoped_lock lock{m_};
        if (done_ == nullptr) return;
        try {
            if (asked_ == "up") {
                ip("link set lo up");
                ip("addr add 10.231.77.2/24 dev far");
                ip("link set far up");
                ip("neigh replace 10.231.77.1 lladdr 02:00:00:00:77:01 dev far nud permanent");
                listen();
            } else if (asked_ == "swallow") {
                ip("addr del 10.231.77.2/24 dev far"); // what is addressed to nobody here is dropped
            } else {
                ip("addr add 10.231.77.2/24 dev far");
                ip("neigh replace 10.231.77.1 lladdr 02:00:00:00:77:01 dev far nud permanent");
            }
            done_->set_value();
        } catch (...) {
            done_->set_exception(std::current_exception());
        }
        done_ = nullptr;
    }
    void listen() {
        for (const unsigned port : {postgres_port, mysql_port}) {
            const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            sockaddr_in a{};
            a.sin_family = AF_INET;
            a.sin_port = htons(static_cast<std::uint16_t>(port));
            ::inet_pton(AF_INET, address, &a.sin_addr);
            listeners_.push_back(fd);
            if (::bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || ::listen(fd, 64) != 0) throw std::runtime_error{"cannot listen"};
        }
    }
    void serve() {
        std::list<link> links;
        while (!stop_) {
            obey();
            std::vector<pollfd> waits;
            for (const int fd : listeners_) waits.push_back({.fd = fd, .events = POLLIN, .revents = 0});
            for (const link& l : links) {
                waits.push_back({.fd = l.near, .events = POLLIN, .revents = 0});
                waits.push_back({.fd = l.far, .events = POLLIN, .revents = 0});
            }
            (void)::poll(waits.data(), waits.size(), 2);
            std::size_t i = listeners_.size();
            for (link& l : links) {
                const bool near = waits[i++].revents != 0, far = waits[i++].revents != 0;
                if ((near && !pass(l.near, l.far)) || (far && !pass(l.far, l.near))) end(l);
            }
            std::erase_if(links, [](const link& l) { return l.near < 0; });
            for (std::size_t k = 0; k < listeners_.size(); ++k) {
                if (waits[k].revents != 0) links.push_back({::accept4(listeners_[k], nullptr, nullptr, SOCK_CLOEXEC), to_server(k == 0)});
            }
        }
        for (link& l : links) end(l);
        for (const int fd : listeners_) ::close(fd);
    }
    static bool pass(int from, int to) {
        std::array<char, 16384> bytes;
        const ssize_t n = ::recv(from, bytes.data(), bytes.size(), 0);
        return n > 0 && ::send(to, bytes.data(), static_cast<std::size_t>(n), MSG_NOSIGNAL) == n;
    }
    static void end(link& l) {
        if (l.near >= 0) ::close(l.near);
        if (l.far >= 0) ::close(l.far);
        l = {-1, -1};
    }
    static int to_server(bool postgres) {
        const auto& s = servers::postgres();
        const std::string path = postgres ? s.data.substr(0, s.data.rfind('/')) + "/.s.PGSQL." + std::to_string(s.port) : servers::mysql().socket;
        const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un a{};
        a.sun_family = AF_UNIX;
        path.copy(a.sun_path, sizeof a.sun_path - 1);
        (void)::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a);
        return fd;
    }

    std::atomic<bool> stop_{false};
    std::mutex m_;
    std::string asked_;
    std::promise<void>* done_ = nullptr;
    std::vector<int> listeners_;
    int client_ = -1;
    std::thread server_;
};

} // namespace fault
