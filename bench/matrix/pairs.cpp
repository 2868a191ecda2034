// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Every two policies of different families that touch the way of an acquire or a give back, on the bare pool, as far as the judge lets
// them. In MATRIX_PARTS translation units, of which this is one.
#include "cell.hpp"

#include <boost/hana/cartesian_product.hpp>
#include <boost/hana/for_each.hpp>
#include <boost/hana/integral_constant.hpp>
#include <boost/hana/length.hpp>
#include <boost/hana/range.hpp>
#include <boost/hana/tuple.hpp>

#include <string>
#include <type_traits>

namespace {

namespace hana = boost::hana;
using namespace cenote;

template <class Policy>
struct choice {
    using type = Policy;
    const char* name;
};

/// One whose connections are never used up.
struct many_uses : max_uses {
    many_uses() { n = matrix::never; }
};
using touch = decltype(matrix::touch);
constexpr auto families = hana::make_tuple(
    hana::make_tuple(choice<strictly_fair>{"strictly_fair"}, choice<eventually_fair>{"eventually_fair"}, choice<barging>{"barging"}),
    hana::make_tuple(choice<fifo>{"fifo"}),
    hana::make_tuple(choice<with_mutex<>>{"with_mutex"}, choice<lock_free>{"lock_free"}, choice<thread_affine>{"thread_affine"}),
    hana::make_tuple(choice<max_lifetime>{"max_lifetime"}, choice<idle_timeout>{"idle_timeout"}, choice<many_uses>{"max_uses"}),
    hana::make_tuple(choice<peek_after>{"peek_after"}, choice<pre_ping_after>{"pre_ping_after"}, choice<pre_ping>{"pre_ping"}),
    hana::make_tuple(choice<deferred<reset_if_dirty>>{"deferred{reset_if_dirty}"}, choice<at_return<reset_if_dirty>>{"at_return{reset_if_dirty}"},
                     choice<deferred<reset_always>>{"deferred{reset_always}"}, choice<at_return<reset_always>>{"at_return{reset_always}"}),
    hana::make_tuple(choice<leak_threshold>{"leak_threshold"}),
    hana::make_tuple(choice<report_nested>{"report_nested"}, choice<forbid_nested>{"forbid_nested"}),
    hana::make_tuple(choice<counters>{"counters"}, choice<matrix::timing_sink>{"a sink that times leases"}),
    hana::make_tuple(choice<on_acquire<touch>>{"on_acquire"}, choice<on_give_back<touch>>{"on_give_back"}),
    hana::make_tuple(choice<clock::coarse>{"clock::coarse"}));

template <class... P>
struct make {
    auto operator()() const { return pool<null, matrix::bare, P...>{null{}}; }
};

template <class A, class B>
constexpr bool allowed = detail::judge<null, matrix::bare, A, B>() == detail::rule::none;

/// All pairs of one family's policies and another's.
template <int First, int Second>
void enter() {
    hana::for_each(hana::cartesian_product(hana::make_tuple(families[hana::int_c<First>], families[hana::int_c<Second>])), [](auto pair) {
        using a = typename std::remove_cvref_t<decltype(pair[hana::int_c<0>])>::type;
        using b = typename std::remove_cvref_t<decltype(pair[hana::int_c<1>])>::type;
        if constexpr (allowed<a, b>) {
            static const matrix::subject<make<a, b>> here{"pair", std::string{pair[hana::int_c<0>].name} + " + " + pair[hana::int_c<1>].name};
        }
    });
}

/// Pairs of families are dealt to the translation units in turn.
const bool entered = [] {
    constexpr int n = decltype(hana::length(families))::value;
    static_assert(n * (n - 1) / 2 >= MATRIX_PARTS);
    hana::for_each(hana::make_range(hana::int_c<0>, hana::int_c<n * n>), [](auto i) {
        constexpr int first = decltype(i)::value / n, second = decltype(i)::value % n;
        if constexpr (first < second && (first + second * (second - 1) / 2) % MATRIX_PARTS == MATRIX_PART) enter<first, second>();
    });
    return true;
}();

} // namespace
