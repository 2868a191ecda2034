// sentence: cenote: the idle sets of cenote hand out lifo or fifo; write one of these, or a locking policy of your own that knows the order
// lines: 25
// lines-clang: 30
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct shuffled {
    using family = cenote::family::order;
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::fifo{}};
#else
    cenote::pool db{cenote::null{}, shuffled{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
