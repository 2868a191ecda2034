// sentence: cenote: two acquire budgets in one pool; keep one of acquire_timeout and no_acquire_timeout
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::acquire_timeout{3s}};
#else
    cenote::pool db{cenote::null{}, cenote::acquire_timeout{3s}, cenote::no_acquire_timeout{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
