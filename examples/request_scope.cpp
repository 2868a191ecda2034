// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// One transaction for each request: begun with the first statement, shared by everything that serves the request, committed with the
// answer and rolled back with an error. A request that asks nothing of the database takes no connection.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

#include <filesystem>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>

using database = cenote::pool<cenote::sqlite, cenote::bounded, cenote::counters>;

/// What handlers get instead of the pool.
class unit_of_work {
public:
    explicit unit_of_work(database& db) : db_{&db} {}

    database::transaction_type& database_work() {
        if (!open_) open_.emplace(cenote::session{db_->acquire()}.begin());
        return *open_;
    }
    void commit() {
        if (open_) open_->commit();
    }

private:
    database* db_;
    std::optional<database::transaction_type> open_; // whose destructor rolls back
};

struct request {
    std::string path, user;
};

// Two of them, which know nothing of each other.
void log_visit(unit_of_work& work, const request& r) { work.database_work().exec("insert into visits(path, user) values (?, ?)", r.path, r.user); }
int place_order(unit_of_work& work, const request& r) {
    return work.database_work().scalar<int>("insert into orders(user) values (?) returning id", r.user);
}

std::string handle(unit_of_work& work, const request& r) {
    if (r.path == "/alive") return "yes";
    log_visit(work, r);
    if (r.path != "/order") throw std::runtime_error{"there is no " + r.path};
    return "order " + std::to_string(place_order(work, r));
}

/// What the server's loop does with a request.
std::string serve(database& db, const request& r) {
    unit_of_work work{db};
    try {
        std::string answer = handle(work, r);
        work.commit(); // before the answer goes out
        return "200 " + answer;
    } catch (const cenote::error& e) {
        return e.code() == cenote::errc::outcome_unknown ? "500 ask again whether it was done" : "503 " + std::string{e.what()};
    } catch (const std::exception& e) {
        return "500 " + std::string{e.what()};
    }
}

int main() {
    const auto file = std::filesystem::temp_directory_path() / "cenote-request-scope.db";
    for (const char* more : {"", "-wal", "-shm"}) std::filesystem::remove(file.string() + more);
    database db{cenote::sqlite{file.string()}, cenote::bounded{.max = 2}};
    cenote::session{db.acquire()}.script("create table visits(path text, user text); create table orders(id integer primary key, user text not null)");

    for (const request& r : {request{"/order", "ann"}, request{"/oder", "bob"}, request{"/alive", ""}, request{"/order", "cyd"}}) {
        const auto before = db.stats().leases;
        const std::string answer = serve(db, r);
        std::cout << r.path << " -> " << answer << " (leases: " << db.stats().leases - before << ")\n";
    }
    std::cout << "visits: " << db.query("select * from visits").size() << ", orders: " << db.query("select * from orders").size() << '\n';
}
