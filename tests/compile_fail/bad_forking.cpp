// sentence: cenote: the forking policy lacks `aware`, or is aware and lacks a `word` with `static const unsigned* here()`; write fork_unaware or fork_aware
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

inline const unsigned one = 1;
struct numbered {
    static const unsigned* here() { return &one; }
};
template <bool Whole>
struct mine {
    using family = cenote::family::forking;
    static constexpr bool aware = true;
};
template <>
struct mine<true> {
    using family = cenote::family::forking;
    static constexpr bool aware = true;
    using word = numbered;
};

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::null{}, mine<true>{}};
#else
    cenote::pool db{cenote::null{}, mine<false>{}};
#endif
    auto lease = db.acquire(2s);
    lease.give_back();
    return db.stats().idle == 1 && !db.forked() ? 0 : 1;
}
