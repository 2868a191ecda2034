// sentence: cenote: cut_at_close needs a driver with interrupter, cancel and sever, and a pool of several threads; complete them, or leave the policy out
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
    cenote::pool db{driver{}};
#else
    cenote::pool db{driver{}, cenote::cut_at_close{}};
#endif
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
