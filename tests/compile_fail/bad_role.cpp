// sentence: cenote: the role policy lacks `checks`, or checks and lacks `server_role wanted() const noexcept`; write any_role or require_role
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct writers {
    using family = cenote::family::role;
#ifdef CENOTE_FIXED
    static constexpr bool checks = false;
#else
    static constexpr bool checks = true;
    [[nodiscard]] cenote::server_role wanted() const { return cenote::server_role::primary; }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, writers{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
