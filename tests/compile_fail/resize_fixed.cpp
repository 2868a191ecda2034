// sentence: constraints not satisfied
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <utility>

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4, .ceiling = 8}};
#else
    cenote::pool db{cenote::null{}, cenote::fixed<4>{}};
#endif
    db.resize(5);
    return db.stats().max == 5 ? 0 : 1;
}
