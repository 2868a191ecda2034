// sentence: cenote: two age policies of one kind in one pool, or no_age_limit beside another; keep one max_lifetime, idle_timeout, max_uses and refresh_every each
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::max_lifetime{30min}, cenote::idle_timeout{5min}, cenote::max_uses{100}};
#else
    cenote::pool db{cenote::null{}, cenote::max_lifetime{30min}, cenote::no_max_lifetime{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
