// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/session/lock_options.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

// What goes wrong with locks, in words.
namespace cenote::detail {

inline const lock_clock& clock_of(const lock_options& o) noexcept {
    static const union immortal { // a lock may end after main
        immortal() noexcept : clock{} {}
        ~immortal() {}
        lock_clock clock;
    } steady;
    return o.clock != nullptr ? *o.clock : steady.clock;
}

/// Never throws: without memory the code goes alone.
[[nodiscard]] inline failure lock_failure(errc why, duration lasted, const auto& key, std::string_view detail) noexcept {
    failure out{make_error_code(why), nullptr};
    try {
        auto found = std::make_shared<evidence>();
        found->waited = lasted;
        found->detail = key.text();
        if (!detail.empty()) found->detail.append(": ").append(detail);
        out.seen = std::move(found);
    } catch (...) { // out of memory
    }
    return out;
}

inline constexpr std::string_view pooler_in_between =
    "another session answers than the one that logged in, so a pooler is in between; in its transaction mode the lock would be held by a "
    "session that others use. Connect to the server itself, use lock_in_transaction, or say session_pooler = true if it pools whole sessions";

/// What a driver says: text and SQLSTATE, both scrubbed by it.
[[nodiscard]] inline std::string words_of(const std::exception& e) {
    std::string out{e.what()};
    if (const auto* own = dynamic_cast<const driver_error*>(&e); own != nullptr && !own->sqlstate().empty()) {
        out.append(" (SQLSTATE ").append(own->sqlstate()).append(")");
    }
    return out;
}

[[nodiscard]] inline std::string refusal(std::optional<std::int64_t> answer) {
    return answer == -1 ? std::string{pooler_in_between} : "the server says that the session does not hold it";
}

} // namespace cenote::detail
