// sentence: cenote: two profiles in one pool; keep one and name single policies beside it
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::profile::web{}, cenote::no_validation{}};
#else
    cenote::pool db{cenote::null{}, cenote::profile::web{}, cenote::profile::worker{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
