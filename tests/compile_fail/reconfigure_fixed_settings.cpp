// sentence: cenote: reconfigure() needs a pool whose settings can change; add live_settings to its policies
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::live_settings{}};
#else
    cenote::pool db{cenote::null{}};
#endif
    db.reconfigure(cenote::bounded{.max = 20});
    return db.stats().max == 20 ? 0 : 1;
}
