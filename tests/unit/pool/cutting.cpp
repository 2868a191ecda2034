// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <atomic>
#include <cstddef>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using namespace pool_test;

namespace {

template <class D, class... P>
using cutting_of = typename pool<D, P...>::core_type::cfg::cutting;
using no_interrupter = basic_scripted<refinement::all - refinement::interrupt>;

static_assert(std::is_same_v<cutting_of<scripted>, cut_at_close> && std::is_same_v<cutting_of<scripted, manual>, cut_at_close>,
              "where the driver can");
static_assert(std::is_same_v<cutting_of<no_interrupter>, never_cut>);
static_assert(std::is_same_v<cutting_of<scripted, single_threaded>, never_cut> && std::is_same_v<cutting_of<scripted, fixed<2>>, never_cut>);
static_assert(std::is_same_v<cutting_of<scripted, profile::bare<2>, with_mutex<>, bounded>, never_cut>, "off in profile::bare");

/// What the driver is asked, in order.
struct watcher {
    explicit watcher(script& s) {
        for (const site where : {site::cancel, site::sever, site::close}) {
            s.on(where, [this](const cenote::testing::call& c) {
                const std::scoped_lock lock{m};
                seen.push_back(std::string{to_string(c.where)} + " " + std::to_string(c.connection));
            });
        }
    }
    [[nodiscard]] lines take() {
        const std::scoped_lock lock{m};
        return std::exchange(seen, {});
    }
    std::mutex m;
    lines seen;
};

} // namespace

TEST_CASE("close cuts what is still out at its deadline, and holders get an error and give it back") {
    watched s{2};
    watcher driver{s};
    pool p{scripted{s}, bounded{.max = 2}, cut_at_close{patience}};
    auto idle = p.acquire(timeout{patience});
    std::atomic<bool> held{false};
    error_class got = error_class::other;
    std::jthread holder{[&] {
        auto l = p.acquire(timeout{patience});
        held = true;
        try {
            while (true) l->use();
        } catch (const driver_error& e) {
            got = e.kind();
        }
    }};
    REQUIRE(eventually([&] { return held.load(); }));
    idle.give_back();
    const close_report r = p.close(deadline::in(0s));
    holder.join();
    CHECK(got == error_class::disconnected);
    CHECK(r.drained);
    CHECK(r.cut == 1);
    CHECK(r.still_out == 0);
    CHECK(s.calls(site::sever) == 2); // at this end, and then at the server; not what was idle
    CHECK(s.calls(site::cancel) == 0);
}

TEST_CASE("what does not come back although it was cut is reported, once the grace is over") {
    watched s{2};
    pool p{scripted{s}, bounded{.max = 2}, cut_at_close{0s}, leak_threshold{1h}};
    auto a = p.acquire(timeout{patience});
    auto b = p.acquire(timeout{patience});
    a.tag("stays");
    const close_report r = p.close(deadline::in(0s));
    CHECK_FALSE(r.drained);
    CHECK(r.cut == 2);
    CHECK(r.still_out == 2);
    REQUIRE(r.holders.size() == 2);
    CHECK(a->lost());
    CHECK(b->lost());
    b.give_back();
    const close_report again = p.close(deadline::in(0s));
    CHECK(again.cut == 0); // once is enough
    CHECK(again.still_out == 1);
    CHECK(s.calls(site::sever) == 2);
    a.give_back();
    CHECK(p.close(deadline::in(patience)).drained);
}

TEST_CASE("close cuts nobody who comes back in time") {
    watched s{1};
    pool p{scripted{s}, bounded{.max = 1}};
    auto l = p.acquire(timeout{patience});
    close_report r;
    std::jthread closer{[&] { r = p.close(deadline::in(patience)); }};
    REQUIRE(eventually([&] {
        std::error_code why;
        (void)p.acquire(0s, why);
        return why == errc::pool_closed;
    }));
    l->use();
    l.give_back();
    closer.join();
    CHECK(r.drained);
    CHECK(r.cut == 0);
    CHECK(s.calls(site::sever) == 0);
}

TEST_CASE("never_cut leaves leases alone, and statements") {
    watched s{2};
    watcher driver{s};
    pool p{scripted{s}, manual{}, bounded{.max = 2}, never_cut{}};
    auto a = p.acquire();
    auto b = p.acquire();
    b->leave_busy();
    b.discard();
    const close_report r = p.close(deadline::in(0s));
    CHECK(r.cut == 0);
    CHECK(r.still_out == 1);
    CHECK(good(a));
    a.give_back();
    CHECK(driver.take() == lines{"close 2", "close 1"});
    CHECK(s.calls(site::interrupter) == 0);
}

TEST_CASE("a dial that hangs is no lease: close neither cuts nor waits for it") {
    watched s{1};
    door opening;
    s.next(site::open, outcome::ok().after(opening));
    {
        pool p{scripted{s}, bounded{.max = 1}, background_thread{.patience = 0ms}, cut_at_close{1h}};
        CHECK_FALSE(p.try_acquire());
        REQUIRE(opening.await(1));
        const close_report r = p.close(deadline::in(0s));
        CHECK(r.cut == 0);
        CHECK(r.still_out == 1);
        CHECK(s.calls(site::sever) == 0);
    }
    opening.open();
    REQUIRE(eventually([&] { return s.closed() == 1; }));
}

TEST_CASE("what is being cleaned or tested is cut, too, but counts as no lease") {
    watched s{1};
    door cleaning;
    pool p{scripted{s}, bounded{.max = 1}, background<reset_if_dirty>{}, cut_at_close{0s}};
    s.next(site::rollback, outcome::ok().after(cleaning));
    auto l = p.acquire(timeout{patience});
    l->begin();
    l.give_back();
    REQUIRE(cleaning.await(1));
    const close_report r = p.close(deadline::in(0s));
    CHECK(r.cut == 0);
    CHECK(r.still_out == 1);
    CHECK(s.calls(site::sever) == 1);
    cleaning.open();
    CHECK(p.close(deadline::in(patience)).drained);
}

TEST_CASE("a detached connection is not the pool's to cut") {
    watched s{2};
    pool p{scripted{s}, manual{}, bounded{.max = 2}, cut_at_close{0s}};
    watcher driver{s};
    auto l = p.acquire();
    auto held = p.acquire();
    l->mark_detached();
    auto mine = l.detach();
    const close_report r = p.close(deadline::in(0s));
    CHECK(r.cut == 1);
    CHECK(driver.take() == lines{"sever 2"});
    mine.use();
}

TEST_CASE("a connection that is closed in the middle of a statement has it cancelled first") {
    watched s{1};
    watcher driver{s};
    const auto busy = [](auto& p) {
        auto l = p.acquire(timeout{patience});
        l->leave_busy();
        return l;
    };
    const lines both{"cancel 1", "close 1"};
    SECTION("discarded, on the background thread") {
        pool p{scripted{s}, bounded{.max = 1}};
        busy(p).discard();
        REQUIRE(becomes(p, {}));
        CHECK(driver.take() == both);
    }
    SECTION("but not by a caller, who would have to wait for it") {
        pool p{scripted{s}, manual{}, bounded{.max = 1}};
        busy(p).discard();
        CHECK(driver.take() == lines{"close 1"});
    }
    SECTION("when it was invalidated meanwhile") {
        pool p{scripted{s}, bounded{.max = 1}};
        auto l = busy(p);
        p.invalidate_all();
        l.give_back();
        REQUIRE(becomes(p, {}));
        CHECK(driver.take() == both);
    }
    SECTION("when its clean-up failed") {
        pool p{scripted{s}, bounded{.max = 1}, background<reset_if_dirty>{}};
        s.next(site::rollback, outcome::fail(error_class::timeout));
        busy(p).give_back();
        REQUIRE(becomes(p, {}));
        CHECK(driver.take() == both);
    }
    SECTION("but not what is idle") {
        pool p{scripted{s}, manual{}, bounded{.max = 1}};
        p.acquire().discard();
        CHECK(driver.take() == lines{"close 1"});
    }
}

TEST_CASE("a statement that cannot be cancelled ends with its connection") {
    watched s{3};
    pool p{scripted{s}, bounded{.max = 3}};
    for (const auto& fails : {outcome::fail(error_class::timeout), outcome::throw_std(), outcome::throw_int()}) {
        s.next(site::cancel, fails);
        auto l = p.acquire();
        l->leave_busy();
        l.discard();
        CHECK(becomes(p, {}));
    }
    CHECK(s.calls(site::cancel) == 3);
    duration left{};
    s.on(site::cancel, [&](const cenote::testing::call& c) { left = c.by.remaining(); });
    auto l = p.acquire();
    l->leave_busy();
    l.discard();
    CHECK(becomes(p, {}));
    CHECK(left > 0s);
    CHECK(left <= 1s);
}

TEST_CASE("a connection that was cut is not cancelled as well") {
    watched s{1};
    watcher driver{s};
    pool p{scripted{s}, manual{}, bounded{.max = 1}, cut_at_close{0s}};
    auto l = p.acquire();
    l->leave_busy();
    CHECK(p.close(deadline::in(0s)).cut == 1);
    l.discard();
    CHECK(driver.take() == lines{"sever 1", "close 1"});
}

TEST_CASE("a driver that cannot make an interrupter has failed to connect") {
    watched s{1};
    pool p{scripted{s}, manual{}, bounded{.max = 1}};
    for (const auto& fails : {outcome::fail(error_class::timeout), outcome::throw_std("no descriptor"), outcome::throw_int()}) {
        s.next(site::interrupter, fails);
        std::error_code why;
        CHECK_FALSE(p.acquire(timeout{patience}, why));
        CHECK((why == errc::connect_failed || why == errc::connect_timeout));
        CHECK(gauges_of(p) == gauges{});
    }
    CHECK(s.opened() == 3);
    CHECK(s.closed() == 3);
    CHECK(good(p.acquire()));
}

TEST_CASE("one interrupter is made for each connection, and none for each lease") {
    watched s{2};
    pool p{scripted{s}, manual{}, bounded{.max = 2}};
    auto a = p.acquire();
    for (int i = 0; i < 5; ++i) (void)p.acquire();
    CHECK(s.calls(site::interrupter) == 2);
}

TEST_CASE("a fixed pool cuts, if it is told to") {
    watched s{2};
    pool p{scripted{s}, fixed<2>{}, cut_at_close{0s}};
    auto l = p.acquire();
    CHECK(p.close(deadline::in(0s)).cut == 1);
    CHECK(l->lost());
    l.give_back();
    CHECK(p.close(deadline::in(0s)).drained);
}

TEST_CASE("several threads close and cut at once, and each connection is cut once") {
    for (int round = 0; round < 20; ++round) {
        watched s{4};
        pool p{scripted{s}, bounded{.max = 4}, cut_at_close{patience}};
        std::atomic<unsigned> holding{0}, cut{0};
        std::vector<std::jthread> all;
        for (int i = 0; i < 4; ++i) {
            all.emplace_back([&] {
                auto l = p.acquire(timeout{patience});
                ++holding;
                try {
                    while (true) l->use();
                } catch (const driver_error&) {
                }
            });
        }
        REQUIRE(eventually([&] { return holding == 4; }));
        for (int i = 0; i < 2; ++i) {
            all.emplace_back([&] { cut += p.close(deadline::in(0s)).cut; });
        }
        all.clear();
        CHECK(cut == 4);
        CHECK(s.calls(site::sever) == 8); // each by one of them: at this end, and then at the server
    }
}
