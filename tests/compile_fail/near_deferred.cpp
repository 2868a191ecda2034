// sentence: cenote: the driver has reset_start or reset_finish, but not both as `bool reset_start(connection&) noexcept` and `void reset_finish(connection&, deadline)`; complete them
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
    bool reset_start(session&) noexcept { return true; }
    void reset_finish(session&, cenote::deadline) {}
#else
    bool reset_start(session&) noexcept { return true; }
#endif
};

int main() {
    cenote::pool db{driver{}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
