// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "orders.hpp"

#include <cenote/view.hpp>

#include <initializer_list>
#include <memory>
#include <stdexcept>

namespace orders {
namespace {

using result = std::unique_ptr<PGresult, decltype([](PGresult* r) { PQclear(r); })>;

result query(const session& in, const char* sql, std::initializer_list<const char*> values = {}) {
    PGconn* const c = in->handle();
    result r{PQexecParams(c, sql, static_cast<int>(values.size()), nullptr, values.begin(), nullptr, nullptr, 0)};
    if (const auto s = PQresultStatus(r.get()); s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK) throw std::runtime_error(PQerrorMessage(c));
    return r;
}

} // namespace

void create_table(database db) {
    const session in = db.acquire();
    query(in, "drop table if exists orders");
    query(in, "create table orders(number int generated always as identity, item text, pieces int)");
}

int place(session& in, const std::string& item, int pieces) {
    const result r = query(in, "insert into orders(item, pieces) values ($1, $2) returning number",
                           {item.c_str(), std::to_string(pieces).c_str()});
    return std::stoi(PQgetvalue(r.get(), 0, 0));
}

int place(database db, const std::string& item, int pieces) {
    session in = db.acquire();
    return place(in, item, pieces);
}

int place_soon(database db, const std::string& item, int pieces, cenote::failure& why) {
    session in = db.acquire(std::chrono::milliseconds{50}, why);
    return in ? place(in, item, pieces) : 0;
}

long pieces_of(database db, const std::string& item) {
    const result r = query(db.acquire(), "select coalesce(sum(pieces), 0) from orders where item = $1", {item.c_str()});
    return std::stol(PQgetvalue(r.get(), 0, 0));
}

session begin(database db) {
    session in = db.acquire();
    query(in, "begin");
    return in;
}

void commit(session in) { query(in, "commit"); }

} // namespace orders
