// sentence: cenote: breaker stops acquires from waiting for the background thread's attempts to connect, and this pool has none; leave it out, or write background_thread
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::manual{}, cenote::no_breaker{}};
#else
    cenote::pool db{cenote::null{}, cenote::manual{}, cenote::breaker{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
