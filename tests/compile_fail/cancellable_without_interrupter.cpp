// sentence: cenote: cancellable needs a driver with interrupter, cancel and sever; complete them, or use the lease as it is
// lines: 30
// errors: 6
#include <cenote/cancel.hpp>
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
    cenote::pool db{driver{}};
#ifdef CENOTE_FIXED
    auto call = db.acquire(2s);
#else
    cenote::cancellable call{db.acquire(2s)};
#endif
    ++call->queries;
    call.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
