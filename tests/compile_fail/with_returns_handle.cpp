// sentence: cenote: the callback of with() returns the native handle of a connection that is given back with the call; return a value instead
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
    cenote::pool db{cenote::null{}, cenote::bounded{.max = 4}};
#ifdef CENOTE_FIXED
    auto got = db.with([&](cenote::null::connection& c) { return *cenote::null::native_handle(c); });
#else
    auto got = db.with([&](cenote::null::connection& c) { return cenote::null::native_handle(c); });
#endif
    return got == decltype(got){} ? 0 : 1;
}
