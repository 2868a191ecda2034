// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Statements with values, owned results, transactions that may run again, savepoints, and what errors say.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

#include <filesystem>
#include <iostream>
#include <thread>
#include <vector>

int main() {
    const auto file = std::filesystem::temp_directory_path() / "cenote-transactions.db";
    for (const char* more : {"", "-wal", "-shm"}) std::filesystem::remove(file.string() + more);
    cenote::pool db{cenote::sqlite{cenote::sqlite::options{.file = file.string(), .statement_cache = 16}}, cenote::bounded{.max = 4}};
    using transaction = decltype(db)::transaction_type;

    cenote::session s{db.acquire()};
    s.script("create table accounts(id integer primary key, owner text unique, balance integer not null check (balance >= 0))");
    for (const char* owner : {"ann", "bob", "cyd"}) s.exec("insert into accounts(owner, balance) values (?, ?)", owner, 100);

    std::cout << "a result is the caller's, whatever becomes of the lease\n";
    cenote::result rich = s.query("select owner, balance from accounts where balance >= ? order by owner", 100);
    s.give_back();
    for (const cenote::row& r : rich) std::cout << "  " << r.get<std::string_view>("owner") << " has " << r.get<int>("balance") << '\n';

    std::cout << "commits when the callback returns, rolls back when it throws\n";
    const auto transfer = [&](const char* from, const char* to, int amount) {
        return [=](transaction& t) {
            const int has = t.scalar<int>("select balance from accounts where owner = ?", from); // read first: two of these may race
            t.exec("update accounts set balance = balance + ? where owner = ?", amount, to);
            t.exec("update accounts set balance = ? where owner = ?", has - amount, from);
            return has - amount;
        };
    };
    std::cout << "  ann has " << db.transaction(transfer("ann", "bob", 30)) << " left\n";
    try {
        db.transaction(transfer("ann", "bob", 300));
    } catch (const cenote::driver_error& e) {
        std::cout << "  " << to_string(e.met()) << ", and bob has " << db.query("select balance from accounts where owner = 'bob'").front().get<int>(0) << '\n';
    }

    std::cout << "what lost a race runs again\n";
    {
        std::vector<std::jthread> threads;
        for (int n = 0; n < 4; ++n) {
            threads.emplace_back([&] {
                for (int i = 0; i < 25; ++i) {
                    db.transaction(transfer("bob", "cyd", 1), {.attempts = 1000, .after_lock_timeout = true});
                }
            });
        }
    }
    std::cout << "  100 transfers, cyd has " << db.query("select balance from accounts where owner = 'cyd'").front().get<int>(0) << '\n';

    std::cout << "as a guard it wants its commit; parts of it can fail alone\n";
    auto t = cenote::session{db.acquire()}.begin({.mode = cenote::transaction_options::access::read_write});
    t.exec("insert into accounts(owner, balance) values ('dot', 1)");
    try {
        t.nested([&] { t.exec("insert into accounts(owner, balance) values ('ann', 1)"); });
    } catch (const cenote::driver_error& e) {
        std::cout << "  " << to_string(e.met()) << ": " << e.what() + std::string_view{e.what()}.find("UNIQUE") << '\n';
    }
    {
        auto part = t.savepoint();
        t.exec("delete from accounts");
    } // no release(): undone
    s = t.commit(); // the session is back
    std::cout << "  accounts: " << s.scalar<int>("select count(*) from accounts") << '\n';

    std::cout << "rows as they arrive, and in batches\n";
    const int sum = s.process("select balance from accounts", [](cenote::cursor& rows) {
        int all = 0;
        for (auto& r : rows) all += r.get<int>(0);
        return all;
    });
    std::cout << "  together they have " << sum << '\n';
    s.many(3, "select owner from accounts", [](const cenote::result& batch) { std::cout << "  a batch of " << batch.size() << '\n'; });

    std::cout << "a value that does not fit is an error, never cut short\n";
    try {
        (void)s.scalar<signed char>("select balance * 10 from accounts where owner = ?", "cyd");
    } catch (const cenote::result_error& e) {
        std::cout << "  " << e.what() << '\n';
    }
}
