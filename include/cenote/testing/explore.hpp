// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

#if defined(__has_feature)
#define CENOTE_EXPLORE_HAS(x) __has_feature(x)
#else
#define CENOTE_EXPLORE_HAS(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || CENOTE_EXPLORE_HAS(address_sanitizer)
#define CENOTE_EXPLORE_ASAN
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#if defined(__SANITIZE_THREAD__) || CENOTE_EXPLORE_HAS(thread_sanitizer)
#define CENOTE_EXPLORE_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__x86_64__) && !defined(__ILP32__) && !defined(CENOTE_EXPLORE_UCONTEXT)
#define CENOTE_EXPLORE_X86_64
#else
#include <ucontext.h>
#endif
#undef CENOTE_EXPLORE_HAS

/// Tries every schedule of a small concurrent program, up to a number of preemptions.
///
/// The code under test is written over the Sync seam (`cenote::detail::real_sync`) and compiled unchanged over
/// `cenote::testing::explore_sync`. Its threads become fibres of one thread. Before each visible operation (lock, unlock, load,
/// store, swap_if, set, park, wake, anything on a stop token, `explore::point()`) the explorer decides who goes on; after one
/// schedule it runs the program again from the start with the next decision, until there is none left.
///
/// A locking backend of one's own, checked: its idle set takes the Sync as a parameter, as those of cenote do (shape:
/// detail/idle_set.hpp), and the pool around it waits, closes and resizes over the same Sync.
///
///     template <class Order, class Sync> class my_set { … };                   // pop, push, lock, raise …
///     template <class Sync>
///     struct my_locking {                                                      // my_locking<cenote::detail::real_sync<std::mutex>>
///         using family = cenote::family::locking;                              // is what programs use
///         using sync = Sync;
///         static constexpr bool threads = true;
///         template <class Order> using idle_set = my_set<Order, Sync>;
///     };
///     using pool = cenote::pool<cenote::null, cenote::bounded, my_locking<explore_sync>, cenote::strictly_fair, cenote::manual,
///                               cenote::no_age_limit, cenote::no_acquire_timeout>; // no thread and no clock but the explorer's
///
///     auto r = explore::run({.preemptions = 3}, [](explore::world& w) {
///         auto db = std::make_shared<pool>(cenote::null{}, cenote::bounded{.max = 1}); // fresh in every schedule
///         for (const char* name : {"a", "b", "c"}) {
///             w.thread(name, [=] {
///                 auto lease = db->acquire(cenote::deadline::never());
///                 explore::require(lease->mark++ == 0, "a connection has one user");
///                 explore::point("uses the connection");                       // others may come in between here
///                 --lease->mark;
///             });
///         }
///         w.at_rest([=] { explore::require(db->stats().pending == 0 || db->stats().idle == 0, "nobody waits beside an idle connection"); });
///         w.finally([=] { explore::require(db->stats().idle == 1, "the connection is back"); });
///     });
///     REQUIRE(r.passed());    // what went wrong is printed: who did what up to there, and the text that explore::replay takes
///     REQUIRE(r.complete);    // and these were all schedules within the bound
///
/// examples/check_backend.cpp is this as a program, with a bug that it finds.
///
/// It finds: broken requirements; threads stuck for ever; a word or a mutex touched after its end (also in a frame that
/// returned) or destroyed while somebody waits on it; unlocking what is not held, locking twice; exceptions that leave a thread
/// or meet `noexcept`; schedules that do not end.
/// It does not find: what only a weak memory order does (it interleaves whole operations, sequentially consistent: use TSan
/// and Relacy for orders); data races on plain variables (what lies between two visible operations runs as one step: put
/// `explore::point()` where it matters, and run TSan); what takes more preemptions or threads than the scenario has; what is done
/// beside the seam, by std::mutex, std::atomic or a thread of its own: a std::mutex that is held where another thread is let in
/// blocks them all, for they are one thread.
///
/// What to explore: three threads and two connections at most; a scenario for each thing that may come in between (a time-out, a stop
/// request, close, resize, a dial that fails: `explore::choose(2)`, a hook that throws, the end of the pool). Most bugs need one or
/// two preemptions, a time-out that races with a hand-over two, some three. Each scenario also with endless waits and with a holder
/// that never returns, for time-outs hide lost wake-ups, or else check in `at_rest`. Then break the code on purpose, and see it found.
///
/// Time is virtual. It moves when a time-out fires, which may happen as soon as a thread has parked with a finite end, and by
/// `explore::advance`.
///
/// Range    scenarios must be deterministic apart from `explore::choose`: no real clock, no randomness, no state that outlives a
///          schedule. All fibres share one thread, hence its thread-locals and its id; `explore::self()` tells them apart.
/// Cost     needs POSIX; a switch between fibres takes some 8 ns on x86-64, elsewhere some 160 by ucontext.
///          Three threads of a hand-off queue: about 1.6 million schedules of 25 operations a second.
namespace cenote::testing::explore {

/// For `options::preemptions`: no bound.
inline constexpr unsigned unbounded = std::numeric_limits<unsigned>::max();

/// How `run` explores.
struct options {
    /// Switches away from a thread that could have gone on, per schedule. Switches where a thread blocks or ends are free.
    /// Default 3: a time-out that races with a hand-over takes 2 to show. Each one more makes 5 to 15 times as many schedules;
    /// `unbounded` is for two threads or very short ones.
    unsigned preemptions = 3;
    /// Parks that return for no reason, per schedule. Default 0.
    unsigned spurious = 0;
    /// Explores with 0 preemptions, then 1, up to the bound: the violation found has the fewest. Costs about a fifth more.
    bool deepen = false;
    /// Stops, incomplete, after so many schedules. Default: never.
    std::uint64_t max_schedules = std::numeric_limits<std::uint64_t>::max();
    /// Above 0: so many random walks instead, without a bound on preemptions, for what is too big to exhaust.
    std::uint64_t random = 0;
    /// Where the random walks start from. The same seed walks the same way.
    std::uint64_t seed = 1;
    /// A schedule with more steps counts as one that never ends.
    std::uint64_t max_steps = 10'000;
    /// Bytes of stack per thread, rounded up to pages; a guard page lies below.
    std::size_t stack = std::size_t{256} * 1024;
    /// Where a violation is printed; null: nowhere.
    std::FILE* print_to = stderr;
};

/// What `run` and `replay` found.
struct result {
    std::string violation;       ///< what went wrong; empty if nothing did
    std::string schedule;        ///< what `replay` takes; empty without a violation
    std::string events;          ///< who did what, in order, one line each; empty without a violation
    std::uint64_t schedules = 0; ///< explored, the violating one included
    std::uint64_t steps = 0;     ///< visible operations in all of them
    std::size_t depth = 0;       ///< most decisions in one schedule
    std::chrono::nanoseconds elapsed{};
    bool complete = false; ///< every schedule within the bound was explored

    /// No violation. `complete` tells whether that proves anything.
    [[nodiscard]] bool passed() const noexcept { return violation.empty(); }

    /// All of it as text.
    [[nodiscard]] std::string report() const {
        std::string out;
        if (!passed()) {
            out += "violation: " + violation + "\n" + events + "replay with: explore::replay(\"" + schedule + "\", scenario)\n";
        }
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count();
        out += std::to_string(schedules) + (complete ? " schedules, all of them" : " schedules") + ", " + std::to_string(steps) +
               " steps, at most " + std::to_string(depth) + " decisions, " + std::to_string(ms) + " ms\n";
        return out;
    }
};

namespace detail {

// ---------------------------------------------------------------------------------------------------------------- fibres

/// What a fibre, or the thread that explores, needs to be continued later.
struct context {
    // Exceptions in flight are per thread in the C++ ABI; here they must be per fibre.
    struct eh_globals {
        void* caught = nullptr;
        unsigned uncaught = 0;
    } eh;
    void* stack = nullptr; // lowest usable address
    std::size_t size = 0;
#ifdef CENOTE_EXPLORE_X86_64
    void* sp = nullptr;
#else
    ucontext_t registers;
#endif
#ifdef CENOTE_EXPLORE_ASAN
    void* fake_stack = nullptr;
    const void* bottom = nullptr;
    std::size_t bottom_size = 0;
#endif
#ifdef CENOTE_EXPLORE_TSAN
    void* tsan = nullptr;
#endif
};

#ifdef CENOTE_EXPLORE_X86_64
#if defined(__clang__)
[[gnu::noinline]]
#else
[[gnu::noinline, gnu::noipa]]
#endif
inline void swap_stacks(void** from, void* to) noexcept {
    asm volatile("leaq -128(%%rsp), %%rsp\n\t" // leave the red zone alone
                 "pushq %%rbp\n\t"
                 "pushq %%rbx\n\t"
                 "leaq 1f(%%rip), %%rax\n\t"
                 "pushq %%rax\n\t"
                 "movq %%rsp, (%0)\n\t"
                 "movq %1, %%rsp\n\t"
                 "popq %%rax\n\t"
                 "jmpq *%%rax\n"
                 "1:\n\t"
                 "popq %%rbx\n\t"
                 "popq %%rbp\n\t"
                 "leaq 128(%%rsp), %%rsp"
                 : "+D"(from), "+S"(to)
                 :
                 : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3",
                   "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc",
                   "memory");
}
#endif

/// Gives `c` a stack on which `entry` will run when it is first switched to. `entry` never returns.
inline void make_stack(context& c, std::size_t bytes, void (*entry)()) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    c.size = (bytes + page - 1) / page * page;
    void* const base = ::mmap(nullptr, c.size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc{};
    ::mprotect(base, page, PROT_NONE);
    c.stack = static_cast<std::byte*>(base) + page;
#ifdef CENOTE_EXPLORE_X86_64
    // As after a call: an address to go to, then a null return address with the alignment the ABI wants at an entry.
    void** const top = reinterpret_cast<void**>(static_cast<std::byte*>(c.stack) + c.size);
    top[-1] = nullptr;
    top[-2] = reinterpret_cast<void*>(entry);
    c.sp = top - 2;
#else
    ::getcontext(&c.registers);
    c.registers.uc_stack.ss_sp = c.stack;
    c.registers.uc_stack.ss_size = c.size;
    c.registers.uc_link = nullptr;
    ::makecontext(&c.registers, entry, 0);
#endif
#ifdef CENOTE_EXPLORE_ASAN
    c.bottom = c.stack;
    c.bottom_size = c.size;
#endif
#ifdef CENOTE_EXPLORE_TSAN
    c.tsan = ::__tsan_create_fiber(0);
#endif
}

inline void free_stack(context& c) noexcept {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (c.stack != nullptr) ::munmap(static_cast<std::byte*>(c.stack) - page, c.size + page);
#ifdef CENOTE_EXPLORE_TSAN
    if (c.tsan != nullptr) ::__tsan_destroy_fiber(c.tsan);
#endif
}

inline void hop(context& from, context& to) noexcept {
    void* const eh = abi::__cxa_get_globals();
    std::memcpy(&from.eh, eh, sizeof from.eh);
    std::memcpy(eh, &to.eh, sizeof to.eh);
#ifdef CENOTE_EXPLORE_ASAN
    ::__sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.bottom_size);
#endif
#ifdef CENOTE_EXPLORE_TSAN
    ::__tsan_switch_to_fiber(to.tsan, 0);
#endif
#ifdef CENOTE_EXPLORE_X86_64
    swap_stacks(&from.sp, to.sp);
#else
    ::swapcontext(&from.registers, &to.registers);
#endif
#ifdef CENOTE_EXPLORE_ASAN
    ::__sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

/// A callable in place; on the heap only if it is big.
class task {
public:
    task() = default;
    task(const task&) = delete;
    task& operator=(const task&) = delete;
    ~task() { clear(); }

    template <class F>
    void set(F&& f) {
        using fn = std::decay_t<F>;
        clear();
        if constexpr (sizeof(fn) <= sizeof room_ && alignof(fn) <= alignof(std::max_align_t)) {
            target_ = ::new (static_cast<void*>(room_)) fn(std::forward<F>(f));
            destroy_ = [](void* p) noexcept { static_cast<fn*>(p)->~fn(); };
        } else {
            target_ = new fn(std::forward<F>(f));
            destroy_ = [](void* p) noexcept { delete static_cast<fn*>(p); };
        }
        call_ = [](void* p) { (*static_cast<fn*>(p))(); };
    }
    void clear() noexcept {
        call_ = nullptr;
        if (void* const t = std::exchange(target_, nullptr)) destroy_(t);
    }
    explicit operator bool() const noexcept { return call_ != nullptr; }
    void operator()() { call_(target_); }

private:
    alignas(std::max_align_t) std::byte room_[64];
    void* target_ = nullptr;
    void (*call_)(void*) = nullptr;
    void (*destroy_)(void*) noexcept = nullptr;
};

// ------------------------------------------------------------------------------------------------- what is alive, and events

/// The addresses of the words and mutexes that exist. Looked up by address only: the object may be gone.
class live_set {
public:
    live_set() : slots_(1024, nullptr) {}

    void insert(const void* p) {
        if (2 * ++count_ > slots_.size()) grow();
        put(p);
    }
    void erase(const void* p) noexcept {
        std::size_t i = find(p);
        if (slots_[i] == nullptr) return;
        --count_;
        for (std::size_t j = i;;) { // close the gap, so that no probe stops early
            slots_[i] = nullptr;
            for (;;) {
                j = next(j);
                if (slots_[j] == nullptr) return;
                const std::size_t home = hash(slots_[j]);
                if (i <= j ? (home <= i || home > j) : (home <= i && home > j)) break;
            }
            slots_[i] = slots_[j];
            i = j;
        }
    }
    [[nodiscard]] bool contains(const void* p) const noexcept { return slots_[find(p)] != nullptr; }

private:
    [[nodiscard]] std::size_t hash(const void* p) const noexcept {
        const auto h = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(p)) * 0x9e3779b97f4a7c15u;
        return static_cast<std::size_t>(h >> 32) & (slots_.size() - 1);
    }
    [[nodiscard]] std::size_t next(std::size_t i) const noexcept { return (i + 1) & (slots_.size() - 1); }
    [[nodiscard]] std::size_t find(const void* p) const noexcept {
        std::size_t i = hash(p);
        while (slots_[i] != nullptr && slots_[i] != p) i = next(i);
        return i;
    }
    void put(const void* p) noexcept { slots_[find(p)] = p; }
    void grow() {
        std::vector<const void*> old(2 * slots_.size(), nullptr);
        old.swap(slots_);
        for (const void* p : old) {
            if (p != nullptr) put(p);
        }
    }

    std::vector<const void*> slots_;
    std::size_t count_ = 0;
};

enum class op : std::uint8_t {
    lock, try_lock, unlock, load, store, swap_done, swap_not, park, park_not, park_late, wake, timed_out, spurious, point, yield,
    advance, stop, stop_again, stop_read, callback_add, callback_run, callback_drop, pick, note, end,
};

struct event {
    const void* on;
    std::uint64_t a, b;
    std::uint8_t thread;
    op what;
};

// ------------------------------------------------------------------------------------------------------------- the explorer

class engine;
inline constinit thread_local engine* active = nullptr; // the exploration this thread is in

inline constexpr std::uint8_t nobody = 255;

struct mutex_state {
    std::uint8_t owner = nobody;
};

struct callback_base {
    callback_base *prev = nullptr, *next = nullptr;
    void (*run)(callback_base*) noexcept = nullptr;
    bool* destroyed = nullptr; // set while it runs
    bool listed = false;
};

struct stop_state {
    callback_base* first = nullptr;
    callback_base* running = nullptr;
    std::uint8_t runner = nobody;
    bool requested = false;
};

struct fiber {
    enum class state : std::uint8_t { ended, ready, locking, parked, joining, yielding };

    context cpu;
    task body;
    std::string name;
    const void* on = nullptr;               // what it waits for: mutex_state, word or stop_state
    const callback_base* callback = nullptr; // joining: whose end it waits for
    time_point until{};
    std::uint64_t seen = 0; // yielding: what had changed by then
    std::uint8_t index = 0;
    state is = state::ended;
};

class engine {
public:
    using scenario_call = void (*)(void*, engine&);
    static constexpr std::size_t max_threads = 32;
    static constexpr time_point start_time{std::chrono::hours{1}};

    engine(const options& o, void* scenario, scenario_call call) : options_{o}, scenario_{scenario}, call_{call} {
        path_.reserve(1024);
        events_.reserve(4096);
        add_fiber().body.set([this] { conduct(); });
#ifdef CENOTE_EXPLORE_TSAN
        main_.tsan = ::__tsan_get_current_fiber();
#endif
    }
    engine(const engine&) = delete;
    engine& operator=(const engine&) = delete;
    ~engine() {
        if (violated_) {
            abandon();
        } else {
            for (auto& f : fibers_) free_stack(f->cpu);
        }
    }

    result explore() {
        const auto begin = std::chrono::steady_clock::now();
        const guard inside{this};
        if (options_.random > 0) {
            bound_ = unbounded;
            std::uint64_t walk = 0;
            while (!violated_ && walk < options_.random && result_.schedules < options_.max_schedules) {
                random_ = mix(options_.seed + 0x9e3779b97f4a7c15u * ++walk);
                hesitation_ = 1u + static_cast<unsigned>(next_random() % 4); // go on with 1/2 … 15/16
                path_.clear();
                one_schedule();
            }
        } else {
            bound_ = options_.deepen ? 0 : options_.preemptions;
            for (;; ++bound_) {
                path_.clear();
                capped_ = false;
                exhaust();
                if (violated_ || !result_.complete || bound_ == options_.preemptions || !capped_) break;
            }
        }
        result_.elapsed = std::chrono::steady_clock::now() - begin;
        return finish();
    }

    result replay(std::string_view schedule) {
        const auto begin = std::chrono::steady_clock::now();
        const guard inside{this};
        replaying_ = true;
        const bool understood = parse(schedule);
        if (understood) one_schedule();
        result_.elapsed = std::chrono::steady_clock::now() - begin;
        if (!understood) result_.violation = "this is not the text of a schedule";
        if (!violated_) result_.events = events_text();
        return finish();
    }

    // what a scenario is made of

    template <class F>
    void add_thread(std::string_view name, F&& f) {
        if (!setting_up_) fail("threads are added while the scenario is set up, not later");
        if (threads_ == max_threads) fail("a scenario has at most 32 threads");
        fiber& t = ++threads_ < fibers_.size() ? *fibers_[threads_] : add_fiber();
        t.name = name;
        t.body.set(std::forward<F>(f));
    }
    template <class F>
    void add_hook(std::vector<std::unique_ptr<task>>& hooks, std::size_t& used, F&& f) {
        if (used == hooks.size()) hooks.push_back(std::make_unique<task>());
        hooks[used++]->set(std::forward<F>(f));
    }
    template <class F> void add_finally(F&& f) { add_hook(finally_, finally_used_, std::forward<F>(f)); }
    template <class F> void add_at_rest(F&& f) { add_hook(at_rest_, at_rest_used_, std::forward<F>(f)); }
    template <class F> void add_always(F&& f) { add_hook(always_, always_used_, std::forward<F>(f)); }

    // visible operations; all on a fibre

    void lock(mutex_state& m) noexcept {
        if (quiet_) return;
        alive(&m, 'm', "locks");
        if (m.owner == me()) fail("locks a mutex that it holds already");
        current_->on = &m;
        current_->is = fiber::state::locking;
        reschedule();
        m.owner = me();
        did(op::lock, &m);
    }
    [[nodiscard]] bool try_lock(mutex_state& m) noexcept {
        if (quiet_) return true;
        step();
        alive(&m, 'm', "tries to lock");
        const bool free = m.owner == nobody;
        if (free) m.owner = me();
        did(op::try_lock, &m, free);
        return free;
    }
    void unlock(mutex_state& m) noexcept {
        if (quiet_) return;
        step();
        alive(&m, 'm', "unlocks");
        if (m.owner != me()) fail("unlocks a mutex that it does not hold");
        m.owner = nobody;
        ++changes_;
        did(op::unlock, &m);
    }
    void mutex_gone(const mutex_state& m) noexcept {
        alive(&m, 'm', "destroys");
        if (m.owner != nobody) fail("destroys a mutex that " + name_of(m.owner) + " holds");
        for (std::size_t i = first_; i < last_; ++i) {
            const fiber& f = *fibers_[i];
            if (f.is == fiber::state::locking && f.on == &m) fail("destroys a mutex that '" + f.name + "' is about to lock");
        }
        live_.erase(&m);
    }

    template <class T>
    T load(const T& w) noexcept {
        step();
        alive(&w, 'w', "loads");
        did(op::load, &w, w);
        return w;
    }
    template <class T>
    void store(T& w, T v) noexcept {
        step();
        alive(&w, 'w', "stores to");
        w = v;
        ++changes_;
        did(op::store, &w, v);
    }
    template <class T>
    void merge(T& w, T mask) noexcept {
        step();
        alive(&w, 'w', "stores to");
        w |= mask;
        ++changes_;
        did(op::store, &w, w);
    }
    template <class T>
    bool swap_if(T& w, T from, T to) noexcept {
        step();
        alive(&w, 'w', "swaps");
        if (w != from) {
            did(op::swap_not, &w, from, w);
            return false;
        }
        w = to;
        ++changes_;
        did(op::swap_done, &w, from, to);
        return true;
    }
    template <class T>
    void word_gone(const T& w) noexcept {
        alive(&w, 'w', "destroys");
        for (std::size_t i = first_; i < last_; ++i) {
            const fiber& f = *fibers_[i];
            if (f.is == fiber::state::parked && f.on == &w) fail("destroys a word on which '" + f.name + "' is parked");
        }
        live_.erase(&w);
    }
    void park(const std::uint32_t& w, std::uint32_t expected, time_point until) noexcept {
        if (quiet_) fail("a check parks; it may only look");
        step();
        alive(&w, 'w', "parks on");
        if (w != expected) return did(op::park_not, &w, expected, w);
        if (until <= clock_) return did(op::park_late, &w, expected);
        did(op::park, &w, expected, static_cast<std::uint64_t>(until.time_since_epoch().count()));
        current_->on = &w;
        current_->until = until;
        current_->is = fiber::state::parked;
        reschedule();
    }
    void wake(const void* address) noexcept {
        step();
        std::uint64_t woken = 0;
        for (std::size_t i = first_; i < last_; ++i) {
            fiber& f = *fibers_[i];
            if (f.is != fiber::state::parked || f.on != address) continue;
            f.is = fiber::state::ready;
            ++woken;
        }
        ++changes_;
        did(op::wake, address, woken);
    }

    bool request_stop(stop_state& s) noexcept {
        step();
        if (s.requested) {
            did(op::stop_again, &s);
            return false;
        }
        s.requested = true;
        s.runner = me();
        ++changes_;
        did(op::stop, &s);
        while (callback_base* const c = s.first) {
            unlink(s, *c);
            bool destroyed = false;
            c->destroyed = &destroyed;
            s.running = c;
            step();
            did(op::callback_run, c);
            c->run(c);
            if (!destroyed) c->destroyed = nullptr;
            s.running = nullptr;
            ++changes_;
        }
        return true;
    }
    bool stop_requested(const stop_state& s) noexcept {
        step();
        did(op::stop_read, &s, s.requested);
        return s.requested;
    }
    void add_callback(stop_state& s, callback_base& c) noexcept {
        step();
        did(op::callback_add, &c, s.requested);
        if (s.requested) return c.run(&c);
        c.next = s.first;
        if (s.first != nullptr) s.first->prev = &c;
        s.first = &c;
        c.listed = true;
    }
    /// Waits while the callback runs on another thread, as std::stop_callback does.
    void drop_callback(stop_state& s, callback_base& c) noexcept {
        step();
        if (c.listed) {
            unlink(s, c);
        } else if (s.running == &c && s.runner == me()) {
            *c.destroyed = true;
        } else if (s.running == &c) {
            current_->on = &s;
            current_->callback = &c;
            current_->is = fiber::state::joining;
            reschedule();
        }
        did(op::callback_drop, &c);
    }

    void point(const char* label) noexcept {
        step();
        did(op::point, label);
    }
    void yield() noexcept {
        if (quiet_) return;
        current_->seen = changes_;
        current_->is = fiber::state::yielding;
        reschedule();
        did(op::yield, nullptr);
    }
    unsigned choose(unsigned n) noexcept {
        if (n == 0 || quiet_) fail("choose(n) needs an n above 0, and cannot be used in a check");
        const unsigned k = n == 1 ? 0 : decide(n, false);
        did(op::pick, nullptr, k, n);
        return k;
    }
    void advance(duration d) noexcept {
        step();
        if (d > duration::zero()) clock_ = deadline::after(d, clock_).at();
        ++changes_;
        did(op::advance, nullptr, static_cast<std::uint64_t>(clock_.time_since_epoch().count()));
    }
    void note(const char* text, std::uint64_t value) noexcept { did(op::note, text, value); }

    [[nodiscard]] time_point now() const noexcept { return clock_; }
    [[nodiscard]] std::uint8_t me() const noexcept { return current_->index; }
    void born(const void* p) { live_.insert(p); }

    /// Ends the exploration. What the fibres hold is left as it is: it cannot be unwound through noexcept code.
    [[noreturn]] void fail(const std::string& what) noexcept { end_with((quiet_ ? "in a check: " : "'" + current_->name + "': ") + what); }

private:
    enum class how : std::uint8_t { goes_on, times_out, for_no_reason };
    struct move {
        fiber* who;
        how by;
    };
    struct decision {
        std::uint32_t pick, of;
    };
    struct guard { // makes an engine the active one of this thread
        explicit guard(engine* e) : outer{std::exchange(active, e)}, handler{std::set_terminate(terminated)} {}
        guard(const guard&) = delete;
        guard& operator=(const guard&) = delete;
        ~guard() {
            std::set_terminate(handler);
            active = outer;
        }
        engine* outer;
        std::terminate_handler handler;
    };

    [[noreturn]] static void terminated() noexcept {
        if (active == nullptr || active->current_ == nullptr) std::abort();
        std::string why = "std::terminate was called";
        if (const auto x = std::current_exception()) why += ", by an exception that met noexcept: " + text_of(x);
        active->fail(why);
    }
    static std::string text_of(const std::exception_ptr& x) {
        try {
            std::rethrow_exception(x);
        } catch (const std::exception& e) {
            return e.what();
        } catch (...) {
            return "not a std::exception";
        }
    }

    fiber& add_fiber() {
        auto f = std::make_unique<fiber>();
        f->index = static_cast<std::uint8_t>(fibers_.size());
        f->name = "scenario";
        make_stack(f->cpu, options_.stack, fiber_main);
        fibers_.push_back(std::move(f));
        return *fibers_.back();
    }
    // Every fibre stays in here for good: it runs the body of one schedule after the other.
    static void fiber_main() noexcept {
        engine& e = *active;
        fiber& f = *e.current_;
#ifdef CENOTE_EXPLORE_ASAN
        const bool from_main = f.index == 0;
        ::__sanitizer_finish_switch_fiber(nullptr, from_main ? &e.main_.bottom : nullptr, from_main ? &e.main_.bottom_size : nullptr);
#endif
        for (;;) {
            try {
                f.body();
            } catch (...) {
                e.fail("an exception left the thread: " + text_of(std::current_exception()));
            }
            e.ended();
        }
    }

    void exhaust() {
        result_.complete = false;
        while (result_.schedules < options_.max_schedules) {
            one_schedule();
            if (violated_) return;
            while (!path_.empty() && path_.back().pick + 1 == path_.back().of) path_.pop_back();
            if (path_.empty()) {
                result_.complete = true;
                return;
            }
            ++path_.back().pick;
        }
    }

    void one_schedule() {
        depth_ = 0;
        steps_ = 0;
        changes_ = 0;
        clock_ = start_time;
        preemptions_left_ = bound_;
        spurious_left_ = options_.spurious;
        events_.clear();
        threads_ = finally_used_ = at_rest_used_ = always_used_ = 0;

        only(0, 1);
        current_ = fibers_[0].get();
        current_->is = fiber::state::ready;
        hop(main_, current_->cpu);
        current_ = nullptr;

        ++result_.schedules;
        result_.steps += steps_;
        result_.depth = std::max(result_.depth, depth_);
    }
    /// One schedule, on the first fibre: whatever the scenario, its checks and its destructors do may be wrong.
    void conduct() {
        setting_up_ = true;
        call_(scenario_, *this);
        setting_up_ = false;
        if (threads_ > 0) run_threads();
        only(0, 1);
        for (std::size_t i = 0; i < finally_used_; ++i) (*finally_[i])();
        for (std::size_t i = 1; i <= threads_; ++i) fibers_[i]->body.clear();
        for (auto* hooks : {&finally_, &at_rest_, &always_}) {
            for (auto& h : *hooks) h->clear();
        }
    }
    // Each thread first goes up to its first visible operation: what lies before cannot matter to the others.
    void run_threads() noexcept {
        fiber& self = *current_;
        only(1, threads_ + 1);
        starting_ = true;
        for (std::size_t i = first_; i < last_; ++i) {
            current_ = fibers_[i].get();
            current_->is = fiber::state::ready;
            hop(self.cpu, current_->cpu);
        }
        starting_ = false;
        current_ = &self;
        if (unended_ > 0) {
            current_ = select(nullptr, false);
            hop(self.cpu, current_->cpu);
        }
        current_ = &self;
    }
    void only(std::size_t first, std::size_t last) noexcept {
        first_ = first;
        last_ = last;
        unended_ = last - first;
    }
    void ended() noexcept {
        current_->is = fiber::state::ended;
        ++changes_;
        did(op::end, nullptr);
        fiber& self = *current_;
        if (self.index == 0) return hop(self.cpu, main_);
        if (--unended_ == 0 || starting_) return hop(self.cpu, fibers_[0]->cpu);
        current_ = select(nullptr, false);
        hop(self.cpu, current_->cpu);
    }

    /// A point at which others may come in between, before an operation that never blocks.
    void step() noexcept {
        if (!quiet_) reschedule();
    }
    /// Decides who goes on. Returns when the current fibre does.
    void reschedule() noexcept {
        fiber& self = *current_;
        if (++steps_ > options_.max_steps) fail("livelock: the schedule has more than " + std::to_string(options_.max_steps) + " steps");
        if (always_used_ > 0 && first_ == 1) check(always_, always_used_);
        if (starting_) return hop(self.cpu, fibers_[0]->cpu);
        const bool goes_on = can_go_on(self);
        if (goes_on && (unended_ == 1 || preemptions_left_ == 0)) {
            capped_ = capped_ || unended_ > 1;
            self.is = fiber::state::ready;
            return;
        }
        fiber* const next = select(&self, goes_on);
        if (next == &self) return;
        if (goes_on) --preemptions_left_;
        current_ = next;
        hop(self.cpu, next->cpu);
    }
    /// The fibre that is to go on, made ready.
    [[nodiscard]] fiber* select(fiber* self, bool goes_on) noexcept {
        std::size_t n = 0;
        if (goes_on) moves_[n++] = {self, how::goes_on};
        for (std::size_t i = first_; i < last_; ++i) {
            fiber& f = *fibers_[i];
            if ((&f != self || !goes_on) && can_go_on(f)) moves_[n++] = {&f, how::goes_on};
        }
        if (n == 0) { // spinners get their turn when nobody else can change anything
            for (std::size_t i = first_; i < last_; ++i) {
                if (fibers_[i]->is == fiber::state::yielding) moves_[n++] = {fibers_[i].get(), how::goes_on};
            }
        }
        if (n == 0 && first_ == 1) check(at_rest_, at_rest_used_);
        for (std::size_t i = first_; i < last_; ++i) {
            fiber& f = *fibers_[i];
            if (f.is != fiber::state::parked) continue;
            if (f.until != time_point::max()) moves_[n++] = {&f, how::times_out};
            if (spurious_left_ > 0) moves_[n++] = {&f, how::for_no_reason};
        }
        if (n == 0) stuck();
        const move m = moves_[n == 1 ? 0 : decide(static_cast<std::uint32_t>(n), goes_on)];
        if (m.by == how::times_out) {
            clock_ = std::max(clock_, m.who->until);
            ++changes_;
            did(*m.who, op::timed_out, m.who->on, static_cast<std::uint64_t>(clock_.time_since_epoch().count()));
        } else if (m.by == how::for_no_reason) {
            --spurious_left_;
            did(*m.who, op::spurious, m.who->on);
        }
        m.who->is = fiber::state::ready;
        return m.who;
    }
    [[nodiscard]] bool can_go_on(const fiber& f) const noexcept {
        switch (f.is) {
        case fiber::state::ready: return true;
        case fiber::state::locking: return static_cast<const mutex_state*>(f.on)->owner == nobody;
        case fiber::state::joining: return static_cast<const stop_state*>(f.on)->running != f.callback;
        case fiber::state::yielding: return f.seen != changes_;
        case fiber::state::parked:
        case fiber::state::ended: break;
        }
        return false;
    }
    void check(const std::vector<std::unique_ptr<task>>& hooks, std::size_t used) noexcept {
        quiet_ = true;
        for (std::size_t i = 0; i < used; ++i) (*hooks[i])();
        quiet_ = false;
    }
    [[noreturn]] void stuck() noexcept {
        result_.events = events_text(); // first, for its labels are used below
        std::string what = "stuck:";
        for (std::size_t i = first_; i < last_; ++i) {
            const fiber& f = *fibers_[i];
            if (f.is == fiber::state::ended) continue;
            what += what.back() == ':' ? " '" : "; '";
            what += f.name;
            if (f.is == fiber::state::parked) what += "' is parked on " + label(f.on, 'w') + " for ever";
            if (f.is == fiber::state::joining) what += "' waits for a stop callback to return";
            if (f.is == fiber::state::locking) {
                what += "' waits for " + label(f.on, 'm') + ", held by " + name_of(static_cast<const mutex_state*>(f.on)->owner);
            }
        }
        end_with(std::move(what));
    }
    [[noreturn]] void end_with(std::string violation) noexcept {
        violated_ = true;
        result_.violation = std::move(violation);
        hop(current_->cpu, main_);
        std::abort();
    }

    /// One of `n` ways to go on, 0 first. `lazy`: 0 means that nothing is interrupted, which random walks mostly prefer.
    [[nodiscard]] std::uint32_t decide(std::uint32_t n, bool lazy) noexcept {
        if (depth_ == path_.size()) {
            std::uint32_t pick = 0;
            if (options_.random > 0 && !replaying_) {
                const bool rests = lazy && (next_random() & ((1u << hesitation_) - 1)) != 0;
                pick = rests ? 0 : static_cast<std::uint32_t>(next_random() % n);
            }
            path_.push_back({pick, n});
        }
        decision& d = path_[depth_++];
        if (replaying_) {
            d.of = n;
            if (d.pick >= n) fail("the replayed schedule does not fit this scenario");
        }
        if (d.of != n) fail("the scenario is not deterministic: the same decisions led to another state");
        return d.pick;
    }
    [[nodiscard]] static std::uint64_t mix(std::uint64_t x) noexcept {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return x ^ (x >> 31);
    }
    [[nodiscard]] std::uint64_t next_random() noexcept { return mix(random_ += 0x9e3779b97f4a7c15u); }

    void alive(const void* p, char kind, const char* does) noexcept {
        if (live_.contains(p)) return;
        result_.events = events_text(); // first, for its labels are used below
        fail(std::string{does} + " " + label(p, kind) + ", which is gone, or was not made in this schedule");
    }
    static void unlink(stop_state& s, callback_base& c) noexcept {
        (c.prev != nullptr ? c.prev->next : s.first) = c.next;
        if (c.next != nullptr) c.next->prev = c.prev;
        c.prev = c.next = nullptr;
        c.listed = false;
    }
    void did(op what, const void* on, std::uint64_t a = 0, std::uint64_t b = 0) noexcept {
        if (!quiet_) did(*current_, what, on, a, b);
    }
    void did(const fiber& f, op what, const void* on, std::uint64_t a = 0, std::uint64_t b = 0) noexcept {
        events_.push_back({on, a, b, f.index, what});
    }

    // text

    [[nodiscard]] std::string name_of(std::uint8_t i) const { return i == nobody ? "nobody" : "'" + fibers_[i]->name + "'"; }
    /// Words and mutexes are numbered in the order in which a schedule first touches them.
    [[nodiscard]] std::string label(const void* p, char kind) {
        auto& seen = kind == 'm' ? mutexes_ : kind == 'w' ? words_ : callbacks_;
        auto at = std::find(seen.begin(), seen.end(), p);
        if (at == seen.end()) at = seen.insert(at, p);
        return (kind == 'm' ? "mutex " : kind == 'w' ? "word " : "callback ") + std::to_string(at - seen.begin() + 1);
    }
    [[nodiscard]] static std::string since_start(std::uint64_t ns) {
        const auto at = time_point{duration{static_cast<duration::rep>(ns)}};
        if (at == time_point::max()) return "never";
        const auto d = at - start_time;
        return "+" + (d.count() % 1000 == 0 ? std::to_string(d.count() / 1000) + " us" : std::to_string(d.count()) + " ns");
    }
    [[nodiscard]] std::string text_of(const event& e) {
        const auto num = [](std::uint64_t v) { return std::to_string(v); };
        switch (e.what) {
        case op::lock: return "locks " + label(e.on, 'm');
        case op::try_lock: return "tries to lock " + label(e.on, 'm') + (e.a != 0 ? ": yes" : ": no");
        case op::unlock: return "unlocks " + label(e.on, 'm');
        case op::load: return "loads " + num(e.a) + " from " + label(e.on, 'w');
        case op::store: return "stores " + num(e.a) + " to " + label(e.on, 'w');
        case op::swap_done: return "swaps " + label(e.on, 'w') + " from " + num(e.a) + " to " + num(e.b);
        case op::swap_not: return "does not swap " + label(e.on, 'w') + ": it is " + num(e.b) + ", not " + num(e.a);
        case op::park: return "parks on " + label(e.on, 'w') + " while " + num(e.a) + ", until " + since_start(e.b);
        case op::park_not: return "does not park on " + label(e.on, 'w') + ": it is " + num(e.b) + ", not " + num(e.a);
        case op::park_late: return "does not park on " + label(e.on, 'w') + ": the time is over";
        case op::wake: return "wakes " + label(e.on, 'w') + ": " + num(e.a) + (e.a == 1 ? " sleeper" : " sleepers");
        case op::timed_out: return "times out on " + label(e.on, 'w') + " at " + since_start(e.a);
        case op::spurious: return "wakes for no reason on " + label(e.on, 'w');
        case op::point: return std::string{"passes "} + static_cast<const char*>(e.on);
        case op::yield: return "goes on after a yield";
        case op::advance: return "lets time pass until " + since_start(e.a);
        case op::stop: return "requests a stop";
        case op::stop_again: return "requests a stop again";
        case op::stop_read: return e.a != 0 ? "sees the stop request" : "sees no stop request";
        case op::callback_add: return (e.a != 0 ? "runs at once " : "registers ") + label(e.on, 'c');
        case op::callback_run: return "runs " + label(e.on, 'c');
        case op::callback_drop: return "removes " + label(e.on, 'c');
        case op::pick: return "chooses " + num(e.a) + " of " + num(e.b);
        case op::note: return std::string{"notes: "} + static_cast<const char*>(e.on) + " " + num(e.a);
        case op::end: return "ends";
        }
        return {};
    }
    [[nodiscard]] std::string events_text() {
        static constexpr std::size_t head = 150, tail = 100;
        std::size_t width = 0;
        for (const auto& f : fibers_) width = std::max(width, f->name.size());
        std::string out;
        for (std::size_t i = 0; i < events_.size(); ++i) {
            const std::string what = text_of(events_[i]);
            if (events_.size() > head + tail && i >= head && i < events_.size() - tail) {
                if (i == head) out += "      …\n";
                continue;
            }
            const std::string number = std::to_string(i + 1);
            const std::string& who = fibers_[events_[i].thread]->name;
            out += std::string(number.size() < 5 ? 5 - number.size() : 0, ' ') + number + "  " + who +
                   std::string(width - who.size() + 2, ' ') + what + "\n";
        }
        return out;
    }
    /// Bound and spurious wake-ups, for they decide what there was to decide; then the decisions that were not 0, by position.
    [[nodiscard]] std::string schedule_text() const {
        std::string out = (bound_ == unbounded ? std::string{"p*"} : "p" + std::to_string(bound_)) + " s" + std::to_string(options_.spurious);
        for (std::size_t i = 0; i < depth_; ++i) {
            if (path_[i].pick != 0) out += " " + std::to_string(i) + "=" + std::to_string(path_[i].pick);
        }
        return out;
    }
    [[nodiscard]] bool parse(std::string_view s) {
        const auto eat = [&s](char c) {
            if (s.empty() || s.front() != c) return false;
            s.remove_prefix(1);
            return true;
        };
        const auto number = [&s](unsigned& v) {
            std::size_t digits = 0;
            std::uint64_t n = 0;
            for (; digits < s.size() && digits < 9 && s[digits] >= '0' && s[digits] <= '9'; ++digits) {
                n = 10 * n + static_cast<unsigned>(s[digits] - '0');
            }
            v = static_cast<unsigned>(n);
            s.remove_prefix(digits);
            return digits > 0;
        };
        bound_ = unbounded;
        if (!eat('p') || !(eat('*') || number(bound_)) || !eat(' ') || !eat('s') || !number(options_.spurious)) return false;
        unsigned at = 0;
        unsigned pick = 0;
        while (eat(' ')) {
            if (!number(at) || !eat('=') || !number(pick) || at > options_.max_steps * 64 || at < path_.size()) return false;
            path_.resize(at, {0, 0});
            path_.push_back({pick, 0});
        }
        return s.empty();
    }

    result finish() {
        if (violated_) {
            result_.events = events_text();
            result_.schedule = schedule_text();
            result_.complete = false;
            if (options_.print_to != nullptr) std::fputs(result_.report().c_str(), options_.print_to);
        }
        return std::move(result_);
    }
    /// The fibres of a violating schedule hold frames that nobody will unwind: they, and what they own, stay for good.
    void abandon() noexcept {
        for (auto& f : fibers_) {
            [[maybe_unused]] fiber* const left = f.release();
#ifdef CENOTE_EXPLORE_ASAN
            ::__lsan_ignore_object(left);
            ::__lsan_register_root_region(left->cpu.stack, left->cpu.size);
#endif
        }
        for (auto* hooks : {&finally_, &at_rest_, &always_}) {
            for (auto& h : *hooks) {
                [[maybe_unused]] task* const left = h.release();
#ifdef CENOTE_EXPLORE_ASAN
                ::__lsan_ignore_object(left);
#endif
            }
        }
    }

    options options_;
    void* scenario_;
    scenario_call call_;
    result result_;

    context main_;
    fiber* current_ = nullptr;
    std::vector<std::unique_ptr<fiber>> fibers_; // 0 sets up and tears down, the threads follow
    std::size_t threads_ = 0;
    std::size_t first_ = 0, last_ = 0; // those that take part at present
    std::size_t unended_ = 0;
    std::array<move, 2 * max_threads + 1> moves_;

    std::vector<decision> path_;
    std::size_t depth_ = 0;
    unsigned bound_ = 0;
    unsigned preemptions_left_ = 0, spurious_left_ = 0;
    std::uint64_t steps_ = 0;
    std::uint64_t changes_ = 0;
    std::uint64_t random_ = 0;
    unsigned hesitation_ = 1;
    time_point clock_ = start_time;
    bool setting_up_ = false, starting_ = false, quiet_ = false, violated_ = false, replaying_ = false;
    bool capped_ = false; // the bound kept something from being explored

    live_set live_;
    std::vector<event> events_;
    std::vector<const void*> words_, mutexes_, callbacks_;
    std::vector<std::unique_ptr<task>> finally_, at_rest_, always_;
    std::size_t finally_used_ = 0, at_rest_used_ = 0, always_used_ = 0;
};

} // namespace detail

/// The program to explore, as its scenario sets it up anew for every schedule.
class world {
public:
    explicit world(detail::engine& e) noexcept : engine_{e} {}

    /// A thread. At most 32; they start together, in any order.
    template <class F>
    void thread(std::string_view name, F&& body) { engine_.add_thread(name, std::forward<F>(body)); }

    /// Runs after all threads have ended; then the threads' captures are destroyed.
    template <class F>
    void finally(F&& check) { engine_.add_finally(std::forward<F>(check)); }

    /// Runs whenever no thread can go on unless a time-out fires: nothing that anybody waits for may be there to be had.
    /// It only looks: locking in it does nothing, parking is a violation.
    template <class F>
    void at_rest(F&& check) { engine_.add_at_rest(std::forward<F>(check)); }

    /// Runs before every visible operation of a thread, also in the middle of critical sections. It only looks.
    template <class F>
    void always(F&& check) { engine_.add_always(std::forward<F>(check)); }

private:
    detail::engine& engine_;
};

namespace detail {
template <class Scenario>
void call_scenario(void* scenario, engine& e) {
    world w{e};
    (*static_cast<Scenario*>(scenario))(w);
}
} // namespace detail

/// Explores `scenario(world&)`, which is called once per schedule.
template <class Scenario>
[[nodiscard]] result run(const options& o, Scenario scenario) {
    detail::engine e{o, &scenario, detail::call_scenario<Scenario>};
    return e.explore();
}

/// Runs the one schedule that a violation named; `events` is filled in any case.
template <class Scenario>
[[nodiscard]] result replay(std::string_view schedule, Scenario scenario, const options& o = {}) {
    detail::engine e{o, &scenario, detail::call_scenario<Scenario>};
    return e.replay(schedule);
}

/// Whether the caller is in a schedule. Without one the types of `explore_sync` do the plain thing and decide nothing.
[[nodiscard]] inline bool exploring() noexcept { return detail::active != nullptr; }

/// Ends the exploration with `sentence`. Works in noexcept code; what the threads hold is never freed.
[[noreturn]] inline void fail(std::string_view sentence) noexcept {
    if (exploring()) detail::active->fail(std::string{sentence});
    std::fprintf(stderr, "explore::fail outside of a schedule: %.*s\n", static_cast<int>(sentence.size()), sentence.data());
    std::abort();
}

/// A violation unless `condition` holds. The sentence says what should be so.
inline void require(bool condition, std::string_view sentence) noexcept {
    if (!condition) fail("not so: " + std::string{sentence});
}

/// One of 0 … n-1: every one is explored. For what the scenario leaves open: does this dial fail, does that hook throw?
[[nodiscard]] inline unsigned choose(unsigned n) noexcept { return exploring() ? detail::active->choose(n) : 0; }

/// Lets the others come in between here. The label shows among the events and must outlive the exploration.
inline void point(const char* label = "a point") noexcept {
    if (exploring()) detail::active->point(label);
}

/// What a spinning loop must call in each turn: others go on, at no cost, until one of them has changed something.
inline void yield() noexcept {
    if (exploring()) detail::active->yield();
}

/// Lets virtual time pass. Visible, so a thread that only does this makes time pass anywhere.
inline void advance(duration d) noexcept {
    if (exploring()) detail::active->advance(d);
}

/// Adds a line to the events. Decides nothing. The text must outlive the exploration.
inline void note(const char* text, std::uint64_t value = 0) noexcept {
    if (exploring()) detail::active->note(text, value);
}

/// The number of the running thread: 1 for the first that was added, 0 in the scenario itself and in `finally`.
[[nodiscard]] inline unsigned self() noexcept { return exploring() ? detail::active->me() : 0u; }

} // namespace cenote::testing::explore

namespace cenote::testing {

/// The Sync seam over fibres, in the shape of `cenote::detail::real_sync` (detail/sync.hpp), plus the `stop_source` to request stops
/// with. Every member function of its types that reads or changes something is a visible operation: others may come in before it.
struct explore_sync {
    /// As std::mutex. Blocking costs no preemption.
    class mutex {
    public:
        mutex() noexcept {
            if (auto* const e = explore::detail::active) e->born(&state_);
        }
        mutex(const mutex&) = delete;
        mutex& operator=(const mutex&) = delete;
        ~mutex() {
            if (auto* const e = explore::detail::active) e->mutex_gone(state_);
        }
        void lock() noexcept {
            if (auto* const e = explore::detail::active) e->lock(state_);
        }
        [[nodiscard]] bool try_lock() noexcept {
            auto* const e = explore::detail::active;
            return e == nullptr || e->try_lock(state_);
        }
        void unlock() noexcept {
            if (auto* const e = explore::detail::active) e->unlock(state_);
        }

    private:
        explore::detail::mutex_state state_;
    };

    /// One 32-bit atomic, which threads may park on.
    class word {
    public:
        explicit word(std::uint32_t v) noexcept : v_{v} {
            if (auto* const e = explore::detail::active) e->born(&v_);
        }
        word(const word&) = delete;
        word& operator=(const word&) = delete;
        ~word() {
            if (auto* const e = explore::detail::active) e->word_gone(v_);
        }
        [[nodiscard]] std::uint32_t load() const noexcept {
            auto* const e = explore::detail::active;
            return e != nullptr ? e->load(v_) : v_;
        }
        void store(std::uint32_t v) noexcept {
            if (auto* const e = explore::detail::active) return e->store(v_, v);
            v_ = v;
        }
        bool swap_if(std::uint32_t from, std::uint32_t to) noexcept {
            if (auto* const e = explore::detail::active) return e->swap_if(v_, from, to);
            return v_ == from && (v_ = to, true);
        }

    private:
        friend explore_sync;
        std::uint32_t v_;
    };

    /// One 64-bit atomic. `swap_if` never fails for no reason here.
    class bits {
    public:
        explicit bits(std::uint64_t v) noexcept : v_{v} {
            if (auto* const e = explore::detail::active) e->born(&v_);
        }
        bits(const bits&) = delete;
        bits& operator=(const bits&) = delete;
        ~bits() {
            if (auto* const e = explore::detail::active) e->word_gone(v_);
        }
        [[nodiscard]] std::uint64_t peek() const noexcept {
            auto* const e = explore::detail::active;
            return e != nullptr ? e->load(v_) : v_;
        }
        bool swap_if(std::uint64_t& from, std::uint64_t to) noexcept {
            auto* const e = explore::detail::active;
            const bool swapped = e != nullptr ? e->swap_if(v_, from, to) : v_ == from && (v_ = to, true);
            if (!swapped) from = v_; // no other thread can have run since
            return swapped;
        }
        void set(std::uint64_t mask) noexcept {
            if (auto* const e = explore::detail::active) return e->merge(v_, mask);
            v_ |= mask;
        }

    private:
        std::uint64_t v_;
    };
    /// Each thread of a scenario is one, and on a processor of its own.
    [[nodiscard]] static unsigned processor() noexcept { return explore::self(); }
    [[nodiscard]] static unsigned thread_number() noexcept { return explore::self(); }

    /// Sleeps while the word is `expected`, until it is woken, or its time-out fires, or, with `options::spurious`, for no reason.
    static void park(word& w, std::uint32_t expected, time_point until) noexcept {
        if (auto* const e = explore::detail::active) e->park(w.v_, expected, until);
    }
    /// Wakes all who sleep on the word; by address only: the word may be gone.
    static void wake(word* w) noexcept {
        static_assert(std::is_standard_layout_v<word>, "cenote: a word and its value must have one address");
        if (auto* const e = explore::detail::active) e->wake(w);
    }
    /// The virtual time. Not a visible operation.
    [[nodiscard]] static time_point now() noexcept {
        auto* const e = explore::detail::active;
        return e != nullptr ? e->now() : explore::detail::engine::start_time;
    }

    /// As std::stop_token.
    class stop_token {
    public:
        stop_token() = default;
        [[nodiscard]] bool stop_requested() const noexcept {
            if (!state_) return false;
            auto* const e = explore::detail::active;
            return e != nullptr ? e->stop_requested(*state_) : state_->requested;
        }
        [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr; }
        friend bool operator==(const stop_token&, const stop_token&) = default;

    private:
        friend explore_sync;
        explicit stop_token(std::shared_ptr<explore::detail::stop_state> s) noexcept : state_{std::move(s)} {}
        std::shared_ptr<explore::detail::stop_state> state_;
    };

    /// As std::stop_source. Needs a schedule for `request_stop`.
    class stop_source {
    public:
        [[nodiscard]] stop_token get_token() const noexcept { return stop_token{state_}; }
        [[nodiscard]] bool stop_requested() const noexcept { return get_token().stop_requested(); }
        [[nodiscard]] bool stop_possible() const noexcept { return true; }
        bool request_stop() noexcept {
            auto* const e = explore::detail::active;
            return e != nullptr && e->request_stop(*state_);
        }

    private:
        std::shared_ptr<explore::detail::stop_state> state_ = std::make_shared<explore::detail::stop_state>();
    };

    /// As std::stop_callback: its end waits while the callback runs on another thread.
    template <class F>
    class stop_callback : explore::detail::callback_base {
    public:
        using callback_type = F;

        template <class C>
        explicit stop_callback(stop_token token, C&& f) : f_(std::forward<C>(f)), state_{std::move(token.state_)} {
            run = [](callback_base* self) noexcept { static_cast<stop_callback*>(self)->f_(); };
            auto* const e = explore::detail::active;
            if (state_ && e != nullptr) e->add_callback(*state_, *this);
        }
        stop_callback(const stop_callback&) = delete;
        stop_callback& operator=(const stop_callback&) = delete;
        ~stop_callback() {
            auto* const e = explore::detail::active;
            if (state_ && e != nullptr) e->drop_callback(*state_, *this);
        }

    private:
        F f_;
        std::shared_ptr<explore::detail::stop_state> state_;
    };
    template <class C>
    stop_callback(stop_token, C) -> stop_callback<C>;
};

} // namespace cenote::testing

#undef CENOTE_EXPLORE_X86_64
#undef CENOTE_EXPLORE_ASAN
#undef CENOTE_EXPLORE_TSAN
