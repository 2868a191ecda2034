// sentence: cenote: keepalive needs a driver with `void ping(connection&, deadline)`; add it, or leave the policy out
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
    cenote::liveness peek(session&) noexcept { return cenote::liveness::quiet; }
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{driver{}};
#else
    cenote::pool db{driver{}, cenote::keepalive{}};
#endif
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
