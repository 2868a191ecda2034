// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What makes classes of errors: SQLSTATEs and numbers, and the last words of a server that lie unread in a socket. Input: any bytes.
#include <cenote/drivers/mysql.hpp>
#include <cenote/drivers/postgres.hpp>

#include "input.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <sys/socket.h>
#include <unistd.h>

using cenote::error_class;

namespace {

bool is_named(error_class c) {
    switch (c) {
    case error_class::disconnected:
    case error_class::refused:
    case error_class::not_ready:
    case error_class::auth:
    case error_class::server_full:
    case error_class::wrong_role:
    case error_class::stale_plan:
    case error_class::serialization:
    case error_class::constraint:
    case error_class::timeout:
    case error_class::cancelled:
    case error_class::other: return true;
    }
    return false;
}

void sqlstate(const std::string& text) {
    const error_class c = cenote::postgres::classify(text.c_str());
    const std::string seen{text.c_str()};
    fuzz::expect(is_named(c), "a SQLSTATE has a class", seen);
    if (seen.size() != 5) fuzz::expect(c == error_class::other, "what is no SQLSTATE is other", seen);
    else if (seen.starts_with("08")) fuzz::expect(c == error_class::disconnected, "08 is disconnected", seen);
    else if (seen.starts_with("23")) fuzz::expect(c == error_class::constraint, "23 is constraint", seen);
    else if (seen.starts_with("28")) fuzz::expect(c == error_class::auth, "28 is auth", seen);
    else if (seen.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != seen.npos) fuzz::expect(c == error_class::other, "no other class has such letters", seen);
}

void number(unsigned code) {
    const error_class c = cenote::mysql::classify(code);
    const bool fatal = cenote::drivers::mysql_client::is_fatal(code);
    fuzz::expect(is_named(c), "a number has a class", std::to_string(code));
    const bool own = code >= 5013 && code <= 5015; // of Connector/C: reading, writing, TLS
    if (own) fuzz::expect(c == error_class::disconnected && fatal, "what the client cannot read or write is a lost connection", std::to_string(code));
    else if (code < 1000 || code >= 5000) fuzz::expect(c == error_class::other && !fatal, "no server or client has such a number", std::to_string(code));
    if (c == error_class::disconnected) fuzz::expect(fatal, "a lost connection is of no more use", std::to_string(code));
    if (c == error_class::constraint || c == error_class::serialization) fuzz::expect(!fatal, "a statement's error is not the connection's", std::to_string(code));
}

void last_words(const std::string& bytes) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return;
    (void)!::write(ends[1], bytes.data(), bytes.size());
    const auto told = cenote::drivers::mysql_client::unread_refusal(ends[0]);
    ::close(ends[0]);
    ::close(ends[1]);
    fuzz::expect(fuzz::holds(bytes, told.text) && fuzz::holds(bytes, told.sqlstate), "nothing but what was said", told.text);
    fuzz::expect(told.sqlstate.empty() || told.sqlstate.size() == 5, "a SQLSTATE has five characters", told.sqlstate);
    fuzz::expect(told.code <= 0xffff, "a number has two bytes", std::to_string(told.code));
    number(told.code);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string bytes(size > 0 ? reinterpret_cast<const char*>(data) : "", size);
    sqlstate(bytes);
    sqlstate(bytes.substr(0, 5));
    fuzz::expect(cenote::postgres::classify(nullptr) == error_class::other, "none is other");
    unsigned code = 0;
    std::memcpy(&code, bytes.data(), bytes.size() < sizeof code ? bytes.size() : sizeof code);
    number(code);
    number(code % 5000);
    if (bytes.size() <= 4096) last_words(bytes);
    return 0;
}
