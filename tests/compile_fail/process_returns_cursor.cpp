// sentence: cenote: what the callback of process() returns refers to rows that end with the call; return a value instead
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
    cenote::session s{db.acquire()};
#ifdef CENOTE_FIXED
    s.process("select name from users", [](cenote::cursor& rows) { return rows.many(10); });
#else
    s.process("select name from users", [](cenote::cursor& rows) { return &rows; });
#endif
}
