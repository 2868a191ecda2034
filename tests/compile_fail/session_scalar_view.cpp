// sentence: cenote: scalar<T>() gives back what must not refer to the row that it comes from; ask for a std::string
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
    cenote::session s{db.acquire()};
#ifdef CENOTE_FIXED
    return s.scalar<std::string>("select name from users").empty() ? 1 : 0;
#else
    return s.scalar<std::string_view>("select name from users").empty() ? 1 : 0;
#endif
}
