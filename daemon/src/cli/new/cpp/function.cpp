// {{name}}: greets, and counts the words that it was sent.
//
//     curl http://127.0.0.1:8080/{{name}}
//     curl --data 'to be or not to be' http://127.0.0.1:8080/{{name}}

#include <hairtrigger.h>

#include <cctype>
#include <exception>
#include <map>
#include <string>
#include <string_view>

namespace {

std::string_view text(ht_bytes bytes) {
    return bytes.len == 0 ? std::string_view() : std::string_view(reinterpret_cast<const char *>(bytes.data), bytes.len);
}

/// "be 2\nnot 1\n": each word and how often it stands there, in the order of the alphabet.
std::string count_words(std::string_view body) {
    std::map<std::string, size_t> words;
    std::string word;
    for (char c : body) {
        if (!std::isspace(static_cast<unsigned char>(c))) {
            word += c;
        } else if (!word.empty()) {
            words[word]++;
            word.clear();
        }
    }
    if (!word.empty()) {
        words[word]++;
    }
    std::string answer;
    for (const auto &[key, count] : words) {
        answer += key + " " + std::to_string(count) + "\n";
    }
    return answer;
}

int32_t invoke(const ht_host *host, void *, ht_invocation *invocation, const ht_request *request) {
    // No exception may leave an entry.
    try {
        host->add_header(invocation, HT_STR("content-type"), HT_STR("text/plain; charset=utf-8"));
        const std::string_view method = text(request->method);
        const std::string answer =
            method == "GET" || method == "HEAD" ? "Hello from {{name}}\n" : count_words(text(request->body));
        return host->write(invocation, answer.data(), answer.size());
    } catch (const std::exception &error) {
        ht_log_text(host, HT_LOG_ERROR, error.what());
        return 1;
    }
}

} // namespace

HT_FUNCTION(invoke);
