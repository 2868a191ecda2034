// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/pg_session.hpp>
#include <cenote/drivers/detail/socket.hpp>

#include <libpq-fe.h>

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>
#include <thread>

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
    explicit canceller(PGconn* c) : ask_{PQgetCancel(c), PQfreeCancel} {
        if (!ask_) throw std::bad_alloc{};
    }
    /// This libpq's call knows no deadline: a thread makes it, and is left to itself when time is up. It ends once the server answers
    /// or the system gives up.
    void ask(std::string_view doing, deadline by) {
        auto a = std::make_shared<asking>();
        a->with = ask_;
        std::thread thread{[a] {
            const int sent = PQcancel(a->with.get(), a->why.data(), static_cast<int>(a->why.size()));
            const std::scoped_lock lock{a->m};
            a->sent = sent == 1;
            a->over = true;
            a->changed.notify_one();
        }};
        std::unique_lock lock{a->m};
        const auto over = [&] { return a->over; };
        if (by.is_never()) a->changed.wait(lock, over);
        else a->changed.wait_until(lock, by.at(), over);
        if (!a->over) {
            thread.detach();
            fail(error_class::timeout, doing, "deadline passed, no answer from the server");
        }
        lock.unlock();
        thread.join();
        if (!a->sent) fail(error_class::disconnected, doing, a->why.data());
    }

private:
    struct asking {
        std::shared_ptr<PGcancel> with;
        std::mutex m;
        std::condition_variable changed;
        std::array<char, 256> why{};
        bool sent = false;
        bool over = false;
    };
    std::shared_ptr<PGcancel> ask_;
#endif
};

} // namespace cenote::drivers::pg
