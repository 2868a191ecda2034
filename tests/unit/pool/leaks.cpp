// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <cenote/policy/leak.hpp>

#include <catch2/matchers/catch_matchers_exception.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace pool_test;
using Catch::Matchers::Message;

namespace {

static_assert(discard_on_return{}.after == 300s && close_now{}.after == 300s && close_now{}.grace == 1s, "the documented defaults");
static_assert(!pool<scripted, leak_threshold>::core_type::cfg::cuts_leases && pool<scripted, close_now>::core_type::cfg::cuts_leases);
static_assert(pool<scripted, close_now, never_cut>::core_type::cfg::keeps_tokens && !pool<scripted, never_cut>::core_type::cfg::keeps_tokens);
static_assert(sizeof(pool<scripted, with_stack<leak_threshold>>::core_type::slot_type) >
              sizeof(pool<scripted, leak_threshold>::core_type::slot_type), "stacks take their room only where they are asked for");

/// A pool without a thread, which finds leaks when it is told to. One type for most tests: each takes a second to compile.
using lossy = pool<scripted, close_now, manual, clock::manual, bounded, recorder, counters>;
struct site_pool {
    manual_clock time;
    watched s;
    recorder sink;
    lossy p;

    explicit site_pool(unsigned max, unsigned ceiling = 0)
        : p{scripted{s}, close_now{5s}, clock::manual{time}, bounded{.max = max, .ceiling = ceiling}, sink} {}
};

/// Whether the next call of a holder fails as if the server had gone.
template <class Lease>
[[nodiscard]] bool fails(Lease& l) {
    try {
        l->use();
    } catch (const driver_error& e) {
        return e.kind() == error_class::disconnected;
    }
    return false;
}

unsigned no_frames(void**, unsigned) noexcept { return 0; }
unsigned two_frames(void** at, unsigned most) noexcept {
    static int first = 0, second = 0;
    if (most < 2) return 0;
    at[0] = &first;
    at[1] = &second;
    return 2;
}
unsigned too_many(void** at, unsigned most) noexcept {
    for (unsigned i = 0; i < most; ++i) at[i] = at;
    return most + 7;
}

} // namespace

TEST_CASE("the thresholds of leak policies are above zero, and a grace is not negative") {
    CHECK_NOTHROW(discard_on_return{1ns}.check());
    CHECK_THROWS_MATCHES(discard_on_return{0s}.check(), std::invalid_argument,
                         Message("cenote: discard_on_return.after = 0s: must be above zero; to switch it off write no_leak_check"));
    CHECK_NOTHROW((close_now{1ns, 0s}.check()));
    CHECK_THROWS_MATCHES(close_now{-1s}.check(), std::invalid_argument,
                         Message("cenote: close_now.after = -1s: must be above zero; to switch it off write no_leak_check"));
    CHECK_THROWS_MATCHES((close_now{1s, -1ns}.check()), std::invalid_argument, Message("cenote: close_now.grace = -1ns: must not be negative"));
    CHECK_THROWS_MATCHES(with_stack<leak_threshold>{}.check(), std::invalid_argument,
                         Message("cenote: with_stack.capture = null: must be a function; to have no stacks leave with_stack out"));
    CHECK_THROWS_MATCHES((with_stack{leak_threshold{0s}, no_frames}.check()), std::invalid_argument,
                         Message("cenote: leak_threshold.after = 0s: must be above zero; to switch it off write no_leak_check"));
}

TEST_CASE("custody is decided once, and never mistakes the next lease for this one") {
    custody c;
    const auto seen = [&] { return c.word.load(); };
    CHECK_FALSE(c.cut(seen())); // nobody has it
    CHECK_FALSE(c.reclaim());
    c.on_lease();
    const auto first = seen();
    CHECK(c.reclaim());
    CHECK_FALSE(c.cut(first));
    c.on_lease();
    const auto second = seen();
    CHECK_FALSE(c.cut(first));
    CHECK(c.cut(second));
    CHECK_FALSE(c.cut(second));
    CHECK_FALSE(c.cut(seen()));
    CHECK_FALSE(c.reclaim());
    c.bury();
    CHECK_FALSE(c.cut(second));
    c.on_lease();
    CHECK(c.cut(seen()));
}

// ── discard_on_return ────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("what comes back late is closed, and reported though no scan has seen it") {
    manual_clock time;
    watched s{1};
    recorder sink;
    pool p{scripted{s}, discard_on_return{5s}, manual{}, clock::manual{time}, bounded{.max = 1}, sink, counters{}};
    auto l = p.acquire();
    l.tag("import");
    time.advance(5s - 1ns);
    l.give_back();
    CHECK(gauges_of(p) == gauges{.idle = 1});
    sink.to->take();

    SECTION("unseen") {
        l = p.acquire();
        l.tag("import");
        time.advance(5s);
        l.give_back();
        (void)p.maintain();
        CHECK(sink.to->take() == lines{"acquired", "leak import", "leak returned import", "returned", "closed: leaked"});
    }
    SECTION("seen before") {
        l = p.acquire();
        time.advance(6s);
        (void)p.maintain();
        (void)p.maintain();
        l.give_back();
        (void)p.maintain();
        CHECK(sink.to->take() == lines{"acquired", "leak -", "leak returned -", "returned", "closed: leaked"});
    }
    SECTION("discarded") {
        l = p.acquire();
        time.advance(6s);
        l.discard();
        CHECK(sink.to->take() == lines{"acquired", "leak -", "leak returned -", "returned", "closed: discarded"});
    }
    CHECK(gauges_of(p) == gauges{});
    CHECK(p.stats().leaks == 1);
    CHECK(p.stats().severed == 0);
    check_capacity(p, 1);
}

// ── close_now ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("a lease that is out too long is cut, and somebody else has its place at once") {
    site_pool x{1};
    auto& p = x.p;
    auto lost = p.acquire();
    lost.tag("import");
    const std::size_t id = lost->id();
    x.time.advance(5s - 1ns);
    CHECK(p.maintain() == x.time.now() + 1ns); // due then, and not before
    CHECK_NOTHROW(lost->use());
    CHECK(x.s.calls(site::sever) == 0);
    x.time.advance(1ns);
    (void)p.maintain();
    CHECK(x.s.calls(site::sever) == 2); // at this end, and then at the server
    CHECK(gauges_of(p) == gauges{});
    CHECK(fails(lost));

    const auto seen = p.inspect();
    CHECK(seen.leased == 0);
    REQUIRE(seen.leases.size() == 1);
    CHECK(seen.leases[0].cut);
    CHECK_THAT(seen.leases[0].text(), ContainsSubstring("[import] (cut)"));

    auto next = p.try_acquire();
    REQUIRE(next);
    CHECK(next->id() != id);
    CHECK(good(next));
    CHECK(p.inspect().leases.size() == 2);
    CHECK(p.suspicious(1s).size() == 1);
    CHECK(p.suspicious(5s).empty());
    (void)p.maintain(); // once is enough
    x.sink.to->take();

    SECTION("given back") {
        lost.give_back();
        CHECK(x.sink.to->take() == lines{"leak returned import", "returned", "closed: leaked"});
        CHECK(ended(p, close_reason::leaked) == 1);
    }
    SECTION("discarded") {
        lost.discard(error_class::disconnected);
        CHECK(x.sink.to->take() == lines{"leak returned import", "returned", "closed: leaked"});
    }
    SECTION("detached") {
        lost->mark_detached();
        {
            const auto mine = lost.detach();
            CHECK(mine.id() == id);
        }
        CHECK(x.sink.to->take() == lines{"leak returned import", "returned", "detached"});
    }
    CHECK_FALSE(lost);
    CHECK(p.inspect().leases.size() == 1);
    CHECK(good(next));
    next.give_back();
    CHECK(x.s.calls(site::sever) == 2);
    CHECK(p.stats().leaks == 1);
    CHECK(p.stats().severed == 1);
    check_capacity(p, 1);
}

TEST_CASE("there is room for as many leases that were cut as for others; the next are reported, and cut when there is") {
    site_pool x{1};
    auto& p = x.p;
    auto first = p.acquire();
    x.time.advance(5s);
    (void)p.maintain();
    auto second = p.acquire();
    x.time.advance(5s);
    (void)p.maintain();
    CHECK(p.stats().leaks == 2);
    CHECK(p.stats().severed == 1);
    CHECK_FALSE(fails(second));
    CHECK_FALSE(p.try_acquire());
    first.give_back();
    (void)p.maintain();
    CHECK(p.stats().leaks == 2);
    CHECK(p.stats().severed == 2);
    CHECK(fails(second));
    CHECK(good(p.acquire()));
    second.give_back();
    check_capacity(p, 1);
}

TEST_CASE("a pool of leases that were all cut grows, shrinks, is invalidated and suspended as ever") {
    site_pool x{2, 4};
    auto& p = x.p;
    auto lost = hold(p, 2);
    x.time.advance(5s);
    (void)p.maintain();
    CHECK(gauges_of(p) == gauges{});
    p.resize(4);
    auto more = hold(p, 4);
    CHECK_FALSE(p.try_acquire());
    x.time.advance(5s);
    (void)p.maintain();
    CHECK(p.stats().severed == 4); // two more: as many as the new limit are out already
    p.resize(1);
    p.invalidate_all();
    lost.clear();
    p.suspend();
    more.clear();
    p.resume();
    (void)p.maintain(); // closes those that were invalidated
    CHECK(gauges_of(p) == gauges{});
    check_capacity(p, 1);
    CHECK(ended(p, close_reason::leaked) == 4);
}

TEST_CASE("close does not wait for leases that were cut, and they outlive the pool") {
    for (const bool close_first : {true, false}) {
        manual_clock time;
        watched s;
        recorder sink;
        std::optional<lossy> p{std::in_place, scripted{s}, close_now{5s}, clock::manual{time}, bounded{.max = 2}, sink};
        auto lost = p->acquire();
        auto kept = p->acquire();
        time.advance(1s);
        kept.give_back();
        kept = p->acquire();
        time.advance(4s);
        (void)p->maintain();
        CHECK(sink.to->count("severed") == 0); // this sink has no such member
        if (close_first) {
            kept.give_back();
            const auto r = p->close(deadline::in(patience));
            CHECK(r.drained);
            CHECK(r.cut == 0);
        }
        p.reset();
        CHECK(fails(lost));
        lost.give_back();
        if (!close_first) {
            CHECK(s.open_now() == 1);
            kept.give_back();
        }
        CHECK(s.open_now() == 0);
    }
}

TEST_CASE("the last to come back of a pool that is gone may be one that was cut") {
    watched s;
    manual_clock time;
    std::optional<lossy> p{std::in_place, scripted{s}, close_now{5s}, clock::manual{time}};
    auto lost = p->acquire();
    time.advance(5s);
    (void)p->maintain();
    p.reset();
    std::jthread{[l = std::move(lost)]() mutable { l.give_back(); }}.join();
    CHECK(s.open_now() == 0);
}

TEST_CASE("a server that does not hear of it keeps the permit for the grace of the policy, all of them together") {
    site_pool x{2};
    std::vector<duration> left;
    x.s.on(site::sever, [&](const cenote::testing::call& c) { left.push_back(c.by.at() == time_point::min() ? duration::min() : c.by.remaining()); });
    auto lost = hold(x.p, 2);
    x.time.advance(5s);
    (void)x.p.maintain();
    REQUIRE(left.size() == 4);
    CHECK(left[0] == duration::min()); // first both at this end
    CHECK(left[1] == duration::min());
    CHECK(left[2] > 0s);
    CHECK(left[2] <= 1s);
    CHECK(left[3] <= left[2]);
    CHECK(gauges_of(x.p) == gauges{});
}

TEST_CASE("the background thread cuts what is lost, and who waits gets the permit") {
    watched s;
    pool p{scripted{s}, close_now{1ms}, bounded{.max = 1}, clock::steady{}, counters{}};
    auto lost = p.acquire(timeout{patience});
    auto next = p.acquire(timeout{patience}); // waits for the scan, for nobody else gives anything back
    CHECK(next->id() != lost->id());
    CHECK(fails(lost));
    lost.give_back();
    next.give_back();
    CHECK(p.stats().severed >= 1);
}

TEST_CASE("a lease is given back or cut, never both, at whatever moment") {
    watched s;
    manual_clock time;
    std::optional<lossy> p{std::in_place, scripted{s}, close_now{1ns}, clock::manual{time}, bounded{.max = 2}};
    std::atomic<bool> over{false};
    std::jthread scanner{[&] {
        while (!over) (void)p->maintain();
    }};
    std::size_t whole = 0, lost = 0;
    for (int i = 0; i < 300; ++i) {
        auto l = p->acquire(timeout{patience});
        time.advance(1ns);
        for (int turn = 0; turn < i % 7; ++turn) std::this_thread::yield();
        const std::size_t id = l->id();
        l.give_back();
        auto again = p->acquire(timeout{patience});
        (again->id() == id ? whole : lost) += 1;
        again.give_back();
    }
    over = true;
    scanner.join();
    CHECK(whole + lost == 300);
    CHECK(p->stats().severed == ended(*p, close_reason::leaked));
    check_capacity(*p, 2);
    p.reset();
}

TEST_CASE("every way to keep connections has room for leases that are cut") {
    const auto check = []<class Pool>(std::type_identity<Pool>, unsigned max) {
        watched s;
        manual_clock time;
        Pool p{scripted{s}, close_now{5s}, clock::manual{time}, bounded{.max = max}};
        auto lost = hold(p, max);
        time.advance(5s);
        (void)p.maintain();
        CHECK(gauges_of(p) == gauges{});
        auto others = hold(p, max);
        CHECK_FALSE(p.try_acquire());
        others.clear();
        CHECK(gauges_of(p) == gauges{.idle = max});
        lost.clear();
        check_capacity(p, max);
    };
    check(std::type_identity<lossy>{}, 62); // as many as one word has bits
    check(std::type_identity<pool<scripted, close_now, manual, clock::manual, bounded, thread_affine>>{}, 3);
    check(std::type_identity<pool<scripted, close_now, manual, clock::manual, bounded, with_mutex<>>>{}, 3);
}

TEST_CASE("a lease that was cut does not make the next acquire of its thread a nested one") {
    watched s;
    manual_clock time;
    pool p{scripted{s}, close_now{5s}, forbid_nested{}, manual{}, clock::manual{time}, bounded{.max = 1}};
    auto lost = p.acquire();
    CHECK(code_of([&] { (void)p.acquire(0s); }) == errc::nested_acquire);
    time.advance(5s);
    (void)p.maintain();
    auto next = p.acquire();
    CHECK(good(next));
    CHECK(code_of([&] { (void)p.acquire(0s); }) == errc::nested_acquire);
    next.give_back();
    lost.give_back();
    check_capacity(p, 1);
}

// ── stacks ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("a lease is shown with the stack that it was acquired from") {
    watched s;
    manual_clock time;
    std::vector<stack_frames> told;
    on_leak hook{[&told](const lease_info& i) { told.push_back(i.stack); }};
    pool p{scripted{s}, with_stack{leak_threshold{5s}, two_frames}, manual{}, clock::manual{time}, hook, on_acquire{[](auto&) {}}};
    auto l = p.acquire();
    time.advance(5s);
    (void)p.maintain();
    REQUIRE(told.size() == 1);
    CHECK(told[0].depth == 2);
    CHECK(told[0].at[0] != told[0].at[1]);
    CHECK(std::vector<void*>(told[0].begin(), told[0].end()) == std::vector<void*>{told[0].at[0], told[0].at[1]});
    REQUIRE(p.inspect().leases.size() == 1);
    CHECK_FALSE(p.inspect().leases[0].stack.empty());
}

TEST_CASE("a function that claims more than there is room for is not believed, and one that finds nothing shows nothing") {
    watched s;
    pool p{scripted{s}, with_stack{close_now{5s}, too_many}};
    auto l = p.acquire();
    CHECK(p.inspect().leases.at(0).stack.depth == stack_depth);
    pool q{scripted{s}, with_stack{discard_on_return{5s}, no_frames}};
    auto m = q.acquire();
    CHECK(q.inspect().leases.at(0).stack.empty());
}

// ── inspect ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("suspicious names those that are out longer, of any threshold, and says who, where and since when") {
    watched s;
    manual_clock time;
    pool p{scripted{s}, leak_threshold{1h}, manual{}, clock::manual{time}, bounded{.max = 3}};
    auto first = p.acquire();
    const auto line = std::source_location::current().line() - 1;
    first.tag("import");
    time.advance(10s);
    cenote::lease<decltype(p)::core_type> second;
    std::thread::id other;
    std::jthread{[&] {
        second = p.acquire();
        other = std::this_thread::get_id();
    }}.join();
    time.advance(1s);
    auto third = p.acquire();
    CHECK(p.inspect().leased == 3);
    CHECK(p.suspicious(0s).size() == 2);
    CHECK(p.suspicious(1s).size() == 1); // longer, not as long
    CHECK(p.suspicious(-1s).size() == 3);
    CHECK(p.suspicious(1h).empty());
    const auto all = p.suspicious(500ms);
    REQUIRE(all.size() == 2);
    CHECK(all[0].where.line() == line);
    CHECK(std::string{all[0].tag} == "import");
    CHECK(all[0].age == 11s);
    CHECK(all[0].thread == std::this_thread::get_id());
    CHECK(all[1].thread == other);
    CHECK(all[0].id != all[1].id);
}
