// sentence: cenote: the driver has a member `abandon` that is not `void abandon(connection&) noexcept`; give it that signature or another name
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
#else
    void abandon(session&) {}
#endif
};

int main() {
    cenote::pool db{driver{}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
