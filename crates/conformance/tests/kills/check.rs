//! What has to be true after a round.

use std::collections::HashMap;

use mapback_conformance::writer::Told;
use mapback_conformance::{Scene, cells};

use crate::plan::Round;

/// No program found anything wrong by itself.
pub fn complaints(scene: &Scene) {
    assert!(!scene.said().contains("panicked"), "a program found something wrong");
}

/// Each store that was told of is in the file, and nothing else has changed but what was just being stored.
pub fn file(round: &Round, found: &[u8], told: &[Told]) {
    let fresh = round.content();
    assert_eq!(found.len(), fresh.len(), "the file's size");
    let whole = round.cells as usize * 8;
    assert_eq!(found[whole..], fresh[whole..], "the bytes behind the last cell");
    let mut last: HashMap<u64, u64> = HashMap::new();
    let mut latest = vec![0; round.owners() as usize];
    for told in told {
        assert_eq!(u64::from(told.cell) % round.owners(), u64::from(told.owner), "a writer's own cells");
        last.insert(told.cell.into(), told.order.into());
        latest[told.owner as usize] = u64::from(told.order);
    }
    let mut untold = vec![0; latest.len()];
    for (cell, value) in (0..).zip(cells::of_bytes(found)) {
        let (owner, told) = ((cell % round.owners()) as usize, last.get(&cell).copied().unwrap_or(0));
        let Some(order) = cells::order(cell, value) else {
            panic!("cell {cell} of owner {owner} has {value:#x}, torn or another's; store {told} was told of")
        };
        let nobodys = owner as u64 == round.writers();
        if order == latest[owner] + 1 && !nobodys {
            untold[owner] += 1; // made, but the writer died before it could tell
        } else {
            assert_eq!(
                order, told,
                "cell {cell} of owner {owner} holds the left, of which the right was told"
            );
        }
    }
    assert!(untold.iter().all(|stores| *stores <= 1), "more than the last store untold: {untold:?}");
}

/// A round in which nobody but the check does anything, with one store told of.
fn sound() -> (Round, Vec<u8>, Vec<Told>) {
    let round = Round { groups: vec![(mapback_conformance::writer::Shape::Alone, 2)], ..Round::of(1) };
    let mut found = round.content();
    let told = vec![Told { owner: 0, pid: 1, cell: 3, order: 1 }];
    found[24..32].copy_from_slice(&cells::value(3, 1).to_ne_bytes());
    (round, found, told)
}

#[test]
fn the_check_lets_a_sound_file_pass() {
    let (round, mut found, told) = sound();
    file(&round, &found, &told);
    // The last store of a writer that died before it could tell.
    found[48..56].copy_from_slice(&cells::value(6, 2).to_ne_bytes());
    file(&round, &found, &told);
}

#[test]
#[should_panic(expected = "of which the right was told")]
fn the_check_finds_a_lost_store() {
    let (round, _, told) = sound();
    file(&round, &round.content(), &told);
}

#[test]
#[should_panic(expected = "torn or another's")]
fn the_check_finds_a_torn_cell() {
    let (round, mut found, told) = sound();
    found[27] ^= 1;
    file(&round, &found, &told);
}

#[test]
#[should_panic(expected = "of which the right was told")]
fn the_check_finds_a_cell_of_nobody_that_has_changed() {
    let (round, mut found, told) = sound();
    found[16..24].copy_from_slice(&cells::value(2, 1).to_ne_bytes());
    file(&round, &found, &told);
}

#[test]
#[should_panic(expected = "the file's size")]
fn the_check_finds_a_file_that_has_grown() {
    let (round, mut found, told) = sound();
    found.push(0);
    file(&round, &found, &told);
}
