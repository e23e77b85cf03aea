/*
 * The test of {{name}}:
 *
 *     cc -std=c11 -I. -o test test.c && ./test
 */
#include "{{source}}"

#include "fake_host.h"

int main(void) {
    fake_invoke("GET", "/{{name}}", "", "");
    FAKE_EXPECT(fake_answer.result == 0);
    FAKE_EXPECT(fake_answer.status == 200);
    FAKE_EXPECT(fake_body_is("Hello from {{name}}\n"));

    fake_invoke("POST", "/{{name}}", "", "quietly");
    FAKE_EXPECT(fake_answer.status == 200);
    FAKE_EXPECT(fake_body_is("QUIETLY"));

    fake_invoke("POST", "/{{name}}", "", "");
    FAKE_EXPECT(fake_answer.status == 400);

    return fake_verdict();
}
