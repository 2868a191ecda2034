// sentence: cenote: a metrics sink hears of nothing, none of its members is called as the pool calls it; check their spelling
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct sink {
    using family = cenote::family::metrics;
#ifdef CENOTE_FIXED
    void on_closed(const cenote::closed_event&) {}
#else
    void on_close(const cenote::closed_event&) {}
#endif
};

int main() {
    cenote::pool db{cenote::null{}, sink{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
