// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Everything that a user may give to cenote::postgres. Nothing connects: sslmode is always one that libpq refuses before it looks for a
// server, and repeats in its message.
//
// Input: a line for what the password is, then lines `!conninfo` (the last one counts), `keyword=value` (options.parameters) and
// `^statement` (options.init). The password is the first line around a word of which no message may show anything. If it begins with
//   u, k   it stands as it is in a URI, or behind password= without quotes, and nothing else is given
//   else   it is given as the parameter password, beside all others, and \p stands for it anywhere else.
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include "input.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using cenote::postgres;

namespace {

constexpr std::string_view secret = "Tr0ub4dor";
using settings = cenote::drivers::pg::settings;
using values = std::map<std::string, std::string>;

struct free_options {
    void operator()(PQconninfoOption* o) const noexcept { PQconninfoFree(o); }
};
values to_map(PQconninfoOption* list) {
    const std::unique_ptr<PQconninfoOption, free_options> owner{list};
    values out;
    for (const PQconninfoOption* o = list; o != nullptr && o->keyword != nullptr; ++o) {
        if (o->val != nullptr && *o->val != '\0') out[o->keyword] = o->val;
    }
    return out;
}

/// What libpq itself would use for the first place, given these.
values used(const cenote::drivers::pg::target& t) {
    const std::unique_ptr<PGconn, decltype([](PGconn* c) { PQfinish(c); })> c{t.start(t.places()[0], t.passes()[0])};
    return to_map(PQconninfo(c.get()));
}

/// Each parameter arrives as it is, and nothing else changes.
void arrives(const postgres::options& o) {
    settings defaults;
    const cenote::drivers::pg::target t{o.conninfo, o.parameters, defaults};
    static const values untouched = used(cenote::drivers::pg::target{"", {{"sslmode", "x"}}, defaults});
    values asked = o.conninfo.empty() ? values{} : to_map(PQconninfoParse(o.conninfo.c_str(), nullptr));
    for (const auto& [key, value] : o.parameters) asked[key] = value;
    if (asked.contains("service")) return;
    const values seen = used(t);
    const auto at = [](const values& v, const std::string& key) {
        const auto i = v.find(key);
        return i != v.end() ? i->second : std::string{};
    };
    values all = asked;
    all.insert(untouched.begin(), untouched.end());
    all.insert(seen.begin(), seen.end());
    for (const auto& [key, unused] : all) {
        std::string due = at(asked, key);
        if ((key == "host" || key == "hostaddr" || key == "port" || key == "load_balance_hosts") && t.places().size() > 1) continue;
        if (key == "target_session_attrs" && due == "prefer-standby") continue; // made of two rounds
        if (key == "client_encoding" && due == "auto") continue;
        if (due.empty() && key == "dbname") due = at(seen, "user"); // libpq's own default
        if (due.empty()) due = at(untouched, key);
        fuzz::expect(at(seen, key) == due, "a value changes its own keyword and no other", key + " = " + at(seen, key) + " instead of " + due);
    }
}

/// Everything that anybody gets to read when this is used.
struct words {
    std::string refusal; ///< of the driver itself
    std::string failure; ///< of open, and of a pool
};
words all_words(const postgres::options& o) {
    using namespace std::chrono_literals;
    words out;
    try {
        postgres d{o};
        try {
            (void)d.open(cenote::deadline::in(10s));
            fuzz::broken("nothing connects", "");
        } catch (const cenote::driver_error& e) {
            out.failure = std::string{e.what()} + "\n" + e.sqlstate();
        }
        static unsigned every = 0;
        if (++every % 8 != 0) return out;
        cenote::pool db{std::move(d), cenote::manual{}, cenote::named{"p"}};
        cenote::failure why;
        (void)db.acquire(10s, why);
        out.failure += "\n" + why.text();
        if (why.seen) out.failure += "\n" + why.seen->last_connect_error.text;
    } catch (const std::invalid_argument& e) {
        out.refusal = e.what();
        fuzz::expect(out.refusal.starts_with("cenote: postgres."), "a refusal names the field", out.refusal);
    }
    return out;
}

constexpr const char* never = "no text shows the password";

/// A password that is written where some of its characters mean something else.
void written_raw(bool uri, const std::string& before, const std::string& after) {
    postgres::options o;
    const std::string password = before + std::string{secret} + after;
    o.conninfo = uri ? "postgresql://u:" + password + "@127.0.0.1:1/d" : "host=127.0.0.1 port=1 user=u password=" + password + " dbname=d";
    o.parameters = {{"sslmode", "x"}};
    const words said = all_words(o);
    fuzz::expect(!fuzz::holds(said.refusal, secret), never, said.refusal);
    // One that contains a whole keyword and '=' has given that keyword a value: "x user=…", "1?user=…".
    if (before.find('=') == before.npos) fuzz::expect(!fuzz::holds(said.failure, secret), never, said.failure);
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    fuzz::forget_environment();
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::vector<std::string> all = fuzz::lines(data, size);
    const std::string shape = all[0].substr(0, 1), rest = fuzz::decoded(std::string_view{all[0]}.substr(shape.size()), "");
    if (shape == "u" || shape == "k") {
        written_raw(shape == "u", rest, all.size() > 1 ? fuzz::decoded(all[1], "") : std::string{});
        return 0;
    }
    const std::string password = std::string{secret} + rest;
    postgres::options o;
    std::string mode = "x";
    for (std::size_t i = 1; i < all.size(); ++i) {
        const std::string& line = all[i];
        const std::size_t is = std::min(line.find('='), line.size());
        const auto from = [&](std::size_t at) { return fuzz::decoded(std::string_view{line}.substr(std::min(at, line.size())), password); };
        if (line.starts_with("!")) o.conninfo = from(1);
        else if (line.starts_with("^")) o.init.push_back(from(1));
        else if (line.starts_with("sslmode=")) mode += from(8);
        else o.parameters.emplace_back(fuzz::decoded(line.substr(0, is), password), from(is + 1));
    }
    o.parameters.emplace_back("password", password);
    o.parameters.emplace_back("sslmode", mode);
    if (fuzz::holds({reinterpret_cast<const char*>(data), size}, secret)) return 0; // by chance, after all
    const words said = all_words(o);
    fuzz::expect(!fuzz::holds(said.refusal, secret), never, said.refusal);
    fuzz::expect(!fuzz::holds(said.failure, secret), never, said.failure);
    if (said.refusal.empty()) arrives(o);
    return 0;
}
