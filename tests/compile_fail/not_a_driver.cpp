// sentence: cenote: the first argument of pool is not a driver; give it a movable type with a movable member type `connection`
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}};
#else
    cenote::pool db{"host=db dbname=shop"};
#endif
    auto lease = db.acquire(2s);
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
