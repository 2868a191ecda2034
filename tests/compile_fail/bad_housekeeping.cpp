// sentence: cenote: the housekeeping policy lacks `threads`, or has threads and lacks max_dials or patience; write background_thread or manual
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct keeper {
    using family = cenote::family::housekeeping;
#ifdef CENOTE_FIXED
    static constexpr bool threads = false;
#else
    static constexpr bool threads = true;
#endif
};

int main() {
    cenote::pool db{cenote::null{}, keeper{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
