// sentence: cenote: the driver has interrupter, cancel or sever, but not all three as `auto interrupter(connection&)` of a movable token, `void cancel(token&, deadline)` and `void sever(token&, deadline) noexcept`; complete them
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
    struct token {};
    token interrupter(session&) { return {}; }
    void cancel(token&, cenote::deadline) {}
#ifdef CENOTE_FIXED
    void sever(token&, cenote::deadline) noexcept {}
#endif
};

int main() {
    cenote::pool db{driver{}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
