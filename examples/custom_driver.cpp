// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// A driver for a resource of one's own: a log file that several threads append whole lines to, and that may be rotated any time.
#include <cenote/pool.hpp>
#include <cenote/testing/conformance.hpp>

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>

struct log_file {
    /// What is leased: an open file, and a line that is not finished.
    struct connection {
        std::FILE* file;
        std::string line{};

        void write(std::string_view text) { line += text; }
        void end_line() {
            std::fputs((line + '\n').c_str(), file);
            std::fflush(file);
            line.clear();
        }
    };

    std::string path;

    // Required.
    connection open(cenote::deadline) {
        if (std::FILE* f = std::fopen(path.c_str(), "a")) return {f};
        throw cenote::driver_error{cenote::error_class::other, "cannot open " + path, errno};
    }
    void close(connection& c) noexcept { std::fclose(c.file); }

    // Refinements. Each one lets the pool do more by default; leave out what makes no sense for the resource.
    cenote::liveness peek(connection& c) noexcept { // is the file still the one under that name?
        struct stat mine, named;
        const bool same = ::fstat(::fileno(c.file), &mine) == 0 && ::stat(path.c_str(), &named) == 0 && mine.st_ino == named.st_ino;
        return same ? cenote::liveness::quiet : cenote::liveness::dead;
    }
    cenote::session_state state(connection& c) noexcept { // with rollback: unfinished lines never reach the next user
        return c.line.empty() ? cenote::session_state::idle : cenote::session_state::in_transaction;
    }
    void rollback(connection& c, cenote::deadline) { c.line.clear(); }
};

int main() {
    const std::filesystem::path path = std::filesystem::temp_directory_path() / "cenote-custom-driver.log";
    std::filesystem::remove(path);

    // The conformance test; in a test of yours: CHECK(cenote::testing::check_driver(log_file{path}).ok()).
    const auto report = cenote::testing::check_driver(log_file{path});
    std::cout << "conformance: " << (report.ok() ? "ok" : to_string(report)) << '\n';

    cenote::pool log{log_file{path}, cenote::bounded{.max = 2}, cenote::peek_after{.idle = std::chrono::seconds{0}}, cenote::counters{}};
    const auto note = [&](std::string_view text) {
        auto lease = log.acquire();
        lease->write(text);
        lease->end_line();
    };
    {
        std::jthread a{[&] { for (int i = 0; i < 100; ++i) note("a"); }};
        std::jthread b{[&] { for (int i = 0; i < 100; ++i) note("b"); }};
    }
    std::cout << "200 lines: " << std::filesystem::file_size(path) << " bytes\n";

    log.acquire()->write("half a li"); // and given back so
    note("whole");
    std::cout << "half a line was dropped: " << std::filesystem::file_size(path) - 400 << " bytes more, " << log.stats().returned_dirty << " dirty return\n";

    std::filesystem::remove(path); // rotated
    note("in the new file");
    std::cout << "after rotation: " << std::filesystem::file_size(path) << " bytes in the new file\n";
    std::filesystem::remove(path);
}
