// sentence: cenote: an age policy lacks `bool expired(const auto& facts, time_point now) const noexcept`, with or without `now`
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct moody {
    using family = cenote::family::age;
#ifdef CENOTE_FIXED
    static constexpr bool at_checkout = true, at_return = false, while_idle = false;
    static constexpr cenote::close_reason reason = cenote::close_reason::custom;
    static bool expired(const auto&) noexcept { return false; }
#else
    static constexpr bool at_checkout = true, at_return = false, while_idle = false;
    static constexpr cenote::close_reason reason = cenote::close_reason::custom;
    static bool expire(const auto&) noexcept { return false; }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, moody{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
