// sentence: nodiscard
// lines: 25
// flags: -Werror
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <utility>

int main() {
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4}};
#ifdef CENOTE_FIXED
    auto lease = db.acquire();
#else
    db.acquire();
#endif
    return db.stats().used == 0 ? 0 : 1;
}
