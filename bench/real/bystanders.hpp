// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "../lib/windows.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include <sys/types.h>
#include <time.h>
#include <unistd.h>

namespace bench {

/// What neither this process nor its server took of the processors' time: other programs, other machines on the same processor.
class bystanders {
public:
    explicit bystanders(pid_t server) : server_{server}, began_{clock::now()}, taken_{taken()} {}

    /// Of all processors together, 0 to 1.
    [[nodiscard]] double share() const {
        const double wall = std::chrono::duration<double>(clock::now() - began_).count() * disturbance::processors();
        return std::clamp((taken() - taken_) / wall, 0.0, 1.0);
    }
    /// More than the system's ticks can be mistaken about.
    [[nodiscard]] static double tolerated(nanoseconds window) {
        const double tick = 1.0 / static_cast<double>(::sysconf(_SC_CLK_TCK));
        return 0.03 + tick / std::chrono::duration<double>(window).count();
    }

private:
    [[nodiscard]] double taken() const {
        std::ifstream stat{"/proc/stat"};
        std::string cpu;
        double user = 0, nice = 0, system = 0, idle = 0, io = 0, irq = 0, softirq = 0, steal = 0;
        if (!(stat >> cpu >> user >> nice >> system >> idle >> io >> irq >> softirq >> steal)) return 0;
        timespec own{};
        ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
        return (user + nice + system + irq + softirq + steal) / static_cast<double>(::sysconf(_SC_CLK_TCK)) -
               (static_cast<double>(own.tv_sec) + 1e-9 * static_cast<double>(own.tv_nsec)) - of_process(server_);
    }
    /// A process with all its threads, and those it has started.
    [[nodiscard]] static double of_process(pid_t process) {
        double all = 0;
        std::error_code gone;
        for (const auto& thread : std::filesystem::directory_iterator{"/proc/" + std::to_string(process) + "/task", gone}) {
            double ran = 0;
            if (std::ifstream{thread.path() / "schedstat"} >> ran) all += 1e-9 * ran;
            std::ifstream children{thread.path() / "children"};
            for (pid_t child = 0; children >> child;) all += of_process(child);
        }
        return all;
    }

    pid_t server_;
    clock::time_point began_;
    double taken_;
};

} // namespace bench
