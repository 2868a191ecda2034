// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <concepts>

/// The families a policy can belong to. A policy says which with `using family = cenote::family::age;`.
///
/// `index`  the canonical order of policies inside a pool type, whatever order they were written in.
/// `many`   whether a pool takes several distinct policies of the family (each has its own `kind`) or exactly one.
namespace cenote::family {

struct profile      { static constexpr int index = 0;  static constexpr bool many = true; };
struct sizing       { static constexpr int index = 1;  static constexpr bool many = false; };
struct waiting      { static constexpr int index = 2;  static constexpr bool many = false; };
struct order        { static constexpr int index = 3;  static constexpr bool many = false; };
struct locking      { static constexpr int index = 4;  static constexpr bool many = false; };
struct housekeeping { static constexpr int index = 5;  static constexpr bool many = false; };
struct budget       { static constexpr int index = 6;  static constexpr bool many = false; };
struct connecting   { static constexpr int index = 7;  static constexpr bool many = true; };
struct age          { static constexpr int index = 8;  static constexpr bool many = true; };
struct validation   { static constexpr int index = 9;  static constexpr bool many = false; };
struct role         { static constexpr int index = 10; static constexpr bool many = false; };
struct keepalive    { static constexpr int index = 11; static constexpr bool many = false; };
struct reset        { static constexpr int index = 12; static constexpr bool many = false; };
struct cutting      { static constexpr int index = 13; static constexpr bool many = false; };
struct leak         { static constexpr int index = 14; static constexpr bool many = false; };
struct nesting      { static constexpr int index = 15; static constexpr bool many = false; };
struct metrics      { static constexpr int index = 16; static constexpr bool many = true; };
struct hooks        { static constexpr int index = 17; static constexpr bool many = true; };
struct clock        { static constexpr int index = 18; static constexpr bool many = false; };
struct name         { static constexpr int index = 19; static constexpr bool many = false; };
struct settings     { static constexpr int index = 20; static constexpr bool many = false; };
struct forking      { static constexpr int index = 21; static constexpr bool many = false; };

} // namespace cenote::family

/// Inside a family of which a pool takes several policies, those of one kind exclude each other. A policy without
/// `using kind = …;` is a kind of its own.
namespace cenote::kind {

/// Switches its whole family off: displaces every default and tolerates no other policy of the family.
struct all {};

} // namespace cenote::kind

namespace cenote {

/// What makes a type a policy: it names its family.
template <class P>
concept policy = requires {
    { P::family::index } -> std::convertible_to<int>;
    { P::family::many } -> std::convertible_to<bool>;
};

} // namespace cenote
