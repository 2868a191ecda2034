// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/policy/order.hpp>

#include <concepts>

namespace cenote::detail {

/// What a slot is threaded by: the idle set, the list of vacant slots or the list of chores, one at a time.
struct link {
    link* next = nullptr;
};

/// How much the desk wants returns to look up.
enum class attention : unsigned char {
    none, ///< nobody waits and nothing must change: a push just publishes
    soft, ///< a waiter has been told to look: publish, but look up now and then
    must, ///< every push must come to the desk
};

/// The idle connections, all open and ready: an acquire that pops one checks no state.
///
/// Shape    pop()            hot: takes one or null; locks by itself, ignores waiters
///          push(link&)      hot. true: published, and that was the last touch of the pool, which may be gone now.
///                           false: attention is up, NOT published, and the lock IS HELD
///          lock(), unlock() the desk's only lock
///          pop_locked(), push_locked(link&), empty_locked()
///          raise(attention), lower()   under the lock. After raise(must) no push succeeds, and every earlier push is
///                           visible to pop_locked()
///          extract(pred, keep) -> chain   under the lock: takes out the links that `pred` names, coldest first, but leaves at
///                           least `keep` in the set; pred is pure
///          count_locked()   by walking; about, while others pop or push beside the lock
///          concurrent       optional, true: pop works beside the lock's holder, and push until attention is raised. Then also
///          pop_in_turn()    as pop(), but finds nothing while attention is raised to must
///          place            optional: what a slot is made of instead of a plain link
///          reserve(n), attach(link&)   optional: how many slots there may be, before the first; each slot, once, under the lock
///          room()           optional: how many slots can be attached, ever; without it, any number
template <class I>
concept idle_set = requires(I& i, typename I::link& l, attention a, bool (*pred)(typename I::link&)) {
    { i.pop() } noexcept -> std::same_as<typename I::link*>;
    { i.push(l) } noexcept -> std::same_as<bool>;
    { i.lock() } noexcept;
    { i.unlock() } noexcept;
    { i.pop_locked() } noexcept -> std::same_as<typename I::link*>;
    { i.push_locked(l) } noexcept;
    { i.empty_locked() } noexcept -> std::same_as<bool>;
    { i.raise(a) } noexcept;
    { i.lower() } noexcept;
    { i.extract(pred, 0U) } noexcept -> std::same_as<typename I::link*>;
    { i.count_locked() } noexcept -> std::same_as<unsigned>;
};

template <class I>
inline constexpr bool is_concurrent = false;
template <class I>
    requires requires { I::concurrent; }
inline constexpr bool is_concurrent<I> = I::concurrent;

template <class I>
struct place_of { using type = link; };
template <class I>
    requires requires { typename I::place; }
struct place_of<I> { using type = typename I::place; };

/// An intrusive list in the order a pool hands out: lifo is a stack, fifo a queue.
template <class Order>
class chain {
    static constexpr bool queue = std::same_as<Order, fifo>;
    static_assert(queue || std::same_as<Order, lifo>, "cenote: the idle sets of cenote hand out lifo or fifo; write one of these, or a locking policy of your own that knows the order, see cenote/policy/order.hpp");

public:
    [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

    void push(link& l) noexcept {
        if constexpr (queue) {
            l.next = nullptr;
            *(tail_ == nullptr ? &head_ : &tail_->next) = &l;
            tail_ = &l;
        } else {
            l.next = head_;
            head_ = &l;
        }
    }

    [[nodiscard]] link* pop() noexcept {
        link* const l = head_;
        if (l == nullptr) return nullptr;
        head_ = l->next;
        if constexpr (queue) {
            if (head_ == nullptr) tail_ = nullptr;
        }
        return l;
    }

    [[nodiscard]] unsigned count() const noexcept {
        unsigned n = 0;
        for (const link* l = head_; l != nullptr; l = l->next) ++n;
        return n;
    }

    /// Takes out those that `pred` names, coldest first, and leaves at least `keep`. Returns them linked by `next`.
    template <class Pred>
    [[nodiscard]] link* extract(Pred&& pred, unsigned keep) noexcept {
        unsigned total = 0, matching = 0;
        for (link* l = head_; l != nullptr; l = l->next) {
            ++total;
            matching += pred(*l) ? 1U : 0U;
        }
        const unsigned room = total > keep ? total - keep : 0;
        unsigned take = matching < room ? matching : room;
        // A stack's coldest are at its end, a queue's at its front.
        unsigned skip = queue ? 0 : matching - take;
        link* out = nullptr;
        link** at = &head_;
        link* last = nullptr;
        while (*at != nullptr) {
            link* const l = *at;
            if (take != 0 && pred(*l)) {
                if (skip != 0) {
                    --skip;
                } else {
                    --take;
                    *at = l->next;
                    l->next = out;
                    out = l;
                    continue;
                }
            }
            last = l;
            at = &l->next;
        }
        if constexpr (queue) tail_ = last;
        return out;
    }

    template <class F>
    void each(F&& f) const noexcept {
        for (link* l = head_; l != nullptr; l = l->next) f(*l);
    }

private:
    struct nothing {};
    link* head_ = nullptr;
    [[no_unique_address]] std::conditional_t<queue, link*, nothing> tail_{};
};

} // namespace cenote::detail
