// sentence: cenote: the driver lacks `connection open(cenote::deadline)` that returns its `connection` type; add it
// lines: 25
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct session {
    int queries = 0;
};
struct driver {
    using connection = session;
#ifdef CENOTE_FIXED
    session open(cenote::deadline) { return {}; }
#else
    session open() { return {}; }
#endif
    void close(session&) noexcept {}
};

int main() {
    cenote::pool db{driver{}, cenote::bounded{.max = 4}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
