// sentence: cenote: the same policy is passed to the constructor twice; keep one
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

using db_pool = cenote::pool<cenote::null, cenote::bounded, cenote::max_uses>;

int main() {
#ifdef CENOTE_FIXED
    db_pool db{cenote::null{}, cenote::bounded{.max = 4}};
#else
    db_pool db{cenote::null{}, cenote::bounded{.max = 3}, cenote::bounded{.max = 4}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
