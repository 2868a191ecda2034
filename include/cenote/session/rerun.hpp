// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/retry.hpp>
#include <cenote/session/statement.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>

namespace cenote {

/// How pool.transaction(f, …) runs: what the transaction is like, and how often it may run.
///
///     db.transaction(transfer, {.isolation = cenote::transaction_options::level::serializable, .attempts = 10});
///
/// What lost a race can simply run again, from its beginning, if `f` does nothing outside of the transaction that must not happen twice:
/// `attempts` says that it may. A run that failed for any other reason is not repeated, and never one whose outcome is unknown.
/// Default  one attempt; between several 10 ms × 2 up to 1 s, full jitter (each pause is drawn from zero to that).
/// Range    attempts ≥ 1; first ≥ 0; factor ≥ 1 and finite; max ≥ first; statement_timeout ≥ 0. Else std::invalid_argument.
/// Called   `report` and `pause` on the calling thread, while no connection is held.
/// Errors   the last run's.
struct transaction_run {
    transaction_options::level isolation = transaction_options::level::server_default;
    transaction_options::access mode = transaction_options::access::server_default;
    bool deferrable = false;

    unsigned attempts = 1;
    duration first = std::chrono::milliseconds{10};
    double factor = 2.0;
    duration max = std::chrono::seconds{1};
    bool after_deadlock = true;      ///< run again when it was chosen to end a deadlock
    bool after_lock_timeout = false; ///< … and when somebody held a lock for too long

    duration statement_timeout{};    ///< of each statement, zero for none

    std::function<void(const attempt_event&)> report{}; ///< after each run that failed and may be repeated, and the last of these
    std::function<void(duration)> pause{};              ///< instead of sleeping, for tests
};

namespace detail {

inline void check(const transaction_run& r) {
    if (r.attempts == 0) bad_value("transaction_run.attempts", r.attempts, "must be at least 1");
    require_not_negative("transaction_run.first", r.first);
    if (!(r.factor >= 1.0) || !std::isfinite(r.factor)) bad_value("transaction_run.factor", r.factor, "must be a finite number of at least 1");
    if (r.max < r.first) bad_value("transaction_run.max", r.max, "must be at least transaction_run.first, which is " + to_text(r.first));
    require_not_negative("transaction_run.statement_timeout", r.statement_timeout);
}

/// Whether a run that ended with this may run again.
template <class D>
[[nodiscard]] bool lost_a_race(D& driver, const std::exception& e, const transaction_run& r) noexcept {
    const auto* const own = dynamic_cast<const driver_error*>(&e);
    switch (own != nullptr ? own->met() : condition::none) {
    case condition::none: return classify(driver, e) == error_class::serialization;
    case condition::serialization_failure: return true;
    case condition::deadlock: return r.after_deadlock;
    case condition::lock_timeout: return r.after_lock_timeout;
    default: return false;
    }
}

/// A fraction of one that others do not draw at the same time: of the clock and of this thread's stack, mixed (splitmix64).
[[nodiscard]] inline double fraction_of_now() noexcept {
    const int here = 0;
    std::uint64_t x = static_cast<std::uint64_t>(clock::steady::now().time_since_epoch().count()) ^ reinterpret_cast<std::uintptr_t>(&here);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

/// A length from zero to what `n` runs that failed have earned.
[[nodiscard]] inline duration pause_after(unsigned n, const transaction_run& r) noexcept {
    double most = static_cast<double>(r.first.count());
    for (unsigned i = 1; i < n && most < static_cast<double>(r.max.count()); ++i) most *= r.factor;
    most = std::min(most, static_cast<double>(r.max.count()));
    return duration{static_cast<duration::rep>(fraction_of_now() * most)};
}

template <class D, class F>
auto rerunning(D& driver, const transaction_run& r, F run) {
    check(r);
    for (unsigned n = 1;; ++n) {
        duration rest{};
        try {
            return run();
        } catch (const std::exception& e) {
            if (r.attempts == 1 || !lost_a_race(driver, e, r)) throw;
            const bool last = n == r.attempts;
            if (!last) rest = pause_after(n, r);
            if (r.report) r.report({n, r.attempts, classify(driver, e), e.what(), rest});
            if (last) throw;
        }
        if (r.pause) r.pause(rest);
        else std::this_thread::sleep_for(rest);
    }
}

} // namespace detail
} // namespace cenote
