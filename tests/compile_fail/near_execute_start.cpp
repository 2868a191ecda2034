// sentence: cenote: the driver has rollback_start or execute_start, but not as `bool rollback_start(connection&) noexcept` or `bool execute_start(connection&, std::string_view) noexcept` beside reset_start and reset_finish; complete them
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
    bool reset_start(session&) noexcept { return true; }
    void reset_finish(session&, cenote::deadline) {}
#ifdef CENOTE_FIXED
    bool execute_start(session&, std::string_view) noexcept { return true; }
#else
    bool execute_start(session&, std::string_view, cenote::deadline) noexcept { return true; }
#endif
};

int main() {
    cenote::pool db{driver{}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
