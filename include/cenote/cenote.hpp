// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

// Everything but drivers (cenote/drivers/*.hpp) and the testing kit (cenote/testing/*.hpp).

#include <cenote/cancel.hpp>
#include <cenote/clock.hpp>
#include <cenote/driver.hpp>
#include <cenote/error.hpp>
#include <cenote/fwd.hpp>
#include <cenote/lease.hpp>
#include <cenote/policy/profile.hpp>
#include <cenote/pool.hpp>
#include <cenote/reflect.hpp>
#include <cenote/stats.hpp>
#include <cenote/version.hpp>
#include <cenote/view.hpp>
