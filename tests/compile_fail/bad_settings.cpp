// sentence: cenote: the settings policy lacks `static constexpr bool live`; write fixed_settings or live_settings
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

template <bool Whole>
struct mine {
    using family = cenote::family::settings;
};
template <>
struct mine<true> {
    using family = cenote::family::settings;
    static constexpr bool live = false;
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, mine<true>{}};
#else
    cenote::pool db{cenote::null{}, mine<false>{}};
#endif
    return db.stats().max == 20 ? 0 : 1;
}
