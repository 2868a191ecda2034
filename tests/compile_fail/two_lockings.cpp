// sentence: cenote: two locking policies in one pool; keep one of lock_free, thread_affine, with_mutex and single_threaded
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::with_mutex<>{}};
#else
    cenote::pool db{cenote::null{}, cenote::with_mutex<>{}, cenote::single_threaded{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
