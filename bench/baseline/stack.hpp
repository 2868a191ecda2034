// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/drivers/null.hpp>

#include <new>
#include <stdexcept>
#include <utility>

namespace hand {

using connection = cenote::null::connection;

/// For one thread: slots in place, a stack of idle ones through the slots, opened on demand, refusing to be used after close(). What a
/// lease needs to find its home is in its slot, so it is one pointer.
template <unsigned N>
class stack {
    struct slot {
        slot* next = nullptr;
        stack* home = nullptr;
        union {
            connection c;
        };
        bool open = false;
        slot() noexcept {}
        ~slot() {}
    };

public:
    class lease {
    public:
        explicit lease(slot* s) noexcept : s_{s} {}
        lease(lease&& other) noexcept : s_{std::exchange(other.s_, nullptr)} {}
        lease& operator=(lease&&) = delete;
        ~lease() {
            if (s_ != nullptr) s_->home->give_back(s_);
        }
        [[nodiscard]] connection& operator*() const noexcept { return s_->c; }

    private:
        slot* s_;
    };

    stack() noexcept {
        for (slot& s : slots_) {
            s.home = this;
            s.next = std::exchange(vacant_, &s);
        }
    }
    stack(const stack&) = delete;
    stack& operator=(const stack&) = delete;
    ~stack() { close(); }

    [[nodiscard]] lease acquire() {
        slot* const s = idle_;
        if (s == nullptr) [[unlikely]] return lease{open()};
        idle_ = s->next;
        return lease{s};
    }
    void close() noexcept {
        closed_ = true;
        while (slot* const s = idle_) {
            idle_ = s->next;
            driver_.close(s->c);
            s->c.~connection();
            s->open = false;
            --used_;
            s->next = std::exchange(vacant_, s);
        }
    }

private:
    void give_back(slot* s) noexcept {
        s->next = idle_;
        idle_ = s;
    }
    [[gnu::noinline]] slot* open() {
        slot* const s = vacant_;
        if (closed_ || s == nullptr) throw std::runtime_error("no connection");
        ::new (static_cast<void*>(&s->c)) connection(driver_.open(cenote::deadline::never()));
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
    slot slots_[N];
};

} // namespace hand
