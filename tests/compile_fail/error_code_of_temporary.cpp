// sentence: error_code
// lines: 60
// A noexcept form writes to an lvalue: a temporary would lose the reason.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

int main() {
    cenote::pool db{cenote::null{}};
#ifdef CENOTE_FIXED
    std::error_code ec;
    auto lease = db.acquire(ec);
#else
    auto lease = db.acquire(std::error_code{});
#endif
    return lease ? 0 : 1;
}
