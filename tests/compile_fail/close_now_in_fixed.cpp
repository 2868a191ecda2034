// sentence: cenote: close_now gives the place of a lost lease to another, and fixed<N> has no slot to spare; write bounded{.max = N}, or discard_on_return
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::fixed<2>{}, cenote::discard_on_return{}};
#else
    cenote::pool db{cenote::null{}, cenote::fixed<2>{}, cenote::close_now{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.suspicious(1s).empty() ? 0 : 1;
}
