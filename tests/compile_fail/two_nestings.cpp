// sentence: cenote: two nesting policies in one pool; keep one of allow_nested, report_nested and forbid_nested
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, cenote::report_nested{}};
#else
    cenote::pool db{cenote::null{}, cenote::report_nested{}, cenote::forbid_nested{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
