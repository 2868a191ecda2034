// sentence: cenote: the sizing policy lacks `limits bounds() const` or `static constexpr unsigned embedded`; model cenote::sizing_policy
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct three {
    using family = cenote::family::sizing;
#ifdef CENOTE_FIXED
    static cenote::limits bounds() noexcept { return {.keep = 3, .max = 3, .ceiling = 3}; }
    static constexpr unsigned embedded = 0;
#else
    static unsigned bounds() noexcept { return 3; }
    static constexpr unsigned embedded = 0;
#endif
};

int main() {
    cenote::pool db{cenote::null{}, three{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
