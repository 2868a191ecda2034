// sentence: cenote: the last argument of process() is no callback; write process(sql, values..., [](cenote::cursor& rows) { ... })
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
    cenote::session s{db.acquire()};
#ifdef CENOTE_FIXED
    s.process("select name from users where id = ?", 7, [](cenote::cursor&) {});
#else
    s.process("select name from users where id = ?", 7);
#endif
}
