// sentence: cenote: backoff is how the background thread rests between attempts to connect, and this pool has none; leave it out, or write background_thread
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::backoff{}};
#else
    cenote::pool db{cenote::null{}, cenote::manual{}, cenote::backoff{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
