// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

/// What the programs of libFuzzer have in common. Their inputs are lines of text, so that seeds can be read and written by hand.
namespace fuzz {

/// The input's lines as they are.
inline std::vector<std::string> lines(const std::uint8_t* data, std::size_t size) {
    std::vector<std::string> out(1);
    for (std::size_t i = 0; i < size; ++i) {
        if (data[i] == '\n') out.emplace_back();
        else out.back() += static_cast<char>(data[i]);
    }
    return out;
}

/// Puts into a text what is written in it as \n (end of line), \0 (zero byte), \\ and \p (the password).
inline std::string decoded(std::string_view text, std::string_view password) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char next = text[i] == '\\' && i + 1 < text.size() ? text[i + 1] : 'x';
        if (next == 'p') out += password;
        else if (next == 'n') out += '\n';
        else if (next == '0') out += '\0';
        else if (next == '\\') out += '\\';
        else {
            out += text[i];
            continue;
        }
        ++i;
    }
    return out;
}

[[nodiscard]] inline bool holds(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

/// Ends the program, which libFuzzer takes for a crash: it keeps the input.
[[noreturn]] inline void broken(const char* rule, std::string_view said) {
    std::fprintf(stderr, "broken: %s\n  %.*s\n", rule, static_cast<int>(said.size()), said.data());
    std::abort();
}
inline void expect(bool holds, const char* rule, std::string_view said = {}) {
    if (!holds) broken(rule, said);
}

/// Nothing of this machine gets in: neither its settings nor its files.
inline void forget_environment() {
    for (const char* name : {"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSERVICE", "PGSSLMODE", "PGCONNECT_TIMEOUT",
                             "PGTARGETSESSIONATTRS", "PGOPTIONS", "PGAPPNAME", "PGCLIENTENCODING", "PGSERVICEFILE", "MYSQL_PWD"}) {
        ::unsetenv(name);
    }
    ::setenv("PGPASSFILE", "/nonexistent/passwords", 1);
    ::setenv("PGSYSCONFDIR", "/nonexistent", 1);
    ::setenv("HOME", "/nonexistent", 1);
}

} // namespace fuzz
