// sentence: cenote: lock() needs a driver that can query, or ask; see cenote/session/statement.hpp and cenote/session/detail/lock_ask.hpp
// lines: 36
#include <cenote/session/lock.hpp>

#include <optional>
#include <string>
#include <string_view>

struct session {};
struct driver {
    using connection = session;
    session open(cenote::deadline) { return {}; }
    void close(session&) noexcept {}
#ifdef CENOTE_FIXED
    std::optional<std::string> ask(session&, std::string_view, cenote::deadline) { return "1"; }
#endif
};

int main() {
    cenote::pool db{driver{}};
    auto held = cenote::lock(db, cenote::advisory_lock{4711});
    return held.owns() ? 0 : 1;
}
