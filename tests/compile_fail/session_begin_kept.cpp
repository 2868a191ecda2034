// sentence: cenote: begin() takes the session over, so that nothing else runs on it meanwhile; write std::move(session).begin()
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
    cenote::session s{db.acquire()};
#ifdef CENOTE_FIXED
    auto t = std::move(s).begin();
#else
    auto t = s.begin();
#endif
    t.commit();
}
