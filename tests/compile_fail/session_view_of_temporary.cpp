// sentence: cenote: a view into a row that is a temporary would be left without it; give the row a name first
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
#ifdef CENOTE_FIXED
    const cenote::row r = db.query("select name from users").front();
    const std::string_view name = r.get<std::string_view>(0);
#else
    const std::string_view name = db.query("select name from users").front().get<std::string_view>(0);
#endif
    return name.empty() ? 1 : 0;
}
