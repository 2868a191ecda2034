// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cenote::drivers {

/// Takes passwords out of texts before anybody sees them.
///
/// With     a short secret may be an ordinary word as well ("in", "host"), so one of fewer than six characters is taken out only where
///          it stands by itself; letters and digits beside it make it part of another word.
class secrets {
public:
    void add(std::string secret) {
        if (!secret.empty()) words_.push_back(std::move(secret));
    }
    [[nodiscard]] bool empty() const noexcept { return words_.empty(); }

    [[nodiscard]] std::string scrubbed(std::string text) const {
        for (const std::string& word : words_) {
            for (std::size_t at = 0; (at = text.find(word, at)) != text.npos;) {
                if (word.size() < 6 && !stands_alone(text, at, word.size())) {
                    ++at;
                } else {
                    text.replace(at, word.size(), mask);
                    at += mask.size();
                }
            }
        }
        return text;
    }

private:
    static constexpr std::string_view mask = "***";

    [[nodiscard]] static bool stands_alone(std::string_view text, std::size_t at, std::size_t length) noexcept {
        const auto is_letter = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80;
        };
        return (at == 0 || !is_letter(text[at - 1])) && (at + length == text.size() || !is_letter(text[at + length]));
    }

    std::vector<std::string> words_;
};

} // namespace cenote::drivers
