// sentence: cenote: the budget policy lacks `duration budget() const noexcept`; write acquire_timeout or no_acquire_timeout
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct short_budget {
    using family = cenote::family::budget;
#ifdef CENOTE_FIXED
    static cenote::duration budget() noexcept { return 3s; }
#else
    cenote::duration after = 3s;
#endif
};

int main() {
    cenote::pool db{cenote::null{}, short_budget{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
