// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// A pool with every policy off against what one would write by hand: the same bytes, the same instructions.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <array>
#include <cstddef>
#include <stdexcept>
#include <utility>

namespace {

using connection = cenote::null::connection;
constexpr unsigned capacity = 8;
constexpr int rounds = 1000;

/// The pool one writes by hand for one thread: slots in place, a stack of idle ones, opened on demand, closed at the end, refusing
/// to be used after close(). A lease finds its home through its slot and gives back in its destructor.
class hand_pool {
    struct slot {
        slot* next = nullptr;
        hand_pool* home = nullptr;
        union {
            connection conn;
        };
        bool open = false;
        slot() noexcept {}
        ~slot() {}
    };

public:
    class lease {
    public:
        explicit lease(slot* s) noexcept : s_{s} {}
        lease(lease&& o) noexcept : s_{std::exchange(o.s_, nullptr)} {}
        lease& operator=(lease&&) = delete;
        ~lease() {
            if (s_ != nullptr) s_->home->put(s_);
        }
        connection& operator*() const noexcept { return s_->conn; }

    private:
        slot* s_;
    };

    hand_pool() noexcept {
        for (slot& s : slots_) {
            s.home = this;
            s.next = std::exchange(vacant_, &s);
        }
    }
    hand_pool(const hand_pool&) = delete;
    hand_pool& operator=(const hand_pool&) = delete;
    ~hand_pool() { close(); }

    lease acquire() {
        slot* const s = idle_;
        if (s == nullptr) [[unlikely]] return lease{open()};
        idle_ = s->next;
        return lease{s};
    }
    void close() noexcept {
        closed_ = true;
        while (slot* const s = idle_) {
            idle_ = s->next;
            driver_.close(s->conn);
            s->conn.~connection();
            s->open = false;
            --used_;
            s->next = std::exchange(vacant_, s);
        }
    }

private:
    void put(slot* s) noexcept {
        s->next = idle_;
        idle_ = s;
    }
    [[gnu::noinline]] slot* open() {
        slot* const s = vacant_;
        if (closed_ || s == nullptr) throw std::runtime_error("no connection");
        ::new (static_cast<void*>(&s->conn)) connection(driver_.open(cenote::deadline::never()));
        vacant_ = s->next;
        s->open = true;
        ++used_;
        return s;
    }

    slot* idle_ = nullptr;
    slot* vacant_ = nullptr;
    unsigned used_ = 0;
    bool closed_ = false;
    [[no_unique_address]] cenote::null driver_;
    std::array<slot, capacity> slots_;
};

using bare_pool = cenote::pool<cenote::null, cenote::profile::bare<capacity>>;
static_assert(sizeof(bare_pool) == sizeof(hand_pool), "the all-off pool is larger than one written by hand");
static_assert(sizeof(bare_pool::lease) == sizeof(hand_pool::lease));

bare_pool* theirs = nullptr;
hand_pool* own = nullptr;

void use(connection& c) noexcept { asm volatile("" : : "r"(&c) : "memory"); }

} // namespace

// The cycles are equal, instruction for instruction. Before its loop the compiler sets up the address of the call site that
// a failed acquire would report, which the pool by hand does not do: three instructions in all.
// allow cycle: +3
// allow try: +3

extern "C" [[gnu::noinline]] void pool_cycle() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = theirs->acquire();
        use(*held);
    }
}
extern "C" [[gnu::noinline]] void hand_cycle() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = own->acquire();
        use(*held);
    }
}

extern "C" [[gnu::noinline]] void pool_try() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = theirs->try_acquire();
        use(*held);
    }
}
extern "C" [[gnu::noinline]] void hand_try() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = own->acquire();
        use(*held);
    }
}

int main() {
    bare_pool pool{cenote::null{}};
    hand_pool hand;
    theirs = &pool;
    own = &hand;
    { // opened before anything is counted
        const auto a = pool.acquire();
        const auto b = hand.acquire();
    }
    pool_cycle();
    hand_cycle();
    pool_try();
    hand_try();
}
