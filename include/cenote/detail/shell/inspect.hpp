// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/shell/events.hpp>
#include <cenote/detail/shell/forfeit.hpp>
#include <cenote/error.hpp>
#include <cenote/stats.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

/// Looking at a pool from any thread.
namespace cenote::detail::shell {

/// Reads who holds a slot; empty if nobody does, or if it changed hands meanwhile.
template <class Core>
[[nodiscard]] std::optional<lease_info> read_holder(typename Core::slot_type& s, std::uint64_t id, time_point now, std::uint64_t* epoch = nullptr) noexcept {
    const std::uint64_t before = s.epoch.load(std::memory_order_acquire);
    if (before % 2 == 0) return std::nullopt;
    // Acquire loads, so that the epoch is read again after them.
    const time_point since{duration{s.since.load(std::memory_order_acquire)}};
    lease_info info{.id = id,
                    .age = now > since ? now - since : duration::zero(),
                    .where = s.where.load(std::memory_order_acquire),
                    .thread = s.thread.load(std::memory_order_acquire),
                    .returned = false,
                    .tag = s.tag.load(std::memory_order_acquire)};
    if constexpr (Core::cfg::cuts_leases) info.cut = (s.word.load(std::memory_order_acquire) & custody::state_bits) == custody::severed;
    if constexpr (Core::cfg::captures_stack) {
        info.stack.depth = s.depth.load(std::memory_order_acquire);
        for (unsigned i = 0; i < info.stack.depth; ++i) info.stack.at[i] = s.frames[i].load(std::memory_order_acquire);
    }
    if (s.epoch.load(std::memory_order_relaxed) != before) return std::nullopt;
    if (epoch != nullptr) *epoch = before;
    return info;
}

/// Every lease that is out, and has been for longer than `over`, oldest first. Empty without a leak policy.
template <class Core>
[[nodiscard]] std::vector<lease_info> holders(Core& c, duration over = duration::min()) {
    std::vector<lease_info> out;
    if constexpr (Core::cfg::records_holder) {
        if (c.forked()) return out;
        const time_point now = c.age_now();
        std::uint64_t id = 0;
        c.slots().each([&](typename Core::slot_type& s) {
            if (const auto info = read_holder<Core>(s, id, now); info && info->age > over) out.push_back(*info);
            ++id;
        });
        std::sort(out.begin(), out.end(), [](const lease_info& a, const lease_info& b) { return a.age != b.age ? a.age > b.age : a.id < b.id; });
    }
    return out;
}

/// Whether the lease that ends now was out for so long that its connection is not to be used again.
template <class Core>
[[nodiscard]] bool too_late(Core& c, const typename Core::slot_type& s, time_point now) noexcept {
    return now - time_point{duration{s.since.load(std::memory_order_relaxed)}} >= c.template get<typename Core::cfg::leak>().after;
}

/// A lease that was reported as a suspected leak is back, or one that no scan has seen and that is reported now.
template <class Core>
void report_return(Core& c, typename Core::slot_type& s, [[maybe_unused]] time_point now) noexcept {
    const std::uint64_t epoch = s.epoch.load(std::memory_order_relaxed);
    std::uint64_t reported = s.reported.load(std::memory_order_relaxed);
    bool unseen = false;
    if (reported != epoch) {
        if constexpr (Core::cfg::ends_late) unseen = too_late(c, s, now) && s.reported.compare_exchange_strong(reported, epoch, std::memory_order_relaxed);
        if (!unseen && reported != epoch) return;
    }
    std::uint64_t id = 0, at = 0;
    c.slots().each([&](typename Core::slot_type& other) {
        if (&other == &s) id = at;
        ++at;
    });
    if (auto info = read_holder<Core>(s, id, c.age_now())) {
        if (unseen) tell_leak(c, *info);
        info->returned = true;
        tell_leak(c, *info);
    }
}

/// What cuts the leases that a scan finds, in pools that do that.
struct no_cutter {
    explicit no_cutter(auto&) noexcept {}
};

/// Reports leases that passed the threshold since the last scan, and cuts them if that is the policy. Returns when the next one will.
template <class Core>
time_point report_leaks(Core& c, time_point now) noexcept {
    time_point next = time_point::max();
    const duration after = c.template get<typename Core::cfg::leak>().after;
    std::uint64_t id = 0;
    [[maybe_unused]] std::conditional_t<Core::cfg::cuts_leases, cutter<Core>, no_cutter> cuts{c};
    c.slots().each([&](typename Core::slot_type& s) {
        std::uint64_t epoch = 0;
        [[maybe_unused]] std::uint64_t held = 0;
        if constexpr (Core::cfg::cuts_leases) held = s.word.load(std::memory_order_acquire); // first: what is read then is of this lease, or of one that it is not mistaken for
        if (const auto info = read_holder<Core>(s, id++, now, &epoch)) {
            std::uint64_t reported = s.reported.load(std::memory_order_relaxed);
            if (info->age < after) {
                next = std::min(next, deadline::after(after - info->age, now).at());
                return;
            }
            if (reported != epoch && s.reported.compare_exchange_strong(reported, epoch, std::memory_order_relaxed)) tell_leak(c, *info);
            if constexpr (Core::cfg::cuts_leases) cuts.cut(s, held, *info);
        }
    });
    return next;
}

/// Gives the lease that is out a word for reports.
template <class Core>
void tag([[maybe_unused]] typename Core::slot_type& s, [[maybe_unused]] const char* text) noexcept {
    if constexpr (Core::cfg::records_holder) s.tag.store(text, std::memory_order_relaxed);
}

template <class Core>
[[nodiscard]] pool_stats stats(Core& c) noexcept {
    if (c.forked()) return {};
    const census now = c.count();
    pool_stats out;
    out.total = now.used;
    out.idle = now.idle;
    out.opening = now.opening;
    out.closing = now.leaving;
    out.pending = now.waiting;
    out.max = now.max;
    const unsigned others = now.idle + now.opening + now.leaving;
    const unsigned busy = now.used > others ? now.used - others : 0;
    out.resetting = std::min(c.resetting() + now.testing, busy);
    out.used = busy - out.resetting;
    if constexpr (Core::cfg::counts_leases) {
        c.slots().each([&](typename Core::slot_type& s) { out.leases += s.leases.load(std::memory_order_relaxed); });
    }
    tell(c, [&](auto& sink) requires requires { sink.fill(out); } { sink.fill(out); });
    out.swallowed = c.swallowed();
    return out;
}

/// How the pool looked.
inline void note_counts(evidence& in, const pool_stats& now) noexcept {
    in.max = static_cast<unsigned>(now.max);
    in.used = static_cast<unsigned>(now.used);
    in.idle = static_cast<unsigned>(now.idle);
    in.opening = static_cast<unsigned>(now.opening);
    in.resetting = static_cast<unsigned>(now.resetting);
    in.closing = static_cast<unsigned>(now.closing);
    in.waiting = static_cast<unsigned>(now.pending);
}

/// What a failed operation has to say. Never throws: without memory the code goes alone.
template <class Core>
[[nodiscard]] failure explain(Core& c, errc why, duration waited, const std::string& detail) noexcept {
    failure out{make_error_code(why), nullptr};
    try {
        auto found = std::make_shared<evidence>();
        found->pool = c.name();
        note_counts(*found, stats(c));
        found->waited = waited;
        found->detail = detail;
        found->holders = holders(c);
        if (found->holders.size() > 5) found->holders.resize(5);
        if constexpr (Core::keeps_log) {
            const bool refused = why == errc::connect_failed || why == errc::connect_timeout || why == errc::breaker_open;
            if (const auto last = refused ? c.log().last_failed() : c.log().last()) found->last_connect_error = *last;
        }
        out.seen = std::move(found);
    } catch (...) { // out of memory: the code is right, the story is missing
    }
    return out;
}

} // namespace cenote::detail::shell
