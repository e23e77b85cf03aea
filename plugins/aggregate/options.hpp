// What the query asks for: ?columns=a,b&quantiles=0.5,0.99&delimiter=;&missing=NA
#pragma once

#include "refusal.hpp"
#include "summary.hpp"

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

struct Quantile {
    std::string written; // as in the query: its name in the answer
    double at;           // 0 to 1
};

struct Options {
    std::vector<std::string> columns; // by name; all if there is none
    std::vector<Quantile> quantiles{
        {"0.05", 0.05}, {"0.25", 0.25}, {"0.5", 0.5}, {"0.75", 0.75}, {"0.95", 0.95}};
    char delimiter = ',';
    std::vector<std::string> missing; // what a cell without a value says; one that is empty has none either
};

namespace options {

// Most quantiles of a column.
constexpr size_t max_quantiles = 32;

inline int hexadecimal(char byte) {
    if (summary::digit(byte)) {
        return byte - '0';
    }
    char lower = static_cast<char>(byte | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// As forms encode: + is a space, %41 is A. What is no such code stands for itself.
inline std::string decode(std::string_view text) {
    std::string result;
    for (size_t i = 0; i < text.size(); i++) {
        if (text[i] == '%' && i + 2 < text.size() && hexadecimal(text[i + 1]) >= 0 &&
            hexadecimal(text[i + 2]) >= 0) {
            result += static_cast<char>(hexadecimal(text[i + 1]) * 16 + hexadecimal(text[i + 2]));
            i += 2;
        } else {
            result += text[i] == '+' ? ' ' : text[i];
        }
    }
    return result;
}

// The pieces between separators; of an empty text, none.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> pieces;
    while (!text.empty()) {
        size_t end = text.find(separator);
        pieces.push_back(text.substr(0, end));
        if (end == std::string_view::npos) {
            break;
        }
        text.remove_prefix(end + 1);
        if (text.empty()) {
            pieces.push_back(text);
        }
    }
    return pieces;
}

// Split before they are decoded, so that %2C is a comma within a name.
inline std::vector<std::string> list(std::string_view value) {
    std::vector<std::string> names;
    for (std::string_view piece : split(value, ',')) {
        names.push_back(decode(piece));
    }
    return names;
}

inline std::vector<Quantile> quantiles(std::string_view value) {
    std::vector<Quantile> result;
    for (std::string &written : list(value)) {
        double at = -1;
        const char *end = written.data() + written.size();
        auto [stopped, error] = std::from_chars(written.data(), end, at, std::chars_format::fixed);
        bool is_number = error == std::errc() && stopped == end && summary::digit(written[0]);
        if (!is_number || at < 0 || at > 1) {
            throw Refusal("A quantile is a number from 0 to 1 like 0.95, but " + shown(written) +
                          " was asked for.");
        }
        result.push_back({std::move(written), at});
    }
    if (result.size() > max_quantiles) {
        throw Refusal("At most " + std::to_string(max_quantiles) + " quantiles can be asked for, not " +
                      std::to_string(result.size()) + ".");
    }
    return result;
}

inline char delimiter(std::string_view value) {
    std::string decoded = decode(value);
    bool one_byte = decoded.size() == 1 && decoded[0] > 0 && decoded[0] != 0x7f;
    if (!one_byte || decoded == "\"" || decoded == "\r" || decoded == "\n") {
        throw Refusal(
            "The delimiter must be one ASCII character like ; or %09 (a tab), and neither a quote nor a "
            "line break, but " +
            shown(decoded) + " was asked for.");
    }
    return decoded[0];
}

// Throws Refusal.
inline Options parse(std::string_view query) {
    Options result;
    std::vector<std::string> seen;
    for (std::string_view pair : split(query, '&')) {
        size_t equals = pair.find('=');
        std::string name = decode(pair.substr(0, equals));
        std::string_view value = equals == std::string_view::npos ? "" : pair.substr(equals + 1);
        if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
            throw Refusal("The option " + shown(name) + " is given twice.");
        }
        if (name == "columns") {
            result.columns = list(value);
        } else if (name == "quantiles") {
            result.quantiles = quantiles(value);
        } else if (name == "delimiter") {
            result.delimiter = delimiter(value);
        } else if (name == "missing") {
            result.missing = list(value);
        } else {
            throw Refusal("There is no option " + shown(name) +
                          "; the options are columns, quantiles, delimiter and missing.");
        }
        seen.push_back(std::move(name));
    }
    return result;
}

} // namespace options
