// sentence: cenote: a session wants a driver that can query(); this one cannot
#include <cenote/drivers/null.hpp>
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
#ifdef CENOTE_FIXED
    cenote::pool db{cenote::sqlite{"shop.db"}};
#else
    cenote::pool db{cenote::null{}};
#endif
    cenote::session s{db.acquire()};
    s.exec("insert into hits values (1)");
}
