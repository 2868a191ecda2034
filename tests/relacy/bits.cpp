// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The words of lock_free under the C++ memory model, by Relacy: giving back, taking, and beginning to wait. The explorer tries
// schedules; this tries what weak orders do. A program, not a Catch2 test: tests/relacy/run builds and runs it.
#include <cenote/detail/idle_bits.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include <relacy/relacy.hpp> // last: it redefines new and delete

namespace {

namespace cd = cenote::detail;

/// The Sync seam over Relacy, with the orders of real_sync, or a weaker one.
template <rl::memory_order Swap, rl::memory_order Set>
struct weak_sync {
    class mutex {
    public:
        void lock() noexcept { m_.lock($); }
        void unlock() noexcept { m_.unlock($); }

    private:
        rl::mutex m_;
    };
    class bits {
    public:
        explicit bits(std::uint64_t v) noexcept { v_($).store(v, rl::mo_relaxed); }
        [[nodiscard]] std::uint64_t peek() const noexcept { return v_($).load(rl::mo_relaxed); }
        bool swap_if(std::uint64_t& from, std::uint64_t to) noexcept { return v_($).compare_exchange_strong(from, to, Swap, rl::mo_relaxed); }
        void set(std::uint64_t mask) noexcept { v_($).fetch_or(mask, Set); }

    private:
        rl::atomic<std::uint64_t> v_;
    };
    [[nodiscard]] static unsigned processor() noexcept { return rl::thread_index(); }
};

template <unsigned Words>
struct spread {
    [[nodiscard]] static constexpr unsigned fixed_shards(unsigned, unsigned) noexcept { return Words; }
    [[nodiscard]] static std::uint64_t scale(unsigned) noexcept { return 0; }
    template <class Sync>
    [[nodiscard]] static unsigned start(unsigned words, std::uint64_t) noexcept { return Sync::processor() % words; }
};

/// One gives back what it has, one begins to wait, one takes and gives back; a fourth looks at what is idle. Each connection is
/// written to by whoever has it.
template <class Sync, unsigned Words, unsigned Threads>
struct protocol : rl::test_suite<protocol<Sync, Words, Threads>, Threads> {
    using set_type = cd::idle_bits<Sync, spread<Words>, 2>;

    set_type idle;
    cd::bit_link<Sync> links[2];
    rl::var<int> facts[2];
    rl::var<int> waiting, out;

    void before() {
        for (auto& l : links) idle.attach(l);
        for (auto& f : facts) f($) = 0;
        waiting($) = 0;
        out($) = 0;
        idle.push_locked(links[1]);
    }
    void use(cd::link& l) {
        auto& f = facts[&l == &links[0] ? 0 : 1];
        f($) = f($) + 1;
    }
    void give(cd::link& l) {
        use(l);
        if (idle.push(l)) return;
        if (waiting($) != 0) {
            waiting($) = 0;
            out($) = out($) + 1;
            idle.lower();
        } else {
            idle.push_locked(l);
        }
        idle.unlock();
    }
    void take_and_give() {
        if (cd::link* const l = idle.pop()) give(*l);
    }
    void wait() {
        idle.lock();
        cd::link* l = idle.pop_locked();
        if (l == nullptr) {
            idle.raise(cd::attention::must);
            l = idle.pop_locked(); // what slipped in before the flag was up
            if (l == nullptr) waiting($) = 1;
            else idle.lower();
        }
        if (l != nullptr) out($) = out($) + 1;
        idle.unlock();
        if (l != nullptr) use(*l);
    }
    void look() {
        idle.lock();
        idle.each_locked([&](cd::link& l) { use(l); });
        idle.unlock();
    }
    void thread(unsigned i) {
        switch (i) {
        case 0: return give(links[0]);
        case 1: return wait();
        case 2: return take_and_give();
        default: return look();
        }
    }
    void after() {
        const int there = static_cast<int>(idle.count_locked());
        RL_ASSERT(waiting($) == 0 || there == 0); // nobody waits beside an idle connection
        RL_ASSERT(there + out($) == 2);           // none is lost, none is there twice
    }
};

unsigned good = 0, bad = 0;

/// `right`: whether Relacy is to find nothing.
template <class Test>
void check(const char* what, bool right, rl::scheduler_type_e how, unsigned bound, unsigned long long schedules) {
    rl::test_params p;
    p.search_type = how;
    p.context_bound = bound;
    p.iteration_count = schedules;
    p.output_stream = &std::cerr;
    p.progress_stream = &std::cerr;
    p.progress_output_period = 1'000'000;
    const bool passed = rl::simulate<Test>(p);
    std::printf("%s %s: %llu schedules%s\n", passed == right ? "ok  " : "FAIL", what, static_cast<unsigned long long>(p.stop_iteration),
                passed ? "" : ", then found wrong");
    ++(passed == right ? good : bad);
}

using real_orders = weak_sync<rl::mo_acq_rel, rl::mo_release>;
using no_release = weak_sync<rl::mo_acquire, rl::mo_release>;
using no_acquire = weak_sync<rl::mo_release, rl::mo_release>;
using no_release_of_set = weak_sync<rl::mo_acq_rel, rl::mo_relaxed>;

} // namespace

int main(int, char** argv) {
    const unsigned long long walks = std::strtoull(argv[1], nullptr, 10) * 1'000'000;
    constexpr auto bounded = rl::sched_bound;
    constexpr auto at_random = rl::sched_random;
    check<protocol<real_orders, 1, 3>>("3 threads, one word, bound 4", true, bounded, 4, 1'000'000'000);
    check<protocol<real_orders, 2, 3>>("3 threads, two words, bound 4", true, bounded, 4, 1'000'000'000);
    check<protocol<real_orders, 1, 4>>("4 threads, one word, at random", true, at_random, 0, walks);
    check<protocol<real_orders, 2, 4>>("4 threads, two words, at random", true, at_random, 0, walks);
    check<protocol<no_release, 1, 3>>("a swap that does not release is found", false, bounded, 3, 1'000'000'000);
    check<protocol<no_acquire, 1, 3>>("a swap that does not acquire is found", false, bounded, 3, 1'000'000'000);
    check<protocol<no_release_of_set, 2, 4>>("a set that does not release is found", false, at_random, 0, 1'000'000);
    std::printf("%u passed, %u failed\n", good, bad);
    return bad == 0 ? 0 : 1;
}
