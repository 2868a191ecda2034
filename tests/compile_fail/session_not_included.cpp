// sentence: cenote: query(), exec() and transaction() of a pool are sessions' work; include cenote/session/session.hpp
#include <cenote/drivers/sqlite.hpp>
#ifdef CENOTE_FIXED
#include <cenote/session/session.hpp>
#endif

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
    db.exec("insert into hits values (?)", 1);
}
