//! The engine without Python: layers and activations, on the instruction set and the number of
//! threads that the environment chooses.
//!
//! `cargo bench --bench engine -- 'forward f32 50,32,8,64'` measures one row.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recurrust::cells::{CellKind, Lstm};
use recurrust::engine::{EngineFloat, Layout, Sequence};
use recurrust::interrupt::Interrupt;
use recurrust::layers::stack::{Directions, MergeMode, Naming, Stack, StackConfig};
use recurrust::lengths::Steps;
use recurrust::random::Ticket;
use recurrust::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

/// Steps, rows, inputs, units.
const SHAPES: [(usize, usize, usize, usize); 9] = [
    (50, 1, 8, 32),
    (100, 1, 16, 64),
    (100, 1, 128, 128),
    (50, 32, 1, 32),
    (50, 32, 8, 64),
    (100, 32, 64, 128),
    (100, 64, 128, 256),
    (100, 64, 256, 512),
    (200, 16, 512, 1024),
];

/// Numbers between -1 and 1 that are not regular.
fn numbers<F: SimdFloat>(count: usize) -> Vec<F> {
    (0..count)
        .map(|index| F::of((index * 7919 % 1000) as f64 / 500.0 - 1.0))
        .collect()
}

fn layers<F: EngineFloat>(criterion: &mut Criterion) {
    let dtype = if size_of::<F>() == 4 { "f32" } else { "f64" };
    for (steps, rows, inputs, units) in SHAPES {
        let config = StackConfig {
            cell: CellKind::Lstm(Lstm),
            input_size: inputs,
            hidden_size: units,
            num_layers: 1,
            bias: true,
            directions: Directions::Forward,
            merge_mode: MergeMode::Concat,
            return_sequences: true,
            naming: Naming::Layers,
        };
        let (stack, parameters) =
            Stack::<F>::new(config, Ticket::seeded(0)).expect("the layer fits into memory");
        let (x, dy) = (
            numbers::<F>(steps * rows * inputs),
            numbers::<F>(steps * rows * units),
        );
        let x = Sequence::contiguous(&x, Layout::TimeMajor, (steps, rows, inputs));
        let dy = Sequence::contiguous(&dy, Layout::TimeMajor, (steps, rows, units));
        let dense = Steps::dense(steps, rows);
        let never = Interrupt::never();
        let mut group = criterion.benchmark_group("layers");
        // Multiplications and additions of the forward pass.
        let operations = 2 * steps * rows * 4 * units * (inputs + units);
        group.throughput(Throughput::Elements(operations as u64));
        let name = format!("forward {dtype} {steps},{rows},{inputs},{units}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let weights = parameters.read();
                let result =
                    stack.forward(&weights, x, &[], &dense, None, Layout::TimeMajor, &never);
                black_box(result.expect("nothing interrupts it"))
            });
        });
        group.throughput(Throughput::Elements(3 * operations as u64));
        let name = format!("forward and backward {dtype} {steps},{rows},{inputs},{units}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let weights = parameters.read();
                let (_, tape) = stack
                    .forward_with_tape(
                        &weights,
                        x,
                        &[],
                        dense.clone(),
                        None,
                        Layout::TimeMajor,
                        &never,
                    )
                    .expect("nothing interrupts it");
                let layout = Some(Layout::TimeMajor);
                let result =
                    stack.backward(&weights, &parameters, &tape, Some(dy), &[], layout, &never);
                black_box(result.expect("nothing interrupts it"))
            });
        });
        group.finish();
    }
}

/// Both activations of many numbers.
struct Activations<'a, F> {
    numbers: &'a mut [F],
}

impl<F: SimdFloat> Kernel<F> for Activations<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        for place in self.numbers.chunks_exact_mut(V::LANES) {
            V::from_slice(place).sigmoid().tanh().to_slice(place);
        }
    }
}

fn activations<F: SimdFloat>(criterion: &mut Criterion) {
    let mut values = numbers::<F>(4096);
    let mut group = criterion.benchmark_group("activations");
    group.throughput(Throughput::Elements(values.len() as u64));
    let name = format!("sigmoid and tanh, {} bytes a number", size_of::<F>());
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let numbers = black_box(&mut values[..]);
            dispatch(InstructionSet::current(), Activations { numbers });
        });
    });
    group.finish();
}

criterion_group!(
    engine,
    layers::<f32>,
    layers::<f64>,
    activations::<f32>,
    activations::<f64>
);
criterion_main!(engine);
