// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/idle_set.hpp>

namespace cenote::detail {

/// The idle set of `with_mutex`: a list under the Sync seam's mutex.
template <class Order, class Sync>
class idle_locked {
public:
    using link = detail::link;
    static constexpr bool calm = false;

    [[nodiscard]] link* pop() noexcept {
        mutex_.lock();
        link* const l = idle_.pop();
        mutex_.unlock();
        return l;
    }
    [[nodiscard]] bool push(link& l) noexcept {
        mutex_.lock();
        // While a waiter is on its way (soft) only every eighth return asks whether he has become due meanwhile.
        if (attention_ != attention::none && (attention_ == attention::must || ++soft_pushes_ % 8 == 0)) return false;
        idle_.push(l);
        mutex_.unlock();
        return true;
    }

    void lock() noexcept { mutex_.lock(); }
    void unlock() noexcept { mutex_.unlock(); }
    [[nodiscard]] link* pop_locked() noexcept { return idle_.pop(); }
    void push_locked(link& l) noexcept { idle_.push(l); }
    [[nodiscard]] bool empty_locked() const noexcept { return idle_.empty(); }
    [[nodiscard]] unsigned count_locked() const noexcept { return idle_.count(); }
    void raise(attention a) noexcept { attention_ = a; }
    void lower() noexcept { attention_ = attention::none; }
    template <class Pred>
    [[nodiscard]] link* extract(Pred&& pred, unsigned keep) noexcept { return idle_.extract(pred, keep); }
    template <class F>
    void each_locked(F&& f) const noexcept { idle_.each(f); }

private:
    typename Sync::mutex mutex_;
    chain<Order> idle_;
    unsigned soft_pushes_ = 0;
    attention attention_ = attention::none;
};

} // namespace cenote::detail
