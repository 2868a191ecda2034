// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/core.hpp>
#include <cenote/detail/shell/close.hpp>
#include <cenote/detail/shell/events.hpp>
#include <cenote/detail/shell/probe.hpp>

#include <exception>
#include <memory>
#include <new>
#include <utility>

/// How connections begin.
namespace cenote::detail::shell {

struct dialled {
    bool ok = false;
    errc why = errc::connect_failed;
    bool retryable = false;
    std::exception_ptr from_hook; ///< what an on_connect hook threw
};

/// What an exception in flight has to say; nothing if there is no memory to say it.
[[nodiscard]] inline std::string text_of(const std::exception_ptr& e) noexcept {
    try {
        try {
            std::rethrow_exception(e);
        } catch (const std::exception& known) {
            return known.what();
        } catch (...) {
            return "an exception that is no std::exception";
        }
    } catch (...) {
        return {};
    }
}

template <class Core>
[[nodiscard]] connect_error describe(Core& c, const std::exception_ptr& e) {
    connect_error out;
    try {
        std::rethrow_exception(e);
    } catch (const driver_error& known) {
        out.kind = classify(c.driver(), known);
        out.native_code = known.native_code();
        out.sqlstate = known.sqlstate();
        out.text = known.what();
    } catch (const std::exception& known) {
        out.kind = classify(c.driver(), known);
        out.text = known.what();
    } catch (...) {
        out.text = "an exception that is no std::exception";
    }
    return out;
}

/// Records a failure to open; without memory for its text at least its kind.
template <class Core>
void note_failure(Core& c, const std::exception_ptr& e, duration took, dialled& out) noexcept {
    try {
        auto error = std::make_shared<connect_error>(describe(c, e));
        out.why = error->kind == error_class::timeout ? errc::connect_timeout : errc::connect_failed;
        out.retryable = is_retryable(error->kind);
        tell_open_failed(c, {took, *error});
        if constexpr (Core::keeps_log) c.log().failed(std::move(error));
    } catch (...) {
        out.why = errc::out_of_memory;
        out.retryable = true;
    }
}

/// Makes sure of the background thread. That there is none is what evidence will show as the last connect error: those who wait get
/// what is given back, and whoever waits next tries again.
template <class Core>
void start_keeper(Core& c) noexcept {
    try {
        try {
            c.keeper().start();
        } catch (const std::exception& e) {
            throw driver_error{error_class::other, std::string{"cannot start the background thread: "} + e.what()};
        }
    } catch (...) {
        dialled ignored;
        note_failure(c, std::current_exception(), duration::zero(), ignored);
    }
}

/// Opens a connection into a slot that has a permit, and sets it up, as it is now.
template <class Core>
[[nodiscard]] dialled dial_once(Core& c, typename Core::slot_type& s, deadline by) noexcept {
    dialled out;
    const time_point began = Core::sync::now();
    if constexpr (Core::cfg::heeds_doubt) s.doubt.clear(); // before it is opened: what is held against it from now on stays
    try {
        ::new (static_cast<void*>(&s.conn)) typename Core::connection_type(c.driver().open(by));
    } catch (...) {
        s.doubt.vacate();
        note_failure(c, std::current_exception(), Core::sync::now() - began, out);
        return out;
    }
    s.open = true;
    if constexpr (Core::cfg::keeps_tokens) {
        try {
            auto token = c.driver().interrupter(s.conn);
            const std::scoped_lock lock{c.token_mutex()};
            s.token.emplace(std::move(token));
        } catch (...) {
            note_failure(c, std::current_exception(), Core::sync::now() - began, out);
            c.driver().close(s.conn);
            s.vacate();
            return out;
        }
    }
    s.forks.opened(Core::cfg::keeps_tokens);
    if constexpr (Core::cfg::fact_list::size != 0) {
        static_cast<typename Core::cfg::facts&>(s).open({.now = c.age_now(), .random = c.random()});
    }
    const time_point ended = Core::sync::now();
    const duration took = ended - began;
    if constexpr (Core::cfg::marks_dials) s.dialled = ended;
    tell_opened(c, {took});
    if constexpr (Core::cfg::role::checks) {
        try {
            ask_role(c, s.conn, by);
        } catch (...) {
            note_failure(c, std::current_exception(), took, out);
            end_connection(c, s, verdict_in_flight(c));
            return out;
        }
    }
    if constexpr (has_hook<on_connect, Core>) {
        try {
            run_hooks<on_connect>(c, s.conn);
        } catch (...) {
            out.from_hook = std::current_exception();
            out.why = errc::hook_failed;
            end_connection(c, s, close_reason::setup_failed);
            if constexpr (!Core::cfg::caller_dials) {
                note_failure(c, out.from_hook, took, out);
                out.why = errc::connect_failed;
            }
            return out;
        }
    }
    out.ok = true;
    if constexpr (Core::keeps_log) c.log().succeeded();
    return out;
}

/// Opens a connection into a slot that has a permit, and sets it up. Any failure is recorded and leaves the slot vacant. What was
/// invalidated while it was being opened is of no use to anybody: another is opened.
template <class Core>
[[nodiscard]] dialled dial(Core& c, typename Core::slot_type& s, deadline by) noexcept {
    for (;;) {
        dialled out = dial_once(c, s, by);
        if (!out.ok || doubt_of<Core>(s) != doubt::invalid) return out;
        end_connection(c, s, close_reason::invalidated);
    }
}

/// One dial on behalf of whoever waits, on a housekeeping thread. False: nobody wants one.
template <class Core>
bool dial_for_waiters(Core& c, auto&& entered, auto&& pause) noexcept {
    link* const l = c.demand(c.wanted_open(), c.wanted_idle());
    if (l == nullptr) return false;
    entered();
    typename Core::slot_type& s = Core::slot_of(*l);
    const dialled d = dial(c, s, deadline::after(c.connect_limit(), Core::sync::now()));
    auto keeper = c.hold_keeper();
    if (d.ok) {
        if (c.give_opened(s, c.waiting()) == fate::excess) close_in_place(c, s, excess_reason(c));
        return true;
    }
    if constexpr (Core::cfg::threads) {
        const double fraction = static_cast<double>(c.random()) / 4294967296.0;
        const unsigned failures = c.log().failures(), attempts = c.connect_attempts();
        pause(deadline::after(c.backoff_pause(failures, fraction), clock::steady::now()).at());
        const bool gives_up = !d.retryable || (attempts != 0 && failures >= attempts);
        if (gives_up || c.fails_fast()) {
            c.pin();
            c.begin_refusing();
            after_retire(&c, c.retire_unopened(s), keeper); // first, so that whoever is refused finds nothing being opened any more
            c.refuse_all(gives_up ? d.why : errc::breaker_open);
            c.end_refusing();
            keeper->poke(); // somebody may have come meanwhile
            c.let_go();
            return true;
        }
    }
    after_retire(&c, c.retire_unopened(s), keeper);
    return true;
}

} // namespace cenote::detail::shell
