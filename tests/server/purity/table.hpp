// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// What the next user of a session finds of what the last one left behind: the specification, one cell for each kind of dirt, reset
/// policy and moment of cleaning. The tests of this folder walk all cells. README.md carries both tables, printed by the hidden test
/// [.print], and is compared with them.
namespace purity {

enum class found : unsigned char {
    cleared, ///< the same session, and nothing of it
    kept,    ///< the same session, and it is still there
    closed,  ///< a new session
    cut,     ///< closed, or with a client library that can cancel in time: cleared
};
enum class moment : unsigned char { deferred, background, at_return };
enum class policy : unsigned char { no_reset, if_dirty, with, always };
inline constexpr moment all_moments[] = {moment::deferred, moment::background, moment::at_return};

[[nodiscard]] constexpr std::string_view to_string(found f) noexcept {
    switch (f) {
    case found::cleared: return "cleared";
    case found::kept: return "kept";
    case found::closed: return "closed";
    case found::cut: return "closed";
    }
    return "";
}
[[nodiscard]] constexpr std::string_view to_string(moment m) noexcept {
    return m == moment::deferred ? "deferred" : m == moment::background ? "background" : "at_return";
}
[[nodiscard]] constexpr std::string_view to_string(policy p) noexcept {
    return p == policy::no_reset ? "no_reset" : p == policy::if_dirty ? "reset_if_dirty" : p == policy::with ? "reset_with" : "reset_always";
}

/// When it is cleaned does not change what is cleaned; where it does, the cell says so and `why` says why.
struct cell {
    constexpr cell(found all) : deferred{all}, background{all}, at_return{all} {}
    constexpr cell(found d, found b, found r, std::string_view reason) : deferred{d}, background{b}, at_return{r}, why{reason} {}
    [[nodiscard]] constexpr found at(moment m) const noexcept {
        return m == moment::deferred ? deferred : m == moment::background ? background : at_return;
    }
    [[nodiscard]] constexpr bool same() const noexcept { return deferred == background && background == at_return; }

    found deferred, background, at_return;
    std::string_view why{};
};

template <class Kind>
struct row {
    Kind kind;
    std::string_view name;
    cell no_reset, if_dirty, with, always;
    std::string_view note{};
    [[nodiscard]] constexpr const cell& under(policy p) const noexcept {
        return p == policy::no_reset ? no_reset : p == policy::if_dirty ? if_dirty : p == policy::with ? with : always;
    }
};

// ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────────

enum class pg_dirt : unsigned char {
    // what a session keeps
    setting, custom_setting, role, session_authorization, characteristics, encoding, advisory_lock, listening, notification, temporary_table,
    prepared, holdable_cursor, sequence, random_seed,
    // what libpq keeps
    nonblocking, verbosity, notice_receiver, trace,
    // what is open
    transaction, failed_transaction,
    // what is unfinished
    few_rows, many_rows, running, copy_in, copy_out, pipeline, pipeline_unsynced, pipeline_unread,
};

/// What `reset_with` runs in these tests: everything of DISCARD ALL but DEALLOCATE ALL, so that prepared statements survive.
inline constexpr std::string_view pg_script = "close all; set session authorization default; reset all; unlisten *; "
                                              "select pg_advisory_unlock_all(); discard temp; discard sequences";

inline constexpr std::array pg_table = [] {
    using enum found;
    using enum pg_dirt;
    return std::array<row<pg_dirt>, 28>{{
        // what is left behind                                       no_reset if_dirty with     always
        {transaction, "transaction open", kept, cleared, cleared, cleared},
        {failed_transaction, "transaction failed", kept, cleared, cleared, cleared},
        {few_rows, "rows unread, within `drain_bytes`", kept, cleared, cleared, cleared},
        {many_rows, "rows unread, more than `drain_bytes`", kept, cut, cut, cut},
        {running, "statement running for longer than `drain_time`", kept, cut, cut, cut},
        {copy_in, "`COPY FROM STDIN` unfinished", kept, cleared, cleared, cleared},
        {copy_out, "`COPY TO STDOUT` unfinished", kept, cleared, cleared, cleared},
        {pipeline, "pipeline mode, nothing sent", kept, cleared, cleared, cleared},
        {pipeline_unsynced, "pipeline mode, sent without a sync: undone", kept, cleared, cleared, cleared},
        {pipeline_unread, "pipeline mode, answers and errors unread", kept, cleared, cleared, cleared},
        {setting, "`SET`, `search_path`", kept, kept, cleared, cleared},
        {custom_setting, "`SET` of a setting of your own", kept, kept, cleared, cleared},
        {characteristics, "`SET SESSION CHARACTERISTICS`", kept, kept, cleared, cleared},
        {role, "`SET ROLE`", kept, kept, cleared, cleared},
        {session_authorization, "`SET SESSION AUTHORIZATION`", kept, kept, cleared, cleared},
        {encoding, "`PQsetClientEncoding`", kept, kept, cleared, cleared},
        {advisory_lock, "advisory lock of the session", kept, kept, cleared, cleared},
        {listening, "`LISTEN`", kept, kept, cleared, cleared},
        {temporary_table, "temporary table", kept, kept, cleared, cleared},
        {holdable_cursor, "cursor `WITH HOLD`", kept, kept, cleared, cleared},
        {sequence, "`currval`, cached sequence values", kept, kept, cleared, cleared},
        {prepared, "prepared statement", kept, kept, kept, cleared},
        {notification, "notification that nobody fetched", kept, kept, kept, cleared},
        {nonblocking, "`PQsetnonblocking`", kept, kept, kept, cleared},
        {verbosity, "`PQsetErrorVerbosity`, `PQsetErrorContextVisibility`", kept, kept, kept, cleared},
        {notice_receiver, "`PQsetNoticeReceiver`", kept, kept, kept, cleared},
        {trace, "`PQtrace`", kept, kept, kept, cleared},
        {random_seed, "`setseed`", kept, kept, kept, kept},
    }};
}();

// ── MySQL and MariaDB ────────────────────────────────────────────────────────────────────────────────────────────────────

enum class mysql_dirt : unsigned char {
    // what a session keeps
    user_variable, setting, isolation, autocommit_off, temporary_table, user_lock, table_locks, prepared, handler, last_insert_id, role,
    used_schema, selected_schema, hidden_schema, named_charset, client_charset, multi_statements, other_user,
    // what is open
    transaction, implicit_transaction, xa_transaction,
    // what is unfinished
    few_rows, many_rows, half_read, statement_rows, more_results, unanswered,
};

/// What `reset_with` runs in these tests: one statement, as a session takes only one at a time unless options.multi_statements says so.
inline constexpr std::string_view mysql_script = "set autocommit = default, sql_mode = default, time_zone = default";

inline constexpr std::array mysql_table = [] {
    using enum found;
    using enum mysql_dirt;
    constexpr std::string_view only_closing = "Only a new session undoes it: end such a lease with `discard()`.";
    return std::array<row<mysql_dirt>, 27>{{
        // what is left behind                                       no_reset if_dirty with     always
        {transaction, "transaction open", kept, cleared, cleared, cleared},
        {implicit_transaction, "transaction begun with `autocommit = 0`", kept, cleared, cleared, cleared,
         "The transaction: what becomes of the setting says its own line."},
        {xa_transaction, "XA transaction", kept, closed, closed, cleared},
        {few_rows, "rows unread, within `drain_bytes`", kept, cleared, cleared, cleared},
        {more_results, "further results unread", kept, cleared, cleared, cleared},
        {many_rows, "rows unread, more than `drain_bytes`", kept, closed, closed, closed},
        {half_read, "`mysql_use_result`, half read", kept, closed, closed, closed},
        {unanswered, "`mysql_send_query`, answer not awaited", kept, closed, closed, closed},
        {statement_rows, "rows of a prepared statement unread", kept, closed, closed, closed},
        {setting, "`sql_mode`, `time_zone`", kept, kept, cleared, cleared},
        {autocommit_off, "`autocommit = 0`", kept, kept, cleared, cleared},
        {isolation, "isolation level", kept, kept, kept, cleared},
        {user_variable, "user variable", kept, kept, kept, cleared},
        {temporary_table, "temporary table", kept, kept, kept, cleared},
        {user_lock, "`GET_LOCK`", kept, kept, kept, cleared},
        {table_locks, "`LOCK TABLES`", kept, kept, kept, cleared},
        {prepared, "prepared statement", kept, kept, kept, cleared},
        {handler, "`HANDLER … OPEN`", kept, kept, kept, cleared},
        {last_insert_id, "`LAST_INSERT_ID()`", kept, kept, kept, cleared},
        {used_schema, "default schema, by `USE`", kept, kept, kept, cleared},
        {selected_schema, "default schema, by `mysql_select_db`", kept, kept, kept, cleared},
        {named_charset, "character set, by `SET NAMES`", kept, kept, kept, cleared},
        {client_charset, "character set, by `mysql_set_character_set`", kept, kept, kept, cleared},
        {hidden_schema, "default schema, by `USE` with `session_track_schema = 0`", kept, kept, kept, kept,
         "The client does not hear of it: `use …` in `options.init` clears it."},
        {role, "`SET ROLE`", kept, kept, kept, kept, "MariaDB's own reset keeps it: `set role none` in `options.init` clears it."},
        {multi_statements, "`mysql_set_server_option`", kept, kept, kept, kept, only_closing},
        {other_user, "`mysql_change_user`", kept, closed, closed, closed},
    }};
}();

// ── as Markdown ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Footnotes in the order of their first mark.
class footnotes {
public:
    [[nodiscard]] std::string mark(std::string_view text) {
        constexpr std::array marks{"¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
        std::size_t i = 0;
        while (i < texts_.size() && texts_[i] != text) ++i;
        if (i == texts_.size()) texts_.emplace_back(text);
        return std::string{" "} + marks.at(i);
    }
    [[nodiscard]] std::string all() {
        std::string out;
        const std::vector<std::string> texts = texts_;
        for (const std::string& text : texts) out.append(out.empty() ? "" : "\n\n").append(mark(text).substr(1)).append(" ").append(text);
        return out.append("\n");
    }

private:
    std::vector<std::string> texts_;
};

[[nodiscard]] inline std::string text_of(const cell& c, std::string_view cut, footnotes& notes) {
    const auto word = [&](found f) { return std::string{to_string(f)} + (f == found::cut ? notes.mark(cut) : ""); };
    if (c.same()) return word(c.deferred);
    std::string out;
    for (const moment m : all_moments) out.append(out.empty() ? "" : ", ").append(word(c.at(m))).append(" (").append(to_string(m)).append(")");
    return out + notes.mark(c.why);
}

/// The table, and below it what its marks mean. `cut`: what found::cut needs to be said.
template <class Table>
[[nodiscard]] std::string markdown(const Table& table, std::string_view script, std::string_view cut) {
    footnotes notes;
    std::string out = "| left behind | `no_reset` | `reset_if_dirty` | `reset_with`";
    out.append(notes.mark("`" + std::string{script} + "`")).append(" | `reset_always` |\n|---|---|---|---|---|\n");
    for (const auto& r : table) {
        out.append("| ").append(r.name).append(r.note.empty() ? "" : notes.mark(r.note)).append(" |");
        for (const policy p : {policy::no_reset, policy::if_dirty, policy::with, policy::always}) {
            out.append(" ").append(text_of(r.under(p), cut, notes)).append(" |");
        }
        out.append("\n");
    }
    return out.append("\n").append(notes.all());
}

inline std::string pg_markdown() {
    return markdown(pg_table, pg_script, "Cleared with libpq 17 or later, which can cancel the statement in time.");
}
inline std::string mysql_markdown() { return markdown(mysql_table, mysql_script, ""); }

} // namespace purity
