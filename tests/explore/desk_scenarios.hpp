// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

// What two or three threads, and perhaps a dialler, do at a desk, with everything a pool may expect of it as checks.
// Shared by the tests and by the runner of the mutants.
#include <cenote/detail/desk.hpp>
#include <cenote/detail/idle_bits.hpp>
#include <cenote/detail/idle_locked.hpp>
#include <cenote/policy/waiting.hpp>
#include <cenote/testing/explore.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace desk_scenarios {

using namespace std::chrono_literals;
namespace explore = cenote::testing::explore;
using cenote::duration;
using cenote::errc;
using cenote::time_point;
using cenote::detail::fate;
using cenote::detail::retired;
using cenote::testing::explore_sync;
using stop_source = explore_sync::stop_source;
using stop_token = explore_sync::stop_token;

inline constexpr time_point never = time_point::max();
inline constexpr duration soon = 1ms;        // every time-out
inline constexpr duration threshold = 100us; // of eventually_fair

/// The idle sets of cenote's backends, over fibres.
template <class Order>
using locked = cenote::detail::idle_locked<Order, explore_sync>;
/// Beside the lock's holder others go on until the flag is up in every word: who queues waits from then on.
template <class Hint>
struct watched_bits : cenote::detail::idle_bits<explore_sync, Hint> {
    using set = cenote::detail::idle_bits<explore_sync, Hint>;
    [[nodiscard]] bool push(cenote::detail::link& l) noexcept {
        const bool published = set::push(l);
        inside = inside || !published;
        return published;
    }
    void lock() noexcept {
        set::lock();
        inside = true;
    }
    void raise(cenote::detail::attention a) noexcept {
        set::raise(a);
        inside = inside && a != cenote::detail::attention::must;
    }
    void unlock() noexcept {
        inside = false;
        set::unlock();
    }
    bool inside = false;
};
/// Hints that do not depend on the machine: a word per slot, and each thread begins at another; all slots in one word.
struct word_each {
    [[nodiscard]] static unsigned shards(unsigned slots, unsigned) noexcept { return slots; }
    [[nodiscard]] static std::uint64_t scale(unsigned) noexcept { return 0; }
    template <class Sync>
    [[nodiscard]] static unsigned start(unsigned shards, std::uint64_t) noexcept { return Sync::processor() % shards; }
};
struct one_word {
    [[nodiscard]] static unsigned shards(unsigned, unsigned) noexcept { return 1; }
    [[nodiscard]] static std::uint64_t scale(unsigned) noexcept { return 0; }
    template <class Sync>
    [[nodiscard]] static unsigned start(unsigned, std::uint64_t) noexcept { return 0; }
};
using bits = watched_bits<word_each>;
using packed_bits = watched_bits<one_word>;
using affine_bits = watched_bits<cenote::detail::by_thread>;

template <class Idle, class Waiting, bool CallerDials>
struct config {
    using idle = Idle;
    using waiting = Waiting;
    static constexpr bool caller_dials = CallerDials;
    static constexpr bool strict = std::is_same_v<Waiting, cenote::strictly_fair>;
    static constexpr bool nudges = std::is_same_v<Waiting, cenote::barging> || std::is_same_v<Waiting, cenote::eventually_fair>;
};

/// What a slot is to the desk, and what the outside knows of it.
struct connection : cenote::detail::bit_link<explore_sync> {
    enum class is : unsigned char { vacant, opening, open, closing, cut };
    is state = is::vacant;
    unsigned holder = 0;         ///< who has it: the number of a thread + 1; 0: nobody
    std::uint64_t due_for = 0;   ///< given when this waiter had been due already, and nobody was on his way
    std::uint64_t due_since = 0; ///< in steps
    /// Whose a lease is that may be cut, as `custody` in <cenote/policy/facts.hpp>.
    enum whose : std::uint32_t { nobodys, its_holders, severed };
    explore_sync::word custody{nobodys};
};

/// What is done with a connection that was acquired.
enum class then : unsigned char { give, discard, detach, keep };

struct plan {
    unsigned links = 1;    ///< slots there are
    unsigned open = links; ///< connections idle at the start
    unsigned max = links;
    unsigned keep = max;
    unsigned clients = 0;     ///< threads that say leave_house(); the dialler goes when all have
    unsigned failures = 0;    ///< dials that may fail
    unsigned max_waiters = 9; ///< of the policy
    int idle_at_end = -1;     ///< connections; below zero: any number
};

/// A desk and everything that surrounds it in a pool, observed.
template <class C>
class house {
public:
    using waiting = typename C::waiting;
    using desk_type = cenote::detail::desk<typename C::idle, waiting, explore_sync, C::caller_dials>;
    using node = typename desk_type::node;
    using link = cenote::detail::link;

    explicit house(const plan& p)
        : links_{p.links}, keep_{p.keep}, allowed_{p.max}, clients_{p.clients}, failures_{p.failures},
          idle_at_end_{p.idle_at_end}, poked_{0} {
        if constexpr (std::is_same_v<waiting, cenote::eventually_fair>) policy_.after = threshold;
        if constexpr (waiting::waits) policy_.max_waiters = p.max_waiters;
        desk_ = ::new (static_cast<void*>(room_)) shop;
        desk_->start(p.keep, p.max, p.links);
        for (unsigned i = 0; i < links_; ++i) desk_->add_vacant(&connections_[i], 1);
        for (unsigned i = 0; i < p.open; ++i) {
            connection& c = of(desk_->demand(p.open, 0));
            begins(c);
            c.state = connection::is::open;
            explore::require(desk_->give_opened(c, policy_) == fate::kept, "what is opened at the start is kept");
        }
    }
    house(const house&) = delete;
    house& operator=(const house&) = delete;
    ~house() {
        if (desk_ != nullptr) desk_->~shop();
    }

    // ── what threads do ──────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes what is idle, on the hot path. For the set-up too.
    connection* try_take() {
        link* const l = desk_->try_take();
        return l == nullptr ? nullptr : gets(of(l), 0, false);
    }

    /// An acquire: waits, and dials if that is its business.
    connection* acquire(time_point until, stop_token stop = {}, bool again = false) {
        errc why{};
        seat& s = sit();
        node& n = s.what();
        n.since = explore_sync::now();
        n.again = again;
        link* const l = desk_->take(n, policy_, until, stop, why, [this]() noexcept { poke(); });
        connection* c = nullptr;
        if (l != nullptr) {
            c = gets(of(l), s.queued_at, again);
        } else {
            explore::require(why != errc{}, "a refused acquire says why");
            if (why == errc::acquire_timeout) explore::require(explore_sync::now() >= until, "an acquire times out at its deadline, not before");
            if (why == errc::cancelled) explore::require(stop.stop_requested(), "an acquire is cancelled when somebody asked for it");
            if (why == errc::pool_closed) explore::require(closing_, "an acquire is refused as closed after close");
            if (why == errc::pool_suspended) explore::require(suspended_, "an acquire is refused as suspended while it is");
        }
        s.rise();
        if constexpr (C::caller_dials) {
            if (c != nullptr && c->state == connection::is::opening) c = dial_here(*c);
        }
        return c;
    }

    /// An asynchronous acquire that loses patience where the schedule wants, if `gives_up`.
    connection* acquire_async(bool gives_up) {
        errc why{};
        seat& s = sit_async();
        node& n = s.what();
        n.since = explore_sync::now();
        link* l = desk_->enqueue(n, policy_, why, [this]() noexcept { poke(); });
        if (l == nullptr && why == errc{}) {
            if (gives_up) {
                explore::point("loses patience");
                l = desk_->withdraw(n);
                const std::uint32_t word = n.word.load();
                if (word == cenote::detail::told::nothing) {
                    explore::require(l == nullptr, "who has withdrawn has nothing");
                    why = errc::cancelled;
                } else {
                    while (s.told.load() == 0) explore_sync::park(s.told, 0, never); // it lives until it has been told
                    explore::require(l == n.got, "a grant that was raced stands");
                    if (l == nullptr) why = n.why;
                }
            } else {
                while (s.told.load() == 0) explore_sync::park(s.told, 0, never);
                l = n.got;
                if (l == nullptr) why = n.why;
            }
        }
        connection* c = l == nullptr ? nullptr : gets(of(l), s.queued_at, false);
        s.rise();
        if constexpr (C::caller_dials) {
            if (c != nullptr && c->state == connection::is::opening) c = dial_here(*c);
        }
        return c;
    }

    void put(connection* c, then what = then::give) {
        if (c == nullptr) return;
        switch (what) {
        case then::give: return give(*c);
        case then::discard: return discard(*c);
        case then::detach: return detach(*c);
        case then::keep: return;
        }
    }
    void give(connection& c) {
        lets_go(c);
        remember_who_is_due(c);
        if (desk_->give(c, policy_) == fate::excess) end(c);
    }
    /// Broken, or a hook threw.
    void discard(connection& c) {
        desk_->leave();
        lets_go(c);
        end(c);
    }
    /// Broken as well, but whoever has it opens another in its place.
    connection* replace(connection* c) {
        if (c == nullptr) return nullptr;
        explore::require(c->state == connection::is::open, "what is replaced was open");
        desk_->redial();
        c->state = connection::is::opening;
        return dial_here(*c);
    }
    void detach(connection& c) {
        lets_go(c);
        ends(c);
        after(desk_->retire_detached(c));
    }

    // Leases that may be cut: what shell/forfeit.hpp does, without its driver.

    /// For the set-up: an acquire in a pool that cuts, and a housekeeper who keeps the desk until he has looked.
    connection* lent() {
        connection* const c = try_take();
        c->custody.store(connection::its_holders);
        return c;
    }
    connection* acquire_lent() {
        connection* const c = acquire(never);
        if (c != nullptr) c->custody.store(connection::its_holders);
        return c;
    }
    void housekeeper_comes() { desk_->pin(); }
    void housekeeper_goes() {
        if (desk_->unpin()) free_desk();
    }
    /// The housekeeper finds that the lease of `c` is out too long. Whether he has cut it.
    bool cut(connection& c) {
        if (!desk_->begin_cut()) return false;
        if (!c.custody.swap_if(connection::its_holders, connection::severed)) {
            desk_->spare();
            return false;
        }
        c.state = connection::is::cut;
        explore::point("severs");
        --out_; // from here on `c` may be anybody's
        const retired r = desk_->forfeit();
        explore::require(r != retired::last, "whoever cuts keeps the desk");
        after(r);
        return true;
    }
    /// The holder ends a lease that may be cut.
    void put_lent(connection* c, then what = then::give) {
        if (c->custody.swap_if(connection::its_holders, connection::nobodys)) return put(c, what);
        explore::require(c->holder != 0 && c->state == connection::is::cut, "a lease that was cut is its holder's until he ends it");
        explore::point("frees the client's object");
        c->custody.store(connection::nobodys);
        c->holder = 0;
        c->state = connection::is::vacant;
        after(desk_->come_back(*c));
    }

    void limit(unsigned max) {
        allowed_ = std::max(allowed_, max);
        keep_ = max;
        desk_->limit(max, max);
        if constexpr (!C::caller_dials) poke();
        end_all(desk_->extract_surplus());
    }
    void suspend() {
        suspended_ = true;
        desk_->suspend();
    }
    void resume() {
        desk_->resume();
        suspended_ = false;
        if constexpr (!C::caller_dials) poke();
    }
    /// Closes all that is idle, as upkeep does with what is too old, but so many.
    void extract(unsigned min_idle = 0, unsigned min = 0) {
        link* const out = desk_->extract([](link&) noexcept { return true; }, min_idle, min);
        unsigned n = 0;
        for (const link* l = out; l != nullptr; l = l->next) ++n;
        if (min != 0) explore::require(out_ - n >= min, "as many stay open as have to");
        end_all(out);
    }
    void close() {
        closing_ = true;
        desk_->close();
        closed_ = true;
        nobody_waits();
        end_all(desk_->extract_all());
    }
    /// Closes, waits until everything is back, and destroys if `until` allows.
    bool drain(time_point until) {
        close();
        const bool yes = desk_->drained(until);
        if (yes) explore::require(out_ == 0, "a pool is drained when everything is back");
        else explore::require(explore_sync::now() >= until, "draining gives up at its deadline, not before");
        return yes;
    }
    /// The pool object goes: whoever gives up the last permit frees the desk.
    void destroy() {
        gone_ = true;
        if constexpr (!C::caller_dials) poke();
        while (visiting_) explore::yield();
        close();
        orphaned_ = true;
        if (desk_->orphan()) free_desk();
    }
    /// Opens connections for those who wait, until all clients have left the house, or the pool is going.
    void dialler() {
        for (;;) {
            poked_.store(0); // before the desk is asked, so that no poke meanwhile is lost
            for (;;) {
                if (gone_) return;
                visiting_ = true;
                link* const l = desk_->demand(0, 0);
                visiting_ = false;
                if (l == nullptr) break;
                begins(of(l));
                finish_dial(of(l));
            }
            if (clients_ == 0) return;
            sleeping_ = true;
            explore_sync::park(poked_, 0, never);
            sleeping_ = false;
        }
    }
    /// The end of a dial, well or ill. `hopeless`: nobody need wait for another.
    void finish_dial(connection& c, bool hopeless = false) {
        if (fails()) {
            if (hopeless) desk_->refuse_all(errc::connect_failed);
            ends(c);
            after(desk_->retire_unopened(c));
            return;
        }
        c.state = connection::is::open;
        c.holder = 0;
        remember_who_is_due(c);
        if (desk_->give_opened(c, policy_) == fate::excess) end(c);
    }
    /// A link with a permit for a dialler that is at work when the schedule starts.
    connection& begun_dial() {
        connection& c = of(desk_->demand(allowed_, 0));
        begins(c);
        return c;
    }
    void leave_house() {
        if (--clients_ == 0 && !C::caller_dials) poke();
    }
    void poke() noexcept {
        if constexpr (!C::caller_dials) {
            poked_.store(1);
            explore_sync::wake(&poked_);
        }
    }
    /// As if so many returns had been published while waiters were on their way that the next of this connection asks who is due.
    void soft_pushes(connection* c) { desk_->soft_pushes(*c); }

    // ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /// For `always`.
    void look() {
        ++steps_;
        unsigned on_their_way = 0;
        for (seat& s : seats_) {
            if (!s.taken) continue;
            const node& n = s.what();
            if ((n.queued || n.got != nullptr) && s.queued_at == 0 && !(desk_ != nullptr && desk_->busy())) s.queued_at = ++ticks_;
            if (n.queued && n.word.load() == cenote::detail::told::look) ++on_their_way;
        }
        seen_[explore::self()] = ++ticks_;
        if (on_their_way != 0) last_nudge_ = steps_;
        explore::require(on_their_way <= 1, "at most one nudge is in flight");
        if (desk_ != nullptr) {
            const auto c = desk_->look();
            explore::require(c.used <= allowed_, "inv-1: permits out are never above the limit");
            explore::require(c.used >= out_, "every connection there is has a permit");
            explore::require(c.opening <= c.used && c.leaving <= c.used, "what is opened or leaves has a permit");
        }
        if (closed_) nobody_waits();
    }
    /// For `at_rest`: nothing that anybody waits for may be there to be had.
    void conserves_work() {
        if (desk_ == nullptr || closing_ || suspended_) return;
        if (sleeping_) explore::require(!desk_->wanted(0, 0), "a dialler does not sleep while a connection is wanted");
        const auto c = desk_->count();
        if (c.waiting == 0) return;
        explore::require(c.idle == 0, "inv-7: nobody waits beside an idle connection");
        if (C::caller_dials || c.waiting > c.opening) explore::require(c.used >= c.max, "inv-7: nobody waits beside a free permit");
    }
    /// For `finally`: everything is back, but for what somebody kept.
    void audit() {
        for (const seat& s : seats_) {
            explore::require(!s.taken, "inv-2: nobody waits at the end");
            s.untouched();
        }
        if (desk_ == nullptr) {
            for (const std::byte b : room_) explore::require(b == poison, "inv-8: a desk that was freed is not written to");
            explore::require(out_ == 0, "the desk is freed after the last permit is back");
            return;
        }
        explore::require(!orphaned_ || kept() + cut_off() != 0, "somebody frees an orphaned desk");
        auto c = desk_->count();
        explore::require(c.waiting == 0, "the queue is empty at the end");
        explore::require(c.opening == opening(), "only what is really being opened counts as such at the end");
        explore::require(c.leaving == 0, "nothing is leaving at the end");
        explore::require(c.used == out_, "inv-2: the desk counts the connections that there are");
        explore::require(c.used == c.idle + kept(), "inv-2: every connection is idle, or somebody has it");
        if (closing_) {
            explore::require(c.idle == 0, "inv-8: nothing is idle after close");
            return;
        }
        explore::require(c.used <= c.max, "a lower limit is kept in the end");
        if (kept() == 0) explore::require(c.used <= keep_, "what is not to be kept is closed in the end");
        if (idle_at_end_ >= 0) explore::require(static_cast<int>(c.idle) == idle_at_end_, "what was wanted is there in the end");
        if (suspended_) return;
        for (unsigned i = 0; i < c.idle; ++i) {
            explore::require(try_take() != nullptr, "what is idle can be taken");
        }
        explore::require(try_take() == nullptr, "nothing more is idle than is counted");
        for (unsigned i = c.used; i < std::min(c.max, links_ - cut_off()); ++i) {
            link* const l = desk_->demand(c.max, 0);
            explore::require(l != nullptr, "inv-2: every permit can be taken again");
            begins(of(l));
        }
        explore::require(desk_->demand(c.max, 0) == nullptr, "inv-1: there are no more permits than the limit");
    }

private:
    static constexpr std::byte poison{0xdb};

    /// The desk, and what only its idle set knows.
    struct shop : desk_type {
        /// Whether what the lock guards is about to change beside those who do not take it.
        [[nodiscard]] bool busy() const noexcept {
            if constexpr (requires { this->inside; }) return this->inside;
            else return false;
        }
        /// In a check, where locks are not taken.
        [[nodiscard]] cenote::detail::census look() noexcept {
            const bool was = busy();
            const auto seen = this->count();
            if constexpr (requires { this->inside; }) this->inside = was;
            return seen;
        }
        void soft_pushes(link& l) {
            soft_push_until_asked(l);
            for (unsigned period = soft_push_until_asked(l); period > 1; --period) {
                explore::require(soft_push(l), "a return is published while a waiter is on his way");
            }
            this->lock();
            this->lower();
            this->unlock();
        }

    private:
        [[nodiscard]] bool soft_push(link& l) {
            this->lock();
            this->raise(cenote::detail::attention::soft);
            this->unlock();
            if (C::idle::push(l)) return C::idle::pop() == &l;
            this->unlock();
            return false;
        }
        unsigned soft_push_until_asked(link& l) {
            unsigned n = 1;
            while (soft_push(l)) ++n;
            return n;
        }
    };

    /// Where an acquire waits; as much its own as the frame of a call is.
    struct seat {
        seat() noexcept : told{0} {}
        seat(const seat&) = delete;
        seat& operator=(const seat&) = delete;
        ~seat() = default;
        [[nodiscard]] node& what() noexcept { return *std::launder(reinterpret_cast<node*>(room)); }
        void untouched() const {
            if (!used) return;
            for (const std::byte b : room) explore::require(b == poison, "a waiter's node is not written to after its end");
        }
        void rise() {
            what().~node();
            std::memset(room, static_cast<int>(poison), sizeof room);
            taken = false;
            told.store(0);
        }

        alignas(node) std::byte room[sizeof(node)];
        bool taken = false, used = false;
        std::uint64_t queued_at = 0; ///< 0: has not queued
        explore_sync::word told;
    };
    static void on_told(node& n) noexcept {
        auto& s = reinterpret_cast<seat&>(n); // a seat begins with its node
        s.told.store(1);
        explore_sync::wake(&s.told);
    }

    seat& free_seat() {
        for (seat& s : seats_) {
            if (s.taken) continue;
            s.untouched();
            s.taken = s.used = true;
            s.queued_at = 0;
            return s;
        }
        explore::fail("the house has a seat for everybody");
    }
    seat& sit() {
        seat& s = free_seat();
        ::new (static_cast<void*>(s.room)) node;
        return s;
    }
    seat& sit_async() {
        seat& s = free_seat();
        ::new (static_cast<void*>(s.room)) node{on_told};
        return s;
    }

    static connection& of(link* l) { return *static_cast<connection*>(l); }

    /// A permit is out.
    void begins(connection& c) {
        explore::require(c.state == connection::is::vacant, "what is to be opened is vacant");
        c.state = connection::is::opening;
        explore::require(++out_ <= allowed_, "inv-1: there are never more connections than the limit");
    }
    /// A permit is about to be back.
    void ends(connection& c) {
        c.state = connection::is::vacant;
        c.holder = 0;
        --out_;
    }
    /// Closes a connection that counts as leaving.
    void end(connection& c) {
        explore::require(c.holder == 0 && c.state == connection::is::open, "what is closed is open, and nobody has it");
        c.state = connection::is::closing;
        ends(c);
        after(desk_->retire(c));
    }
    void end_all(link* l) {
        while (l != nullptr) end(of(std::exchange(l, l->next)));
    }
    void after(retired r) {
        if (r == retired::last) {
            explore::require(orphaned_, "a permit is the last only if the pool is gone");
            free_desk();
        } else if (r == retired::wanted) {
            poke();
        }
    }
    void free_desk() {
        explore::require(desk_ != nullptr, "one party frees the desk");
        shop* const d = std::exchange(desk_, nullptr);
        d->~shop();
        std::memset(room_, static_cast<int>(poison), sizeof room_);
    }

    /// `queued_at` 0: without queueing, so at the end of the critical section that was this thread's last.
    connection* gets(connection& c, std::uint64_t queued_at, bool again) {
        const std::uint64_t ticket = queued_at != 0 ? queued_at : seen_[explore::self()];
        explore::require(c.holder == 0, "inv-3: a connection has one holder");
        c.holder = explore::self() + 1;
        if (c.state == connection::is::vacant) {
            explore::require(C::caller_dials, "a taker gets a connection that is open");
            begins(c);
        } else {
            explore::require(c.state == connection::is::open, "a taker gets a connection that is open, or vacant");
        }
        if (!again) {
            for (seat& s : seats_) {
                if (!s.taken || !s.what().queued || s.queued_at == 0 || s.queued_at >= ticket) continue;
                if constexpr (C::strict) explore::fail("not so: inv-6: nobody is overtaken");
                if (c.due_for == s.queued_at && last_nudge_ < c.due_since) explore::fail("not so: inv-6: nobody who is due is overtaken");
            }
        }
        c.due_for = 0;
        return &c;
    }
    void lets_go(connection& c) {
        explore::require(c.holder != 0 && c.state == connection::is::open, "who gives has something to give");
        c.holder = 0;
    }
    /// The oldest waiter, if the policy says that he is to get what is given from now on, and nobody is on his way.
    void remember_who_is_due(connection& c) {
        c.due_for = 0;
        seat* oldest = nullptr;
        for (seat& s : seats_) {
            if (!s.taken || !s.what().queued || s.queued_at == 0) continue;
            if (s.what().again) return;
            if (oldest == nullptr || s.queued_at < oldest->queued_at) oldest = &s;
        }
        if (oldest == nullptr || last_nudge_ == steps_) return;
        const node& n = oldest->what();
        if (n.wake == nullptr && !policy_.hand_over(explore_sync::now() - n.since)) return;
        c.due_for = oldest->queued_at;
        c.due_since = steps_;
    }

    [[nodiscard]] bool fails() {
        explore::point("opens a connection");
        if (failures_ == 0 || explore::choose(2) == 0) return false;
        --failures_;
        return true;
    }
    /// A caller opens a connection for itself.
    connection* dial_here(connection& c) {
        if (fails()) {
            ends(c);
            after(desk_->retire_unopened(c));
            return nullptr;
        }
        c.state = connection::is::open;
        desk_->dialled();
        return &c;
    }
    void nobody_waits() {
        for (seat& s : seats_) explore::require(!s.taken || !s.what().queued, "inv-8: nobody waits after close");
    }
    /// What somebody has kept, and dials that do not end.
    [[nodiscard]] unsigned kept() const {
        unsigned n = 0;
        for (const connection& c : connections_) n += (c.holder != 0 && c.state != connection::is::cut) || c.state == connection::is::opening ? 1U : 0U;
        return n;
    }
    /// Leases that were cut, whose holders have not come back.
    [[nodiscard]] unsigned cut_off() const {
        unsigned n = 0;
        for (const connection& c : connections_) n += c.state == connection::is::cut ? 1U : 0U;
        return n;
    }
    [[nodiscard]] unsigned opening() const {
        unsigned n = 0;
        for (const connection& c : connections_) n += c.state == connection::is::opening ? 1U : 0U;
        return n;
    }

    alignas(shop) std::byte room_[sizeof(shop)];
    shop* desk_ = nullptr;
    waiting policy_{};
    std::array<connection, 3> connections_{};
    std::array<seat, 4> seats_{};
    unsigned links_;
    unsigned keep_;
    unsigned allowed_; ///< the highest limit so far
    unsigned clients_;
    unsigned failures_;
    int idle_at_end_;
    unsigned out_ = 0; ///< connections that are open, being opened or being closed
    std::uint64_t ticks_ = 0, steps_ = 0, last_nudge_ = 0;
    std::array<std::uint64_t, 5> seen_{}; ///< when a thread was last before a visible operation
    bool closing_ = false, closed_ = false, suspended_ = false, orphaned_ = false;
    bool gone_ = false, visiting_ = false, sleeping_ = false; ///< the pool, the dialler in the desk without a permit, the dialler
    explore_sync::word poked_;
};

struct scenario {
    std::string name;
    unsigned preemptions = 3;
    std::function<void(explore::world&)> body;
};


/// Adds the scenarios that make sense for a configuration: those of two or three threads, or those of four.
template <class C>
class catalogue {
    using H = house<C>;
    using world = explore::world;
    static constexpr bool dials = C::caller_dials;
    static constexpr bool waits = C::waiting::waits;
    static constexpr bool eventually = std::is_same_v<typename C::waiting, cenote::eventually_fair>;
    using shared = std::shared_ptr<H>;

    std::vector<scenario>& out_;

    template <class Body>
    void add(std::string name, Body body, unsigned preemptions = 3) { out_.push_back({std::move(name), preemptions, std::move(body)}); }

    static shared open(world& w, const plan& p) {
        auto h = std::make_shared<H>(p);
        w.always([h] { h->look(); });
        w.at_rest([h] { h->conserves_work(); });
        w.finally([h] { h->audit(); });
        return h;
    }
    static time_point in_time() { return explore_sync::now() + soon; }
    static time_point when(bool endless) { return endless ? never : in_time(); }
    static std::string how(const char* what, bool endless) { return std::string{what} + (endless ? ", without end" : ", with time-outs"); }

public:
    catalogue(std::vector<scenario>& out, bool four) : out_{out} {
        if (four) {
            crowd();
            return;
        }
        taking_turns();
        ends();
        limits();
        if constexpr (waits && std::is_same_v<typename C::idle, locked<cenote::lifo>>) cutting(); // which has nothing to do with what is idle
        if constexpr (waits) {
            waiting();
            suspending();
            asynchronous();
        }
        if constexpr (eventually) being_due();
        if constexpr (!dials) diallers();
    }

private:
    void taking_turns() {
        add("one returns and one comes while another begins to wait", [=](world& w) {
            auto h = open(w, {.links = 1});
            auto* const first = h->try_take();
            w.thread("a", [=] { h->put(first); });
            w.thread("b", [=] { h->put(h->acquire(never)); });
            w.thread("c", [=] { h->put(h->try_take()); });
        });
        for (const bool endless : {true, false}) {
            if (!waits && endless) continue;
            add(how("three take turns with one", endless), [=](world& w) {
                auto h = open(w, {.links = 1});
                for (const char* name : {"a", "b", "c"}) w.thread(name, [=] { h->put(h->acquire(when(endless))); });
            });
            add(how("three take turns with two", endless), [=](world& w) {
                auto h = open(w, {.links = 2});
                for (const char* name : {"a", "b", "c"}) {
                    w.thread(name, [=] {
                        for (int round = name[0] == 'a' ? 0 : 1; round < 2; ++round) h->put(h->acquire(when(endless)));
                    });
                }
            });
            // Broken connections, hooks that throw, connections that are taken away.
            if constexpr (dials) {
                add(how("some do not give back what they got", endless), [=](world& w) {
                    auto h = open(w, {.links = 2, .open = 1, .max = 1});
                    for (const char* name : {"a", "b", "c"}) {
                        w.thread(name, [=] {
                            if (auto* const c = h->acquire(when(endless))) h->put(c, static_cast<then>(explore::choose(3)));
                        });
                    }
                });
                add(how("some replace what they got", endless), [=](world& w) {
                    auto h = open(w, {.links = 1, .failures = 1});
                    for (const char* name : {"a", "b", "c"}) {
                        w.thread(name, [=] {
                            auto* const c = h->acquire(when(endless));
                            h->put(name[0] == 'c' ? c : h->replace(c));
                        });
                    }
                });
                add(how("case-D2: some cannot open what they were granted", endless), [=](world& w) {
                    auto h = open(w, {.links = 2, .open = 0, .max = 1, .failures = 2});
                    for (const char* name : {"a", "b", "c"}) w.thread(name, [=] { h->put(h->acquire(when(endless))); });
                });
            }
        }
        add("hot paths beside one who waits", [=](world& w) {
            auto h = open(w, {.links = 1});
            for (const char* name : {"a", "b"}) {
                w.thread(name, [=] {
                    for (int round = 0; round < 2; ++round) h->put(h->try_take());
                });
            }
            w.thread("c", [=] { h->put(h->acquire(never)); });
        });
        add("what overflows is closed when it comes back", [=](world& w) {
            auto h = open(w, {.links = 2, .open = dials ? 0U : 2U, .max = 2, .keep = dials ? 1U : 2U});
            for (const char* name : {"a", "b", "c"}) w.thread(name, [=] { h->put(h->acquire(in_time())); });
        });
    }

    void ends() {
        for (const bool open_waits : {false, true}) {
            if (!waits && open_waits) continue;
            add(open_waits ? "the pool goes, one waits and one holds" : "the pool goes while two hold", [=](world& w) {
                auto h = open(w, {.links = 2});
                auto* const first = h->try_take();
                auto* const second = open_waits ? nullptr : h->try_take();
                w.thread("a", [=] { h->put(first, static_cast<then>(explore::choose(3))); });
                w.thread("b", [=] { h->put(second, static_cast<then>(explore::choose(3))); });
                w.thread("pool", [=] { h->destroy(); });
            });
        }
        add("the pool goes and a lease is never returned", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            (void)h->try_take();
            w.thread("a", [=] { h->put(first); });
            w.thread("pool", [=] { h->destroy(); });
        });
        add("case-D6: close meets acquire and give", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            w.thread("a", [=] {
                h->put(first);
                h->put(h->acquire(never));
            });
            w.thread("b", [=] { h->put(h->acquire(never)); });
            w.thread("closer", [=] { h->close(); });
        });
        for (const bool endless : {true, false}) {
            add(how("close waits for what is out, then the pool goes", endless), [=](world& w) {
                auto h = open(w, {.links = 2});
                auto* const first = h->try_take();
                auto* const second = h->try_take();
                for (auto* const c : {first, second}) {
                    w.thread(c == first ? "a" : "b", [=] { h->put(c, static_cast<then>(explore::choose(3))); });
                }
                w.thread("pool", [=] {
                    explore::require(h->drain(when(endless)) || !endless, "without a deadline everything comes back");
                    h->destroy();
                });
            });
        }
        add("two wait for what is out", [=](world& w) {
            auto h = open(w, {.links = 1});
            auto* const first = h->try_take();
            w.thread("a", [=] { h->put(first); });
            for (const char* name : {"b", "c"}) {
                w.thread(name, [=] { explore::require(h->drain(never), "everything comes back"); });
            }
        });
        add("case-D6: two close at once", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            w.thread("a", [=] { h->put(first); });
            for (const char* name : {"b", "c"}) w.thread(name, [=] { h->close(); });
        });
        if constexpr (waits) {
            // Neither a time-out nor a return will help those whom close forgets.
            add("close refuses all who wait for a holder that never returns", [=](world& w) {
                auto h = open(w, {.links = 1});
                (void)h->try_take();
                for (const char* name : {"a", "b"}) {
                    w.thread(name, [=] { explore::require(h->acquire(never) == nullptr, "there is nothing to get"); });
                }
                w.thread("closer", [=] { h->close(); });
            });
            add("close refuses all, with time-outs", [=](world& w) {
                auto h = open(w, {.links = 1});
                (void)h->try_take();
                for (const char* name : {"a", "b"}) {
                    w.thread(name, [=] { explore::require(h->acquire(in_time()) == nullptr, "there is nothing to get"); });
                }
                w.thread("closer", [=] { h->close(); });
            });
        }
    }

    void cutting() {
        const auto housekeeper = [](world& w, const shared& h, connection* c) {
            h->housekeeper_comes();
            w.thread("housekeeper", [=] {
                (void)h->cut(*c);
                if constexpr (!dials) h->dialler();
                h->housekeeper_goes();
            });
        };
        constexpr unsigned bound = dials ? 3 : 2; // there is more to do with a dialler beside
        const plan one{.links = 2, .open = 1, .max = 1, .clients = 1};
        add("a lease is cut while it ends, and another waits", [=](world& w) {
            auto h = open(w, one);
            auto* const c = h->lent();
            housekeeper(w, h, c);
            w.thread("holder", [=] { h->put_lent(c, static_cast<then>(explore::choose(3))); });
            w.thread("waiter", [=] {
                auto* const mine = h->acquire(never);
                explore::require(mine != nullptr, "somebody gets the permit of a lease that was cut");
                h->put(mine);
                h->leave_house();
            });
        }, bound);
        add("a lease is cut whose holder never comes back, and two wait", [=](world& w) {
            auto h = open(w, {.links = 2, .open = 1, .max = 1, .clients = 2});
            housekeeper(w, h, h->lent());
            for (const char* name : {"a", "b"}) {
                w.thread(name, [=] {
                    auto* const mine = h->acquire(never);
                    explore::require(mine != nullptr, "the permit of a lease that was cut serves the others");
                    h->put(mine);
                    h->leave_house();
                });
            }
        }, bound);
        add("the pool goes while a lease is cut and ends", [=](world& w) {
            auto h = open(w, one);
            auto* const c = h->lent();
            h->housekeeper_comes();
            w.thread("housekeeper", [=] {
                (void)h->cut(*c);
                h->housekeeper_goes();
            });
            w.thread("holder", [=] { h->put_lent(c, static_cast<then>(explore::choose(3))); });
            w.thread("pool", [=] { h->destroy(); });
        });
        add("close waits for a lease that is cut or ends, then the pool goes", [=](world& w) {
            auto h = open(w, one);
            auto* const c = h->lent();
            h->housekeeper_comes();
            w.thread("housekeeper", [=] {
                (void)h->cut(*c);
                h->housekeeper_goes();
            });
            w.thread("holder", [=] { h->put_lent(c); });
            w.thread("pool", [=] {
                explore::require(h->drain(never), "a lease that was cut is not waited for");
                h->destroy();
            });
        });
        add("no more leases are cut than there is room for", [=](world& w) {
            auto h = open(w, one);
            auto* const c = h->lent();
            h->housekeeper_comes();
            w.thread("housekeeper", [=] {
                const bool first = h->cut(*c);
                if (auto* const next = h->acquire_lent()) {
                    if (h->cut(*next)) {
                        explore::require(!first || c == next || c->state != connection::is::cut, "a second one only when the first holder is back");
                    }
                    h->put_lent(next);
                }
                h->housekeeper_goes();
                h->leave_house();
            });
            w.thread("holder", [=] { h->put_lent(c); });
            if constexpr (!dials) w.thread("dialler", [=] { h->dialler(); });
        }, bound);
    }

    void limits() {
        add("idle connections are looked at while others come", [=](world& w) {
            auto h = open(w, {.links = 1, .idle_at_end = 1});
            w.thread("a", [=] { h->extract(1); });
            for (const char* name : {"b", "c"}) {
                w.thread(name, [=] {
                    auto* const c = h->try_take();
                    explore::point("has it for a while");
                    h->put(c);
                });
            }
        });
        add("the limit rises while others come", [=](world& w) {
            auto h = open(w, {.links = 2, .open = 1, .max = 1, .clients = 2});
            (void)h->try_take();
            w.thread("a", [=] {
                h->limit(2);
                if constexpr (!dials) h->dialler();
            });
            for (const char* name : {"b", "c"}) {
                w.thread(name, [=] {
                    h->put(h->acquire(never));
                    h->leave_house();
                });
            }
        });
        if constexpr (dials) {
            add("the limit rises by two", [=](world& w) {
                auto h = open(w, {.links = 3, .open = 1, .max = 1});
                (void)h->try_take();
                w.thread("a", [=] { h->limit(3); });
                for (const char* name : {"b", "c"}) w.thread(name, [=] { h->put(h->acquire(never), then::keep); });
            });
        }
        for (const bool endless : {true, false}) {
            if (!waits && endless) continue;
            add(how("case-D8: the limit falls while connections come back", endless), [=](world& w) {
                auto h = open(w, {.links = 2});
                auto* const first = h->try_take();
                w.thread("a", [=] { h->put(first); });
                w.thread("b", [=] { h->put(h->acquire(when(endless))); });
                w.thread("c", [=] {
                    h->limit(1);
                    h->put(h->acquire(when(endless)));
                });
            });
        }
        add("idle connections are closed while others come back, but so many stay open", [=](world& w) {
            auto h = open(w, {.links = 3});
            auto* const first = h->try_take();
            auto* const second = h->try_take();
            w.thread("a", [=] { h->extract(0, 2); });
            for (auto* const mine : {first, second}) {
                w.thread(mine == first ? "b" : "c", [=] {
                    h->put(mine);
                    auto* const again = h->try_take();
                    explore::point("has it for a while");
                    h->put(again);
                });
            }
        });
        if constexpr (dials) {
            add("case-D8: the limit falls and rises", [=](world& w) {
                auto h = open(w, {.links = 2});
                auto* const first = h->try_take();
                w.thread("a", [=] { h->put(first); });
                w.thread("b", [=] { h->put(h->acquire(never)); });
                w.thread("c", [=] {
                    h->limit(1);
                    h->limit(2);
                });
            });
            add("idle connections are closed while others come", [=](world& w) {
                auto h = open(w, {.links = 2});
                w.thread("a", [=] { h->extract(); });
                for (const char* name : {"b", "c"}) {
                    w.thread(name, [=] {
                        for (int round = 0; round < 2; ++round) h->put(h->acquire(never));
                    });
                }
            });
        }
    }

    void waiting() {
        add("two return to two who wait", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            auto* const second = h->try_take();
            w.thread("a", [=] {
                h->put(first);
                h->put(second);
            });
            for (const char* name : {"b", "c"}) w.thread(name, [=] { h->put(h->acquire(never), then::keep); });
        });
        add("two return to one who waits and one whose time may end", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            auto* const second = h->try_take();
            w.thread("a", [=] {
                h->put(first);
                h->put(second);
            });
            w.thread("b", [=] { h->put(h->acquire(in_time()), then::keep); });
            w.thread("c", [=] { h->put(h->acquire(never), then::keep); });
        });
        add("case-D1: one returns while a time-out passes", [=](world& w) {
            auto h = open(w, {.links = 1});
            auto* const first = h->try_take();
            w.thread("a", [=] { h->put(first); });
            w.thread("b", [=] { h->put(h->acquire(in_time())); });
            w.thread("c", [=] { h->put(h->acquire(never)); });
        });
        add("one returns while another is cancelled", [=](world& w) {
            auto h = open(w, {.links = 1});
            auto* const first = h->try_take();
            auto stop = std::make_shared<stop_source>();
            w.thread("a", [=] {
                h->put(first);
                stop->request_stop();
            });
            w.thread("b", [=] { h->put(h->acquire(never, stop->get_token())); });
            w.thread("c", [=] { h->put(h->acquire(never)); });
        });
        // Nobody but the stop request can end this wait.
        add("one is cancelled who was told to look in vain", [=](world& w) {
            auto h = open(w, {.links = 1});
            auto* const first = h->try_take();
            auto stop = std::make_shared<stop_source>();
            w.thread("a", [=] {
                h->put(first);
                (void)h->try_take();
            });
            w.thread("b", [=] { (void)h->acquire(never, stop->get_token()); });
            w.thread("c", [=] { stop->request_stop(); });
        });
        add("case-D3: time passes, but a deadline does not move", [=](world& w) {
            auto h = open(w, {.links = 1});
            auto* const first = h->try_take();
            auto late = std::make_shared<bool>(false);
            const time_point until = in_time();
            w.thread("a", [=] {
                explore::advance(threshold / 2); // he is not due yet
                *late = explore_sync::now() > until; // the time-out was first
                h->put(first);
                (void)h->try_take();
            });
            w.thread("b", [=] {
                if (h->acquire(until) == nullptr) explore::require(explore_sync::now() == until || *late, "a deadline never restarts");
            });
        });
        add("the queue is full", [=](world& w) {
            auto h = open(w, {.links = 1, .max_waiters = 1});
            for (const char* name : {"a", "b", "c"}) w.thread(name, [=] { h->put(h->acquire(never)); });
        });
        // Whoever got something unusable goes to the front.
        add("one comes again", [=](world& w) {
            auto h = open(w, {.links = 3});
            auto* const first = h->try_take();
            auto* const second = h->try_take();
            auto* const third = h->try_take();
            w.thread("a", [=] {
                h->put(first);
                if constexpr (eventually) explore::advance(2 * threshold);
                h->put(second);
                h->put(third);
            });
            w.thread("b", [=] { h->put(h->acquire(never), then::keep); });
            w.thread("c", [=] {
                h->put(h->acquire(never), then::keep);
                h->put(h->acquire(never, {}, true), then::keep);
            });
        });
    }

    void suspending() {
        for (const bool endless : {true, false}) {
            add(how("a pool is suspended and resumed", endless), [=](world& w) {
                auto h = open(w, {.links = 2});
                auto* const first = h->try_take();
                w.thread("a", [=] {
                    h->suspend();
                    h->resume();
                });
                w.thread("b", [=] {
                    h->put(first);
                    h->put(h->acquire(when(endless)));
                });
                w.thread("c", [=] { h->put(h->acquire(when(endless))); });
            });
        }
        if constexpr (dials) {
            add("permits are free when a pool is resumed", [=](world& w) {
                auto h = open(w, {.links = 2, .open = 1});
                w.thread("a", [=] {
                    h->suspend();
                    h->resume();
                });
                for (const char* name : {"b", "c"}) w.thread(name, [=] { h->put(h->acquire(never), then::keep); });
            });
        }
        add("two suspend and resume", [=](world& w) {
            auto h = open(w, {.links = 1});
            for (const char* name : {"a", "b"}) {
                w.thread(name, [=] {
                    h->suspend();
                    h->resume();
                });
            }
            w.thread("c", [=] { h->put(h->acquire(never)); });
        });
        add("the limit falls while a pool is suspended", [=](world& w) {
            auto h = open(w, {.links = 2});
            w.thread("a", [=] {
                h->suspend();
                h->limit(1);
                h->resume();
            });
            w.thread("b", [=] { h->put(h->acquire(never)); });
        });
        add("a suspended pool is closed", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            w.thread("a", [=] {
                h->suspend();
                h->resume();
            });
            w.thread("b", [=] {
                h->put(first);
                h->put(h->acquire(never));
            });
            w.thread("closer", [=] { h->close(); });
        });
    }

    void asynchronous() {
        for (const bool gives_up : {false, true}) {
            const std::string and_how = gives_up ? ", and one gives up" : "";
            add("one waits and one is called back" + and_how, [=](world& w) {
                auto h = open(w, {.links = 1});
                auto* const first = h->try_take();
                w.thread("a", [=] { h->put(first); });
                w.thread("b", [=] { h->put(h->acquire_async(gives_up)); });
                w.thread("c", [=] { h->put(h->acquire(never)); });
            });
            add("two return to one who waits and one who is called back" + and_how, [=](world& w) {
                auto h = open(w, {.links = 2});
                auto* const first = h->try_take();
                auto* const second = h->try_take();
                w.thread("a", [=] {
                    h->put(first);
                    h->put(second);
                });
                w.thread("b", [=] { h->put(h->acquire_async(gives_up), then::keep); });
                w.thread("c", [=] { h->put(h->acquire(never), then::keep); });
            });
            add("those who are called back are refused by close" + and_how, [=](world& w) {
                auto h = open(w, {.links = 1});
                (void)h->try_take();
                w.thread("a", [=] { h->put(h->acquire_async(gives_up)); });
                w.thread("b", [=] { h->put(h->acquire(never)); });
                w.thread("closer", [=] { h->close(); });
            });
        }
        add("time-outs in front of one who is called back", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            auto* const second = h->try_take();
            w.thread("a", [=] {
                h->put(first);
                h->put(second);
            });
            w.thread("b", [=] { h->put(h->acquire(in_time()), then::keep); });
            w.thread("c", [=] { h->put(h->acquire_async(false), then::keep); });
        });
    }

    void being_due() {
        add("case-D4: returns go to the oldest once he is due", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            auto* const second = h->try_take();
            w.thread("a", [=] {
                h->put(first);
                explore::advance(2 * threshold);
                h->put(second);
            });
            w.thread("b", [=] { h->put(h->acquire(never)); });
            w.thread("c", [=] {
                for (int round = 0; round < 2; ++round) h->put(h->acquire(never));
            });
        });
        // Only now and then a return asks whether he is due who is on his way.
        add("one is due while he is on his way", [=](world& w) {
            auto h = open(w, {.links = 2});
            auto* const first = h->try_take();
            auto* const second = h->try_take();
            for (auto* const c : {first, second}) h->soft_pushes(c);
            w.thread("a", [=] {
                h->put(first);
                explore::advance(explore::choose(2) * 2 * threshold);
                h->put(second);
            });
            for (const char* name : {"b", "c"}) w.thread(name, [=] { h->put(h->acquire(never), then::keep); });
        });
    }

    void crowd() {
        for (const bool endless : {true, false}) {
            if (!waits && endless) continue;
            for (const unsigned n : {1U, 2U}) {
                add(how(n == 1 ? "four take turns with one" : "four take turns with two", endless), [=](world& w) {
                    auto h = open(w, {.links = n});
                    for (const char* name : {"a", "b", "c", "d"}) w.thread(name, [=] { h->put(h->acquire(when(endless))); });
                });
            }
            add(how("case-D6: close meets one return and two who acquire", endless), [=](world& w) {
                auto h = open(w, {.links = 1});
                auto* const first = h->try_take();
                w.thread("a", [=] { h->put(first); });
                for (const char* name : {"b", "c"}) w.thread(name, [=] { h->put(h->acquire(when(endless))); });
                w.thread("closer", [=] { h->close(); });
            });
            if constexpr (dials) {
                add(how("hooks throw, and broken connections are closed", endless), [=](world& w) {
                    auto h = open(w, {.links = 2, .open = 1, .max = 1});
                    for (const char* name : {"a", "b", "c", "d"}) {
                        w.thread(name, [=] {
                            if (auto* const c = h->acquire(when(endless))) h->put(c, name[0] < 'c' ? then::discard : then::give);
                        });
                    }
                });
                add(how("case-D2: four dial, and one cannot", endless), [=](world& w) {
                    auto h = open(w, {.links = 2, .open = 0, .max = 1, .failures = 1});
                    for (const char* name : {"a", "b", "c", "d"}) w.thread(name, [=] { h->put(h->acquire(when(endless))); });
                });
                add(how("case-D8: the limit falls and rises while one returns and one acquires", endless), [=](world& w) {
                    auto h = open(w, {.links = 2});
                    auto* const first = h->try_take();
                    w.thread("a", [=] { h->put(first); });
                    w.thread("b", [=] { h->put(h->acquire(when(endless))); });
                    w.thread("c", [=] { h->limit(1); });
                    w.thread("d", [=] { h->limit(2); });
                });
            } else {
                add(how("case-D2: a dialler serves three with one permit", endless), [=](world& w) {
                    auto h = open(w, {.links = 2, .open = 0, .max = 1, .clients = 3, .failures = 1});
                    w.thread("dialler", [=] { h->dialler(); });
                    for (const char* name : {"a", "b", "c"}) {
                        w.thread(name, [=] {
                            h->put(h->acquire(when(endless)));
                            h->leave_house();
                        });
                    }
                });
            }
            if constexpr (waits) {
                add(how("case-D1: one is cancelled, one waits and one returns", endless), [=](world& w) {
                    auto h = open(w, {.links = 1});
                    auto* const first = h->try_take();
                    auto stop = std::make_shared<stop_source>();
                    w.thread("a", [=] { h->put(first); });
                    w.thread("b", [=] { h->put(h->acquire(when(endless), stop->get_token())); });
                    w.thread("c", [=] { h->put(h->acquire(when(endless))); });
                    w.thread("d", [=] { stop->request_stop(); });
                });
            }
        }
        add("the pool goes while three hold", [=](world& w) {
            auto h = open(w, {.links = 3});
            for (const char* name : {"a", "b", "c"}) {
                auto* const c = h->try_take();
                w.thread(name, [=] { h->put(c, name[0] == 'a' ? then::discard : then::give); });
            }
            w.thread("pool", [=] { h->destroy(); });
        });
        if constexpr (waits) {
            add("close refuses three who wait for a holder that never returns", [=](world& w) {
                auto h = open(w, {.links = 1});
                (void)h->try_take();
                for (const char* name : {"a", "b", "c"}) {
                    w.thread(name, [=] { explore::require(h->acquire(never) == nullptr, "there is nothing to get"); });
                }
                w.thread("closer", [=] { h->close(); });
            });
        }
    }

    void diallers() {
        const auto two = [](world& w, const shared& h, bool endless, bool any_fate) {
            w.thread("dialler", [=] { h->dialler(); });
            for (const char* name : {"a", "b"}) {
                w.thread(name, [=] {
                    auto* const c = h->acquire(when(endless || name[0] == 'b'));
                    if (c != nullptr) h->put(c, any_fate ? static_cast<then>(explore::choose(3)) : then::give);
                    h->leave_house();
                });
            }
        };
        for (const bool endless : {true, false}) {
            if (!waits && endless) continue;
            for (const unsigned max : {1U, 2U}) {
                add(how(max == 1 ? "case-D2: a dialler serves two with one permit" : "a dialler serves two with two permits", endless), [=](world& w) {
                    two(w, open(w, {.links = 2, .open = 0, .max = max, .clients = 2, .failures = max == 1 ? 1U : 0U}), endless, false);
                });
            }
            add(how("a dialler replaces what does not come back", endless), [=](world& w) {
                two(w, open(w, {.links = 2, .open = 1, .max = 1, .clients = 2, .failures = 1}), endless, true);
            });
        }
        if constexpr (waits) {
            add("one who may not wait makes a wish", [=](world& w) {
                auto h = open(w, {.links = 1, .open = 0, .clients = 1, .idle_at_end = 1});
                w.thread("dialler", [=] { h->dialler(); });
                w.thread("a", [=] {
                    auto* const c = h->acquire(explore_sync::now());
                    h->put(c);
                    h->leave_house();
                });
            });
        }
        add("the pool goes while a dial is in flight", [=](world& w) {
            auto h = open(w, {.links = 2, .open = 1, .failures = 1});
            auto* const c = h->try_take();
            auto& dial = h->begun_dial();
            w.thread("dialler", [=, &dial] { h->finish_dial(dial); });
            w.thread("a", [=] { h->put(c); });
            w.thread("pool", [=] { h->destroy(); });
        });
        add("the pool goes and its dialler with it", [=](world& w) {
            auto h = open(w, {.links = 2, .open = 1, .clients = 1, .failures = 1});
            auto* const c = h->try_take();
            w.thread("dialler", [=] { h->dialler(); });
            w.thread("a", [=] { h->put(c, static_cast<then>(explore::choose(3))); });
            w.thread("pool", [=] {
                if constexpr (waits) (void)h->acquire(explore_sync::now());
                h->destroy();
            });
        });
        add("case-D8: the limit falls while a dial is in flight", [=](world& w) {
            auto h = open(w, {.links = 2, .open = 1, .failures = 1});
            auto* const c = h->try_take();
            auto& dial = h->begun_dial();
            w.thread("dialler", [=, &dial] { h->finish_dial(dial); });
            w.thread("a", [=] { h->put(c); });
            w.thread("b", [=] { h->limit(1); });
        });
        if constexpr (waits) {
            add("a dial that never ends keeps nobody from being refused", [=](world& w) {
                auto h = open(w, {.links = 1, .open = 0});
                (void)h->begun_dial();
                for (const char* name : {"a", "b"}) w.thread(name, [=] { h->put(h->acquire(never)); });
                w.thread("closer", [=] { h->close(); });
            });
            add("one is told to look in vain beside a dialler", [=](world& w) {
                auto h = open(w, {.links = 2, .open = 1, .clients = 2});
                auto* const c = h->try_take();
                w.thread("dialler", [=] { h->dialler(); });
                w.thread("a", [=] {
                    h->put(c);
                    (void)h->try_take();
                    h->leave_house();
                });
                w.thread("b", [=] {
                    h->put(h->acquire(never), then::keep);
                    h->leave_house();
                });
            });
            add("a hopeless dial refuses all who wait", [=](world& w) {
                auto h = open(w, {.links = 1, .open = 0, .clients = 2, .failures = 1});
                auto& dial = h->begun_dial();
                w.thread("dialler", [=, &dial] {
                    h->finish_dial(dial, true);
                    h->dialler();
                });
                for (const char* name : {"a", "b"}) {
                    w.thread(name, [=] {
                        h->put(h->acquire(never));
                        h->leave_house();
                    });
                }
            });
            add("a hopeless dial refuses one who was told to look, and another comes", [=](world& w) {
                auto h = open(w, {.links = 3, .open = 2, .failures = 1});
                auto* const first = h->try_take();
                auto* const second = h->try_take();
                auto& dial = h->begun_dial();
                w.thread("dialler", [=, &dial] { h->finish_dial(dial, true); });
                w.thread("a", [=] {
                    h->put(first);
                    (void)h->try_take();
                    h->put(second);
                });
                for (const char* name : {"b", "c"}) w.thread(name, [=] { h->put(h->acquire(never)); });
            }, 2);
            add("idle connections are closed beside a dialler", [=](world& w) {
                auto h = open(w, {.links = 1, .clients = 2});
                w.thread("dialler", [=] { h->dialler(); });
                w.thread("a", [=] {
                    h->extract();
                    h->leave_house();
                });
                w.thread("b", [=] {
                    for (int round = 0; round < 2; ++round) h->put(h->acquire(never));
                    h->leave_house();
                });
            });
            add("a pool with a dialler is suspended and resumed", [=](world& w) {
                auto h = open(w, {.links = 2, .open = 1, .clients = 2, .failures = 1});
                auto* const c = h->try_take();
                w.thread("dialler", [=] { h->dialler(); });
                w.thread("a", [=] {
                    h->suspend();
                    h->put(c);
                    h->resume();
                    h->leave_house();
                });
                w.thread("b", [=] {
                    h->put(h->acquire(never));
                    h->leave_house();
                });
            });
        }
    }
};

template <class C>
[[nodiscard]] std::vector<scenario> scenarios(bool four = false) {
    std::vector<scenario> out;
    catalogue<C>{out, four};
    return out;
}

} // namespace desk_scenarios
