// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

namespace cenote {

template <class Driver, class... Policies>
class pool;
template <class Core>
class lease;
template <class Core>
class canceller;
template <class Core>
class cancellable;
template <class Connection>
class pool_view;
template <class Connection>
class any_lease;

class error;
struct failure;
struct evidence;
struct pool_stats;

} // namespace cenote
