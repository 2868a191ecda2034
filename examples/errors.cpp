// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What failures say, thrown and returned.
#include <cenote/drivers/sqlite.hpp>
#include <cenote/pool.hpp>

#include <iostream>
#include <thread>

using namespace std::chrono_literals;

int main() {
    cenote::pool db{cenote::sqlite{"file:errors?mode=memory&cache=shared"}, cenote::bounded{.max = 1}, cenote::strictly_fair{.max_waiters = 1},
                    cenote::leak_threshold{5min}, // records who holds what
                    cenote::named{"shop"}};
    auto held = db.acquire();
    held.tag("nightly report");

    std::cout << "thrown: a std::system_error whose text is one line for the log\n";
    try {
        auto lease = db.acquire(50ms);
    } catch (const cenote::error& e) {
        std::cout << "  " << e.what() << '\n';
        std::cout << "  is a timeout: " << (e.code() == std::errc::timed_out ? "yes" : "no") << '\n';
    }

    std::cout << "returned: noexcept, an error_code for the code alone, a cenote::failure for the evidence too\n";
    std::error_code code;
    if (auto lease = db.acquire(50ms, code); !lease) std::cout << "  " << code << ": " << code.message() << '\n';
    cenote::failure why;
    if (auto lease = db.acquire(50ms, why); !lease) {
        const cenote::lease_info& holder = why.seen->holders.at(0);
        std::cout << "  " << why.seen->used << " of " << why.seen->max << " in use, longest by line " << holder.where.line() << " [" << holder.tag << "]\n";
    }

    std::cout << "cancelled by its stop token, and refused because one waits already\n";
    std::stop_source stop;
    {
        std::jthread waiter{[&] {
            std::error_code said;
            (void)db.acquire(cenote::deadline::never(), stop.get_token(), said);
            std::cout << "  " << said.message() << '\n';
        }};
        while (db.stats().pending == 0) std::this_thread::yield();
        (void)db.acquire(1s, code);
        std::cout << "  " << code.message() << '\n';
        stop.request_stop();
    }

    std::cout << "closed: says who still holds\n";
    const auto left = db.close(cenote::deadline::in(50ms));
    std::cout << "  drained: " << (left.drained ? "yes" : "no") << ", " << left.still_out << " out since " << left.holders.at(0).text() << '\n';
    (void)db.acquire(1s, code);
    std::cout << "  " << code.message() << '\n';

    std::cout << "cannot connect: the driver's own words\n";
    cenote::pool nowhere{cenote::sqlite{"/nowhere/shop.db"}};
    if (auto lease = nowhere.acquire(1s, why); !lease) {
        std::cout << "  " << why.code.message() << "; " << why.seen->last_connect_error.text << '\n';
        std::cout << "  class " << to_string(why.seen->last_connect_error.kind) << ": not tried again for those who wait\n";
    }
}
