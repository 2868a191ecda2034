// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>

#include <chrono>
#include <cmath>
#include <concepts>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace cenote {

struct transaction_run;

/// What `retry` tells after an attempt that failed and will be followed by another, or was the last.
struct attempt_event {
    unsigned number;      ///< which attempt failed, from 1
    unsigned of;          ///< how many there will be at most
    error_class kind;     ///< of what the work threw, or of the last connect error
    std::string_view why; ///< the error's text; lives as long as the call
    duration pause;       ///< until the next attempt; zero after the last
};

/// Says that the work may run again after it has begun: running it twice does what running it once does.
struct idempotent_t {
    explicit idempotent_t() = default;
};
inline constexpr idempotent_t idempotent{};

/// Runs work on a leased connection again when it fails for a reason that may pass.
///
///     cenote::retry again{{.attempts = 5, .first = 100ms, .factor = 2}};
///     auto n = again.with(db, [](auto& c) { return count(c); });                        // no lease to be had: again
///     again.with(db, cenote::idempotent, [](auto& c) { refresh(c); });                  // and if the connection is lost meanwhile
///
/// What is tried again: an acquire that found nothing in time (timeout, queue full, breaker open, connecting failed in a way that may
/// pass). Work that has begun only if it is called `idempotent`, and then only if it threw an error of class `disconnected`, `not_ready`,
/// `refused`, `wrong_role` or `server_full`; anything else it throws comes through at once, as does the last failure.
/// Default  3 attempts, 1 s between them, the same each time.
/// Range    attempts ≥ 1; first ≥ 0; factor ≥ 1 and finite; max ≥ first.
/// Called   `with` by any number of threads at once; `report` on the calling thread, after the lease has gone back.
/// Errors   the last attempt's; what `report` throws ends it. A stop request ends the pause: the last failure is thrown.
/// Cost     nothing while nothing fails but a function call.
struct retry_options {
    unsigned attempts = 3;
    duration first = std::chrono::seconds{1};
    double factor = 1.0;
    duration max = std::chrono::seconds{30};
    std::function<void(const attempt_event&)> report{};
    std::function<void(duration)> pause{}; ///< instead of sleeping, for tests
};

class retry {
public:
    explicit retry(retry_options o = {}) : o_{std::move(o)} {
        if (o_.attempts == 0) detail::bad_value("retry.attempts", o_.attempts, "must be at least 1");
        detail::require_not_negative("retry.first", o_.first);
        if (!(o_.factor >= 1.0) || !std::isfinite(o_.factor)) detail::bad_value("retry.factor", o_.factor, "must be a finite number of at least 1");
        if (o_.max < o_.first) detail::bad_value("retry.max", o_.max, "must be at least retry.first, which is " + detail::to_text(o_.first));
    }

    template <class Pool, class F>
    decltype(auto) with(Pool& db, F&& f, const std::stop_token& stop = {}) const {
        return run<false>(db, f, stop, lend<Pool>{db});
    }
    template <class Pool, class F>
    decltype(auto) with(Pool& db, idempotent_t, F&& f, const std::stop_token& stop = {}) const {
        return run<true>(db, f, stop, lend<Pool>{db});
    }

    /// db.transaction(f, how): again when no connection is to be had, also for another run after the first was rolled back. Work that has
    /// begun runs again as `how` says, and not otherwise.
    template <class Pool, class F, class How = transaction_run>
    auto transaction(Pool& db, F&& f, const std::type_identity_t<How>& how, const std::stop_token& stop = {}) const {
        return run<false>(db, f, stop, [&](auto& work) { return db.transaction(work, how); });
    }
    template <class Pool, class F, class How = transaction_run>
    auto transaction(Pool& db, F&& f, const std::stop_token& stop = {}) const {
        return transaction(db, f, How{}, stop);
    }

    /// As `with`, but calls `otherwise()` instead of throwing what may pass and did not.
    template <class Pool, class F, class Otherwise>
    std::invoke_result_t<Otherwise&> with_or(Pool& db, F&& f, Otherwise&& otherwise, const std::stop_token& stop = {}) const {
        try {
            return run<false>(db, f, stop, lend<Pool>{db});
        } catch (const error& e) {
            if (!may_pass(e)) throw;
        }
        return otherwise();
    }

    [[nodiscard]] const retry_options& options() const noexcept { return o_; }

private:
    template <class Pool>
    struct lend {
        Pool& db;
        template <class F>
        auto operator()(F& work) const -> decltype(db.with(work)) {
            return db.with(work);
        }
    };

    template <bool Idempotent, class Pool, class F, class Lend>
    auto run(Pool& db, F& f, const std::stop_token& stop, const Lend& lend_to) const -> decltype(lend_to(f)) {
        for (unsigned n = 1;; ++n) {
            bool begun = false;
            const error* own = nullptr; // what the work has thrown itself, perhaps of another pool
            auto work = [&](auto& connection) -> decltype(auto) {
                begun = true;
                try {
                    return std::invoke(f, connection);
                } catch (const error& e) {
                    own = &e;
                    throw;
                }
            };
            try {
                return lend_to(work);
            } catch (const error& e) { // of an acquire, unless it is that: before the work, or before its next run after it was rolled back
                if (own == &e || !may_pass(e) || !again(n, kind_of(e), e.what(), stop)) throw;
            } catch (const std::exception& e) {
                const error_class kind = classify(db.driver(), e);
                if (!Idempotent || !begun || !worth_another(kind) || !again(n, kind, e.what(), stop)) throw;
            }
        }
    }

    [[nodiscard]] static bool worth_another(error_class k) noexcept {
        return k == error_class::disconnected || k == error_class::not_ready || k == error_class::refused || k == error_class::wrong_role ||
               k == error_class::server_full;
    }
    [[nodiscard]] static error_class kind_of(const error& e) noexcept {
        const auto& seen = e.why().seen;
        if (seen && !seen->last_connect_error.text.empty()) return seen->last_connect_error.kind;
        return e.code() == std::errc::timed_out ? error_class::timeout : error_class::other;
    }
    [[nodiscard]] static bool may_pass(const error& e) noexcept {
        if (e.code().category() != category()) return false;
        switch (static_cast<errc>(e.code().value())) {
        case errc::acquire_timeout:
        case errc::exhausted:
        case errc::queue_full:
        case errc::pool_suspended:
        case errc::connect_timeout:
        case errc::validation_failed: return true;
        case errc::connect_failed:
        case errc::breaker_open: return !e.why().seen || is_retryable(e.why().seen->last_connect_error.kind);
        default: return false;
        }
    }

    /// Tells, and rests. False: that was the last.
    [[nodiscard]] bool again(unsigned n, error_class kind, std::string_view why, const std::stop_token& stop) const {
        const bool last = n >= o_.attempts || stop.stop_requested();
        const duration rest = last ? duration::zero() : pause_after(n);
        if (o_.report) o_.report({n, o_.attempts, kind, why, rest});
        if (last) return false;
        if (o_.pause) o_.pause(rest);
        else sleep(rest, stop);
        return !stop.stop_requested();
    }
    [[nodiscard]] duration pause_after(unsigned n) const noexcept {
        double span = static_cast<double>(o_.first.count());
        for (unsigned i = 1; i < n && span < static_cast<double>(o_.max.count()); ++i) span *= o_.factor;
        return span < static_cast<double>(o_.max.count()) ? duration{static_cast<duration::rep>(span)} : o_.max;
    }
    static void sleep(duration rest, const std::stop_token& stop) {
        std::mutex m;
        std::condition_variable_any woken;
        std::unique_lock lock{m};
        (void)woken.wait_for(lock, stop, rest, [] { return false; });
    }

    retry_options o_;
};

} // namespace cenote
