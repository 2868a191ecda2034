// sentence: cenote: the nesting policy lacks watches or refuses; write allow_nested, report_nested or forbid_nested
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct lenient {
    using family = cenote::family::nesting;
#ifdef CENOTE_FIXED
    static constexpr bool watches = false, refuses = false;
#else
    static constexpr bool watches = false;
#endif
};

int main() {
    cenote::pool db{cenote::null{}, lenient{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
