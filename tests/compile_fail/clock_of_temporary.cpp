// sentence: deleted
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>
#include <cenote/testing/manual_clock.hpp>

int main() {
#ifdef CENOTE_FIXED
    const cenote::testing::manual_clock hand;
    cenote::pool db{cenote::null{}, cenote::clock::manual{hand}};
#else
    cenote::pool db{cenote::null{}, cenote::clock::manual{cenote::testing::manual_clock{}}};
#endif
    return db.stats().idle == 0 ? 0 : 1;
}
