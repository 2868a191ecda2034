// sentence: cenote: the validation policy lacks `probe choose(const auto& facts, time_point now) const noexcept`, with or without `now`
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

struct wary {
    using family = cenote::family::validation;
#ifdef CENOTE_FIXED
    static constexpr bool peeks = true, pings = false;
    static cenote::probe choose(const auto&) noexcept { return cenote::probe::peek; }
    static cenote::duration limit() noexcept { return 1s; }
#else
    static constexpr bool peeks = true, pings = false;
    static cenote::duration limit() noexcept { return 1s; }
#endif
};

int main() {
    cenote::pool db{cenote::null{}, wary{}};
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
