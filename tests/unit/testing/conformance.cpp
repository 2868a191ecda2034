// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include <cenote/testing/conformance.hpp>

#include <cenote/drivers/null.hpp>
#include <cenote/testing/scripted.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::deadline;
using cenote::error_class;
using cenote::liveness;
using cenote::session_state;
using Catch::Matchers::ContainsSubstring;

namespace {

enum class defect {
    none,
    open_throws,
    open_is_late,
    open_fails_on_other_threads,
    open_runs_out,
    close_leaves_session,
    close_waits_for_no_answer,
    ping_throws,
    ping_is_late,
    ping_ignores_deadline,
    peek_is_suspicious,
    state_is_never_idle,
    state_hides_transaction,
    state_hides_busy,
    transaction_is_shared,
    move_loses_session,
    handle_changes,
    use_is_bound_to_thread,
    rollback_spoils_clean,
    rollback_leaves_transaction,
    rollback_leaves_busy,
    reset_spoils_clean,
    reset_leaves_transaction,
    reset_leaves_busy,
    deferred_spoils_clean,
    deferred_leaves_transaction,
    deferred_leaves_busy,
    start_refuses_busy,
    start_refuses_busy_and_breaks,
    start_refuses_busy_and_breaks_unseen,
    deferred_rollback_spoils_clean,
    deferred_rollback_leaves_transaction,
    deferred_rollback_leaves_busy,
    deferred_script_spoils_clean,
    deferred_script_leaves_transaction,
    deferred_script_leaves_busy,
    deferred_script_accepts_anything,
    dial_opens_nothing,
    dial_waits_past_deadline,
    dial_wants_nonsense,
    dial_has_no_descriptor,
    dial_cannot_be_moved,
    dial_goes_on,
    dial_leaves_session,
    sever_hits_others,
    cancel_of_idle_throws,
    cancel_does_nothing,
    sever_misses_idle,
    sever_misses_statement,
    sever_leaves_session,
    abandon_ends_session,
    abandon_cannot_be_destroyed,
    role_throws,
    role_makes_one_up,
    execute_throws,
    execute_accepts_anything,
    execute_hides_damage,
    query_leaves_busy,
    query_accepts_anything,
    begin_opens_nothing,
    commit_leaves_transaction,
    classify_makes_one_up,
    throws_an_int,
};

/// A driver without I/O that does everything right but one thing.
template <bool ThrowingMove>
class flawed_driver {
    /// Shared with forked children.
    struct server {
        std::atomic<std::size_t> sessions{0};
        std::atomic<std::size_t> opens{0};
        std::atomic<bool> shared_transaction{false};
        std::atomic<bool> hit{false};
        std::thread::id home = std::this_thread::get_id();
        int always_ready = ::open("/dev/null", O_RDWR);

        static std::shared_ptr<server> start() {
            void* const at = ::mmap(nullptr, sizeof(server), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            if (at == MAP_FAILED) throw std::bad_alloc{};
            return {new (at) server, [](server* s) {
                        ::close(s->always_ready);
                        ::munmap(s, sizeof(server));
                    }};
        }
    };
    /// What an interrupter shares with its connection.
    struct wire {
        std::atomic<bool> counted{true}, running{false}, cancelled{false}, severed{false}, closed{false};
    };

public:
    struct connection {
        ~connection() {
            if (dies) ::_exit(1);
        }
        bool live = false;
        bool tx = false;
        bool busy = false;
        bool damaged = false;
        bool stalled = false;
        bool loses = false;
        bool started = false;
        bool dies = false;
        bool wrong = false;
        defect left[3]{}; // what the clean-up that was started may do wrong
        std::shared_ptr<wire> shared{};
        int handles = 0;
        std::thread::id opener{};

        connection() = default;
        connection(connection&& o) noexcept(!ThrowingMove) { take(o); }
        connection& operator=(connection&& o) noexcept(!ThrowingMove) {
            take(o);
            return *this;
        }

    private:
        void take(connection& o) {
            live = o.live && !o.loses;
            tx = o.tx;
            busy = o.busy;
            damaged = o.damaged;
            stalled = o.stalled;
            loses = o.loses;
            started = o.started;
            std::copy(std::begin(o.left), std::end(o.left), left);
            shared = o.shared;
            handles = o.handles;
            opener = o.opener;
            o.live = false;
        }
    };

    explicit flawed_driver(defect d) : d_{d}, s_{server::start()} {}

    connection open(deadline by) {
        if (is(defect::throws_an_int)) throw 42;
        if (is(defect::open_throws)) throw std::runtime_error{"no"};
        if (is(defect::open_is_late) && by.expired()) std::this_thread::sleep_for(600ms);
        if (is(defect::open_fails_on_other_threads) && std::this_thread::get_id() != s_->home) throw std::runtime_error{"wrong thread"};
        if (++s_->opens > 110 && is(defect::open_runs_out)) throw std::runtime_error{"too many"};
        ++s_->sessions;
        connection c;
        c.live = true;
        c.shared = std::make_shared<wire>();
        c.loses = is(defect::move_loses_session);
        c.opener = std::this_thread::get_id();
        return c;
    }
    void close(connection& c) noexcept {
        if (!is(defect::close_leaves_session) && !(c.started && is(defect::close_waits_for_no_answer))) end(*c.shared);
        c.shared->closed = true;
        c.live = false;
    }
    liveness peek(connection& c) noexcept {
        if (is(defect::peek_is_suspicious)) return liveness::suspicious;
        return c.live ? liveness::quiet : liveness::dead;
    }
    void ping(connection& c, deadline by) {
        if (is(defect::ping_throws)) throw std::runtime_error{"no pong"};
        if (is(defect::ping_is_late) && by.expired()) std::this_thread::sleep_for(600ms);
        if (c.stalled) {
            if (is(defect::ping_ignores_deadline)) std::this_thread::sleep_for(600ms);
            std::this_thread::sleep_until(by.at());
            throw cenote::driver_error{error_class::timeout, "deadline passed"};
        }
        work(c);
    }
    session_state state(connection& c) noexcept {
        if (is(defect::state_is_never_idle)) return session_state::unknown;
        if (c.busy && !is(defect::state_hides_busy)) return session_state::busy;
        const bool tx = c.tx || (is(defect::transaction_is_shared) && s_->shared_transaction);
        if (tx && !is(defect::state_hides_transaction)) return session_state::in_transaction;
        return session_state::idle;
    }
    void rollback(connection& c, deadline) { clean(c, defect::rollback_spoils_clean, defect::rollback_leaves_transaction, defect::rollback_leaves_busy); }
    void reset(connection& c, deadline) { clean(c, defect::reset_spoils_clean, defect::reset_leaves_transaction, defect::reset_leaves_busy); }
    bool reset_start(connection& c) noexcept {
        if (c.busy && is(defect::start_refuses_busy)) return false;
        if (c.busy && is(defect::start_refuses_busy_and_breaks)) {
            c.live = false;
            return false;
        }
        if (c.busy && is(defect::start_refuses_busy_and_breaks_unseen)) {
            c.damaged = true;
            return false;
        }
        return start(c, defect::deferred_spoils_clean, defect::deferred_leaves_transaction, defect::deferred_leaves_busy);
    }
    bool rollback_start(connection& c) noexcept {
        return start(c, defect::deferred_rollback_spoils_clean, defect::deferred_rollback_leaves_transaction, defect::deferred_rollback_leaves_busy);
    }
    bool execute_start(connection& c, std::string_view sql) noexcept {
        c.wrong = sql != "select 1" && !is(defect::deferred_script_accepts_anything);
        return start(c, defect::deferred_script_spoils_clean, defect::deferred_script_leaves_transaction, defect::deferred_script_leaves_busy);
    }
    void reset_finish(connection& c, deadline) {
        c.started = false;
        clean(c, c.left[0], c.left[1], c.left[2]);
        if (std::exchange(c.wrong, false)) throw std::runtime_error{"syntax error"};
    }
    void execute(connection& c, std::string_view sql, deadline) {
        if (is(defect::execute_throws) && sql == "select 1") throw std::runtime_error{"no"};
        work(c);
        if (sql == "select 1" || is(defect::execute_accepts_anything)) return;
        c.damaged = is(defect::execute_hides_damage);
        throw std::runtime_error{"syntax error"};
    }
    struct rows {
        static std::size_t columns() noexcept { return 1; }
        static std::string_view name(std::size_t) noexcept { return "n"; }
        bool next(deadline) {
            if (left-- > 0) return true;
            of->busy = stays_busy;
            return false;
        }
        static cenote::value_view at(std::size_t) { return 1; }
        static std::uint64_t affected() noexcept { return 1; }
        connection* of;
        bool stays_busy;
        int left = 1;
    };
    rows query(connection& c, const cenote::statement& s, deadline) {
        work(c);
        if (s.sql != "select 1" && !is(defect::query_accepts_anything)) throw std::runtime_error{"syntax error"};
        c.busy = true;
        return {&c, is(defect::query_leaves_busy)};
    }
    void begin(connection& c, const cenote::transaction_options&, deadline) {
        work(c);
        c.tx = !is(defect::begin_opens_nothing);
    }
    void commit(connection& c, deadline) {
        work(c);
        if (!is(defect::commit_leaves_transaction)) c.tx = false;
    }
    int native_handle(connection& c) noexcept { return is(defect::handle_changes) ? c.handles++ : 7; }
    error_class classify(const std::exception&) noexcept {
        return is(defect::classify_makes_one_up) ? static_cast<error_class>(99) : error_class::other;
    }

    /// Done with the third step. Connected, from the second on, until it is destroyed or the connection is taken.
    class dialling {
    public:
        dialling(flawed_driver& d, deadline by) : d_{&d}, by_{by} {}
        dialling(dialling&& o) noexcept { *this = std::move(o); }
        dialling& operator=(dialling&& o) noexcept {
            d_ = std::exchange(o.d_, nullptr);
            by_ = o.by_;
            steps_ = o.steps_;
            moved_ = true;
            c_ = std::move(o.c_);
            return *this;
        }
        ~dialling() {
            if (d_ && c_.live && !d_->is(defect::dial_leaves_session)) d_->close(c_);
        }
        [[nodiscard]] int descriptor() const noexcept { return d_->is(defect::dial_has_no_descriptor) ? 4711 : d_->s_->always_ready; }
        [[nodiscard]] cenote::readiness want() const noexcept {
            return d_->is(defect::dial_wants_nonsense) ? static_cast<cenote::readiness>(99) : cenote::readiness::write;
        }
        [[nodiscard]] deadline until() const noexcept { return d_->is(defect::dial_waits_past_deadline) ? deadline::never() : by_; }
        bool step() {
            if (by_.expired() && !d_->is(defect::dial_goes_on)) throw std::runtime_error{"time is up"};
            if (++steps_ == 2) c_ = d_->open(by_);
            return steps_ >= 3;
        }
        connection take() {
            c_.damaged = d_->is(moved_ ? defect::dial_cannot_be_moved : defect::dial_opens_nothing);
            return std::move(c_);
        }

    private:
        flawed_driver* d_ = nullptr;
        deadline by_ = deadline::never();
        int steps_ = 0;
        bool moved_ = false;
        connection c_{};
    };
    dialling dial(deadline by) { return {*this, by}; }

    struct token {
        std::shared_ptr<wire> to;
    };
    token interrupter(connection& c) { return {c.shared}; }
    void cancel(token& t, deadline) {
        if (t.to->closed) throw std::runtime_error{"nobody there"};
        if (!t.to->running && is(defect::cancel_of_idle_throws)) throw std::runtime_error{"nothing runs"};
        if (!is(defect::cancel_does_nothing)) t.to->cancelled = true;
    }
    void sever(token& t, deadline) noexcept {
        if (t.to->closed && is(defect::sever_hits_others)) s_->hit = true;
        if (t.to->closed || is(t.to->running ? defect::sever_misses_statement : defect::sever_misses_idle)) return;
        t.to->severed = true;
        if (!is(defect::sever_leaves_session)) end(*t.to);
    }
    void abandon(connection& c) noexcept {
        if (is(defect::abandon_ends_session)) end(*c.shared);
        c.dies = is(defect::abandon_cannot_be_destroyed);
    }
    cenote::server_role role(connection&, deadline) {
        if (is(defect::role_throws)) throw std::runtime_error{"no such function"};
        return is(defect::role_makes_one_up) ? static_cast<cenote::server_role>(99) : cenote::server_role::standby;
    }

    // What the options do.
    void begin(connection& c) {
        c.tx = !is(defect::transaction_is_shared);
        s_->shared_transaction = true;
    }
    [[nodiscard]] std::size_t sessions() const { return s_->sessions; }
    static void linger(connection& c) {
        c.shared->running = true;
        const deadline by = deadline::in(400ms);
        while (!c.shared->cancelled && !c.shared->severed && !by.expired()) std::this_thread::sleep_for(1ms);
        c.shared->running = false;
        if (c.shared->cancelled || c.shared->severed) throw std::runtime_error{"stopped"};
    }

private:
    [[nodiscard]] bool is(defect d) const noexcept { return d == d_; }
    void end(wire& w) noexcept {
        if (w.counted.exchange(false)) --s_->sessions;
    }
    static bool start(connection& c, defect spoils, defect keeps_transaction, defect keeps_busy) noexcept {
        c.left[0] = spoils;
        c.left[1] = keeps_transaction;
        c.left[2] = keeps_busy;
        return c.started = true;
    }
    void work(connection& c) const {
        if (!c.live || c.shared->severed || s_->hit.exchange(false)) throw std::runtime_error{"the session is gone"};
        if (c.damaged) throw std::runtime_error{"out of step"};
        if (is(defect::use_is_bound_to_thread) && c.opener != std::this_thread::get_id()) throw std::runtime_error{"wrong thread"};
    }
    void clean(connection& c, defect spoils, defect keeps_transaction, defect keeps_busy) {
        if (!c.live) throw std::runtime_error{"the session is gone"};
        if (!c.tx && !c.busy && is(spoils)) c.damaged = true;
        if (!is(keeps_transaction)) c.tx = false;
        if (!is(keeps_busy)) c.busy = false;
        s_->shared_transaction = false;
    }

    defect d_;
    std::shared_ptr<server> s_;
};
using flawed = flawed_driver<false>;

template <bool T>
conformance check(flawed_driver<T> d) {
    using connection = typename flawed_driver<T>::connection;
    return check_driver(d, {.begin = [d](connection& c) mutable { d.begin(c); },
                            .leave_busy = [](connection& c) { c.busy = true; },
                            .stall = [](connection& c) { c.stalled = true; },
                            .linger = [](connection& c) { flawed_driver<T>::linger(c); },
                            .sessions = [d] { return d.sessions(); },
                            .abandons = true,
                            .patience = 100ms,
                            .overrun = 300ms});
}
} // namespace

TEST_CASE("a driver that keeps the contract passes every check") {
    const auto report = check(flawed{defect::none});
    INFO(report);
    CHECK(report.ok());
    CHECK(report.failures().empty());
    CHECK(report.count(conformance::verdict::passed) == 55);
    CHECK(report.count(conformance::verdict::not_applicable) == 1); // options.use
}

// In parts, as each check waits a while.
TEMPLATE_TEST_CASE_SIG("a driver that breaks one rule fails the check of that rule and no other", "", ((std::size_t Part), Part), 0, 1, 2, 3) {
    const std::vector<std::pair<defect, const char*>> table{
        {defect::open_throws, "open gives a connection and close takes it"},
        {defect::throws_an_int, "open gives a connection and close takes it"},
        {defect::open_is_late, "open under a deadline in the past comes back at once"},
        {defect::open_fails_on_other_threads, "several threads can open, use and close at once"},
        {defect::open_runs_out, "connections can be opened and closed again and again"},
        {defect::ping_throws, "a fresh connection answers a ping"},
        {defect::ping_is_late, "ping under a deadline in the past comes back at once"},
        {defect::ping_ignores_deadline, "ping gives up at its deadline when nobody answers"},
        {defect::peek_is_suspicious, "a fresh connection looks quiet"},
        {defect::state_hides_transaction, "an open transaction shows in the state"},
        {defect::state_hides_busy, "an unfinished statement shows in the state"},
        {defect::handle_changes, "the native handle stays the same"},
        {defect::use_is_bound_to_thread, "a connection can be used and closed on another thread than the one that opened it"},
        {defect::rollback_spoils_clean, "rollback of a clean connection leaves it as it was"},
        {defect::rollback_leaves_transaction, "rollback ends an open transaction"},
        {defect::rollback_leaves_busy, "rollback ends an unfinished statement"},
        {defect::reset_spoils_clean, "reset of a clean connection leaves it as it was"},
        {defect::reset_leaves_transaction, "reset ends an open transaction"},
        {defect::reset_leaves_busy, "reset ends an unfinished statement"},
        {defect::deferred_spoils_clean, "a started and finished reset of a clean connection leaves it as it was"},
        {defect::deferred_leaves_transaction, "a started and finished reset ends an open transaction"},
        {defect::deferred_leaves_busy, "a started and finished reset ends an unfinished statement"},
        {defect::start_refuses_busy_and_breaks_unseen, "a started and finished reset ends an unfinished statement"},
        {defect::deferred_rollback_spoils_clean, "a started and finished rollback of a clean connection leaves it as it was"},
        {defect::deferred_rollback_leaves_transaction, "a started and finished rollback ends an open transaction"},
        {defect::deferred_rollback_leaves_busy, "a started and finished rollback ends an unfinished statement"},
        {defect::deferred_script_spoils_clean, "a started and finished script of a clean connection leaves it as it was"},
        {defect::deferred_script_leaves_transaction, "a started and finished script ends an open transaction"},
        {defect::deferred_script_leaves_busy, "a started and finished script ends an unfinished statement"},
        {defect::deferred_script_accepts_anything, "a started script that is wrong shows when it is finished"},
        {defect::dial_opens_nothing, "a dialled connection works"},
        {defect::dial_waits_past_deadline, "a dialling says what it waits for, and until when"},
        {defect::dial_wants_nonsense, "a dialling says what it waits for, and until when"},
        {defect::dial_has_no_descriptor, "a dialling says what it waits for, and until when"},
        {defect::dial_cannot_be_moved, "a dialling may be moved between its steps"},
        {defect::dial_goes_on, "a dialling whose time is up ends with its next step"},
        {defect::dial_leaves_session, "a dialling that is given up leaves no session"},
        {defect::sever_hits_others, "an interrupter outlives its connection"},
        {defect::cancel_of_idle_throws, "a connection that was cancelled while idle can be closed"},
        {defect::cancel_does_nothing, "cancel stops the statement that runs"},
        {defect::sever_misses_idle, "sever ends an idle session"},
        {defect::sever_misses_statement, "sever ends a session whose statement runs"},
        {defect::abandon_ends_session, "a forked child lets go of a connection that its parent goes on using"},
        {defect::abandon_cannot_be_destroyed, "a forked child lets go of a connection that its parent goes on using"},
        {defect::role_throws, "role says what the server is"},
        {defect::role_makes_one_up, "role says what the server is"},
        {defect::execute_throws, "execute runs a statement"},
        {defect::execute_accepts_anything, "execute throws at a statement that is wrong"},
        {defect::execute_hides_damage, "a connection survives a wrong statement, or shows that it did not"},
        {defect::query_leaves_busy, "query runs a statement, gives its rows and frees the connection"},
        {defect::query_accepts_anything, "query throws at a statement that is wrong"},
        {defect::begin_opens_nothing, "a transaction is open after begin, and over after commit"},
        {defect::commit_leaves_transaction, "a transaction is open after begin, and over after commit"},
        {defect::classify_makes_one_up, "every error has a class"},
    };
    for (std::size_t i = Part; i < table.size(); i += 4) {
        const auto& [d, sentence] = table[i];
        const auto report = check(flawed{d});
        INFO(report);
        CHECK(report.failures() == std::vector<std::string>{sentence});
        CHECK_FALSE(report.ok());
    }
}

TEST_CASE("a clean-up that cannot be started may be done in its time, or end the connection") {
    for (const defect d : {defect::start_refuses_busy, defect::start_refuses_busy_and_breaks}) {
        const auto report = check(flawed{d});
        INFO(report);
        CHECK(report.ok());
    }
}

TEST_CASE("sessions that stay when an answer was due, or when they were severed, are found") {
    const auto waits = check(flawed{defect::close_waits_for_no_answer});
    INFO(waits);
    CHECK(waits.failures() == std::vector<std::string>{"a connection whose reset was started can be closed", "a connection whose rollback was started can be closed",
                                                       "a connection whose script was started can be closed"});
    const auto stays = check(flawed{defect::sever_leaves_session});
    INFO(stays);
    CHECK(stays.failures() == std::vector<std::string>{"sever ends an idle session", "sever ends a session whose statement runs"});
}

TEST_CASE("what a driver has and its check may not do is not checked") {
    const flawed d{defect::none};
    const auto report = check_driver(d, {.severs = false, .patience = 100ms});
    INFO(report);
    CHECK(report.ok());
    const std::string text = to_string(report);
    CHECK_THAT(text, ContainsSubstring("sever ends an idle session: options.severs is false\n"));
    CHECK_THAT(text, ContainsSubstring("cancel stops the statement that runs: options.linger is not given\n"));
    CHECK_THAT(text, ContainsSubstring("lets go of a connection that its parent goes on using: options.abandons is false\n"));
}

TEST_CASE("a state that is never right fails where it is asked about, not where it is used") {
    const auto report = check(flawed{defect::state_is_never_idle});
    INFO(report);
    CHECK(report.failures() == std::vector<std::string>{"a fresh connection is idle", "an open transaction shows in the state",
                                                        "an unfinished statement shows in the state"});
}

TEST_CASE("sessions that stay when their connection is closed are found") {
    const auto failures = check(flawed{defect::close_leaves_session}).failures();
    REQUIRE_FALSE(failures.empty());
    CHECK(failures.front() == "close ends the session on the other side");
}

TEST_CASE("connections that cannot be moved are found, wherever they are") {
    const auto report = check(flawed{defect::move_loses_session});
    INFO(report);
    CHECK(report.failures() == std::vector<std::string>{"a moved connection keeps working", "a dialled connection works", "a dialling may be moved between its steps",
                                                        "a dialling that is given up leaves no session"});
}

TEST_CASE("transactions that show on every connection are found") {
    const auto failures = check(flawed{defect::transaction_is_shared}).failures();
    CHECK(std::find(failures.begin(), failures.end(), "two connections are independent") != failures.end());
}

TEST_CASE("connections whose move may throw are found") {
    const auto report = check(flawed_driver<true>{defect::none});
    INFO(report);
    CHECK(report.failures() == std::vector<std::string>{"moving and destroying a connection cannot throw"});
}

TEST_CASE("a driver that only opens and closes is checked for that, and for the rest nothing applies") {
    script s;
    const auto report = check_driver(basic_scripted<refinement::none>{s});
    INFO(report);
    CHECK(report.ok());
    CHECK(report.count(conformance::verdict::passed) == 8);
    CHECK(s.violations_at_end().empty());
    CHECK(s.opened() < 30 + 50 + 20);
}

TEST_CASE("the null driver and the scripted driver pass their conformance check") {
    const auto null = check_driver(cenote::null{}, {.severs = false, .abandons = true, .bad_sql = {}});
    INFO(null);
    CHECK(null.ok());

    script s;
    s.on(site::execute, [](const call& c) {
        if (c.sql != "select 1") throw cenote::driver_error{error_class::other, "syntax error"};
    });
    bool wrong = false;
    s.on(site::execute_start, [&](const call& c) { wrong = c.sql != "select 1"; });
    s.on(site::reset_finish, [&](const call&) {
        if (std::exchange(wrong, false)) throw cenote::driver_error{error_class::other, "syntax error"};
    });
    const auto report = check_driver(scripted{s}, {.use = [](scripted_connection& c) { c.use(); },
                                                   .begin = [](scripted_connection& c) { c.begin(); },
                                                   .leave_busy = [](scripted_connection& c) { c.leave_busy(); },
                                                   .sessions = [s] { return s.sessions_now(); }});
    INFO(report);
    CHECK(report.ok());
    CHECK(s.violations_at_end().empty());
    CHECK(s.calls(site::sever) > 0);
    CHECK(s.calls(site::cancel) > 0);
    CHECK(s.calls(site::role) > 0);
}

TEST_CASE("the report of a conformance check is readable") {
    const auto report = check(flawed{defect::ping_throws});
    const std::string text = to_string(report);
    CHECK_THAT(text, ContainsSubstring("54 passed, 1 failed, 1 not applicable\n"));
    CHECK_THAT(text, ContainsSubstring("\n  FAILED  a fresh connection answers a ping: it threw: no pong\n"));
    CHECK_THAT(text, ContainsSubstring("\n  -       a fresh connection can be used: options.use is not given\n"));
    CHECK_THAT(text, ContainsSubstring("\n  passed  execute runs a statement\n"));
    std::ostringstream out;
    out << report;
    CHECK(out.str() == text);
    CHECK_THAT(to_string(check(flawed{defect::throws_an_int})), ContainsSubstring("it threw something that is not a std::exception"));
}
