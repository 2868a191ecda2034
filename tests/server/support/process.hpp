// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define DESCRIPTORS_ARE_NEEDED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DESCRIPTORS_ARE_NEEDED 1
#endif
#endif
#ifndef DESCRIPTORS_ARE_NEEDED
#define DESCRIPTORS_ARE_NEEDED 0 // by the sanitizer itself, which opens files and pipes to look at what it checks
#endif

/// Processes, descriptors and files, for tests.
namespace process {

/// The letter that the kernel has for what a process does: 'T' is stopped. 0: there is none.
inline char state_of(pid_t pid) {
    std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
    std::string line;
    std::getline(file, line, '\0'); // which takes a process that ends meanwhile for an empty file, and throws nothing
    const std::size_t end = line.rfind(") "); // its name may hold anything
    return end == line.npos ? '\0' : line[end + 2];
}

/// Stops processes for as long as this lives. If the test dies meanwhile, a shell beside it lets them go on.
class stopped {
public:
    explicit stopped(std::vector<pid_t> pids) : pids_{std::move(pids)} {
        std::string resume = "read -r x; kill -CONT";
        for (const pid_t pid : pids_) resume += " " + std::to_string(pid);
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        std::string shell = "/bin/sh", option = "-c";
        const std::array<char*, 4> arguments{shell.data(), option.data(), resume.data(), nullptr};
        const int failed = ::posix_spawn(&guard_, "/bin/sh", &actions, nullptr, arguments.data(), environ);
        posix_spawn_file_actions_destroy(&actions);
        ::close(ends[0]);
        guarded_ = ends[1];
        if (failed != 0) {
            ::close(guarded_);
            throw std::runtime_error{"no shell to guard a stopped process"};
        }
        for (const pid_t pid : pids_) {
            ::kill(pid, SIGSTOP);
            for (int i = 0; state_of(pid) != 'T' && i < 10000; ++i) std::this_thread::sleep_for(std::chrono::microseconds{100});
        }
    }
    explicit stopped(pid_t pid) : stopped{std::vector<pid_t>{pid}} {}
    stopped(const stopped&) = delete;
    stopped& operator=(const stopped&) = delete;
    ~stopped() {
        for (const pid_t pid : pids_) ::kill(pid, SIGCONT);
        ::close(guarded_);
        while (::waitpid(guard_, nullptr, 0) < 0 && errno == EINTR) {}
    }

private:
    std::vector<pid_t> pids_;
    pid_t guard_ = -1;
    int guarded_ = -1;
};

/// Runs f in a forked child, which ends with what f returns. What comes back is that, or 256 and the signal that killed it.
template <class F>
[[nodiscard]] int in_child(F f) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(f());
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

inline std::size_t descriptors() {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) ++n;
    return n - 1; // the folder itself
}

/// Keeps what is written to a descriptor for as long as this lives.
class captured {
public:
    explicit captured(int descriptor) : descriptor_{descriptor}, before_{::fcntl(descriptor, F_DUPFD_CLOEXEC, 0)}, file_{std::tmpfile()} {
        if (file_ == nullptr) throw std::runtime_error{"no temporary file"};
        ::dup2(::fileno(file_), descriptor_);
    }
    captured(const captured&) = delete;
    captured& operator=(const captured&) = delete;
    ~captured() {
        ::dup2(before_, descriptor_);
        ::close(before_);
        std::fclose(file_);
    }
    [[nodiscard]] std::string text() const {
        std::string out;
        std::array<char, 4096> part;
        for (ssize_t n = 0; (n = ::pread(::fileno(file_), part.data(), part.size(), static_cast<off_t>(out.size()))) > 0;) {
            out.append(part.data(), static_cast<std::size_t>(n));
        }
        return out;
    }

private:
    int descriptor_, before_;
    std::FILE* file_;
};

/// A file that only we may read, gone afterwards.
class secret_file {
public:
    explicit secret_file(const std::string& text) {
        const int fd = ::mkstemp(path_.data());
        if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) throw std::runtime_error{"no temporary file"};
        ::close(fd);
    }
    secret_file(const secret_file&) = delete;
    secret_file& operator=(const secret_file&) = delete;
    ~secret_file() { ::unlink(path_.c_str()); }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_ = "/tmp/cenote-test-XXXXXX";
};

} // namespace process
