// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/idle_set.hpp>
#include <cenote/detail/os.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace cenote::detail {

template <class Sync>
struct bit_shard;

/// A slot's place among the bits. It never changes, so a connection always comes back to where it was taken from. On cache lines of its
/// own: its neighbours belong to other words, and so to other processors.
template <class Sync>
struct alignas(64) bit_link : link {
    bit_shard<Sync>* shard = nullptr;
    std::uint64_t bit = 0;
    unsigned soft_pushes = 0;
};

/// Up to 62 slots that one word tells idle or not. The desk's attention is in the same word: a push that sees none has published
/// by the same instruction, and touches nothing of the pool afterwards.
template <class Sync>
struct alignas(64) bit_shard {
    static constexpr unsigned capacity = 62;
    static constexpr std::uint64_t soft = std::uint64_t{1} << 62;
    static constexpr std::uint64_t must = std::uint64_t{1} << 63;
    static constexpr std::uint64_t slots = soft - 1;

    typename Sync::bits idle{0};
    std::array<link*, capacity> at{};
};

/// The idle set of `lock_free` and `thread_affine`: a bit per slot, in several words so that threads meet rarely. `Hint` says where a
/// thread begins to look; it goes on to the next word where there is nothing. The lock is the desk's slow path only.
///
/// Hands out the lowest bit of the first word that has one: the warmest connections, and those of this thread, again and again. The
/// coldest are the highest bits.
/// `Fixed`: how many slots there will be, if that is known at compile time; then the words live here. Else `reserve` makes room for them.
template <class Sync, class Hint, unsigned Fixed = 0>
class idle_bits {
    using shard = bit_shard<Sync>;

public:
    using link = detail::link;
    using place = bit_link<Sync>;
    static constexpr bool calm = false;
    static constexpr bool concurrent = true;

    idle_bits() noexcept {
        if constexpr (Fixed != 0) spread();
    }

    /// Before the first slot: how many there may ever be.
    void reserve(unsigned slots)
        requires(Fixed == 0)
    {
        count_ = Hint::shards(slots, shard::capacity);
        shards_ = std::make_unique<shard[]>(count_);
        spread();
    }
    /// How many slots can get a place.
    [[nodiscard]] unsigned room() const noexcept { return count() * shard::capacity; }
    /// Gives a new slot its place. Under the lock.
    void attach(link& l) noexcept {
        shard& home = shards_[attached_ % count()];
        const unsigned nth = attached_ / count();
        ++attached_;
        place_of(l).shard = &home;
        place_of(l).bit = std::uint64_t{1} << nth;
        home.at[nth] = &l;
    }

    [[nodiscard]] link* pop() noexcept { return take<false>(); }
    /// Finds nothing while every push must come to the desk: what was published just before that is somebody else's.
    [[nodiscard]] link* pop_in_turn() noexcept { return take<true>(); }
    [[nodiscard]] bool push(link& l) noexcept {
        place& p = place_of(l);
        auto& idle = p.shard->idle;
        for (std::uint64_t v = idle.peek();;) {
            // While a waiter is on its way (soft) only every fourth return of a slot asks whether he has become due meanwhile.
            if ((v & ~shard::slots) != 0 && ((v & shard::must) != 0 || ++p.soft_pushes % 4 == 0)) [[unlikely]] {
                mutex_.lock();
                return false;
            }
            if (idle.swap_if(v, v | p.bit)) return true;
        }
    }

    void lock() noexcept { mutex_.lock(); }
    void unlock() noexcept { mutex_.unlock(); }
    [[nodiscard]] link* pop_locked() noexcept { return pop(); }
    void push_locked(link& l) noexcept { place_of(l).shard->idle.set(place_of(l).bit); }
    [[nodiscard]] bool empty_locked() const noexcept {
        for (unsigned i = 0; i < count(); ++i) {
            if ((shards_[i].idle.peek() & shard::slots) != 0) return false;
        }
        return true;
    }
    /// Exact only for what others leave alone meanwhile: they may pop without the lock.
    [[nodiscard]] unsigned count_locked() const noexcept {
        unsigned n = 0;
        for (unsigned i = 0; i < count(); ++i) n += static_cast<unsigned>(std::popcount(shards_[i].idle.peek() & shard::slots));
        return n;
    }
    void raise(attention a) noexcept {
        if (a == attention_) return;
        attention_ = a;
        const std::uint64_t flag = a == attention::must ? shard::must : a == attention::soft ? shard::soft : 0;
        for (unsigned i = 0; i < count(); ++i) {
            auto& idle = shards_[i].idle;
            for (std::uint64_t v = idle.peek(); !idle.swap_if(v, (v & shard::slots) | flag);) {}
        }
    }
    void lower() noexcept { raise(attention::none); }

    template <class Pred>
    [[nodiscard]] link* extract(Pred&& pred, unsigned keep) noexcept {
        unsigned total = count_locked();
        link* first = nullptr;
        link** last = &first;
        visit([&](link& l) noexcept {
            if (total <= keep || !pred(l)) return false;
            --total;
            l.next = nullptr;
            *last = &l;
            last = &l.next;
            return true;
        });
        return first;
    }
    template <class F>
    void each_locked(F&& f) noexcept {
        visit([&](link& l) noexcept { return f(l), false; });
    }

private:
    [[nodiscard]] static place& place_of(link& l) noexcept { return static_cast<place&>(l); }
    [[nodiscard]] unsigned count() const noexcept {
        if constexpr (Fixed != 0) return fixed_count;
        else return count_;
    }
    void spread() noexcept { scale_ = Hint::scale(count()); }

    template <bool InTurn>
    [[nodiscard]] link* take() noexcept {
        unsigned i = Hint::template start<Sync>(count(), scale_);
        for (unsigned left = count(); left != 0; --left) {
            shard& s = shards_[i];
            for (std::uint64_t v = s.idle.peek(); (v & shard::slots) != 0 && !(InTurn && (v & shard::must) != 0);) {
                const auto lowest = static_cast<std::size_t>(std::countr_zero(v)); // the flags are above the slots
                if (s.idle.swap_if(v, v & (v - 1))) return s.at[lowest];
            }
            if (++i == count()) i = 0;
        }
        return nullptr;
    }

    /// Shows each idle slot to `take`, the coldest first, while nobody else can have it. Those that it does not take are idle again.
    template <class Take>
    void visit(Take&& take) noexcept {
        for (unsigned nth = shard::capacity; nth-- > 0;) {
            if (nth * count() >= attached_) continue;
            for (unsigned i = count(); i-- > 0;) {
                auto& idle = shards_[i].idle;
                const std::uint64_t bit = std::uint64_t{1} << nth;
                std::uint64_t v = idle.peek();
                while ((v & bit) != 0 && !idle.swap_if(v, v & ~bit)) {}
                if ((v & bit) == 0) continue;
                link& l = *shards_[i].at[nth];
                if (!take(l)) idle.set(bit);
            }
        }
    }

    static constexpr unsigned fixed_count = [] {
        if constexpr (Fixed != 0) return Hint::fixed_shards(Fixed, shard::capacity);
        else return 1U;
    }();

    std::conditional_t<Fixed != 0, std::array<shard, fixed_count>, std::unique_ptr<shard[]>> shards_{};
    std::uint64_t scale_ = 0;
    unsigned count_ = 0;
    unsigned attached_ = 0;
    typename Sync::mutex mutex_;
    attention attention_ = attention::none;
};

/// Threads begin at the word of the processor they run on.
struct by_processor {
    /// Words enough for the slots, and one for each processor while there are slots for that.
    [[nodiscard]] static unsigned shards(unsigned slots, unsigned capacity) noexcept {
        return std::max((slots + capacity - 1) / capacity, std::min(slots, os::processors()));
    }
    [[nodiscard]] static constexpr unsigned fixed_shards(unsigned slots, unsigned capacity) noexcept {
        return std::max((slots + capacity - 1) / capacity, std::min(slots, 8U));
    }
    /// Spreads the processors evenly, whatever their number.
    [[nodiscard]] static std::uint64_t scale(unsigned shards) noexcept { return (std::uint64_t{shards} << 32) / os::processors(); }
    template <class Sync>
    [[nodiscard]] static unsigned start(unsigned shards, std::uint64_t scale) noexcept {
        const auto i = static_cast<unsigned>((Sync::processor() * scale) >> 32);
        return i < shards ? i : i % shards; // numbers may have gaps, and processors be added
    }
};

/// Threads begin at a word of their own, as long as there are enough.
struct by_thread {
    [[nodiscard]] static constexpr unsigned shards(unsigned slots, unsigned capacity) noexcept {
        return std::max(std::bit_ceil((slots + capacity - 1) / capacity), std::bit_floor(std::min(slots, 64U)));
    }
    [[nodiscard]] static constexpr unsigned fixed_shards(unsigned slots, unsigned capacity) noexcept { return shards(slots, capacity); }
    [[nodiscard]] static constexpr std::uint64_t scale(unsigned shards) noexcept { return shards - 1; }
    template <class Sync>
    [[nodiscard]] static unsigned start(unsigned, std::uint64_t mask) noexcept { return Sync::thread_number() & static_cast<unsigned>(mask); }
};

} // namespace cenote::detail
