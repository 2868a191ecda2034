// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The desk of pools that one thread uses: a million random steps beside a small model that says what each must lead to. Those who
// wait are asynchronous, for nobody else could be.
#include <cenote/detail/desk.hpp>
#include <cenote/detail/idle_plain.hpp>
#include <cenote/detail/sync.hpp>
#include <cenote/policy/waiting.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using cenote::errc;
using cenote::detail::fate;
using cenote::detail::retired;
using sync = cenote::detail::real_sync<cenote::detail::no_mutex>;

void must(bool condition, const char* sentence) {
    if (!condition) throw std::logic_error{sentence};
}

template <class Order, class Waiting, bool CallerDials>
class walk {
    using desk_type = cenote::detail::desk<cenote::detail::idle_plain<Order>, Waiting, sync, CallerDials>;
    using link = cenote::detail::link;
    using node = typename desk_type::node;
    static constexpr bool queue = std::is_same_v<Order, cenote::fifo>;
    static constexpr unsigned slots = 6;
    static constexpr std::size_t seats = 4;

    struct slot : link {
        unsigned number = 0;
        bool open = false;
    };
    struct seat : node {
        seat() : node{[](node& n) noexcept { ++static_cast<seat&>(n).told; }} {}
        unsigned told = 0;
    };

public:
    explicit walk(std::uint32_t seed) : random_{seed} {
        desk_.start(max_, max_, slots);
        for (unsigned i = slots; i-- > 0;) {
            slots_[i].number = i;
            vacant_.push_back(i);
            desk_.add_vacant(&slots_[i], 1);
        }
    }

    void step() {
        switch (pick(16)) {
        case 0:
        case 1: return try_take();
        case 2:
        case 3:
        case 4: return enqueue();
        case 5: return withdraw();
        case 6:
        case 7:
        case 8: return give();
        case 9: return discard();
        case 10: return detach();
        case 11: return limit();
        case 12: return suspended_ ? resume() : suspend();
        case 13: return extract();
        default: return dial();
        }
    }
    void check() {
        const auto c = desk_.count();
        must(c.used == used(), "permits are as many as the model has");
        must(c.idle == idle_.size() + held_.size(), "idle connections are as many as the model has");
        must(c.waiting == waiting_.size(), "waiters are as many as the model has");
        must(c.opening == opening_.size() && c.leaving == 0, "what is on its way is as much as the model has");
        must(c.max == max_, "the limit is the model's");
        if (!waiting_.empty() && !suspended_) {
            must(idle_.empty(), "nobody waits beside an idle connection");
            if (CallerDials) must(used() >= max_, "nobody waits beside a free permit");
        }
        for (const std::size_t s : waiting_) must(seats_[s].told == 0, "who waits has not been told anything");
    }
    /// Ends it: nobody waits any more, and everything comes back.
    void close() {
        desk_.close();
        for (const std::size_t s : waiting_) {
            must(seats_[s].told == 1 && seats_[s].got == nullptr && seats_[s].why == errc::pool_closed, "close refuses all who wait");
        }
        waiting_.clear();
        for (link* l = desk_.extract_all(); l != nullptr;) {
            slot& s = of(std::exchange(l, l->next));
            must(remove(idle_, s.number) || remove(held_, s.number), "close takes out what is idle");
            vacate(s);
            must(desk_.retire(s) == retired::done, "the pool is still there");
        }
        must(idle_.empty() && held_.empty(), "close takes out all that is idle");
        must(desk_.orphan() == (used() == 0), "an orphaned desk stays while a permit is out");
        while (!leased_.empty() || !opening_.empty()) {
            if (leased_.empty()) {
                slot& s = slots_[take(opening_)];
                vacate(s);
                must((desk_.retire_unopened(s) == retired::last) == (used() == 0), "the last permit is reported as such");
            } else {
                slot& s = slots_[take(leased_)];
                must(desk_.give(s, policy_) == fate::excess, "what comes back after close is closed");
                vacate(s);
                must((desk_.retire(s) == retired::last) == (used() == 0), "the last permit is reported as such");
            }
        }
    }

private:
    [[nodiscard]] unsigned pick(std::size_t n) { return static_cast<unsigned>(random_() % n); }
    static slot& of(link* l) { return *static_cast<slot*>(l); }
    [[nodiscard]] unsigned used() const { return static_cast<unsigned>(idle_.size() + held_.size() + leased_.size() + opening_.size()); }

    template <class List>
    [[nodiscard]] unsigned take(List& from) {
        const auto at = from.begin() + pick(from.size());
        const unsigned n = *at;
        from.erase(at);
        return n;
    }
    template <class List>
    static bool remove(List& from, unsigned n) {
        const auto at = std::find(from.begin(), from.end(), n);
        if (at == from.end()) return false;
        from.erase(at);
        return true;
    }
    void vacate(slot& s) {
        s.open = false;
        vacant_.push_back(s.number);
    }

    // the model

    void push_idle(unsigned n) {
        if (queue) idle_.push_back(n);
        else idle_.push_front(n);
    }
    /// Whoever waits longest has been granted `s`, open or vacant.
    void granted(slot& s) {
        seat& n = seats_[waiting_.front()];
        waiting_.pop_front();
        must(n.told == 1 && n.got == &s, "it goes to whoever has waited longest");
        holds(s);
    }
    /// Somebody has `s`; a vacant one he opens or not.
    void holds(slot& s) {
        if (s.open) {
            leased_.push_back(s.number);
            return;
        }
        must(CallerDials && remove(vacant_, s.number), "who is to open gets a vacant slot");
        opening_.push_back(s.number);
    }
    /// Permits that are free go to those who can open connections.
    void grant_vacant() {
        while (CallerDials && !suspended_ && !waiting_.empty() && used() < max_) {
            const seat& n = seats_[waiting_.front()];
            must(n.told == 1 && n.got != nullptr, "a free permit goes to whoever has waited longest");
            granted(of(n.got));
        }
    }

    // the steps

    void try_take() {
        link* const l = desk_.try_take();
        if (idle_.empty()) return must(l == nullptr, "there is nothing to take");
        must(l == &slots_[idle_.front()], "what is taken is next in order");
        idle_.pop_front();
        leased_.push_back(of(l).number);
    }
    void enqueue() {
        const auto free = std::find_if(seats_.begin(), seats_.end(), [this](const seat& s) {
            return std::find(waiting_.begin(), waiting_.end(), static_cast<std::size_t>(&s - seats_.data())) == waiting_.end();
        });
        if (free == seats_.end()) return;
        free->told = 0;
        free->got = nullptr;
        bool poked = false;
        errc why{};
        link* const l = desk_.enqueue(*free, policy_, why, [&]() noexcept { poked = true; });
        if (!suspended_ && !idle_.empty()) {
            must(l == &slots_[idle_.front()], "what is taken is next in order");
            idle_.pop_front();
            leased_.push_back(of(l).number);
        } else if (!suspended_ && CallerDials && waiting_.empty() && used() < max_) {
            must(l != nullptr, "who finds room opens a connection");
            holds(of(l));
        } else if (waiting_.size() >= policy_.max_waiters) {
            must(l == nullptr && why == errc::queue_full, "no more wait than may");
        } else {
            must(l == nullptr && why == errc{} && poked && free->told == 0, "who finds nothing waits");
            waiting_.push_back(static_cast<std::size_t>(free - seats_.begin()));
        }
    }
    void withdraw() {
        if (waiting_.empty()) return;
        const auto at = waiting_.begin() + pick(waiting_.size());
        must(desk_.withdraw(seats_[*at]) == nullptr, "who still waits has been granted nothing");
        must(seats_[*at].told == 0, "who withdraws is not told anything");
        waiting_.erase(at);
    }
    void give() {
        if (leased_.empty()) return;
        const bool over = used() > max_;
        slot& s = slots_[take(leased_)];
        came_back(s, over, desk_.give(s, policy_));
    }
    void came_back(slot& s, bool over, fate f) {
        if (over) {
            must(f == fate::excess, "what is beyond the limit is closed");
            vacate(s);
            return after(desk_.retire(s));
        }
        must(f == fate::kept, "what is within the limit is kept");
        if (suspended_) held_.push_back(s.number);
        else if (!waiting_.empty()) granted(s);
        else push_idle(s.number);
    }
    void after(retired r) {
        must(r != retired::last, "the pool is still there");
        grant_vacant();
        if (CallerDials || suspended_) return;
        must((r == retired::wanted) == (waiting_.size() > opening_.size() && used() < max_), "a permit that helps somebody is reported");
    }
    void discard() {
        if (leased_.empty()) return;
        slot& s = slots_[take(leased_)];
        desk_.leave();
        vacate(s);
        after(desk_.retire(s));
    }
    void detach() {
        if (leased_.empty()) return;
        slot& s = slots_[take(leased_)];
        vacate(s);
        after(desk_.retire_detached(s));
    }
    void limit() {
        max_ = 1 + pick(slots);
        desk_.limit(max_, max_);
        grant_vacant();
        const std::size_t over = used() > max_ ? used() - max_ : 0;
        const std::size_t closing = std::min(over, idle_.size() + held_.size());
        std::deque<unsigned> coldest = idle_;
        if (!queue) std::reverse(coldest.begin(), coldest.end());
        coldest.resize(std::min(closing, coldest.size()));
        std::vector<slot*> taken;
        for (link* l = desk_.extract_surplus(); l != nullptr; l = l->next) taken.push_back(&of(l));
        must(taken.size() == closing, "as many are closed as there are too many, if there are so many idle");
        for (slot* const s : taken) {
            must(remove(held_, s->number) || (remove(coldest, s->number) && remove(idle_, s->number)), "the coldest are closed");
            vacate(*s);
            must(desk_.retire(*s) == retired::done, "what is beyond the limit helps nobody");
        }
    }
    void suspend() {
        desk_.suspend();
        suspended_ = true;
        held_.insert(held_.end(), idle_.begin(), idle_.end());
        idle_.clear();
    }
    void resume() {
        desk_.resume();
        suspended_ = false;
        for (; !held_.empty(); held_.pop_back()) {
            if (!waiting_.empty()) granted(slots_[held_.back()]);
            else push_idle(held_.back());
        }
        grant_vacant();
    }
    void extract() {
        const unsigned spared = pick(3);
        const unsigned odd = pick(2);
        const auto named = [odd](unsigned n) { return n % 2 == odd; };
        std::deque<unsigned> coldest = idle_;
        if (!queue) std::reverse(coldest.begin(), coldest.end());
        std::erase_if(coldest, [&](unsigned n) { return !named(n); });
        coldest.resize(std::min<std::size_t>(coldest.size(), idle_.size() > spared ? idle_.size() - spared : 0));
        for (link* l = desk_.extract([&](link& x) noexcept { return named(of(&x).number); }, spared, 0); l != nullptr;) {
            slot& s = of(std::exchange(l, l->next));
            must(remove(coldest, s.number) && remove(idle_, s.number), "the coldest that were named are taken out");
            vacate(s);
            after(desk_.retire(s));
        }
        must(coldest.empty(), "all that were named are taken out, but for those to be spared");
    }
    /// Opens what is wanted, or ends an opening.
    void dial() {
        if (!opening_.empty() && pick(2) == 0) {
            slot& s = slots_[take(opening_)];
            if (pick(4) == 0) {
                vacate(s);
                return after(desk_.retire_unopened(s));
            }
            s.open = true;
            if (CallerDials) {
                desk_.dialled();
                leased_.push_back(s.number);
                return;
            }
            const bool over = used() + 1 > max_; // it is in no list at the moment
            return came_back(s, over, desk_.give_opened(s, policy_));
        }
        if (CallerDials) return;
        link* const l = desk_.demand(0, 0);
        const bool wanted = !suspended_ && used() < max_ && waiting_.size() > opening_.size();
        must((l != nullptr) == wanted, "a connection is opened if somebody waits for it");
        if (l == nullptr) return;
        must(remove(vacant_, of(l).number), "what is to be opened is vacant");
        opening_.push_back(of(l).number);
    }

    std::mt19937 random_;
    std::array<slot, slots> slots_{};
    std::array<seat, seats> seats_{};
    Waiting policy_{.max_waiters = 3};
    desk_type desk_;
    unsigned max_ = 3;
    bool suspended_ = false;
    std::deque<unsigned> idle_; // next in order first
    std::vector<unsigned> held_; // last in first
    std::vector<unsigned> leased_, opening_, vacant_;
    std::deque<std::size_t> waiting_; // oldest first
};

template <class Order, class Waiting, bool CallerDials>
void walk_far(const char* configuration) {
    for (std::uint32_t seed = 1; seed <= 100; ++seed) {
        walk<Order, Waiting, CallerDials> w{seed};
        unsigned step = 0;
        std::string violation;
        try {
            for (; step < 10'000; ++step) {
                w.step();
                w.check();
            }
            w.close();
        } catch (const std::logic_error& e) {
            violation = e.what();
        }
        INFO(configuration << ", seed " << seed << ", step " << step);
        REQUIRE(violation == "");
    }
}

} // namespace

TEST_CASE("one thread, callers dial: a million steps as the model says") {
    walk_far<cenote::lifo, cenote::strictly_fair, true>("strictly_fair, lifo");
    walk_far<cenote::fifo, cenote::strictly_fair, true>("strictly_fair, fifo");
    walk_far<cenote::lifo, cenote::barging, true>("barging, lifo");
}
TEST_CASE("one thread, a dialler: a million steps as the model says") {
    walk_far<cenote::lifo, cenote::strictly_fair, false>("strictly_fair, lifo");
    walk_far<cenote::fifo, cenote::strictly_fair, false>("strictly_fair, fifo");
    walk_far<cenote::fifo, cenote::barging, false>("barging, fifo");
}
