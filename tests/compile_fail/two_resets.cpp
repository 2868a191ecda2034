// sentence: cenote: two reset policies in one pool; keep one, wrapped in deferred, background or at_return to say when
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::reset_if_dirty{}};
#else
    cenote::pool db{cenote::null{}, cenote::reset_if_dirty{}, cenote::at_return{cenote::reset_always{}}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
