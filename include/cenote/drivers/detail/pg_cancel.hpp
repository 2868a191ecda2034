// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/pg_session.hpp>
#include <cenote/drivers/detail/socket.hpp>

#include <libpq-fe.h>

#include <array>
#include <memory>
#include <new>
#include <string_view>

namespace cenote::drivers::pg {

/// Asks the server, over a connection of its own, to cancel what a session does. Needs nothing of the session once it is made.
class canceller {
public:
    canceller() noexcept = default;

#if defined(LIBPQ_HAS_ASYNC_CANCEL)
    explicit canceller(PGconn* c) : ask_{PQcancelCreate(c)} {
        if (!ask_) throw std::bad_alloc{};
    }
    void ask(std::string_view doing, deadline by) {
        PGcancelConn* const c = ask_.get();
        PQcancelReset(c);
        if (PQcancelStart(c) == 0) fail(error_class::disconnected, doing, PQcancelErrorMessage(c));
        for (readiness want = readiness::write;;) {
            if (!wait_ready(PQcancelSocket(c), want, by)) fail(error_class::timeout, doing, "deadline passed, no answer from the server");
            switch (PQcancelPoll(c)) {
            case PGRES_POLLING_OK: return;
            case PGRES_POLLING_FAILED: fail(error_class::disconnected, doing, PQcancelErrorMessage(c));
            case PGRES_POLLING_READING: want = readiness::read; break;
            default: want = readiness::write; break;
            }
        }
    }

private:
    struct release {
        void operator()(PGcancelConn* p) const noexcept { PQcancelFinish(p); }
    };
    std::unique_ptr<PGcancelConn, release> ask_;
#else
    explicit canceller(PGconn* c) : ask_{PQgetCancel(c)} {
        if (!ask_) throw std::bad_alloc{};
    }
    void ask(std::string_view doing, deadline) {
        std::array<char, 256> why{};
        if (PQcancel(ask_.get(), why.data(), static_cast<int>(why.size())) != 1) fail(error_class::disconnected, doing, why.data());
    }

private:
    struct release {
        void operator()(PGcancel* p) const noexcept { PQfreeCancel(p); }
    };
    std::unique_ptr<PGcancel, release> ask_;
#endif
};

} // namespace cenote::drivers::pg
