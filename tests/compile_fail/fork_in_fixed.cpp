// sentence: cenote: fork_aware leaves the memory of the parent's pool alone in a forked child, and that of fixed<N> goes with the pool object; write bounded{.max = N}, or leave the policy out
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4}, cenote::fork_aware{}};
#else
    cenote::pool db{cenote::null{}, cenote::fixed<4>{}, cenote::fork_aware{}};
#endif
    auto lease = db.acquire(2s);
    lease.give_back();
    if (db.forked()) db.abandon();
    return db.stats().idle == 1 ? 0 : 1;
}
