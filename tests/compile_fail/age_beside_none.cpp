// sentence: cenote: two age policies of one kind in one pool, or no_age_limit beside another
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::max_uses{100}};
#else
    cenote::pool db{cenote::null{}, cenote::max_uses{100}, cenote::no_age_limit{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
