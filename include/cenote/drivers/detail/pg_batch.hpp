// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/pg_query.hpp>

#include <libpq-fe.h>

#include <cstddef>
#include <exception>
#include <initializer_list>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote::drivers::pg {

/// Statements with their values, to be sent all at once: one round trip, however many they are.
class batch {
public:
    /// How they depend on each other, unless they are run inside a transaction: there one error is the end of all that follow.
    enum class mode : unsigned char {
        together, ///< one transaction: all or none
        each,     ///< a transaction each: one that fails leaves the others alone
    };

    /// Copies everything.
    ///
    /// Errors   std::invalid_argument for a text with a zero byte, or more than 65535 values.
    batch& add(std::string_view sql, std::span<const value_view> values) {
        if (sql.find('\0') != sql.npos) throw std::invalid_argument("cenote: postgres: batch.add: sql: must not contain a zero byte");
        all_.push_back({std::string{sql}, bound_values{values, true}});
        return *this;
    }
    batch& add(std::string_view sql, std::initializer_list<value_view> values = {}) { return add(sql, std::span{values.begin(), values.size()}); }

    [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }
    [[nodiscard]] bool empty() const noexcept { return all_.empty(); }
    void clear() noexcept { all_.clear(); }

    struct item {
        std::string sql;
        bound_values values;
    };
    [[nodiscard]] const std::vector<item>& items() const noexcept { return all_; }

private:
    std::vector<item> all_;
};

/// What one statement of a batch has come to.
struct batch_answer {
    pg::rows rows;
    std::optional<driver_error> error; ///< of the mode `each` only
};

/// The first statement of a batch that failed, for which the others were undone.
class batch_error : public driver_error {
public:
    batch_error(const driver_error& why, std::size_t at, std::size_t of)
        : driver_error{why.kind(), "postgres: statement " + std::to_string(at + 1) + " of " + std::to_string(of) + ": " + why.what(),
                       why.native_code(), why.sqlstate(), why.met()},
          at_{at} {}
    /// Which, from 0.
    [[nodiscard]] std::size_t at() const noexcept { return at_; }

private:
    std::size_t at_;
};

/// Sends a batch and reads what it answers.
class pipeline {
public:
    pipeline(session& s, const batch& b, batch::mode how, duration bound, deadline by)
        : s_{s}, c_{s.handle.get()}, items_{b.items()}, how_{how}, bound_{bound}, by_{by} {}

    [[nodiscard]] std::vector<batch_answer> run() {
        answers_.resize(items_.size());
        if (items_.empty()) return std::move(answers_);
        require_free(s_, doing, by_);
        const unblocked here{s_};
        ++s_.turn;
        if (PQenterPipelineMode(c_) == 0) fail_broken(s_, doing);
        s_.broken = true; // until its end is reached, nobody else can tell what is answered next
        send();
        receive();
        if (PQexitPipelineMode(c_) == 0 || PQstatus(c_) != CONNECTION_OK) lost();
        s_.broken = false;
        if (is_late_) {
            fail(error_class::timeout, doing, "deadline passed; the batch was cancelled, if it had not just ended", {}, condition::statement_timeout);
        }
        if (first_ && how_ == batch::mode::together) throw batch_error{*first_, at_first_, items_.size()};
        return std::move(answers_);
    }

private:
    static constexpr std::string_view doing = "batch failed";
    static constexpr std::size_t part = std::size_t{64} * 1024;

    [[noreturn]] void lost() {
        s_.broken = false; // for what it says
        fail_broken(s_, doing);
    }
    [[noreturn]] void given_up() {
        fail(error_class::timeout, doing, "deadline passed, no answer from the server", {}, condition::statement_timeout);
    }

    void send() {
        std::size_t unsent = 0;
        for (std::size_t i = 0; i < items_.size(); ++i) {
            const auto& [sql, v] = items_[i];
            if (PQsendQueryParams(c_, sql.c_str(), v.count(), v.types(), v.data(), v.lengths(), v.formats(), 0) == 0) lost();
            if (how_ == batch::mode::each || i + 1 == items_.size()) sync();
            unsent += sql.size() + v.size();
            if (unsent < part) continue;
            unsent = 0; // the server may be waiting for us to read before it reads on
            if (!leaves(s_, doing, by_)) given_up();
        }
        if (!leaves(s_, doing, by_)) given_up(); // what has no sync yet the server undoes
    }
    void sync() {
        ++syncs_due_;
#if defined(LIBPQ_HAS_SEND_PIPELINE_SYNC)
        if (PQsendPipelineSync(c_) == 0) lost();
#else
        if (PQpipelineSync(c_) == 0) lost();
#endif
    }

    void receive() {
        std::size_t at = 0;
        for (bool between = false; syncs_due_ > 0;) {
            if (!arrives(s_, doing, by_)) cancel();
            result_owner r = take(s_);
            if (!r) {
                if (std::exchange(between, true)) lost(); // it believes that no answer is due
                ++at;
                continue;
            }
            between = false;
            const ExecStatusType status = PQresultStatus(r.get());
            if (PQstatus(c_) != CONNECTION_OK) lost();
            if (status == PGRES_PIPELINE_SYNC) {
                --syncs_due_;
                between = false;
            } else if (is_copy(status) || at >= items_.size()) {
                fail(error_class::other, doing, is_copy(status) ? "a COPY cannot be part of a batch" : "more answers than statements");
            } else if (is_error(status)) {
                note(at, r.get());
            } else {
                if (s_.kept) s_.kept->heard(PQcmdStatus(r.get()));
                answers_[at].rows = rows{std::move(r)};
            }
        }
    }
    void note(std::size_t at, const PGresult* r) {
        if (PQresultStatus(r) == PGRES_PIPELINE_ABORTED) return;
        try {
            s_.broken = false;
            fail(s_, r, "statement failed");
        } catch (const driver_error& e) {
            s_.broken = true;
            answers_[at].error = e;
            if (!first_) {
                first_ = e;
                at_first_ = at;
            }
        }
    }
    /// Once; what is not over by the end of the bound is given up.
    void cancel() {
        if (is_late_ || bound_ <= duration::zero()) given_up();
        is_late_ = true;
        by_ = deadline::in(bound_);
        try {
            canceller{c_}.ask("cannot cancel", by_);
        } catch (const std::exception&) {
            given_up();
        }
    }

    session& s_;
    PGconn* c_;
    const std::vector<batch::item>& items_;
    batch::mode how_;
    duration bound_;
    deadline by_;
    std::vector<batch_answer> answers_;
    std::optional<driver_error> first_;
    std::size_t at_first_ = 0;
    int syncs_due_ = 0;
    bool is_late_ = false;
};

} // namespace cenote::drivers::pg
