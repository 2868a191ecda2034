// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/drivers/detail/secret.hpp>
#include <cenote/drivers/mysql.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/// Settings judged, errors put into words, connections opened.
namespace cenote {

/// The settings, and what follows from them.
struct mysql::target {
    options opt;
    std::string name; // for messages
    std::string set_names;
    std::string use;
    drivers::secrets hidden{};
    drivers::mysql_client::destination where{};

    explicit target(options o);
    target(const target&) = delete;
    target& operator=(const target&) = delete;

    [[nodiscard]] bool local() const noexcept { return !opt.socket.empty(); }

    [[noreturn]] void fail(error_class kind, std::string_view doing, std::string_view why, unsigned code = 0, std::string sqlstate = {}) const {
        std::string text{"mysql: "};
        text.append(doing).append(" ").append(name).append(": ").append(why);
        throw driver_error{kind, hidden.scrubbed(std::move(text)), static_cast<int>(code), std::move(sqlstate)};
    }
    /// With what the handle says.
    [[noreturn]] void fail(MYSQL* m, std::string_view doing) const {
        const unsigned code = mysql_errno(m);
        if (code == 0) fail(error_class::disconnected, doing, "the client library failed without a reason");
        fail(classify(code), doing, mysql_error(m) + (" (" + std::to_string(code) + ")"), code, mysql_sqlstate(m));
    }
    [[noreturn]] void fail_to_connect(MYSQL* m) const;
    void check() const;
    void apply(MYSQL* m, deadline by) const;
    void apply_tls(MYSQL* m) const;
};

inline mysql::target::target(options o) : opt{std::move(o)} {
    check();
    hidden.add(opt.password);
    if (!opt.user.empty()) name = opt.user + "@";
    name += local() ? opt.socket : opt.host.find(':') == std::string::npos ? opt.host : "[" + opt.host + "]";
    if (!local()) name += ":" + std::to_string(opt.port);
    set_names = "set names " + opt.charset;
    if (!opt.database.empty()) {
        name += "/" + opt.database;
        use = "use `";
        for (const char c : opt.database) use.append(c == '`' ? 2 : 1, c);
        use += '`';
    }
    const auto or_null = [](const std::string& s) { return s.empty() ? nullptr : s.c_str(); };
    where.host = local() ? nullptr : opt.host.c_str();
    where.user = or_null(opt.user);
    where.password = opt.password.c_str(); // null would let the environment's MYSQL_PWD in
    where.database = or_null(opt.database);
    where.port = local() ? 0 : opt.port;
    where.socket = or_null(opt.socket);
    where.flags = opt.multi_statements ? CLIENT_MULTI_STATEMENTS | CLIENT_MULTI_RESULTS : CLIENT_MULTI_RESULTS;
}

inline void mysql::target::check() const {
    const auto refuse = [](std::string_view field, std::string_view value, std::string_view rule) {
        throw std::invalid_argument{"cenote: mysql.options." + std::string{field} + " = " + std::string{value} + ": " + std::string{rule}};
    };
    const auto quoted = [](const std::string& s) { return "'" + s + "'"; };
    const auto any = [](const std::string& s, std::string_view of) { return s.find_first_of(of) != std::string::npos; };

    using named = std::pair<const char*, const std::string*>;
    for (const auto& [field, text] : {named{"host", &opt.host}, named{"socket", &opt.socket}, named{"user", &opt.user},
                                      named{"password", &opt.password}, named{"database", &opt.database}, named{"charset", &opt.charset},
                                      named{"tls.ca", &opt.tls.ca}, named{"tls.cert", &opt.tls.cert}, named{"tls.key", &opt.tls.key},
                                      named{"program_name", &opt.program_name}}) {
        if (text->find('\0') != std::string::npos) refuse(field, "a text with a zero byte", "must not contain zero bytes");
    }
    if (local()) {
        if (!opt.host.empty() && opt.host != "localhost") refuse("host", quoted(opt.host), "must be left out when options.socket is given");
        constexpr std::size_t longest = 107; // what a socket's address can hold
        if (opt.socket.size() > longest) refuse("socket", quoted(opt.socket), "must be at most 107 bytes long");
    } else {
        if (opt.host.empty()) refuse("host", "''", "must be a name or an address, unless options.socket is given");
        if (any(opt.host, ",;=/ \t\r\n")) {
            refuse("host", "a text with ',', ';', '=', '/' or a blank", "must be one name or address; the client would read more into such a text");
        }
        if (opt.port == 0 || opt.port > 65535) refuse("port", std::to_string(opt.port), "must be 1 … 65535");
    }
    if (opt.charset.empty() || opt.charset.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos) {
        refuse("charset", quoted(opt.charset), "must be the name of a character set, as utf8mb4");
    }
    const tls_options& tls = opt.tls;
    const bool verifies = tls.mode == tls_mode::verify_ca || tls.mode == tls_mode::verify_identity;
    if (verifies && tls.ca.empty()) refuse("tls.ca", "''", "must be given when the server's certificate is to be verified");
    if (!verifies && !tls.ca.empty()) {
        refuse("tls.ca", quoted(tls.ca), "would not be looked at; say options.tls.mode = verify_ca or verify_identity");
    }
    if (tls.cert.empty() != tls.key.empty()) refuse("tls.key", quoted(tls.key), "must be given together with options.tls.cert");
    if (tls.mode == tls_mode::off && !tls.cert.empty()) refuse("tls.cert", quoted(tls.cert), "must be left out when options.tls.mode is off");
#if defined(MARIADB_PACKAGE_VERSION_ID)
    if (tls.mode == tls_mode::verify_ca && mysql_get_client_version() >= 30400) {
        refuse("tls.mode", "verify_ca", "must be verify_identity: this MariaDB Connector/C verifies the name with the certificate or neither");
    }
#endif
    if (opt.tcp_user_timeout < duration::zero() || opt.tcp_user_timeout > std::chrono::milliseconds{std::numeric_limits<int>::max()}) {
        detail::bad_value("mysql.options.tcp_user_timeout", opt.tcp_user_timeout, "must be 0 … 2147483647 ms; 0 leaves it to the system");
    }
    detail::require_not_negative("mysql.options.drain.time", opt.drain.time);
    for (const std::string& sql : opt.init) {
        if (sql.empty()) refuse("init", "a list with an empty statement", "must have a statement in each of its texts");
    }
}

inline void mysql::target::apply_tls(MYSQL* m) const {
    const tls_options& tls = opt.tls;
    const auto file = [m](mysql_option which, const std::string& path) {
        if (!path.empty()) (void)mysql_options(m, which, path.c_str());
    };
    file(MYSQL_OPT_SSL_CA, tls.ca);
    file(MYSQL_OPT_SSL_CERT, tls.cert);
    file(MYSQL_OPT_SSL_KEY, tls.key);
#if defined(MARIADB_PACKAGE_VERSION_ID)
    // Offered where the server can; that it was taken is checked afterwards, as Connector/C 3.3 connects without when the server cannot.
    drivers::mysql_client::flag offer = tls.mode != tls_mode::off && !(local() && tls.mode == tls_mode::preferred) ? 1 : 0;
    drivers::mysql_client::flag verify = tls.mode == tls_mode::verify_identity ? 1 : 0;
    (void)mysql_options(m, MYSQL_OPT_SSL_ENFORCE, &offer);
    (void)mysql_options(m, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
#else
    unsigned mode = SSL_MODE_PREFERRED;
    switch (tls.mode) {
    case tls_mode::off: mode = SSL_MODE_DISABLED; break;
    case tls_mode::preferred: mode = SSL_MODE_PREFERRED; break;
    case tls_mode::required: mode = SSL_MODE_REQUIRED; break;
    case tls_mode::verify_ca: mode = SSL_MODE_VERIFY_CA; break;
    case tls_mode::verify_identity: mode = SSL_MODE_VERIFY_IDENTITY; break;
    }
    (void)mysql_options(m, MYSQL_OPT_SSL_MODE, &mode);
#endif
}

inline void mysql::target::apply(MYSQL* m, deadline by) const {
    constexpr std::string_view doing = "cannot connect to";
    unsigned protocol = local() ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
    (void)mysql_options(m, MYSQL_OPT_PROTOCOL, &protocol);
    if (mysql_options(m, MYSQL_SET_CHARSET_NAME, opt.charset.c_str()) != 0) fail(m, doing);
    if (!opt.program_name.empty()) (void)mysql_options4(m, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", opt.program_name.c_str());
    apply_tls(m);
    if (!by.is_never()) { // only for what the client waits for by itself, name resolution that is to be tried again
        const auto left = std::chrono::ceil<std::chrono::seconds>(by.remaining()).count();
        const auto seconds = static_cast<unsigned>(std::clamp<decltype(left)>(left, 1, 3600));
        (void)mysql_options(m, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    }
    if (opt.before_connect) opt.before_connect(m);

    drivers::mysql_client::flag reconnects = 0;
    (void)mysql_get_option(m, MYSQL_OPT_RECONNECT, &reconnects);
    if (reconnects) fail(error_class::other, doing, "options.before_connect switched MYSQL_OPT_RECONNECT on, which would swap the session without a word");
#if defined(MARIADB_PACKAGE_VERSION_ID)
    if (mysql_options(m, MYSQL_OPT_NONBLOCK, nullptr) != 0) throw std::bad_alloc{};
    (void)mysql_optionsv(m, MARIADB_OPT_IO_WAIT, reinterpret_cast<void*>(&drivers::mysql_client::wait_in_handshake));
#endif
}

/// In the words that people look for, and with what the system says to the number in the client's text.
[[noreturn]] inline void mysql::target::fail_to_connect(MYSQL* m) const {
    const unsigned code = mysql_errno(m);
    const error_class kind = classify(code);
    std::string why;
    std::string text{mysql_error(m)};
    if (kind == error_class::auth) why = "authentication failed: ";
    if (kind == error_class::server_full) why = "too many connections: ";
    if (code == 2002 || code == 2003) {
        const auto open = text.rfind('(');
        const int system = open == std::string::npos ? 0 : std::atoi(text.c_str() + open + 1);
        if (system == ECONNREFUSED) why = "connection refused: ";
        else if (system > 0) text.append(": ").append(std::generic_category().message(system));
    }
    fail(kind, "cannot connect to", why + text + " (" + std::to_string(code) + ")", code, mysql_sqlstate(m));
}

/// A connection that is being opened.
class mysql::dialling {
public:
    dialling(dialling&&) noexcept = default;
    dialling& operator=(dialling&&) noexcept = default;

    [[nodiscard]] int descriptor() const noexcept { return c_.handle_ ? drivers::mysql_client::descriptor(c_.handle_) : -1; }
    [[nodiscard]] readiness want() const noexcept { return c_.call_.want(); }
    [[nodiscard]] deadline until() const noexcept { return c_.call_.until(by_); }
    [[nodiscard]] bool step();
    [[nodiscard]] connection take() { return std::move(c_); }

private:
    friend mysql;
    dialling(std::shared_ptr<const target> t, deadline by) : target_{std::move(t)}, c_{nullptr}, by_{by} {}

    void begin();
    void connected();
    void prepare_socket() const noexcept;
    void ready();

    std::shared_ptr<const target> target_;
    connection c_;
    deadline by_;
    bool connected_ = false;
    bool named_ = false;
    std::size_t next_init_ = 0;
};

inline mysql::dialling mysql::dial(deadline by) { return dialling{target_, by}; }
inline mysql::connection mysql::open(deadline by) { return drivers::complete(dial(by)); }

inline void mysql::dialling::begin() {
    drivers::mysql_client::attach_thread();
    MYSQL* m = mysql_init(nullptr);
    if (m == nullptr) throw std::bad_alloc{};
    c_.handle_ = m;
    target_->apply(m, by_);
    c_.call_.connect(m, target_->where);
}

/// Makes a step that Connector/C may wait in end by the deadline. True: over.
inline bool mysql::dialling::step() {
    const bool late = by_.expired();
    if (!late && c_.handle_ == nullptr) begin();
    if (!late) {
#if defined(MARIADB_PACKAGE_VERSION_ID)
        drivers::mysql_client::handshake_limit = &by_;
        const bool over = c_.call_.resume();
        drivers::mysql_client::handshake_limit = nullptr;
#else
        const bool over = c_.call_.resume();
#endif
        if (!over) {
            if (!connected_) prepare_socket();
            return false;
        }
    }
    MYSQL* const m = c_.handle_;
    if (late || (c_.call_.failed() && by_.expired())) {
        c_.lose();
        target_->fail(error_class::timeout, "cannot connect to", "connection timeout: the deadline passed");
    }
    if (c_.call_.failed()) {
        if (!connected_) target_->fail_to_connect(m);
        target_->fail(m, named_ ? "options.init failed on" : "cannot set the character set on");
    }
    if (!connected_) {
        connected();
    } else if (!named_) {
        named_ = true;
    } else {
        ++next_init_;
    }
    if (!named_) {
        c_.call_.run(m, target_->set_names);
    } else if (next_init_ < target_->opt.init.size()) {
        c_.call_.run(m, target_->opt.init[next_init_]);
    } else {
        ready();
        return true;
    }
    return step();
}

/// The socket is there: the system's own limit, no inheritance by other programs, and no blocking in the TLS handshake.
inline void mysql::dialling::prepare_socket() const noexcept {
    const int fd = descriptor();
    if (fd < 0) return;
    const drivers::errno_kept keep;
    (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    if constexpr (drivers::mysql_client::is_mariadb) drivers::mysql_client::set_blocking(fd, false);
#if defined(TCP_USER_TIMEOUT)
    if (!target_->local()) {
        const auto ms = static_cast<unsigned>(std::chrono::ceil<std::chrono::milliseconds>(target_->opt.tcp_user_timeout).count());
        if (ms > 0) (void)::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
    }
#endif
}

inline void mysql::dialling::connected() {
    MYSQL* const m = c_.handle_;
    connected_ = true;
    prepare_socket();
#if defined(MARIADB_PACKAGE_VERSION_ID)
    drivers::mysql_client::set_blocking(descriptor(), true);
    (void)mysql_optionsv(m, MARIADB_OPT_IO_WAIT, nullptr);
#endif
    const tls_mode wanted = target_->opt.tls.mode;
    if (wanted != tls_mode::off && wanted != tls_mode::preferred && !drivers::mysql_client::is_encrypted(m)) {
        target_->fail(error_class::other, "cannot connect to", "the server does not offer TLS, which options.tls.mode requires");
    }
}

inline void mysql::dialling::ready() {
    MYSQL* const m = c_.handle_;
    c_.charset_ = mysql_character_set_name(m);
    c_.session_ = mysql_thread_id(m);
    c_.fresh_status_ = m->server_status & ~static_cast<unsigned>(SERVER_SESSION_STATE_CHANGED);
    if (state(c_) != session_state::idle) {
        target_->fail(error_class::other, "cannot connect to", "options.init leaves a transaction or a result open");
    }
}

} // namespace cenote
