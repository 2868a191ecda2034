// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/ledger.hpp>
#include <cenote/detail/waiter.hpp>
#include <cenote/error.hpp>

#include <concepts>
#include <utility>

namespace cenote::detail {

/// What became of a permit.
enum class retired : unsigned char {
    done,   ///< nothing more to do; the pool must not be touched again
    wanted, ///< somebody waits for a connection to be opened
    last,   ///< the pool is gone and this was the last: free the core
};

/// For desks that nobody calls to work.
struct no_work {
    void operator()() const noexcept {}
};

/// The desk's figures at one instant.
struct census {
    unsigned used = 0;    ///< permits out: idle, leased, being opened, cleaned or closed
    unsigned idle = 0;
    unsigned opening = 0;
    unsigned leaving = 0; ///< on their way out: their permits are still held
    unsigned testing = 0; ///< idle but for a test
    unsigned waiting = 0;
    unsigned max = 0;
};

/// Who waits and who gets. Knows links, never slots, connections or drivers.
///
/// A *permit* is the right to have one physical connection; every link that is not vacant holds one, and there are never more
/// than the limit (but for a shrink, which takes effect as links come back). `CallerDials`: a taker may be given a vacant
/// link and opens the connection itself; otherwise it waits for the dialler (`demand`).
/// `Fixed`: a limit that never changes, or 0.
///
/// Invariants, whenever the lock is let go: a waiter and a permit to grant never rest side by side; a waiter and an idle link do
/// only while a nudge is in flight; at most one is. Over an idle set that is used beside the lock, links are still published until
/// the flag is up: who raises it looks again.
template <class Idle, class Waiting, class Sync, bool CallerDials, unsigned Fixed = 0>
class desk : protected ledger<Idle, Waiting, Sync, CallerDials, Fixed> {
    using book = ledger<Idle, Waiting, Sync, CallerDials, Fixed>;

public:
    using typename book::link;
    using typename book::node;
    using stop_token = typename Sync::stop_token;
    using book::calm;
    using book::waits;

    desk() = default;
    desk(const desk&) = delete;
    desk& operator=(const desk&) = delete;

    /// Before first use: the run-time limits, and how many slots there may ever be.
    void start(unsigned kept, unsigned most, unsigned slots) {
        if constexpr (Fixed == 0) limits_ = {kept, most};
        if constexpr (requires { Idle::reserve(slots); }) Idle::reserve(slots);
    }

    /// Adds n slots that have no connection yet. The first will be the first to get one, and so the warmest.
    template <std::derived_from<link> Slot>
    void add_vacant(Slot* first, unsigned n) noexcept {
        this->lock();
        if constexpr (requires { Idle::attach(*first); }) {
            for (unsigned i = 0; i < n; ++i) Idle::attach(first[i]);
        }
        for (unsigned i = n; i-- > 0;) push_vacant(first[i]);
        this->unlock();
    }

    // ── acquiring ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes an idle link, or null. Hot.
    [[nodiscard]] link* try_take() noexcept {
        if constexpr (is_concurrent<Idle> && strict) return Idle::pop_in_turn();
        else return Idle::pop();
    }

    /// Takes an idle link, a vacant one to dial into (CallerDials), or waits for a grant until `until` or `stop`.
    /// `poke` is called without the lock once the waiter is queued, so that somebody dials; `work`, likewise, when call_first()
    /// wants work done. Null: `why` says why.
    template <class Poke, class Work = no_work>
    [[nodiscard]] link* take(node& n, const Waiting& policy, time_point until, const stop_token& stop, errc& why, Poke&& poke, Work&& work = {}) noexcept {
        for (;;) {
            this->lock();
            if (link* const l = admit(n, why)) {
                this->unlock();
                return l;
            }
            if constexpr (waits) {
                if (gate_ == gate::closed || !may_queue(n, policy, until, stop, why)) {
                    this->unlock();
                    if (why == errc::acquire_timeout) poke();
                    return nullptr;
                }
                if (std::exchange(called_, false)) {
                    this->unlock();
                    work();
                    continue;
                }
                push_waiter(n);
                pass_slipped_and_unlock();
                poke();
                return wait(n, policy, until, stop, why, poke, work);
            } else {
                this->unlock();
                return nullptr;
            }
        }
    }

    /// For asynchronous waiters: like take(), but returns at once. A link: taken. Null: refused if `why` says so; queued if it is
    /// errc{}, and by now perhaps told already.
    template <class Poke>
    [[nodiscard]] link* enqueue(node& n, const Waiting& policy, errc& why, Poke&& poke) noexcept
        requires(Waiting::waits)
    {
        this->lock();
        link* const l = admit(n, why);
        if (l == nullptr && gate_ != gate::closed) {
            if (queue_.count >= policy.max_waiters) {
                why = errc::queue_full;
            } else {
                why = errc{};
                push_waiter(n);
            }
        }
        pass_slipped_and_unlock();
        if (l == nullptr) poke();
        return l;
    }

    /// Takes an asynchronous waiter out of the queue. A link: it was granted already, and the grant stands. Null: it is out, or
    /// was refused already and is about to be told: its word says so, and it must live until then.
    [[nodiscard]] link* withdraw(node& n) noexcept
        requires(Waiting::waits)
    {
        this->lock();
        link* const l = n.got;
        if (n.queued) {
            remove(n);
            pass_on_and_unlock();
        } else {
            this->unlock();
        }
        return l;
    }

    // ── giving ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A lease came back, clean. Hot.
    [[nodiscard]] fate give(link& l, const Waiting& policy) noexcept {
        if (Idle::push(l)) return fate::kept;
        return give_locked(l, policy);
    }

    /// A connection was opened by the dialler, or came back from clean-up: it goes to a waiter or becomes idle.
    [[nodiscard]] fate give_opened(link& l, const Waiting& policy) noexcept {
        this->lock();
        count_opening(-1);
        wish_ = false;
        return give_locked(l, policy);
    }

    /// A caller keeps the link it has, whose connection it has closed, and opens another into it.
    void redial() noexcept {
        if constexpr (!calm) {
            this->lock();
            count_opening(+1);
            this->unlock();
        }
    }

    /// A caller that was given a vacant link has opened it and keeps it.
    void dialled() noexcept {
        this->lock();
        count_opening(-1);
        this->unlock();
    }

    /// A link that was taken will be closed rather than given: the others need not make room any more. What give() calls
    /// excess, and what the extract functions return, counts as leaving already.
    void leave() noexcept {
        if constexpr (!calm) {
            this->lock();
            ++transit_.leaving;
            refresh();
            this->unlock();
        }
    }

    /// A leaving link's connection is closed: its permit is free.
    [[nodiscard]] retired retire(link& l) noexcept {
        this->lock();
        if constexpr (!calm) --transit_.leaving;
        return retire_locked(l);
    }

    /// A vacant link's connection could not be opened: its permit is free.
    [[nodiscard]] retired retire_unopened(link& l) noexcept {
        this->lock();
        count_opening(-1);
        wish_ = false;
        return retire_locked(l);
    }

    /// The permit of a link whose connection somebody took away (detach).
    [[nodiscard]] retired retire_detached(link& l) noexcept {
        this->lock();
        return retire_locked(l);
    }

    // ── cutting ──────────────────────────────────────────────────────────────────────────────────────────────────────
    // A lease whose holder does not come back: its permit is taken from it, and its link stays with the holder until he does.

    /// Before a lease is cut. False: as many are cut already as there is room for. True: until come_back() or spare() this keeps the
    /// core alive. The caller has a pin of his own.
    [[nodiscard]] bool begin_cut() noexcept
        requires(!calm)
    {
        this->lock();
        const bool room = transit_.cut < max();
        if (room) {
            ++transit_.cut;
            ++transit_.pins;
        }
        this->unlock();
        return room;
    }
    /// It was given back at that very moment.
    void spare() noexcept
        requires(!calm)
    {
        this->lock();
        --transit_.cut;
        --transit_.pins;
        this->unlock();
    }
    /// Its connection is severed: its permit is free, whether or not its holder has come back.
    [[nodiscard]] retired forfeit() noexcept
        requires(!calm)
    {
        this->lock();
        return freed_and_unlock();
    }
    /// The holder of a link that was cut is back, and has closed the connection.
    [[nodiscard]] retired come_back(link& l) noexcept
        requires(!calm)
    {
        this->lock();
        push_vacant(l);
        --transit_.cut;
        --transit_.pins;
        const bool last = orphaned_ && unheld();
        this->unlock();
        return last ? retired::last : retired::done;
    }

    // ── the dialler ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// A vacant link and a permit, if somebody waits for one, or fewer than `min` are open or `min_idle` idle. Asked again
    /// before every dial, so that no more are opened than are still wanted.
    [[nodiscard]] link* demand(unsigned min, unsigned min_idle) noexcept {
        this->lock();
        link* const l = wants_dial(min, min_idle) ? take_vacant() : nullptr;
        this->unlock();
        return l;
    }

    /// Until end_warming() `n` connections are wanted. Several may want so at once: the greatest number counts until all have ended.
    void begin_warming(unsigned n) noexcept
        requires(!calm)
    {
        this->lock();
        ++transit_.warmers;
        if (transit_.warm < n) transit_.warm = n;
        this->unlock();
    }
    void end_warming() noexcept
        requires(!calm)
    {
        this->lock();
        if (--transit_.warmers == 0) transit_.warm = 0;
        this->unlock();
    }

    [[nodiscard]] bool wanted(unsigned min, unsigned min_idle) noexcept {
        this->lock();
        const bool yes = wants_dial(min, min_idle);
        this->unlock();
        return yes;
    }

    /// Nothing is idle, leased or tested: only what is being opened could serve anybody. Says that somebody wanted one.
    [[nodiscard]] bool barren() noexcept
        requires(!calm)
    {
        this->lock();
        const bool yes = gate_ == gate::open && staying() == transit_.opening;
        if (yes) wish_ = true;
        this->unlock();
        return yes;
    }

    /// Everybody who waits now is refused. Whoever comes meanwhile is not: it may have learned of the reason already.
    void refuse_all(errc why) noexcept {
        if constexpr (waits) {
            this->lock();
            unsigned left = queue_.count;
            this->unlock();
            for (; left != 0; --left) {
                this->lock();
                if (!refuse_and_unlock(why)) return;
            }
            this->lock();
            pass_on_and_unlock(); // one of them may have been nudged
        }
    }

    /// Until end_refusing() nothing is opened for those who wait: they are about to be refused.
    void begin_refusing() noexcept
        requires(!calm)
    {
        this->lock();
        ++transit_.refusing;
        this->unlock();
    }
    void end_refusing() noexcept
        requires(!calm)
    {
        this->lock();
        --transit_.refusing;
        this->unlock();
    }

    /// There is work that makes a connection available and nobody to do it: whoever has waited longest, or else the next who would
    /// wait, does it and keeps his place.
    void call_first() noexcept {
        if constexpr (waits) {
            this->lock();
            called_ = true;
            call_and_unlock();
        }
    }

    // ── limits, gates, end ───────────────────────────────────────────────────────────────────────────────────────────

    /// New limits. Shrinking: the caller then extracts and closes what is idle beyond them; the rest goes as it comes back.
    void limit(unsigned kept, unsigned most) noexcept
        requires(Fixed == 0)
    {
        this->lock();
        limits_ = {kept, most};
        refresh();
        this->unlock();
        grant_vacant();
    }

    void close() noexcept {
        this->lock();
        gate_ = gate::closed;
        this->raise(attention::must);
        this->unlock();
        refuse_all(errc::pool_closed);
    }

    void suspend() noexcept
        requires(!calm)
    {
        this->lock();
        if (gate_ == gate::open) {
            gate_ = gate::suspended;
            this->raise(attention::must);
            while (link* const l = this->pop_locked()) held_push(*l);
        }
        this->unlock();
    }

    /// Those who waited get what was kept, in their order, before anybody new can.
    void resume() noexcept
        requires(!calm)
    {
        this->lock();
        if (gate_ != gate::suspended) {
            this->unlock();
            return;
        }
        if constexpr (waits) {
            while (transit_.held != nullptr && queue_.head != nullptr) {
                grant_and_unlock(*held_pop());
                this->lock();
                if (gate_ != gate::suspended) { // closed meanwhile
                    this->unlock();
                    return;
                }
            }
        }
        gate_ = gate::open;
        while (transit_.held != nullptr) this->push_locked(*held_pop());
        refresh();
        this->unlock();
        grant_vacant();
    }

    /// Takes out idle links for closing: those `pred` names, coldest first, but leaves at least `min_idle` idle and `min` open.
    template <class Pred>
    [[nodiscard]] link* extract(Pred&& pred, unsigned min_idle, unsigned min) noexcept {
        this->lock();
        // Nothing may become idle between the two counts, else what is counted as elsewhere is closed.
        if constexpr (is_concurrent<Idle>) this->raise(attention::must);
        const unsigned elsewhere = staying() - this->count_locked();
        const unsigned for_min = min > elsewhere ? min - elsewhere : 0;
        return extracted(Idle::extract(pred, min_idle > for_min ? min_idle : for_min));
    }

    /// Those that `pred` names of what is kept while suspended.
    template <class Pred>
    [[nodiscard]] link* extract_held(Pred&& pred) noexcept
        requires(!calm)
    {
        this->lock();
        link* out = nullptr;
        for (link** at = &transit_.held; *at != nullptr;) {
            link* const l = *at;
            if (!pred(*l)) {
                at = &l->next;
                continue;
            }
            *at = l->next;
            l->next = out;
            out = l;
        }
        return extracted(out);
    }

    /// Takes out one idle link that `pred` names, for a test, unless `most` are being tested; it is given back by give_tested(), or
    /// leaves by leave_tested().
    template <class Pred>
    [[nodiscard]] link* borrow(Pred&& pred, unsigned most) noexcept
        requires(!calm)
    {
        this->lock();
        link* out = nullptr;
        if (gate_ == gate::open && transit_.testing < most) {
            link* one = nullptr;
            this->each_locked([&](link& l) noexcept { one = pred(l) ? &l : one; });
            if (one != nullptr) out = Idle::extract([one](link& l) noexcept { return &l == one; }, 0); // unless taken meanwhile
            if (out != nullptr) ++transit_.testing;
        }
        this->unlock();
        return out;
    }
    [[nodiscard]] fate give_tested(link& l, const Waiting& policy) noexcept {
        this->lock();
        --transit_.testing;
        return give_locked(l, policy);
    }
    void leave_tested() noexcept {
        this->lock();
        --transit_.testing;
        ++transit_.leaving;
        refresh();
        this->unlock();
    }

    /// Takes out what is idle beyond the limit, or, if nobody waits, beyond what is to be kept.
    [[nodiscard]] link* extract_surplus() noexcept {
        this->lock();
        unsigned top = keep();
        if constexpr (waits) top = queue_.head != nullptr ? max() : top;
        unsigned over = staying() > top ? staying() - top : 0;
        const unsigned idle = this->count_locked();
        link* out = over == 0 ? nullptr : Idle::extract([](link&) noexcept { return true; }, idle > over ? idle - over : 0);
        if constexpr (!calm) { // while suspended, all that is idle is held
            for (; over != 0 && transit_.held != nullptr; --over) {
                link* const l = held_pop();
                l->next = out;
                out = l;
            }
        }
        return extracted(out);
    }

    /// After close(): takes out everything idle.
    [[nodiscard]] link* extract_all() noexcept {
        this->lock();
        link* out = Idle::extract([](link&) noexcept { return true; }, 0);
        if constexpr (!calm) {
            while (transit_.held != nullptr) {
                link* const l = held_pop();
                l->next = out;
                out = l;
            }
        }
        return extracted(out);
    }

    /// After close(): waits until no permit is out. False: `until` came first.
    [[nodiscard]] bool drained(time_point until) noexcept
        requires(!calm)
    {
        for (;;) {
            this->lock();
            const bool yes = used_ == 0;
            if (!yes) drained_.store(0);
            this->unlock();
            if (yes) return true;
            if (Sync::now() >= until) return false;
            Sync::park(drained_, 0, until);
        }
    }

    /// The pool object is going. True: no permit is out, free the core now; false: the last retire() says so.
    [[nodiscard]] bool orphan() noexcept {
        this->lock();
        orphaned_ = true;
        const bool last = unheld();
        this->unlock();
        return last;
    }

    /// Keeps the core alive like a permit, for somebody inside it who has none.
    void pin() noexcept
        requires(!calm)
    {
        this->lock();
        ++transit_.pins;
        this->unlock();
    }
    /// True: the pool is gone and this was the last: free the core now.
    [[nodiscard]] bool unpin() noexcept
        requires(!calm)
    {
        this->lock();
        --transit_.pins;
        const bool last = orphaned_ && unheld();
        this->unlock();
        return last;
    }

    template <class F>
    void each_idle(F&& f) noexcept {
        this->lock();
        this->each_locked(f);
        this->unlock();
    }

    [[nodiscard]] census count() noexcept {
        this->lock();
        census c;
        c.used = used_;
        c.idle = this->count_locked();
        if constexpr (!calm) {
            for (const link* l = transit_.held; l != nullptr; l = l->next) ++c.idle;
            c.opening = transit_.opening;
            c.leaving = transit_.leaving;
            c.testing = transit_.testing;
        }
        if constexpr (waits) c.waiting = queue_.count;
        c.max = max();
        this->unlock();
        return c;
    }
    [[nodiscard]] bool is_closed() noexcept {
        this->lock();
        const bool yes = gate_ == gate::closed;
        this->unlock();
        return yes;
    }

private:
    /// Nobody is ever overtaken: what is idle is granted rather than pointed at.
    static constexpr bool strict = [] {
        if constexpr (!waits) return false;
        else if constexpr (requires { typename std::bool_constant<Waiting::hand_over(duration::zero())>; }) return Waiting::hand_over(duration::zero());
        else return false;
    }();

    using book::used_;
    using book::transit_;
    using book::limits_;
    using book::queue_;
    using book::drained_;
    using book::gate_;
    using book::orphaned_;
    using book::wish_;
    using book::called_;
    using book::max;
    using book::keep;
    using book::staying;
    using book::unheld;
    using book::count_opening;
    using book::push_vacant;
    using book::held_push;
    using book::held_pop;
    using book::take_vacant;
    using book::wants_dial;
    using book::push_waiter;
    using book::remove;
    using book::refresh;
    using book::grant_and_unlock;
    using book::refuse_and_unlock;
    using book::call_and_unlock;
    using book::nudge_and_unlock;
    using book::due;
    using book::extracted;
    using book::excess_and_unlock;

    /// What there is to be had without waiting.
    [[nodiscard]] link* admit([[maybe_unused]] const node& n, errc& why) noexcept {
        if (gate_ == gate::closed) {
            why = errc::pool_closed;
            return nullptr;
        }
        if (gate_ == gate::suspended) {
            why = errc::pool_suspended;
            return nullptr;
        }
        if (link* const l = this->pop_locked()) return l;
        if constexpr (CallerDials) {
            bool first = n.dials;
            if constexpr (waits) first = first && queue_.head == nullptr; // else a free permit is on its way to a waiter
            if (link* const l = first ? take_vacant() : nullptr) return l;
        }
        why = errc::exhausted;
        return nullptr;
    }

    [[nodiscard]] bool may_queue(const node& n, const Waiting& policy, time_point until, const stop_token& stop, errc& why) noexcept {
        if (until <= n.since) {
            if (gate_ == gate::open) why = errc::acquire_timeout;
            if constexpr (!CallerDials) wish_ = wish_ || used_ < max(); // with no room, what comes back will do
            return false;
        }
        if (stop.stop_requested()) {
            why = errc::cancelled;
            return false;
        }
        // Who had his turn and got something unusable has been in already.
        if (queue_.count >= policy.max_waiters && !(n.again && policy.max_waiters != 0)) {
            why = errc::queue_full;
            return false;
        }
        return true;
    }

    [[nodiscard]] retired retire_locked(link& l) noexcept {
        push_vacant(l);
        return freed_and_unlock();
    }
    /// There is a permit more.
    [[nodiscard]] retired freed_and_unlock() noexcept {
        --used_;
        if (orphaned_) {
            const bool last = unheld();
            this->unlock();
            return last ? retired::last : retired::done;
        }
        if constexpr (!calm) {
            if (gate_ == gate::closed && used_ == 0) { // by address: whoever waits may free the core
                typename Sync::word* const word = &drained_;
                word->store(1);
                this->unlock();
                Sync::wake(word);
                return retired::done;
            }
        }
        if constexpr (waits) {
            if (CallerDials && queue_.head != nullptr && gate_ == gate::open) {
                if (link* const vacant = take_vacant()) {
                    grant_and_unlock(*vacant);
                    return retired::done;
                }
            }
        }
        const bool wanted = wants_dial(0, 0);
        refresh();
        this->unlock();
        return wanted ? retired::wanted : retired::done;
    }

    [[nodiscard]] fate give_locked(link& l, [[maybe_unused]] const Waiting& policy) noexcept {
        if (gate_ == gate::closed || orphaned_ || staying() > max()) return excess_and_unlock();
        if constexpr (!calm) {
            if (gate_ == gate::suspended) {
                bool wanted = staying() <= keep();
                if constexpr (waits) wanted = wanted || queue_.head != nullptr;
                if (!wanted) return excess_and_unlock();
                held_push(l);
                this->unlock();
                return fate::kept;
            }
        }
        if constexpr (waits) {
            if (queue_.head != nullptr) {
                if (due(policy)) {
                    grant_and_unlock(l);
                } else if (staying() > keep() && this->count_locked() >= queue_.count) {
                    return excess_and_unlock(); // enough lies ready for all who wait
                } else {
                    this->push_locked(l);
                    nudge_and_unlock();
                }
                return fate::kept;
            }
        }
        if (staying() > keep()) return excess_and_unlock();
        this->push_locked(l);
        refresh();
        this->unlock();
        return fate::kept;
    }

    /// Somebody has left the queue, or was nudged and may not have it: what is idle goes on to the next. A synchronous waiter is
    /// nudged (and nudges the next in turn); asynchronous ones at the front are granted theirs one after the other. True: for
    /// somebody who still waits a connection has to be opened.
    bool pass_on_and_unlock() noexcept {
        do {
            while (to_pass_on()) {
                if (queue_.head->wake == nullptr && !strict) {
                    const bool dial = !CallerDials && wants_dial(0, 0);
                    nudge_and_unlock();
                    return dial;
                }
                link* const l = this->pop_locked();
                if (l == nullptr) break; // taken beside the lock
                grant_and_unlock(*l);
                this->lock();
            }
            refresh();
        } while (is_concurrent<Idle> && queue_.nudged == nullptr && to_pass_on());
        const bool dial = !CallerDials && wants_dial(0, 0);
        call_and_unlock();
        return dial;
    }
    [[nodiscard]] bool to_pass_on() const noexcept { return queue_.head != nullptr && gate_ == gate::open && !this->empty_locked(); }
    /// Somebody has begun to wait. What was published beside the lock before the flag was up lies there with nobody to tell.
    void pass_slipped_and_unlock() noexcept {
        if (is_concurrent<Idle> && queue_.nudged == nullptr && to_pass_on()) pass_on_and_unlock();
        else this->unlock();
    }

    /// Free permits go to those who wait and can dial.
    void grant_vacant() noexcept {
        if constexpr (waits && CallerDials) {
            for (;;) {
                this->lock();
                link* const l = queue_.head != nullptr && gate_ == gate::open ? take_vacant() : nullptr;
                if (l == nullptr) {
                    this->unlock();
                    return;
                }
                grant_and_unlock(*l);
            }
        }
    }

    /// Sleeps until told. Lock not held.
    template <class Poke, class Work>
    [[nodiscard]] link* wait(node& n, const Waiting& policy, time_point until, const stop_token& stop, errc& why, Poke& poke, Work& work) noexcept {
        // What was idle and on its way to a waiter, so that nothing was opened for him, may have been taken by a newcomer.
        const auto pass_on = [&]() noexcept {
            if (pass_on_and_unlock()) poke();
        };
        const auto interrupt = [&n]() noexcept {
            for (std::uint32_t was = n.word.load(); was == told::nothing || was == told::look; was = n.word.load()) {
                if (n.word.swap_if(was, told::stop)) return Sync::wake(&n.word);
            }
        };
        const typename Sync::template stop_callback<decltype(interrupt)> on_stop{stop, interrupt};
        for (;;) {
            switch (n.word.load()) {
            case told::granted: return n.got;
            case told::granted_pass_on:
                this->lock();
                pass_on();
                return n.got;
            case told::refused: why = n.why; return nullptr;
            case told::nothing:
                if (Sync::now() < until) {
                    Sync::park(n.word, told::nothing, until);
                    continue;
                }
                break;
            default: break; // look, stop
            }
            this->lock();
            if (!n.queued) { // granted or refused while this was on its way to the lock; a grant stands
                this->unlock();
                continue;
            }
            if (queue_.nudged == &n) queue_.nudged = nullptr;
            // The word alone tells of a stop: between looking at the token and clearing the word a request could be lost.
            const bool stopped = !n.word.swap_if(told::look, told::nothing) && n.word.load() == told::stop;
            // Whoever is here at the lock may take what is idle, also when its time is up, unless that overtakes one who is due.
            const bool turn = gate_ == gate::open && (queue_.head == &n || !due(policy));
            link* const l = turn ? this->pop_locked() : nullptr;
            if (l != nullptr || stopped || Sync::now() >= until) {
                remove(n);
                if (l == nullptr) why = stopped ? errc::cancelled : errc::acquire_timeout;
                pass_on();
                return l;
            }
            const bool called = std::exchange(called_, false);
            pass_on();
            if (called) work();
        }
    }
};

} // namespace cenote::detail
