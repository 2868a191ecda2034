// sentence: cenote: two sizing policies in one pool; keep one of fixed<N>, bounded and overflow
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

auto make_db() {
#ifdef CENOTE_FIXED
    return cenote::pool{cenote::null{}, cenote::bounded{.max = 3}};
#else
    return cenote::pool{cenote::null{}, cenote::bounded{.max = 3}, cenote::fixed<3>{}};
#endif
}

struct app {
    decltype(make_db()) db = make_db();
};

int work(cenote::any_pool auto& db) {
    const int used = db.with([](cenote::null::connection& c) { return c.mark; });
    std::error_code ec;
    auto lease = db.acquire(2s, ec);
    return lease ? used : ec.value();
}

int main() {
    app shop;
    return work(shop.db);
}
