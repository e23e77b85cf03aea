// The test of {{name}}:
//
//     c++ -std=c++17 -I. -o test test.cpp && ./test

#include "{{source}}"

#include "fake_host.h"

int main() {
    fake_invoke("GET", "/{{name}}", "", "");
    FAKE_EXPECT(fake_answer.result == 0);
    FAKE_EXPECT(fake_answer.status == 200);
    FAKE_EXPECT(fake_body_is("Hello from {{name}}\n"));

    fake_invoke("POST", "/{{name}}", "", "to be or not\n to be");
    FAKE_EXPECT(fake_body_is("be 2\nnot 1\nor 1\nto 2\n"));

    fake_invoke("POST", "/{{name}}", "", "");
    FAKE_EXPECT(fake_answer.status == 200);
    FAKE_EXPECT(fake_body_is(""));

    return fake_verdict();
}
