// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Whole pools without a background thread, by their public face: every schedule of two or three threads to the bound.
#include <cenote/pool.hpp>
#include <cenote/testing/explore.hpp>

#include "effort.hpp"

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace explore = cenote::testing::explore;
using cenote::deadline;
using cenote::errc;
using cenote::testing::explore_sync;

/// Family locking: a mutex of the explorer.
struct explored {
    using family = cenote::family::locking;
    using sync = explore_sync;
    static constexpr bool threads = true;
    template <class Order>
    using idle_set = cenote::detail::idle_locked<Order, sync>;
};

/// Family locking: words of the explorer, one per slot.
struct explored_bits {
    struct word_each {
        [[nodiscard]] static unsigned shards(unsigned slots, unsigned) noexcept { return slots; }
        [[nodiscard]] static std::uint64_t scale(unsigned) noexcept { return 0; }
        template <class Sync>
        [[nodiscard]] static unsigned start(unsigned shards, std::uint64_t) noexcept { return Sync::processor() % shards; }
    };
    using family = cenote::family::locking;
    using sync = explore_sync;
    static constexpr bool threads = true;
    template <class Order>
    using idle_set = cenote::detail::idle_bits<sync, word_each>;
};

/// What the outside sees of a pool: its connections, and what may go wrong.
struct outside {
    unsigned max = 1;
    unsigned failures = 0; ///< of opening
    unsigned throws = 0;   ///< of hooks
    unsigned broken = 0;   ///< connections that will fail their test
    unsigned there = 0;    ///< connections
    unsigned opened = 0, closed = 0;
    bool pool_gone = false;

    static bool happens(unsigned& budget) {
        if (budget == 0 || explore::choose(2) == 0) return false;
        --budget;
        return true;
    }
};

/// A driver whose connections know who uses them.
class driver {
public:
    struct connection {
        unsigned user = 0;
        bool dirty = false;
    };

    explicit driver(std::shared_ptr<outside> o) : o_{std::move(o)} {}

    [[nodiscard]] connection open(deadline) {
        ++o_->opened;
        explore::require(++o_->there <= o_->max, "inv-1: there are never more connections than the limit");
        explore::point("opens a connection");
        if (outside::happens(o_->failures)) {
            --o_->there;
            ++o_->closed;
            throw std::runtime_error{"no server"};
        }
        return {};
    }
    void close(connection& c) noexcept {
        explore::require(c.user == 0, "a connection is closed when nobody uses it");
        explore::point("closes a connection");
        --o_->there;
        ++o_->closed;
    }
    [[nodiscard]] cenote::session_state state(connection& c) noexcept {
        return c.dirty ? cenote::session_state::in_transaction : cenote::session_state::idle;
    }
    void rollback(connection& c, deadline) {
        explore::require(c.user == 0, "a connection is cleaned when nobody uses it");
        explore::point("rolls back");
        c.dirty = false;
    }
    void ping(connection&, deadline) {
        explore::point("pings");
        if (outside::happens(o_->broken)) throw std::runtime_error{"gone"};
    }

private:
    std::shared_ptr<outside> o_;
};

struct hook {
    std::shared_ptr<outside> o;
    void operator()(driver::connection&) const {
        if (outside::happens(o->throws)) throw 7;
    }
};

enum class then : unsigned char { give, discard, detach, dirty };

/// A pool with what surrounds it; fresh in every schedule.
template <class Locking, class... Policies>
struct house {
    using pool = cenote::pool<driver, cenote::bounded, cenote::lifo, Locking, cenote::manual, cenote::no_age_limit, cenote::no_acquire_timeout,
                              cenote::on_connect<hook>, cenote::on_acquire<hook>, Policies...>;
    using lease = typename pool::lease;

    house(outside what, unsigned ceiling) : o{std::make_shared<outside>(what)} {
        const unsigned max = o->max;
        o->max = ceiling;
        p = std::make_unique<pool>(driver{o}, cenote::bounded{.max = max, .ceiling = ceiling}, cenote::on_connect{hook{o}}, cenote::on_acquire{hook{o}});
    }

    static deadline when(bool endless) { return endless ? deadline::never() : deadline{explore_sync::now() + 1ms}; }

    lease take(bool endless, typename pool::stop_token stop = {}) {
        std::error_code why;
        lease l = p->acquire(when(endless), std::move(stop), why);
        explore::require(static_cast<bool>(l) == !why, "an acquire has a lease or a reason");
        if (l) {
            explore::require(l->user == 0 && !l->dirty, "inv-3: a lease starts with a clean connection of its own");
            l->user = explore::self() + 1;
        }
        return l;
    }
    void put(lease l, then what = then::give) {
        if (!l) return;
        explore::require(l->user != 0, "a lease is in use until it ends");
        l->user = 0;
        switch (what) {
        case then::give: break;
        case then::discard: return l.discard();
        case then::dirty: l->dirty = true; break;
        case then::detach:
            --o->there;
            ++o->closed;
            (void)l.detach();
            return;
        }
    }
    void destroy() {
        p.reset();
        o->pool_gone = true;
    }
    void at_rest() {
        if (!p || suspended) return;
        const auto s = p->stats();
        if (s.pending == 0) return;
        explore::require(s.idle == 0, "inv-7: nobody waits beside an idle connection");
        explore::require(s.total >= s.max, "inv-7: nobody waits beside room for another connection");
        explore::require(s.resetting == 0 && s.closing == 0, "nobody waits beside work that he could do");
    }
    void audit() {
        if (p) {
            const auto s = p->stats();
            explore::require(s.pending == 0, "inv-2: nobody waits at the end");
            explore::require(s.opening == 0, "nothing is being opened at the end");
            explore::require(s.total <= s.max, "the limit is kept in the end");
            explore::require(s.total == o->there, "inv-2: the pool counts the connections that there are");
            destroy();
        }
        explore::require(o->opened == o->closed, "inv-8: every connection that was opened has been closed");
        explore::require(o.use_count() == 1, "the core is freed");
    }

    std::shared_ptr<outside> o;
    std::unique_ptr<pool> p;
    bool suspended = false;
};

struct scenario {
    std::string name;
    unsigned preemptions;
    std::function<void(explore::world&)> body;
};

template <class Locking, class... Policies>
class catalogue {
    using H = house<Locking, Policies...>;
    using L = std::shared_ptr<typename H::lease>;
    using world = explore::world;

    static std::shared_ptr<H> open(world& w, outside what, unsigned ceiling = 0) {
        auto h = std::make_shared<H>(what, ceiling == 0 ? what.max : ceiling);
        w.at_rest([h] { h->at_rest(); });
        w.finally([h] { h->audit(); });
        return h;
    }
    /// A lease that is out from the start.
    static L lent(const std::shared_ptr<H>& h) {
        auto l = std::make_shared<typename H::lease>(h->take(true));
        explore::require(static_cast<bool>(*l), "what is lent at the start can be had");
        return l;
    }
    static then any(bool cleans) { return static_cast<then>(explore::choose(cleans ? 4 : 3)); }

public:
    template <class Add>
    static void add_to(Add add, bool cleans) {
        for (const bool endless : {true, false}) {
            const std::string how = endless ? ", without end" : ", with time-outs";
            add("three take turns" + how, 3, [=](world& w) {
                auto h = open(w, {.max = 1});
                for (const char* name : {"a", "b", "c"}) w.thread(name, [=] { h->put(h->take(endless)); });
            });
            add("two do with their leases what they like" + how, 3, [=](world& w) {
                auto h = open(w, {.max = 1});
                auto l = lent(h);
                w.thread("a", [=] { h->put(std::move(*l), any(cleans)); });
                w.thread("b", [=] { h->put(h->take(endless), any(cleans)); });
            });
            add("three do with their leases what they like" + how, 3, [=](world& w) {
                auto h = open(w, {.max = 1});
                auto l = lent(h);
                w.thread("a", [=] { h->put(std::move(*l), any(cleans)); });
                w.thread("b", [=] { h->put(h->take(endless), any(cleans)); });
                w.thread("c", [=] { h->put(h->take(endless)); });
            });
            add("case-D2: opening fails" + how, 3, [=](world& w) {
                auto h = open(w, {.max = 1, .failures = 2});
                for (const char* name : {"a", "b", "c"}) w.thread(name, [=] { h->put(h->take(endless)); });
            });
            add("hooks throw" + how, 3, [=](world& w) {
                auto h = open(w, {.max = 1, .throws = 2});
                for (const char* name : {"a", "b", "c"}) w.thread(name, [=] { h->put(h->take(endless)); });
            });
            add("connections fail their test" + how, 3, [=](world& w) {
                auto h = open(w, {.max = 2, .broken = 2});
                h->put(h->take(true));
                for (const char* name : {"a", "b", "c"}) w.thread(name, [=] { h->put(h->take(endless)); });
            });
            add("case-D6: close, and one waits and one holds" + how, 3, [=](world& w) {
                auto h = open(w, {.max = 1});
                auto l = lent(h);
                w.thread("a", [=] { h->put(std::move(*l), any(cleans)); });
                w.thread("b", [=] { h->put(h->take(endless)); });
                w.thread("closer", [=] {
                    const auto r = h->p->close(H::when(endless));
                    explore::require(r.drained || !endless, "close waits for all that is out");
                    explore::require(r.drained == (r.still_out == 0) || !endless, "close says what is still out");
                });
            });
        }
        add("one is cancelled", 3, [=](world& w) {
            auto h = open(w, {.max = 1});
            auto l = lent(h);
            auto stop = std::make_shared<explore_sync::stop_source>();
            w.thread("a", [=] { h->put(std::move(*l)); });
            w.thread("b", [=] { h->put(h->take(true, stop->get_token())); });
            w.thread("c", [=] { stop->request_stop(); });
        });
        add("the pool goes while two hold", 3, [=](world& w) {
            auto h = open(w, {.max = 2});
            auto first = lent(h);
            auto second = lent(h);
            w.thread("a", [=] { h->put(std::move(*first), any(cleans)); });
            w.thread("b", [=] { h->put(std::move(*second), any(cleans)); });
            w.thread("pool", [=] { h->destroy(); });
        });
        add("the pool grows while two wait", 3, [=](world& w) {
            auto h = open(w, {.max = 1}, 2);
            auto l = lent(h);
            w.thread("a", [=] {
                h->p->resize(2);
                h->put(std::move(*l));
            });
            for (const char* name : {"b", "c"}) w.thread(name, [=] { h->put(h->take(true)); });
        });
        add("case-D8: the pool shrinks and grows", 3, [=](world& w) {
            auto h = open(w, {.max = 2}, 2);
            auto l = lent(h);
            w.thread("a", [=] {
                h->p->resize(1);
                h->p->resize(2);
            });
            w.thread("b", [=] { h->put(std::move(*l), any(cleans)); });
            w.thread("c", [=] { h->put(h->take(true)); });
        });
        add("the pool is suspended and resumed", 3, [=](world& w) {
            auto h = open(w, {.max = 1});
            auto l = lent(h);
            w.thread("a", [=] {
                h->suspended = true;
                h->p->suspend();
                h->p->resume();
                h->suspended = false;
            });
            w.thread("b", [=] { h->put(std::move(*l), any(cleans)); });
            w.thread("c", [=] { h->put(h->take(true)); });
        });
        add("somebody maintains the pool", 3, [=](world& w) {
            auto h = open(w, {.max = 1});
            auto l = lent(h);
            w.thread("a", [=] { (void)h->p->maintain(); });
            w.thread("b", [=] { h->put(std::move(*l), any(cleans)); });
            w.thread("c", [=] { h->put(h->take(true)); });
        });
    }
};

template <class Locking, class... Policies>
void explore_pool(const char* configuration, bool cleans, effort how = {}) {
    exploration e{configuration, how};
    const auto add = [&e](const std::string& name, unsigned preemptions, auto body) { e.run(name, preemptions, body); };
    catalogue<Locking, Policies...>::add_to(add, cleans);
}

// There are more visible operations than with a mutex, so the largest scenarios get one preemption less.
constexpr effort each{.preemptions = 3, .enough = 12'000};

} // namespace

TEST_CASE("a pool, first come first served", CHECKED) {
    explore_pool<explored, cenote::strictly_fair, cenote::no_reset, cenote::no_validation>("strictly_fair", false);
}
TEST_CASE("a pool that tests and cleans its connections", CHECKED) {
    explore_pool<explored, cenote::eventually_fair, cenote::background<cenote::reset_if_dirty>, cenote::pre_ping>("eventually_fair, background, pre_ping", true);
}
TEST_CASE("a pool whose idle connections are bits, first come first served", CHECKED) {
    explore_pool<explored_bits, cenote::strictly_fair, cenote::no_reset, cenote::no_validation>("bits, strictly_fair", false, each);
}
TEST_CASE("a pool whose idle connections are bits, that tests and cleans them", CHECKED) {
    explore_pool<explored_bits, cenote::eventually_fair, cenote::background<cenote::reset_if_dirty>, cenote::pre_ping>("bits, eventually_fair, background, pre_ping", true, each);
}
