// sentence: cenote: one of the arguments after the driver is not a policy; a policy is a struct with `using family = cenote::family::…`
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct taste {
    static constexpr int index = 3;
    static constexpr bool many = false;
};
struct colour {
    using family = taste;
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}};
#else
    cenote::pool db{cenote::null{}, colour{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
