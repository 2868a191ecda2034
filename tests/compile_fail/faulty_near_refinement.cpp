// sentence: cenote: the driver given to faulty<> has a member with the name of a refinement and another signature, which would get lost here; give it the signature of cenote/driver.hpp or another name
// lines: 12
#include <cenote/testing/faulty.hpp>

struct driver {
    using connection = int;
    int open(cenote::deadline) { return 1; }
    void close(int&) noexcept {}
#ifdef CENOTE_FIXED
    void ping(int&, cenote::deadline) {}
#else
    bool ping(int&, cenote::deadline) { return true; }
#endif
};

int main() {
    cenote::testing::faulty<driver> d{driver{}};
    auto c = d.open(cenote::deadline::never());
    d.close(c);
}
