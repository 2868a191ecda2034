// sentence: cenote: the first argument of pool is not a driver; give it a movable type with a movable member type `connection`
// lines: 25
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct session {
    session() = default;
#ifdef CENOTE_FIXED
    session(session&&) = default;
    session& operator=(session&&) = default;
#else
    session(session&&) = delete;
#endif
    int queries = 0;
};
struct driver {
    using connection = session;
    session open(cenote::deadline) { return {}; }
    void close(session&) noexcept {}
};

int main() {
    cenote::pool db{driver{}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
