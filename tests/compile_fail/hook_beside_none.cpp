// sentence: cenote: the same hook twice in one pool, or no_hooks beside a hook
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

void mark(cenote::null::connection& c) { c.mark = 1; }

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::on_connect{mark}};
#else
    cenote::pool db{cenote::null{}, cenote::no_hooks{}, cenote::on_connect{mark}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
