// Distributed under the Boost Software License, Version 1.0. See LICENSE.
// What takes passwords out of texts. Input: how many secrets (1 … 3), a line for each, and the text.
#include <cenote/drivers/detail/secret.hpp>

#include "input.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace {
constexpr std::size_t is_long = 6;

bool is_word(const std::string& s) {
    return std::all_of(s.begin(), s.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); });
}
/// The same rule for short secrets, said in another way: cut at everything that is no letter, a secret is never one of the pieces.
bool is_a_piece_of(const std::string& text, const std::string& word) {
    std::string piece;
    for (const char c : text + " ") {
        if (is_word(std::string(1, c)) || static_cast<unsigned char>(c) >= 0x80) {
            piece += c;
            continue;
        }
        if (piece == word) return true;
        piece.clear();
    }
    return false;
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::vector<std::string> all = fuzz::lines(data, size);
    const std::size_t n = all[0].empty() ? 1 : 1 + static_cast<unsigned char>(all[0][0]) % 3;
    std::vector<std::string> words;
    std::string text;
    cenote::drivers::secrets secrets;
    for (std::size_t i = 1; i < all.size(); ++i) {
        if (i <= n) {
            words.push_back(all[i]);
            secrets.add(all[i]);
        } else {
            text += (i > n + 1 ? "\n" : "") + all[i];
        }
    }
    const std::string out = secrets.scrubbed(text);

    const auto is_in = [](const std::string& where) { return [&where](const std::string& w) { return !w.empty() && fuzz::holds(where, w); }; };
    if (std::none_of(words.begin(), words.end(), is_in(text))) fuzz::expect(out == text, "a text that holds no secret stays as it is", out);
    for (const std::string& word : words) {
        if (word.size() >= is_long) fuzz::expect(!fuzz::holds(out, word), "no long secret is left", out);
    }
    if (words.size() != 1 || words[0].empty()) return 0;
    const std::string& word = words[0];
    const std::size_t first = text.find(word);
    if (word.size() < is_long) {
        if (is_word(word)) {
            fuzz::expect(!is_a_piece_of(out, word), "no short secret is left where it stands by itself", out);
            fuzz::expect(is_a_piece_of(text, word) || out == text, "a short secret is left alone inside of other words", out);
        }
    } else if (first != text.npos && !fuzz::holds(word, "*")) {
        const std::size_t last = text.rfind(word) + word.size();
        fuzz::expect(out.starts_with(text.substr(0, first) + "***") && out.ends_with("***" + text.substr(last)), "what stands around secrets stays", out);
        fuzz::expect(secrets.scrubbed(out) == out, "a second time changes nothing", out);
    }
    return 0;
}
