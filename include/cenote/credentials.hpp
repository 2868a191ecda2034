// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace cenote {

/// What a connection logs in with. An empty user: the one that the driver's options name.
struct login {
    std::string user{};
    std::string password{};
};

/// Where a driver gets its password from each time that it opens a connection: for passwords that rotate, and tokens that expire.
///
///     cenote::credentials secret{[] { return cenote::login{.password = fetch_token()}; }};
///     cenote::pool db{cenote::postgres{{.conninfo = "host=db user=web", .credentials = secret}}};
///     secret.set({.password = rotated});      // from now on
///     db.invalidate_all();                    // and let no session go on that logged in with the old one
///
/// A copy is a second handle to the same source.
/// Called   the source on the thread that opens the connection (the pool's own, unless `manual`), by several at once; it may take its time,
///          which counts as connecting.
/// Errors   what the source throws comes out of `open`: throw a driver_error of a class that is retried (`not_ready`, `timeout`) if it may pass.
class credentials {
public:
    using source = std::function<login()>;

    /// None: what the driver's options say.
    credentials() = default;
    explicit credentials(source s) : state_{std::make_shared<state>()} { set(std::move(s)); }
    explicit credentials(login fixed) : state_{std::make_shared<state>()} { set(std::move(fixed)); }

    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

    /// For every connection that is opened from now on. On an empty handle: makes it one of its own.
    void set(source s) {
        if (!state_) state_ = std::make_shared<state>();
        auto fresh = std::make_shared<const source>(std::move(s));
        const std::scoped_lock lock{state_->m};
        state_->now.swap(fresh);
    }
    void set(login fixed) {
        set([fixed = std::move(fixed)] { return fixed; });
    }

    /// What to log in with now. Not on an empty handle.
    [[nodiscard]] login get() const {
        std::shared_ptr<const source> now;
        {
            const std::scoped_lock lock{state_->m};
            now = state_->now;
        }
        return (*now)();
    }

private:
    struct state {
        std::mutex m;
        std::shared_ptr<const source> now;
    };
    std::shared_ptr<state> state_;
};

} // namespace cenote
