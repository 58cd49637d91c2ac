//! A step of a stream allocates nothing. A program of its own, because the counter sees every
//! allocation of its thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use recurrust::cells::{CellKind, Lstm};
use recurrust::engine::{self, EngineFloat, Sequence};
use recurrust::layers::layer_norm::LayerNorm;
use recurrust::layers::linear::Linear;
use recurrust::layers::stack::{Directions, MergeMode, Naming, Stack, StackConfig};
use recurrust::random::Ticket;
use recurrust::streaming::{FrozenLayer, Stream};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count_one() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as the caller vouches.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: as the caller vouches.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How many allocations this thread makes while it works.
fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// Two layers of cells of different sizes, each with its normalisation and its linear layer.
fn network<F: EngineFloat>(rows: usize, hidden_size: usize) -> Stream<F> {
    let mut layers = Vec::new();
    let mut features = 8;
    for (hidden_size, num_layers, outputs) in [(hidden_size, 2, 70), (2 * hidden_size + 1, 1, 3)] {
        let config = StackConfig {
            cell: CellKind::Lstm(Lstm),
            input_size: features,
            hidden_size,
            num_layers,
            bias: true,
            directions: Directions::Forward,
            merge_mode: MergeMode::Concat,
            return_sequences: true,
            naming: Naming::Layers,
        };
        let (stack, parameters) =
            Stack::new(config, Ticket::seeded(1)).expect("small nets fit into memory");
        let frozen = FrozenLayer::recurrent(&stack, &parameters.read());
        layers.push(frozen.expect("it can be streamed"));
        layers.push(FrozenLayer::identity());
        let norm = LayerNorm {
            features: hidden_size,
            epsilon: 1e-5,
        };
        let parameters = norm.parameters().expect("small weights fit into memory");
        let frozen = FrozenLayer::layer_norm(norm, &parameters.read());
        layers.push(frozen.expect("it fits into memory"));
        let linear = Linear {
            inputs: hidden_size,
            outputs,
            bias: true,
        };
        let parameters = linear
            .parameters(Ticket::seeded(2))
            .expect("small weights fit into memory");
        let frozen = FrozenLayer::linear(linear, &parameters.read());
        layers.push(frozen.expect("it fits into memory"));
        features = outputs;
    }
    Stream::new(layers, rows).expect("the layers fit together")
}

fn check<F: EngineFloat>(rows: usize, hidden_size: usize) {
    let mut stream = network::<F>(rows, hidden_size);
    let x = vec![F::of(0.5); rows * 8];
    let mut run = |steps: usize| {
        for _ in 0..steps {
            let input = Sequence::contiguous(&x, engine::Layout::TimeMajor, (1, rows, 8));
            let output = stream.step(input).expect("a step can't fail");
            assert!(
                output
                    .row(0, rows - 1)
                    .iter()
                    .all(|value| value.is_finite())
            );
        }
    };
    // From the very first step on.
    let count = allocations(|| run(1000));
    assert_eq!(count, 0, "{rows} rows, {hidden_size} units");
    let mut clone = stream.try_clone().expect("small streams fit into memory");
    let count = allocations(|| {
        let input = Sequence::contiguous(&x, engine::Layout::TimeMajor, (1, rows, 8));
        clone.step(input).expect("a step can't fail");
        clone.reset();
    });
    assert_eq!(count, 0, "a clone's first step");
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![0u8; 9]))), 1);
}

#[test]
fn a_step_allocates_nothing() {
    for rows in [1, 2, 7, 40] {
        for hidden_size in [1, 17, 64] {
            check::<f32>(rows, hidden_size);
            check::<f64>(rows, hidden_size);
        }
    }
}
