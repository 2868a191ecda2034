// sentence: cenote: the same policy is passed to reconfigure() twice; keep one
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::live_settings{}};
    db.reconfigure(cenote::bounded{.max = 20});
#else
    cenote::pool db{cenote::null{}, cenote::live_settings{}};
    db.reconfigure(cenote::bounded{.max = 10}, cenote::bounded{.max = 20});
#endif
    return db.stats().max == 20 ? 0 : 1;
}
