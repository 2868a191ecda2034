// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/idle_bits.hpp>
#include <cenote/detail/idle_locked.hpp>
#include <cenote/detail/idle_plain.hpp>
#include <cenote/detail/idle_set.hpp>
#include <cenote/detail/sync.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/catch_template_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <type_traits>
#include <vector>

namespace {
using namespace cenote::detail;
using node = cenote::detail::link; // POSIX has a link(), too
using cenote::fifo;
using cenote::lifo;

using locked_lifo = idle_locked<lifo, real_sync<std::mutex>>;
using locked_fifo = idle_locked<fifo, real_sync<std::mutex>>;
static_assert(idle_set<idle_plain<lifo>> && idle_set<idle_plain<fifo>> && idle_set<idle_plain<lifo, true>> && idle_set<locked_lifo> && idle_set<locked_fifo>);
using by_cpu = idle_bits<real_sync<std::mutex>, by_processor>;
using by_own = idle_bits<real_sync<std::mutex>, by_thread>;
static_assert(idle_set<by_cpu> && idle_set<by_own> && idle_set<idle_bits<real_sync<std::mutex>, by_processor, 5>>);
static_assert(is_concurrent<by_cpu> && !is_concurrent<locked_lifo> && std::is_same_v<place_of<locked_lifo>::type, node>);
static_assert(sizeof(chain<lifo>) == sizeof(void*) && sizeof(chain<fifo>) == 2 * sizeof(void*), "a stack needs no tail");

constexpr unsigned most = 6;
using numbers = std::vector<unsigned>;

/// Links 0 … n-1, pushed in that order: 0 is the coldest.
template <class Order>
struct filled {
    explicit filled(unsigned n) {
        for (unsigned i = 0; i < n; ++i) c.push(links[i]);
    }
    [[nodiscard]] unsigned number(const node* l) const { return static_cast<unsigned>(l - links.data()); }
    [[nodiscard]] numbers drain() {
        numbers out;
        while (const node* l = c.pop()) out.push_back(number(l));
        return out;
    }
    std::array<node, most + 2> links{};
    chain<Order> c;
};

/// What handing out in this order gives, of those left.
template <class Order>
numbers in_order(numbers coldest_first) {
    if constexpr (std::is_same_v<Order, lifo>) return {coldest_first.rbegin(), coldest_first.rend()};
    else return coldest_first;
}
} // namespace

TEMPLATE_TEST_CASE("a chain hands out in its order", "", lifo, fifo) {
    for (unsigned n = 0; n <= most; ++n) {
        filled<TestType> f{n};
        numbers all;
        for (unsigned i = 0; i < n; ++i) all.push_back(i);
        CHECK(f.c.count() == n);
        CHECK(f.c.empty() == (n == 0));
        numbers walked;
        f.c.each([&](const node& l) { walked.push_back(f.number(&l)); });
        CHECK(walked == in_order<TestType>(all));
        CHECK(f.drain() == in_order<TestType>(all));
        CHECK(f.c.empty());
        CHECK(f.c.pop() == nullptr);
        f.c.push(f.links[3]); // emptied, it can be filled again
        f.c.push(f.links[1]);
        CHECK(f.drain() == in_order<TestType>({3, 1}));
    }
}

TEMPLATE_TEST_CASE("extract takes the coldest of those named and leaves at least so many, for every set, choice and number", "", lifo, fifo) {
    unsigned wrong = 0, cases = 0;
    for (unsigned n = 0; n <= most; ++n) {
        for (unsigned mask = 0; mask < (1U << n); ++mask) {
            for (unsigned keep = 0; keep <= n + 1; ++keep) {
                ++cases;
                numbers named, left;
                for (unsigned i = 0; i < n; ++i) {
                    if ((mask >> i & 1) != 0 && named.size() < (n > keep ? n - keep : 0)) named.push_back(i);
                    else left.push_back(i);
                }
                filled<TestType> f{n};
                const auto pred = [&](const node& l) { return (mask >> f.number(&l) & 1) != 0; };
                numbers taken;
                for (const node* l = f.c.extract(pred, keep); l != nullptr; l = l->next) taken.push_back(f.number(l));
                std::sort(taken.begin(), taken.end());
                // What is left still works as a chain: in order, and with room for more.
                left.push_back(most);
                left.push_back(most + 1);
                f.c.push(f.links[most]);
                f.c.push(f.links[most + 1]);
                const bool right = taken == named && f.c.count() == left.size() && f.drain() == in_order<TestType>(left);
                if (!right && ++wrong <= 5) {
                    UNSCOPED_INFO("n " << n << " mask " << mask << " keep " << keep);
                    CHECK(right);
                }
            }
        }
    }
    CHECK(wrong == 0);
    CHECK(cases == 896);
}

namespace {
/// What the desk does before it uses a set.
template <class Idle, class... Links>
void prepare(Idle& idle, unsigned slots, Links&... links) {
    if constexpr (requires { idle.reserve(slots); }) idle.reserve(slots);
    if constexpr (requires { (idle.attach(links), ...); }) (idle.attach(links), ...);
}
} // namespace

TEMPLATE_TEST_CASE("an idle set takes a push unless it wants attention, and then leaves it locked", "", locked_lifo, locked_fifo, idle_plain<lifo>, idle_plain<fifo>, by_cpu,
                   by_own, (idle_bits<real_sync<std::mutex>, by_processor, 2>), (idle_bits<real_sync<std::mutex>, by_thread, 2>)) {
    TestType idle;
    typename place_of<TestType>::type a, b;
    prepare(idle, 2U, a, b);
    CHECK(idle.pop() == nullptr);
    CHECK(idle.push(a));
    idle.lock();
    CHECK_FALSE(idle.empty_locked());
    CHECK(idle.count_locked() == 1);
    idle.raise(attention::must);
    idle.unlock();
    CHECK_FALSE(idle.push(b));
    CHECK(idle.count_locked() == 1); // the lock is held: nothing was published
    idle.push_locked(b);
    CHECK(idle.count_locked() == 2);
    idle.lower();
    idle.unlock();
    CHECK(idle.pop() != nullptr);
    idle.lock();
    CHECK(idle.pop_locked() != nullptr);
    CHECK(idle.pop_locked() == nullptr);
    idle.unlock();
    CHECK(idle.push(a));
    CHECK(idle.pop() == &a);
}

TEMPLATE_TEST_CASE("a set in soft attention publishes, and asks now and then, at regular intervals", "", locked_lifo, by_cpu, by_own) {
    TestType idle;
    typename place_of<TestType>::type l;
    prepare(idle, 1U, l);
    idle.lock();
    idle.raise(attention::soft);
    idle.unlock();
    unsigned period = 0, since = 0;
    for (unsigned asked = 0; asked < 5;) {
        ++since;
        REQUIRE(since <= 64);
        if (idle.push(l)) {
            CHECK(idle.pop() == &l);
            continue;
        }
        CHECK(idle.empty_locked()); // nothing was published
        idle.unlock();
        if (asked++ == 0) period = since;
        CHECK(since == period);
        since = 0;
    }
    CHECK(period > 1);
}

TEST_CASE("a calm set takes everything") {
    idle_plain<lifo, true> idle;
    node l;
    idle.raise(attention::must);
    CHECK(idle.push(l));
    CHECK(idle.pop() == &l);
}

namespace {
/// Words as the test wants them, and where a thread begins.
template <unsigned Words>
struct words {
    [[nodiscard]] static unsigned shards(unsigned, unsigned) noexcept { return Words; }
    [[nodiscard]] static std::uint64_t scale(unsigned) noexcept { return 0; }
    template <class Sync>
    [[nodiscard]] static unsigned start(unsigned, std::uint64_t) noexcept { return here; }
    static inline thread_local unsigned here = 0;
};

/// Slots 0 … n-1 of a set, all idle.
template <class Hint>
struct bits_of {
    using set = idle_bits<real_sync<std::mutex>, Hint>;
    using place = typename set::place;
    explicit bits_of(unsigned n) : places(n) {
        idle.reserve(n);
        for (place& p : places) {
            idle.lock();
            idle.attach(p);
            idle.unlock();
        }
        for (place& p : places) CHECK(idle.push(p));
    }
    [[nodiscard]] unsigned number(const node* l) const {
        unsigned i = 0;
        while (&places[i] != l) ++i;
        return i;
    }
    [[nodiscard]] unsigned words_used() const {
        std::vector<const void*> seen;
        for (const place& p : places) seen.push_back(p.shard);
        std::sort(seen.begin(), seen.end());
        return static_cast<unsigned>(std::unique(seen.begin(), seen.end()) - seen.begin());
    }
    [[nodiscard]] numbers drain() {
        numbers out;
        while (const node* l = idle.pop()) out.push_back(number(l));
        return out;
    }
    [[nodiscard]] numbers walk() {
        numbers out;
        idle.each_locked([&](const node& l) { out.push_back(number(&l)); });
        return out;
    }
    template <class Pred>
    [[nodiscard]] numbers extract(Pred pred, unsigned keep) {
        numbers out;
        for (const node* l = idle.extract(pred, keep); l != nullptr; l = l->next) out.push_back(number(l));
        return out;
    }
    std::deque<place> places; // slots do not move
    set idle;
};
const auto all_of_them = [](const node&) { return true; };
} // namespace

TEST_CASE("bits are handed out from one's own word first, the lowest first, then from the next words") {
    bits_of<words<3>> b{8}; // 0 3 6 | 1 4 7 | 2 5
    words<3>::here = 1;
    CHECK(b.drain() == numbers{1, 4, 7, 2, 5, 0, 3, 6});
    CHECK(b.idle.pop() == nullptr);
    CHECK(b.idle.push(b.places[4]));
    CHECK(b.idle.push(b.places[0]));
    words<3>::here = 2;
    CHECK(b.drain() == numbers{0, 4});
    words<3>::here = 0;
}

TEST_CASE("a slot goes back to where it was taken from, whoever gives it back") {
    bits_of<words<2>> b{2};
    CHECK(b.number(b.idle.pop()) == 0);
    words<2>::here = 1;
    CHECK(b.number(b.idle.pop()) == 1);
    CHECK(b.idle.push(b.places[0]));
    CHECK(b.idle.push(b.places[1]));
    CHECK(b.number(b.idle.pop()) == 1);
    words<2>::here = 0;
    CHECK(b.number(b.idle.pop()) == 0);
}

TEST_CASE("bits are shown, and extracted, the coldest first, and what is not taken is idle again") {
    bits_of<words<2>> b{5}; // 0 2 4 | 1 3
    CHECK(b.walk() == numbers{4, 3, 2, 1, 0});
    CHECK(b.extract(all_of_them, 5) == numbers{});
    CHECK(b.extract(all_of_them, 3) == numbers{4, 3});
    CHECK(b.idle.count_locked() == 3);
    CHECK(b.extract([&](const node& l) { return b.number(&l) == 1; }, 0) == numbers{1});
    CHECK(b.walk() == numbers{2, 0});
    CHECK(b.extract(all_of_them, 1) == numbers{2});
    CHECK(b.extract(all_of_them, 0) == numbers{0});
    CHECK(b.idle.empty_locked());
    CHECK(b.extract(all_of_them, 0) == numbers{});
    for (const unsigned i : {3U, 0U, 4U}) CHECK(b.idle.push(b.places[i]));
    CHECK(b.drain() == numbers{0, 4, 3});
}

TEST_CASE("attention stays up, and bits stay set, whatever is done under the lock") {
    bits_of<words<2>> b{4};
    b.idle.lock();
    b.idle.raise(attention::must);
    CHECK(b.idle.count_locked() == 4);
    CHECK(b.idle.pop_in_turn() == nullptr);
    CHECK(b.number(b.idle.pop_locked()) == 0);
    b.idle.push_locked(b.places[0]);
    CHECK(b.walk() == numbers{3, 2, 1, 0});
    CHECK(b.extract(all_of_them, 3) == numbers{3});
    b.idle.unlock();
    for (const unsigned i : {0U, 2U, 1U}) {
        CHECK(b.idle.pop() == &b.places[i]);
        CHECK_FALSE(b.idle.push(b.places[i])); // every word has the flag still
        b.idle.unlock();
    }
    b.idle.lock();
    b.idle.raise(attention::soft);
    b.idle.lower();
    b.idle.unlock();
    CHECK(b.idle.push(b.places[0]));
    CHECK(b.idle.push(b.places[1]));
    CHECK(b.idle.pop_in_turn() == &b.places[0]);
}

TEMPLATE_TEST_CASE("any number of slots finds room in the words", "", by_processor, by_thread) {
    for (const unsigned n : {1U, 2U, 3U, 61U, 62U, 63U, 64U, 65U, 124U, 125U, 4096U}) {
        INFO(n << " slots");
        const unsigned shards = TestType::shards(n, bit_shard<real_sync<std::mutex>>::capacity);
        CHECK(shards * 62 >= n);
        CHECK(shards <= n);
        bits_of<TestType> b{n};
        CHECK(b.words_used() == shards);
        CHECK(b.idle.count_locked() == n);
        numbers all = b.drain();
        CHECK(all.size() == n);
        std::sort(all.begin(), all.end());
        CHECK(std::unique(all.begin(), all.end()) == all.end());
        for (auto& p : b.places) CHECK(b.idle.push(p));
        CHECK(b.extract(all_of_them, n / 2).size() == n - n / 2);
        CHECK(b.idle.count_locked() == n / 2);
        const std::uint64_t scale = TestType::scale(shards);
        CHECK(TestType::template start<real_sync<std::mutex>>(shards, scale) < shards);
    }
    CHECK(bits_of<words<2>>{63}.words_used() == 2);
}

TEST_CASE("processors whose numbers have gaps still begin at different words") {
    struct sync {
        static unsigned processor() noexcept { return here(); }
        static unsigned& here() noexcept {
            static unsigned n = 0;
            return n;
        }
    };
    std::vector<unsigned> seen;
    for (const unsigned processor : {0U, 1U, 1000U, 1001U}) {
        sync::here() = processor;
        seen.push_back(by_processor::start<sync>(2, by_processor::scale(2)));
        CHECK(seen.back() < 2);
    }
    CHECK(seen[2] != seen[3]);
}
