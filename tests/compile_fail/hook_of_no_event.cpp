// sentence: cenote: a hook is none of on_connect, on_acquire, on_give_back, on_close and on_leak, or cannot be called with what these are given
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct on_something {
    using family = cenote::family::hooks;
    void operator()(cenote::null::connection&) {}
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::on_acquire{on_something{}}};
#else
    cenote::pool db{cenote::null{}, on_something{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
