// sentence: cenote: fixed<N> lives inside the pool object, which a background_thread could outlive; write manual, or bounded{.max = N}
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4}, cenote::background_thread{}};
#else
    cenote::pool db{cenote::null{}, cenote::fixed<4>{}, cenote::background_thread{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
