//! The generic core's gradients against central differences, in double precision.

use ndarray_rand::rand::Rng;
use recurrust::cells::{CellKind, Lstm};
use recurrust::engine::{Layout, Sequence};
use recurrust::interrupt::Interrupt;
use recurrust::layers::stack::{Directions, MergeMode, Naming, Stack, StackConfig};
use recurrust::lengths::Steps;
use recurrust::parameters::Parameters;
use recurrust::random::{Purpose, Ticket};
use recurrust::simd::InstructionSet;

const STEPS: usize = 5;
const ROWS: usize = 6;
const STEP: f64 = 1e-5;
const BOUND: f64 = 1e-7;

fn config() -> StackConfig {
    StackConfig {
        cell: CellKind::Lstm(Lstm),
        input_size: 3,
        hidden_size: 4,
        num_layers: 2,
        bias: true,
        directions: Directions::Both,
        merge_mode: MergeMode::Concat,
        return_sequences: true,
        naming: Naming::Layers,
    }
}

fn numbers(count: usize, index: u64) -> Vec<f64> {
    let mut generator = Ticket::seeded(7).generator(Purpose::Initialization, index);
    (0..count)
        .map(|_| generator.random_range(-1.0..1.0))
        .collect()
}

/// The instruction sets of this machine.
fn sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available())
}

/// A net, its operands, and the weights of its loss, which is linear in outputs and states.
struct Case {
    stack: Stack<f64>,
    parameters: Parameters<f64>,
    steps: Steps,
    x: Vec<f64>,
    states: [Vec<f64>; 2],
    dy: Vec<f64>,
    dstates: [Vec<f64>; 2],
}

impl Case {
    fn new(set: InstructionSet, config: StackConfig, steps: Steps) -> Self {
        let (stack, parameters) =
            Stack::on(set, config, Ticket::seeded(3)).expect("small nets fit into memory");
        let state_len = config.state_rows() * ROWS * config.hidden_size;
        let outputs = if config.return_sequences { STEPS } else { 1 };
        Self {
            stack,
            parameters,
            steps,
            x: numbers(STEPS * ROWS * config.input_size, 1),
            states: [numbers(state_len, 2), numbers(state_len, 3)],
            dy: numbers(outputs * ROWS * config.output_size(), 4),
            dstates: [numbers(state_len, 5), numbers(state_len, 6)],
        }
    }

    fn input<'a>(&self, x: &'a [f64]) -> Sequence<'a, f64> {
        let sizes = (STEPS, ROWS, self.stack.config().input_size);
        Sequence::contiguous(x, Layout::TimeMajor, sizes)
    }

    fn loss(&self, x: &[f64], states: &[Vec<f64>; 2]) -> f64 {
        let outcome = self
            .stack
            .forward(
                &self.parameters.read(),
                self.input(x),
                &[&states[0], &states[1]],
                &self.steps,
                None,
                Layout::TimeMajor,
                &Interrupt::never(),
            )
            .expect("the forward pass succeeds");
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        dot(&outcome.output, &self.dy)
            + dot(&outcome.states[0], &self.dstates[0])
            + dot(&outcome.states[1], &self.dstates[1])
    }

    /// Compares all gradients with central differences.
    fn check(&self, what: &str) {
        let config = self.stack.config();
        let (_, tape) = self
            .stack
            .forward_with_tape(
                &self.parameters.read(),
                self.input(&self.x),
                &[&self.states[0], &self.states[1]],
                self.steps.clone(),
                None,
                Layout::TimeMajor,
                &Interrupt::never(),
            )
            .expect("the forward pass succeeds");
        let outputs = if config.return_sequences { STEPS } else { 1 };
        let dy = Sequence::contiguous(
            &self.dy,
            Layout::TimeMajor,
            (outputs, ROWS, config.output_size()),
        );
        let gradients = self
            .stack
            .backward(
                &self.parameters.read(),
                &self.parameters,
                &tape,
                Some(dy),
                &[Some(&self.dstates[0]), Some(&self.dstates[1])],
                Some(Layout::TimeMajor),
                &Interrupt::never(),
            )
            .expect("the backward pass succeeds");

        let difference = |plus: f64, minus: f64| (plus - minus) / (2.0 * STEP);
        let nudged = |values: &[f64], at: usize, by: f64| {
            let mut copy = values.to_vec();
            copy[at] += by;
            copy
        };
        let dx: Vec<f64> = (0..self.x.len())
            .map(|at| {
                difference(
                    self.loss(&nudged(&self.x, at, STEP), &self.states),
                    self.loss(&nudged(&self.x, at, -STEP), &self.states),
                )
            })
            .collect();
        assert_close(
            &gradients.input.expect("dx was asked for"),
            &dx,
            &format!("{what}: x"),
        );
        for state in 0..2 {
            let expected: Vec<f64> = (0..self.states[state].len())
                .map(|at| {
                    let with = |by| {
                        let mut states = self.states.clone();
                        states[state][at] += by;
                        self.loss(&self.x, &states)
                    };
                    difference(with(STEP), with(-STEP))
                })
                .collect();
            assert_close(
                &gradients.states[state],
                &expected,
                &format!("{what}: state {state}"),
            );
        }
        for (index, entry) in self.parameters.entries().iter().enumerate() {
            let expected: Vec<f64> = (0..entry.range().len())
                .map(|at| {
                    let with = |by| {
                        self.parameters.write().slice_mut(index)[at] += by;
                        let loss = self.loss(&self.x, &self.states);
                        self.parameters.write().slice_mut(index)[at] -= by;
                        loss
                    };
                    difference(with(STEP), with(-STEP))
                })
                .collect();
            assert_close(
                &gradients.parameters.as_slice()[entry.range()],
                &expected,
                &format!("{what}: {}", entry.name),
            );
        }
    }
}

fn assert_close(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    assert!(largest > 1e-3, "{what}: the test's gradient vanishes");
    for (at, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= BOUND * largest,
            "{what}[{at}]: got {a}, central difference {b}, largest {largest}"
        );
    }
}

#[test]
fn every_merge_mode() {
    for merge_mode in [
        MergeMode::Concat,
        MergeMode::Sum,
        MergeMode::Average,
        MergeMode::Mul,
    ] {
        for return_sequences in [true, false] {
            let config = StackConfig {
                merge_mode,
                return_sequences,
                ..config()
            };
            for set in sets() {
                Case::new(set, config, Steps::dense(STEPS, ROWS)).check(&format!(
                    "{set:?}, {merge_mode:?}, sequences {return_sequences}"
                ));
            }
        }
    }
}

#[test]
fn one_direction() {
    for directions in [Directions::Forward, Directions::Backward] {
        let config = StackConfig {
            directions,
            ..config()
        };
        for set in sets() {
            Case::new(set, config, Steps::dense(STEPS, ROWS))
                .check(&format!("{set:?}, {directions:?}"));
        }
    }
}

#[test]
fn lengths_holes_and_resets() {
    let lengths = [3, 0, 5, 1, 4, 2];
    let pattern = |skip: usize| {
        (0..STEPS * ROWS)
            .map(|at| at % skip == 0)
            .collect::<Vec<_>>()
    };
    let holes = pattern(4).into_iter().map(|hole| !hole).collect();
    let steps = Steps::new(STEPS, ROWS, Some(&lengths), Some(holes), Some(pattern(7)))
        .expect("the flags fit");
    for set in sets() {
        Case::new(set, config(), steps.clone()).check(&format!("{set:?}, holes, resets"));
    }
    let config = StackConfig {
        return_sequences: false,
        merge_mode: MergeMode::Mul,
        ..config()
    };
    for set in sets() {
        Case::new(set, config, steps.clone())
            .check(&format!("{set:?}, holes, resets, final state"));
    }
}

/// Ragged unit counts, every number of rows up to two tiles, a single row over several blocks of
/// time: every set gives the portable one's outputs.
#[test]
fn instruction_sets_agree() {
    for hidden in [1, 2, 3, 7, 17, 20, 33, 47] {
        for rows in (1..=13).chain([40]) {
            let steps = if rows == 1 { 800 } else { 3 };
            let config = StackConfig {
                hidden_size: hidden,
                num_layers: 1,
                ..config()
            };
            let x = numbers(steps * rows * config.input_size, 8);
            let run = |set| {
                let (stack, parameters) =
                    Stack::on(set, config, Ticket::seeded(3)).expect("fits into memory");
                let sizes = (steps, rows, config.input_size);
                stack
                    .forward(
                        &parameters.read(),
                        Sequence::contiguous(&x, Layout::TimeMajor, sizes),
                        &[],
                        &Steps::dense(steps, rows),
                        None,
                        Layout::TimeMajor,
                        &Interrupt::never(),
                    )
                    .expect("the forward pass succeeds")
                    .output
            };
            let expected = run(InstructionSet::Portable);
            for set in sets() {
                for (got, truth) in run(set).iter().zip(expected.iter()) {
                    assert!(
                        (got - truth).abs() < 1e-13,
                        "{set:?}, {hidden} units, {rows} rows: {got} is not {truth}"
                    );
                }
            }
        }
    }
}

#[test]
fn strides_do_not_change_the_result() {
    let case = Case::new(
        InstructionSet::current(),
        config(),
        Steps::dense(STEPS, ROWS),
    );
    let width = case.stack.config().input_size;
    let mut batch_major = vec![0.0; case.x.len()];
    for step in 0..STEPS {
        for row in 0..ROWS {
            let (from, to) = ((step * ROWS + row) * width, (row * STEPS + step) * width);
            batch_major[to..to + width].copy_from_slice(&case.x[from..from + width]);
        }
    }
    let run = |input: Sequence<'_, f64>| {
        case.stack
            .forward(
                &case.parameters.read(),
                input,
                &[],
                &case.steps,
                None,
                Layout::TimeMajor,
                &Interrupt::never(),
            )
            .expect("the forward pass succeeds")
            .output
    };
    let strided = Sequence::contiguous(&batch_major, Layout::BatchMajor, (STEPS, ROWS, width));
    assert_eq!(*run(strided), *run(case.input(&case.x)));
}

#[test]
fn an_interrupt_stops_both_passes() {
    let case = Case::new(
        InstructionSet::current(),
        config(),
        Steps::dense(STEPS, ROWS),
    );
    let weights = case.parameters.read();
    let states: [&[f64]; 2] = [&case.states[0], &case.states[1]];
    let stop = || true;
    let interrupt = Interrupt::new(&stop);
    std::thread::sleep(std::time::Duration::from_millis(120));
    let result = case.stack.forward(
        &weights,
        case.input(&case.x),
        &states,
        &case.steps,
        None,
        Layout::TimeMajor,
        &interrupt,
    );
    assert_eq!(
        result.expect_err("the call was interrupted"),
        recurrust::error::Error::Interrupted
    );
}
