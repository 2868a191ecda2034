// sentence: cenote: close_now needs a driver with interrupter, cancel and sever, to end a session whose holder does not; complete them, or write discard_on_return
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
    cenote::pool db{driver{}, cenote::discard_on_return{}};
#else
    cenote::pool db{driver{}, cenote::close_now{}};
#endif
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.suspicious(1s).empty() ? 0 : 1;
}
