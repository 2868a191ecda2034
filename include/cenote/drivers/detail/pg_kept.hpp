// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <unistd.h>

namespace cenote::drivers::pg {

/// Counts the changes of the schema that have made plans of a driver's connections useless.
using plan_age = std::shared_ptr<std::atomic<std::uint64_t>>;

/// The prepared statements that one connection keeps, at most so many: the one used longest ago goes first. Knows no server: what is to
/// be deallocated there is put aside until somebody has the time.
class kept_statements {
public:
    struct entry {
        std::string key, name;
        std::uint64_t age;
    };

    kept_statements(std::size_t most, plan_age now) : now_{std::move(now)}, most_{most}, prefix_{unique()} {}

    /// The name of the one that is kept under this key; null: there is none, or it was made before the schema changed.
    [[nodiscard]] const std::string* find(std::string_view key) {
        const auto at = index_.find(key);
        if (at == index_.end()) return nullptr;
        if (at->second->age != now_->load(std::memory_order_relaxed)) {
            drop(key);
            return nullptr;
        }
        used_.splice(used_.begin(), used_, at->second);
        return &used_.front().name;
    }
    /// A name nobody else has, not even behind a pooler that mixes the statements of its clients: theirs would be run for ours.
    [[nodiscard]] std::string name() { return prefix_ + std::to_string(++names_); }
    const std::string& add(std::string key, std::string name, std::uint64_t age) {
        while (used_.size() >= most_) drop(used_.back().key);
        used_.push_front({std::move(key), std::move(name), age});
        try {
            index_.emplace(used_.front().key, used_.begin());
        } catch (...) {
            aside_.splice(aside_.end(), used_, used_.begin());
            throw;
        }
        return used_.front().name;
    }
    [[nodiscard]] std::uint64_t age() const noexcept { return now_->load(std::memory_order_relaxed); }

    /// Of no more use, but still there.
    void drop(std::string_view key) noexcept {
        const auto at = index_.find(key);
        if (at == index_.end()) return;
        const auto which = at->second;
        index_.erase(at);
        aside_.splice(aside_.end(), used_, which);
    }
    void drop_all() noexcept {
        index_.clear();
        aside_.splice(aside_.end(), used_);
    }
    /// No longer there.
    void forget() noexcept {
        index_.clear();
        used_.clear();
        aside_.clear();
    }
    /// The tag of a command that was run.
    void heard(std::string_view tag) noexcept {
        if (tag == "DISCARD ALL" || tag == "DEALLOCATE ALL") forget();
    }
    /// The schema has changed under one: the others of all connections are no longer trusted.
    void outdated() noexcept { now_->fetch_add(1, std::memory_order_relaxed); }

    [[nodiscard]] std::size_t size() const noexcept { return used_.size(); }
    /// What is to be deallocated.
    [[nodiscard]] const std::list<entry>& aside() const noexcept { return aside_; }
    void dropped() noexcept { aside_.pop_front(); }

private:
    [[nodiscard]] static std::string unique() {
        static std::atomic<std::uint64_t> n{0};
        const auto now = std::chrono::system_clock::now().time_since_epoch().count();
        std::string out = "cenote";
        for (const std::uint64_t part : {static_cast<std::uint64_t>(::getpid()), static_cast<std::uint64_t>(now), n++}) {
            std::array<char, 16> digits{};
            const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), part, 16);
            out.append("_").append(digits.data(), end.ptr);
        }
        return out + "_";
    }

    std::list<entry> used_, aside_;
    std::unordered_map<std::string_view, std::list<entry>::iterator> index_;
    plan_age now_;
    std::size_t most_;
    std::string prefix_;
    std::uint64_t names_ = 0;
};

} // namespace cenote::drivers::pg
