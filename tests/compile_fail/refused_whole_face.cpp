// sentence: cenote: two order policies in one pool; keep one of lifo and fifo
// lines: 25
// A refused pool still has its whole face: one mistake is one error, however much of it is used.
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

#include <utility>

using namespace std::chrono_literals;

#ifdef CENOTE_FIXED
using db_pool = cenote::pool<cenote::null, cenote::lifo, cenote::counters, cenote::named>;
#else
using db_pool = cenote::pool<cenote::null, cenote::lifo, cenote::fifo, cenote::counters, cenote::named>;
#endif

int main() {
    db_pool db{cenote::null{}, cenote::named{"shop"}};
    std::error_code ec;
    cenote::failure why;
    db_pool::lease a = db.acquire();
    auto b = db.acquire(cenote::deadline::in(2s));
    auto c = db.acquire(cenote::deadline::in(2s), std::stop_token{}, ec);
    auto d = db.acquire(why);
    auto e = db.try_acquire();
    a = std::move(b);
    *db.driver().native_handle(*a) = c->mark;
    int* const handle = a.native_handle();
    if (!a.forked()) a.tag("here");
    cenote::null::connection own = c.detach();
    d.discard(cenote::error_class::disconnected);
    b.abandon();
    own.mark = db.with([](auto& conn) { return conn.mark; }) + db.with(2s, [](cenote::null::connection& conn) { return conn.mark; });
    db.maintain();
    db.resize(4);
    db.abandon();
    db.suspend();
    db.resume();
    db_pool other = std::move(db);
    db = std::move(other);
    const auto closed = db.get<cenote::counters>().closed_for(cenote::close_reason::idle);
    return db.close().drained && db.inspect().leased == 0 && db.name() == "shop" && e && closed == 0 && own.mark == 0 ? *handle : 1;
}
