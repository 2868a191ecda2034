// sentence: cenote: single_threaded and background_thread contradict each other; write manual, or lock_free instead of single_threaded
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::single_threaded{}, cenote::manual{}};
#else
    cenote::pool db{cenote::null{}, cenote::single_threaded{}, cenote::background_thread{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
