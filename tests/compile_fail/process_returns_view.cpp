// sentence: cenote: what the callback of process() returns refers to rows that end with the call; return a value instead
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
    cenote::session s{db.acquire()};
    const auto first = [](cenote::cursor& rows) {
        rows.next();
#ifdef CENOTE_FIXED
        return rows.get<std::string>(0);
#else
        return rows.get<std::string_view>(0);
#endif
    };
    s.process("select name from users", first);
}
