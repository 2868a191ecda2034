// sentence: cenote: reset_with needs a driver with `void execute(connection&, std::string_view, deadline)`; add it, or write another reset
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
    cenote::session_state state(session&) noexcept { return cenote::session_state::idle; }
    void rollback(session&, cenote::deadline) {}
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{driver{}, cenote::reset_if_dirty{}};
#else
    cenote::pool db{driver{}, cenote::reset_with{"discard all"}};
#endif
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
