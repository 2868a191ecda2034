// sentence: cenote: the connecting policy is of no known kind: connect_timeout with `duration limit() const noexcept`, backoff with
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct quick {
    using family = cenote::family::connecting;
#ifdef CENOTE_FIXED
    using kind = cenote::kind::connect_timeout;
    static cenote::duration limit() noexcept { return 3s; }
#else
    static cenote::duration limit() noexcept { return 3s; }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, quick{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
