// sentence: cenote: the locking policy lacks `sync`, `idle_set<Order>` or `threads`; model cenote::locking_policy
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct lock {
    using family = cenote::family::locking;
#ifdef CENOTE_FIXED
    using sync = cenote::detail::real_sync<std::mutex>;
    static constexpr bool threads = true;
    template <class Order>
    using idle_set = cenote::detail::idle_locked<Order, sync>;
#else
    using sync = cenote::detail::real_sync<std::mutex>;
    static constexpr bool threads = true;
#endif
};

int main() {
    cenote::pool db{cenote::null{}, lock{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
