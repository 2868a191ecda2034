// sentence: cenote: what the callback of with() returns refers to the lease, which ends with the call; return a value instead
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
#ifdef CENOTE_FIXED
    db.with([](auto&) { return 1; });
#else
    db.with([](auto&) { return cenote::value_view{1}; });
#endif
}
