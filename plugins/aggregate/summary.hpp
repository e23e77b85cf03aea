// What is known of one column: kind, count, mean, deviation, extremes, quantiles.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace summary {

struct Number {
    double value; // finite
    bool whole;   // written without a point and an exponent
};

inline bool digit(char byte) { return byte >= '0' && byte <= '9'; }

// A decimal number like 7, +7, -0.5, .5 or 1e6, if it is all of `text` and a double can hold it: no
// infinities, no NaN, no hexadecimal digits, no separators between thousands.
inline std::optional<Number> number(std::string_view text) {
    std::string_view bare = text;
    if (!bare.empty() && (bare[0] == '+' || bare[0] == '-')) {
        bare.remove_prefix(1);
    }
    bool begins = !bare.empty() && (digit(bare[0]) || (bare[0] == '.' && bare.size() > 1 && digit(bare[1])));
    if (!begins) {
        return std::nullopt;
    }
    double value = 0;
    const char *end = bare.data() + bare.size();
    auto [stopped, error] = std::from_chars(bare.data(), end, value);
    if (stopped != end) {
        return std::nullopt;
    }
    if (error == std::errc::result_out_of_range) {
        // Too large or too small? strtod tells them apart; it wants a NUL.
        value = std::strtod(std::string(bare).c_str(), nullptr);
        if (!std::isfinite(value)) {
            return std::nullopt;
        }
    }
    bool whole = std::all_of(bare.begin(), bare.end(), digit);
    return Number{text[0] == '-' ? -value : value, whole};
}

// A growing array of doubles. Unlike a vector it grows by realloc, which moves the pages of a large block
// instead of copying them: at no time are the old and the new block there side by side.
class Values {
public:
    Values() = default;
    Values(Values &&other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)),
          room_(std::exchange(other.room_, 0)) {}
    Values(const Values &) = delete;
    Values &operator=(const Values &) = delete;
    Values &operator=(Values &&) = delete;
    ~Values() { std::free(data_); }

    void add(double value) {
        if (size_ == room_) {
            grow();
        }
        data_[size_++] = value;
    }

    void clear() {
        std::free(std::exchange(data_, nullptr));
        size_ = room_ = 0;
    }

    size_t size() const { return size_; }
    double *begin() { return data_; }
    double *end() { return data_ + size_; }

private:
    void grow() {
        size_t room = room_ == 0 ? 64 : room_ + room_ / 2;
        void *data = std::realloc(data_, room * sizeof(double));
        if (data == nullptr) {
            throw std::bad_alloc();
        }
        data_ = static_cast<double *>(data);
        room_ = room;
    }

    double *data_ = nullptr;
    size_t size_ = 0;
    size_t room_ = 0;
};

// The quantiles of `values` at each of `at` (0 to 1, in any order), by linear interpolation between the two
// nearest ranks: with the n values in order, numbered from 0, the quantile q is what stands at q * (n - 1).
// Hyndman and Fan call this definition 7; R and NumPy take it unless told otherwise, and Python's
// statistics.quantiles(method='inclusive') is the same. Exact, in expected linear time; reorders the values.
// Nothing for no values.
inline std::vector<double> quantiles(Values &values, const std::vector<double> &at) {
    std::vector<double> results(values.size() > 0 ? at.size() : 0);
    std::vector<size_t> order(results.size());
    for (size_t i = 0; i < order.size(); i++) {
        order[i] = i;
    }
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return at[a] < at[b]; });
    // Everything before `sorted` is in its place, and nothing behind it is less.
    double *sorted = values.begin();
    auto ranked = [&](size_t rank) {
        double *place = values.begin() + rank;
        if (place >= sorted) {
            std::nth_element(sorted, place, values.end());
            sorted = place + 1;
        }
        return *place;
    };
    for (size_t i : order) {
        double position = at[i] * static_cast<double>(values.size() - 1);
        size_t rank = std::min(static_cast<size_t>(position), values.size() - 1);
        long double share = static_cast<long double>(position) - static_cast<long double>(rank);
        long double low = ranked(rank);
        long double high = share > 0 ? ranked(rank + 1) : low;
        results[i] = static_cast<double>(low + (high - low) * share);
    }
    return results;
}

// One column, fed cell by cell.
class Column {
public:
    enum class Kind {
        empty,   // no cell with anything in it
        integer, // whole numbers only
        number,  // numbers only
        text,    // anything else
    };

    // With `keep`, the numbers are kept for quantiles: eight bytes each.
    explicit Column(bool keep) : keep_(keep) {}

    void miss() { missing_++; }

    // A cell that is not missing.
    void add(std::string_view cell) {
        count_++;
        if (kind_ == Kind::text) {
            return;
        }
        std::optional<Number> found = number(cell);
        if (!found) {
            kind_ = Kind::text;
            values_.clear();
            return;
        }
        if (kind_ != Kind::number) {
            kind_ = found->whole ? Kind::integer : Kind::number;
        }
        take(found->value);
    }

    Kind kind() const { return kind_; }
    uint64_t count() const { return count_; }
    uint64_t missing() const { return missing_; }

    // The rest is for columns of numbers only.

    double least() const { return least_; }
    double most() const { return most_; }
    double mean() const { return static_cast<double>(mean_); }

    // The sample's standard deviation, that with n - 1; nothing for a single number.
    std::optional<double> deviation() const {
        if (count_ < 2) {
            return std::nullopt;
        }
        return static_cast<double>(std::sqrt(squares_ / static_cast<long double>(count_ - 1)));
    }

    Values &values() { return values_; }

private:
    // Welford's method: one pass, and no difference of large sums. In long double, whose range takes the
    // square of any double.
    void take(double value) {
        long double away = value - mean_;
        mean_ += away / static_cast<long double>(count_);
        squares_ += away * (value - mean_);
        least_ = std::min(least_, value);
        most_ = std::max(most_, value);
        if (keep_) {
            values_.add(value);
        }
    }

    bool keep_;
    Kind kind_ = Kind::empty;
    uint64_t count_ = 0; // cells that are not missing
    uint64_t missing_ = 0;
    long double mean_ = 0;
    long double squares_ = 0; // sum of squared differences from the mean
    double least_ = std::numeric_limits<double>::infinity();
    double most_ = -std::numeric_limits<double>::infinity();
    Values values_;
};

} // namespace summary
