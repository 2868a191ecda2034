// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <stdexcept>
#include <string>

namespace cenote {

/// What came back is not what was asked for: another number of rows or columns, a value that does not fit the type.
///
/// The statement itself was carried out. The text names the column, the value (its beginning, if it is long) and the type.
class result_error : public std::runtime_error {
public:
    enum class reason : unsigned char {
        no_row,       ///< one was wanted
        several_rows, ///< one was wanted
        no_column,    ///< none, or more than one, of that name or number
        null_value,   ///< NULL, where the type has no place for it
        wrong_value,  ///< a value that the type cannot hold exactly
    };

    result_error(reason r, const std::string& text) : std::runtime_error{text}, why_{r} {}

    [[nodiscard]] reason why() const noexcept { return why_; }

private:
    reason why_;
};

} // namespace cenote
