// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>
#include <cenote/drivers/detail/socket.hpp>
#include <cenote/session/statement.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cenote::testing {

/// What `check_driver` found out, a sentence per check. Knows no test framework.
///
/// Shape    `const auto report = cenote::testing::check_driver(my_driver{…}); INFO(report); CHECK(report.ok());`
class conformance {
public:
    enum class verdict : unsigned char { passed, failed, not_applicable };
    struct finding {
        std::string sentence;
        verdict result;
        std::string why; ///< empty when passed
    };
    std::vector<finding> findings;

    [[nodiscard]] std::size_t count(verdict v) const noexcept {
        std::size_t n = 0;
        for (const auto& f : findings) n += f.result == v ? 1 : 0;
        return n;
    }
    [[nodiscard]] bool ok() const noexcept { return count(verdict::failed) == 0; }
    [[nodiscard]] std::vector<std::string> failures() const {
        std::vector<std::string> out;
        for (const auto& f : findings) {
            if (f.result == verdict::failed) out.push_back(f.sentence);
        }
        return out;
    }

    friend std::string to_string(const conformance& r) {
        std::string out = std::to_string(r.count(verdict::passed)) + " passed, " + std::to_string(r.count(verdict::failed)) + " failed, " +
                          std::to_string(r.count(verdict::not_applicable)) + " not applicable\n";
        for (const auto& f : r.findings) {
            out += f.result == verdict::passed ? "  passed  " : f.result == verdict::failed ? "  FAILED  " : "  -       ";
            out += f.sentence;
            if (!f.why.empty()) out += ": " + f.why;
            out += '\n';
        }
        return out;
    }
    friend std::ostream& operator<<(std::ostream& to, const conformance& r) { return to << to_string(r); }
};

/// What a driver's conformance check cannot know by itself. Everything may stay empty; then the checks that need it do not apply.
template <driver D>
struct conformance_options {
    using connection = typename D::connection;

    /// Works with the connection and throws when it is of no use. Default: ping, else execute.
    std::function<void(connection&)> use{};
    /// Leaves a transaction open.
    std::function<void(connection&)> begin{};
    /// Leaves a statement or a result unfinished, without a transaction.
    std::function<void(connection&)> leave_busy{};
    /// Makes the other side stop answering on this connection, without hanging up.
    std::function<void(connection&)> stall{};
    /// Runs a statement that takes much longer than `patience`, and throws when it is stopped or the session ends.
    std::function<void(connection&)> linger{};
    /// How many sessions are open, as the other side counts them.
    std::function<std::size_t()> sessions{};

    /// Whether `sever` has a session to end; a driver without a resource may have none.
    bool severs = true;
    /// Whether the check may fork, to `abandon` a connection in the child.
    bool abandons = false;

    /// A statement that works, and one that does not. Empty: not checked.
    std::string good_sql{"select 1"};
    std::string bad_sql{"this is not a statement"};

    /// How long one call may take when nothing is wrong; the deadline that calls get.
    duration patience = std::chrono::seconds{10};
    /// How long after its deadline a call may end.
    duration overrun = std::chrono::milliseconds{500};
    /// How many threads open at once, and how often connections are opened and closed in a row.
    std::size_t threads = 4;
    std::size_t rounds = 50;
};

namespace detail {

template <driver D>
class conformance_check {
public:
    using connection = typename D::connection;
    using verdict = conformance::verdict;

    conformance_check(D& d, const conformance_options<D>& o) : d_{d}, o_{o} {}

    conformance run() {
        shape();
        if (!check("open gives a connection and close takes it", [&] { opened{*this}; })) return std::move(report_);
        fresh();
        sessions();
        objects();
        deadlines();
        states();
        rollbacks();
        resets();
        deferred_clean_ups();
        diallings();
        interrupters();
        abandoning();
        roles();
        statements();
        queries();
        transactions();
        errors();
        threads();
        check("connections can be opened and closed again and again", [&] {
            for (std::size_t i = 0; i < o_.rounds; ++i) opened{*this};
        });
        return std::move(report_);
    }

private:
    struct unmet {
        std::string why;
    };
    static void expect(bool holds, const char* otherwise) {
        if (!holds) throw unmet{otherwise};
    }

    /// A connection that is closed whatever happens.
    class opened {
    public:
        explicit opened(conformance_check& t) : opened{t, deadline::in(t.o_.patience)} {}
        opened(conformance_check& t, deadline by) : t_{&t}, c_{t.d_.open(by)} {}
        opened(conformance_check& t, connection c) : t_{&t}, c_{std::move(c)} {}
        opened(const opened&) = delete;
        opened& operator=(const opened&) = delete;
        ~opened() {
            if (t_) t_->d_.close(c_);
        }
        connection& operator*() noexcept { return c_; }
        void close() noexcept { std::exchange(t_, nullptr)->d_.close(c_); }

    private:
        conformance_check* t_;
        connection c_;
    };

    template <class F>
    bool check(std::string sentence, F f) {
        conformance::finding result{std::move(sentence), verdict::failed, {}};
        try {
            f();
            result.result = verdict::passed;
        } catch (const unmet& u) {
            result.why = u.why;
        } catch (const std::exception& e) {
            result.why = std::string{"it threw: "} + e.what();
        } catch (...) {
            result.why = "it threw something that is not a std::exception";
        }
        report_.findings.push_back(std::move(result));
        return report_.findings.back().result == verdict::passed;
    }
    void skip(std::string sentence, std::string why) {
        report_.findings.push_back({std::move(sentence), verdict::not_applicable, std::move(why)});
    }
    /// Checks if `needed` holds.
    template <class F>
    bool check_if(bool needed, std::string sentence, std::string_view lacking, F f) {
        if (needed) return check(std::move(sentence), f);
        skip(std::move(sentence), std::string{lacking});
        return false;
    }

    [[nodiscard]] deadline soon() const noexcept { return deadline::in(o_.patience); }

    /// Throws when the connection is of no use; by a way that is known to work.
    void use(connection& c) const {
        if (use_) use_(c);
    }

    /// Runs f, which may throw, and expects it to be over soon after `by`.
    template <class F>
    bool ends_in_time(deadline by, F f) const {
        bool threw = false;
        try {
            f();
        } catch (...) {
            threw = true;
        }
        const auto late = std::chrono::steady_clock::now() - std::max(by.at(), start_);
        expect(late <= o_.overrun, "it came back too late");
        return threw;
    }

    void shape() {
        check("moving and destroying a connection cannot throw", [] {
            expect(std::is_nothrow_move_constructible_v<connection>, "the move constructor is not noexcept");
            expect(std::is_nothrow_destructible_v<connection>, "the destructor is not noexcept");
        });
    }

    void fresh() {
        if (check_if(static_cast<bool>(o_.use), "a fresh connection can be used", "options.use is not given", [&] { o_.use(*opened{*this}); })) {
            use_ = o_.use;
        }
        if constexpr (can_ping<D>) {
            if (check("a fresh connection answers a ping", [&] { d_.ping(*opened{*this}, soon()); }) && !use_) {
                use_ = [this](connection& c) { d_.ping(c, soon()); };
            }
        } else {
            skip("a fresh connection answers a ping", "the driver has no ping");
        }
        if constexpr (can_execute<D>) {
            if (check_if(!o_.good_sql.empty(), "execute runs a statement", "options.good_sql is empty",
                         [&] { d_.execute(*opened{*this}, o_.good_sql, soon()); }) &&
                !use_) {
                use_ = [this](connection& c) { d_.execute(c, o_.good_sql, soon()); };
            }
        } else {
            skip("execute runs a statement", "the driver has no execute");
        }
        if constexpr (can_peek<D>) {
            check("a fresh connection looks quiet", [&] { expect(d_.peek(*opened{*this}) == liveness::quiet, "peek says otherwise"); });
        } else {
            skip("a fresh connection looks quiet", "the driver has no peek");
        }
        if constexpr (can_tell_state<D>) {
            knows_idle_ = check("a fresh connection is idle", [&] { expect(d_.state(*opened{*this}) == session_state::idle, "state says otherwise"); });
        } else {
            skip("a fresh connection is idle", "the driver has no state");
        }
    }

    void sessions() {
        check_if(static_cast<bool>(o_.sessions), "close ends the session on the other side", "options.sessions is not given", [&] {
            const std::size_t before = o_.sessions();
            opened a{*this};
            opened b{*this};
            expect(sessions_become(before + 2), "two connections are not two sessions more");
            a.close();
            b.close();
            expect(sessions_become(before), "sessions are left when their connections are closed");
        });
    }
    /// The other side may need a moment to notice.
    [[nodiscard]] bool sessions_become(std::size_t n) const {
        const deadline by = soon();
        while (o_.sessions() != n) {
            if (by.expired()) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        return true;
    }

    void objects() {
        check("two connections are independent", [&] {
            opened a{*this};
            opened b{*this};
            if constexpr (can_tell_state<D>) {
                if (o_.begin && knows_idle_) {
                    o_.begin(*a);
                    expect(d_.state(*b) == session_state::idle, "a transaction on one shows on the other");
                }
            }
            a.close();
            use(*b);
        });
        check("a moved connection keeps working", [&] {
            opened first{*this};
            opened second{*this};
            connection moved{std::move(*first)};
            use_or_close(moved);
            second.close();
            *second = std::move(moved);
            use_or_close(*second);
            *first = std::move(*second);
            use(*first);
        });
        if constexpr (requires(D& d, connection& c) { d.native_handle(c) == d.native_handle(c); }) {
            check("the native handle stays the same", [&] {
                opened a{*this};
                const auto handle = d_.native_handle(*a);
                use(*a);
                expect(d_.native_handle(*a) == handle, "it changed between two calls");
            });
        } else {
            skip("the native handle stays the same", "the driver has no native_handle that can be compared");
        }
    }
    /// For a connection that no `opened` owns at the moment.
    void use_or_close(connection& c) {
        try {
            use(c);
        } catch (...) {
            d_.close(c);
            throw;
        }
    }

    void deadlines() {
        check("open under a deadline in the past comes back at once", [&] {
            const deadline by = begin_clock();
            (void)ends_in_time(by, [&] { opened(*this, by); });
        });
        if constexpr (can_ping<D>) {
            check("ping under a deadline in the past comes back at once", [&] {
                opened a{*this};
                const deadline by = begin_clock();
                (void)ends_in_time(by, [&] { d_.ping(*a, by); });
            });
            check_if(static_cast<bool>(o_.stall), "ping gives up at its deadline when nobody answers", "options.stall is not given", [&] {
                opened a{*this};
                o_.stall(*a);
                (void)begin_clock();
                const deadline by = deadline::in(std::chrono::milliseconds{100});
                expect(ends_in_time(by, [&] { d_.ping(*a, by); }), "it passed");
            });
        } else {
            skip("ping under a deadline in the past comes back at once", "the driver has no ping");
            skip("ping gives up at its deadline when nobody answers", "the driver has no ping");
        }
    }
    deadline begin_clock() {
        start_ = std::chrono::steady_clock::now();
        return deadline{start_};
    }

    void states() {
        if constexpr (can_tell_state<D>) {
            const bool seen = check_if(static_cast<bool>(o_.begin), "an open transaction shows in the state", "options.begin is not given", [&] {
                opened a{*this};
                o_.begin(*a);
                const session_state s = d_.state(*a);
                expect(s == session_state::in_transaction || s == session_state::failed_transaction, "state says otherwise");
            });
            shows_transactions_ = seen || !o_.begin;
            check_if(static_cast<bool>(o_.leave_busy), "an unfinished statement shows in the state", "options.leave_busy is not given", [&] {
                opened a{*this};
                o_.leave_busy(*a);
                expect(d_.state(*a) == session_state::busy, "state says otherwise");
            });
        } else {
            skip("an open transaction shows in the state", "the driver has no state");
            skip("an unfinished statement shows in the state", "the driver has no state");
        }
    }

    /// Leaves `what` on a connection, cleans up, and expects it to be as good as new.
    template <class Clean>
    void cleans(std::string_view how, const std::function<void(connection&)>& leave, std::string_view what, std::string_view option, Clean clean) {
        std::string sentence{how};
        sentence.append(" ends ").append(what);
        check_if(static_cast<bool>(leave), std::move(sentence), std::string{"options."}.append(option).append(" is not given"), [&] {
            opened a{*this};
            leave(*a);
            if (clean(*a)) as_good_as_new(*a);
        });
    }
    void as_good_as_new(connection& c) {
        if constexpr (can_tell_state<D>) {
            if (knows_idle_) expect(d_.state(c) == session_state::idle, "the state is not idle afterwards");
        }
        use(c);
    }
    template <class Clean>
    void clean_up(const std::string& how, Clean clean) {
        check(how + " of a clean connection leaves it as it was", [&] {
            opened a{*this};
            if (clean(*a)) as_good_as_new(*a);
        });
        cleans(how, o_.begin, "an open transaction", "begin", clean);
        cleans(how, o_.leave_busy, "an unfinished statement", "leave_busy", clean);
    }
    void no_clean_up(const std::string& how, const std::string& why) {
        for (const char* rest : {" of a clean connection leaves it as it was", " ends an open transaction", " ends an unfinished statement"}) {
            skip(how + rest, why);
        }
    }

    void rollbacks() {
        if constexpr (can_rollback<D>) {
            clean_up("rollback", [&](connection& c) {
                d_.rollback(c, soon());
                return true;
            });
        } else {
            no_clean_up("rollback", "the driver has no rollback");
        }
    }
    void resets() {
        if constexpr (can_reset<D>) {
            clean_up("reset", [&](connection& c) {
                d_.reset(c, soon());
                return true;
            });
        } else {
            no_clean_up("reset", "the driver has no reset");
        }
    }
    void deferred_clean_ups() {
        const auto reset = [&](connection& c) {
            if constexpr (can_reset<D>) d_.reset(c, soon());
        };
        const auto roll_back = [&](connection& c) {
            if constexpr (can_rollback<D>) d_.rollback(c, soon());
            else reset(c);
        };
        constexpr bool rolls_back = can_rollback<D> || can_reset<D>;
        if constexpr (can_defer_reset<D>) deferred("reset", can_reset<D>, [&](connection& c) { return d_.reset_start(c); }, reset);
        else no_deferred("reset", "the driver has no reset_start and reset_finish");
        if constexpr (can_defer_rollback<D>) deferred("rollback", rolls_back, [&](connection& c) { return d_.rollback_start(c); }, roll_back);
        else no_deferred("rollback", "the driver has no rollback_start");
        if constexpr (can_defer_script<D>) {
            const auto start = [&](connection& c) { return d_.execute_start(c, o_.good_sql); };
            const auto run = [&](connection& c) {
                roll_back(c);
                if constexpr (can_execute<D>) d_.execute(c, o_.good_sql, soon());
            };
            if (o_.good_sql.empty()) no_deferred("script", "options.good_sql is empty");
            else deferred("script", rolls_back && can_execute<D>, start, run);
        } else {
            no_deferred("script", "the driver has no execute_start");
        }
        const std::string wrong = "a started script that is wrong shows when it is finished";
        if constexpr (can_defer_script<D>) {
            check_if(!o_.bad_sql.empty(), wrong, "options.bad_sql is empty", [&] {
                opened a{*this};
                if (!d_.execute_start(*a, o_.bad_sql)) return;
                bool threw = false;
                try {
                    d_.reset_finish(*a, soon());
                } catch (...) {
                    threw = true;
                }
                expect(threw, "it did not throw");
            });
        } else {
            skip(wrong, "the driver has no execute_start");
        }
    }
    /// Starts and finishes a clean-up; one that cannot be started is done as housekeeping does it, if that `is_there`.
    template <class Start, class Instead>
    void deferred(const std::string& what, bool is_there, Start start, Instead instead) {
        clean_up("a started and finished " + what, [&](connection& c) {
            if (start(c)) {
                d_.reset_finish(c, soon());
                return true;
            }
            try {
                instead(c);
            } catch (...) { // something was sent, which shows here: the pool closes the connection
                return false;
            }
            return is_there;
        });
        check("a connection whose " + what + " was started can be closed", [&] {
            const std::size_t before = o_.sessions ? o_.sessions() : 0;
            {
                opened a{*this};
                (void)start(*a);
            }
            if (o_.sessions) expect(sessions_become(before), "its session is left");
            opened b{*this};
            use(*b);
        });
    }
    void no_deferred(const std::string& what, const std::string& why) {
        no_clean_up("a started and finished " + what, why);
        skip("a connection whose " + what + " was started can be closed", why);
    }

    void diallings() {
        const std::string works = "a dialled connection works", waits = "a dialling says what it waits for, and until when",
                          moves = "a dialling may be moved between its steps", ends = "a dialling whose time is up ends with its next step",
                          leaves = "a dialling that is given up leaves no session";
        if constexpr (can_dial<D>) {
            check(works, [&] {
                opened a{*this, dialled(soon(), [](const auto&) {})};
                as_good_as_new(*a);
            });
            check(waits, [&] {
                const deadline by = soon();
                opened{*this, dialled(by, [&](const auto& waiting) {
                    expect(waiting.until() <= by, "until is later than its deadline");
                    expect(waiting.want() == readiness::read || waiting.want() == readiness::write, "want made something up");
                    const int fd = waiting.descriptor();
                    expect(fd == -1 || ::fcntl(fd, F_GETFD) != -1, "its descriptor is not open");
                })};
            });
            check(moves, [&] {
                const deadline by = soon();
                auto first = d_.dial(by);
                const bool done = first.step();
                auto second = std::move(first);
                opened a{*this, finish(second, done, by, [](const auto&) {})};
                use(*a);
            });
            check(ends, [&] {
                const deadline by = begin_clock();
                bool goes_on = false;
                (void)ends_in_time(by, [&] {
                    auto late = d_.dial(by);
                    goes_on = !late.step();
                    if (!goes_on) opened{*this, late.take()};
                });
                expect(!goes_on, "it goes on");
            });
            check_if(static_cast<bool>(o_.sessions), leaves, "options.sessions is not given", [&] {
                bool done = false;
                for (int steps = 0; !done && steps < 100; ++steps) { // given up after no step, after one, …
                    const std::size_t before = o_.sessions();
                    {
                        auto given_up = d_.dial(soon());
                        for (int i = 0; i < steps && !done; ++i) {
                            if (i != 0) (void)drivers::wait_ready(given_up.descriptor(), given_up.want(), given_up.until());
                            done = given_up.step();
                        }
                    }
                    std::this_thread::sleep_for(std::chrono::milliseconds{10}); // the other side may not have begun to count it
                    expect(sessions_become(before), "a session is left");
                }
            });
        } else {
            for (const auto& sentence : {works, waits, moves, ends, leaves}) skip(sentence, "the driver has no dial");
        }
    }
    /// Opens in steps. `look` sees what it waits for.
    template <class Look>
    [[nodiscard]] connection dialled(deadline by, Look look) {
        auto dialling = d_.dial(by);
        return finish(dialling, dialling.step(), by, look);
    }
    template <class Look>
    [[nodiscard]] connection finish(auto& dialling, bool done, deadline by, Look look) {
        for (; !done; done = dialling.step()) {
            look(std::as_const(dialling));
            expect(by.remaining(std::chrono::steady_clock::now() - o_.overrun) > duration::zero(), "its time is up and it goes on");
            (void)drivers::wait_ready(dialling.descriptor(), dialling.want(), dialling.until().sooner(by));
        }
        return dialling.take();
    }

    void interrupters() {
        const std::string outlives = "an interrupter outlives its connection", harmless = "a connection that was cancelled while idle can be closed",
                          cancels = "cancel stops the statement that runs", severs = "sever ends an idle session",
                          cuts = "sever ends a session whose statement runs";
        if constexpr (can_interrupt<D>) {
            check(outlives, [&] {
                auto token = [&] {
                    opened a{*this};
                    return d_.interrupter(*a);
                }();
                try {
                    d_.cancel(token, soon());
                } catch (...) { // there is nobody to ask
                }
                d_.sever(token, soon());
                opened b{*this};
                use(*b);
            });
            check(harmless, [&] {
                opened a{*this};
                auto token = d_.interrupter(*a);
                d_.cancel(token, soon());
                a.close();
                opened b{*this};
                use(*b);
            });
            const auto no_sever = !o_.severs ? "options.severs is false" : "no way to use a connection is known";
            check_if(o_.severs && use_, severs, no_sever, [&] {
                const std::size_t before = o_.sessions ? o_.sessions() : 0;
                opened a{*this};
                auto first = d_.interrupter(*a);
                auto token = std::move(first);
                d_.sever(token, soon());
                expect_severed(*a, before);
            });
            check_if(static_cast<bool>(o_.linger), cancels, "options.linger is not given", [&] {
                opened a{*this};
                auto token = d_.interrupter(*a);
                // The first may come before the statement.
                expect(stops(*a, [&] { d_.cancel(token, soon()); }, true), "it ran to its end");
            });
            check_if(o_.linger && o_.severs && use_, cuts, !o_.linger ? "options.linger is not given" : no_sever, [&] {
                const std::size_t before = o_.sessions ? o_.sessions() : 0;
                opened a{*this};
                auto token = d_.interrupter(*a);
                expect(stops(*a, [&] { d_.sever(token, soon()); }, false), "the statement ran to its end");
                expect_severed(*a, before);
            });
        } else {
            for (const auto& sentence : {outlives, harmless, severs, cancels, cuts}) skip(sentence, "the driver has no interrupter");
        }
    }
    void expect_severed(connection& c, std::size_t before) {
        const deadline by = soon();
        bool works = true;
        while (works && !by.expired()) {
            works = !trouble_of([&] { use(c); });
            if (works) std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        expect(!works, "the connection can still be used");
        if (o_.sessions) expect(sessions_become(before), "its session is left");
    }
    /// Whether a statement that takes long throws when `interfere` is called, once or until then.
    template <class Interfere>
    [[nodiscard]] bool stops(connection& c, Interfere interfere, bool again) {
        std::atomic<bool> over{false};
        bool threw = false;
        std::thread runs{[&] {
            threw = trouble_of([&] { o_.linger(c); }).has_value();
            over = true;
        }};
        const auto trouble = trouble_of([&] {
            const deadline by = soon();
            do {
                std::this_thread::sleep_for(std::chrono::milliseconds{50});
                if (!over) interfere();
            } while (again && !over && !by.expired());
        });
        runs.join();
        if (trouble) throw unmet{*trouble};
        return threw;
    }

    void abandoning() {
        const std::string sentence = "a forked child lets go of a connection that its parent goes on using";
        if constexpr (can_abandon<D>) {
            check_if(o_.abandons, sentence, "options.abandons is false", [&] {
                const std::size_t before = o_.sessions ? o_.sessions() : 0;
                opened a{*this};
                if (o_.sessions) expect(sessions_become(before + 1), "the connection is not a session more");
                const pid_t child = ::fork();
                expect(child != -1, "there is no process to be had");
                if (child == 0) {
                    d_.abandon(*a);
                    std::destroy_at(std::addressof(*a));
                    ::_exit(0);
                }
                int status = 0;
                while (::waitpid(child, &status, 0) == -1 && errno == EINTR) {}
                expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child crashed");
                if (o_.sessions) {
                    std::this_thread::sleep_for(std::chrono::milliseconds{50}); // the other side would need a moment to notice
                    expect(o_.sessions() == before + 1, "the session ended with the child's connection");
                }
                use(*a);
            });
        } else {
            skip(sentence, "the driver has no abandon");
        }
    }

    void roles() {
        const std::string sentence = "role says what the server is";
        if constexpr (can_tell_role<D>) {
            check(sentence, [&] {
                opened a{*this};
                expect(d_.role(*a, soon()) <= server_role::unknown, "it made one up");
                use(*a);
            });
        } else {
            skip(sentence, "the driver has no role");
        }
    }

    void statements() {
        if constexpr (can_execute<D>) {
            check_if(!o_.bad_sql.empty(), "execute throws at a statement that is wrong", "options.bad_sql is empty", [&] {
                opened a{*this};
                expect(throws(*a), "it did not throw");
            });
            check_if(!o_.bad_sql.empty(), "a connection survives a wrong statement, or shows that it did not", "options.bad_sql is empty", [&] {
                opened a{*this};
                (void)throws(*a);
                if (looks_good(*a)) use(*a);
            });
        } else {
            skip("execute throws at a statement that is wrong", "the driver has no execute");
            skip("a connection survives a wrong statement, or shows that it did not", "the driver has no execute");
        }
    }
    bool throws(connection& c) {
        try {
            d_.execute(c, o_.bad_sql, soon());
        } catch (...) {
            return true;
        }
        return false;
    }
    bool looks_good(connection& c) {
        if constexpr (can_peek<D>) {
            if (d_.peek(c) != liveness::quiet) return false;
        }
        if constexpr (can_tell_state<D>) {
            if (d_.state(c) != session_state::idle) return false;
        }
        return true;
    }

    void queries() {
        const std::string runs = "query runs a statement, gives its rows and frees the connection", throws_at = "query throws at a statement that is wrong";
        if constexpr (can_query<D>) {
            check_if(!o_.good_sql.empty(), runs, "options.good_sql is empty", [&] {
                opened a{*this};
                for (const bool stream : {false, true}) {
                    auto first = d_.query(*a, statement{.sql = o_.good_sql, .stream = stream}, soon());
                    auto rows = std::move(first);
                    while (rows.next(soon())) {
                        for (std::size_t i = 0; i < rows.columns(); ++i) (void)rows.at(i);
                    }
                    if constexpr (can_tell_state<D>) {
                        if (knows_idle_) expect(d_.state(*a) == session_state::idle, "the state is not idle after the last row");
                    }
                }
            });
            check_if(!o_.bad_sql.empty(), throws_at, "options.bad_sql is empty", [&] {
                opened a{*this};
                expect(trouble_of([&] {
                           auto rows = d_.query(*a, statement{.sql = o_.bad_sql}, soon());
                           while (rows.next(soon())) {}
                       }).has_value(), "it did not throw");
            });
        } else {
            for (const auto& sentence : {runs, throws_at}) skip(sentence, "the driver has no query");
        }
    }

    void transactions() {
        const std::string sentence = "a transaction is open after begin, and over after commit";
        if constexpr (can_transact<D>) {
            check(sentence, [&] {
                opened a{*this};
                for (int twice = 0; twice < 2; ++twice) {
                    d_.begin(*a, transaction_options{}, soon());
                    if (sees_transactions()) expect(state_of(*a) == session_state::in_transaction, "the state is not in_transaction after begin");
                    d_.commit(*a, soon());
                    if (sees_transactions()) expect(state_of(*a) == session_state::idle, "the state is not idle after commit");
                }
            });
        } else {
            skip(sentence, "the driver has no begin and commit, or no execute and rollback");
        }
    }
    /// Unless it was found not to be so.
    [[nodiscard]] bool sees_transactions() const noexcept { return can_tell_state<D> && knows_idle_ && shows_transactions_; }
    [[nodiscard]] session_state state_of(connection& c) noexcept {
        if constexpr (can_tell_state<D>) return d_.state(c);
        else return session_state::unknown;
    }

    void errors() {
        const std::string sentence = "every error has a class";
        if constexpr (can_classify<D>) {
            check(sentence, [&] {
                const auto known = [&](const std::exception& e) {
                    const auto kind = static_cast<unsigned>(d_.classify(e));
                    expect(kind <= static_cast<unsigned>(error_class::cancelled), "classify made one up");
                };
                known(std::exception{});
                known(std::runtime_error{"a message"});
                known(driver_error{error_class::timeout, "a message"});
                if constexpr (can_execute<D>) {
                    opened a{*this};
                    try {
                        d_.execute(*a, o_.bad_sql, soon());
                    } catch (const std::exception& e) {
                        known(e);
                    } catch (...) { // has no class, and gets none
                    }
                }
            });
        } else {
            skip(sentence, "the driver has no classify");
        }
    }

    void threads() {
        check("a connection can be used and closed on another thread than the one that opened it", [&] {
            opened a{*this};
            std::optional<std::string> trouble;
            std::thread{[&] {
                trouble = trouble_of([&] { use(*a); });
                a.close();
            }}.join();
            if (trouble) throw unmet{*trouble};
        });
        check("several threads can open, use and close at once", [&] {
            std::mutex m;
            std::optional<std::string> trouble;
            std::vector<std::thread> all;
            for (std::size_t i = 0; i < o_.threads; ++i) {
                all.emplace_back([&] {
                    auto mine = trouble_of([&] {
                        for (int k = 0; k < 5; ++k) use(*opened{*this});
                    });
                    const std::lock_guard lock{m};
                    if (mine) trouble = std::move(mine);
                });
            }
            for (auto& t : all) t.join();
            if (trouble) throw unmet{*trouble};
        });
    }
    template <class F>
    static std::optional<std::string> trouble_of(F f) {
        try {
            f();
        } catch (const std::exception& e) {
            return std::string{"it threw: "} + e.what();
        } catch (...) {
            return "it threw something that is not a std::exception";
        }
        return std::nullopt;
    }

    D& d_;
    const conformance_options<D>& o_;
    conformance report_;
    std::function<void(connection&)> use_;
    bool knows_idle_ = false;
    bool shows_transactions_ = true;
    time_point start_{};
};

} // namespace detail

/// Checks that a driver keeps the contract that a pool relies on: `open`, `close` and every refinement it has.
///
/// Shape    `check_driver(my_driver{…})`, or with what only you know:
///          `check_driver(my_driver{…}, {.begin = [](auto& c) { … }, .leave_busy = [](auto& c) { … }})`
/// Called   by a test, with a driver whose other side is up. It opens about 75 + `rounds` connections, at most `threads` at once.
/// Cost     needs POSIX.
/// Errors   none; what the driver throws becomes a finding. A call that never returns hangs the check.
/// With     a check that cannot be made because something more basic failed does not blame the driver twice.
template <driver D>
[[nodiscard]] conformance check_driver(D d, const conformance_options<D>& options = {}) {
    return detail::conformance_check<D>{d, options}.run();
}

} // namespace cenote::testing
