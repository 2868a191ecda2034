// sentence: cenote: what the callback of with() returns refers to the lease, which ends with the call; return a value instead
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4}};
#ifdef CENOTE_FIXED
    auto got = db.with([](cenote::null::connection& c) { return c.mark; });
#else
    auto got = db.with([](cenote::null::connection& c) { return &c; });
#endif
    return got == decltype(got){} ? 0 : 1;
}
