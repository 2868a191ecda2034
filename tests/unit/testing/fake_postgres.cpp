// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The fake PostgreSQL server, byte by byte: no client library stands in between.
#include <cenote/testing/fake_postgres.hpp>

#include "unit/testing/raw_client.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace std::string_literals;
using Catch::Matchers::Message;
using cenote::testing::ending;
using cenote::testing::fake_postgres;
using cenote::testing::pg_call;
using cenote::testing::pg_reply;
using cenote::testing::pg_stage;
using raw_test::patience;
using clock_type = std::chrono::steady_clock;

static_assert(!std::is_copy_constructible_v<fake_postgres> && !std::is_move_constructible_v<fake_postgres>, "its thread knows its address");

namespace {

std::string number(std::uint32_t n) {
    return {static_cast<char>(n >> 24), static_cast<char>(n >> 16 & 0xff), static_cast<char>(n >> 8 & 0xff), static_cast<char>(n & 0xff)};
}
std::string message(char kind, const std::string& body) { return kind + number(static_cast<std::uint32_t>(body.size() + 4)) + body; }
std::string startup(std::uint32_t code, const std::string& body) { return number(static_cast<std::uint32_t>(body.size() + 8)) + number(code) + body; }
std::string text(const std::string& s) { return s + '\0'; }

const std::string ssl_request = startup(80877103, ""), gss_request = startup(80877104, "");
const std::string hello = startup(196608, text("user") + text("ann") + text("database") + text("shop") + text("application_name") + text("t") + '\0');
const std::string end_of_batch = message('S', ""), flush = message('H', ""), terminate = message('X', "");
std::string query(const std::string& sql) { return message('Q', text(sql)); }
std::string parse(const std::string& sql, const std::string& name = "") { return message('P', text(name) + text(sql) + "\0\0"s); }
std::string bind(const std::string& name = "") { return message('B', text("") + text(name) + "\0\0\0\0\0\0"s); }
std::string describe(char what = 'P', const std::string& name = "") { return message('D', what + text(name)); }
const std::string execute = message('E', text("") + number(0));
std::string run_extended(const std::string& sql) { return parse(sql) + bind() + describe() + execute; }
std::string cancel_of(std::uint32_t process, std::uint32_t key) { return startup(80877102, number(process) + number(key)); }

/// A client that has no idea of the protocol but where messages end.
class client : public raw_test::end_point {
public:
    explicit client(const fake_postgres& server) : end_point{to(server.port())} { REQUIRE(error() == 0); }

    void say(std::string_view s) const { REQUIRE(end_point::say(s)); }
    /// This, and then nothing for a moment.
    [[nodiscard]] bool hears_just(const std::string& expected) const {
        const std::string came = hear(expected.size());
        UNSCOPED_INFO(came);
        return came == expected && next() == "(nothing)";
    }
    /// Everything up to the end.
    [[nodiscard]] std::string rest() const { return hear(1'000'000); }

    struct heard {
        char kind;
        std::string body;
    };
    /// The next message; kind '-' : none came, and the body says what did.
    [[nodiscard]] heard hear_message(int ms = patience) const {
        const std::string head = hear(5, ms);
        if (head.size() != 5 || head[0] == '(') return {'-', head};
        std::uint32_t size = 0;
        for (std::size_t i = 1; i < 5; ++i) size = size << 8 | static_cast<unsigned char>(head[i]);
        return {head[0], hear(size - 4)};
    }
    /// The kinds of the messages up to and with ReadyForQuery, and its status: "TDCZI". Of an error also the SQLSTATE: "E(25P02)ZE".
    [[nodiscard]] std::string answer() const {
        std::string out;
        for (;;) {
            const auto [kind, body] = hear_message();
            if (kind == '-') return out + body;
            out += kind;
            if (kind == 'E' || kind == 'N') out += "(" + field(body, 'C') + ")";
            if (kind == 'C') out += "[" + body.substr(0, body.size() - 1) + "]";
            if (kind == 'Z') return out + body;
        }
    }
    [[nodiscard]] std::string ask(const std::string& sql) const {
        say(query(sql));
        return answer();
    }
    [[nodiscard]] static std::string field(const std::string& report, char name) {
        for (std::size_t at = 0; at < report.size() && report[at] != '\0';) {
            const std::size_t end = report.find('\0', at);
            if (report[at] == name) return report.substr(at + 1, end - at - 1);
            at = end + 1;
        }
        return "(none)";
    }
    /// Begins a session.
    client& log_in() {
        say(hello);
        for (;;) {
            const auto [kind, body] = hear_message();
            REQUIRE(kind != '-');
            REQUIRE(kind != 'E');
            const auto at = [&words = body](std::size_t i) {
                std::uint32_t n = 0;
                for (std::size_t k = 0; k < 4; ++k) n = n << 8 | static_cast<unsigned char>(words[i + k]);
                return n;
            };
            if (kind == 'S') parameters += body.substr(0, body.find('\0')) + "=" + body.substr(body.find('\0') + 1, body.size() - body.find('\0') - 2) + ";";
            if (kind == 'K') {
                process = at(0);
                key = at(4);
            }
            if (kind == 'Z') return *this;
        }
    }

    std::string parameters;
    std::uint32_t process = 0, key = 0;
};
client session(const fake_postgres& server) {
    client c{server};
    c.log_in();
    return c;
}

std::string ready(char status = 'I') { return message('Z', {status}); }
std::string row_of(const std::string& value) { return message('D', "\0\1"s + number(static_cast<std::uint32_t>(value.size())) + value); }

} // namespace

TEST_CASE("a session begins as PostgreSQL's do") {
    fake_postgres server;
    client c{server};
    c.say(hello);
    auto first = c.hear_message();
    CHECK(first.kind == 'R');
    CHECK(first.body == number(0));
    std::string kinds, all;
    for (char kind = 0; kind != 'Z' && kind != '-';) {
        const auto [k, body] = c.hear_message();
        kind = k;
        if (kinds.empty() || kinds.back() != k) kinds += k;
        all += body;
    }
    CHECK(kinds == "SKZ");
    for (const auto& pair : {"server_version\00016.0\0"s, "client_encoding\0UTF8\0"s, "in_hot_standby\0off\0"s, "application_name\0t\0"s,
                             "session_authorization\0ann\0"s, "standard_conforming_strings\0on\0"s}) {
        INFO(pair);
        CHECK(all.find(pair) != all.npos);
    }
    CHECK(all.back() == 'I');
    CHECK(c.next() == "(nothing)");
    c.say(terminate);
    CHECK(c.hear(1) == "(end)");
    CHECK(server.conninfo() == "host=127.0.0.1 port=" + std::to_string(server.port()) + " user=fake dbname=fake sslmode=disable gssencmode=disable");
}

TEST_CASE("encryption is refused, and the session begins without") {
    fake_postgres server;
    client c{server};
    c.say(ssl_request);
    CHECK(c.hear(1) == "N");
    c.say(gss_request);
    CHECK(c.hear(1) == "N");
    c.log_in();
    CHECK(server.calls(pg_stage::encryption) == 2);
    CHECK(server.calls(pg_stage::login) == 1);
    server.next(pg_stage::encryption, pg_reply::bytes("?!"));
    client other{server};
    other.say(ssl_request);
    CHECK(other.hear(2) == "?!");
    CHECK(other.next() == "(nothing)");
}

TEST_CASE("by itself it answers with an empty result or a command tag") {
    fake_postgres server;
    const client c = session(server);
    const auto expect = [&](const char* sql, const char* answer) {
        INFO(sql);
        CHECK(c.ask(sql) == answer);
    };
    expect("", "IZI");
    expect(" ; ;", "IZI");
    expect("select 1", "TC[SELECT 0]ZI");
    expect("  -- words\n /* and more */ SELECT 1;", "TC[SELECT 0]ZI");
    expect("with x as (select 1) table x", "TC[SELECT 0]ZI");
    expect("show all", "TC[SHOW]ZI");
    expect("insert into t values (1)", "C[INSERT 0 0]ZI");
    expect("update t set x = 1", "C[UPDATE 0]ZI");
    expect("set x = 1", "C[SET]ZI");
    expect("create temporary table t (x int)", "C[CREATE TABLE]ZI");
    expect("drop table t", "C[DROP TABLE]ZI");
    expect("listen news", "C[LISTEN]ZI");
    expect("discard all", "C[DISCARD ALL]ZI");
    expect("rollback", "C[ROLLBACK]ZI");
    expect("select 1; update t set x = 2; ", "TC[SELECT 0]C[UPDATE 0]ZI");
    expect("select ';', \";\", $a$;$;$a$, '''; '; set x = $1", "TC[SELECT 0]C[SET]ZI");
    CHECK(server.calls(pg_stage::query) == 18);
    const auto all = server.executed();
    REQUIRE(all.size() == 18);
    CHECK(all[0].empty());
    CHECK(all[2] == "select 1");
    CHECK(all[16] == "select ';', \";\", $a$;$;$a$, '''; '");
}

TEST_CASE("it knows of transactions what their users can see") {
    fake_postgres server;
    const client c = session(server);
    server.answer("fail", pg_reply::error("22012", "division by zero"));
    CHECK(c.ask("begin") == "C[BEGIN]ZT");
    CHECK(c.ask("select 1") == "TC[SELECT 0]ZT");
    CHECK(c.ask("discard all") == "E(25001)ZE");
    CHECK(c.ask("select 1") == "E(25P02)ZE");
    CHECK(c.ask("") == "IZE");
    CHECK(c.ask("commit") == "C[ROLLBACK]ZI");
    CHECK(c.ask("START TRANSACTION") == "C[START TRANSACTION]ZT");
    CHECK(c.ask("savepoint a") == "C[SAVEPOINT]ZT");
    CHECK(c.ask("fail") == "E(22012)ZE");
    CHECK(c.ask("rollback to savepoint a") == "C[ROLLBACK]ZT");
    CHECK(c.ask("end") == "C[COMMIT]ZI");
    CHECK(c.ask("fail") == "E(22012)ZI");
    CHECK(c.ask("begin; fail; select 1") == "C[BEGIN]E(22012)ZE"); // and the last one does not run
    CHECK(c.ask("abort") == "C[ROLLBACK]ZI");
    CHECK(c.ask("rollback; discard all") == "C[ROLLBACK]E(25001)ZI");
}

TEST_CASE("a script says what is answered: what is queued first, then to a text, then always") {
    fake_postgres server;
    const client c = session(server);
    server.always(pg_stage::query, pg_reply::done("ALWAYS"));
    server.answer("Select 1;", pg_reply::row({"1"}));
    server.next(pg_stage::query, pg_reply::done("NEXT"), 2);
    CHECK(c.ask("select 1") == "C[NEXT]ZI");
    CHECK(c.ask("anything") == "C[NEXT]ZI");
    CHECK(c.ask("anything") == "C[ALWAYS]ZI");
    c.say(query(" SELECT 1 ; "));
    CHECK(c.hears_just(message('T', "\0\1?column?\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"s) + row_of("1") +
                       message('C', text("SELECT 1")) + ready()));
    server.clear(pg_stage::query);
    CHECK(c.ask("anything") == "C[ANYTHING]ZI");
    server.answer("t", pg_reply::rows({"a", "b"}, {{"1", std::nullopt}, {"", "x"}}));
    c.say(query("t"));
    CHECK(c.hear_message().kind == 'T');
    CHECK(c.hear_message().body == "\0\2\0\0\0\1"s + "1\xff\xff\xff\xff"s);
    CHECK(c.hear_message().body == "\0\2\0\0\0\0\0\0\0\1x"s);
    CHECK(c.answer() == "C[SELECT 2]ZI");
}

TEST_CASE("a handler decides each time, and may use the server") {
    fake_postgres server;
    server.always(pg_stage::query, [&](const pg_call& q) {
        if (q.sql == "throw") throw std::runtime_error{"no such thing"};
        if (q.sql == "throw int") throw 42;
        if (q.sql == "script") server.answer("scripted", pg_reply::done("SCRIPTED"));
        if (q.sql == "who") return pg_reply::done(std::string{q.user} + "@" + std::string{q.database} + " " + std::to_string(q.number));
        return pg_reply::ok();
    });
    const client c = session(server);
    CHECK(c.ask("select 1") == "TC[SELECT 0]ZI");
    CHECK(c.ask("who") == "C[ann@shop 2]ZI");
    CHECK(c.ask("throw") == "E(XX000)ZI");
    CHECK(c.ask("throw int") == "E(XX000)ZI");
    CHECK(c.ask("script") == "C[SCRIPT]ZI");
    CHECK(c.ask("scripted") == "C[SCRIPTED]ZI");
}

TEST_CASE("the extended protocol is answered message by message") {
    fake_postgres server;
    server.answer("select 1", pg_reply::row({"1"}));
    const client c = session(server);
    c.say(run_extended("select 1") + end_of_batch);
    CHECK(c.answer() == "12TDC[SELECT 1]ZI");
    c.say(run_extended("select 2") + end_of_batch);
    CHECK(c.answer() == "12TC[SELECT 0]ZI");
    c.say(run_extended("insert into t values ($1)") + end_of_batch);
    CHECK(c.answer() == "12nC[INSERT 0 0]ZI");
    c.say(run_extended("") + end_of_batch);
    CHECK(c.answer() == "12nIZI");
    SECTION("a prepared statement is described, run again and closed") {
        c.say(parse("select 1", "s") + describe('S', "s") + end_of_batch);
        CHECK(c.answer() == "1tTZI");
        for (int i = 0; i < 2; ++i) {
            c.say(bind("s") + describe() + execute + end_of_batch);
            CHECK(c.answer() == "2TDC[SELECT 1]ZI");
        }
        CHECK(server.calls(pg_stage::query) == 6);
        c.say(parse("select 3", "s") + end_of_batch);
        CHECK(c.answer() == "E(42P05)ZI");
        c.say(message('C', "S" + text("s")) + bind("s") + end_of_batch);
        CHECK(c.answer() == "3E(26000)ZI");
        c.say(parse("insert into t values ($1, '$9', $2)", "s") + describe('S', "s") + end_of_batch);
        CHECK(c.hear_message().kind == '1');
        CHECK(c.hear_message().body == "\0\2"s + number(25) + number(25));
        CHECK(c.answer() == "nZI");
        CHECK(c.ask("discard all") == "C[DISCARD ALL]ZI");
        c.say(bind("s") + end_of_batch);
        CHECK(c.answer() == "E(26000)ZI");
    }
    SECTION("what describes is what runs, though it was meant for once") {
        server.next(pg_stage::query, pg_reply::rows({"a"}, {{"x"}, {"y"}}));
        c.say(parse("select 2", "s") + describe('S', "s") + bind("s") + describe() + execute + end_of_batch);
        CHECK(c.answer() == "1tT2TDDC[SELECT 2]ZI");
        c.say(bind("s") + describe() + execute + end_of_batch);
        CHECK(c.answer() == "2TC[SELECT 0]ZI");
    }
    SECTION("after an error nothing is heard until Sync") {
        server.answer("fail", pg_reply::error("22012"));
        c.say(run_extended("begin") + run_extended("fail") + run_extended("select 1") + end_of_batch + run_extended("rollback") + end_of_batch);
        CHECK(c.answer() == "12nC[BEGIN]12nE(22012)ZE");
        CHECK(c.answer() == "12nC[ROLLBACK]ZI");
    }
    SECTION("a pipeline of two syncs cleans up, of one cannot") {
        c.say(run_extended("begin") + end_of_batch);
        CHECK(c.answer() == "12nC[BEGIN]ZT");
        c.say(run_extended("rollback") + end_of_batch + run_extended("discard all") + end_of_batch);
        CHECK(c.answer() == "12nC[ROLLBACK]ZI");
        CHECK(c.answer() == "12nC[DISCARD ALL]ZI");
        c.say(run_extended("rollback") + run_extended("discard all") + end_of_batch);
        CHECK(c.answer() == "12nC[ROLLBACK]12nE(25001)ZI");
    }
    SECTION("nothing is sent before Sync, Flush or an error") {
        c.say(run_extended("select 1"));
        CHECK(c.next() == "(nothing)");
        c.say(flush);
        for (const char kind : {'1', '2', 'T', 'D', 'C'}) CHECK(c.hear_message().kind == kind);
        CHECK(c.next() == "(nothing)");
        c.say(run_extended("select 2") + bind("none"));
        for (const char kind : {'1', '2', 'T', 'C', 'E'}) CHECK(c.hear_message().kind == kind);
        c.say(end_of_batch);
        CHECK(c.answer() == "ZI");
        std::string many; // nor when it is too much to be held
        for (int i = 0; i < 500; ++i) many += run_extended("select 1");
        c.say(many);
        for (int i = 0; i < 5 * 100; ++i) REQUIRE(c.hear_message().kind == "12TDC"[i % 5]);
        c.say(end_of_batch);
        CHECK(c.answer().ends_with("12TDC[SELECT 1]ZI"));
    }
    SECTION("what is not there cannot be bound, described or run") {
        c.say(bind("none") + execute + end_of_batch + execute + end_of_batch + describe('S', "none") + end_of_batch + flush);
        CHECK(c.answer() == "E(26000)ZI");
        CHECK(c.answer() == "E(34000)ZI");
        CHECK(c.answer() == "E(26000)ZI");
    }
}

TEST_CASE("a client may speak byte by byte, and all at once") {
    fake_postgres server;
    client c{server};
    for (const char byte : hello + query("select 1")) c.say({&byte, 1});
    CHECK(c.answer().ends_with("KZI"));
    CHECK(c.answer() == "TC[SELECT 0]ZI");
    client other{server};
    other.say(hello + query("begin") + query("") + terminate);
    CHECK(other.answer().ends_with("KZI"));
    CHECK(other.answer() == "C[BEGIN]ZT");
    CHECK(other.answer() == "IZT");
    CHECK(other.hear(1) == "(end)");
}

TEST_CASE("a connection is refused with any SQLSTATE, as often as was said") {
    fake_postgres server;
    const auto [code, words] = GENERATE(std::pair{"57P03", "the database system is starting up"}, std::pair{"53300", "sorry, too many clients already"},
                                        std::pair{"28P01", "password authentication failed"}, std::pair{"3D000", "database does not exist"},
                                        std::pair{"0A123", "scripted error"});
    server.next(pg_stage::login, pg_reply::fatal(code), 2);
    for (int i = 0; i < 2; ++i) {
        client c{server};
        c.say(hello);
        const auto [kind, body] = c.hear_message();
        CHECK(kind == 'E');
        CHECK(client::field(body, 'S') == "FATAL");
        CHECK(client::field(body, 'V') == "FATAL");
        CHECK(client::field(body, 'C') == code);
        CHECK(client::field(body, 'M') == words);
        CHECK(body.ends_with("\0\0"s));
        CHECK(c.hear(1) == "(end)");
    }
    (void)session(server);
    CHECK(server.calls(pg_stage::login) == 3);
}

TEST_CASE("a password is asked for in clear text") {
    fake_postgres server;
    server.require_password("open sesame");
    client c{server};
    c.say(hello);
    CHECK(c.hear(9) == message('R', number(3)));
    CHECK(c.next() == "(nothing)");
    SECTION("the right one") {
        c.say(message('p', text("open sesame")));
        CHECK(c.answer().starts_with("RS"));
        CHECK(c.ask("") == "IZI");
    }
    SECTION("another") {
        c.say(message('p', text("open barley")));
        const auto [kind, body] = c.hear_message();
        CHECK(kind == 'E');
        CHECK(client::field(body, 'C') == "28P01");
        CHECK(c.hear(1) == "(end)");
        CHECK(server.calls(pg_stage::login) == 0);
    }
    SECTION("something else") {
        c.say(query("select 1"));
        CHECK(client::field(c.hear_message().body, 'C') == "08P01");
        CHECK(c.hear(1) == "(end)");
    }
    SECTION("no more") {
        server.require_password("");
        (void)session(server);
    }
}

TEST_CASE("silence: at once, instead of a login, behind it, in the middle of an answer") {
    fake_postgres server;
    SECTION("at once") {
        server.always(pg_stage::connect, pg_reply::silence());
        client c{server};
        c.say(ssl_request);
        CHECK(c.next() == "(nothing)");
    }
    SECTION("instead of a login") {
        server.always(pg_stage::login, pg_reply::silence());
        client c{server};
        c.say(ssl_request);
        CHECK(c.hear(1) == "N");
        c.say(hello);
        CHECK(c.next() == "(nothing)");
    }
    SECTION("behind its first message") {
        server.always(pg_stage::login, pg_reply::ok().stall(9));
        client c{server};
        c.say(hello);
        CHECK(c.hears_just(message('R', number(0))));
    }
    SECTION("without ReadyForQuery") {
        server.always(pg_stage::login, pg_reply::ok().unready());
        client c{server};
        c.say(hello);
        char kind = 0;
        while (kind != 'K' && kind != '-') kind = c.hear_message().kind;
        CHECK(kind == 'K');
        CHECK(c.next() == "(nothing)");
    }
    SECTION("in the middle of an answer") {
        server.answer("select 1", pg_reply::row({"1"}).stall(40));
        const client c = session(server);
        c.say(query("select 1") + query("select 2"));
        CHECK(c.hear(40).starts_with("T"));
        CHECK(c.next() == "(nothing)");
        c.say(terminate);
        CHECK(c.next() == "(nothing)"); // it does not even hear that
    }
    CHECK(server.await_open(0)); // but that the client has gone
}

TEST_CASE("garbage, and a message that claims two gigabytes") {
    fake_postgres server;
    const client c = session(server);
    server.next(pg_stage::query, pg_reply::garbage(100));
    server.next(pg_stage::query, pg_reply::garbage(100));
    server.next(pg_stage::query, pg_reply::garbage(100, 2));
    server.next(pg_stage::query, pg_reply::length_bomb());
    std::array<std::string, 3> seen;
    for (auto& s : seen) {
        c.say(query("x"));
        s = c.hear(106);
        CHECK(s.substr(100) == ready());
    }
    CHECK(seen[0] == seen[1]);
    CHECK(seen[0] != seen[2]);
    c.say(query("x"));
    CHECK(c.hears_just("D\x7f\xff\xff\xff"));
    const client d = session(server);
    server.next(pg_stage::query, pg_reply::length_bomb('T', 0x40000000));
    d.say(query("x"));
    CHECK(d.hears_just("T\x40\0\0\0"s));
}

TEST_CASE("ReadyForQuery lies once, or does not come") {
    fake_postgres server;
    const client c = session(server);
    CHECK(c.ask("begin") == "C[BEGIN]ZT");
    server.next(pg_stage::query, pg_reply::ok().claiming('I'));
    CHECK(c.ask("select 1") == "TC[SELECT 0]ZI");
    CHECK(c.ask("") == "IZT");
    CHECK(c.ask("commit") == "C[COMMIT]ZI");
    server.next(pg_stage::query, pg_reply::ok().claiming('T'));
    CHECK(c.ask("select 1") == "TC[SELECT 0]ZT");
    CHECK(c.ask("") == "IZI");
    server.next(pg_stage::query, pg_reply::ok().unready());
    c.say(query("set x"));
    CHECK(c.hears_just(message('C', text("SET"))));
    CHECK(c.ask("") == "IZI");
    server.next(pg_stage::query, pg_reply::notice("well").then(pg_reply::ok().claiming('?')));
    CHECK(c.ask("set x") == "N(00000)C[SET]Z?");
}

TEST_CASE("a connection ends in the middle of a row, in order or with a reset") {
    fake_postgres server;
    const auto how = GENERATE(ending::fin, ending::reset);
    const auto whole = pg_reply::row({"value"});
    server.answer("cut", whole.cut(40, how));
    server.answer("end", whole.then(pg_reply::end(how)));
    server.answer("all", whole.cut(100'000, how));
    server.answer("none", whole.cut(0, how));
    const std::string mark = how == ending::fin ? "(end)" : "(reset)";
    const auto heard = [&](const char* sql) {
        const client c = session(server);
        c.say(query(sql));
        return c.rest();
    };
    CHECK(heard("none") == mark);
    const std::string some = heard("cut"), all = heard("all");
    CHECK(some.size() == 40 + mark.size());
    CHECK(some.ends_with(mark));
    CHECK(all.starts_with(some.substr(0, 40)));
    CHECK(all.ends_with(message('C', text("SELECT 1")) + mark)); // and not ReadyForQuery
    CHECK(heard("end") == all);
}

TEST_CASE("each connection ends after so many bytes of its own") {
    fake_postgres server;
    const auto conversation = [&] {
        client c{server};
        c.say(hello + query("select 1"));
        c.half_close();
        std::string out = c.rest();
        if (const auto key = out.find("K\0\0\0\x0c"s); key != out.npos) { // of each session another
            for (std::size_t i = key + 5; i < std::min(key + 13, out.rfind('(')); ++i) out[i] = '.';
        }
        return out;
    };
    const std::string all = conversation();
    REQUIRE(all.size() > 300);
    const std::size_t whole = all.size() - 5;
    CHECK(all.substr(whole) == "(end)");
    for (std::size_t n = 0; n < whole; n += 7) {
        INFO(n);
        server.cut_after(n);
        CHECK(conversation() == all.substr(0, n) + "(end)");
    }
    server.cut_after(20, ending::reset);
    CHECK(conversation() == all.substr(0, 20) + "(reset)");
    server.heal();
    CHECK(conversation() == all);
    const client open = session(server);
    server.cut_after(3); // of what is to come
    open.say(query(""));
    CHECK(open.rest() == "I\0\0(end)"s);
}

TEST_CASE("answers come byte by byte, late, or slowed on the whole connection") {
    fake_postgres server;
    const client c = session(server);
    const auto lasts = [&](auto f) {
        const auto begun = clock_type::now();
        f();
        return clock_type::now() - begun;
    };
    server.next(pg_stage::query, pg_reply::done("SLOW").slowly(2ms));
    CHECK(lasts([&] { CHECK(c.ask("x") == "C[SLOW]ZI"); }) >= 2ms * 9); // it has ten bytes
    server.next(pg_stage::query, pg_reply::done("SLOW").slowly(10ms, 4));
    CHECK(lasts([&] { CHECK(c.ask("x") == "C[SLOW]ZI"); }) >= 20ms);
    server.next(pg_stage::query, pg_reply::done("LATE").after(30ms));
    CHECK(lasts([&] { CHECK(c.ask("x") == "C[LATE]ZI"); }) >= 30ms);
    server.slow(2, 5ms);
    CHECK(lasts([&] { CHECK(c.ask("x") == "C[X]ZI"); }) >= 5ms * 5); // 13 bytes; the first interval has begun
    server.heal();
    CHECK(c.ask("x") == "C[X]ZI");
}

TEST_CASE("open sessions hear what they did not ask for") {
    fake_postgres server;
    client a = session(server), b = session(server);
    client waits{server};
    REQUIRE(server.await_open(3));
    CHECK(a.process != b.process);
    server.say(pg_reply::notice("hear, hear"));
    server.say(pg_reply::notification("news", "rain", 7), b.process);
    auto m = a.hear_message();
    CHECK(m.kind == 'N');
    CHECK(client::field(m.body, 'M') == "hear, hear");
    CHECK(client::field(m.body, 'S') == "NOTICE");
    CHECK(a.next() == "(nothing)");
    CHECK(b.hear_message().kind == 'N');
    CHECK(b.hears_just(message('A', number(7) + text("news") + text("rain"))));
    server.say(pg_reply::error("01000"));
    CHECK(client::field(a.hear_message().body, 'C') == "01000");
    server.say(pg_reply::fatal("57P01"), b.process);
    CHECK(client::field(b.hear_message().body, 'C') == "01000");
    m = b.hear_message();
    CHECK(client::field(m.body, 'C') == "57P01");
    CHECK(client::field(m.body, 'M') == "terminating connection due to administrator command");
    CHECK(b.hear(1) == "(end)");
    CHECK(a.ask("") == "IZI");
    CHECK(waits.next() == "(nothing)"); // it has no session yet
    server.drop(ending::reset);
    CHECK(a.hear(1) == "(reset)");
    CHECK(waits.hear(1) == "(reset)");
    CHECK(server.open_now() == 0);
    const client late = session(server);
    server.drop();
    CHECK(late.hear(1) == "(end)");
}

TEST_CASE("a parameter that changes is told with the next answer, and at the beginning to new sessions") {
    fake_postgres server;
    client c = session(server);
    CHECK(c.parameters.find("in_hot_standby=off;") != c.parameters.npos);
    server.parameter("in_hot_standby", "on");
    CHECK(c.next() == "(nothing)");
    c.say(query(""));
    CHECK(c.hears_just(message('I', "") + message('S', text("in_hot_standby") + text("on")) + ready()));
    CHECK(c.ask("") == "IZI");
    client fresh{server};
    CHECK(fresh.log_in().parameters.find("in_hot_standby=on;") != c.parameters.npos);
    CHECK(fresh.ask("") == "IZI");
    server.parameter("in_hot_standby", std::nullopt);
    client old{server};
    CHECK(old.log_in().parameters.find("in_hot_standby") == c.parameters.npos);
    server.say(pg_reply::parameter("in_hot_standby", "off"));
    CHECK(c.hears_just(message('S', text("in_hot_standby") + text("off"))));
}

TEST_CASE("requests to cancel are counted, and end the statement of their session") {
    fake_postgres server;
    server.answer("sleep", pg_reply::ok().after(cenote::duration::max()));
    client c = session(server), other = session(server);
    const auto cancel = [&](std::uint32_t process, std::uint32_t key) {
        client asks{server};
        asks.say(cancel_of(process, key));
        CHECK(asks.hear(1) == "(end)");
    };
    SECTION("a simple query") {
        other.say(query("sleep"));
        c.say(query("begin; sleep; select 1"));
        REQUIRE(server.await(pg_stage::query, 4));
        cancel(c.process, c.key);
        CHECK(c.answer() == "C[BEGIN]E(57014)ZE");
        CHECK(other.next() == "(nothing)");
    }
    SECTION("of a pipeline") {
        c.say(run_extended("sleep") + run_extended("select 1") + end_of_batch);
        REQUIRE(server.await(pg_stage::query, 1));
        cancel(c.process, c.key);
        CHECK(c.answer() == "12nE(57014)ZI");
    }
    SECTION("when nothing runs") {
        cancel(c.process, c.key);
        CHECK(c.next() == "(nothing)");
        CHECK(c.ask("") == "IZI");
    }
    SECTION("with the wrong key") {
        c.say(query("sleep"));
        REQUIRE(server.await(pg_stage::query, 1));
        cancel(c.process, c.key + 1);
        CHECK(c.next() == "(nothing)");
        REQUIRE(server.cancels().size() == 1);
        CHECK_FALSE(server.cancels()[0].known);
        cancel(c.process, c.key);
        CHECK(c.answer() == "E(57014)ZI");
    }
    SECTION("which a server does not hear that is silent") {
        server.next(pg_stage::cancel, pg_reply::silence());
        c.say(query("sleep"));
        REQUIRE(server.await(pg_stage::query, 1));
        client asks{server};
        asks.say(cancel_of(c.process, c.key));
        CHECK(asks.next() == "(nothing)");
        CHECK(c.next() == "(nothing)");
    }
    const auto all = server.cancels();
    CHECK(all.size() == server.calls(pg_stage::cancel));
    REQUIRE(!all.empty());
    CHECK(all.back().process == c.process);
    CHECK(all.back().key == c.key);
    CHECK(all.back().known);
}

TEST_CASE("clients that do not keep to the protocol are shown out") {
    fake_postgres server;
    const auto state_of = [](const client& c) {
        const auto [kind, body] = c.hear_message();
        CHECK(kind == 'E');
        CHECK(c.hear(1) == "(end)");
        return client::field(body, 'C');
    };
    for (const std::string& first : {number(7) + number(0), number(0x16030102) + number(0), number(0xffffffff), startup(131072, ""), startup(196608, "\0"s),
                                     startup(80877102, "")}) {
        const client c{server};
        c.say(first);
        const std::string code = state_of(c);
        CHECK((code == "08P01" || code == "0A000" || code == "28000"));
    }
    for (const std::string& later : {"Q"s + number(3), "Q"s + number(0x7fffffff), message('?', ""), message('D', "x"), message('P', "no end")}) {
        const client c = session(server);
        c.say(later);
        CHECK(state_of(c) == "08P01");
    }
    client newer{server}; // protocol 3.2
    newer.say(startup(196610, text("user") + text("ann") + text("_pq_.new") + text("1") + '\0'));
    const auto m = newer.hear_message();
    CHECK(m.kind == 'v');
    CHECK(m.body == number(0) + number(1) + text("_pq_.new"));
    CHECK(newer.answer().ends_with("KZI"));
}

TEST_CASE("connections are counted") {
    fake_postgres server;
    CHECK(server.open_now() == 0);
    {
        const client a = session(server), b = session(server);
        CHECK(server.open_now() == 2);
        CHECK_FALSE(server.await_open(1, 1ms));
    }
    CHECK(server.await_open(0));
    CHECK(server.calls(pg_stage::connect) == 2);
    CHECK(server.calls(pg_stage::login) == 2);
    CHECK_FALSE(server.await(pg_stage::connect, 3, 1ms));
}

TEST_CASE("it ends at once, whatever its connections wait for") {
    std::vector<client> all;
    const auto begun = clock_type::now();
    {
        fake_postgres server;
        server.answer("sleep", pg_reply::ok().after(cenote::duration::max()));
        server.answer("deaf", pg_reply::silence());
        server.answer("much", pg_reply::bytes(std::string(16U << 20, 'x'))); // more than anybody takes
        server.answer("slow", pg_reply::bytes(std::string(1000, 'x')).slowly(1h));
        for (const char* sql : {"sleep", "deaf", "much", "slow"}) {
            all.push_back(session(server));
            all.back().say(query(sql));
        }
        all.emplace_back(server);
        REQUIRE(server.await(pg_stage::query, 4));
    }
    CHECK(clock_type::now() - begun < 10s);
    for (const client& c : all) {
        const std::string last = c.rest().substr(0, 17U << 20);
        CHECK((last.ends_with("(end)") || last.ends_with("(reset)") || last.size() == 1'000'000));
    }
}

TEST_CASE("what cannot be said is refused with its field, value and rule") {
    fake_postgres server;
    CHECK_THROWS_MATCHES(pg_reply::error("5703"), std::invalid_argument, Message("cenote: pg_reply.sqlstate = 5703: must be five of 0 … 9 and A … Z"));
    CHECK_THROWS_AS(pg_reply::fatal("57p03"), std::invalid_argument);
    CHECK_THROWS_MATCHES(pg_reply::notice("a\0b"s), std::invalid_argument, Message("cenote: pg_reply.text = a: must have no zero byte"));
    CHECK_THROWS_AS(pg_reply::done("\0"s), std::invalid_argument);
    CHECK_THROWS_AS(pg_reply::notification("\0"s), std::invalid_argument);
    CHECK_THROWS_AS(pg_reply::parameter("a", "\0"s), std::invalid_argument);
    CHECK_THROWS_MATCHES(pg_reply::rows({"a"}, {{"1", "2"}}), std::invalid_argument,
                         Message("cenote: pg_reply.rows.row.size = 2: must be that of pg_reply.rows.columns, which is 1"));
    CHECK_THROWS_MATCHES(pg_reply::ok().after(-1ms), std::invalid_argument, Message("cenote: pg_reply.after = -1ms: must not be negative"));
    CHECK_THROWS_MATCHES(pg_reply::ok().slowly(0ms), std::invalid_argument, Message("cenote: pg_reply.slowly.interval = 0s: must be above zero"));
    CHECK_THROWS_MATCHES(pg_reply::ok().slowly(1ms, 0), std::invalid_argument,
                         Message("cenote: pg_reply.slowly.piece = 0: must be above zero; to say nothing write silence()"));
    CHECK_THROWS_MATCHES(server.slow(0, 1ms), std::invalid_argument, Message("cenote: fake_postgres.slow.bytes = 0: must be above zero; to say nothing write silence()"));
    CHECK_THROWS_MATCHES(server.slow(1, 0ms), std::invalid_argument,
                         Message("cenote: fake_postgres.slow.interval = 0s: must be above zero; to switch it off write heal()"));
    CHECK_THROWS_AS(server.parameter("a\0b"s, "x"), std::invalid_argument);
}

TEST_CASE("everything may be called by several threads while clients come and go") {
    fake_postgres server;
    std::vector<std::thread> all;
    for (int t = 0; t < 3; ++t) {
        all.emplace_back([&] {
            for (int i = 0; i < 30; ++i) {
                const sockaddr_in at = raw_test::loopback(server.port());
                const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
                const std::string words = hello + query("select 1") + query("x");
                if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) (void)::send(fd, words.data(), words.size(), MSG_NOSIGNAL);
                std::array<char, 512> part;
                pollfd p{fd, POLLIN, 0};
                if (::poll(&p, 1, 100) > 0) (void)::recv(fd, part.data(), part.size(), MSG_DONTWAIT);
                ::close(fd);
            }
        });
    }
    for (int t = 0; t < 2; ++t) {
        all.emplace_back([&, t] {
            for (int i = 0; i < 50; ++i) {
                server.answer("x", pg_reply::row({std::to_string(i)}));
                server.next(pg_stage::query, pg_reply::notice("n").then(pg_reply::ok()));
                server.always(pg_stage::login, [](const pg_call&) { return pg_reply::ok(); });
                server.parameter("TimeZone", std::to_string(i));
                server.say(pg_reply::notice("n"));
                server.cut_after(static_cast<std::uint64_t>(i) * 10);
                if (t == 0 && i % 10 == 0) server.drop(ending::reset);
                (void)server.executed();
                (void)server.cancels();
                (void)server.open_now();
                server.heal();
            }
        });
    }
    for (auto& t : all) t.join();
    CHECK(server.await_open(0));
    CHECK(server.calls(pg_stage::connect) == 90);
    (void)session(server);
}
