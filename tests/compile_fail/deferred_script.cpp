// sentence: cenote: deferred sends the driver's full reset and cannot run reset_with; write background or at_return around it
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::background{cenote::reset_with{"discard all"}}};
#else
    cenote::pool db{cenote::null{}, cenote::deferred{cenote::reset_with{"discard all"}}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
