// CSV as RFC 4180 has it, read once from front to back: a state machine that is fed pieces of any size.
//
// Rows end with LF or CRLF, the last one also with the end of the text. A field that begins with a quote ends
// with one; within it, delimiters and line breaks are text and two quotes are one. Blank lines are skipped.
// What other readers guess about is refused: a quote within an unquoted field, text behind a closing quote, a
// lone carriage return.
#pragma once

#include "refusal.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace csv {

// Sink: void cell(std::string_view text), valid during the call; void row(uint64_t line), after the last cell
// of a row, with the line it began in, from 1. Either may throw; the parser is of no use after that.
template <class Sink>
class Parser {
public:
    Parser(char delimiter, Sink &sink) : delimiter_(delimiter), sink_(sink) {
        for (char byte : {delimiter, '\n', '\r', '"'}) {
            special_[static_cast<uint8_t>(byte)] = true;
        }
    }

    // Takes the next piece. Throws Refusal.
    void feed(std::string_view piece) {
        at_ = begin_ = tail_ = piece.data();
        end_ = at_ + piece.size();
        while (at_ != end_) {
            step();
        }
        // What is lent ends here: an unfinished field is kept until the next piece.
        if (state_ == State::plain || state_ == State::quoted) {
            held_.append(begin_, end_);
        } else if (state_ == State::quote) {
            held_.append(begin_, tail_);
        }
        at_ = begin_ = tail_ = end_ = nullptr;
    }

    // Says that nothing follows. Throws Refusal.
    void finish() {
        switch (state_) {
        case State::mark:
            if (marked_ > 0) {
                held_.assign(byte_order_mark, 0, marked_);
                end_row();
            }
            break;
        case State::field:
            // Behind a delimiter, one more field, which is empty; behind a line break, nothing.
            if (cells_ > 0) {
                end_row();
            }
            break;
        case State::plain:
        case State::quote: end_row(); break;
        case State::quoted:
            throw Refusal("The quoted field that begins in line " + std::to_string(opened_) +
                          " is never closed.");
        case State::carriage_return: refuse("a carriage return without a line feed");
        }
    }

private:
    enum class State {
        mark,            // nothing yet but, maybe, a part of a byte order mark
        field,           // at the first byte of a field
        plain,           // within an unquoted field
        quoted,          // within a quoted field
        quote,           // behind a quote in a quoted field: the first of two, or its end
        carriage_return, // behind a row and its carriage return
    };
    static constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

    // Takes at least one byte, or goes from one state to the next.
    void step() {
        switch (state_) {
        case State::mark:
            if (*at_ == byte_order_mark[marked_]) {
                at_++;
                marked_++;
                if (marked_ == byte_order_mark.size()) {
                    state_ = State::field;
                }
            } else if (marked_ == 0) {
                state_ = State::field;
            } else {
                held_.assign(byte_order_mark, 0, marked_);
                begin_ = at_;
                state_ = State::plain;
            }
            break;
        case State::field:
            if (cells_ == 0) {
                row_line_ = line_;
            }
            quoted_ = *at_ == '"';
            if (quoted_) {
                at_++;
                opened_ = line_;
            }
            begin_ = at_;
            state_ = quoted_ ? State::quoted : State::plain;
            break;
        case State::plain:
            at_ = std::find_if(at_, end_, [this](char byte) { return special_[static_cast<uint8_t>(byte)]; });
            if (at_ != end_) {
                if (*at_ == '"') {
                    refuse("a quote within a field that does not begin with one");
                }
                tail_ = at_;
                end_field();
            }
            break;
        case State::quoted: {
            const char *from = at_;
            at_ = std::find(at_, end_, '"');
            line_ += static_cast<uint64_t>(std::count(from, at_, '\n'));
            if (at_ != end_) {
                tail_ = at_++;
                state_ = State::quote;
            }
            break;
        }
        case State::quote:
            if (*at_ == '"') {
                held_.append(begin_, tail_);
                begin_ = at_++; // the second of the two is the one that is meant
                state_ = State::quoted;
            } else if (special_[static_cast<uint8_t>(*at_)]) {
                end_field();
            } else {
                refuse("text behind the quote that closes a field");
            }
            break;
        case State::carriage_return:
            if (*at_ != '\n') {
                refuse("a carriage return without a line feed");
            }
            at_++;
            line_++;
            state_ = State::field;
            break;
        }
    }

    // At the delimiter, CR or LF that ends a field.
    void end_field() {
        char by = *at_++;
        if (by == delimiter_) {
            give_cell();
            state_ = State::field;
        } else {
            end_row();
            line_ += by == '\n';
            state_ = by == '\n' ? State::field : State::carriage_return;
        }
    }

    // With the last field of the row, which is not given yet.
    void end_row() {
        bool blank = cells_ == 0 && !quoted_ && held_.empty() && begin_ == tail_;
        if (!blank) {
            give_cell();
            sink_.row(row_line_);
        }
        cells_ = 0;
        quoted_ = false;
    }

    // The field is what is held and then begin_ to tail_; usually nothing is held, and nothing is copied.
    void give_cell() {
        if (held_.empty()) {
            sink_.cell(std::string_view(begin_, static_cast<size_t>(tail_ - begin_)));
        } else {
            held_.append(begin_, tail_);
            sink_.cell(held_);
            held_.clear();
        }
        begin_ = tail_;
        cells_++;
    }

    [[noreturn]] void refuse(const char *what) const {
        throw Refusal("Line " + std::to_string(line_) + " has " + what + ".");
    }

    const char delimiter_;
    Sink &sink_;
    std::array<bool, 256> special_{}; // bytes that end an unquoted field, or have no place in it

    State state_ = State::mark;
    size_t marked_ = 0;     // bytes of the byte order mark seen
    uint64_t line_ = 1;     // where at_ is
    uint64_t row_line_ = 1; // where the row began
    uint64_t opened_ = 1;   // where the quoted field began
    size_t cells_ = 0;      // of this row, given
    bool quoted_ = false;   // the field began with a quote
    std::string held_;      // of the field, from pieces before this one and from before a doubled quote

    // In the piece.
    const char *at_ = nullptr;
    const char *end_ = nullptr;
    const char *begin_ = nullptr; // of what is not held of the field
    const char *tail_ = nullptr;  // its end, once that is known
};

} // namespace csv
