// sentence: cenote: a policy named in the pool's type has no default value; pass one to the pool's constructor
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>
#include <cenote/testing/manual_clock.hpp>

using namespace std::chrono_literals;

using db_pool = cenote::pool<cenote::null, cenote::bounded, cenote::clock::manual>;
const cenote::testing::manual_clock hand;

int main() {
#ifdef CENOTE_FIXED
    db_pool db{cenote::null{}, cenote::clock::manual{hand}};
#else
    db_pool db{cenote::null{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
