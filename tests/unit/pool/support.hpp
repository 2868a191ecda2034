// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/pool.hpp>
#include <cenote/testing/manual_clock.hpp>
#include <cenote/testing/scripted.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

/// What the tests of the pool have in common: the script that watches, and the invariants that hold in all of them.
namespace pool_test {

using namespace std::chrono_literals;
using namespace cenote;
using cenote::testing::basic_scripted;
using cenote::testing::manual_clock;
using cenote::testing::outcome;
using cenote::testing::refinement;
using cenote::testing::script;
using cenote::testing::scripted;
using cenote::testing::site;
using door = cenote::testing::gate;
using Catch::Matchers::ContainsSubstring;

/// Long enough for whatever happens at all, on any machine.
inline constexpr auto patience = 30s;

/// Waits until `f()` holds; false if that did not happen in a very long time.
template <class F>
[[nodiscard]] bool eventually(F f) {
    const deadline by = deadline::in(patience);
    while (!f()) {
        if (by.expired()) return false;
        std::this_thread::sleep_for(200us);
    }
    return true;
}

/// The gauges of one instant add up and stay below the maximum (inv-1).
inline void check_sums(const pool_stats& s) {
    CHECK(s.idle + s.used + s.opening + s.closing + s.resetting == s.total);
    CHECK(s.total <= s.max);
}

/// The gauges, in one value that a test can compare.
struct gauges {
    std::uint64_t idle = 0, used = 0, opening = 0, closing = 0, resetting = 0;
    bool operator==(const gauges&) const = default;
};
inline std::ostream& operator<<(std::ostream& to, const gauges& g) {
    return to << "idle " << g.idle << ", used " << g.used << ", opening " << g.opening << ", closing " << g.closing << ", resetting "
              << g.resetting;
}
[[nodiscard]] inline gauges gauges_of(const pool_stats& s) { return {s.idle, s.used, s.opening, s.closing, s.resetting}; }
[[nodiscard]] gauges gauges_of(const any_pool auto& p) {
    const pool_stats s = p.stats();
    check_sums(s);
    return gauges_of(s);
}
/// Waits until the pool's gauges are these.
[[nodiscard]] bool becomes(const any_pool auto& p, const gauges& g) {
    return eventually([&] { return gauges_of(p.stats()) == g; }) && gauges_of(p) == g;
}

/// The script of a test. At its end, which must come after that of the pool and of all leases: nothing forbidden was done, no
/// connection was in two hands or reached anybody dirty, as many were closed as opened (inv-1, inv-3, inv-8).
class watched : public script {
public:
    watched() = default;
    explicit watched(std::size_t most) { limit(most); }
    ~watched() {
        (void)eventually([this] { return open_now() == 0 || opened() != closed() + detached() + open_now(); });
        CHECK(violations_at_end() == std::vector<std::string>{});
    }
    watched(const watched&) = delete;
    watched& operator=(const watched&) = delete;
};

/// Uses a leased connection as a well-behaved user would. False if there is none, or something is left of an earlier lease (inv-4).
/// Catch's assertions are for one thread only, so other threads of a test return what they saw.
[[nodiscard]] bool good(auto&& lease) {
    if (!lease) return false;
    const auto held = lease->hold();
    lease->use();
    return lease->pristine();
}

/// As many leases as asked for.
template <any_pool Pool>
[[nodiscard]] std::vector<typename Pool::lease> hold(Pool& p, std::size_t n) {
    std::vector<typename Pool::lease> all;
    for (std::size_t i = 0; i < n; ++i) all.push_back(p.acquire(timeout{patience}));
    return all;
}
/// Leaves so many connections idle, or more.
void open_idle(any_pool auto& p, std::size_t n) { (void)hold(p, n); }

/// How many connections were closed for this reason, of a pool with `counters`.
[[nodiscard]] std::uint64_t ended(const any_pool auto& p, close_reason why) { return p.template get<counters>().closed_for(why); }

/// Everything that can be acquired is acquired at once, and not one more: no slot was lost (inv-2). Leaves all of it given back.
void check_capacity(any_pool auto& p, std::size_t max) {
    std::vector<typename std::remove_cvref_t<decltype(p)>::lease> all;
    for (std::size_t i = 0; i < max; ++i) {
        failure why;
        all.push_back(p.acquire(timeout{patience}, why));
        INFO(why.text());
        REQUIRE(all.back());
        CHECK(good(all.back()));
    }
    CHECK_FALSE(p.try_acquire());
}

/// Whether two threads that wait for a connection get one each when `grow()` has made room for them.
template <class F>
[[nodiscard]] bool serves_two(any_pool auto& p, F grow) {
    bool a = false, b = false;
    std::jthread first{[&] { a = good(p.acquire(timeout{patience})); }};
    std::jthread second{[&] { b = good(p.acquire(timeout{patience})); }};
    REQUIRE(eventually([&] { return p.stats().pending == 2; }));
    grow();
    first.join();
    second.join();
    return a && b;
}

/// The error code that `f` throws as a cenote::error; none if it throws nothing.
template <class F>
[[nodiscard]] std::error_code code_of(F f) {
    try {
        f();
    } catch (const error& e) {
        CHECK(e.code() == e.why().code);
        CHECK(std::string{e.what()} == e.why().text());
        CHECK(e.why().seen != nullptr);
        return e.code();
    }
    return {};
}

/// What `f` throws as std::invalid_argument says.
template <class F>
[[nodiscard]] std::string refusal(F f) {
    try {
        f();
    } catch (const std::invalid_argument& e) {
        return e.what();
    }
    return "nothing was refused";
}

/// What is told to a `recorder`, shared so that it outlives the pool.
class journal {
public:
    void write(std::string line) {
        const std::scoped_lock lock{m_};
        lines_.push_back(std::move(line));
    }
    [[nodiscard]] std::vector<std::string> lines() const {
        const std::scoped_lock lock{m_};
        return lines_;
    }
    /// What was written since the last call.
    std::vector<std::string> take() {
        const std::scoped_lock lock{m_};
        return std::exchange(lines_, {});
    }
    [[nodiscard]] std::size_t count(std::string_view start) const {
        const std::scoped_lock lock{m_};
        std::size_t n = 0;
        for (const auto& l : lines_) n += l.starts_with(start) ? 1U : 0U;
        return n;
    }

private:
    mutable std::mutex m_;
    std::vector<std::string> lines_;
};
using lines = std::vector<std::string>;

/// A sink that writes down everything it is told. The durations are left out but for whether there were any.
struct recorder {
    using family = family::metrics;
    std::shared_ptr<journal> to = std::make_shared<journal>();

    void on_acquired(const acquired_event& e) { to->write(e.opened ? "acquired, opened" : "acquired"); }
    void on_returned(const returned_event& e) { to->write(e.dirty ? "returned dirty" : "returned"); }
    void on_refused(const refused_event& e) { to->write("refused: " + make_error_code(e.why).message()); }
    void on_opened(const opened_event&) { to->write("opened"); }
    void on_open_failed(const open_failed_event& e) { to->write("open failed: " + e.error.text); }
    void on_closed(const closed_event& e) { to->write("closed: " + std::string{to_string(e.why)}); }
    void on_waited(duration) { to->write("waited"); }
    void on_dirty() { to->write("dirty"); }
    void on_detached() { to->write("detached"); }
    void on_validation_failed() { to->write("validation failed"); }
    void on_reset_failed() { to->write("reset failed"); }
    void on_nested() { to->write("nested"); }
    void on_leak(const lease_info& l) { to->write("leak " + std::string{l.tag == nullptr ? "-" : l.tag}); }
    void on_leak_returned(const lease_info& l) { to->write("leak returned " + std::string{l.tag == nullptr ? "-" : l.tag}); }
};

} // namespace pool_test
