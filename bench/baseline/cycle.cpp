// Distributed under the Boost Software License, Version 1.0. See LICENSE.

// One pool alone in its program, SUBJECT, for its instructions to be counted: by the side of others the compiler would inline less.
// usage: cycle                 runs count_cycles() once: so many rounds
#include "subject.hpp"

#include "../lib/windows.hpp"

#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

namespace {

using subject_type = subject::SUBJECT;
constexpr int rounds = 10000;
subject_type::pool* pool = nullptr;

/// The instrumented processor knows no restartable sequences, so the kernel has not written there which processor this is: it is the
/// first, and the pools take the way that they take elsewhere.
void tell_processor() {
#if __has_include(<sys/rseq.h>)
    auto* const area = reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset);
    auto& id = *static_cast<volatile __u32*>(&area->cpu_id);
    if (static_cast<int>(id) < 0) id = 0;
#endif
}

} // namespace

extern "C" [[gnu::noinline]] void count_cycles() {
    for (int i = 0; i < rounds; ++i) {
        const auto held = subject_type::take(*pool);
        bench::keep(&*held);
    }
}

int main() {
    const bench::parked_thread beside;
    auto p = subject_type::make(subject::size);
    pool = &p;
    {
        const auto first = subject_type::take(p); // opened before anything is counted
    }
    tell_processor(); // not before: the C library takes new threads' for registered as well
    count_cycles();
}
