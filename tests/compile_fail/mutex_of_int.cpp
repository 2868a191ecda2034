// sentence: cenote: with_mutex<M> needs M to have lock() and unlock(); take std::mutex or a type like it
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::with_mutex<std::mutex>{}};
#else
    cenote::pool db{cenote::null{}, cenote::with_mutex<int>{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
