// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// Transactions that are cut at every point, errors by one name on both servers, and kept statements whose tables change: what the session
// on top promises for any driver.
#include <fault/support/load.hpp>

#include <cenote/session/session.hpp>
#include <cenote/testing/fault_proxy.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

using namespace fault;
using cenote::condition;
using cenote::error_class;
using cenote::testing::direction;
using cenote::testing::ending;

namespace {

constexpr unsigned size = 2;
constexpr cenote::backoff quick{.first = 5ms, .max = 40ms};

/// As its user reaches it, by the port given, with statements kept.
template <class Server>
typename Server::driver to(unsigned port) {
    if constexpr (is_mysql<Server>) {
        auto o = mysql_tests::by_tcp();
        o.port = port;
        o.statement_cache = 8;
        o.cancel_time = 5s; // machines that run tests may be busy
        return typename Server::driver{o};
    } else {
        const std::string host = cenote::testing::fault_proxy::host;
        auto o = pg::options(servers::postgres().tcp, {{"host", host}, {"port", std::to_string(port)}});
        o.statement_cache = 8;
        o.cancel_time = 5s;
        return typename Server::driver{o};
    }
}
template <class Server>
unsigned port() {
    if constexpr (is_mysql<Server>) return servers::mysql().port;
    else return servers::postgres().port;
}
/// Where the proxy finds it: PostgreSQL by its socket, where it wants no password, which would take ten times as long as all else.
template <class Server>
cenote::testing::fault_proxy proxy() {
    if constexpr (is_mysql<Server>) {
        return {cenote::testing::fault_proxy::host, port<Server>()};
    } else {
        const auto folder = std::filesystem::path{servers::postgres().data}.parent_path();
        return cenote::testing::fault_proxy{(folder / (".s.PGSQL." + std::to_string(port<Server>()))).string()};
    }
}

/// The placeholder of a statement's i-th value.
template <class Server>
std::string n(int i) {
    return is_mysql<Server> ? "?" : "$" + std::to_string(i);
}
/// A table's name, as its user says it; who does not use that database must say more.
std::string own(std::string_view what) { return "tx_" + std::string{what} + "_" + std::to_string(::getpid()); }

template <class Server>
class overseer : public admin<Server> {
public:
    overseer() : admin<Server>{" dbname=cenote"} {}
    [[nodiscard]] static std::string full(const std::string& table) {
        return is_mysql<Server> ? servers::mysql().database + "." + table : table;
    }
    [[nodiscard]] bool knows(std::uint64_t session) {
        const std::string all = is_mysql<Server> ? "information_schema.processlist where id = " : "pg_stat_activity where pid = ";
        return this->ask("select count(*) from " + all + std::to_string(session)) != "0";
    }
    void end(std::uint64_t session) {
        const std::string it = std::to_string(session);
        this->run(is_mysql<Server> ? "kill connection " + it : "select pg_terminate_backend(" + it + ")");
        if (!becomes([&] { return !knows(session); })) throw std::runtime_error{"a session does not end"};
    }
    [[nodiscard]] bool there(const std::string& table, std::int64_t id) {
        return this->ask("select count(*) from " + full(table) + " where id = " + std::to_string(id)) == "1";
    }
    [[nodiscard]] bool is_free(const std::string& table) {
        try {
            (void)this->ask("select n from " + full(table) + " where id = 0 for update nowait");
            return true;
        } catch (const std::exception&) {
            return false;
        }
    }
};

enum class step : unsigned char { begin, statement, commit };
enum class moment : unsigned char { before, sent, arrived };
enum class told : unsigned char { committed, failed, unknown, something_else };

constexpr std::array<std::string_view, 3> steps{"begin", "a statement", "commit"};
constexpr std::array<std::string_view, 3> moments{"before it is sent", "after it was sent, before the server has it", "before its answer"};

template <class Pool, class F>
told outcome_of(Pool& db, F&& f) {
    try {
        db.transaction(f, {.attempts = 3}); // none of this is a race that was lost
        return told::committed;
    } catch (const cenote::driver_error& e) {
        return e.kind() == error_class::disconnected && e.met() == condition::disconnected ? told::failed : told::something_else;
    } catch (const cenote::error& e) {
        return e.code() == cenote::errc::outcome_unknown ? told::unknown : told::something_else;
    }
}

} // namespace

TEMPLATE_TEST_CASE("a transaction that is cut, wherever that is, leaves nothing behind and says truly what became of it", "[alone]",
                   postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const std::string table = own("cut");
    cenote::testing::fault_proxy net = proxy<server>();
    cenote::pool db{to<server>(net.port()), cenote::bounded{.max = size}, quick};
    overseer<server> outside;
    db.exec("create table " + table + " (id bigint primary key, n int)");
    db.exec("insert into " + table + " values (0, 0)");
    std::int64_t id = 0;
    unsigned calls = 0;
    bool worked = false;
    std::uint64_t session = 0;
    const auto ready = [&] {
        net.heal();
        const auto lease = db.acquire(); // the one that is taken next
        session = server::driver::session_number(*lease);
    };
    /// The transaction; `strike` hears which step comes next.
    const auto run = [&](auto strike) {
        ++id;
        calls = 0;
        worked = false;
        strike(step::begin);
        return outcome_of(db, [&](auto& t) {
            ++calls;
            t.exec("update " + table + " set n = n + 1 where id = 0");
            strike(step::statement);
            t.exec("insert into " + table + " values (" + n<server>(1) + ", 0)", id);
            strike(step::commit);
            worked = true;
        });
    };
    /// Nothing is held any more, nowhere.
    const auto is_whole = [&](told what) {
        net.heal();
        CHECK(db.stats().used == 0);
        if (what != told::committed) CHECK(becomes([&] { return !outside.knows(session); }));
        CHECK(outside.is_free(table));
    };

    unsigned early = 0, early_unknown = 0;
    for (const step at : {step::begin, step::statement, step::commit}) {
        for (const moment when : {moment::before, moment::sent, moment::arrived}) {
            for (const ending how : {ending::fin, ending::reset}) {
                INFO(steps[static_cast<std::size_t>(at)] << " is cut " << moments[static_cast<std::size_t>(when)]
                                                         << (how == ending::fin ? ", in order" : ", by a reset"));
                ready();
                const told what = run([&](step now) {
                    if (now != at) return;
                    if (when == moment::sent) net.cut_after(0, direction::to_server, how);
                    else if (when == moment::arrived) net.cut_after(0, direction::to_client, how);
                    else if (how == ending::fin) net.close();
                    else net.reset();
                });
                is_whole(what);
                CHECK(calls == (at == step::begin ? 0 : 1));
                CHECK(worked == (at == step::commit));
                CHECK(outside.there(table, id) == (at == step::commit && when == moment::arrived));
                if (at != step::commit) {
                    CHECK(what == told::failed);
                } else if (when != moment::before) {
                    CHECK(what == told::unknown);
                } else { // whether anything was sent, the client library need not say: but it was not committed
                    CHECK((what == told::failed || what == told::unknown));
                    ++early;
                    if (what == told::unknown) ++early_unknown;
                }
                CHECK(short_of<server>(db, size) == "");
            }
        }
    }

    // What is known to have failed is told so, though the connection is lost.
    ready();
    {
        auto t = cenote::session{db.acquire()}.begin();
        net.reset();
        CHECK_THROWS_AS(t.exec("update " + table + " set n = n + 1 where id = 0"), cenote::driver_error);
        try {
            t.commit(); // of which nothing can have been sent
            CHECK(false);
        } catch (const cenote::driver_error& e) {
            CHECK(e.kind() == error_class::disconnected);
        }
    }
    is_whole(told::failed);
    ready();
    CHECK(outcome_of(db, [&](auto& t) {
              t.exec("insert into " + table + " values (" + n<server>(1) + ", 0)", ++id);
              outside.end(session);
              t.exec("update " + table + " set n = n + 1 where id = 0");
          }) == told::failed);
    CHECK_FALSE(outside.there(table, id));
    is_whole(told::failed);

    // After each byte there is, or each few: CENOTE_CUT_STEP.
    const std::size_t stride = number_from("CENOTE_CUT_STEP", 5);
    std::array<std::size_t, 4> outcomes{};
    std::size_t lies = 0, unknown_committed = 0;
    for (const direction where : {direction::to_server, direction::to_client}) {
        for (const ending how : {ending::fin, ending::reset}) {
            bool whole = false;
            for (std::uint64_t bytes = 0; !whole && bytes < 2000; bytes += stride) {
                CAPTURE(where, how, bytes);
                ready();
                net.cut_after(bytes, where, how);
                const told what = run([](step) {});
                is_whole(what);
                const bool there = outside.there(table, id);
                ++outcomes[static_cast<std::size_t>(what)];
                if (what == told::committed ? !there : what != told::unknown && there) ++lies;
                if (what == told::unknown && there) ++unknown_committed;
                CHECK(what != told::something_else);
                CHECK((what == told::failed || worked)); // before the commit everything is known
                CHECK(calls <= 1);
                whole = what == told::committed;
            }
            CHECK(whole);
        }
    }
    CHECK(lies == 0);
    CHECK(unknown_committed > 0);
    net.heal();
    db.invalidate_all(); // one may have been cut behind its commit; who uses it within the next 500 ms is not spared that
    CHECK(short_of<server>(db, size) == "");
    db.exec("drop table " + table);
    const auto of = [&](told what) { return std::to_string(outcomes[static_cast<std::size_t>(what)]); };
    tell("cut transactions", std::string{server::name} + ", after every " + std::to_string(stride) + " bytes in both directions: " + of(told::failed) +
                                 " failed, " + of(told::unknown) + " unknown, of which " + std::to_string(unknown_committed) + " were committed, " +
                                 of(told::committed) + " committed, " + std::to_string(lies) + " told wrongly; of those cut just before commit " +
                                 std::to_string(early_unknown) + " of " + std::to_string(early) + " unknown");
}

TEMPLATE_TEST_CASE("what a statement met has the same name on both servers", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    const std::string table = own("met"), parent = own("parent");
    cenote::pool db{[] {
                        if constexpr (is_mysql<server>) {
                            return to<server>(port<server>());
                        } else { // who may have deadlocks found soon
                            auto o = pg::options(servers::postgres().admin + " dbname=cenote");
                            o.init = {"set deadlock_timeout = 10"};
                            o.statement_cache = 8;
                            o.cancel_time = 5s;
                            return cenote::postgres{o};
                        }
                    }(),
                    cenote::bounded{.max = size}, quick};
    overseer<server> outside;
    db.exec("create table " + parent + " (id bigint primary key)");
    db.exec("create table " + table + " (id int primary key, n int not null, p bigint, check (n >= 0), foreign key (p) references " + parent +
            " (id))");
    db.exec("insert into " + table + " values (0, 0, null), (1, 1, null)");
    const std::string insert = "insert into " + table + " values (" + n<server>(1) + ", " + n<server>(2) + ", " + n<server>(3) + ")";
    const std::string touch = "update " + table + " set n = n + 1 where id = " + n<server>(1);
    constexpr std::nullptr_t null = nullptr;

    // As a program would: it decides by a switch, whatever database it talks to.
    enum class deed : unsigned char { ask_user, run_again, wait_longer, mend_program, connect_again, go_elsewhere, none };
    const auto deed_for = [](condition c) {
        switch (c) {
        case condition::unique_violation:
        case condition::foreign_key_violation:
        case condition::not_null_violation:
        case condition::check_violation:
        case condition::exclusion_violation:
        case condition::data_error: return deed::ask_user;
        case condition::serialization_failure:
        case condition::deadlock: return deed::run_again;
        case condition::lock_timeout:
        case condition::statement_timeout: return deed::wait_longer;
        case condition::syntax_error:
        case condition::undefined_object:
        case condition::duplicate_object:
        case condition::permission_denied: return deed::mend_program;
        case condition::disconnected: return deed::connect_again;
        case condition::read_only: return deed::go_elsewhere;
        case condition::cancelled:
        case condition::none: break;
        }
        return deed::none;
    };
    const auto meets = [&](condition wanted, deed then, auto f) {
        INFO(to_string(wanted));
        std::optional<condition> met;
        try {
            f();
        } catch (const cenote::driver_error& e) {
            INFO(e.what());
            met = e.met();
            CHECK(to_string(e.met()) == to_string(wanted));
            CHECK(deed_for(e.met()) == then);
        }
        CHECK(met.has_value());
    };

    cenote::session s{db.acquire()};
    const auto alone = [&](condition wanted, deed then, auto f) {
        for (int twice = 0; twice < 2; ++twice) { // what is kept says the same
            meets(wanted, then, [&] { f(s); });
            CHECK(s.template scalar<int>("select 1") == 1);
        }
    };
    alone(condition::unique_violation, deed::ask_user, [&](auto& at) { at.exec(insert, 1, 1, null); });
    alone(condition::foreign_key_violation, deed::ask_user, [&](auto& at) { at.exec(insert, 2, 1, 77); });
    alone(condition::not_null_violation, deed::ask_user, [&](auto& at) { at.exec(insert, 2, null, null); });
    alone(condition::check_violation, deed::ask_user, [&](auto& at) { at.exec(insert, 2, -1, null); });
    alone(condition::data_error, deed::ask_user, [&](auto& at) { at.exec("insert into " + table + " values (2, 99999999999, null)"); });
    alone(condition::syntax_error, deed::mend_program, [&](auto& at) { at.exec("selec 1"); });
    alone(condition::undefined_object, deed::mend_program, [&](auto& at) { at.exec("select * from nowhere"); });
    alone(condition::undefined_object, deed::mend_program, [&](auto& at) { at.exec("select nothing from " + table); });
    alone(condition::duplicate_object, deed::mend_program, [&](auto& at) { at.exec("create table " + table + " (id int)"); });
    const std::string sleeps = is_mysql<server> ? "select sleep(20)" : "select pg_sleep(20)";
    alone(condition::statement_timeout, deed::wait_longer, [&](auto& at) { at.within(20ms).exec(sleeps); });

    using options = cenote::transaction_options;
    const auto in = [](auto& session, const options& o, auto f) {
        auto t = std::move(session).begin(o);
        try {
            f(t);
        } catch (...) {
            session = t.rollback();
            throw;
        }
        session = t.rollback();
    };
    meets(condition::read_only, deed::go_elsewhere, [&] {
        in(s, {.mode = options::access::read_only}, [&](auto& t) { t.exec(insert, 2, 1, null); });
    });

    cenote::session other{db.acquire()};
    {
        auto holds = std::move(other).begin();
        holds.exec(touch, 0);
        const std::string locks = "select n from " + table + " where id = 0 for update nowait";
        alone(condition::lock_timeout, deed::wait_longer, [&](auto& at) { at.exec(locks); });
        other = holds.rollback();
    }
    meets(condition::deadlock, deed::run_again, [&] {
        auto a = std::move(s).begin();
        auto b = std::move(other).begin();
        a.exec(touch, 0);
        b.exec(touch, 1);
        std::optional<cenote::driver_error> in_a, in_b;
        const auto crosses = [&](auto& t, int row, auto& to) {
            try {
                t.exec(touch, row);
            } catch (const cenote::driver_error& e) {
                to = e;
            }
        };
        std::thread beside{[&] {
            crosses(a, 1, in_a);
            s = a.rollback(); // lets the other one go on
        }};
        crosses(b, 0, in_b);
        other = b.rollback();
        beside.join();
        CHECK(in_a.has_value() != in_b.has_value());
        if (in_a) throw *in_a;
        if (in_b) throw *in_b;
    });
    bool has_lost_races = true;
    if constexpr (is_mysql<server>) { // MariaDB's, where they are an error at all
        try {
            s.exec("set session innodb_snapshot_isolation = on");
        } catch (const cenote::driver_error&) {
            has_lost_races = false;
        }
    }
    if (has_lost_races) {
        meets(condition::serialization_failure, deed::run_again, [&] {
            in(s, {.isolation = options::level::repeatable_read}, [&](auto& t) {
                (void)t.query("select n from " + table);
                other.exec(touch, 0);
                t.exec(touch, 0);
            });
        });
    }
    CHECK(s.template scalar<int>("select 1") == 1);
    meets(condition::disconnected, deed::connect_again, [&] {
        outside.end(server::driver::session_number(*s.lease()));
        s.exec(touch, 0);
    });
    meets(condition::disconnected, deed::connect_again, [&] { s.exec(touch, 0); });
    s.give_back();
    other.give_back();
    CHECK(short_of<server>(db, size) == "");
    db.exec("drop table " + table);
    db.exec("drop table " + parent);
}

TEMPLATE_TEST_CASE("kept statements of pooled sessions outlive what changes under them", "[alone]", postgres_server, mysql_server) {
    using server = TestType;
    server::ensure();
    overseer<server> outside;
    const auto survives = [&](auto& db, const std::string& table, bool resets) {
        INFO((resets ? "with a reset between leases" : "without a reset between leases"));
        const std::string full = overseer<server>::full(table);
        db.exec("create table " + table + " (id bigint primary key)");
        const std::string all = "select * from " + table + " where id >= " + n<server>(1);
        const std::string insert = "insert into " + table + " (id) values (" + n<server>(1) + ")";
        std::uint64_t session = 0;
        std::int64_t rows = 0;
        const auto columns = [&] { // of the kept statement; another one that writes is kept beside it, and runs once
            cenote::session s{db.acquire()};
            const std::uint64_t now = server::driver::session_number(*s.lease());
            CHECK((session == 0 || session == now));
            session = now;
            CHECK(s.exec(insert, ++rows) == 1);
            const cenote::result got = s.query(all, 0);
            CHECK(static_cast<std::int64_t>(got.size()) == rows);
            return got.columns();
        };
        CHECK(columns() == 1);
        CHECK(columns() == 1);
        outside.run("alter table " + full + " add column m int");
        CHECK(columns() == 2);
        CHECK(columns() == 2);
        outside.run("alter table " + full + (is_mysql<server> ? " modify m varchar(20)" : " alter m type text"));
        CHECK(columns() == 2);
        outside.run("alter table " + full + " drop column m");
        CHECK(columns() == 1);
        { // on the same lease, too, and in a transaction that hears of it in time
            cenote::session s{db.acquire()};
            CHECK(s.query(all, 0).columns() == 1);
            outside.run("alter table " + full + " add column k int");
            CHECK(s.query(all, 0).columns() == 2);
            auto t = std::move(s).begin();
            CHECK(t.query(all, 0).columns() == 2);
            t.commit();
        }
        outside.run("drop table " + full);
        db.exec("create table " + table + " (id bigint primary key, a int, b int)");
        rows = 0;
        CHECK(columns() == 3);
        CHECK(db.stats().total == 1);
        db.exec("drop table " + table);
    };
    {
        cenote::pool usual{to<server>(port<server>()), cenote::bounded{.max = 1}, quick};
        survives(usual, own("kept"), false);
    }
    cenote::pool scrubbed{to<server>(port<server>()), cenote::bounded{.max = 1}, quick, cenote::deferred<cenote::reset_always>{}};
    survives(scrubbed, own("reset"), true);
}
