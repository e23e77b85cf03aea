// aggregate: CSV in, statistics of each column out as JSON.
//
//     curl --data-binary @sales.csv 'http://127.0.0.1:8080/aggregate?columns=price&quantiles=0.5,0.99'
//
// The first row names the columns. The body is read once, front to back (csv.hpp); what stays of it are the
// numbers, for exact quantiles (summary.hpp says which definition), and with ?quantiles= not even those.
//
// An example in C++: exceptions are fine within a function, as long as none leaves it.
#include "csv.hpp"
#include "options.hpp"
#include "refusal.hpp"
#include "table.hpp"

#include <exception>
#include <hairtrigger.h>
#include <string>
#include <string_view>

namespace {

constexpr const char *usage =
    "POST CSV with a header row to /aggregate; ?columns=a,b names the columns, "
    "&quantiles=0.5,0.99 the quantiles, &delimiter=; what stands between fields, and "
    "&missing=NA what stands for no value.";

// If there are no bytes, their address says nothing.
std::string_view view(ht_bytes bytes) {
    return bytes.len == 0 ? std::string_view()
                          : std::string_view(reinterpret_cast<const char *>(bytes.data), bytes.len);
}

// Throws Refusal.
std::string aggregate(const ht_request &request) {
    if (!ht_equal(request.method, "POST")) {
        throw Refusal(usage, 405);
    }
    Options options = options::parse(view(request.query));
    Table table(options);
    csv::Parser<Table> parser(options.delimiter, table);
    parser.feed(view(request.body));
    parser.finish();
    return table.describe();
}

int32_t answer(const ht_host *host, ht_invocation *invocation, const char *type, std::string_view body) {
    int32_t result = host->add_header(invocation, HT_STR("content-type"), type, strlen(type));
    return result == HT_OK ? host->write(invocation, body.data(), body.size()) : result;
}

int32_t refuse(const ht_host *host, ht_invocation *invocation, const Refusal &refusal) {
    int32_t result = host->set_status(invocation, static_cast<uint32_t>(refusal.status));
    if (result == HT_OK && refusal.status == 405) {
        result = host->add_header(invocation, HT_STR("allow"), HT_STR("POST"));
    }
    return result == HT_OK ? answer(host, invocation, "text/plain; charset=utf-8", refusal.sentence + "\n")
                           : result;
}

// `noexcept` is the promise of the contract: what is not caught here ends the worker, and goes no further.
int32_t invoke(const ht_host *host, void *, ht_invocation *invocation, const ht_request *request) noexcept {
    try {
        return answer(host, invocation, "application/json", aggregate(*request));
    } catch (const Refusal &refusal) {
        return refuse(host, invocation, refusal);
    } catch (const std::exception &error) {
        // No memory left, most likely.
        ht_log_text(host, HT_LOG_ERROR, error.what());
        return 1;
    }
}

} // namespace

HT_FUNCTION(invoke);
