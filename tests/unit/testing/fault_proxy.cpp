// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/testing/fault_proxy.hpp>

#include "unit/testing/raw_client.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

using namespace std::chrono_literals;
using cenote::testing::direction;
using cenote::testing::ending;
using cenote::testing::fault_proxy;
using raw_test::end_point;
using raw_test::loopback;
using raw_test::patience;
using raw_test::silence;
using clock_type = std::chrono::steady_clock;

static_assert(!std::is_copy_constructible_v<fault_proxy> && !std::is_move_constructible_v<fault_proxy>, "its thread knows its address");

namespace {

/// A server that does nothing by itself.
class plain_server {
public:
    plain_server() : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        sockaddr_in at = loopback(0);
        socklen_t size = sizeof at;
        REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&at), size) == 0);
        REQUIRE(::listen(fd_, 256) == 0);
        REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size) == 0);
        port_ = ntohs(at.sin_port);
    }
    explicit plain_server(const std::string& path) : fd_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        path.copy(at.sun_path, sizeof at.sun_path - 1);
        REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
        REQUIRE(::listen(fd_, 256) == 0);
    }
    plain_server(const plain_server&) = delete;
    ~plain_server() { ::close(fd_); }

    [[nodiscard]] unsigned port() const { return port_; }
    [[nodiscard]] bool has_guest(int ms = patience) const {
        pollfd p{fd_, POLLIN, 0};
        return ::poll(&p, 1, ms) > 0;
    }
    [[nodiscard]] end_point accept() const {
        REQUIRE(has_guest());
        return end_point{::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC)};
    }

private:
    int fd_;
    unsigned port_ = 0;
};

/// A client and its server, with the proxy in between.
struct scene {
    plain_server far{};
    fault_proxy net;
    end_point client, server;

    explicit scene(const cenote::testing::fault_proxy_options& o = {})
        : net{fault_proxy::host, far.port(), o}, client{end_point::to(net.port())}, server{far.accept()} {
        REQUIRE(client.error() == 0);
    }
};

/// Whether it takes at least so long until `to` has heard `n` bytes that `from` says.
std::chrono::nanoseconds travel(const end_point& from, const end_point& to, std::string_view bytes) {
    const auto began = clock_type::now();
    REQUIRE(from.say(bytes));
    REQUIRE(to.hear(bytes.size()) == bytes);
    return clock_type::now() - began;
}

} // namespace

TEST_CASE("a fault proxy passes bytes both ways and counts them") {
    scene s;
    CHECK(s.client.say("question"));
    CHECK(s.server.hear(8) == "question");
    CHECK(s.server.say("answer"));
    CHECK(s.client.hear(6) == "answer");
    CHECK(s.net.bytes(direction::to_server) == 8);
    CHECK(s.net.bytes(direction::to_client) == 6);
    CHECK(s.net.bytes(direction::both) == 14);
    CHECK(s.net.connections() == 1);
    CHECK(s.net.open_now() == 1);
    s.client.close();
    CHECK(s.server.hear(1) == "(end)");
    s.server.close();
    CHECK(s.net.await_open(0));
    CHECK(s.net.connections() == 1);
}

TEST_CASE("a fault proxy reaches a server by its local socket") {
    const std::string path = (std::filesystem::temp_directory_path() / ("cenote-proxy-" + std::to_string(::getpid()))).string();
    ::unlink(path.c_str());
    {
        const plain_server far{path};
        const fault_proxy net{path};
        const auto client = end_point::to(net.port());
        const auto server = far.accept();
        CHECK(client.say("here"));
        CHECK(server.hear(4) == "here");
        CHECK(server.say("there"));
        CHECK(client.hear(5) == "there");
    }
    ::unlink(path.c_str());
}

TEST_CASE("a fault proxy passes much data unharmed, and holds no more of it than it may") {
    scene s{{.buffer = 4096}};
    std::string much(32 * 1024 * 1024, '\0');
    for (std::size_t i = 0; i < much.size(); ++i) much[i] = static_cast<char>(i * 2654435761U >> 13);
    std::size_t said = 0;
    while (said < much.size()) { // until everything between the two is full
        const ssize_t n = ::send(s.client.fd(), much.data() + said, much.size() - said, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            said += static_cast<std::size_t>(n);
        } else {
            pollfd p{s.client.fd(), POLLOUT, 0};
            if (::poll(&p, 1, silence) == 0) break;
        }
    }
    CHECK(said < much.size());
    std::thread rest{[&] { (void)s.client.say(std::string_view{much}.substr(said)); }};
    const std::string got = s.server.hear(much.size());
    rest.join();
    CHECK((got == much));
}

TEST_CASE("many connections go through one fault proxy, each by itself") {
    const plain_server far;
    const fault_proxy net{"localhost", far.port()};
    std::vector<end_point> clients, servers;
    for (int i = 0; i < 50; ++i) {
        clients.push_back(end_point::to(net.port()));
        servers.push_back(far.accept());
        CHECK(clients.back().say(std::to_string(100 + i)));
    }
    CHECK(net.await_open(50));
    for (std::size_t i = 0; i < 50; ++i) CHECK(servers[i].hear(3) == std::to_string(100 + i));
    clients.clear();
    for (auto& e : servers) CHECK(e.hear(1) == "(end)");
    servers.clear();
    CHECK(net.await_open(0));
}

TEST_CASE("a delayed byte arrives that much later, and in one direction only if so asked") {
    scene s;
    s.net.delay(30ms, direction::to_server);
    CHECK(travel(s.client, s.server, "late") >= 30ms);
    s.net.delay(1h, direction::to_client);
    CHECK(travel(s.client, s.server, "late") >= 30ms);
    CHECK(s.server.say("never"));
    CHECK(s.client.next() == "(nothing)");
    s.net.delay(10ms);
    CHECK(travel(s.client, s.server, "soon") >= 10ms);
}

TEST_CASE("bytes keep their order when the delay is taken away") {
    scene s;
    s.net.delay(50ms);
    const auto began = clock_type::now();
    CHECK(s.client.say("first "));
    s.net.delay(0ms);
    CHECK(s.client.say("second"));
    CHECK(s.server.hear(12) == "first second");
    CHECK(clock_type::now() - began >= 50ms);
}

TEST_CASE("a delay does not limit how many bytes pass") {
    scene s;
    s.net.delay(100ms);
    const auto began = clock_type::now();
    for (int i = 0; i < 200; ++i) {
        CHECK(s.client.say("0123456789"));
        std::this_thread::sleep_for(100us); // 200 pieces, not one
    }
    CHECK(s.server.hear(2000).size() == 2000);
    CHECK(clock_type::now() - began >= 100ms);
    CHECK(clock_type::now() - began < 10s); // one after the other would have taken twice that
}

TEST_CASE("the end of a connection is delayed as its bytes are") {
    scene s;
    s.net.delay(30ms);
    const auto began = clock_type::now();
    s.client.close();
    CHECK(s.server.hear(1) == "(end)");
    CHECK(clock_type::now() - began >= 30ms);
}

TEST_CASE("a precise delay of half a millisecond is one", "[alone]") {
    scene s{{.precise = true}};
    std::vector<std::chrono::nanoseconds> plain, late;
    for (int i = 0; i < 400; ++i) {
        s.net.delay(0ms);
        plain.push_back(travel(s.client, s.server, "x"));
        s.net.delay(500us);
        late.push_back(travel(s.client, s.server, "x"));
    }
    std::ranges::sort(plain);
    std::ranges::sort(late);
    CHECK(late.front() >= 500us);
    // The quicker quarter, as other programs may disturb the rest.
    const auto added = late[100] - plain[100];
    INFO("added " << added.count() << " ns");
    CHECK(added >= 440us);
    CHECK(added <= 560us);
}

TEST_CASE("nothing passes a frozen proxy, and everything once it is thawed") {
    scene s;
    s.net.freeze();
    CHECK(s.client.say("question"));
    CHECK(s.server.say("answer"));
    CHECK(s.server.next() == "(nothing)");
    CHECK(s.client.next() == "(nothing)");
    CHECK(s.net.bytes(direction::both) == 0);
    s.net.thaw();
    CHECK(s.server.hear(8) == "question");
    CHECK(s.client.hear(6) == "answer");
}

TEST_CASE("what is on its way when the proxy freezes stays where it is") {
    scene s;
    s.net.delay(20ms);
    CHECK(s.client.say("question"));
    s.net.freeze();
    CHECK(s.server.next() == "(nothing)"); // for longer than the delay
    s.net.delay(0ms);                       // which makes the proxy look again
    CHECK(s.net.bytes(direction::to_server) == 0);
    s.net.thaw();
    CHECK(s.server.hear(8) == "question");
}

TEST_CASE("one direction can be frozen alone") {
    scene s;
    s.net.freeze(direction::to_client);
    CHECK(s.client.say("question"));
    CHECK(s.server.hear(8) == "question");
    CHECK(s.server.say("answer"));
    CHECK(s.client.next() == "(nothing)");
    s.net.freeze(direction::to_server);
    s.net.thaw(direction::to_client);
    CHECK(s.client.hear(6) == "answer");
    CHECK(s.client.say("again"));
    CHECK(s.server.next() == "(nothing)");
}

TEST_CASE("a frozen proxy takes new connections and hides the end of old ones") {
    scene s;
    s.net.freeze();
    const auto late = end_point::to(s.net.port());
    CHECK(late.error() == 0);
    const auto late_server = s.far.accept();
    CHECK(late.say("hello"));
    s.client.close();
    CHECK(s.server.next() == "(nothing)");
    CHECK(late_server.next() == "(nothing)");
    CHECK(s.net.open_now() == 2);
    s.net.thaw();
    CHECK(s.server.hear(1) == "(end)");
    CHECK(late_server.hear(5) == "hello");
}

TEST_CASE("a reset is one to both sides") {
    scene s;
    s.net.reset();
    CHECK(s.net.open_now() == 0);
    CHECK(s.client.hear(1) == "(reset)");
    CHECK(s.server.hear(1) == "(reset)");
    const auto next = end_point::to(s.net.port());
    const auto next_server = s.far.accept();
    CHECK(next.say("well"));
    CHECK(next_server.hear(4) == "well");
}

TEST_CASE("a reset in one direction leaves the other side in ignorance") {
    scene s;
    s.net.reset(direction::to_client);
    CHECK(s.client.hear(1) == "(reset)");
    CHECK(s.net.open_now() == 0);
    CHECK(s.server.next() == "(nothing)");
    CHECK(s.server.say(std::string(1'000'000, 'x'))); // which goes nowhere
    CHECK(s.server.next() == "(nothing)");

    const auto next = end_point::to(s.net.port());
    const auto next_server = s.far.accept();
    s.net.reset(direction::to_server);
    CHECK(next_server.hear(1) == "(reset)");
    CHECK(next.say("anybody there?"));
    CHECK(next.next() == "(nothing)");
    CHECK(s.net.open_now() == 1);
}

TEST_CASE("a reset that a side makes reaches the other") {
    scene s;
    s.server.reset();
    CHECK(s.client.hear(1) == "(reset)");
    CHECK(s.net.await_open(0));
}

TEST_CASE("a connection that the proxy closes ends in order for both sides") {
    scene s;
    CHECK(s.client.say("last words"));
    CHECK(s.server.say("of both"));
    s.net.close();
    CHECK(s.server.hear(11) == "last words(end)");
    CHECK(s.client.hear(8) == "of both(end)");
    CHECK(s.net.open_now() == 0);
}

TEST_CASE("a connection that is closed in one direction goes on in the other") {
    scene s;
    s.net.close(direction::to_client);
    CHECK(s.client.hear(1) == "(end)");
    CHECK(travel(s.client, s.server, "still here") > 0ns);
    CHECK(s.server.say(std::string(1'000'000, 'x'))); // which goes nowhere
    CHECK(s.net.open_now() == 1);
    s.client.close();
    CHECK(s.server.hear(1) == "(end)");
    CHECK(s.net.await_open(0));
}

TEST_CASE("a side that has said all can still listen") {
    scene s;
    s.client.half_close();
    CHECK(s.server.hear(1) == "(end)");
    CHECK(travel(s.server, s.client, "the answer") > 0ns);
    CHECK(s.net.open_now() == 1);
    s.server.close();
    CHECK(s.client.hear(1) == "(end)");
    CHECK(s.net.await_open(0));
}

TEST_CASE("a proxy that refuses has nobody at its port, and keeps the port") {
    scene s;
    s.net.refuse();
    CHECK(end_point::to(s.net.port()).error() == ECONNREFUSED);
    CHECK(travel(s.client, s.server, "old ones go on") > 0ns);
    CHECK(s.net.connections() == 1);
    const unsigned port = s.net.port();
    s.net.serve();
    CHECK(s.net.port() == port);
    const auto next = end_point::to(port);
    CHECK(next.error() == 0);
    const auto next_server = s.far.accept();
    CHECK(next.say("well"));
    CHECK(next_server.hear(4) == "well");
    s.net.serve(); // once more is nothing
    CHECK(end_point::to(port).error() == 0);
}

TEST_CASE("nobody else gets the port of a proxy that refuses") {
    const plain_server far;
    fault_proxy net{fault_proxy::host, far.port()};
    net.refuse(); // no connection of its own holds the port
    const int other = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in at = loopback(net.port());
    CHECK(::bind(other, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0);
    ::close(other);
    net.serve();
    CHECK(end_point::to(net.port()).error() == 0);
}

TEST_CASE("a proxy that turns away resets who has connected") {
    scene s;
    s.net.turn_away();
    const auto next = end_point::to(s.net.port());
    CHECK((next.error() == ECONNRESET || next.hear(1) == "(reset)"));
    CHECK_FALSE(s.far.has_guest(silence));
    CHECK(s.net.connections() == 2);
    CHECK(s.net.open_now() == 1);
    CHECK(travel(s.client, s.server, "old ones go on") > 0ns);
}

TEST_CASE("a black hole takes connections and says nothing") {
    scene s;
    s.net.black_hole();
    auto lost = end_point::to(s.net.port());
    CHECK(lost.error() == 0);
    CHECK(s.net.await_open(2));
    CHECK(lost.say("anybody there?"));
    CHECK(lost.next() == "(nothing)");
    CHECK_FALSE(s.far.has_guest(0));
    s.net.serve();
    CHECK(lost.next() == "(nothing)"); // it stays lost
    CHECK_FALSE(s.far.has_guest(0));
    lost.close();
    CHECK(s.net.await_open(1));
    const auto next = end_point::to(s.net.port());
    const auto next_server = s.far.accept();
    CHECK(travel(next, next_server, "well") > 0ns);
}

TEST_CASE("who has connected before a fault is meant by it, who comes later is served") {
    const plain_server far;
    fault_proxy net{fault_proxy::host, far.port()};
    const auto client = end_point::to(net.port());
    net.reset(); // the proxy need not have looked yet
    CHECK(net.connections() == 1);
    CHECK(client.hear(1) == "(reset)");
}

TEST_CASE("a connection is cut after so many bytes, which all arrive") {
    scene s;
    CHECK(travel(s.client, s.server, "before") > 0ns);
    s.net.cut_after(5, direction::to_server);
    CHECK(s.server.say("the other way does not count"));
    CHECK(s.client.hear(28) == "the other way does not count");
    CHECK(s.client.say("hel"));
    CHECK(s.server.hear(3) == "hel");
    CHECK(s.client.say("lo world"));
    CHECK(s.server.hear(3) == "lo(end)");
    CHECK(s.client.hear(1) == "(end)");
    CHECK(s.net.bytes(direction::to_server) == 11);

    const auto next = end_point::to(s.net.port()); // each by itself
    const auto next_server = s.far.accept();
    CHECK(next.say("hello world"));
    CHECK(next_server.hear(6) == "hello(end)");
}

TEST_CASE("a connection can be cut by a reset, and instead of its first byte") {
    scene s;
    s.net.cut_after(0, direction::to_client, ending::reset);
    CHECK(travel(s.client, s.server, "question") > 0ns);
    CHECK(s.server.say("answer"));
    CHECK(s.client.hear(1) == "(reset)");
    CHECK(s.server.hear(1) == "(reset)");
    CHECK(s.net.bytes(direction::to_client) == 0);
}

TEST_CASE("slow bytes come a few at a time") {
    scene s;
    s.net.slow(10, 20ms, direction::to_client);
    CHECK(travel(s.server, s.client, std::string(45, 'x')) >= 80ms);
    s.net.slow(1, 1h, direction::to_server);
    CHECK(s.client.say("abc"));
    CHECK(s.server.hear(2, silence) == "a(nothing)");
    s.net.heal();
    CHECK(s.server.hear(2) == "bc");
}

TEST_CASE("a healed proxy has no fault left") {
    scene s;
    s.net.delay(1h);
    s.net.freeze();
    s.net.cut_after(1);
    s.net.slow(1, 1h);
    s.net.refuse();
    s.net.heal();
    CHECK(travel(s.client, s.server, "all of it") > 0ns);
    CHECK(travel(s.server, s.client, "all of it") > 0ns);
    CHECK(end_point::to(s.net.port()).error() == 0);
    CHECK(s.far.has_guest());
}

TEST_CASE("a server that is not there resets the client") {
    unsigned port = 0;
    {
        const plain_server gone;
        port = gone.port();
    }
    const fault_proxy net{fault_proxy::host, port};
    const auto client = end_point::to(net.port());
    CHECK(client.hear(1) == "(reset)");
    CHECK(net.connections() == 1);
    CHECK(net.await_open(0));

    const fault_proxy local{"/nowhere/at/all"};
    CHECK(end_point::to(local.port()).hear(1) == "(reset)");
}

TEST_CASE("the end of a proxy is the end of its connections, whatever their state") {
    const plain_server far;
    auto net = std::make_unique<fault_proxy>(fault_proxy::host, far.port());
    const auto client = end_point::to(net->port());
    const auto server = far.accept();
    net->delay(1h);
    CHECK(client.say("on its way for ever"));
    net->freeze();
    net.reset();
    CHECK(client.hear(1) != "(nothing)");
    CHECK(server.hear(1) == "(end)");
}

TEST_CASE("threads may turn the faults of one proxy at once") {
    scene s;
    {
        std::vector<std::jthread> all;
        for (int t = 0; t < 4; ++t) {
            all.emplace_back([&s, t] {
                for (int i = 0; i < 50; ++i) {
                    if (t % 2 == 0) s.net.delay(std::chrono::microseconds{i});
                    else s.net.freeze(direction::to_server);
                    s.net.thaw();
                }
            });
        }
        for (int i = 0; i < 50; ++i) CHECK(travel(s.client, s.server, "x") > 0ns);
    }
    CHECK(s.net.bytes(direction::to_server) == 50);
}

TEST_CASE("a fault proxy refuses what means nothing") {
    const plain_server far;
    CHECK_THROWS_AS((fault_proxy{fault_proxy::host, 0}), std::invalid_argument);
    CHECK_THROWS_AS((fault_proxy{fault_proxy::host, 65536}), std::invalid_argument);
    CHECK_THROWS_AS((fault_proxy{""}), std::invalid_argument);
    CHECK_THROWS_AS((fault_proxy{std::string(200, 'x')}), std::invalid_argument);
    CHECK_THROWS_AS((fault_proxy{fault_proxy::host, far.port(), {.buffer = 0}}), std::invalid_argument);
    CHECK_THROWS_AS((fault_proxy{"name.invalid", far.port()}), std::system_error);
    fault_proxy net{fault_proxy::host, far.port()};
    CHECK_THROWS_AS(net.delay(-1ns), std::invalid_argument);
    CHECK_THROWS_AS(net.slow(0, 1ms), std::invalid_argument);
    CHECK_THROWS_AS(net.slow(1, 0ms), std::invalid_argument);
}
