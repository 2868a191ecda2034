// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/testing/detail/server_loop.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace cenote::testing {

/// Which bytes a fault is for: those that the client sends, those that the server sends.
enum class direction : unsigned char { to_server = 1, to_client = 2, both = 3 };

struct fault_proxy_options {
    /// Spins for the last 100 µs of each delay instead of trusting the system to wake it in time.
    ///
    /// Default  false. True costs a processor while something is on its way.
    bool precise = false;
    /// How much one direction of one connection holds when its receiver does not take it; what is only delayed does not count.
    ///
    /// Default  1 MiB. Range: above zero, else std::invalid_argument.
    std::size_t buffer = std::size_t{1024} * 1024;
};

namespace detail {

/// What a new connection meets.
enum class welcome : unsigned char { served, reset, refused, ignored };

/// The faults of one direction.
struct proxy_faults {
    static constexpr auto uncut = std::numeric_limits<std::uint64_t>::max();

    duration delay = duration::zero();
    bool frozen = false;
    std::size_t portion = 0; // bytes per interval; 0: as many as there are
    duration interval = duration::zero();
    std::uint64_t cut = uncut;
    ending cut_how = ending::fin;
};

/// One direction of one connection.
struct proxy_stream {
    struct piece {
        time_point due;
        std::string bytes;
        std::optional<ending> end{}; // instead of bytes
    };

    std::deque<piece> waiting{};
    std::size_t sent = 0;       // of the first piece
    std::size_t held = 0;       // bytes waiting
    bool readable = true;       // the sender may say more
    bool dropping = false;      // and nobody will hear it
    bool stuck = false;         // the receiver takes no more
    bool over = false;          // the receiver was told the end
    std::uint64_t left = proxy_faults::uncut;
    std::size_t portion_left = 0;
    time_point next_portion{};

    void push(time_point due, std::string bytes) {
        held += bytes.size();
        waiting.push_back({due, std::move(bytes)});
    }
    void push(time_point due, ending e) { waiting.push_back({due, {}, e}); }
    [[nodiscard]] bool wants_to_read(const proxy_faults& f, std::size_t buffer, bool connecting) const noexcept {
        if (!readable || f.frozen) return false;
        return held < buffer || !(stuck || connecting || f.portion != 0);
    }
    /// When there is something to be done here by itself.
    [[nodiscard]] time_point next(const proxy_faults& f) const noexcept {
        if (waiting.empty() || f.frozen || stuck) return time_point::max();
        const time_point due = waiting.front().due;
        return f.portion != 0 && portion_left == 0 && !waiting.front().end ? std::max(due, next_portion) : due;
    }
};

struct proxied {
    descriptor client, server; // one of them may be gone: then the other talks to nobody
    proxy_stream up{}, down{};
    bool connecting = false;

    [[nodiscard]] bool whole() const noexcept { return client && server; }
    void end(ending how) noexcept {
        client.close(how);
        server.close(how);
    }
};

} // namespace detail

/// A TCP proxy between a client and its server, which does to their connections what networks and servers do. One thread of its own.
///
/// Shape    `fault_proxy net{"127.0.0.1", 5432};` or `fault_proxy net{"/run/server.sock"};`, then connect to 127.0.0.1 and `net.port()`.
///          `net.freeze();` … `net.thaw();`
/// Called   every function from any thread at any time; when it returns, what it says is in effect. What it says of connections is meant
///          for those that are open and those to come, unless it says otherwise.
/// Errors   the constructor throws std::system_error when the name cannot be resolved or no socket can be had; a server that cannot be
///          reached is no error of the proxy's: the client is reset. A wrong value throws std::invalid_argument.
/// Cost     a thread, which sleeps while nothing happens; one more hop: 20 to 60 µs a round trip. Any number of connections.
/// With     the client's connect is answered by this machine: delays and freezes are felt from the first byte on.
class fault_proxy {
public:
    static constexpr auto host = "127.0.0.1";

    fault_proxy(const std::string& server, unsigned server_port, const fault_proxy_options& o = {})
        : options_{checked(o)}, target_{resolved(server, server_port)} {
        start();
    }
    /// To a server's local socket.
    explicit fault_proxy(const std::string& socket_path, const fault_proxy_options& o = {}) : options_{checked(o)}, target_{local(socket_path)} {
        start();
    }
    fault_proxy(const fault_proxy&) = delete;
    fault_proxy& operator=(const fault_proxy&) = delete;
    /// Ends all connections.
    ~fault_proxy() = default;

    [[nodiscard]] unsigned port() const noexcept { return port_; }

    // What happens to bytes.

    /// Each byte arrives that much later than it would; their order stays, and so does how many pass in a second. Bytes that are on their
    /// way keep the delay they have.
    ///
    /// Range    0 (the default) or more, else std::invalid_argument.
    void delay(timeout t, direction d = direction::both) {
        cenote::detail::require_not_negative("fault_proxy.delay", t.length());
        each(d, [=](detail::proxy_faults& f) { f.delay = t.length(); });
    }
    /// Nothing passes any more, not even the end of a connection; connections stay, and new ones are made.
    void freeze(direction d = direction::both) {
        each(d, [](detail::proxy_faults& f) { f.frozen = true; });
    }
    void thaw(direction d = direction::both) {
        each(d, [](detail::proxy_faults& f) { f.frozen = false; });
    }
    /// At most `bytes` of each connection pass in each interval.
    ///
    /// Range    both above zero, else std::invalid_argument.
    void slow(std::size_t bytes, timeout interval, direction d = direction::both) {
        if (bytes == 0) cenote::detail::bad_value("fault_proxy.slow.bytes", bytes, "must be above zero; to let nothing pass write freeze()");
        cenote::detail::require_positive("fault_proxy.slow.interval", interval.length(), "heal()");
        each(d, [=](detail::proxy_faults& f) {
            f.portion = bytes;
            f.interval = interval.length();
        });
    }
    /// Each connection ends when `bytes` more of it have passed; with 0, instead of the next byte. With `ending::fin` they all arrive;
    /// a reset may overtake those that the receiver has not taken yet.
    void cut_after(std::uint64_t bytes, direction d = direction::both, ending how = ending::fin) { set_cut(bytes, d, how); }

    // What happens to the connections that are open.

    /// Resets them. In one direction: only that side hears of it, the other talks to nobody from now on.
    ///
    /// With     a server's local socket knows no reset; it hears the end.
    void reset(direction d = direction::both) {
        ask([this, d] {
            for (auto& p : pairs_) {
                if (has(d, direction::to_client)) p->client.close(ending::reset);
                if (has(d, direction::to_server)) p->server.close(ending::reset);
            }
        });
    }
    /// Ends them in order, behind what is on its way. In one direction: that side hears that nothing more comes, and may go on talking.
    void close(direction d = direction::both) {
        ask([this, d] {
            const time_point now = std::chrono::steady_clock::now();
            for (auto& p : pairs_) {
                if (has(d, direction::to_client)) finish(p->down, now);
                if (has(d, direction::to_server)) finish(p->up, now);
            }
        });
    }

    // What happens to new ones.

    /// There is nobody at the port: connecting fails with ECONNREFUSED. The port stays the proxy's.
    void refuse() { greet(detail::welcome::refused); }
    /// They are made, and reset at once.
    void turn_away() { greet(detail::welcome::reset); }
    /// They are made, and nobody ever says anything on them; the server does not hear of them.
    void black_hole() { greet(detail::welcome::ignored); }
    /// The server gets them.
    ///
    /// Errors   std::system_error if the port cannot be had back after `refuse`.
    void serve() { greet(detail::welcome::served); }

    /// No delay, nothing frozen, slowed or to be cut, new connections served. What was ended stays so.
    void heal() {
        each(direction::both, [](detail::proxy_faults& f) { f = {}; });
        set_cut(detail::proxy_faults::uncut, direction::both, ending::fin);
        serve();
    }

    // What has happened.

    /// Connections that clients have made so far; those reset at once and those ignored count, those refused do not.
    [[nodiscard]] std::size_t connections() const noexcept { return seen_.load(std::memory_order_relaxed); }
    /// Those whose client side is open now, as far as the proxy knows.
    [[nodiscard]] std::size_t open_now() const noexcept { return open_.load(std::memory_order_relaxed); }
    /// Bytes passed on so far; what a receiver has got is counted.
    [[nodiscard]] std::uint64_t bytes(direction d) const noexcept {
        return (has(d, direction::to_server) ? up_bytes_.load(std::memory_order_relaxed) : 0) +
               (has(d, direction::to_client) ? down_bytes_.load(std::memory_order_relaxed) : 0);
    }
    /// Waits until `n` connections are open; false if that did not happen in time.
    [[nodiscard]] bool await_open(std::size_t n, timeout t = std::chrono::seconds{10}) const {
        return detail::becomes([&] { return open_now() == n; }, t);
    }

private:
    using stream = detail::proxy_stream;
    using faults = detail::proxy_faults;
    using clock = std::chrono::steady_clock;
    static constexpr duration spun = std::chrono::microseconds{100};

    struct address {
        sockaddr_storage at{};
        socklen_t size = 0;
    };

    [[nodiscard]] static constexpr bool has(direction d, direction one) noexcept {
        return (static_cast<unsigned>(d) & static_cast<unsigned>(one)) != 0;
    }

    // The caller's side.

    [[nodiscard]] static fault_proxy_options checked(const fault_proxy_options& o) {
        if (o.buffer == 0) cenote::detail::bad_value("fault_proxy.buffer", o.buffer, "must be above zero");
        return o;
    }
    [[nodiscard]] static address resolved(const std::string& name, unsigned port) {
        if (port < 1 || port > 65535) cenote::detail::bad_value("fault_proxy.port", port, "must be 1 to 65535");
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* found = nullptr;
        if (const int e = ::getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found); e != 0) {
            throw std::system_error{std::make_error_code(std::errc::address_not_available),
                                    "cenote: fault_proxy: " + name + ": " + ::gai_strerror(e)};
        }
        address a;
        a.size = found->ai_addrlen;
        std::memcpy(&a.at, found->ai_addr, a.size);
        ::freeaddrinfo(found);
        return a;
    }
    [[nodiscard]] static address local(const std::string& path) {
        sockaddr_un to{};
        if (path.empty() || path.size() >= sizeof to.sun_path) {
            cenote::detail::bad_value("fault_proxy.socket_path.size", path.size(), "must be 1 to " + std::to_string(sizeof to.sun_path - 1));
        }
        to.sun_family = AF_UNIX;
        path.copy(to.sun_path, path.size());
        address a;
        a.size = sizeof to;
        std::memcpy(&a.at, &to, sizeof to);
        return a;
    }
    void listen() {
        detail::descriptor s = loop_.bound(port_, true);
        loop_.listen(s);
        listener_ = std::move(s);
    }
    void start() {
        reserved_ = loop_.bound(0, true);
        port_ = loop_.port_of(reserved_);
        listen();
        loop_.start([this](std::vector<pollfd>& watched) { turn(watched); });
    }
    /// Runs `f` on the proxy's thread, which owns all but the counters, and waits until it has run.
    void ask(std::function<void()> f) {
        loop_.ask([this, f = std::move(f)] {
            f();
            pass_all(); // what it ended is ended, and counted, when its caller goes on
        });
    }
    template <class F>
    void each(direction d, F f) {
        ask([this, d, f] {
            if (has(d, direction::to_server)) f(up_);
            if (has(d, direction::to_client)) f(down_);
        });
    }
    void set_cut(std::uint64_t bytes, direction d, ending how) {
        ask([=, this] {
            const auto set = [=](faults& f, stream detail::proxied::*which, std::list<std::unique_ptr<detail::proxied>>& pairs) {
                f.cut = bytes;
                f.cut_how = how;
                for (auto& p : pairs) ((*p).*which).left = bytes;
            };
            if (has(d, direction::to_server)) set(up_, &detail::proxied::up, pairs_);
            if (has(d, direction::to_client)) set(down_, &detail::proxied::down, pairs_);
        });
    }
    void greet(detail::welcome w) {
        ask([this, w] {
            if (w == detail::welcome::refused) listener_.close();
            else if (!listener_) listen();
            welcome_ = w;
        });
    }

    // The thread's side.

    void turn(std::vector<pollfd>& watched) {
        time_point next = time_point::max();
        watched.push_back({listener_.get(), POLLIN, 0});
        for (const auto& p : pairs_) {
            watched.push_back(wish(p->client, p->up, up_, p->down, down_, *p));
            watched.push_back(p->connecting ? pollfd{p->server.get(), POLLOUT, 0} : wish(p->server, p->down, down_, p->up, up_, *p));
            if (p->whole() && !p->connecting) next = std::min({next, p->up.next(up_), p->down.next(down_)});
        }
        loop_.wait(watched, next, options_.precise ? spun : duration::zero());

        const time_point now = clock::now();
        auto look = watched.begin() + 2;
        for (auto& p : pairs_) {
            const short client = (look++)->revents, server = (look++)->revents;
            if (p->connecting) {
                if (server != 0) connected(*p);
            } else if (server != 0) {
                answer(*p, p->server, p->down, down_, p->up, server, now);
            }
            if (client != 0) answer(*p, p->client, p->up, up_, p->down, client, now);
        }
        obey();
        admit();
        pass_all();
    }

    /// What to watch one side for: words of its own, and room for what it is to get.
    [[nodiscard]] pollfd wish(const detail::descriptor& side, const stream& out, const faults& of_out, const stream& in, const faults& of_in,
                              const detail::proxied& p) const noexcept {
        short events = 0;
        if (!p.whole()) events = POLLIN;
        else if (out.wants_to_read(of_out, options_.buffer, p.connecting)) events = POLLIN;
        if (in.stuck && !of_in.frozen) events |= POLLOUT;
        return {events == 0 ? -1 : side.get(), events, 0}; // a hang-up cannot be left unheard otherwise
    }

    void connected(detail::proxied& p) noexcept {
        int error = 0;
        socklen_t size = sizeof error;
        p.connecting = false;
        if (::getsockopt(p.server.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) p.end(ending::reset);
    }

    /// Something happened at one side: it spoke, or went, or can take more.
    void answer(detail::proxied& p, detail::descriptor& side, stream& out, const faults& f, stream& in, short events, time_point now) {
        if (!side) return;
        if ((events & POLLOUT) != 0) in.stuck = false;
        if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) (void)hear(p, side, out, f, now);
    }
    /// Takes what one side has said; false: nothing.
    bool hear(detail::proxied& p, detail::descriptor& side, stream& out, const faults& f, time_point now) {
        const ssize_t n = ::recv(side.get(), part_.data(), part_.size(), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return false;
        const time_point due = deadline::after(f.delay, now).at();
        if (!p.whole()) {
            if (n <= 0) side.close();
        } else if (out.dropping) {
            if (n <= 0) out.readable = false;
        } else if (n > 0) {
            out.push(due, {part_.data(), static_cast<std::size_t>(n)});
        } else {
            out.push(due, n == 0 ? ending::fin : ending::reset);
            out.readable = false;
        }
        return n > 0;
    }

    void obey() {
        auto tasks = loop_.asked();
        if (tasks.empty()) return;
        admit(); // who has connected before is meant as well, and what was said before is on its way
        const time_point now = clock::now();
        for (auto& p : pairs_) {
            if (!p->whole()) continue;
            while (p->up.wants_to_read(up_, options_.buffer, true) && hear(*p, p->client, p->up, up_, now)) {}
            while (!p->connecting && p->down.wants_to_read(down_, options_.buffer, true) && hear(*p, p->server, p->down, down_, now)) {}
        }
        for (auto& t : tasks) t();
    }

    void admit() {
        while (listener_) {
            detail::descriptor client{::accept(listener_.get(), nullptr, nullptr)};
            if (!client) return;
            detail::prepare(client.get());
            seen_.fetch_add(1, std::memory_order_relaxed);
            if (welcome_ == detail::welcome::reset) {
                client.close(ending::reset);
                continue;
            }
            auto p = std::make_unique<detail::proxied>();
            p->client = std::move(client);
            p->up.left = up_.cut;
            p->down.left = down_.cut;
            if (welcome_ == detail::welcome::served) {
                p->server = detail::descriptor{::socket(target_.at.ss_family, SOCK_STREAM, 0)};
                bool reached = false;
                if (p->server) {
                    detail::prepare(p->server.get());
                    reached = ::connect(p->server.get(), reinterpret_cast<const sockaddr*>(&target_.at), target_.size) == 0;
                    p->connecting = !reached && errno == EINPROGRESS;
                }
                if (!reached && !p->connecting) {
                    p->end(ending::reset);
                    continue;
                }
            }
            pairs_.push_back(std::move(p));
        }
    }

    void finish(stream& s, time_point now) {
        if (s.readable && !s.dropping) s.push(now, ending::fin);
        s.dropping = true;
    }

    /// Passes on what is due, forgets what has ended.
    void pass_all() {
        const time_point now = clock::now();
        for (auto& p : pairs_) {
            if (p->connecting) continue;
            if (p->whole()) pass(*p, p->client, p->server, p->up, up_, up_bytes_, now);
            if (p->whole()) pass(*p, p->server, p->client, p->down, down_, down_bytes_, now);
            if (p->whole() && p->up.over && p->down.over) p->end(ending::fin);
        }
        std::size_t open = 0;
        pairs_.remove_if([&](const auto& p) {
            if (p->client) ++open;
            return !p->client && !p->server;
        });
        open_.store(open, std::memory_order_relaxed);
    }

    void pass(detail::proxied& p, detail::descriptor& from, detail::descriptor& to, stream& s, const faults& f, std::atomic<std::uint64_t>& passed,
              time_point now) {
        while (!f.frozen && !s.stuck && !s.waiting.empty() && s.waiting.front().due <= now) {
            stream::piece& first = s.waiting.front();
            if (first.end) {
                if (*first.end == ending::reset) {
                    from.close();
                    to.close(ending::reset);
                    return;
                }
                ::shutdown(to.get(), SHUT_WR);
                s.waiting.pop_front();
                s.over = true;
                return;
            }
            if (s.left == 0) return p.end(f.cut_how);
            std::size_t n = first.bytes.size() - s.sent;
            if (s.left != faults::uncut) n = static_cast<std::size_t>(std::min<std::uint64_t>(n, s.left));
            if (f.portion != 0) {
                if (now >= s.next_portion) {
                    s.portion_left = f.portion;
                    s.next_portion = now + f.interval;
                }
                if (s.portion_left == 0) return;
                n = std::min(n, s.portion_left);
            }
            passed.fetch_add(n, std::memory_order_relaxed); // before the receiver can know
            const ssize_t gone = ::send(to.get(), first.bytes.data() + s.sent, n, MSG_NOSIGNAL | MSG_DONTWAIT);
            const auto sent = static_cast<std::size_t>(std::max<ssize_t>(gone, 0));
            passed.fetch_sub(n - sent, std::memory_order_relaxed);
            if (gone < 0) {
                if (errno == EINTR) continue;
                if (errno == EAGAIN || errno == EWOULDBLOCK) s.stuck = true;
                else p.end(ending::reset); // the receiver has gone without a word
                return;
            }
            s.sent += sent;
            s.held -= sent;
            if (f.portion != 0) s.portion_left -= sent;
            if (s.sent == first.bytes.size()) {
                s.waiting.pop_front();
                s.sent = 0;
            }
            if (s.left != faults::uncut && (s.left -= sent) == 0) return p.end(f.cut_how);
        }
    }

    const fault_proxy_options options_;
    const address target_;
    unsigned port_ = 0;
    detail::descriptor reserved_; // the port, also while nobody listens there
    std::atomic<std::size_t> seen_{0}, open_{0};
    std::atomic<std::uint64_t> up_bytes_{0}, down_bytes_{0};

    // The thread's own.
    detail::descriptor listener_;
    detail::welcome welcome_ = detail::welcome::served;
    faults up_, down_;
    std::list<std::unique_ptr<detail::proxied>> pairs_;
    std::array<char, 65536> part_;

    detail::server_loop loop_{"fault_proxy"}; // the last: its thread uses all the others
};

} // namespace cenote::testing
