// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <array>
#include <atomic>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

// What becomes of locks in the database: told to whoever wants to know, and counted.
namespace cenote {

/// What happened to a lock.
enum class lock_change : unsigned char {
    acquired,    ///< `lasted`: how long it was waited for
    timed_out,   ///< not got: somebody else held it for as long as `wait`
    failed,      ///< not got: no connection, no answer, an error, or stopped
    released,    ///< in order; `lasted`: how long it was held. The next two as well
    lost,        ///< the session ended, or the server says that it is not held
    overdue,     ///< held for longer than `max_hold`, and not given back yet
    close_error, ///< giving it back failed or got no answer: its connection is closed instead. Follows, or stands beside, `lost`
};

/// One of those. The views live as long as the call.
struct lock_event {
    lock_change what;
    std::string_view type; ///< the key's: "advisory", "advisory_shared", "named"
    std::string_view key;  ///< the key's `text()`
    duration lasted{};
    std::error_code why{}; ///< of `failed`
};

/// Hears of locks: `void on_lock(const lock_event&)`.
///
/// Called   on the thread that uses the lock, `overdue` also on the watchdog's (`on_overdue::close`); several at once, outside any lock.
/// Errors   what it throws is dropped.
template <class T>
concept lock_sink = requires(T& t, const lock_event& e) { t.on_lock(e); };

/// A sink of any type, which must outlive the locks; or none.
class lock_sink_ref {
public:
    lock_sink_ref() noexcept = default;
    template <lock_sink T>
        requires(!std::same_as<T, lock_sink_ref>)
    lock_sink_ref(T& sink) noexcept : sink_{&sink}, tell_{[](void* s, const lock_event& e) { static_cast<T*>(s)->on_lock(e); }} {}

    [[nodiscard]] explicit operator bool() const noexcept { return sink_ != nullptr; }
    void on_lock(const lock_event& e) const noexcept {
        if (sink_ == nullptr) return;
        try {
            tell_(sink_, e);
        } catch (...) { // the lock is more important than what is said of it
        }
    }

private:
    void* sink_ = nullptr;
    void (*tell_)(void*, const lock_event&) = nullptr;
};

/// What a lock's waiting, polling and `max_hold` go by: the steady clock, unless a test has another one.
class lock_clock {
public:
    lock_clock() noexcept = default;
    lock_clock(const lock_clock&) = delete;
    lock_clock& operator=(const lock_clock&) = delete;
    virtual ~lock_clock() = default;

    [[nodiscard]] virtual time_point now() const noexcept { return std::chrono::steady_clock::now(); }
    /// Waits until that time, or until `stop` is requested: false.
    [[nodiscard]] virtual bool wait(time_point until, const std::stop_token& stop) const {
        std::mutex m;
        std::condition_variable_any never;
        std::unique_lock guard{m};
        (void)never.wait_until(guard, stop, until, [] { return false; });
        return !stop.stop_requested();
    }
};

/// Counts what happens to locks, and renders it for Prometheus.
///
/// Shape    `lock_counters figures; … lock(db, key, {.sink = figures}); … figures.prometheus("shop")`
/// Cost     a few relaxed atomic adds per event.
class lock_counters {
public:
    /// Upper bounds of the histogram's buckets, in seconds; the last one has none. 60 s is what is advised for locks that many want, 600 s
    /// for those that hardly anybody does.
    static constexpr std::array<double, 11> bounds{0.01, 0.05, 0.25, 1, 5, 15, 60, 120, 300, 600, 3600};
    static constexpr std::array<std::string_view, 4> types{"advisory", "advisory_shared", "named", "other"};

    void on_lock(const lock_event& e) noexcept {
        row& r = rows_[index_of(e.type)];
        r.changes[static_cast<std::size_t>(e.what)].fetch_add(1, std::memory_order_relaxed);
        if (e.what != lock_change::released && e.what != lock_change::lost) return;
        const double s = std::chrono::duration<double>{e.lasted}.count();
        std::size_t i = 0;
        while (i < bounds.size() && s > bounds[i]) ++i;
        r.ages[i].fetch_add(1, std::memory_order_relaxed);
        r.age_sum_ns.fetch_add(static_cast<std::uint64_t>(e.lasted.count() > 0 ? e.lasted.count() : 0), std::memory_order_relaxed);
    }

    /// How often this has happened, to locks of one type or of all.
    [[nodiscard]] std::uint64_t count(lock_change what, std::string_view type) const noexcept {
        return rows_[index_of(type)].changes[static_cast<std::size_t>(what)].load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t count(lock_change what) const noexcept {
        std::uint64_t n = 0;
        for (const std::string_view t : types) n += count(what, t);
        return n;
    }

    /// The text format of Prometheus: `<prefix>_lock_connection_age_seconds{lock_type}`, how long connections were held for locks that
    /// have ended, `…_lock_connection_leak_detected_total`, those held beyond `max_hold`, `…_lock_connection_close_error_total`, and
    /// `…_lock_{acquired,timed_out,failed,released,lost}_total`. Types that were never seen are left out.
    [[nodiscard]] std::string prometheus(std::string_view prefix) const {
        std::string out;
        const auto name = [&](std::string_view rest) { return std::string{prefix}.append("_lock_").append(rest); };
        const auto line = [&](const std::string& metric, std::string_view type, std::string_view more, const std::string& value) {
            out.append(metric).append("{lock_type=\"").append(type).append("\"").append(more).append("} ").append(value).append("\n");
        };
        const auto each = [&](auto f) {
            for (std::size_t t = 0; t < types.size(); ++t) {
                if (seen(rows_[t])) f(rows_[t], types[t]);
            }
        };
        const auto total = [&](const std::string& metric, std::string_view help, lock_change what) {
            out.append("# HELP ").append(metric).append(" ").append(help).append("\n# TYPE ").append(metric).append(" counter\n");
            each([&](const row&, std::string_view type) { line(metric, type, "", std::to_string(count(what, type))); });
        };
        const std::string age = name("connection_age_seconds");
        out.append("# HELP ").append(age).append(" How long a connection was held for a lock.\n# TYPE ").append(age).append(" histogram\n");
        each([&](const row& r, std::string_view type) {
            std::uint64_t below = 0;
            for (std::size_t i = 0; i <= bounds.size(); ++i) {
                below += r.ages[i].load(std::memory_order_relaxed);
                line(age + "_bucket", type, ",le=\"" + (i < bounds.size() ? decimal(bounds[i]) : "+Inf") + "\"", std::to_string(below));
            }
            line(age + "_sum", type, "", decimal(static_cast<double>(r.age_sum_ns.load(std::memory_order_relaxed)) / 1e9));
            line(age + "_count", type, "", std::to_string(below));
        });
        total(name("connection_leak_detected_total"), "Locks held for longer than max_hold.", lock_change::overdue);
        total(name("connection_close_error_total"), "Locks whose release failed, so that their connection was closed.",
              lock_change::close_error);
        total(name("acquired_total"), "Locks taken.", lock_change::acquired);
        total(name("timed_out_total"), "Locks that somebody else held until the time was up.", lock_change::timed_out);
        total(name("failed_total"), "Locks that could not be asked for.", lock_change::failed);
        total(name("released_total"), "Locks given back.", lock_change::released);
        total(name("lost_total"), "Locks whose session ended first.", lock_change::lost);
        return out;
    }

private:
    struct row {
        std::array<std::atomic<std::uint64_t>, 7> changes{};
        std::array<std::atomic<std::uint64_t>, bounds.size() + 1> ages{};
        std::atomic<std::uint64_t> age_sum_ns{0};
    };
    [[nodiscard]] static std::size_t index_of(std::string_view type) noexcept {
        std::size_t i = 0;
        while (i + 1 < types.size() && types[i] != type) ++i;
        return i;
    }
    [[nodiscard]] static bool seen(const row& r) noexcept {
        for (const auto& n : r.changes) {
            if (n.load(std::memory_order_relaxed) != 0) return true;
        }
        return false;
    }
    [[nodiscard]] static std::string decimal(double d) {
        std::array<char, 32> text;
        const int n = std::snprintf(text.data(), text.size(), "%.9g", d);
        std::string out{text.data(), static_cast<std::size_t>(n)};
        for (char& c : out) c = c == ',' ? '.' : c; // where the program's locale has a comma
        return out;
    }

    std::array<row, types.size()> rows_{};
};

} // namespace cenote
