// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Two policies of one's own: an age limit for credentials that are rotated, and a metrics sink.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>

#include <array>
#include <atomic>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

/// Replaces every connection opened before the last rotate(), at its next use or while it is idle. None in use is cut.
class credentials {
public:
    using family = cenote::family::age;              // which concept it models: see policy/age.hpp
    using needs = cenote::facts<cenote::opened_at>;  // what each connection must remember for it
    static constexpr bool at_checkout = true, at_return = true, while_idle = true;
    static constexpr cenote::close_reason reason = cenote::close_reason::custom;

    explicit credentials(std::atomic<cenote::time_point>& rotated) : rotated_{&rotated} {}
    bool expired(const auto& facts, cenote::time_point) const noexcept { return facts.opened < rotated_->load(); }

private:
    std::atomic<cenote::time_point>* rotated_; // the policy is moved into the pool; what it looks at stays outside
};

/// Counts how long leases were held: below 1 ms, 10 ms, 100 ms, and longer. Called from any thread, so atomics.
class hold_times {
public:
    using family = cenote::family::metrics;
    hold_times() = default;
    hold_times(hold_times&&) noexcept {} // atomics do not move; the pool moves a sink only before its first use

    void on_returned(const cenote::returned_event& e) noexcept {
        ++buckets_[e.used < 1ms ? 0 : e.used < 10ms ? 1 : e.used < 100ms ? 2 : 3];
    }
    void on_closed(const cenote::closed_event& e) noexcept { std::cout << "closed: " << to_string(e.why) << '\n'; }
    friend std::ostream& operator<<(std::ostream& out, const hold_times& h) {
        return out << "< 1 ms: " << h.buckets_[0] << ", < 10 ms: " << h.buckets_[1] << ", < 100 ms: " << h.buckets_[2] << ", longer: " << h.buckets_[3];
    }

private:
    std::array<std::atomic<unsigned>, 4> buckets_{};
};

int main() {
    std::atomic<cenote::time_point> rotated{cenote::time_point::min()};
    cenote::pool db{cenote::sqlite{"file:custom_policy?mode=memory&cache=shared"}, credentials{rotated}, hold_times{},
                    cenote::clock::steady{}, cenote::manual{}};

    const void* first = db.acquire().native_handle();
    std::cout << "reused: " << (db.acquire().native_handle() == first ? "yes" : "no") << '\n';

    rotated = std::chrono::steady_clock::now();
    auto lease = db.acquire();
    std::this_thread::sleep_for(120ms);
    lease.give_back();

    std::cout << "held " << db.get<hold_times>() << '\n';
}
