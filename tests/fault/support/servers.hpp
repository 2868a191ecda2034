// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <server/mysql/support.hpp>
#include <server/support/environment.hpp>
#include <server/support/postgres.hpp>
#include <server/support/process.hpp>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <csignal>
#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>

/// The throw-away servers, as something to be killed and started again.
namespace fault {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

template <class F>
[[nodiscard]] bool becomes(F holds, std::chrono::nanoseconds within = 20s) {
    for (const auto by = steady::now() + within; !holds();) {
        if (steady::now() > by) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

/// Runs a program to its end; throws unless it succeeds.
inline void run_program(std::vector<std::string> words) {
    std::vector<char*> arguments;
    for (auto& w : words) arguments.push_back(w.data());
    arguments.push_back(nullptr);
    pid_t child = -1;
    if (::posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0) throw std::runtime_error{"cannot run " + words[0]};
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw std::runtime_error{words[0] + " failed"};
}

inline pid_t pid_in(const std::string& path) {
    std::ifstream file{path};
    pid_t pid = 0;
    return file >> pid ? pid : 0;
}
/// Nothing runs there any more; its parent may not have asked after it yet.
inline bool is_gone(pid_t pid) {
    const char state = process::state_of(pid);
    return state == '\0' || state == 'Z' || state == 'X';
}
inline std::vector<pid_t> children_of(pid_t parent) {
    std::vector<pid_t> out;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != name.npos) continue;
        std::ifstream file{entry.path() / "stat"};
        std::string line;
        std::getline(file, line, '\0'); // throws nothing if it ends meanwhile
        const std::size_t end = line.rfind(") ");
        if (end != line.npos && line.size() > end + 4 && std::stol(line.substr(end + 4)) == parent) out.push_back(static_cast<pid_t>(std::stol(name)));
    }
    return out;
}
inline void await_end(const std::vector<pid_t>& pids) {
    if (!becomes([&] { return std::ranges::all_of(pids, is_gone); })) throw std::runtime_error{"a server's process does not end"};
}

/// Asks again and again until the server answers; when the question was put that it answered.
template <class Server>
steady::time_point await_answer() {
    steady::time_point asked;
    if (!becomes([&] {
            asked = steady::now();
            return Server::accepts();
        })) {
        throw std::runtime_error{"the server does not come back"};
    }
    return asked;
}

using row = std::vector<std::string>;

struct postgres_server {
    using driver = cenote::postgres;
    using handle = PGconn*;
    static constexpr std::string_view name = "PostgreSQL";

    static driver to(bool tcp, const std::string& own_name) {
        const auto& s = servers::postgres();
        return driver{pg::options(tcp ? s.tcp : s.unix_socket, {{"application_name", own_name}})};
    }
    static pid_t pid() { return pid_in(servers::postgres().data + "/postmaster.pid"); }
    static bool accepts() {
        const std::unique_ptr<PGconn, decltype(&PQfinish)> c{PQconnectdb(servers::postgres().admin.c_str()), &PQfinish};
        return PQstatus(c.get()) == CONNECTION_OK;
    }
    static void start() { run_program({servers::postgres().start}); }
    /// For a test before this one may have failed half-way.
    static void ensure() {
        if (is_gone(pid())) start();
        (void)await_answer<postgres_server>();
    }

    /// Kills it so that it begins anew, with all its sessions gone when this returns. Each time in another way: one of its processes is
    /// killed, and it restarts by itself; it is told to stop at once; or its first process is killed.
    static void crash(std::size_t turn) {
        const pid_t first = pid();
        const std::unique_ptr<PGconn, decltype(&PQfinish)> victim{PQconnectdb(servers::postgres().admin.c_str()), &PQfinish};
        std::vector<pid_t> all;
        {
            const process::stopped meanwhile{first}; // or it may begin another session
            all = children_of(first);
            ::kill(turn % 2 == 1 ? PQbackendPID(victim.get()) : first, turn % 2 == 1 || turn % 8 == 0 ? SIGKILL : SIGQUIT);
        }
        if (turn % 2 == 1) return await_end(all);
        all.push_back(first);
        await_end(all);
        // What it left behind names its process, which looks alive to the next one where nobody asks after the dead.
        const auto& s = servers::postgres();
        std::filesystem::remove(s.data + "/postmaster.pid");
        std::filesystem::remove(std::filesystem::path{s.data}.parent_path() / (".s.PGSQL." + std::to_string(s.port) + ".lock"));
        start();
    }

    static row ask(handle c, const std::string& sql) {
        const pg::result r = pg::run(c, sql.c_str());
        row out;
        for (int i = 0; PQntuples(r.get()) > 0 && i < PQnfields(r.get()); ++i) out.emplace_back(PQgetvalue(r.get(), 0, i));
        return out;
    }
    static std::string tag() { return "coalesce(current_setting('cenote.tag', true), '')"; }
    static std::string set_tag(const std::string& to) { return "select set_config('cenote.tag', '" + to + "', false)"; }
    static std::string pause(std::string_view seconds) { return "pg_sleep(" + std::string{seconds} + ")"; }
    /// Ends every session of the tests' role, and comes back when they are gone.
    static void end_sessions() {
        pg::witness outside;
        const std::string all = outside.ask("select coalesce(string_agg(pid::text, ' '), '') from pg_stat_activity where usename = 'cenote'");
        outside.run("select pg_terminate_backend(pid) from pg_stat_activity where pid = any(string_to_array('" + all + "', ' ')::int[])");
        std::istringstream in{all};
        await_end({std::istream_iterator<pid_t>{in}, std::istream_iterator<pid_t>{}}); // what is not listed any more may not be closed yet
    }
    /// How many sessions of this name there are. Not pg_stat_activity, whose joins take as long again.
    static std::string count(const std::string& own_name) { return "select count(*) from pg_stat_get_activity(null) where application_name = '" + own_name + "'"; }
};

struct mysql_server {
    using driver = cenote::mysql;
    using handle = MYSQL*;
    static constexpr std::string_view name = "MariaDB";

    static driver to(bool tcp, const std::string& own_name) {
        auto o = tcp ? mysql_tests::by_tcp() : mysql_tests::by_socket();
        o.program_name = own_name;
        return driver{o};
    }
    static pid_t pid() { return pid_in(servers::mysql().pid_file); }
    static bool accepts() {
        const std::unique_ptr<MYSQL, decltype(&mysql_close)> c{mysql_init(nullptr), &mysql_close};
        return mysql_real_connect(c.get(), nullptr, "root", "", nullptr, 0, servers::mysql().socket.c_str(), 0) != nullptr;
    }
    static void start() { run_program({servers::mysql().start}); }
    static void ensure() {
        if (is_gone(pid())) start();
        (void)await_answer<mysql_server>();
    }
    static void crash(std::size_t) {
        const pid_t now = pid();
        ::kill(now, SIGKILL);
        await_end({now});
        start();
    }

    static row ask(handle m, const std::string& sql) {
        if (mysql_real_query(m, sql.data(), static_cast<unsigned long>(sql.size())) != 0) throw std::runtime_error{mysql_error(m)};
        const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> rows{mysql_store_result(m), &mysql_free_result};
        if (mysql_errno(m) != 0) throw std::runtime_error{mysql_error(m)};
        const MYSQL_ROW first = rows ? mysql_fetch_row(rows.get()) : nullptr;
        row out;
        for (unsigned i = 0; first != nullptr && i < mysql_num_fields(rows.get()); ++i) out.emplace_back(first[i] == nullptr ? "null" : first[i]);
        return out;
    }
    static std::string tag() { return "coalesce(@tag, '')"; }
    static std::string set_tag(const std::string& to) { return "set @tag = '" + to + "'"; }
    static std::string pause(std::string_view seconds) { return "sleep(" + std::string{seconds} + ")"; }
    static void end_sessions() {
        mysql_tests::opened root{mysql_tests::as_root()};
        const std::string all = root.ask("select ifnull(group_concat(id separator ' '), '') from information_schema.processlist where user = 'cenote'");
        std::istringstream in{all};
        for (std::string id; in >> id;) {
            if (mysql_query(root.native(), ("kill connection " + id).c_str()) != 0 && mysql_errno(root.native()) != 1094) { // unless it has gone by itself
                throw std::runtime_error{mysql_error(root.native())};
            }
        }
        const std::string left = "select count(*) from information_schema.processlist where find_in_set(id, replace('" + all + "', ' ', ','))";
        if (!becomes([&] { return root.ask(left) == "0"; })) throw std::runtime_error{"a session does not end"};
    }
    static std::string count(const std::string&) { return "select count(*) from information_schema.processlist where user = 'cenote'"; }
};

template <class Server>
inline constexpr bool is_mysql = std::is_same_v<Server, mysql_server>;

/// Statements of who may do everything.
template <class Server>
class admin {
public:
    /// `more`: behind PostgreSQL's connection string.
    explicit admin(const std::string& more = "") {
        if constexpr (is_mysql<Server>) who_.emplace(mysql_tests::as_root());
        else who_.emplace(servers::postgres().admin + more);
    }
    void run(const std::string& sql) { who_->run(sql); }
    std::string ask(const std::string& sql) { return who_->ask(sql); }

protected:
    std::optional<std::conditional_t<is_mysql<Server>, mysql_tests::opened, pg::witness>> who_;
};

/// A table that outlives the server's violent end, for what is never to be committed.
template <class Server>
class table_of_its_own {
public:
    table_of_its_own() {
        if constexpr (is_mysql<Server>) {
            mysql_tests::opened root{mysql_tests::as_root()};
            root.run("set global innodb_flush_log_at_trx_commit = 1");
            root.run("create table " + name_ + " (n int) engine = innodb");
        } else {
            pg::witness owner{servers::postgres().unix_socket};
            owner.run("set synchronous_commit = on");
            owner.run("create table " + name_ + " (n int)");
        }
    }
    table_of_its_own(const table_of_its_own&) = delete;
    table_of_its_own& operator=(const table_of_its_own&) = delete;
    ~table_of_its_own() {
        try {
            Server::ensure();
            if constexpr (is_mysql<Server>) mysql_tests::opened{mysql_tests::as_root()}.run("drop table " + name_);
            else pg::witness{servers::postgres().unix_socket}.run("drop table " + name_);
        } catch (const std::exception&) { // the servers are thrown away
        }
    }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] std::string rows() const {
        const std::string sql = "select count(*) from " + name_;
        if constexpr (is_mysql<Server>) return mysql_tests::opened{mysql_tests::as_root()}.ask(sql);
        else return pg::witness{servers::postgres().unix_socket}.ask(sql);
    }

private:
    std::string name_ = (is_mysql<Server> ? servers::mysql().database + "." : "") + "chaos_" + std::to_string(::getpid());
};

} // namespace fault
