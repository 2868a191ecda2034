// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include <sys/syscall.h>
#include <unistd.h>

namespace testing_support {

using std::chrono::duration_cast;

/// How often a test of deadlines goes round: CENOTE_DEADLINE_ROUNDS, or a number that suits a quick run.
inline std::size_t deadline_rounds() {
    const char* n = std::getenv("CENOTE_DEADLINE_ROUNDS");
    return n != nullptr ? std::stoul(n) : 25;
}

/// How punctual calls were that had to end by a deadline. The machine may be busy, which is no fault of theirs: a thread that sleeps until
/// the same moment at the same time shows how late the system wakes, and the kernel tells how long the calling thread, though it could
/// run, was not let.
struct punctuality {
    using ns = std::chrono::nanoseconds;
    std::size_t rounds = 0, early = 0, late = 0;
    ns worst{ns::min()};        ///< after the deadline
    ns worst_beyond{ns::min()}; ///< after the deadline and beyond what the machine is to blame for

    /// Runs `call(deadline)`. Late: it ends more than `tolerance` after its deadline and after what the machine is to blame for.
    template <class F>
    void measure(cenote::duration budget, cenote::duration tolerance, F call) {
        using clock = std::chrono::steady_clock;
        const ns held_before = held();
        const cenote::time_point by = clock::now() + budget;
        ns control{};
        std::thread sleeper{[&] {
            std::this_thread::sleep_until(by);
            control = clock::now() - by;
        }};
        call(cenote::deadline{by});
        const ns over = clock::now() - by;
        const ns kept = held() - held_before;
        sleeper.join();
        const ns beyond = over - std::max(control, kept);
        ++rounds;
        if (over < ns::zero()) ++early;
        if (beyond > tolerance) ++late;
        worst = std::max(worst, over);
        worst_beyond = std::max(worst_beyond, beyond);
    }

    [[nodiscard]] std::string text() const {
        const auto ms = [](ns t) { return std::to_string(duration_cast<std::chrono::microseconds>(t).count()) + " us"; };
        return std::to_string(rounds) + " rounds, " + std::to_string(early) + " early, " + std::to_string(late) + " late; worst " + ms(worst) +
               " after the deadline, " + ms(worst_beyond) + " beyond the control";
    }

private:
    /// How long this thread has waited for a processor in all its life.
    static ns held() {
        std::ifstream file{"/proc/thread-self/schedstat"};
        long long ran = 0, waited = 0;
        file >> ran >> waited;
        return file ? ns{waited} : ns::zero();
    }
};

} // namespace testing_support
