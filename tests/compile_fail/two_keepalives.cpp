// sentence: cenote: two keepalive policies in one pool; keep one of no_keepalive and keepalive
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::keepalive{}};
#else
    cenote::pool db{cenote::null{}, cenote::keepalive{}, cenote::no_keepalive{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
