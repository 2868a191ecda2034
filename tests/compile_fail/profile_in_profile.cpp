// sentence: cenote: the profile lacks `policies()` that returns a cenote::bundle of policies, none of them a profile
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::profile::web{}, cenote::lifo{}};
#else
    cenote::pool db{cenote::null{}, cenote::bundle{cenote::profile::web{}, cenote::lifo{}}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
