// sentence: cenote: reconfigure() takes policies that this pool has and that hold values which may change
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 20}, cenote::max_uses{100}, cenote::live_settings{}};
#else
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 20}, cenote::live_settings{}};
#endif
    db.reconfigure(cenote::max_uses{200});
    return db.stats().max == 20 ? 0 : 1;
}
