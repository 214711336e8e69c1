//! A model test: random sequences of map, file and memory operations, done twice in one process and compared.
//!
//! One side calls libc's functions, which are mapback's when the interposer is loaded; the other makes the kernel's
//! system calls itself, on a twin file. After each operation the two must have returned the same, loaded the same
//! bytes, met the same fault; and what the rules say must be in the file by then must be there.
//!
//! ```text
//! cargo test --test model                                  both sides are the kernel: validates the model
//! mapback run --maps all --tracker fault -- target/debug/deps/model-…
//! ```
//!
//! Variables: `MODEL_CASES` (256), `MODEL_SEED` (random; a failure prints it), `MODEL_TRACE=1` (prints each operation
//! before it runs, for a hang), `MAPBACK_TEST_DIR` (where the file is), `MODEL_TWIN_DIR` (where the twin is, when the
//! file system under test refuses the kernel's maps).

mod arena;
mod directed;
mod files;
mod half;
mod maps;
mod memory;
mod op;
mod probe;
mod run;
mod sabotage;
mod shadow;
mod side;
mod strategy;
mod world;

use run::Plan;
use sabotage::Saboteur;
use side::{Kernel, Libc};

#[test]
fn libc_and_the_kernel_agree() {
    let plan = Plan::from_environment();
    let tally = run::check(&plan, || Box::new(Libc)).unwrap_or_else(|failure| panic!("{failure}"));
    println!(
        "{} sequences from MODEL_SEED={}: {} operations",
        plan.cases,
        plan.seed,
        tally.values().sum::<usize>()
    );
    tally.iter().for_each(|(what, times)| println!("{times:9} {what}"));
}

/// Every executor with a fault is found within as many sequences as a plain `cargo test` runs.
#[test]
fn a_wrong_executor_is_caught() {
    for wrong in sabotage::ALL {
        let failure = run::check(&Plan::fixed(), || Box::new(Saboteur::new(wrong)));
        let Err(failure) = failure else { panic!("{wrong:?} was not caught") };
        println!("{wrong:?}: {failure}\n");
    }
}

/// The sequences reach what they are meant to reach.
#[test]
fn sequences_reach_every_kind_of_outcome() {
    let tally = run::check(&Plan::fixed(), || Box::new(Kernel)).unwrap_or_else(|failure| panic!("{failure}"));
    let expected = include_str!("outcomes.txt").lines().filter(|line| !line.starts_with('#'));
    let missing: Vec<_> = expected.filter(|line| !tally.contains_key(*line)).collect();
    assert!(missing.is_empty(), "no sequence had: {missing:#?}; they had: {:#?}", tally.keys());
}
