// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// The explorer explores itself: how many schedules there are is known from combinatorics, and known bugs must be found.
#include <cenote/testing/explore.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace explore = cenote::testing::explore;
using cenote::duration;
using cenote::time_point;
using cenote::testing::explore_sync;
using mutex = explore_sync::mutex;
using word = explore_sync::word;

constexpr time_point never = time_point::max();

/// For violations that a test expects.
explore::options silent(explore::options o = {}) {
    o.print_to = nullptr;
    return o;
}

bool mentions(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// `threads` threads that pass `points` points each.
auto passing(unsigned threads, unsigned points) {
    return [=](explore::world& w) {
        for (unsigned t = 0; t < threads; ++t) {
            w.thread("t" + std::to_string(t), [=] {
                for (unsigned p = 0; p < points; ++p) explore::point();
            });
        }
    };
}

std::uint64_t count(unsigned threads, unsigned points, unsigned preemptions) {
    const auto r = explore::run({.preemptions = preemptions}, passing(threads, points));
    REQUIRE(r.passed());
    REQUIRE(r.complete);
    REQUIRE(r.steps == r.schedules * threads * points);
    return r.schedules;
}

/// Slots and a queue of waiters with hand-off: what the pool's desk does, in small.
enum class bug { none, ignores_raced_grant, stores_after_unlock, rearms_deadline, forgets_queue };

template <class Sync, bug Bug>
class hand_off {
public:
    explicit hand_off(unsigned slots) : free_{slots} {}

    bool take(time_point until) {
        mutex_.lock();
        if (free_ > 0) {
            --free_;
            mutex_.unlock();
            return true;
        }
        node n;
        (last_ != nullptr ? last_->next : first_) = &n;
        n.prev = last_;
        last_ = &n;
        mutex_.unlock();
        const auto length = until - Sync::now();
        for (;;) {
            Sync::park(n.word, 0, until);
            if (n.word.load() != 0) return true;
            if constexpr (Bug == bug::rearms_deadline) until = Sync::now() + length;
            if (Sync::now() < until) continue;
            mutex_.lock();
            const bool granted = n.word.load() != 0;
            if (!granted) remove(n);
            mutex_.unlock();
            return granted && Bug != bug::ignores_raced_grant;
        }
    }
    void give() {
        mutex_.lock();
        node* const n = Bug == bug::forgets_queue && first_ != nullptr && first_->next == nullptr ? nullptr : first_;
        if (n == nullptr) {
            ++free_;
            mutex_.unlock();
            return;
        }
        remove(*n);
        auto* const w = &n->word;
        if constexpr (Bug != bug::stores_after_unlock) w->store(1);
        mutex_.unlock();
        if constexpr (Bug == bug::stores_after_unlock) w->store(1);
        Sync::wake(w);
    }
    unsigned free() const { return free_; }
    bool anybody_waits() const { return first_ != nullptr; }

private:
    struct node {
        node *prev = nullptr, *next = nullptr;
        typename Sync::word word{0};
    };
    void remove(node& n) {
        (n.prev != nullptr ? n.prev->next : first_) = n.next;
        (n.next != nullptr ? n.next->prev : last_) = n.prev;
    }
    typename Sync::mutex mutex_;
    node *first_ = nullptr, *last_ = nullptr;
    unsigned free_;
};

[[noreturn]] void throw_seven() { throw 7; }

template <bug Bug>
auto clients(unsigned threads, unsigned slots, bool patient) {
    return [=](explore::world& w) {
        struct all {
            explicit all(unsigned n) : desk{n} {}
            hand_off<explore_sync, Bug> desk;
            unsigned holders = 0;
        };
        auto s = std::make_shared<all>(slots);
        for (unsigned t = 0; t < threads; ++t) {
            w.thread(std::string(1, static_cast<char>('a' + t)), [=] {
                if (!s->desk.take(patient ? never : explore_sync::now() + 1ms)) return;
                explore::require(++s->holders <= slots, "no slot has two holders");
                explore::point("while holding");
                --s->holders;
                s->desk.give();
            });
        }
        w.at_rest([=] { explore::require(s->desk.free() == 0 || !s->desk.anybody_waits(), "nobody waits beside a free slot"); });
        w.finally([=] { explore::require(s->desk.free() == slots, "every slot is back"); });
    };
}

} // namespace

TEST_CASE("one thread has one schedule") {
    CHECK(count(1, 0, explore::unbounded) == 1);
    CHECK(count(1, 7, explore::unbounded) == 1);
}

TEST_CASE("n threads of k points have (nk)! / (k!)^n schedules without a bound") {
    CHECK(count(2, 1, explore::unbounded) == 2);
    CHECK(count(2, 3, explore::unbounded) == 20);
    CHECK(count(2, 5, explore::unbounded) == 252);
    CHECK(count(3, 2, explore::unbounded) == 90);
    CHECK(count(3, 3, explore::unbounded) == 1680);
    CHECK(count(4, 2, explore::unbounded) == 2520);
    CHECK(count(5, 1, explore::unbounded) == 120);
}

TEST_CASE("the bound counts switches away from threads that could have gone on") {
    // Two threads of k points: c preemptions cut the first into 1 + ceil(c/2) parts and the second into 1 + floor(c/2).
    constexpr unsigned k = 5;
    CHECK(count(2, k, 0) == 2);
    CHECK(count(2, k, 1) == 2 * (1 + 4));
    CHECK(count(2, k, 2) == 2 * (1 + 4 + 4 * 4));
    CHECK(count(2, k, 3) == 2 * (1 + 4 + 4 * 4 + 6 * 4));
    CHECK(count(3, k, 0) == 6);
    CHECK(count(4, 3, 0) == 24);
}

TEST_CASE("every schedule is explored once") {
    auto seen = std::make_shared<std::set<std::string>>();
    const auto r = explore::run({.preemptions = explore::unbounded}, [=](explore::world& w) {
        auto order = std::make_shared<std::string>();
        for (const char t : {'a', 'b', 'c'}) {
            w.thread(std::string(1, t), [=] {
                for (int i = 0; i < 3; ++i) {
                    explore::point();
                    *order += t;
                }
            });
        }
        w.finally([=] { explore::require(seen->insert(*order).second, "this order is new"); });
    });
    CHECK(r.passed());
    CHECK(seen->size() == 1680);
}

TEST_CASE("choose explores every value") {
    auto seen = std::make_shared<std::set<unsigned>>();
    const auto r = explore::run({}, [=](explore::world& w) {
        w.thread("a", [=] {
            const unsigned high = explore::choose(3);
            seen->insert(10 * high + explore::choose(2));
        });
    });
    CHECK(r.schedules == 6);
    CHECK(*seen == std::set<unsigned>{0, 1, 10, 11, 20, 21});
}

TEST_CASE("a held mutex keeps others out, and blocking costs no preemption") {
    const auto program = [](explore::world& w) {
        struct all {
            mutex m;
            bool inside = false;
        };
        auto s = std::make_shared<all>();
        for (const char* name : {"a", "b", "c"}) {
            w.thread(name, [=] {
                s->m.lock();
                explore::require(!s->inside, "one thread is inside");
                s->inside = true;
                explore::point();
                s->inside = false;
                s->m.unlock();
            });
        }
    };
    // Nobody can do anything while one is inside: only the order counts, and each of the orders is free.
    CHECK(explore::run({.preemptions = explore::unbounded}, program).schedules == 6);
    CHECK(explore::run({.preemptions = 0}, program).schedules == 6);
}

TEST_CASE("a lost update is found with one preemption, not with none") {
    const auto program = [](explore::world& w) {
        auto n = std::make_shared<word>(0);
        for (const char* name : {"a", "b"}) {
            w.thread(name, [=] { n->store(n->load() + 1); });
        }
        w.finally([=] { explore::require(n->load() == 2, "both increments count"); });
    };
    CHECK(explore::run({.preemptions = 0}, program).passed());
    const auto r = explore::run(silent({.preemptions = 1}), program);
    CHECK(r.violation == "'scenario': not so: both increments count");
    CHECK(mentions(r.events, "stores 1 to word 1"));
}

TEST_CASE("an increment by swap_if loses nothing") {
    const auto r = explore::run({.preemptions = explore::unbounded}, [](explore::world& w) {
        auto n = std::make_shared<word>(0);
        for (const char* name : {"a", "b", "c"}) {
            w.thread(name, [=] {
                for (;;) {
                    const auto v = n->load();
                    if (n->swap_if(v, v + 1)) return;
                }
            });
        }
        w.finally([=] { explore::require(n->load() == 3, "all increments count"); });
    });
    CHECK(r.passed());
    CHECK(r.complete);
}

TEST_CASE("two locks taken in opposite orders are a deadlock, and the report says who waits for whom") {
    const auto r = explore::run(silent(), [](explore::world& w) {
        struct all {
            mutex one, two;
        };
        auto s = std::make_shared<all>();
        const auto both = [](mutex& first, mutex& second) {
            first.lock();
            second.lock();
            second.unlock();
            first.unlock();
        };
        w.thread("a", [=] { both(s->one, s->two); });
        w.thread("b", [=] { both(s->two, s->one); });
    });
    CHECK(r.violation == "stuck: 'a' waits for mutex 2, held by 'b'; 'b' waits for mutex 1, held by 'a'");
}

TEST_CASE("a lock that is never released is found") {
    const auto r = explore::run(silent(), [](explore::world& w) {
        auto m = std::make_shared<mutex>();
        w.thread("a", [=] { m->lock(); });
        w.thread("b", [=] { m->lock(); });
    });
    CHECK(mentions(r.violation, "'b' waits for mutex 1, held by 'a'"));
}

TEST_CASE("a wake-up between check and park is lost unless park compares") {
    const auto program = [](bool compares) {
        return [=](explore::world& w) {
            struct all {
                word ready{0}, bell{0};
            };
            auto s = std::make_shared<all>();
            w.thread("waiter", [=] {
                while (s->ready.load() == 0) {
                    auto& slept_on = compares ? s->ready : s->bell; // nobody changes the bell, so its value proves nothing
                    explore_sync::park(slept_on, 0, never);
                }
            });
            w.thread("waker", [=] {
                s->ready.store(1);
                explore_sync::wake(&s->bell);
                explore_sync::wake(&s->ready);
            });
        };
    };
    const auto r = explore::run(silent(), program(false));
    CHECK(r.violation == "stuck: 'waiter' is parked on word 2 for ever");
    CHECK(explore::run({.preemptions = explore::unbounded}, program(true)).passed());
}

TEST_CASE("wake wakes all who sleep there and may name a word that is gone") {
    const auto r = explore::run({.preemptions = explore::unbounded}, [](explore::world& w) {
        auto bell = std::make_shared<word>(0);
        for (const char* name : {"a", "b"}) {
            w.thread(name, [=] { explore_sync::park(*bell, 0, never); });
        }
        w.thread("waker", [=] {
            bell->store(1);
            explore_sync::wake(bell.get());
        });
        auto left = std::make_shared<word*>(nullptr);
        w.thread("leaver", [=] {
            word here{0};
            *left = &here;
        });
        w.finally([=] { explore_sync::wake(*left); });
    });
    CHECK(r.passed());
}

TEST_CASE("a word touched after its frame has returned is found") {
    const auto r = explore::run(silent(), clients<bug::stores_after_unlock>(3, 1, false));
    CHECK(mentions(r.violation, "stores to word"));
    CHECK(mentions(r.violation, "which is gone"));
}

TEST_CASE("destroying what others wait on or hold is found") {
    SECTION("a word with a sleeper") {
        const auto r = explore::run(silent(), [](explore::world& w) {
            auto s = std::make_shared<std::unique_ptr<word>>(std::make_unique<word>(0));
            w.thread("sleeper", [=] { explore_sync::park(**s, 0, never); });
            w.thread("owner", [=] {
                explore::point();
                s->reset();
            });
        });
        CHECK(mentions(r.violation, "destroys a word on which 'sleeper' is parked"));
    }
    SECTION("a mutex that is held") {
        const auto r = explore::run(silent(), [](explore::world& w) {
            auto s = std::make_shared<std::unique_ptr<mutex>>(std::make_unique<mutex>());
            w.thread("holder", [=] { (*s)->lock(); });
            w.finally([=] { s->reset(); });
        });
        CHECK(mentions(r.violation, "destroys a mutex that 'holder' holds"));
    }
    SECTION("a mutex that somebody is about to lock") {
        const auto r = explore::run(silent(), [](explore::world& w) {
            auto s = std::make_shared<std::unique_ptr<mutex>>(std::make_unique<mutex>());
            w.thread("owner", [=] {
                explore::point();
                s->reset();
            });
            w.thread("late", [=] { (*s)->lock(); });
        });
        CHECK(mentions(r.violation, "destroys a mutex that 'late' is about to lock"));
    }
}

TEST_CASE("misuse of a mutex is found") {
    const auto misuse = [](auto what) {
        return explore::run(silent(), [=](explore::world& w) {
            auto m = std::make_shared<mutex>();
            w.thread("a", [=] { what(*m); });
        }).violation;
    };
    CHECK(mentions(misuse([](mutex& m) { m.unlock(); }), "unlocks a mutex that it does not hold"));
    CHECK(mentions(misuse([](mutex& m) {
                       m.lock();
                       m.lock();
                   }),
                   "locks a mutex that it holds already"));
}

TEST_CASE("try_lock takes a free mutex and leaves a held one") {
    auto outcomes = std::make_shared<std::set<int>>();
    const auto r = explore::run({}, [=](explore::world& w) {
        auto m = std::make_shared<mutex>();
        auto got = std::make_shared<int>(0);
        for (const char* name : {"a", "b"}) {
            w.thread(name, [=] {
                if (!m->try_lock()) return;
                ++*got;
                m->unlock();
            });
        }
        w.finally([=] { outcomes->insert(*got); });
    });
    CHECK(r.passed());
    CHECK(*outcomes == std::set<int>{1, 2});
}

TEST_CASE("hand-off is correct in every schedule of three threads to bound 3") {
    for (const unsigned slots : {1u, 2u}) {
        for (const bool patient : {false, true}) {
            const auto r = explore::run({.preemptions = 3}, clients<bug::none>(3, slots, patient));
            INFO(r.report());
            CHECK(r.passed());
            CHECK(r.complete);
        }
    }
}

TEST_CASE("a time-out that races with a grant loses the slot, which takes two preemptions to show") {
    CHECK(explore::run({.preemptions = 1}, clients<bug::ignores_raced_grant>(2, 1, false)).passed());
    const auto r = explore::run(silent({.preemptions = 2}), clients<bug::ignores_raced_grant>(2, 1, false));
    CHECK(mentions(r.violation, "every slot is back"));
    CHECK(mentions(r.events, "times out on word 1 at +1000 us"));
}

TEST_CASE("a wake-up that time-outs hide is found at rest, and by waits without end") {
    const auto hidden = explore::run(silent(), clients<bug::forgets_queue>(2, 1, false));
    CHECK(hidden.violation == "in a check: not so: nobody waits beside a free slot");
    CHECK_FALSE(explore::run(silent(), clients<bug::forgets_queue>(2, 1, true)).passed());
}

TEST_CASE("a deadline that starts again is a schedule without end") {
    const auto r = explore::run(silent({.max_steps = 500}), clients<bug::rearms_deadline>(3, 1, false));
    CHECK(mentions(r.violation, "livelock"));
}

TEST_CASE("a violation is replayed from its text") {
    const auto program = clients<bug::stores_after_unlock>(3, 1, false);
    const auto found = explore::run(silent(), program);
    REQUIRE_FALSE(found.passed());
    INFO(found.schedule);
    const auto again = explore::replay(found.schedule, program, silent());
    CHECK(again.violation == found.violation);
    CHECK(again.events == found.events);
    CHECK(again.schedule == found.schedule);
    CHECK(again.schedules == 1);
    CHECK(mentions(found.report(), "replay with: explore::replay(\"" + found.schedule + "\", scenario)"));

    SECTION("the corrected program passes the same schedule, and shows what happened") {
        const auto mended = explore::replay("p3 s0", clients<bug::none>(3, 1, false), silent());
        CHECK(mended.passed());
        CHECK(mentions(mended.events, "a         locks mutex 1"));
    }
    SECTION("what is no schedule is refused") {
        for (const char* text : {"", "p", "p3", "p3 s", "p3 s0 ", "p3 s0 1", "p3 s0 1=", "p3 s0 2=1 1=1", "p3 s0 1=1x", "p3 s0 999999999=1"}) {
            INFO(text);
            CHECK(explore::replay(text, program, silent()).violation == "this is not the text of a schedule");
        }
        CHECK(mentions(explore::replay("p3 s0 0=77", program, silent()).violation, "does not fit this scenario"));
    }
}

TEST_CASE("exploring is deterministic") {
    const auto once = [] { return explore::run(silent(), clients<bug::ignores_raced_grant>(3, 1, false)); };
    const auto a = once();
    const auto b = once();
    CHECK(a.schedule == b.schedule);
    CHECK(a.schedules == b.schedules);
    CHECK(a.events == b.events);
}

TEST_CASE("deepening finds a violation with the fewest preemptions") {
    const auto r = explore::run(silent({.preemptions = 5, .deepen = true}), clients<bug::ignores_raced_grant>(2, 1, false));
    CHECK(mentions(r.violation, "every slot is back"));
    CHECK(r.schedule.substr(0, 3) == "p2 ");

    const auto all = explore::run({.preemptions = explore::unbounded, .deepen = true}, passing(2, 3));
    CHECK(all.complete);
    CHECK(all.schedules == 2 + 6 + 14 + 18 + 20); // with the bounds 0 … 4: no bound above adds any
}

TEST_CASE("random walks find what is too deep to exhaust, the same way for the same seed") {
    const auto walk = [](std::uint64_t seed) {
        return explore::run(silent({.random = 100'000, .seed = seed}), clients<bug::ignores_raced_grant>(6, 2, false));
    };
    const auto r = walk(7);
    REQUIRE_FALSE(r.passed());
    CHECK_FALSE(r.complete);
    CHECK(walk(7).schedule == r.schedule);
    CHECK(walk(8).schedule != r.schedule);
    CHECK(explore::replay(r.schedule, clients<bug::ignores_raced_grant>(6, 2, false), silent()).violation == r.violation);

    const auto correct = explore::run({.random = 20'000}, clients<bug::none>(6, 2, false));
    CHECK(correct.passed());
    CHECK(correct.schedules == 20'000);
    CHECK_FALSE(correct.complete);
}

TEST_CASE("exploration stops at max_schedules and says that it is incomplete") {
    const auto r = explore::run({.preemptions = explore::unbounded, .max_schedules = 100}, passing(3, 3));
    CHECK(r.schedules == 100);
    CHECK_FALSE(r.complete);
    CHECK(r.passed());
}

TEST_CASE("a finite park ends by a wake-up or by its time-out, with the time it has then") {
    auto seen = std::make_shared<std::set<duration>>();
    const auto r = explore::run({.preemptions = explore::unbounded}, [=](explore::world& w) {
        auto bell = std::make_shared<word>(0);
        w.thread("sleeper", [=] {
            const auto begin = explore_sync::now();
            explore_sync::park(*bell, 0, begin + 5ms);
            seen->insert(explore_sync::now() - begin);
        });
        w.thread("waker", [=] {
            bell->store(1);
            explore_sync::wake(bell.get());
        });
    });
    CHECK(r.passed());
    CHECK(*seen == std::set<duration>{0ms, 5ms});
    // park last: 1; park before the store: the time-out comes before the store, before the wake-up, or not at all: 3;
    // park between store and wake-up: it does not sleep: 1.
    CHECK(r.schedules == 5);
}

TEST_CASE("a park whose time is over does not sleep") {
    const auto r = explore::run({}, [](explore::world& w) {
        auto bell = std::make_shared<word>(0);
        w.thread("sleeper", [=] { explore_sync::park(*bell, 0, explore_sync::now()); });
    });
    CHECK(r.passed());
    CHECK(r.schedules == 1);
}

TEST_CASE("time passes where advance says, which is a visible operation") {
    auto seen = std::make_shared<std::set<duration>>();
    const auto r = explore::run({}, [=](explore::world& w) {
        w.thread("clock", [] { explore::advance(3ms); });
        w.thread("worker", [=] {
            const auto begin = explore_sync::now();
            explore::point();
            seen->insert(explore_sync::now() - begin);
        });
    });
    CHECK(r.schedules == 2);
    CHECK(*seen == std::set<duration>{0ms, 3ms});
}

TEST_CASE("parks return for no reason as often as asked for") {
    const auto program = [](explore::world& w) {
        auto bell = std::make_shared<word>(0);
        w.thread("sleeper", [=] {
            explore_sync::park(*bell, 0, never);
            explore::require(bell->load() == 1, "the bell rang");
        });
        w.thread("waker", [=] {
            bell->store(1);
            explore_sync::wake(bell.get());
        });
    };
    CHECK(explore::run({}, program).passed());
    const auto r = explore::run(silent({.spurious = 1}), program);
    CHECK(mentions(r.violation, "the bell rang"));
    CHECK(explore::replay(r.schedule, program, silent()).violation == r.violation);
}

TEST_CASE("a schedule that does not end is cut off") {
    const auto r = explore::run(silent({.max_steps = 1000}), [](explore::world& w) {
        auto flag = std::make_shared<word>(0);
        w.thread("spinner", [=] {
            while (flag->load() == 0) {}
        });
    });
    CHECK(mentions(r.violation, "livelock: the schedule has more than 1000 steps"));
}

TEST_CASE("a spinner that yields lets the others go on, and two of them end too") {
    const auto r = explore::run({}, [](explore::world& w) {
        auto flag = std::make_shared<word>(0);
        for (const char* name : {"spinner", "another"}) {
            w.thread(name, [=] {
                while (flag->load() == 0) explore::yield();
            });
        }
        w.thread("setter", [=] { flag->store(1); });
    });
    CHECK(r.passed());
    CHECK(r.complete);
}

TEST_CASE("an exception that leaves a thread or meets noexcept is a violation") {
    const auto thrown = explore::run(silent(), [](explore::world& w) { w.thread("a", [] { throw std::runtime_error("oh"); }); });
    CHECK(thrown.violation == "'a': an exception left the thread: oh");
    const auto met = explore::run(silent(), [](explore::world& w) {
        w.thread("a", [] { []() noexcept { throw_seven(); }(); });
    });
    CHECK(mentions(met.violation, "std::terminate was called, by an exception that met noexcept: not a std::exception"));
}

TEST_CASE("threads that switch while they handle exceptions keep their own") {
    const auto r = explore::run({.preemptions = explore::unbounded}, [](explore::world& w) {
        for (int t = 0; t < 2; ++t) {
            w.thread(t == 0 ? "a" : "b", [=] {
                try {
                    try {
                        throw t;
                    } catch (int) {
                        explore::point();
                        explore::require(std::uncaught_exceptions() == 0, "nothing is in flight");
                        struct guard {
                            ~guard() {
                                explore::point();
                                explore::require(std::uncaught_exceptions() == 1, "this thread's exception is in flight");
                            }
                        } g;
                        throw;
                    }
                } catch (int caught) {
                    explore::point();
                    explore::require(caught == t, "it is this thread's exception");
                }
            });
        }
    });
    CHECK(r.passed());
    CHECK(r.schedules == 20);
}

TEST_CASE("a scenario that is not deterministic is found out") {
    auto calls = std::make_shared<int>(0);
    const auto r = explore::run(silent({.preemptions = explore::unbounded}), [=](explore::world& w) {
        const bool odd = ++*calls % 2 != 0;
        w.thread("a", [=] { static_cast<void>(explore::choose(odd ? 2 : 3)); });
    });
    CHECK(mentions(r.violation, "not deterministic"));
}

TEST_CASE("a stop request runs the callbacks once, whenever it comes") {
    auto seen = std::make_shared<std::set<std::string>>();
    const auto r = explore::run({.preemptions = explore::unbounded}, [=](explore::world& w) {
        struct all {
            explore_sync::stop_source stop;
            std::string log;
        };
        auto s = std::make_shared<all>();
        w.thread("worker", [=] {
            {
                const explore_sync::stop_callback c{s->stop.get_token(), [log = &s->log] {
                                                        explore::point("in the callback");
                                                        *log += 'c';
                                                    }};
                explore::point("while registered");
            }
            s->log += 'd'; // destroyed: the callback has run or never will
        });
        w.thread("stopper", [=] { explore::require(s->stop.request_stop(), "this request is the first"); });
        w.finally([=] {
            explore::require(!s->stop.request_stop(), "the second request does nothing");
            seen->insert(s->log);
        });
    });
    INFO(r.report());
    CHECK(r.passed());
    CHECK(*seen == std::set<std::string>{"cd", "d"});
}

TEST_CASE("a stop callback may destroy itself, and wakes whom it wants") {
    const auto r = explore::run({.preemptions = explore::unbounded}, [](explore::world& w) {
        struct all {
            word bell{0};
            explore_sync::stop_source stop;
            std::unique_ptr<explore_sync::stop_callback<std::function<void()>>> callback;
        };
        auto s = std::make_shared<all>();
        s->callback = std::make_unique<explore_sync::stop_callback<std::function<void()>>>(s->stop.get_token(), [p = s.get()] {
            p->bell.store(1);
            explore_sync::wake(&p->bell);
            p->callback.reset();
        });
        w.thread("sleeper", [=] {
            while (s->bell.load() == 0) explore_sync::park(s->bell, 0, never);
        });
        w.thread("stopper", [=] { s->stop.request_stop(); });
    });
    INFO(r.report());
    CHECK(r.passed());
}

TEST_CASE("a stop callback whose end waits for its own thread's lock is a deadlock") {
    const auto r = explore::run(silent(), [](explore::world& w) {
        struct all {
            mutex m;
            explore_sync::stop_source stop;
        };
        auto s = std::make_shared<all>();
        w.thread("worker", [=] {
            s->m.lock();
            {
                const explore_sync::stop_callback c{s->stop.get_token(), [m = &s->m] {
                                                        m->lock();
                                                        m->unlock();
                                                    }};
                explore::point();
            }
            s->m.unlock();
        });
        w.thread("stopper", [=] { s->stop.request_stop(); });
    });
    CHECK(mentions(r.violation, "'worker' waits for a stop callback to return; 'stopper' waits for mutex 1, held by 'worker'"));
}

TEST_CASE("always looks before every operation of a thread") {
    const auto r = explore::run(silent(), [](explore::world& w) {
        auto n = std::make_shared<int>(0);
        w.thread("a", [=] {
            explore::point();
            *n = 1;
            explore::point();
            *n = 0;
        });
        w.always([=] { explore::require(*n == 0, "n is 0"); });
    });
    CHECK(r.violation == "in a check: not so: n is 0");
}

TEST_CASE("the state of a schedule is destroyed before the next begins") {
    auto alive = std::make_shared<int>(0);
    struct counted {
        explicit counted(std::shared_ptr<int> n) : n_{std::move(n)} { explore::require(++*n_ == 1, "one state is alive"); }
        ~counted() { --*n_; }
        std::shared_ptr<int> n_;
    };
    const auto r = explore::run({}, [=](explore::world& w) {
        auto s = std::make_shared<counted>(alive);
        std::array<char, 200> big{}; // a capture that is kept on the heap
        w.thread("a", [=] { explore::point(s && big[0] == 0 ? "a" : "b"); });
        w.thread("b", [=] { explore::point(s ? "a" : "b"); });
        w.finally([s] { explore::require(s != nullptr, "the state is there"); });
    });
    CHECK(r.schedules == 2);
    CHECK(r.passed());
    CHECK(*alive == 0);
}

TEST_CASE("outside of a schedule the types do the plain thing") {
    CHECK_FALSE(explore::exploring());
    mutex m;
    m.lock();
    m.unlock();
    word w{1};
    w.store(2);
    CHECK(w.load() == 2);
    CHECK_FALSE(w.swap_if(1, 3));
    CHECK(w.swap_if(2, 3));
    explore_sync::park(w, 3, never); // returns for no reason
    explore_sync::wake(&w);
    CHECK_FALSE(explore_sync::stop_token{}.stop_possible());
    CHECK(explore::choose(5) == 0);
}

TEST_CASE("hand-off of three threads is exhausted at the speed that is printed", "[.speed]") {
    const auto r = explore::run({.preemptions = 4}, clients<bug::none>(3, 1, false));
    CHECK(r.passed());
    CHECK(r.complete);
    WARN(r.report() << static_cast<std::uint64_t>(static_cast<double>(r.schedules) / std::chrono::duration<double>(r.elapsed).count())
                    << " schedules/s");
}
