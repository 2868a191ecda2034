// sentence: cenote: the driver lacks `void close(connection&) noexcept` (noexcept is required); add it
// lines: 25
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct session {
    int queries = 0;
};
struct driver {
    using connection = session;
    session open(cenote::deadline) { return {}; }
#ifdef CENOTE_FIXED
    void close(session&) noexcept {}
#else
    void close(session&) {}
#endif
};

int main() {
    cenote::pool db{driver{}, cenote::bounded{.max = 4}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
