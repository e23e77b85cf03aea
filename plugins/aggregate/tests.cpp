// The unit tests of `aggregate`, a program of their own:
//
//     c++ -std=c++17 -g -fsanitize=address,undefined -o /tmp/aggregate-tests tests.cpp &&
//     /tmp/aggregate-tests
//
// It prints what failed, and how many checks there were.
#include "csv.hpp"
#include "json.hpp"
#include "options.hpp"
#include "summary.hpp"
#include "table.hpp"

#include <cstdint>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

int checks = 0;
int failures = 0;

template <class T>
void same(const T &found, const T &expected, const std::string &what, int line) {
    checks++;
    if (!(found == expected)) {
        failures++;
        std::cout << "line " << line << ": " << what << "\n    found    " << found << "\n    expected "
                  << expected << '\n';
    }
}
#define EQUAL(found, expected) same<std::string>(found, expected, #found, __LINE__)

// ---- CSV ----

// Cells as [..], rows as |line.
struct Recorder {
    std::string seen;
    void cell(std::string_view text) { seen.append("[").append(text).append("]"); }
    void row(uint64_t line) { seen.append("|").append(std::to_string(line)).append(" "); }
};

// What a parser makes of the text in pieces of `piece` bytes: its cells and rows, or its refusal.
std::string parsed(std::string_view text, size_t piece, char delimiter = ',') {
    Recorder recorder;
    csv::Parser<Recorder> parser(delimiter, recorder);
    try {
        for (size_t at = 0; at < text.size(); at += piece) {
            // A copy of exactly this size, gone after the call: the sanitizer sees what is kept too long.
            std::vector<char> lent(text.begin() + static_cast<std::ptrdiff_t>(at),
                                   text.begin() +
                                       static_cast<std::ptrdiff_t>(std::min(at + piece, text.size())));
            parser.feed(std::string_view(lent.data(), lent.size()));
        }
        parser.finish();
    } catch (const Refusal &refusal) {
        return refusal.sentence;
    }
    return recorder.seen;
}

void csv_is_read_as_rfc_4180_has_it() {
    struct {
        std::string_view text, expected;
    } const cases[] = {
        {"", ""},
        {"a,b\n1,2\n", "[a][b]|1 [1][2]|2 "},
        {"a,b\r\n1,2\r\n", "[a][b]|1 [1][2]|2 "},
        {"a,b\n1,2", "[a][b]|1 [1][2]|2 "},
        {"a,\n,", "[a][]|1 [][]|2 "},
        {"\"a\",\"b\"", "[a][b]|1 "},
        {"\"a,b\",\"c\r\nd\"\ne,f\n", "[a,b][c\r\nd]|1 [e][f]|3 "},
        {"\"say \"\"hi\"\"\",\"\"\"\"\n", "[say \"hi\"][\"]|1 "},
        {"\"\"\n\"\"", "[]|1 []|2 "},
        // Blank lines are no rows, but count as lines.
        {"\n\r\na\n\n\nb\n\r\n", "[a]|3 [b]|6 "},
        {" a , b \n", "[ a ][ b ]|1 "},
        {"\xef\xbb\xbf\"a\",b\n", "[a][b]|1 "},
        {"\xef\xbb\xbf", ""},
        // What only begins like a byte order mark is text.
        {"\xef\xbb,\xef\n", "[\xef\xbb][\xef]|1 "},
        {"\xef", "[\xef]|1 "},
        {"a\"b\n", "Line 1 has a quote within a field that does not begin with one."},
        {"a\n\"b\nc\"d", "Line 3 has text behind the quote that closes a field."},
        {"a\n\"b\nc", "The quoted field that begins in line 2 is never closed."},
        {"a\rb", "Line 1 has a carriage return without a line feed."},
        {"a\r", "Line 1 has a carriage return without a line feed."},
    };
    for (const auto &each : cases) {
        for (size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{1000}}) {
            EQUAL(parsed(each.text, piece), std::string(each.expected));
        }
    }
    EQUAL(parsed("a;b,c\n", 1000, ';'), "[a][b,c]|1 ");
    EQUAL(parsed("a\tb\n", 1000, '\t'), "[a][b]|1 ");
}

void pieces_of_any_size_give_the_same() {
    std::mt19937 random(4711);
    constexpr std::string_view alphabet = "\"\"\",,\n\n\r1a\xef\xbb\xbf";
    for (int i = 0; i < 20000; i++) {
        std::string text;
        for (uint32_t left = random() % 12; left > 0; left--) {
            text += alphabet[random() % alphabet.size()];
        }
        std::string whole = parsed(text, 1000);
        EQUAL(parsed(text, 1), whole);
        EQUAL(parsed(text, 1 + random() % 5), whole);
    }
}

// ---- numbers ----

std::string number(std::string_view text) {
    std::optional<summary::Number> found = summary::number(text);
    if (!found) {
        return "no number";
    }
    std::string result;
    json::put_number(result, found->value);
    return result + (found->whole ? " whole" : "");
}

void numbers_are_decimal_and_finite() {
    EQUAL(number("0"), "0 whole");
    EQUAL(number("-7"), "-7 whole");
    EQUAL(number("+7"), "7 whole");
    EQUAL(number("007"), "7 whole");
    EQUAL(number("1.5"), "1.5");
    EQUAL(number("-.5"), "-0.5");
    EQUAL(number("5."), "5");
    EQUAL(number("1e3"), "1000");
    EQUAL(number("1E-3"), "0.001");
    EQUAL(number("1e-999"), "0");
    EQUAL(number("4.9e-324"), "5e-324");
    EQUAL(number(std::string(400, '0') + "1"), "1 whole");
    for (std::string_view bad :
         {"",    "-",    "+",   ".",   "-.", "e5", "1e",  "1e999", "-1e999", "inf",   "-inf",    "nan",
          "NaN", "0x10", "1,5", "1 5", " 1", "1 ", "--1", "+-1",   "1_000",  "1.2.3", "\xd9\xa3"}) {
        EQUAL(number(bad), "no number");
    }
}

// ---- statistics ----

std::string quantiles(const std::vector<double> &numbers, const std::vector<double> &at) {
    summary::Values values;
    for (double number : numbers) {
        values.add(number);
    }
    std::string result;
    for (double found : summary::quantiles(values, at)) {
        json::put_number(result, found);
        result += ' ';
    }
    return result;
}

// The definition, word for word.
std::string quantiles_by_sorting(std::vector<double> numbers, const std::vector<double> &at) {
    std::sort(numbers.begin(), numbers.end());
    std::string result;
    for (double q : at) {
        double position = q * static_cast<double>(numbers.size() - 1);
        auto rank = static_cast<size_t>(position);
        double next = rank + 1 < numbers.size() ? numbers[rank + 1] : numbers[rank];
        long double share = static_cast<long double>(position) - static_cast<long double>(rank);
        json::put_number(
            result,
            static_cast<double>(numbers[rank] + (static_cast<long double>(next) - numbers[rank]) * share));
        result += ' ';
    }
    return result;
}

void quantiles_are_those_of_the_sorted_numbers() {
    EQUAL(quantiles({}, {0.5}), "");
    EQUAL(quantiles({3}, {0, 0.3, 1}), "3 3 3 ");
    EQUAL(quantiles({4, 1, 3, 2}, {0.5, 0, 1, 0.25}), "2.5 1 4 1.75 ");
    EQUAL(quantiles({1e308, -1e308}, {0.5, 0.75}), "0 5e+307 ");
    std::mt19937 random(1905);
    for (int i = 0; i < 2000; i++) {
        std::vector<double> numbers(1 + random() % 40), at(random() % 6);
        for (double &each : numbers) {
            each = static_cast<double>(random() % 20);
        }
        for (double &each : at) {
            each = static_cast<double>(random() % 101) / 100;
        }
        EQUAL(quantiles(numbers, at), quantiles_by_sorting(numbers, at));
    }
}

// ---- from query and CSV to JSON ----

std::string described(std::string_view query, std::string_view text) {
    try {
        Options options = options::parse(query);
        Table table(options);
        csv::Parser<Table> parser(options.delimiter, table);
        parser.feed(text);
        parser.finish();
        return table.describe();
    } catch (const Refusal &refusal) {
        return std::to_string(refusal.status) + " " + refusal.sentence;
    }
}

void columns_are_described() {
    EQUAL(described("", "n,x,t,e\n1,0.5,a,\n2,1,2, \n3,-1.5,,\n"),
          "{\"rows\":3,\"columns\":["
          "{\"name\":\"n\",\"type\":\"integer\",\"count\":3,\"missing\":0,\"mean\":2,\"deviation\":1,\"min\":"
          "1,\"max\":3,"
          "\"quantiles\":{\"0.05\":1.1,\"0.25\":1.5,\"0.5\":2,\"0.75\":2.5,\"0.95\":2.9}},"
          "{\"name\":\"x\",\"type\":\"number\",\"count\":3,\"missing\":0,\"mean\":0,\"deviation\":1."
          "3228756555322954,"
          "\"min\":-1.5,\"max\":1,\"quantiles\":{\"0.05\":-1.3,\"0.25\":-0.5,\"0.5\":0.5,\"0.75\":0.75,\"0."
          "95\":0.95}},"
          "{\"name\":\"t\",\"type\":\"text\",\"count\":2,\"missing\":1},"
          "{\"name\":\"e\",\"type\":\"empty\",\"count\":0,\"missing\":3}]}\n");
    EQUAL(
        described("quantiles=", "a\n5\n"),
        "{\"rows\":1,\"columns\":[{\"name\":\"a\",\"type\":\"integer\",\"count\":1,\"missing\":0,\"mean\":5,"
        "\"deviation\":null,\"min\":5,\"max\":5,\"quantiles\":{}}]}\n");
    // The squares of these exceed a double, their sum too.
    EQUAL(described("quantiles=", "a\n1e308\n1e308\n-1e308\n-1e308\n"),
          "{\"rows\":4,\"columns\":[{\"name\":\"a\",\"type\":\"number\",\"count\":4,\"missing\":0,\"mean\":0,"
          "\"deviation\":1.1547005383792515e+308,\"min\":-1e+308,\"max\":1e+308,\"quantiles\":{}}]}\n");
    EQUAL(described("", "only,header\n"),
          "{\"rows\":0,\"columns\":[{\"name\":\"only\",\"type\":\"empty\",\"count\":0,\"missing\":0},"
          "{\"name\":\"header\",\"type\":\"empty\",\"count\":0,\"missing\":0}]}\n");
    // Names as JSON wants them; quoted numbers are numbers.
    EQUAL(described("quantiles=1", "\"a\"\"\\\n\x01\xc3\xa4\"\n\" 7 \"\n"),
          "{\"rows\":1,\"columns\":[{\"name\":\"a\\\"\\\\\\u000a\\u0001\xc3\xa4\",\"type\":\"integer\","
          "\"count\":1,"
          "\"missing\":0,\"mean\":7,\"deviation\":null,\"min\":7,\"max\":7,\"quantiles\":{\"1\":7}}]}\n");
}

void options_choose() {
    constexpr std::string_view table = "a;b c;a\nNA;1;2\nx;none;2\n";
    EQUAL(described("columns=b+c&quantiles=0.50&delimiter=%3B&missing=NA,none", table),
          "{\"rows\":2,\"columns\":[{\"name\":\"b "
          "c\",\"type\":\"integer\",\"count\":1,\"missing\":1,\"mean\":1,"
          "\"deviation\":null,\"min\":1,\"max\":1,\"quantiles\":{\"0.50\":1}}]}\n");
    // Of several columns of one name, all.
    EQUAL(described("columns=a&quantiles=&delimiter=;&missing=NA", table),
          "{\"rows\":2,\"columns\":[{\"name\":\"a\",\"type\":\"text\",\"count\":1,\"missing\":1},"
          "{\"name\":\"a\",\"type\":\"integer\",\"count\":2,\"missing\":0,\"mean\":2,\"deviation\":0,\"min\":"
          "2,\"max\":2,"
          "\"quantiles\":{}}]}\n");
    // A comma within a name.
    EQUAL(described("columns=a%2Cb", "\"a,b\",c\n"),
          "{\"rows\":0,\"columns\":[{\"name\":\"a,b\",\"type\":\"empty\",\"count\":0,\"missing\":0}]}\n");
}

void mistakes_are_named() {
    EQUAL(described("", ""), "400 The body is empty: send CSV with a header row in it.");
    EQUAL(described("", "\n\n"), "400 The body is empty: send CSV with a header row in it.");
    EQUAL(described("", "a,b\n1,2\n\n3\n"), "400 The row in line 4 has 1 field, but the header has 2.");
    EQUAL(described("", "a\n\"1\n2\",3\n"), "400 The row in line 2 has 2 fields, but the header has 1.");
    EQUAL(described("", "a,\xff\n"), "400 The name of column 2 is not UTF-8.");
    EQUAL(described("", std::string(1024, ',')), "400 The header has more than 1024 columns.");
    EQUAL(described("columns=c", "a,b\n"), "400 There is no column \"c\"; the header begins with \"a\".");
    EQUAL(described("columns=%ff" + std::string(70, 'x'), "a,b\n"),
          "400 There is no column \"?" + std::string(63, 'x') + "...\"; the header begins with \"a\".");
    EQUAL(described("colums=c", "a\n"),
          "400 There is no option \"colums\"; the options are columns, quantiles, delimiter and missing.");
    EQUAL(described("missing=a&missing=b", "a\n"), "400 The option \"missing\" is given twice.");
    for (std::string bad : {"1.5", "-0.1", "x", "0.5x", "nan", "inf", "1e-2", ".5", "0.5,"}) {
        std::string said = bad == "0.5," ? "" : bad;
        EQUAL(described("quantiles=" + bad, "a\n"),
              "400 A quantile is a number from 0 to 1 like 0.95, but \"" + said + "\" was asked for.");
    }
    std::string many = "quantiles=0";
    for (int i = 0; i < 32; i++) {
        many += ",0";
    }
    EQUAL(described(many, "a\n"), "400 At most 32 quantiles can be asked for, not 33.");
    for (std::string bad : {"", ";;", "%22", "%0a", "%0D", "%00", "%c3", "%7f"}) {
        EQUAL(described("delimiter=" + bad, "a\n").substr(0, 42),
              "400 The delimiter must be one ASCII charac");
    }
}

void utf_8_is_known() {
    for (std::string_view good :
         {"", "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x8e\x89", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
        EQUAL(std::to_string(json::valid_utf8(good)), "1");
    }
    for (std::string_view bad :
         {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80",
          "\xe2\x82", "\xe2\x28\xa1", "a\xff", "\xf0\x80\x80\x80"}) {
        EQUAL(std::to_string(json::valid_utf8(bad)), "0");
    }
}

} // namespace

int main() {
    csv_is_read_as_rfc_4180_has_it();
    pieces_of_any_size_give_the_same();
    numbers_are_decimal_and_finite();
    quantiles_are_those_of_the_sorted_numbers();
    columns_are_described();
    options_choose();
    mistakes_are_named();
    utf_8_is_known();
    std::cout << checks << " checks, " << failures << " failures\n";
    return failures == 0 ? 0 : 1;
}
