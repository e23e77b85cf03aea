//! Commits every crime with layers off, one after the other: the inner side of `hairtrigger_tests::layers::run`.

fn main() {
    hairtrigger_tests::layers::commit_all(std::env::args().skip(1));
}
