// sentence: cenote: two sizing policies in one pool; keep one of fixed<N>, bounded and overflow
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    using db_pool = cenote::pool<cenote::null, cenote::overflow, cenote::max_uses>;
#else
    using db_pool = cenote::pool<cenote::null, cenote::overflow, cenote::max_uses, cenote::bounded>;
#endif
    struct app {
        db_pool db{cenote::null{}, cenote::max_uses{10}, cenote::overflow{.size = 4}};
        int work() {
            auto lease = db.acquire(2s);
            int* const handle = lease.native_handle();
            return *handle + lease->mark;
        }
    } shop;
    return shop.work() + static_cast<int>(shop.db.stats().used);
}
