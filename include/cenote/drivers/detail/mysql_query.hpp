// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/driver.hpp>
#include <cenote/drivers/detail/mysql_error.hpp>
#include <cenote/drivers/detail/mysql_limit.hpp>
#include <cenote/drivers/detail/mysql_prepared.hpp>
#include <cenote/drivers/detail/mysql_session.hpp>
#include <cenote/session/statement.hpp>
#include <cenote/session/value.hpp>

#include <mysql.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <memory_resource>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote::drivers::mysql_client {

/// One thing asked of the server by a deadline, and what is done when that passes first: the statement is stopped by KILL QUERY, and its
/// answer read, so that nothing of either is left for whoever uses the connection next. Where that cannot be made sure of, it is cut.
template <class Driver, class Target>
class asking {
public:
    asking(Driver& d, session& s, const Target& t, deadline by) noexcept : driver_{d}, s_{s}, t_{t}, by_{by} {}

    /// Up to the statement's first answer.
    void send(const statement& q) {
        (void)s_.ready(t_, doing);
        if (by_.expired()) fail_late("the deadline had passed before it was sent");
        ++s_.serial_;
        const bool keep = q.keep && t_.opt.statement_cache > 0;
        if (q.values.empty() && !keep) {
            send_text(q.sql);
            return;
        }
        if (!keep) {
            prepare_and_run(q, false);
            return;
        }
        const bool may_repeat = s_.state() == session_state::idle;
        try {
            prepare_and_run(q, true);
        } catch (const driver_error& e) {
            constexpr int not_preparable = 1295; // ER_UNSUPPORTED_PS
            if (e.native_code() == not_preparable && q.values.empty()) {
                send_text(q.sql);
                return;
            }
            // Not if it may have had an effect: with other columns than before (2057) it has run.
            if (!may_repeat || e.kind() != error_class::stale_plan || s_.state() != session_state::idle) throw;
            if (e.native_code() == 2057 && !only_reads(q.sql)) throw;
            prepare_and_run(q, true);
        }
    }

    [[nodiscard]] bool has_rows() const noexcept { return s_.open_ != nullptr || s_.call_.rows() != nullptr; }
    /// Of a statement without rows.
    [[nodiscard]] std::uint64_t affected() const noexcept { return affected_; }
    [[nodiscard]] std::uint64_t insert_id() const noexcept { return insert_id_; }

    /// The names of the columns, and what they hold.
    template <class F>
    void describe(F each) const {
        if (s_.open_ != nullptr) {
            for (std::size_t i = 0; i < s_.open_->columns(); ++i) each(std::string_view{s_.open_->name(i)}, value_view::kind::null);
        } else if (MYSQL_RES* const r = s_.call_.rows()) {
            const MYSQL_FIELD* f = mysql_fetch_fields(r);
            for (unsigned i = 0; i < mysql_num_fields(r); ++i) each(std::string_view{f[i].name, f[i].name_length}, kind_of(f[i]));
        }
    }
    /// Goes to the next row. False: there was none left, and the connection is free. Rows that are there already make nobody wait, so that
    /// somebody must `look` at the clock now and then.
    [[nodiscard]] bool fetch(bool look) {
        if (s_.open_ == nullptr) {
            if (look && by_.expired()) stop_call();
            s_.call_.fetch();
            finish_call();
            return s_.call_.row() != nullptr;
        }
        auto late = stopper();
        limit l{s_.handle_, by_, false, late};
        if (look && l.look()) stop_rows(l);
        if (!fetch_within(l)) return false;
        if (!l.ended_in_time()) stop_rows(l);
        return true;
    }
    /// All of them, each of its values handed on.
    template <class F>
    void fetch_all(const std::vector<value_view::kind>& kinds, F each) {
        if (s_.open_ == nullptr) {
            for (unsigned n = 1; fetch(n % 16 == 0); ++n) {
                for (std::size_t i = 0; i < kinds.size(); ++i) each(at(kinds[i], i));
            }
            return;
        }
        auto late = stopper();
        limit l{s_.handle_, by_, false, late};
        for (unsigned n = 1; fetch_within(l); ++n) {
            for (std::size_t i = 0; i < kinds.size(); ++i) each(s_.open_->at(i));
            if (n % 16 == 0 && l.look()) stop_rows(l);
        }
    }
    /// The kind matters for text only.
    [[nodiscard]] value_view at(value_view::kind is, std::size_t i) const noexcept {
        if (s_.open_ != nullptr) return s_.open_->at(i);
        return read_text(is, s_.call_.row()[i], mysql_fetch_lengths(s_.call_.rows())[i]);
    }

private:
    static constexpr std::string_view doing = "statement failed on";

    [[noreturn]] void fail_late(std::string_view why) {
        is_told_ = true;
        t_.fail(error_class::timeout, doing, "timeout: " + std::string{why}, 0, {}, condition::statement_timeout);
    }
    /// Has the statement stopped. Until when its answer is worth waiting for; not at all, if the server could not be asked.
    [[nodiscard]] deadline stop() noexcept {
        const deadline until = deadline::in(t_.opt.cancel_time);
        try {
            if (!token_) token_.emplace(driver_.interrupter(s_));
            driver_.cancel(*token_, until);
            was_stopped_ = true;
            return until;
        } catch (...) {
            return deadline{time_point{}};
        }
    }
    [[nodiscard]] auto stopper() {
        if (!is_mariadb && !by_.is_never()) token_.emplace(driver_.interrupter(s_)); // while the handle is at rest: it will be another thread's
        return [this]() noexcept { return stop(); };
    }
    /// After a statement that has ended by itself although it was to be stopped: what was to stop it must not meet the next one.
    void settle(deadline until) {
        if (!was_stopped_) s_.lose(); // it may still be on its way
        if (s_.lost_) return;
        s_.call_.run(s_.handle_, "do 0");
        if (!s_.call_.finish(until) || (s_.call_.failed() && mysql_errno(s_.handle_) != interrupted)) s_.lose();
        else if (s_.call_.failed()) settle(until);
    }

    void note_changes() noexcept {
        noted_ = true;
        const std::uint64_t n = mysql_affected_rows(s_.handle_);
        affected_ = n == static_cast<std::uint64_t>(-1) ? 0 : n;
        insert_id_ = mysql_insert_id(s_.handle_);
    }

    // Text

    void send_text(std::string_view sql) {
        s_.call_.ask(s_.handle_, sql);
        finish_call();
        if (!has_rows() && !noted_) note_changes();
    }
    void finish_call() {
        if (!s_.call_.finish(by_)) stop_call();
        else s_.check(t_, doing);
    }
    void stop_call() {
        const deadline until = stop();
        s_.call_.skip();
        if (!s_.call_.finish(until)) {
            s_.lose();
            fail_late("no answer before the deadline");
        }
        if (!s_.call_.failed() || mysql_errno(s_.handle_) != interrupted) {
            s_.check(t_, doing);
            const bool was_done = !s_.call_.met_rows();
            if (was_done) note_changes();
            settle(until);
            if (was_done && s_.state() != session_state::unknown) return; // and nobody would believe otherwise
        } else if (!was_stopped_) {
            s_.lose();
        }
        s_.had_error_ = true;
        fail_late("it was stopped at its deadline");
    }

    // Prepared

    /// The values of one statement are bound anew each time, and the client keeps no pointer to them that it would follow later.
    void prepare_and_run(const statement& q, bool keep) {
        parameters values{q.values};
        constexpr std::size_t little = 16 * 1024; // what any socket takes at once
        const bool is_little = values.bytes() + q.sql.size() <= little;
        auto late = stopper();
        limit l{s_.handle_, by_, !is_little, late};

        prepared* p = nullptr;
        if (keep) {
            if (!s_.kept_) s_.kept_ = std::make_unique<kept_statements>();
            if (std::exchange(s_.forgets_, false)) s_.kept_->clear();
            p = s_.kept_->find(q.sql);
            if (p != nullptr && !p->is_there()) s_.kept_->forget(*std::exchange(p, nullptr));
        }
        const bool is_new = p == nullptr;
        if (is_new && keep) {
            p = &s_.kept_->add(s_.handle_, q.sql, t_.opt.statement_cache);
        } else if (is_new) {
            s_.loose_ = std::make_unique<prepared>(s_.handle_, q.sql);
            p = s_.loose_.get();
        }
        live_ = p;
        try {
            if (!run(*p, is_new, is_little, values, q.sql)) fail_run(*p, l);
            if (mysql_stmt_field_count(p->handle()) > 0) {
                s_.open_ = p;
                p->bind_rows();
                if (!l.ended_in_time()) stop_rows(l);
                return;
            }
            note_changes(); // before others are
            if (!read_further_results(*p)) fail_run(*p, l);
            if (p == s_.loose_.get()) s_.loose_.reset();
            if (!l.ended_in_time()) settle(l.until());
        } catch (...) {
            if (!is_told_ && !l.ended_in_time()) s_.lose();
            if (live_ != nullptr && s_.open_ == nullptr) discard(*live_);
            throw;
        }
    }
    /// Without asking twice where that can be done. False: it failed.
    [[nodiscard]] bool run(prepared& p, bool is_new, [[maybe_unused]] bool is_little, parameters& values, std::string_view sql) {
        MYSQL_STMT* const h = p.handle();
        std::size_t placeholders = 0;
#if defined(MARIADB_PACKAGE_VERSION_ID)
        // The values are sent before anybody has counted the placeholders: a server that met fewer or more would read nonsense. And before
        // anybody reads what the server says of them: much of both, and each would wait for the other to read.
        if (is_new && is_little && count_placeholders(sql, placeholders)) {
            check_count(values.size(), placeholders);
            const auto n = static_cast<unsigned>(placeholders);
            if (n > 0 && (mysql_stmt_attr_set(h, STMT_ATTR_PREBIND_PARAMS, &n) != 0 || mysql_stmt_bind_param(h, values.data()) != 0)) return false;
            return mariadb_stmt_execute_direct(h, sql.data(), sql.size()) == 0;
        }
#endif
        if (is_new && mysql_stmt_prepare(h, sql.data(), static_cast<unsigned long>(sql.size())) != 0) return false;
        placeholders = mysql_stmt_param_count(h);
        check_count(values.size(), placeholders);
        if (placeholders > 0 && mysql_stmt_bind_param(h, values.data()) != 0) return false;
        return mysql_stmt_execute(h) == 0;
    }
    static void check_count(std::size_t values, std::size_t placeholders) {
        if (values == placeholders) return;
        throw std::invalid_argument{"cenote: mysql: statement.values = " + std::to_string(values) + " values: must be as many as the statement's placeholders, " +
                                    std::to_string(placeholders)};
    }
    /// The next row of the open statement. False: they are at their end, and so is the statement.
    [[nodiscard]] bool fetch_within(limit& l) {
        prepared& p = *s_.open_;
        const int code = mysql_stmt_fetch(p.handle());
        if (code == 0 || code == MYSQL_DATA_TRUNCATED) {
            if (!p.complete_row()) fail_run(p, l);
            if (l.passed()) stop_rows(l);
            return true;
        }
        if (code != MYSQL_NO_DATA) fail_run(p, l);
        s_.note_end_of_rows();
        if (!read_further_results(p)) fail_run(p, l);
        end_statement(p);
        if (l.ended_in_time()) return false;
        settle(l.until());
        s_.had_error_ = true;
        fail_late("it was stopped at its deadline");
    }
    /// Whatever comes after the first: nobody asked for it, but it must be read.
    [[nodiscard]] bool read_further_results(prepared& p) {
        int code = 0;
        while ((code = mysql_stmt_next_result(p.handle())) == 0) (void)mysql_stmt_free_result(p.handle());
        return code < 0;
    }
    /// The rows of a statement that was stopped, to their end.
    [[noreturn]] void stop_rows(limit& l) {
        prepared& p = *s_.open_;
        for (unsigned n = 1;; ++n) {
            const int code = mysql_stmt_fetch(p.handle());
            if (code == 0 || code == MYSQL_DATA_TRUNCATED) {
                if (n % 64 != 0 || !l.is_over()) continue;
                s_.lose();
                fail_late("it could not be stopped at its deadline");
            }
            if (code != MYSQL_NO_DATA) fail_run(p, l);
            s_.note_end_of_rows();
            if (!read_further_results(p)) fail_run(p, l);
            end_statement(p);
            settle(l.until());
            s_.had_error_ = true;
            fail_late("it was stopped at its deadline");
        }
    }
    void end_statement(prepared& p) noexcept {
        s_.open_ = live_ = nullptr;
        if (&p == s_.loose_.get()) s_.loose_.reset();
    }
    /// It failed, or was stopped.
    [[noreturn]] void fail_run(prepared& p, limit& l) {
        s_.had_error_ = true;
        is_told_ = true;
        const bool passed = !l.ended_in_time();
        const unsigned by_statement = mysql_stmt_errno(p.handle()), code = by_statement != 0 ? by_statement : mysql_errno(s_.handle_);
        const bool lost = code == 0 || is_fatal(code) || (passed && !was_stopped_);
        if (lost && !is_stale(p, code)) s_.lose();
        if (passed && (lost || code == interrupted)) {
            discard(p);
            if (lost) fail_late("no answer before the deadline");
            fail_late("it was stopped at its deadline");
        }
        if (passed) settle(l.until());
        try {
            if (is_stale(p, code)) t_.fail(error_class::stale_plan, doing, "the prepared statement is gone", code);
            t_.fail(s_.handle_, p.handle(), doing);
        } catch (...) {
            if (const auto by_server = code; by_server == 2057) (void)mysql_stmt_free_result(p.handle()); // reads its rows away
            discard(p);
            throw;
        }
    }
    /// Connector/C says "lost" of a statement that it has itself forgotten.
    [[nodiscard]] bool is_stale(const prepared& p, unsigned code) const noexcept { return code == 2013 && !p.is_there() && !s_.lost_; }
    void discard(prepared& p) noexcept {
        s_.open_ = live_ = nullptr;
        if (&p == s_.loose_.get()) s_.loose_.reset();
        else s_.kept_->forget(p);
    }
    [[nodiscard]] static bool only_reads(std::string_view sql) noexcept {
        const auto at = sql.find_first_not_of(" \t\r\n(");
        if (at == sql.npos) return false;
        const auto begins = [&](std::string_view word) {
            for (std::size_t i = 0; i < word.size(); ++i) {
                if (at + i >= sql.size() || (sql[at + i] | 0x20) != word[i]) return false;
            }
            return true;
        };
        return begins("select") || begins("show");
    }

    static constexpr unsigned interrupted = 1317; // ER_QUERY_INTERRUPTED

    Driver& driver_;
    session& s_;
    const Target& t_;
    deadline by_;
    prepared* live_ = nullptr; // the statement that runs, until it has ended or been thrown away
    std::uint64_t affected_ = 0;
    std::uint64_t insert_id_ = 0;
    std::optional<decltype(std::declval<Driver&>().interrupter(std::declval<session&>()))> token_{};
    bool is_told_ = false;     // that it failed or was late
    bool was_stopped_ = false; // and the server has said so
    bool noted_ = false;       // before what settles the connection
};

/// What a statement brought: all of it, or, streamed, one row after the other.
///
/// With     a whole result is its own: it outlives the connection. A streamed one lives while its connection does, at the same place, and ends
///          when another statement is run there or a clean-up has read it away: going on with it throws.
template <class Driver, class Target>
class rows {
public:
    [[nodiscard]] std::size_t columns() const noexcept { return names_.size(); }
    [[nodiscard]] std::string_view name(std::size_t i) const noexcept { return names_[i]; }

    [[nodiscard]] bool next(deadline by) {
        if (is_over_) return false;
        if (session_ == nullptr) {
            is_over_ = (count_ + 1) * names_.size() > cells_.size() || names_.empty();
            if (!is_over_) row_ = count_++ * names_.size();
            return !is_over_;
        }
        attach_thread();
        if (session_->serial_ != serial_ || !ask(by).has_rows()) {
            is_over_ = true;
            target_->fail(error_class::other, "cannot go on with the rows of a statement on", "the connection has done something else since");
        }
        is_over_ = true; // if it throws
        is_over_ = !ask(by).fetch(affected_ % 16 == 15);
        if (!is_over_) ++affected_;
        return !is_over_;
    }
    [[nodiscard]] value_view at(std::size_t i) const {
        if (session_ == nullptr) return cells_[row_ + i];
        return asking<Driver, Target>{*driver_, *session_, *target_, deadline::never()}.at(kinds_[i], i);
    }
    [[nodiscard]] std::uint64_t affected() const noexcept { return affected_; }
    /// What AUTO_INCREMENT gave to the first row that the statement inserted; 0: nothing.
    [[nodiscard]] std::uint64_t last_insert_id() const noexcept { return last_insert_id_; }

private:
    friend Driver;

    rows(Driver& d, session& s, const Target& t, const statement& q, deadline by) {
        attach_thread();
        asking<Driver, Target> a{d, s, t, by};
        a.send(q);
        if (!a.has_rows()) {
            affected_ = a.affected();
            last_insert_id_ = a.insert_id();
            return;
        }
        memory_ = std::make_unique<std::pmr::monotonic_buffer_resource>();
        a.describe([&](std::string_view name, value_view::kind is) {
            names_.push_back(owned(name));
            kinds_.push_back(is);
        });
        if (q.stream) {
            driver_ = &d;
            session_ = &s;
            target_ = &t;
            serial_ = s.serial_;
            return;
        }
        a.fetch_all(kinds_, [&](const value_view& v) { cells_.push_back(owned(v)); });
        affected_ = cells_.size() / names_.size();
    }

    [[nodiscard]] asking<Driver, Target> ask(deadline by) const noexcept { return {*driver_, *session_, *target_, by}; }
    [[nodiscard]] std::string_view owned(std::string_view text) {
        if (text.empty()) return {"", 0};
        char* const place = static_cast<char*>(memory_->allocate(text.size(), 1));
        std::memcpy(place, text.data(), text.size());
        return {place, text.size()};
    }
    [[nodiscard]] value_view owned(const value_view& v) {
        if (v.is() == value_view::kind::text) return owned(v.text());
        if (v.is() == value_view::kind::bytes) return std::as_bytes(std::span{owned(v.text())});
        return v;
    }

    std::unique_ptr<std::pmr::monotonic_buffer_resource> memory_{};
    std::vector<std::string_view> names_{};
    std::vector<value_view::kind> kinds_{};
    std::vector<value_view> cells_{}; // of a whole result
    std::size_t row_ = 0;
    std::size_t count_ = 0;
    Driver* driver_ = nullptr; // of a streamed one, and the next three
    session* session_ = nullptr;
    const Target* target_ = nullptr;
    std::uint64_t serial_ = 0;
    std::uint64_t affected_ = 0;
    std::uint64_t last_insert_id_ = 0;
    bool is_over_ = false;
};

} // namespace cenote::drivers::mysql_client
