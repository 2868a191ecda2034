// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/drivers/detail/secret.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if !defined(LIBPQ_HAS_PIPELINING)
#error "cenote's PostgreSQL driver needs libpq 14 or later: pipeline mode."
#endif

/// Inside the PostgreSQL driver.
namespace cenote::drivers::pg {

using settings = std::vector<std::pair<std::string, std::string>>;

struct free_options {
    void operator()(PQconninfoOption* o) const noexcept { PQconninfoFree(o); }
};
using option_list = std::unique_ptr<PQconninfoOption, free_options>;

[[noreturn]] inline void refuse(std::string_view field, std::string_view value, std::string_view rule) {
    throw std::invalid_argument(std::string{"cenote: postgres."}.append(field).append(" = ").append(value).append(": ").append(rule));
}

/// Where connections go, checked and taken apart once: keyword arrays, as in a string somebody could smuggle in a keyword.
///
/// With     no message repeats a value of a connection string: what libpq cannot parse may well be a password with a special character.
class target {
public:
    /// One server to try: what differs from the other ones.
    struct place {
        std::string host, hostaddr, port;
    };

    target(const std::string& conninfo, const settings& named, const settings& defaults) : known_{keywords()} {
        for (const auto& [key, value] : named) hide(key, value); // before anything of them is shown
        if (const char* from_environment = std::getenv("PGPASSWORD")) secrets_.add(from_environment);
        if (!conninfo.empty()) parse(conninfo);
        for (const auto& [key, value] : named) {
            if (!knows(key)) reject("options.parameters", std::string{"'"} + secrets_.scrubbed(key).c_str() + "'", "is no keyword of this libpq; see PQconninfoParse");
            if (value.find('\0') != value.npos) reject("options.parameters", "'" + key + "'", "its value contains a zero byte, where libpq would stop");
            set(key, value);
        }
        for (const auto& [key, value] : defaults) {
            if (knows(key) && find(key).empty()) set(key, value);
        }
        take_environment();
        find_places();
        passes_ = find("target_session_attrs") == "prefer-standby" ? std::vector<std::string>{"standby", "any"} : std::vector<std::string>{""};
    }

    [[nodiscard]] const secrets& hidden() const noexcept { return secrets_; }
    [[nodiscard]] const std::vector<place>& places() const noexcept { return places_; }
    /// What target_session_attrs is in each round over the places; empty: as it was given.
    [[nodiscard]] const std::vector<std::string>& passes() const noexcept { return passes_; }
    [[nodiscard]] bool wants_role() const noexcept {
        const std::string_view attrs = find("target_session_attrs");
        return !attrs.empty() && attrs != "any";
    }
    /// Whether the order of the places is to be drawn anew for each connection.
    [[nodiscard]] bool shuffles() const noexcept { return find("load_balance_hosts") == "random"; }
    /// Seconds per place; 0: none given.
    [[nodiscard]] int connect_timeout() const noexcept { return connect_timeout_; }

    /// The value of a keyword, or nothing.
    [[nodiscard]] std::string_view find(std::string_view key) const noexcept {
        for (const auto& [k, v] : settings_) {
            if (k == key) return v;
        }
        return {};
    }

    /// Begins to connect to one place. Null only without memory.
    [[nodiscard]] PGconn* start(const place& where, const std::string& attrs) const {
        std::vector<const char*> keys, values;
        const auto add = [&](const char* key, const char* value) {
            keys.push_back(key);
            values.push_back(value);
        };
        const bool chosen = places_.size() > 1;
        for (const auto& [key, value] : settings_) {
            if (chosen && (key == "host" || key == "hostaddr" || key == "port" || key == "load_balance_hosts")) continue;
            if (!attrs.empty() && key == "target_session_attrs") continue;
            add(key.c_str(), value.c_str());
        }
        if (chosen) {
            add("host", where.host.c_str());
            add("hostaddr", where.hostaddr.c_str());
            add("port", where.port.c_str());
        }
        if (!attrs.empty()) add("target_session_attrs", attrs.c_str());
        add(nullptr, nullptr);
        return PQconnectStartParams(keys.data(), values.data(), 0);
    }

private:
    [[nodiscard]] static std::vector<std::string> keywords() {
        const option_list all{PQconndefaults()};
        if (!all) throw std::bad_alloc{};
        std::vector<std::string> out;
        for (const PQconninfoOption* o = all.get(); o->keyword != nullptr; ++o) out.emplace_back(o->keyword);
        return out;
    }
    [[nodiscard]] bool knows(std::string_view key) const noexcept { return std::find(known_.begin(), known_.end(), key) != known_.end(); }
    /// A secret stays one also where a later value takes its place.
    void hide(std::string_view key, const std::string& value) {
        for (const std::string_view one : {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}) {
            if (key == one) secrets_.add(value);
        }
    }
    /// Refuses, without what is a secret elsewhere: values get into the wrong field.
    [[noreturn]] void reject(std::string_view field, std::string value, std::string_view rule) const {
        refuse(field, secrets_.scrubbed(std::move(value)), rule);
    }
    void set(const std::string& key, const std::string& value) {
        hide(key, value);
        for (auto& [k, v] : settings_) {
            if (k == key) {
                v = value;
                return;
            }
        }
        settings_.emplace_back(key, value);
    }

    /// libpq's complaint about a string, without the part of the string that it quotes.
    [[nodiscard]] static std::string_view complaint(std::string_view said) noexcept {
        constexpr std::array<std::pair<std::string_view, std::string_view>, 10> known{{
            {"missing \"=\" after", "a word stands without '='; a value with spaces needs single quotes"},
            {"unterminated quoted string", "a single quote is not closed"},
            {"invalid connection option", "a word before '=' is no keyword of this libpq; a value with spaces needs single quotes"},
            {"end of string reached when looking for matching", "a '[' of an IPv6 address is not closed"},
            {"IPv6 host address may not be empty", "an IPv6 address is empty"},
            {"unexpected character", "after an IPv6 address comes something other than ':' or '/'"},
            {"invalid percent-encoded token", "a '%' is not followed by two hexadecimal digits; '%' itself is written %25"},
            {"forbidden value %00", "%00 is a zero byte"},
            {"missing key/value separator", "a parameter after '?' has no '='"},
            {"invalid URI query parameter", "a parameter after '?' is no keyword of this libpq"},
        }};
        for (const auto& [theirs, ours] : known) {
            if (said.starts_with(theirs)) return ours;
        }
        return "libpq cannot read it";
    }

    void parse(const std::string& conninfo) {
        // Nothing of the string is shown, as what breaks it is most often a password.
        constexpr std::string_view hidden = "'…'";
        if (conninfo.find('\0') != conninfo.npos) refuse("conninfo", hidden, "contains a zero byte, where libpq would stop");
        char* said = nullptr;
        const option_list parsed{PQconninfoParse(conninfo.c_str(), &said)};
        const std::unique_ptr<char, decltype([](char* p) { PQfreemem(p); })> owner{said};
        if (!parsed) {
            if (said == nullptr) throw std::bad_alloc{};
            refuse("conninfo", hidden, complaint(said));
        }
        for (const PQconninfoOption* o = parsed.get(); o->keyword != nullptr; ++o) {
            if (o->val != nullptr) set(o->keyword, o->val);
        }
        if (conninfo.starts_with("postgresql://") || conninfo.starts_with("postgres://")) {
            // libpq reads "u:se@cret@host" and "u:se/cret@host" without a word, and tells everybody the rest of the password later.
            for (const char* key : {"host", "dbname"}) {
                if (find(key).find('@') != std::string_view::npos) {
                    refuse("conninfo", hidden, std::string{"its "} + key + " contains '@'; in a URI, '@' in a name or password is written %40 and '/' %2F");
                }
            }
        }
        for (const std::string& port : split(find("port"))) {
            if (!is_port(port)) refuse("conninfo", hidden, "a port is not a number of 1 … 65535; in a URI, '/' in a name or password is written %2F and ':' %3A");
        }
    }

    [[nodiscard]] static bool is_port(std::string_view text) noexcept {
        if (text.empty()) return true; // libpq's default
        unsigned n = 0;
        const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), n);
        return fault == std::errc{} && end == text.data() + text.size() && n >= 1 && n <= 65535;
    }
    [[nodiscard]] static std::vector<std::string> split(std::string_view list) {
        std::vector<std::string> out;
        if (list.empty()) return out;
        for (std::size_t at = 0;;) {
            const std::size_t comma = list.find(',', at);
            out.emplace_back(list.substr(at, comma == list.npos ? list.npos : comma - at));
            if (comma == list.npos) return out;
            at = comma + 1;
        }
    }

    /// What is not given comes from the environment, as in libpq: here what decides how several places are tried. A service file is libpq's
    /// own affair: its hosts share the deadline.
    void take_environment() {
        if (!find("service").empty()) return;
        const option_list all{PQconndefaults()};
        if (!all) throw std::bad_alloc{};
        for (const PQconninfoOption* o = all.get(); o->keyword != nullptr; ++o) {
            for (const std::string_view key : {"host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts", "connect_timeout"}) {
                if (o->keyword == key && o->val != nullptr && find(key).empty()) set(o->keyword, o->val);
            }
        }
    }

    void find_places() {
        const std::string_view host = find("host"), hostaddr = find("hostaddr"), port = find("port");
        const std::vector<std::string> hosts = split(host), addresses = split(hostaddr), ports = split(port);
        if (!hosts.empty() && !addresses.empty() && hosts.size() != addresses.size()) {
            refuse("options.hostaddr", std::to_string(addresses.size()) + " addresses", "must be as many as there are hosts, " + std::to_string(hosts.size()));
        }
        const std::size_t n = std::max<std::size_t>({hosts.size(), addresses.size(), 1});
        if (ports.size() > 1 && ports.size() != n) {
            refuse("options.port", std::to_string(ports.size()) + " ports", "must be one, or one for each of the hosts, " + std::to_string(n));
        }
        for (std::size_t i = 0; i < n; ++i) {
            places_.push_back({hosts.empty() ? std::string{} : hosts[i], addresses.empty() ? std::string{} : addresses[i],
                               ports.empty() ? std::string{} : ports[ports.size() == 1 ? 0 : i]});
        }
        for (const std::string& one : ports) {
            if (!is_port(one)) reject("options.port", "'" + std::string{port} + "'", "must be a number of 1 … 65535, or several with commas between");
        }
        if (const std::string_view limit = find("connect_timeout"); !limit.empty()) {
            const auto [end, fault] = std::from_chars(limit.data(), limit.data() + limit.size(), connect_timeout_);
            if (fault != std::errc{} || end != limit.data() + limit.size()) {
                refuse("options.connect_timeout", "'…'", "must be a number of whole seconds; 0 is none");
            }
        }
    }

    std::vector<std::string> known_;
    settings settings_;
    secrets secrets_;
    std::vector<place> places_;
    std::vector<std::string> passes_;
    int connect_timeout_ = 0;
};

} // namespace cenote::drivers::pg
