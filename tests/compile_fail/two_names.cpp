// sentence: cenote: two names for one pool; keep one of named and unnamed
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::named{"shop"}};
#else
    cenote::pool db{cenote::null{}, cenote::named{"shop"}, cenote::named{"depot"}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
