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
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>

namespace cenote::testing {

/// What a client does that a server has something to say to.
enum class pg_stage : unsigned char {
    connect,    ///< a connection is made; a server says nothing to that
    encryption, ///< TLS or GSSAPI is asked for: 'N', no
    login,      ///< a session is asked for, with its password where one is needed: it begins
    query,      ///< a statement is to be run, of a Query message or by Execute; an empty one as well
    cancel,     ///< a statement of another connection is to be cancelled: the connection that asks is closed
};
inline constexpr std::size_t pg_stage_count = 5;

[[nodiscard]] constexpr std::string_view to_string(pg_stage s) noexcept {
    constexpr std::array<std::string_view, pg_stage_count> names{"connect", "encryption", "login", "query", "cancel"};
    return names[static_cast<std::size_t>(s)];
}

/// One thing that a client did, as a handler sees it. The texts live as long as the call of the handler.
struct pg_call {
    pg_stage where;
    std::size_t number;          ///< how many of this stage there were, this one included
    unsigned process;            ///< of the session, as PQbackendPID tells it; in `cancel`, of the one that is meant
    std::string_view sql{};      ///< in `query`
    std::string_view user{};     ///< in `login` and `query`
    std::string_view database{}; ///< in `login` and `query`
};

/// A request to cancel that has come.
struct pg_cancel_request {
    unsigned process;
    std::uint32_t key;
    bool known; ///< a session of that process and key is open
};

namespace detail {

/// The words of PostgreSQL's protocol, version 3.
namespace pg_wire {

inline constexpr std::uint32_t protocol = 3U << 16, cancel_code = 80877102, tls_code = 80877103, gss_code = 80877104;

[[nodiscard]] inline std::string number(std::uint32_t n, unsigned bytes = 4) {
    std::string out;
    for (unsigned i = bytes; i-- > 0;) out.push_back(static_cast<char>(n >> (8 * i) & 0xff));
    return out;
}
[[nodiscard]] inline std::uint32_t number_in(std::string_view s, std::size_t at = 0) noexcept {
    std::uint32_t n = 0;
    for (std::size_t i = 0; i < 4; ++i) n = n << 8 | static_cast<unsigned char>(s[at + i]);
    return n;
}
[[nodiscard]] inline std::string text(std::string_view s) { return std::string{s} + '\0'; }
[[nodiscard]] inline std::string message(char kind, std::string_view body) {
    return std::string(1, kind) + number(static_cast<std::uint32_t>(body.size() + 4)) + std::string{body};
}
[[nodiscard]] inline std::string report(char kind, std::string_view severity, std::string_view sqlstate, std::string_view words) {
    std::string body;
    const auto field = [&](char name, std::string_view value) { body += name + text(value); };
    field('S', severity);
    field('V', severity);
    field('C', sqlstate);
    field('M', words);
    return message(kind, body + '\0');
}
[[nodiscard]] inline std::string parameter(std::string_view name, std::string_view value) { return message('S', text(name) + text(value)); }
[[nodiscard]] inline std::string columns(const std::vector<std::string>& names) {
    std::string body = number(static_cast<std::uint32_t>(names.size()), 2);
    for (const std::string& n : names) { // of no table, of type text, of any length, as text
        body += text(n) + number(0) + number(0, 2) + number(25) + number(0xffff, 2) + number(0xffffffff) + number(0, 2);
    }
    return message('T', body);
}
/// Cuts a text off the front, and the zero byte behind it; nothing: there is none.
[[nodiscard]] inline std::optional<std::string> take_text(std::string_view& from) {
    const std::size_t end = from.find('\0');
    if (end == from.npos) return std::nullopt;
    std::string out{from.substr(0, end)};
    from.remove_prefix(end + 1);
    return out;
}

} // namespace pg_wire

/// As much of SQL as a server without tables needs.
namespace pg_sql {

[[nodiscard]] constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }
[[nodiscard]] constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
[[nodiscard]] constexpr char upper(char c) noexcept { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
[[nodiscard]] constexpr bool is_word(char c) noexcept { return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '_'; }
[[nodiscard]] inline std::string uppercase(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), upper);
    return s;
}

/// Where the comment, quoted text or single character that begins at `at` ends.
[[nodiscard]] inline std::size_t skip(std::string_view s, std::size_t at) noexcept {
    const auto behind = [&](std::string_view end, std::size_t from) {
        const std::size_t found = s.find(end, from);
        return found == s.npos ? s.size() : found + end.size();
    };
    const std::string_view rest = s.substr(at);
    if (rest.starts_with("--")) return behind("\n", at + 2);
    if (rest.starts_with("/*")) return behind("*/", at + 2);
    if (s[at] == '\'' || s[at] == '"') return behind(s.substr(at, 1), at + 1);
    if (s[at] == '$' && (at == 0 || !is_word(s[at - 1]))) {
        std::size_t end = at + 1;
        while (end < s.size() && is_word(s[end])) ++end;
        if (end < s.size() && s[end] == '$') return behind(s.substr(at, end + 1 - at), end + 1);
    }
    return at + 1;
}
/// Without blanks and semicolons around it.
[[nodiscard]] inline std::string_view trimmed(std::string_view s) noexcept {
    while (!s.empty() && (is_space(s.front()) || s.front() == ';')) s.remove_prefix(1);
    while (!s.empty() && (is_space(s.back()) || s.back() == ';')) s.remove_suffix(1);
    return s;
}
/// What two statements have in common that are taken for the same.
[[nodiscard]] inline std::string folded(std::string_view s) {
    std::string out{trimmed(s)};
    std::transform(out.begin(), out.end(), out.begin(), lower);
    return out;
}
[[nodiscard]] inline std::vector<std::string> statements(std::string_view s) {
    std::vector<std::string> out;
    const auto add = [&](std::string_view one) {
        if (one = trimmed(one); !one.empty()) out.emplace_back(one);
    };
    std::size_t from = 0, at = 0;
    while (at < s.size()) {
        const bool end = s[at] == ';';
        const std::size_t next = skip(s, at);
        if (end) {
            add(s.substr(from, at - from));
            from = next;
        }
        at = next;
    }
    add(s.substr(std::min(from, s.size())));
    return out;
}
/// The first words in lower case; fewer if there are not so many.
[[nodiscard]] inline std::array<std::string, 2> words(std::string_view s) {
    std::array<std::string, 2> out;
    std::size_t at = 0;
    for (std::string& word : out) {
        while (at < s.size() && (is_space(s[at]) || s.substr(at).starts_with("--") || s.substr(at).starts_with("/*"))) at = skip(s, at);
        while (at < s.size() && is_word(s[at])) word += lower(s[at++]);
    }
    return out;
}
[[nodiscard]] inline bool returns_rows(std::string_view word) noexcept {
    for (const std::string_view w : {"select", "values", "table", "with", "show", "fetch", "explain"}) {
        if (word == w) return true;
    }
    return false;
}
/// What a server calls it when it is done and nothing came of it.
[[nodiscard]] inline std::string tag(std::string_view sql) {
    const auto [first, second] = words(sql);
    if (first == "insert") return "INSERT 0 0";
    for (const std::string_view w : {"update", "delete", "merge", "copy", "move", "fetch"}) {
        if (first == w) return uppercase(first) + " 0";
    }
    if (first == "values" || first == "table" || first == "with" || first == "select") return "SELECT 0";
    for (const std::string_view w : {"create", "drop", "alter", "discard", "start", "prepare"}) {
        if (first != w || second.empty() || (w == "prepare" && second != "transaction")) continue;
        const bool kind_of_table = second == "temp" || second == "temporary" || second == "unlogged";
        return uppercase(first + " " + (kind_of_table ? "table" : second));
    }
    if (first == "end") return "COMMIT";
    if (first == "abort") return "ROLLBACK";
    return uppercase(first);
}
/// The status of the transaction after a statement that did not fail.
[[nodiscard]] inline char status_after(std::string_view sql, char before) {
    const auto [first, second] = words(sql);
    if (first == "begin" || (first == "start" && second == "transaction")) return before == 'E' ? 'E' : 'T';
    if (first == "rollback" && second == "to") return before == 'E' ? 'T' : before;
    if (first == "commit" || first == "end" || first == "rollback" || first == "abort") return 'I';
    return before;
}
/// Whether it may be run in a transaction that has failed.
[[nodiscard]] inline bool ends_transaction(std::string_view sql) {
    const std::string first = words(sql)[0];
    return first == "commit" || first == "end" || first == "rollback" || first == "abort";
}
/// How many values a statement wants.
[[nodiscard]] inline std::uint32_t parameters(std::string_view s) noexcept {
    std::uint32_t most = 0;
    for (std::size_t at = 0; at < s.size(); at = skip(s, at)) {
        std::uint32_t n = 0;
        for (std::size_t i = at + 1; s[at] == '$' && i < s.size() && s[i] >= '0' && s[i] <= '9' && n < 6554; ++i) {
            n = n * 10 + static_cast<std::uint32_t>(s[i] - '0');
        }
        most = std::max(most, std::min<std::uint32_t>(n, 65535));
    }
    return most;
}

} // namespace pg_sql

/// What a connection does next.
struct pg_step {
    enum class kind : unsigned char { bytes, wait, silence, end, ready };
    kind what = kind::bytes;
    std::string text{};
    duration time = duration::zero();
    ending how = ending::fin;
    bool cancellable = false; // a wait: the statement runs
};

/// What becomes of a reply.
struct pg_play {
    std::vector<pg_step> steps{};
    bool failed = false; // there is an error in it
    std::optional<char> claim{};
    bool unready = false;

    void say(std::string s) { steps.push_back({.text = std::move(s)}); }
    void error(std::string_view sqlstate, std::string_view words) {
        say(pg_wire::report('E', "ERROR", sqlstate, words));
        failed = true;
    }
};

} // namespace detail

/// What a fake server says, and how. Made by the named functions; the others change how it is said, and can be chained.
///
/// A reply to a statement is all that is said to it: only ReadyForQuery comes behind it by itself where one is due. So
/// `notice("x").then(ok())` is an answer with a notice before it, and `notice("x")` alone an answer that lacks its end.
///
/// Errors   what is not possible throws std::invalid_argument: a SQLSTATE that is none, a text with a zero byte, a time that is negative.
class pg_reply {
public:
    /// A value in text form, or nothing for NULL.
    using value = std::optional<std::string>;

    // What is said.

    /// What the server says by itself.
    [[nodiscard]] static pg_reply ok() { return pg_reply{part{.what = kind::own}}; }
    /// One row, of columns that have no name.
    [[nodiscard]] static pg_reply row(const std::vector<value>& values) {
        return rows(std::vector<std::string>(values.size(), "?column?"), {values});
    }
    /// A result with its columns, all of type text.
    ///
    /// Range    each row as long as there are columns, else std::invalid_argument.
    [[nodiscard]] static pg_reply rows(const std::vector<std::string>& columns, const std::vector<std::vector<value>>& rows) {
        for (const std::string& c : columns) check_text("pg_reply.rows.columns", c);
        pg_reply r{part{.what = kind::columns, .text = detail::pg_wire::columns(columns)}};
        for (const auto& row : rows) {
            if (row.size() != columns.size()) {
                cenote::detail::bad_value("pg_reply.rows.row.size", row.size(),
                                          "must be that of pg_reply.rows.columns, which is " + std::to_string(columns.size()));
            }
            std::string body = detail::pg_wire::number(static_cast<std::uint32_t>(row.size()), 2);
            for (const value& v : row) {
                body += detail::pg_wire::number(v ? static_cast<std::uint32_t>(v->size()) : 0xffffffff);
                body += v.value_or("");
            }
            r.parts_.push_back({.what = kind::bytes, .text = detail::pg_wire::message('D', body)});
        }
        return r.then(done("SELECT " + std::to_string(rows.size())));
    }
    /// A statement is done: "UPDATE 3".
    [[nodiscard]] static pg_reply done(std::string_view tag) {
        check_text("pg_reply.done.tag", tag);
        return message('C', detail::pg_wire::text(tag));
    }
    /// An error; a transaction fails with it. Without a text it says what PostgreSQL says with that SQLSTATE, if it is one of those that
    /// servers end sessions or refuse them with.
    [[nodiscard]] static pg_reply error(std::string_view sqlstate, std::string_view text = {}) {
        return pg_reply{part{.what = kind::error, .text = reported('E', "ERROR", sqlstate, text)}};
    }
    /// An error that is the connection's last word: refused with 57P03, 53300, 28P01 or 3D000, terminated with 57P01.
    [[nodiscard]] static pg_reply fatal(std::string_view sqlstate, std::string_view text = {}) {
        return pg_reply{part{.what = kind::error, .text = reported('E', "FATAL", sqlstate, text)}}.then(end());
    }
    [[nodiscard]] static pg_reply notice(std::string_view text, std::string_view sqlstate = "00000") {
        return bytes(reported('N', "NOTICE", sqlstate, text));
    }
    /// What a session hears that listens to the channel.
    [[nodiscard]] static pg_reply notification(std::string_view channel, std::string_view payload = {}, unsigned process = 1) {
        check_text("pg_reply.notification.channel", channel);
        check_text("pg_reply.notification.payload", payload);
        return message('A', detail::pg_wire::number(process) + detail::pg_wire::text(channel) + detail::pg_wire::text(payload));
    }
    /// A ParameterStatus, whatever `fake_postgres::parameter` says.
    [[nodiscard]] static pg_reply parameter(std::string_view name, std::string_view now) {
        check_text("pg_reply.parameter.name", name);
        check_text("pg_reply.parameter.value", now);
        return bytes(detail::pg_wire::parameter(name, now));
    }
    /// Any message, with the length that it has.
    [[nodiscard]] static pg_reply message(char kind, std::string_view body) { return bytes(detail::pg_wire::message(kind, body)); }
    /// These bytes as they are.
    [[nodiscard]] static pg_reply bytes(std::string_view raw) { return pg_reply{part{.what = kind::bytes, .text = std::string{raw}}}; }
    /// Bytes that mean nothing, the same for the same seed.
    [[nodiscard]] static pg_reply garbage(std::size_t n = 64, std::uint32_t seed = 1) {
        std::string raw;
        for (std::uint32_t x = seed; raw.size() < n;) {
            x = x * 1664525U + 1013904223U;
            raw.push_back(static_cast<char>(x >> 24));
        }
        return bytes(raw);
    }
    /// The beginning of a message that claims to be as long as that; nothing of it comes.
    ///
    /// Default  a row of 2 GB.
    [[nodiscard]] static pg_reply length_bomb(char kind = 'D', std::uint32_t claimed = 0x7fffffff) {
        return bytes(std::string(1, kind) + detail::pg_wire::number(claimed)).then(silence());
    }
    /// Nothing, and nothing ever again on this connection, which stays open.
    [[nodiscard]] static pg_reply silence() { return pg_reply{part{.what = kind::silence}}; }
    /// The connection ends.
    [[nodiscard]] static pg_reply end(ending how = ending::fin) { return pg_reply{part{.what = kind::end, .how = how}}; }

    // How it is said.

    /// And then that.
    [[nodiscard]] pg_reply then(const pg_reply& next) const {
        pg_reply r{nested(*this)};
        r.parts_.push_back(nested(next));
        return r;
    }
    /// The same, after so much time, for which the statement seems to run: a cancel ends it with 57014.
    ///
    /// Units    duration::max() is for ever.
    [[nodiscard]] pg_reply after(timeout t) const {
        cenote::detail::require_not_negative("pg_reply.after", t.length());
        pg_reply r{nested(*this)};
        r.before_ = t.length();
        return r;
    }
    /// The same in pieces of so many bytes, so much time from one to the next.
    ///
    /// Range    both above zero, else std::invalid_argument.
    [[nodiscard]] pg_reply slowly(timeout interval, std::size_t piece = 1) const {
        cenote::detail::require_positive("pg_reply.slowly.interval", interval.length(), "");
        if (piece == 0) cenote::detail::bad_value("pg_reply.slowly.piece", piece, "must be above zero; to say nothing write silence()");
        pg_reply r{nested(*this)};
        r.interval_ = interval.length();
        r.piece_ = piece;
        return r;
    }
    /// Only its first bytes, or all of it if it is shorter; there the connection ends.
    [[nodiscard]] pg_reply cut(std::size_t at, ending how = ending::fin) const {
        pg_reply r = stall(at);
        r.cut_ = how;
        return r;
    }
    /// Only its first bytes, or all of it if it is shorter; then nothing ever again.
    [[nodiscard]] pg_reply stall(std::size_t at) const {
        pg_reply r{nested(*this)};
        r.limit_ = at;
        return r;
    }
    /// The ReadyForQuery behind it says so of the transaction, true or not. The next one says the truth.
    ///
    /// Range    'I', 'T', 'E', and any other byte, which no server says.
    [[nodiscard]] pg_reply claiming(char status) const {
        pg_reply r{nested(*this)};
        r.claim_ = status;
        return r;
    }
    /// The ReadyForQuery behind it is left out.
    [[nodiscard]] pg_reply unready() const {
        pg_reply r{nested(*this)};
        r.unready_ = true;
        return r;
    }

private:
    friend class fake_postgres;
    enum class kind : unsigned char { own, bytes, columns, error, silence, end, nested };
    struct part {
        kind what;
        std::string text{};
        ending how = ending::fin;
        std::shared_ptr<const pg_reply> reply{};
    };

    explicit pg_reply(part p) { parts_.push_back(std::move(p)); }
    [[nodiscard]] static part nested(const pg_reply& r) { return {.what = kind::nested, .reply = std::make_shared<const pg_reply>(r)}; }

    static void check_text(std::string_view field, std::string_view text) {
        if (const auto at = text.find('\0'); at != text.npos) cenote::detail::bad_value(field, text.substr(0, at), "must have no zero byte");
    }
    [[nodiscard]] static std::string reported(char kind, std::string_view severity, std::string_view sqlstate, std::string_view text) {
        const auto fits = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); };
        if (sqlstate.size() != 5 || !std::all_of(sqlstate.begin(), sqlstate.end(), fits)) {
            cenote::detail::bad_value("pg_reply.sqlstate", sqlstate, "must be five of 0 … 9 and A … Z");
        }
        check_text("pg_reply.text", text);
        return detail::pg_wire::report(kind, severity, sqlstate, text.empty() ? usual_text(sqlstate) : text);
    }
    [[nodiscard]] static std::string_view usual_text(std::string_view sqlstate) noexcept {
        constexpr std::array<std::pair<std::string_view, std::string_view>, 11> known{{
            {"57P01", "terminating connection due to administrator command"},
            {"57P02", "terminating connection because of crash of another server process"},
            {"57P03", "the database system is starting up"},
            {"57P05", "terminating connection due to idle-session timeout"},
            {"25P03", "terminating connection due to idle-in-transaction timeout"},
            {"53300", "sorry, too many clients already"},
            {"28P01", "password authentication failed"},
            {"3D000", "database does not exist"},
            {"57014", "canceling statement due to user request"},
            {"25006", "cannot execute statement in a read-only transaction"},
            {"40001", "could not serialize access due to concurrent update"},
        }};
        for (const auto& [code, text] : known) {
            if (code == sqlstate) return text;
        }
        return "scripted error";
    }

    /// Appends what is to be done. `own(play)` appends what the server says by itself.
    template <class Own>
    void perform(detail::pg_play& to, bool described, Own& own) const {
        using step = detail::pg_step;
        detail::pg_play all;
        for (const part& p : parts_) {
            switch (p.what) {
            case kind::own: own(all); break;
            case kind::columns:
                if (!described) all.say(p.text);
                break;
            case kind::error: all.failed = true; [[fallthrough]];
            case kind::bytes: all.say(p.text); break;
            case kind::silence: all.steps.push_back({.what = step::kind::silence}); break;
            case kind::end: all.steps.push_back({.what = step::kind::end, .how = p.how}); break;
            case kind::nested: p.reply->perform(all, described, own); break;
            }
        }
        if (before_ > duration::zero()) to.steps.push_back({.what = step::kind::wait, .time = before_, .cancellable = true});
        std::size_t left = limit_.value_or(std::numeric_limits<std::size_t>::max());
        for (step& s : all.steps) {
            if (s.what != step::kind::bytes) {
                to.steps.push_back(std::move(s));
                continue;
            }
            s.text.resize(std::min(s.text.size(), left));
            left -= s.text.size();
            for (std::size_t at = 0; at < s.text.size(); at += piece_) {
                to.say(s.text.substr(at, piece_));
                if (interval_ > duration::zero()) to.steps.push_back({.what = step::kind::wait, .time = interval_});
            }
            if (left == 0) break;
        }
        if (limit_) to.steps.push_back({.what = cut_ ? step::kind::end : step::kind::silence, .how = cut_.value_or(ending::fin)});
        to.failed |= all.failed;
        to.unready |= unready_ || all.unready;
        if (claim_ || all.claim) to.claim = claim_ ? claim_ : all.claim;
    }
    /// What Describe answers: the columns that it begins with; `own` tells those of the server's own answer.
    [[nodiscard]] std::optional<std::string> described(const std::optional<std::string>& own) const {
        for (const part& p : parts_) {
            if (p.what == kind::columns) return p.text;
            if (p.what == kind::own && own) return own;
            if (p.what != kind::nested) continue;
            if (auto found = p.reply->described(own)) return found;
        }
        return std::nullopt;
    }

    std::vector<part> parts_{};
    duration before_ = duration::zero(), interval_ = duration::zero();
    std::size_t piece_ = std::numeric_limits<std::size_t>::max() / 2; // all at once
    std::optional<std::size_t> limit_{};
    std::optional<ending> cut_{}; // else it falls silent at the limit
    std::optional<char> claim_{};
    bool unready_ = false;
};

/// A server that speaks PostgreSQL's protocol, has no data, and does what no real server can be made to do. One thread of its own.
///
/// By itself it lets everybody in, answers queries with an empty result and everything else with its command tag, and knows transactions:
/// BEGIN, COMMIT, ROLLBACK and savepoints, that an error fails them, and what may not be run in one. It serves simple and extended queries,
/// prepared statements and pipelines, whose answers it holds back until Sync or Flush, to libpq and to any other client of protocol 3.
///
/// Shape    `fake_postgres server;` then connect to `server.conninfo()`, or to 127.0.0.1 and `server.port()`.
///          `server.answer("select 1", pg_reply::row({"1"}));`
///          `server.next(pg_stage::login, pg_reply::fatal("57P03"), 3);` and `server.always(pg_stage::query, pg_reply::silence());`
/// Called   every function from any thread at any time; when it returns, what it says is in effect. From inside a handler it is in effect
///          when that has returned.
/// Errors   the constructor throws std::system_error when no socket can be had. A wrong value throws std::invalid_argument.
/// Cost     a thread, which sleeps while nothing happens; 20 to 40 µs a round trip. Any number of connections. A message of a client's may
///          have 64 MiB.
/// With     `fault_proxy` in front of it, for what networks do. TLS it has not: it refuses it.
class fake_postgres {
public:
    static constexpr auto host = "127.0.0.1";
    using handler = std::function<pg_reply(const pg_call&)>;

    fake_postgres() { start(); }
    fake_postgres(const fake_postgres&) = delete;
    fake_postgres& operator=(const fake_postgres&) = delete;
    /// Ends all connections.
    ~fake_postgres() = default;

    [[nodiscard]] unsigned port() const noexcept { return port_; }
    /// How libpq gets here, without TLS. What is appended to it wins: `server.conninfo() + " sslmode=prefer"`.
    [[nodiscard]] std::string conninfo() const {
        return "host=127.0.0.1 port=" + std::to_string(port_) + " user=fake dbname=fake sslmode=disable gssencmode=disable";
    }

    // What it says.

    /// To this statement, however often it comes. Blanks and semicolons around it do not count, nor does the case of letters.
    void answer(std::string_view sql, const pg_reply& r) {
        ask([this, text = detail::pg_sql::folded(sql), r] { answers_.insert_or_assign(text, r); });
    }
    /// The next `n` times. Comes before everything else.
    void next(pg_stage s, const pg_reply& r, std::size_t n = 1) {
        ask([this, s, r, n] {
            auto& queue = plan_of(s).queue;
            queue.insert(queue.end(), n, r);
        });
    }
    /// Each time that nothing is queued for; to a statement, when there is no `answer` for it either.
    void always(pg_stage s, const pg_reply& r) {
        always(s, [r](const pg_call&) { return r; });
    }
    /// The same, decided each time. The handler is called on the server's only thread: it must not wait. What it throws becomes an error
    /// XX000.
    void always(pg_stage s, handler h) {
        ask([this, s, h = std::move(h)] { plan_of(s).otherwise = h; });
    }
    /// Forgets what `next` and `always` said of the stage.
    void clear(pg_stage s) {
        ask([this, s] { plan_of(s) = {}; });
    }
    /// Asks for a password, in clear text, and refuses with 28P01 who has another. An empty one: asks for none, which is the default.
    void require_password(std::string password) {
        ask([this, p = std::move(password)] { password_ = p; });
    }
    /// What sessions are told of the server: new ones as they begin, open ones with their next ReadyForQuery, as PostgreSQL does it.
    /// Nothing: new ones are not told.
    ///
    /// Default  what a primary of version 16 tells.
    void parameter(const std::string& name, const std::optional<std::string>& now) {
        pg_reply::check_text("fake_postgres.parameter.name", name);
        pg_reply::check_text("fake_postgres.parameter.value", now.value_or(""));
        ask([this, name, now] {
            if (now) parameters_.insert_or_assign(name, told{*now, ++version_});
            else parameters_.erase(name);
        });
    }

    // What happens to the sessions that are open.

    /// Says something that was not asked for, to all sessions or to that of one process: each hears it when what it is being told is over.
    void say(const pg_reply& r, unsigned process = 0) {
        ask([this, r, process] {
            for (auto& p : peers_) {
                if (p->at == phase::serving && (process == 0 || p->process == process)) p->unasked.push_back(r);
            }
        });
    }
    /// Ends them, and whoever else is connected, at once.
    void drop(ending how = ending::fin) {
        ask([this, how] {
            for (auto& p : peers_) p->socket.close(how);
        });
    }

    // What happens to bytes.

    /// Each connection ends when so many more bytes have been said on it; with 0, instead of the next one. With `ending::fin` they all
    /// arrive.
    void cut_after(std::uint64_t bytes, ending how = ending::fin) {
        ask([this, bytes, how] {
            cut_ = bytes;
            cut_how_ = how;
            for (auto& p : peers_) p->left = bytes;
        });
    }
    /// At most so many bytes are said on each connection in each interval.
    ///
    /// Range    both above zero, else std::invalid_argument.
    void slow(std::size_t bytes, timeout interval) {
        if (bytes == 0) cenote::detail::bad_value("fake_postgres.slow.bytes", bytes, "must be above zero; to say nothing write silence()");
        cenote::detail::require_positive("fake_postgres.slow.interval", interval.length(), "heal()");
        ask([this, bytes, t = interval.length()] {
            portion_ = bytes;
            interval_ = t;
        });
    }
    /// Nothing is queued, said always, slowed or to be cut any more. What `answer`, `parameter` and `require_password` said stays, and so
    /// does what has happened to a connection.
    void heal() {
        ask([this] {
            for (plan& p : plans_) p = {};
            portion_ = 0;
            cut_ = uncut;
            for (auto& p : peers_) p->left = uncut;
        });
    }

    // What has happened.

    /// How often a stage was come to: connections accepted, statements seen and so on.
    [[nodiscard]] std::size_t calls(pg_stage s) const noexcept {
        return calls_[static_cast<std::size_t>(s)].load(std::memory_order_acquire);
    }
    /// Connections that are open now, as far as the server knows; all count, also those that ask for a cancel.
    [[nodiscard]] std::size_t open_now() const noexcept { return open_.load(std::memory_order_acquire); }
    /// The statements that have come, oldest first; the last 4096 of them.
    [[nodiscard]] std::vector<std::string> executed() const {
        const std::lock_guard lock{mutex_};
        return {executed_.begin(), executed_.end()};
    }
    /// The requests to cancel that have come, oldest first; the last 4096 of them.
    [[nodiscard]] std::vector<pg_cancel_request> cancels() const {
        const std::lock_guard lock{mutex_};
        return {cancels_.begin(), cancels_.end()};
    }
    /// Waits until a stage was come to `n` times; false if that did not happen in time.
    [[nodiscard]] bool await(pg_stage s, std::size_t n, timeout t = std::chrono::seconds{10}) const {
        return detail::becomes([&] { return calls(s) >= n; }, t);
    }
    /// Waits until `n` connections are open; false if that did not happen in time.
    [[nodiscard]] bool await_open(std::size_t n, timeout t = std::chrono::seconds{10}) const {
        return detail::becomes([&] { return open_now() == n; }, t);
    }

private:
    using step = detail::pg_step;
    using play = detail::pg_play;
    static constexpr auto uncut = std::numeric_limits<std::uint64_t>::max();
    static constexpr std::size_t longest_message = std::size_t{64} << 20, longest_startup = 10000, remembered = 4096;

    enum class phase : unsigned char { starting, password, serving, leaving };
    struct plan {
        std::deque<pg_reply> queue;
        handler otherwise;
    };
    struct told {
        std::string value;
        std::uint64_t version; // counted over all parameters
    };
    struct prepared {
        std::string sql;
        std::optional<pg_reply> reply{}; // chosen already, by who asked what it would be
    };

    /// One connection.
    struct peer {
        detail::descriptor socket;
        phase at = phase::starting;
        unsigned process = 0;
        std::uint32_t key = 0;
        std::string user{}, database{}, application{};
        std::string heard{};              // and not yet understood
        std::deque<step> due{};           // what it is being told
        std::size_t sent = 0;             // of the first
        std::optional<time_point> until{}; // the end of a wait, when that is the first
        std::deque<pg_reply> unasked{};
        bool silent = false, gone = false, stuck = false;
        bool held = false;                // what is due waits for Sync or Flush
        std::size_t held_bytes = 0;
        std::uint64_t left = uncut;
        std::size_t portion_left = 0;
        time_point next_portion{};

        char status = 'I';
        std::optional<char> claim{};
        bool unready = false;
        std::uint64_t version = 0;  // of the parameters it knows
        bool extended = false;      // the last statement was run by Execute
        bool skipping = false;      // there was an error: nothing more until Sync
        std::size_t since_sync = 0; // statements
        std::map<std::string, prepared> statements{}, portals{};
    };

    void start() {
        const auto set = [this](const char* name, const char* value) { parameters_.insert_or_assign(name, told{value, 0}); };
        set("server_version", "16.0");
        set("server_encoding", "UTF8");
        set("client_encoding", "UTF8");
        set("DateStyle", "ISO, MDY");
        set("IntervalStyle", "postgres");
        set("TimeZone", "UTC");
        set("integer_datetimes", "on");
        set("standard_conforming_strings", "on");
        set("is_superuser", "off");
        set("in_hot_standby", "off");
        set("default_transaction_read_only", "off");

        listener_ = loop_.bound(0, false);
        loop_.listen(listener_);
        port_ = loop_.port_of(listener_);
        loop_.start([this](std::vector<pollfd>& watched) { turn(watched); });
    }
    /// Runs `f` on the server's thread, which owns all but what the mutex guards, and waits until it has run, unless a handler asks.
    void ask(std::function<void()> f) {
        loop_.ask([this, f = std::move(f)] {
            f();
            go_on(clock::steady::now()); // what it ended is ended, and counted, when its caller goes on
        });
    }
    [[nodiscard]] plan& plan_of(pg_stage s) noexcept { return plans_[static_cast<std::size_t>(s)]; }

    // The thread's side.

    void turn(std::vector<pollfd>& watched) {
        const time_point before = clock::steady::now();
        time_point next = full_until_.value_or(time_point::max());
        watched.push_back({full_until_ ? -1 : listener_.get(), POLLIN, 0});
        for (const auto& p : peers_) {
            short events = 0;
            if (!p->gone && p->heard.size() < longest_message + 5) events |= POLLIN;
            if (p->stuck) events |= POLLOUT;
            watched.push_back({events == 0 ? -1 : p->socket.get(), events, 0});
            next = std::min(next, next_of(*p));
        }
        loop_.wait(watched, next == time_point::max() ? next : std::max(next, before));

        auto look = watched.begin() + 2;
        for (auto& p : peers_) {
            const short events = (look++)->revents;
            if ((events & POLLOUT) != 0) p->stuck = false;
            if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) listen_to(*p);
        }
        admit();
        for (auto& task : loop_.asked()) task();
        go_on(clock::steady::now());
    }
    /// When there is something to be done here by itself.
    [[nodiscard]] time_point next_of(const peer& p) const noexcept {
        if (p.until) return *p.until;
        if (p.stuck || p.held || p.due.empty()) return time_point::max();
        return portion_ != 0 && p.portion_left == 0 ? p.next_portion : time_point{};
    }
    void admit() {
        full_until_.reset();
        while (listener_) {
            detail::descriptor s{::accept(listener_.get(), nullptr, nullptr)};
            if (!s) {
                if (errno == EINTR || errno == ECONNABORTED) continue;
                // No descriptor is left: who waits is told when there may be one again.
                if (errno != EAGAIN && errno != EWOULDBLOCK) full_until_ = clock::steady::now() + std::chrono::milliseconds{10};
                return;
            }
            detail::prepare(s.get());
            auto p = std::make_unique<peer>();
            p->socket = std::move(s);
            p->left = cut_;
            p->process = ++processes_;
            p->key = p->process * 2654435761U;
            open_.fetch_add(1, std::memory_order_release);
            reply_to(*p, pg_stage::connect, [](play&) {});
            peers_.push_back(std::move(p));
        }
    }
    void listen_to(peer& p) {
        if (!p.socket) return;
        const ssize_t n = ::recv(p.socket.get(), part_.data(), part_.size(), MSG_DONTWAIT);
        if (n > 0) p.heard.append(part_.data(), static_cast<std::size_t>(n));
        else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) p.gone = true;
    }
    /// Says what is due and listens to what was said, on all connections; forgets those that have ended.
    void go_on(time_point now) {
        for (auto& p : peers_) go_on(*p, now);
        peers_.remove_if([](const auto& p) { return !p->socket; });
        open_.store(peers_.size(), std::memory_order_release);
    }
    void go_on(peer& p, time_point now) {
        while (p.socket) {
            if (!p.held && !speak(p, now)) {
                if (p.gone && !p.stuck) p.socket.close(); // nobody waits for it
                return;
            }
            if (p.silent) {
                p.heard.clear();
                if (p.gone) p.socket.close();
                return;
            }
            if (!p.unasked.empty()) {
                play all;
                const auto nothing = [](play&) {};
                p.unasked.front().perform(all, false, nothing);
                p.unasked.pop_front();
                take(p, std::move(all));
                p.held = false;
            } else if (!understand(p)) {
                if (p.gone) p.socket.close();
                return;
            }
        }
    }

    /// True: everything that was due is said.
    [[nodiscard]] bool speak(peer& p, time_point now) {
        while (p.socket && !p.silent && !p.due.empty()) {
            const step& first = p.due.front();
            switch (first.what) {
            case step::kind::bytes:
            case step::kind::ready:
                gather(p);
                if (!send(p, p.due.front(), now)) return false;
                break;
            case step::kind::wait:
                if (!p.until) p.until = deadline::after(first.time, now).at();
                if (now < *p.until) return false;
                p.until.reset();
                break;
            case step::kind::silence:
                p.silent = true;
                p.due.clear();
                return true;
            case step::kind::end: p.socket.close(first.how); break;
            }
            p.due.pop_front();
        }
        return true;
    }
    [[nodiscard]] std::string ready(peer& p) const {
        std::string text = changes(p);
        if (!p.unready) text += detail::pg_wire::message('Z', std::string(1, p.claim.value_or(p.status)));
        p.unready = false;
        p.claim.reset();
        return text;
    }
    /// What can be said in one piece is, as servers do it.
    void gather(peer& p) const {
        if (p.sent != 0) return;
        std::string all;
        while (!p.due.empty() && all.size() < part_.size()) {
            const step& next = p.due.front();
            if (next.what == step::kind::bytes) all += next.text;
            else if (next.what == step::kind::ready) all += ready(p);
            else break;
            p.due.pop_front();
        }
        p.due.push_front({.text = std::move(all)});
    }
    /// True: all of it is said, or nothing can be any more.
    [[nodiscard]] bool send(peer& p, const step& s, time_point now) {
        if (p.stuck) return false;
        while (p.sent < s.text.size()) {
            std::size_t n = s.text.size() - p.sent;
            if (p.left != uncut) n = static_cast<std::size_t>(std::min<std::uint64_t>(n, p.left));
            if (n == 0) {
                p.socket.close(cut_how_);
                break;
            }
            if (portion_ != 0) {
                if (now >= p.next_portion) {
                    p.portion_left = portion_;
                    p.next_portion = deadline::after(interval_, now).at();
                }
                if (p.portion_left == 0) return false;
                n = std::min(n, p.portion_left);
            }
            const ssize_t gone = ::send(p.socket.get(), s.text.data() + p.sent, n, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (gone < 0) {
                if (errno == EINTR) continue;
                if (errno == EAGAIN || errno == EWOULDBLOCK) {
                    p.stuck = true;
                    return false;
                }
                p.socket.close();
                break;
            }
            const auto sent = static_cast<std::size_t>(gone);
            p.sent += sent;
            if (portion_ != 0) p.portion_left -= sent;
            if (p.left != uncut && (p.left -= sent) == 0) {
                p.socket.close(cut_how_);
                break;
            }
        }
        p.sent = 0;
        return true;
    }
    /// The parameters that have changed since it was told.
    [[nodiscard]] std::string changes(peer& p) const {
        std::string out;
        for (const auto& [name, t] : parameters_) {
            if (t.version > p.version) out += detail::pg_wire::parameter(name, t.value);
        }
        p.version = version_;
        return out;
    }

    // What clients say.

    /// What the script says to it; nothing: that is the server's own business.
    [[nodiscard]] std::optional<pg_reply> scripted(const peer& p, pg_stage s, std::string_view sql, unsigned process) {
        const std::size_t number = calls(s) + 1;
        plan& here = plan_of(s);
        if (!here.queue.empty()) {
            pg_reply r = std::move(here.queue.front());
            here.queue.pop_front();
            return r;
        }
        if (s == pg_stage::query) {
            if (p.status == 'E' && !detail::pg_sql::ends_transaction(sql)) return std::nullopt;
            if (const auto found = answers_.find(detail::pg_sql::folded(sql)); found != answers_.end()) return found->second;
        }
        if (!here.otherwise) return std::nullopt;
        try {
            const handler h = here.otherwise;
            return h({.where = s, .number = number, .process = process, .sql = sql, .user = p.user, .database = p.database});
        } catch (const std::exception& e) {
            return pg_reply{{.what = pg_reply::kind::error, .text = detail::pg_wire::report('E', "ERROR", "XX000", e.what())}};
        } catch (...) {
            return pg_reply::error("XX000", "the handler threw something");
        }
    }
    void count(pg_stage s) noexcept { calls_[static_cast<std::size_t>(s)].fetch_add(1, std::memory_order_release); }
    void take(peer& p, play all) {
        std::move(all.steps.begin(), all.steps.end(), std::back_inserter(p.due));
        if (all.claim) p.claim = all.claim;
        p.unready |= all.unready;
    }
    template <class Own>
    void reply_to(peer& p, pg_stage s, Own own, unsigned process = 0) {
        const pg_reply r = scripted(p, s, {}, process != 0 ? process : p.process).value_or(pg_reply::ok());
        play all;
        r.perform(all, false, own);
        count(s);
        take(p, std::move(all));
    }
    void say_bytes(peer& p, std::string s) { p.due.push_back({.text = std::move(s)}); }
    void say_ready(peer& p) { p.due.push_back({.what = step::kind::ready}); }
    /// A client that does not keep to the protocol.
    void refuse(peer& p, std::string_view sqlstate, std::string_view words) {
        say_bytes(p, detail::pg_wire::report('E', "FATAL", sqlstate, words));
        p.due.push_back({.what = step::kind::end});
        p.heard.clear();
    }

    /// Takes the next message and says what is to be said to it. False: there is none yet.
    [[nodiscard]] bool understand(peer& p) {
        if (p.at == phase::leaving) {
            p.heard.clear();
            return false;
        }
        const std::size_t head = p.at == phase::starting ? 0 : 1; // only the first message has no kind
        if (p.heard.size() < head + 4) return false;
        const std::size_t size = detail::pg_wire::number_in(p.heard, head);
        if (head == 0 && (size < 8 || size > longest_startup)) {
            refuse(p, "08P01", "invalid length of startup packet");
            return true;
        }
        if (head == 1 && (size < 4 || size > longest_message)) {
            refuse(p, "08P01", "invalid message length");
            return true;
        }
        if (p.heard.size() < head + size) return false;
        const char kind = p.heard.front();
        const std::string body = p.heard.substr(head + 4, size - 4);
        p.heard.erase(0, head + size);
        if (p.at == phase::starting) begin(p, body);
        else if (p.at == phase::password) check_password(p, kind, body);
        else {
            const std::size_t before = p.held ? p.due.size() : 0;
            serve(p, kind, body);
            hold(p, kind, before);
        }
        return true;
    }
    /// What is said to the messages of a pipeline is sent when the client asks for it, with an error, or when it is much.
    void hold(peer& p, char kind, std::size_t before) {
        p.held = p.socket && !p.skipping && (kind == 'P' || kind == 'B' || kind == 'D' || kind == 'E' || kind == 'C');
        if (before == 0) p.held_bytes = 0;
        for (std::size_t i = before; p.held && i < p.due.size(); ++i) {
            p.held_bytes += p.due[i].text.size();
            if (p.due[i].what != step::kind::bytes || p.held_bytes > 8192) p.held = false;
        }
    }

    void begin(peer& p, std::string_view body) {
        namespace wire = detail::pg_wire;
        const std::uint32_t code = wire::number_in(body);
        body.remove_prefix(4);
        if (code == wire::tls_code || code == wire::gss_code) return reply_to(p, pg_stage::encryption, [](play& to) { to.say("N"); });
        if (code == wire::cancel_code) return cancel(p, body);
        if (code >> 16 != 3) return refuse(p, "0A000", "unsupported frontend protocol");
        std::string unknown;
        std::uint32_t unknowns = 0;
        for (std::optional<std::string> name; (name = wire::take_text(body)) && !name->empty();) {
            const std::string value = wire::take_text(body).value_or("");
            if (*name == "user") p.user = value;
            else if (*name == "database") p.database = value;
            else if (*name == "application_name") p.application = value;
            else if (name->starts_with("_pq_.")) {
                unknown += wire::text(*name);
                ++unknowns;
            }
        }
        if (p.user.empty()) return refuse(p, "28000", "no PostgreSQL user name specified in startup packet");
        if (p.database.empty()) p.database = p.user;
        if (code != wire::protocol || unknowns != 0) say_bytes(p, wire::message('v', wire::number(0) + wire::number(unknowns) + unknown));
        if (password_.empty()) return let_in(p);
        p.at = phase::password;
        say_bytes(p, wire::message('R', wire::number(3)));
    }
    void check_password(peer& p, char kind, std::string_view body) {
        if (kind == 'X') p.socket.close();
        else if (kind != 'p') refuse(p, "08P01", "expected password response");
        else if (detail::pg_wire::take_text(body) == password_) let_in(p);
        else refuse(p, "28P01", "password authentication failed for user \"" + p.user + "\"");
    }
    void let_in(peer& p) {
        p.at = phase::serving;
        reply_to(p, pg_stage::login, [&](play& to) {
            namespace wire = detail::pg_wire;
            std::string text = wire::message('R', wire::number(0));
            for (const auto& [name, t] : parameters_) text += wire::parameter(name, t.value);
            text += wire::parameter("application_name", p.application) + wire::parameter("session_authorization", p.user);
            p.version = version_;
            to.say(text + wire::message('K', wire::number(p.process) + wire::number(p.key)));
        });
        say_ready(p);
    }
    void cancel(peer& p, std::string_view body) {
        p.at = phase::leaving;
        if (body.size() != 8) return refuse(p, "08P01", "invalid length of startup packet");
        const unsigned process = detail::pg_wire::number_in(body);
        const std::uint32_t key = detail::pg_wire::number_in(body, 4);
        peer* meant = nullptr;
        for (auto& other : peers_) {
            if (other->at == phase::serving && other->process == process && other->key == key) meant = other.get();
        }
        {
            const std::lock_guard lock{mutex_};
            remember(cancels_, {process, key, meant != nullptr});
        }
        reply_to(p, pg_stage::cancel, [&](play&) {
            if (meant != nullptr) interrupt(*meant);
        }, process);
        p.due.push_back({.what = step::kind::end});
    }
    /// Ends the statement that runs, if one does.
    void interrupt(peer& p) {
        if (!p.until || !p.due.front().cancellable) return;
        p.due.clear();
        p.until.reset();
        p.claim.reset();
        p.unready = false;
        say_bytes(p, detail::pg_wire::report('E', "ERROR", "57014", "canceling statement due to user request"));
        if (p.status == 'T') p.status = 'E';
        if (p.extended) p.skipping = true;
        else say_ready(p);
    }
    template <class T>
    static void remember(std::deque<T>& all, T one) {
        if (all.size() == remembered) all.pop_front();
        all.push_back(std::move(one));
    }

    void serve(peer& p, char kind, std::string_view body) {
        if (kind == 'X') return p.socket.close();
        if (kind == 'S') {
            p.skipping = false;
            p.since_sync = 0;
            p.portals.clear();
            return say_ready(p);
        }
        if (p.skipping && kind != 'Q') return;
        switch (kind) {
        case 'Q': return query(p, body);
        case 'P': return parse(p, body);
        case 'B': return bind(p, body);
        case 'D': return describe(p, body);
        case 'E': return execute(p, body);
        case 'C': return close(p, body);
        case 'H': return;                               // what was held back goes out now
        case 'd': case 'c': case 'f': case 'p': return; // the rest of a COPY or of an authentication that has failed
        default: return refuse(p, "08P01", "invalid frontend message type " + std::to_string(static_cast<unsigned char>(kind)));
        }
    }
    void query(peer& p, std::string_view body) {
        const std::string sql = detail::pg_wire::take_text(body).value_or("");
        p.extended = p.skipping = false;
        p.since_sync = 0;
        auto all = detail::pg_sql::statements(sql);
        if (all.empty()) all.emplace_back();
        for (const std::string& one : all) {
            if (!run_statement(p, one, choose(p, one), all.size() > 1)) break;
        }
        say_ready(p);
    }
    [[nodiscard]] pg_reply choose(const peer& p, const std::string& sql) {
        return scripted(p, pg_stage::query, sql, p.process).value_or(pg_reply::ok());
    }
    /// False: it has failed.
    [[nodiscard]] bool run_statement(peer& p, const std::string& sql, const pg_reply& r, bool among_others) {
        {
            const std::lock_guard lock{mutex_};
            remember(executed_, sql);
        }
        count(pg_stage::query);
        play all;
        const auto own = [&](play& to) { own_answer(p, sql, among_others, to); };
        r.perform(all, p.extended, own);
        const bool failed = all.failed;
        take(p, std::move(all));
        if (!failed) p.status = detail::pg_sql::status_after(sql, p.status);
        else if (p.status == 'T') p.status = 'E';
        return !failed;
    }
    void own_answer(peer& p, const std::string& sql, bool among_others, play& to) const {
        const auto [first, second] = detail::pg_sql::words(sql);
        if (first.empty() && detail::pg_sql::trimmed(sql).empty()) return to.say(detail::pg_wire::message('I', ""));
        if (p.status == 'E' && !detail::pg_sql::ends_transaction(sql)) {
            return to.error("25P02", "current transaction is aborted, commands ignored until end of transaction block");
        }
        if (first == "discard" && second == "all") {
            if (p.status != 'I' || among_others) return to.error("25001", "DISCARD ALL cannot run inside a transaction block");
            p.statements.clear();
        }
        if (first == "deallocate" && second == "all") p.statements.clear();
        else if (first == "deallocate") p.statements.erase(second);
        if (!p.extended && detail::pg_sql::returns_rows(first)) to.say(own_columns());
        const bool rolled_back = p.status == 'E' && (first == "commit" || first == "end");
        to.say(detail::pg_wire::message('C', detail::pg_wire::text(rolled_back ? "ROLLBACK" : detail::pg_sql::tag(sql))));
    }
    [[nodiscard]] static std::string own_columns() { return detail::pg_wire::columns({"?column?"}); }

    /// An error in the extended protocol.
    void skip(peer& p, std::string_view sqlstate, std::string_view words) {
        say_bytes(p, detail::pg_wire::report('E', "ERROR", sqlstate, words));
        p.skipping = true;
        if (p.status == 'T') p.status = 'E';
    }
    void parse(peer& p, std::string_view body) {
        p.extended = true;
        auto name = detail::pg_wire::take_text(body), sql = detail::pg_wire::take_text(body);
        if (!name || !sql) return refuse(p, "08P01", "invalid message format");
        if (!name->empty() && p.statements.contains(*name)) return skip(p, "42P05", "prepared statement \"" + *name + "\" already exists");
        p.statements.insert_or_assign(*name, prepared{std::string{detail::pg_sql::trimmed(*sql)}});
        say_bytes(p, detail::pg_wire::message('1', ""));
    }
    void bind(peer& p, std::string_view body) {
        p.extended = true;
        auto portal = detail::pg_wire::take_text(body), name = detail::pg_wire::take_text(body);
        if (!portal || !name) return refuse(p, "08P01", "invalid message format");
        const auto found = p.statements.find(*name);
        if (found == p.statements.end()) return skip(p, "26000", "prepared statement \"" + *name + "\" does not exist");
        p.portals.insert_or_assign(*portal, prepared{found->second.sql, std::exchange(found->second.reply, std::nullopt)});
        say_bytes(p, detail::pg_wire::message('2', ""));
    }
    void describe(peer& p, std::string_view body) {
        namespace wire = detail::pg_wire;
        p.extended = true;
        const bool statement = body.starts_with('S');
        if (!statement && !body.starts_with('P')) return refuse(p, "08P01", "invalid DESCRIBE message");
        body.remove_prefix(1);
        const std::string name = wire::take_text(body).value_or("");
        auto& all = statement ? p.statements : p.portals;
        const auto found = all.find(name);
        if (found == all.end()) {
            const std::string what = statement ? "prepared statement \"" : "portal \"";
            return skip(p, statement ? "26000" : "34000", what + name + "\" does not exist");
        }
        prepared& what = found->second;
        if (!what.reply) what.reply = choose(p, what.sql);
        if (statement) {
            const std::uint32_t n = detail::pg_sql::parameters(what.sql);
            std::string types = wire::number(n, 2);
            for (std::uint32_t i = 0; i < n; ++i) types += wire::number(25);
            say_bytes(p, wire::message('t', types));
        }
        std::optional<std::string> own;
        if (detail::pg_sql::returns_rows(detail::pg_sql::words(what.sql)[0])) own = own_columns();
        say_bytes(p, what.reply->described(own).value_or(wire::message('n', "")));
    }
    void execute(peer& p, std::string_view body) {
        p.extended = true;
        const std::string name = detail::pg_wire::take_text(body).value_or("");
        const auto found = p.portals.find(name);
        if (found == p.portals.end()) return skip(p, "34000", "portal \"" + name + "\" does not exist");
        const prepared what = std::exchange(found->second, {found->second.sql, std::nullopt});
        p.skipping = !run_statement(p, what.sql, what.reply ? *what.reply : choose(p, what.sql), p.since_sync++ > 0);
    }
    void close(peer& p, std::string_view body) {
        const bool statement = body.starts_with('S');
        if (!statement && !body.starts_with('P')) return refuse(p, "08P01", "invalid CLOSE message");
        body.remove_prefix(1);
        (statement ? p.statements : p.portals).erase(detail::pg_wire::take_text(body).value_or(""));
        say_bytes(p, detail::pg_wire::message('3', ""));
    }

    unsigned port_ = 0;
    detail::descriptor listener_;
    std::array<std::atomic<std::size_t>, pg_stage_count> calls_{};
    std::atomic<std::size_t> open_{0};

    mutable std::mutex mutex_; // guards the next two
    std::deque<std::string> executed_;
    std::deque<pg_cancel_request> cancels_;

    // The thread's own.
    std::array<plan, pg_stage_count> plans_;
    std::map<std::string, pg_reply> answers_;
    std::map<std::string, told> parameters_;
    std::uint64_t version_ = 0, cut_ = uncut;
    ending cut_how_ = ending::fin;
    std::size_t portion_ = 0; // bytes per interval; 0: as many as there are
    duration interval_ = duration::zero();
    std::string password_;
    unsigned processes_ = 0;
    std::optional<time_point> full_until_;
    std::list<std::unique_ptr<peer>> peers_;
    std::array<char, 65536> part_;

    detail::server_loop loop_{"fake_postgres"}; // the last: its thread uses all the others
};

} // namespace cenote::testing
