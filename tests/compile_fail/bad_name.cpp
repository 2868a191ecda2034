// sentence: cenote: the name policy lacks `std::string_view view() const noexcept`; write named or unnamed
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct shop {
    using family = cenote::family::name;
#ifdef CENOTE_FIXED
    static std::string_view view() noexcept { return "shop"; }
#else
    static const char* view() noexcept { return "shop"; }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, shop{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
