// Why there is no answer: what the caller is told instead.
#pragma once

#include <string>
#include <string_view>
#include <utility>

// Thrown wherever the request shows itself to be wrong, and caught in one place: aggregate.cpp.
struct Refusal {
    int status;           // 400 and up
    std::string sentence; // what is wrong, and where

    explicit Refusal(std::string said, int with = 400) : status(with), sentence(std::move(said)) {}
};

// A piece of the request as a sentence may repeat it: short, on one line, and plain ASCII whatever was sent.
inline std::string shown(std::string_view text) {
    constexpr size_t longest = 64; // bytes
    std::string result = "\"";
    for (char byte : text.substr(0, longest)) {
        result += byte >= ' ' && byte <= '~' ? byte : '?';
    }
    return result + (text.size() > longest ? "...\"" : "\"");
}
