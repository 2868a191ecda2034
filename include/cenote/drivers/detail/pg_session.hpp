// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>
#include <cenote/drivers/detail/pg_kept.hpp>
#include <cenote/drivers/detail/secret.hpp>
#include <cenote/drivers/detail/socket.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace cenote::drivers::pg {

struct clear_result {
    void operator()(PGresult* r) const noexcept { PQclear(r); }
};
using result_owner = std::unique_ptr<PGresult, clear_result>;

/// Whether libpq may have something in its buffer that is not sent yet: of a pipeline, or of a COPY.
[[nodiscard]] inline bool may_hold_back(PGconn* c) noexcept {
    return PQpipelineStatus(c) != PQ_PIPELINE_OFF || PQtransactionStatus(c) == PQTRANS_ACTIVE;
}

/// Says good-bye without waiting for the server to listen.
struct finish_connection {
    void operator()(PGconn* c) const noexcept {
        // In libpq's blocking mode even leaving that mode sends what was held back, for as long as that takes. Nobody wants it any more.
        if (may_hold_back(c) && PQisnonblocking(c) == 0 && PQsocket(c) >= 0) ::shutdown(PQsocket(c), SHUT_RDWR);
        PQsetnonblocking(c, 1);
        PQfinish(c);
    }
};
using connection_owner = std::unique_ptr<PGconn, finish_connection>;

[[nodiscard]] inline std::string_view field(const PGresult* r, int which) noexcept {
    const char* const text = PQresultErrorField(r, which);
    return text != nullptr ? std::string_view{text} : std::string_view{};
}

/// The class of a SQLSTATE. Only what the server said; a connection that broke without a word has none.
[[nodiscard]] constexpr error_class class_of(std::string_view sqlstate) noexcept {
    constexpr auto is = [](std::string_view s, std::initializer_list<std::string_view> any) {
        for (const std::string_view one : any) {
            if (s == one) return true;
        }
        return false;
    };
    if (sqlstate.size() != 5) return error_class::other;
    const std::string_view kind = sqlstate.substr(0, 2);
    if (is(sqlstate, {"57P01", "57P02", "57P04", "57P05", "25P03", "25P04"}) || kind == "08") return error_class::disconnected;
    if (sqlstate == "57P03") return error_class::not_ready;
    if (sqlstate == "57014") return error_class::cancelled;
    if (sqlstate == "53300") return error_class::server_full;
    if (sqlstate == "25006") return error_class::wrong_role;
    if (sqlstate == "26000") return error_class::stale_plan;
    if (is(sqlstate, {"40001", "40P01"})) return error_class::serialization;
    if (sqlstate == "55P03") return error_class::timeout;
    if (kind == "28" || sqlstate == "42501") return error_class::auth;
    if (kind == "23") return error_class::constraint;
    return error_class::other;
}

/// What a SQLSTATE means, the same for every database. 57014 is `cancelled`: whether a limit of the server's did it is in its text only.
[[nodiscard]] constexpr condition condition_of(std::string_view sqlstate) noexcept {
    struct entry {
        std::string_view sqlstate;
        condition means;
    };
    constexpr entry table[] = {
        {"23505", condition::unique_violation},      {"23503", condition::foreign_key_violation}, {"23001", condition::foreign_key_violation},
        {"23502", condition::not_null_violation},    {"23514", condition::check_violation},       {"23P01", condition::exclusion_violation},
        {"40001", condition::serialization_failure}, {"40P01", condition::deadlock},              {"55P03", condition::lock_timeout},
        {"57014", condition::cancelled},             {"25006", condition::read_only},             {"42501", condition::permission_denied},
        {"42601", condition::syntax_error},          {"42P01", condition::undefined_object},      {"42703", condition::undefined_object},
        {"42883", condition::undefined_object},      {"42704", condition::undefined_object},      {"42P02", condition::undefined_object},
        {"3F000", condition::undefined_object},      {"3D000", condition::undefined_object},      {"42P07", condition::duplicate_object},
        {"42701", condition::duplicate_object},      {"42710", condition::duplicate_object},      {"42723", condition::duplicate_object},
        {"42P03", condition::duplicate_object},      {"42P04", condition::duplicate_object},      {"42P05", condition::duplicate_object},
        {"42P06", condition::duplicate_object},
    };
    for (const entry& e : table) {
        if (e.sqlstate == sqlstate) return e.means;
    }
    if (sqlstate.size() == 5 && sqlstate.starts_with("22")) return condition::data_error;
    return class_of(sqlstate) == error_class::disconnected ? condition::disconnected : condition::none;
}

/// What the server says beside its answers.
struct notice {
    std::string_view severity; ///< in the server's language
    std::string_view sqlstate;
    std::string_view message;
};

/// One connection with what the driver has to remember of it. Stays where it is: libpq keeps its address.
struct session {
    explicit session(PGconn* c, std::shared_ptr<const std::function<void(const notice&)>> to) : handle{c}, on_notice{std::move(to)} {
        PQsetNoticeReceiver(c, &session::receive, this); // libpq's own writes to stderr
    }
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    static void receive(void* self, const PGresult* r) noexcept {
        auto& s = *static_cast<session*>(self);
        try {
            // An immediate stop says it as a warning.
            s.remember(r, class_of(field(r, PG_DIAG_SQLSTATE)) == error_class::disconnected);
            if (s.on_notice && *s.on_notice) (*s.on_notice)({field(r, PG_DIAG_SEVERITY), field(r, PG_DIAG_SQLSTATE), field(r, PG_DIAG_MESSAGE_PRIMARY)});
        } catch (...) { // libpq is C
        }
    }

    /// A last word before the end: when the session has died, no later call tells its SQLSTATE. It comes as a notice, or as the answer to
    /// what was sent after it.
    void remember(const PGresult* r, bool last = false) {
        const std::string_view level = field(r, PG_DIAG_SEVERITY_NONLOCALIZED);
        if (!last && level != "FATAL" && level != "PANIC") return;
        last_word = field(r, PG_DIAG_SQLSTATE);
        last_text = field(r, PG_DIAG_MESSAGE_PRIMARY);
    }

    [[nodiscard]] bool alive() const noexcept { return handle && !broken && PQstatus(handle.get()) == CONNECTION_OK; }

    connection_owner handle;
    std::shared_ptr<const std::function<void(const notice&)>> on_notice;
    std::string last_word, last_text; ///< SQLSTATE and text of what the server said when it ended the session
    int syncs_due = 0;                ///< of a reset that was started in pipeline mode
    bool clears = false;              ///< a full reset was started: what libpq has kept for the last user goes with its answer
    bool rolls_back = false;          ///< a rollback was started, alone or before that
    bool checked = false;             ///< the server has taken `blueprint::check`
    bool broken = false;              ///< a call was given up half-way: what comes next cannot be told from its answer
    std::uint64_t turn = 0;           ///< counts what was begun, so that what was begun before knows that it is over
    std::unique_ptr<kept_statements> kept{}; ///< none until one is to be kept
};

/// A text without the password that the connection was made with, wherever it came from.
[[nodiscard]] inline std::string without_password(const PGconn* c, std::string text) {
    secrets own;
    if (const char* const used = PQpass(c)) own.add(used);
    return own.scrubbed(std::move(text));
}

/// libpq's texts have several lines, indented; a log wants one.
[[nodiscard]] inline std::string one_line(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
        if (!line.empty()) out.append(out.empty() ? "" : ". ").append(line);
    }
    return out;
}

[[noreturn]] inline void fail(error_class kind, std::string_view doing, std::string_view why, std::string_view sqlstate, condition met) {
    throw driver_error{kind, std::string{"postgres: "}.append(doing).append(": ").append(one_line(why)), 0, std::string{sqlstate}, met};
}
[[noreturn]] inline void fail(error_class kind, std::string_view doing, std::string_view why, std::string_view sqlstate = {}) {
    const condition met = condition_of(sqlstate);
    fail(kind, doing, why, sqlstate, met == condition::none && kind == error_class::disconnected ? condition::disconnected : met);
}

/// The connection is of no more use.
[[noreturn]] inline void fail_broken(session& s, std::string_view doing) {
    if (!s.handle) fail(error_class::disconnected, doing, "the connection is closed");
    if (PQstatus(s.handle.get()) == CONNECTION_OK && s.broken) fail(error_class::disconnected, doing, "an earlier call was given up half-way");
    s.broken = true;
    if (!s.last_word.empty()) fail(error_class::disconnected, doing, without_password(s.handle.get(), s.last_text), s.last_word);
    const std::string said = without_password(s.handle.get(), PQerrorMessage(s.handle.get()));
    fail(error_class::disconnected, doing, said.empty() ? "connection lost" : said);
}

/// What the server, or libpq, says in a result that is an error.
[[noreturn]] inline void fail(session& s, const PGresult* r, std::string_view doing) {
    const std::string_view code = field(r, PG_DIAG_SQLSTATE);
    if (PQstatus(s.handle.get()) != CONNECTION_OK) {
        // libpq adds its own words about the lost connection; the server's come first.
        if (code.empty()) fail_broken(s, doing);
        s.broken = true;
        fail(class_of(code) == error_class::other ? error_class::disconnected : class_of(code), doing,
             without_password(s.handle.get(), std::string{field(r, PG_DIAG_MESSAGE_PRIMARY)}), code);
    }
    error_class kind = class_of(code);
    if (code == "0A000" && field(r, PG_DIAG_SOURCE_FUNCTION) == "RevalidateCachedQuery") kind = error_class::stale_plan;
    std::string text{field(r, PG_DIAG_MESSAGE_PRIMARY)};
    if (text.empty()) text = PQresultErrorMessage(r);
    if (const std::string_view detail = field(r, PG_DIAG_MESSAGE_DETAIL); !detail.empty()) text.append(" (").append(detail).append(")");
    if (kind == error_class::server_full) text.insert(0, "too many connections: ");
    condition met = condition_of(code);
    // Who asked is in the text alone, and that in the server's language: in any other than English it counts as cancelled.
    if (code == "57014" && text.find("statement timeout") != text.npos) met = condition::statement_timeout;
    fail(kind, doing, without_password(s.handle.get(), std::move(text)), code, met);
}

[[noreturn]] inline void give_up(session& s, std::string_view doing) {
    s.broken = true;
    fail(error_class::timeout, doing, "deadline passed, no answer from the server", {}, condition::statement_timeout);
}

/// Keeps libpq from waiting in its own way for as long as a call of the driver takes.
class unblocked {
public:
    explicit unblocked(session& s) noexcept : s_{s}, before_{PQisnonblocking(s.handle.get())} {
        if (before_ == 0) PQsetnonblocking(s.handle.get(), 1);
    }
    /// For a session in the middle of something, of which libpq may hold back what it would send now, waiting for as long as it takes:
    /// waits itself first, until there is room.
    unblocked(session& s, std::string_view doing, deadline by) : unblocked{(make_room(s, doing, by), s)} {}
    unblocked(const unblocked&) = delete;
    unblocked& operator=(const unblocked&) = delete;
    ~unblocked() {
        if (before_ == 0) PQsetnonblocking(s_.handle.get(), 0); // not while something is unsent: libpq then refuses, and the session is broken anyway
    }

private:
    static void make_room(session& s, std::string_view doing, deadline by) {
        PGconn* const c = s.handle.get();
        if (PQisnonblocking(c) == 0 && may_hold_back(c) && !wait_ready(PQsocket(c), readiness::write, by)) give_up(s, doing);
    }

    session& s_;
    int before_;
};

/// Waits as `wait_for` does, and lets a peer that never pauses not talk (or listen) past the deadline either: what is ready when time is
/// up is the last.
class patience {
public:
    explicit patience(deadline by) noexcept : by_{by} {}
    [[nodiscard]] bool wait(int descriptor, short events) noexcept {
        if (std::exchange(waited_, true) && by_.expired()) return false; // most wait once: a look at the clock less
        return wait_for(descriptor, events, by_);
    }

private:
    deadline by_;
    bool waited_ = false;
};

/// Reads what is there. False: the connection is lost.
///
/// With     TLS: libpq takes what fits, and the rest of a record that is larger stays decrypted where no poll shows it. Servers before 17
///          send small records; later ones, and whatever else ends TLS in between, send larger ones.
[[nodiscard]] inline bool take_input(PGconn* c) noexcept {
    if (PQconsumeInput(c) == 0) return false;
    if (PQsslInUse(c) != 0 && !is_ready(PQsocket(c), readiness::read)) (void)PQconsumeInput(c); // its rest, as there is room now
    return true;
}

/// Sends what libpq still has to send.
inline void flush(session& s, std::string_view doing, deadline by) {
    PGconn* const c = s.handle.get();
    patience left_over{by};
    for (int left = 0; (left = PQflush(c)) != 0;) {
        if (left < 0) fail_broken(s, doing);
        if (!left_over.wait(PQsocket(c), POLLIN | POLLOUT)) give_up(s, doing);
        if (is_ready(PQsocket(c), readiness::read) && !take_input(c)) fail_broken(s, doing); // or both sides wait for the other to read
    }
}

[[nodiscard]] inline bool is_error(ExecStatusType s) noexcept {
    return s == PGRES_BAD_RESPONSE || s == PGRES_FATAL_ERROR || s == PGRES_PIPELINE_ABORTED;
}

/// The next result; null: this command has no more.
[[nodiscard]] inline result_owner next(session& s, std::string_view doing, deadline by) {
    PGconn* const c = s.handle.get();
    patience left_over{by};
    while (PQisBusy(c) != 0) {
        if (!left_over.wait(PQsocket(c), POLLIN)) give_up(s, doing);
        if (!take_input(c)) fail_broken(s, doing);
    }
    result_owner r{PQgetResult(c)};
    if (is_error(PQresultStatus(r.get()))) s.remember(r.get());
    return r;
}

/// Ends a copy that somebody began, so that its command can end. False: not now.
[[nodiscard]] inline bool end_copy(session& s, ExecStatusType what) noexcept {
    PGconn* const c = s.handle.get();
    if (what == PGRES_COPY_IN) return PQputCopyEnd(c, "the connection went back to its pool") == 1;
    if (what != PGRES_COPY_OUT) return false; // both ways at once: replication
    char* row = nullptr;
    int n = 0;
    while ((n = PQgetCopyData(c, &row, 1)) > 0) PQfreemem(row);
    return n == -1;
}

/// The answers to one command as they come. The last is what it has come to, unless one was an error.
class outcome {
public:
    void hear(session& s, result_owner r) {
        if (s.kept) s.kept->heard(PQcmdStatus(r.get()));
        if (is_error(PQresultStatus(r.get())) && !bad_) bad_ = std::move(r);
        else last_ = std::move(r);
    }
    /// Nothing more is to come: the first error is thrown now.
    [[nodiscard]] result_owner end(session& s, std::string_view doing) {
        if (bad_) fail(s, bad_.get(), doing);
        if (!s.alive()) fail_broken(s, doing);
        return std::move(last_);
    }

private:
    result_owner last_, bad_;
};

/// Reads everything up to the end of the command.
inline result_owner finish(session& s, std::string_view doing, deadline by) {
    outcome heard;
    while (result_owner r = next(s, doing, by)) {
        const ExecStatusType status = PQresultStatus(r.get());
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            patience left_over{by};
            while (!end_copy(s, status)) {
                if (status == PGRES_COPY_BOTH || !s.alive()) fail_broken(s, doing);
                flush(s, doing, by);
                if (!left_over.wait(PQsocket(s.handle.get()), POLLIN)) give_up(s, doing);
                if (!take_input(s.handle.get())) fail_broken(s, doing);
            }
            flush(s, doing, by);
            if (status == PGRES_COPY_OUT) continue;
        }
        heard.hear(s, std::move(r));
    }
    return heard.end(s, doing);
}

/// Whether this is the answer to the command that has the tag; empty: to an empty command.
[[nodiscard]] inline bool answers(PGresult* r, std::string_view tag) noexcept {
    return tag.empty() ? PQresultStatus(r) == PGRES_EMPTY_QUERY : std::string_view{PQcmdStatus(r)}.starts_with(tag);
}
/// With one answer too many in the socket, which a pooler in between may leave, each that follows would be taken for the next command's.
inline void expect(session& s, PGresult* r, std::string_view tag, std::string_view doing) {
    if (r != nullptr && answers(r, tag)) return;
    s.broken = true;
    fail(error_class::disconnected, doing, "the server answers another command");
}

/// One command and its answer.
template <class Send>
result_owner round_trip(session& s, std::string_view doing, deadline by, Send send) {
    if (!s.alive()) fail_broken(s, doing);
    if (PQpipelineStatus(s.handle.get()) != PQ_PIPELINE_OFF) fail(error_class::other, doing, "the connection is in pipeline mode"); // no answer would come
    const unblocked here{s, doing, by};
    ++s.turn;
    if (send(s.handle.get()) == 0) {
        if (!s.alive()) fail_broken(s, doing);
        fail(error_class::other, doing, PQerrorMessage(s.handle.get())); // refused by libpq: another command is unfinished
    }
    flush(s, doing, by);
    return finish(s, doing, by);
}
inline result_owner round_trip(session& s, std::string_view doing, const char* sql, deadline by) {
    return round_trip(s, doing, by, [sql](PGconn* c) { return PQsendQuery(c, sql); });
}

/// How much of an unfinished result is worth reading to save its connection.
struct drain_bound {
    std::size_t bytes;
    duration time;
};

/// Ends the command that is unfinished by reading on, within the bound. False: more would come.
[[nodiscard]] inline bool drain(session& s, drain_bound bound, deadline by) {
    constexpr std::string_view doing = "cannot clean up";
    PGconn* const c = s.handle.get();
    ++s.turn;
    by = by.sooner(deadline::in(bound.time));
    const unblocked here{s, doing, by};
    patience left_over{by};
    std::size_t seen = 0;
    const auto waiting = [c] {
        int n = 0;
        return ::ioctl(PQsocket(c), FIONREAD, &n) == 0 ? static_cast<std::size_t>(std::max(n, 0)) : 0;
    };
    const auto more = [&] {
        const int unsent = PQflush(c);
        if (unsent < 0) fail_broken(s, doing);
        if (seen > bound.bytes || !left_over.wait(PQsocket(c), unsent != 0 ? POLLIN | POLLOUT : POLLIN)) return false;
        const std::size_t before = waiting();
        if (!take_input(c)) fail_broken(s, doing);
        // libpq does not read all that is there, but 8 KiB at least; meanwhile more may have come.
        const std::size_t after = std::min(waiting(), before);
        seen += std::max(before - after, std::min<std::size_t>(before, 8192));
        return true;
    };
    const bool piped = PQpipelineStatus(c) != PQ_PIPELINE_OFF;
    if (piped) {
        if (PQexitPipelineMode(c) == 1) return true; // nothing was under way
        // Commands without a sync get no answer, and a sync alone would commit them.
        if (PQsendQueryParams(c, "rollback", 0, nullptr, nullptr, nullptr, nullptr, 0) == 0 || PQpipelineSync(c) == 0) fail_broken(s, doing);
    }
    for (bool ended = false;;) {
        while (PQisBusy(c) != 0) {
            if (!more()) return false;
        }
        const result_owner r{PQgetResult(c)};
        if (!r) {
            if (!piped) break;
            // In a pipeline nothing only means the end of one command. The mode can be left when no answer is due.
            if (std::exchange(ended, true) && PQexitPipelineMode(c) == 1) break;
            if (!s.alive()) fail_broken(s, doing);
            continue;
        }
        ended = PQresultStatus(r.get()) == PGRES_PIPELINE_SYNC;
        if (ended && PQexitPipelineMode(c) == 1) break;
        const ExecStatusType status = PQresultStatus(r.get());
        if (status == PGRES_COPY_BOTH) return false;
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT) {
            while (!end_copy(s, status)) {
                if (!s.alive()) fail_broken(s, doing);
                if (!more()) return false;
            }
        }
        if (seen > bound.bytes) return false;
    }
    if (!s.alive()) fail_broken(s, doing);
    return true;
}

} // namespace cenote::drivers::pg
