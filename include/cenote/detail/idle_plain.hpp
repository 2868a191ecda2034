// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/idle_set.hpp>

#include <cassert>
#include <thread>
#include <utility>

namespace cenote::detail {

// A debug build looks for a second thread, for which it needs a member more: a namespace of its own, so that translation units
// built with and without NDEBUG do not link instead of disagreeing about the pool's layout.
#ifdef NDEBUG
inline namespace unwatched {
#else
inline namespace watched {
#endif

/// The idle set of `single_threaded`: a list.
///
/// `Calm`: nothing but closing the pool ever needs a return's attention, so a push does not ask. The core re-homes the leases
/// that are out when such a pool is closed.
template <class Order, bool Calm = false>
class idle_plain {
public:
    using link = detail::link;
    static constexpr bool calm = Calm;

    [[nodiscard]] link* pop() noexcept {
        same_thread();
        return idle_.pop();
    }
    [[nodiscard]] bool push(link& l) noexcept {
        same_thread();
        if constexpr (!Calm) {
            if (attention_ == attention::must) return false;
        }
        idle_.push(l);
        return true;
    }

    void lock() noexcept {}
    void unlock() noexcept {}
    [[nodiscard]] link* pop_locked() noexcept { return idle_.pop(); }
    void push_locked(link& l) noexcept { idle_.push(l); }
    [[nodiscard]] bool empty_locked() const noexcept { return idle_.empty(); }
    [[nodiscard]] unsigned count_locked() const noexcept { return idle_.count(); }
    void raise(attention a) noexcept {
        if constexpr (!Calm) attention_ = a;
    }
    void lower() noexcept { raise(attention::none); }
    template <class Pred>
    [[nodiscard]] link* extract(Pred&& pred, unsigned keep) noexcept { return idle_.extract(pred, keep); }
    template <class F>
    void each_locked(F&& f) const noexcept { idle_.each(f); }

private:
#ifndef NDEBUG
    void same_thread() noexcept {
        if (owner_ == std::thread::id{}) owner_ = std::this_thread::get_id();
        assert(owner_ == std::this_thread::get_id() && "cenote: a single_threaded pool is used from a second thread; use with_mutex");
    }
    std::thread::id owner_;
#else
    void same_thread() noexcept {}
#endif
    struct nothing {};
    chain<Order> idle_;
    [[no_unique_address]] std::conditional_t<Calm, nothing, attention> attention_{};
};

} // inline namespace
} // namespace cenote::detail
