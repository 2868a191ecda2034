// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/mysql_call.hpp>
#include <cenote/drivers/detail/mysql_client.hpp>
#include <cenote/drivers/detail/mysql_session.hpp>
#include <cenote/drivers/detail/mysql_target.hpp>
#include <cenote/drivers/detail/socket.hpp>

#include <mysql.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace cenote::drivers::mysql_client {

/// A connection that is being opened.
template <class Options>
class dialling {
public:
    dialling(dialling&&) noexcept = default;
    dialling& operator=(dialling&&) noexcept = default;

    [[nodiscard]] int descriptor() const noexcept { return c_.handle_ != nullptr ? mysql_client::descriptor(c_.handle_) : -1; }
    [[nodiscard]] readiness want() const noexcept { return c_.call_.want(); }
    [[nodiscard]] deadline until() const noexcept { return c_.call_.until(by_); }
    [[nodiscard]] bool step();
    [[nodiscard]] session take() { return std::move(c_); }

private:
    friend class cenote::mysql;
    dialling(std::shared_ptr<const target<Options>> t, deadline by) : target_{std::move(t)}, by_{by} {}

    void begin();
    void connected();
    void prepare_socket() const noexcept;
    void ready();

    std::shared_ptr<const target<Options>> target_;
    session c_{};
    deadline by_;
    bool connected_ = false;
    bool named_ = false;
    std::size_t next_init_ = 0;
};

template <class Options>
void dialling<Options>::begin() {
    attach_thread();
    MYSQL* m = mysql_init(nullptr);
    if (m == nullptr) throw std::bad_alloc{};
    c_.handle_ = m;
    target_->apply(m, by_);
    c_.call_.connect(m, target_->where);
}

/// Makes a step that Connector/C may wait in end by the deadline. True: over.
template <class Options>
bool dialling<Options>::step() {
    const bool late = by_.expired();
    if (!late && c_.handle_ == nullptr) begin();
    if (!late) {
#if defined(MARIADB_PACKAGE_VERSION_ID)
        handshake_limit = &by_;
        const bool over = c_.call_.resume(by_);
        handshake_limit = nullptr;
#else
        const bool over = c_.call_.resume(by_);
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
template <class Options>
void dialling<Options>::prepare_socket() const noexcept {
    const int fd = descriptor();
    if (fd < 0) return;
    const errno_kept keep;
    (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    if constexpr (is_mariadb) set_blocking(fd, false);
#if defined(TCP_USER_TIMEOUT)
    if (!target_->local()) {
        const auto ms = static_cast<unsigned>(std::chrono::ceil<std::chrono::milliseconds>(target_->opt.tcp_user_timeout).count());
        if (ms > 0) (void)::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
    }
#endif
}

template <class Options>
void dialling<Options>::connected() {
    MYSQL* const m = c_.handle_;
    connected_ = true;
    prepare_socket();
#if defined(MARIADB_PACKAGE_VERSION_ID)
    set_blocking(descriptor(), true);
    (void)mysql_optionsv(m, MARIADB_OPT_IO_WAIT, nullptr);
#endif
    const tls_mode wanted = target_->opt.tls.mode;
    if (wanted != tls_mode::off && wanted != tls_mode::preferred && !is_encrypted(m)) {
        target_->fail(error_class::other, "cannot connect to", "the server does not offer TLS, which options.tls.mode requires");
    }
}

template <class Options>
void dialling<Options>::ready() {
    MYSQL* const m = c_.handle_;
    c_.charset_ = mysql_character_set_name(m);
    c_.id_ = mysql_thread_id(m);
    c_.fresh_status_ = m->server_status & ~static_cast<unsigned>(SERVER_SESSION_STATE_CHANGED);
    if (c_.state() != session_state::idle) {
        target_->fail(error_class::other, "cannot connect to", "options.init leaves a transaction or a result open");
    }
}

} // namespace cenote::drivers::mysql_client
