// sentence: cenote: two leak policies in one pool; keep one of no_leak_check, leak_threshold, discard_on_return and close_now
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::leak_threshold{60s}};
#else
    cenote::pool db{cenote::null{}, cenote::leak_threshold{60s}, cenote::no_leak_check{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
