// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/idle_set.hpp>
#include <cenote/detail/waiter.hpp>
#include <cenote/error.hpp>

#include <cstdint>
#include <type_traits>
#include <utility>

namespace cenote::detail {

enum class gate : unsigned char {
    open,
    suspended, ///< acquires wait, returned connections are kept
    closed,    ///< acquires fail, returned connections are closed
};

/// What became of a connection that was given to the desk.
enum class fate : unsigned char {
    kept,   ///< idle or with a waiter: the giver must not touch the pool again
    excess, ///< not wanted: the giver closes it and then calls retire()
};

/// The desk's book: permits, queue, gate and limits, and the steps that each decision is made of. The desk (desk.hpp) says what
/// these are for.
///
/// Everything here is called with the lock held. What is named …_and_unlock lets it go and wakes whom it has told.
template <class Idle, class Waiting, class Sync, bool CallerDials, unsigned Fixed>
class ledger : protected Idle {
public:
    using link = typename Idle::link;
    using node = waiter<link, Sync>;
    static constexpr bool calm = Idle::calm;
    static constexpr bool waits = Waiting::waits;

protected:
    struct nothing {};
    struct queue {
        node* head = nullptr;
        node* tail = nullptr;
        node* nudged = nullptr; ///< the waiter with a nudge in flight, if any
        unsigned count = 0;
    };
    struct transit {
        link* held = nullptr; ///< idle while suspended
        unsigned opening = 0;
        unsigned leaving = 0;
        unsigned testing = 0; ///< neither idle nor leased: soon idle again
        unsigned pins = 0;
        unsigned cut = 0;     ///< links without a permit, whose holders have not come back; each is a pin, too
        unsigned warm = 0;    ///< how many those who warm the pool up want open
        unsigned warmers = 0;
        unsigned refusing = 0; ///< how many are telling everybody who waits that there will be no connection
    };
    struct word_box : Sync::word {
        word_box() noexcept : Sync::word{0} {}
    };
    struct bounds {
        unsigned keep = 0;
        unsigned max = 0;
    };

    [[nodiscard]] unsigned max() const noexcept {
        if constexpr (Fixed != 0) return Fixed;
        else return limits_.max;
    }
    [[nodiscard]] unsigned keep() const noexcept {
        if constexpr (Fixed != 0) return Fixed;
        else return limits_.keep;
    }
    /// Permits out, but for those whose connections are on their way out.
    [[nodiscard]] unsigned staying() const noexcept {
        if constexpr (calm) return used_;
        else return used_ - transit_.leaving;
    }
    /// Whether nobody but the pool object keeps the core alive.
    [[nodiscard]] bool unheld() const noexcept {
        if constexpr (calm) return used_ == 0;
        else return used_ == 0 && transit_.pins == 0;
    }
    void count_opening(int by) noexcept {
        if constexpr (!calm) transit_.opening = static_cast<unsigned>(static_cast<int>(transit_.opening) + by);
    }
    void push_vacant(link& l) noexcept {
        l.next = vacant_;
        vacant_ = &l;
    }
    void held_push(link& l) noexcept {
        l.next = transit_.held;
        transit_.held = &l;
    }
    [[nodiscard]] link* held_pop() noexcept { return std::exchange(transit_.held, transit_.held->next); }

    /// A vacant link with a permit, counted as opening.
    [[nodiscard]] link* take_vacant() noexcept {
        if (used_ >= max() || vacant_ == nullptr || gate_ == gate::closed) return nullptr;
        link* const l = vacant_;
        vacant_ = l->next;
        ++used_;
        count_opening(+1);
        if constexpr (!calm) refresh(); // there may now be more than are kept
        return l;
    }

    [[nodiscard]] bool wants_dial(unsigned min, unsigned min_idle) noexcept {
        if (gate_ != gate::open || used_ >= max()) return false;
        if constexpr (!calm) min = min < transit_.warm ? transit_.warm : min;
        if (staying() < min) return true;
        unsigned waiting = wish_ && this->empty_locked() ? 1U : 0U;
        if constexpr (waits) waiting += queue_.count;
        unsigned coming = 0, tested = 0;
        if constexpr (!calm) {
            coming = transit_.opening;
            tested = transit_.testing; // soon idle again, but nobody is made to wait for that: a test may hang
            if (transit_.refusing != 0) waiting = 0;
        }
        // What is idle is on its way to somebody who was told to look.
        if (waiting > coming && waiting > coming + this->count_locked()) return true;
        return min_idle != 0 && this->count_locked() + coming + tested < min_idle + waiting;
    }

    void push_waiter(node& n) noexcept {
        n.got = nullptr;
        n.word.store(told::nothing);
        n.queued = true;
        if (n.again) {
            n.prev = nullptr;
            n.next = queue_.head;
            *(queue_.head == nullptr ? &queue_.tail : &queue_.head->prev) = &n;
            queue_.head = &n;
        } else {
            n.next = nullptr;
            n.prev = queue_.tail;
            *(queue_.tail == nullptr ? &queue_.head : &queue_.tail->next) = &n;
            queue_.tail = &n;
        }
        ++queue_.count;
        refresh();
    }

    void remove(node& n) noexcept {
        *(n.prev == nullptr ? &queue_.head : &n.prev->next) = n.next;
        *(n.next == nullptr ? &queue_.tail : &n.next->prev) = n.prev;
        n.queued = false;
        --queue_.count;
        if (queue_.nudged == &n) queue_.nudged = nullptr;
    }

    /// Puts the flag where it belongs after any change.
    void refresh() noexcept {
        if (gate_ != gate::open || staying() > keep()) {
            this->raise(attention::must);
            return;
        }
        if constexpr (waits) {
            if (queue_.head != nullptr) {
                this->raise(queue_.nudged != nullptr ? attention::soft : attention::must);
                return;
            }
        }
        this->lower();
    }

    /// Tells a node that has left the queue. By address: a synchronous waiter may be gone once its word is written.
    static void tell(node& n, std::uint32_t what, auto&& unlock) noexcept {
        const auto wake = n.wake;
        typename Sync::word* const word = &n.word;
        // A nudge does not hide a stop request, who has one is on his way already.
        if (what == told::look) n.word.swap_if(told::nothing, told::look);
        else n.word.store(what);
        unlock();
        if (wake == nullptr) {
            Sync::wake(word);
        } else {
            wake(n); // asynchronous: it lives until it has been told
        }
    }

    /// The oldest waiter gets `l`.
    void grant_and_unlock(link& l) noexcept {
        node& n = *queue_.head;
        const bool nudged = queue_.nudged == &n;
        remove(n);
        n.got = &l;
        refresh();
        tell(n, nudged ? told::granted_pass_on : told::granted, [this]() noexcept { this->unlock(); });
    }

    [[nodiscard]] bool refuse_and_unlock(errc why) noexcept {
        if (queue_.head == nullptr) {
            this->unlock();
            return false;
        }
        node& n = *queue_.head;
        remove(n);
        n.why = why;
        refresh();
        tell(n, told::refused, [this]() noexcept { this->unlock(); });
        return true;
    }

    /// If there is work, the oldest waiter comes to the lock and finds it. An asynchronous one cannot: then it waits for the next who can.
    void call_and_unlock() noexcept {
        if (called_ && queue_.head != nullptr && queue_.head->wake == nullptr) {
            tell(*queue_.head, told::look, [this]() noexcept { this->unlock(); });
        } else {
            this->unlock();
        }
    }

    /// Something idle is there for the oldest waiter: he is told to look, unless somebody has been told already.
    void nudge_and_unlock() noexcept {
        if (queue_.nudged != nullptr) {
            refresh();
            this->unlock();
            return;
        }
        node& n = *queue_.head;
        queue_.nudged = &n;
        refresh();
        tell(n, told::look, [this]() noexcept { this->unlock(); });
    }

    [[nodiscard]] bool due(const Waiting& policy) const noexcept {
        if (queue_.head->wake != nullptr) return true;
        if constexpr (Waiting::reads_time) return policy.hand_over(Sync::now() - queue_.head->since);
        else return policy.hand_over(duration::zero());
    }

    /// Counts a chain of links as leaving, and unlocks.
    [[nodiscard]] link* extracted(link* out) noexcept {
        if constexpr (!calm) {
            for (const link* l = out; l != nullptr; l = l->next) ++transit_.leaving;
            refresh();
        }
        this->unlock();
        return out;
    }

    [[nodiscard]] fate excess_and_unlock() noexcept {
        if constexpr (!calm) ++transit_.leaving;
        refresh();
        this->unlock();
        return fate::excess;
    }

    link* vacant_ = nullptr;
    unsigned used_ = 0;
    [[no_unique_address]] std::conditional_t<calm, nothing, transit> transit_{};
    [[no_unique_address]] std::conditional_t<Fixed != 0, nothing, bounds> limits_{};
    [[no_unique_address]] std::conditional_t<waits, queue, nothing> queue_{};
    [[no_unique_address]] std::conditional_t<calm, nothing, word_box> drained_{};
    gate gate_ = gate::open;
    bool orphaned_ = false;
    bool wish_ = false;
    bool called_ = false; ///< there is work, and nobody has taken it on yet
};

} // namespace cenote::detail
