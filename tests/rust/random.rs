//! The random stream.

use std::sync::Mutex;

use ndarray_rand::rand::Rng;
use recurrust::random::{self, Purpose, Ticket, Words, shuffled};

/// The stream belongs to the process, and tests run in parallel.
static STREAM: Mutex<()> = Mutex::new(());

fn first(ticket: Ticket, purpose: Purpose, index: u64) -> u64 {
    ticket.generator(purpose, index).random()
}

#[test]
fn a_restored_state_replays() {
    let _guard = STREAM.lock().expect("no test panics while holding it");
    random::manual_seed(5);
    let state = random::state();
    let drawn = [Ticket::draw(), Ticket::draw()];
    assert_ne!(drawn[0], drawn[1]);
    random::set_state(state);
    assert_eq!([Ticket::draw(), Ticket::draw()], drawn);
}

#[test]
fn purposes_indices_seeds_and_positions_are_apart() {
    let _guard = STREAM.lock().expect("no test panics while holding it");
    random::manual_seed(9);
    let drawn = Ticket::draw();
    let mut numbers = vec![
        first(drawn, Purpose::Dropout, 0),
        first(drawn, Purpose::Dropout, 1),
        first(drawn, Purpose::Initialization, 0),
        first(Ticket::draw(), Purpose::Dropout, 0),
        first(Ticket::seeded(9), Purpose::Dropout, 0),
        first(Ticket::seeded(10), Purpose::Dropout, 0),
    ];
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn shuffling_is_a_permutation_that_depends_on_the_epoch() {
    let shuffled = |count, seed, epoch| shuffled(count, seed, epoch).expect("fits into memory");
    let order = shuffled(100, 1, 0);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    assert_eq!(order, shuffled(100, 1, 0));
    assert_ne!(order, shuffled(100, 1, 1));
    assert_ne!(order, shuffled(100, 2, 0));
}

#[test]
fn words_are_those_of_the_paper() {
    // The known answers that come with the authors' implementation, Random123.
    for (key, place, expected) in [
        ([0; 2], [0; 2], [0x6b20_0159, 0x99ba_4efe]),
        ([u32::MAX; 2], [u32::MAX; 2], [0x1cb9_96fc, 0xbb00_2be7]),
        (
            [0x1319_8a2e, 0x0370_7344],
            [0x243f_6a88, 0x85a3_08d3],
            [0xc492_3a9c, 0x483d_f7a0],
        ),
    ] {
        assert_eq!(Words::of_key(key).at(place), expected);
    }
}
