// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/drivers/detail/mysql_call.hpp>
#include <cenote/drivers/detail/mysql_client.hpp>
#include <cenote/drivers/detail/mysql_error.hpp>
#include <cenote/drivers/detail/secret.hpp>

#include <mysql.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

/// Settings judged, handed to the client library, and errors put into words.
namespace cenote::drivers::mysql_client {

enum class tls_mode : unsigned char {
    off,             ///< never
    preferred,       ///< by TCP, where the server offers it
    required,        ///< or no connection; nothing is known of who the server is
    verify_ca,       ///< and its certificate is signed by `ca`
    verify_identity, ///< and made out to `host`
};

/// The settings, and what follows from them.
template <class Options>
struct target {
    Options opt;
    std::string name; // for messages
    std::string set_names;
    std::string use;
    secrets hidden{};
    destination where{};

    explicit target(Options o);
    target(const target&) = delete;
    target& operator=(const target&) = delete;

    [[nodiscard]] bool local() const noexcept { return !opt.socket.empty(); }

    [[noreturn]] void fail(error_class kind, std::string_view doing, std::string_view why, unsigned code = 0, std::string sqlstate = {},
                           condition met = condition::none) const {
        if (met == condition::none) met = code != 0 ? condition_of(code) : kind == error_class::disconnected ? condition::disconnected : met;
        std::string text{"mysql: "};
        text.append(doing).append(" ").append(name).append(": ").append(why);
        throw driver_error{kind, hidden.scrubbed(std::move(text)), static_cast<int>(code), std::move(sqlstate), met};
    }
    /// With what the handle says.
    [[noreturn]] void fail(MYSQL* m, std::string_view doing) const {
        const unsigned code = mysql_errno(m);
        if (code == 0) fail(error_class::disconnected, doing, "the client library failed without a reason");
        secrets own; // where it comes from `credentials`, `hidden` does not have it
        if (m->passwd != nullptr) own.add(m->passwd);
        fail(class_of(code), doing, own.scrubbed(mysql_error(m)) + " (" + std::to_string(code) + ")", code, mysql_sqlstate(m));
    }
    /// With what the statement says, or else the handle.
    [[noreturn]] void fail(MYSQL* m, MYSQL_STMT* s, std::string_view doing) const {
        const unsigned code = mysql_stmt_errno(s);
        if (code == 0) fail(m, doing);
        secrets own;
        if (m->passwd != nullptr) own.add(m->passwd);
        fail(class_of(code), doing, own.scrubbed(mysql_stmt_error(s)) + " (" + std::to_string(code) + ")", code, mysql_stmt_sqlstate(s));
    }
    [[noreturn]] void fail_to_connect(refusal r) const;
    void check() const;
    void apply(MYSQL* m) const;
    void apply_tls(MYSQL* m) const;
};

template <class Options>
target<Options>::target(Options o) : opt{std::move(o)} {
    hidden.add(opt.password);
    check();
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

template <class Options>
void target<Options>::check() const {
    const auto refuse = [this](std::string_view field, std::string_view value, std::string_view rule) {
        // Without the password, which may have got into the wrong field as well.
        throw std::invalid_argument{"cenote: mysql.options." + std::string{field} + " = " + hidden.scrubbed(std::string{value}) + ": " + std::string{rule}};
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
    const auto& tls = opt.tls;
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
        cenote::detail::bad_value("mysql.options.tcp_user_timeout", opt.tcp_user_timeout, "must be 0 … 2147483647 ms; 0 leaves it to the system");
    }
    cenote::detail::require_not_negative("mysql.options.drain_time", opt.drain_time);
    cenote::detail::require_not_negative("mysql.options.cancel_time", opt.cancel_time);
    for (const std::string& sql : opt.init) {
        if (sql.empty()) refuse("init", "a list with an empty statement", "must have a statement in each of its texts");
    }
}

template <class Options>
void target<Options>::apply_tls(MYSQL* m) const {
    const auto& tls = opt.tls;
    const auto file = [m](mysql_option which, const std::string& path) {
        if (!path.empty()) (void)mysql_options(m, which, path.c_str());
    };
    file(MYSQL_OPT_SSL_CA, tls.ca);
    file(MYSQL_OPT_SSL_CERT, tls.cert);
    file(MYSQL_OPT_SSL_KEY, tls.key);
#if defined(MARIADB_PACKAGE_VERSION_ID)
    // Offered where the server can; that it was taken is checked afterwards, as Connector/C 3.3 connects without when the server cannot.
    flag offer = tls.mode != tls_mode::off && !(local() && tls.mode == tls_mode::preferred) ? 1 : 0;
    flag verify = tls.mode == tls_mode::verify_identity ? 1 : 0;
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

template <class Options>
void target<Options>::apply(MYSQL* m) const {
    constexpr std::string_view doing = "cannot connect to";
    unsigned protocol = local() ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
    (void)mysql_options(m, MYSQL_OPT_PROTOCOL, &protocol);
    if (mysql_options(m, MYSQL_SET_CHARSET_NAME, opt.charset.c_str()) != 0) fail(m, doing);
    if (!opt.program_name.empty()) (void)mysql_options4(m, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", opt.program_name.c_str());
    apply_tls(m);
    if constexpr (is_mariadb) {
        // The least there is. It ends what Connector/C waits for by itself: a name that may resolve the next time, and each read in a TLS
        // handshake of a socket that blocks, as it does when the server's greeting came before anybody had to wait for it.
        constexpr unsigned seconds = 1;
        (void)mysql_options(m, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    }
    if (opt.before_connect) opt.before_connect(m);

    if (reconnects(m)) {
        fail(error_class::other, doing, "options.before_connect switched MYSQL_OPT_RECONNECT on, which would swap the session without a word");
    }
#if defined(MARIADB_PACKAGE_VERSION_ID)
    if (mysql_options(m, MYSQL_OPT_NONBLOCK, nullptr) != 0) throw std::bad_alloc{};
    (void)mysql_optionsv(m, MARIADB_OPT_IO_WAIT, reinterpret_cast<void*>(&wait_in_handshake));
#endif
}

/// In the words that people look for, and with what the system says to the number in the client's text.
template <class Options>
[[noreturn]] void target<Options>::fail_to_connect(refusal r) const {
    const error_class kind = r.code == 2026 ? error_class::other : class_of(r.code); // no TLS that both agree on: a retry changes nothing
    std::string why;
    if (kind == error_class::auth) why = "authentication failed: ";
    if (kind == error_class::server_full) why = "too many connections: ";
    if (r.code == 2002 || r.code == 2003) {
        const auto open = r.text.rfind('(');
        const int system = open == std::string::npos ? 0 : std::atoi(r.text.c_str() + open + 1);
        if (system == ECONNREFUSED) why = "connection refused: ";
        else if (system > 0) r.text.append(": ").append(std::generic_category().message(system));
    }
    fail(kind, "cannot connect to", why + r.text + " (" + std::to_string(r.code) + ")", r.code, std::move(r.sqlstate));
}

} // namespace cenote::drivers::mysql_client
