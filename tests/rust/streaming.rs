//! Streams against the layers that they were made of, on every instruction set.

use ndarray_rand::rand::Rng;
use recurrust::cells::{CellKind, Lstm};
use recurrust::engine::{EngineFloat, Layout, PackedAffine, Sequence, matrix};
use recurrust::error::Error;
use recurrust::interrupt::Interrupt;
use recurrust::layers::linear::Linear;
use recurrust::layers::stack::{Directions, MergeMode, Naming, Stack, StackConfig};
use recurrust::lengths::Steps;
use recurrust::parameters::Parameters;
use recurrust::random::{Purpose, Ticket};
use recurrust::simd::InstructionSet;
use recurrust::streaming::{FrozenLayer, Stream};

const STEPS: usize = 9;
const INPUTS: usize = 5;

fn numbers<F: EngineFloat>(count: usize, index: u64) -> Vec<F> {
    let mut generator = Ticket::seeded(7).generator(Purpose::Initialization, index);
    (0..count)
        .map(|_| F::of(generator.random_range(-1.0..1.0)))
        .collect()
}

fn config(hidden_size: usize, num_layers: usize) -> StackConfig {
    StackConfig {
        cell: CellKind::Lstm(Lstm),
        input_size: INPUTS,
        hidden_size,
        num_layers,
        bias: true,
        directions: Directions::Forward,
        merge_mode: MergeMode::Concat,
        return_sequences: true,
        naming: Naming::Layers,
    }
}

/// A stack, its parameters and a stream of it.
fn streamed<F: EngineFloat>(
    set: InstructionSet,
    config: StackConfig,
    rows: usize,
) -> (Stack<F>, Parameters<F>, Stream<F>) {
    let (stack, parameters) =
        Stack::on(set, config, Ticket::seeded(3)).expect("small nets fit into memory");
    let frozen =
        FrozenLayer::recurrent(&stack, &parameters.read()).expect("forward layers can be streamed");
    let stream = Stream::new(vec![frozen], rows).expect("small streams fit into memory");
    (stack, parameters, stream)
}

/// One step; the output without padding.
fn step<F: EngineFloat>(stream: &mut Stream<F>, x: &[F]) -> Vec<F> {
    let sizes = (1, stream.rows(), stream.inputs());
    stream
        .step(Sequence::contiguous(x, Layout::TimeMajor, sizes))
        .expect("a step of a made stream can't fail")
        .to_vec()
        .expect("small outputs fit into memory")
}

fn check_steps<F: EngineFloat>(set: InstructionSet, config: StackConfig, rows: usize) {
    let (stack, parameters, mut stream) = streamed::<F>(set, config, rows);
    let x = numbers::<F>(STEPS * rows * INPUTS, 1);
    let per_state = config.num_layers * rows * config.hidden_size;
    let initial = [numbers::<F>(per_state, 2), numbers::<F>(per_state, 3)];
    let whole = stack
        .forward(
            &parameters.read(),
            Sequence::contiguous(&x, Layout::TimeMajor, (STEPS, rows, INPUTS)),
            &[&initial[0], &initial[1]],
            &Steps::dense(STEPS, rows),
            None,
            Layout::TimeMajor,
            &Interrupt::never(),
        )
        .expect("the forward pass succeeds");
    stream
        .set_states(&[vec![&initial[0], &initial[1]]])
        .expect("the states fit");
    let steps: Vec<F> = x
        .chunks_exact(rows * INPUTS)
        .flat_map(|x| step(&mut stream, x))
        .collect();
    let what = format!("{set:?}, {rows} rows, {config:?}");
    assert_eq!(steps, *whole.output, "{what}");
    let states = stream.states().expect("small states fit into memory");
    assert_eq!(states, [whole.states], "{what}");
}

#[test]
fn step_by_step_is_the_whole_sequence_bit_for_bit() {
    for set in InstructionSet::ALL {
        if !set.is_available() {
            continue;
        }
        for hidden in [1, 3, 16, 17, 33, 80] {
            for rows in [1, 2, 5, 7] {
                for layers in [1, 3] {
                    check_steps::<f32>(set, config(hidden, layers), rows);
                    check_steps::<f64>(set, config(hidden, layers), rows);
                }
            }
        }
    }
}

#[test]
fn affine_tiles_multiply_and_add() {
    for set in InstructionSet::ALL {
        if !set.is_available() {
            continue;
        }
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 7, 150), (2, 3, 17), (7, 33, 5), (13, 6, 64)]
        {
            for has_bias in [true, false] {
                let x = numbers::<f64>(rows * inputs, 1);
                let weight = numbers::<f64>(outputs * inputs, 2);
                let bias = numbers::<f64>(outputs, 3);
                let bias = has_bias.then_some(&bias[..]);
                let packed = PackedAffine::pack(set, matrix(&weight, outputs, inputs), bias)
                    .expect("small weights fit into memory");
                let width = packed.padded_outputs();
                let mut y = vec![f64::NAN; rows * width];
                let sizes = (1, rows, inputs);
                packed.apply(Sequence::contiguous(&x, Layout::TimeMajor, sizes), &mut y);
                for row in 0..rows {
                    for output in 0..outputs {
                        let sum: f64 = (0..inputs)
                            .map(|k| x[row * inputs + k] * weight[output * inputs + k])
                            .sum();
                        let expected = sum + bias.map_or(0.0, |bias| bias[output]);
                        let error = (y[row * width + output] - expected).abs();
                        assert!(error < 1e-14, "{set:?}, {rows} rows: {error:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn layers_work_on_each_others_outputs() {
    let (stack, parameters, mut lower) =
        streamed::<f64>(InstructionSet::current(), config(6, 1), 2);
    let linear = Linear {
        inputs: 6,
        outputs: 3,
        bias: true,
    };
    let affine = linear
        .parameters(Ticket::seeded(5))
        .expect("small weights fit into memory");
    let frozen = vec![
        FrozenLayer::identity(),
        FrozenLayer::recurrent(&stack, &parameters.read()).expect("it can be streamed"),
        FrozenLayer::identity(),
        FrozenLayer::linear(linear, &affine.read()).expect("it fits into memory"),
    ];
    let mut stream = Stream::new(frozen, 2).expect("the layers fit together");
    assert_eq!((stream.inputs(), stream.outputs()), (INPUTS, 3));
    for index in 0..4 {
        let x = numbers::<f64>(2 * INPUTS, index);
        let (y, h) = (step(&mut stream, &x), step(&mut lower, &x));
        let expected = linear
            .forward(
                &affine.read(),
                Sequence::contiguous(&h, Layout::TimeMajor, (1, 2, 6)),
                &Interrupt::never(),
            )
            .expect("the forward pass succeeds");
        for (y, expected) in y.iter().zip(&expected) {
            assert!((y - expected).abs() < 1e-15);
        }
    }
    let states = stream.states().expect("small states fit into memory");
    let of_lower = lower.states().expect("small states fit into memory");
    assert_eq!(states[1], of_lower[0]);
    assert!(states[0].is_empty() && states[2].is_empty() && states[3].is_empty());
}

#[test]
fn weights_are_frozen_and_shared_by_clones() {
    let (_, parameters, mut stream) = streamed::<f32>(InstructionSet::current(), config(4, 2), 3);
    let x = numbers::<f32>(3 * INPUTS, 1);
    step(&mut stream, &x);
    let mut clone = stream.try_clone().expect("small streams fit into memory");
    assert_eq!(clone.states(), stream.states());
    let expected = step(&mut stream, &x);
    parameters.write().slice_mut(0).fill(0.5);
    assert_eq!(step(&mut clone, &x), expected);
    // The clone goes on by itself.
    step(&mut stream, &x);
    assert_ne!(clone.states(), stream.states());
    let snapshots = [&clone, &stream].map(|stream| {
        let layer = stream.layers().next().expect("there is one");
        layer.snapshot().expect("it has weights").slice(0).as_ptr()
    });
    assert_eq!(snapshots[0], snapshots[1]);
}

#[test]
fn snapshots_of_one_version_are_one() {
    let (_, parameters, _) = streamed::<f32>(InstructionSet::current(), config(4, 1), 1);
    let snapshot = || parameters.read().snapshot().expect("it fits into memory");
    let (first, second) = (snapshot(), snapshot());
    assert!(std::ptr::eq(&raw const *first, &raw const *second));
    let before = first.slice(1).to_vec();
    assert_eq!(parameters.read().slice(1), before);
    parameters.write().slice_mut(1).fill(2.0);
    assert_eq!(first.slice(1), before);
    assert_eq!(snapshot().slice(1), vec![2.0; before.len()]);
    assert_eq!(first.entries()[1].name, "weight_hh_l0");
}

#[test]
fn resets_are_of_rows() {
    let (_, _, mut stream) = streamed::<f64>(InstructionSet::current(), config(5, 2), 3);
    let x = numbers::<f64>(3 * INPUTS, 1);
    step(&mut stream, &x);
    let before = stream.states().expect("small states fit into memory");
    stream
        .reset_rows(&[false, true, false])
        .expect("one flag a row");
    let after = stream.states().expect("small states fit into memory");
    let mut expected = before.clone();
    for state in &mut expected[0] {
        assert!(state.iter().all(|&value| value.abs() > 0.0));
        // By layer of cells, then row.
        for row in state.chunks_exact_mut(5).skip(1).step_by(3) {
            row.fill(0.0);
        }
    }
    assert_eq!(after, expected);
    assert!(matches!(
        stream.reset_rows(&[true, true]),
        Err(Error::Shape { .. })
    ));
    assert_eq!(stream.states(), Ok(after));
    stream.reset();
    let states = stream.states().expect("small states fit into memory");
    assert_eq!(states, [vec![vec![0.0; 30]; 2]]);
}

#[test]
fn wrong_states_change_nothing() {
    let (_, _, mut stream) = streamed::<f32>(InstructionSet::current(), config(4, 1), 2);
    step(&mut stream, &numbers(2 * INPUTS, 1));
    let before = stream.states().expect("small states fit into memory");
    let (right, wrong) = ([1.0; 8], [1.0; 7]);
    for states in [
        vec![],
        vec![vec![&right[..]]],
        vec![vec![&right[..], &wrong[..]]],
        vec![vec![&right[..], &right[..]], vec![]],
    ] {
        assert!(matches!(
            stream.set_states(&states),
            Err(Error::Shape { .. })
        ));
        assert_eq!(stream.states().as_ref(), Ok(&before));
    }
    stream.set_states(&[vec![]]).expect("no states are zeros");
    let states = stream.states().expect("small states fit into memory");
    assert_eq!(states, [vec![vec![0.0; 8]; 2]]);
}

#[test]
fn what_depends_on_later_steps_is_refused() {
    let refused = |change: fn(&mut StackConfig), option: &str| {
        let mut config = config(4, 1);
        change(&mut config);
        let (stack, parameters) =
            Stack::<f32>::new(config, Ticket::seeded(3)).expect("small nets fit into memory");
        let error = FrozenLayer::recurrent(&stack, &parameters.read())
            .expect_err("it depends on later steps")
            .inside("LSTM");
        assert!(matches!(error, Error::Config { .. }));
        assert!(error.to_string().starts_with(option), "{error}");
    };
    refused(
        |config| config.directions = Directions::Both,
        "LSTM: bidirectional",
    );
    refused(
        |config| config.directions = Directions::Backward,
        "LSTM: reverse",
    );
    refused(
        |config| config.return_sequences = false,
        "LSTM: return_sequences",
    );
}

#[test]
fn layers_must_fit_together() {
    let linear = |inputs, outputs| {
        let linear = Linear {
            inputs,
            outputs,
            bias: false,
        };
        let parameters = linear
            .parameters::<f32>(Ticket::seeded(5))
            .expect("small weights fit into memory");
        FrozenLayer::linear(linear, &parameters.read()).expect("it fits into memory")
    };
    let error = Stream::new(vec![linear(3, 4), FrozenLayer::identity(), linear(5, 2)], 1)
        .expect_err("4 outputs are no 5 inputs");
    assert!(
        error.to_string().starts_with("layer 2: expected 4"),
        "{error}"
    );
    let error = Stream::<f32>::new(vec![FrozenLayer::identity()], 1)
        .expect_err("nothing says how many features there are");
    assert!(matches!(error, Error::Config { .. }));
    for rows in [1 << 45, usize::MAX] {
        let error = Stream::new(vec![linear(3, 4)], rows).expect_err("no machine has that");
        assert!(matches!(error, Error::OutOfMemory { .. }));
    }
}
