// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/detail/idle_locked.hpp>
#include <cenote/detail/idle_plain.hpp>
#include <cenote/detail/idle_set.hpp>
#include <cenote/detail/sync.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/catch_template_test_macros.hpp>

#include <algorithm>
#include <array>
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

TEMPLATE_TEST_CASE("an idle set takes a push unless it wants attention, and then leaves it locked", "", locked_lifo, locked_fifo, idle_plain<lifo>, idle_plain<fifo>) {
    TestType idle;
    node a, b;
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

TEST_CASE("a locked set in soft attention publishes, and asks now and then, at regular intervals") {
    locked_lifo idle;
    node l;
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
