// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// Random walks: a pool and a small model of what the documentation says take the same steps, and must agree after each.
//
// CENOTE_MODEL_SEED repeats a walk, CENOTE_MODEL_STEPS sets its length.
#include <cenote/pool.hpp>
#include <cenote/testing/manual_clock.hpp>
#include <cenote/testing/scripted.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace cenote::testing;
using cenote::close_reason;
using cenote::errc;
using cenote::time_point;
using std::chrono::milliseconds;

namespace {

// ── the model ────────────────────────────────────────────────────────────────────────────────────────────────────────────

enum class looks { never, ping, ping_after, peek_after };
enum class cleans { never, at_return, background, deferred };
enum class cleanup { rollback, reset, script };

struct rules {
    bool fifo = false;
    unsigned keep = 4, max = 4, ceiling = 4, min = 0, min_idle = 0;
    milliseconds lifetime{0}, idle{0}; ///< 0: no limit
    unsigned uses = 0;
    looks look = looks::never;
    milliseconds after{0};
    cleans clean = cleans::never;
    cleanup what = cleanup::rollback; ///< reset_if_dirty, reset_always or reset_with
    bool waits = true;
    bool suspects = false; ///< what is lost makes the others suspects; the walk knows it from the pool's type
};

struct connection {
    std::size_t id = 0;
    time_point opened{}, used{};
    unsigned uses = 0;
    bool transaction = false, busy = false, setting = false, lost = false, answer_due = false, suspect = false;
};

class model {
public:
    struct chore {
        connection what;
        std::optional<close_reason> why; ///< none: it is to be cleaned
    };

    explicit model(const rules& r, std::size_t opened_before) : rule{r}, keep{r.keep}, max{r.max}, opened{opened_before} {}

    std::optional<connection> acquire(bool may_open, errc& why) {
        bool rejected = false;
        if (idle.empty()) do_chores();
        while (!idle.empty()) {
            connection c = idle.front();
            idle.pop_front();
            bool untested = false;
            const auto end = unfit(c, may_open, untested);
            if (untested) { // acquire(0) has no time for a test
                settle(c);
                why = rejected ? errc::validation_failed : errc::acquire_timeout;
                return std::nullopt;
            }
            if (!end) return lease(c);
            closed.emplace_back(c.id, *end);
            rejected = true;
        }
        why = shut ? errc::pool_closed : rejected ? errc::validation_failed : rule.waits ? errc::acquire_timeout : errc::exhausted;
        if (shut || !may_open || (!rejected && total() >= max)) return std::nullopt;
        why = errc::connect_failed;
        if (auto c = open()) return lease(*c);
        return std::nullopt;
    }
    void give_back(std::size_t at) {
        connection c = take(at);
        const bool dirty = c.transaction || c.busy;
        c.used = now;
        if (aged(c)) return close_later(c, close_reason::age);
        if (rule.uses != 0 && c.uses >= rule.uses) return close_later(c, close_reason::uses);
        if (rule.clean == cleans::never || (rule.what == cleanup::rollback && !dirty)) return settle(c);
        if (rule.clean == cleans::deferred && !fails(start())) {
            c.answer_due = true;
            return settle(c);
        }
        if (rule.clean == cleans::at_return) return cleaned(c) ? settle(c) : close_later(c, close_reason::reset_failed);
        if (shut) return end(c, close_reason::shutdown);
        chores.push_back({c, std::nullopt});
    }
    void discard(std::size_t at) { end(take(at), close_reason::discarded); }
    void detach(std::size_t at) { (void)take(at); }
    void maintain() {
        do_chores();
        std::size_t going = scan();
        do_chores();
        bool any = false;
        while (!shut && total() < max &&
               ((rule.min != 0 && staying() < rule.min + going) || (rule.min_idle != 0 && idle.size() < rule.min_idle + going))) {
            const auto c = open();
            if (!c) break;
            settle(*c);
            any = true;
        }
        if (!any) return;
        (void)scan(); // what stayed until there was another may go
        do_chores();
    }
    void resize(unsigned n) {
        keep = rule.keep < rule.max ? std::min(rule.keep, n) : n;
        max = n;
        while (!idle.empty() && staying() > max) end(coldest(), close_reason::overflow);
    }
    void close() {
        shut = true;
        while (!idle.empty()) end(coldest(), close_reason::shutdown);
        do_chores();
    }

    [[nodiscard]] site start() const {
        return rule.what == cleanup::reset ? site::reset_start : rule.what == cleanup::script ? site::execute_start : site::rollback_start;
    }
    [[nodiscard]] std::size_t closing() const {
        return static_cast<std::size_t>(std::count_if(chores.begin(), chores.end(), [](const chore& c) { return c.why.has_value(); }));
    }
    [[nodiscard]] std::size_t total() const { return idle.size() + leased.size() + chores.size(); }
    template <class F>
    void each(F f) {
        for (auto& c : idle) f(c);
        for (auto& c : leased) f(c);
        for (auto& c : chores) f(c.what);
    }

    rules rule;
    unsigned keep, max;
    std::size_t opened, executed = 0;
    time_point now{manual_clock::start};
    bool shut = false;
    std::deque<connection> idle; ///< the next one to hand out in front
    std::vector<connection> leased;
    std::deque<chore> chores;
    std::array<int, site_count> failing{};                          ///< calls that will fail
    std::vector<std::pair<std::size_t, close_reason>> closed; ///< in the last step

private:
    bool fails(site s) {
        int& n = failing[static_cast<std::size_t>(s)];
        return n > 0 && n-- > 0;
    }
    [[nodiscard]] std::size_t staying() const { return total() - closing(); }
    /// How many idle ones are not needed for `min_idle` and `min`.
    [[nodiscard]] std::size_t spare() const {
        const std::size_t elsewhere = staying() - idle.size();
        const std::size_t kept = std::max<std::size_t>(rule.min_idle, rule.min > elsewhere ? rule.min - elsewhere : 0);
        return idle.size() > kept ? idle.size() - kept : 0;
    }
    /// Retires what is idle; returns how many others will soon have to go.
    std::size_t scan() {
        const auto at_its_end = [&](const connection& c) { return aged(c); };
        retire(spare(), at_its_end, close_reason::age);
        if (staying() >= max) retire(idle.size(), at_its_end, close_reason::age); // there will be no room for successors before
        if (rule.idle > 0ms) retire(spare(), [&](const connection& c) { return now - c.used >= rule.idle; }, close_reason::idle);
        if (rule.lifetime == 0ms || (rule.min == 0 && rule.min_idle == 0)) return 0;
        const cenote::duration ahead = std::min({cenote::duration{2s}, cenote::duration{rule.lifetime} / 8, cenote::duration{rule.idle > 0ms ? rule.idle : rule.lifetime} / 8});
        return static_cast<std::size_t>(std::count_if(idle.begin(), idle.end(), [&](const connection& c) { return c.opened + rule.lifetime <= now + ahead; }));
    }
    [[nodiscard]] bool aged(const connection& c) const { return rule.lifetime > 0ms && now - c.opened >= rule.lifetime; }

    std::optional<connection> open() {
        if (fails(site::open)) return std::nullopt;
        return connection{.id = ++opened, .opened = now, .used = now};
    }
    connection lease(connection c) {
        ++c.uses;
        leased.push_back(c);
        return c;
    }
    connection take(std::size_t at) {
        std::swap(leased[at], leased.back());
        const connection c = leased.back();
        leased.pop_back();
        return c;
    }
    connection coldest() {
        const connection c = rule.fifo ? idle.front() : idle.back();
        rule.fifo ? idle.pop_front() : idle.pop_back();
        return c;
    }
    bool pinged(const connection& c) { return !fails(site::ping) && !c.lost && !c.busy; }
    std::optional<close_reason> unfit(connection& c, bool has_time, bool& untested) {
        if (aged(c)) return close_reason::age;
        if (c.answer_due) {
            if (untested = !has_time; untested) return std::nullopt;
            c.answer_due = false;
            const bool held = std::exchange(c.suspect, false);
            if (c.lost) return failed(held, close_reason::validation);
            if (fails(site::reset_finish)) return failed(held, close_reason::reset_failed);
            clean(c);
            return std::nullopt;
        }
        const bool held = c.suspect;
        if (!held) { // a suspect is pinged, whatever the rule
            const bool test = rule.look == looks::ping || (rule.look != looks::never && now - c.used >= rule.after);
            if (!test || (rule.look == looks::peek_after && !c.lost && !c.busy)) return std::nullopt;
            if (rule.look == looks::peek_after && c.lost) return failed(held, close_reason::validation);
        }
        if (untested = !has_time; untested) return std::nullopt;
        c.suspect = false;
        return pinged(c) ? std::nullopt : std::optional{failed(held, close_reason::validation)};
    }
    /// One that fails its test makes suspects of all others, unless it was one itself.
    close_reason failed(bool held, close_reason why) {
        if (rule.suspects && !held) each([](connection& c) { c.suspect = true; });
        return why;
    }
    void clean(connection& c) {
        c.transaction = c.busy = false;
        if (rule.what == cleanup::reset) c.setting = false;
        if (rule.what == cleanup::script) ++executed;
    }
    bool cleaned(connection& c) {
        const bool script = rule.what == cleanup::script;
        if (!script || c.transaction || c.busy) {
            if (fails(rule.what == cleanup::reset ? site::reset : site::rollback) || c.lost) return false;
        }
        if (script && (fails(site::execute) || c.lost)) return false;
        clean(c);
        return true;
    }
    void end(const connection& c, close_reason why) { closed.emplace_back(c.id, why); }
    void close_later(const connection& c, close_reason why) { shut ? end(c, why) : chores.push_back({c, why}); }
    void settle(const connection& c, bool in_place = false) {
        if (shut) return end(c, close_reason::shutdown);
        if (staying() + 1 > keep) return in_place ? end(c, close_reason::overflow) : close_later(c, close_reason::overflow);
        rule.fifo ? idle.push_back(c) : idle.push_front(c);
    }
    void do_chores() {
        while (!chores.empty()) {
            chore c = chores.front();
            chores.pop_front();
            if (c.why) end(c.what, *c.why);
            else if (cleaned(c.what)) settle(c.what, true);
            else end(c.what, close_reason::reset_failed);
        }
    }
    template <class P>
    void retire(std::size_t most, P matches, close_reason why) { // coldest first
        if (!rule.fifo) std::reverse(idle.begin(), idle.end());
        std::erase_if(idle, [&](const connection& c) {
            if (most == 0 || !matches(c)) return false;
            --most;
            chores.push_back({c, why});
            return true;
        });
        if (!rule.fifo) std::reverse(idle.begin(), idle.end());
    }
};

// ── the walk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// What a pool of the walk has beside the policies under test.
struct world {
    script s;
    manual_clock clock;
    std::vector<std::pair<std::size_t, close_reason>> closed;

    auto told() {
        return cenote::on_close{[this](const scripted_connection& c, close_reason why) { closed.emplace_back(c.id(), why); }};
    }
};

template <class Make>
void walk(const char* name, rules r, Make make) {
    using pool_type = decltype(make(std::declval<world&>()));
    r.suspects = pool_type::core_type::cfg::tests_suspects;
    const std::uint64_t seed = from_environment("CENOTE_MODEL_SEED", std::random_device{}());
    const std::uint64_t steps = from_environment("CENOTE_MODEL_STEPS", 1'000'000);
    std::mt19937_64 random{seed};
    const auto below = [&](std::uint64_t n) { return random() % n; };

    world w;
    std::unique_ptr<pool_type> db{new pool_type(make(w))};
    std::vector<typename pool_type::lease> leases;
    auto want = std::make_unique<model>(r, 0);
    std::array<std::uint64_t, cenote::close_reasons> ends{};
    std::uint64_t handed_out = 0, step = 0;
    std::deque<std::string> history;
    std::string wrong;
    const auto expect = [&](const char* what, auto got, auto wanted) {
        if (got != wanted && wrong.empty()) wrong = std::string{what} + ": " + std::to_string(got) + " instead of " + std::to_string(wanted);
    };
    const auto note = [&](const char* what, std::uint64_t n = 0) {
        history.push_back(std::string{what} + " " + std::to_string(n));
        if (history.size() > 25) history.pop_front();
    };
    const auto take_out = [&](std::size_t at) {
        std::swap(leases[at], leases.back());
        auto lease = std::move(leases.back());
        leases.pop_back();
        return lease;
    };
    const auto fail_next = [&](site s, const outcome& o) {
        note(to_string(s).data(), 1);
        w.s.next(s, o);
        ++want->failing[static_cast<std::size_t>(s)];
    };
    const auto fault = [&] {
        const auto lost = outcome::fail(cenote::error_class::timeout);
        switch (below(7)) {
        case 0: fail_next(site::open, outcome::fail(cenote::error_class::refused)); break;
        case 1: fail_next(site::ping, lost); break;
        case 2: fail_next(r.what == cleanup::reset ? site::reset : site::rollback, lost); break;
        case 3: fail_next(site::reset_finish, lost); break;
        case 4: fail_next(want->start(), outcome::would_block()); break;
        case 5: fail_next(site::execute, lost); break;
        default:
            want->each([&](connection& c) {
                if (!c.lost && below(3) == 0) {
                    note("lose", c.id);
                    w.s.lose(c.id);
                    c.lost = true;
                }
            });
        }
    };

    while (step < steps && wrong.empty()) {
        want->closed.clear();
        w.closed.clear();
        const std::size_t at = leases.empty() ? 0 : below(leases.size());
        const std::uint64_t choice = want->shut && below(20) == 0 ? 999 : below(1000); // a closed pool goes soon
        if (choice < 350) {
            const bool opens = choice < 300;
            note(opens ? "try_acquire" : "acquire(0)");
            errc why{};
            const auto wanted = want->acquire(opens, why);
            std::error_code code;
            auto lease = opens ? db->try_acquire() : db->acquire(0s, code);
            expect("handed out", lease ? lease->id() : 0, wanted ? wanted->id : 0);
            if (!opens) expect("code", code.value(), wanted ? 0 : static_cast<int>(why));
            if (lease && wanted) {
                const bool dirt = wanted->transaction || wanted->busy || wanted->setting;
                expect("pristine", lease->pristine(), !dirt);
                ++handed_out;
            }
            if (lease) leases.push_back(std::move(lease));
        } else if (choice < 700) {
            if (leases.empty()) continue;
            note("give back", leases[at]->id());
            want->give_back(at);
            take_out(at).give_back();
        } else if (choice < 800) { // leave something behind
            if (leases.empty() || want->leased[at].lost) continue;
            connection& c = want->leased[at];
            const std::uint64_t what = below(3);
            note("dirt", what);
            if (what == 0) (leases[at]->begin(), c.transaction = true);
            if (what == 1) (leases[at]->leave_busy(), c.busy = true);
            if (what == 2) (leases[at]->set("x"), c.setting = true);
        } else if (choice < 820) {
            if (leases.empty()) continue;
            note("discard", leases[at]->id());
            want->discard(at);
            take_out(at).discard();
        } else if (choice < 835) {
            if (leases.empty()) continue;
            note("detach", leases[at]->id());
            want->detach(at);
            auto lease = take_out(at);
            lease->mark_detached();
            (void)lease.detach();
        } else if (choice < 900) {
            const milliseconds by{below(4) == 0 ? below(40) : below(4)};
            note("advance", static_cast<std::uint64_t>(by.count()));
            want->now = w.clock.advance(by);
        } else if (choice < 950) {
            note("maintain");
            want->maintain();
            (void)db->maintain();
        } else if (choice < 970) {
            if constexpr (requires { db->resize(1); }) {
                const unsigned low = std::max({1U, r.min, r.min_idle});
                const auto n = static_cast<unsigned>(low + below(r.ceiling - low + 1));
                note("resize", n);
                want->resize(n);
                db->resize(n);
            }
        } else if (choice < 998) {
            fault();
        } else if (choice == 998) {
            note("close");
            want->close();
            (void)db->close(cenote::deadline::in(0s));
        } else { // the pool goes, its leases stay a little longer where they may
            note("destroy");
            if constexpr (pool_type::core_type::cfg::embedded) {
                for (std::size_t i = leases.size(); i-- != 0;) {
                    want->give_back(i);
                    take_out(i).give_back();
                }
            }
            want->close();
            db.reset();
            while (!leases.empty()) {
                want->give_back(leases.size() - 1);
                leases.pop_back();
            }
        }

        auto& closed = want->closed;
        std::sort(closed.begin(), closed.end());
        std::sort(w.closed.begin(), w.closed.end());
        for (const auto& c : w.closed) ++ends[static_cast<std::size_t>(c.second)];
        expect("connections closed in this step", w.closed.size(), closed.size());
        for (std::size_t i = 0; i < closed.size() && wrong.empty(); ++i) {
            expect("closed connection", w.closed[i].first, closed[i].first);
            expect("close reason", static_cast<int>(w.closed[i].second), static_cast<int>(closed[i].second));
        }
        expect("opened", w.s.opened(), want->opened);
        expect("open", w.s.open_now(), want->total());
        if (db) {
            const auto got = db->stats();
            expect("idle", got.idle, want->idle.size());
            constexpr bool calm = pool_type::core_type::cfg::calm; // does not tell closing from used
            expect("used", got.used, want->leased.size() + (calm ? want->closing() : 0));
            expect("closing", got.closing, calm ? 0 : want->closing());
            expect("resetting", got.resetting, want->chores.size() - want->closing());
            expect("total", got.total, want->total());
            expect("max", got.max, want->max);
            expect("opening and pending", got.opening + got.pending, 0U);
        } else {
            const auto failing = want->failing;
            const auto now = want->now;
            const auto executed = want->executed;
            want = std::make_unique<model>(r, want->opened);
            want->failing = failing;
            want->now = now;
            want->executed = executed;
            db.reset(new pool_type(make(w)));
        }
        ++step;
    }
    expect("executed", w.s.executed().size(), want->executed);
    leases.clear();
    db.reset();

    std::string line = std::string{"model: "} + name + ": " + std::to_string(step) + " steps, seed " + std::to_string(seed) + ", leases " +
                       std::to_string(handed_out) + ", opened " + std::to_string(w.s.opened());
    for (unsigned i = 0; i < cenote::close_reasons; ++i) {
        if (ends[i] != 0) line.append(", ").append(to_string(static_cast<close_reason>(i))).append(" ").append(std::to_string(ends[i]));
    }
    std::puts(line.c_str());
    std::string last;
    for (const auto& h : history) last.append("\n    ").append(h);
    INFO("CENOTE_MODEL_SEED=" << seed << ", step " << step << ", the last ones:" << last);
    CHECK(wrong == "");
    CHECK(w.s.violations_at_end() == std::vector<std::string>{});
}

} // namespace

using cenote::background, cenote::at_return, cenote::deferred, cenote::reset_always, cenote::reset_if_dirty;

TEST_CASE("walk: lifo, ages, peek, deferred clean-up of dirty ones", "[model]") {
    walk("lifo, bounded, peek_after, deferred{reset_if_dirty}",
         {.lifetime = 100ms, .idle = 30ms, .look = looks::peek_after, .after = 3ms, .clean = cleans::deferred}, [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::bounded{.max = 4}, cenote::strictly_fair{}, cenote::lifo{}, cenote::with_mutex{}, cenote::manual{},
                                 cenote::max_lifetime{100ms, 0.0}, cenote::idle_timeout{30ms}, cenote::peek_after{.idle = 3ms},
                                 deferred{reset_if_dirty{}}, cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: fifo with min and min_idle, resized, reset in the background", "[model]") {
    walk("fifo, min, min_idle, resize, pre_ping_after, background{reset_always}",
         {.fifo = true, .keep = 4, .max = 4, .ceiling = 8, .min = 2, .min_idle = 1, .lifetime = 150ms, .idle = 20ms, .look = looks::ping_after, .after = 5ms,
          .clean = cleans::background, .what = cleanup::reset},
         [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::bounded{.min_idle = 1, .min = 2, .max = 4, .ceiling = 8}, cenote::eventually_fair{}, cenote::fifo{},
                                 cenote::manual{}, cenote::max_lifetime{150ms, 0.0}, cenote::idle_timeout{20ms},
                                 cenote::pre_ping_after{.idle = 5ms}, background{reset_always{}}, cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: overflow, uses, ping, clean-up at return", "[model]") {
    walk("lifo, overflow, max_uses, pre_ping, at_return{reset_if_dirty}",
         {.keep = 2, .max = 5, .ceiling = 5, .uses = 7, .look = looks::ping, .clean = cleans::at_return}, [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::overflow{2, 3}, cenote::barging{}, cenote::lifo{}, cenote::with_mutex{}, cenote::manual{}, cenote::no_max_lifetime{},
                                 cenote::no_idle_timeout{}, cenote::max_uses{7}, cenote::pre_ping{}, at_return{reset_if_dirty{}},
                                 cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: fifo overflow, ages and uses, deferred reset of all", "[model]") {
    walk("fifo, overflow, all ages, no_validation, deferred{reset_always}",
         {.fifo = true, .keep = 1, .max = 3, .ceiling = 3, .lifetime = 60ms, .idle = 40ms, .uses = 9, .clean = cleans::deferred, .what = cleanup::reset}, [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::overflow{1, 2}, cenote::strictly_fair{}, cenote::fifo{}, cenote::manual{},
                                 cenote::max_lifetime{60ms, 0.0}, cenote::idle_timeout{40ms}, cenote::max_uses{9}, cenote::no_validation{},
                                 deferred{reset_always{}}, cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: always peeked at, clean-up in the background, ceiling", "[model]") {
    walk("lifo, resize, peek always, background{reset_if_dirty}",
         {.keep = 3, .max = 3, .ceiling = 6, .min = 1, .idle = 25ms, .look = looks::peek_after, .clean = cleans::background}, [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::bounded{.min = 1, .max = 3, .ceiling = 6}, cenote::eventually_fair{}, cenote::lifo{}, cenote::with_mutex{}, cenote::manual{},
                                 cenote::no_max_lifetime{}, cenote::idle_timeout{25ms}, cenote::peek_after{.idle = 0ms}, background{reset_if_dirty{}},
                                 cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: one thread, nobody waits, nothing is reset", "[model]") {
    walk("fifo, single_threaded, max_uses, pre_ping_after, no_reset",
         {.fifo = true, .keep = 4, .max = 4, .ceiling = 5, .uses = 5, .look = looks::ping_after, .after = 2ms, .waits = false}, [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::bounded{.max = 4, .ceiling = 5}, cenote::single_threaded{}, cenote::fifo{}, cenote::no_max_lifetime{},
                                 cenote::no_idle_timeout{}, cenote::max_uses{5}, cenote::pre_ping_after{.idle = 2ms}, cenote::no_reset{},
                                 cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: one thread, overflow, lifetime, reset at return", "[model]") {
    walk("lifo, single_threaded, overflow, peek_after, at_return{reset_always}",
         {.keep = 2, .max = 4, .ceiling = 4, .lifetime = 80ms, .look = looks::peek_after, .after = 4ms, .clean = cleans::at_return, .what = cleanup::reset, .waits = false},
         [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::overflow{2, 2}, cenote::single_threaded{}, cenote::lifo{}, cenote::max_lifetime{80ms, 0.0},
                                 cenote::no_idle_timeout{}, cenote::peek_after{.idle = 4ms}, at_return{reset_always{}}, cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: fixed capacity", "[model]") {
    walk("lifo, fixed<3>, idle_timeout, pre_ping, deferred{reset_if_dirty}",
         {.keep = 3, .max = 3, .ceiling = 3, .idle = 20ms, .look = looks::ping, .clean = cleans::deferred}, [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::fixed<3>{}, cenote::strictly_fair{}, cenote::lifo{}, cenote::with_mutex{}, cenote::no_max_lifetime{}, cenote::idle_timeout{20ms},
                                 cenote::pre_ping{}, deferred{reset_if_dirty{}}, cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: a script is deferred", "[model]") {
    walk("fifo, bounded, idle_timeout, peek always, deferred{reset_with}",
         {.fifo = true, .keep = 3, .max = 3, .ceiling = 3, .min_idle = 1, .idle = 25ms, .look = looks::peek_after, .clean = cleans::deferred, .what = cleanup::script},
         [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::bounded{.min_idle = 1, .max = 3}, cenote::strictly_fair{}, cenote::fifo{}, cenote::manual{},
                                 cenote::no_max_lifetime{}, cenote::idle_timeout{25ms}, cenote::peek_after{.idle = 0ms}, deferred{cenote::reset_with{"x"}},
                                 cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: fixed capacity, one thread, a script at return", "[model]") {
    walk("lifo, fixed<3>, single_threaded, pre_ping, at_return{reset_with}",
         {.keep = 3, .max = 3, .ceiling = 3, .look = looks::ping, .clean = cleans::at_return, .what = cleanup::script, .waits = false}, [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::fixed<3>{}, cenote::single_threaded{}, cenote::lifo{}, cenote::no_max_lifetime{},
                                 cenote::no_idle_timeout{}, cenote::pre_ping{}, at_return{cenote::reset_with{"x"}}, cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: fixed capacity, one thread", "[model]") {
    walk("fifo, fixed<4>, single_threaded, max_uses, pre_ping, no_reset",
         {.fifo = true, .keep = 4, .max = 4, .ceiling = 4, .uses = 6, .look = looks::ping, .waits = false}, [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::fixed<4>{}, cenote::single_threaded{}, cenote::fifo{}, cenote::no_max_lifetime{},
                                 cenote::no_idle_timeout{}, cenote::max_uses{6}, cenote::pre_ping{}, cenote::no_reset{}, cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}

TEST_CASE("walk: fixed capacity, one thread, clean-up in the background", "[model]") {
    walk("lifo, fixed<3>, single_threaded, lifetime, peek_after, background{reset_always}",
         {.keep = 3, .max = 3, .ceiling = 3, .lifetime = 70ms, .look = looks::peek_after, .after = 2ms, .clean = cleans::background, .what = cleanup::reset, .waits = false},
         [](world& w) {
             return cenote::pool{scripted{w.s}, cenote::fixed<3>{}, cenote::single_threaded{}, cenote::lifo{}, cenote::max_lifetime{70ms, 0.0},
                                 cenote::no_idle_timeout{}, cenote::peek_after{.idle = 2ms}, background{reset_always{}}, cenote::clock::manual{w.clock}, w.told(), cenote::never_cut{}};
         });
}
