// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What can be done with orders, in whatever pool of PostgreSQL connections. Knows no policy, and is not compiled again when one changes.
#pragma once

#include <cenote/drivers/postgres.hpp>
#include <cenote/fwd.hpp>

#include <string>

namespace orders {

using database = cenote::pool_view<cenote::postgres::connection>; // two pointers, to be passed by value
using session = cenote::any_lease<cenote::postgres::connection>;  // a lease of any such pool

void create_table(database db);
int place(database db, const std::string& item, int pieces);
long pieces_of(database db, const std::string& item);

/// As `place`, for a caller who cannot wait: 0, and why.
int place_soon(database db, const std::string& item, int pieces, cenote::failure& why);

/// A session in a transaction, which ends without effect unless it is given to `commit`.
session begin(database db);
int place(session& in, const std::string& item, int pieces);
void commit(session in);

} // namespace orders
