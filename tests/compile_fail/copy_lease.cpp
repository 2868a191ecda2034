// sentence: deleted
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <utility>

int main() {
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4}};
    auto lease = db.acquire();
#ifdef CENOTE_FIXED
    auto second = std::move(lease);
#else
    auto second = lease;
#endif
    return second ? 0 : 1;
}
