// sentence: cenote: the keepalive policy lacks `tests`, or tests and lacks `every` or `duration limit() const noexcept`; write keepalive or no_keepalive
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct now_and_then {
    using family = cenote::family::keepalive;
#ifdef CENOTE_FIXED
    static constexpr bool tests = false;
#else
    static constexpr bool tests = true;
    cenote::duration every = 1min;
#endif
};

int main() {
    cenote::pool db{cenote::null{}, now_and_then{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
