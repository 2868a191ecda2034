// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/driver.hpp>
#include <cenote/stack.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace cenote {

/// Why an operation on a pool failed, by the step that failed.
enum class errc {
    acquire_timeout = 1, ///< the budget ended while waiting for a connection
    exhausted,           ///< nothing idle, no room for another, and the policy is not to wait
    queue_full,          ///< max_waiters are waiting already
    cancelled,           ///< the stop token asked for it
    pool_closed,         ///< the pool is closed or closing
    pool_suspended,      ///< suspended, and the policy is not to wait
    connect_failed,      ///< opening a connection failed
    connect_timeout,     ///< opening a connection did not end in time
    breaker_open,        ///< connecting has failed so often that nobody is made to wait for it
    validation_failed,   ///< the budget ended while connections failed their test one after the other
    hook_failed,         ///< an on_connect or on_acquire hook threw (noexcept forms only; the throwing ones let it through)
    nested_acquire,      ///< this thread holds a lease of this pool already
    out_of_memory,       ///< an allocation failed
    pool_forked,         ///< the pool was made before this process was forked (`fork_aware`)
    lock_timeout,        ///< somebody else held the lock in the database until the time was up
    lock_lost,           ///< the session that held the lock in the database has ended, or holds it no longer
    lock_failed,         ///< the database could not be asked for the lock, or answered with an error
    outcome_unknown,     ///< a commit's answer did not come: neither that it was committed nor that it was not is known
};

namespace detail {
class pool_category final : public std::error_category {
public:
    [[nodiscard]] const char* name() const noexcept override { return "cenote"; }
    [[nodiscard]] std::string message(int code) const override {
        switch (static_cast<errc>(code)) {
        case errc::acquire_timeout: return "acquire timeout: no connection became free";
        case errc::exhausted: return "pool exhausted: no connection is free and the policy is not to wait";
        case errc::queue_full: return "queue full: too many acquires are waiting already";
        case errc::cancelled: return "acquire cancelled by its stop token";
        case errc::pool_closed: return "pool closed";
        case errc::pool_suspended: return "pool suspended and the policy is not to wait";
        case errc::connect_failed: return "connect failed";
        case errc::connect_timeout: return "connection timeout";
        case errc::breaker_open: return "breaker open: connecting fails again and again";
        case errc::validation_failed: return "validation failed: no connection passed its test in time";
        case errc::hook_failed: return "hook failed";
        case errc::nested_acquire: return "nested acquire: this thread already holds a lease of this pool";
        case errc::out_of_memory: return "out of memory";
        case errc::pool_forked: return "pool made before a fork: make a new pool in this process";
        case errc::lock_timeout: return "lock timeout: somebody else holds it";
        case errc::lock_lost: return "lock lost: its session holds it no longer";
        case errc::lock_failed: return "lock failed: an error, or no answer";
        case errc::outcome_unknown: return "outcome unknown: the answer to the commit did not come; it may have been committed, or rolled back";
        }
        return "unknown cenote error";
    }
    [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
        switch (static_cast<errc>(code)) {
        case errc::acquire_timeout:
        case errc::connect_timeout:
        case errc::validation_failed:
        case errc::lock_timeout: return std::errc::timed_out;
        case errc::exhausted:
        case errc::queue_full: return std::errc::resource_unavailable_try_again;
        case errc::cancelled: return std::errc::operation_canceled;
        case errc::nested_acquire: return std::errc::resource_deadlock_would_occur;
        case errc::out_of_memory: return std::errc::not_enough_memory;
        default: return {code, *this};
        }
    }
};
} // namespace detail

/// The category of `errc`. Timeouts compare equal to std::errc::timed_out, a cancelled acquire to operation_canceled, and so on.
[[nodiscard]] inline const std::error_category& category() noexcept {
    static const detail::pool_category instance;
    return instance;
}

[[nodiscard]] inline std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), category()}; }

namespace detail {
/// Adds words that are not the pool's own to a line: what would end it, or mean something to a terminal, becomes a space.
inline void append_words(std::string& line, std::string_view words) {
    const std::size_t from = line.size();
    line.append(words);
    for (std::size_t i = from; i < line.size(); ++i) {
        const auto c = static_cast<unsigned char>(line[i]);
        if (c < 0x20 || c == 0x7f) line[i] = ' ';
    }
}
} // namespace detail

/// Why the last attempt to open a connection failed. The text is the driver's, free of secrets.
struct connect_error {
    error_class kind = error_class::other;
    int native_code = 0;
    std::string sqlstate{};
    std::string text{};
};

/// One lease that is out, as a leak policy records it.
struct lease_info {
    std::uint64_t id = 0; ///< the slot's number, stable while the pool lives
    duration age{};
    std::source_location where{};
    std::thread::id thread{};
    bool returned = false;     ///< in a leak report: it is back
    const char* tag = nullptr; ///< what `lease.tag()` was given, or null
    bool cut = false;          ///< `close_now` has severed it: its holder has nothing but an error, and the pool counts it no more
    stack_frames stack{};      ///< only with `with_stack`

    [[nodiscard]] std::string text() const {
        using ms = std::chrono::duration<double, std::milli>;
        std::string out = std::to_string(static_cast<long long>(std::chrono::duration_cast<ms>(age).count())) + "ms at ";
        out.append(where.file_name()).append(":").append(std::to_string(where.line()));
        if (tag != nullptr) {
            detail::append_words(out.append(" ["), tag);
            out.append("]");
        }
        if (cut) out.append(" (cut)");
        return out;
    }
};

/// What the pool looked like when an operation failed. `max` is 0 where the pool was not asked: a lock that was lost later.
struct evidence {
    std::string pool{}; ///< its name, if `named`
    unsigned max = 0, used = 0, idle = 0, opening = 0, resetting = 0, closing = 0, waiting = 0;
    duration waited{};                  ///< how long this acquire tried
    std::vector<lease_info> holders{};  ///< the oldest leases first, at most five; only with `leak_threshold`
    std::string detail{};               ///< what a hook threw, for errc::hook_failed; what the database said, for lock_… and outcome_unknown
    connect_error last_connect_error{}; ///< empty text if none failed since the last success
};

/// An error code with evidence. Copying is cheap: the evidence is shared.
///
/// Cost     built only on failure. Under memory exhaustion the evidence may be missing; the code is always right.
struct failure {
    std::error_code code;
    std::shared_ptr<const evidence> seen; ///< null under memory exhaustion, and for errc::pool_forked

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(code); }

    /// One line for a log: what failed, the counts, who holds, why connecting failed. Control characters in what others have said (names,
    /// tags, the driver, a hook) are spaces in it; `seen` has their words as they were.
    [[nodiscard]] std::string text() const {
        std::string out = code.message();
        if (!seen) return out;
        if (code == make_error_code(errc::outcome_unknown)) { // no matter of the pool's
            if (!seen->detail.empty()) detail::append_words(out.append(": "), seen->detail);
            return out;
        }
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(seen->waited).count();
        out.append(" after ").append(std::to_string(ms)).append("ms");
        if (seen->max != 0) {
            out.append(" (");
            if (!seen->pool.empty()) {
                detail::append_words(out.append("pool "), seen->pool);
                out.append(": ");
            }
            out.append("max ").append(std::to_string(seen->max));
            out.append(", used ").append(std::to_string(seen->used));
            out.append(", idle ").append(std::to_string(seen->idle));
            out.append(", opening ").append(std::to_string(seen->opening));
            if (seen->resetting != 0) out.append(", resetting ").append(std::to_string(seen->resetting));
            if (seen->closing != 0) out.append(", closing ").append(std::to_string(seen->closing));
            out.append(", waiting ").append(std::to_string(seen->waiting)).append(")");
        }
        if (!seen->detail.empty()) detail::append_words(out.append("; "), seen->detail);
        if (!seen->last_connect_error.text.empty()) {
            detail::append_words(out.append("; last connect error: "), seen->last_connect_error.text);
            if (!seen->last_connect_error.sqlstate.empty()) {
                detail::append_words(out.append(" (SQLSTATE "), seen->last_connect_error.sqlstate);
                out.append(")");
            }
        }
        if (!seen->holders.empty()) {
            out.append("; held longest: ");
            for (std::size_t i = 0; i < seen->holders.size(); ++i) {
                if (i != 0) out.append(", ");
                out.append(seen->holders[i].text());
            }
        }
        return out;
    }
};

/// What the throwing forms throw: a std::system_error whose `what()` is `failure::text()`.
class error : public std::system_error {
public:
    explicit error(failure f) : std::system_error{f.code}, failure_{std::move(f)}, text_{std::make_shared<const std::string>(failure_.text())} {}

    error(const error&) noexcept = default; // and no move: one moved from would have no text
    error& operator=(const error&) noexcept = default;
    ~error() override = default;

    [[nodiscard]] const char* what() const noexcept override { return text_->c_str(); }
    [[nodiscard]] const failure& why() const noexcept { return failure_; }

private:
    failure failure_;
    std::shared_ptr<const std::string> text_; // shared, so that copying cannot throw
};

/// Where a noexcept form puts what went wrong: an lvalue std::error_code, or a cenote::failure if the evidence is wanted.
///
/// On success the target is cleared.
class fail_to {
public:
    fail_to(std::error_code& target) noexcept : code_{&target} {}
    fail_to(failure& target) noexcept : failure_{&target} {}

    [[nodiscard]] bool wants_evidence() const noexcept { return failure_ != nullptr; }

    void clear() const noexcept {
        if (code_ != nullptr) code_->clear();
        if (failure_ != nullptr) {
            failure_->code.clear();
            failure_->seen.reset();
        }
    }
    void set(failure f) const noexcept {
        if (code_ != nullptr) *code_ = f.code;
        if (failure_ != nullptr) *failure_ = std::move(f);
    }

private:
    std::error_code* code_ = nullptr;
    failure* failure_ = nullptr;
};

} // namespace cenote

template <>
struct std::is_error_code_enum<cenote::errc> : std::true_type {};
