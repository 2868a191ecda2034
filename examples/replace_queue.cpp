// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// A pool of one's own, a mutex and a queue, replaced behind the same face: no call site changes.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/view.hpp>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <future>
#include <iostream>
#include <mutex>
using namespace std::chrono_literals;

using handle = std::shared_ptr<sqlite3>; // goes back when the last copy ends
/// Before. With one connection, for brevity.
struct queue_pool {
    explicit queue_pool(const std::string& file) {
        sqlite3* c = nullptr;
        sqlite3_open(file.c_str(), &c);
        idle.emplace_back(c, sqlite3_close);
    }
    handle get() {
        std::unique_lock lock{mutex};
        freed.wait(lock, [&] { return !idle.empty(); });
        const handle c = idle.front();
        idle.pop_front();
        return {c.get(), [this, c](sqlite3*) {
            const std::scoped_lock again{mutex};
            idle.push_back(c);
            freed.notify_one();
        }};
    }
    std::mutex mutex;
    std::condition_variable freed;
    std::deque<handle> idle;
};

/// After: over any pool of SQLite connections, whatever its policies.
struct adapter {
    cenote::pool_view<cenote::sqlite::connection> db;
    handle get() {
        auto lease = std::make_shared<cenote::any_lease<cenote::sqlite::connection>>(db.acquire());
        return {lease, (*lease)->handle()};
    }
};

// The call sites, as they were.
void run(auto& pool, const char* sql) { sqlite3_exec(pool.get().get(), sql, nullptr, nullptr, nullptr); }
int hits(auto& pool) {
    int n = -1;
    auto read = [](void* to, int, char** row, char**) { return *static_cast<int*>(to) = std::stoi(row[0]), 0; };
    sqlite3_exec(pool.get().get(), "select n from hits", read, &n, nullptr);
    return n;
}
void show(const char* name, auto& pool, const std::string& file) {
    run(pool, "create table hits(n); insert into hits values (1)");
    run(pool, "begin; update hits set n = 99"); // and forgets to commit
    std::cout << name << ":\n  after an update without commit the next user reads " << hits(pool) << '\n';
    run(pool, "rollback");
    handle only = pool.get();
    auto next = std::async(std::launch::async, [&] { return hits(pool); });
    if (next.wait_for(500ms) != std::future_status::ready) std::cout << "  while the connection is out, the next user waits without end\n";
    only.reset();
    try { next.get(); } catch (const cenote::error& e) { std::cout << "  " << e.what() << '\n'; }
    std::filesystem::rename(file, file + ".old");
    queue_pool fresh{file};
    run(fresh, "create table hits(n); insert into hits values (2)");
    std::cout << "  after the file was replaced by one that says 2 it reads " << hits(pool) << '\n';
}
int main() {
    const auto folder = std::filesystem::temp_directory_path() / "cenote-replace-queue";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directory(folder);
    queue_pool before{folder / "a.db"};
    show("a mutex and a queue", before, folder / "a.db");
    cenote::pool db{cenote::sqlite{{.file = folder / "b.db", .journal = cenote::sqlite::journal_mode::rollback}},
                    cenote::bounded{.max = 1}, cenote::acquire_timeout{200ms}, cenote::peek_after{.idle = 0s}};
    adapter after{db};
    show("a pool behind the same face", after, folder / "b.db");
}
