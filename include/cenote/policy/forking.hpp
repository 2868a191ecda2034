// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/fork_mark.hpp>
#include <cenote/policy/family.hpp>

#include <concepts>

namespace cenote {

/// Family `forking`: what a pool is in a process that was forked from the one that made it.
///
/// A copy that must not be touched: its sessions are the parent's, and its locks may be held by threads that are not there. A child that
/// goes on (one that does not exec) lets go of it by `pool::abandon()`.
///
/// Default  yes. Cost: nothing.
struct fork_unaware {
    using family = family::forking;
    static constexpr bool aware = false;
};

/// The pool notices, and in the child is one that has nothing: no byte goes to a server, no lock is taken, no thread is waited for.
/// acquire(), in all its forms, and warm_up() fail with errc::pool_forked. Leases that end there, pool::close() and the pool's end close
/// the child's descriptors and leave the sessions to the parent, which notices nothing. Everything else does nothing. The child makes pools
/// of its own: `db = make_pool();` puts one in the old one's place.
///
/// Errors   errc::pool_forked. What a lease that was out at the fork refers to must not be used in the child: it can only end.
/// Cost     three instructions and a branch per acquire, and again per give back: two loads, of which one is of a line that nobody writes.
///          In a child, once per fork: the memory of the old pool and of its client library's connections stays, as threads that are gone may
///          have been changing it. A connection that another thread was just opening, closing or cutting at the moment of the fork keeps its
///          descriptor in the child, until exec or the child's end.
/// With     refused for a driver without `abandon`, and for `fixed<N>`. A hook that forks must not return in the child. Client libraries have
///          locks of their own: a child that will connect is forked while no other thread connects or closes. On Linux any way of forking is
///          noticed, a bare clone system call as well; elsewhere, and before Linux 4.14, what runs the handlers of pthread_atfork.
struct fork_aware {
    using family = family::forking;
    static constexpr bool aware = true;
    using word = detail::os::fork_word;
};

/// Contract of the family: `aware`, and if so `word::here()`, which is a word that is not 0 in the process that asked for it and 0 in all
/// that are forked from it.
template <class P>
concept forking_policy = requires {
    { P::aware } -> std::convertible_to<bool>;
} && (!P::aware || requires {
    { P::word::here() } -> std::same_as<const unsigned*>;
});

} // namespace cenote
