//! What the types forbid: each program in `compile_fail/` must not compile, for the reason that
//! stands beside it.
#![allow(missing_docs)]

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
