// sentence: cenote: two validation policies in one pool; keep one of no_validation, pre_ping, pre_ping_after and peek_after
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::pre_ping{}};
#else
    cenote::pool db{cenote::null{}, cenote::pre_ping{}, cenote::peek_after{1s}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
