//! The program that the tests of sharing start, natively or under `mapback run`.

fn main() {
    mapback_conformance::actor::main();
}
