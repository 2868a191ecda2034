// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/socket.hpp>

#include <mysql.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#if defined(MARIADB_PACKAGE_VERSION_ID)
#if MARIADB_PACKAGE_VERSION_ID < 30100
#error "cenote's MySQL driver needs MariaDB Connector/C 3.1 or later: mysql_reset_connection_start, mariadb_get_infov."
#endif
#elif defined(LIBMYSQL_VERSION_ID)
#if LIBMYSQL_VERSION_ID < 80100
#error "cenote's MySQL driver needs libmysqlclient 8.1 or later (mysql_reset_connection_nonblocking), or MariaDB Connector/C 3.1."
#endif
#else
#error "cenote's MySQL driver does not know this client: it takes MariaDB Connector/C and Oracle's libmysqlclient."
#endif

/// What MariaDB Connector/C and Oracle's libmysqlclient do differently.
namespace cenote::drivers::mysql_client {

using flag = std::remove_pointer_t<decltype(MYSQL_BIND::is_null)>; // my_bool there, bool here

#if defined(MARIADB_PACKAGE_VERSION_ID)
inline constexpr bool is_mariadb = true;
#else
inline constexpr bool is_mariadb = false;
#endif

/// Makes the calling thread known to the client library, once, and the library ready before the first.
inline void attach_thread() noexcept {
    struct library {
        library() noexcept { (void)mysql_library_init(0, nullptr, nullptr); }
    };
    static const library ready; // the library's own initialisation is not thread-safe; it is never ended, as others may use it too
    if constexpr (!is_mariadb) {
        struct attachment {
            attachment() noexcept { (void)mysql_thread_init(); }
            ~attachment() { mysql_thread_end(); }
        };
        thread_local const attachment attached;
        (void)attached;
    }
}

/// The connection's socket; -1 when there is none, none any more, or (with libmysqlclient, while TCP connects) none it would tell.
[[nodiscard]] inline int descriptor(MYSQL* m) noexcept {
#if defined(MARIADB_PACKAGE_VERSION_ID)
    return mysql_get_socket(m);
#else
    return m->net.vio != nullptr && m->net.buff != nullptr ? m->net.fd : -1; // without a buffer `fd` is not set yet, and 0
#endif
}

/// The default schema as far as the client knows; empty: none.
[[nodiscard]] inline std::string_view schema(MYSQL* m) noexcept {
#if defined(MARIADB_PACKAGE_VERSION_ID)
    const char* name = nullptr;
    mariadb_get_infov(m, MARIADB_CONNECTION_SCHEMA, &name);
#else
    const char* name = m->db;
#endif
    return name != nullptr ? std::string_view{name} : std::string_view{};
}

/// Whether the server told of a change of this kind with its last answer.
[[nodiscard]] inline bool was_told(MYSQL* m, enum_session_state_type kind) noexcept {
    const char* text = nullptr;
    std::size_t length = 0;
    return mysql_session_track_get_first(m, kind, &text, &length) == 0;
}

/// Whether a command was sent and nobody has begun to read its answer (mysql_send_query, a suspended call), of which the client's status
/// tells nothing: the next to ask would get that answer. Its packet is then the last one counted, and still lies in the buffer.
[[nodiscard]] inline bool awaits_answer(const MYSQL* m) noexcept {
    if (m->net.pkt_nr != 1 || m->net.buff == nullptr || m->net.buff[3] != 0) return false;
    switch (m->net.buff[4]) {
    case COM_INIT_DB:
    case COM_QUERY:
    case COM_PING:
    case COM_CHANGE_USER:
    case COM_STMT_PREPARE:
    case COM_STMT_EXECUTE:
    case COM_STMT_RESET:
    case COM_STMT_FETCH:
    case COM_SET_OPTION:
    case COM_RESET_CONNECTION: return true;
    default: return false; // also those that are never answered: closing a statement, sending its long data
    }
}

/// Whether the client would open another session when it has lost this one.
[[nodiscard]] inline bool reconnects(MYSQL* m) noexcept {
#if defined(MARIADB_PACKAGE_VERSION_ID)
    flag on = 0;
    return mysql_get_option(m, MYSQL_OPT_RECONNECT, &on) == 0 && on != 0;
#else
    return m->reconnect; // libmysqlclient warns on stderr when it is asked
#endif
}

[[nodiscard]] inline bool is_encrypted(MYSQL* m) noexcept { return mysql_get_ssl_cipher(m) != nullptr; }

inline void set_blocking(int fd, bool blocking) noexcept {
    if (fd < 0) return;
    const errno_kept keep;
    const int before = ::fcntl(fd, F_GETFL);
    const int after = blocking ? before & ~O_NONBLOCK : before | O_NONBLOCK;
    if (before >= 0 && after != before) (void)::fcntl(fd, F_SETFL, after);
}

/// Ends the conversation at once, and lets the client library go on talking to nobody: no signal, no wait.
inline void cut(MYSQL* m) noexcept {
    const int fd = descriptor(m);
    if (fd < 0) return;
    const errno_kept keep;
    ::shutdown(fd, SHUT_RDWR);
    (void)divert(fd);
}

/// After a connection with TLS has failed: OpenSSL keeps that in mind for the thread, and Connector/C would take it for a failure of the next
/// connection that has to wait there.
inline void forget_tls_errors() noexcept {
    if constexpr (is_mariadb) {
        using function = void (*)();
        static const auto clear = reinterpret_cast<function>(::dlsym(RTLD_DEFAULT, "ERR_clear_error")); // none with another TLS library
        if (clear != nullptr) clear();
    }
}

/// The address of the other end of a TCP connection; empty for a local one.
[[nodiscard]] inline std::string peer_address(int fd) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    std::array<char, NI_MAXHOST> text{};
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::getpeername(fd, any, &length) != 0 || (address.ss_family != AF_INET && address.ss_family != AF_INET6)) return {};
    if (::getnameinfo(any, length, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) return {};
    return text.data();
}

/// Why a connect failed.
struct refusal {
    unsigned code = 0;
    std::string sqlstate{};
    std::string text{};
};

[[nodiscard]] inline refusal refusal_of(MYSQL* m) { return {mysql_errno(m), mysql_sqlstate(m), mysql_error(m)}; }

/// The server's last words, if they lie unread in a local socket. libmysqlclient, not blocking, ends each packet by sending nothing, which
/// fails when the server has hung up already; then it says "Unknown MySQL error" or "Lost connection", and drops what it was told.
[[nodiscard]] inline refusal unread_refusal(int fd) {
    std::array<char, 1024> bytes;
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    std::string_view left{bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
    const auto byte = [&left](std::size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(left[i])); };
    while (left.size() >= 4) { // packets: length, number, and in an error 0xff, code, '#', SQLSTATE, text
        const std::size_t length = byte(0) + (byte(1) << 8) + (byte(2) << 16);
        left.remove_prefix(4);
        if (length > left.size()) break;
        if (length > 9 && byte(0) == 0xff && left[3] == '#') {
            return {byte(1) + (byte(2) << 8), std::string{left.substr(4, 5)}, std::string{left.substr(9, length - 9)}};
        }
        left.remove_prefix(length);
    }
    return {};
}

#if defined(MARIADB_PACKAGE_VERSION_ID)
/// Connector/C waits for the TLS handshake inside its non-blocking connect. This is where it waits while one of ours goes on.
inline thread_local const deadline* handshake_limit = nullptr;
inline int wait_in_handshake(my_socket fd, flag is_read, int timeout_ms) noexcept {
    const deadline by = handshake_limit != nullptr ? *handshake_limit
                        : timeout_ms > 0           ? deadline::in(std::chrono::milliseconds{timeout_ms})
                                                   : deadline::never();
    return wait_ready(fd, is_read != 0 ? readiness::read : readiness::write, by) ? 1 : 0;
}
#endif

} // namespace cenote::drivers::mysql_client
