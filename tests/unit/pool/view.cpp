// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/pool/support.hpp"

#include <cenote/view.hpp>

#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

using namespace pool_test;

namespace {

/// One whose connections have a handle.
struct numbered {
    struct connection {
        int number;
        [[nodiscard]] int* handle() noexcept { return &number; }
    };
    connection open(cenote::deadline) { return {++*opened}; }
    void close(connection&) noexcept { ++*closed; }
    int* opened;
    int* closed;
};
using view = cenote::pool_view<numbered::connection>;
using some_lease = cenote::any_lease<numbered::connection>;

static_assert(sizeof(view) == 16 && sizeof(some_lease) == 16);
static_assert(std::is_nothrow_move_constructible_v<some_lease> && !std::is_copy_constructible_v<some_lease>);

} // namespace

TEST_CASE("a view acquires in every form that its pool has") {
    int opened = 0, closed = 0;
    pool p{numbered{&opened, &closed}, bounded{.max = 1}, manual{}, acquire_timeout{1ms}};
    const view v{p};
    CHECK(v.acquire()->number == 1);
    CHECK(v.acquire(1ms)->number == 1);
    CHECK(v.acquire(cenote::deadline::in(1s))->number == 1);
    CHECK(v.acquire(1ms, std::stop_token{})->number == 1);
    CHECK(v.try_acquire()->number == 1);
    std::error_code code;
    CHECK(v.acquire(code)->number == 1);
    CHECK(v.stats().idle == 1);

    const some_lease held = v.acquire();
    CHECK_THROWS_AS(v.acquire(), cenote::error);
    CHECK_FALSE(v.try_acquire());
    failure why;
    CHECK_FALSE(v.acquire(1ms, why));
    CHECK(why.code == errc::acquire_timeout);
    CHECK_FALSE(v.acquire(cenote::deadline::in(1ms), code));
    CHECK(code == errc::acquire_timeout);
    std::stop_source stopped;
    stopped.request_stop();
    CHECK_FALSE(v.acquire(1s, stopped.get_token(), code));
    CHECK(code == errc::cancelled);
    CHECK(opened == 1);
}

TEST_CASE("an erased lease does what a lease does") {
    int opened = 0, closed = 0;
    pool p{numbered{&opened, &closed}, bounded{.max = 1}, manual{}, leak_threshold{1h}};
    some_lease l{p.acquire()};
    CHECK(l);
    CHECK((*l).number == 1);
    CHECK(l.native_handle() == l->handle());
    l.tag("import");
    REQUIRE(p.inspect().leases.size() == 1);
    CHECK(p.inspect().leases[0].tag == std::string{"import"});

    some_lease other{std::move(l)};
    CHECK_FALSE(l);
    l.tag("nobody");
    l.give_back();
    other.give_back();
    CHECK(p.stats().idle == 1);

    other = p.acquire();
    other.discard();
    CHECK(closed == 1);

    some_lease last{p.acquire()};
    numbered::connection mine = last.detach();
    CHECK_FALSE(last);
    CHECK(mine.number == 2);
    CHECK(p.stats().total == 0);
}
