// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Everything that a user may give to cenote::mysql. Nothing connects but to sockets in a folder that is not there.
//
// Input: a line for the end of the password, which begins with a word that no message has by itself, then lines `field=value`;
// \p stands for the password.
#include <cenote/drivers/mysql.hpp>
#include <cenote/pool.hpp>

#include "input.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using cenote::mysql;

namespace {

constexpr std::string_view secret = "Tr0ub4dor";
constexpr const char* never = "no text shows the password";

void set(mysql::options& o, const std::string& field, const std::string& value) {
    const long long number = std::strtoll(value.c_str(), nullptr, 10);
    if (field == "host") o.host = value;
    else if (field == "port") o.port = static_cast<unsigned>(number);
    else if (field == "socket") o.socket = value.empty() ? "" : "/nonexistent/" + value;
    else if (field == "user") o.user = value;
    else if (field == "database") o.database = value;
    else if (field == "charset") o.charset = value;
    else if (field == "program") o.program_name = value;
    else if (field == "mode") o.tls.mode = static_cast<mysql::tls_mode>(static_cast<unsigned long long>(number) % 5);
    else if (field == "ca") o.tls.ca = value;
    else if (field == "cert") o.tls.cert = value;
    else if (field == "key") o.tls.key = value;
    else if (field == "timeout") o.tcp_user_timeout = cenote::duration{number};
    else if (field == "drain") o.drain_time = cenote::duration{number};
    else if (field == "init") o.init.push_back(value);
    else if (field == "many") o.multi_statements = true;
}

std::string text_or_empty(const char* s) { return s != nullptr ? s : ""; }

/// What goes to the client is what was given, field by field; what becomes SQL is one name.
void arrives(const mysql::options& o) {
    const cenote::drivers::mysql_client::target<mysql::options> t{o};
    const bool local = !o.socket.empty();
    fuzz::expect(text_or_empty(t.where.host) == (local ? "" : o.host), "host", o.host);
    fuzz::expect(text_or_empty(t.where.socket) == o.socket, "socket", o.socket);
    fuzz::expect(text_or_empty(t.where.user) == o.user, "user", o.user);
    fuzz::expect(t.where.password == o.password, "password");
    fuzz::expect(text_or_empty(t.where.database) == o.database, "database", o.database);
    fuzz::expect(t.where.port == (local ? 0 : o.port), "port");
    fuzz::expect(((t.where.flags & CLIENT_MULTI_STATEMENTS) != 0) == o.multi_statements, "several statements only where asked for");
    fuzz::expect(t.set_names.find_first_of(";'\"`-/\\#") == std::string::npos, "set names takes a word", t.set_names);
    if (o.database.empty()) return;
    std::string name;
    fuzz::expect(t.use.starts_with("use `") && t.use.ends_with("`") && t.use.size() > 6, "use takes a name in quotes", t.use);
    for (std::size_t i = 5; i + 1 < t.use.size(); ++i) {
        name += t.use[i];
        if (t.use[i] == '`') fuzz::expect(++i + 1 < t.use.size() && t.use[i] == '`', "the quotes end at the end", t.use);
    }
    fuzz::expect(name == o.database, "the name in quotes is the database", t.use);
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    fuzz::forget_environment();
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace std::chrono_literals;
    const std::vector<std::string> all = fuzz::lines(data, size);
    mysql::options o;
    o.password = std::string{secret} + fuzz::decoded(all[0], "");
    for (std::size_t i = 1; i < all.size(); ++i) {
        const std::size_t is = all[i].find('=');
        if (is != all[i].npos) set(o, all[i].substr(0, is), fuzz::decoded(std::string_view{all[i]}.substr(is + 1), o.password));
    }
    if (fuzz::holds({reinterpret_cast<const char*>(data), size}, secret)) return 0; // by chance
    std::string refusal, said;
    try {
        mysql d{o};
        arrives(o);
        if (!o.socket.empty()) {
            try {
                (void)d.open(cenote::deadline::in(10s));
                fuzz::broken("nothing connects", o.socket);
            } catch (const cenote::driver_error& e) {
                said = std::string{e.what()} + "\n" + e.sqlstate();
            }
            static unsigned every = 0;
            if (++every % 8 == 0) {
                cenote::pool db{std::move(d), cenote::manual{}, cenote::named{"p"}};
                cenote::failure why;
                (void)db.acquire(10s, why);
                said += "\n" + why.text();
            }
        }
    } catch (const std::invalid_argument& e) {
        refusal = e.what();
        fuzz::expect(refusal.starts_with("cenote: mysql.options."), "a refusal names the field", refusal);
    }
    fuzz::expect(!fuzz::holds(refusal, secret), never, refusal);
    fuzz::expect(!fuzz::holds(said, o.password), never, said); // Connector/C shows 64 bytes of a path, which may end in the middle of a password
    return 0;
}
