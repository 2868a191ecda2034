// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/invalid.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/pool.hpp>
#include <cenote/session/detail/lock_ask.hpp>
#include <cenote/session/detail/lock_failure.hpp>
#include <cenote/session/detail/lock_watch.hpp>
#include <cenote/session/held_lock.hpp>
#include <cenote/session/lock_events.hpp>
#include <cenote/session/lock_key.hpp>
#include <cenote/session/lock_options.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <source_location>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace cenote::detail {

/// What `lock` does.
struct locker {
    template <class P, class K>
    using held = held_lock<typename P::lease, K>;

    /// Asks again and again, with whatever connection is free at that moment: who waits needs none in between.
    template <any_pool P, lock_key K>
    [[nodiscard]] static held<P, K> take(P& db, const K& key, const lock_options& o, const typename P::stop_token& stop, failure& why,
                                         std::source_location at) {
        using driver_type = typename P::driver_type;
        const lock_clock& clock = clock_of(o);
        const time_point began = clock.now(), end = deadline::after(o.wait, began).at();
        const auto failed = [&](errc code, std::string_view words) {
            why = lock_failure(code, clock.now() - began, key, words);
            add_pool(why, db);
        };
        held<P, K> out;
        // Made before there is anything to hold, so that no want of memory comes between.
        out.s_ = std::make_unique<typename held<P, K>::state>(typename held<P, K>::state{.key = key});
        auto& lease = out.s_->lease;
        for (;;) {
            const deadline by = deadline::in(std::max(deadline{end}.remaining(clock.now()), o.answer));
            lease = db.acquire(by, stop, why, at);
            if (!lease) return {};
            lease.tag(key.type());
            driver_type& d = lease.driver();
            std::string words; // why this time was none
            try {
                std::optional<std::uint64_t> login;
                if constexpr (can_number_sessions<driver_type>) {
                    if (!o.session_pooler) login = d.session_number(*lease);
                }
                const auto answer = ask_number(d, *lease, key.take(login), by);
                if (answer > 0) {
                    begin_to_hold(out, static_cast<std::uint64_t>(*answer), clock, o, why);
                    return out;
                }
                if (answer) lease.give_back(); // nothing was taken
                else lease.discard();
                if (!answer || *answer < 0) {
                    constexpr std::string_view null{"the server answers NULL, which is its word for an error"};
                    failed(errc::lock_failed, answer ? pooler_in_between : null);
                    return {};
                }
            } catch (const std::exception& e) { // it may be held now: nobody gets that session any more
                const error_class kind = classify(d, e);
                lease.discard(kind);
                words = words_of(e);
                if (kind != error_class::disconnected) {
                    failed(errc::lock_failed, words);
                    return {};
                }
            } catch (...) {
                lease.discard();
                throw;
            }
            const time_point now = clock.now();
            if (now >= end) {
                failed(words.empty() ? errc::lock_timeout : errc::lock_failed, words);
                return {};
            }
            if (!wait(clock, std::min(deadline::after(o.poll, now).at(), end), stop)) {
                failed(errc::cancelled, {});
                return {};
            }
        }
    }

    template <class D>
    static void check_options(const lock_options& o) {
        o.check();
        if constexpr (!can_interrupt<D>) {
            if (o.on_overdue != on_overdue::close) return;
            bad_value("lock_options.on_overdue", std::string_view{"close"}, "needs a driver that can interrupt");
        }
    }

    template <any_pool P, lock_key K>
    [[nodiscard]] static held<P, K> take_or_tell(P& db, K key, const lock_options& o, const typename P::stop_token& stop, failure& why,
                                                 std::source_location at) noexcept {
        const lock_clock& clock = clock_of(o);
        const time_point began = clock.now();
        held<P, K> out;
        try {
            check_options<typename P::driver_type>(o);
            out = take(db, key, o, stop, why, at);
        } catch (const std::bad_alloc&) {
            why = {make_error_code(errc::out_of_memory), nullptr};
        } catch (const std::exception& e) {
            why = lock_failure(errc::lock_failed, clock.now() - began, key, e.what());
        } catch (...) {
            why = lock_failure(errc::lock_failed, clock.now() - began, key, {});
        }
        if (o.sink) tell(o, key, why.code, clock.now() - began);
        return out;
    }

    template <class D, class K>
    static bool take_in_transaction(D& d, typename D::connection& c, const K& key, const lock_options& o, const std::stop_token& stop,
                                    failure& why) {
        const lock_clock& clock = clock_of(o);
        const time_point began = clock.now(), end = deadline::after(o.wait, began).at();
        if constexpr (can_tell_state<D>) {
            if (d.state(c) != session_state::in_transaction) {
                why = lock_failure(errc::lock_failed, {}, key, "no transaction is open on the connection");
                return false;
            }
        }
        for (;;) {
            const deadline by = deadline::in(std::max(deadline{end}.remaining(clock.now()), o.answer));
            const auto answer = ask_number(d, c, key.take_in_transaction(), by);
            if (answer == 1) return true;
            const time_point now = clock.now();
            if (!answer || now >= end) {
                why = lock_failure(answer ? errc::lock_timeout : errc::lock_failed, now - began, key, {});
                return false;
            }
            if (!clock.wait(std::min(deadline::after(o.poll, now).at(), end), stop)) {
                why = lock_failure(errc::cancelled, now - began, key, {});
                return false;
            }
        }
    }

private:
    /// From now on the guard answers for it.
    template <class Held>
    static void begin_to_hold(Held& out, std::uint64_t session, const lock_clock& clock, const lock_options& o, failure& why) noexcept {
        using driver_type = typename Held::driver_type;
        auto& s = *out.s_;
        s.session = session;
        s.since = clock.now();
        s.clock = &clock;
        s.answer = o.answer;
        s.max_hold = o.max_hold;
        const bool closes = o.on_overdue == on_overdue::close && o.max_hold != duration::max();
        if constexpr (can_interrupt<driver_type>) {
            try {
                s.interrupter.emplace(s.lease.driver().interrupter(*s.lease));
                if (closes) {
                    const time_point end = deadline::after(o.max_hold, s.since).at();
                    s.watch = std::make_unique<lock_watch<driver_type>>(s.lease.driver(), *s.interrupter, end, o.max_hold, clock, o.sink,
                                                                        s.key.type(), s.key.text());
                }
            } catch (const std::exception& e) { // no descriptor, thread or memory
                if (closes) {
                    why = lock_failure(errc::lock_failed, {}, s.key, e.what());
                    out = Held{}; // which releases it
                    return;
                }
            }
        }
        s.sink = o.sink;
    }

    static bool wait(const lock_clock& clock, time_point until, const auto& stop) {
        if constexpr (std::is_same_v<decltype(stop), const std::stop_token&>) return clock.wait(until, stop);
        else return clock.wait(until, {});
    }
    static void add_pool(failure& why, const auto& db) noexcept {
        try {
            if (!why.seen) return;
            auto more = std::make_shared<evidence>(*why.seen);
            more->pool = db.name();
            shell::note_counts(*more, db.stats());
            why.seen = std::move(more);
        } catch (...) { // no memory: then without
        }
    }
    static void tell(const lock_options& o, const auto& key, std::error_code why, duration waited) noexcept {
        const lock_change what = !why ? lock_change::acquired : why == errc::lock_timeout ? lock_change::timed_out : lock_change::failed;
        try {
            o.sink.on_lock({what, key.type(), key.text(), waited, why});
        } catch (...) { // no memory for its name
            o.sink.on_lock({what, key.type(), {}, waited, why});
        }
    }
};

template <class P, class K>
consteval bool check_lock() {
    using driver_type = typename P::driver_type;
    static_assert(knows_lock<driver_type, K>,
                  "cenote: this driver's database has no such lock: advisory_lock is PostgreSQL's, named_lock is MySQL's and MariaDB's, and SQLite has neither, see cenote/session/lock_key.hpp");
    static_assert(can_query<driver_type> || can_ask<driver_type>,
                  "cenote: lock() needs a driver that can query, or ask; see cenote/session/statement.hpp and cenote/session/detail/lock_ask.hpp");
    return knows_lock<driver_type, K> && (can_query<driver_type> || can_ask<driver_type>);
}

} // namespace cenote::detail
