// sentence: cenote: the leak policy lacks `records`, or records and lacks `after` or `needs = facts<holder>`, or cuts and lacks `grace`; write leak_threshold or no_leak_check
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct watchful {
    using family = cenote::family::leak;
#ifdef CENOTE_FIXED
    using needs = cenote::facts<cenote::holder>;
    static constexpr bool records = true;
    cenote::duration after = 3s;
#else
    static constexpr bool records = true;
    cenote::duration after = 3s;
#endif
};

int main() {
    cenote::pool db{cenote::null{}, watchful{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
