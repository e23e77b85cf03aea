// JSON, written front to back into a string.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace json {

// Whether `text` is UTF-8: shortest forms only, no surrogates, nothing above U+10FFFF.
inline bool valid_utf8(std::string_view text) {
    for (size_t i = 0; i < text.size();) {
        auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0}; };
        uint8_t first = byte(i), second = byte(i + 1);
        auto continues = [&](size_t at) { return (byte(at) & 0xc0) == 0x80; };
        size_t length;
        if (first < 0x80) {
            length = 1;
        } else if (first >= 0xc2 && first <= 0xdf) {
            length = 2;
        } else if (first >= 0xe0 && first <= 0xef) {
            length = (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ? 0 : 3;
        } else if (first >= 0xf0 && first <= 0xf4) {
            length = (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f) ? 0 : 4;
        } else {
            length = 0;
        }
        for (size_t j = 1; j < length; j++) {
            length = continues(i + j) ? length : 0;
        }
        if (length == 0) {
            return false;
        }
        i += length;
    }
    return true;
}

// Appends `text`, which is UTF-8, as a string.
inline void put_string(std::string &to, std::string_view text) {
    constexpr char digits[] = "0123456789abcdef";
    to += '"';
    for (char byte : text) {
        auto code = static_cast<uint8_t>(byte);
        if (byte == '"' || byte == '\\') {
            to += '\\';
            to += byte;
        } else if (code < 0x20) {
            to += "\\u00";
            to += digits[code >> 4];
            to += digits[code & 0xf];
        } else {
            to += byte;
        }
    }
    to += '"';
}

// Appends a whole number.
inline void put_count(std::string &to, uint64_t value) { to += std::to_string(value); }

// Appends the shortest digits that read back as `value`; null for what is no number, or none JSON can say.
inline void put_number(std::string &to, std::optional<double> value) {
    if (!value || !std::isfinite(*value)) {
        to += "null";
        return;
    }
    char text[32]; // "-2.2250738585072014e-308" is 24
    auto [end, error] = std::to_chars(text, text + sizeof text, *value);
    static_cast<void>(error); // there is room
    to.append(text, end);
}

} // namespace json
