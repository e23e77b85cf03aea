// CSV in, one summary a column out.
#pragma once

#include "csv.hpp"
#include "json.hpp"
#include "options.hpp"
#include "refusal.hpp"
#include "summary.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

// What a parser gives its cells to. The first row names the columns.
class Table {
public:
    // Most columns. Each takes some hundred bytes before it has a value.
    static constexpr size_t max_columns = 1024;

    explicit Table(const Options &options) : options_(options) {}

    void cell(std::string_view text) {
        if (!headed_) {
            name_column(text);
        } else if (at_ < columns_.size() && columns_[at_].wanted) {
            add(columns_[at_].summary, text);
        }
        at_++;
    }

    void row(uint64_t line) {
        if (!headed_) {
            headed_ = true;
            choose();
        } else {
            if (at_ != columns_.size()) {
                throw Refusal("The row in line " + std::to_string(line) + " has " + std::to_string(at_) +
                              (at_ == 1 ? " field" : " fields") + ", but the header has " +
                              std::to_string(columns_.size()) + ".");
            }
            rows_++;
        }
        at_ = 0;
    }

    // The answer. Call it once, at the end: it reorders what is kept.
    std::string describe() {
        if (!headed_) {
            throw Refusal("The body is empty: send CSV with a header row in it.");
        }
        std::string to = "{\"rows\":";
        json::put_count(to, rows_);
        to += ",\"columns\":[";
        const char *separator = "";
        for (Named &column : columns_) {
            if (column.wanted) {
                to += separator;
                separator = ",";
                describe(to, column);
            }
        }
        to += "]}\n";
        return to;
    }

private:
    struct Named {
        std::string name;
        summary::Column summary;
        bool wanted;
    };

    void name_column(std::string_view name) {
        if (columns_.size() == max_columns) {
            throw Refusal("The header has more than " + std::to_string(max_columns) + " columns.");
        }
        if (!json::valid_utf8(name)) {
            throw Refusal("The name of column " + std::to_string(columns_.size() + 1) + " is not UTF-8.");
        }
        columns_.push_back(
            {std::string(name), summary::Column(!options_.quantiles.empty()), options_.columns.empty()});
    }

    // Marks the columns that are asked for by name; of several with one name, all.
    void choose() {
        for (const std::string &name : options_.columns) {
            bool found = false;
            for (Named &column : columns_) {
                if (column.name == name) {
                    column.wanted = found = true;
                }
            }
            if (!found) {
                throw Refusal("There is no column " + shown(name) + "; the header begins with " +
                              shown(columns_.front().name) + ".");
            }
        }
    }

    void add(summary::Column &column, std::string_view cell) const {
        constexpr std::string_view blanks = " \t";
        size_t first = cell.find_first_not_of(blanks);
        if (first == std::string_view::npos) {
            column.miss();
            return;
        }
        cell = cell.substr(first, cell.find_last_not_of(blanks) + 1 - first);
        const std::vector<std::string> &missing = options_.missing;
        if (std::find(missing.begin(), missing.end(), cell) != missing.end()) {
            column.miss();
        } else {
            column.add(cell);
        }
    }

    void describe(std::string &to, Named &column) const {
        using Kind = summary::Column::Kind;
        summary::Column &summary = column.summary;
        to += "{\"name\":";
        json::put_string(to, column.name);
        to += ",\"type\":";
        switch (summary.kind()) {
        case Kind::empty: to += "\"empty\""; break;
        case Kind::integer: to += "\"integer\""; break;
        case Kind::number: to += "\"number\""; break;
        case Kind::text: to += "\"text\""; break;
        }
        to += ",\"count\":";
        json::put_count(to, summary.count());
        to += ",\"missing\":";
        json::put_count(to, summary.missing());
        if (summary.kind() == Kind::integer || summary.kind() == Kind::number) {
            to += ",\"mean\":";
            json::put_number(to, summary.mean());
            to += ",\"deviation\":";
            json::put_number(to, summary.deviation());
            to += ",\"min\":";
            json::put_number(to, summary.least());
            to += ",\"max\":";
            json::put_number(to, summary.most());
            describe_quantiles(to, summary);
        }
        to += '}';
    }

    void describe_quantiles(std::string &to, summary::Column &summary) const {
        std::vector<double> at;
        for (const Quantile &quantile : options_.quantiles) {
            at.push_back(quantile.at);
        }
        std::vector<double> found = summary::quantiles(summary.values(), at);
        to += ",\"quantiles\":{";
        for (size_t i = 0; i < found.size(); i++) {
            to += i == 0 ? "" : ",";
            json::put_string(to, options_.quantiles[i].written);
            to += ':';
            json::put_number(to, found[i]);
        }
        to += '}';
    }

    const Options &options_;
    bool headed_ = false;
    size_t at_ = 0; // cells of this row so far
    uint64_t rows_ = 0;
    std::vector<Named> columns_;
};
