// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include "../lib/windows.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace peers {

/// HikariCP in a process of its own (hikari/Harness.java), which does one window when it is told to and rests in between: so it takes its
/// turns among the others.
class hikari {
public:
    /// The command that starts the harness.
    explicit hikari(char** command) {
        std::signal(SIGPIPE, SIG_IGN); // a harness that has ended is noticed when it does not answer
        std::array<int, 2> to{}, from{};
        if (::pipe2(to.data(), O_CLOEXEC) != 0 || ::pipe2(from.data(), O_CLOEXEC) != 0) throw std::system_error{errno, std::generic_category(), "pipe"};
        posix_spawn_file_actions_t ends;
        posix_spawn_file_actions_init(&ends);
        posix_spawn_file_actions_adddup2(&ends, to[0], STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&ends, from[1], STDOUT_FILENO);
        const int failed = ::posix_spawnp(&child_, command[0], &ends, nullptr, command, environ);
        posix_spawn_file_actions_destroy(&ends);
        ::close(to[0]);
        ::close(from[1]);
        ask_ = ::fdopen(to[1], "w");
        answer_ = ::fdopen(from[0], "r");
        if (failed != 0) {
            child_ = -1;
            throw std::system_error{failed, std::generic_category(), command[0]};
        }
        if (clockid_t clock{}; ::clock_getcpuclockid(child_, &clock) == 0) bench::disturbance::count_in(clock);
    }
    hikari(const hikari&) = delete;
    hikari& operator=(const hikari&) = delete;
    ~hikari() {
        std::fclose(ask_);
        if (child_ > 0) ::waitpid(child_, nullptr, 0);
        std::fclose(answer_);
    }

    [[nodiscard]] bench::contest::window cycle(unsigned threads, unsigned size, std::chrono::nanoseconds length) {
        return window("cycle " + std::to_string(threads) + " " + std::to_string(size), threads, length);
    }
    [[nodiscard]] bench::contest::window waits(unsigned threads, unsigned size, std::chrono::nanoseconds hold, std::chrono::nanoseconds length) {
        return window("waits " + std::to_string(threads) + " " + std::to_string(size) + " " + std::to_string(hold.count()), threads, length);
    }

private:
    bench::contest::window window(const std::string& what, unsigned threads, std::chrono::nanoseconds length) {
        const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(length).count();
        std::fprintf(ask_, "%s %lld\n", what.c_str(), static_cast<long long>(milliseconds));
        std::fflush(ask_);
        std::string line;
        for (int c = 0; (c = std::fgetc(answer_)) != EOF && c != '\n';) line += static_cast<char>(c);
        std::istringstream words{line};
        std::vector<bench::lap> laps(threads);
        for (bench::lap& lap : laps) {
            double ns = 0;
            words >> lap.cycles >> ns;
            lap.seconds = ns * 1e-9;
        }
        if (!words) throw std::runtime_error{"HikariCP's harness did not answer"};
        bench::contest::window out{.readings = bench::readings_of(laps)};
        for (const char* metric : {"p50", "p99", "p99.9", "max"}) {
            double ns = 0;
            if (words >> ns) out.readings.push_back({.metric = metric, .unit = "us", .value = ns * 1e-3});
        }
        return out;
    }

    pid_t child_ = -1;
    std::FILE* ask_ = nullptr;
    std::FILE* answer_ = nullptr;
};

} // namespace peers
