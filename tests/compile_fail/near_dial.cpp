// sentence: cenote: the driver has a member `dial` that is not `auto dial(deadline)` of a movable type with descriptor(), want() and until(), all const noexcept, step() and take(); complete it or give it another name
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
    struct dialling {
        int descriptor() const noexcept { return 0; }
        cenote::readiness want() const noexcept { return cenote::readiness::write; }
#ifdef CENOTE_FIXED
        cenote::deadline until() const noexcept { return by; }
#else
        cenote::deadline until() const { return by; }
#endif
        bool step() { return true; }
        session take() { return {}; }
        cenote::deadline by;
    };
    dialling dial(cenote::deadline by) { return {by}; }
};

int main() {
    cenote::pool db{driver{}};
    auto lease = db.acquire(2s);
    ++lease->queries;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
