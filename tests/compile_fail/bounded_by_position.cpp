// sentence: by_name_only
// lines: 30
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

// A bare number could mean min_idle, min or max.
int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4}};
#else
    cenote::pool db{cenote::null{}, cenote::bounded{4}};
#endif
    return db.stats().idle == 0 ? 0 : 1;
}
