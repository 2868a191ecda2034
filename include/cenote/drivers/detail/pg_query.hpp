// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/pg_cancel.hpp>
#include <cenote/drivers/detail/pg_session.hpp>
#include <cenote/drivers/detail/pg_values.hpp>
#include <cenote/drivers/detail/socket.hpp>
#include <cenote/session/statement.hpp>

#include <libpq-fe.h>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote::drivers::pg {

/// Waits until a result can be taken without waiting. False: time is up.
[[nodiscard]] inline bool arrives(session& s, std::string_view doing, deadline by) {
    PGconn* const c = s.handle.get();
    patience left_over{by};
    while (PQisBusy(c) != 0) {
        if (!left_over.wait(PQsocket(c), POLLIN)) return false;
        if (!take_input(c)) fail_broken(s, doing);
    }
    return true;
}
/// Sends what libpq still has to send. False: time is up.
[[nodiscard]] inline bool leaves(session& s, std::string_view doing, deadline by) {
    PGconn* const c = s.handle.get();
    patience left_over{by};
    for (int left = 0; (left = PQflush(c)) != 0;) {
        if (left < 0) fail_broken(s, doing);
        if (!left_over.wait(PQsocket(c), POLLIN | POLLOUT)) return false;
        if (is_ready(PQsocket(c), readiness::read) && !take_input(c)) fail_broken(s, doing); // or both sides wait for the other to read
    }
    return true;
}
[[nodiscard]] inline result_owner take(session& s) {
    result_owner r{PQgetResult(s.handle.get())};
    if (is_error(PQresultStatus(r.get()))) s.remember(r.get());
    return r;
}

/// Cancels what runs and reads on to its end, within the bound. False: it cannot be told what the connection would answer next.
///
/// With     the server closes the connection of a request to cancel once it has passed it on to the session, and a session drops one that
///          finds it waiting for its next command. So whoever has seen that end, and all of the answer, knows that nothing of it is left to hit
///          what is sent next. Without having seen it the connection is of no more use.
[[nodiscard]] inline bool stop(session& s, duration bound) noexcept {
    if (!s.alive() || bound <= duration::zero()) return false;
    try {
        const deadline until = deadline::in(bound);
        canceller{s.handle.get()}.ask("cannot cancel", until);
        return drain(s, {std::numeric_limits<std::size_t>::max(), bound}, until);
    } catch (const std::exception&) {
        return false;
    }
}
/// A deadline has passed while a statement runs.
[[noreturn]] inline void out_of_time(session& s, std::string_view doing, duration bound) {
    const bool known = stop(s, bound);
    if (!known) s.broken = true;
    fail(error_class::timeout, doing,
         known ? "deadline passed; the statement was cancelled, if it had not just ended" : "deadline passed, no answer from the server", {},
         condition::statement_timeout);
}

/// Ends a command that began a COPY where none was wanted.
[[noreturn]] inline void refuse_copy(session& s, std::string_view doing, duration bound) {
    if (!stop(s, bound)) s.broken = true;
    fail(error_class::other, doing, "a COPY was begun: use copy_in or copy_out");
}
[[nodiscard]] inline bool is_copy(ExecStatusType s) noexcept { return s == PGRES_COPY_IN || s == PGRES_COPY_OUT || s == PGRES_COPY_BOTH; }

/// All answers to one command; the last of them.
inline result_owner collect(session& s, std::string_view doing, duration bound, deadline by) {
    outcome heard;
    for (;;) {
        if (!arrives(s, doing, by)) out_of_time(s, doing, bound);
        result_owner r = take(s);
        if (!r) return heard.end(s, doing);
        if (is_copy(PQresultStatus(r.get()))) refuse_copy(s, doing, bound);
        heard.hear(s, std::move(r));
    }
}

/// What a command's tag tells: how many rows it changed or returned.
[[nodiscard]] inline std::uint64_t affected_by(PGresult* r) noexcept {
    const std::string_view n = r != nullptr ? PQcmdTuples(r) : "";
    std::uint64_t out = 0;
    std::from_chars(n.data(), n.data() + n.size(), out);
    return out;
}

/// What a statement answers, row by row: all of it here already, and nobody's but its owner's; or as it arrives, and then the connection must
/// live longer. See can_query.
class rows {
public:
    rows() noexcept = default; ///< none
    rows(rows&&) noexcept = default;
    rows& operator=(rows&&) noexcept = default;

    [[nodiscard]] std::size_t columns() const noexcept { return static_cast<std::size_t>(PQnfields(r_.get())); }
    /// Empty beyond the last.
    [[nodiscard]] std::string_view name(std::size_t column) const noexcept {
        const char* const n = column < columns() ? PQfname(r_.get(), static_cast<int>(column)) : nullptr;
        return n != nullptr ? std::string_view{n} : std::string_view{};
    }
    /// Errors   driver_error; while rows arrive one by one also when the connection was used otherwise in between.
    bool next(deadline by) {
        if (at_ + 1 >= PQntuples(r_.get()) && s_ != nullptr) more(by);
        if (at_ + 1 < PQntuples(r_.get())) {
            ++at_;
            for (bytea& b : bytea_) decode(b);
            return true;
        }
        at_ = PQntuples(r_.get());
        return false;
    }
    /// Errors   std::out_of_range.
    [[nodiscard]] value_view at(std::size_t column) const {
        if (at_ < 0 || at_ >= PQntuples(r_.get()) || column >= columns()) {
            throw std::out_of_range("cenote: postgres: column " + std::to_string(column) + " of " + std::to_string(columns()) +
                                    (at_ < 0 || at_ >= PQntuples(r_.get()) ? ", on no row" : ""));
        }
        const int x = static_cast<int>(column);
        if (PQgetisnull(r_.get(), at_, x) != 0) return {};
        const Oid type = PQftype(r_.get(), x);
        if (type == oid::bytea) {
            for (const bytea& b : bytea_) {
                if (b.column == x) return value_view{std::as_bytes(std::span{b.bytes})};
            }
        }
        return read_value(type, text(x));
    }
    [[nodiscard]] std::uint64_t affected() const noexcept { return affected_; }
    /// What libpq has of it: all rows, or those that have arrived together.
    [[nodiscard]] const PGresult* native_handle() const noexcept { return r_.get(); }

    /// Not for users: all of it, which is here.
    explicit rows(result_owner whole) : r_{std::move(whole)} {
        affected_ = affected_by(r_.get());
        find_bytea();
    }
    /// Not for users: the first answer to what was just sent.
    rows(session& s, std::string_view doing, duration bound, deadline by) : s_{&s}, turn_{s.turn}, bound_{bound}, doing_{doing} {
        fetch(by);
        find_bytea();
    }

private:
    struct bytea {
        int column;
        std::string bytes;
    };
    struct not_owned {
        void operator()(session*) const noexcept {}
    };

    [[nodiscard]] std::string_view text(int x) const noexcept {
        return {PQgetvalue(r_.get(), at_, x), static_cast<std::size_t>(PQgetlength(r_.get(), at_, x))};
    }
    void find_bytea() {
        for (int x = 0, n = PQnfields(r_.get()); x < n; ++x) {
            if (PQftype(r_.get(), x) == oid::bytea) bytea_.push_back({x, {}});
        }
    }
    void decode(bytea& b) {
        if (!read_bytea(text(b.column), b.bytes)) fail(error_class::other, doing_, "a bytea that cannot be read");
    }
    void more(deadline by) {
        if (s_->turn != turn_) {
            s_.reset();
            fail(error_class::other, doing_, "the connection was used otherwise before all rows were read");
        }
        const errno_kept keep;
        if (!s_->alive()) fail_broken(*s_.release(), doing_);
        const unblocked here{*s_};
        if (PQisBusy(s_->handle.get()) != 0 && by.expired()) out_of_time(*s_.release(), doing_, bound_); // though there may always be something
        fetch(by);
    }
    /// The next rows, or the end.
    void fetch(deadline by) {
        session& s = *s_.release(); // unless it goes on
        r_.reset();
        at_ = -1;
        if (!arrives(s, doing_, by)) out_of_time(s, doing_, bound_);
        result_owner r = take(s);
        if (!r) fail_broken(s, doing_);
        const ExecStatusType status = PQresultStatus(r.get());
#if defined(LIBPQ_HAS_CHUNK_MODE)
        if (status == PGRES_TUPLES_CHUNK) s_.reset(&s);
#endif
        if (status == PGRES_SINGLE_TUPLE) s_.reset(&s);
        if (s_ == nullptr) {
            if (is_copy(status)) refuse_copy(s, doing_, bound_);
            if (is_error(status)) {
                while (arrives(s, doing_, by) && take(s)) {}
                if (PQtransactionStatus(s.handle.get()) == PQTRANS_ACTIVE) out_of_time(s, doing_, bound_);
                fail(s, r.get(), doing_);
            }
            (void)collect(s, doing_, bound_, by); // nothing but the end
            if (s.kept) s.kept->heard(PQcmdStatus(r.get()));
            affected_ = affected_by(r.get());
        }
        r_ = std::move(r);
    }

    result_owner r_;
    std::unique_ptr<session, not_owned> s_; // until all has arrived
    std::uint64_t turn_ = 0;
    std::uint64_t affected_ = 0;
    duration bound_{};
    std::string_view doing_ = "rows cannot be read"; // a literal
    std::vector<bytea> bytea_;
    int at_ = -1;
};

inline void one_by_one(PGconn* c) noexcept {
#if defined(LIBPQ_HAS_CHUNK_MODE)
    (void)PQsetChunkedRowsMode(c, 64);
#else
    (void)PQsetSingleRowMode(c); // where that cannot be, they come all at once
#endif
}

/// Whether a command can be sent; throws.
inline void require_free(session& s, std::string_view doing, deadline by) {
    if (!s.alive()) fail_broken(s, doing);
    PGconn* const c = s.handle.get();
    if (PQpipelineStatus(c) != PQ_PIPELINE_OFF) fail(error_class::other, doing, "the connection is in pipeline mode"); // no answer would come
    if (PQtransactionStatus(c) == PQTRANS_ACTIVE) fail(error_class::other, doing, "another statement, result or copy is unfinished");
    if (by.expired()) fail(error_class::timeout, doing, "deadline passed before it was sent", {}, condition::statement_timeout);
}
/// Sends one command.
template <class Send>
void dispatch(session& s, std::string_view doing, duration bound, deadline by, bool stream, Send send) {
    PGconn* const c = s.handle.get();
    ++s.turn;
    if (send(c) == 0) {
        if (!s.alive()) fail_broken(s, doing);
        fail(error_class::other, doing, PQerrorMessage(c));
    }
    if (stream) one_by_one(c);
    if (!leaves(s, doing, by)) out_of_time(s, doing, bound);
}

/// One statement with its values, sent by `send`.
template <class Send>
[[nodiscard]] rows ask(session& s, std::string_view doing, duration bound, deadline by, bool stream, Send send) {
    require_free(s, doing, by);
    const unblocked here{s};
    dispatch(s, doing, bound, by, stream, send);
    if (stream) return rows{s, doing, bound, by};
    return rows{collect(s, doing, bound, by)};
}

/// Deallocates what was put aside; not inside a transaction, where one that is no longer there would be the end of it.
inline void tidy(session& s, std::string_view doing, duration bound, deadline by) {
    while (!s.kept->aside().empty() && PQtransactionStatus(s.handle.get()) == PQTRANS_IDLE) {
        const std::string sql = "deallocate " + s.kept->aside().front().name;
        s.kept->dropped();
        try {
            (void)ask(s, doing, bound, by, false, [&](PGconn* c) { return PQsendQuery(c, sql.c_str()); });
        } catch (const driver_error& e) {
            if (e.sqlstate() != "26000") throw;
        }
    }
}

/// One statement that is prepared on this connection, now or already.
[[nodiscard]] inline rows ask_kept(session& s, std::string_view doing, duration bound, deadline by, bool stream, const std::string& sql,
                                   const bound_values& values) {
    std::string key = sql;
    if (values.types() != nullptr) key.append(1, '\0').append(values.shape());
    for (bool again = true;; again = false) {
        tidy(s, doing, bound, by);
        const std::string* name = s.kept->find(key);
        if (name == nullptr) {
            std::string fresh = s.kept->name();
            const std::uint64_t age = s.kept->age();
            (void)ask(s, doing, bound, by, false, [&](PGconn* c) {
                return PQsendPrepare(c, fresh.c_str(), sql.c_str(), values.types() != nullptr ? values.count() : 0, values.types());
            });
            name = &s.kept->add(key, std::move(fresh), age);
        }
        try {
            return ask(s, doing, bound, by, stream, [&](PGconn* c) {
                return PQsendQueryPrepared(c, name->c_str(), values.count(), values.data(), values.lengths(), values.formats(), 0);
            });
        } catch (const driver_error& e) {
            if (e.kind() != error_class::stale_plan) throw;
            if (e.sqlstate() == "26000") {
                s.kept->forget(); // somebody has deallocated them, or a pooler in between has changed sessions
            } else {
                s.kept->drop(key);
                s.kept->outdated();
            }
            // Refused before it ran, so it can run now; but where it was in a transaction, that is lost.
            if (!again || !s.alive() || PQtransactionStatus(s.handle.get()) != PQTRANS_IDLE) throw;
        }
    }
}

/// `begin` with what was asked for.
[[nodiscard]] inline std::string begin_sql(const transaction_options& o) {
    using level = transaction_options::level;
    using access = transaction_options::access;
    std::string sql = "begin";
    switch (o.isolation) {
    case level::server_default: break;
    case level::read_committed: sql += " isolation level read committed"; break;
    case level::repeatable_read: sql += " isolation level repeatable read"; break;
    case level::serializable: sql += " isolation level serializable"; break;
    }
    if (o.mode == access::read_only) sql += " read only";
    if (o.mode == access::read_write) sql += " read write";
    if (o.deferrable) {
        if (o.isolation != level::serializable || o.mode != access::read_only) {
            throw std::invalid_argument("cenote: postgres: transaction_options.deferrable = true: must be serializable and read_only as well, "
                                        "or it has no effect");
        }
        sql += " deferrable";
    }
    return sql;
}

} // namespace cenote::drivers::pg
