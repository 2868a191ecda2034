// sentence: cenote: a hook is none of on_connect, on_acquire, on_give_back, on_close and on_leak, or cannot be called with what these are given
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::on_connect{[](cenote::null::connection& c) { c.mark = 1; }}};
#else
    cenote::pool db{cenote::null{}, cenote::on_connect{[](int& handle) { handle = 1; }}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
