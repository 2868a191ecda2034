// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#include "unit/shell/allocations.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

// In a file of its own: a compiler that sees both this and a new-expression takes malloc and free for mismatched.

namespace {

struct plan {
    std::size_t made = 0;
    std::size_t fail = alloc_test::none; ///< the number of the allocation that fails
    bool from_then_on = false;
    bool failed = false;
    unsigned spared = 0;
};
constinit thread_local plan here;

constinit std::atomic<bool> everywhere{false};
constinit std::atomic<std::size_t> made_anywhere{0}, fail_anywhere{alloc_test::none};
constinit std::atomic<bool> anywhere_from_then_on{false}, anywhere_failed{false};

bool refused() noexcept {
    plan& p = here;
    ++p.made;
    if (p.spared != 0) return false;
    if (p.fail != alloc_test::none && (p.made == p.fail || (p.from_then_on && p.made > p.fail))) return p.failed = true;
    if (everywhere.load(std::memory_order_relaxed)) {
        const std::size_t n = made_anywhere.fetch_add(1, std::memory_order_relaxed) + 1;
        const std::size_t fail = fail_anywhere.load(std::memory_order_relaxed);
        if (n == fail || (anywhere_from_then_on.load(std::memory_order_relaxed) && n > fail)) {
            anywhere_failed.store(true, std::memory_order_relaxed);
            return true;
        }
    }
    return false;
}
void* allocate(std::size_t n) noexcept { return refused() ? nullptr : std::malloc(n == 0 ? 1 : n); }
void* allocate(std::size_t n, std::align_val_t a) noexcept {
    const auto align = static_cast<std::size_t>(a);
    return refused() ? nullptr : std::aligned_alloc(align, (n + align - 1) / align * align);
}

} // namespace

void* operator new(std::size_t n) {
    if (void* const p = allocate(n)) return p;
    throw std::bad_alloc{};
}
void* operator new(std::size_t n, std::align_val_t a) {
    if (void* const p = allocate(n, a)) return p;
    throw std::bad_alloc{};
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return allocate(n); }
void* operator new[](std::size_t n) { return ::operator new(n); }
void* operator new[](std::size_t n, std::align_val_t a) { return ::operator new(n, a); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return allocate(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }

namespace alloc_test {

std::size_t made_here() noexcept { return here.made; }

fail_at::fail_at(std::size_t n, bool from_then_on) noexcept {
    here.fail = here.made + n;
    here.from_then_on = from_then_on;
    here.failed = false;
}
fail_at::~fail_at() { here.fail = none; }
bool fail_at::failed() const noexcept { return here.failed; }

fail_anywhere_at::fail_anywhere_at(std::size_t n, bool from_then_on) noexcept {
    made_anywhere = 0;
    fail_anywhere = n;
    anywhere_from_then_on = from_then_on;
    anywhere_failed = false;
    everywhere = true;
}
fail_anywhere_at::~fail_anywhere_at() { everywhere = false; }
bool fail_anywhere_at::failed() const noexcept { return anywhere_failed; }

spared::spared() noexcept { ++here.spared; }
spared::~spared() { --here.spared; }

} // namespace alloc_test
