// sentence: cenote: lock_free and thread_affine hand out the nearest connection, which is what they have for lifo; leave the order out, or write with_mutex
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::lock_free{}};
#else
    cenote::pool db{cenote::null{}, cenote::lock_free{}, cenote::fifo{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
