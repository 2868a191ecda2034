// sentence: cenote: the same metrics sink twice in one pool, or no_metrics beside a sink; keep one of each type
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::counters{}};
#else
    cenote::pool db{cenote::null{}, cenote::counters{}, cenote::no_metrics{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
