// sentence: cenote: a constructor argument is not among the policies of this pool's type; add it to the type's list, or leave the list to deduction
// lines: 25
#include <cenote/drivers/null.hpp>
#include <cenote/pool.hpp>

using namespace std::chrono_literals;

using db_pool = cenote::pool<cenote::null, cenote::bounded, cenote::max_uses>;

int main() {
#ifdef CENOTE_FIXED
    db_pool db{cenote::null{}, cenote::max_uses{5}};
#else
    db_pool db{cenote::null{}, cenote::pre_ping{}};
#endif
    auto lease = db.acquire(2s);
    int* const handle = lease.native_handle();
    *handle = lease->mark;
    lease.give_back();
    return db.stats().idle == 1 ? 0 : 1;
}
