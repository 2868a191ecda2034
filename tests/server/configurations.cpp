// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// A hundred thousand configurations, right and wrong, of the drivers for servers, each with a password: nobody gets to read it. They need
// no server: what is well formed leads to a socket in a folder that is not there.
//
// CENOTE_FUZZ_CONFIGURATIONS sets how many there are of both drivers together, CENOTE_FUZZ_SEED makes other ones.
#include <server/support/postgres.hpp>

#include <cenote/drivers/mysql.hpp>
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using cenote::mysql;
using cenote::postgres;

namespace {

/// In the middle of every password; no message has it by itself. What comes before and after it means something somewhere.
constexpr std::string_view mark = "Tr0ub4dor";
constexpr const char* nowhere = "/nonexistent";

unsigned long long from_environment(const char* name, unsigned long long otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}
std::size_t configurations() { return static_cast<std::size_t>(from_environment("CENOTE_FUZZ_CONFIGURATIONS", 100'000) / 2); } // of each driver

class dice {
public:
    explicit dice(std::uint64_t salt) : engine_{from_environment("CENOTE_FUZZ_SEED", 20240607) + salt} {}
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(engine_() % n); }
    bool one_in(std::size_t n) { return below(n) == 0; }
    template <class List>
    const auto& of(const List& list) { return list[below(list.size())]; }

    /// Up to so many characters, most of which mean something to somebody.
    std::string odd(std::size_t most) {
        static constexpr std::string_view any = "@:/?#[]%&='\\,\t\n;\"` +-$!*()0aZ\x7f\xc3\xa9";
        std::string out;
        for (std::size_t n = below(most + 1); n > 0; --n) out += any[below(any.size())];
        return out;
    }
    /// A value for a field of which nothing is known; now and then the password got there, too.
    std::string value(const std::string& password) {
        static const std::vector<std::string> usual{"", "db", "127.0.0.1", "::1", "5432", "0", "-1", "shop", "utf8mb4", "a,b", "x host=evil.invalid",
                                                    "x' host='evil.invalid", "postgresql://evil.invalid/x", "99999999999999999999", "any", "disable"};
        switch (below(4)) {
        case 0: return odd(8) + password + odd(8);
        case 1: return odd(12);
        default: return of(usual);
        }
    }
    std::string password() { return odd(4) + std::string{mark} + odd(4); }

private:
    std::mt19937_64 engine_;
};

struct tally {
    std::size_t made = 0, refused = 0, failed = 0, pools = 0, shown = 0;
    std::string examples{};

    /// Whether the password, as it is or without its odd ends, is in what somebody gets to read.
    void read(std::string_view text, std::string_view password) {
        if (text.find(mark) == text.npos) return;
        if (++shown <= 5) examples.append("password: ").append(password).append("\nsays: ").append(text).append("\n");
    }
    void report(const char* driver) const {
        std::printf("configurations of %s: %zu, %zu refused, %zu did not open, %zu in a pool, %zu passwords shown\n", driver, made, refused, failed, pools, shown);
    }
};

/// Everything that anybody gets to read when this is used: at construction, from open, and now and then from a pool, with what it counts.
template <class Driver, class Options>
void use(const Options& o, const std::string& password, tally& count, bool in_a_pool) {
    ++count.made;
    std::optional<Driver> d;
    try {
        d.emplace(o);
    } catch (const std::exception& e) {
        ++count.refused;
        count.read(e.what(), password);
        return;
    }
    try {
        auto c = d->open(cenote::deadline::in(20s));
        d->close(c);
    } catch (const cenote::driver_error& e) {
        ++count.failed;
        count.read(e.what(), password);
        count.read(e.sqlstate(), password);
    }
    if (!in_a_pool) return;
    ++count.pools;
    cenote::pool db{std::move(*d), cenote::manual{}, cenote::counters{}, cenote::named{"shop"}};
    try {
        (void)db.acquire(20s);
    } catch (const cenote::error& e) {
        count.read(e.what(), password);
        count.read(e.code().message(), password);
    }
    cenote::failure why;
    (void)db.acquire(20s, why);
    count.read(why.text(), password);
    if (why.seen) {
        count.read(why.seen->pool, password);
        count.read(why.seen->detail, password);
        count.read(why.seen->last_connect_error.text, password);
        count.read(why.seen->last_connect_error.sqlstate, password);
        for (const auto& holder : why.seen->holders) count.read(holder.text(), password);
    }
    count.read(db.name(), password);
    CHECK(db.stats().open_failed == 2); // figures are all that it counts
}

std::string quoted(std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') out += '\\';
        out += c;
    }
    return out + "'";
}
std::string encoded(std::string_view text) {
    std::string out;
    for (const char c : text) {
        std::array<char, 4> hex{};
        std::snprintf(hex.data(), hex.size(), "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
        out += hex.data();
    }
    return out;
}

/// A connection string that has the password where it belongs, well or badly written, and other fields around it.
std::string conninfo(dice& die, const std::string& password) {
    static const std::vector<std::string> keywords{"dbname", "user", "application_name", "options", "connect_timeout", "target_session_attrs", "passfile", "krbsrvname"};
    switch (die.below(5)) {
    case 0: return {};
    case 1: return "host=" + std::string{nowhere} + " user=u password=" + quoted(password) + " " + die.of(keywords) + "=" + quoted(die.value(password));
    case 2: return "postgresql://u:" + encoded(password) + "@127.0.0.1:1/d?" + die.of(keywords) + "=" + encoded(die.value(password));
    default: break;
    }
    std::string out = die.one_in(2) ? "postgresql://u:" + password + "@127.0.0.1:1/d" : "host=" + std::string{nowhere} + " password=" + password + " dbname=d";
    // Not inside of the password: then it would be another one.
    const std::size_t begins = out.find(password), at = die.below(out.size() + 1);
    if (die.one_in(4)) out.insert(at > begins && at < begins + password.size() ? begins : at, die.odd(2));
    return out;
}

postgres::options of_postgres(dice& die, const std::string& password) {
    static const std::vector<std::string> keywords{"host", "hostaddr", "port", "dbname", "user", "application_name", "options", "connect_timeout",
                                                   "target_session_attrs", "sslcert", "sslpassword", "client_encoding", "channel_binding", "gssencmode", "no such keyword"};
    postgres::options o;
    o.conninfo = conninfo(die, password);
    for (std::size_t n = die.below(4); n > 0; --n) o.parameters.emplace_back(die.of(keywords), die.value(password));
    if (die.one_in(16)) o.parameters.emplace_back(die.value(password), "x");
    o.parameters.emplace_back("password", password);
    // Never anywhere: refused for its sslmode, which libpq then shows, or sent to a folder without sockets.
    if (die.one_in(2)) {
        o.parameters.emplace_back("sslmode", "x" + die.value(password));
    } else {
        std::string folder = nowhere + die.value(password);
        if (folder.find(',') != folder.npos) folder = nowhere; // which would be several
        o.parameters.insert(o.parameters.end(), {{"host", folder}, {"hostaddr", ""}, {"port", "1"}});
    }
    if (die.one_in(8)) o.application_name = die.value(password);
    if (die.one_in(16)) o.init = {"set role " + die.value(password), std::string{"select '"} + password + '\0' + "'"};
    if (die.one_in(16)) o.init = {die.value(password)};
    if (die.one_in(64)) o.tcp_user_timeout = cenote::duration{-1};
    return o;
}

mysql::options of_mysql(dice& die, const std::string& password) {
    mysql::options o;
    o.password = password;
    const bool local = !die.one_in(4);
    const auto some = [&](std::string& field) {
        if (die.one_in(3)) field = die.value(password);
    };
    if (local) o.socket = std::string{nowhere} + "/" + die.value(password);
    else o.host = die.one_in(2) ? "" : "a b" + die.value(password); // refused, always
    if (local && !die.one_in(8)) o.host.clear();
    else if (local) some(o.host);
    some(o.user);
    some(o.database);
    some(o.program_name);
    if (die.one_in(8)) some(o.charset);
    if (die.one_in(8)) some(o.tls.ca);
    if (die.one_in(8)) some(o.tls.key);
    if (die.one_in(8)) some(o.tls.cert);
    o.tls.mode = static_cast<mysql::tls_mode>(die.one_in(4) ? die.below(5) : 1);
    if (die.one_in(8)) o.init = {die.value(password)};
    if (die.one_in(16)) o.port = static_cast<unsigned>(die.below(100'000));
    if (die.one_in(64)) o.tcp_user_timeout = cenote::duration{-1};
    if (die.one_in(64)) o.drain_time = cenote::duration{-1};
    return o;
}

} // namespace

TEST_CASE("case-E1: of so many configurations of the PostgreSQL driver none makes a text show its password", "[configurations]") {
    dice die{0};
    tally count;
    for (std::size_t i = 0; i < configurations(); ++i) {
        const std::string password = die.password();
        use<postgres>(of_postgres(die, password), password, count, i % 20 == 0);
    }
    count.report("postgres");
    INFO(count.examples);
    CHECK(count.shown == 0);
    CHECK(count.refused > count.made / 20);
    CHECK(count.failed > count.made / 20);
    CHECK(count.refused + count.failed == count.made); // nothing connects
}

TEST_CASE("case-E1: of so many configurations of the MySQL driver none makes a text show its password", "[configurations]") {
    dice die{1};
    tally count;
    for (std::size_t i = 0; i < configurations(); ++i) {
        const std::string password = die.password();
        use<mysql>(of_mysql(die, password), password, count, i % 20 == 0);
    }
    count.report("mysql");
    INFO(count.examples);
    CHECK(count.shown == 0);
    CHECK(count.refused > count.made / 20);
    CHECK(count.failed > count.made / 20);
    CHECK(count.refused + count.failed == count.made);
}

TEST_CASE("case-E2: of so many configurations of the PostgreSQL driver no value changes another field", "[configurations]") {
    const std::vector<std::string> keywords{"dbname", "user", "password", "application_name", "options", "sslcert", "krbsrvname", "channel_binding"};
    using fields = std::vector<std::pair<std::string, std::string>>;
    const auto used = [](const fields& all) { // what libpq itself holds, which a refused sslmode keeps from connecting
        const cenote::drivers::pg::target t{"host=" + std::string{nowhere} + " sslmode=x", all, {}};
        struct finish {
            void operator()(PGconn* c) const noexcept { PQfinish(c); }
        };
        const std::unique_ptr<PGconn, finish> c{t.start(t.places().at(0), t.passes().at(0))};
        fields out;
        PQconninfoOption* const list = PQconninfo(c.get());
        for (const PQconninfoOption* o = list; o != nullptr && o->keyword != nullptr; ++o) {
            out.emplace_back(o->keyword, o->val != nullptr ? o->val : "");
        }
        PQconninfoFree(list);
        return out;
    };
    const fields always{{"user", "u"}, {"dbname", "d"}, {"password", "p"}};
    const fields untouched = used(always);
    REQUIRE(untouched.size() > 20);
    dice die{2};
    std::size_t wrong = 0, checked = 0;
    for (std::size_t i = 0; i < configurations() / 10; ++i) {
        fields given = always;
        for (std::size_t n = 1 + die.below(4); n > 0; --n) given.emplace_back(die.of(keywords), die.value(die.password()) + "x");
        fields due = untouched;
        for (const auto& [key, value] : given) {
            for (auto& [k, v] : due) {
                if (k == key) v = value;
            }
        }
        ++checked;
        if (used(given) != due) ++wrong;
    }
    std::printf("configurations with hostile values: %zu, %zu changed another field\n", checked, wrong);
    CHECK(wrong == 0);
}
