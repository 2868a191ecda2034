// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/drivers/postgres.hpp>
#include <cenote/pool.hpp>

#include <server/support/fake_server.hpp>
#include <server/support/postgres.hpp>
#include <server/support/process.hpp>
#include <server/support/punctuality.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>

using namespace std::chrono_literals;
using cenote::deadline;
using cenote::driver_error;
using cenote::error_class;
using cenote::postgres;
using cenote::server_role;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

namespace {

/// Why it cannot be connected to; fails the test if it can.
driver_error failure(const postgres::options& o, cenote::duration within = 20s) {
    postgres d{o};
    auto e = pg::error_of([&] { pg::opened{d, d.open(deadline::in(within))}; });
    REQUIRE(e);
    CHECK_THAT(e->what(), StartsWith("postgres: cannot connect: ") && !ContainsSubstring("\n"));
    return *std::move(e);
}
driver_error failure(const std::string& conninfo, pg::settings more = {}) { return failure(pg::options(conninfo, std::move(more))); }

/// A port that nobody listens on: one that somebody had until just now.
std::string free_port() { return std::to_string(fake_server{[](auto&) {}}.port()); }

std::string port_in(const std::string& conninfo) {
    const std::size_t at = conninfo.find("port=") + 5;
    return conninfo.substr(at, conninfo.find(' ', at) - at);
}

fake_server answering(std::string bytes) {
    return fake_server{[bytes](auto& peer) {
        if (wire::begin(peer)) peer.send(bytes);
    }};
}

} // namespace

TEST_CASE("a wrong password is told from the rest, with its SQLSTATE") {
    const auto& s = servers::postgres();
    const auto e = failure(s.tcp, {{"password", "wrong-password"}});
    CHECK(e.kind() == error_class::auth);
    CHECK(e.sqlstate() == "28P01");
    CHECK_THAT(e.what(), ContainsSubstring("password authentication failed for user \"cenote\"") && !ContainsSubstring("28P01") && !ContainsSubstring("LOCATION"));
    CHECK_FALSE(is_retryable(e.kind()));
    const auto tls = failure(s.tls, {{"password", "wrong-password"}});
    CHECK(tls.kind() == error_class::auth);
    CHECK(tls.sqlstate() == "28P01");
    const auto prefer = failure(s.tcp, {{"password", "wrong-password"}, {"sslmode", "prefer"}}); // libpq tries twice
    CHECK(prefer.sqlstate() == "28P01");
    const auto none = failure(s.tcp, {{"password", ""}, {"passfile", "/nonexistent"}});
    CHECK(none.kind() == error_class::auth);
    CHECK_THAT(none.what(), ContainsSubstring("no password supplied"));
    const auto nobody = failure(s.unix_socket, {{"user", "no such user"}});
    CHECK(nobody.kind() == error_class::auth);
    CHECK(nobody.sqlstate() == "28000");
}

TEST_CASE("an unknown database is told from the rest, with its SQLSTATE") {
    for (const auto& [name, conninfo] : pg::transports()) {
        const auto e = failure(conninfo, {{"dbname", "no such database"}});
        CHECK(e.kind() == error_class::other);
        CHECK(e.sqlstate() == "3D000");
        CHECK_THAT(e.what(), ContainsSubstring("database \"no such database\" does not exist"));
    }
}

TEST_CASE("a port that nobody listens on, a socket that is not there and an unknown host refuse") {
    const auto port = failure("host=127.0.0.1 user=u dbname=d port=" + free_port());
    CHECK(port.kind() == error_class::refused);
    CHECK_THAT(port.what(), ContainsSubstring("Connection refused"));
    const auto socket = failure("host=/nonexistent user=u dbname=d");
    CHECK(socket.kind() == error_class::refused);
    CHECK_THAT(socket.what(), ContainsSubstring("/nonexistent") && ContainsSubstring("No such file"));
    const auto host = failure("host=no-such-host.invalid user=u dbname=d");
    CHECK(host.kind() == error_class::refused);
    CHECK_THAT(host.what(), ContainsSubstring("no-such-host.invalid"));
}

TEST_CASE("a server that has no session left says so") {
    pg::witness outside;
    const std::string role = "limited_" + std::to_string(::getpid());
    outside.run("create role " + role + " login password 'pw' connection limit 1");
    const auto there = pg::options(servers::postgres().tcp, {{"user", role}, {"password", "pw"}});
    {
        postgres d{there};
        pg::opened only{d};
        const auto e = failure(there);
        CHECK(e.kind() == error_class::server_full);
        CHECK(e.sqlstate() == "53300");
        CHECK_THAT(e.what(), ContainsSubstring("too many connections"));
        CHECK(is_retryable(e.kind()));
        cenote::pool db{postgres{there}};
        cenote::failure why;
        CHECK(pg::becomes([&] { return !db.acquire(50ms, why) && why.seen && why.seen->last_connect_error.sqlstate == "53300"; }));
        CHECK(why.seen->last_connect_error.kind == error_class::server_full);
    }
    CHECK(pg::becomes([&] { return outside.ask("select count(*) from pg_stat_activity where usename = '" + role + "'") == "0"; }));
    outside.run("drop role " + role);
}

TEST_CASE("a server that is starting, one that turns us away and one that hangs up are told apart") {
    const auto starting = answering(wire::error("57P03", "the database system is starting up"));
    const auto e = failure(starting.conninfo());
    CHECK(e.kind() == error_class::not_ready);
    CHECK(e.sqlstate() == "57P03");
    CHECK(is_retryable(e.kind()));
    const auto full = answering(wire::error("53300", "sorry, too many clients already"));
    CHECK(failure(full.conninfo()).kind() == error_class::server_full);
    const auto local = answering(wire::report('E', "FATAL", "28P01", "Passwort-Authentifizierung schlug fehl"));
    CHECK(failure(local.conninfo()).kind() == error_class::auth);
    const auto hangs_up = answering("");
    CHECK(failure(hangs_up.conninfo()).kind() == error_class::disconnected);
    const auto garbage = answering("HTTP/1.1 400 Bad Request\r\n\r\n");
    CHECK_FALSE(failure(garbage.conninfo()).kind() == error_class::auth);
    const auto bomb = answering("R\x7f\xff\xff\xff");
    (void)failure(bomb.conninfo());
    const auto half = answering(wire::welcome().substr(0, 20));
    CHECK(failure(half.conninfo()).kind() == error_class::disconnected);
    const auto pooler = answering(wire::message('E', std::string{"SFATAL\0VFATAL\0Mquery_wait_timeout\0", 34} + '\0')); // without a SQLSTATE
    CHECK(failure(pooler.conninfo()).kind() == error_class::server_full);
}

TEST_CASE("opening fails in good order wherever the server breaks off") {
    const std::string all = wire::welcome();
    for (std::size_t n = 0; n < all.size(); ++n) {
        const auto broken = answering(all.substr(0, n));
        postgres d{broken.conninfo()};
        const auto e = pg::error_of([&] { pg::opened{d, d.open(deadline::in(5s))}; });
        INFO(n << " bytes of " << all.size());
        REQUIRE(e);
        CHECK(e->kind() == error_class::disconnected);
    }
}

TEST_CASE("TLS that is required and refused, or not to be trusted, is an error that trying again does not mend") {
    const auto plain = answering(wire::welcome());
    const auto refused = failure(plain.conninfo(), {{"sslmode", "require"}});
    CHECK(refused.kind() == error_class::other);
    CHECK_THAT(refused.what(), ContainsSubstring("SSL"));
    const process::secret_file stranger{R"(-----BEGIN CERTIFICATE-----
MIIBhzCCAS2gAwIBAgIUC/MYC9ojognE1YgebX/S53bkTZowCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNc29tZWJvZHkgZWxzZTAgFw0yNjExMjAwOTQ5NTNaGA8yMTI2
MTAyNzA5NDk1M1owGDEWMBQGA1UEAwwNc29tZWJvZHkgZWxzZTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABKYp93s52WL49D0wpfUfxpTBQpc/yP62c3vChCTr1iOH
cmKO14OgZvpqW/7Ut37B3PR1GoipihTMu+7eHqQ3uEGjUzBRMB0GA1UdDgQWBBTK
KZb/tSHaG4BskJGA6vb50o6TyjAfBgNVHSMEGDAWgBTKKZb/tSHaG4BskJGA6vb5
0o6TyjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIAoI6Rgm2Z3d
G9fVIohmbANJS/oQ8MApTWgwIDuK/6/JAiEAn8koi7u9B3kMO6dsW6Mi/9+oZhKQ
GOOOa/o3gYF0+tE=
-----END CERTIFICATE-----
)"};
    const auto untrusted = failure(servers::postgres().tls, {{"sslrootcert", stranger.path()}});
    CHECK(untrusted.kind() == error_class::other);
    CHECK_THAT(untrusted.what(), ContainsSubstring("certificate verify failed"));
    const auto missing = failure(servers::postgres().tls, {{"sslrootcert", "/nonexistent"}});
    CHECK(missing.kind() == error_class::other);
    CHECK_THAT(missing.what(), ContainsSubstring("/nonexistent"));
    postgres d{pg::options(servers::postgres().tls, {{"sslmode", "verify-full"}})};
    CHECK(pg::ask(pg::opened{d}.handle(), "select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "t");
}

TEST_CASE("of a primary and a standby, the one that is asked for is found in any order") {
    const auto& s = servers::postgres();
    const std::string primary = std::to_string(s.port), standby = port_in(s.standby);
    const auto role_of = [&](const std::string& ports, const std::string& attrs) {
        postgres d{pg::options(s.tcp, {{"host", "127.0.0.1,127.0.0.1"}, {"port", ports}, {"target_session_attrs", attrs}})};
        pg::opened c{d};
        const server_role r = d.role(*c, pg::soon());
        CHECK((pg::ask(c.handle(), "select pg_is_in_recovery()") == "t") == (r == server_role::standby));
        return r;
    };
    for (const std::string& ports : {primary + "," + standby, standby + "," + primary}) {
        INFO(ports);
        CHECK(role_of(ports, "read-write") == server_role::primary);
        CHECK(role_of(ports, "primary") == server_role::primary);
        CHECK(role_of(ports, "read-only") == server_role::standby);
        CHECK(role_of(ports, "standby") == server_role::standby);
        CHECK(role_of(ports, "prefer-standby") == server_role::standby);
        CHECK(role_of(ports, "any") == (ports.starts_with(primary) ? server_role::primary : server_role::standby));
    }
    CHECK(role_of(primary + "," + free_port(), "prefer-standby") == server_role::primary);
    CHECK(role_of(free_port() + "," + primary, "prefer-standby") == server_role::primary);
    CHECK(role_of(primary + "," + primary, "prefer-standby") == server_role::primary);
}

TEST_CASE("the environment may say which server is wanted, and how long to wait for each") {
    const auto& s = servers::postgres();
    const std::string primary = std::to_string(s.port), standby = port_in(s.standby);
    for (const char* attrs : {"prefer-standby", "standby", "read-only"}) {
        INFO(attrs);
        const pg::variable v{"PGTARGETSESSIONATTRS", attrs};
        postgres d{pg::options(s.tcp, {{"host", "127.0.0.1,127.0.0.1"}, {"port", primary + "," + standby}})};
        CHECK(pg::ask(pg::opened{d}.handle(), "select pg_is_in_recovery()") == "t");
    }
    const pg::variable v{"PGTARGETSESSIONATTRS", "standby"};
    CHECK(failure(s.tcp).kind() == error_class::wrong_role);
    CHECK(pg::ask(pg::opened{*std::make_unique<postgres>(pg::options(s.tcp, {{"target_session_attrs", "any"}}))}.handle(), "select 1") == "1");
    fake_server silent{[](auto& peer) { peer.linger(); }};
    const pg::variable seconds{"PGCONNECT_TIMEOUT", "1"};
    testing_support::punctuality seen;
    seen.measure(1s, 200ms, [&](deadline) { CHECK(failure(silent.conninfo()).kind() == error_class::timeout); });
    INFO(seen.text());
    CHECK(seen.late == 0);
    CHECK(seen.early == 0);
}

TEST_CASE("a server of the wrong role is told from one that is not there") {
    const auto& s = servers::postgres();
    for (const auto& [conninfo, attrs] : std::vector<std::pair<std::string, std::string>>{
             {s.tcp, "standby"}, {s.tcp, "read-only"}, {s.tls, "standby"}, {s.unix_socket, "standby"}, {s.standby, "primary"}, {s.standby, "read-write"}}) {
        INFO(attrs);
        const auto e = failure(conninfo, {{"target_session_attrs", attrs}});
        CHECK(e.kind() == error_class::wrong_role);
        CHECK(is_retryable(e.kind()));
    }
    const auto both = failure(s.tcp, {{"host", "127.0.0.1,127.0.0.1"}, {"port", free_port() + "," + std::to_string(s.port)}, {"target_session_attrs", "standby"}});
    CHECK(is_retryable(both.kind()));
    CHECK_THAT(both.what(), ContainsSubstring("Connection refused") && ContainsSubstring("; "));
}

TEST_CASE("role says primary or standby, and a session that may not write counts as standby") {
    const auto& s = servers::postgres();
    postgres primary{s.tcp}, standby{s.standby};
    pg::opened a{primary}, b{standby};
    CHECK(primary.role(*a, pg::soon()) == server_role::primary);
    CHECK(standby.role(*b, pg::soon()) == server_role::standby);
    primary.execute(*a, "set default_transaction_read_only = on", pg::soon());
    CHECK(primary.role(*a, pg::soon()) == server_role::standby);
    primary.reset(*a, pg::soon());
    CHECK(primary.role(*a, pg::soon()) == server_role::primary);
    const auto e = pg::error_of([&] { standby.execute(*b, "create table t (x int)", pg::soon()); });
    REQUIRE(e);
    CHECK(e->kind() == error_class::wrong_role);
    CHECK(e->sqlstate() == "25006");
    CHECK(standby.state(*b) == cenote::session_state::idle);
}

TEST_CASE("a first host that is dead, or accepts and says nothing, does not keep the second from being reached") {
    const auto& s = servers::postgres();
    fake_server silent{[](auto& peer) { peer.linger(); }};
    fake_server talker{[](auto& peer) {
        if (!wire::begin(peer) || !peer.send(wire::authentication_ok())) return;
        while (peer.send(wire::parameter("a", "b"))) {}
    }};
    const auto opens = [&](const std::string& hosts, const std::string& ports, cenote::duration within) {
        postgres d{pg::options(s.tcp, {{"host", hosts}, {"port", ports}})};
        return pg::ask(pg::opened{d, d.open(deadline::in(within))}.handle(), "select 1") == "1";
    };
    const std::string real = std::to_string(s.port), mute = std::to_string(silent.port());
    CHECK(opens("127.0.0.1,127.0.0.1", free_port() + "," + real, 800ms));
    CHECK(opens("127.0.0.1,127.0.0.1", mute + "," + real, 800ms));
    CHECK(opens("127.0.0.1,127.0.0.1", std::to_string(talker.port()) + "," + real, 800ms));
    CHECK(opens("127.0.0.1,127.0.0.1,127.0.0.1", mute + "," + mute + "," + real, 1200ms));
    CHECK(opens("/nonexistent,127.0.0.1", real, 800ms));
    CHECK(opens("no-such-host.invalid,127.0.0.1", real, 5s));
    CHECK(silent.accepted() == 3);
    const auto e = failure(pg::options(s.tcp, {{"host", "127.0.0.1,127.0.0.1"}, {"port", free_port() + "," + mute}}), 200ms);
    CHECK(e.kind() == error_class::refused);
    CHECK_THAT(e.what(), ContainsSubstring("Connection refused") && ContainsSubstring("; connection timeout"));
}

TEST_CASE("connect_timeout bounds each host, to the second and not rounded up", "[alone]") {
    fake_server silent{[](auto& peer) { peer.linger(); }};
    testing_support::punctuality seen;
    seen.measure(1s, 20ms, [&](deadline) { CHECK(failure(silent.conninfo(), {{"connect_timeout", "1"}}).kind() == error_class::timeout); });
    INFO(seen.text());
    CHECK(seen.early == 0);
    CHECK(seen.late == 0);
}

TEST_CASE("twenty connections are opened by one thread with one loop") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        const std::string session = pg::own_name();
        auto o = pg::options(conninfo, {{"application_name", session}});
        o.init = {"set work_mem = '123kB'"};
        postgres d{o};
        const deadline by = pg::soon();
        std::vector<decltype(d.dial(by))> under_way;
        std::vector<pg::opened> done;
        for (int i = 0; i < 20; ++i) under_way.push_back(d.dial(by));
        while (!under_way.empty()) {
            for (std::size_t i = 0; i < under_way.size();) {
                if (under_way[i].step()) {
                    done.emplace_back(d, under_way[i].take());
                    std::swap(under_way[i], under_way.back());
                    under_way.pop_back();
                } else {
                    ++i;
                }
            }
            std::vector<pollfd> all;
            deadline next = by;
            for (const auto& one : under_way) {
                all.push_back({one.descriptor(), static_cast<short>(one.want() == cenote::readiness::read ? POLLIN : POLLOUT), 0});
                next = next.sooner(one.until());
            }
            if (all.empty()) break;
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(next.remaining()).count();
            REQUIRE(::poll(all.data(), all.size(), static_cast<int>(left)) > 0);
        }
        CHECK(done.size() == 20);
        for (auto& c : done) CHECK(pg::ask(c.handle(), "show work_mem") == "123kB");
        CHECK(outside.sessions(session) == 20);
        done.clear();
        CHECK(pg::becomes([&] { return outside.sessions(session) == 0; }));
    }
}

TEST_CASE("a dialling that is given up at any of its steps leaves no session") {
    pg::witness outside;
    for (const auto& [name, conninfo] : pg::transports()) {
        INFO(name);
        const std::string session = pg::own_name();
        auto o = pg::options(conninfo, {{"application_name", session}});
        o.init = {"select pg_sleep(0.02)", "select pg_sleep(0.02)"}; // an answer that is there at once takes no step
        postgres d{o};
        const std::size_t before = process::descriptors();
        bool finished = false;
        int steps = 0;
        for (; !finished && steps < 100; ++steps) {
            auto dialling = d.dial(pg::soon());
            for (int i = 0; i < steps && !finished; ++i) {
                finished = dialling.step();
                if (!finished) (void)cenote::drivers::wait_ready(dialling.descriptor(), dialling.want(), dialling.until());
            }
        }
        CHECK(finished);
        CHECK(steps >= 3);
        CHECK(process::descriptors() == before);
        CHECK(pg::becomes([&] { return outside.sessions(session) == 0; }));
    }
}
