//! The process-wide random stream.
//!
//! The stream is a seed and a position. Whoever needs randomness draws one [`Ticket`], which
//! moves the position by one; the ticket's numbers are a function of seed, position and purpose
//! alone (ChaCha with 8 rounds, a counter-based generator), so a restored state replays them
//! exactly, whatever the number of threads.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use ndarray_rand::rand::seq::SliceRandom;
use ndarray_rand::rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::memory::collected_vec;

/// Seed and position of the process-wide stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// Chosen by [`manual_seed`], else by the operating system.
    pub seed: u64,
    /// How many tickets were drawn since.
    pub position: u64,
}

static STREAM: Mutex<Option<StreamState>> = Mutex::new(None);

fn with_stream<T>(act: impl FnOnce(&mut StreamState) -> T) -> T {
    let mut stream = STREAM.lock().unwrap_or_else(PoisonError::into_inner);
    act(stream.get_or_insert_with(|| StreamState {
        // The standard library seeds its hashers from the operating system.
        seed: RandomState::new().hash_one(0u8),
        position: 0,
    }))
}

/// Restarts the stream.
pub fn manual_seed(seed: u64) {
    set_state(StreamState { seed, position: 0 });
}

/// Where the stream is.
#[must_use]
pub fn state() -> StreamState {
    with_stream(|stream| *stream)
}

/// Puts the stream back to where it was.
pub fn set_state(state: StreamState) {
    with_stream(|stream| *stream = state);
}

/// What a generator is used for: different purposes of one ticket never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Initialization,
    /// Dropout masks.
    Dropout,
    /// The order of samples.
    Shuffling,
    /// Masks of recurrent layers.
    Masks,
}

/// The right to a set of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    seed: u64,
    /// Position in the process-wide stream, or nothing for a seed of one's own.
    position: Option<u64>,
}

impl Ticket {
    /// The next ticket of the process-wide stream.
    #[must_use]
    pub fn draw() -> Self {
        with_stream(|stream| {
            let ticket = Self {
                seed: stream.seed,
                position: Some(stream.position),
            };
            stream.position = stream.position.wrapping_add(1);
            ticket
        })
    }

    /// A ticket with a seed of its own, apart from the process-wide stream.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            position: None,
        }
    }

    /// The generator for one purpose; `index` tells e.g. layers or epochs apart.
    #[must_use]
    pub fn generator(self, purpose: Purpose, index: u64) -> ChaCha8Rng {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.position.unwrap_or(0).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        key[24] = purpose as u8;
        key[25] = u8::from(self.position.is_some());
        ChaCha8Rng::from_seed(key)
    }

    /// The key of many numbers for one purpose, see [`Words`]; `index` tells e.g. masks apart.
    #[must_use]
    pub fn words(self, purpose: Purpose, index: u64) -> Words {
        let mut generator = self.generator(purpose, index);
        Words {
            key: [generator.next_u32(), generator.next_u32()],
        }
    }
}

/// Random words, each a function of its place alone: Threefry-2x32 with 20 rounds, a counter-based
/// generator (Salmon, Moraes, Dror and Shaw 2011). Nothing but additions, rotations and exclusive ors,
/// so that the compiler makes a loop over places one over registers of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    key: [u32; 2],
}

impl Words {
    /// Those of a key.
    #[must_use]
    pub fn of_key(key: [u32; 2]) -> Self {
        Self { key }
    }

    /// The two words at a place.
    #[inline(always)]
    #[must_use]
    pub fn at(self, [first_place, second_place]: [u32; 2]) -> [u32; 2] {
        let [first, second] = self.key;
        let third = 0x1BD1_1BDA ^ first ^ second;
        let words = [
            first_place.wrapping_add(first),
            second_place.wrapping_add(second),
        ];
        // Written out: only loops without loops inside become loops over registers.
        let words = add_key(four_rounds(words, [13, 15, 26, 6]), second, third, 1);
        let words = add_key(four_rounds(words, [17, 29, 16, 24]), third, first, 2);
        let words = add_key(four_rounds(words, [13, 15, 26, 6]), first, second, 3);
        let words = add_key(four_rounds(words, [17, 29, 16, 24]), second, third, 4);
        add_key(four_rounds(words, [13, 15, 26, 6]), third, first, 5)
    }
}

#[inline(always)]
fn four_rounds(words: [u32; 2], [first, second, third, fourth]: [u32; 4]) -> [u32; 2] {
    round(round(round(round(words, first), second), third), fourth)
}

#[inline(always)]
fn round([a, b]: [u32; 2], rotation: u32) -> [u32; 2] {
    let a = a.wrapping_add(b);
    [a, b.rotate_left(rotation) ^ a]
}

/// Adds two words of the key, and how many times this has been done.
#[inline(always)]
fn add_key([a, b]: [u32; 2], first: u32, second: u32, times: u32) -> [u32; 2] {
    [
        a.wrapping_add(first),
        b.wrapping_add(second).wrapping_add(times),
    ]
}

/// The numbers `0..count` in an order that depends on the arguments alone.
///
/// # Errors
/// Out of memory.
pub fn shuffled(count: usize, seed: u64, epoch: u64) -> Result<Vec<usize>> {
    let mut order = collected_vec(0..count)?;
    order.shuffle(&mut Ticket::seeded(seed).generator(Purpose::Shuffling, epoch));
    Ok(order)
}
