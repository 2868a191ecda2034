// sentence: cenote: cancellable is for leases of pools of several threads on the heap, which a cancel in flight may outlive; write bounded and lock_free
// lines: 25
#include <cenote/cancel.hpp>
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 2}};
#else
    cenote::pool db{cenote::null{}, cenote::fixed<2>{}};
#endif
    cenote::cancellable call{db.acquire(2s)};
    int* const handle = call.native_handle();
    *handle = call->mark;
    call.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
