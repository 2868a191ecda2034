// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/detail/shell/acquire.hpp>
#include <cenote/detail/shell/give_back.hpp>
#include <cenote/detail/shell/inspect.hpp>
#include <cenote/detail/shell/request.hpp>
#include <cenote/error.hpp>
#include <cenote/lease.hpp>
#include <cenote/pool.hpp>
#include <cenote/stats.hpp>

#include <cassert>
#include <exception>
#include <source_location>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace cenote {
namespace detail {

/// What an erased lease can do, one table per core type.
template <class Connection>
struct lease_table {
    Connection& (*connection)(void*) noexcept;
    void (*give_back)(void*) noexcept;
    void (*discard)(void*, error_class because) noexcept;
    Connection (*detach)(void*);
    void (*tag)(void*, const char*) noexcept;
};

template <class Core>
inline constexpr lease_table<typename Core::connection_type> lease_table_of{
    .connection = [](void* s) noexcept -> typename Core::connection_type& { return static_cast<typename Core::slot_type*>(s)->conn; },
    .give_back = [](void* s) noexcept { shell::give_back<Core>(*static_cast<typename Core::slot_type*>(s)); },
    .discard = [](void* s, error_class because) noexcept { shell::discard<Core>(*static_cast<typename Core::slot_type*>(s), because); },
    .detach = [](void* s) { return shell::detach<Core>(*static_cast<typename Core::slot_type*>(s)); },
    .tag = [](void* s, const char* text) noexcept { shell::tag<Core>(*static_cast<typename Core::slot_type*>(s), text); },
};

/// An erased acquire: a slot, or null and the failure or the hook's exception.
struct erased_result {
    void* slot = nullptr;
    failure why{};
    std::exception_ptr from_hook{};
};

struct erased_request : shell::timed_request<std::stop_token> {
    erased_result* out;
    bool evidence;

    template <class Core>
    void refused(Core& c, const shell::taken<Core>& got) const noexcept {
        out->from_hook = got.from_hook;
        out->why = shell::failure_of(c, got, evidence);
    }
};

template <class Connection>
struct pool_table {
    erased_result (*acquire)(void*, const shell::budget*, const std::stop_token&, const std::source_location&, bool evidence) noexcept;
    pool_stats (*stats)(void*) noexcept;
    const lease_table<Connection>* lease;
};

template <class Core>
inline constexpr pool_table<typename Core::connection_type> pool_table_of{
    .acquire = [](void* p, const shell::budget* b, const std::stop_token& stop, const std::source_location& at, bool evidence) noexcept {
        Core& c = *static_cast<Core*>(p);
        erased_result out;
        const shell::budget allowed = b != nullptr ? *b : shell::budget{timeout{c.budget()}};
        out.slot = shell::acquire(c, at, erased_request{{allowed, &stop}, &out, evidence});
        return out;
    },
    .stats = [](void* p) noexcept { return shell::stats(*static_cast<Core*>(p)); },
    .lease = &lease_table_of<Core>,
};

} // namespace detail

/// A lease of a connection, whatever pool it comes from: what functions in a .cpp file take and return.
///
/// 16 bytes, move-only; any lease of a pool over the same connection type converts to it.
/// Cost     one indirect call per use, give back and discard.
template <class Connection>
class any_lease {
public:
    using connection_type = Connection;

    any_lease() noexcept = default;
    template <class Core>
        requires std::same_as<typename Core::connection_type, Connection>
    any_lease(lease<Core>&& from) noexcept : slot_{from.release()}, table_{&detail::lease_table_of<Core>} {}
    any_lease(any_lease&& other) noexcept : slot_{std::exchange(other.slot_, nullptr)}, table_{other.table_} {}
    any_lease& operator=(any_lease&& other) noexcept {
        if (this != &other) {
            give_back();
            slot_ = std::exchange(other.slot_, nullptr);
            table_ = other.table_;
        }
        return *this;
    }
    ~any_lease() { give_back(); }

    [[nodiscard]] explicit operator bool() const noexcept { return slot_ != nullptr; }
    [[nodiscard]] Connection& operator*() const noexcept {
        assert(slot_ != nullptr && "cenote: use of an empty lease");
        return table_->connection(slot_);
    }
    [[nodiscard]] Connection* operator->() const noexcept { return &**this; }

    /// What the client library's own functions take: the connection's `handle()`.
    [[nodiscard]] auto native_handle() const
        requires requires(Connection& c) { c.handle(); }
    {
        return (**this).handle();
    }

    /// As in `lease`.
    void give_back() noexcept {
        if (slot_ != nullptr) table_->give_back(std::exchange(slot_, nullptr));
    }
    void discard(error_class because = error_class::other) noexcept {
        if (slot_ != nullptr) table_->discard(std::exchange(slot_, nullptr), because);
    }
    [[nodiscard]] Connection detach() {
        assert(slot_ != nullptr && "cenote: detach() of an empty lease");
        Connection taken = table_->detach(slot_);
        slot_ = nullptr;
        return taken;
    }
    void tag(const char* text) const noexcept {
        if (slot_ != nullptr) table_->tag(slot_, text);
    }

private:
    friend class pool_view<Connection>;
    any_lease(void* slot, const detail::lease_table<Connection>* table) noexcept : slot_{slot}, table_{table} {}

    void* slot_ = nullptr;
    const detail::lease_table<Connection>* table_ = nullptr;
};

/// A pool seen from a .cpp file that does not know its policies: `void work(cenote::pool_view<my_connection> db);`.
///
/// 16 bytes, copyable, does not own: the pool must outlive it and stay where it is if it is a `fixed<N>` one.
/// Cost     one indirect call per acquire; everything else as the pool's own.
template <class Connection>
class pool_view {
public:
    using connection_type = Connection;
    using lease = any_lease<Connection>;
    using where = std::source_location;

    template <class Driver, class... P>
        requires std::same_as<typename pool<Driver, P...>::connection_type, Connection> &&
                 std::same_as<typename pool<Driver, P...>::stop_token, std::stop_token>
    pool_view(pool<Driver, P...>& p) noexcept : core_{&p.core()}, table_{&detail::pool_table_of<typename pool<Driver, P...>::core_type>} {}

    [[nodiscard]] lease acquire(where at = where::current()) const { return take_or_throw(nullptr, {}, at); }
    [[nodiscard]] lease acquire(timeout t, where at = where::current()) const {
        const detail::shell::budget b{t};
        return take_or_throw(&b, {}, at);
    }
    [[nodiscard]] lease acquire(deadline d, std::stop_token stop = {}, where at = where::current()) const {
        const detail::shell::budget b{d};
        return take_or_throw(&b, stop, at);
    }
    [[nodiscard]] lease acquire(timeout t, std::stop_token stop, where at = where::current()) const {
        const detail::shell::budget b{t};
        return take_or_throw(&b, stop, at);
    }
    [[nodiscard]] lease acquire(fail_to f, where at = where::current()) const noexcept { return take_or_tell(nullptr, {}, f, at); }
    [[nodiscard]] lease acquire(timeout t, fail_to f, where at = where::current()) const noexcept {
        const detail::shell::budget b{t};
        return take_or_tell(&b, {}, f, at);
    }
    [[nodiscard]] lease acquire(timeout t, std::stop_token stop, fail_to f, where at = where::current()) const noexcept {
        const detail::shell::budget b{t};
        return take_or_tell(&b, stop, f, at);
    }
    [[nodiscard]] lease acquire(deadline d, fail_to f, where at = where::current()) const noexcept {
        const detail::shell::budget b{d};
        return take_or_tell(&b, {}, f, at);
    }
    [[nodiscard]] lease acquire(deadline d, std::stop_token stop, fail_to f, where at = where::current()) const noexcept {
        const detail::shell::budget b{d};
        return take_or_tell(&b, stop, f, at);
    }
    [[nodiscard]] lease try_acquire(where at = where::current()) const noexcept {
        const auto b = detail::shell::budget::none();
        return {table_->acquire(core_, &b, {}, at, false).slot, table_->lease};
    }
    [[nodiscard]] pool_stats stats() const noexcept { return table_->stats(core_); }

private:
    [[nodiscard]] lease take_or_throw(const detail::shell::budget* b, const std::stop_token& stop, const where& at) const {
        detail::erased_result got = table_->acquire(core_, b, stop, at, true);
        if (got.slot == nullptr) {
            if (got.from_hook) std::rethrow_exception(got.from_hook);
            throw error{std::move(got.why)};
        }
        return {got.slot, table_->lease};
    }
    [[nodiscard]] lease take_or_tell(const detail::shell::budget* b, const std::stop_token& stop, fail_to f, const where& at) const noexcept {
        detail::erased_result got = table_->acquire(core_, b, stop, at, f.wants_evidence());
        if (got.slot == nullptr) f.set(std::move(got.why));
        else f.clear();
        return {got.slot, table_->lease};
    }

    void* core_;
    const detail::pool_table<Connection>* table_;
};

template <class Driver, class... P>
pool_view(pool<Driver, P...>&) -> pool_view<typename pool<Driver, P...>::connection_type>;

} // namespace cenote
