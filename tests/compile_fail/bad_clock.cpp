// sentence: cenote: the clock lacks `time_point now() const noexcept`; model cenote::age_clock
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct wall {
    using family = cenote::family::clock;
#ifdef CENOTE_FIXED
    static cenote::time_point now() noexcept { return std::chrono::steady_clock::now(); }
#else
    static std::chrono::system_clock::time_point now() noexcept { return std::chrono::system_clock::now(); }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, wall{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
