// sentence: cenote: two policies about settings in one pool; keep one of fixed_settings and live_settings
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::live_settings{}};
#else
    cenote::pool db{cenote::null{}, cenote::fixed_settings{}, cenote::live_settings{}};
#endif
    db.reconfigure(cenote::bounded{.max = 20}, cenote::acquire_timeout{2s});
    auto s = db.settings();
    s.get<cenote::bounded>().max = 20;
    db.reconfigure(s);
    return db.stats().max == 20 ? 0 : 1;
}
