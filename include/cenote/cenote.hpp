// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

// Everything but drivers (cenote/drivers/*.hpp) and the testing kit (cenote/testing/*.hpp): pools, and on top of them retries, sessions,
// transactions and locks. It takes 0.88 s to compile where pool.hpp alone takes 0.58 (g++ 12, without a pool in use).

#include <cenote/cancel.hpp>
#include <cenote/clock.hpp>
#include <cenote/credentials.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/fwd.hpp>
#include <cenote/lease.hpp>
#include <cenote/policy/profile.hpp>
#include <cenote/pool.hpp>
#include <cenote/reflect.hpp>
#include <cenote/retry.hpp>
#include <cenote/session/lock.hpp>
#include <cenote/session/session.hpp>
#include <cenote/stats.hpp>
#include <cenote/version.hpp>
#include <cenote/view.hpp>
