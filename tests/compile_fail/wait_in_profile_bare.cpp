// sentence: cenote: single_threaded cannot wait, the only thread would wait for itself; write no_wait, or lock_free instead of single_threaded
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::profile::bare<4>{}, cenote::eventually_fair{}, cenote::with_mutex<>{}};
#else
    cenote::pool db{cenote::null{}, cenote::profile::bare<4>{}, cenote::eventually_fair{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
