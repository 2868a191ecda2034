// sentence: cenote: a value cannot be read as this type; give it a cenote::convert<T> with a function from()
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

struct color {
    int rgb = 0;
};

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
    const cenote::row r = db.query("select rgb from colors").front();
#ifdef CENOTE_FIXED
    return color{r.get<int>(0)}.rgb;
#else
    return r.get<color>(0).rgb;
#endif
}
