// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/pg_session.hpp>
#include <cenote/drivers/detail/pg_target.hpp>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote::drivers::pg {

/// What all connections of one driver have in common.
struct blueprint {
    target where;
    std::vector<std::string> init;
    std::shared_ptr<const std::function<void(const notice&)>> on_notice;
    std::string check{}; ///< sets how often the server looks after its client; it may refuse that. Empty: not set
};

/// One connection being opened: place after place, each within its share of the time that is left, so that a server that accepts and
/// says nothing does not use up what the others would need. libpq itself knows no limit here.
class dial {
public:
    dial(std::shared_ptr<const blueprint> to, deadline by) : to_{std::move(to)}, by_{by}, share_{by} {
        order_.resize(to_->where.places().size());
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        if (to_->where.shuffles()) std::shuffle(order_.begin(), order_.end(), std::minstd_rand{std::random_device{}()});
    }

    [[nodiscard]] int descriptor() const noexcept { return now_ ? PQsocket(now_->handle.get()) : -1; }
    [[nodiscard]] readiness want() const noexcept { return want_; }
    [[nodiscard]] deadline until() const noexcept { return now_ ? share_ : deadline{time_point{}}; }

    /// True: connected and set up.
    [[nodiscard]] bool step() {
        for (;;) {
            if (!now_ && !next_place()) give_up();
            if (!now_) continue;
            const bool ready = is_ready(descriptor(), want_), late = share_.expired();
            if (!ready && !late) return false;
            if (ready && (initialising_ ? initialised() : connected())) return true;
            if (late && now_) note(error_class::timeout, ready ? "connection timeout: the server talks and talks" : "connection timeout: no answer from the server");
        }
    }
    [[nodiscard]] std::unique_ptr<session> take() noexcept { return std::move(now_); }

private:
    [[nodiscard]] std::size_t left() const noexcept { return order_.size() * to_->where.passes().size() - tried_; }

    /// Begins with the next place, if there is one and time for it.
    bool next_place() {
        if (left() == 0) return false;
        const time_point t = clock::steady::now();
        if (by_.at() <= t) {
            note(error_class::timeout, "connection timeout: the deadline has passed");
            return false;
        }
        share_ = by_.is_never() ? by_ : deadline{t + by_.remaining(t) / static_cast<long>(left())};
        if (const int own = to_->where.connect_timeout(); own > 0) share_ = share_.sooner(deadline::after(std::chrono::seconds{own}, t));
        const auto& place = to_->where.places()[order_[tried_ % order_.size()]];
        const std::string& attrs = to_->where.passes()[tried_ / order_.size()];
        ++tried_;
        PGconn* const c = to_->where.start(place, attrs);
        if (c == nullptr) throw std::bad_alloc{};
        connection_owner owner{c};
        now_ = std::make_unique<session>(c, to_->on_notice);
        (void)owner.release();
        initialising_ = false;
        reached_ = false;
        want_ = readiness::write;
        if (PQstatus(c) == CONNECTION_BAD) {
            failed();
        } else {
            PQsetErrorVerbosity(c, PQERRORS_VERBOSE); // the only way to the SQLSTATE of a refused connection
        }
        return true;
    }

    bool connected() {
        PGconn* const c = now_->handle.get();
        const PostgresPollingStatusType s = PQconnectPoll(c);
        if (PQstatus(c) != CONNECTION_BAD && PQstatus(c) != CONNECTION_STARTED) reached_ = true;
        switch (s) {
        case PGRES_POLLING_READING: want_ = readiness::read; return false;
        case PGRES_POLLING_FAILED: failed(); return false;
        case PGRES_POLLING_OK: break;
        default: want_ = readiness::write; return false;
        }
        PQsetErrorVerbosity(c, PQERRORS_DEFAULT);
        statement_ = 0;
        checking_ = !to_->check.empty() && PQserverVersion(c) >= 140000;
        initialising_ = true;
        PQsetnonblocking(c, 1);
        return send_statement();
    }

    /// True: there is none left.
    bool send_statement() {
        PGconn* const c = now_->handle.get();
        if (!checking_ && statement_ == to_->init.size()) {
            PQsetnonblocking(c, 0);
            if (PQtransactionStatus(c) == PQTRANS_IDLE) return true;
            note(error_class::other, "options.init leaves a transaction open");
            return false;
        }
        // One statement, as a reset sends it: several would pass here and fail there.
        const std::string& sql = checking_ ? to_->check : to_->init[statement_];
        if (PQsendQueryParams(c, sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) == 0) {
            failed();
            return false;
        }
        want_ = PQflush(c) == 1 ? readiness::write : readiness::read;
        return false;
    }
    bool initialised() {
        PGconn* const c = now_->handle.get();
        if (want_ == readiness::read && !take_input(c)) {
            failed();
            return false;
        }
        want_ = PQflush(c) == 1 ? readiness::write : readiness::read;
        while (PQisBusy(c) == 0) {
            const result_owner r{PQgetResult(c)};
            if (!r) {
                if (!std::exchange(checking_, false)) ++statement_;
                return send_statement();
            }
            const ExecStatusType status = PQresultStatus(r.get());
            if (checking_) {
                now_->checked = status == PGRES_COMMAND_OK;
                if (now_->checked || field(r.get(), PG_DIAG_SEVERITY_NONLOCALIZED) == "ERROR") continue; // it goes on without
            }
            if (is_error(status) || status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
                const std::string_view code = field(r.get(), PG_DIAG_SQLSTATE), said = field(r.get(), PG_DIAG_MESSAGE_PRIMARY);
                error_class kind = class_of(code);
                if (code.empty() && is_error(status)) kind = error_class::disconnected;
                note(kind, std::string{checking_ ? "options.client_connection_check_interval failed: " : "options.init failed: "}.append(said.empty() ? (is_error(status) ? PQerrorMessage(c) : "a COPY") : said), code);
                return false;
            }
        }
        return false;
    }

    /// The place is of no use. Finds out from libpq's words why; the class comes from the server's SQLSTATE where it gave one.
    void failed() {
        PGconn* const c = now_->handle.get();
        const std::string_view said = PQerrorMessage(c);
        const auto has = [&](std::string_view words) { return said.find(words) != said.npos; };
        const std::string code = sqlstate_in(said);
        error_class kind = class_of(code);
        if (code.empty()) {
            if (PQconnectionNeedsPassword(c) != 0) kind = error_class::auth;
            else if (PQparameterStatus(c, "server_version") != nullptr && to_->where.wants_role()) kind = error_class::wrong_role; // it let us in, libpq did not like it
            else if (has("query_wait_timeout")) kind = error_class::server_full; // a pooler in between says so
            else if (has("certificate") || has("SSL is not") || has("does not support SSL") || has("GSSAPI")) kind = error_class::other;
            else if (has("invalid ") || has("could not match") || has("out of memory")) kind = error_class::other; // settings
            else kind = reached_ ? error_class::disconnected : error_class::refused;
        }
        note(kind, tidied(without_secrets(std::string{said})), code); // before it, as a secret with blanks would be tidied as well
    }

    /// "FATAL:  28P01: password …": the words before it may be in any language, the form is fixed.
    [[nodiscard]] static std::string sqlstate_in(std::string_view text) {
        for (std::size_t at = 0; (at = text.find(":  ", at)) != text.npos; ++at) {
            const std::string_view code = text.substr(at + 3, 5);
            const auto fits = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); };
            if (code.size() == 5 && std::all_of(code.begin(), code.end(), fits) && text.substr(at + 8, 2) == ": ") return std::string{code};
        }
        return {};
    }
    /// One line without the server's source locations, repetitions (sslmode=prefer tries twice) and the SQLSTATE, which has its own place.
    [[nodiscard]] static std::string tidied(std::string_view text) {
        std::vector<std::string> lines;
        while (!text.empty()) {
            const std::size_t end = std::min(text.find('\n'), text.size());
            std::string line{text.substr(0, end)};
            text.remove_prefix(std::min(end + 1, text.size()));
            if (const std::string code = sqlstate_in(line); !code.empty()) line.erase(line.find(code + ": "), 7);
            const std::size_t word = line.find_first_not_of(" \t");
            if (word == line.npos || line.starts_with("LOCATION:")) continue;
            line.erase(0, word);
            if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(std::move(line));
        }
        std::string out;
        for (const std::string& line : lines) out.append(out.empty() ? "" : ". ").append(line);
        return out;
    }

    [[nodiscard]] std::string without_secrets(std::string text) const {
        if (now_) text = without_password(now_->handle.get(), std::move(text)); // it may come from a file
        return to_->where.hidden().scrubbed(std::move(text));
    }

    /// Puts a place down as failed.
    void note(error_class kind, std::string text, std::string_view code = {}) {
        if (kind == error_class::server_full) text.insert(0, "too many connections: ");
        text = without_secrets(std::move(text));
        // One that a later attempt could succeed with decides what becomes of the whole.
        if (!kind_ || (is_retryable(kind) && !is_retryable(*kind_))) {
            kind_ = kind;
            code_ = code;
        }
        if (text_.find(text) == text_.npos) text_.append(text_.empty() ? "" : "; ").append(text);
        now_.reset();
    }
    [[noreturn]] void give_up() const { fail(kind_.value_or(error_class::other), "cannot connect", text_, code_); }

    std::shared_ptr<const blueprint> to_;
    deadline by_, share_;
    std::vector<std::size_t> order_;
    std::size_t tried_ = 0, statement_ = 0;
    std::unique_ptr<session> now_;
    readiness want_ = readiness::write;
    bool initialising_ = false, checking_ = false, reached_ = false;
    std::optional<error_class> kind_;
    std::string code_, text_;
};

} // namespace cenote::drivers::pg
