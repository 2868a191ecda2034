// sentence: cenote: close_now ends the leases of other threads, and single_threaded has none; write discard_on_return, or lock_free instead of single_threaded
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::single_threaded{}, cenote::discard_on_return{}};
#else
    cenote::pool db{cenote::null{}, cenote::single_threaded{}, cenote::close_now{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.suspicious(1s).empty() ? 0 : 1;
}
