// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <server/support/environment.hpp>

#include <cenote/drivers/postgres.hpp>

#include <libpq-fe.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

/// What the tests of the PostgreSQL driver have in common.
namespace pg {

using cenote::deadline;
using cenote::driver_error;
using cenote::error_class;
using cenote::liveness;
using cenote::postgres;
using cenote::session_state;
using settings = std::vector<std::pair<std::string, std::string>>;

inline deadline soon() { return deadline::in(std::chrono::seconds{20}); }

/// Waits for something that happens without us; false: it did not, within ten seconds.
template <class F>
[[nodiscard]] bool becomes(F holds) {
    for (const deadline by = deadline::in(std::chrono::seconds{10}); !holds();) {
        if (by.expired()) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
}

struct clear {
    void operator()(PGresult* r) const noexcept { PQclear(r); }
};
using result = std::unique_ptr<PGresult, clear>;

/// Runs one statement as users of libpq do; throws what it says if it fails.
inline result run(PGconn* c, const char* sql) {
    result r{PQexec(c, sql)};
    const ExecStatusType s = PQresultStatus(r.get());
    if (s == PGRES_FATAL_ERROR || s == PGRES_BAD_RESPONSE || s == PGRES_PIPELINE_ABORTED) throw std::runtime_error{PQerrorMessage(c)};
    return r;
}
inline std::string ask(PGconn* c, const std::string& sql) {
    const result r = run(c, sql.c_str());
    if (PQntuples(r.get()) < 1) throw std::runtime_error{"no row: " + sql};
    return PQgetvalue(r.get(), 0, 0);
}

/// Looks on from outside, as superuser unless told otherwise.
class witness {
public:
    explicit witness(const std::string& conninfo = servers::postgres().admin) : c_{PQconnectdb(conninfo.c_str())} {
        if (PQstatus(c_.get()) != CONNECTION_OK) throw std::runtime_error{PQerrorMessage(c_.get())};
        PQsetNoticeReceiver(c_.get(), [](void*, const PGresult*) {}, nullptr);
    }
    std::string ask(const std::string& sql) { return pg::ask(c_.get(), sql); }
    void run(const std::string& sql) { (void)pg::run(c_.get(), sql.c_str()); }

    /// How many sessions of this name there are.
    std::size_t sessions(const std::string& name) {
        return std::stoul(ask("select count(*) from pg_stat_activity where application_name = '" + name + "'"));
    }
    bool lives(int pid) { return ask("select count(*) from pg_stat_activity where pid = " + std::to_string(pid)) == "1"; }
    /// Ends a session, and comes back when it is gone.
    [[nodiscard]] bool terminate(int pid) {
        run("select pg_terminate_backend(" + std::to_string(pid) + ")");
        return becomes([&] { return !lives(pid); });
    }
    [[nodiscard]] bool is_running(int pid) {
        return becomes([&] { return ask("select count(*) from pg_stat_activity where state = 'active' and pid = " + std::to_string(pid)) == "1"; });
    }

private:
    struct finish {
        void operator()(PGconn* c) const noexcept { PQfinish(c); }
    };
    std::unique_ptr<PGconn, finish> c_;
};

/// A name for sessions that no other test has.
inline std::string own_name() {
    static std::atomic<int> n{0};
    return "cenote-" + std::to_string(::getpid()) + "-" + std::to_string(n++);
}

inline postgres::options options(const std::string& conninfo, settings more = {}) {
    postgres::options o;
    o.conninfo = conninfo;
    o.parameters = std::move(more);
    return o;
}

struct transport {
    const char* name;
    std::string conninfo;
};
inline std::array<transport, 3> transports() {
    const auto& s = servers::postgres();
    return {{{"unix socket", s.unix_socket}, {"TCP", s.tcp}, {"TLS", s.tls}}};
}

/// A connection that is closed whatever happens.
class opened {
public:
    explicit opened(postgres& d) : d_{&d}, c_{d.open(soon())} {}
    opened(postgres& d, postgres::connection c) : d_{&d}, c_{std::move(c)} {}
    opened(opened&& o) noexcept : d_{std::exchange(o.d_, nullptr)}, c_{std::move(o.c_)} {}
    ~opened() { close(); }
    void close() noexcept {
        if (d_ != nullptr) std::exchange(d_, nullptr)->close(c_);
    }
    postgres::connection& operator*() noexcept { return c_; }
    postgres::connection* operator->() noexcept { return &c_; }
    [[nodiscard]] PGconn* handle() const noexcept { return c_.handle(); }
    [[nodiscard]] int pid() const noexcept { return PQbackendPID(handle()); }

private:
    postgres* d_;
    postgres::connection c_;
};

/// What f throws as a driver_error.
template <class F>
[[nodiscard]] std::optional<driver_error> error_of(F f) {
    try {
        f();
    } catch (const driver_error& e) {
        return e;
    }
    return std::nullopt;
}

/// One of the environment's variables is another for as long as this lives.
class variable {
public:
    variable(const char* name, const char* value) : name_{name} {
        if (const char* before = std::getenv(name)) before_ = before;
        ::setenv(name, value, 1);
    }
    variable(const variable&) = delete;
    variable& operator=(const variable&) = delete;
    ~variable() {
        if (before_) ::setenv(name_, before_->c_str(), 1);
        else ::unsetenv(name_);
    }

private:
    const char* name_;
    std::optional<std::string> before_;
};

} // namespace pg
