// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// A lease that nobody gives back: who has it, since when and from where; and what close_now does about it.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>

#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>

using namespace std::chrono_literals;

std::string place(const cenote::lease_info& l) {
    return std::filesystem::path{l.where.file_name()}.filename().string() + ":" + std::to_string(l.where.line()) + (l.tag != nullptr ? " [" + std::string{l.tag} + "]" : "");
}

int main() {
    cenote::pool db{
        cenote::sqlite{"leak_hunt.db"},
        cenote::bounded{.max = 1},            // one lost lease, and nobody has a connection any more
        cenote::close_now{.after = 1s},       // more than any honest lease takes: minutes, in earnest
        cenote::counters{},
        cenote::on_leak{[](const cenote::lease_info& l) { std::cout << (l.returned ? "   back at last: " : "   held too long: ") << place(l) << '\n'; }},
    };

    std::cout << "1  a lease is lost\n";
    auto lost = db.acquire();
    lost.tag("import");

    std::this_thread::sleep_for(100ms);
    std::cout << "2  who looks finds it before anybody complains\n";
    for (const auto& l : db.suspicious(50ms)) std::cout << "   out for longer than 50 ms: " << place(l) << '\n';

    std::cout << "3  somebody else wants a connection, and waits\n";
    auto next = db.acquire(10s);
    std::cout << "   and has one: " << (sqlite3_exec(next.native_handle(), "select 1", nullptr, nullptr, nullptr) == SQLITE_OK ? "it works" : "it fails") << '\n';

    std::cout << "4  the one that was lost is cut\n";
    for (const auto& l : db.inspect().leases) std::cout << "   " << place(l) << (l.cut ? ": cut\n" : ": out\n");
    char* why = nullptr;
    sqlite3_exec(lost.native_handle(), "select 1", nullptr, nullptr, &why);
    std::cout << "   its holder's next call says: " << why << '\n';
    sqlite3_free(why);

    std::cout << "5  its holder gives it back after all\n";
    lost.give_back();

    const auto s = db.stats();
    std::cout << s.leaks << " leak, " << s.severed << " cut, " << db.get<cenote::counters>().closed_for(cenote::close_reason::leaked) << " closed for that; "
              << s.total << " of " << s.max << " connections open\n";
}
