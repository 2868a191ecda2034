// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <server/support/fake_server.hpp>
#include <server/support/postgres.hpp>
#include <server/support/process.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

using namespace std::chrono_literals;
using namespace std::string_literals;
using cenote::deadline;
using cenote::error_class;
using cenote::postgres;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

namespace {

const std::string secret = "Tr0ub4dor";

/// Everything that anybody gets to read when this is used: at construction, from open, from a pool in each of its forms.
std::string all_words(const postgres::options& o) {
    std::string out;
    try {
        postgres d{o};
        try {
            pg::opened{d};
            out += "it connects\n";
        } catch (const std::exception& e) {
            out += "open: "s + e.what() + "\n";
        }
        cenote::pool db{d, cenote::manual{}, cenote::named{"p"}};
        try {
            (void)db.acquire(5s);
        } catch (const cenote::error& e) {
            out += "acquire: "s + e.what() + "\n" + e.why().text() + "\n" + e.code().message() + "\n";
            if (e.why().seen) out += e.why().seen->last_connect_error.text + "\n";
        }
        cenote::failure why;
        (void)db.acquire(5s, why);
        out += why.text() + "\n";
    } catch (const std::exception& e) {
        out += "construction: "s + e.what() + "\n";
    }
    return out;
}

std::string refusal(const postgres::options& o) {
    try {
        postgres{o};
    } catch (const std::invalid_argument& e) {
        return e.what();
    }
    return "nothing was wrong";
}
std::string refusal(const std::string& conninfo) { return refusal(pg::options(conninfo)); }

} // namespace

TEST_CASE("what is wrong with a connection string is said without the string, of which libpq would show the password") {
    const std::string elsewhere = "127.0.0.1:1/d";
    const std::vector<std::pair<std::string, std::string>> wrong{
        {"host=127.0.0.1 password=correct " + secret, "quotes"},
        {"host=127.0.0.1 password=correct " + secret + "=staple", "quotes"},
        {"host=127.0.0.1 password='" + secret, "quote is not closed"},
        {"host=127.0.0.1 password='" + secret + "\\'", "quote is not closed"},
        {secret, "without '='"},
        {"postgresql://u:p@" + secret + "@" + elsewhere, "%40"},
        {"postgresql://u:p@x/" + secret + "@" + elsewhere, "'@'"},
        {"postgresql://u:/" + secret + "@" + elsewhere, "'@'"},
        {"postgresql://u:" + secret + "/tail@" + elsewhere, "%2F"},
        {"postgresql://u:1/" + secret + "@" + elsewhere, "'@'"},
        {"postgresql://u:p%" + secret + "@" + elsewhere, "%25"},
        {"postgresql://u:" + secret + "%zz@" + elsewhere, "%25"},
        {"postgresql://u:" + secret + "%00@" + elsewhere, "zero byte"},
        {"postgresql://u:p@[" + secret + "@" + elsewhere, "not closed"},
        {"postgresql://u:p@[]" + secret, "empty"},
        {"postgresql://u:p@[::1]" + secret, "IPv6"},
        {"postgresql://u:p/?" + secret + "@" + elsewhere, "no '='"},
        {"postgresql://u:p@127.0.0.1:1/d?" + secret, "no '='"},
        {"postgresql://u:p@127.0.0.1:1/d?" + secret + "=1", "keyword"},
        {"postgresql://u:p@127.0.0.1:1/d?sslmode=disable=" + secret, ""},
        {"postgresql://u:p@127.0.0.1:" + secret + "/d", "port"},
        {"host=127.0.0.1 port=" + secret, "port"},
        {"host=127.0.0.1 connect_timeout='1 password=" + secret + "'", "connect_timeout"},
        {"password=" + secret + "\0x"s, "zero byte"},
    };
    for (const auto& [conninfo, hint] : wrong) {
        INFO(conninfo);
        CHECK_THAT(refusal(conninfo), StartsWith("cenote: postgres.") && ContainsSubstring(hint));
        CHECK_THAT(all_words(pg::options(conninfo)), !ContainsSubstring(secret));
    }
}

TEST_CASE("no text of a pool that cannot connect shows the password, wherever it comes from") {
    // A server that repeats what it should not, and one where the password is the user's name as well.
    fake_server parrot{[](auto& peer) {
        if (wire::begin(peer)) peer.send(wire::error("28P01", "password \"" + secret + "\" is wrong, " + secret + ", yes '" + secret + "'"));
    }};
    const std::string there = "host=127.0.0.1 dbname=d sslmode=disable port=" + std::to_string(parrot.port());
    const process::secret_file file{"*:*:*:*:" + secret + "\n"};
    const auto expect_scrubbed = [](const postgres::options& o) {
        const std::string words = all_words(o);
        CHECK_THAT(words, !ContainsSubstring(secret) && ContainsSubstring("***"));
    };
    SECTION("from the string") { expect_scrubbed(pg::options(there + " user=u password=" + secret)); }
    SECTION("from a URI") {
        expect_scrubbed(pg::options("postgresql://u:" + secret + "@127.0.0.1:" + std::to_string(parrot.port()) + "/d?sslmode=disable"));
    }
    SECTION("from a URI that encodes it") {
        expect_scrubbed(pg::options("postgresql://u:%54r0ub4dor@127.0.0.1:" + std::to_string(parrot.port()) + "/d?sslmode=disable"));
    }
    SECTION("from the parameters") { expect_scrubbed(pg::options(there, {{"user", "u"}, {"password", secret}})); }
    SECTION("from the environment") {
        const pg::variable v{"PGPASSWORD", secret.c_str()};
        expect_scrubbed(pg::options(there + " user=u"));
    }
    SECTION("from the environment, set after the driver was made") {
        postgres d{there + " user=u"};
        const pg::variable v{"PGPASSWORD", secret.c_str()};
        const auto e = pg::error_of([&] { pg::opened{d}; });
        REQUIRE(e);
        CHECK_THAT(e->what(), !ContainsSubstring(secret));
    }
    SECTION("from a password file") { expect_scrubbed(pg::options(there, {{"user", "u"}, {"passfile", file.path()}})); }
    SECTION("from a password file that the environment names") {
        const pg::variable v{"PGPASSFILE", file.path().c_str()};
        expect_scrubbed(pg::options(there + " user=u"));
    }
    SECTION("from a service file") {
        const process::secret_file services{"[here]\nhost=127.0.0.1\nport=" + std::to_string(parrot.port()) + "\nuser=u\ndbname=d\nsslmode=disable\npassword=" +
                                            secret + "\n"};
        const pg::variable v{"PGSERVICEFILE", services.path().c_str()};
        expect_scrubbed(pg::options("service=here"));
        const pg::variable w{"PGSERVICE", "here"};
        expect_scrubbed({});
    }
    SECTION("of a statement in options.init") {
        fake_server later{[](auto& peer) {
            if (!wire::begin(peer) || !peer.send(wire::welcome()) || peer.receive(5).size() != 5) return;
            peer.send(wire::report('E', "ERROR", "42601", "no such thing as " + secret) + wire::ready());
            peer.linger();
        }};
        auto o = pg::options(later.conninfo(), {{"password", secret}});
        o.init = {"set something"};
        expect_scrubbed(o);
    }
    SECTION("where it is also somebody's name") {
        const auto& s = servers::postgres();
        const std::string words = all_words(pg::options(s.tcp, {{"user", secret}, {"password", secret}}));
        CHECK_THAT(words, !ContainsSubstring(secret) && ContainsSubstring("password authentication failed for user \"***\""));
    }
}

TEST_CASE("a short password is taken out where it stands by itself, and leaves other words alone") {
    fake_server parrot{[](auto& peer) {
        if (wire::begin(peer)) peer.send(wire::error("28P01", "the word is in; within, login and in"));
    }};
    postgres d{pg::options(parrot.conninfo(), {{"password", "in"}})};
    const auto e = pg::error_of([&] { pg::opened{d}; });
    REQUIRE(e);
    CHECK_THAT(e->what(), ContainsSubstring("the word is ***; within, login and ***"));
}

TEST_CASE("no mutation of a connection string makes a message show the password") {
    const std::vector<std::string> seeds{
        "host=127.0.0.1 port=1 user=u password='" + secret + "' dbname=d connect_timeout=5 target_session_attrs=any",
        "host=a,b hostaddr=127.0.0.1,127.0.0.2 port=1,2 password=" + secret + " sslmode=disable",
        "postgresql://u:" + secret + "@127.0.0.1:1/d?connect_timeout=5&sslmode=disable",
        "postgres://u:" + secret + "@[::1]:1,127.0.0.1:2/d?application_name=x",
    };
    const std::string odd = "@:/?#[]%&= '\\,\t\n;\"0aZ";
    const char* const asked = std::getenv("CENOTE_FUZZ_ROUNDS");
    const int rounds = asked != nullptr ? std::stoi(asked) : 3000;
    std::minstd_rand random{20240607};
    const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    int refused = 0;
    for (int i = 0; i < rounds; ++i) {
        std::string text = seeds[pick(seeds.size())];
        for (std::size_t n = 1 + pick(3); n > 0; --n) {
            // Never inside the password: then it would be another one.
            const std::size_t word = text.find(secret);
            std::size_t at = pick(text.size());
            if (at > word && at < word + secret.size()) at = random() % 2 != 0 ? word : word + secret.size();
            if (random() % 2 != 0 || (at >= word && at < word + secret.size()) || at >= text.size()) text.insert(at, 1, odd[pick(odd.size())]);
            else text.erase(at, 1);
        }
        const std::string said = refusal(text);
        refused += said != "nothing was wrong" ? 1 : 0;
        if (said.find(secret) != said.npos) FAIL_CHECK(text << "\n" << said);
    }
    CHECK(refused > rounds / 10);
}

TEST_CASE("nothing in a value can add a keyword, or be taken for a connection string") {
    const std::string there = servers::postgres().unix_socket;
    const std::vector<std::string> hostile{"x host=evil.invalid", "x' host='evil.invalid", "postgresql://evil.invalid/x", "host=evil.invalid dbname=x",
                                           "postgres://u@evil.invalid", "x\\' host=evil.invalid", "'"};
    for (const std::string& value : hostile) {
        INFO(value);
        // As a name of a database it is the name of one that does not exist, on the very server.
        postgres names{pg::options(there, {{"dbname", value}})};
        const auto e = pg::error_of([&] { pg::opened{names}; });
        REQUIRE(e);
        CHECK(e->sqlstate() == "3D000");
        CHECK_THAT(e->what(), ContainsSubstring("\"" + value + "\""));
        // And elsewhere it is what it says.
        postgres named{pg::options(there, {{"application_name", value}})};
        pg::opened c{named};
        CHECK(pg::ask(c.handle(), "show application_name") == value);
        // A password is only ever a password: the socket asks for none.
        postgres quiet{pg::options(there, {{"password", value}})};
        CHECK(pg::ask(pg::opened{quiet}.handle(), "select 1") == "1");
    }
}

TEST_CASE("parameters win over the string, and the string over the environment") {
    const auto& s = servers::postgres();
    const pg::variable name{"PGAPPNAME", "environment"};
    const auto name_of = [](const postgres::options& o) {
        postgres d{o};
        return pg::ask(pg::opened{d}.handle(), "show application_name");
    };
    CHECK(name_of(pg::options(s.unix_socket)) == "environment");
    CHECK(name_of(pg::options(s.unix_socket + " application_name=string")) == "string");
    CHECK(name_of(pg::options(s.unix_socket + " application_name=string", {{"application_name", "parameter"}})) == "parameter");
    CHECK(name_of(pg::options(s.unix_socket, {{"application_name", "first"}, {"application_name", "last"}})) == "last");
    CHECK(name_of(pg::options(s.unix_socket + " host=evil.invalid", {{"host", s.admin.substr(5, s.admin.find(' ') - 5)}})) == "environment");
}

TEST_CASE("the server sees the program's name, or the one that is given") {
    const auto& s = servers::postgres();
    const auto name_of = [](const postgres::options& o) {
        postgres d{o};
        return pg::ask(pg::opened{d}.handle(), "show application_name");
    };
    CHECK(name_of(pg::options(s.tcp)) == postgres::options{}.application_name);
    CHECK_FALSE(postgres::options{}.application_name.empty());
    auto o = pg::options(s.tcp);
    o.application_name = "shop";
    CHECK(name_of(o) == "shop");
    o.application_name = "";
    CHECK(name_of(o).empty());
}

TEST_CASE("tcp_user_timeout arrives at the socket, in milliseconds") {
    const auto& s = servers::postgres();
    const auto at_socket = [](const postgres::options& o) {
        postgres d{o};
        pg::opened c{d};
        unsigned value = 0;
        socklen_t size = sizeof value;
        REQUIRE(::getsockopt(PQsocket(c.handle()), IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size) == 0);
        return value;
    };
    auto o = pg::options(s.tcp);
    CHECK(at_socket(o) == 15000);
    o.tcp_user_timeout = 1234ms;
    CHECK(at_socket(o) == 1234);
    o.tcp_user_timeout = 0ms;
    CHECK(at_socket(o) == 0);
    o.tcp_user_timeout = 5s;
    o.parameters = {{"tcp_user_timeout", "77"}};
    CHECK(at_socket(o) == 77);
    o.conninfo = s.tls;
    CHECK(at_socket(o) == 77);
}

TEST_CASE("client_connection_check_interval is set in every session, again by each full reset, and only if it is asked for") {
    const auto& s = servers::postgres();
    const auto now = [](const pg::opened& c) { return pg::ask(c.handle(), "show client_connection_check_interval"); };
    for (const bool has_init : {false, true}) {
        auto o = pg::options(s.tcp);
        if (has_init) o.init = {"set work_mem = '123kB'"};
        o.client_connection_check_interval = 1234567us;
        postgres d{o};
        pg::opened c{d};
        CHECK(now(c) == "1235ms");
        for (const char* dirt : {"set client_connection_check_interval = 0", "begin", "discard all"}) {
            CAPTURE(has_init, dirt);
            (void)pg::run(c.handle(), dirt);
            d.reset(*c, pg::soon());
            CHECK(now(c) == "1235ms");
            (void)pg::run(c.handle(), dirt);
            REQUIRE(d.reset_start(*c));
            d.reset_finish(*c, pg::soon());
            CHECK(now(c) == "1235ms");
            CHECK(PQpipelineStatus(c.handle()) == PQ_PIPELINE_OFF);
            if (has_init) CHECK(pg::ask(c.handle(), "show work_mem") == "123kB");
        }
    }
    SECTION("options.init has the last word") {
        auto o = pg::options(s.tcp);
        o.client_connection_check_interval = 1s;
        o.init = {"set client_connection_check_interval = '7s'"};
        postgres d{o};
        pg::opened c{d};
        CHECK(now(c) == "7s");
        d.reset(*c, pg::soon());
        CHECK(now(c) == "7s");
    }
    SECTION("without it, what the session was given otherwise holds") {
        postgres d{pg::options(s.tcp, {{"options", "-c client_connection_check_interval=9s"}})};
        pg::opened c{d};
        CHECK(now(c) == "9s");
        d.reset(*c, pg::soon());
        CHECK(now(c) == "9s");
    }
}

TEST_CASE("a server that does not know client_connection_check_interval, or refuses it, is used without") {
    std::atomic<int> asked{0}, cleared{0};
    const auto serve = [&](fake_server::peer& p, const std::string& version, const std::string& answer) {
        if (!wire::begin(p)) return;
        if (!p.send(wire::authentication_ok() + wire::parameter("server_version", version) + wire::parameter("client_encoding", "UTF8") + wire::ready())) return;
        for (;;) {
            const std::string head = p.receive(5);
            if (head.size() != 5 || head[0] == 'X') return;
            std::uint32_t size = 0;
            std::copy_n(head.data() + 1, 4, reinterpret_cast<char*>(&size));
            (void)p.receive(ntohl(size) - 4);
            if (head[0] == 'P') ++asked;
            if (head[0] == 'Q') ++cleared;
            if (head[0] == 'S' && !p.send(answer)) return;
            if (head[0] == 'Q' && !p.send(wire::message('C', wire::text("DISCARD ALL")) + wire::ready())) return;
        }
    };
    const auto use = [&](const std::string& version, const std::string& answer) {
        fake_server old{[&](auto& p) { serve(p, version, answer); }};
        auto o = pg::options(old.conninfo());
        o.client_connection_check_interval = 1s;
        postgres d{o};
        return pg::error_of([&] {
            pg::opened c{d};
            d.reset(*c, pg::soon());
            CHECK(d.state(*c) == cenote::session_state::idle);
        });
    };
    SECTION("too old: it is not asked") {
        CHECK_FALSE(use("13.4", ""));
        CHECK(asked == 0);
        CHECK(cleared == 1);
    }
    SECTION("it refuses: it is asked once, and not by the reset") {
        CHECK_FALSE(use("15.0", wire::report('E', "ERROR", "22023", "client_connection_check_interval must be set to 0 on platforms that lack POLLRDHUP.") + wire::ready()));
        CHECK(asked == 1);
        CHECK(cleared == 1);
    }
    SECTION("a session that ends meanwhile is none") {
        const auto e = use("15.0", wire::error("57P01", "terminating connection"));
        REQUIRE(e);
        CHECK(e->sqlstate() == "57P01");
        CHECK(e->kind() == error_class::disconnected);
        CHECK_THAT(e->what(), ContainsSubstring("options.client_connection_check_interval failed: terminating connection"));
    }
}

TEST_CASE("a wrong option is refused at construction, by its name, its value and the rule") {
    const auto with = [](auto change) {
        postgres::options o;
        change(o);
        return refusal(o);
    };
    const auto parameters = [&](pg::settings all) { return with([&](auto& o) { o.parameters = all; }); };
    CHECK(with([](auto&) {}) == "nothing was wrong");
    CHECK_THAT(with([](auto& o) { o.tcp_user_timeout = -1ms; }), StartsWith("cenote: postgres.options.tcp_user_timeout = ") && ContainsSubstring("0 …"));
    CHECK_THAT(with([](auto& o) { o.tcp_user_timeout = 2147483648ms; }), ContainsSubstring("tcp_user_timeout"));
    CHECK(with([](auto& o) { o.tcp_user_timeout = 2147483647ms; }) == "nothing was wrong");
    CHECK_THAT(with([](auto& o) { o.client_connection_check_interval = -1ns; }),
               StartsWith("cenote: postgres.options.client_connection_check_interval = ") && ContainsSubstring("must be 0 … 2147483647 ms"));
    CHECK_THAT(with([](auto& o) { o.client_connection_check_interval = 2147483647ms + 1ns; }), ContainsSubstring("client_connection_check_interval"));
    CHECK(with([](auto& o) { o.client_connection_check_interval = 2147483647ms; }) == "nothing was wrong");
    CHECK_THAT(with([](auto& o) { o.drain_time = -1ns; }), StartsWith("cenote: postgres.options.drain_time = "));
    CHECK(with([](auto& o) { o.drain_time = 0ns; }) == "nothing was wrong");
    CHECK_THAT(with([](auto& o) { o.init = {"select 1", ""}; }), StartsWith("cenote: postgres.options.init = "));
    CHECK_THAT(with([](auto& o) { o.init = {"select 1\0; drop table t"s}; }), StartsWith("cenote: postgres.options.init = ") && ContainsSubstring("zero byte"));
    CHECK_THAT(parameters({{"hots", "db"}}), StartsWith("cenote: postgres.options.parameters = 'hots'") && ContainsSubstring("no keyword"));
    CHECK_THAT(parameters({{"", "db"}}), ContainsSubstring("no keyword"));
    CHECK_THAT(parameters({{"host\0"s, "db"}}), ContainsSubstring("no keyword"));
    CHECK_THAT(parameters({{"password", secret + "\0tail"s}}), StartsWith("cenote: postgres.options.parameters = 'password'") && ContainsSubstring("zero byte") && !ContainsSubstring(secret));
    CHECK_THAT(parameters({{"port", "0"}}), ContainsSubstring("options.port"));
    CHECK_THAT(parameters({{"port", "65536"}}), ContainsSubstring("options.port"));
    CHECK_THAT(parameters({{"port", "54x"}}), ContainsSubstring("options.port"));
    CHECK_THAT(parameters({{"host", "a,b,c"}, {"port", "1,2"}}), ContainsSubstring("2 ports"));
    CHECK_THAT(parameters({{"host", "a,b,c"}, {"hostaddr", "127.0.0.1"}}), ContainsSubstring("1 addresses"));
    CHECK(parameters({{"host", "a,b,c"}, {"port", "1"}}) == "nothing was wrong");
    CHECK_THAT(parameters({{"connect_timeout", "soon"}}), ContainsSubstring("options.connect_timeout"));
}

TEST_CASE("what the server says beside its answers reaches on_notice and never stderr") {
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        std::vector<std::string> heard;
        std::string written;
        pg::witness outside;
        {
            const process::captured errors{2};
            auto o = pg::options(conninfo);
            o.init = {"do $$ begin raise notice 'while opening'; end $$"};
            for (const bool listens : {true, false}) {
                if (listens) {
                    o.on_notice = [&](const postgres::notice& n) {
                        heard.push_back(std::string{n.severity} + " " + std::string{n.sqlstate} + " " + std::string{n.message});
                        throw std::runtime_error{"a listener that throws"};
                    };
                } else {
                    o.on_notice = nullptr;
                }
                postgres d{o};
                pg::opened c{d};
                d.execute(*c, "do $$ begin raise warning 'in execute'; end $$", pg::soon());
                (void)pg::run(c.handle(), "do $$ begin raise notice 'in libpq'; end $$");
                (void)pg::run(c.handle(), "do $$ begin raise info using errcode = '57P01', message = 'not the end'; end $$");
                REQUIRE(outside.terminate(c.pid()));
                CHECK(pg::error_of([&] { d.ping(*c, pg::soon()); }));
            }
            postgres wrong{pg::options(conninfo, {{"dbname", "no such database"}})};
            CHECK(pg::error_of([&] { pg::opened{wrong}; }));
            written = errors.text();
        }
        CHECK(written.empty());
        CAPTURE(heard);
        REQUIRE(heard.size() >= 4);
        CHECK(heard[0] == "NOTICE 00000 while opening");
        CHECK(heard[1] == "WARNING 01000 in execute");
        CHECK(heard[2] == "NOTICE 00000 in libpq");
        CHECK(heard[3] == "INFO 57P01 not the end");
    }
}

TEST_CASE("options.init runs on every connection, statement by statement, and one that fails fails the opening") {
    auto o = pg::options(servers::postgres().unix_socket);
    o.init = {"set search_path = pg_catalog", "set work_mem = '123kB'"};
    {
        postgres d{o};
        pg::opened c{d};
        CHECK(pg::ask(c.handle(), "show search_path") == "pg_catalog");
        CHECK(pg::ask(c.handle(), "show work_mem") == "123kB");
        (void)pg::run(c.handle(), "set work_mem = '1MB'");
        d.reset(*c, pg::soon());
        CHECK(pg::ask(c.handle(), "show work_mem") == "123kB");
        CHECK(PQisnonblocking(c.handle()) == 0);
    }
    const auto failure = [&](std::vector<std::string> init) {
        auto other = o;
        other.init = std::move(init);
        postgres d{other};
        return pg::error_of([&] { pg::opened{d}; });
    };
    const auto unknown = failure({"select 1", "set no_such_thing = 1"});
    REQUIRE(unknown);
    CHECK(unknown->sqlstate() == "42704");
    CHECK_THAT(unknown->what(), ContainsSubstring("options.init failed: unrecognized configuration parameter"));
    const auto two = failure({"select 1; select 2"});
    REQUIRE(two);
    CHECK(two->sqlstate() == "42601");
    const auto open = failure({"begin"});
    REQUIRE(open);
    CHECK_THAT(open->what(), ContainsSubstring("leaves a transaction open"));
    const auto copy = failure({"copy (select 1) to stdout"});
    REQUIRE(copy);
    CHECK_THAT(copy->what(), ContainsSubstring("COPY"));
    const auto suicide = failure({"select pg_terminate_backend(pg_backend_pid())"});
    REQUIRE(suicide);
    CHECK(suicide->kind() == error_class::disconnected);
    CHECK(suicide->sqlstate() == "57P01");
    CHECK_FALSE(failure({"select generate_series(1, 100000)"}));
}
