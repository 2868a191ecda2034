// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <algorithm>
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
        if (!secret.empty() && std::find(words_.begin(), words_.end(), secret) == words_.end()) words_.push_back(std::move(secret));
    }
    [[nodiscard]] bool empty() const noexcept { return words_.empty(); }

    [[nodiscard]] std::string scrubbed(std::string text) const {
        // Again and again, as a mask and what stands beside it can be a secret with asterisks in it. Long ones only, as a mask is shorter.
        for (bool found = hide(text, 0); found;) found = hide(text, is_long);
        return text;
    }

private:
    static constexpr std::string_view mask = "***";
    static constexpr std::size_t is_long = 6;

    /// Everything at once, as secrets may overlap each other and themselves: what the one leaves would be the end of the other. True: there
    /// was something.
    bool hide(std::string& text, std::size_t least) const {
        std::vector<bool> covered;
        for (const std::string& word : words_) {
            if (word.size() < least) continue;
            for (std::size_t at = 0, done = 0; (at = text.find(word, at)) != text.npos; ++at) {
                if (word.size() < is_long && !stands_alone(text, at, word.size())) continue;
                covered.resize(text.size());
                for (done = std::max(done, at); done < at + word.size(); ++done) covered[done] = true;
            }
        }
        if (covered.empty()) return false;
        std::string out;
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (!covered[i]) out += text[i];
            else if (i == 0 || !covered[i - 1]) out += mask;
        }
        text = std::move(out);
        return true;
    }

    [[nodiscard]] static bool stands_alone(std::string_view text, std::size_t at, std::size_t length) noexcept {
        const auto is_letter = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80;
        };
        return (at == 0 || !is_letter(text[at - 1])) && (at + length == text.size() || !is_letter(text[at + length]));
    }

    std::vector<std::string> words_;
};

} // namespace cenote::drivers
