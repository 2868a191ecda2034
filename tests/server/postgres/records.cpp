// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>

#include <server/support/fake_server.hpp>
#include <server/support/postgres.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::postgres;

namespace {

/// openssl's own server, which speaks TLS on a socket and plain text here, in records as large as there may be.
class tls_end {
public:
    tls_end() {
        std::array<int, 2> in{}, out{};
        if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
        static std::atomic<int> n{0};
        path_ = "/tmp/cenote-tls-" + std::to_string(::getpid()) + "-" + std::to_string(n++);
        const std::string folder = servers::postgres().data + "/..";
        std::vector<std::string> words{"openssl", "s_server", "-quiet",         "-naccept", "1",    "-unix", path_, "-cert", folder + "/server.crt", "-key",
                                       folder + "/server.key"};
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, in[0], 0);
        posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        const int failed = ::posix_spawnp(&pid_, "openssl", &actions, nullptr, arguments.data(), environ);
        posix_spawn_file_actions_destroy(&actions);
        ::close(in[0]);
        ::close(out[1]);
        to_ = in[1];
        from_ = out[0];
        if (failed != 0) throw std::runtime_error{"no openssl"};
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        std::copy(path_.begin(), path_.end(), at.sun_path);
        socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (!pg::becomes([&] { return ::connect(socket_, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0; })) throw std::runtime_error{"no TLS"};
    }
    tls_end(const tls_end&) = delete;
    tls_end& operator=(const tls_end&) = delete;
    ~tls_end() {
        for (const int fd : {to_, from_, socket_}) ::close(fd);
        ::kill(pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {}
        ::unlink(path_.c_str());
    }

    [[nodiscard]] int socket() const noexcept { return socket_; }
    bool send(std::string_view text) {
        while (!text.empty()) {
            const ssize_t n = ::write(to_, text.data(), text.size());
            if (n <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }
    std::string receive(std::size_t n) {
        std::string out(n, '\0');
        for (std::size_t at = 0; at < n;) {
            const ssize_t got = ::read(from_, out.data() + at, n - at);
            if (got <= 0) return {};
            at += static_cast<std::size_t>(got);
        }
        return out;
    }

private:
    std::string path_;
    pid_t pid_ = -1;
    int to_ = -1, from_ = -1, socket_ = -1;
};

std::size_t size_in(std::string_view bytes) {
    std::uint32_t n = 0;
    std::copy_n(bytes.data(), 4, reinterpret_cast<char*>(&n));
    return ntohl(n);
}

/// Carries bytes both ways until either side has gone.
void bridge(int a, int b, int stop) {
    std::array<char, 65536> part;
    for (;;) {
        std::array<pollfd, 3> p{{{a, POLLIN, 0}, {b, POLLIN, 0}, {stop, POLLIN, 0}}};
        if (::poll(p.data(), p.size(), -1) < 0 && errno == EINTR) continue;
        if (p[2].revents != 0) return;
        for (const auto& [from, to, ready] : {std::tuple{a, b, p[0].revents}, std::tuple{b, a, p[1].revents}}) {
            if (ready == 0) continue;
            const ssize_t n = ::recv(from, part.data(), part.size(), 0);
            if (n <= 0) return;
            for (ssize_t at = 0; at < n;) {
                const ssize_t sent = ::send(to, part.data() + at, static_cast<std::size_t>(n - at), MSG_NOSIGNAL);
                if (sent <= 0) return;
                at += sent;
            }
        }
    }
}

} // namespace

TEST_CASE("an answer is complete when the last of it is in a TLS record larger than what libpq reads at once") {
    constexpr int queries = 200;
    std::signal(SIGPIPE, SIG_IGN); // openssl may end before we do
    std::string row = wire::message('D', std::string{"\0\1", 2} + wire::number(997) + std::string(997, 'x'));
    const std::string head = wire::message('T', std::string{"\0\1", 2} + wire::text("x") + wire::number(0) + std::string{"\0\0", 2} + wire::number(25) +
                                                    std::string{"\xff\xff", 2} + wire::number(0xffffffff) + std::string{"\0\0", 2});
    fake_server server{[&](auto& peer) {
        if (peer.receive(8).size() != 8 || !peer.send("S")) return; // TLS is asked for
        tls_end tls;
        std::thread carrier{[&] {
            bridge(peer.socket(), tls.socket(), peer.stop());
            ::shutdown(peer.socket(), SHUT_RDWR);
            ::shutdown(tls.socket(), SHUT_RDWR);
        }};
        const std::string begin = tls.receive(4);
        if (begin.size() == 4 && tls.receive(size_in(begin) - 4).size() != 0 && tls.send(wire::welcome())) {
            for (std::size_t rows = 1;; rows += 2) {
                const std::string query = tls.receive(5);
                if (query.size() != 5 || query[0] != 'Q' || tls.receive(size_in(query.substr(1)) - 4).empty()) break;
                std::string answer = head;
                for (std::size_t i = 0; i < rows; ++i) answer += row;
                if (!tls.send(answer + wire::message('C', wire::text("SELECT 1")) + wire::ready())) break;
            }
        }
        ::shutdown(peer.socket(), SHUT_RDWR);
        carrier.join();
    }};
    auto o = pg::options(server.conninfo(), {{"sslmode", "require"}});
    postgres d{o};
    pg::opened c{d};
    CHECK(PQsslInUse(c.handle()) == 1);
    for (int i = 0; i < queries; ++i) {
        INFO(i << " of " << queries);
        const auto e = pg::error_of([&] { d.execute(*c, "select", deadline::in(5s)); });
        REQUIRE(!e);
    }
}
