// sentence: cenote: peek_after needs a driver with `liveness peek(connection&) noexcept`; add it, or write pre_ping_after or no_validation
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
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{driver{}, cenote::no_validation{}};
#else
    cenote::pool db{driver{}, cenote::peek_after{}};
#endif
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
