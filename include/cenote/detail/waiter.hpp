// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/error.hpp>

#include <cstdint>

namespace cenote::detail {

/// What the desk has told a waiter, in its word.
namespace told {
inline constexpr std::uint32_t nothing = 0;
inline constexpr std::uint32_t look = 1;    ///< a nudge: something was published, look again; the place in the queue is kept
inline constexpr std::uint32_t granted = 2; ///< `got` is yours; you have left the queue
inline constexpr std::uint32_t refused = 3; ///< `why` says why; you have left the queue
inline constexpr std::uint32_t stop = 4;    ///< the stop token fired
inline constexpr std::uint32_t granted_pass_on = 5; ///< granted before it could look: what there is to look at is for the next
} // namespace told

/// One acquire in the queue. It lives in the frame of the waiting call, or in an asynchronous operation.
///
/// All members but the word belong to the desk's lock while the waiter is queued. The word is the last thing the desk writes;
/// after that the node may be gone, so a synchronous waiter is woken by the word's address alone.
template <class Link, class Sync>
struct waiter {
    using word_type = typename Sync::word;

    waiter() noexcept = default;
    /// An asynchronous waiter: `on_told` is called once it is granted or refused, outside the desk's lock, on the thread that
    /// did it, and must only post the completion. It gets grants, never nudges.
    explicit waiter(void (*on_told)(waiter&) noexcept) noexcept : wake{on_told} {}
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;

    waiter* prev = nullptr;
    waiter* next = nullptr;
    Link* got = nullptr;
    time_point since{}; ///< when this acquire first looked for a connection
    void (*wake)(waiter&) noexcept = nullptr;
    errc why = errc::acquire_timeout;
    bool queued = false;
    bool dials = true;  ///< may be given a vacant link to dial into, where callers dial
    bool again = false; ///< has had its turn and got something unusable: goes to the front
    word_type word{told::nothing};
};

} // namespace cenote::detail
