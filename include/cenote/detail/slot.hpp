// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/idle_set.hpp>
#include <cenote/stats.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace cenote::detail {

/// What housekeeping is to do with a slot it has been given.
enum class chore : unsigned char { none, close, rollback, reset, script, test };

/// Carried by slots of pools whose returns can make work.
struct chore_mark {
    chore what = chore::none;
    close_reason why = close_reason::broken;
};
struct no_chore_mark {};

/// What is known about an open connection that it does not tell itself. Set from any thread, read by who holds the slot.
enum class doubt : unsigned char {
    none,
    suspect, ///< another connection was lost: test this one before its next use
    invalid, ///< not to be used again
};
/// Carried by slots of pools that can be invalidated.
class doubt_mark {
public:
    [[nodiscard]] doubt get() const noexcept { return mark_.load(std::memory_order_relaxed); }
    /// Before a connection is opened.
    void clear() noexcept {
        mark_.store(doubt::none, std::memory_order_relaxed);
        age_.store(age::young, std::memory_order_relaxed);
    }
    /// There is no connection any more.
    void vacate() noexcept { age_.store(age::vacant, std::memory_order_relaxed); }
    /// Never makes it better.
    void raise(doubt to) noexcept {
        for (doubt was = get(); was < to && !mark_.compare_exchange_weak(was, to, std::memory_order_relaxed);) {}
    }
    /// Takes a suspicion away, and nothing worse.
    void settle() noexcept {
        doubt was = doubt::suspect;
        mark_.compare_exchange_strong(was, doubt::none, std::memory_order_relaxed);
    }

    /// A renewal has begun: this one will have to go, when its turn comes.
    void fade() noexcept {
        age was = age::young;
        age_.compare_exchange_strong(was, age::old, std::memory_order_relaxed);
    }
    [[nodiscard]] bool is_old() const noexcept { return age_.load(std::memory_order_relaxed) == age::old; }
    /// Its turn has not come yet.
    [[nodiscard]] bool fades() const noexcept { return is_old() && get() != doubt::invalid; }

private:
    enum class age : unsigned char { vacant, young, old };
    std::atomic<doubt> mark_{doubt::none};
    std::atomic<age> age_{age::vacant};
};
struct no_doubt_mark {
    static void vacate() noexcept {}
};
struct no_token {};

/// What a forked child may let go of in a slot. Carried by slots of pools that notice forks; written by who has the slot.
class fork_mark {
public:
    enum class content : unsigned char {
        nothing, ///< there is nothing, or it is just being opened or closed
        connection,
        connection_and_token,
    };
    /// It is whole, and so is its token if it has one.
    void opened(bool token) noexcept { what_.store(token ? content::connection_and_token : content::connection, std::memory_order_release); }
    /// From now on somebody changes it: first this is seen, then that.
    void closing() noexcept { what_.exchange(content::nothing, std::memory_order_acq_rel); }
    void token_goes() noexcept {
        content was = content::connection_and_token;
        what_.compare_exchange_strong(was, content::connection, std::memory_order_acq_rel);
    }
    /// For one caller only.
    [[nodiscard]] content take() noexcept { return what_.exchange(content::nothing, std::memory_order_acq_rel); }

private:
    std::atomic<content> what_{content::nothing};
};
struct no_fork_mark {
    static void opened(bool) noexcept {}
    static void closing() noexcept {}
    static void token_goes() noexcept {}
};

/// One place for a connection. Threaded by its link; knows its home; carries the facts its pool's policies need. Slots never
/// move and live as long as the core.
template <class Home, class Conn, class Facts, class Mark, class Doubt, class Token, class Forks = no_fork_mark>
struct slot : place_of<Home>::type, Facts {
    slot() noexcept {}
    ~slot() {
        if (open) conn.~Conn();
    }
    slot(const slot&) = delete;
    slot& operator=(const slot&) = delete;

    /// Takes the connection out for good.
    void vacate() noexcept {
        open = false;
        doubt.vacate();
        conn.~Conn();
    }

    Home* home = nullptr;
    union {
        Conn conn; ///< alive while `open`
    };
    [[no_unique_address]] Mark mark{};
    [[no_unique_address]] Doubt doubt{};
    [[no_unique_address]] Token token{}; ///< guarded by the core's mutex for it
    [[no_unique_address]] Forks forks{};
    bool open = false;
    bool rehomed = false; ///< `home` is an afterlife: the pool was closed while this lease was out
};

/// Slots on the heap, in chunks that are only ever added.
template <class Slot>
class heap_slots {
public:
    heap_slots() = default;
    heap_slots(const heap_slots&) = delete;
    heap_slots& operator=(const heap_slots&) = delete;
    ~heap_slots() {
        for (chunk* c = first_.load(std::memory_order_relaxed); c != nullptr;) delete std::exchange(c, c->next.load(std::memory_order_relaxed));
    }

    /// Adds n slots and calls `f(first, n)`. Not to be called by two threads at once; throws std::bad_alloc and then adds none.
    template <class F>
    void add(unsigned n, F&& f) {
        if (n == 0) return;
        auto fresh = std::make_unique<chunk>(n);
        chunk* const c = fresh.get();
        f(c->slots.get(), n);
        std::atomic<chunk*>* at = &first_;
        while (chunk* const next = at->load(std::memory_order_relaxed)) at = &next->next;
        at->store(fresh.release(), std::memory_order_release);
        size_ += n;
    }
    [[nodiscard]] unsigned size() const noexcept { return size_; }

    /// Safe while another thread adds. What f throws comes through.
    template <class F>
    void each(F&& f) {
        for (chunk* c = first_.load(std::memory_order_acquire); c != nullptr; c = c->next.load(std::memory_order_acquire)) {
            for (unsigned i = 0; i < c->size; ++i) f(c->slots[i]);
        }
    }

private:
    struct chunk {
        explicit chunk(unsigned n) : slots{new Slot[n]}, size{n} {}
        std::unique_ptr<Slot[]> slots;
        std::atomic<chunk*> next{nullptr};
        unsigned size;
    };
    std::atomic<chunk*> first_{nullptr};
    unsigned size_ = 0;
};

/// N slots in place.
template <class Slot, unsigned N>
class embedded_slots {
public:
    template <class F>
    void add(unsigned, F&& f) {
        f(slots_.data(), N);
    }
    [[nodiscard]] static constexpr unsigned size() noexcept { return N; }
    template <class F>
    void each(F&& f) {
        for (Slot& s : slots_) f(s);
    }

private:
    std::array<Slot, N> slots_;
};

} // namespace cenote::detail
