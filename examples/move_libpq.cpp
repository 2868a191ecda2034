// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Code written against libpq, moved onto a pool: only where its PGconn* comes from changes.
// Needs a server that is thrown away afterwards: examples/run move_libpq
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <cstdlib>
#include <future>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;

std::string address; // a conninfo string

// ── the program as it is; nothing in here changes ────────────────────────────────────────────────────────────────────────
using result = std::unique_ptr<PGresult, decltype([](PGresult* r) { PQclear(r); })>;

result query(PGconn* db, const char* sql, std::initializer_list<const char*> values = {}) {
    result r{PQexecParams(db, sql, static_cast<int>(values.size()), nullptr, values.begin(), nullptr, nullptr, 0)};
    if (PQresultStatus(r.get()) != PGRES_COMMAND_OK && PQresultStatus(r.get()) != PGRES_TUPLES_OK) {
        const std::string why = PQerrorMessage(db);
        throw std::runtime_error(why.substr(0, why.find('\n')));
    }
    return r;
}
std::string price(PGconn* db, const char* item) {
    const result r = query(db, "select price from goods where item = $1", {item});
    return PQgetvalue(r.get(), 0, 0);
}
void set_price(PGconn* db, const char* item, const char* to) {
    query(db, "begin");
    query(db, "update goods set price = $2 where item = $1", {item, to}); // when this throws, nobody rolls back
    query(db, "commit");
}
bool can_afford(PGconn* db, const char* item, int raise, int purse) {
    query(db, "begin");
    query(db, "update goods set price = price + $2::int where item = $1", {item, std::to_string(raise).c_str()});
    if (std::stoi(price(db, item)) > purse) return false; // and the transaction?
    query(db, "commit");
    return true;
}
void nap(PGconn* db) { query(db, "select pg_sleep(0.2)"); }

// ── before: one connection for everybody, and a mutex ────────────────────────────────────────────────────────────────────
namespace before {
PGconn* connection = nullptr;
std::mutex guard;
struct session {
    std::unique_lock<std::mutex> lock{guard};
    operator PGconn*() const { return connection; }
};
} // namespace before

// ── after: a connection for each who needs one ───────────────────────────────────────────────────────────────────────────
namespace after {
using pool = cenote::pool<cenote::postgres, cenote::peek_after>;
pool& connections() {
    static pool all{cenote::postgres{address}, cenote::peek_after{.idle = 0s}};
    return all;
}
struct session {
    pool::lease lease = connections().acquire();
    operator PGconn*() const { return lease.native_handle(); }
};
} // namespace after

// ── the call sites are the same for both ─────────────────────────────────────────────────────────────────────────────────
void say(const char* what, auto f) {
    std::cout << "  " << what << ": ";
    try {
        std::cout << f() << '\n';
    } catch (const std::exception& e) {
        std::cout << e.what() << '\n';
    }
}
template <class session>
void day() {
    say("tea costs", [] { return price(session{}, "tea"); });
    say("a price that is refused", [] { return set_price(session{}, "tea", "-1"), "set"; });
    say("the next user reads", [] { return price(session{}, "tea"); });
    query(session{}, "rollback"); // by hand, so that the day goes on
    say("100 more, for a purse of 50", [] { return can_afford(session{}, "tea", 100, 50) ? "sold" : "too much"; });
    say("the next user reads", [] { return price(session{}, "tea"); });
    query(session{}, "rollback");

    const auto began = std::chrono::steady_clock::now();
    {
        std::future<void> four[4];
        for (auto& f : four) f = std::async(std::launch::async, [] { nap(session{}); });
    }
    const bool together = std::chrono::steady_clock::now() - began < 750ms;
    std::cout << "  four queries of 200 ms run " << (together ? "beside each other" : "one after the other") << '\n';

    const std::unique_ptr<PGconn, decltype([](PGconn* c) { PQfinish(c); })> administrator{PQconnectdb(address.c_str())};
    query(administrator.get(), "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
                               "where application_name = 'move_libpq' and pid <> pg_backend_pid()");
    say("after the server has ended all sessions", [] { return price(session{}, "tea"); });
    say("and then", [] { return price(session{}, "tea"); });
}

int main() {
    const char* const server = std::getenv("CENOTE_PG_TCP");
    if (server == nullptr) {
        std::cout << "CENOTE_PG_TCP is not set: run it by examples/run move_libpq, which starts a server for it\n";
        return 2;
    }
    address = std::string{server} + " application_name=move_libpq";
    before::connection = PQconnectdb(address.c_str());
    PQsetNoticeProcessor(before::connection, [](void*, const char*) {}, nullptr);
    for (const char* sql : {"drop table if exists goods", "create table goods(item text primary key, price int check (price > 0))",
                            "insert into goods values ('tea', 3)"}) {
        query(before::session{}, sql);
    }
    std::cout << "one connection and a mutex\n";
    day<before::session>();
    PQfinish(before::connection);
    std::cout << "a pool\n";
    day<after::session>();
}
