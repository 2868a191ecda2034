// sentence: cenote: two connecting policies of one kind in one pool; keep one connect_timeout, one backoff and one breaker
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::connect_timeout{3s}, cenote::backoff{}};
#else
    cenote::pool db{cenote::null{}, cenote::connect_timeout{3s}, cenote::no_connect_timeout{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
