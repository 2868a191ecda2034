// sentence: cenote: this driver's database has no such lock: advisory_lock is PostgreSQL's, named_lock is MySQL's and MariaDB's, and SQLite has neither, see cenote/session/lock_key.hpp
// lines: 25
#include <cenote/session/lock.hpp>

#include <optional>
#include <string>
#include <string_view>

struct link_to_server {};
namespace cenote { // in place of the shipped one, which needs its client library
class mysql {
public:
    using connection = link_to_server;
    link_to_server open(cenote::deadline) { return {}; }
    void close(link_to_server&) noexcept {}
    std::optional<std::string> ask(link_to_server&, std::string_view, cenote::deadline) { return "1"; }
};
} // namespace cenote

int main() {
    cenote::pool db{cenote::mysql{}};
#ifdef CENOTE_FIXED
    auto held = cenote::lock(db, cenote::named_lock{"report"});
#else
    auto held = cenote::lock(db, cenote::advisory_lock{"report"});
#endif
    return held.owns() ? 0 : 1;
}
