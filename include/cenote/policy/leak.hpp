// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/invalid.hpp>
#include <cenote/policy/facts.hpp>
#include <cenote/policy/family.hpp>

#include <chrono>
#include <type_traits>

/// Family `leak`: what is known of leases that are out, and what becomes of one that is out too long.
///
/// Shape    records                 whether leases are recorded; then `needs` lists `facts<holder>`, and `duration after` is the threshold
///          discards, cuts          optional: as `discard_on_return` and `close_now` have them; who cuts needs facts<custody> and `duration grace`
namespace cenote {

/// Leases are not recorded; `inspect()` knows how many are out, not who has them.
///
/// Cost     nothing.
struct no_leak_check {
    using family = family::leak;
    static constexpr bool records = false;
};

/// Records who holds each lease, and reports one that is held longer than `after`: once while it is out and once when it comes back.
///
/// The report goes to `on_leak` hooks and to metrics sinks; `inspect()` and the evidence of a timeout list the holders.
/// Default  off; 300 s when chosen.
/// Range    above zero.
/// Cost     an age clock read and five plain stores per acquire, one store per give back: 21 instructions beside the defaults (g++ 12).
/// With     the scan is housekeeping's: in time with `background_thread`, at `maintain()` under `manual`.
struct leak_threshold {
    using family = family::leak;
    using needs = facts<holder>;
    static constexpr bool records = true;
    duration after = std::chrono::seconds{300};
    void check() const { detail::require_positive("leak_threshold.after", after, "no_leak_check"); }
};

/// As `leak_threshold`, and a connection that comes back so late is closed (close_reason::leaked): who knows what was done with it.
/// One that comes back before any scan has seen it is reported then.
///
/// Default  off; 300 s when chosen.
/// Range    above zero.
/// Cost     as leak_threshold, and the age clock compared per give back, and read for that unless another policy reads it: 17 instructions.
/// With     the transaction of a connection that is closed is rolled back by its server.
struct discard_on_return {
    using family = family::leak;
    using needs = facts<holder>;
    static constexpr bool records = true, discards = true;
    duration after = std::chrono::seconds{300};
    void check() const { detail::require_positive("discard_on_return.after", after, "no_leak_check"); }
};

/// As `leak_threshold`, and the lease is cut: its session ends, so that its holder's next call fails as if the server had gone, and
/// somebody else can have a connection in its place. Its holder ends the lease as ever, which closes what is left of the connection
/// (close_reason::leaked). A lease that is given back at that very moment either was given back, and nothing is cut, or is cut.
///
/// For leases that are lost, not for slow statements: a statement timeout tells its user more.
/// Default  off; 300 s when chosen. `grace`: how long a scan waits for servers to be told, 1 s; the holders' ends are cut before that.
/// Range    after above zero, grace ≥ 0.
/// Errors   none at the holder's but those of his client library. `lease.detach()` gives him a connection that is dead.
/// Cost     as leak_threshold, and per give back 11 instructions, one of them locked (some 5 ns); a slot more for each connection there may be, and what
///          `cut_at_close` costs for each that is open.
/// With     at most `max` leases can be cut and not back: the next are reported only, until one is back or has ended.
///          `max` counts them no more: their sessions end with the cut. on_give_back hooks do not run for them; inspect() shows them as cut.
///          `manual`: maintain() does it, and may take as long as `grace`.
///          Refused for a driver without `interrupter`, for `single_threaded`, and for `fixed<N>`, which has no slot to spare.
struct close_now {
    using family = family::leak;
    using needs = facts<holder, custody>;
    static constexpr bool records = true, cuts = true;
    duration after = std::chrono::seconds{300};
    duration grace = std::chrono::seconds{1};
    void check() const {
        detail::require_positive("close_now.after", after, "no_leak_check");
        detail::require_not_negative("close_now.grace", grace);
    }
};

/// What `with_stack` calls: writes at most `most` addresses and returns how many. It must not use the pool.
///
///     cenote::with_stack{cenote::leak_threshold{60s}, [](void** at, unsigned most) noexcept { return static_cast<unsigned>(backtrace(at, static_cast<int>(most))); }}
using stack_capture = unsigned (*)(void** frames, unsigned most) noexcept;

namespace detail {
template <class Facts, class F>
struct more_facts;
template <class... G, class F>
struct more_facts<facts<G...>, F> { using type = facts<G..., F>; };
} // namespace detail

/// Another policy of this family, and the stack that each lease was acquired from: `lease_info::stack`. What the addresses mean is for
/// the user's own tools (backtrace_symbols, addr2line, <stacktrace>).
///
/// Called   `capture` at the end of each acquire that succeeds, on its thread, outside locks.
/// Range    capture not null.
/// Cost     what `capture` takes (glibc's backtrace: µs), and 20 instructions and a store per address; 136 bytes per slot.
template <class Policy>
struct with_stack : Policy {
    static_assert(Policy::records, "cenote: with_stack needs a leak policy that records leases; write leak_threshold, discard_on_return or close_now, see cenote/policy/leak.hpp");
    using needs = typename detail::more_facts<typename Policy::needs, call_stack>::type;
    stack_capture capture = nullptr;
    void check() const {
        Policy::check();
        if (capture == nullptr) detail::bad_value("with_stack.capture", std::string{"null"}, "must be a function; to have no stacks leave with_stack out");
    }
};
template <class Policy>
with_stack(Policy, stack_capture) -> with_stack<Policy>;

} // namespace cenote
