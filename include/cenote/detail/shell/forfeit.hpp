// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/core.hpp>
#include <cenote/detail/shell/close.hpp>
#include <cenote/detail/shell/events.hpp>
#include <cenote/error.hpp>

#include <cstdint>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

/// How leases are cut that are out too long. Who ends a lease is decided by its `custody`: give back and cut swap the same word, once.
///
/// A lease that was cut is two things: a session that ends, whose permit is free as soon as its server was told; and a client object,
/// which nobody but its holder touches. The slot is vacant again once he has freed it.
namespace cenote::detail::shell {

/// By the holder, who ends his lease. False: it was cut, and all that is left to do is bury().
template <class Core>
[[nodiscard]] bool reclaim([[maybe_unused]] typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::cuts_leases) return s.reclaim();
    else return true;
}

/// The slot of a lease that was cut is vacant: its holder has freed, or taken, the client's object. The core may be gone afterwards.
template <class Core>
void come_back([[maybe_unused]] Core& c, [[maybe_unused]] typename Core::slot_type& s) noexcept {
    if constexpr (Core::cfg::cuts_leases) {
        static_cast<custody&>(s).bury();
        auto keeper = c.hold_keeper();
        after_retire(&c, c.come_back(s), keeper);
    }
}

/// Cuts one lease after the other, within one time for the servers of all of them.
template <class Core>
class cutter {
public:
    explicit cutter(Core& c) noexcept : c_{c} {}
    cutter(const cutter&) = delete;
    cutter& operator=(const cutter&) = delete;
    /// Tells the servers. Each permit is free as soon as its own server was told, or there was no time for that.
    ~cutter() {
        if (cut_.empty()) return;
        if constexpr (Core::cfg::threads) c_.keeper().step_aside();
        const deadline by = time_for_servers();
        for (one& o : cut_) {
            if (o.token && !by.expired()) c_.driver().sever(*o.token, by);
            freed(o.info);
        }
    }

    /// Cuts the lease whose custody was `seen`, if it is still out: its holder's end at once. False: it is not, or there is no room.
    bool cut(typename Core::slot_type& s, std::uint64_t seen, lease_info info) noexcept {
        if ((seen & custody::state_bits) != custody::out || !c_.begin_cut()) return false;
        decltype(s.token) token;
        bool mine = false;
        {
            // Under the lock of the tokens: its holder drops what is there before the slot can have another connection.
            const std::scoped_lock lock{c_.token_mutex()};
            mine = static_cast<custody&>(s).cut(seen);
            if (mine) {
                s.forks.token_goes();
                token.swap(s.token);
            }
        }
        if (!mine) {
            c_.spare();
            return false;
        }
        info.cut = true;
        const bool later = room_for_one_more();
        if (token) c_.driver().sever(*token, later ? deadline{time_point::min()} : time_for_servers());
        if (later) cut_.push_back({std::move(token), info});
        else freed(info);
        return true;
    }

private:
    struct one {
        decltype(Core::slot_type::token) token;
        lease_info info;
    };
    /// Without memory each is cut in one go.
    [[nodiscard]] bool room_for_one_more() noexcept {
        try {
            cut_.reserve(cut_.size() + 1);
            return true;
        } catch (const std::bad_alloc&) {
            return false;
        }
    }
    [[nodiscard]] deadline time_for_servers() const noexcept {
        return deadline::after(c_.template get<typename Core::cfg::leak>().grace, Core::sync::now());
    }
    void freed(const lease_info& info) noexcept {
        auto keeper = c_.hold_keeper();
        after_retire(&c_, c_.forfeit(), keeper); // not the last: whoever cuts keeps the core
        tell_severed(c_, info);
    }

    Core& c_;
    std::vector<one> cut_;
};

} // namespace cenote::detail::shell
