//! Generates the sequences, runs them and shrinks what fails.

use crate::op::Op;
use crate::side::{Kernel, Side};
use crate::world::World;
use crate::{arena, probe, strategy};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;

/// How often each operation had each outcome.
pub type Tally = BTreeMap<String, usize>;

/// How many sequences, which, and where.
pub struct Plan {
    pub cases: u32,
    pub seed: u64,
    /// How often a failing sequence is tried smaller.
    shrinks: u32,
    trace: bool,
    /// The directory of the side under test and that of the oracle.
    directories: [PathBuf; 2],
}

impl Plan {
    pub fn from_environment() -> Plan {
        let fixed = Plan::fixed();
        let [_, twin] = fixed.directories;
        Plan {
            cases: variable("MODEL_CASES").map_or(256, |n| n.try_into().expect("MODEL_CASES fits 32 bits")),
            seed: variable("MODEL_SEED").unwrap_or_else(|| RandomState::new().hash_one(0)),
            shrinks: 4096,
            directories: [tested_directory(), twin],
            ..fixed
        }
    }

    /// The same sequences each time, where the kernel's own maps work.
    pub fn fixed() -> Plan {
        let twin = directory("MODEL_TWIN_DIR").unwrap_or_else(tested_directory);
        let trace = env::var_os("MODEL_TRACE").is_some();
        Plan { cases: 256, seed: 1, shrinks: 256, trace, directories: [twin.clone(), twin] }
    }
}

fn tested_directory() -> PathBuf {
    directory("MAPBACK_TEST_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into())
}

fn directory(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Runs the plan against one executor; `Err` holds the minimal failing sequence.
pub fn check(plan: &Plan, tested: impl Fn() -> Box<dyn Side>) -> Result<Tally, String> {
    let _alone = arena::alone();
    arena::assert_usable();
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&plan.seed.to_le_bytes());
    let config = Config {
        cases: plan.cases,
        failure_persistence: None,
        max_shrink_iters: plan.shrinks,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let tally = RefCell::new(Tally::new());
    let outcome = runner.run(&strategy::sequence(), |(size, ops)| {
        let text = describe(size, &ops);
        probe::announce(&text);
        let result = sequence(plan, tested().as_mut(), size, &ops, |name| {
            *tally.borrow_mut().entry(name).or_default() += 1;
        });
        probe::announce("");
        result.map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => Ok(tally.into_inner()),
        Err(TestError::Fail(reason, (size, ops))) => {
            Err(explain(plan, tested().as_mut(), &reason.to_string(), size, &ops))
        }
        Err(TestError::Abort(reason)) => Err(format!("proptest gave up: {reason}")),
    }
}

/// Runs one sequence that is given; the caller holds [`arena::alone`].
pub fn one(plan: &Plan, tested: &mut dyn Side, size: usize, ops: &[Op]) -> Result<(), String> {
    sequence(plan, tested, size, ops, |_| ())
}

/// Runs one sequence; tells each operation's name and outcome.
fn sequence(
    plan: &Plan,
    tested: &mut dyn Side,
    size: usize,
    ops: &[Op],
    mut tell: impl FnMut(String),
) -> Result<(), String> {
    let [here, there] = &plan.directories;
    let mut kernel = Kernel;
    let mut world = World::new([(tested, here), (&mut kernel, there)], size);
    for (at, op) in ops.iter().enumerate() {
        let op = world.concrete(op);
        if plan.trace {
            eprintln!("{at:3}: {op:?}");
        }
        let outcome = world.step(&op).map_err(|why| format!("operation {at}, {op:?}: {why}"))?;
        tell(format!("{}: {outcome}", op.name()));
    }
    world.finish(ops.len().is_multiple_of(2)).map_err(|why| format!("at the end: {why}"))
}

/// Runs the minimal sequence once more and tells what each operation did.
fn explain(plan: &Plan, tested: &mut dyn Side, reason: &str, size: usize, ops: &[Op]) -> String {
    let mut outcomes = Vec::new();
    let again = sequence(plan, tested, size, ops, |outcome| outcomes.push(outcome));
    let again = again.map_or_else(|why| why, |()| "nothing: it depends on what ran before".to_string());
    let seed = plan.seed;
    format!("{reason}\n{}run again: {outcomes:#?}, then {again}\nMODEL_SEED={seed}", describe(size, ops))
}

fn describe(size: usize, ops: &[Op]) -> String {
    let mut text = format!("the sequence, on a file of {size} bytes:\n");
    for (at, op) in ops.iter().enumerate() {
        writeln!(text, "{at:3}: {op:?}").expect("a string takes all");
    }
    text
}
