// sentence: cenote: two policies about forks in one pool; keep one of fork_unaware and fork_aware
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::fork_aware{}};
#else
    cenote::pool db{cenote::null{}, cenote::fork_unaware{}, cenote::fork_aware{}};
#endif
    auto lease = db.acquire(2s);
    lease.give_back();
    if (db.forked()) db.abandon();
    return db.stats().idle == 1 ? 0 : 1;
}
