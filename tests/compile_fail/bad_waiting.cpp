// sentence: cenote: the waiting policy lacks waits, reads_time, max_waiters or a noexcept hand_over(duration); model cenote::waiting_policy
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct patient {
    using family = cenote::family::waiting;
#ifdef CENOTE_FIXED
    static constexpr bool waits = true, reads_time = false;
    static constexpr unsigned max_waiters = 5;
    static bool hand_over(cenote::duration) noexcept { return true; }
#else
    static constexpr bool waits = true, reads_time = false;
    static constexpr unsigned max_waiters = 5;
    static bool hand_over(cenote::duration) { return true; }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, patient{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
