// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// The main job, on SQLite: threads share a pool, a file is replaced under it, a lease is leaked, and the pool says what it did.
// Takes about 12 seconds; works in a temporary folder and removes it.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>
#include <cenote/reflect.hpp>
#include <cenote/version.hpp>

#include <boost/hana/for_each.hpp>
#include <boost/hana/fuse.hpp>
#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using number = unsigned long long; // %llu

struct temporary_folder {
    std::filesystem::path path = std::filesystem::temp_directory_path() / ("cenote-tour-" + std::to_string(std::random_device{}()));
    temporary_folder() { std::filesystem::create_directory(path); }
    ~temporary_folder() { std::filesystem::remove_all(path); }
};

using plain_connection = std::unique_ptr<sqlite3, decltype([](sqlite3* db) { sqlite3_close(db); })>;
plain_connection open_plain(const std::string& file) {
    sqlite3* handle = nullptr;
    sqlite3_open(file.c_str(), &handle);
    sqlite3_busy_timeout(handle, 5000);
    return plain_connection{handle};
}
/// A shop of 10,000 items, each at this price.
void build_shop(const std::string& file, int price) {
    const plain_connection db = open_plain(file);
    const std::string sql = "pragma journal_mode = wal; create table item(id integer primary key, price integer);"
                            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 10000)"
                            "insert into item select i, " + std::to_string(price) + " from n";
    if (sqlite3_exec(db.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) std::puts(sqlite3_errmsg(db.get()));
}
constexpr const char* one_price = "select price from item where id = 4711";
constexpr const char* many_prices = "select sum(price) from item where id between 4001 and 5000";
constexpr long long no_answer = -1;
/// The first column of a query's first row.
long long ask(sqlite3* db, const char* sql) {
    sqlite3_stmt* s = nullptr;
    const bool ok = sqlite3_prepare_v2(db, sql, -1, &s, nullptr) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    const long long answer = ok ? sqlite3_column_int64(s, 0) : no_answer;
    sqlite3_finalize(s);
    return answer;
}

/// Lets so many threads repeat the job for so long; returns how often a second they got an answer.
double per_second(unsigned threads, cenote::duration length, const std::function<long long()>& job) {
    std::atomic<number> done{0};
    const auto began = clock::now();
    const auto work = [&] { while (clock::now() - began < length) done += job() != no_answer; };
    std::vector<std::jthread> crowd(threads);
    for (auto& t : crowd) t = std::jthread{work};
    crowd.clear(); // joins
    return static_cast<double>(done) / std::chrono::duration<double>(clock::now() - began).count();
}

/// The pool that many programs write by hand: no deadline, no check, no growth.
class queue_pool {
public:
    queue_pool(const std::string& file, int size) { while (size-- > 0) idle_.emplace_back(open_plain(file)); }
    auto acquire() {
        std::unique_lock lock{mutex_};
        while (idle_.empty()) freed_.wait(lock);
        const auto give_back = [this](sqlite3* c) {
            { const std::scoped_lock again{mutex_}; idle_.emplace_back(c); }
            freed_.notify_one();
        };
        std::unique_ptr<sqlite3, decltype(give_back)> lease{idle_.back().release(), give_back};
        idle_.pop_back();
        return lease;
    }

private:
    std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<plain_connection> idle_;
};

void throughput(const std::string& file) {
    std::printf("\n1  Queries per second: threads read one row by its key\n"
                "   A connection for each query, against 4 kept open: by a mutex and a queue, and by a pool with its defaults.\n\n"
                "   %7s %18s %18s %18s\n", "threads", "open and close", "mutex and queue", "cenote");
    queue_pool queue{file, 4};
    cenote::pool db{cenote::sqlite{file}, cenote::bounded{.max = 4}};
    ask(db.acquire().native_handle(), one_price); // with one connection left open, the others need not create and remove the log
    for (const unsigned threads : {1U, 4U, 16U}) {
        const double opened = per_second(threads, 500ms, [&] { return ask(open_plain(file).get(), one_price); });
        const double by_hand = per_second(threads, 500ms, [&] { return ask(queue.acquire().get(), one_price); });
        const double pooled = per_second(threads, 500ms, [&] { return ask(db.acquire().native_handle(), one_price); });
        std::printf("   %7u %16.0f/s %16.0f/s %16.0f/s\n", threads, opened, by_hand, pooled);
    }
}

void waiting(const std::string& file) {
    std::printf("\n2  How long 32 threads wait for 4 connections, each to sum 1,000 rows\n"
                "   eventually_fair is the default; another policy is one more word in the pool's definition.\n\n"
                "   %-18s %12s %12s %12s %12s\n", "policy", "leases", "median wait", "99 %", "longest");
    const auto measure = [&](const char* name, auto acquire, auto handle) {
        std::mutex guard;
        std::vector<double> waits;
        const double rate = per_second(32, 800ms, [&] {
            const auto began = clock::now();
            const auto lease = acquire();
            const std::chrono::duration<double, std::milli> waited = clock::now() - began;
            const long long answer = ask(handle(lease), many_prices);
            const std::scoped_lock lock{guard};
            waits.push_back(waited.count());
            return answer;
        });
        std::ranges::sort(waits);
        const auto at = [&](std::size_t percent) { return waits[(waits.size() - 1) * percent / 100]; };
        std::printf("   %-18s %10.0f/s %9.2f ms %9.2f ms %9.2f ms\n", name, rate, at(50), at(99), at(100));
    };
    const auto with = [&](const char* name, auto policy) {
        cenote::pool db{cenote::sqlite{file}, cenote::bounded{.max = 4}, policy};
        measure(name, [&] { return db.acquire(); }, [](const auto& lease) { return lease.native_handle(); });
    };
    queue_pool queue{file, 4};
    with("eventually_fair", cenote::eventually_fair{});
    with("strictly_fair", cenote::strictly_fair{});
    with("barging", cenote::barging{});
    measure("(mutex and queue)", [&] { return queue.acquire(); }, [](const auto& lease) { return lease.get(); });
}

void replaced_file(const std::filesystem::path& folder) {
    std::printf("\n3  The database file is replaced while 4 connections to it are idle\n"
                "   SQLite would go on answering from the old file. peek_after, the default, looks before a connection is handed out.\n\n"
                "   %-18s %10s %10s %10s %12s %10s\n", "validation", "requests", "failed", "stale", "found dead", "opened");
    const auto with = [&](const char* name, auto policy) {
        const std::string file = folder / name;
        build_shop(file, 10);
        cenote::pool db{cenote::sqlite{file}, cenote::bounded{.max = 4}, policy, cenote::counters{}};
        std::atomic<number> requests{0}, failed{0}, stale{0};
        const auto four_at_once = [&](int price) {
            std::barrier all_have_one{4};
            const auto fifty_requests = [&] {
                for (int i = 0; i < 50; ++i, ++requests) {
                    cenote::failure why;
                    const auto lease = db.acquire(5s, why);
                    if (i == 0) all_have_one.arrive_and_wait();
                    const auto answer = lease ? ask(lease.native_handle(), one_price) : no_answer;
                    failed += answer == no_answer;
                    stale += answer != no_answer && answer != price;
                }
            };
            std::jthread threads[4];
            for (auto& t : threads) t = std::jthread{fifty_requests};
        };
        four_at_once(10);
        for (const char* part : {"", "-wal", "-shm"}) std::filesystem::rename(file + part, file + ".old" + part);
        build_shop(file, 20);
        std::this_thread::sleep_for(600ms); // peek_after looks at what has been idle for 500 ms
        four_at_once(20);
        const auto [dead, opened] = std::pair{number{db.stats().validation_failed}, number{db.stats().opened}};
        std::printf("   %-18s %10llu %10llu %10llu %12llu %10llu\n", name, +requests, +failed, +stale, dead, opened);
    };
    with("peek_after", cenote::peek_after{});
    with("no_validation", cenote::no_validation{});
}

struct leak_log { // a sink: told what it has members for
    using family = cenote::family::metrics;
    static void on_leak(const cenote::lease_info& l) { std::printf("   %-18s %s\n", "leak suspected", l.text().c_str()); }
    static void on_leak_returned(const cenote::lease_info& l) { std::printf("   %-18s %s\n", "it came back", l.text().c_str()); }
};

void leaked_lease(const std::string& file) {
    std::printf("\n4  The only connection is leased and forgotten; leak_threshold is 200 ms\n"
                "   Whoever waits in vain learns who holds it.\n\n");
    cenote::pool db{cenote::sqlite{file}, cenote::bounded{.max = 1}, cenote::leak_threshold{200ms}, leak_log{}, cenote::named{"shop"}};
    const auto try_it = [&](cenote::failure why = {}) {
        std::string said = db.acquire(250ms, why) ? "has a connection" : why.text();
        if (const auto at = said.find("; "); at != said.npos) said.replace(at, 2, ";\n                      ");
        std::printf("   %-18s %s\n", "acquire(250ms)", said.c_str());
    };
    auto forgotten = db.acquire();
    forgotten.tag("monthly report");
    std::this_thread::sleep_for(300ms);
    try_it();
    forgotten.give_back();
    try_it();
}

void statistics(const std::string& file) {
    std::printf("\n5  What a pool says about itself: a rush of 12 threads, then one, then nobody\n"
                "   4 connections, each closed after 2,000 uses or 300 ms of idleness.\n\n"
                "   %-10s %6s %6s %8s %8s %10s %8s %8s\n", "phase", "used", "idle", "opening", "waiting", "leases", "opened", "closed");
    cenote::pool db{cenote::sqlite{file}, cenote::bounded{.max = 4}, cenote::max_uses{2000}, cenote::idle_timeout{300ms}, cenote::counters{}};
    const auto watch = [&](const char* phase, unsigned threads) {
        const std::jthread load{[&] { per_second(threads, 750ms, [&] { return ask(db.acquire().native_handle(), many_prices); }); }};
        for (int i = 0; i < 3; ++i) {
            std::this_thread::sleep_for(240ms);
            const cenote::pool_stats s = db.stats();
            std::printf("   %-10s %6llu %6llu %8llu %8llu %10llu %8llu %8llu\n", phase, number{s.used}, number{s.idle}, number{s.opening},
                        number{s.pending}, number{s.leases}, number{s.opened}, number{s.closed});
        }
    };
    for (const auto& [phase, threads] : {std::pair{"rush", 12U}, {"one", 1U}, {"nobody", 0U}}) watch(phase, threads);

    sqlite3_exec(db.acquire().native_handle(), "begin immediate; update item set price = 0", nullptr, nullptr, nullptr);
    const long long price = db.with([](auto& c) { return ask(c.handle(), one_price); });
    std::printf("\n   Somebody forgot to commit \"price = 0\"; the next user reads %lld: rolled back on return.\n", price);
    db.acquire().discard();
    std::printf("   close(): %s\n", db.close().drained ? "all leases back, all connections closed" : "leases are out");

    int cells = 0;
    const auto cell = [&](const char* name, number value) { std::printf("   %-18s %12llu%s", name, value, ++cells % 3 == 0 ? "\n" : ""); };
    std::printf("\n   All of stats(), which is one struct for every exporter to walk:\n");
    boost::hana::for_each(db.stats(), boost::hana::fuse([&](auto name, auto value) { cell(boost::hana::to<const char*>(name), number{value}); }));
    std::printf("%s\n   Closed connections by reason:\n", cells % 3 == 0 ? "" : "\n");
    cells = 0;
    for (unsigned i = 0; i < cenote::close_reasons; ++i) {
        const auto why = static_cast<cenote::close_reason>(i);
        cell(to_string(why).data(), db.get<cenote::counters>().closed_for(why));
    }
    std::printf("\n");
}

} // namespace

int main() {
    std::setvbuf(stdout, nullptr, _IOLBF, 0); // rows appear as they are measured
    const temporary_folder folder;
    const std::string file = folder.path / "shop.db";
    build_shop(file, 10);
    std::printf("cenote %d.%d.%d, SQLite %s, %u processors\n", cenote::version::major, cenote::version::minor, cenote::version::patch,
                sqlite3_libversion(), std::thread::hardware_concurrency());
    throughput(file);
    waiting(file);
    replaced_file(folder.path);
    leaked_lease(file);
    statistics(file);
}
