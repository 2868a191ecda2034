// sentence: cenote: deferred{reset_with} needs a driver with `bool execute_start(connection&, std::string_view) noexcept`; add it, or write background or at_return around it
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
    bool reset_start(session&) noexcept { return true; }
    void reset_finish(session&, cenote::deadline) {}
    void execute(session&, std::string_view, cenote::deadline) {}
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{driver{}, cenote::background{cenote::reset_with{"discard all"}}};
#else
    cenote::pool db{driver{}, cenote::deferred{cenote::reset_with{"discard all"}}};
#endif
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
