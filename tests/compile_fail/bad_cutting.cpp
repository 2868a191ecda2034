// sentence: cenote: the cutting policy lacks `cuts`, or cuts and lacks `grace`; write cut_at_close or never_cut
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct severely {
    using family = cenote::family::cutting;
#ifdef CENOTE_FIXED
    static constexpr bool cuts = false;
#else
    static constexpr bool cuts = true;
#endif
};

int main() {
    cenote::pool db{cenote::null{}, severely{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
