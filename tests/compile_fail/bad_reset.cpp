// sentence: cenote: the reset policy lacks reads_state, resets or executes; model cenote::reset_what
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct thorough {
    using family = cenote::family::reset;
#ifdef CENOTE_FIXED
    static constexpr bool reads_state = true, resets = false, executes = false;
    static cenote::cleanup choose(cenote::session_state) noexcept { return cenote::cleanup::rollback; }
#else
    static constexpr bool reads_state = true;
    static cenote::cleanup choose(cenote::session_state) noexcept { return cenote::cleanup::rollback; }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, thorough{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
