// sentence: cenote: a value of this type cannot be bound to a placeholder; give it a cenote::convert<T> with a function to()
#include <cenote/drivers/sqlite.hpp>
#include <cenote/session/session.hpp>

struct color {
    int rgb;
};

int main() {
    cenote::pool db{cenote::sqlite{"shop.db"}};
    const color red{0xff0000};
#ifdef CENOTE_FIXED
    db.exec("insert into colors values (?)", red.rgb);
#else
    db.exec("insert into colors values (?)", red);
#endif
}
