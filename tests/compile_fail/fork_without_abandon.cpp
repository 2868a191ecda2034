// sentence: cenote: fork_aware needs a driver with `void abandon(connection&) noexcept`; add it, or leave the policy out and make pools after the fork only
// lines: 25
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct session {
    int queries = 0;
};
struct driver {
    using connection = session;
    session open(cenote::deadline) { return {}; }
    void close(session&) noexcept {}
#ifdef CENOTE_FIXED
    void abandon(session&) noexcept {}
#endif
};

int main() {
    cenote::pool db{driver{}, cenote::fork_aware{}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    if (db.forked()) db.abandon();
    return db.stats().idle == 1 ? 0 : 1;
}
