// sentence: cenote: the profile lacks `policies()` that returns a cenote::bundle of policies, none of them a profile; write one like profile::web
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct small {
    using family = cenote::family::profile;
#ifdef CENOTE_FIXED
    static auto policies() { return cenote::bundle{cenote::bounded{.max = 3}}; }
#else
    static auto policies() { return std::tuple{cenote::bounded{.max = 3}}; }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, small{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
