// sentence: deleted
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <utility>

int main() {
    cenote::pool db{cenote::null{}, cenote::fixed<4>{}};
#ifdef CENOTE_FIXED
    auto& second = db;
#else
    auto second = std::move(db);
#endif
    return second.stats().idle == 0 ? 0 : 1;
}
