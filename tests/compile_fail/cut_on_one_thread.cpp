// sentence: cenote: cut_at_close needs a driver with interrupter, cancel and sever, and a pool of several threads; complete them, or leave the policy out
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::single_threaded{}, cenote::never_cut{}};
#else
    cenote::pool db{cenote::null{}, cenote::single_threaded{}, cenote::cut_at_close{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
