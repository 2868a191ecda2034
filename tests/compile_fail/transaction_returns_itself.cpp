// sentence: cenote: what the callback of transaction() returns refers to the transaction, which ends with the call; return a value instead
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
#ifdef CENOTE_FIXED
    db.transaction([](auto& t) { return t.query("select 1"); });
#else
    db.transaction([](auto& t) { return &t; });
#endif
}
