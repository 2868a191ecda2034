// sentence: deleted
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <utility>

int main() {
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4}};
    cenote::pool second{cenote::null{}, cenote::bounded{.max = 4}};
#ifdef CENOTE_FIXED
    second = std::move(db);
#else
    second = db;
#endif
    return second.stats().idle == 0 ? 0 : 1;
}
