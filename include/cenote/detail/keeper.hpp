// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/clock.hpp>
#include <cenote/detail/idle_set.hpp>
#include <cenote/error.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace cenote::detail {

/// Slots that wait for housekeeping, oldest first.
class chore_list {
public:
    [[nodiscard]] bool empty() const noexcept { return list_.empty(); }
    void push(link& l) noexcept { list_.push(l); }
    [[nodiscard]] link* pop() noexcept { return list_.pop(); }

private:
    chain<fifo> list_;
};

/// Housekeeping without a thread: chores wait until somebody has time.
template <class Sync>
class manual_keeper {
public:
    using ref = manual_keeper*;
    [[nodiscard]] ref hold() noexcept { return this; }
    /// False: the pool is closed, nobody will come by; do it yourself. `call` fetches somebody; under the lock, because once the
    /// chore can be taken the pool may go.
    [[nodiscard]] bool post(link& l, auto&& call) noexcept {
        mutex_.lock();
        const bool taken = !stopped_;
        if (taken) {
            chores_.push(l);
            call();
        }
        mutex_.unlock();
        return taken;
    }
    void stop() noexcept {
        mutex_.lock();
        stopped_ = true;
        mutex_.unlock();
    }
    [[nodiscard]] link* next() noexcept {
        mutex_.lock();
        link* const l = chores_.pop();
        mutex_.unlock();
        return l;
    }
    static void poke() noexcept {}
    static void scan_soon() noexcept {}

private:
    typename Sync::mutex mutex_;
    chore_list chores_;
    bool stopped_ = false;
};

/// Housekeeping of a pool whose returns never make work.
class idle_keeper {
public:
    using ref = idle_keeper;
    [[nodiscard]] ref hold() const noexcept { return {}; }
    [[nodiscard]] static link* next() noexcept { return nullptr; }
    static void poke() noexcept {}
    static void scan_soon() noexcept {}
    static void stop() noexcept {}
};

/// The threads of `background_thread`. They outlive the pool only inside a driver call that does not return.
///
/// Shape    Core: `bool keep_dial(entered, pause)` opens one connection if one is wanted (false: nothing to do); calls `entered()` once
///                it has a permit, and `pause(not_before)` when opening failed, while it still has it
///                `void keep_chore(link&)` carries one out
///                `time_point keep_up()` scans, and says when to scan next, in steady_clock's time
///                `pin()`, `let_go()` keep the core alive meanwhile; the last to let go of one whose pool is gone frees it
/// Locks    `mutex_` guards everything here and is never held while the core is called, but to pin it.
///          A worker inside the core holds a permit or a pin, either of which keeps the core alive; so no worker touches one that is gone.
template <class Core>
class crew : public std::enable_shared_from_this<crew<Core>> {
public:
    crew(Core& core, unsigned max_dials, duration patience) noexcept : core_{&core}, max_dials_{max_dials}, patience_{patience} {}

    /// Makes sure that there is a worker. Throws std::system_error if the first thread cannot be had.
    void start() {
        const std::unique_lock lock{mutex_};
        if (!stop_ && workers_.empty()) add_worker();
    }

    /// False: the pool is gone, or no thread was to be had; nobody will come by, do it yourself.
    [[nodiscard]] bool post(link& l, auto&&) noexcept {
        const std::scoped_lock lock{mutex_};
        if (stop_ || workers_.empty()) return false;
        chores_.push(l);
        wake_one();
        return true;
    }
    /// A connection may be wanted.
    void poke() noexcept {
        const std::scoped_lock lock{mutex_};
        dial_wanted_ = true;
        wake_one();
    }

    /// What is due may be due at another time now.
    void scan_soon() noexcept {
        const std::scoped_lock lock{mutex_};
        scan_at_ = time_point::min();
        wake_one();
    }

    /// How many dials have ended. Waits until it is no longer `seen`, or until `until`.
    [[nodiscard]] unsigned await_dial(unsigned seen, time_point until) noexcept {
        std::unique_lock lock{mutex_};
        const auto changed = [&] { return dials_ended_ != seen || stop_; };
        if (until == time_point::max()) gone_.wait(lock, changed);
        else gone_.wait_until(lock, until, changed);
        return dials_ended_;
    }
    [[nodiscard]] unsigned dials_ended() noexcept {
        const std::scoped_lock lock{mutex_};
        return dials_ended_;
    }

    /// Its caller, a worker, may be gone for a while: somebody else is there for the rest.
    void step_aside() noexcept {
        const std::scoped_lock lock{mutex_};
        ensure_spare();
    }

    /// Those who wait for a dial to end look again.
    void rouse() noexcept {
        const std::scoped_lock lock{mutex_};
        ++dials_ended_;
        gone_.notify_all();
    }

    /// The pool is going: nothing new is begun, what was posted is done. Waits for that up to `patience`; workers that are not done
    /// by then go on by themselves, each kept in a core by its permit or pin.
    void stop() noexcept {
        std::unique_lock lock{mutex_};
        stop_ = true;
        changed_.notify_all();
        const auto self = std::this_thread::get_id(); // a hook may drop the last handle of its own pool
        const auto ended = [&] {
            return std::all_of(workers_.begin(), workers_.end(), [&](const auto& w) { return w->done || w->thread.get_id() == self; });
        };
        const time_point until = deadline::after(patience_, now()).at();
        if (until == time_point::max()) gone_.wait(lock, ended);
        else gone_.wait_until(lock, until, ended);
        for (auto& w : std::exchange(workers_, {})) {
            if (w->done && w->thread.get_id() != self) {
                lock.unlock();
                w->thread.join(); // has left the loop: only its last instructions are to come
                lock.lock();
            } else {
                w->thread.detach();
            }
        }
    }
    [[nodiscard]] link* next() noexcept {
        const std::scoped_lock lock{mutex_};
        return chores_.pop();
    }

private:
    struct worker {
        std::thread thread;
        bool done = false;
    };

    void wake_one() noexcept {
        if (parked_ != 0) changed_.notify_one();
    }

    void add_worker() {
        auto w = std::make_shared<worker>();
        workers_.reserve(workers_.size() + 1);
        w->thread = std::thread{[self = this->shared_from_this(), w] { self->run(*w); }};
        workers_.push_back(w);
    }

    /// Before a worker disappears into a driver call somebody else must be there for the rest.
    void ensure_spare() noexcept {
        if (stop_ || parked_ != 0 || workers_.size() > max_dials_) return;
        try {
            add_worker();
        } catch (...) { // no thread to be had: the others do what they can, and the next call tries again
        }
    }

    void run(worker& me) noexcept {
        std::unique_lock lock{mutex_};
        for (;;) {
            if (link* const l = chores_.pop()) {
                ensure_spare();
                lock.unlock();
                core_->keep_chore(*l);
                lock.lock();
            } else if (stop_) {
                break;
            } else if (dial_wanted_ && dialling_ < allowed_ && now() >= dial_at_) {
                ensure_spare();
                dial_wanted_ = false; // before the core is asked, so that no poke meanwhile is lost
                ++dialling_;
                core_->pin();
                lock.unlock();
                bool failed = false;
                const bool dialled = core_->keep_dial([&]() noexcept { // has a permit now; there may be need for one more
                    core_->let_go();
                    const std::scoped_lock again{mutex_};
                    dial_wanted_ = true;
                    wake_one();
                }, [&](time_point not_before) noexcept { // while it still has it
                    const std::scoped_lock again{mutex_};
                    dial_at_ = not_before;
                    failed = true;
                });
                if (!dialled) core_->let_go();
                lock.lock();
                --dialling_;
                if (dialled) {
                    dial_wanted_ = true;
                    ++dials_ended_;
                    allowed_ = failed ? 1 : std::min(allowed_ * 2, max_dials_);
                    gone_.notify_all();
                }
            } else if (now() >= scan_at_) {
                scan_at_ = time_point::max(); // nobody else scans meanwhile
                core_->pin();
                lock.unlock();
                const time_point at = core_->keep_up();
                core_->let_go();
                lock.lock();
                if (at < scan_at_) scan_at_ = at;
                wake_one();
            } else {
                ++parked_;
                const time_point until = dial_wanted_ && dialling_ < allowed_ && dial_at_ < scan_at_ ? dial_at_ : scan_at_;
                if (until == time_point::max()) changed_.wait(lock);
                else changed_.wait_until(lock, until);
                --parked_;
            }
        }
        me.done = true;
        gone_.notify_all();
    }
    [[nodiscard]] static time_point now() noexcept { return std::chrono::steady_clock::now(); }

    std::mutex mutex_;
    std::condition_variable changed_; ///< something to do, or stop
    std::condition_variable gone_;    ///< a worker ended, or a dial did
    Core* core_;
    chore_list chores_;
    std::vector<std::shared_ptr<worker>> workers_;
    time_point scan_at_ = time_point::min();
    time_point dial_at_ = time_point::min(); ///< backoff: not before
    unsigned max_dials_;
    unsigned allowed_ = max_dials_; ///< one after a failure, then twice as many with each success
    unsigned parked_ = 0;
    unsigned dialling_ = 0;
    unsigned dials_ended_ = 0; ///< and how often somebody was roused
    duration patience_;
    bool dial_wanted_ = false;
    bool stop_ = false;
};

} // namespace cenote::detail
